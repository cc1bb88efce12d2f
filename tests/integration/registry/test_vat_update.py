"""`whoisd vat update` against a real PostgreSQL: what withholds, what changes nothing, what is refused before the commit."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import Database, Service, ended, fields, run_here, run_whoisd

MakeFile = Callable[..., Path]

NUMBER = "136695976"
DAY = "2026-05-{:02}T12:00:00Z"
REGISTRANT = (
    "INSERT INTO registry.registrant (handle, kind, name, country, email, vat_number, id_confirmed)"
    " VALUES ('{0}', 'company', 'Firma', '{1}', 'hemmelig@firma.example', '{2}', true)"
)
DOMAIN = (
    "INSERT INTO registry.domain (name, status, registered, expires, period_years, registrant)"
    " VALUES ('{0}', 'active', '2020-01-31', '2027-01-31', 1, '{1}')"
)


def answer(valid: bool, day: int = 1, number: str = NUMBER, code: str = "DE", **changes: object) -> dict[str, Any]:
    said = {"countryCode": code, "vatNumber": number, "requestDate": DAY.format(day), "valid": valid}
    return said | {"requestIdentifier": f"ID{day}", "name": "Hemmelig GmbH"} | changes


FAILED: dict[str, Any] = {"actionSucceed": False, "errorWrappers": [{"error": "MS_UNAVAILABLE"}]}


@pytest.fixture
async def firm(database: Database) -> Database:
    """A database with a firm in Germany whose number is right, and of which VIES said nothing yet."""
    await database.execute("DELETE FROM registry.vies")
    await database.execute(REGISTRANT.format("FIRM-DE", "DE", f"DE {NUMBER}"))
    await database.execute(DOMAIN.format("firma-i-udland.dk", "FIRM-DE"))
    return database


def owned(database: Database, **settings: str) -> dict[str, str]:
    return {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner} | settings


@pytest.fixture
def write(tmp_path: Path) -> MakeFile:
    def write(*answers: Mapping[str, Any], name: str = "answers.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(it)}\n" for it in answers))
        return path

    return write


async def rows(database: Database, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    owner = await asyncpg.connect(database.owner)
    try:
        return [tuple(row) for row in await owner.fetch(sql, *arguments)]
    finally:
        await owner.close()


async def kept(database: Database) -> list[tuple[Any, ...]]:
    return await rows(database, "SELECT number, valid, asked_at::date::text, identifier FROM registry.vies ORDER BY number")


def reason(database: Database, name: str = "firma-i-udland.dk", **settings: str) -> str:
    said = run_here("explain", name, settings=owned(database, **settings)).stdout
    return next(line.split()[-1].strip("()") for line in said.splitlines() if line.startswith("Email "))


def update(database: Database, *arguments: str | Path, **settings: str) -> tuple[int, str, str]:
    return ended(run_here("vat", "update", *arguments, settings=owned(database, **settings)))


# --- what an answer does -----------------------------------------------------------------------------------------------


async def test_number_that_vies_does_not_know_withholds(firm: Database, write: MakeFile) -> None:
    """An email is shown until VIES says that it knows no such number; the very next answer has it, and its reason."""
    with Service(firm.reader) as service:
        asked = "--show-handles firma-i-udland.dk"
        assert fields(service.ask(asked))["Email"] == ["hemmelig@firma.example"]
        status, said, error = update(firm, write(answer(False)))
        assert (status, error) == (0, "")
        assert said == (
            "answers: 1, 0 of them of numbers that VIES lists\n"
            "numbers: 1, 1 of them written, 0 with nothing newer than is held\n"
            "The update is committed.\n"
        )
        assert fields(service.ask(asked))["Email"] == ["DATA REDACTED"]
        assert service.wait_for_event("query.answered", 2)["email"] == "vat_number_not_registered"
    assert await kept(firm) == [("DE136695976", False, "2026-05-01", "ID1")]


async def test_failures_change_nothing(firm: Database, write: MakeFile) -> None:
    """A failure lifts nothing and withholds nothing, in whatever form VIES tells it."""
    by_get = {"countryCode": "DE", "vatNumber": NUMBER, "requestDate": DAY.format(9), "userError": "MS_UNAVAILABLE"}
    failures = write(FAILED, by_get | {"isValid": False}, by_get | {"isValid": True}, {"faultstring": "TIMEOUT"})
    for held in ([], [answer(False)], [answer(True, 2)]):
        if held:
            assert update(firm, write(*held, name="held.jsonl"), "--max-newly-shown", "1")[0] == 0
        before = await kept(firm), reason(firm)
        status, said, error = update(firm, failures)
        assert (status, error) == (0, f"warning: {failures}: no answer\n")
        assert said.splitlines()[1] == "failures: 4, which change nothing (MS_UNAVAILABLE 3, TIMEOUT 1)"
        assert (await kept(firm), reason(firm)) == before


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_older_answer_never_overrules_a_newer(
    firm: Database, write: MakeFile, order: Sequence[int], at_once: bool
) -> None:
    """In whatever order answers come, together or one after the other, the last that VIES gave counts."""
    answers = [answer(False, 1), answer(True, 2), answer(False, 3)]
    ordered = [answers[number] for number in order]
    for some in [ordered] if at_once else [[one] for one in ordered]:
        assert update(firm, write(*some))[0] == 0
    assert await kept(firm) == [("DE136695976", False, "2026-05-03", "ID3")]
    assert reason(firm) == "vat_number_not_registered"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
async def test_of_the_same_moment_what_withholds_counts(firm: Database, write: MakeFile, first: bool, at_once: bool) -> None:
    """Of two answers of one moment the one that withholds counts; so it does of one day, where that is all that is said."""
    for when in (DAY.format(4), "2026-05-05"):
        both = [answer(first, requestDate=when), answer(not first, requestDate=when)]
        for some in [both] if at_once else [[one] for one in both]:
            assert update(firm, write(*some))[0] == 0
        assert [row[1] for row in await kept(firm)] == [False]
    assert reason(firm) == "vat_number_not_registered"


async def test_load_order(database: Database, write: MakeFile) -> None:
    """An answer about a number that nobody has yet withholds the email of whoever comes to have it."""
    assert update(database, write(answer(False)))[0] == 0
    await database.execute(REGISTRANT.format("FIRM-DE", "DE", NUMBER))
    await database.execute(DOMAIN.format("firma-i-udland.dk", "FIRM-DE"))
    assert reason(database) == "vat_number_not_registered"


@pytest.mark.parametrize(
    ("country", "given", "code", "number"),
    [
        ("DE", "DE136695976", "DE", "136695976"),
        ("DE", "de 136.695-976", "DE", "136695976"),
        ("DE", "136 695\u00a0976", "DE", "136695976"),
        ("GR", "EL 094259216", "EL", "094259216"),
        ("GR", "GR094259216", "EL", "094259216"),
        ("GR", "94259216", "EL", "094259216"),
        ("BE", "BE 403.019.261", "BE", "0403019261"),
        ("BE", "0403019261", "BE", "403019261"),
        ("SE", "556036-0793", "SE", "556036079301"),
        ("SE", "SE556036079301", "SE", "5560360793"),
        ("NL", "NL004495445B01", "NL", "4495445B01"),
        ("NL", "4495445B01", "NL", "004495445B01"),
        ("FR", "FR 40 303 265 045", "FR", "40303265045"),
        ("MC", "FR 53 0000 04605", "FR", "53000004605"),
        ("GP", "FR 40 303 265 045", "FR", "40303265045"),
        ("AX", "FI 20774740", "FI", "20774740"),
        ("IE", "IE 6433435F", "IE", "6433435F"),
        ("GB", "XI 980 7806 84", "XI", "980780684"),
    ],
)
async def test_the_number_is_found(  # noqa: PLR0913, PLR0917 - the number, as each gives it
    database: Database, write: MakeFile, country: str, given: str, code: str, number: str
) -> None:
    """However a registrant writes the number, what VIES said of it is found, and withholds."""
    await database.execute(REGISTRANT.format("FIRM", country, given))
    await database.execute(DOMAIN.format("firma-i-udland.dk", "FIRM"))
    assert reason(database) in {"vat_registered", "vat_number_not_settled"}
    assert update(database, write(answer(False, number=number, code=code)))[0] == 0
    listed = await rows(database, "SELECT registrant_vat_listed FROM registry.registrant_facts WHERE handle = 'FIRM'")
    assert listed == [(False,)]
    assert reason(database) in {"vat_number_not_registered", "vat_number_not_settled"}


async def test_only_what_vies_lists(firm: Database, write: MakeFile) -> None:
    """With disclosure.vat = "listed" a number publishes only once VIES lists it."""
    listed = {"WHOISD_DISCLOSURE__VAT": "listed"}
    assert reason(firm, **listed) == "vat_number_not_listed"
    assert update(firm, write(answer(True)), **listed)[0] == 0
    assert reason(firm, **listed) == "vat_registered"


# --- who becomes public ------------------------------------------------------------------------------------------------

SHOWN = "newly shown: 1 registrant, withheld until now\n  email of 1, withheld until now: {}\n  FIRM-DE\n"


async def test_too_many_newly_shown(firm: Database, write: MakeFile) -> None:
    """An update that makes more public than allowed is refused before its commit, and nothing is changed."""
    update(firm, write(answer(False)))
    before = await kept(firm), await rows(firm, "SELECT count(*) FROM audit.entry")
    newer = write(answer(True, 2))
    status, said, error = update(firm, newer, "--max-newly-shown", "0")
    assert (status, said) == (1, "")
    assert "more than --max-newly-shown 0 allows" in error
    assert "withheld until now: vat_number_not_registered" in error
    assert "FIRM-DE" in error
    assert (await kept(firm), await rows(firm, "SELECT count(*) FROM audit.entry")) == before
    assert reason(firm) == "vat_number_not_registered"


async def test_newly_shown_with_listed(firm: Database, write: MakeFile) -> None:
    """Where only listed numbers publish, whoever comes to be listed becomes public, and counts."""
    status, _, error = update(firm, write(answer(True)), "--max-newly-shown", "0", WHOISD_DISCLOSURE__VAT="listed")
    assert status == 1
    assert "withheld until now: vat_number_not_listed" in error
    assert update(firm, write(answer(True)), "--max-newly-shown", "0")[0] == 0  # by its form it is public already


async def test_dry_run_and_trail(firm: Database, write: MakeFile) -> None:
    """A dry run tells the same and changes nothing; the trail has who became public by handle and reason, and no number."""
    update(firm, write(answer(False)))
    newer = write(answer(True, 2))
    before = await kept(firm), await rows(firm, "SELECT count(*) FROM audit.entry")
    status, dry, _ = update(firm, newer, "--dry-run")
    assert status == 0
    assert dry.endswith(SHOWN.format("vat_number_not_registered") + "Nothing was changed: this was a dry run.\n")
    assert (await kept(firm), await rows(firm, "SELECT count(*) FROM audit.entry")) == before
    status, said, _ = update(firm, newer)
    assert said == dry.replace("Nothing was changed: this was a dry run.", "The update is committed.")
    entries = await rows(firm, "SELECT object, before, after FROM audit.entry WHERE command = 'vat update' ORDER BY id")
    assert ("registrant:FIRM-DE", '{"withheld": {"email": "vat_number_not_registered"}}', '{"shown": ["email"]}') in entries
    assert json.loads(entries[-1][2]) == {
        "files": [str(newer)],
        "answers": 1,
        "failures": 0,
        "written": 1,
        "newly_shown": 1,
    }
    assert NUMBER not in str(entries)


# --- files -------------------------------------------------------------------------------------------------------------


async def test_faults(firm: Database, write: MakeFile) -> None:
    """A line with a fault stops it all; every fault is told with its place, and none with its value."""
    file = write(answer(False), answer(True) | {"valid": "ja"}, answer(True) | {"countryCode": "Hemmelig"})
    status, said, error = update(firm, file)
    assert (status, said) == (1, "")
    assert error == (
        f"whoisd: {file}:2: valid: must be true or false\n"
        f"whoisd: {file}:3: countryCode: must be a code that VIES has (Greece is EL, Northern Ireland XI)\n"
    )
    assert await kept(firm) == []


async def test_many_faults(firm: Database, write: MakeFile) -> None:
    """After 100 faults the rest is not looked at."""
    error = update(firm, write(*[{}] * 150))[2]
    assert error.splitlines()[-1] == "whoisd: 100 faults; the rest was not looked at"
    assert len(error.splitlines()) == 101


def test_real_process(firm: Database, write: MakeFile) -> None:
    """The command works as it is typed, from standard input too, and says what is missing."""
    assert run_whoisd("vat", "update", write(answer(False)), settings=owned(firm)).returncode == 0
    missing = run_whoisd("vat", "update", "/nonexistent.jsonl", settings=owned(firm))
    assert (missing.returncode, missing.stderr) == (
        1,
        "whoisd: /nonexistent.jsonl: cannot be read: No such file or directory\n",
    )


async def test_while_a_load_runs(firm: Database, write: MakeFile) -> None:
    """An update waits for the lock that every writer holds, so that neither sees the other's half."""
    file = write(answer(False))
    owner = await asyncpg.connect(firm.owner)
    await owner.execute("SELECT pg_advisory_lock($1)", 0x77686F6973)
    try:
        running = asyncio.create_task(asyncio.to_thread(run_whoisd, "vat", "update", file, settings=owned(firm)))
        await asyncio.sleep(1.5)
        assert await kept(firm) == []
    finally:
        await owner.close()
    assert (await running).returncode == 0
    assert [row[1] for row in await kept(firm)] == [False]
