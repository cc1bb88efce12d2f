"""HTTP under load, over connections that are kept: no answer is lost but of a process that is killed."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from faults.load import ANSWERED, EMPTY, IDLE, RESET, SHORT, WebLoad
from faults.test_restarts import errors, kill
from support import WHOISD, Database, WebService, passing_on

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
