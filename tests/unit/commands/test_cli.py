"""The commands are imported when they are run: what each of them costs to start, and what it does not hold in memory."""

import pytest
from support import said_by

from whoisd.commands.cli import main

# Some of what other commands need.
DATABASE = {"asyncpg", "asyncio"}
CHECKS = {"jsonschema_rs", "stdnum"}
SERVER = {"uvloop", "prometheus_client", "structlog"}
SETTINGS = {"pydantic", "pydantic_settings"}
PROGRESS = {"rich.progress"}  # some of rich is imported by structlog, wherever it is installed

MUST_NOT_IMPORT = {
    "probe": DATABASE | CHECKS | SERVER | SETTINGS | {"rich"},
    "bans": CHECKS | SERVER | {"rich"},
    "serve": CHECKS | PROGRESS,
    "check": CHECKS | PROGRESS,
    "query": CHECKS | PROGRESS,
    "report": CHECKS | {"uvloop", "prometheus_client"},
}
IMPORTED = """
import sys
from whoisd.commands.cli import main
main.commands[sys.argv[1]]
print(*sys.modules)
"""


def test_commands_are_where_they_are_said_to_be() -> None:
    """Each command has the name by which it is found."""
    assert {name: command.name for name, command in main.commands.items()} == {name: name for name in main.commands}


def test_version_needs_no_command() -> None:
    """Until a command is run none is imported."""
    modules = said_by("import sys; import whoisd.commands.cli; print(*sys.modules)").split()
    assert [name for name in modules if name.startswith("whoisd")] == [
        "whoisd",
        "whoisd.commands",
        "whoisd.build",
        "whoisd.commands.cli",
    ]


@pytest.mark.parametrize("command", MUST_NOT_IMPORT)
def test_imports(command: str) -> None:
    """A command imports nothing of what only others need: a probe runs every few seconds, a worker stays in memory."""
    assert MUST_NOT_IMPORT[command] & set(said_by(IMPORTED, command).split()) == set()
