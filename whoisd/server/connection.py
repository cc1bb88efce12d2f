"""One client, from accept to close: read one line, ask for its answer, and see it delivered.

Knows deadlines and the order of closing; what an answer says is `answer`'s business, and who may ask is `sources`'s.
Each connection ends in one `Outcome`, one log line and one count.

    HEADER --a PROXY header--> READING --a line--> ANSWERING --an answer--> CLOSING --the client's end--> CLOSED
       `--refused or too late-----`-----------------------------------------^  `--or the deadline----------^

HEADER is for listeners behind a balancer alone. Closing is written out because an answer can be lost in it: a socket
closed while input is unread, or before input that is under way, is reset by the kernel, and the reset can overtake the
answer. So: write, FIN, read on and throw away until the client closes too (or its deadline comes), then close.

A connection reads and writes its socket itself, first at once and then when `poller` says that it can (most queries have
come by the time that they are accepted, and most answers fit into the kernel's buffer). Every call says MSG_DONTWAIT: it
costs nothing, where making the socket non-blocking is one more system call.
"""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum, auto
from socket import MSG_DONTWAIT, MSG_MORE, SHUT_WR, SocketType
from time import perf_counter, time
from typing import Final

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Lookup, Policy, begin_answer, finish_answer, notice
from whoisd.answers.model import Found
from whoisd.answers.wire import LineBuffer
from whoisd.config import Listen, Server
from whoisd.database.store import Store
from whoisd.deadlines import Deadlines
from whoisd.errors import Outcome, ProxyError, ProxyFault, QueryFault
from whoisd.limits.sources import CONNECTIONS_RETRY, Client, Limit, Refusal, Sources
from whoisd.log import ClientNames, Logger, log_query
from whoisd.server.metrics import Tally
from whoisd.server.poller import READABLE, WRITABLE, Poller
from whoisd.server.proxy import HeaderBuffer
from whoisd.server.sockets import Room

CHUNK: Final = 65536  # bytes read at once
DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away for one connection; then it is left unread
REFUSAL_DRAIN: Final = 1.0  # seconds for a client refused at the door to take that and close; as many again while it sends
MOST_DRAINED: Final = 1000  # connections being refused beyond which none is given more than the first of them

