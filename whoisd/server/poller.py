"""Watches the sockets of clients: an epoll of our own, which the loop watches as if it were one socket.

A connection of ours accepts, reads, writes and closes but once. As a plain socket it takes 18,000 instructions for that
and 8 system calls; as a transport of the loop 29,000 and 12 (a server that does nothing else, under callgrind and
strace), and cannot have its FIN in the packet of its answer. So the loop is left with the database, the timers and this.
"""

import asyncio
import select
from typing import Final, Protocol

READABLE: Final = select.EPOLLIN
WRITABLE: Final = select.EPOLLOUT
MOST_EVENTS: Final = 256  # taken in one turn of the loop, so that the database has its turn too


class Watcher(Protocol):
    """Who has a socket watched."""

    def ready(self, events: int) -> None:
        """Do what the socket is ready for; never wait."""

    def abort(self) -> None:
        """End, after a fault of one's own."""


class Poller:
    """Calls each watcher whenever its socket is ready, on the running loop. Level-triggered: what is left is told again."""

    __slots__ = ("_epoll", "_loop", "_watchers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        loop.add_reader(self._epoll.fileno(), self._turn)

    def watch(self, descriptor: int, events: int, watcher: Watcher) -> None:
        """Watch a socket for these events, instead of those before."""
        if descriptor in self._watchers:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.register(descriptor, events)
        self._watchers[descriptor] = watcher

    def forget(self, descriptor: int) -> None:
        """Watch a socket no longer; idempotent, and to be done before it is closed."""
        if self._watchers.pop(descriptor, None):
            self._epoll.unregister(descriptor)

    def drop(self, descriptor: int) -> None:
        """Forget a socket that is about to be closed, and that no other descriptor leads to: the kernel does the rest."""
        self._watchers.pop(descriptor, None)

    def close(self) -> None:
        """Watch nothing any more; idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._watchers.clear()

    def _turn(self) -> None:
        for descriptor, events in self._epoll.poll(0, MOST_EVENTS):
            watcher = self._watchers.get(descriptor)  # none when one that came before it in this turn ended it
            if watcher is None:
                continue
            try:
                watcher.ready(events)
            except Exception as error:  # noqa: BLE001 - one watcher's fault is not the others'
                self._loop.call_exception_handler({"message": "a watcher failed", "exception": error})
                watcher.abort()
