"""`whoisd migrate` and `whoisd load`: what they print, where, and their exit status."""

import gzip
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import NOWHERE, WHOISD, Database, ended, environment, run_query, run_whoisd

RECORD = {"type": "domain", "name": "nyt.dk", "status": "offered_to_waiting_list"}


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
    """Who writes as the reader or where nobody can is told so; who has not migrated, that `explain` misses a view."""
    read_only = f"{database.owner}&options=-c%20default_transaction_read_only%3Don"  # as on a standby
    for owner_dsn, refused in (
        (database.reader, "InsufficientPrivilegeError: 42501: this role may not do that; database.owner_dsn is for"),
        (read_only, "ReadOnlySQLTransactionError: 25006: this role may only read, or this is a standby"),
    ):
        settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": owner_dsn}
        assert refused in run_whoisd("migrate", settings=settings).stderr
    unmigrated = {"WHOISD_DATABASE__DSN": database.cluster.dsn("whoisd_reader", "postgres")}
    missed = "UndefinedTableError: 42P01: it lacks a table or view; run `whoisd migrate`"
    explained = run_whoisd("explain", "eksempel.dk", settings=unmigrated)
    assert (explained.returncode, explained.stdout) == (1, "")
    assert explained.stderr.endswith(f"whoisd: database.dsn: no answer can be had: {missed}\n")


def test_load_good(file: Path, owned: dict[str, str]) -> None:
    """What was loaded is counted, and is in the very next answer."""
    before = run_query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk")
    assert ended(run_whoisd("load", file, settings=owned)) == (
        0,
        "domains: 1 in the files, 1 added, 0 changed, 0 removed\nThe load is committed.\n",
        "",
    )
    after = run_query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk")
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
    assert b"No entries found for the selected source." in run_query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk").stdout


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
    assert b"No entries found for the selected source." in run_query(owned["WHOISD_DATABASE__DSN"], b"nyt.dk").stdout


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
