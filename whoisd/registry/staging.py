"""What a load says to the database: records into temporary tables, what is wrong between them, what differs, the merge.

Every statement reads a whole kind of record. A temporary table `new_KIND` has the columns of the record, and the number of
its file and line. Knows SQL; knows nothing of files, of words for people and of when what is done.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from asyncpg import Record

from whoisd.database.connect import Connection, only_row
from whoisd.registry.records import RECORDS

SETTINGS: Final = """
    -- When a loader is killed, its server looks up from its work and gives up, and with it the locks.
    SET client_connection_check_interval = '2s';
    -- Every statement reads whole tables. A loop over a table that was small when the statement was planned, and into which
    -- it inserts, would go on for hours.
    SET enable_nestloop = off;
    SET jit = off;
    SET work_mem = '64MB';
    SET temp_buffers = '64MB';
"""

_ROOM: Final = 1 << 30  # bytes, of which what is copied at once seldom takes a hundredth

Row = tuple[Any, ...]
Place = tuple[int, int]  # a file's number and a line


class Mode(StrEnum):
    """What becomes of what the files do not name."""

    MERGE = "merge"  # it stays
    REPLACE = "replace"  # it is removed


class Absent(NamedTuple):
    """What a column becomes by a record that says nothing of it, as SQL: of a row that there is, `old`, and of a new one."""

    kept: str
    first: str


class Table(NamedTuple):
    """How a kind of record lies in the database; its columns are the record's fields."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    plural: str
    absent: Mapping[str, Absent]  # what a record does not say withdraws nothing of these columns; all others it replaces
    stays: bool  # whether `Mode.REPLACE` leaves the kind alone when the files have no record of it

    @property
    def values(self) -> tuple[str, ...]:
        """The columns besides the key."""
        return tuple(column for column in self.columns if column not in self.key)


# What withholds something of a registrant: it is lifted by a record that says so, and by no other.
GUARDS: Final = ("address_protection", "cvr_bankruptcy", "sole_proprietorship", "id_confirmed")

_GUARDS: Final = {column: Absent(f"old.{column}", "true" if column == "id_confirmed" else "false") for column in GUARDS}
# A group belongs to the account.
_GROUP: Final = {"access_group": Absent("CASE WHEN new.account = old.account THEN old.access_group END", "NULL")}

# In the order of `RECORDS`: none refers to a later one. Who runs the portal and the accounts at it is seldom in an export of
# domains, and so stays when that does not know of it; users go with their account, and roles with their user and object.
TABLES: Final[Mapping[str, Table]] = {
    kind: Table(f"{schema}.{kind}", key, RECORDS[kind]._fields, plural, absent, stays)
    for kind, schema, key, plural, absent, stays in (
        ("registrar", "registry", ("handle",), "registrars", {}, True),
        ("registrant", "registry", ("handle",), "registrants", _GUARDS, False),
        ("host", "registry", ("name",), "hosts", {}, False),
        ("domain", "registry", ("name",), "domains", {}, False),
        ("staff", "portal", ("name",), "staff", {}, True),
        ("portal_user", "portal", ("handle",), "portal users", _GROUP, True),
        ("object_role", "portal", ("holder", "object", "role"), "object roles", {}, True),
    )
}

Modes = Mapping[str, Mode]  # of each kind of record


class Reference(NamedTuple):
    """A field of a record that names another record by its key; `value` and `only` are SQL over the record."""

    kind: str
    field: str
    of: str
    value: str
    only: str = "true"


_OBJECT: Final = "substring(new.object FROM position(':' IN new.object) + 1)"
REFERENCES: Final = (
    Reference("domain", "registrar", "registrar", "new.registrar"),
    Reference("domain", "registrant", "registrant", "new.registrant"),
    Reference("portal_user", "account", "registrar", "new.account"),
    Reference("object_role", "holder", "portal_user", "new.holder"),
    Reference("object_role", "object", "domain", _OBJECT, "new.object LIKE 'domain:%'"),
    Reference("object_role", "object", "registrant", _OBJECT, "new.object LIKE 'registrant:%'"),
    Reference("object_role", "object", "host", _OBJECT, "new.object LIKE 'host:%'"),
)


@dataclass(slots=True)
class Changes:
    """What a load does to one kind of record: how many there are in the files, and what differs from the database."""

    records: int = 0
    before: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0


