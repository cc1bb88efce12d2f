"""The probe of RDAP, against servers that answer, refuse, break off and speak something else: its verdict and its line."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from peers import Behaviour, Peer, answers, drips, floods
from support import PATIENCE, Database, WebService, make_certificate

from whoisd.commands.probe import ANSWER_LIMIT, Result, Status, probe

FOUND: Final[dict[str, Any]] = {
    "rdapConformance": ["rdap_level_0"],
    "objectClassName": "domain",
    "ldhName": "EKSEMPEL.dk",
    "entities": [{"vcardArray": ["vcard", [["fn", {}, "text", "Søren"]]]}],
}
ERROR: Final = {"rdapConformance": ["rdap_level_0"], "errorCode": 404, "title": "Not Found"}


def http(status: int, body: object, media_type: str = "application/rdap+json", *, head: str = "") -> bytes:
    """An answer over HTTP, with its length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = f"HTTP/1.1 {status} Some Words\r\nContent-Type: {media_type}\r\n{head}Content-Length: {len(data)}\r\n\r\n"
    return lines.encode() + data


def judge(behave: Behaviour | bytes, name: str = "eksempel.dk", **limits: Any) -> tuple[Status, str]:
    """The verdict on a server that answers so; the text without its address and its milliseconds."""
    with Peer(behave if callable(behave) else answers(behave)) as peer:
        url = f"http://{peer.target}"
        result = probe(url, name, **({"warning": None, "critical": None, "timeout": PATIENCE} | limits))
    assert result.line().startswith(f"RDAP {result.status.name} - ")
    return result.status, result.text.replace(url, "URL").partition(" in ")[0]


# --- answers ---------------------------------------------------------------------------------------------------------


OK: Final = (Status.OK, "eksempel.dk answered")
ELSE: Final = "the answer to eksempel.dk is about something else"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (http(200, FOUND), OK),
        (http(200, FOUND, "Application/RDAP+JSON; charset=utf-8"), OK),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\nContent-Length: 7\r\n\r\n" + http(200, FOUND), OK),
        (http(404, ERROR), (Status.CRITICAL, "the name is not there: eksempel.dk")),
        (http(400, ERROR), (Status.UNKNOWN, "the server refuses the query: eksempel.dk")),
        (http(500, ERROR), (Status.CRITICAL, "the answer to eksempel.dk has HTTP status 500")),
        (http(302, FOUND), (Status.CRITICAL, "the answer to eksempel.dk has HTTP status 302")),
        (http(503, b""), (Status.CRITICAL, "the server answers with a temporary failure: it cannot reach its data")),
        (http(200, FOUND, "text/html"), (Status.CRITICAL, "the answer to eksempel.dk is no RDAP: HTTP status 200")),
        (http(404, b"<p>Not Found"), (Status.CRITICAL, "the answer to eksempel.dk is no RDAP: HTTP status 404")),
        (http(200, [FOUND]), (Status.CRITICAL, "the answer to eksempel.dk is no RDAP: HTTP status 200")),
        (http(200, b"["), (Status.CRITICAL, "the answer to eksempel.dk is no RDAP: HTTP status 200")),
        (http(200, b"[" * 100_000), (Status.CRITICAL, "the answer to eksempel.dk is no RDAP: HTTP status 200")),
        (http(200, {}), (Status.CRITICAL, ELSE)),
        (http(200, ERROR), (Status.CRITICAL, ELSE)),
        (http(200, FOUND | {"ldhName": "punktum.dk"}), (Status.CRITICAL, ELSE)),
        (http(200, FOUND | {"ldhName": 1}), (Status.CRITICAL, ELSE)),
        (http(200, FOUND | {"objectClassName": "nameserver"}), (Status.CRITICAL, ELSE)),
        (http(200, FOUND | {"rdapConformance": ["redacted"]}), (Status.CRITICAL, ELSE)),
        (http(200, FOUND | {"errorCode": 404}), (Status.CRITICAL, ELSE)),
    ],
)
def test_answers(answer: bytes, verdict: tuple[Status, str]) -> None:
    """What a server answers is judged by its status, its media type, and whether it is about the name."""
    assert judge(answer) == verdict


