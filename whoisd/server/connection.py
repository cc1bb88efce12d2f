"""One client, from accept to close: read one line, ask for its answer, and see it delivered.

Knows deadlines and the order of closing; what an answer says is `answer`'s business, who may ask is `sources`'s, and what is
kept of all connections is `context`'s. Each connection ends in one `Outcome`, one log line and one count.

    Header --a PROXY header--> Reading --a line--> Answering --an answer--> Closing --the client's end--> Closed
       `--refused or too late-----`-----------------------------------------^  `--or the deadline----------^

Header is for listeners behind a balancer alone. Closing is `delivery`'s.

A connection reads and writes its socket itself, first at once and then when `poller` says that it can (most queries have
come by the time that they are accepted, and most answers fit into the kernel's buffer). Every call says MSG_DONTWAIT: it
costs nothing, where making the socket non-blocking is one more system call.
"""

from datetime import UTC, datetime
from functools import partial
from socket import SocketType
from time import time
from typing import Final

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Lookup, begin_answer, finish_answer, notice
from whoisd.answers.model import Found
from whoisd.answers.wire import LineBuffer
from whoisd.config import Listen
from whoisd.errors import Outcome, ProxyError, ProxyFault, QueryFault
from whoisd.limits.sources import Client, Refusal
from whoisd.server.context import WorkerContext
from whoisd.server.delivery import NOW, Delivery
from whoisd.server.poller import WRITABLE
from whoisd.server.proxy import HeaderBuffer
from whoisd.server.states import ANSWERING, CLOSED, Closing, Header, Reading

CHUNK: Final = 2048  # bytes read at once: more than a query has
DRAINED: Final = 65536  # the same of what is thrown away

_OUR_FAULT: Final = {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


class Connection(Delivery):
    """One client, over a socket of its own that came by a listener with the section `listen`; `peer` is its address."""

    __slots__ = ("_listen",)

    def __init__(self, context: WorkerContext, listen: Listen, socket: SocketType, peer: str) -> None:
        super().__init__(context, socket, context.sources.peer(peer))  # the client, until a balancer names another
        self._listen = listen

    def begin(self) -> None:
        """Refuse at once a client that may not ask; of any other, read what has come."""
        refusal = self._context.enter(self)
        if refusal:
            self._turn_away(refusal)
        elif not self._listen.proxy:
            self._admit(self._client)
        elif any(self._client.address in network for network in self._listen.trusted):
            self._state = Header(HeaderBuffer())
        else:
            self._refuse(notice(Outcome.UNTRUSTED_PROXY, notices.UNTRUSTED_PROXY))
        if self._is_asking:
            self._read()
        if self._is_asking:
            self._give_time(self._context.reading)
            self._note_silence()

    # --- what the poller and the deadlines call ------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """Go on: write what is left of the answer, read what has come."""
        state = self._state
        if isinstance(state, Closing) and state.unsent:
            self._write(state)
        if events & ~WRITABLE and self._state is not CLOSED:
            self._read()

    def read_expired(self) -> None:
        """Give up waiting for a query, unless it came in time and the worker, held up, has yet to read it."""
        self._read()
        if self._is_asking:
            seconds = self._context.settings.server.read_timeout
            self._send(notice(Outcome.READ_TIMEOUT, notices.read_timeout(seconds)))

    def give_way(self, refusal: Refusal) -> bool:
        """Refuse the client for one who asks, if it has sent nothing yet; return whether that is so."""
        if not isinstance(self._state, Reading) or self._state.buffer.pending:
            return False
        self._turn_away(refusal)
        return True

    # --- reading --------------------------------------------------------------------------------------------------------

    @property
    def _is_asking(self) -> bool:
        return isinstance(self._state, (Reading, Header))

    def _read(self) -> None:
        try:
            data = self._socket.recv(DRAINED if isinstance(self._state, Closing) else CHUNK, NOW)
        except BlockingIOError:
            self._watch()
        except OSError:  # a reset: nobody is there any more
            self._close()
        else:
            if data:
                self._take(data)
            else:
                self._take_end()
            if self._state is not CLOSED:
                self._watch()

    def _take(self, data: bytes) -> None:
        """Read the header and the query; throw away what comes after it."""
        state = self._state
        if isinstance(state, Reading):
            line = state.buffer.feed(data)
            if line is not None:
                self._ask(line)
        elif isinstance(state, Header):
            self._take_header(state.buffer, data)
        elif isinstance(state, Closing):
            state.drained += len(data)

    def _take_end(self) -> None:
        """Take the end of input as the end of the line, or of the closing. The client may have closed its half only."""
        self._ended = True
        state = self._state
        if isinstance(state, Closing):
            if not state.unsent:
                self._close()
        elif isinstance(state, Header) and state.buffer.pending:
            self._refuse_header(ProxyFault.INCOMPLETE)
        elif isinstance(state, Reading) and state.buffer.pending:
            self._ask(state.buffer.rest())
        else:
            self._send(notice(Outcome.NO_QUERY, notices.refusal(QueryFault.NO_NAME)))

    def _take_header(self, buffer: HeaderBuffer, data: bytes) -> None:
        try:
            header = buffer.feed(data)
        except ProxyError as error:
            self._refuse_header(error.fault)
            return
        if header:
            self._state = Reading(LineBuffer())
            self._admit(self._context.sources.client(header.client) if header.client else self._client)
            if header.rest:
                self._take(header.rest)
            else:
                self._note_silence()

    def _note_silence(self) -> None:
        """Tell the context of a client that was let in and has sent nothing yet."""
        if isinstance(self._state, Reading) and not self._state.buffer.pending:
            self._context.wait_for(self, self._client)

    # --- asking ---------------------------------------------------------------------------------------------------------

    def _admit(self, client: Client) -> None:
        """Take a client for the one who asks, and refuse it at once if it may not."""
        self._client = client
        refusal = self._context.admit(client)
        if refusal:
            self._turn_away(refusal)
        else:
            self._has_place = True

    def _ask(self, line: bytes) -> None:
        """Charge the client for a query, and begin its answer."""
        context, client = self._context, self._client
        refusal = context.sources.charge(client, time())
        if refusal:
            self._send(context.refusal(refusal, client))
            return
        begun = begin_answer(line, client.exploded, context.policy, datetime.now(UTC))
        if isinstance(begun, Answer):
            self._finish(begun)
            return
        self._state = ANSWERING
        self._give_time(None)  # the store has a deadline of its own
        context.store.look_up(begun.query, partial(self._found, begun))

    def _found(self, lookup: Lookup, found: Found) -> None:
        self._finish(finish_answer(lookup, found, self._context.policy))

    def _finish(self, answer: Answer) -> None:
        """Send an answer, if there is still somebody; what was our fault costs the client nothing."""
        if answer.outcome in _OUR_FAULT:
            self._context.sources.refund(self._client)
            self._context.doubt.set()
        if self._state is not CLOSED:
            self._send(answer)

    # --- refusing at the door -------------------------------------------------------------------------------------------

    def _turn_away(self, refusal: Refusal) -> None:
        self._refuse(self._context.refusal(refusal, self._client))

    def _refuse_header(self, fault: ProxyFault) -> None:
        self._refuse(notice(Outcome.BAD_PROXY_HEADER, notices.BAD_PROXY_HEADER, fault=fault.value))

    def _refuse(self, answer: Answer) -> None:
        """Refuse a client before it asks."""
        self._give_back()
        self._context.refuse(self)
        self._send(answer)
