"""One worker: accepts connections, reads one line from each, answers it, and sees the answer delivered.

Knows sockets, deadlines and the order of closing; what an answer says is `answer`'s business. Each connection ends in one
`Outcome` and one log line.

    READING --a line--> ANSWERING --an answer--> CLOSING --the client's end, or the deadline--> gone
       `--deadline, too many connections--------^

Closing is written out because an answer can be lost in it: a socket closed while input is unread, or before input that
is under way, is reset by the kernel, and the reset can overtake the answer. So: write, FIN, read on and throw away until
the client closes too (or its deadline comes), then close.
"""

import asyncio
import errno
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum, auto
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import perf_counter
from typing import Any, Final, cast

import uvloop

from whoisd import notices
from whoisd.answer import Answer, Policy, answer, notice
from whoisd.config import Listen, Settings
from whoisd.errors import ConfigError, Outcome, QueryFault, whereabouts
from whoisd.log import Logger, log_query
from whoisd.store import Store
from whoisd.wire import LineBuffer

LAST_TURNS: Final = 1000  # of the loop, at most, to accept at stop what had connected before
BACKLOG: Final = 4096  # connections that wait to be accepted; the kernel lowers it to net.core.somaxconn
DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away for one connection; then it is left unread
SPARE_DESCRIPTORS: Final = 64  # for the database, the log, the sockets that listen
REFUSAL_DRAIN: Final = 1.0  # seconds for a client refused for the number of connections to take that and close
OVERLOAD_RETRY: Final = 5  # seconds, as told to a client refused for the number of open connections


_LISTEN_HINTS: Final = {
    errno.EADDRINUSE: "; choose another port",
    errno.EACCES: "; a port below 1024 takes CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    errno.EAFNOSUPPORT: "; this machine does not speak that protocol: name others in [[listen]]",
}


def policy_of(settings: Settings) -> Policy:
    """Return the part of the settings that answers depend on."""
    return Policy(
        in_force_from=settings.disclosure.in_force_from,
        omit_withheld_email=settings.disclosure.withheld_email == "omitted",
        operator=settings.answer.operator,
        terms=settings.answer.terms,
        version=f"whoisd {version('whoisd')}",
    )


class State(Enum):
    """Where a connection stands."""

    READING = auto()
    ANSWERING = auto()
    CLOSING = auto()


class Connection(asyncio.Protocol):
    """One client, from accept to close."""

    __slots__ = ("_answer", "_buffer", "_client", "_drained", "_ended", "_ms", "_since", "_state", "_task", "_timer",
                 "_transport", "_worker")  # fmt: skip

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._state = State.READING
        self._buffer = LineBuffer()
        self._answer: Answer | None = None
        self._drained = 0
        self._ended = False  # whether the client has sent its FIN
        self._ms = 0.0
        self._since = perf_counter()  # the loop's own clock is too coarse: it stands still within a turn
        self._task: asyncio.Task[None] | None = None

    # --- what the loop calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the deadline for the query, or refuse at once when there is no room."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = _client_address(self._transport.get_extra_info("peername"))
        server = self._worker.settings.server
        self._timer = self._worker.loop.call_later(server.read_timeout, self._read_expired)
        if not self._worker.admit(self):
            self._send(notice(Outcome.TOO_MANY_CONNECTIONS, notices.too_many_requests(OVERLOAD_RETRY)), REFUSAL_DRAIN)

    def data_received(self, data: bytes) -> None:
        """Read the query; throw away what comes after it."""
        if self._state is State.READING:
            line = self._buffer.feed(data)
            if line is not None:
                self._ask(line)
            return
        self._drained += len(data)
        if self._drained > DRAIN_LIMIT:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take the end of input as the end of the line, or of the closing."""
        self._ended = True
        if self._state is State.READING:
            if self._buffer.pending:
                self._ask(self._buffer.rest())
            else:
                self._send(notice(Outcome.NO_QUERY, notices.refusal(QueryFault.NO_NAME)))
        elif self._state is State.CLOSING:
            self._transport.close()
        return True  # the client may have closed its half only: keep ours until the answer is out

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Say how it ended."""
        self._timer.cancel()
        self._worker.forget(self)
        if self._task:
            self._task.cancel()
        self._log()

    # --- what a connection does -----------------------------------------------------------------------------------

    def _ask(self, line: bytes) -> None:
        self._state = State.ANSWERING
        self._timer.cancel()
        self._task = self._worker.loop.create_task(self._find_answer(line))

    async def _find_answer(self, line: bytes) -> None:
        worker = self._worker
        found = await answer(line, self._client, worker.store, worker.policy, datetime.now(UTC))
        self._task = None
        self._send(found)

    def _send(self, found: Answer, deadline: float | None = None) -> None:
        """Write an answer and end our half; close at once only when the client has ended its own.

        `deadline` is in seconds, for the client to take it all and close too; without one it is the configured one.
        """
        self._state = State.CLOSING
        self._answer = found
        self._ms = (perf_counter() - self._since) * 1000
        self._timer.cancel()
        self._timer = self._worker.loop.call_later(
            deadline or self._worker.settings.server.write_timeout, self._write_expired
        )
        self._transport.write(found.payload)
        if self._ended:
            self._transport.close()  # nothing can be unread: this flushes, then closes
        else:
            self._transport.write_eof()

    def _read_expired(self) -> None:
        seconds = self._worker.settings.server.read_timeout
        self._send(notice(Outcome.READ_TIMEOUT, notices.read_timeout(seconds)))

    def _write_expired(self) -> None:
        if self._transport.get_write_buffer_size():
            self._answer = self._answer and replace(self._answer, outcome=Outcome.WRITE_TIMEOUT)
        self._transport.abort()  # close() would keep an unsent answer for a dead client

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    def _log(self) -> None:
        found = self._answer or Answer(Outcome.CLIENT_GONE, b"")
        facts = found.facts()
        log_query(self._worker.log, found.outcome, client=str(self._client), **facts, ms=round(self._ms, 3))


