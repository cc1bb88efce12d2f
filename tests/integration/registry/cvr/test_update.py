"""CVR's own data in the database: what it makes of registrants, what it leaves alone, and that it is all or nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import orjson
import pytest
from cvr_twins import (
    address,
    bankruptcy,
    company,
    credit,
    cvr_number,
    document,
    file_name,
    form,
    lines,
    name,
    period,
    row,
    write_generation,
    write_zip,
)
from support import IN_FORCE, Database

from whoisd.answers.disclosure import Reason, publish_registrant, verdict_of
from whoisd.answers.model import DomainStatus, Registrant
from whoisd.answers.wire import Charset
from whoisd.database.audit import this_account
from whoisd.database.views import registrant_of
from whoisd.errors import LoadError
from whoisd.registry import newly_shown
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.update import Options, Report, update
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import load
from whoisd.registry.newly_shown import Part

N, M = cvr_number(100), cvr_number(200)
TODAY = datetime.now(ZoneInfo("Europe/Copenhagen")).date()
YESTERDAY, TOMORROW = str(TODAY - timedelta(days=1)), str(TODAY + timedelta(days=1))
INSERT = (
    "INSERT INTO registry.registrant (handle, kind, name, street, postal_code, city, country, email, vat_number, cvr_locked,"
    " cvr_form)"
    " VALUES ($1, 'company', 'Efter Filen ApS', '{Filvej 1}', '1111', 'Filby', 'DK', 'a@firma.example', $2, $3, $4)"
)


@asynccontextmanager
async def owner(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.owner)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def registry(database: Database) -> Database:
    """A database with two registrants besides: L is locked to N, and shown; U has M, and is not locked."""

    async def fill() -> None:
        async with owner(database) as connection:
            await connection.execute("TRUNCATE registry.cvr_company, registry.domain, registry.registrant CASCADE")
            await connection.execute(INSERT, "L", str(N), True, 80)
            await connection.execute(INSERT, "U", str(M), False, 80)

    asyncio.run(fill())
    return database


async def take(database: Database, *paths: Path, **options: Any) -> Report:
    async with owner(database) as connection:
        return await update(connection, CvrFiles(paths), Options(**options))


async def refused(database: Database, *paths: Path, **options: Any) -> list[str]:
    """The faults for which these files are refused."""
    with pytest.raises(LoadError) as error:
        await take(database, *paths, **options)
    return [*error.value.faults]


async def registrant(database: Database, handle: str = "L") -> Registrant:
    """The registrant as the server sees it."""
    async with owner(database) as connection:
        return registrant_of(await connection.fetchrow("SELECT * FROM registry.registrant_facts WHERE handle = $1", handle))


async def reason(database: Database, handle: str = "L") -> Reason:
    """What an active domain of a registrant says of the email."""
    section = publish_registrant(
        DomainStatus.ACTIVE,
        await registrant(database, handle),
        show_handles=True,
        conditions=IN_FORCE,
        charset=Charset.UTF_8,
    )
    return verdict_of(section).reason


async def contents(database: Database) -> list[str]:
    """All that an update writes."""
    async with owner(database) as connection:
        tables = [await connection.fetch(f"TABLE {table}") for table in ("registry.cvr_company", "registry.cvr_source")]
        return sorted(str([*row.values()][:-1]) for rows in tables for row in rows)


def documents(tmp_path: Path, *found: Any) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_bytes(lines(*found))
    return path


# --- what CVR makes of a locked registrant ---------------------------------------------------------------------------

EARLIER, ANNULLED = f"{YESTERDAY}T00:00:00+01:00", "Ophævelse af dekret"
ENDED = [{"periode": {"gyldigFra": "2001-05-01", "gyldigTil": "2020-01-31"}}]
CLOSED_FORM = [{"virksomhedsformkode": 80, **period("2001-05-01", "2020-01-31")}]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (document(N), Reason.LOCKED_TO_CVR),
        (document(str(N), "80"), Reason.LOCKED_TO_CVR),
        (document(N, 10), Reason.SOLE_PROPRIETORSHIP),
        (document(N, "10"), Reason.SOLE_PROPRIETORSHIP),
        (document(N, 15), Reason.SMALL_BUSINESS),
        (document(N, 20), Reason.DECEASED_ESTATE),
        (document(N, 990), Reason.CVR_FORM_UNSTATED),
        (document(N, 270), Reason.CVR_FORM_UNSTATED),
        (document(N, 95), Reason.CVR_FORM_UNSTATED),
        (document(N, 540), Reason.LOCKED_TO_CVR),
        (document(N, 998), Reason.CVR_FORM_UNKNOWN),
        (document(N, "99999999999"), Reason.CVR_FORM_UNKNOWN),
        (document(N, virksomhedsform=[]), Reason.CVR_FORM_UNKNOWN),
        (
            document(N, virksomhedsform=[{"virksomhedsformkode": code, **period()} for code in (80, 60)]),
            Reason.CVR_FORM_UNKNOWN,
        ),
        (document(N, virksomhedsstatus=[{"status": "UNDER KONKURS", **period()}]), Reason.BANKRUPTCY_ESTATE),
        *((document(N, code, status=[bankruptcy(stage)]), shown) for stage, code, shown in [
            *((stage, code, Reason.BANKRUPTCY_ESTATE) for stage in (1, 3, 6, "1", None) for code in (10, 30, 110)),
            (2, 30, Reason.LOCKED_TO_CVR),
            (2, 110, Reason.LOCKED_TO_CVR),
            (2, 10, Reason.SOLE_PROPRIETORSHIP),
        ]),
        (document(N, livsforloeb=ENDED, virksomhedsform=CLOSED_FORM), Reason.CEASED_IN_CVR),
        (document(N, livsforloeb=[]), Reason.CEASED_IN_CVR),
        (document(N, livsforloeb=[], virksomhedsform=[], virksomhedsstatus=[], attributter=[]), Reason.CEASED_IN_CVR),
        (document(N, fejlRegistreret=True), Reason.NOT_IN_CVR),
        (document(N, fejlVedIndlaesning=True), Reason.LOCKED_TO_CVR),
        (document(N, reklamebeskyttet=True), Reason.LOCKED_TO_CVR),
        (
            document(N, attributter=[{"type": "PSEUDOCVRNR", "vaerdier": [{"vaerdi": "true", **period()}]}]),
            Reason.NOT_IN_CVR,
        ),
        ({"cvrNummer": N, "fejlRegistreret": False}, Reason.CVR_FORM_UNKNOWN),
    ],
)  # fmt: skip
async def test_a_company(registry: Database, tmp_path: Path, found: Any, expected: Reason) -> None:
    """What CVR says of a company decides, whatever the registry files said of its form."""
    await take(registry, documents(tmp_path, found), max_newly_shown=0)
    assert await reason(registry) is expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[company(N, 1)], [form(1, "80")], []], Reason.LOCKED_TO_CVR),
        ([[company(str(N), "1")], [form("1", 80)], []], Reason.LOCKED_TO_CVR),
        ([[company(N, 1)], [form(1, "10")], []], Reason.SOLE_PROPRIETORSHIP),
        ([[company(N, 1)], [form(1, "80"), form(1, "60")], []], Reason.CVR_FORM_UNKNOWN),
        ([[company(N, 1)], [form(1, "81", virkningTil=EARLIER), form(1, "80")], []], Reason.LOCKED_TO_CVR),
        ([[company(N, 1)], [form(2, "80")], []], Reason.CVR_FORM_UNKNOWN),
        ([[company(N, 1)], [form(1, "30")], [credit(1, "1")]], Reason.BANKRUPTCY_ESTATE),
        ([[company(N, 1)], [form(1, "30")], [credit(1, "2", statusvaerdiTekst=ANNULLED)]], Reason.LOCKED_TO_CVR),
        ([[company(N, 1)], [form(1, "30")], [credit(1, "6")]], Reason.BANKRUPTCY_ESTATE),
        ([[company(N, 1)], [form(1, "80")], [credit(1, "1", "1", "Tvangsakkord")]], Reason.LOCKED_TO_CVR),
        ([[company(N, 1, "inaktiv")], [form(1, "80")], []], Reason.CEASED_IN_CVR),
        ([[company(N, 1, virksomhedOphoersdato="2020-01-31")], [form(1, "80")], []], Reason.CEASED_IN_CVR),
        ([[company(N, 1, "fejloprettet")], [form(1, "80")], []], Reason.NOT_IN_CVR),
        ([[company(N, 1, "fejloprettet"), company(N, 2)], [form(1, "10"), form(2, "80")], []], Reason.LOCKED_TO_CVR),
        ([[company(N, 1, "et nyt ord")], [form(1, "80")], []], Reason.NOT_SETTLED),
        ([[company(cvr_number(300), 1)], [form(1, "80")], []], Reason.NOT_IN_CVR),
    ],
)
async def test_a_generation(registry: Database, tmp_path: Path, rows: list[list[Any]], expected: Reason) -> None:
    """What the files of a generation say decides; a number that is not in them is none of CVR's."""
    await take(registry, *write_generation(tmp_path, *rows), max_newly_shown=0)
    assert await reason(registry) is expected


