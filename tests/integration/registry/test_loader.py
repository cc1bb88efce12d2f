"""Loading registry files: what is added and replaced, how faults are named, and that it is all or nothing."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import IN_FORCE, Database

from whoisd.database.audit import this_account
from whoisd.database.migrations import migrate
from whoisd.errors import LoadError, RegistrantError
from whoisd.registry import staging
from whoisd.registry.access import Group, User
from whoisd.registry.classification import Decision, classify
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import Options, Report, load
from whoisd.registry.portal import convert, take_over, user_of
from whoisd.registry.staging import TABLES, Mode

Fields = dict[str, Any]

REGISTRAR: Fields = {"type": "registrar", "handle": "REG-9", "name": "Ny Registrator ApS"}
REGISTRANT: Fields = {
    "type": "registrant",
    "handle": "NY-DK",
    "kind": "company",
    "name": "Ny ApS",
    "country": "DK",
    "email": "post@ny.example",
}
DOMAIN: Fields = {
    "type": "domain",
    "name": "ny.dk",
    "status": "active",
    "registered": "2020-01-31",
    "expires": "2027-01-31",
    "period_years": 1,
    "registrar": "REG-9",
    "registrant": "NY-DK",
    "nameservers": ["ns2.ny.dk", "ns1.ny.dk"],
}
LINE = "must be one line of text: not blank, without control characters, at most 255 characters"
OFFERED: Fields = {"type": "domain", "name": "ny.dk", "status": "offered_to_waiting_list"}


@pytest.fixture
def empty_registry(empty_database: Database) -> Database:
    """A database that is migrated and holds nothing."""

    async def migrated() -> None:
        async with owner(empty_database) as connection:
            await migrate(connection)

    asyncio.run(migrated())
    return empty_database


@asynccontextmanager
async def owner(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.owner)
    try:
        yield connection
    finally:
        await connection.close()


def write(path: Path, *records: Fields | str) -> Path:
    """A registry file of these records; a text is a line as it stands."""
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


async def load_files(database: Database, *paths: Path, **options: Any) -> Report:
    async with owner(database) as connection:
        return await load(connection, RegistryFiles(paths), Options(**options))


def counts(report: Report) -> dict[str, int]:
    """How many records of each kind there were, as far as there were any."""
    return {kind: changes.records for kind, changes in report.changes.items() if changes.records}


async def faults(database: Database, *paths: Path, **options: Any) -> list[str]:
    """The faults for which these files are refused."""
    with pytest.raises(LoadError) as refused:
        await load_files(database, *paths, **options)
    return [*refused.value.faults]


async def domain(database: Database, name: str = "ny.dk") -> Any:
    """The domain as the server sees it."""
    async with owner(database) as connection:
        return await connection.fetchrow("SELECT * FROM whois.domain WHERE name = $1", name)


async def contents(database: Database) -> dict[str, list[str]]:
    """Everything that the registry's tables hold."""
    async with owner(database) as connection:
        return {table.name: sorted(map(repr, await connection.fetch(f"TABLE {table.name}"))) for table in TABLES.values()}


# --- what a load changes -----------------------------------------------------------------------------------------


async def test_adds(database: Database, tmp_path: Path) -> None:
    """Records are added, and counted by their kind."""
    report = await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    assert counts(report) == {"registrar": 1, "registrant": 1, "host": 2, "domain": 1}
    row = await domain(database)
    assert (row["registrar"], row["registrant_name"], str(row["expires"])) == ("Ny Registrator ApS", "Ny ApS", "2027-01-31")


async def test_keeps_every_field(database: Database, tmp_path: Path) -> None:
    """Every field of a registrant and of a domain is where the server reads it, as it stands in the file."""
    facts: Fields = {
        "kind": "association",
        "name": "Forening Łódź €",
        "street": ["Ørevej 1", "2. sal"],
        "postal_code": "2300",
        "city": "København S",
        "country": "DK",
        "phone": "+45 00112233",
        "email": "post@ny.example",
        "secondary_email": "anden@ny.example",
        "vat_number": "99000015",
        "cvr_locked": True,
        "cvr_bankruptcy": True,
        "sole_proprietorship": False,
        "address_protection": False,
        "id_confirmed": False,
        "id_status": "documentation",
    }
    full = DOMAIN | {"delete_date": "2027-02-28", "vid": True, "dnssec": True, "period_years": 5}
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT | facts | {"cvr_form": 20}, full))
    row = await domain(database)
    assert {name: row[f"registrant_{name}"] for name in facts} == facts
    assert row["registrant_cvr_form"] == "deceased_estate"
    assert (str(row["delete_date"]), row["vid"], row["dnssec"], row["period_years"]) == ("2027-02-28", True, True, 5)


async def test_keeps_how_to_reach_a_registrar(database: Database, tmp_path: Path) -> None:
    """Every field of a registrar is where the server reads it, and a later record replaces them all."""
    contact: Fields = {
        "public": True,
        "street": ["Registratorvej 1"],
        "postal_code": "2300",
        "city": "København S",
        "country": "DK",
        "phone": "+45 00112233",
        "url": "https://ny.example/",
        "email": "kunder@ny.example",
        "abuse_email": "misbrug@ny.example",
    }
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR | contact, REGISTRANT, DOMAIN))
    row = await domain(database)
    assert {name: row[f"registrar_{name}"] for name in contact} == contact
    await load_files(database, write(tmp_path / "b.jsonl", REGISTRAR))
    row = await domain(database)
    assert {name: row[f"registrar_{name}"] for name in contact} == dict.fromkeys(contact) | {"public": False}


async def test_replaces(database: Database, tmp_path: Path) -> None:
    """What is there under the same handle or name is replaced whole, values that are no longer given too."""
    with_phone = REGISTRANT | {"phone": "+45 00112233", "secondary_email": "anden@ny.example"}
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, with_phone, DOMAIN | {"dnssec": True}))
    renamed = [REGISTRAR | {"name": "Omdøbt"}, REGISTRANT | {"name": "Ny A/S"}, DOMAIN | {"registrar": None, "vid": True}]
    await load_files(database, write(tmp_path / "b.jsonl", *renamed))
    row = await domain(database)
    assert (row["registrant_name"], row["registrant_phone"], row["registrant_secondary_email"]) == ("Ny A/S", None, None)
    assert (row["registrar"], row["vid"], row["dnssec"]) == (None, True, False)


async def test_leaves_the_rest(database: Database, tmp_path: Path) -> None:
    """What the files do not name stays as it is."""
    before = await domain(database, "eksempel.dk")
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    assert await domain(database, "eksempel.dk") == before


async def test_again(database: Database, tmp_path: Path) -> None:
    """Loading the same file again changes nothing."""
    file = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    await load_files(database, file)
    before = await contents(database)
    await load_files(database, file)
    assert await contents(database) == before


