"""The HTTP server as clients meet it: limits, balancers, TLS, slow and odd clients, reloads and ends."""

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import PATIENCE, Database, WebService, make_certificate, passing_on, receive, until, v1

from whoisd.server.http.framing import HEADERS_LIMIT

OK = b"HTTP/1.1 200 OK\r\n"
GET = b"GET /domain/punktum.dk HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def web(sandbox_database: Database) -> Iterator[WebService]:
    """The server over the predefined data, with short patience."""
    with WebService(sandbox_database.reader, {"WHOISD_SERVER__READ_TIMEOUT": "1"}) as web:
        yield web
        assert web.events("server.fault") == []


def test_three_protocols(web: WebService) -> None:
    """One address serves RESTful WHOIS, RDAP and the page, each by its path."""
    status, headers, body = web.get("/domain/punktum.dk")
    assert (status, headers["content-type"], json.loads(body)["registrant"]["email"]) == (
        200,
        "application/json",
        "info@punktum.dk",
    )
    status, headers, body = web.get("/rdap/domain/enkeltmand.dk")
    assert (status, headers["content-type"]) == (200, "application/rdap+json")
    assert json.loads(body)["redacted"][-1]["reason"]["description"].startswith("sole_proprietorship: ")
    status, headers, body = web.get("/?name=enkeltmand.dk", Accept_Language="da")
    assert (status, headers["content-type"], headers["content-language"]) == (200, "text/html; charset=utf-8", "da")
    assert "enkeltmandsvirksomhed" in body.decode()


SET_EMAIL = """
    UPDATE registry.registrant SET secondary_email = $1
    WHERE handle = (SELECT registrant FROM registry.domain WHERE name = 'punktum.dk')"""


def test_change_is_in_the_very_next_answer(database: Database) -> None:
    """What is committed is in the next answer of every protocol, and what was before in none, while others ask."""
    with WebService(database.reader) as web, ThreadPoolExecutor(4) as others:
        paths = ("/domain/punktum.dk", "/rdap/domain/punktum.dk", "/?name=punktum.dk")
        asked = [others.submit(web.ask, "--show-handles punktum.dk") for _ in range(400)]
        before = "info@punktum.dk"
        assert all(before in web.get(path)[2].decode() for path in paths)
        for number in range(10):
            asyncio.run(database.execute(SET_EMAIL, email := f"nr{number}@punktum.example"))
            for said in (*(web.get(path)[2].decode() for path in paths), web.ask("--show-handles punktum.dk")):
                assert email in said
                assert before not in said
            before = email
        assert all("punktum.dk" in answer.result() for answer in asked)


@pytest.mark.parametrize(
    "path", ["/domain/punktum.dk", "/rdap/domain/punktum.dk", "/?name=punktum.dk", "/rdap/domain/nej.dk"]
)
def test_head(web: WebService, path: str) -> None:
    """HEAD has the headers of GET, and no body."""
    status, headers, body = web.get(path)
    _, _, nothing = head = web.get(path, method="HEAD")
    assert (head[0], nothing, len(body)) == (status, b"", int(headers["content-length"]))
    assert head[1]["content-length"] == headers["content-length"]


def test_keep_alive(web: WebService) -> None:
    """Many requests go over one connection, also sent before the first is answered."""
    with closing(web.call()) as client:
        for _ in range(20):
            client.request("GET", "/domain/punktum.dk")
            assert client.getresponse().read().startswith(b'{"domain"')
    last = GET.replace(b"Host", b"Connection: close\r\nHost")
    assert web.send(GET * 10 + last).count(OK) == 11


def test_log_and_metrics(sandbox_database: Database) -> None:
    """Each request is a line of the log and a count, by its protocol, with no more of anybody than at port 43."""
    with WebService(sandbox_database.reader) as web:
        web.get("/domain/enkeltmand.dk")
        web.get("/rdap/domain/nej.dk")
        web.get("/?name=punktum.dk")
        web.get("/rdap/help")
        web.ask("punktum.dk")
        web.wait_for_event("query.", 5)
        said = {(it["protocol"], it["outcome"], it.get("email"), it.get("status")) for it in web.events("query.")}
        assert said == {
            ("rest", "found", "sole_proprietorship", 200),
            ("rdap", "not_found", None, 404),
            ("page", "found", "locked_to_cvr", 200),
            ("rdap", "help", None, 200),
            ("whois", "found", None, None),
        }
        expected = {"rest": 1.0, "rdap": 2.0, "page": 1.0, "whois": 1.0}
        until(lambda: web.figures().by("protocol", "whoisd_queries_total") == expected)
        assert web.figures().sum("whoisd_query_duration_seconds_count", protocol="rdap") == 2


