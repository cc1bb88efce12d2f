"""Who becomes public by a change of the database: whatever the change is, it is found before the commit."""

import asyncio
from typing import Any

import asyncpg
import pytest
from support import Database

from whoisd.answers.disclosure import Reason
from whoisd.registry import newly_shown
from whoisd.registry.newly_shown import NewlyShown, Part

A: str = "UPDATE registry.registrant SET {} WHERE handle = 'A'"
D: str = "UPDATE registry.domain SET {} WHERE name = 'a.dk'"
NEW: str = (
    "INSERT INTO registry.domain (name, status, registered, expires, period_years, registrant)"
    " VALUES ('{}', '{}', '2020-01-31', '2027-01-31', 1, '{}')"
)
BOTH = (Part.EMAIL, Part.NAME)


@pytest.fixture
def registry(database: Database) -> Database:
    """A database with a company A that has an active domain, a company B that has none, and a person P likewise."""

    async def fill() -> None:
        owner = await asyncpg.connect(database.owner)
        await owner.execute(
            "INSERT INTO registry.registrant (handle, kind, name, country, email, vat_number, cvr_locked, cvr_form) VALUES"
            " ('A', 'company', 'A ApS', 'DK', 'hemmelig@a.example', '99000019', true, 80),"
            " ('B', 'company', 'B ApS', 'DK', 'hemmelig@b.example', '99000019', true, 80),"
            " ('P', 'individual', 'P', 'DK', 'hemmelig@p.example', NULL, false, NULL)"
        )
        await owner.execute(NEW.format("a.dk", "active", "A"))
        await owner.close()

    asyncio.run(fill())
    return database


async def shown_by(database: Database, before: str, change: str, command: str | None = "load") -> NewlyShown:
    """Who is found to become public by a change of what is there before; it is committed."""
    owner = await asyncpg.connect(database.owner)
    try:
        await owner.execute(before)
        async with owner.transaction():
            await newly_shown.remember(owner, "SELECT handle FROM registry.registrant UNION ALL SELECT $1", "NOBODY")
            await owner.execute(change)
            return await newly_shown.find(owner, command=command)
    finally:
        await owner.close()


def parts(*found: Part, reason: Reason) -> dict[tuple[Part, Reason], int]:
    return {(part, reason): 1 for part in found}


@pytest.mark.parametrize(
    ("before", "change", "expected"),
    [
        # the facts of the registrant
        (A.format("cvr_bankruptcy = true"), A.format("cvr_bankruptcy = false"), (Part.EMAIL, Reason.BANKRUPTCY_ESTATE)),
        (A.format("cvr_form = 10"), A.format("cvr_form = 80"), (Part.EMAIL, Reason.SOLE_PROPRIETORSHIP)),
        (A.format("cvr_locked = false"), A.format("cvr_locked = true"), (Part.EMAIL, Reason.NOT_LOCKED_TO_CVR)),
        (A.format("email = 'none'"), A.format("secondary_email = 'x@a.example'"), (Part.EMAIL, Reason.NOT_SETTLED)),
        (A.format("id_confirmed = false"), A.format("id_confirmed = true"), (*BOTH, Reason.ID_NOT_CONFIRMED)),
        (A.format("kind = 'individual'"), A.format("kind = 'company'"), (Part.EMAIL, Reason.INDIVIDUAL)),
        (
            A.format("kind = 'individual', address_protection = true"),
            A.format("address_protection = false"),
            (Part.NAME, Reason.ADDRESS_PROTECTION),
        ),
        (
            A.format("kind = 'individual', address_protection = true"),
            A.format("address_protection = false, kind = 'company'"),
            (*BOTH, Reason.ADDRESS_PROTECTION),
        ),
        # the domains
        (D.format("status = 'deactivated'"), D.format("status = 'active'"), (*BOTH, Reason.DEACTIVATED)),
        (D.format("status = 'deactivated'"), D.format("status = 'reserved'"), (*BOTH, Reason.DEACTIVATED)),
        (D.format("status = 'deactivated'"), NEW.format("ny.dk", "active", "A"), (*BOTH, Reason.DEACTIVATED)),
        (
            D.format("status = 'deactivated'") + ";" + NEW.format("ny.dk", "active", "B"),
            "UPDATE registry.domain SET registrant = 'A' WHERE name = 'ny.dk'",
            (*BOTH, Reason.DEACTIVATED),
        ),
        # the table of CVR's forms
        (
            A.format("cvr_form = 77"),
            "INSERT INTO registry.cvr_form VALUES (77, 'Ny form', 'ordinary')",
            (Part.EMAIL, Reason.CVR_FORM_UNKNOWN),
        ),
    ],
)
async def test_newly_shown(registry: Database, before: str, change: str, expected: tuple[Any, ...]) -> None:
    """Whatever makes a registrant public who was withheld, it is found, with what of them and why it was withheld."""
    found = await shown_by(registry, before, change)
    *which, reason = expected
    assert (found.registrants, found.handles) == (1, ["A"])
    assert found.reasons == parts(*which, reason=reason)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1", A.format("name = 'Andet', email = 'andet@a.example', street = '{Vej 1}'")),
        ("SELECT 1", A.format("cvr_bankruptcy = true")),
        (A.format("cvr_bankruptcy = true"), A.format("cvr_bankruptcy = false, cvr_locked = false")),
        (A.format("cvr_bankruptcy = true"), D.format("status = 'deactivated'")),
        (A.format("id_confirmed = false, cvr_locked = false"), A.format("cvr_locked = true")),
        (D.format("status = 'deactivated'"), "DELETE FROM registry.domain WHERE name = 'a.dk'"),
        (D.format("status = 'deactivated'"), D.format("registrant = 'B'")),
        (A.format("cvr_locked = false"), "DELETE FROM registry.domain WHERE name = 'a.dk'"),
        ("SELECT 1", NEW.format("b.dk", "active", "B")),
        ("SELECT 1", D.format("registrant = 'B'")),
        ("SELECT 1", D.format("registrant = 'P'")),
        (
            "SELECT 1",
            "INSERT INTO registry.registrant (handle, kind, name, country, email) VALUES ('C', 'company', 'C', 'DK', 'c')",
        ),
        ("SELECT 1", "DELETE FROM registry.domain WHERE name = 'a.dk'; DELETE FROM registry.registrant WHERE handle = 'A'"),
    ],
)
async def test_nobody_newly_shown(registry: Database, before: str, change: str) -> None:
    """Who was public, who stays withheld, who loses a domain, who is new and who goes is nobody who becomes public."""
    assert (await shown_by(registry, before, change)).registrants == 0