async def test_gives_no_lock(registry: Database, tmp_path: Path) -> None:
    """A registrant whom the registry has not locked to CVR stays withheld, and keeps the name of the file."""
    await take(registry, documents(tmp_path, document(M)))
    assert await reason(registry, "U") is Reason.NOT_LOCKED_TO_CVR
    assert (await registrant(registry, "U")).name == "Efter Filen ApS"


async def test_a_bankruptcy_that_the_file_has(registry: Database, tmp_path: Path) -> None:
    """A bankruptcy counts whichever of the two says so."""
    await registry.execute("UPDATE registry.registrant SET cvr_bankruptcy = true WHERE handle = 'L'")
    await take(registry, documents(tmp_path, document(N)))
    assert await reason(registry) is Reason.BANKRUPTCY_ESTATE


@pytest.mark.parametrize("text", ["{}", "DK{}", "DK {}", " {} "])
async def test_every_spelling_of_a_number(registry: Database, tmp_path: Path, text: str) -> None:
    """However the registry file spells a CVR number that the rules take for one, CVR's data is found."""
    await registry.execute("UPDATE registry.registrant SET vat_number = $1 WHERE handle = 'L'", text.format(N))
    await take(registry, documents(tmp_path, document(N, livsforloeb=[])))
    assert await reason(registry) is Reason.CEASED_IN_CVR


