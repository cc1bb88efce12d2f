"""One worker: accepts connections from the shared sockets until it is told to stop, and lets the open ones end."""

import asyncio
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from importlib.metadata import version
from time import monotonic
from typing import Final

import uvloop

from whoisd.answer import Policy
from whoisd.config import Settings
from whoisd.connection import Connection, Desk
from whoisd.log import ClientNames, Logger, log_fault
from whoisd.metrics import Tally
from whoisd.sockets import BACKLOG, Listener, Room
from whoisd.sources import Sources
from whoisd.store import Store

HEARTBEAT: Final = 1.0  # seconds between two signs of life
LAST_TURNS: Final = 1000  # of the loop, at most, to accept at stop what had connected before

STOP: Final = signal.SIGTERM  # the server ends: take what waits to be accepted where nobody else will
RETIRE: Final = signal.SIGUSR1  # others go on: leave them what waits


class Stage(IntEnum):
    """How far a worker is."""

    STARTING = 0
    ACCEPTING = 1
    ENDING = 2  # it accepts no more, and lets the open connections end


def policy_of(settings: Settings) -> Policy:
    """Return the part of the settings that answers depend on."""
    return Policy(
        in_force_from=settings.disclosure.in_force_from,
        omit_withheld_email=settings.disclosure.withheld_email == "omitted",
        operator=settings.answer.operator,
        terms=settings.answer.terms,
        version=f"whoisd {version('whoisd')}",
    )


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker is given to do its work with; `say` takes what stage it has come to."""

    settings: Settings
    listeners: Sequence[Listener]
    room: Room
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    say: Callable[[Stage], None] = lambda _: None


class Worker:
    """Serves listening sockets on the running loop until it is stopped."""

    def __init__(self, post: Post) -> None:
        loop = asyncio.get_running_loop()
        settings = post.settings
        store = Store(settings.database.hosts, settings.database.deadline, post.log, post.tally.batch)
        self._post = post
        self._desk = Desk(
            loop, settings.server, post.room, policy_of(settings), store, post.sources, post.tally, post.names, post.log
        )
        self._servers: list[asyncio.Server] = []
        self._heart = loop.create_task(self._beat())

    async def start(self) -> None:
        """Begin to accept. The database need not answer yet: clients are told to try again later until it does."""
        await self._desk.store.connect()
        for listener in self._post.listeners:
            connection = partial(Connection, self._desk, listener.listen)
            self._servers.append(
                await self._desk.loop.create_server(connection, sock=listener.socket.dup(), backlog=BACKLOG)
            )

    async def close(self, *, last: bool) -> None:
        """Stop accepting. `last` is whether nobody accepts after us."""
        if last:
            await self._accept_all()
        for server in self._servers:
            server.close()
        for listener in self._post.listeners:
            listener.socket.close()  # our copy: a queue that nobody takes from should turn clients away at once
        self._post.tally.accepting(yes=False)
        self._post.say(Stage.ENDING)
        await asyncio.sleep(0)  # a turn in which those that were accepted last are made connections

    async def drain(self, seconds: float, *unless: asyncio.Event) -> None:
        """Let open connections end, for so many seconds at most, or until one of these happens."""
        if self._desk.open:
            self._desk.idle.clear()
            await _first(self._desk.idle, *unless, seconds=seconds)

    async def stop(self) -> None:
        """Cut what is still open, and end; idempotent."""
        for server in self._servers:
            server.close()  # again, for one that was not closed in its order: the loop does not end before
        for connection in tuple(self._desk.open):
            connection.abort()
        self._heart.cancel()
        await self._desk.store.close()

    async def _accept_all(self) -> None:
        """Accept what waits in the kernel, where closing the listening socket would reset it.

        What waits on a socket that someone outside holds too is theirs to serve.
        """
        ours = [listener.socket for listener in self._post.listeners if not listener.inherited]
        for _ in range(LAST_TURNS):
            await asyncio.sleep(0)
            if not select.select(ours, [], [], 0)[0]:
                break

    async def _beat(self) -> None:
        while True:
            self._post.tally.alive(monotonic())
            await asyncio.sleep(HEARTBEAT)


def run(post: Post) -> None:
    """Serve until `STOP` or `RETIRE` comes."""
    uvloop.run(_serve(post))


async def _serve(post: Post) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log_fault(post.log, context))
    stop, retire = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(STOP, stop.set)
    loop.add_signal_handler(RETIRE, retire.set)
    worker = Worker(post)
    try:
        await worker.start()
        post.tally.accepting(yes=True)
        post.say(Stage.ACCEPTING)
        await _first(stop, retire)
        await worker.close(last=stop.is_set())
        if not stop.is_set():
            await worker.drain(patience_of(post.settings), stop)
        if stop.is_set():
            await worker.drain(post.settings.server.grace)
    finally:
        await worker.stop()


async def _first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of these happens, or so many seconds have passed."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    _, rest = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()


def patience_of(settings: Settings) -> float:
    """Return for how many seconds a retired worker lets its connections go on: as long as any of them may last."""
    return settings.server.read_timeout + settings.database.deadline + settings.server.write_timeout
