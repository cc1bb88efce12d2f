"""One client, from accept to close: read one line, ask for its answer, and see it delivered.

Knows deadlines and the order of closing; what an answer says is `answer`'s business, and who may ask is `sources`'s.
Each connection ends in one `Outcome`, one log line and one count.

    HEADER --a PROXY header--> READING --a line--> ANSWERING --an answer--> CLOSING --the client's end--> gone
       `--refused or too late-----`-----------------------------------------^  `--or the deadline----------^

HEADER is for listeners behind a balancer alone. Closing is written out because an answer can be lost in it: a socket
closed while input is unread, or before input that is under way, is reset by the kernel, and the reset can overtake the
answer. So: write, FIN, read on and throw away until the client closes too (or its deadline comes), then close.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address, ip_address
from time import perf_counter, time
from typing import Any, Final, cast

from whoisd import notices
from whoisd.answer import Answer, Policy, answer, notice
from whoisd.config import Listen, Server
from whoisd.errors import Outcome, ProxyError, ProxyFault, QueryFault
from whoisd.log import ClientNames, Logger, log_query
from whoisd.metrics import Tally
from whoisd.proxy import HeaderBuffer
from whoisd.sockets import Room
from whoisd.sources import CONNECTIONS_RETRY, Address, Client, Limit, Refusal, Sources
from whoisd.store import Store
from whoisd.wire import LineBuffer

DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away for one connection; then it is left unread
REFUSAL_DRAIN: Final = 1.0  # seconds for a client refused at the door to take that and close

_REFUSED: Final = {
    Limit.SOURCE_RATE: Outcome.RATE_EXCEEDED,
    Limit.NETWORK_RATE: Outcome.RATE_EXCEEDED,
    Limit.SOURCE_BAN: Outcome.BANNED,
    Limit.NETWORK_BAN: Outcome.BANNED,
    Limit.SOURCE_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.NETWORK_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.ALL_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
}
_OUR_FAULT: Final = {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


@dataclass(slots=True)
class Desk:
    """What all connections of a worker share."""

    loop: asyncio.AbstractEventLoop
    server: Server
    room: Room
    policy: Policy
    store: Store
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    open: set["Connection"] = field(default_factory=set)
    refused: dict["Connection", None] = field(default_factory=dict)  # at the door, the oldest first; they are open too
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class State(Enum):
    """Where a connection stands."""

    HEADER = auto()
    READING = auto()
    ANSWERING = auto()
    CLOSING = auto()


class Connection(asyncio.Protocol):
    """One client. `listen` is the section of the listener that it came by."""

    __slots__ = ("_address", "_answer", "_buffer", "_client", "_counted", "_desk", "_drained", "_ended", "_header",
                 "_listen", "_since", "_state", "_taken", "_task", "_timer", "_transport")  # fmt: skip

    def __init__(self, desk: Desk, listen: Listen) -> None:
        self._desk = desk
        self._listen = listen
        self._state = State.READING
        self._buffer = LineBuffer()
        self._header = HeaderBuffer() if listen.proxy else None
        self._client: Client | None = None
        self._counted = False  # whether the client's open connections have this one among them
        self._answer: Answer | None = None
        self._drained = 0
        self._ended = False  # whether the client has sent its FIN
        self._taken: float | None = None  # seconds from accept to answer
        self._since = perf_counter()  # the loop's own clock is too coarse: it stands still within a turn
        self._task: asyncio.Task[None] | None = None  # held because the loop itself holds a task weakly

    # --- what the loop calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the deadline for the query, or refuse at once a client that may not ask."""
        self._transport = cast("asyncio.Transport", transport)
        desk = self._desk
        desk.open.add(self)
        desk.tally.open(1)
        self._timer = desk.loop.call_later(desk.server.read_timeout, self._read_expired)
        self._address = _address_of(self._transport.get_extra_info("peername"))
        if self._address.is_unspecified:
            self._transport.abort()  # gone before it was accepted, and so is its address
        elif len(desk.open) - len(desk.refused) > desk.room.served:
            self._turn_away(self._refusal(Refusal(Limit.ALL_CONNECTIONS, CONNECTIONS_RETRY)))
        elif not self._header:
            self._identify(self._address)
        elif any(self._address in network for network in self._listen.trusted):
            self._state = State.HEADER
        else:
            self._turn_away(notice(Outcome.UNTRUSTED_PROXY, notices.UNTRUSTED_PROXY))

    def data_received(self, data: bytes) -> None:
        """Read the header and the query; throw away what comes after it."""
        if self._state is State.READING:
            line = self._buffer.feed(data)
            if line is not None:
                self._ask(line)
        elif self._state is State.HEADER:
            self._read_header(data)
        else:
            self._drained += len(data)
            if self._drained > DRAIN_LIMIT:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take the end of input as the end of the line, or of the closing."""
        self._ended = True
        if self._state is State.CLOSING:
            self._transport.close()
        elif self._state is State.HEADER and self._header and self._header.pending:
            self._send_bad_header(ProxyFault.INCOMPLETE)
        elif self._buffer.pending and self._state is State.READING:
            self._ask(self._buffer.rest())
        elif self._state is not State.ANSWERING:
            self._send(notice(Outcome.NO_QUERY, notices.refusal(QueryFault.NO_NAME)))
        return True  # the client may have closed its half only: keep ours until the answer is out

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """Say how it ended."""
        desk = self._desk
        self._timer.cancel()
        if self._counted and self._client:
            desk.sources.disconnect(self._client)
        desk.open.discard(self)
        desk.refused.pop(self, None)
        desk.tally.open(-1)
        if not desk.open:
            desk.idle.set()
        self._record()

    # --- what a connection does -----------------------------------------------------------------------------------

    def _read_header(self, data: bytes) -> None:
        assert self._header  # noqa: S101 - the state says so
        try:
            header = self._header.feed(data)
        except ProxyError as error:
            self._send_bad_header(error.fault)
            return
        if header:
            self._state = State.READING
            self._identify(header.client or self._address)
            if header.rest:
                self.data_received(header.rest)

    def _send_bad_header(self, fault: ProxyFault) -> None:
        self._turn_away(notice(Outcome.BAD_PROXY_HEADER, notices.BAD_PROXY_HEADER, fault=fault.value))

    def _identify(self, address: Address) -> None:
        """Take an address for the client's, and refuse it at once if it may not ask."""
        sources = self._desk.sources
        self._address = address
        self._client = sources.client(address)
        refusal = sources.connect(self._client, time())
        if refusal:
            self._turn_away(self._refusal(refusal))
        else:
            self._counted = True

    def _ask(self, line: bytes) -> None:
        assert self._client  # noqa: S101 - a line is read from a client that was identified
        self._timer.cancel()
        refusal = self._desk.sources.charge(self._client, time())
        if refusal:
            self._send(self._refusal(refusal))
        else:
            self._state = State.ANSWERING
            self._task = self._desk.loop.create_task(self._find_answer(line, self._client))

    async def _find_answer(self, line: bytes, client: Client) -> None:
        desk = self._desk
        found = await answer(line, client.address, desk.store, desk.policy, datetime.now(UTC))
        if found.outcome in _OUR_FAULT:
            desk.sources.refund(client)
        if not self._transport.is_closing():
            self._send(found)

    def _refusal(self, refusal: Refusal) -> Answer:
        """Count a refusal, and return what to say."""
        network = self._client and self._client.network
        self._desk.tally.refusal(refusal.limit, network.number if network else None)
        text = notices.too_many_requests(refusal.retry_after)
        return notice(_REFUSED[refusal.limit], text, fault=refusal.limit.value)

    def _turn_away(self, found: Answer) -> None:
        """Refuse a client before it asks. It takes no room from those that are served: the oldest such gives way."""
        refused = self._desk.refused
        refused[self] = None
        if len(refused) > self._desk.room.refused:
            oldest = next(iter(refused))
            del refused[oldest]
            oldest.abort()
        self._send(found, REFUSAL_DRAIN)

    def _send(self, found: Answer, deadline: float | None = None) -> None:
        """Write an answer and end our half; close at once only when the client has ended its own.

        `deadline` is in seconds, for the client to take it all and close too; without one it is the configured one.
        """
        self._state = State.CLOSING
        self._answer = found
        self._taken = perf_counter() - self._since
        self._timer.cancel()
        self._timer = self._desk.loop.call_later(deadline or self._desk.server.write_timeout, self._write_expired)
        self._transport.write(found.payload)
        if self._ended:
            self._transport.close()  # nothing can be unread: this flushes, then closes
        else:
            self._transport.write_eof()

    def _read_expired(self) -> None:
        seconds = self._desk.server.read_timeout
        self._send(notice(Outcome.READ_TIMEOUT, notices.read_timeout(seconds)))

    def _write_expired(self) -> None:
        if self._transport.get_write_buffer_size():
            self._answer = self._answer and replace(self._answer, outcome=Outcome.WRITE_TIMEOUT)
        self._transport.abort()  # close() would keep an unsent answer for a dead client

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    def _record(self) -> None:
        """Count the connection, and write its line of the log."""
        desk = self._desk
        found = self._answer or Answer(Outcome.CLIENT_GONE, b"")
        seconds = perf_counter() - self._since if self._taken is None else self._taken
        desk.tally.query(found.outcome, found.kind, seconds)
        if reason := found.email or found.registrant:
            desk.tally.decision(reason)
        network = self._client and self._client.network
        log_query(
            desk.log,
            found.outcome,
            client=desk.names.name(None if self._address.is_unspecified else self._address, datetime.now(UTC).date()),
            network=network.name if network else None,
            **found.facts(),
            ms=round(seconds * 1000, 3),
        )


def _address_of(peername: Any) -> Address:
    """Return the address of a peer, 0.0.0.0 of one that is gone; an IPv4-mapped IPv6 address counts as IPv4."""
    if not peername:
        return IPv4Address(0)
    address = ip_address(peername[0].partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