# --- names and addresses ---------------------------------------------------------------------------------------------


async def test_name_and_address_follow_cvr(registry: Database, tmp_path: Path) -> None:
    """The name and address of a locked registrant are CVR's, in either format."""
    expected = ("Opdigtet ApS", ("Opdigtet Allé 12B, 3. tv",), "0999", "Ingensteds", "DK")
    await take(registry, documents(tmp_path, document(N, navne=[{"navn": "Opdigtet ApS", **period()}])))
    found = await registrant(registry)
    assert (found.name, found.street, found.postal_code, found.city, found.country) == expected
    await registry.execute("DELETE FROM registry.cvr_company")
    others: dict[str, Any] = {
        "Navn": [name(1, "Biform", 1), name(1, "Opdigtet ApS")],
        "Adressering": [address(1), address(1, "postadresse")],
    }
    await take(registry, *write_generation(tmp_path, [company(N, 1)], [form(1, "80")], **others))
    found = await registrant(registry)
    assert (found.name, found.street, found.postal_code, found.city, found.country) == expected


@pytest.mark.parametrize(
    "found",
    [
        document(N, navne=[], beliggenhedsadresse=[]),
        document(N, livsforloeb=[]),
        document(N, fejlRegistreret=True),
        document(N, navne=[{"navn": "To\x00linjer", **period()}], beliggenhedsadresse=[{"landekode": "SE", **period()}]),
        document(N, navne=[{"navn": "No entries found for the selected source.", **period()}], beliggenhedsadresse=[]),
    ],
)
async def test_name_and_address_of_the_file(registry: Database, tmp_path: Path, found: Any) -> None:
    """Where CVR has none that can be shown, and where the lock is gone, name and address are those of the file."""
    await take(registry, documents(tmp_path, found))
    shown = await registrant(registry)
    assert (shown.name, shown.street, shown.postal_code, shown.city) == ("Efter Filen ApS", ("Filvej 1",), "1111", "Filby")


