"""One worker: accepts connections from the shared sockets until it is told to stop, and lets the open ones end."""

import asyncio
import errno
import signal
from collections.abc import Awaitable, Callable
from socket import SOCK_STREAM, SocketType
from time import monotonic
from typing import Any, Final

import uvloop

from whoisd.config import Listen, Settings
from whoisd.log import gather, log_fault
from whoisd.server.connection import Connection
from whoisd.server.context import WorkerContext
from whoisd.server.fleet import Stage
from whoisd.server.poller import READABLE
from whoisd.server.sockets import Listener

HEARTBEAT: Final = 1.0  # seconds between two signs of life, and between two looks whether the database answers
LOOK_PAUSE: Final = 0.2  # seconds between two such looks, at least
ACCEPTS_A_TURN: Final = 64  # of the loop, at most, so that what was accepted before has its turn too
LAST_ACCEPTS: Final = 64_000  # at stop, of what had connected before
PAUSE: Final = 0.1  # seconds without accepting when the machine has no descriptor or memory for a connection

_OUT_OF_SOMETHING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

STOP: Final = signal.SIGTERM  # the server ends: take what waits to be accepted where nobody else will
RETIRE: Final = signal.SIGUSR1  # others go on: leave them what waits


class Acceptor:
    """Accepts connections from one listener. Knows nothing of what becomes of them."""

    def __init__(self, context: WorkerContext, listener: Listener[Listen]) -> None:
        self._context = context
        self._listener = listener
        accept: Any = listener.socket
        self._accept = accept._accept  # noqa: SLF001 - what accept() wraps, which takes 6 us more a connection
        self._family = listener.socket.family
        self._resume: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from now on."""
        self._end_pause()
        self._context.poller.watch(self._listener.socket.fileno(), READABLE, self)

    def rest(self) -> None:
        """Leave what comes to other workers, until `start`."""
        self._end_pause()
        self._context.poller.watch(self._listener.socket.fileno(), 0, self)

    def close(self) -> None:
        """Accept no more, and close our copy of the socket; idempotent."""
        self._end_pause()
        if self._listener.socket.fileno() >= 0:
            self._context.poller.forget(self._listener.socket.fileno())
            self._listener.socket.close()

    def abort(self) -> None:
        """Go on in a moment: the supervisor would not notice a worker that lives and accepts no more."""
        self._pause()

    def ready(self, events: int) -> None:  # noqa: ARG002 - there is one kind of event
        """Accept what waits, of which another worker may be first to take some.

        Where none is open, one alone: seldom does another wait, and should one, the poller tells of it again.
        """
        self.accept(ACCEPTS_A_TURN if self._context.open else 1)

    def accept(self, most: int) -> None:
        """Accept so many at most of those that wait."""
        for _ in range(most):
            try:
                descriptor, peer = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_SOMETHING:
                    self._context.log.warning("server.exhausted", because=error.strerror)
                    self._pause()
                    return
                continue  # what had connected is gone again (accept(2), "Error handling")
            self._begin(SocketType(self._family, SOCK_STREAM, 0, descriptor), peer[0])

    def _begin(self, socket: SocketType, peer: str) -> None:
        connection = Connection(self._context, self._listener.listen, socket, peer)
        try:
            connection.begin()
        except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
            log_fault(self._context.log, {"exception": error})
            connection.abort()

    def _pause(self) -> None:
        """Leave in the queue what waits, for a moment: trying again at once would take all of the CPU.

        The poller keeps the socket, for no event: to take it up anew takes memory, of which there may still be none.
        """
        self._end_pause()
        self._context.poller.watch(self._listener.socket.fileno(), 0, self)
        self._resume = self._context.loop.call_later(PAUSE, self.start)

    def _end_pause(self) -> None:
        if self._resume:
            self._resume.cancel()
            self._resume = None


class Worker:
    """Serves listening sockets on the running loop until it is stopped."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._acceptors = [Acceptor(context, listener) for listener in context.listeners]
        self._accepts = False
        self._why_not = ""  # why the database does not answer
        self._tasks = [context.loop.create_task(self._beat())]

    async def start(self) -> None:
        """Begin to accept. The database need not answer yet: clients are told to try again later until it does."""
        await self._judge()
        self._tasks.append(self._context.loop.create_task(self._watch_database()))

    async def _watch_database(self) -> None:
        """Look every second whether the database answers, and soon after a lookup has failed."""
        doubt = self._context.doubt
        while True:
            await asyncio.sleep(LOOK_PAUSE)
            await _first(doubt.wait(), seconds=HEARTBEAT - LOOK_PAUSE)
            doubt.clear()
            await self._judge()

    async def _judge(self) -> None:
        """Say whether the database answers. Where it does not, leave accepting to the workers that it answers, if any."""
        context, before = self._context, self._why_not
        self._why_not = why_not = await context.store.check()
        answers = not why_not
        if why_not and why_not != before:
            context.log.warning("store.fails", because=why_not)
        elif answers and before:
            context.log.info("store.answers")
        context.tally.database(answers=answers)
        accepts = answers or not context.others_answer()
        if accepts is self._accepts:
            return
        self._accepts = accepts
        for acceptor in self._acceptors:
            acceptor.start() if accepts else acceptor.rest()
        context.tally.accepting(yes=accepts)

    def close(self, *, last: bool) -> None:
        """Stop accepting. `last` is whether nobody accepts after us.

        Then what waits in the kernel is accepted, which closing the listening socket would reset. What waits on a socket
        that someone outside holds too is theirs to serve. Our copy is closed in any case: a queue that nobody takes from
        should turn clients away at once.
        """
        self._end_tasks()
        for acceptor, listener in zip(self._acceptors, self._context.listeners, strict=True):
            if last and not listener.inherited:
                acceptor.accept(LAST_ACCEPTS)
            acceptor.close()
        self._context.tally.accepting(yes=False)
        self._context.say(Stage.ENDING)

    async def drain(self, seconds: float, *unless: asyncio.Event) -> None:
        """Let open connections end, for so many seconds at most, or until one of these happens."""
        if self._context.open:
            self._context.idle.clear()
            await _first(self._context.idle.wait(), *(event.wait() for event in unless), seconds=seconds)

    async def stop(self) -> None:
        """Cut what is still open, and end; idempotent."""
        self._end_tasks()
        for acceptor in self._acceptors:
            acceptor.close()
        await self._context.store.close()  # first, so that whoever waits for a lookup is told that it failed
        self._context.close()
        self._tasks[0].cancel()

    def _end_tasks(self) -> None:
        """Look at the database no more: it could have us accept again."""
        for task in self._tasks[1:]:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            self._context.tally.alive(monotonic())
            await asyncio.sleep(HEARTBEAT)