async def test_without_a_domain(registry: Database) -> None:
    """A registrant without a domain whose guard is lifted counts: the domain may come with the next load."""
    found = await shown_by(
        registry,
        "UPDATE registry.registrant SET cvr_bankruptcy = true WHERE handle = 'B'",
        "UPDATE registry.registrant SET cvr_bankruptcy = false WHERE handle = 'B'",
    )
    assert (found.registrants, found.handles) == (1, ["B"])


async def trail(database: Database) -> list[Any]:
    """What the trail has of A."""
    owner = await asyncpg.connect(database.owner)
    try:
        rows = await owner.fetch("SELECT * FROM audit.entry WHERE object = 'registrant:A'")
    finally:
        await owner.close()
    return [(row["command"], row["who"] == row["account"], row["before"], row["after"]) for row in rows]


async def test_trail(registry: Database) -> None:
    """Whoever becomes public is in the audit trail, by handle and reason, and without a value."""
    await shown_by(registry, A.format("id_confirmed = false"), A.format("id_confirmed = true"), "cvr update")
    before = '{"withheld": {"name": "id_not_confirmed", "email": "id_not_confirmed"}}'
    assert await trail(registry) == [("cvr update", True, before, '{"shown": ["email", "name"]}')]


async def test_no_trail(registry: Database) -> None:
    """A command that leaves a row of its own for each registrant has none added."""
    found = await shown_by(registry, A.format("id_confirmed = false"), A.format("id_confirmed = true"), None)
    assert (found.registrants, await trail(registry)) == (1, [])


async def test_more_than_a_chunk(registry: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, each is found and in the trail once."""
    monkeypatch.setattr(newly_shown, "CHUNK", 2)
    many = (
        "INSERT INTO registry.registrant (handle, kind, name, country, email, id_confirmed)"
        " SELECT 'M-' || n, 'individual', 'M', 'DK', 'm@m.example', false FROM generate_series(1, 5) AS n"
    )
    found = await shown_by(registry, many, "UPDATE registry.registrant SET id_confirmed = true WHERE handle LIKE 'M-%'")
    assert found.handles == [f"M-{number}" for number in range(1, 6)]
    assert found.reasons == {(Part.NAME, Reason.ID_NOT_CONFIRMED): 5}
    owner = await asyncpg.connect(registry.owner)
    assert await owner.fetchval("SELECT count(DISTINCT object) FROM audit.entry WHERE object LIKE 'registrant:M-%'") == 5
    await owner.close()