# --- limits ----------------------------------------------------------------------------------------------------------

LIMITED = {"WHOISD_LIMITS__RATE": "0.01", "WHOISD_LIMITS__BURST": "2"}


@pytest.mark.parametrize(
    ("path", "status"), [("/domain/punktum.dk", 503), ("/rdap/domain/punktum.dk", 429), ("/?name=punktum.dk", 429)]
)
def test_one_query_is_one_query(sandbox_database: Database, path: str, status: int) -> None:
    """What is asked at port 43 counts over HTTP and the other way round, and a refusal says when to ask again."""
    with WebService(sandbox_database.reader, LIMITED) as web:
        assert web.ask("punktum.dk").startswith("# Hello")
        assert web.get("/rdap/help")[0] == 200
        found, headers, body = web.get(path)
        assert found == status
        assert 1 <= int(headers["retry-after"]) <= 200
        assert b"punktum" not in body.replace(b'value="punktum.dk"', b"")
        assert "# Too many connections. Retry after" in web.ask("punktum.dk")
        assert web.get(path, source="127.0.1.2")[0] == 200  # another source, in another network
        web.wait_for_event("query.refused", 2)
        assert Counter(it["protocol"] for it in web.events("query.refused")).total() == 2


def test_too_many_connections(sandbox_database: Database) -> None:
    """A source has as many connections open as it may, over all protocols; the next is told so in answer to its request."""
    limits = {"WHOISD_LIMITS__CONNECTIONS": "2", "WHOISD_LIMITS__RATE": "unlimited"}
    with WebService(sandbox_database.reader, limits) as web, closing(web.call()) as first, web.connect():
        first.request("GET", "/rdap/help")
        assert first.getresponse().read()
        status, headers, _ = web.get("/rdap/domain/punktum.dk")
        assert (status, headers["retry-after"], headers["connection"]) == (429, "5", "close")
        first.request("GET", "/rdap/help")
        assert first.getresponse().status == 200


# --- balancers -------------------------------------------------------------------------------------------------------


def test_x_forwarded_for(sandbox_database: Database) -> None:
    """A trusted balancer says who asks; each of its clients has an allowance of its own, and a liar gets no other's."""
    listen = {"client": "x-forwarded-for", "trusted": ["127.0.0.1/32", "10.0.0.0/8"]}
    with WebService(sandbox_database.reader, LIMITED, listen=listen) as web:
        for _ in range(2):
            assert web.get("/rdap/help", X_Forwarded_For="198.51.100.9, 192.0.2.7, 10.1.1.1")[0] == 200
        assert web.get("/rdap/help", X_Forwarded_For="203.0.113.1, 192.0.2.7")[0] == 429
        assert web.get("/rdap/help", X_Forwarded_For="198.51.100.9")[0] == 200
        web.wait_for_event("query.", 4)
        assert [it["client"] for it in web.events("query.")] == ["192.0.2.7"] * 3 + ["198.51.100.9"]


def test_x_forwarded_for_of_somebody_else(sandbox_database: Database) -> None:
    """Whoever is no trusted balancer is refused on its port, and on another the header says nothing."""
    listen = {"client": "x-forwarded-for", "trusted": ["127.0.0.1/32"]}
    with WebService(sandbox_database.reader, listen=listen) as web:
        assert web.get("/rdap/help", source="127.0.0.2", X_Forwarded_For="192.0.2.7")[0] == 403
        assert web.wait_for_event("query.")["outcome"] == "untrusted_proxy"
    with WebService(sandbox_database.reader) as web:
        assert web.get("/rdap/help", X_Forwarded_For="192.0.2.7", Forwarded="for=192.0.2.8")[0] == 200
        assert web.wait_for_event("query.")["client"] == "127.0.0.1"


