"""`whoisd report disclosure`: its figures are those of the server's own answers, and its faults are told."""

import asyncio
import csv
import io
import json
import os
import pty
import random
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support import PATIENCE, WHOISD, Database, Service, environment, fields, run_here, said_by

from whoisd.answers.response import REDACTED
from whoisd.registry.report import REASONS

NOWHERE = "postgresql://whoisd_reader:hunter2@/whois?host=/nonexistent"
BEFORE = "2025-11-03T13:59:59.999999+01:00"  # the rules enter into force
IN_FORCE = "2025-11-03T14:00:00+01:00"
LATER = {"WHOISD_DISCLOSURE__IN_FORCE_FROM": "2100-01-01T00:00:00Z"}  # a server before their entry into force
CHARSETS = ("utf-8", "iso-8859-1")

Ran = subprocess.CompletedProcess[str]
Verdicts = Counter[tuple[str, str]]  # shown or withheld, and why


def report(dsn: str, *arguments: str | Path) -> Ran:
    return run_here("report", "disclosure", *arguments, settings={"WHOISD_DATABASE__DSN": dsn})


def ended(ran: Ran) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    assert "Traceback" not in ran.stderr
    assert "hunter2" not in ran.stdout + ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def printed(dsn: str, *arguments: str | Path) -> str:
    """What a report prints, which must say nothing else."""
    status, said, wrong = ended(report(dsn, *arguments))
    assert (status, wrong) == (0, "")
    return said


def counted(dsn: str, subject: str, *arguments: str) -> Verdicts:
    """What a report counts of a subject and is not zero; its total must be the sum."""
    counts = json.loads(printed(dsn, "--format", "json", *arguments))[subject]
    found = Counter({(email, reason): n for email in ("shown", "withheld") for reason, n in counts[email].items()})
    assert counts["total"] == sum(found.values())
    return +found


def answered(service: Service, names: Iterable[str], charset: str) -> dict[str, tuple[str, str]]:
    """What the server answers of each name's email, by the answer, and why, by the log."""
    before = len(service.events("query.answered"))
    lines = {name: fields(service.ask(f"--charset={charset} --show-handles {name}")) for name in names}
    service.wait_for_event("query.answered", before + len(lines))
    events = {event["name"]: event for event in service.events("query.answered")[before:]}
    assert all("Domain" in answer for answer in lines.values())
    return {
        name: (
            "withheld" if answer.get("Email", [REDACTED]) == [REDACTED] else "shown",
            events[name].get("email") or events[name]["registrant"],
        )
        for name, answer in lines.items()
    }


async def names_in(database: Database) -> list[str]:
    connection = await asyncpg.connect(database.reader)
    try:
        return [row["name"] for row in await connection.fetch("SELECT name FROM whois.domain")]
    finally:
        await connection.close()


# --- a registry with views of its own ----------------------------------------------------------------------------

FACTS = """
    kind AS registrant_kind, 'Navn Navnesen' AS registrant_name, '{Vej 1}'::text[] AS registrant_street,
    '2300' AS registrant_postal_code, 'By' AS registrant_city, country AS registrant_country, NULL::text AS registrant_phone,
    email AS registrant_email, secondary_email AS registrant_secondary_email, vat_number AS registrant_vat_number,
    cvr_locked AS registrant_cvr_locked, cvr_form AS registrant_cvr_form, cvr_bankruptcy AS registrant_cvr_bankruptcy,
    sole_proprietorship AS registrant_sole_proprietorship, address_protection AS registrant_address_protection,
    id_confirmed AS registrant_id_confirmed, NULL::text AS registrant_id_status,
    documented AS registrant_documented, vat_listed AS registrant_vat_listed, cvr_standing AS registrant_cvr_standing"""