def _client_address(peername: Any) -> notices.Address:
    """Return a client's address; an IPv4-mapped IPv6 address counts as IPv4."""
    if not peername:
        return IPv4Address(0)  # already gone: the loop ends the connection next
    address = ip_address(peername[0].partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


class Worker:
    """Serves listening sockets on the running loop until it is stopped."""

    def __init__(self, settings: Settings, log: Logger) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings = settings
        self.log = log
        self.policy = policy_of(settings)
        self.store = Store(settings.database.dsn.get_secret_value(), settings.database.deadline, log)
        self._most = _raise_descriptor_limit(settings.server.max_connections, log)
        self._open: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._idle = asyncio.Event()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to accept. The database need not answer yet: clients are told to try again later until it does."""
        await self.store.connect()
        for listening in sockets:
            self._servers.append(await self.loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG))
            host, port = listening.getsockname()[:2]
            self.log.info("server.listening", host=host, port=port)

    async def stop(self) -> None:
        """Stop accepting, let open connections end within the grace period, then cut them; idempotent."""
        await self._accept_all()
        for server in self._servers:
            server.close()
        if self._open:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.server.grace):
                    await self._idle.wait()
        for connection in tuple(self._open):
            connection.abort()
        await self.store.close()
        self.log.info("server.stopped")

    async def _accept_all(self) -> None:
        """Accept what waits in the kernel: closing the listening sockets would reset it."""
        for _ in range(LAST_TURNS):
            await asyncio.sleep(0)
            if not select.select([listening for server in self._servers for listening in server.sockets], [], [], 0)[0]:
                break
        await asyncio.sleep(0)  # a turn in which those that were accepted last are made connections

    def admit(self, connection: Connection) -> bool:
        """Count a connection in; return whether there is room for it."""
        self._open.add(connection)
        return len(self._open) <= self._most

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        self._open.discard(connection)
        if not self._open:
            self._idle.set()


@contextmanager
def open_sockets(listen: Sequence[Listen]) -> Iterator[list[socket.socket]]:
    """Open a listening socket for each address, and close them at the end.

    Raises `ConfigError`, naming the address that cannot be had.
    """
    with ExitStack() as stack:
        sockets = []
        for number, address in enumerate(listen):
            try:
                sockets.append(stack.enter_context(_open_socket(address)))
            except OSError as error:
                where = f"{address.host} port {address.port}"
                what = f"{error.strerror}{_LISTEN_HINTS.get(error.errno or 0, '')}"
                raise ConfigError(f"listen.{number}: cannot listen on {where}: {what}") from None
        yield sockets


def _open_socket(address: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def run(settings: Settings, log: Logger, sockets: Sequence[socket.socket], ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT. `ready` is called once connections are accepted."""
    uvloop.run(_serve(settings, log, sockets, ready))


async def _serve(settings: Settings, log: Logger, sockets: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _log_fault(log, context))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = Worker(settings, log)
    try:
        await worker.start(sockets)
        ready()
        await stopping.wait()
    finally:
        await worker.stop()


def _log_fault(log: Logger, context: dict[str, Any]) -> None:
    """Log what the loop could not deliver to anyone: its kind and place, not its text."""
    error = context.get("exception")
    log.error("server.fault", fault=whereabouts(error) if error else str(context.get("message")))


def _raise_descriptor_limit(connections: int, log: Logger) -> int:
    """Raise the limit on open files as far as it goes; return how many connections it leaves room for.

    A fifth of the room is kept for connections that are refused: beyond it they could not even be told. Raises
    `ConfigError` when there is no room at all.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = connections if hard == resource.RLIM_INFINITY else min(connections, (hard - SPARE_DESCRIPTORS) * 4 // 5)
    if room < 1:
        raise ConfigError(f"the limit on open files (RLIMIT_NOFILE) is {hard}: raise it to {2 * SPARE_DESCRIPTORS} or more")
    if room < connections:
        log.warning("server.limited", max_connections=room, because="the limit on open files (RLIMIT_NOFILE)")
    return room