async def test_protection_hides_what_cvr_has(registry: Database, tmp_path: Path) -> None:
    """Of a registrant with name and address protection nothing of CVR's leaves the database either."""
    await registry.execute(
        "UPDATE registry.registrant SET kind = 'individual', address_protection = true WHERE handle = 'L'"
    )
    await take(registry, documents(tmp_path, document(N)))
    async with owner(registry) as connection:
        row = await connection.fetchrow("SELECT * FROM registry.registrant_facts WHERE handle = 'L'")
    given = {column for column, value in row.items() if value is not None}
    assert given == {"handle", "registrant_address_protection", "registrant_id_confirmed"}


# --- days to come ----------------------------------------------------------------------------------------------------


async def let_pass(database: Database, days: int = 1) -> None:
    """Let days pass: what begins in days begins so much earlier."""
    await database.execute("UPDATE registry.cvr_company SET since = since - $1::integer, until = until - $1::integer", days)


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (81, 80, (Reason.LOCKED_TO_CVR, Reason.LOCKED_TO_CVR)),
        (10, 80, (Reason.SOLE_PROPRIETORSHIP, Reason.LOCKED_TO_CVR)),
        (80, 10, (Reason.LOCKED_TO_CVR, Reason.SOLE_PROPRIETORSHIP)),
    ],
)
async def test_a_form_that_changes(
    registry: Database, tmp_path: Path, before: int, after: int, shown: tuple[Reason, Reason]
) -> None:
    """A form that begins tomorrow counts from tomorrow, by itself; today the one before does."""
    forms = [
        {"virksomhedsformkode": before, **period("2001-05-01", str(TODAY))},
        {"virksomhedsformkode": after, **period(TOMORROW)},
    ]
    await take(registry, documents(tmp_path, document(N, virksomhedsform=forms)))
    today = await reason(registry)
    await let_pass(registry)
    assert (today, await reason(registry)) == shown


async def test_a_company_that_will_cease(registry: Database, tmp_path: Path) -> None:
    """A life that ends today has ended tomorrow, and a bankruptcy that begins then has begun."""
    found = document(
        N,
        livsforloeb=[period("2001-05-01", str(TODAY + timedelta(days=2)))],
        virksomhedsstatus=[{"status": "NORMAL", **period()}, {"status": "UNDER KONKURS", **period(TOMORROW)}],
    )
    await take(registry, documents(tmp_path, found))
    seen = [await reason(registry)]
    for _ in range(3):
        await let_pass(registry)
        seen.append(await reason(registry))
    bankrupt = Reason.BANKRUPTCY_ESTATE
    assert seen == [Reason.LOCKED_TO_CVR, bankrupt, bankrupt, Reason.CEASED_IN_CVR]


async def test_one_row_of_a_domain(registry: Database, tmp_path: Path) -> None:
    """However many spans a company has, a registrant is one row of the view."""
    forms = [
        {"virksomhedsformkode": 80 + day, **period(str(TODAY + timedelta(days=day)), str(TODAY + timedelta(days=day)))}
        for day in range(9)
    ]
    await take(registry, documents(tmp_path, document(N, virksomhedsform=forms)))
    async with owner(registry) as connection:
        assert await connection.fetchval("SELECT count(*) FROM registry.cvr_company") == 10
        assert await connection.fetchval("SELECT count(*) FROM registry.registrant_facts") == 2