@pytest.mark.parametrize("limits", [{}, {"expect": ["Not Found"]}])
def test_too_many_requests(limits: dict[str, Any]) -> None:
    """A refusal for rate or ban is UNKNOWN, whatever else is demanded and whoever gives it."""
    for body in (b"<p>Slow down", ERROR):
        status, text = judge(http(429, body), **limits)
        assert status is Status.UNKNOWN
        assert text.startswith("the server refuses the probe for its rate, a ban or open connections")


def test_texts() -> None:
    """Texts are found in the answer as it came, and in its values, whose letters may be escapes."""
    assert judge(http(200, FOUND), expect=["Søren", '"ldhName": "EKSEMPEL.dk"']) == OK
    assert judge(http(200, FOUND), expect=["Søre", "Sören"])[0] is Status.CRITICAL
    assert judge(http(200, FOUND), absent=["Søren"])[0] is Status.CRITICAL
    assert judge(http(404, ERROR), expect=["Not Found"]) == OK
    assert judge(http(200, FOUND | {"ldhName": "punktum.dk"}), expect=["Søren"]) == (Status.CRITICAL, ELSE)


def test_time() -> None:
    """An answer that takes as long as a limit has that limit's status."""
    assert judge(http(200, FOUND), warning=0.001) == (Status.WARNING, "eksempel.dk answered")


# --- framing ---------------------------------------------------------------------------------------------------------


def test_what_is_sent() -> None:
    """One request for a domain, a host or help, its name as A-labels, at the path of the URL."""
    for path, name, line in (
        ("", "ÆØÅ.dk.", "/rdap/domain/xn--5cab8c.dk"),
        ("/", "ns1.example.com", "/rdap/nameserver/ns1.example.com"),
        ("/v1/rdap/", "a.dk", "/v1/rdap/domain/a.dk"),
        ("/v1", "HELP", "/v1/help"),
    ):
        with Peer(answers(http(200, {}))) as peer:
            probe(f"HTTP://{peer.target}{path}", name, warning=None, critical=None, timeout=PATIENCE)
        assert peer.lines == [f"GET {line} HTTP/1.1\r\n".encode()]


def test_ends_of_answers() -> None:
    """An answer ends by its length, by its last chunk or with the connection, and the probe waits for no more."""

    def stays(data: bytes) -> Behaviour:
        def behave(connection: socket.socket) -> None:
            connection.sendall(data)
            while connection.recv(1000):
                pass

        return behave

    body = json.dumps(FOUND).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/rdap+json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(body), body)
    assert judge(stays(http(200, FOUND))) == OK
    assert judge(stays(chunked + b"0\r\n\r\n")) == OK
    assert judge(head + b"\r\n" + body) == OK
    for cut in (chunked, http(200, FOUND)[:-1]):
        status, text = judge(cut)
        assert status is Status.CRITICAL
        assert text.startswith("URL: closed before the end of the answer, ")


@pytest.mark.parametrize(
    ("behave", "text"),
    [
        (answers("# Hello\n"), "URL: what is there speaks no HTTP"),
        (answers(b""), "URL: closed without an answer"),
        (answers(b"HTTP/1.1 200 OK\r\n"), "URL: closed before the end of the answer, 0 bytes into its body"),
        (floods, "URL: what is there speaks no HTTP"),
        (answers(http(200, b"x" * ANSWER_LIMIT)), f"URL: the answer is longer than {ANSWER_LIMIT} bytes"),
    ],
)
def test_no_answer(behave: Behaviour, text: str) -> None:
    """What is no whole answer is CRITICAL, and says why."""
    assert judge(behave) == (Status.CRITICAL, text)