VIEWS = f"""
    DROP VIEW whois.domain, whois.registrant;
    CREATE TABLE registry.own (
        name text, status text, kind text, country text, email text, secondary_email text, vat_number text,
        cvr_locked boolean, cvr_form text, cvr_bankruptcy boolean, sole_proprietorship boolean, address_protection boolean,
        id_confirmed boolean, documented boolean, vat_listed boolean, cvr_standing text
    );
    CREATE VIEW whois.domain AS
    SELECT name, status, date '2020-01-01' AS registered, date '2030-01-01' AS expires, NULL::date AS delete_date,
           1 AS period_years, false AS vid, false AS dnssec, NULL::text AS registrar, NULL::boolean AS registrar_public,
           NULL::text[] AS registrar_street, NULL::text AS registrar_postal_code, NULL::text AS registrar_city,
           NULL::text AS registrar_country, NULL::text AS registrar_phone, NULL::text AS registrar_url,
           NULL::text AS registrar_email, NULL::text AS registrar_abuse_email, '{{}}'::text[] AS nameservers, {FACTS}
    FROM (
        SELECT * FROM registry.own
        UNION ALL
        SELECT 'a' || name, 'active', kind, country, email, secondary_email, vat_number, cvr_locked, cvr_form,
               cvr_bankruptcy, sole_proprietorship, address_protection, id_confirmed, documented, vat_listed, cvr_standing
        FROM registry.own
    ) AS own;
    CREATE VIEW whois.registrant AS SELECT {FACTS} FROM registry.own;
    GRANT SELECT ON whois.domain, whois.registrant TO whoisd_reader
"""  # noqa: S608 - of constants
AXES: dict[str, list[Any]] = {
    "status": ["reserved", "deactivated", "offered_to_waiting_list"],
    "kind": ["public_organization", "association", "individual", "unheard of", None],
    "country": ["DK", "SE", "US", "ZZ", None],
    "email": ["p@smørrebrød.example", "rødgrød@a.example", "oplyses senere", None],
    "secondary_email": [" ", "s@a.example", "sødt@a.example", "s@☃.example"],
    "vat_number": ["99000019", "SE556000016701", "SE640823323401", "DE136695976", " ", "applied for", None],
    "cvr_locked": [True, False, None],
    "cvr_form": ["ordinary", "sole_proprietorship", "small_business", "deceased_estate", "unstated", "new", None],
    "cvr_bankruptcy": [True, None],
    "sole_proprietorship": [True, None],
    "address_protection": [True, None],
    "id_confirmed": [False, None],
    "documented": [True, None],
    "vat_listed": [False, True],
    "cvr_standing": ["ceased", "absent", "new", None],
}
DANISH: dict[str, object] = {
    "status": "active",
    "kind": "company",
    "country": "DK",
    "email": "p@a.example",
    "secondary_email": None,
}
DANISH |= {"vat_number": "99000019", "cvr_locked": True, "cvr_form": "ordinary", "cvr_bankruptcy": False}
DANISH |= {"sole_proprietorship": False, "address_protection": False, "id_confirmed": True}
DANISH |= {"documented": False, "vat_listed": None, "cvr_standing": "held"}
ABROAD = DANISH | {"country": "SE", "vat_number": "SE556000016701", "cvr_locked": False, "cvr_form": None}
DOCUMENTED = ABROAD | {"vat_number": "SE640823323401", "documented": True}
OF_SETTINGS = {"not_in_force", "data_too_old", "vat_number_not_listed"}  # reasons that there are by settings alone
PUBLIC = (DANISH, ABROAD, DOCUMENTED)
ROW = DANISH | {"name": "eksempel.dk"}


async def fill(database: Database, rows: Iterable[Mapping[str, object]]) -> None:
    """Give the registry views of its own over these rows: each is a registrant, their domain, and an active one (a...)."""
    await database.execute(VIEWS)
    columns = ["name", *AXES]
    connection = await asyncpg.connect(database.owner)
    try:
        records = [tuple(row[column] for column in columns) for row in rows]
        await connection.copy_records_to_table("own", schema_name="registry", columns=columns, records=records)
    finally:
        await connection.close()