async def test_order_does_not_matter(database: Database, tmp_path: Path) -> None:
    """A record may refer to one that comes later, in the same file or in another."""
    files = write(tmp_path / "a.jsonl", DOMAIN, REGISTRANT), write(tmp_path / "b.jsonl", REGISTRAR)
    await load_files(database, *files)
    assert (await domain(database))["registrant_name"] == "Ny ApS"


async def test_references_to_the_database(database: Database, tmp_path: Path) -> None:
    """A record may refer to what the database holds already."""
    await load_files(
        database, write(tmp_path / "a.jsonl", DOMAIN | {"registrar": "REG-100001", "registrant": "EKSEMPEL-DK"})
    )
    assert (await domain(database))["registrant_name"] == "Eksempel Handel A/S"


async def test_blank_lines(database: Database, tmp_path: Path) -> None:
    """Blank lines are passed over, and counted; a last line without its end is a line."""
    file = write(tmp_path / "a.jsonl", "", REGISTRAR, " \t\r", REGISTRANT | {"country": "dk"})
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert await faults(database, file) == [f"{file}:4: country: must be two capital letters"]


async def test_empty_file(database: Database, tmp_path: Path) -> None:
    """Files without records load nothing and are no fault, but a warning: what was to write them may have failed."""
    files = [write(tmp_path / "a.jsonl"), write(tmp_path / "b.jsonl")]
    report = await load_files(database, *files)
    assert counts(report) == {}
    assert report.warnings == [f"{files[0]}, {files[1]}: no record"]
    assert (await load_files(database, files[0], write(tmp_path / "b.jsonl", REGISTRAR))).warnings == []


# --- hosts and delegations ---------------------------------------------------------------------------------------


async def test_delegation_order(database: Database, tmp_path: Path) -> None:
    """Name servers keep the order of the record, and a later record's replace them all."""
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    assert (await domain(database))["nameservers"] == ["ns2.ny.dk", "ns1.ny.dk"]
    servers = ["ns1.ny.dk", "ns.example.net", "ns2.ny.dk"]
    await load_files(database, write(tmp_path / "b.jsonl", DOMAIN | {"nameservers": servers}))
    assert (await domain(database))["nameservers"] == servers


async def test_offered_again(database: Database, tmp_path: Path) -> None:
    """A domain that is offered to a waiting list loses its registrant, its dates and its delegation."""
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    await load_files(database, write(tmp_path / "b.jsonl", OFFERED))
    row = await domain(database)
    assert (row["registrant_kind"], row["registered"], row["expires"], row["nameservers"]) == (None, None, None, [])


async def test_hosts_come_with_domains(database: Database, tmp_path: Path) -> None:
    """A host that no record names comes into being with the domain that it serves, as its A-label."""
    servers = ["NS1.Ærø.dk", "ns1.eksempel.dk"]
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN | {"nameservers": servers}))
    assert (await domain(database))["nameservers"] == ["ns1.xn--r-3fa9c.dk", "ns1.eksempel.dk"]


async def test_hosts_of_their_own(database: Database, tmp_path: Path) -> None:
    """A host that serves no domain is a host too, and one that is there already is no fault."""
    file = write(
        tmp_path / "a.jsonl", {"type": "host", "name": "ns9.example.net"}, {"type": "host", "name": "NS1.eksempel.dk."}
    )
    assert counts(await load_files(database, file)) == {"host": 2}
    async with owner(database) as connection:
        assert await connection.fetchval("SELECT glue FROM whois.host WHERE name = 'ns9.example.net'") is False


@pytest.mark.parametrize(
    ("changes", "host", "glue"),
    [
        ({"nameservers": ["ns1.ny.dk", "ns.example.net"]}, "ns1.ny.dk", True),
        ({"nameservers": ["a.b.ny.dk", "ns.example.net"]}, "a.b.ny.dk", True),
        ({"nameservers": ["ny.dk", "ns.example.net"]}, "ny.dk", True),
        ({"name": "æøå.dk", "nameservers": ["ns1.æøå.dk", "ns.example.net"]}, "ns1.xn--5cab8c.dk", True),
        ({"nameservers": ["ns1.ny.dk", "ns.example.net"]}, "ns.example.net", False),
        ({"nameservers": ["ns1.ny.dk", "ns.ny.dk.example.net"]}, "ns.ny.dk.example.net", False),
        ({"nameservers": ["ns1.ny.dk", "ns.xny.dk"]}, "ns.xny.dk", False),
        ({"nameservers": ["ns1.eksempel.dk", "ns3.eksempel.dk"]}, "ns1.eksempel.dk", True),
        ({"nameservers": ["ns1.eksempel.dk", "ns3.eksempel.dk"]}, "ns3.eksempel.dk", False),
        ({"status": "deactivated"}, "ns1.ny.dk", False),
        ({"status": "reserved"}, "ns1.ny.dk", False),
        ({"status": "active"}, "ns1.ny.dk", True),
    ],
)
async def test_glue(database: Database, tmp_path: Path, changes: Fields, host: str, glue: bool) -> None:
    """Glue is only for a host under .dk that serves the very domain it is a child of, while that domain is active."""
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN | changes))
    async with owner(database) as connection:
        assert await connection.fetchval("SELECT glue FROM whois.host WHERE name = $1", host) is glue


async def test_glue_of_a_host_that_does_not_serve(database: Database, tmp_path: Path) -> None:
    """A child of an active domain that does not serve it has no glue."""
    child = {"type": "host", "name": "ns3.ny.dk"}
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN, child))
    async with owner(database) as connection:
        assert await connection.fetchval("SELECT glue FROM whois.host WHERE name = 'ns3.ny.dk'") is False
        assert await connection.fetchval("SELECT glue FROM whois.host WHERE name = 'ns1.ny.dk'") is True


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ("{", "not a JSON object"),
        (REGISTRANT | {"email": ""}, f"email: {LINE}"),
        (REGISTRANT | {"attention": "Bodil"}, "attention: not a field of this record"),
        (DOMAIN | {"nameservers": []}, "nameservers: an active domain has 2 to 7"),
        (DOMAIN | {"nameservers": ["ns1.ny.dk"]}, "nameservers: an active domain has 2 to 7"),
        (
            DOMAIN | {"nameservers": [f"ns{number}.ny.dk" for number in range(8)]},
            "nameservers: must be a list of at most 7 names",
        ),
        (DOMAIN | {"nameservers": ["ns1.ny.dk", "NS1.ny.dk."]}, "nameservers: names a host twice"),
        (DOMAIN | {"registrar": None}, "registrant: there is no such registrant, in these files or in the database"),
        (OFFERED | {"registrar": "NOBODY"}, "registrar: there is no such registrar, in these files or in the database"),
    ],
)
async def test_all_or_nothing(database: Database, tmp_path: Path, record: Fields | str, fault: str) -> None:
    """A fault in the last line of the last file is named by file, line and field, and leaves the database as it was."""
    before = await contents(database)
    first = write(tmp_path / "a.jsonl", REGISTRAR, {"type": "host", "name": "ns9.example.net"})
    last = write(tmp_path / "b.jsonl", REGISTRANT | {"handle": "ANDEN-DK"}, OFFERED | {"name": "andet.dk"}, record)
    assert await faults(database, first, last) == [f"{last}:3: {fault}"]
    assert await contents(database) == before


