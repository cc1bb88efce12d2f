"""One HTTP connection: who may ask on it, how long and how large a request may be, and how it ends.

No answer is lost when it is closed while input is unread: the kernel resets such a one, and a reset can overtake an answer.
"""

import asyncio
from dataclasses import replace
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, Final

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Protocol
from whoisd.config import HttpListen
from whoisd.errors import Outcome, ProxyError, RequestFault
from whoisd.limits.sources import CONNECTIONS_RETRY, Limit, Refusal
from whoisd.server.http.asker import Asker
from whoisd.server.http.context import HttpContext
from whoisd.server.http.exchanges import Exchanges
from whoisd.server.http.framing import RequestReader, notice

DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away, once the last answer is sent

_TOO_LARGE: Final = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class HttpConnection(asyncio.Protocol):
    """One client's connection, which came by a listener with the section `listen`."""

    def __init__(self, context: HttpContext, listen: HttpListen, peer: str) -> None:
        self._context = context
        self._asker = Asker(context.sources, listen, peer)
        self._exchanges = Exchanges(context, self._asker, self)
        self._reader = RequestReader()
        self._transport: Any = None  # asyncio's, or TLS's upon it
        self._since = perf_counter()
        self._requests = 0
        self._dropped = 0
        self._deaf = False  # whether what comes is thrown away: behind the last request
        self._doubted = False  # whether the time to read is up
        self._paused = False
        self._leaving = False
        self._lost = False

    # --- what its exchanges ask -------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether an answer can be sent."""
        return not self._lost and not self._leaving and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send an answer, for which the client has its time."""
        self._transport.write(data)
        if self._transport.get_write_buffer_size():
            self._context.writing.remove(self)
            self._context.writing.add(self)
        else:
            self._exchanges.sent()

    def keep(self) -> None:
        """Wait for the next request."""
        if not self._reader.pending:
            self._context.keeping.add(self)

    def pause(self, *, is_paused: bool) -> None:
        """Read no more for now, or again; each change of mind is a system call."""
        if is_paused is self._paused or self._lost or self._transport.is_closing():
            return
        self._paused = is_paused
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def leave(self) -> None:
        """Send no more, and give the client a moment to close; what it sends is thrown away.

        TLS has no half-close: there the answer's own length tells its end.
        """
        if self._leaving:
            return
        self._leaving = True
        self._exchanges.drop()
        self._context.stop_waiting(self)
        if self._transport.is_closing():
            return
        self._context.lingering.add(self)
        self.pause(is_paused=False)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # --- the connection's life --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: note who may not ask, and turn away whom we do not trust."""
        context = self._context
        self._transport = transport
        self._transport.set_write_buffer_limits(0)  # so that we are told when the kernel has taken all
        context.open.add(self)
        context.tally.open(1)
        context.reading.add(self)
        if len(context.open) > min(context.room.served, context.settings.http.max_connections):
            self._asker.refused = Refusal(Limit.ALL_CONNECTIONS, CONNECTIONS_RETRY)
        elif not self._asker.begin():
            self._turn_away(HTTPStatus.FORBIDDEN, notices.UNTRUSTED_PROXY, Answer(Outcome.UNTRUSTED_PROXY, b""))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """End: say of a connection without a request that there was none."""
        self._lost = True
        self._exchanges.drop()
        self._exchanges.sent()
        self._context.forget(self)
        self._asker.leave()
        if not self._requests:
            self._record(Answer(Outcome.CLIENT_GONE if self._reader.pending else Outcome.NO_QUERY, b""))

    def eof_received(self) -> bool:
        """Go on answering a client that has closed its half, and close after that."""
        if self._leaving or not self._exchanges.is_answering:
            return False
        self._end_after_these()
        return True

    def resume_writing(self) -> None:
        """Note that the kernel has taken all that was written."""
        self._context.writing.remove(self)
        self._exchanges.sent()

    def shutdown(self) -> None:
        """Close when nothing is under way; what is is answered, and its client told that this was the last."""
        if self._exchanges.is_answering:
            self._end_after_these()
        elif not self._reader.pending:
            self.leave()

    def abort(self) -> None:
        """Cut the connection now; idempotent."""
        if self._transport:
            self._transport.abort()

    def _end_after_these(self) -> None:
        self._deaf = True
        self._exchanges.end_after_these()

    def read_expired(self) -> None:
        """Look once more whether a request has come: we may have been held up, and it lies there unread."""
        self._doubted = True
        self._context.doubted.add(self)

    def doubt_expired(self) -> None:
        """Give up waiting for a request."""
        if self._reader.pending or not self._asker.is_known:
            text = notices.read_timeout(self._context.settings.server.read_timeout)
            self._turn_away(HTTPStatus.REQUEST_TIMEOUT, text, Answer(Outcome.READ_TIMEOUT, b""))
        else:
            self.leave()

    def write_expired(self) -> None:
        """Cut off a client that does not take its answer."""
        self._exchanges.sent(Outcome.WRITE_TIMEOUT)
        self.abort()

    # --- reading ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read a PROXY header and requests, as far as they are within the limits, and answer them."""
        if self._leaving or self._deaf:
            self._dropped += len(data)
            if self._dropped > DRAIN_LIMIT:
                self.abort()
            return
        if not self._asker.is_known:
            data = self._take_header(data)
            if not data:
                return
        is_new = not self._reader.pending
        requests, what = self._reader.feed(data)
        self._requests += len(requests)
        self._deaf = bool(requests) and requests[-1].closes
        if not self._exchanges.add(requests):
            self._deaf, what = True, None
        if requests or is_new:
            self._set_time(is_whole=bool(requests))
        if what:
            self._refuse_input(what)
        self._exchanges.go_on()

    def _set_time(self, *, is_whole: bool) -> None:
        """Give what is pending its time. When that is up only a request that was whole by then brings it back."""
        if is_whole or not self._doubted:
            self._doubted = False
            self._context.stop_waiting(self)
            if self._reader.pending:
                self._context.reading.add(self)

    def _take_header(self, data: bytes) -> bytes:
        """Return what stands behind the PROXY header of a balancer, or refuse what is none."""
        try:
            return self._asker.take_header(data)
        except ProxyError as error:
            answer = Answer(Outcome.BAD_PROXY_HEADER, b"", fault=error.fault.value)
            self._turn_away(HTTPStatus.BAD_REQUEST, notices.BAD_PROXY_HEADER, answer)
            return b""

    def _refuse_input(self, what: RequestFault) -> None:
        """Refuse what is no request, which is a query all the same."""
        self._context.sources.charge(self._asker.client, time())
        status = _TOO_LARGE if what is RequestFault.TOO_LARGE else HTTPStatus.BAD_REQUEST
        self._turn_away(status, f"{notices.REQUEST_FAULTS[what]}\n", Answer(Outcome.BAD_QUERY, b"", fault=what.value))

    def _turn_away(self, status: HTTPStatus, text: str, answer: Answer) -> None:
        """Send an answer that is not to a request, and close; where one is under way, close after that one."""
        self._requests += 1
        self._record(answer)
        if self._exchanges.is_answering:
            self._end_after_these()
            return
        self._transport.write(notice(status, text))
        self.leave()

    def _record(self, answer: Answer) -> None:
        seconds = perf_counter() - self._since
        self._context.books.record(self._asker.client, replace(answer, protocol=Protocol.HTTP), seconds)
