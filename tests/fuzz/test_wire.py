"""Odd clients, some hundreds of them; `make faults` sends many, and `make fuzz` a great many."""

from fuzz.wire import withstand
from support import Database


async def test_odd_clients(sandbox_database: Database) -> None:
    """Whatever a client sends and however it ends, it gets what it is owed to the byte, and leaves nothing behind."""
    await withstand(sandbox_database, 500, seed=0, warming_up=100)
