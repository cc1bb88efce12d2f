"""Odd clients by the thousand: whatever they send, each gets what it is owed, and the server stays as it was."""

from typing import Final

import pytest
from fuzz.wire import withstand
from support import Database

WARMING_UP: Final = 20_000  # more sources than a worker remembers; by then its memory has settled


async def test_odd_clients(sandbox_database: Database, request: pytest.FixtureRequest) -> None:
    """Whatever a client sends and however it ends, it gets what it is owed to the byte, and leaves nothing behind."""
    connections, seed = (request.config.getoption(name) for name in ("--connections", "--seed"))
    print(await withstand(sandbox_database, connections, seed, warming_up=WARMING_UP))  # noqa: T201 - figures that make fuzz shows
