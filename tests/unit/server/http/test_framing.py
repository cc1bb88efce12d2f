"""HTTP/1.1 as bytes: which requests are in what a client sends, what is refused, and how an answer is written."""

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoisd.answers.answer import Answer
from whoisd.answers.web import Request, WebAnswer
from whoisd.errors import Outcome, RequestFault
from whoisd.server.http.framing import HEADERS_LIMIT, Incoming, RequestReader, notice, to_bytes

GET = b"GET /domain/punktum.dk HTTP/1.1\r\nHost: whois.example\r\n\r\n"


def read(*parts: bytes) -> tuple[list[Incoming], RequestFault | None]:
    """The requests in what comes in these parts, and the first fault that is found."""
    reader, found = RequestReader(), list[Incoming]()
    for part in parts:
        requests, fault = reader.feed(part)
        found += requests
        if fault:
            return found, fault
    return found, None


def one(data: bytes) -> Incoming:
    """The one request in these bytes."""
    (incoming,), fault = read(data)
    assert fault is None
    return incoming


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/domain/punktum.dk", b"/domain/punktum.dk", b""),
        (b"/?name=punktum.dk", b"/", b"name=punktum.dk"),
        (b"/?a?b", b"/", b"a?b"),
        (b"/rdap/domain/%c3%a6.dk", b"/rdap/domain/%c3%a6.dk", b""),
        (b"http://rdap.example/domain/punktum.dk?x", b"/domain/punktum.dk", b"x"),
        (b"HTTPS://rdap.example:443", b"/", b""),
        (b"http://rdap.example?name=a.dk", b"/", b"name=a.dk"),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes) -> None:
    """A target is a path and a query, also in absolute form."""
    assert one(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").request == Request("GET", path, query)


@pytest.mark.parametrize("where", ["/rdap/domain/blåbærgrød.dk", "/?name=blåbærgrød.dk", "/å"])
def test_letters_as_they_are(where: str) -> None:
    """A target is ASCII (RFC 3986, 2.1): what is not is refused, with what to write; a header may be."""
    assert read(f"GET {where} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == ([], RequestFault.NOT_ASCII)
    assert one("GET / HTTP/1.1\r\nHost: x\r\nX: blåbærgrød\r\n\r\n".encode()).fault is None
    assert read("GET / HTTP/1.1\r\nHøst: x\r\n\r\n".encode()) == ([], RequestFault.NOT_HTTP)


@given(st.lists(st.integers(0, len(GET) * 3), max_size=8))
def test_however_it_comes(cuts: list[int]) -> None:
    """Requests are the same in whatever parts they come, and none is lost."""
    data, edges = GET * 3, [0, *sorted(cuts), len(GET) * 3]
    found, fault = read(*(data[begin:end] for begin, end in pairwise(edges)))
    assert [it.request for it in found] == [Request("GET", b"/domain/punktum.dk")] * 3
    assert (fault, [it.closes for it in found]) == (None, [False] * 3)


@pytest.mark.parametrize(
    ("lines", "version", "fault"),
    [
        ([], b"1.1", RequestFault.HOST),
        ([b"Host: a.example", b"Host: a.example"], b"1.1", RequestFault.HOST),
        ([b"Host: a.example", b"HOST: b.example"], b"1.0", RequestFault.HOST),
        ([b"Host: a.example, b.example"], b"1.1", RequestFault.HOST),
        ([b"Host: a b"], b"1.1", RequestFault.HOST),
        ([b"Host: a/b"], b"1.1", RequestFault.HOST),
        ([b"Host: a@b"], b"1.1", RequestFault.HOST),
        ([b"Host:"], b"1.1", None),
        ([b"Host: [2001:db8::1]:8043"], b"1.1", None),
        ([b"hOsT: xn--4cabco7dk5a.dk"], b"1.1", None),
        ([], b"1.0", None),
        ([b"Host: x"], b"1.0", None),
        ([b"Host: x"], b"2.0", RequestFault.NOT_HTTP),
        ([b"Host: x", b"Content-Length: 0"], b"1.1", None),
        ([b"Host: x", b"Content-Length: 1"], b"1.1", RequestFault.BODY),
        ([b"Host: x", b"Transfer-Encoding: chunked"], b"1.1", RequestFault.BODY),
        ([b"Host: x", b"X: " + b"x" * (HEADERS_LIMIT - 100)], b"1.1", None),
        ([b"Host: x", b"X: " + b"x" * HEADERS_LIMIT], b"1.1", RequestFault.TOO_LARGE),
    ],
)
def test_faults(lines: list[bytes], version: bytes, fault: RequestFault | None) -> None:
    """A request has one Host (RFC 9112, 3.2), no body, and no more than so many bytes; what has not is the last."""
    data = b"\r\n".join([b"GET / HTTP/" + version, *lines, b"\r\n"])
    found, what = read(data)
    if not found:  # what httptools itself refuses
        assert what is fault
        return
    assert (found[0].fault, what) == (fault, None)
    assert found[0].closes is (fault is not None or version == b"1.0")


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", True),
        (b"CONNECT x:43 HTTP/1.1\r\nHost: x\r\n", True),
        (b"GET / HTTP/1.0\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
@pytest.mark.parametrize("behind", [b"", GET, b"\x16\x03\x01 no HTTP at all\r\n\r\n"])
def test_the_last(head: bytes, closes: bool, behind: bytes) -> None:
    """What stands behind a request that is the last is nobody's; behind any other it is the next, or a fault."""
    found, fault = read(head + b"\r\n" + behind)
    assert found[0].closes is closes
    is_request = behind == GET and not closes
    assert len(found) == 1 + is_request
    assert fault is (RequestFault.NOT_HTTP if behind and not is_request and not closes else None)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nX: " + b"x" * HEADERS_LIMIT, b"GET /" + b"x" * HEADERS_LIMIT])
def test_unfinished_and_large(data: bytes) -> None:
    """A request that is too large is refused before it is whole, in however many parts it comes."""
    assert read(data) == ([], RequestFault.TOO_LARGE)
    assert read(*(data[at : at + 999] for at in range(0, len(data), 999))) == ([], RequestFault.TOO_LARGE)


def test_pending() -> None:
    """A request is pending from its first byte until its headers are complete."""
    reader = RequestReader()
    for data, pending in (
        (b"", False),
        (b"\r\n", True),
        (b"G", True),
        (GET[1:], False),
        (GET[:20], True),
        (GET[20:], False),
    ):
        reader.feed(data)
        assert reader.pending is pending, data


def test_forwarded_and_accepted() -> None:
    """Headers that come several times are one list (RFC 9110, 5.3), whatever their case; others are nobody's business."""
    data = (
        b"GET / HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\naccept: c/d\r\nACCEPT-LANGUAGE: da\r\nX-Forwarded-For: 192.0.2.1\r\n"
    )
    incoming = one(data + b"x-forwarded-for: 192.0.2.2, 192.0.2.3\r\nCookie: x\r\n\r\n")
    assert incoming.request == Request("GET", b"/", b"", "a/b,c/d", "da")
    assert [*incoming.forwarded] == [b"192.0.2.1", b"192.0.2.2, 192.0.2.3"]


@pytest.mark.parametrize(("method", "body"), [("GET", b"[1]"), ("HEAD", b"")])
@pytest.mark.parametrize(("closes", "end"), [(False, b""), (True, b"connection: close\r\n")])
def test_to_bytes(method: str, body: bytes, closes: bool, end: bytes) -> None:
    """An answer tells its length, also that of the body that a HEAD is not sent, and whether it is the last."""
    web = WebAnswer(Answer(Outcome.FOUND, b"[1]"), HTTPStatus.NOT_FOUND, "application/json", (("retry-after", "5"),))
    head = (
        b"HTTP/1.1 404 Not Found\r\ndate: NOW\r\ncontent-length: 3\r\ncontent-type: application/json\r\nretry-after: 5\r\n"
    )
    assert to_bytes(web, method, b"NOW", closes=closes) == head + end + b"\r\n" + body


def test_notice() -> None:
    """A refusal of what is no request is text, and the last."""
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n"
    assert notice(HTTPStatus.BAD_REQUEST, "æ\n") == head + b"connection: close\r\n\r\n" + "æ\n".encode()