def registrants(count: int) -> list[dict[str, object]]:
    """Registrants whose email is public but for one fact, for each there is; and so many of whom up to five are drawn."""
    chance = random.Random(1)  # noqa: S311 - nothing secret is drawn
    made = [public | {column: value} for public in PUBLIC for column, values in AXES.items() for value in values]
    made.append(ABROAD | {"country": "US", "vat_number": "12-3456789"})  # a country whose numbers nobody can judge
    for _ in range(count):
        changed = chance.sample([*AXES], chance.randrange(6))
        made.append(chance.choice(PUBLIC) | {column: chance.choice(AXES[column]) for column in changed})
    return [row | {"name": f"navn{number}.dk"} for number, row in enumerate(made)]


# --- the figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "settings"), [((), {}), (("--at", BEFORE), LATER)], ids=["in force", "before"])
def test_figures_are_those_of_the_answers(sandbox_database: Database, at: tuple[str, ...], settings: dict[str, str]) -> None:
    """Of the predefined data the report counts just what the server answers of each domain, and logs as the reason."""
    names = asyncio.run(names_in(sandbox_database))
    with Service(sandbox_database.reader, settings) as service:
        for charset in CHARSETS:
            expected = Counter(answered(service, names, charset).values())
            assert counted(sandbox_database.reader, "domains", "--charset", charset, *at) == expected


@pytest.mark.parametrize(("at", "settings"), [((), {}), (("--at", BEFORE), LATER)], ids=["in force", "before"])
async def test_figures_of_whatever_facts(database: Database, at: tuple[str, ...], settings: dict[str, str]) -> None:
    """Whatever the facts, those that contradict each other or are not there too, all are counted as they are answered."""
    await fill(database, registrants(300))
    names = await names_in(database)
    with Service(database.reader, settings) as service:
        for charset in CHARSETS:
            found = answered(service, names, charset)
            assert counted(database.reader, "domains", "--charset", charset, *at) == Counter(found.values())
            active = Counter(verdict for name, verdict in found.items() if name.startswith("a"))
            assert counted(database.reader, "registrants", "--charset", charset, *at) == active
    if not at:  # that this was worth it
        reasons = {reason for of_subject in REASONS.values() for reason in of_subject}
        assert {reason for _, reason in found.values()} >= reasons - OF_SETTINGS


def test_at_is_the_moment_whose_rules_hold(sandbox_database: Database) -> None:
    """From the very moment of their entry into force the rules show emails, and before it none."""
    before = counted(sandbox_database.reader, "registrants", "--at", BEFORE)
    since = counted(sandbox_database.reader, "registrants", "--at", IN_FORCE)
    assert {email for email, _ in before} == {"withheld"}
    assert since == counted(sandbox_database.reader, "registrants")
    assert since["shown", "locked_to_cvr"] > 0
    assert sum(before.values()) == sum(since.values())


async def test_the_figures_are_of_today(database: Database) -> None:
    """What is changed in the database is in the next report, for whatever moment."""
    before = counted(database.reader, "registrants", "--at", IN_FORCE)
    await database.execute("UPDATE registry.registrant SET cvr_form = 80 WHERE handle = 'ENKELT-DK'")
    now = counted(database.reader, "registrants", "--at", IN_FORCE)
    assert now - before == Counter({("shown", "locked_to_cvr"): 1})
    assert before - now == Counter({("withheld", "sole_proprietorship"): 1})


# An hour ago, as though a heartbeat had been written and none since.
HOUR_AGO = "INSERT INTO registry.heartbeat (at, branch) VALUES (clock_timestamp() - interval '1 hour', 'of the test')"


async def test_age_of_the_data(database: Database) -> None:
    """A report says how old its data is, and counts what a server with the same `database.max_age` answers."""
    await database.execute(HOUR_AGO)
    found = json.loads(printed(database.reader, "--format", "json"))
    assert 3600 <= found["data_age"] < 7200
    assert found["registrants"]["shown"]["locked_to_cvr"] > 0
    held_to = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__MAX_AGE": "300"}
    for form, told in (
        ("table", " s old\nThat is older than database.max_age allows: emails are withheld\n"),
        ("html", "older than the operator allows"),
    ):
        status, said, wrong = ended(run_here("report", "disclosure", "--format", form, settings=held_to))
        assert (status, wrong) == (0, "")
        assert told in said
    counts = json.loads(run_here("report", "disclosure", "--format", "json", settings=held_to).stdout)["registrants"]
    assert sum(counts["shown"].values()) == 0
    assert counts["withheld"]["data_too_old"] > 0


