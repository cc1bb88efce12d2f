"""What must have happened before so many seconds have passed, for any number of things at the price of one timer.

Every item of a queue is given the same time, so that the first to come is the first whose time is up: the queue is in
order as it stands. Knows nothing of what it watches.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

TICK: Final = 0.001  # seconds, of the loop's clock: to look sooner than that is to look again and again until it ticks

Item = TypeVar("Item", bound=Hashable)


class Deadlines(Generic[Item]):
    """Calls `expire` with each item that is still here so many seconds after it was added (a little later, never sooner)."""

    __slots__ = ("_due", "_expire", "_loop", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, expire: Callable[[Item], None]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._expire = expire
        self._due: dict[Item, float] = {}  # a dict keeps its order
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Item) -> None:
        """Give an item, which is not here yet, its time from now on."""
        self._due[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def remove(self, item: Item) -> None:
        """Let an item go; idempotent."""
        self._due.pop(item, None)

    def close(self) -> None:
        """Let all items go."""
        self._due.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Expire what is due, and look again when the next is; between the two nothing has to be done for any item."""
        now = self._loop.time()
        while self._due:  # the timer is not None meanwhile: what is added does not set one beside ours
            item, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_later(max(due - now, TICK), self._look)
                return
            del self._due[item]
            try:
                self._expire(item)
            except Exception as error:  # noqa: BLE001 - one item's fault is not the others'
                self._loop.call_exception_handler({"message": "a deadline failed", "exception": error})
        self._timer = None