async def test_every_fault_is_named(database: Database, tmp_path: Path) -> None:
    """All faults of all files are named at once, in the order of the files and lines."""
    first = write(tmp_path / "b.jsonl", "{", REGISTRAR, REGISTRANT | {"kind": None, "cvr_locked": 1})
    second = write(tmp_path / "a.jsonl", OFFERED | {"name": "ny.se"})
    found = await faults(database, first, second)
    assert [fault.split(": ")[0] for fault in found] == [f"{first}:1", f"{first}:3", f"{second}:1"]
    assert found[1].count("; ") == 1
    assert found[2] == f"{second}:1: name: must be one label and .dk"


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (REGISTRAR, "handle"),
        (REGISTRANT, "handle"),
        ({"type": "host", "name": "ns1.ny.dk"}, "name"),
        (OFFERED, "name"),
        (OFFERED | {"name": "NY.dk."}, "name"),
    ],
)
async def test_duplicates(database: Database, tmp_path: Path, record: Fields, key: str) -> None:
    """A handle or name that is given twice is a fault of the second, which names the place of the first."""
    first = write(tmp_path / "a.jsonl", OFFERED | {"name": "andet.dk"}, record | {key: record[key].upper().rstrip(".")})
    second = write(tmp_path / "b.jsonl", record)
    assert await faults(database, first, second) == [f"{second}:1: {key}: given before, at {first}:2"]


async def test_one_name_for_different_kinds(database: Database, tmp_path: Path) -> None:
    """A registrar and a registrant may share a handle, and a domain and a host a name."""
    file = write(
        tmp_path / "a.jsonl", REGISTRAR, REGISTRANT | {"handle": "REG-9"}, OFFERED, {"type": "host", "name": "ny.dk"}
    )
    assert counts(await load_files(database, file)) == {"registrar": 1, "registrant": 1, "host": 1, "domain": 1}


async def test_dangling_references(database: Database, tmp_path: Path) -> None:
    """Each reference that leads nowhere is named by its file and line, in their order."""
    first = write(tmp_path / "b.jsonl", REGISTRAR, DOMAIN, DOMAIN | {"name": "andet.dk", "registrar": "REG-8"})
    second = write(tmp_path / "a.jsonl", DOMAIN | {"name": "tredje.dk"})
    found = await faults(database, first, second)
    assert [fault.split(": ")[:2] for fault in found] == [
        [f"{first}:2", "registrant"],
        [f"{first}:3", "registrant"],
        [f"{first}:3", "registrar"],
        [f"{second}:1", "registrant"],
    ]


@pytest.mark.parametrize("count", [99, 100, 250])
async def test_at_most_100_faults(database: Database, tmp_path: Path, count: int) -> None:
    """Up to 100 faults are reported; then the load stops looking and says so."""
    file = write(tmp_path / "a.jsonl", *["{"] * count)
    found = await faults(database, file)
    assert len([fault for fault in found if fault.startswith(f"{file}:")]) == min(count, 100)
    assert ("the rest was not looked at" in found[-1]) is (count >= 100)


async def test_at_most_100_dangling_references(database: Database, tmp_path: Path) -> None:
    """Of references that lead nowhere the first 100 are reported, and that there may be more."""
    domains = [DOMAIN | {"name": f"ny{number}.dk", "registrar": None} for number in range(150)]
    file = write(tmp_path / "a.jsonl", *domains)
    found = await faults(database, file)
    assert (len(found), found[0].split(": ")[0], found[99].split(": ")[0]) == (101, f"{file}:1", f"{file}:100")
    assert found[100] == "100 faults; the rest was not looked at"


async def test_unreadable_files(database: Database, tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is named with the reason; the files before it are not loaded either."""
    before = await contents(database)
    good = write(tmp_path / "a.jsonl", REGISTRAR)
    missing = tmp_path / "b.jsonl"
    assert await faults(database, good, missing) == [f"{missing}: cannot be read: No such file or directory"]
    assert await faults(database, good, tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert await contents(database) == before


@pytest.mark.parametrize(
    "record",
    [
        REGISTRANT | {"name": "Hemmelig\n"},
        REGISTRANT | {"kind": "Hemmelig"},
        REGISTRANT | {"email": ["Hemmelig"]},
        REGISTRANT | {"street": ["Hemmelig\x00"]},
        OFFERED | {"registrant": "HEMMELIG"},
        DOMAIN | {"registrant": "HEMMELIG", "registrar": None},
        DOMAIN | {"name": "www.hemmelig.dk"},
        '{"name": "Hemmelig"',
    ],
)
async def test_no_fault_quotes_a_value(database: Database, tmp_path: Path, record: Fields | str) -> None:
    """A fault never quotes a value: it may be personal data."""
    assert "hemmelig" not in "\n".join(await faults(database, write(tmp_path / "a.jsonl", record))).lower()


# --- others at work ----------------------------------------------------------------------------------------------


async def test_two_loads_at_once(database: Database, tmp_path: Path) -> None:
    """Of two loads at once one waits for the other, and both are done."""
    files = [
        write(tmp_path / f"{number}.jsonl", REGISTRAR, REGISTRANT, DOMAIN | {"name": f"ny{number}.dk"})
        for number in range(2)
    ]
    await asyncio.gather(*(load_files(database, file) for file in files))
    assert [(await domain(database, f"ny{number}.dk"))["registrar"] for number in range(2)] == ["Ny Registrator ApS"] * 2


async def test_the_reader_may_not_load(database: Database, tmp_path: Path) -> None:
    """The server's role cannot load: what writes is the owner."""
    reader = await asyncpg.connect(database.reader)
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)):
            await load(reader, RegistryFiles([write(tmp_path / "a.jsonl", REGISTRAR)]))
    finally:
        await reader.close()


# --- replacing all -----------------------------------------------------------------------------------------------