def test_proxy_header(sandbox_database: Database) -> None:
    """A PROXY header says who asks, once for all requests of the connection; without one there is no answer to a request."""
    with WebService(sandbox_database.reader, listen={"client": "proxy", "trusted": ["127.0.0.1/32"]}) as web:
        last = GET.replace(b"Host", b"Connection: close\r\nHost")
        assert web.send(v1("192.0.2.7") + GET + last).count(OK) == 2
        web.wait_for_event("query.", 2)
        assert [it["client"] for it in web.events("query.")] == ["192.0.2.7"] * 2
        assert web.send(GET).startswith(b"HTTP/1.1 400 ")
        assert web.send(v1("192.0.2.7") + GET, source="127.0.0.2").startswith(b"HTTP/1.1 403 ")
        web.wait_for_event("query.refused", 2)
        outcomes = [it["outcome"] for it in web.events("query.refused")]
        assert outcomes == ["bad_proxy_header", "untrusted_proxy"]


# --- TLS ---------------------------------------------------------------------------------------------------------------


def test_tls(sandbox_database: Database, tmp_path: Path) -> None:
    """TLS is by a certificate and key in a file, which a reload reads again; who speaks no TLS harms nobody."""
    file = tmp_path / "http.pem"
    make_certificate(file, "DNS:one.example")
    config = tmp_path / "whoisd.toml"
    dsn = json.dumps(sandbox_database.reader)
    config.write_text(f"[database]\ndsn = {dsn}\n")
    with WebService(sandbox_database.reader, {"WHOISD_LIMITS__RATE": "unlimited"}, listen={"certificate": str(file)}) as web:
        assert web.wait_for_event("http.listening")["tls"] is True
        assert name_of(web) == "one.example"
        with socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as plain:
            plain.sendall(GET)
            assert not receive_or_reset(plain).startswith(b"HTTP/1.1 200")
        make_certificate(file, "DNS:two.example")
        web.process.send_signal(signal.SIGHUP)
        web.wait_for_event("server.ready", 2)
        until(lambda: name_of(web) == "two.example")
        file.write_text("nothing")
        web.process.send_signal(signal.SIGHUP)
        assert "certificate" in str(web.wait_for_event("config.rejected"))
        assert name_of(web) == "two.example"


def receive_or_reset(client: socket.socket) -> bytes:
    try:
        return receive(client)
    except ConnectionResetError:
        return b""


def name_of(web: WebService) -> str:
    """The name in the server's certificate, after a request over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="x.example") as client,
    ):
        certificate = client.getpeercert(binary_form=True)
        client.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert receive(client).startswith(OK)
    assert certificate
    found = re.search(rb"(one|two)\.example", certificate)
    assert found
    return found[0].decode()


# --- slow, large and odd -----------------------------------------------------------------------------------------------


def test_silent_client(web: WebService) -> None:
    """Who sends nothing, or a request by drops, is let go when the time to read is up, and told so where it sent any."""
    begun = time.monotonic()
    assert web.send(b"") == b""
    with socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as client:
        client.settimeout(0.1)
        said = b""
        for letter in b"GET /domain/punktum.dk HTTP/1.1\r\nX: " + b"x" * 200:
            client.sendall(bytes([letter]))
            try:
                said = client.recv(1000)
                break
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begun < 10


def test_requests_that_came_while_the_process_was_held_up(sandbox_database: Database) -> None:
    """A request that came in time is answered, however late the process gets to read it, also on a connection that was kept.

    Half a request is still none.
    """
    network = {"name": "tests", "cidrs": ["127.0.0.0/8"], "rate": "unlimited", "connections": 1000}
    patience = {"WHOISD_SERVER__READ_TIMEOUT": "2", "WHOISD_HTTP__IDLE_TIMEOUT": "2", "WHOISD_HTTP__WORKERS": "1"}
    asked = b"GET /rdap/help HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        WebService(sandbox_database.reader, patience | {"WHOISD_NETWORK": json.dumps([network])}) as web,
        ExitStack() as crowd,
    ):
        process = web.pids()["http 1"]
        address = ("127.0.0.1", web.http_port)
        clients = [crowd.enter_context(socket.create_connection(address, PATIENCE)) for _ in range(300)]
        for client in clients[:100]:
            client.sendall(asked)
            assert client.recv(100_000).startswith(OK)
        os.kill(process, signal.SIGSTOP)
        try:
            clients[-1].sendall(asked[:20])
            for client in clients[:-1]:
                client.sendall(asked)
            time.sleep(2.5)
        finally:
            os.kill(process, signal.SIGCONT)
        heads = [client.recv(100_000)[:17] for client in clients]
    assert heads == [*[OK] * 299, b"HTTP/1.1 408 Requ"]


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a/b\r\n"])
@pytest.mark.parametrize(
    ("path", "begins"), [("/domain/punktum.dk", b"{"), ("/rdap/help", b'{"'), ("/", b"<!doctype html>")]
)
def test_host(web: WebService, hosts: bytes, path: str, begins: bytes) -> None:
    """A request without its one Host is refused (RFC 9112, 3.2), in the terms of the protocol that it is for."""
    head, _, body = web.send(b"GET %s HTTP/1.1\r\n%s\r\n" % (path.encode(), hosts)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert head.endswith(b"connection: close")
    assert body.lower().startswith(begins)
    assert b"one Host" in body


def test_letters_beyond_ascii(web: WebService) -> None:
    """A name whose letters stand in the path as they are is refused with how to write them; written so it is found."""
    said = web.send("GET /rdap/domain/æøåöäüé.dk HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said.endswith(
        "\r\n\r\nLetters beyond ASCII are percent-encoded as UTF-8 in a request, as in %C3%A6 for æ.\n".encode()
    )
    assert web.get(f"/rdap/domain/{quote('æøåöäüé.dk')}")[0] == 200


def test_absolute_form(web: WebService) -> None:
    """A target may have its host before the path, as a proxy sends it (RFC 9112, 3.2.2)."""
    said = web.send(b"GET http://rdap.example/domain/punktum.dk HTTP/1.1\r\nHost: rdap.example\r\nConnection: close\r\n\r\n")
    assert said.startswith(OK)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000,
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
        b"X" * 1_000_000,
    ],
)
def test_large_request(web: WebService, data: bytes) -> None:
    """A request whose headers are larger than what is read of them is refused, and the refusal arrives."""
    said = web.send(data)
    assert re.match(rb"HTTP/1\.1 4(00|31) ", said), said
    assert said.count(b"HTTP/1.1 4") == 1
    assert HEADERS_LIMIT < 1_000_000


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nF4240\r\n"])
def test_body(web: WebService, framing: bytes) -> None:
    """A request with a body is refused, and what it holds is no second request."""
    data = b"GET /domain/punktum.dk HTTP/1.1\r\n" + framing + GET * 20
    with socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        said = receive(client)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "smuggled",
    [
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
        b"GET / HTTP/1.1\r\n Content-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
    ],
)
def test_request_that_two_servers_would_read_apart(web: WebService, smuggled: bytes) -> None:
    """What is ambiguous is refused, and the connection closed: what follows is nobody's request."""
    said = web.send(smuggled + GET)
    assert re.match(rb"HTTP/1\.1 4(00|13) ", said), said
    assert len(re.findall(rb"HTTP/1\.1 \d", said)) == 1


