"""The commands as a person runs them: what they print, where, and their exit status; never a traceback."""

import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from support import WHOISD, Database, Service, environment, run_here, run_whoisd

from whoisd.commands.terminal import command
from whoisd.limits.keys import Key, Scope, keys_of
from whoisd.limits.memory import open_ledger

NOWHERE = "postgresql://whoisd_owner:hunter2@/whois?host=/nonexistent"
RECORD = {"type": "domain", "name": "nyt.dk", "status": "offered_to_waiting_list"}
FREE_TERMS = "Use it freely."

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def owned(database: Database) -> dict[str, str]:
    """The settings of an operator with the predefined data."""
    return {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A registry file with one domain in it."""
    path = tmp_path / "nyt.jsonl"
    path.write_text(json.dumps(RECORD) + "\n")
    return path


def ended(ran: Ran) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    assert "Traceback" not in ran.stderr
    assert "hunter2" not in ran.stdout + ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


def query(dsn: str, *words: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [WHOISD, "query", "--", *words],
        env=environment({"WHOISD_DATABASE__DSN": dsn}),
        capture_output=True,
        timeout=60,
        check=False,
    )


# --- check -------------------------------------------------------------------------------------------------------


def test_check_good(tmp_path: Path) -> None:
    """A good configuration is said to be good; nothing is connected to."""
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n")
    assert ended(run_whoisd("check", "--config", config)) == (
        0,
        "The configuration is good: it listens on 0.0.0.0 port 43 and :: port 43.\n",
        "",
    )


def test_check_bad(tmp_path: Path) -> None:
    """A bad configuration exits with 2, and every fault is a line of standard error."""
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\ndedline = 1\n[answer]\nterms = '{FREE_TERMS}'\n")
    status, said, faults = ended(run_whoisd("check", "--config", config))
    assert (status, said) == (2, "")
    assert faults.splitlines() == [
        f"whoisd: {config}: database.dedline: not a setting; the README lists them all",
        f"whoisd: {config}: answer.terms: must not hold 'free', which client libraries take for an unregistered name",
    ]


def test_check_by_the_environment_alone() -> None:
    """The environment alone is a configuration."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_LISTEN": '[{"host": "::1"}]'}
    assert ended(run_whoisd("check", settings=settings)) == (
        0,
        "The configuration is good: it listens on ::1 port 43.\n",
        "",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["serve"],
        ["query", "--", "eksempel.dk"],
        ["explain", "eksempel.dk"],
        ["migrate"],
        ["load", "nyt.jsonl"],
        ["bans", "list"],
        ["bans", "lift", "192.0.2.7"],
    ],
)
def test_every_command_checks_first(arguments: list[str]) -> None:
    """A variable that is not a setting stops every command before it does anything."""
    ran = run_whoisd(*arguments, settings={"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_DATABSE__DEADLINE": "1"})
    sections = "answer, database, disclosure, limits, listen, log, metrics, network, server"
    assert ended(ran) == (2, "", f"whoisd: WHOISD_DATABSE__DEADLINE: not a setting; sections are {sections}\n")


# --- query -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [b"eksempel.dk"],
        [b"--show-handles", b"punktum.dk"],
        [b"--show-handles punktum.dk"],
        [b"--charset=utf-8", b"--show-handles", "æøåöäüé.dk".encode()],
        ["æøåöäüé.dk".encode("iso-8859-1")],
        [b"--show-handles", b"lodz.dk"],
        [b"ns1.eksempel.dk"],
        [b"findes-ikke.dk"],
        [b"HELP"],
    ],
)
def test_query_prints_what_the_server_answers(sandbox_database: Database, service: Service, words: list[bytes]) -> None:
    """`query` prints, byte for byte, what the server answers a client of this machine."""
    ran = query(sandbox_database.reader, *words)
    assert ran.returncode == 0
    assert ran.stdout == service.exchange(b" ".join(words) + b"\r\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([b"--show", b"eksempel.dk"], b"# The query has an unknown option. Send HELP to read which there are.\r\n"),
        ([b"eksempel..dk"], b"# This is not a domain name, for a label is empty.\r\n"),
    ],
)
def test_query_that_is_refused(sandbox_database: Database, words: list[bytes], text: bytes) -> None:
    """A query that is refused prints the refusal and exits with 1."""
    ran = query(sandbox_database.reader, *words)
    assert (ran.returncode, ran.stdout) == (1, text)
    assert json.loads(ran.stderr)["event"] == "query.refused"