_REFUSED: Final = {
    Limit.SOURCE_RATE: Outcome.RATE_EXCEEDED,
    Limit.NETWORK_RATE: Outcome.RATE_EXCEEDED,
    Limit.SOURCE_BAN: Outcome.BANNED,
    Limit.SOURCE_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.NETWORK_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
    Limit.ALL_CONNECTIONS: Outcome.TOO_MANY_CONNECTIONS,
}
_OUR_FAULT: Final = {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


@dataclass(slots=True)
class Desk:
    """What all connections of a worker share."""

    server: Server
    room: Room
    policy: Policy
    store: Store
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    poller: Poller
    loop: asyncio.AbstractEventLoop
    open: set["Connection"] = field(default_factory=set)
    refused: dict["Connection", None] = field(default_factory=dict)  # at the door, the oldest first; they are open too
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    reading: "Deadlines[Connection]" = field(init=False)
    closing: "Deadlines[Connection]" = field(init=False)
    leaving: "Deadlines[Connection]" = field(init=False)

    def __post_init__(self) -> None:
        self.reading = Deadlines(self.loop, self.server.read_timeout, Connection.read_expired)
        self.closing = Deadlines(self.loop, self.server.write_timeout, Connection.abort)
        self.leaving = Deadlines(self.loop, REFUSAL_DRAIN, Connection.leave_expired)

    def close(self) -> None:
        """Cut every connection, and watch nothing any more; idempotent."""
        for connection in tuple(self.open):
            connection.abort()
        for deadlines in (self.reading, self.closing, self.leaving):
            deadlines.close()
        self.poller.close()


class State(Enum):
    """Where a connection stands."""

    HEADER = auto()
    READING = auto()
    ANSWERING = auto()
    CLOSING = auto()
    CLOSED = auto()


class Connection:
    """One client, over a socket of its own that came by a listener with the section `listen`; `peer` is its address."""

    __slots__ = ("_answer", "_buffer", "_client", "_counted", "_deadlines", "_descriptor", "_desk", "_drained", "_ended",
                 "_header", "_heard", "_listen", "_lookup", "_peer", "_since", "_socket", "_state", "_taken", "_unsent",
                 "_watched")  # fmt: skip

    def __init__(self, desk: Desk, listen: Listen, socket: SocketType, peer: str) -> None:
        self._desk = desk
        self._listen = listen
        self._socket = socket
        self._descriptor = socket.fileno()
        self._watched = 0  # the events that the poller watches it for
        self._state = State.READING
        self._buffer = LineBuffer()
        self._header: HeaderBuffer | None = None
        self._peer = desk.sources.peer(peer)  # whom the socket leads to: the client, or a balancer
        self._client: Client | None = None
        self._counted = False  # whether the client's open connections have this one among them
        self._deadlines: Deadlines[Connection] | None = None  # which of them this is in
        self._lookup: Lookup | None = None
        self._answer: Answer | None = None
        self._unsent = b""
        self._drained = 0
        self._heard = 0  # how many of them there were when its time was last up
        self._ended = False  # whether the client has sent its FIN
        self._taken: float | None = None  # seconds from accept to answer
        self._since = perf_counter()  # the loop's own clock is too coarse: it stands still within a turn

    def begin(self) -> None:
        """Refuse at once a client that may not ask; of any other, read what has come."""
        desk = self._desk
        desk.open.add(self)
        desk.tally.open(1)
        if len(desk.open) - len(desk.refused) > desk.room.served:
            self._turn_away(self._refusal(Refusal(Limit.ALL_CONNECTIONS, CONNECTIONS_RETRY)))
        elif not self._listen.proxy:
            self._identify(self._peer)
        elif any(self._peer.address in network for network in self._listen.trusted):
            self._state = State.HEADER
            self._header = HeaderBuffer()
        else:
            self._turn_away(notice(Outcome.UNTRUSTED_PROXY, notices.UNTRUSTED_PROXY))
        if self._is_asking:
            self._read()
        if self._is_asking:
            self._give_time(desk.reading)

    # --- what the poller and the deadlines call ------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """Go on: write what is left of the answer, read what has come."""
        if self._unsent:
            self._write()
        if events & ~WRITABLE and self._state is not State.CLOSED:
            self._read()

    def read_expired(self) -> None:
        """Give up waiting for a query."""
        seconds = self._desk.server.read_timeout
        self._send(notice(Outcome.READ_TIMEOUT, notices.read_timeout(seconds)))

    def leave_expired(self) -> None:
        """Give up on a client refused at the door, unless it still sends: a reset now could overtake what it is told.

        It may have no more than the time of any other client, and only while there is room; the oldest still gives way.
        """
        desk = self._desk
        sends, self._heard = self._drained > self._heard, self._drained
        if sends and perf_counter() - self._since < desk.server.write_timeout and len(desk.refused) <= MOST_DRAINED:
            self._give_time(desk.leaving)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection now, and what it has not taken of its answer; idempotent."""
        if self._state is not State.CLOSED:
            self._abandon(Outcome.WRITE_TIMEOUT)
            self._close()

    # --- reading --------------------------------------------------------------------------------------------------------

    @property
    def _is_asking(self) -> bool:
        return self._state is State.READING or self._state is State.HEADER

    def _read(self) -> None:
        try:
            data = self._socket.recv(CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            self._watch()
        except OSError:  # a reset: nobody is there any more
            self._close()
        else:
            if data:
                self._take(data)
            else:
                self._take_end()
            if self._state is not State.CLOSED:
                self._watch()

    def _take(self, data: bytes) -> None:
        """Read the header and the query; throw away what comes after it."""
        if self._state is State.READING:
            line = self._buffer.feed(data)
            if line is not None:
                self._ask(line)
        elif self._state is State.HEADER:
            self._take_header(data)
        else:
            self._drained += len(data)

    def _take_end(self) -> None:
        """Take the end of input as the end of the line, or of the closing. The client may have closed its half only."""
        self._ended = True
        if self._state is State.CLOSING:
            if not self._unsent:
                self._close()
        elif self._header and self._header.pending and self._state is State.HEADER:
            self._send_bad_header(ProxyFault.INCOMPLETE)
        elif self._buffer.pending:
            self._ask(self._buffer.rest())
        else:
            self._send(notice(Outcome.NO_QUERY, notices.refusal(QueryFault.NO_NAME)))

    def _take_header(self, data: bytes) -> None:
        assert self._header  # noqa: S101 - the state says so
        try:
            header = self._header.feed(data)
        except ProxyError as error:
            self._send_bad_header(error.fault)
            return
        if header:
            self._state = State.READING
            self._identify(self._desk.sources.client(header.client) if header.client else self._peer)
            if header.rest:
                self._take(header.rest)

    def _send_bad_header(self, fault: ProxyFault) -> None:
        self._turn_away(notice(Outcome.BAD_PROXY_HEADER, notices.BAD_PROXY_HEADER, fault=fault.value))

    # --- asking ---------------------------------------------------------------------------------------------------------

    def _identify(self, client: Client) -> None:
        """Take a client for the one who asks, and refuse it at once if it may not."""
        self._client = client
        refusal = self._desk.sources.connect(client, time())
        if refusal:
            self._turn_away(self._refusal(refusal))
        else:
            self._counted = True

    def _ask(self, line: bytes) -> None:
        """Charge the client for a query, and begin its answer."""
        assert self._client  # noqa: S101 - a line is read from a client that was identified
        desk = self._desk
        refusal = desk.sources.charge(self._client, time())
        if refusal:
            self._send(self._refusal(refusal))
            return
        begun = begin_answer(line, self._client.exploded, desk.policy, datetime.now(UTC))
        if isinstance(begun, Answer):
            self._finish(begun)
            return
        self._state = State.ANSWERING
        self._give_time(None)  # the store has a deadline of its own
        self._lookup = begun
        desk.store.look_up(begun.query, self._found)

    def _found(self, found: Found) -> None:
        assert self._lookup  # noqa: S101 - it was asked for
        self._finish(finish_answer(self._lookup, found, self._desk.policy))

    def _finish(self, found: Answer) -> None:
        """Send an answer, if there is still somebody; what was our fault costs the client nothing."""
        if found.outcome in _OUR_FAULT and self._client:
            self._desk.sources.refund(self._client)
        if self._state is not State.CLOSED:
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
            next(iter(refused)).abort()
        self._send(found)

    # --- answering and closing ------------------------------------------------------------------------------------------

    def _send(self, found: Answer) -> None:
        """Write an answer and end our half; close at once only when the client has ended its own."""
        self._state = State.CLOSING
        self._answer = found
        self._taken = perf_counter() - self._since
        self._unsent = found.payload
        self._give_time(self._desk.leaving if self in self._desk.refused else self._desk.closing)
        self._write()

    def _write(self) -> None:
        """Write what the kernel takes of the answer. When it has it all, the FIN is next.

        MSG_MORE holds the last of it back for the FIN, which then takes no packet of its own: the client is woken once.
        """
        try:
            sent = self._socket.send(self._unsent, MSG_DONTWAIT | MSG_MORE)
            self._unsent = self._unsent[sent:]
            if not self._unsent and not self._ended:
                self._socket.shutdown(SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:  # a reset: nobody is there any more
            self._abandon(Outcome.CLIENT_GONE)
            self._close()
            return
        if self._ended and not self._unsent:
            self._close()  # nothing can be unread: the kernel delivers what it has, then the FIN
        else:
            self._watch()

    def _abandon(self, outcome: Outcome) -> None:
        """Have an answer that was not sent whole end so. What it shows counts as shown as soon as any of it was sent."""
        if self._answer and self._unsent:
            sent = self._answer.payload[: -len(self._unsent)]
            self._answer = replace(self._answer, outcome=outcome, payload=sent) if sent else Answer(outcome, b"")

    def _watch(self) -> None:
        """Have the socket watched for what the connection waits for now."""
        reads = not self._ended and self._state is not State.ANSWERING and self._drained <= DRAIN_LIMIT
        events = (READABLE if reads else 0) | (WRITABLE if self._unsent else 0)
        if events == self._watched:
            return
        self._watched = events
        if events:
            self._desk.poller.watch(self._descriptor, events, self)
        else:
            self._desk.poller.forget(self._descriptor)

    def _give_time(self, deadlines: "Deadlines[Connection] | None") -> None:
        """Be in these deadlines, and no longer in those before."""
        if self._deadlines:
            self._deadlines.remove(self)
        self._deadlines = deadlines
        if deadlines:
            deadlines.add(self)

    def _close(self) -> None:
        """Give up the socket, and say how the connection ended."""
        self._state = State.CLOSED
        desk = self._desk
        self._give_time(None)
        desk.poller.drop(self._descriptor)
        if self._counted and self._client:
            desk.sources.disconnect(self._client)  # first: a client that sees the end may come again at once
        self._socket.close()
        desk.open.discard(self)
        desk.refused.pop(self, None)
        desk.tally.open(-1)
        if not desk.open:
            desk.idle.set()
        self._record()

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
            client=desk.names.name(self._client or self._peer, datetime.now(UTC).date()),
            network=network.name if network else None,
            **found.facts(),
            ms=round(seconds * 1000, 3),
        )