async def test_replace(empty_registry: Database, tmp_path: Path) -> None:
    """`replace` makes the database hold what the files name: the rest is removed, and hosts that serve no domain too.

    Staff, portal users and object roles stay when the files have no record of their kind.
    """
    everything = [REGISTRAR, REGISTRANT, DOMAIN, DOMAIN | {"name": "andet.dk", "nameservers": ["a.ny.dk", "b.ny.dk"]}]
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *everything, STAFF, LINKED, ROLE))
    file = write(tmp_path / "b.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    report = await load_files(empty_registry, file, mode=Mode.REPLACE, max_delete=100)
    removed = {kind: changes.removed for kind, changes in report.changes.items() if changes.removed}
    assert removed == {"host": 2, "domain": 1}
    found = await contents(empty_registry)
    assert {name: len(rows) for name, rows in found.items()} == {
        "registry.registrar": 1,
        "registry.registrant": 1,
        "registry.host": 2,
        "registry.domain": 1,
        "portal.staff": 1,
        "portal.portal_user": 1,
        "portal.object_role": 1,
    }
    again = await load_files(empty_registry, file, mode=Mode.REPLACE)
    assert [changes for changes in again.changes.values() if changes.added or changes.changed or changes.removed] == []


OTHER: Fields = {"type": "registrar", "handle": "REG-8", "name": "Anden Registrator ApS"}


@pytest.mark.parametrize(
    ("records", "removed"),
    [
        ([{"type": "staff", "name": "anna"}], {"staff"}),
        ([{"type": "portal_user", "handle": "BO-1", "account": "REG-9"}], {"portal_user"}),
        ([OTHER], {"registrar", "portal_user"}),
        ([REGISTRAR, OTHER], set()),
        ([], set()),
    ],
)
async def test_replace_of_the_portal(
    empty_registry: Database, tmp_path: Path, records: list[Fields], removed: set[str]
) -> None:
    """`replace` removes registrars, staff and users where the files have records of the kind; users go with accounts."""
    first = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN | {"registrar": None}, STAFF, LINKED, ROLE)
    await load_files(empty_registry, first)
    file = write(tmp_path / "b.jsonl", REGISTRANT, DOMAIN | {"registrar": None}, *records)
    report = await load_files(empty_registry, file, mode=Mode.REPLACE, max_delete=100)
    assert {kind for kind, changes in report.changes.items() if changes.removed} == removed
    found = await contents(empty_registry)
    assert len(found["portal.object_role"]) == ("portal_user" not in removed)
    assert len(found["registry.registrar"]) == max(1, sum(record["type"] == "registrar" for record in records))


async def test_registrars_that_stay_may_be_named(empty_registry: Database, tmp_path: Path) -> None:
    """A whole export without registrars may name those that the database has, which stay."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    file = write(tmp_path / "b.jsonl", REGISTRANT, DOMAIN)
    assert (await load_files(empty_registry, file, mode=Mode.REPLACE)).changes["registrar"].removed == 0
    bad = write(tmp_path / "c.jsonl", REGISTRANT, DOMAIN | {"registrar": "REG-7"})
    said = f"{bad}:2: registrar: there is no such registrar, in these files or in the database"
    assert await faults(empty_registry, bad, mode=Mode.REPLACE) == [said]


@pytest.mark.parametrize(("allowed", "refused"), [(49.9, True), (50, False)])
async def test_replace_refuses_to_remove_much(
    empty_registry: Database, tmp_path: Path, allowed: float, refused: bool
) -> None:
    """`replace` is refused when it would remove more of any kind of record than is allowed, and says how much."""
    await load_files(
        empty_registry, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN, DOMAIN | {"name": "andet.dk"})
    )
    before = await contents(empty_registry)
    file = write(tmp_path / "b.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    options = {"mode": Mode.REPLACE, "max_delete": allowed}
    if not refused:
        assert (await load_files(empty_registry, file, **options)).changes["domain"].removed == 1
        return
    said = "--mode replace would remove 1 of 2 domains (50.0%), more than --max-delete 49.9 (percent) allows:"
    assert await faults(empty_registry, file, **options) == [f"{said} are the files whole? If they are, allow more"]
    assert await contents(empty_registry) == before


async def test_replace_looks_for_references_in_the_files_alone(database: Database, tmp_path: Path) -> None:
    """What the database holds is removed, so that nothing may refer to it."""
    file = write(tmp_path / "a.jsonl", REGISTRAR, DOMAIN | {"registrant": "EKSEMPEL-DK"})
    assert await faults(database, file, mode=Mode.REPLACE, max_delete=100) == [
        f"{file}:2: registrant: there is no such registrant, in these files"
    ]


# --- what would change -------------------------------------------------------------------------------------------


async def test_replace_whatever_the_default_isolation(empty_registry: Database, tmp_path: Path) -> None:
    """A load that removes hosts is done also where the transactions of a database are REPEATABLE READ by default."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", {"type": "host", "name": "ns.ny.dk"}))
    await empty_registry.execute(
        f"ALTER DATABASE {empty_registry.name} SET default_transaction_isolation = 'repeatable read'"
    )
    report = await load_files(empty_registry, write(tmp_path / "b.jsonl"), mode=Mode.REPLACE, max_delete=100)
    assert report.changes["host"].removed == 1


@pytest.mark.parametrize("mode", Mode)
async def test_dry_run(empty_registry: Database, tmp_path: Path, mode: Mode) -> None:
    """A dry run says just what the load would do then, and does nothing."""
    first = [REGISTRAR, REGISTRANT, DOMAIN, DOMAIN | {"name": "andet.dk"}, REGISTRANT | {"handle": "B"}]
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *first, STAFF, LINKED, ROLE))
    before, entries = await contents(empty_registry), await audited(empty_registry)
    file = write(
        tmp_path / "b.jsonl", REGISTRAR | {"name": "Omdøbt"}, REGISTRANT, DOMAIN | {"vid": True}, DOMAIN | {"name": "nyt.dk"}
    )
    dry = await load_files(empty_registry, file, mode=mode, max_delete=100, dry_run=True)
    assert (await contents(empty_registry), await audited(empty_registry)) == (before, entries)
    wet = await load_files(empty_registry, file, mode=mode, max_delete=100)
    assert dry.changes == wet.changes
    changes = wet.changes["domain"]
    assert (changes.records, changes.added, changes.changed) == (2, 1, 1)
    assert changes.removed == (1 if mode is Mode.REPLACE else 0)


async def test_dry_run_finds_faults(database: Database, tmp_path: Path) -> None:
    """A dry run finds the faults that the load would."""
    file = write(tmp_path / "a.jsonl", DOMAIN)
    assert await faults(database, file, dry_run=True) == await faults(database, file)


async def test_what_is_the_same_is_not_written(database: Database, tmp_path: Path) -> None:
    """A row that the files have as it is stays the very same row: what does not change costs no writing."""
    file = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN, DOMAIN | {"name": "andet.dk"})
    await load_files(database, file)
    async with owner(database) as connection:
        before = await connection.fetch("SELECT ctid::text, xmin::text FROM registry.domain ORDER BY name")
    await load_files(database, write(tmp_path / "b.jsonl", REGISTRAR, REGISTRANT, DOMAIN, DOMAIN | {"name": "nyt.dk"}))
    async with owner(database) as connection:
        after = await connection.fetch("SELECT ctid::text, xmin::text FROM registry.domain ORDER BY name")
    assert len(after) == len(before) + 1
    assert set(before) < set(after)