def test_query_says_why_an_email_is_withheld(sandbox_database: Database) -> None:
    """The reason why an email is shown or withheld is on standard error, where the answer is not."""
    ran = query(sandbox_database.reader, b"--show-handles", b"enkeltmand.dk")
    event = json.loads(ran.stderr.splitlines()[-1])
    assert (event["event"], event["email"]) == ("query.answered", "sole_proprietorship")
    assert b"egon@" not in ran.stdout + ran.stderr


def test_query_without_the_database() -> None:
    """Where the database does not answer, `query` prints what a client would get, exits with 1 and logs no password."""
    ran = query(NOWHERE, b"eksempel.dk")
    assert (ran.returncode, ran.stdout) == (1, b"WHOIS time limit exceeded. Temporary failure, please try again later.\r\n")
    assert json.loads(ran.stderr.splitlines()[-1])["fault"] == "FileNotFoundError: No such file or directory"
    assert b"Traceback" not in ran.stderr
    assert b"hunter2" not in ran.stderr


# --- bans --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The file of rates and bans of a server, with no ban in it."""
    path = tmp_path / "sources"
    open_ledger(path, create=True)
    return path


def bans(sources: Path, *arguments: str) -> tuple[int, str, str]:
    """What `whoisd bans` comes to, for the server with this file."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_LIMITS__FILE": str(sources)}
    return ended(run_here("bans", *arguments, settings=settings))


def ban(sources: Path, text: str, times: int = 1) -> list[Key]:
    """Ban what is named so, of each scope that it can have, and so often that the last ban has just begun."""
    ledger = open_ledger(sources, create=False)
    for key in (keys := keys_of(text)):
        moments = [time.time() - sum((60, 600, 3600)[number : times - 1]) for number in range(times)]
        for moment in moments:
            ledger.ban(key, moment)
    return keys


def in_force(sources: Path) -> set[Key]:
    return {ban.key for ban in open_ledger(sources, create=False).bans(time.time())}


def test_no_bans(sources: Path) -> None:
    """Where there is no ban that is what `list` says."""
    assert bans(sources, "list") == (0, "No ban is in force.\n", "")


def test_list_bans(sources: Path) -> None:
    """`list` has a line for each ban in force, the longest first: whom, how many seconds more, and which of its bans."""
    ban(sources, "192.0.2.0/24")
    ban(sources, "2001:db8:1:2::", 3)
    ledger = open_ledger(sources, create=False)
    ledger.lift(Key(Scope.NAMED_6, 0x20010DB800010002), time.time())
    ledger.ban(keys_of("198.51.100.7")[0], time.time() - 60)  # over
    ledger.ban(keys_of("2001:db8:ffff::/48")[0], time.time() - 30)
    status, said, wrong = bans(sources, "list")
    assert (status, wrong) == (0, "")
    lines = [line.split() for line in said.splitlines()]
    assert [(who, unit, number) for who, _, unit, number in lines] == [
        ("2001:db8:1:2::/64", "s", "3"),
        ("192.0.2.0/24", "s", "1"),
        ("2001:db8:ffff::/48", "s", "1"),
    ]
    for (_, seconds, _, _), most in zip(lines, (3600, 60, 30), strict=True):
        assert most - 20 < int(seconds) <= most
    assert {line.index(" s  ") for line in said.splitlines()} == {51}


@pytest.mark.parametrize(
    ("banned", "source", "said"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("2001:db8:1::/48", "2001:db8:1::/48", "2001:db8:1::/48"),
    ],
)
def test_lift_ban(sources: Path, banned: str, source: str, said: str) -> None:
    """`lift` ends the bans of a source, in a named network and out of it, or of a network, and no others."""
    keys = ban(sources, banned, 2)
    others = ban(sources, "203.0.113.7")
    assert bans(sources, "lift", source) == (0, f"lifted: {said}\n" * len(keys), "")
    assert in_force(sources) == {*others}
    assert bans(sources, "lift", source) == (1, "", f"whoisd: {source}: is not banned\n")
    assert open_ledger(sources, create=False).ban(keys[0], time.time()) == 60


def test_lift_one_of_two(sources: Path) -> None:
    """Where only one of what an address can be is banned, `lift` says so of that one."""
    named = Key(Scope.NAMED_4, 0xC0000207)
    open_ledger(sources, create=False).ban(named, time.time())
    assert bans(sources, "lift", "192.0.2.7") == (0, "lifted: 192.0.2.7\n", "")
    assert in_force(sources) == set()


def test_lift_within_a_banned_network(sources: Path) -> None:
    """A source whose network is banned too still may not ask: `lift` says so, and what would help, and lifts no more."""
    ban(sources, "192.0.2.7")
    network = ban(sources, "192.0.2.0/24")
    hint = "its network is banned too: whoisd bans lift 192.0.2.0/24\n"
    assert bans(sources, "lift", "192.0.2.7") == (0, "lifted: 192.0.2.7\n" * 2, hint)
    assert in_force(sources) == {*network}
    assert bans(sources, "lift", "192.0.2.8") == (1, "", f"{hint}whoisd: 192.0.2.8: is not banned\n")
    assert in_force(sources) == {*network}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("nonsense", "is neither an address nor a network"),
        ("192.0.2.7/24", "is neither an address nor a network"),
        ("192.0.0.0/16", "bans are of an IPv4 address or /24, or of an IPv6 /64 or /48"),
        ("::ffff:192.0.2.7", "is counted as 192.0.2.7"),
    ],
)
def test_lift_what_is_no_source(sources: Path, source: str, fault: str) -> None:
    """What names no source is refused with the reason, and no ban is lifted."""
    keys = ban(sources, "192.0.2.7")
    assert bans(sources, "lift", source) == (1, "", f"whoisd: {source}: {fault}\n")
    assert in_force(sources) == {*keys}


@pytest.mark.parametrize("arguments", [["list"], ["lift", "192.0.2.7"]])
def test_bans_without_a_server(tmp_path: Path, arguments: list[str]) -> None:
    """Where no server has made its file, or it is another's, the fault names file and key; none is made or changed."""
    missing = tmp_path / "run" / "sources"
    said = f"whoisd: limits.file: {missing}: is not there; no server runs with this configuration\n"
    assert bans(missing, *arguments) == (2, "", said)
    assert [*tmp_path.iterdir()] == []
    foreign = tmp_path / "sources"
    foreign.write_text("not ours")
    said = f"whoisd: limits.file: {foreign}: was not made by this version; no server runs with it\n"
    assert bans(foreign, *arguments) == (2, "", said)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["not ours"]


