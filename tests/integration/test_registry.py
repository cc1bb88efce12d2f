"""Loading registry files: what is added and replaced, how faults are named, and that it is all or nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import Database

from whoisd.errors import LoadError
from whoisd.registry import load

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
OFFERED: Fields = {"type": "domain", "name": "ny.dk", "status": "offered_to_waiting_list"}


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


async def load_files(database: Database, *paths: Path) -> dict[str, int]:
    async with owner(database) as connection:
        return await load(connection, paths)


async def faults(database: Database, *paths: Path) -> list[str]:
    """The faults for which these files are refused."""
    with pytest.raises(LoadError) as refused:
        await load_files(database, *paths)
    return [*refused.value.faults]


async def domain(database: Database, name: str = "ny.dk") -> Any:
    """The domain as the server sees it."""
    async with owner(database) as connection:
        return await connection.fetchrow("SELECT * FROM whois.domain WHERE name = $1", name)


async def contents(database: Database) -> dict[str, list[str]]:
    """Everything that the registry's tables hold."""
    names = ("registrar", "registrant", "host", "domain", "delegation")
    async with owner(database) as connection:
        return {name: sorted(map(repr, await connection.fetch(f"TABLE registry.{name}"))) for name in names}


# --- what a load changes -----------------------------------------------------------------------------------------


async def test_adds(database: Database, tmp_path: Path) -> None:
    """Records are added, and counted by their kind."""
    counts = await load_files(database, write(tmp_path / "a.jsonl", REGISTRAR, REGISTRANT, DOMAIN))
    assert counts == {"registrar": 1, "registrant": 1, "host": 0, "domain": 1}
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
        "vat_number": "99000019",
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
    """A file without records loads nothing and is no fault."""
    assert await load_files(database, write(tmp_path / "a.jsonl")) == {
        "registrar": 0,
        "registrant": 0,
        "host": 0,
        "domain": 0,
    }


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
    assert (await load_files(database, file))["host"] == 2
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
        (REGISTRANT | {"email": ""}, "email: String should have at least 1 character"),
        (REGISTRANT | {"attention": "Bodil"}, "attention: not a field of this record"),
        (DOMAIN | {"nameservers": []}, "nameservers: an active domain has 2 to 7"),
        (DOMAIN | {"nameservers": ["ns1.ny.dk"]}, "nameservers: an active domain has 2 to 7"),
        (
            DOMAIN | {"nameservers": [f"ns{number}.ny.dk" for number in range(8)]},
            "nameservers: List should have at most 7 items after validation, not 8",
        ),
        (DOMAIN | {"nameservers": ["ns1.ny.dk", "NS1.ny.dk."]}, "nameservers: names a host twice"),
        (DOMAIN | {"registrar": None}, "registrant: no registrant has this handle, in these files or in the database"),
        (OFFERED | {"registrar": "NOBODY"}, "registrar: no registrar has this handle, in these files or in the database"),
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
    assert await load_files(database, file) == {"registrar": 1, "registrant": 1, "host": 1, "domain": 1}


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
    """Of references that lead nowhere the first 100 are reported."""
    domains = [DOMAIN | {"name": f"ny{number}.dk", "registrar": None} for number in range(150)]
    file = write(tmp_path / "a.jsonl", *domains)
    found = await faults(database, file)
    assert (len(found), found[0].split(": ")[0], found[99].split(": ")[0]) == (100, f"{file}:1", f"{file}:100")


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
            await load(reader, [write(tmp_path / "a.jsonl", REGISTRAR)])
    finally:
        await reader.close()