# --- the forms ---------------------------------------------------------------------------------------------------


def test_table(sandbox_database: Database) -> None:
    """The table says whose rules and whose data it is of, and has a line for each reason and each sum."""
    lines = printed(sandbox_database.reader, "--at", IN_FORCE).split("\n")
    assert lines[:2] == [
        f"Emails as answered at {IN_FORCE} to: --charset=utf-8 --show-handles NAME",
        f"The rules on emails are in force since {IN_FORCE}",
    ]
    assert re.fullmatch(r"Data of \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00, 0 s old", lines[2])
    assert [line.split()[0] for line in lines[4:-1]] == [
        *("Email", "Shown", *REASONS["domains", "shown"]),
        *("Withheld", *REASONS["domains", "withheld"], "All"),
    ]
    counts = json.loads(printed(sandbox_database.reader, "--format", "json"))
    figures = {line.split()[0]: line.split()[1:] for line in lines[5:-1]}
    assert figures["All"] == [str(counts["registrants"]["total"]), str(counts["domains"]["total"])]
    assert figures["individual"] == [
        str(counts[subject]["withheld"]["individual"]) for subject in ("registrants", "domains")
    ]
    assert figures["deactivated"] == ["1"]  # of domains; there is no such registrant
    assert figures["Shown"] == [str(sum(counts[subject]["shown"].values())) for subject in ("registrants", "domains")]


def test_table_before_entry_into_force(sandbox_database: Database) -> None:
    """A report for a moment before the rules says so."""
    said = printed(sandbox_database.reader, "--at", BEFORE)
    assert f"\nThe rules on emails are not yet in force: they will be from {IN_FORCE}\n" in said


