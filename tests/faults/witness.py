"""A plugin of pytest's for `run_breaks`: writes down how each test of a broken copy ended, and ends one that hangs.

It sees to it that the copy is what is tested, by the tests themselves and by the processes that they start: an editable
installation has another tree on the path.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Final

import pytest
from support import environment

import whoisd

LONGEST: Final = 300  # seconds for a test: several times what any takes where nothing is broken
HANGS: Final = f"no end within {LONGEST} seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ended", help="file for how each test ended")


def pytest_sessionstart(session: pytest.Session) -> None:
    ours = str(session.config.rootpath / "whoisd" / "__init__.py")
    code = [sys.executable, "-c", "import whoisd; print(whoisd.__file__)"]
    # From a folder in which no package is, as the script `whoisd` has its own folder and not this one on the path.
    theirs = subprocess.check_output(code, env=environment(), cwd="/", text=True).strip()
    assert [whoisd.__file__, theirs] == [ours, ours], "what is tested is not the copy"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Give a test its time. In one that waits in uvloop no signal is heard: it ends when the time of the whole run is up."""
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's arguments
    pytest.fail(HANGS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down how a part of a test ended: what comes before it, itself, or what comes after."""
    report = yield
    ended = {"test": report.nodeid, "when": report.when, "outcome": report.outcome, "text": report.longreprtext}
    with Path(item.config.getoption("--ended")).open("a", encoding="utf-8") as file:
        file.write(json.dumps(ended) + "\n")
    return report