def test_bans_by_a_configuration_file(tmp_path: Path, sources: Path) -> None:
    """`bans` takes the file of the server whose configuration is named."""
    ban(sources, "192.0.2.0/24")
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n[limits]\nfile = '{sources}'\n")
    status, said, wrong = ended(run_whoisd("bans", "list", "--config", config))
    assert (status, said.split()[0], wrong) == (0, "192.0.2.0/24", "")


# --- migrate -----------------------------------------------------------------------------------------------------


def test_migrate_twice(empty_database: Database) -> None:
    """The first run names what it applied; the second says that there is nothing to do."""
    settings = {"WHOISD_DATABASE__DSN": empty_database.reader, "WHOISD_DATABASE__OWNER_DSN": empty_database.owner}
    status, said, _ = ended(run_whoisd("migrate", settings=settings))
    assert (status, said.splitlines()[:2]) == (0, ["applied sql/0001_registry.sql", "applied sql/0002_cvr_form.sql"])
    assert ended(run_whoisd("migrate", settings=settings)) == (0, "The database is up to date.\n", "")


async def test_migrate_refused(database: Database, owned: dict[str, str]) -> None:
    """A database that a newer version migrated is refused with 1 and the reason."""
    await database.execute("INSERT INTO whoisd.migration VALUES (9999, '9999_later.sql', '')")
    assert ended(run_whoisd("migrate", settings=owned)) == (
        1,
        "",
        "whoisd: the database is newer than this software: it holds 9999_later.sql; install a newer whoisd\n",
    )


@pytest.mark.parametrize("arguments", [["migrate"], ["load", "nyt.jsonl"]])
def test_without_owner(tmp_path: Path, arguments: list[str]) -> None:
    """A command that writes needs the owner's DSN, and names the key where it is to be set."""
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n")
    where = "set it there or in the environment as WHOISD_DATABASE__OWNER_DSN"
    said = f"whoisd: {config}: database.owner_dsn: required by this command; {where}\n"
    assert ended(run_whoisd(*arguments, "--config", config)) == (2, "", said)


