"""How far a long command has got, as a person sees it at a terminal, and as a log keeps it elsewhere."""

import asyncio
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest
from support import PATIENCE, environment

from whoisd.registry import progress
from whoisd.registry.progress import Progress


async def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal a line on standard error says, every few seconds, what is being done and how much is."""
    monkeypatch.setattr(progress, "INTERVAL", 0.05)
    async with Progress() as telling:
        telling.begin("reading", 200)
        telling.done = 50
        await asyncio.sleep(0.3)
        telling.begin("writing")
        await asyncio.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    said = [line.partition(" s: ")[2] for line in lines]
    assert {*said} == {"reading 25%", "writing"}
    assert said == sorted(said)  # in this order


async def test_nothing_is_said_of_what_is_done_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that ends before the first line is due says nothing."""
    async with Progress() as telling:
        telling.begin("reading", 1)
    assert capsys.readouterr() == ("", "")


_CODE = """
import asyncio
from whoisd.registry.progress import Progress
async def main():
    async with Progress() as telling:
        telling.begin("reading", 4)
        telling.done = 3
        await asyncio.sleep(0.5)
asyncio.run(main())
"""


def test_bar_at_a_terminal() -> None:
    """At a terminal a bar is drawn, with what is being done and how much is, and wiped away at the end."""
    master, slave = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", _CODE], stderr=slave, env=environment({"TERM": "xterm"}))
    os.close(slave)
    drawn = b""
    with suppress(OSError), os.fdopen(master, "rb", buffering=0) as terminal:  # the other end is gone
        while chunk := terminal.read(4096):
            drawn += chunk
    assert process.wait(PATIENCE) == 0
    assert b"reading" in drawn
    assert b"75%" in drawn
    assert drawn.endswith(b"\x1b[2K")