def _spell(letter: int, how: int) -> bytes:
    """One letter of a path: as it is, in the other case, or percent-encoded in either way."""
    plain = bytes([letter])
    return (plain, plain.swapcase(), b"%%%02x" % letter, b"%%%02X" % letter)[how]


ODD = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda method, path, rest: method + b" " + path + b" HTTP/1.1\r\n" + rest + b"\r\n\r\n",
        st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"get", b"G E T", b"TRACE"]),
        st.one_of(
            st.binary(max_size=60),
            st.text(st.sampled_from("/%.?=&#\\:@[]\r\n \tæ0aA-_rdapdomainhostqueryname"), max_size=60).map(str.encode),
            st.sampled_from([b"*", b"http://evil.example/domain/punktum.dk", b"/%0d%0aSet-Cookie:x=y", b"/rdap/domain/%00"]),
            st.text(max_size=30).map(lambda text: b"/rdap/domain/" + text.encode(errors="ignore")),
            st.binary(max_size=30).map(lambda raw: b"/?name=" + b"".join(b"%%%02x" % byte for byte in raw)),
            st.builds(
                lambda path, name, spelt, end: path + b"".join(map(_spell, name, spelt)) + end,
                st.sampled_from([b"/domain/", b"/query/", b"/rdap/domain/", b"/?name=", b"/?x=y&name="]),
                st.sampled_from([b"enkeltmand.dk", b"privatperson.dk", b"beskyttet.dk"]),
                st.lists(st.integers(0, 3), min_size=20, max_size=20),
                st.sampled_from([b"", b".", b"%2e", b"/", b"?", b"?a=b", b"#x", b"%00", b"%0d%0aX:%20y"]),
            ),
        ),
        st.one_of(
            st.just(b"Host: x"),
            st.binary(max_size=80),
            st.builds(
                lambda name, value: name + b": " + value,
                st.sampled_from([b"Accept", b"Accept-Language", b"X-Forwarded-For", b"Connection", b"Upgrade", b"Expect"]),
                st.binary(max_size=60),
            ),
            st.builds(
                lambda name, value: name + b": " + value,
                st.sampled_from([b"Host", b"Forwarded", b"Origin", b"Range", b"If-None-Match", b"X-HTTP-Method-Override"]),
                st.sampled_from([b"evil.example", b"a\tb", b"*", b"bytes=0-1", b"POST", b"x\r\nX-Evil: y", b"x\rX-Evil: y"]),
            ),
            st.sampled_from([b"5\r\nGET /", b"Z\r\n", b"-1\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"]).map(
                lambda chunk: b"Transfer-Encoding: chunked\r\n\r\n" + chunk
            ),
        ),
    ),
)
FIELDS = {
    *("date", "content-type", "content-length", "cache-control", "x-content-type-options", "referrer-policy", "allow"),
    *("access-control-allow-origin", "content-security-policy", "vary", "content-language", "connection", "retry-after"),
}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, min_size=1, max_size=3).map(b"".join))
def test_odd_requests(web: WebService, data: bytes) -> None:
    """Whatever is sent is answered as HTTP, never by a fault of ours; it puts no header of its own into an answer.

    Nor does it bring out what is withheld, however a name is spelt.
    """
    with socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        said = receive(client)
    assert not re.search(rb"egon@|preben@|berit|hemmelig sti|x-evil", said, re.IGNORECASE), data
    while said:
        head, separator, rest = said.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z -]+", status)
        assert separator
        assert found
        assert int(found[1]) in {100, 200, 400, 404, 405, 408, 413, 415, 431}, data
        headers = dict(line.lower().split(": ", 1) for line in lines)
        assert headers.keys() <= FIELDS
        assert len(headers) == len(lines)
        is_head = not rest or rest.startswith(b"HTTP/1.1 ")  # no body begins so
        said = rest if is_head else rest[int(headers.get("content-length", 0)) :]