# --- who decided what --------------------------------------------------------------------------------------------

FOREIGN: Fields = REGISTRANT | {"country": "SE", "vat_number": "SE556012579001"}


async def audited(database: Database) -> list[Any]:
    async with owner(database) as connection:
        return [tuple(row) for row in await connection.fetch("TABLE audit.entry ORDER BY id")]


async def test_each_load_is_audited(database: Database, tmp_path: Path) -> None:
    """A load leaves a row in the audit trail: who, which files, what it changed; a load that is refused leaves none."""
    entries = await audited(database)
    file = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    await load_files(database, file)
    await faults(database, write(tmp_path / "b.jsonl", "{"))
    (entry,) = (await audited(database))[len(entries) :]
    assert entry[2:7] == ("whoisd_owner", this_account(), "load", "registry", None)
    after = json.loads(entry[8])
    assert (after["mode"], after["files"]) == ("merge", [str(file)])
    assert after["domain"] == {"added": 1, "changed": 0, "removed": 0}


BY_STAFF = """
    INSERT INTO registry.classification VALUES ('NY-DK', 'staff', $1)
    ON CONFLICT (handle, decided_by) DO UPDATE SET decision = excluded.decision"""


@pytest.mark.parametrize(("by_hand", "in_file", "said"), [(True, False, ("false", "yes")), (False, True, ("true", "no"))])
async def test_a_load_keeps_what_was_classified_by_hand(
    database: Database, tmp_path: Path, by_hand: bool, in_file: bool, said: tuple[str, str]
) -> None:
    """What was classified by hand is kept and counts, and where a load says otherwise that is reported."""
    first = write(tmp_path / "a.jsonl", REGISTRAR, FOREIGN, DOMAIN)
    await load_files(database, first)
    await database.execute(BY_STAFF, "yes" if by_hand else "no")
    file = write(tmp_path / "b.jsonl", REGISTRAR, FOREIGN | {"sole_proprietorship": in_file}, DOMAIN)
    report = await load_files(database, file)
    assert report.warnings == [
        f"{file}:2: sole_proprietorship: is {said[0]}; classified by hand: {said[1]}, which is kept and counts"
    ]
    assert (await domain(database))["registrant_sole_proprietorship"] is by_hand
    agreeing = write(tmp_path / "c.jsonl", FOREIGN | {"sole_proprietorship": by_hand})
    assert (await load_files(database, agreeing)).warnings == []


async def test_a_registrant_who_was_classified_becomes_danish(database: Database, tmp_path: Path) -> None:
    """A classification by hand of one who is Danish now is kept, contradicts the rest, and is reported."""
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, FOREIGN, DOMAIN))
    await database.execute(BY_STAFF, "yes")
    file = write(tmp_path / "b.jsonl", REGISTRANT)
    assert (await load_files(database, file)).warnings == [
        f"{file}:1: country: is DK now; classified by hand as a sole proprietorship: yes, which is kept and contradicts it"
    ]
    assert (await domain(database))["registrant_sole_proprietorship"] is True


async def test_classified_registrants_that_are_removed(empty_registry: Database, tmp_path: Path) -> None:
    """A replacing load that removes whom people decided on says so; the decision stays, and is named when it is met."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", REGISTRAR, FOREIGN, DOMAIN))
    await empty_registry.execute(BY_STAFF, "no")
    await empty_registry.execute("INSERT INTO portal.taken_over_role VALUES ('REG-9', 'proxy', 'domain:ny.dk')")
    entries = await audited(empty_registry)
    file = write(tmp_path / "b.jsonl", REGISTRAR)
    report = await load_files(empty_registry, file, mode=Mode.REPLACE, max_delete=100)
    assert report.warnings == [
        "database: removed, and classified by hand: 1 registrants, whose classification stays",
        "database: removed with their objects: 1 roles that were taken over",
    ]
    *lost, _ = (await audited(empty_registry))[len(entries) :]
    assert {(entry[5], json.dumps(json.loads(entry[7])), entry[8]) for entry in lost} == {
        ("domain:ny.dk", '{"roles": ["proxy"], "account": "REG-9"}', None),
    }
    again = write(tmp_path / "c.jsonl", REGISTRAR, FOREIGN, DOMAIN)
    assert (await load_files(empty_registry, again)).warnings == [
        f"{again}:2: handle: NY-DK is back; classified by hand as a sole proprietorship: no, which counts"
    ]


async def test_a_sole_proprietorship_that_comes_back_is_withheld(empty_registry: Database, tmp_path: Path) -> None:
    """What staff decided is in force when the registrant is removed by a whole file, and comes back in another."""
    whole = write(tmp_path / "a.jsonl", REGISTRAR, FOREIGN | {"vat_number": "SE556012579001"}, DOMAIN)
    await load_files(empty_registry, whole)
    assert not (await domain(empty_registry))["registrant_sole_proprietorship"]
    await empty_registry.execute(BY_STAFF, "yes")
    without = write(tmp_path / "b.jsonl", REGISTRAR)
    await load_files(empty_registry, without, mode=Mode.REPLACE, max_delete=100)
    (warning,) = (await load_files(empty_registry, whole, mode=Mode.REPLACE, max_delete=100)).warnings
    assert warning == f"{whole}:2: handle: NY-DK is back; classified by hand as a sole proprietorship: yes, which counts"
    assert (await domain(empty_registry))["registrant_sole_proprietorship"]


async def test_nobody_decides_on_what_is_being_removed(
    empty_registry: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a replacing load has said what goes with it, nobody decides on that any more: the trail would not know it."""
    user = {"type": "portal_user", "handle": "LINKED-9", "account": "REG-9", "linked": True}
    role = {"type": "object_role", "holder": "LINKED-9", "role": "proxy", "object": "domain:ny.dk"}
    staff = {"type": "staff", "name": "anna"}
    await load_files(empty_registry, write(tmp_path / "a.jsonl", REGISTRAR, FOREIGN, DOMAIN, staff, user, role))
    monkeypatch.setattr("whoisd.registry.classification.LOCK_TIMEOUT", 0.3)
    removing = staging.write

    async def decide_meanwhile(connection: Any, *rest: Any) -> None:
        other = await asyncpg.connect(empty_registry.owner)
        try:
            with pytest.raises(RegistrantError, match="has been changing this registrant"):
                await classify(other, "NY-DK", Decision.NO, evidence="x", who="staff:anna", conditions=IN_FORCE)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(take_over(other, "REG-9", "domain:ny.dk"), 0.5)
        finally:
            other.terminate()
        await removing(connection, *rest)

    monkeypatch.setattr(staging, "write", decide_meanwhile)
    file = write(tmp_path / "b.jsonl", REGISTRAR, staff)
    report = await load_files(empty_registry, file, mode=Mode.REPLACE, max_delete=100)
    assert (report.changes["registrant"].removed, report.changes["domain"].removed) == (1, 1)


