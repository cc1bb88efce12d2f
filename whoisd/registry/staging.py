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


class Table(NamedTuple):
    """How a kind of record lies in the database; its columns are the record's fields."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    plural: str
    kept: Mapping[str, str]  # columns that a record without a value leaves as they are, while another column is the same

    @property
    def values(self) -> tuple[str, ...]:
        """The columns besides the key."""
        return tuple(column for column in self.columns if column not in self.key)


# In the order of `RECORDS`: none refers to a later one.
TABLES: Final[Mapping[str, Table]] = {
    kind: Table(f"{schema}.{kind}", key, RECORDS[kind]._fields, plural, kept)
    for kind, schema, key, plural, kept in (
        ("registrar", "registry", ("handle",), "registrars", {}),
        ("registrant", "registry", ("handle",), "registrants", {}),
        ("host", "registry", ("name",), "hosts", {}),
        ("domain", "registry", ("name",), "domains", {}),
        ("staff", "portal", ("name",), "staff", {}),
        ("portal_user", "portal", ("handle",), "portal users", {"access_group": "account"}),
        ("object_role", "portal", ("holder", "object", "role"), "object roles", {}),
    )
}


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
    columns = (*TABLES[kind].columns, "file", "line")
    # Where asyncpg waits for room to write it never hears that the connection is lost (0.32): it is to have room for all.
    transport: asyncio.WriteTransport = connection._transport  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
    transport.set_write_buffer_limits(high=_ROOM)
    await connection.copy_records_to_table(f"new_{kind}", columns=columns, records=rows)


async def complete(connection: Connection) -> None:
    """After the last record: let hosts that none names come into being with the domain that names them first."""
    await connection.execute("ANALYZE " + ", ".join(f"new_{kind}" for kind in TABLES))
    await connection.execute(
        "INSERT INTO new_host (name, file, line)"
        " SELECT DISTINCT ON (host) host, file, line FROM new_domain, unnest(nameservers) AS host"
        " WHERE NOT EXISTS (SELECT FROM new_host WHERE name = host) ORDER BY host, file, line"
    )


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


async def dangling(connection: Connection, reference: Reference, mode: Mode, most: int) -> list[Place]:
    """Return the places of records that name what is not there: not in the files nor, unless all else goes, before."""
    of = TABLES[reference.of]
    known = [f"new_{reference.of}"] + ([of.name] if mode is Mode.MERGE else [])
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


# --- what would change -----------------------------------------------------------------------------------------------


async def compare(connection: Connection, kind: str, mode: Mode) -> Changes:
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
    if mode is Mode.REPLACE:
        changes.removed = changes.before - (changes.records - changes.added)
    return changes


async def disagreements(connection: Connection) -> Sequence[Record]:
    """Return the records that do not say what was decided by hand, with what was."""
    rows: Sequence[Record] = await connection.fetch(
        "SELECT new.file, new.line, new.country, new.sole_proprietorship, old.classified_by_hand"
        " FROM registry.registrant AS old JOIN new_registrant AS new USING (handle)"
        " WHERE old.classified_by_hand <> new.sole_proprietorship"
        " OR old.classified_by_hand IS NOT NULL AND new.country = 'DK'"
        " ORDER BY file, line"
    )
    return rows


# What withholds an email and a load may end: each a column, and the condition on which it counts.
_LIFTABLE: Final = {
    "address_protection": "true",
    "cvr_bankruptcy": "true",
    "sole_proprietorship": "old.classified_by_hand IS NULL",
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


async def hold_removed(connection: Connection, changes: Mapping[str, Changes]) -> None:
    """Hold what `Mode.REPLACE` removes: whoever would decide on it waits, and then finds that it is gone.

    In the order in which `write` removes, so that a take-over under way and a load do not wait for each other.
    """
    for kind, table in reversed(list(TABLES.items())):
        if changes[kind].removed:
            rows = f"SELECT FROM {table.name} AS old WHERE {_is_removed(kind, table)} FOR UPDATE"
            await connection.execute(f"SELECT count(*) FROM ({rows}) AS held")  # noqa: S608 - names of ours


# What people decided about what `Mode.REPLACE` would remove, each as the audit trail has it.
_DECIDED_AND_REMOVED: Final = """
    SELECT 'registrant:' || handle AS object, jsonb_build_object('classified_by_hand', classified_by_hand) AS before
    FROM registry.registrant AS old
    WHERE classified_by_hand IS NOT NULL AND NOT EXISTS (SELECT FROM new_registrant AS new WHERE new.handle = old.handle)
    UNION ALL
    SELECT object, jsonb_build_object('account', account, 'roles', jsonb_build_array(role))
    FROM portal.taken_over_role AS old
    WHERE NOT EXISTS (SELECT FROM new_registrar AS new WHERE new.handle = old.account)
        OR domain IS NOT NULL AND NOT EXISTS (SELECT FROM new_domain AS new WHERE new.name = old.domain)
        OR registrant IS NOT NULL AND NOT EXISTS (SELECT FROM new_registrant AS new WHERE new.handle = old.registrant)
        OR host IS NOT NULL AND NOT EXISTS (SELECT FROM new_host AS new WHERE new.name = old.host)"""


async def decided_and_removed(connection: Connection) -> tuple[int, int]:
    """Return how many classifications, and how many roles that were taken over, `Mode.REPLACE` would remove."""
    row = await only_row(
        connection,
        "SELECT count(*) FILTER (WHERE before ? 'classified_by_hand') AS one,"  # noqa: S608 - SQL of ours
        " count(*) FILTER (WHERE before ? 'roles') AS other"
        f" FROM ({_DECIDED_AND_REMOVED}) AS lost",
    )
    return row["one"], row["other"]


async def record_removed(connection: Connection, account: str) -> None:
    """Leave a row in the audit trail for each decision that goes with what `Mode.REPLACE` removes; before it does."""
    await connection.execute(
        "INSERT INTO audit.entry (who, command, object, before, account)"  # noqa: S608 - SQL of ours
        f" SELECT $1, 'load', object, before, $1 FROM ({_DECIDED_AND_REMOVED}) AS lost",
        account,
    )


# --- the merge -------------------------------------------------------------------------------------------------------


async def write(connection: Connection, changes: Mapping[str, Changes]) -> None:
    """Write what differs, and nothing else; what others refer to comes first and goes last."""
    for kind, table in TABLES.items():
        if changes[kind].changed:
            await connection.execute(_update(kind, table))
        if changes[kind].added:
            await connection.execute(_insert(kind, table))
    for kind, table in reversed(list(TABLES.items())):
        if changes[kind].removed:
            await connection.execute(
                f"DELETE FROM {table.name} AS old WHERE {_is_removed(kind, table)}"  # noqa: S608 - names of ours
            )


def _is_removed(kind: str, table: Table) -> str:
    return f"NOT EXISTS (SELECT FROM new_{kind} AS new WHERE {_same_key(table)})"


def _update(kind: str, table: Table) -> str:
    values = ", ".join(f"{column} = {value}" for column, value in zip(table.values, _new_values(table), strict=True))
    return (
        f"UPDATE {table.name} AS old SET {values} FROM new_{kind} AS new"  # noqa: S608 - names of ours
        f" WHERE {_same_key(table)} AND {_differs(table)}"
    )


def _insert(kind: str, table: Table) -> str:
    columns = ", ".join(table.columns)
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM new_{kind} AS new"  # noqa: S608 - names of ours
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
        if same := table.kept.get(column):
            yield f"coalesce(new.{column}, CASE WHEN new.{same} = old.{same} THEN old.{column} END)"
        else:
            yield f"new.{column}"
