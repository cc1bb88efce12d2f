"""One HTTP process: accepts connections from the shared sockets until it is told to end, and lets the open ones end."""

import asyncio
import errno
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from socket import socket
from time import monotonic
from typing import Final

import uvloop

from whoisd.config import HttpListen, Settings
from whoisd.database.store import Store
from whoisd.errors import ConfigError
from whoisd.limits.sources import Sources
from whoisd.log import ClientNames, Logger, gather, log_fault
from whoisd.server.fleet import Stage
from whoisd.server.http.connection import HttpConnection
from whoisd.server.http.context import HttpContext
from whoisd.server.metrics import Tally
from whoisd.server.sockets import Listener, Room
from whoisd.server.worker import HEARTBEAT, LAST_ACCEPTS, PAUSE, RETIRE, STOP

ACCEPTS_A_TURN: Final = 32
HANDSHAKE: Final = 10.0  # seconds for TLS to be agreed on
LAST_WORD: Final = 1.0  # seconds at stop for who keeps a connection open to ask once more, and to be told that it closes

_OUT_OF_SOMETHING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class HttpWork:
    """What an HTTP process is given to do its work with; `say` takes what stage it has come to."""

    settings: Settings
    listeners: Sequence[Listener[HttpListen]]
    room: Room
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    say: Callable[[Stage], None] = lambda _: None


def tls_of(listen: HttpListen, key: str = "http.listen") -> ssl.SSLContext | None:
    """Return the context of a listener's certificate, read now; None where there is none. Raises `ConfigError`."""
    if not listen.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(listen.certificate, listen.key or listen.certificate, lambda: "")
    except OSError as error:  # of which that of a file that is no certificate is one too
        why = (
            error.strerror
            if not isinstance(error, ssl.SSLError)
            else "no certificate and its key, in PEM, without a password"
        )
        raise ConfigError(f"{key}: certificate or key cannot be used: {why}") from None
    return context


def check_certificates(settings: Settings) -> None:
    """Try every certificate and key. Raises `ConfigError`."""
    for number, listen in enumerate(settings.http.listen):
        tls_of(listen, f"http.listen.{number}")


class HttpProcess:
    """Serves listening sockets on the running loop until it is stopped."""

    def __init__(self, work: HttpWork) -> None:
        self._loop = asyncio.get_running_loop()
        settings = work.settings
        database = settings.database
        store = Store(database.hosts, database.deadline, work.log, work.tally.batch, tells_age=database.tells_age)
        self._work = work
        self._context = HttpContext(
            settings,
            work.room,
            settings.policy,
            store,
            work.sources,
            work.tally,
            work.names,
            work.log,
            self._loop,
        )
        self._tls = {id(listener): tls_of(listener.listen) for listener in work.listeners}
        self._beginning: set[asyncio.Task[None]] = set()
        self._heart = self._loop.create_task(self._beat())

    async def start(self) -> None:
        """Begin to accept."""
        await self._context.store.connect()
        self._set_date()
        for listener in self._work.listeners:
            self._watch(listener)

    def close(self, *, last: bool) -> None:
        """Stop accepting. `last` is whether nobody accepts after us: then what waits is accepted first."""
        for listener in self._work.listeners:
            if listener.socket.fileno() < 0:
                continue
            if last and not listener.inherited:
                self._accept(listener, LAST_ACCEPTS)
            self._loop.remove_reader(listener.socket)
            listener.socket.close()
        self._context.draining = True
        self._work.say(Stage.ENDING)

    async def drain(self, seconds: float, *unless: asyncio.Event) -> None:
        """Let open connections end, for so many seconds at most, or until one of these happens."""
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=seconds)
        if self._context.open:
            self._context.idle.clear()
            await _first(self._context.idle, *unless, seconds=seconds)

    def end_idle(self) -> None:
        """Close the connections that nothing is under way on: nobody answers what would come on them."""
        for connection in tuple(self._context.open):
            connection.shutdown()

    async def stop(self) -> None:
        """Cut what is still open, and end; idempotent."""
        for listener in self._work.listeners:
            if listener.socket.fileno() >= 0:
                self._loop.remove_reader(listener.socket)
                listener.socket.close()
        await self._context.store.close()
        self._context.close()
        self._heart.cancel()
        for _ in range(3):
            await asyncio.sleep(0)

    # --- accepting ------------------------------------------------------------------------------------------------

    def _watch(self, listener: Listener[HttpListen]) -> None:
        if listener.socket.fileno() >= 0:
            self._loop.add_reader(listener.socket, self._accept, listener, ACCEPTS_A_TURN)

    def _accept(self, listener: Listener[HttpListen], most: int) -> None:
        """Accept so many at most of those that wait, of which another process may be first to take some."""
        for _ in range(most):
            try:
                accepted, peer = listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_SOMETHING:
                    self._work.log.warning("server.exhausted", because=error.strerror)
                    self._loop.remove_reader(listener.socket)
                    self._loop.call_later(PAUSE, self._watch, listener)
                    return
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._begin(listener, accepted, peer[0]))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, listener: Listener[HttpListen], accepted: socket, peer: str) -> None:
        make = partial(HttpConnection, self._context, listener.listen, peer)
        tls = self._tls[id(listener)]
        try:
            handshake = {"ssl_handshake_timeout": HANDSHAKE} if tls else {}
            await self._loop.connect_accepted_socket(make, accepted, ssl=tls, **handshake)
        except (OSError, ssl.SSLError, TimeoutError):  # whoever it was is gone, or speaks no TLS
            with suppress(OSError):
                accepted.close()
        except Exception as error:  # noqa: BLE001 - one connection's fault is not the others'
            log_fault(self._work.log, {"exception": error})
            accepted.close()

    # --- signs of life --------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        while True:
            self._work.tally.alive(monotonic())
            self._set_date()
            await asyncio.sleep(HEARTBEAT)

    def _set_date(self) -> None:
        """Let answers have the date of this second."""
        self._context.date = formatdate(usegmt=True).encode()


def run(work: HttpWork) -> None:
    """Serve until `STOP` or `RETIRE` comes."""
    uvloop.run(_serve(work))


async def _serve(work: HttpWork) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log_fault(work.log, context))
    stop, retire = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(STOP, stop.set)
    loop.add_signal_handler(RETIRE, retire.set)
    gather(loop.call_soon)
    try:
        await _serve_until(work, stop, retire)
    finally:
        gather(None)


async def _serve_until(work: HttpWork, stop: asyncio.Event, retire: asyncio.Event) -> None:
    process = HttpProcess(work)
    try:
        await process.start()
        work.say(Stage.ACCEPTING)
        await _first(stop, retire)
        process.close(last=stop.is_set())
        if not stop.is_set():
            await process.drain(patience_of(work.settings), stop)
        if stop.is_set():
            grace = work.settings.server.grace
            last_word = min(LAST_WORD, grace / 2)
            # Whoever asks request after request may have sent the next by now: closed at once it would go unanswered.
            await process.drain(last_word)
            process.end_idle()
            await process.drain(grace - last_word)
    finally:
        await process.stop()


async def _first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait until one of these happens, or so many seconds have passed."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    _, rest = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()


def patience_of(settings: Settings) -> float:
    """Return for how many seconds a retired process lets its connections go on: as long as any may last."""
    server = settings.server
    return settings.http.idle_timeout + server.read_timeout + settings.database.deadline + server.write_timeout