def test_csv_and_json_agree(sandbox_database: Database) -> None:
    """CSV and JSON have the same counts."""
    found = json.loads(printed(sandbox_database.reader, "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(printed(sandbox_database.reader, "--format", "csv"))))
    assert {*rows[0]} == {"subject", "email", "reason", "count"}
    assert all(found[row["subject"]][row["email"]][row["reason"]] == int(row["count"]) for row in rows)
    assert len(rows) == sum(map(len, REASONS.values()))


def test_json_says_how_it_was_made(sandbox_database: Database) -> None:
    """The JSON form says by what, when, and by which rules it was made; a second one differs in the moment alone."""
    texts = [printed(sandbox_database.reader, "--format", "json", "--at", BEFORE) for _ in range(2)]
    first, second = ({k: v for k, v in json.loads(text).items() if k != "made_at"} for text in texts)
    assert first == second
    assert (first["report"], first["format"], first["at"], first["in_force"]) == ("disclosure", 1, BEFORE, False)
    assert first["in_force_from"] == IN_FORCE


def test_language_is_of_the_page() -> None:
    """A language for a form that has none is refused, before anything is counted."""
    assert ended(report(NOWHERE, "--language", "da")) == (1, "", "whoisd: --language is of the page: add --format html\n")


def test_no_value_of_a_registrant_is_in_a_report(sandbox_database: Database) -> None:
    """No form of the report has anything of a registrant in it."""
    said = "".join(printed(sandbox_database.reader, "--format", form) for form in ("table", "csv", "json", "html"))
    said = re.sub("<style>.*?</style>|sha256-[^']+", "", said, flags=re.DOTALL)
    assert "@" not in said
    assert "Berit" not in said
    assert not re.search("[0-9]{8}", said)


# --- two reports -------------------------------------------------------------------------------------------------


async def test_changes(database: Database, tmp_path: Path) -> None:
    """With an earlier report each form says what it had, what is now, and the difference."""
    file = tmp_path / "before.json"
    file.write_text(printed(database.reader, "--format", "json", "--at", BEFORE))
    await database.execute("DELETE FROM registry.domain WHERE name = 'waiting-list.dk'")
    compared = ("--changes-from", file)

    found = json.loads(printed(database.reader, "--format", "json", *compared))
    assert found["domains"]["withheld"]["no_registration"] == {"before": 1, "now": 0, "change": -1}
    assert found["domains"]["total"]["change"] == -1
    assert (found["before"]["in_force"], found["now"]["in_force"]) == (False, True)
    now = found["registrants"]["shown"]["locked_to_cvr"]
    assert now == {"before": 0, "now": now["now"], "change": now["now"]}

    rows = printed(database.reader, "--format", "csv", *compared).splitlines()
    assert rows[0] == "subject,email,reason,count,before,change"
    assert "domains,withheld,no_registration,0,1,-1" in rows

    lines = printed(database.reader, *compared).splitlines()
    assert re.fullmatch(rf"Changes from: at {re.escape(BEFORE)}, rules not yet in force, data of \S+", lines[3])
    figures = {line.split()[0]: line.split()[1:] for line in lines[5:]}
    assert figures["Email"] == ["Registrants", "change", "Domains", "change"]
    assert figures["no_registration"] == ["0", "-1"]
    assert figures["locked_to_cvr"][:2] == [str(now["now"]), f"+{now['now']}"]
    assert figures["address_protection"] == ["1", "0", "1", "0"]


def test_a_comparison_is_no_report_to_compare_with(sandbox_database: Database, tmp_path: Path) -> None:
    """A comparison is refused as an earlier report, and the text says what is taken."""
    file = tmp_path / "changes.json"
    file.write_text(printed(sandbox_database.reader, "--format", "json"))
    file.write_text(printed(sandbox_database.reader, "--format", "json", "--changes-from", file))
    said = "report: must be 'disclosure'; a report is what --format json writes without --changes-from"
    assert ended(report(NOWHERE, "--changes-from", file)) == (1, "", f"whoisd: {file}: {said}\n")


def test_other_charset(sandbox_database: Database, tmp_path: Path) -> None:
    """Reports of answers in different charsets are not compared, and the text says which option makes them alike."""
    file = tmp_path / "latin.json"
    file.write_text(printed(sandbox_database.reader, "--format", "json", "--charset", "iso-8859-1"))
    said = "charset: is iso-8859-1, and counts of answers in utf-8 do not compare with it; add --charset iso-8859-1"
    assert ended(report(NOWHERE, "--changes-from", file)) == (1, "", f"whoisd: {file}: {said}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("subject,email\n", "is not JSON; a report is what --format json writes without --changes-from"),
        (
            '{"report": "disclosure", "format": 7}',
            "format: must be 1, which is what this version of whoisd reads and writes",
        ),
    ],
)
def test_file_that_is_no_report(tmp_path: Path, content: str | None, said: str) -> None:
    """A file that is no report is refused by its name, before anything is counted."""
    file = tmp_path / "before.json"
    if content is not None:
        file.write_text(content)
    assert ended(report(NOWHERE, "--changes-from", file)) == (1, "", f"whoisd: {file}: {said}\n")


@pytest.mark.parametrize(
    ("moment", "said"),
    [("2025-11-03", "must be a date and a time"), ("2025-11-03T14:00:00", "must state its offset from UTC")],
)
def test_moment_that_is_none(moment: str, said: str) -> None:
    """A bare date, or a time without its offset, is a wrong command line, and the text has the right form."""
    status, out, wrong = ended(report(NOWHERE, "--at", moment))
    assert (status, out) == (2, "")
    assert wrong.endswith(f"Error: Invalid value for '--at': {said}, as in 2025-11-03T14:00:00+01:00\n")


# --- rows that no answer is made of ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        [ROW, ROW],
        [ROW | {"name": "Eksempel.dk"}],
        [ROW | {"name": "eksempel.dk."}],
        [ROW | {"name": "eksempel.com"}],
        [ROW | {"name": None}],
    ],
)
async def test_names_that_the_server_does_not_answer(database: Database, rows: list[dict[str, object]]) -> None:
    """A name with two rows, or in a spelling that no query is looked up by, ends the report: it would count no answer."""
    await fill(database, [ROW | {"name": "god.dk"}, *rows])
    said = (
        f"whoisd: whois.domain: no query is answered by {2 * len(rows)} of its {2 + 2 * len(rows)} rows: a name is to be one"
        " row's alone, and to read <label>.dk in lower-case A-labels\n"
    )
    assert ended(report(database.reader)) == (1, "", said)