async def test_every_day_is_in_one_row(registry: Database, tmp_path: Path) -> None:
    """The rows of a company follow one another without a gap from the first day to the last."""
    starts = [TODAY + timedelta(days=n * n) for n in range(6)]
    forms = [
        {"virksomhedsformkode": code, **period(str(begins), str(following - timedelta(days=1)))}
        for code, begins, following in zip(range(80, 85), starts, starts[1:], strict=False)
    ]
    await take(registry, documents(tmp_path, document(N, virksomhedsform=forms)))
    async with owner(registry) as connection:
        rows = await connection.fetch("SELECT since, until FROM registry.cvr_company WHERE number = $1 ORDER BY since", N)
    assert [row["since"] for row in rows] == [date.min, *(row["until"] for row in rows[:-1])]
    assert (len(rows), rows[-1]["until"]) == (6, date.max)  # after the last form none is known


# --- one update after the other --------------------------------------------------------------------------------------


async def test_an_older_generation(registry: Database, tmp_path: Path) -> None:
    """Files of an older generation than those held are refused, and nothing is changed; the same again changes nothing."""
    files = write_generation(tmp_path, [company(N, 1)], [form(1, "80")], generation=345)
    await take(registry, *files)
    before = await contents(registry)
    older = write_generation(tmp_path, [company(N, 1)], [form(1, "10")], generation=344)
    assert await refused(registry, *older) == [
        "the files are of generation 344, and generation 345 is held: give newer ones"
    ]
    again = await take(registry, *files)
    assert (again.changes.changed, await contents(registry)) == (0, before)
    newer = write_generation(tmp_path, [company(N, 1)], [form(1, "10")], generation=346)
    assert (await take(registry, *newer)).changes.changed == 1
    assert await reason(registry) is Reason.SOLE_PROPRIETORSHIP


async def test_an_older_document(registry: Database, tmp_path: Path) -> None:
    """A document that was changed before what is held of its company changes nothing, also behind a generation."""
    newer, older = "2024-11-19T09:00:00.000+01:00", "2024-11-18T09:00:00.000+01:00"
    await take(registry, documents(tmp_path, document(N, 10, sidstOpdateret=newer)))
    report = await take(registry, documents(tmp_path, document(N, 80, sidstOpdateret=older)))
    assert (report.changes.older, report.changes.changed) == (1, 0)
    undated = document(N, 80)
    del undated["sidstOpdateret"]
    assert (await take(registry, documents(tmp_path, undated))).changes.older == 1
    assert await reason(registry) is Reason.SOLE_PROPRIETORSHIP
    # The generation's last registration is of the 20th.
    await take(registry, *write_generation(tmp_path, [company(N, 1)], [form(1, "20")]))
    assert await reason(registry) is Reason.DECEASED_ESTATE
    assert (await take(registry, documents(tmp_path, document(N, 80, sidstOpdateret=newer)))).changes.older == 1
    later = document(N, 15, sidstOpdateret="2024-11-21T09:00:00.000+01:00")
    assert (await take(registry, documents(tmp_path, later))).changes.changed == 1
    assert await reason(registry) is Reason.SMALL_BUSINESS
    report = await take(registry, *write_generation(tmp_path, [company(N, 1)], [form(1, "80")], generation=346))
    assert (report.changes.older, await reason(registry)) == (1, Reason.SMALL_BUSINESS)


async def test_the_newest_of_several_documents(registry: Database, tmp_path: Path) -> None:
    """Of several documents of a number the newest counts, and one that was registered by mistake yields to any."""
    found = [
        document(N, fejlRegistreret=True, sidstOpdateret="2024-11-22T09:00:00.000+01:00"),
        document(N, 10, sidstOpdateret="2024-11-20T09:00:00.000+01:00"),
        document(N, 80, sidstOpdateret="2024-11-19T09:00:00.000+01:00"),
    ]
    await take(registry, documents(tmp_path, *found))
    assert await reason(registry) is Reason.SOLE_PROPRIETORSHIP


