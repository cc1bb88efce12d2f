"""Writes registry data to the database: what the serving path never does.

`load` reads registry files, checks every line and every reference, and merges them in one transaction: all of it or
nothing. The server answers meanwhile from what was there before, and from the whole of the new once it is committed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from whoisd.errors import LoadError
from whoisd.migrations import lock_registry
from whoisd.records import DomainRecord, HostRecord, Record, RegistrantRecord, RegistrarRecord, parse_record

MOST_FAULTS: Final = 100  # reported by one load; then it stops looking

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Table:
    """How a kind of record lies in the database: its table's key and columns, which are the record's fields."""

    name: str
    key: str
    columns: tuple[str, ...]


def _table(record: type[Record], name: str, *, key: str, but: Sequence[str] = ()) -> _Table:
    return _Table(name, key, tuple(column for column in record.model_fields if column not in ("type", *but)))


_TABLES: Final = {
    "registrar": _table(RegistrarRecord, "registrar", key="handle"),
    "registrant": _table(RegistrantRecord, "registrant", key="handle"),
    "host": _table(HostRecord, "host", key="name"),
    "domain": _table(DomainRecord, "domain", key="name", but=("nameservers",)),
}


@dataclass(slots=True)
class _Batch:
    """Everything that the files hold: rows for each table, each ending in its file's number and its line."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _TABLES})
    delegations: list[Row] = field(default_factory=list)


async def load(connection: Any, paths: Sequence[Path]) -> dict[str, int]:
    """Load registry files as the owner; return the number of records of each kind.

    What the database holds under the same handle or name is replaced, all else is left as it is. Raises `LoadError`,
    with up to 100 faults as `file:line: field: what is wrong`, and then nothing is changed.
    """
    batch = _read(paths)
    await lock_registry(connection)
    try:
        async with connection.transaction():
            await _stage(connection, batch)
            for table in ("registrar", "registrant", "host"):
                await _merge(connection, _TABLES[table])
            await _check_references(connection, paths)
            await _merge(connection, _TABLES["domain"])
            await _merge_delegations(connection)
    except asyncpg.IntegrityConstraintViolationError as error:
        # The records are checked by the same rules, so this is a fault of ours; the error's text would quote the row.
        raise LoadError([f"the database refuses the data: {error.table_name}: {error.constraint_name}"]) from None
    await connection.execute("ANALYZE registry.registrant, registry.host, registry.domain, registry.delegation")
    return {name: len(rows) for name, rows in batch.rows.items()}


# --- reading -----------------------------------------------------------------------------------------------------


def _read(paths: Sequence[Path]) -> _Batch:
    batch = _Batch()
    seen: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for number, path in enumerate(paths):
        for line, text in _lines(path):
            place = f"{path}:{line}"
            try:
                record = parse_record(text)
                key = (record.type, getattr(record, _TABLES[record.type].key))
                if key in seen:
                    raise ValueError(f"{_TABLES[record.type].key}: given before, at {seen[key]}")  # noqa: TRY301 - a fault like any other of the line
            except ValueError as error:
                faults.append(f"{place}: {error}")
                if len(faults) == MOST_FAULTS:
                    raise LoadError([*faults, f"more than {MOST_FAULTS - 1} faults; the rest was not looked at"]) from None
                continue
            seen[key] = place
            _add(batch, record, (number, line))
    if faults:
        raise LoadError(faults)
    return batch


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text
    except OSError as error:
        raise LoadError([f"{path}: cannot be read: {error.strerror}"]) from None


def _add(batch: _Batch, record: Record, place: tuple[int, int]) -> None:
    columns = _TABLES[record.type].columns
    batch.rows[record.type].append((*(getattr(record, column) for column in columns), *place))
    if isinstance(record, DomainRecord):
        batch.delegations += [(record.name, position, host) for position, host in enumerate(record.nameservers, start=1)]


# --- writing -----------------------------------------------------------------------------------------------------


async def _stage(connection: Any, batch: _Batch) -> None:
    """Copy the rows into temporary tables, where SQL can compare them with what the database holds."""
    for table in _TABLES.values():
        columns = ", ".join(table.columns)
        await connection.execute(
            f"CREATE TEMPORARY TABLE new_{table.name} ON COMMIT DROP AS"  # noqa: S608 - names of ours
            f" SELECT {columns}, 0 AS file, 0 AS line FROM registry.{table.name} WITH NO DATA"
        )
        await connection.copy_records_to_table(
            f"new_{table.name}", columns=(*table.columns, "file", "line"), records=batch.rows[table.name]
        )
    await connection.execute(
        "CREATE TEMPORARY TABLE new_delegation ON COMMIT DROP AS"
        " SELECT domain, position, host FROM registry.delegation WITH NO DATA"
    )
    await connection.copy_records_to_table(
        "new_delegation", columns=("domain", "position", "host"), records=batch.delegations
    )


async def _merge(connection: Any, table: _Table) -> None:
    columns = ", ".join(table.columns)
    others = [column for column in table.columns if column != table.key]
    update = "UPDATE SET " + ", ".join(f"{column} = excluded.{column}" for column in others) if others else "NOTHING"
    await connection.execute(
        f"INSERT INTO registry.{table.name} ({columns}) SELECT {columns} FROM new_{table.name}"  # noqa: S608 - names of ours
        f" ON CONFLICT ({table.key}) DO {update}"
    )


async def _merge_delegations(connection: Any) -> None:
    await connection.execute("DELETE FROM registry.delegation WHERE domain IN (SELECT name FROM new_domain)")
    await connection.execute(
        "INSERT INTO registry.host (name) SELECT DISTINCT host FROM new_delegation ON CONFLICT DO NOTHING"
    )
    await connection.execute(
        "INSERT INTO registry.delegation (domain, position, host) SELECT domain, position, host FROM new_delegation"
    )


async def _check_references(connection: Any, paths: Sequence[Path]) -> None:
    """Raise `LoadError` when a domain names a registrar or registrant that neither files nor database hold."""
    faults = []
    for field_name in ("registrar", "registrant"):
        rows = await connection.fetch(
            f"SELECT file, line FROM new_domain WHERE {field_name} IS NOT NULL AND NOT EXISTS"  # noqa: S608 - names of ours
            f" (SELECT FROM registry.{field_name} WHERE handle = new_domain.{field_name})"
            f" ORDER BY file, line LIMIT {MOST_FAULTS}"
        )
        faults += [(row["file"], row["line"], field_name) for row in rows]
    if faults:
        raise LoadError(
            [
                f"{paths[file]}:{line}: {field_name}: no {field_name} has this handle, in these files or in the database"
                for file, line, field_name in sorted(faults)[:MOST_FAULTS]
            ]
        )
