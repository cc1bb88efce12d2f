"""The command line: what every command has in common. None ends in a traceback."""

from importlib.metadata import version
from pathlib import Path

import pytest
from support import NOWHERE, ended, run_whoisd

from whoisd.build import build_of
from whoisd.commands.terminal import command


def test_version() -> None:
    """`--version` prints the version that is installed, and whether it is compiled."""
    assert ended(run_whoisd("--version")) == (0, f"whoisd, version {version('whoisd')}, {build_of()}\n", "")


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