async def test_two_documents_of_one_moment(registry: Database, tmp_path: Path) -> None:
    """Two documents of the same moment count together: where they differ, nothing is known."""
    await take(registry, documents(tmp_path, document(N, 80), document(N, 60)))
    assert await reason(registry) is Reason.CVR_FORM_UNKNOWN


async def test_documents_are_not_all(registry: Database, tmp_path: Path) -> None:
    """Of a company without a document nothing is said: what is held of it stays."""
    await take(registry, documents(tmp_path, document(N, 10)))
    await take(registry, documents(tmp_path, document(M, 80)))
    assert await reason(registry) is Reason.SOLE_PROPRIETORSHIP


async def test_a_registrant_who_came_later(registry: Database, tmp_path: Path) -> None:
    """Of a number that no registrant had when CVR was read, CVR has said nothing: the file's facts count until it has."""
    paths = write_generation(tmp_path, [company(N, 1)], [form(1, "80")])
    await take(registry, *paths)
    async with owner(registry) as connection:
        await connection.execute(INSERT, "NEW", str(cvr_number(300)), True, 80)
    assert await reason(registry, "NEW") is Reason.LOCKED_TO_CVR
    await take(registry, *paths)
    assert await reason(registry, "NEW") is Reason.NOT_IN_CVR


async def test_only_registrants_numbers_are_held(registry: Database, tmp_path: Path) -> None:
    """What is held is about registrants' numbers, locked or not; of one that no registrant has any more nothing is held."""
    await take(registry, documents(tmp_path, *(document(number) for number in (N, M, cvr_number(300)))))
    async with owner(registry) as connection:
        assert {row[0] for row in await connection.fetch("SELECT number FROM registry.cvr_company")} == {N, M}
        await connection.execute("DELETE FROM registry.registrant WHERE handle = 'U'")
    assert (await take(registry, documents(tmp_path, document(N)))).changes.removed == 1
    async with owner(registry) as connection:
        assert {row[0] for row in await connection.fetch("SELECT number FROM registry.cvr_company")} == {N}


async def test_load_and_update_leave_each_other_alone(registry: Database, tmp_path: Path) -> None:
    """An update changes no row of a registrant, and a load none of CVR's, also one that says otherwise."""
    await take(registry, documents(tmp_path, document(N, 10)))
    before = await contents(registry)
    record = {
        "type": "registrant",
        "handle": "L",
        "kind": "company",
        "name": "Nyt Navn ApS",
        "country": "DK",
        "email": "b@firma.example",
        "vat_number": str(N),
        "cvr_locked": True,
        "cvr_form": 60,
    }
    path = tmp_path / "registry.jsonl"
    path.write_bytes(lines(record))
    async with owner(registry) as connection:
        await load(connection, RegistryFiles([path]))
        row = await connection.fetchrow("SELECT name, cvr_form FROM registry.registrant WHERE handle = 'L'")
    assert await contents(registry) == before
    assert await reason(registry) is Reason.SOLE_PROPRIETORSHIP
    await take(registry, documents(tmp_path, document(N, 15, sidstOpdateret="2024-11-23T09:00:00+01:00")))
    async with owner(registry) as connection:
        assert await connection.fetchrow("SELECT name, cvr_form FROM registry.registrant WHERE handle = 'L'") == row


# --- who becomes public ----------------------------------------------------------------------------------------------