@pytest.mark.parametrize("path", [b"/rdap/help", b"/domain/punktum.dk"])
@pytest.mark.parametrize("number", [33, 200, 2000])
def test_pipelining_without_end(web: WebService, path: bytes, number: int) -> None:
    """Of many requests at once the first are answered whole, and the last of these answers says that it is the last."""
    with socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) as client:
        client.sendall((b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n") * number)
        received = receive(client)
    assert received.count(OK) == 32
    *_, last = received.split(OK)
    assert b"\r\nconnection: close\r\n" in last.lower()
    assert received.lower().count(b"\r\nconnection: close\r\n") == 1
    assert last.endswith(b"}")


def test_idle_connections(sandbox_database: Database) -> None:
    """Hundreds of idle connections take nothing from who asks, at either port, and are let go in time."""
    with WebService(sandbox_database.reader, {"WHOISD_HTTP__IDLE_TIMEOUT": "2", "WHOISD_SERVER__READ_TIMEOUT": "2"}) as web:
        idle = [socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) for _ in range(400)]
        try:
            for client in idle[:200]:
                client.sendall(GET)
            assert web.get("/domain/punktum.dk")[0] == 200
            assert web.ask("punktum.dk").startswith("# Hello")
            for client in idle:
                client.settimeout(PATIENCE)
                receive(client)
        finally:
            for client in idle:
                client.close()
        web.wait_for_figure(0, "whoisd_connections_open")


def test_room_for_connections(sandbox_database: Database) -> None:
    """Beyond its most connections the HTTP server refuses, and port 43 has room still."""
    with WebService(sandbox_database.reader, {"WHOISD_HTTP__MAX_CONNECTIONS": "3"}) as web:
        held = [socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) for _ in range(3)]
        try:
            web.wait_for_figure(3, "whoisd_connections_open")
            assert web.get("/domain/punktum.dk")[0] == 503
            assert web.ask("punktum.dk").startswith("# Hello")
        finally:
            for client in held:
                client.close()


# --- the process -------------------------------------------------------------------------------------------------------


def test_database_that_fails(database: Database) -> None:
    """When the data cannot be had all say to try again, none that there is no such name, and nobody is charged."""
    with WebService(database.reader, LIMITED) as web:
        asyncio_execute(database, "ALTER VIEW whois.domain RENAME TO gone")
        for path in ("/domain/punktum.dk", "/rdap/domain/punktum.dk", "/?name=punktum.dk"):
            status, headers, body = web.get(path)
            assert (status, headers["retry-after"]) == (503, "5")
            assert b"domain" not in body.lower() or path.startswith("/?")
        assert {it["outcome"] for it in web.events("query.")} == {"temporary_failure"}
        asyncio_execute(database, "ALTER VIEW whois.gone RENAME TO domain")
        until(lambda: web.get("/rdap/help")[0] == 200)


