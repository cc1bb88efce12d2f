"""HTTP under load, over connections that are kept: no answer is lost but of a process that is killed."""

import json
import re
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from faults.load import ANSWERED, EMPTY, IDLE, RESET, SHORT, WebLoad
from faults.test_crowds import resident
from faults.test_restarts import errors, kill
from support import PATIENCE, WHOISD, Database, WebService, passing_on

PATHS: Final = (
    "/domain/punktum.dk",
    "/domain/enkeltmand.dk",
    "/domain/findes-ikke.dk",
    "/host/ns1.eksempel.dk",
    "/domain/a..b",
)
CLIENTS: Final = 20
QUERIES: Final = 4_000
SETTINGS: Final = {"WHOISD_HTTP__WORKERS": "2", "WHOISD_HTTP__IDLE_TIMEOUT": "60", "WHOISD_SERVER__READ_TIMEOUT": "60"}


def known(web: WebService) -> dict[str, bytes]:
    """Status and body of the answer to each path, as they are while nothing happens."""
    answers = {path: web.get(path) for path in PATHS}
    assert [status for status, _, _ in answers.values()] == [200, 200, 404, 200, 400]
    return {path: f"{status} ".encode() + body for path, (status, _, body) in answers.items()}


def test_reloads(sandbox_database: Database) -> None:
    """While reloads come one after the other no answer is lost, and each client is told to close what it keeps open."""
    with WebService(sandbox_database.reader, SETTINGS) as web:
        with WebLoad(("127.0.0.1", web.http_port), known(web), queries=QUERIES, clients=CLIENTS) as load:
            web.wait_for_figure(CLIENTS, "whoisd_connections_open")
            for number in range(2, 6):
                web.process.send_signal(signal.SIGHUP)
                web.wait_for_event("server.ready", number)
            load.wait()
            fates, told = load.end()
        assert web.figures().sum("whoisd_restarts_total") == 0
    assert fates.keys() <= {ANSWERED, IDLE}, fates
    assert fates[ANSWERED] >= QUERIES * 0.9
    assert told >= CLIENTS
    assert errors(web) == []


@contextmanager
def inheriting(database: Database, *held: socket.socket, file: Path) -> Iterator[WebService]:
    """A server with sockets that are held here, for port 43 and for HTTP, and a file of bans that outlives it."""
    (host, port), (_, http_port) = (it.getsockname() for it in held)
    own = {"WHOISD_LISTEN": json.dumps([{"host": host, "port": port}]), "WHOISD_LIMITS__FILE": str(file)}
    web = WebService(database.reader, SETTINGS | own, listen={"port": http_port})
    web.command = (*passing_on(*(it.fileno() for it in held)), WHOISD, "serve")
    web.pass_fds = [it.fileno() for it in held]
    with web:
        yield web
    assert web.process.returncode == 0
    assert errors(web) == []


def test_restarts(sandbox_database: Database, tmp_path: Path) -> None:
    """While servers follow each other on sockets that are held outside, no answer is lost."""
    file = tmp_path / "sources"
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as whois,
        closing(socket.create_server(("127.0.0.1", 0), backlog=1024)) as http,
    ):
        with inheriting(sandbox_database, whois, http, file=file) as web:
            answers = known(web)
        with WebLoad(http.getsockname(), answers, queries=QUERIES, clients=CLIENTS) as load:
            for _ in range(3):
                with inheriting(sandbox_database, whois, http, file=file) as web:
                    web.wait_for_event("query.", 200)
            with inheriting(sandbox_database, whois, http, file=file):
                load.wait()
                fates, told = load.end()
    assert fates.keys() <= {ANSWERED, IDLE}, fates
    assert fates[ANSWERED] >= QUERIES * 0.9
    assert told >= CLIENTS


def test_kills(sandbox_database: Database) -> None:
    """A process that is killed loses what it had open and no more, and is replaced."""
    with WebService(sandbox_database.reader, SETTINGS) as web:
        with WebLoad(("127.0.0.1", web.http_port), known(web), queries=QUERIES, clients=CLIENTS) as load:
            had = 0
            for number, name in enumerate(("http 1", "http 2"), 1):
                web.wait_for_figure(CLIENTS, "whoisd_connections_open")
                had += kill(web.pids()[name], web.http_port)
                web.wait_for_event("process.died", number)
                web.wait_for_event("process.started", 5 + number)
            load.wait()
            fates, _ = load.end()
        web.wait_for_figure(0, "whoisd_connections_open")
        assert web.figures().sum("whoisd_restarts_total") == 2
    assert fates.keys() <= {ANSWERED, EMPTY, RESET, SHORT}, fates
    assert fates.total() - fates[ANSWERED] <= had <= 2 * CLIENTS
    assert fates[ANSWERED] >= QUERIES * 0.9


IDLE_CLIENTS: Final = 5_000
MOST_MEMORY: Final = 100 * 1024  # KiB
GET: Final = b"GET /domain/punktum.dk HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE: Final = (
    b"GET /domain/" + b"x" * 1_000_000,
    b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000,
    GET.replace(b"Host", b"Content-Length: 1000000\r\nHost") + b"x" * 1_000_000,
)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many sockets for this process as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_idle_and_large(sandbox_database: Database) -> None:
    """5,000 idle connections and requests of a megabyte take bounded memory, and nothing from who asks at either port."""
    own = {"WHOISD_HTTP__WORKERS": "1", "WHOISD_HTTP__MAX_CONNECTIONS": "6000"}
    own |= {"WHOISD_HTTP__IDLE_TIMEOUT": "600", "WHOISD_SERVER__READ_TIMEOUT": "600"}
    with WebService(sandbox_database.reader, own) as web, ExitStack() as crowd:
        address, pid = ("127.0.0.1", web.http_port), web.pids()["http 1"]
        web.get("/domain/punktum.dk")
        before = resident(pid)
        for number in range(IDLE_CLIENTS):
            client = crowd.enter_context(socket.create_connection(address, PATIENCE))
            if number % 10 == 0:  # one that has had an answer, and keeps the connection
                client.sendall(GET)
                assert client.recv(100_000).startswith(b"HTTP/1.1 200 ")
        web.wait_for_figure(IDLE_CLIENTS, "whoisd_connections_open")
        for data in LARGE * 10:
            assert re.match(rb"HTTP/1\.1 4(00|13|31) ", web.send(data))
        assert web.get("/rdap/domain/punktum.dk")[0] == 200
        assert web.ask("punktum.dk").startswith("# Hello")
        assert resident(pid) - before < MOST_MEMORY
        crowd.close()
        web.wait_for_figure(0, "whoisd_connections_open")
    assert errors(web) == []