def run(make: Callable[[], WorkerContext]) -> None:
    """Serve until `STOP` or `RETIRE` comes. `make` is called on the running loop.

    The loop is not closed: that would wait for a resolver that hangs (uvloop asks it in a thread), and the process ends now.
    """
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(make))


async def _serve(make: Callable[[], WorkerContext]) -> None:
    context = make()
    loop = context.loop
    loop.set_exception_handler(lambda _, event: log_fault(context.log, event))
    stop, retire = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(STOP, stop.set)
    loop.add_signal_handler(RETIRE, retire.set)
    gather(loop.call_soon)
    try:
        await _work(context, stop, retire)
    finally:
        gather(None)  # after all else: what went wrong is still to be told, when there is no loop any more


async def _work(context: WorkerContext, stop: asyncio.Event, retire: asyncio.Event) -> None:
    worker = Worker(context)
    try:
        starting = context.loop.create_task(worker.start())
        await _first(stop.wait(), starting)
        if starting.done():
            starting.result()
            context.say(Stage.ACCEPTING)
            await _first(stop.wait(), retire.wait())
        starting.cancel()
        worker.close(last=stop.is_set())
        if not stop.is_set():
            await worker.drain(patience_of(context.settings), stop)
        if stop.is_set():
            await worker.drain(context.settings.server.grace)
    finally:
        await worker.stop()


async def _first(*events: Awaitable[object], seconds: float | None = None) -> None:
    """Wait until one of these happens, or so many seconds have passed; a task among them goes on."""
    waiting = [asyncio.ensure_future(event) for event in events]
    await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for event, task in zip(events, waiting, strict=True):
        if event is not task:
            task.cancel()


def patience_of(settings: Settings) -> float:
    """Return for how many seconds a retired worker lets its connections go on: as long as any of them may last."""
    return settings.server.read_timeout + settings.database.deadline + settings.server.write_timeout