@pytest.mark.parametrize("command", ["migrate", "load"])
def test_without_the_database(file: Path, command: str) -> None:
    """Where the database does not answer, a command that writes says so and exits with 1."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_DATABASE__OWNER_DSN": NOWHERE}
    ran = run_whoisd(command, *([file] if command == "load" else []), settings=settings)
    assert ended(ran) == (
        1,
        "",
        "whoisd: database.owner_dsn: the database does not answer: FileNotFoundError: No such file or directory\n",
    )


NO_SPACE = "whoisd: it is done, and standard output cannot be written: No space left on device\n"
CLASSIFY = ("EINZEL-DE", "--sole-proprietorship", "no", "--by", "staff:bodil", "--evidence", "x")


@pytest.mark.parametrize("said", ["", NO_SPACE], ids=["nobody reads", "no space"])
@pytest.mark.parametrize("arguments", [("load",), ("registrant", "classify", *CLASSIFY), ("portal", "convert")], ids=str)
def test_what_is_done_and_cannot_be_told(
    owned: dict[str, str], file: Path, arguments: Sequence[str | Path], said: str
) -> None:
    """A change that is committed is no failure when it cannot be told; where somebody may miss that, it is said."""
    arguments = [*arguments, file] if arguments == ("load",) else arguments
    with nobody_reads() if not said else open("/dev/full", "wb") as out:  # noqa: PTH123 - no path of ours
        ran = subprocess.run(
            [WHOISD, *arguments],
            env=environment(owned),
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, said)


@contextmanager
def nobody_reads() -> Iterator[int]:
    """A pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("role", "database_name", "error"),
    [
        (
            "nobody_known",
            None,
            (
                "InvalidAuthorizationSpecificationError: 28000"
                ": it does not let this role in; see the role in the URL, and pg_hba.conf"
            ),
        ),
        ("whoisd_owner", "no_such_database", "InvalidCatalogNameError: 3D000: it has no database of the name in the URL"),
        (
            "whoisd_reader",
            None,
            (
                "InsufficientPrivilegeError: 42501"
                ": this role may not do that; database.owner_dsn is for the owner,"
                " database.dsn for one that reads the views"
            ),
        ),
    ],
)
def test_refused_by_the_database(database: Database, file: Path, role: str, database_name: str | None, error: str) -> None:
    """What the database refuses is told by the name of its error and exits with 1."""
    dsn = database.cluster.dsn(role, database_name or database.name)
    settings = {"WHOISD_DATABASE__DSN": dsn, "WHOISD_DATABASE__OWNER_DSN": dsn}
    assert ended(run_whoisd("load", file, settings=settings)) == (1, "", f"whoisd: the database refuses: {error}\n")


def test_hint_of_what_the_database_refuses(database: Database) -> None:
    """Who migrates by the reader's URL is told that it may only read; who has not migrated, that `explain` misses a view."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.reader}
    refused = "ReadOnlySQLTransactionError: 25006: this role may only read, or this is a standby"
    assert refused in run_whoisd("migrate", settings=settings).stderr
    unmigrated = {"WHOISD_DATABASE__DSN": database.cluster.dsn("whoisd_reader", "postgres")}
    missed = "UndefinedTableError: 42P01: it lacks a table or view; run `whoisd migrate`"
    explained = run_whoisd("explain", "eksempel.dk", settings=unmigrated)
    assert (explained.returncode, explained.stdout) == (1, "")
    assert explained.stderr.endswith(f"whoisd: database.dsn: no answer can be had: {missed}\n")


# --- load --------------------------------------------------------------------------------------------------------


def test_load_good(file: Path, owned: dict[str, str]) -> None:
    """What was loaded is counted, and is in the very next answer."""
    before = query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk")
    assert ended(run_whoisd("load", file, settings=owned)) == (
        0,
        "domains: 1 in the files, 1 added, 0 changed, 0 removed\nThe load is committed.\n",
        "",
    )
    after = query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk")
    assert b"No entries found for the selected source." in before.stdout
    assert b"Status:               Offered to waiting list\r\n" in after.stdout


def test_load_bad(tmp_path: Path, file: Path, owned: dict[str, str]) -> None:
    """Every fault is a line of standard error, the exit status is 1, and nothing is loaded."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"type": "host"}\nnonsense\n')
    assert ended(run_whoisd("load", file, bad, settings=owned)) == (
        1,
        "",
        f"whoisd: {bad}:1: name: required\nwhoisd: {bad}:2: not a JSON object\n",
    )
    assert b"No entries found for the selected source." in query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk").stdout


def test_load_missing_file(tmp_path: Path, owned: dict[str, str]) -> None:
    """A registry file that is not there is named."""
    missing = tmp_path / "missing.jsonl"
    said = f"whoisd: {missing}: cannot be read: No such file or directory\n"
    assert ended(run_whoisd("load", missing, settings=owned)) == (1, "", said)