def test_drips() -> None:
    """Bytes that drip do not put the deadline off."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        drips(connection)

    begun = time.monotonic()
    status, text = judge(behave, timeout=0.5)
    assert (status, text.startswith("URL: no whole answer with")) == (Status.CRITICAL, True)
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.parametrize(
    ("url", "name", "text"),
    [
        *(
            (url, "a.dk", f'"{url}" is no https://HOST[:PORT][/PATH]')
            for url in (
                "ftp://a",
                "https://",
                "https:///rdap",
                "https://u:p@a/",
                "https://a:0",
                "https://a:x",
                "https://[::1",
                "https://a/b c",
                "https://a/?q",
                "https://a/#f",
                "https://a/\r\nX: y",
                "https://a/æ",
            )
        ),
        *(
            ("https://a", name, f"RDAP is asked for one name, or HELP, and this is none: {name}")
            for name in ("a b.dk", "--show-handles a.dk", "a/b.dk", "a..dk")
        ),
        ("https://a", " ", "RDAP is asked for one name, or HELP, and this is none:  "),
    ],
)
def test_wrong_use(monkeypatch: pytest.MonkeyPatch, url: str, name: str, text: str) -> None:
    """A wrong use is UNKNOWN and says what is wrong, before anything is resolved or sent."""
    monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
    assert probe(url, name, warning=None, critical=None) == Result(Status.UNKNOWN, text, service="RDAP")


# --- our own server --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web(sandbox_database: Database) -> Iterator[WebService]:
    """Our server."""
    with WebService(sandbox_database.reader) as web:
        yield web


@pytest.mark.parametrize(
    ("name", "limits", "status"),
    [
        ("punktum.dk", {"expect": ["info@punktum.dk"]}, Status.OK),
        ("enkeltmand.dk", {"expect": ["sole_proprietorship: "], "absent": ["egon@"]}, Status.OK),
        ("æøåöäüé.dk", {}, Status.OK),
        ("auth01.ns.dk-hostmaster.dk", {}, Status.OK),
        ("help", {}, Status.OK),
        ("findes-ikke.dk", {}, Status.CRITICAL),
        ("findes-ikke.dk", {"expect": ["Not Found"]}, Status.OK),
    ],
)
def test_our_server(web: WebService, name: str, limits: dict[str, Any], status: Status) -> None:
    """What our server says is judged as what it is."""
    url = f"http://127.0.0.1:{web.http_port}"
    assert probe(url, name, **({"warning": None, "critical": None} | limits), timeout=PATIENCE).status is status


def test_our_server_without_its_data(sandbox_database: Database) -> None:
    """Our server without its database is CRITICAL."""
    dsn = sandbox_database.reader.replace(sandbox_database.name, "no_such_database")
    with WebService(dsn) as web:
        result = probe(f"http://127.0.0.1:{web.http_port}", "punktum.dk", warning=None, critical=None, timeout=PATIENCE)
    assert (result.status, "temporary failure" in result.text) == (Status.CRITICAL, True)


def test_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox_database: Database) -> None:
    """Over TLS the certificate must be for the host, and of an authority that the system trusts."""
    file = tmp_path / "http.pem"
    make_certificate(file, "IP:127.0.0.1")
    with WebService(sandbox_database.reader, listen={"certificate": str(file)}) as web:

        def ask(host: str, scheme: str = "https") -> Result:
            url = f"{scheme}://{host}:{web.http_port}"
            return probe(url, "punktum.dk", warning=None, critical=None, timeout=PATIENCE)

        assert "the certificate is not to be trusted: " in ask("127.0.0.1").text
        monkeypatch.setenv("SSL_CERT_FILE", f"{file}.crt")
        assert ask("127.0.0.1").status is Status.OK
        found = ask("localhost")
        assert (found.status, "the certificate is not to be trusted: " in found.text) == (Status.CRITICAL, True)
        assert ask("127.0.0.1", "http").status is Status.CRITICAL
    with Peer(answers("# no TLS\n")) as peer:
        found = probe(f"https://{peer.target}", "punktum.dk", warning=None, critical=None, timeout=PATIENCE)
    assert (found.status, ": no TLS can be agreed on: " in found.text) == (Status.CRITICAL, True)