def asyncio_execute(database: Database, sql: str) -> None:
    import asyncio  # noqa: PLC0415 - for this alone

    asyncio.run(database.execute(sql))


class Asker(threading.Thread):
    """Asks over one connection after the other, each for many requests, until told to end."""

    def __init__(self, web: WebService) -> None:
        super().__init__()
        self._web = web
        self.over = threading.Event()
        self.answered = 0
        self.told_to_close = 0
        self.lost: list[str] = []

    def run(self) -> None:
        while not self.over.is_set():
            with closing(self._web.call()) as client:
                self._ask_over(client)

    def _ask_over(self, client: Any) -> None:
        while not self.over.is_set():
            try:
                client.request("GET", "/rdap/domain/punktum.dk")
                answer = client.getresponse()
                body = answer.read()
            except (OSError, HTTPException) as error:
                self.lost.append(repr(error))
                return
            assert answer.status == 200
            assert json.loads(body)["ldhName"] == "punktum.dk"
            self.answered += 1
            if answer.will_close:
                self.told_to_close += 1
                return


@contextmanager
def asking(web: WebService, number: int = 8) -> Iterator[list[Asker]]:
    """So many who ask, each of whom has been answered once at least; they end with the test."""
    askers = [Asker(web) for _ in range(number)]
    for asker in askers:
        asker.start()
    try:
        until(lambda: all(asker.answered for asker in askers))
        yield askers
    finally:
        for asker in askers:
            asker.over.set()
        for asker in askers:
            asker.join()


def test_reload_under_load(sandbox_database: Database) -> None:
    """A reload loses no answer: who keeps a connection open is told to close it, and the next is the new process's."""
    with WebService(sandbox_database.reader) as web:
        with asking(web) as askers:
            for number in range(2, 5):
                told = sum(asker.told_to_close for asker in askers)
                web.process.send_signal(signal.SIGHUP)
                web.wait_for_event("server.ready", number)
                until(lambda: sum(asker.told_to_close for asker in askers) > told, "told to close")  # noqa: B023 - at once
        assert [lost for asker in askers for lost in asker.lost] == []
        assert web.events("process.died") == []


def test_kill_under_load(sandbox_database: Database) -> None:
    """A process that is killed takes only its own connections with it, and its successor serves."""
    with WebService(sandbox_database.reader, {"WHOISD_HTTP__WORKERS": "2"}) as web:
        with asking(web) as askers:
            before = sum(asker.answered for asker in askers)
            os.kill(web.pids()["http 1"], signal.SIGKILL)
            web.wait_for_event("process.died")
            until(lambda: sum(asker.answered for asker in askers) > before + 50)
        assert all(len(asker.lost) <= 1 for asker in askers)


def test_stop_under_load(sandbox_database: Database) -> None:
    """When the server stops, what was asked before is answered whole."""
    with WebService(sandbox_database.reader) as web:
        clients = [socket.create_connection(("127.0.0.1", web.http_port), PATIENCE) for _ in range(20)]
        for client in clients:
            client.sendall(GET)
        web.process.send_signal(signal.SIGTERM)
        for client in clients:
            said = receive(client)
            assert said.startswith(OK)
            assert said.endswith(b'"status":200}')
            client.close()
        assert web.process.wait(PATIENCE) == 0


def test_sockets_of_systemd(sandbox_database: Database) -> None:
    """A socket that systemd passes on is served by its section of [http]."""
    with socket.create_server(("127.0.0.1", 0)) as whois, socket.create_server(("127.0.0.1", 0)) as http:
        ports = [it.getsockname()[1] for it in (whois, http)]

        class Passed(WebService):
            command = (*passing_on(whois.fileno(), http.fileno()), *WebService.command)
            pass_fds = (whois.fileno(), http.fileno())

        listen = json.dumps([{"host": "127.0.0.1", "port": ports[0]}])
        with Passed(sandbox_database.reader, {"WHOISD_LISTEN": listen}, listen={"port": ports[1]}) as web:
            assert (web.port, web.http_port) == (ports[0], ports[1])
            assert web.get("/rdap/help")[0] == 200
            assert web.ask("punktum.dk").startswith("# Hello")