PERSON: Fields = REGISTRANT | {"kind": "individual"}
LOCKED: Fields = REGISTRANT | {"cvr_locked": True, "cvr_form": 80, "vat_number": "99000007"}
# Each guard: who has it, what it is where it withholds, and what is told of a load that lifts it.
GUARDED = [
    (PERSON, "address_protection", True, "protected"),
    (LOCKED, "cvr_bankruptcy", True, "a bankruptcy estate, whose email is withheld"),
    (FOREIGN, "sole_proprietorship", True, "a sole proprietorship, whose email is withheld"),
    (LOCKED, "id_confirmed", False, ""),
]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("record", "field", "value", "said"), GUARDED)
async def test_absence_lifts_nothing(  # noqa: PLR0913, PLR0917 - what is tried
    empty_registry: Database, tmp_path: Path, record: Fields, field: str, value: bool, said: str, mode: Mode
) -> None:
    """A guard that a record says nothing of stays as it is, in both modes; it is lifted by saying so, and then told."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", record | {field: value}))
    for silent in (record, record | {"phone": "+45 00112233"}):
        report = await load_files(empty_registry, write(tmp_path / "b.jsonl", silent), mode=mode)
        assert (report.warnings, report.newly_shown.registrants) == ([], 0)
        assert await guard(empty_registry, field) is value
    file = write(tmp_path / "c.jsonl", record | {field: not value})
    report = await load_files(empty_registry, file, mode=mode)
    assert report.warnings == ([f"{file}:1: {field}: is lifted; in the database this registrant is {said}"] if said else [])
    assert (report.newly_shown.registrants, report.newly_shown.handles) == (1, ["NY-DK"])
    assert await guard(empty_registry, field) is not value


async def guard(database: Database, field: str) -> object:
    """What the database has of a guard of NY-DK."""
    async with owner(database) as connection:
        return await connection.fetchval(f"SELECT {field} FROM registry.registrant WHERE handle = 'NY-DK'")  # noqa: S608 - ours


@pytest.mark.parametrize(("record", "field", "value", "said"), GUARDED)
async def test_guards_outlive_the_registrant(  # noqa: PLR0913, PLR0917 - what is tried
    empty_registry: Database, tmp_path: Path, record: Fields, field: str, value: bool, said: str
) -> None:
    """Who is removed, and comes back by a record that says nothing of a guard, is as protected as before."""
    del said
    other = write(tmp_path / "b.jsonl", REGISTRANT | {"handle": "ANDEN-DK"})
    silent, lifted = write(tmp_path / "c.jsonl", record), write(tmp_path / "d.jsonl", record | {field: not value})
    await load_files(empty_registry, write(tmp_path / "a.jsonl", record | {field: value}))
    for _ in range(2):
        await load_files(empty_registry, other, mode=Mode.REPLACE, max_delete=100)
        assert await guard(empty_registry, field) is None
        await load_files(empty_registry, silent)
        assert await guard(empty_registry, field) is value
    await load_files(empty_registry, lifted)
    await load_files(empty_registry, other, mode=Mode.REPLACE, max_delete=100)
    await load_files(empty_registry, silent)
    assert await guard(empty_registry, field) is not value


async def test_guards_of_whoever_is_removed(database: Database) -> None:
    """Of whoever is removed there are kept a handle and what withheld something, by plain SQL too; of others nothing."""
    async with owner(database) as connection:
        await connection.execute(
            "INSERT INTO registry.registrant (handle, kind, name, country, email, address_protection) VALUES"
            " ('A', 'individual', 'A', 'DK', 'a@a.example', true), ('B', 'individual', 'B', 'DK', 'b@b.example', false)"
        )
        await connection.execute("DELETE FROM registry.registrant WHERE handle IN ('A', 'B')")
        kept = await connection.fetch("SELECT * FROM registry.guard WHERE handle IN ('A', 'B')")
    assert [tuple(row) for row in kept] == [("A", True, False, False, True)]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(
    ("record", "field", "change", "said"),
    [
        (PERSON, "address_protection", {"kind": "company"}, "which only an individual has"),
        (FOREIGN, "sole_proprietorship", {"country": "DK"}, "which with country DK CVR decides"),
    ],
)
async def test_guards_that_stay_and_cannot(  # noqa: PLR0913, PLR0917 - what is tried
    empty_registry: Database, tmp_path: Path, record: Fields, field: str, change: Fields, said: str, back: bool
) -> None:
    """A record that a guard which stays does not go with is a fault, also of one who comes back; saying false mends it."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", record | {field: True}))
    if back:
        await load_files(empty_registry, write(tmp_path / "b.jsonl"), mode=Mode.REPLACE, max_delete=100)
    file = write(tmp_path / "c.jsonl", record | change)
    assert await faults(empty_registry, file) == [
        f"{file}:1: {field}: is not given and stays true, {said}: say false if it is lifted"
    ]
    await load_files(empty_registry, write(tmp_path / "d.jsonl", record | change | {field: False}))
    assert await guard(empty_registry, field) is False


# --- who becomes public ------------------------------------------------------------------------------------------


def crowd(count: int, **changes: Any) -> list[Fields]:
    """So many people, with these changes."""
    return [PERSON | {"handle": f"P{number:03}", "email": "hemmelig@hemmelig.example"} | changes for number in range(count)]


async def shown_in_the_trail(database: Database) -> int:
    async with owner(database) as connection:
        found: int = await connection.fetchval("SELECT count(*) FROM audit.entry WHERE after ? 'shown'")
        return found


async def test_a_file_without_protection(empty_registry: Database, tmp_path: Path) -> None:
    """A whole file in which the field is missing makes nobody of 200 people public, and refuses nothing."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *crowd(200, address_protection=True)))
    report = await load_files(empty_registry, write(tmp_path / "b.jsonl", *crowd(200)), mode=Mode.REPLACE)
    assert (report.newly_shown.registrants, report.changes["registrant"].changed) == (0, 0)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("mode", Mode)
async def test_too_many_become_public(empty_registry: Database, tmp_path: Path, mode: Mode, dry_run: bool) -> None:
    """A load that would make more people public than it may is refused, says who and why, and changes nothing."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *crowd(101, address_protection=True)))
    before = await contents(empty_registry)
    file = write(tmp_path / "b.jsonl", *crowd(101, address_protection=False))
    first, *lines = await faults(empty_registry, file, mode=mode, dry_run=dry_run)
    assert first.startswith(
        "101 registrants, withheld until now, would become public, more than --max-newly-shown 100 allows"
    )
    assert lines == [
        "newly shown: 101 registrants, withheld until now",
        "  name of 101, withheld until now: address_protection",
        f"  {', '.join(f'P{number:03}' for number in range(10))} and 91 more",
    ]
    assert (await contents(empty_registry), await shown_in_the_trail(empty_registry)) == (before, 0)
    report = await load_files(empty_registry, file, mode=mode, dry_run=dry_run, max_newly_shown=101)
    assert report.newly_shown.registrants == 101
    assert (await contents(empty_registry) == before) is dry_run
    assert await shown_in_the_trail(empty_registry) == (0 if dry_run else 101)


