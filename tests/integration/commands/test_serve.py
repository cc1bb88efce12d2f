"""`whoisd check`, and that every command checks the configuration first."""

from pathlib import Path

import pytest
from support import NOWHERE, ended, run_whoisd

FREE_TERMS = "Use it freely."
NO_DATABASE = (
    "warning: the database does not answer (FileNotFoundError: No such file or directory):"
    " until it does clients are told to try again later\n"
)


def test_check_good(tmp_path: Path) -> None:
    """A good configuration is said to be good, also where there is no database yet."""
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n")
    assert ended(run_whoisd("check", "--config", config)) == (
        0,
        "The configuration is good: it listens on 0.0.0.0 port 43 and :: port 43.\n",
        NO_DATABASE,
    )


def test_check_bad(tmp_path: Path) -> None:
    """A bad configuration exits with 2, and every fault is a line of standard error."""
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\ndedline = 1\n[answer]\nterms = '{FREE_TERMS}'\n")
    status, said, faults = ended(run_whoisd("check", "--config", config))
    assert (status, said) == (2, "")
    assert faults.splitlines() == [
        f"whoisd: {config}: database.dedline: not a setting; docs/configuration.md lists them all",
        f"whoisd: {config}: answer.terms: must not hold 'free', which client libraries take for an unregistered name",
    ]


def test_check_certificate(tmp_path: Path) -> None:
    """A certificate without which the server does not start makes the configuration a bad one."""
    config = tmp_path / "whoisd.toml"
    listen = '[[http.listen]]\nhost = "::1"\nport = 443\ncertificate = "nowhere.pem"\n'
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n{listen}")
    assert ended(run_whoisd("check", "--config", config)) == (
        2,
        "",
        "whoisd: http.listen.0: certificate or key cannot be used: No such file or directory\n",
    )


def test_check_by_the_environment_alone() -> None:
    """The environment alone is a configuration."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_LISTEN": '[{"host": "::1"}]'}
    assert ended(run_whoisd("check", settings=settings)) == (
        0,
        "The configuration is good: it listens on ::1 port 43.\n",
        NO_DATABASE,
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
    sections = "answer, database, disclosure, http, limits, listen, log, metrics, network, server"
    assert ended(ran) == (2, "", f"whoisd: WHOISD_DATABSE__DEADLINE: not a setting; sections are {sections}\n")
