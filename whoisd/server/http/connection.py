"""One HTTP connection: uvicorn's protocol over httptools, held to our limits.

uvicorn reads requests, runs the application and writes answers. What it leaves open is here: who the client is (its own
address, or what a trusted balancer says), how many may connect, how long and how large a request may be, and that no answer
is lost when a connection is closed while input is unread (the kernel resets such a one, and a reset can overtake an answer).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from time import perf_counter, time
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Protocol
from whoisd.config import HttpListen
from whoisd.errors import Outcome, ProxyError, RequestFault
from whoisd.limits.sources import CONNECTIONS_RETRY, Client, Limit, Refusal, Sources
from whoisd.server.http.context import HttpContext
from whoisd.server.http.forwarded import client_of
from whoisd.server.proxy import HeaderBuffer

HEADERS_LIMIT: Final = 16 * 1024  # bytes of a request line and its headers
MOST_PIPELINED: Final = 32  # requests that wait for the answer to one before them
_VERSIONS: Final = ("1.1", "1.0")
DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away, once the last answer is sent


class Transport(asyncio.Transport):
    """A connection's transport, which closes when the client does, or a moment after its last answer.

    Until then what comes is read and thrown away. TLS has no half-close: there the answer's own length tells its end.
    """

    def __init__(self, inner: asyncio.Transport, connection: "HttpConnection") -> None:
        super().__init__()
        self._inner = inner
        self._connection = connection
        self._leaving = False

    def close(self) -> None:
        """Send no more, and wait for the client to close."""
        if self._leaving:
            return
        self._leaving = True
        if self._inner.is_closing():
            return
        self._connection.leave()
        self._inner.resume_reading()
        if self._inner.can_write_eof():
            self._inner.write_eof()

    def abort(self) -> None:
        """Cut the connection now."""
        self._leaving = True
        self._inner.abort()

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._leaving or self._inner.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, unless nothing more is sent."""
        if not self._leaving:
            self._inner.write(data)

    def get_extra_info(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - the base class's signature
        """Return what the transport knows."""
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self._leaving and not self._inner.is_closing():
            self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._inner.is_closing():
            self._inner.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the kernel has not taken yet."""
        return 0 if self._inner.is_closing() else self._inner.get_write_buffer_size()


class Asker:
    """Who asks on a connection, and why they may not."""

    def __init__(self, sources: Sources, listen: HttpListen, peer: str) -> None:
        self._sources = sources
        self._listen = listen
        self._counted = False
        self.peer = sources.peer(peer)
        self.client = self.peer
        self.refused: Refusal | None = None

    def identify(self, client: Client) -> None:
        """Take a client for the one who asks; one that may not is told so in answer to its request."""
        self.client = client
        self.refused = self._sources.connect(client, time())
        self._counted = self.refused is None

    def leave(self) -> None:
        """Count the connection out."""
        if self._counted:
            self._sources.disconnect(self.client)

    def of_request(self, headers: Sequence[tuple[bytes, bytes]]) -> tuple[Client, Refusal | None]:
        """Return who makes a request, and why it may not; `done_with` is for when it is answered."""
        if self.refused or self._listen.client != "x-forwarded-for":
            return self.client, self.refused
        values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        client = self._sources.client(client_of(values, self.peer.address, self._listen.trusted))
        return client, self._sources.connect(client, time())

    def done_with(self, client: Client, refused: Refusal | None) -> None:
        """Count a request out that a balancer passed on."""
        if self._listen.client == "x-forwarded-for" and not refused and not self.refused:
            self._sources.disconnect(client)


class HttpConnection(HttpToolsProtocol):
    """One client's connection, which came by a listener with the section `listen`."""

    def __init__(self, context: HttpContext, config: Config, state: ServerState, listen: HttpListen, peer: str) -> None:
        super().__init__(config, state, {}, context.loop)
        self._context = context
        self._listen = listen
        self.asker = Asker(context.sources, listen, peer)
        self._header: HeaderBuffer | None = None
        self._size = 0  # bytes of the request whose headers are not complete
        self._dropped = 0
        self._requests = 0
        self._answers = 0
        self._leaving = False
        self._deaf = False  # whether what comes is thrown away, while an answer is under way
        self._lost = False
        self._since = perf_counter()
        self._inner: asyncio.Transport | None = None

    # --- what the application asks --------------------------------------------------------------------------------

    def answered(self) -> None:
        """Note that a request was answered, whether or not anybody was there to take it."""
        self._answers += not self._lost

    @property
    def unsent(self) -> int:
        """How many bytes of answers the client has not taken."""
        return 0 if self._lost else self.transport.get_write_buffer_size()

    @property
    def gone_unanswered(self) -> bool:
        """Whether the client was gone before it had an answer."""
        return self._lost and not self._answers

    # --- the connection's life --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin: refuse at once who may not ask."""
        context = self._context
        self._inner = transport
        super().connection_made(Transport(transport, self))
        context.open.add(self)
        context.tally.open(1)
        context.reading.add(self)
        if len(context.open) > min(context.room.served, context.settings.http.max_connections):
            self.asker.refused = Refusal(Limit.ALL_CONNECTIONS, CONNECTIONS_RETRY)
        elif self._listen.client == "address":
            self.asker.identify(self.asker.peer)
        elif not any(self.asker.peer.address in network for network in self._listen.trusted):
            self._turn_away(HTTPStatus.FORBIDDEN, notices.UNTRUSTED_PROXY, Answer(Outcome.UNTRUSTED_PROXY, b""))
        elif self._listen.client == "proxy":
            self._header = HeaderBuffer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: say of a connection without a request that there was none."""
        context = self._context
        self._lost = True
        super().connection_lost(exc)
        context.reading.remove(self)
        context.lingering.remove(self)
        self._unset_keepalive_if_required()
        self.asker.leave()
        context.open.discard(self)
        context.tally.open(-1)
        if not context.open:
            context.idle.set()
        if not self._requests:
            self._record(Answer(Outcome.CLIENT_GONE if self._size else Outcome.NO_QUERY, b""))

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns nothing, which is False
        """Go on answering a client that has closed its half, and close after that."""
        if self._leaving or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        return True

    def leave(self) -> None:
        """Give the client a moment to close; what it sends is thrown away."""
        self._leaving = True
        self._context.reading.remove(self)
        self._context.lingering.add(self)

    def abort(self) -> None:
        """Cut the connection now; idempotent."""
        if self._inner:
            self._inner.abort()

    def read_expired(self) -> None:
        """Give up waiting for a request."""
        seconds = self._context.settings.server.read_timeout
        if self._size or self._header:
            text = notices.read_timeout(seconds)
            self._turn_away(HTTPStatus.REQUEST_TIMEOUT, text, Answer(Outcome.READ_TIMEOUT, b""))
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Close when nothing is under way; what is is answered, and its client told that this was the last."""
        if not self._size:
            super().shutdown()

    # --- reading ------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read a PROXY header and requests, as far as they are within the limits."""
        if self._leaving or self._deaf:
            self._dropped += len(data)
            if self._dropped > DRAIN_LIMIT:
                self.abort()
            return
        if self._header:
            rest = self._take_header(data)
            if not rest:
                return
            data = rest
        if not self._size:
            self._context.reading.remove(self)
            self._context.reading.add(self)
        self._size += len(data)
        super().data_received(data)
        if self._leaving or self._deaf or self._lost:
            return
        if self._size > HEADERS_LIMIT:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse_input(status, RequestFault.TOO_LARGE)
        elif len(self.pipeline) > MOST_PIPELINED:
            self._record(Answer(Outcome.BAD_QUERY, b"", fault=RequestFault.TOO_LARGE.value))
            self.abort()

    def on_message_begin(self) -> None:
        """Let the application know the connection."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self

    def on_headers_complete(self) -> None:
        """Pass a request on; one with a body is refused before that comes."""
        self._requests += 1
        self._size = 0
        self._context.reading.remove(self)
        if self.parser.get_http_version() not in _VERSIONS:
            self.scope["state"] |= {"fault": RequestFault.NOT_HTTP, "closes": True}
        elif any(_announces_body(*header) for header in self.headers):
            self.scope["state"] |= {"fault": RequestFault.BODY, "closes": True}
        elif self.parser.should_upgrade() or self.asker.refused:
            self.scope["state"]["closes"] = True
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words are ours
        """Refuse what is no HTTP."""
        self._refuse_input(HTTPStatus.BAD_REQUEST, RequestFault.NOT_HTTP)

    def _take_header(self, data: bytes) -> bytes:
        """Read the PROXY header of a balancer; return what stands behind it."""
        assert self._header  # noqa: S101 - the caller has seen it
        try:
            header = self._header.feed(data)
        except ProxyError as error:
            answer = Answer(Outcome.BAD_PROXY_HEADER, b"", fault=error.fault.value)
            self._turn_away(HTTPStatus.BAD_REQUEST, notices.BAD_PROXY_HEADER, answer)
            return b""
        if not header:
            return b""
        self._header = None
        self.asker.identify(self._context.sources.client(header.client) if header.client else self.asker.peer)
        return header.rest

    # --- refusing ----------------------------------------------------------------------------------------------------

    def _refuse_input(self, status: HTTPStatus, what: RequestFault) -> None:
        """Refuse what is no request, which is a query all the same."""
        self._context.sources.charge(self.asker.client, time())
        text = f"{notices.REQUEST_FAULTS[what]}\n"
        self._turn_away(status, text, Answer(Outcome.BAD_QUERY, b"", fault=what.value))

    def _turn_away(self, status: HTTPStatus, text: str, answer: Answer) -> None:
        """Send an answer that is not to a request, and close; where one is under way, close after that one."""
        self._requests += 1
        self._record(answer)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self._deaf = True
            return
        body = text.encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _record(self, answer: Answer) -> None:
        self._context.record(self.asker.client, replace(answer, protocol=Protocol.HTTP), self._since)


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ") != b"")