async def test_domains_that_show_their_registrant(empty_registry: Database, tmp_path: Path) -> None:
    """Who was behind suspended domains becomes public with a domain that is none, theirs or another's."""
    suspended = DOMAIN | {"status": "deactivated"}
    second = REGISTRANT | {"handle": "ANDEN-DK"}
    files = write(
        tmp_path / "a.jsonl",
        REGISTRAR,
        REGISTRANT,
        suspended,
        second,
        DOMAIN | {"name": "andet.dk", "registrant": "ANDEN-DK"},
    )
    await load_files(empty_registry, files)
    for record in (DOMAIN, suspended, DOMAIN | {"name": "andet.dk"}):
        report = await load_files(empty_registry, write(tmp_path / "b.jsonl", record), max_newly_shown=1)
        assert report.newly_shown.handles == ([] if record is suspended else ["NY-DK"])


async def test_nobody_is_withheld_at_first(empty_registry: Database, tmp_path: Path) -> None:
    """A first load shows nobody who was withheld before, and neither does what comes after the registrants."""
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *crowd(200)), max_newly_shown=0)
    later = [DOMAIN | {"name": f"ny{number}.dk", "registrant": f"P{number:03}", "registrar": None} for number in range(200)]
    assert (
        await load_files(empty_registry, write(tmp_path / "b.jsonl", *later), max_newly_shown=0)
    ).newly_shown.registrants == 0


# --- who decided before ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", Mode)
async def test_roles_end_with_the_registrant(empty_registry: Database, tmp_path: Path, mode: Mode) -> None:
    """A role that was taken over on a domain ends when the domain goes to another registrant, with a row in the trail."""
    second = REGISTRANT | {"handle": "ANDEN-DK"}
    rest = [REGISTRAR, REGISTRANT, second, LINKED, ROLE]
    await load_files(empty_registry, write(tmp_path / "a.jsonl", *rest, DOMAIN))
    async with owner(empty_registry) as connection:
        await take_over(connection, "REG-9", "domain:ny.dk")
    same = await load_files(empty_registry, write(tmp_path / "b.jsonl", *rest, DOMAIN | {"vid": True}), mode=mode)
    assert same.warnings == []
    moved = await load_files(
        empty_registry, write(tmp_path / "c.jsonl", *rest, DOMAIN | {"registrant": "ANDEN-DK"}), mode=mode
    )
    assert moved.warnings == [
        "database: ended with the registrant of their domain, who is another now: 1 roles that were taken over"
    ]
    async with owner(empty_registry) as connection:
        assert await connection.fetchval("SELECT count(*) FROM portal.taken_over_role") == 0
    (entry,) = [entry for entry in await audited(empty_registry) if entry[4:6] == ("load", "domain:ny.dk")]
    assert [json.loads(text) for text in entry[7:9]] == [
        {"account": "REG-9", "roles": ["proxy"]},
        {"account": "REG-9", "roles": []},
    ]


async def test_unknown_forms(empty_registry: Database, tmp_path: Path) -> None:
    """A CVR form that the table lacks is loaded, withheld, and told; the first 100 of them, and how many more."""
    forms = [REGISTRANT | {"handle": f"R{number:03}", "cvr_form": 61 if number else 60} for number in range(151)]
    file = write(tmp_path / "a.jsonl", *forms)
    report = await load_files(empty_registry, file)
    assert report.doubts[0] == f"{file}:2: cvr_form: is none that registry.cvr_form lists, with which the email is withheld"
    assert (len(report.doubts), report.more) == (100, 50)


async def test_nothing_is_lifted_that_was_decided_by_hand(database: Database, tmp_path: Path) -> None:
    """Where a classification by hand counts, a load that says otherwise than the one before lifts nothing."""
    await load_files(database, write(tmp_path / "a.jsonl", FOREIGN | {"sole_proprietorship": True}))
    await database.execute(BY_STAFF, "yes")
    no = FOREIGN | {"sole_proprietorship": False}
    (warning,) = (await load_files(database, write(tmp_path / "b.jsonl", no))).warnings
    assert warning.endswith("classified by hand: yes, which is kept and counts")
    assert (await load_files(database, write(tmp_path / "c.jsonl", FOREIGN))).warnings == []


async def test_doubtful_vat_numbers(database: Database, tmp_path: Path) -> None:
    """A VAT number that does not validate for its country is loaded, with a warning."""
    file = write(tmp_path / "a.jsonl", FOREIGN | {"vat_number": "SE556012579002"})
    assert (await load_files(database, file)).doubts == [
        f"{file}:1: vat_number: is no valid number of the registrant's country"
    ]


async def test_bad_cvr_number_of_one_who_is_locked(database: Database, tmp_path: Path) -> None:
    """A CVR number that does not validate, of a registrant that is locked to CVR, is a fault."""
    file = write(tmp_path / "a.jsonl", REGISTRANT | {"cvr_locked": True, "vat_number": "99000018"})
    assert await faults(database, file) == [
        f"{file}:1: vat_number: must be a CVR number, with the right check digit, of a registrant that is locked to CVR"
    ]


async def test_warnings_do_not_flood(database: Database, tmp_path: Path) -> None:
    """Of many doubts the first 100 are told, and how many more there are; they crowd out no warning of another kind."""
    person = REGISTRANT | {"kind": "individual"}
    await load_files(database, write(tmp_path / "a.jsonl", person | {"address_protection": True}))
    doubtful = [FOREIGN | {"handle": f"R{number}", "vat_number": "SE1"} for number in range(1000)]
    report = await load_files(database, write(tmp_path / "b.jsonl", *doubtful, person | {"address_protection": False}))
    assert (len(report.doubts), report.more, len(report.warnings)) == (100, 900, 1)


# --- the portal's records ------------------------------------------------------------------------------------------

STAFF: Fields = {"type": "staff", "name": "bodil"}
LINKED: Fields = {"type": "portal_user", "handle": "ANNE-1", "account": "REG-9", "linked": True, "roles": ["proxy"]}
ROLE: Fields = {"type": "object_role", "holder": "ANNE-1", "role": "proxy", "object": "domain:ny.dk"}


