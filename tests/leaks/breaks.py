"""Breaks a database in ways in which PostgreSQL, or Python, has an error that quotes a row; and mends it."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import asyncpg
from support import Database

FACTS: Final = "registry.registrant_facts"  # on which both views of the server are built, and what `registrant show` reads

_FUNCTIONS: Final = """
    CREATE OR REPLACE FUNCTION whois.refuse(value text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no such %', value USING DETAIL = value, HINT = value, TABLE = value; END $$;
    CREATE OR REPLACE FUNCTION whois.warn(value text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RAISE WARNING 'odd: %', value; RAISE NOTICE 'odd: %', value; RETURN value; END $$;
    CREATE OR REPLACE FUNCTION whois.wait(value text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1.5), value; RETURN value; END $$;
    CREATE OR REPLACE FUNCTION whois.wait_with_row() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1.5), NEW::text; RETURN NEW; END $$;
    CREATE OR REPLACE FUNCTION whois.refuse_row() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE WARNING 'odd: %', NEW; RAISE EXCEPTION 'no such %', NEW USING DETAIL = NEW::text; END $$;
"""


_COLUMNS: Final = """
    SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0"""


class Column(NamedTuple):
    """What a view has in the place of a column."""

    view: str
    column: str
    sql: str


# Of the same type as the column that they replace: the first three are errors of PostgreSQL's own or of a function's.
COLUMNS: Final[Mapping[str, Column]] = {
    "a cast that fails": Column(FACTS, "registrant_phone", "registrant_phone::integer::text"),
    "an exception that quotes the row": Column(FACTS, "registrant_city", "whois.refuse(registrant_name)"),
    "a division by nothing": Column(FACTS, "registrant_postal_code", "(1 / (length(registrant_name) * 0))::text"),
    "a warning that quotes the row": Column(FACTS, "registrant_email", "whois.warn(registrant_email)"),
    "a status that is none": Column("whois.domain", "status", "registrant_name"),
    "a form that is none": Column("whois.domain", "registrant_cvr_form", "registrant_email"),
    "a street that is no list": Column("whois.domain", "registrant_street", "registrant_name"),
    "an email that is a list": Column("whois.domain", "registrant_email", "ARRAY[registrant_email]"),
    "a day that is none": Column("whois.domain", "registered", "registrant_vat_number"),
    "a flag that is none": Column("whois.domain", "vid", "registrant_phone"),
    "a fact that is none": Column("whois.domain", "registrant_cvr_locked", "registrant_email"),
    "a protection that is none": Column("whois.domain", "registrant_address_protection", "registrant_city"),
    "a name that is none": Column("whois.domain", "registrant_name", "1 / 3.0"),
}

# A lookup of the server's ends in its statement timeout; a report would take as long as there are registrants.
SLOW: Final = Column(FACTS, "registrant_email", "whois.wait(registrant_email)")

# What else: SQL as the superuser that breaks, and that mends.
STATEMENTS: Final[Mapping[str, tuple[str, str]]] = {
    "two rows for a name": (
        """ALTER VIEW whois.domain RENAME TO sound;
        CREATE VIEW whois.domain AS SELECT * FROM whois.sound UNION ALL SELECT * FROM whois.sound;
        GRANT SELECT ON whois.domain TO whoisd_reader""",
        "DROP VIEW whois.domain; ALTER VIEW whois.sound RENAME TO domain",
    ),
    "a view that is gone": (
        "ALTER VIEW whois.domain RENAME TO sound; ALTER VIEW registry.registrant_facts RENAME TO sound",
        "ALTER VIEW whois.sound RENAME TO domain; ALTER VIEW registry.sound RENAME TO registrant_facts",
    ),
    "a view that may not be read": (
        "REVOKE SELECT ON whois.domain, whois.registrant FROM whoisd_reader",
        "GRANT SELECT ON whois.domain, whois.registrant TO whoisd_reader",
    ),
}

# What a load and a classification write: the registrant, and the decision about their handle.
_WRITTEN: Final = ("registry.registrant", "registry.classification")
_NO_TRIGGER: Final = "; ".join(f"DROP TRIGGER refuse ON {table}" for table in _WRITTEN)


def _triggers(function: str) -> str:
    return "; ".join(
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}"
        for table in _WRITTEN
    )


# What makes a write fail: of a load that adds a registrant, and of a classification.
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "a trigger that quotes the row": (_triggers("whois.refuse_row()"), _NO_TRIGGER),
    "a check that no row passes": (
        "; ".join(f"ALTER TABLE {table} ADD CONSTRAINT none CHECK (length(handle) < 1) NOT VALID" for table in _WRITTEN),
        "; ".join(f"ALTER TABLE {table} DROP CONSTRAINT none" for table in _WRITTEN),
    ),
    "a table that is gone": (
        "ALTER TABLE registry.registrant RENAME TO sound",
        "ALTER TABLE registry.sound RENAME TO registrant",
    ),
    "a statement timeout": (
        f"{_triggers('whois.wait_with_row()')}; ALTER ROLE whoisd_owner SET statement_timeout = '250ms'",
        f"{_NO_TRIGGER}; ALTER ROLE whoisd_owner RESET statement_timeout",
    ),
    "no trail to write": (
        "REVOKE INSERT (who, command, object, evidence, before, after, account) ON audit.entry FROM whoisd_owner",
        "GRANT INSERT (who, command, object, evidence, before, after, account) ON audit.entry TO whoisd_owner",
    ),
}


def execute(database: Database, sql: str) -> None:
    """Run SQL as the superuser."""

    async def run() -> None:
        superuser = await asyncpg.connect(database.superuser)
        try:
            await superuser.execute(sql)
        finally:
            await superuser.close()

    asyncio.run(run())


def value(database: Database, sql: str, *arguments: object) -> Any:
    """The value that SQL returns to the superuser."""

    async def run() -> Any:
        superuser = await asyncpg.connect(database.superuser)
        try:
            return await superuser.fetchval(sql, *arguments)
        finally:
            await superuser.close()

    return asyncio.run(run())


def prepare(database: Database) -> None:
    """Make the functions that the breaks call."""
    execute(database, _FUNCTIONS)


@contextmanager
def broken(database: Database, sql: str, mending: str) -> Iterator[None]:
    """Break the database by SQL meanwhile."""
    execute(database, sql)
    try:
        yield
    finally:
        execute(database, mending)


@contextmanager
def column_replaced(database: Database, it: Column) -> Iterator[None]:
    """Let a view have something else in the place of a column meanwhile."""
    definition = value(database, "SELECT pg_get_viewdef($1::text::regclass)", it.view).rstrip(";")
    columns = value(database, _COLUMNS, it.view)
    selected = ", ".join(f"{it.sql} AS {name}" if name == it.column else name for name in columns)
    # The views of the server are made anew, so that the type may change; what others are built on is only replaced.
    leaf = it.view.startswith("whois.")
    create = f"DROP VIEW {it.view}; CREATE VIEW" if leaf else "CREATE OR REPLACE VIEW"
    grant = f"; GRANT SELECT ON {it.view} TO whoisd_reader" if leaf else ""
    sql = f"{create} {it.view} AS SELECT {selected} FROM ({definition}) AS sound{grant}"  # noqa: S608 - of ours
    with broken(database, sql, f"{create} {it.view} AS {definition}{grant}"):
        yield


def every_break(database: Database) -> Iterator[tuple[str, AbstractContextManager[None]]]:
    """Every way in which what is read can be broken."""
    for name, column in COLUMNS.items():
        yield name, column_replaced(database, column)
    for name, both in STATEMENTS.items():
        yield name, broken(database, *both)


def disturb(database: Database, function: str, seconds: float) -> None:
    """Cancel lookups (`pg_cancel_backend`), or end connections (`pg_terminate_backend`), every few milliseconds."""

    async def run() -> None:
        superuser = await asyncpg.connect(database.superuser)
        over = time.monotonic() + seconds
        readers = f"SELECT {function}(pid) FROM pg_stat_activity WHERE usename = 'whoisd_reader' AND datname = $1"  # noqa: S608 - of ours
        while time.monotonic() < over:
            await superuser.execute(readers, database.name)
            await asyncio.sleep(0.003)
        await superuser.close()

    asyncio.run(run())