def test_load_standard_input(owned: dict[str, str]) -> None:
    """A file named - is standard input, be it plain or gzip, and its lines are named so; it can be read only once."""
    record = b'{"type": "domain", "name": "nyt.dk", "status": "offered_to_waiting_list"}\n'
    for given in (record, gzip.compress(record)):
        ran = subprocess.run(
            [WHOISD, "load", "-"], input=given, env=environment(owned), capture_output=True, timeout=60, check=False
        )
        assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, b"The load is committed.")
    ran = subprocess.run(
        [WHOISD, "load", "-"], input=b"{", env=environment(owned), capture_output=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (1, b"whoisd: -:1: not a JSON object\n")
    assert ended(run_whoisd("load", "-", "-", settings=owned)) == (
        1,
        "",
        "whoisd: -: standard input can be read only once\n",
    )


def test_load_dry_run(file: Path, owned: dict[str, str]) -> None:
    """A dry run says what would change and that nothing was, and nothing is."""
    assert ended(run_whoisd("load", "--dry-run", file, settings=owned)) == (
        0,
        "domains: 1 in the files, 1 added, 0 changed, 0 removed\nNothing was changed: this was a dry run.\n",
        "",
    )
    assert b"No entries found for the selected source." in query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk").stdout


def test_load_with_a_thousand_faults(tmp_path: Path, owned: dict[str, str]) -> None:
    """A file with a thousand faults does not flood the terminal."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n" * 1000)
    status, _, said = ended(run_whoisd("load", bad, settings=owned))
    assert (status, len(said.splitlines())) == (1, 101)
    assert said.splitlines()[-1] == "whoisd: 100 faults; the rest was not looked at"


def test_load_with_warnings(tmp_path: Path, owned: dict[str, str]) -> None:
    """Warnings are lines of standard error, at most 100 and how many more, and the load is done."""
    doubtful = tmp_path / "doubtful.jsonl"
    record = {
        "type": "registrant",
        "kind": "company",
        "name": "X",
        "country": "SE",
        "email": "x@x.example",
        "vat_number": "SE1",
    }
    doubtful.write_text("".join(json.dumps(record | {"handle": f"R{number}"}) + "\n" for number in range(1000)))
    status, out, said = ended(run_whoisd("load", doubtful, settings=owned))
    assert (status, out.splitlines()[-1], len(said.splitlines())) == (0, "The load is committed.", 101)
    assert said.splitlines()[0] == f"warning: {doubtful}:1: vat_number: is no valid number of the registrant's country"
    assert said.splitlines()[-1] == "warning: and 900 more"


@pytest.mark.parametrize(
    "arguments",
    [["--mode", "all"], ["--max-delete", "101"], ["--max-delete", "many"], ["--mode", "replace", "--max-delete", "nan"]],
)
def test_load_with_a_wrong_option(file: Path, owned: dict[str, str], arguments: list[str]) -> None:
    """An option that cannot be is named, with exit status 2."""
    status, _, said = ended(run_whoisd("load", *arguments, file, settings=owned))
    assert status == 2
    assert arguments[-2] in said


# --- the command line --------------------------------------------------------------------------------------------


def test_version() -> None:
    """`--version` prints the version that is installed."""
    assert ended(run_whoisd("--version")) == (0, f"whoisd, version {version('whoisd')}\n", "")


def test_help_names_every_command() -> None:
    """`--help` names the commands."""
    status, said, _ = ended(run_whoisd("--help"))
    assert status == 0
    for name in ("check", "load", "migrate", "portal", "query", "registrant", "report", "sandbox", "serve"):
        assert f"\n  {name} " in said


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["load"], ["query"], ["check", "--bogus"], ["check", "--config", "/"], ["check", "eksempel.dk"]]
)
def test_wrong_command_line(arguments: list[str]) -> None:
    """A wrong command line exits with 2, says how to ask, and prints nothing on standard output."""
    status, said, wrong = ended(run_whoisd(*arguments, settings={"WHOISD_DATABASE__DSN": NOWHERE}))
    assert (status, said) == (2, "")
    assert wrong.startswith("Usage: whoisd ")


def test_missing_configuration_file(tmp_path: Path) -> None:
    """A configuration file that is named and not there is a wrong configuration, whatever the environment holds."""
    missing = tmp_path / "missing.toml"
    said = f"whoisd: {missing}: cannot be read: No such file or directory\n"
    ran = run_whoisd("check", "--config", missing, settings={"WHOISD_DATABASE__DSN": NOWHERE})
    assert ended(ran) == (2, "", said)


def test_no_command_ends_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault that nobody foresaw is told by type and place; its text, which may quote a row, is not."""

    @command
    def fail() -> None:
        raise RuntimeError("berit@beskyttet.example")

    with pytest.raises(SystemExit) as ended_with:
        fail()
    said = capsys.readouterr()
    assert ended_with.value.code == 1
    assert said.err.startswith("whoisd: a fault of whoisd's own, please report it: RuntimeError at test_cli.py:")
    assert "berit" not in said.out + said.err