async def test_newly_shown(registry: Database, tmp_path: Path) -> None:
    """Whoever becomes public is in the trail by handle and reason; too many are refused, and a dry run tells the same."""
    await take(registry, documents(tmp_path, document(N, 10)))
    path = documents(tmp_path, document(N, 80, sidstOpdateret="2024-11-23T09:00:00+01:00"))
    before = await contents(registry)
    assert (await refused(registry, path, max_newly_shown=0))[0].startswith("1 registrant, withheld until now, would become")
    assert await contents(registry) == before
    tried = await take(registry, path, dry_run=True)
    assert (tried.newly_shown.handles, await contents(registry)) == (["L"], before)
    done = await take(registry, path, max_newly_shown=1)
    assert [*done.newly_shown.lines()] == [*tried.newly_shown.lines()]
    assert await reason(registry) is Reason.LOCKED_TO_CVR
    async with owner(registry) as connection:
        entry = await connection.fetchrow(
            "SELECT who, before, after FROM audit.entry WHERE command = 'cvr update' AND object = 'registrant:L'"
        )
    assert entry["who"] == this_account()
    assert orjson.loads(entry["before"]) == {"withheld": {"email": "sole_proprietorship"}}
    assert orjson.loads(entry["after"]) == {"shown": ["email"]}


async def test_newly_shown_on_a_later_day(registry: Database, tmp_path: Path) -> None:
    """Whoever becomes public on a day to come is found when the data is read, once: nobody is asked on that day."""
    await take(registry, documents(tmp_path, document(N, 10)))
    forms = [
        {"virksomhedsformkode": 10, **period("2001-05-01", str(TODAY))},
        {"virksomhedsformkode": 80, **period(TOMORROW)},
    ]
    changed = document(N, virksomhedsform=forms, sidstOpdateret="2024-11-23T09:00:00+01:00")
    path = documents(tmp_path, changed)
    before = await contents(registry)
    assert (await refused(registry, path, max_newly_shown=0))[-1] == (
        f"  1 of them on a later day, by what CVR says of it: {TOMORROW} is the first"
    )
    assert await contents(registry) == before
    assert (await take(registry, path)).newly_shown.handles == ["L"]
    async with owner(registry) as connection:
        query = "SELECT before, after FROM audit.entry WHERE command = 'cvr update' AND object = 'registrant:L'"
        (entry,) = await connection.fetch(query)
        assert orjson.loads(entry["before"]) == {"withheld": {"email": "sole_proprietorship"}}
        assert orjson.loads(entry["after"]) == {"shown": ["email"], "from": str(TOMORROW)}
        await connection.execute("UPDATE registry.registrant SET cvr_bankruptcy = true WHERE handle = 'L'")
        async with connection.transaction():
            await newly_shown.remember(connection, "SELECT 'L'")
            await connection.execute("UPDATE registry.registrant SET cvr_bankruptcy = false WHERE handle = 'L'")
            found = await newly_shown.find(connection, command=None)
    assert (found.handles, found.later, found.reasons) == (["L"], 1, {(Part.EMAIL, Reason.BANKRUPTCY_ESTATE): 1})
    again = {"navne": [{"navn": "Nyt Navn ApS", **period()}], "sidstOpdateret": "2024-11-24T09:00:00+01:00"}
    assert (await take(registry, documents(tmp_path, changed | again))).newly_shown.registrants == 0
    await let_pass(registry)
    assert await reason(registry) is Reason.LOCKED_TO_CVR
    assert (await take(registry, documents(tmp_path, changed))).newly_shown.registrants == 0


async def test_the_trail(registry: Database, tmp_path: Path) -> None:
    """An update leaves a row in the audit trail: which data, how many companies, and no value of any."""
    await take(registry, *write_generation(tmp_path, [company(N, 1)], [form(1, "80")]))
    async with owner(registry) as connection:
        entry = await connection.fetchrow("SELECT * FROM audit.entry WHERE object = 'cvr' ORDER BY id DESC")
    after = orjson.loads(entry["after"])
    assert orjson.loads(entry["before"]) == {"generation": None, "as_of": None}
    assert len(after.pop("files")) == 3
    changes = {"read": 1, "absent": 1, "older": 0, "changed": 2, "removed": 0}
    assert after == {"generation": 345, "as_of": "2024-11-20T09:00:00+00:00", **changes, "newly_shown": 0}