async def test_portal_records(database: Database, tmp_path: Path) -> None:
    """Staff, portal users and the roles of linked users on objects are loaded like all else."""
    records = [ROLE, ROLE | {"object": "host:NS1.ny.dk"}, ROLE | {"object": "registrant:NY-DK"}, LINKED, STAFF]
    await load_files(database, write(tmp_path / "a.jsonl", *records, REGISTRAR, REGISTRANT, DOMAIN))
    async with owner(database) as connection:
        rows = await connection.fetch("SELECT * FROM portal.object_role WHERE holder = 'ANNE-1' ORDER BY object")
    assert [tuple(row) for row in rows] == [
        ("ANNE-1", "proxy", "domain:ny.dk", "ny.dk", None, None),
        ("ANNE-1", "proxy", "host:ns1.ny.dk", None, None, "ns1.ny.dk"),
        ("ANNE-1", "proxy", "registrant:NY-DK", None, "NY-DK", None),
    ]


async def test_a_group_is_kept(database: Database, tmp_path: Path) -> None:
    """A user's record without a group leaves the group as it is; one with a group sets it."""
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, LINKED | {"access_group": "accounting"}))
    report = await load_files(database, write(tmp_path / "b.jsonl", LINKED))
    assert report.changes["portal_user"].changed == 0
    async with owner(database) as connection:
        assert (
            await connection.fetchval("SELECT access_group FROM portal.portal_user WHERE handle = 'ANNE-1'") == "accounting"
        )
        await load_files(database, write(tmp_path / "c.jsonl", LINKED | {"access_group": "administration"}))
        assert (
            await connection.fetchval("SELECT access_group FROM portal.portal_user WHERE handle = 'ANNE-1'")
            == "administration"
        )


async def test_no_group_is_taken_to_another_account(database: Database, tmp_path: Path) -> None:
    """A user who goes to another account leaves the group behind, with a warning: roles decide there, or the record does."""
    user = LINKED | {"linked": False, "roles": ["billing_contact"]}
    other = REGISTRAR | {"handle": "REG-8"}
    await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, other, user | {"access_group": "administration"}))
    report = await load_files(database, write(moved := tmp_path / "b.jsonl", user | {"account": "REG-8"}))
    said = "is another than in the database, and the group there is not kept; `whoisd portal convert` gives them the group"
    assert report.warnings == [f"{moved}:1: account: {said} of their roles"]
    async with owner(database) as connection:
        await convert(connection, dry_run=False)
        assert await user_of(connection, "ANNE-1") == User("ANNE-1", "REG-8", linked=False, group=Group.ACCOUNTING)
    report = await load_files(database, write(tmp_path / "c.jsonl", user | {"access_group": "administration"}))
    assert report.warnings == []
    async with owner(database) as connection:
        assert await user_of(connection, "ANNE-1") == User("ANNE-1", "REG-9", linked=False, group=Group.ADMINISTRATION)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (LINKED | {"account": "REG-8"}, "account: there is no such registrar, in these files or in the database"),
        (ROLE | {"holder": "BENT-1"}, "holder: there is no such portal user, in these files or in the database"),
        (ROLE | {"object": "domain:andet.dk"}, "object: there is no such domain, in these files or in the database"),
        (ROLE | {"object": "host:ns.ny.dk"}, "object: there is no such host, in these files or in the database"),
        (ROLE | {"object": "registrant:X"}, "object: there is no such registrant, in these files or in the database"),
        (ROLE | {"holder": "CARL-1"}, "holder: is no linked user"),
    ],
)
async def test_portal_references(database: Database, tmp_path: Path, record: Fields, fault: str) -> None:
    """A portal record that names what is not there, or a role of one who is not linked, is a fault."""
    others = [REGISTRAR, REGISTRANT, DOMAIN, LINKED | {"handle": "CARL-1", "linked": False}]
    others += [] if record["type"] == "portal_user" else [LINKED]
    file = write(tmp_path / "a.jsonl", *others, record)
    assert await faults(database, file) == [f"{file}:{len(others) + 1}: {fault}"]


async def test_role_given_twice(database: Database, tmp_path: Path) -> None:
    """A role of a user on an object may be given once; another role on it is another record."""
    others = [REGISTRAR, REGISTRANT, DOMAIN, LINKED, ROLE, ROLE | {"role": "registrant"}]
    file = write(tmp_path / "a.jsonl", *others, ROLE | {"object": "domain:NY.dk"})
    assert await faults(database, file) == [f"{file}:7: role: given before, at {file}:5"]


# --- files -------------------------------------------------------------------------------------------------------


async def test_gzip(database: Database, tmp_path: Path) -> None:
    """A file that is compressed is known by its content, whatever its name, and faults are of the lines within it."""
    plain = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    zipped = tmp_path / "b.jsonl"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert counts(await load_files(database, zipped)) == {"registrar": 1, "registrant": 1, "host": 2, "domain": 1}
    zipped.write_bytes(gzip.compress(plain.read_bytes() + b"{"))
    assert await faults(database, zipped) == [f"{zipped}:4: not a JSON object"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-20], "is cut off: the end of the gzip file is missing"),
        (lambda data: data[:20], "is cut off: the end of the gzip file is missing"),
        (lambda data: data[:-8] + bytes(8), "is no gzip file, or a damaged one"),
        (lambda data: data[:15] + bytes(20) + data[35:], "is a damaged gzip file"),
    ],
)
async def test_damaged_gzip(database: Database, tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    """A compressed file that is cut off or damaged is named, and nothing of it is loaded."""
    before = await contents(database)
    lines = [REGISTRAR, *(REGISTRANT | {"handle": f"R{number}", "phone": f"+45 {number * 7919}"} for number in range(200))]
    file = write(tmp_path / "a.jsonl", *lines)
    zipped = tmp_path / "a.jsonl.gz"
    zipped.write_bytes(damage(gzip.compress(file.read_bytes())))
    assert await faults(database, zipped) == [f"{zipped}: {said}"]
    assert await contents(database) == before


async def test_file_cut_off(database: Database, tmp_path: Path) -> None:
    """A file that ends in the middle of a line is a fault of that line."""
    before = await contents(database)
    file = write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN)
    file.write_bytes(file.read_bytes()[:-30])
    assert await faults(database, file) == [f"{file}:3: not a JSON object"]
    assert await contents(database) == before


async def test_line_too_long(database: Database, tmp_path: Path) -> None:
    """A line beyond the limit is a fault, however long it is, and the lines behind it are counted right."""
    file = write(tmp_path / "a.jsonl", REGISTRAR, '"' + "x" * 5_000_000, "{", "x" * 65_535)
    assert await faults(database, file) == [
        f"{file}:2: longer than 65,536 bytes",
        f"{file}:3: not a JSON object",
        f"{file}:4: not a JSON object",
    ]
