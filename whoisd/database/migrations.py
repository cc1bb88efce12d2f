"""Brings a database's schema up to date: the numbered files of sql/, forward only, each once, each in a transaction.

A file that was applied may not be edited afterwards: its checksum is kept, and a difference stops everything. Two runs at
once are told apart by a lock in the database.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import asyncpg
from asyncpg import Record

from whoisd.database.connect import Connection
from whoisd.errors import MigrationError

_FILE: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK: Final = 0x77686F6973  # "whois": the advisory lock of everything that writes to the registry

LOCK_TIMEOUT: Final = 200  # milliseconds to wait for a lock, in which the queries that come wait too
LOCK_PAUSE: Final = 1.0  # seconds in which they are answered, before the next try
GIVE_UP_AFTER: Final = 600.0  # seconds

# Who holds what a migration may want, but for the server's lookups, which are short. A role that is no superuser is told no
# more of the others.
_READERS: Final = """
    SELECT string_agg(DISTINCT
        format('%s (%s, process %s)', usename, coalesce(nullif(application_name, ''), 'unnamed'), pid), ', ')
    FROM pg_locks JOIN pg_class ON pg_class.oid = relation JOIN pg_stat_activity USING (pid)
    WHERE relnamespace IN (to_regnamespace('whois'), to_regnamespace('registry'), to_regnamespace('portal'))
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pid <> pg_backend_pid() AND granted AND application_name <> 'whoisd'"""

_LEDGER: Final = """
    CREATE SCHEMA IF NOT EXISTS whoisd;
    CREATE TABLE IF NOT EXISTS whoisd.migration (
        number     integer PRIMARY KEY,
        file       text NOT NULL,
        sha256     text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of sql/."""

    number: int
    file: str
    sql: str

    @property
    def sha256(self) -> str:
        """The checksum of the file, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped_migrations() -> list[Migration]:
    """Return the migrations that this version ships, in order."""
    found = sorted(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in files("whoisd").joinpath("sql").iterdir()
        if _FILE.fullmatch(entry.name)
    )
    return [Migration(int(name[:4]), name, sql) for name, sql in found]


async def lock_registry(connection: Connection) -> None:
    """Wait for the lock that every writer to the registry holds, and hold it until the connection ends."""
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)


async def migrate(
    connection: Connection, migrations: list[Migration] | None = None, say: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Apply the migrations that the database lacks; return their file names, which is none when it is up to date.

    `say` is told what is waited for. Raises `MigrationError`; those applied before the one that failed stay applied, and it
    leaves nothing behind.
    """
    shipped = shipped_migrations() if migrations is None else migrations
    await lock_registry(connection)
    await connection.execute(_LEDGER)
    applied = await connection.fetch("SELECT number, file, sha256 FROM whoisd.migration ORDER BY number")
    _check(shipped, applied)
    if not applied:
        await _require_utf_8(connection)
    pending = shipped[len(applied) :]
    for migration in pending:
        await _apply_between_readers(connection, migration, say)
    if await connection.fetchval("SELECT has_function_privilege('whoisd_reader', 'pg_advisory_lock(bigint)', 'EXECUTE')"):
        say(
            "warning: whoisd_reader may do more than read, such as hold up a load; have a superuser run sql/privileges.sql"
            " in this database"
        )
    return [migration.file for migration in pending]


async def _apply_between_readers(connection: Connection, migration: Migration, say: Callable[[str], None]) -> None:
    """Apply a migration at a moment at which nobody stands in its way. Raises `MigrationError`.

    Whoever waits for a lock on a view has every query behind it wait too, as long as somebody reads who was there before: a
    dump, a report. So the wait is short, shorter than any query's deadline, and is tried again and again.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + GIVE_UP_AFTER
    said = ""
    while True:
        try:
            await _apply(connection, migration)
        except asyncpg.LockNotAvailableError:
            readers = await connection.fetchval(_READERS)
            told = (
                f"sql/{migration.file}: waits for others to end, and is tried again until then: {readers or 'gone by now'}"
            )
            if loop.time() > ends_at:
                raise MigrationError(
                    f"{told}; after {GIVE_UP_AFTER:.0f} s it is given up, and nothing of it is applied: end them, or migrate"
                    " when they have ended"
                ) from None
            if told != said:
                say(told)
                said = told
            await asyncio.sleep(LOCK_PAUSE)
        else:
            return


def _check(shipped: list[Migration], applied: list[Record]) -> None:
    """See to it that what was applied is what is shipped, file by file."""
    for number, migration in enumerate(shipped, start=1):
        if migration.number != number:
            raise MigrationError(f"sql/{migration.file}: numbered {migration.number} where {number} comes next")
    if len(applied) > len(shipped):
        newest = applied[-1]["file"]
        raise MigrationError(f"the database is newer than this software: it holds {newest}; install a newer whoisd")
    for migration, row in zip(shipped, applied, strict=False):
        if migration.sha256 != row["sha256"]:
            raise MigrationError(
                f"sql/{migration.file}: not the file that was applied (then {row['file']}): applied files are never edited;"
                " restore it, and write what is to change as a new file"
            )


async def _require_utf_8(connection: Connection) -> None:
    """Refuse a new database that cannot hold every letter, before a load brings one that it lacks."""
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        raise MigrationError(
            f"the database's encoding is {encoding}, and must be UTF8: drop it, and make it anew with"
            " `createdb --owner=whoisd_owner --template=template0 --encoding=UTF8 --locale=C.UTF-8 whois`"
        )


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO whoisd.migration (number, file, sha256) VALUES ($1, $2, $3)",
                migration.number,
                migration.file,
                migration.sha256,
            )
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        # The text of a fault in the SQL itself names tables and columns; any other may quote a row.
        said = error.args[0] if (error.sqlstate or "")[:2] in ("42", "0A") else type(error).__name__
        raise MigrationError(f"sql/{migration.file}: {error.sqlstate}: {said}") from None