async def test_row_that_cannot_be_read(database: Database) -> None:
    """A row that the server could not answer by ends the report: nothing is counted wrong, and no value of it is told."""
    await fill(database, [ROW, ROW | {"name": "andet.dk", "status": "bogus"}])
    status, out, wrong = ended(report(database.reader))
    assert (status, out) == (1, "")
    said = "a row is not as the view's comments say, so that the server could not answer by it: ValueError at enum.py:"
    assert wrong.startswith(f"whoisd: whois.domain: {said}")
    assert "bogus" not in wrong


async def test_text_that_is_none(database: Database) -> None:
    """A view whose email is no text ends the report, as it ends an answer."""
    await fill(database, [ROW])
    await database.execute(
        "DROP VIEW whois.domain, whois.registrant; ALTER TABLE registry.own ALTER email TYPE bytea USING email::bytea;"
        + re.sub(r"CREATE TABLE.*?\);", "", VIEWS.partition(";")[2], flags=re.DOTALL)
    )
    status, out, wrong = ended(report(database.reader))
    assert (status, out) == (1, "")
    assert wrong.startswith("whoisd: whois.registrant: a row is not as the view's comments say")


# --- the database ------------------------------------------------------------------------------------------------

SLOW = """
    ALTER VIEW whois.registrant RENAME TO quick;
    CREATE VIEW whois.registrant AS
    WITH waited AS MATERIALIZED (SELECT pg_sleep(1.5)) SELECT quick.* FROM waited, whois.quick;
    GRANT SELECT ON whois.registrant TO whoisd_reader
"""
CONFLICT = """
    CREATE FUNCTION whois.conflict() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'berit@beskyttet.example'; END $$;
    ALTER VIEW whois.registrant RENAME TO sound;
    CREATE VIEW whois.registrant AS SELECT * FROM whois.sound WHERE whois.conflict();
    GRANT SELECT ON whois.registrant TO whoisd_reader;
    GRANT EXECUTE ON FUNCTION whois.conflict TO whoisd_reader
"""
COUNTING = "SELECT pid FROM pg_stat_activity WHERE application_name = 'whoisd-report' AND query LIKE '%kind%registrant'"


async def counting(database: Database) -> int:
    """The process that counts registrants for a report, as soon as there is one."""
    connection = await asyncpg.connect(database.superuser)
    try:
        for _ in range(int(PATIENCE / 0.02)):
            if pid := await connection.fetchval(COUNTING):
                return int(pid)
            await asyncio.sleep(0.02)
        raise AssertionError("no report counts registrants")
    finally:
        await connection.close()


