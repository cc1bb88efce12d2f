"""Maintenance windows, as everybody sees them: whether one is open, and whether a command may write now.

In a window no command writes. Those about one object may be kept until it is over (`whoisd.registry.maintenance`); until
they are carried out nobody else writes either, so that no later order overtakes them. The clock is the database's, and a
window ends by itself. Writers hold a lock for as long as they write, so that no window begins in their midst.

A database that has no such table, not being migrated yet, has no window.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from whoisd.database.connect import Connection
from whoisd.errors import MaintenanceError

# The server reads the view, which a registry with tables of its own need not have.
HAS_VIEW: Final = "SELECT to_regclass('whois.maintenance') IS NOT NULL"
VIEW: Final = "SELECT until, why FROM whois.maintenance LIMIT 1"

_HAS_TABLES: Final = "SELECT to_regclass('registry.maintenance') IS NOT NULL"
_OPEN: Final = "SELECT until, why, is_queue FROM registry.maintenance WHERE until > clock_timestamp()"
_KEEP_OUT: Final = "LOCK TABLE registry.maintenance IN ROW SHARE MODE"  # which bars who begins or ends a window
_ANY_QUEUED: Final = "SELECT EXISTS (SELECT FROM registry.queued_order)"

FORMAT: Final = "%Y-%m-%d %H:%M:%S UTC"


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window; `is_queue` is whether commands about one object are kept."""

    until: datetime
    why: str
    is_queue: bool = False

    def __str__(self) -> str:
        return f"maintenance until {self.until.astimezone(UTC):{FORMAT}}: {self.why}"


async def has_tables(connection: Connection) -> bool:
    """Return whether the database can have a window."""
    return bool(await connection.fetchval(_HAS_TABLES))


async def keep_out(connection: Connection) -> None:
    """Let no window begin or end until the transaction ends; wait for one that is just beginning or ending."""
    await connection.execute(_KEEP_OUT)


async def open_window(connection: Connection) -> Window | None:
    """Return the window that is open, or None."""
    row = await connection.fetchrow(_OPEN)
    return Window(**row) if row else None


async def has_queued(connection: Connection) -> bool:
    """Return whether orders wait."""
    return bool(await connection.fetchval(_ANY_QUEUED))


async def refuse_in_window(connection: Connection) -> None:
    """Raise `MaintenanceError` in a window: for a command that would read much before it finds out."""
    if await has_tables(connection) and (window := await open_window(connection)):
        raise _refusal(window)


async def admit_writer(connection: Connection) -> None:
    """Let a transaction write, and no window begin until it ends; or raise `MaintenanceError`.

    Nobody writes in a window, nor when it is over and what was queued in it is not carried out.
    """
    if not await has_tables(connection):
        return
    await keep_out(connection)
    await refuse_in_window(connection)
    if await has_queued(connection):
        raise MaintenanceError(
            "what was queued in a maintenance window comes first, and nothing was changed: try again, or run"
            " `whoisd maintenance end`",
            is_over=True,
        )


def _refusal(window: Window) -> MaintenanceError:
    return MaintenanceError(f"{window}; nothing was changed", is_queue=window.is_queue)
