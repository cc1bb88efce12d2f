"""How commands write: outside of maintenance windows, and after what was queued in one."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from whoisd.commands.terminal import as_owner, tell
from whoisd.config import load_settings
from whoisd.database.connect import Connection
from whoisd.database.maintenance import refuse_in_window
from whoisd.registry.maintenance import Applied, Order, Queued, give, settle

T = TypeVar("T")


async def as_writer(file: Path | None, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do the work as `as_owner` does, unless there is a maintenance window, and after what was queued in one.

    Raises `MaintenanceError` besides, before any file is read.
    """
    conditions = load_settings(file).policy.conditions(datetime.now(UTC), fresh=True)

    async def settled(connection: Connection) -> None:
        await refuse_in_window(connection)
        await settle(connection, conditions, _tell_applied)

    await as_owner(file, settled)
    return await as_owner(file, work)  # on another connection, whose settings a load can still choose


async def give_order(file: Path | None, order: Order) -> str | Queued:
    """Carry out an order about one object, or keep it in a window that does; return what to say of it."""
    conditions = load_settings(file).policy.conditions(datetime.now(UTC), fresh=True)
    return await as_owner(file, lambda owner: give(owner, order, conditions, _tell_applied))


def _tell_applied(applied: Applied) -> None:
    tell(f"whoisd: queued in a maintenance window: {applied}", err=True)