def start(database: Database, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    settings = environment({"WHOISD_DATABASE__DSN": database.reader})
    return subprocess.Popen(
        [WHOISD, "report", "disclosure", *arguments], env=settings, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def read(terminal: int) -> bytes:
    """What comes next at a terminal; nothing when the other side is closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


async def test_all_figures_are_of_one_moment(database: Database) -> None:
    """What is changed while a report is made is not in it; and it may take longer than an answer may."""
    expected = counted(database.reader, "domains")
    await database.execute(SLOW)
    with start(database, "--format", "json") as process:
        await counting(database)
        await database.execute("DELETE FROM registry.domain")
        said, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, wrong) == (0, "")
    assert json.loads(said)["domains"]["total"] == sum(expected.values())


async def test_database_that_goes_away(database: Database) -> None:
    """When the database goes away there is no report, and the text says so."""
    await database.execute(SLOW)
    with start(database) as process:
        pid = await counting(database)
        superuser = await asyncpg.connect(database.superuser)
        await superuser.execute("SELECT pg_terminate_backend($1)", pid)
        await superuser.close()
        said, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (1, "")
    assert re.fullmatch(r"whoisd: the database went away, and nothing is reported: \w+: \w{5}\n", wrong)


async def test_interrupt(database: Database) -> None:
    """Ctrl-C ends a report at once, with nothing printed."""
    await database.execute(SLOW)
    with start(database) as process:
        await counting(database)
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said, wrong) == (130, "", "whoisd: interrupted\n")


async def test_progress_on_a_terminal(database: Database) -> None:
    """Where standard error is a terminal it shows what is being done; standard output has the report alone."""
    await database.execute(SLOW)
    ours, theirs = pty.openpty()
    shown: list[bytes] = []
    watcher = threading.Thread(target=lambda: shown.extend(iter(lambda: read(ours), b"")))
    watcher.start()
    with start(database, "--format", "json", stderr=theirs) as process:
        said, _ = process.communicate(timeout=PATIENCE)
    os.close(theirs)
    watcher.join()
    os.close(ours)
    assert process.returncode == 0
    assert "counting registrants" in b"".join(shown).decode()
    json.loads(said)


async def test_standby_that_ends_the_report(database: Database) -> None:
    """A report that a standby ends because it stands in the way of what is replayed says so, and what to do."""
    await database.execute(CONFLICT)
    told = (
        "whoisd: the standby went away, or ended the report, which stood in the way of what it had to replay:"
        " SerializationError: 40001; run it again, or with the URL of the primary in database.dsn\n"
    )
    assert ended(report(database.reader)) == (1, "", told)


async def test_view_that_is_not_there(database: Database) -> None:
    """A database that lacks a view is told with what to do about it."""
    await database.execute("DROP VIEW whois.registrant")
    told = "whoisd: the database refuses: UndefinedTableError: 42P01: it lacks a table or view; run `whoisd migrate`\n"
    assert ended(report(database.reader)) == (1, "", told)


def test_no_database() -> None:
    """Where no database answers the text names the setting, and no password."""
    told = "whoisd: database.dsn: the database does not answer: FileNotFoundError: No such file or directory\n"
    assert ended(report(NOWHERE)) == (1, "", told)


def test_hosts_are_tried_in_their_order(sandbox_database: Database) -> None:
    """Where several hosts are named the report is made on the first that answers and will do."""
    several = sandbox_database.reader.replace("host=", "host=/nonexistent,")
    assert counted(several, "domains") == counted(sandbox_database.reader, "domains")
    assert counted(f"{several}&target_session_attrs=prefer-standby", "domains")  # a primary will do then
    told = "whoisd: database.dsn: the database does not answer: no server that target_session_attrs admits\n"
    alone = f"{sandbox_database.reader}&target_session_attrs=standby"
    assert ended(report(alone)) == (1, "", told)


# --- its memory --------------------------------------------------------------------------------------------------

MEASURE = """
import re
from pathlib import Path
from whoisd.commands.report import report_commands
report_commands(["disclosure", "--format", "csv"], standalone_mode=False)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""
MANY = f"""
    CREATE OR REPLACE VIEW registry.many AS
    SELECT 'navn' || n || '.dk' AS name, 'active' AS status, 'company' AS kind, 'DK' AS country,
           'p' || n || '@a.example' AS email, '' AS secondary_email, '99000019' AS vat_number, true AS cvr_locked,
           'ordinary' AS cvr_form, false AS cvr_bankruptcy, false AS sole_proprietorship, false AS address_protection,
           true AS id_confirmed, false AS documented, NULL::boolean AS vat_listed, 'held' AS cvr_standing
    FROM generate_series(1, %d) AS n;
    CREATE VIEW whois.domain AS SELECT name, status, {FACTS} FROM registry.many;
    CREATE VIEW whois.registrant AS SELECT {FACTS} FROM registry.many;
    GRANT SELECT ON whois.domain, whois.registrant TO whoisd_reader
"""  # noqa: S608 - of constants


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process had")
async def test_memory_is_bounded(database: Database) -> None:
    """Ten times as many domains take no more memory."""
    peaks = []
    for size in (10_000, 100_000):
        await database.execute("DROP VIEW whois.domain, whois.registrant")
        await database.execute(MANY % size)
        *rows, peak = said_by(MEASURE, WHOISD_DATABASE__DSN=database.reader).splitlines()
        assert f"domains,shown,locked_to_cvr,{size}" in rows
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 4096  # KiB