# --- into the temporary tables -------------------------------------------------------------------------------------


async def create(connection: Connection) -> None:
    """Make the temporary tables, which the end of the transaction removes."""
    for kind, table in TABLES.items():
        await connection.execute(
            f"CREATE TEMPORARY TABLE new_{kind} ON COMMIT DROP AS"  # noqa: S608 - names of ours
            f" SELECT {', '.join(table.columns)}, 0 AS file, 0 AS line FROM {table.name} WITH NO DATA"
        )


async def copy(connection: Connection, kind: str, rows: Sequence[Row]) -> None:
    """Add records of a kind, each followed by its place."""
    await copy_rows(connection, f"new_{kind}", (*TABLES[kind].columns, "file", "line"), rows)


async def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Add rows to a temporary table."""
    # Where asyncpg waits for room to write it never hears that the connection is lost (0.32): it is to have room for all.
    transport: asyncio.WriteTransport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
    transport.set_write_buffer_limits(high=_ROOM)
    await connection.copy_records_to_table(table, columns=list(columns), records=rows)


# Whoever comes back finds the guards that were in force when they were removed.
_COME_BACK: Final = f"""
    UPDATE new_registrant AS new SET {", ".join(f"{column} = coalesce(new.{column}, old.{column})" for column in GUARDS)}
    FROM registry.guard AS old
    WHERE old.handle = new.handle
        AND NOT EXISTS (SELECT FROM registry.registrant AS known WHERE known.handle = new.handle)"""  # noqa: S608 - names of ours


async def complete(connection: Connection) -> None:
    """After the last record: let who comes back be guarded as they were, and hosts that none names come into being.

    A host comes into being with the domain that names it first.
    """
    await connection.execute("ANALYZE " + ", ".join(f"new_{kind}" for kind in TABLES))
    await connection.execute(_COME_BACK)
    await connection.execute(
        "INSERT INTO new_host (name, file, line)"
        " SELECT DISTINCT ON (host) host, file, line FROM new_domain, unnest(nameservers) AS host"
        " WHERE NOT EXISTS (SELECT FROM new_host WHERE name = host) ORDER BY host, file, line"
    )


async def modes(connection: Connection, mode: Mode) -> Modes:
    """Return what becomes of each kind of record: where a kind stays that the files do not know, what is there does."""
    found = {}
    for kind, table in TABLES.items():
        stays = table.stays and not await connection.fetchval(f"SELECT EXISTS (SELECT FROM new_{kind})")  # noqa: S608 - names of ours
        found[kind] = Mode.MERGE if stays else mode
    return found


# --- what is wrong between records ---------------------------------------------------------------------------------


async def duplicates(connection: Connection, kind: str, most: int) -> list[tuple[Place, Place]]:
    """Return the places of records whose key was given before, each with the first place of that key, in their order."""
    key = ", ".join(TABLES[kind].key)
    # Nearly always there is none, and counting is cheaper than sorting.
    if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM new_{kind} GROUP BY {key} HAVING count(*) > 1)"):  # noqa: S608 - names of ours
        return []
    rows = await connection.fetch(
        "SELECT file, line, first_file, first_line FROM ("  # noqa: S608 - names of ours
        "  SELECT file, line, first_value(file) OVER same AS first_file, first_value(line) OVER same AS first_line,"
        "         row_number() OVER same AS number"
        f" FROM new_{kind} WINDOW same AS (PARTITION BY {key} ORDER BY file, line)"
        f") AS numbered WHERE number > 1 ORDER BY file, line LIMIT {most}"
    )
    return [((row[0], row[1]), (row[2], row[3])) for row in rows]


async def dangling(connection: Connection, reference: Reference, modes: Modes, most: int) -> list[Place]:
    """Return the places of records that name what is not there: not in the files nor, unless all else goes, before."""
    of = TABLES[reference.of]
    known = [f"new_{reference.of}"] + ([of.name] if modes[reference.of] is Mode.MERGE else [])
    nowhere = " AND ".join(
        f"NOT EXISTS (SELECT FROM {name} AS known WHERE known.{of.key[0]} = {reference.value})" for name in known
    )
    rows = await connection.fetch(
        f"SELECT file, line FROM new_{reference.kind} AS new"  # noqa: S608 - names of ours
        f" WHERE {reference.value} IS NOT NULL AND {reference.only} AND {nowhere} ORDER BY file, line LIMIT {most}"
    )
    return [(row[0], row[1]) for row in rows]


async def roles_of_the_unlinked(connection: Connection, most: int) -> list[Place]:
    """Return the places of object roles whose holder is a portal user who is not linked."""
    rows = await connection.fetch(
        "SELECT role.file, role.line FROM new_object_role AS role"  # noqa: S608 - a number of ours
        " LEFT JOIN new_portal_user AS new ON new.handle = role.holder"
        " LEFT JOIN portal.portal_user AS old ON old.handle = role.holder"
        f" WHERE NOT coalesce(new.linked, old.linked) ORDER BY file, line LIMIT {most}"
    )
    return [(row[0], row[1]) for row in rows]


# Guards that a record leaves as they are, and what else it may say that does not go with them: columns and conditions.
_CONTRADICTED: Final = {"address_protection": "new.kind <> 'individual'", "sole_proprietorship": "new.country = 'DK'"}


async def contradicted(connection: Connection, most: int) -> list[tuple[Place, str]]:
    """Return the places of registrants of whom a guard stays that what else their record says does not go with."""
    stays = {column: f"new.{column} IS NULL AND old.{column} AND {condition}" for column, condition in _CONTRADICTED.items()}
    came_back = {column: f"new.{column} AND {condition}" for column, condition in _CONTRADICTED.items()}
    found = []
    for joined, guards in (("JOIN registry.registrant", stays), ("JOIN registry.guard", came_back)):
        rows = await connection.fetch(
            f"SELECT new.file, new.line, {', '.join(f'{guard} AS {column}' for column, guard in guards.items())}"  # noqa: S608 - names of ours
            f" FROM new_registrant AS new {joined} AS old USING (handle)"
            f" WHERE {' OR '.join(f'({guard})' for guard in guards.values())} ORDER BY file, line LIMIT {most}"
        )
        found += [((row["file"], row["line"]), column) for row in rows for column in guards if row[column]]
    return sorted(found)


async def unknown_forms(connection: Connection, most: int) -> tuple[list[Place], int]:
    """Return the first places of registrants whose CVR form is no code of `registry.cvr_form`, and how many there are."""
    rows = await connection.fetch(
        "SELECT file, line, count(*) OVER () AS number FROM new_registrant"  # noqa: S608 - a number of ours
        " WHERE cvr_form IS NOT NULL AND cvr_form NOT IN (SELECT code FROM registry.cvr_form)"
        f" ORDER BY file, line LIMIT {most}"
    )
    return [(row["file"], row["line"]) for row in rows], rows[0]["number"] if rows else 0


# --- what would change -----------------------------------------------------------------------------------------------


async def compare(connection: Connection, kind: str, modes: Modes) -> Changes:
    """Count what writing a kind of record would change."""
    table = TABLES[kind]
    row = await only_row(
        connection,
        f"SELECT count(*) AS records, (SELECT count(*) FROM {table.name}) AS before,"  # noqa: S608 - names of ours
        f" count(*) FILTER (WHERE old.{table.key[0]} IS NULL) AS added,"
        f" count(*) FILTER (WHERE old.{table.key[0]} IS NOT NULL AND {_differs(table)}) AS changed"
        f" FROM new_{kind} AS new LEFT JOIN {table.name} AS old ON {_same_key(table)}",
    )
    changes = Changes(**row)
    if modes[kind] is Mode.REPLACE:
        changes.removed = changes.before - (changes.records - changes.added)
    elif removed := _removed(kind, modes):
        changes.removed = await connection.fetchval(f"SELECT count(*) FROM {table.name} AS old WHERE {removed}")  # noqa: S608 - names of ours
    return changes


async def disagreements(connection: Connection) -> Sequence[Record]:
    """Return the records that do not say what was decided by hand, or come back to it after a removal; with what was."""
    rows: Sequence[Record] = await connection.fetch(
        "SELECT new.file, new.line, handle, new.country, new.sole_proprietorship, by_hand.decision,"
        " old.name IS NULL AS is_back"
        " FROM (SELECT handle, max(decision) AS decision FROM registry.classification GROUP BY handle) AS by_hand"
        " JOIN new_registrant AS new USING (handle)"
        " LEFT JOIN registry.registrant AS old USING (handle)"
        " WHERE (by_hand.decision = 'yes') <> new.sole_proprietorship OR new.country = 'DK' OR old.name IS NULL"
        " ORDER BY file, line"
    )
    return rows


# What withholds an email and a load may end: each a column, and the condition on which it counts.
_LIFTABLE: Final = {
    "address_protection": "true",
    "cvr_bankruptcy": "true",
    "sole_proprietorship": "NOT EXISTS (SELECT FROM registry.classification AS by_hand WHERE by_hand.handle = old.handle)",
}


async def lifted(connection: Connection) -> list[tuple[Place, str]]:
    """Return the places of registrants of whom something withholds the email now, and would not any more; each with what."""
    ends = {column: f"old.{column} AND NOT new.{column} AND {counts}" for column, counts in _LIFTABLE.items()}
    rows = await connection.fetch(
        f"SELECT new.file, new.line, {', '.join(f'{end} AS {column}' for column, end in ends.items())}"  # noqa: S608 - names of ours
        " FROM new_registrant AS new JOIN registry.registrant AS old USING (handle)"
        f" WHERE {' OR '.join(ends.values())} ORDER BY file, line"
    )
    return [((row["file"], row["line"]), column) for row in rows for column in ends if row[column]]


async def groups_left_behind(connection: Connection) -> list[Place]:
    """Return the places of portal users who go to another account, where the group that they have is not theirs."""
    rows = await connection.fetch(
        "SELECT new.file, new.line FROM new_portal_user AS new JOIN portal.portal_user AS old USING (handle)"
        " WHERE old.account <> new.account AND old.access_group IS NOT NULL AND new.access_group IS NULL ORDER BY file, line"
    )
    return [(row[0], row[1]) for row in rows]


async def hold_removed(connection: Connection, changes: Mapping[str, Changes], modes: Modes) -> None:
    """Hold what is to be removed: whoever would decide on it waits, and then finds that it is gone.

    In the order in which `write` removes, so that a take-over under way and a load do not wait for each other.
    """
    for kind, table in reversed(list(TABLES.items())):
        if changes[kind].removed:
            rows = f"SELECT FROM {table.name} AS old WHERE {_removed(kind, modes)} FOR UPDATE"
            await connection.execute(f"SELECT count(*) FROM ({rows}) AS held")  # noqa: S608 - names of ours


# The roles on what `Mode.REPLACE` would remove, which go with it; each as the audit trail has it.
_DECIDED_AND_REMOVED: Final = """
    SELECT object, jsonb_build_object('account', account, 'roles', jsonb_build_array(role)) AS before
    FROM portal.taken_over_role AS old
    WHERE EXISTS (SELECT FROM new_registrar) AND NOT EXISTS (SELECT FROM new_registrar AS new WHERE new.handle = old.account)
        OR domain IS NOT NULL AND NOT EXISTS (SELECT FROM new_domain AS new WHERE new.name = old.domain)
        OR registrant IS NOT NULL AND NOT EXISTS (SELECT FROM new_registrant AS new WHERE new.handle = old.registrant)
        OR host IS NOT NULL AND NOT EXISTS (SELECT FROM new_host AS new WHERE new.name = old.host)"""


async def decided_and_removed(connection: Connection) -> tuple[int, int]:
    """Return how many registrants who were classified by hand, and roles that were taken over, go with `Mode.REPLACE`."""
    row = await only_row(
        connection,
        "SELECT (SELECT count(DISTINCT handle) FROM registry.classification"  # noqa: S608 - SQL of ours
        "        JOIN registry.registrant AS old USING (handle)"
        "        WHERE NOT EXISTS (SELECT FROM new_registrant AS new WHERE new.handle = old.handle)) AS classified,"
        f" (SELECT count(*) FROM ({_DECIDED_AND_REMOVED}) AS lost) AS roles",
    )
    return row["classified"], row["roles"]


async def record_removed(connection: Connection, account: str) -> None:
    """Leave a row in the audit trail for each decision that goes with what `Mode.REPLACE` removes; before it does."""
    await connection.execute(
        "INSERT INTO audit.entry (who, command, object, before, account)"  # noqa: S608 - SQL of ours
        f" SELECT $1, 'load', object, before, $1 FROM ({_DECIDED_AND_REMOVED}) AS lost",
        account,
    )


async def end_roles(connection: Connection, account: str) -> int:
    """End the roles that were taken over on a domain whose registrant changes, and return how many there were.

    They were held under the registrant of then, and would let their account classify the one of now. Each domain and
    account has a row in the audit trail.
    """
    ended: int = await connection.fetchval(_END_ROLES, account)
    return ended


_END_ROLES: Final = """
    WITH ended AS (
        DELETE FROM portal.taken_over_role AS held
        USING registry.domain AS old JOIN new_domain AS new USING (name)
        WHERE held.domain = old.name AND old.registrant IS DISTINCT FROM new.registrant
        RETURNING held.account, held.object, held.role
    ), recorded AS (
        INSERT INTO audit.entry (who, command, object, before, after, account)
        SELECT
            $1, 'load', object,
            jsonb_build_object('account', account, 'roles', jsonb_agg(role ORDER BY role)),
            jsonb_build_object('account', account, 'roles', jsonb_build_array()),
            $1
        FROM ended
        GROUP BY account, object
    )
    SELECT count(*) FROM ended"""


# --- the merge -------------------------------------------------------------------------------------------------------


# The registrants whom a load may show: those whose own row changes, and those who get a domain, or have one that changes.
_CONCERNED: Final = """
    SELECT handle FROM new_registrant AS new JOIN registry.registrant AS old USING (handle) WHERE {0}
    UNION ALL
    SELECT new.registrant FROM new_domain AS new LEFT JOIN registry.domain AS old USING (name)
    WHERE new.registrant IS NOT NULL
        AND (new.status, new.registrant) IS DISTINCT FROM (old.status, old.registrant)"""


def concerned() -> str:
    """Return the query for the handles of registrants of whom more may be shown once the load has written."""
    return _CONCERNED.format(_differs(TABLES["registrant"]))


async def write(connection: Connection, changes: Mapping[str, Changes], modes: Modes) -> None:
    """Write what differs, and nothing else; what others refer to comes first and goes last."""
    for kind, table in TABLES.items():
        if changes[kind].changed:
            await connection.execute(_update(kind, table))
        if changes[kind].added:
            await connection.execute(_insert(kind, table))
    for kind, table in reversed(list(TABLES.items())):
        if changes[kind].removed:
            await connection.execute(f"DELETE FROM {table.name} AS old WHERE {_removed(kind, modes)}")  # noqa: S608 - names of ours
    # Whoever is back has them in their row.
    await connection.execute("DELETE FROM registry.guard AS old USING new_registrant AS new WHERE new.handle = old.handle")


def _removed(kind: str, modes: Modes) -> str:
    """Return the SQL by which a row is removed; empty where none of the kind is."""
    if modes[kind] is Mode.REPLACE:
        return f"NOT EXISTS (SELECT FROM new_{kind} AS new WHERE {_same_key(TABLES[kind])})"
    if kind == "portal_user" and modes["registrar"] is Mode.REPLACE:
        return "NOT EXISTS (SELECT FROM new_registrar AS new WHERE new.handle = old.account)"
    return ""


def _update(kind: str, table: Table) -> str:
    values = ", ".join(f"{column} = {value}" for column, value in zip(table.values, _new_values(table), strict=True))
    return (
        f"UPDATE {table.name} AS old SET {values} FROM new_{kind} AS new"  # noqa: S608 - names of ours
        f" WHERE {_same_key(table)} AND {_differs(table)}"
    )


def _insert(kind: str, table: Table) -> str:
    values = ", ".join(
        f"coalesce({column}, {absent.first})" if (absent := table.absent.get(column)) else column for column in table.columns
    )
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) SELECT {values} FROM new_{kind} AS new"  # noqa: S608 - names of ours
        f" WHERE NOT EXISTS (SELECT FROM {table.name} AS old WHERE {_same_key(table)})"
        f" ORDER BY {', '.join(table.key)}"  # in its order an index takes them in much faster
    )


def _same_key(table: Table) -> str:
    return " AND ".join(f"new.{column} = old.{column}" for column in table.key)


def _differs(table: Table) -> str:
    """Return the SQL by which a record differs from the row that has its key."""
    old = ", ".join(f"old.{column}" for column in table.values)
    return f"ROW({', '.join(_new_values(table))}) IS DISTINCT FROM ROW({old})" if table.values else "false"


def _new_values(table: Table) -> Iterator[str]:
    for column in table.values:
        absent = table.absent.get(column)
        yield f"coalesce(new.{column}, {absent.kept})" if absent else f"new.{column}"
