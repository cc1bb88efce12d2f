"""An epoll of our own within the loop: who is ready is told, and one that fails harms no other."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whoisd.server.poller import READABLE, WRITABLE, Poller


class Watching:
    """Reads what comes, and keeps what it was told."""

    def __init__(self, ours: socket.socket, fault: Exception | None = None) -> None:
        self.socket = ours
        self.fault = fault
        self.told: list[int] = []
        self.read = b""
        self.aborted = False

    def ready(self, events: int) -> None:
        self.told.append(events)
        if self.fault:
            raise self.fault
        if events & READABLE:
            self.read += self.socket.recv(1)

    def abort(self) -> None:
        self.aborted = True


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


async def turns() -> None:
    await asyncio.sleep(0.05)


async def test_what_is_left_is_told_again() -> None:
    """A watcher is told as long as there is anything to read, and not when there is nothing."""
    poller = Poller(asyncio.get_running_loop())
    with pair() as (ours, theirs):
        watching = Watching(ours)
        poller.watch(ours.fileno(), READABLE, watching)
        await turns()
        assert watching.told == []
        theirs.sendall(b"abc")
        await turns()
        assert (watching.read, len(watching.told)) == (b"abc", 3)
        poller.close()


async def test_other_events_instead() -> None:
    """Watching again is for the new events alone; forgetting ends it, and may be said twice."""
    poller = Poller(asyncio.get_running_loop())
    with pair() as (ours, theirs):
        watching = Watching(ours)
        poller.watch(ours.fileno(), WRITABLE, watching)
        await turns()
        assert set(watching.told) == {WRITABLE}
        poller.watch(ours.fileno(), READABLE, watching)
        watching.told.clear()
        await turns()
        assert watching.told == []
        poller.forget(ours.fileno())
        poller.forget(ours.fileno())
        theirs.sendall(b"a")
        await turns()
        assert watching.told == []
        poller.close()


async def test_fault_of_one() -> None:
    """A watcher that raises is aborted and reported to the loop; others that are ready are told all the same."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    poller = Poller(loop)
    with pair() as (one, other), pair() as (two, another):
        fault = RuntimeError("x")
        bad, good = Watching(one, fault), Watching(two)
        for ours, watching in ((one, bad), (two, good)):
            poller.watch(ours.fileno(), READABLE, watching)
        for theirs in (other, another):
            theirs.sendall(b"a")
        await asyncio.sleep(0)
        await turns()
        assert (bad.aborted, good.aborted, good.read) == (True, False, b"a")
        assert reported[0]["exception"] is fault
        poller.close()


async def test_closed() -> None:
    """A poller that is closed tells nobody any more; closing again does nothing."""
    poller = Poller(asyncio.get_running_loop())
    with pair() as (ours, theirs):
        watching = Watching(ours)
        poller.watch(ours.fileno(), READABLE, watching)
        poller.close()
        poller.close()
        theirs.sendall(b"a")
        await turns()
        assert watching.told == []