async def test_of_when_it_is(registry: Database, tmp_path: Path) -> None:
    """The reader sees of when CVR's data is: of the last generation, else of the newest document; never of the future."""

    async def as_of() -> datetime | None:
        reader = await asyncpg.connect(registry.reader)
        found: datetime | None = await reader.fetchval("SELECT as_of FROM whois.cvr")
        await reader.close()
        return found

    assert await as_of() is None
    await take(registry, documents(tmp_path, document(N), document(M, sidstOpdateret="2024-10-01T00:00:00Z")))
    assert await as_of() == datetime(2024, 11, 19, 8, tzinfo=UTC)
    await take(
        registry, *write_generation(tmp_path, [company(N, 1, registreringFra="2024-11-01T00:00:00Z")], [form(1, "80")])
    )
    assert await as_of() == datetime(2024, 11, 1, tzinfo=UTC)
    future = [company(N, 1, registreringFra="2999-11-01T00:00:00Z")]
    await take(registry, *write_generation(tmp_path, future, [form(1, "80")], generation=346))
    found = await as_of()
    assert found is not None
    assert found <= datetime.now(UTC)


# --- all or nothing --------------------------------------------------------------------------------------------------


async def test_a_zip_that_is_cut_off(registry: Database, tmp_path: Path) -> None:
    """A zip that is cut off is named, and nothing of the other files is taken either."""
    paths = write_generation(tmp_path, [company(N, 1)], [form(1, "80")])
    before = await contents(registry)
    for path in paths:
        whole = path.read_bytes()
        for size in (len(whole) - 1, len(whole) // 2, 10):
            path.write_bytes(whole[:size])
            (fault,) = await refused(registry, *paths)
            assert fault == f"{path}: is a zip file that is cut off or damaged: download it again"
        path.write_bytes(whole)
    assert await contents(registry) == before


async def test_a_json_that_is_cut_off(registry: Database, tmp_path: Path) -> None:
    """A zip that is whole with JSON in it that is not is refused, also when its last rows are read first."""
    paths = write_generation(tmp_path, [company(N, 1)], [form(1, "80")])
    called = file_name("Virksomhedsform")
    write_zip(paths[1], {f"{called}.json": b"[" + orjson.dumps(form(1, "80")) + b","})
    (fault,) = await refused(registry, *paths)
    assert fault.startswith(f"{paths[1]}: after record 1, at byte ")
    assert await contents(registry) == []


async def test_mixed_generations(registry: Database, tmp_path: Path) -> None:
    """Files of several generations are refused before anything is read."""
    old, new = (write_generation(tmp_path, [company(N, 1)], [form(1, "80")], generation=number) for number in (344, 345))
    assert await refused(registry, old[0], *new[1:]) == ["generation: the files are of several, 344, 345: give those of one"]


async def test_faults_of_rows(registry: Database, tmp_path: Path) -> None:
    """Rows that are wrong are named by file, record and key, without their values, and nothing is taken."""
    broken = form(1, "hemmelig") | {"virkningTil": "hemmelig"}
    paths = write_generation(tmp_path, [company(N, 1), row(status="aktiv")], [form(1, "80"), broken])
    assert await refused(registry, *paths) == [
        f"{paths[0]}: record 2: CVRNummer: required",
        f"{paths[1]}: record 2: virkningTil: must be a day or a moment, as 2025-01-31 or 2025-01-31T00:00:00+01:00, or null",
    ]
    assert await contents(registry) == []


async def test_files_that_do_not_tell_of_when_they_are(registry: Database, tmp_path: Path) -> None:
    """Without a moment of registration nobody could tell whether documents are newer: the files are refused."""
    for registered, said in ((None, "no row has a registreringFra"), ("zzz", "registreringFra: must be a moment")):
        paths = write_generation(tmp_path, [company(N, 1, registreringFra=registered)], [form(1, "80")])
        (fault,) = await refused(registry, *paths)
        assert fault.startswith(f"Virksomhed: {said}")
