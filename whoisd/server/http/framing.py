"""HTTP/1.1 as bytes: what a client sent to requests, by httptools, and an answer to bytes. Knows no socket and no clock.

A request has no body here. What two servers could read apart (RFC 9112, 11.2) is refused and ends the connection, so that
nothing behind it is taken for a request.
"""

import re
import string
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpParserInvalidURLError, HttpParserUpgrade, HttpRequestParser

from whoisd.answers.web import Request, WebAnswer
from whoisd.errors import RequestFault

HEADERS_LIMIT: Final = 16 * 1024  # bytes of a request line and its headers

_VERSIONS: Final = ("1.1", "1.0")
_ABSOLUTE: Final = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*"
)  # what stands before the path in RFC 9112's absolute form
_OF_A_HOST: Final = (string.ascii_letters + string.digits + "._~%!$&'()*+,;=:[]-").encode()  # RFC 3986, 3.2.2, and a port


class Incoming:
    """A request as it came; `closes` is whether its answer is the last of the connection."""

    __slots__ = ("closes", "fault", "forwarded", "request")

    def __init__(self, request: Request, forwarded: Sequence[bytes], fault: RequestFault | None, *, closes: bool) -> None:
        self.request = request
        self.forwarded = forwarded  # the values of X-Forwarded-For
        self.fault = fault
        self.closes = closes


class RequestReader:
    """Reads the requests of one connection."""

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._read: list[Incoming] = []
        self._size = 0  # bytes of a request whose headers are not complete
        self._begun = False
        self._ended = False  # whether a request was read whose answer is the last
        self._url = b""
        self._headers: dict[bytes, list[bytes]] = {}
        self._head = 0  # bytes of the target and the headers

    @property
    def pending(self) -> bool:
        """Whether a request has begun whose headers are not complete."""
        return self._begun or self._size > 0

    def feed(self, data: bytes) -> tuple[list[Incoming], RequestFault | None]:
        """Take bytes; return the requests that are complete by them, and what is wrong with what came behind those."""
        self._size += len(data)
        fault = None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._ended = True
        except HttpParserError as error:
            is_target = isinstance(error, HttpParserInvalidURLError) and not data.isascii()
            fault = RequestFault.NOT_ASCII if is_target else RequestFault.NOT_HTTP
        if self._size > HEADERS_LIMIT:
            fault = fault or RequestFault.TOO_LARGE
        read, self._read = self._read, []
        return read, None if self._ended else fault

    # --- what httptools calls ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._begun = True
        self._url = b""
        self._headers = {}
        self._head = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self._url += url
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.setdefault(name.lower(), []).append(value)
        self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """Take the request: whatever more there is of it would be a body."""
        self._begun, self._size = False, 0
        if self._ended:
            return
        version = self._parser.get_http_version()
        fault = self._fault(version)
        keeps = version == "1.1" and self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._ended = fault is not None or not keeps
        method = self._parser.get_method().decode("ascii", "replace")
        forwarded = self._values(b"x-forwarded-for")
        self._read.append(Incoming(self._request(method), forwarded, fault, closes=self._ended))

    def _fault(self, version: str) -> RequestFault | None:
        if version not in _VERSIONS:
            return RequestFault.NOT_HTTP
        lengths = self._values(b"content-length")
        if b"transfer-encoding" in self._headers or (lengths and any(length.strip(b"0 ") for length in lengths)):
            return RequestFault.BODY
        if self._head > HEADERS_LIMIT:
            return RequestFault.TOO_LARGE
        hosts = self._values(b"host")
        if (len(hosts) != 1 and (hosts or version == "1.1")) or any(host.translate(None, _OF_A_HOST) for host in hosts):
            return RequestFault.HOST
        return None

    def _request(self, method: str) -> Request:
        """Return what an answer depends on."""
        behind = None if self._url.startswith(b"/") else _ABSOLUTE.match(self._url)
        target = self._url[behind.end() :] if behind else self._url
        path, _, query = target.partition(b"?")
        accept, languages = self._values(b"accept"), self._values(b"accept-language")
        return Request(
            method,
            path or b"/",
            query,
            b",".join(accept).decode("latin-1"),
            b",".join(languages).decode("latin-1"),
        )

    def _values(self, name: bytes) -> Sequence[bytes]:
        return self._headers.get(name, ())


# --- answers ---------------------------------------------------------------------------------------------------------


def to_bytes(web: WebAnswer, method: str, date: bytes, *, closes: bool) -> bytes:
    """Return an answer as it is sent; a HEAD has no body. `date` is the header's value."""
    body = web.answer.payload
    head = b"%sdate: %s\r\ncontent-length: %d\r\n%s" % (
        _status_line(web.status),
        date,
        len(body),
        _headers(web.media_type, web.headers),
    )
    end = b"connection: close\r\n\r\n" if closes else b"\r\n"
    return head + end if method == "HEAD" else head + end + body


def notice(status: HTTPStatus, text: str) -> bytes:
    """Return an answer to what is no request, which ends the connection."""
    body = text.encode()
    head = b"%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (_status_line(status), len(body)) + body


@lru_cache(maxsize=64)  # of a pure function: there are so many statuses
def _status_line(status: HTTPStatus) -> bytes:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()


@lru_cache(maxsize=1024)  # of a pure function: only the seconds to wait make one differ from another
def _headers(media_type: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in (("content-type", media_type), *headers)]
    return "".join(lines).encode("ascii")
