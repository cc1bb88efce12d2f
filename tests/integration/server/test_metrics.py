"""What Prometheus and health checks are told over HTTP: figures that add up to what was asked, and nothing personal."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from ipaddress import IPv4Address
from pathlib import Path
from platform import python_version
from typing import Final

import asyncpg
import pytest
from support import PATIENCE, Database, Figures, Service, receive, until, v2

from whoisd.answers.answer import Protocol
from whoisd.answers.disclosure import Reason
from whoisd.build import Build, build_of
from whoisd.errors import Outcome
from whoisd.server import observer

LISTEN: Final = [
    {"host": "127.0.0.1", "port": 0},
    {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.6.0.0/16"]},
]
LIMITED: Final = {
    "WHOISD_LISTEN": json.dumps(LISTEN),
    "WHOISD_LIMITS__RATE": "0.001",
    "WHOISD_LIMITS__BURST": "3",
    "WHOISD_LIMITS__NETWORK_RATE": "0.001",
    "WHOISD_LIMITS__NETWORK_BURST": "6",
    "WHOISD_LIMITS__CONNECTIONS": "2",
    "WHOISD_SERVER__READ_TIMEOUT": "0.7",
    "WHOISD_SERVER__WRITE_TIMEOUT": "0.7",
    "WHOISD_NETWORK": json.dumps(
        [
            {"name": "probes", "cidrs": ["127.7.0.0/16"], "rate": "unlimited", "connections": 1000},
            {"name": "registrars", "cidrs": ["127.8.0.0/16"], "rate": 0.001, "burst": 2},
        ]
    ),
}
# What is asked from a network without limits, and which reason decides about the email.
ASKED: Final = [
    ("eksempel.dk", Reason.NOT_ASKED),
    ("--show-handles punktum.dk", Reason.LOCKED_TO_CVR),
    ("--show-handles udland.dk", Reason.VAT_REGISTERED),
    ("--show-handles enkeltmand.dk", Reason.SOLE_PROPRIETORSHIP),
    ("--show-handles beskyttet.dk", Reason.ADDRESS_PROTECTION),
    ("--show-handles privatperson.dk", Reason.INDIVIDUAL),
    ("--show-handles suspenderet.dk", Reason.DEACTIVATED),
    ("waiting-list.dk", Reason.NO_REGISTRATION),
]
SHOWN: Final = {Reason.LOCKED_TO_CVR, Reason.VAT_REGISTERED}


def check_sums(figures: Figures, asked: Counter[tuple[str, str]], reasons: Counter[str], lookups: int) -> None:
    """Hold the figures against what was asked: outcome and kind, the email's reasons, and the names looked up."""
    found = {
        (it.labels["outcome"], it.labels["kind"]): it.value
        for it in figures.samples
        if it.name == "whoisd_queries_total" and it.value
    }
    assert found == asked
    assert figures.sum("whoisd_query_duration_seconds_count") == asked.total()
    assert figures.sum("whoisd_query_duration_seconds_bucket", le="+Inf") == asked.total()
    assert figures.by("reason", "whoisd_emails_total") == reasons
    assert figures.sum("whoisd_emails_total") == asked["found", "domain"]
    shown = sum(count for reason, count in reasons.items() if reason in SHOWN)
    assert figures.sum("whoisd_emails_total", email="shown") == shown
    assert figures.sum("whoisd_batch_names_sum") == lookups


def counters(figures: Figures) -> dict[tuple[str, str], float]:
    return {
        (it.name, json.dumps(it.labels, sort_keys=True)): it.value
        for it in figures.samples
        if it.name.endswith(("_total", "_count", "_sum", "_bucket"))
    }


def test_figures_add_up(sandbox_database: Database) -> None:
    """The figures are what known queries caused, to the last one, on two workers, over a reload and over a killed worker."""
    asked: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    lookups = 0
    with Service(sandbox_database.reader, LIMITED) as service:
        assert counters(service.figures()).values()
        assert service.figures().sum("whoisd_config_reloads_total") == 0
        before: dict[tuple[str, str], float] = {}
        for turn in range(3):
            for _ in range(5):
                for query, reason in ASKED:
                    service.ask(query, "127.7.0.1")
                    asked["found", "domain"] += 1
                    reasons[reason] += 1
                for query, outcome, kind in [
                    ("findes-ikke.dk", "not_found", "domain"),
                    ("www.eksempel.dk", "not_found", "host"),
                    ("auth01.ns.dk-hostmaster.dk", "found", "host"),
                    ("HELP", "help", "help"),
                    ("--no-such-option", "bad_query", "none"),
                ]:
                    service.ask(query, "127.7.0.1")
                    asked[outcome, kind] += 1
                lookups += len(ASKED) + 3
            _end_in_every_other_way(service, asked)
            _exceed(service, turn, asked, reasons)
            lookups += 8
            service.wait_for_figure(asked.total(), "whoisd_query_duration_seconds_count")
            figures = service.wait_for_figure(0, "whoisd_connections_open")
            check_sums(figures, asked, reasons, lookups)
            assert figures.by("network", "whoisd_refusals_total") == {"other": 5 * (turn + 1), "registrars": 3 * (turn + 1)}
            assert figures.by("scope", "whoisd_bans_total") == {"source": 2 * (turn + 1)}
            assert figures.by("scope", "whoisd_bans_in_force") == {"source": 2 * (turn + 1)}
            assert figures.sum("whoisd_throttled_total") == turn + 1
            assert all(value >= before.get(key, 0) for key, value in counters(figures).items())
            before = counters(figures)
            if turn == 0:
                service.process.send_signal(signal.SIGHUP)
                service.wait_for_event("server.ready", 2)
            elif turn == 1:
                _kill_with_connections_open(service)
                asked["found", "domain"] += 4
                reasons[Reason.NOT_ASKED] += 4
                lookups += 4
        figures = service.wait_for_figure(2, "whoisd_workers")
        assert figures.by("result", "whoisd_config_reloads_total") == {"applied": 1}
        assert figures.sum("whoisd_config_last_reload_successful") == 1
        assert 0 <= time.time() - figures.sum("whoisd_config_in_force_since_seconds") < 60
        assert figures.sum("whoisd_database_up") == 1
        assert figures.sum("whoisd_data_age_seconds") == 0
        assert figures.sum("whoisd_log_lines_lost_total") == 0
        build = [it.labels for it in figures.samples if it.name == "whoisd_build_info"]
        assert build == [{"version": version("whoisd"), "python": python_version(), "build": build_of()}]
        outcomes = {outcome for outcome, _ in asked}
    # The rest takes a database that fails, or a fault of our own.
    assert {*Outcome} - outcomes == {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR, Outcome.WRITE_TIMEOUT}


def _kill_with_connections_open(service: Service) -> None:
    """Kill the worker that has four connections open, which are lost; four others are answered."""
    pids = service.pids()
    os.kill(pids["worker 2"], signal.SIGSTOP)  # so that it is the other one that accepts
    clients = [service.connect("127.7.0.4") for _ in range(4)]
    service.wait_for_figure(4, "whoisd_connections_open")
    os.kill(pids["worker 1"], signal.SIGKILL)
    os.kill(pids["worker 2"], signal.SIGCONT)
    service.wait_for_figure(1, "whoisd_restarts_total")
    for client in clients:
        client.close()
        service.ask("eksempel.dk", "127.7.0.4")


def _end_in_every_other_way(service: Service, asked: Counter[tuple[str, str]]) -> None:
    """No query, none in time, a client that is gone, a header that is bad or from anyone."""
    with service.connect("127.7.0.2") as silent, service.connect("127.7.0.2") as gone:
        gone.sendall(b"eksempel")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
        gone.close()
        service.connect("127.7.0.2").close()
        receive(silent)
    port = service.events("server.listening")[1]["port"]
    for source, sent in [
        ("127.6.0.1", b"eksempel.dk\r\n"),
        ("127.7.0.1", b""),
        ("127.6.0.1", v2(IPv4Address("127.7.0.3")) + b"HELP\r\n"),
    ]:
        with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as client:
            client.sendall(sent)
            receive(client)
    asked["client_gone", "none"] += 1
    asked["no_query", "none"] += 1
    asked["read_timeout", "none"] += 1
    asked["bad_proxy_header", "none"] += 1
    asked["untrusted_proxy", "none"] += 1
    asked["help", "help"] += 1


def _exceed(service: Service, turn: int, asked: Counter[tuple[str, str]], reasons: Counter[str]) -> None:
    """Ask more than is allowed: a source, its network, a source in a named network; and connect more often."""
    network = f"127.9.{turn}"
    for last, times in [(1, 5), (2, 3), (3, 1)]:  # 3 + 3 are answered; the network's excess is the seventh
        for _ in range(times):
            _ask_alone(service, f"{network}.{last}")
    asked["found", "domain"] += 6
    asked["rate_exceeded", "none"] += 2
    asked["banned", "none"] += 1
    for _ in range(5):
        _ask_alone(service, f"127.8.0.{turn + 1}")
    asked["found", "domain"] += 2
    asked["rate_exceeded", "none"] += 1
    asked["banned", "none"] += 2
    reasons[Reason.NOT_ASKED] += 8
    held = [service.connect(f"127.10.{turn}.1") for _ in range(2)]
    for client in held:
        client.sendall(b"HE")  # it is served until it has its answer
    service.wait_for_figure(2, "whoisd_connections_open")  # by either worker: whoever asks now is one too many
    for _ in range(2):
        service.ask("HELP", f"127.10.{turn}.1")
    for client in held:
        client.sendall(b"LP\r\n")
        receive(client)
    asked["help", "help"] += 2
    asked["too_many_connections", "none"] += 2
    for client in held:
        client.close()


def _ask_alone(service: Service, source: str) -> None:
    """Ask when the server has seen that nobody is connected any more: a source may have only two connections."""
    service.wait_for_figure(0, "whoisd_connections_open")
    service.ask("eksempel.dk", source)


def test_failures_are_counted(database: Database) -> None:
    """Queries that fail by our fault are counted as such, of no kind, and the database as down; when it is back, as up."""
    with Service(database.reader) as service:
        for query in ("eksempel.dk", "ns1.eksempel.dk"):
            service.ask(query)
        database.allow(connections=False)
        with ThreadPoolExecutor(4) as clients:
            answers = [*clients.map(service.ask, ["eksempel.dk"] * 10)]
        assert all("Temporary failure" in answer for answer in answers)
        service.wait_for_figure(10, "whoisd_queries_total", outcome="temporary_failure", kind="none")
        figures = service.wait_for_figure(0, "whoisd_database_up")
        assert "whoisd_data_age_seconds" not in {it.name for it in figures.samples}
        status, text = service.http("/readyz")
        assert status == 503
        assert text.startswith("the database does not answer: ")
        assert service.http("/livez") == (200, "alive\n")
        database.allow(connections=True)
        service.wait_for_figure(1, "whoisd_database_up")
        assert service.http("/readyz") == (200, "ready\n")


ROOT = Path(__file__).parents[3]
END_READERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
END_READERS += " AND usename = 'whoisd_reader'"
# What breaks a database and what mends it, as the superuser, and the code by which the log and the runbook know it.
BREAKS = [
    ("REVOKE SELECT ON whois.domain FROM whoisd_reader", "GRANT SELECT ON whois.domain TO whoisd_reader", "42501"),
    ("REVOKE SELECT ON whois.host FROM whoisd_reader", "GRANT SELECT ON whois.host TO whoisd_reader", "42501"),
    ("ALTER VIEW whois.domain RENAME TO gone", "ALTER VIEW whois.gone RENAME TO domain", "42P01"),
    (f"ALTER ROLE whoisd_reader NOLOGIN; {END_READERS}", "ALTER ROLE whoisd_reader LOGIN", "28000"),
    (
        f"ALTER ROLE whoisd_reader CONNECTION LIMIT 0; {END_READERS}",
        "ALTER ROLE whoisd_reader CONNECTION LIMIT -1",
        "53300",
    ),
    ("BEGIN; LOCK TABLE registry.domain IN ACCESS EXCLUSIVE MODE", "ROLLBACK", "statement timeout|deadline"),
]


@pytest.mark.parametrize(("breaks", "mends", "codes"), BREAKS)
@pytest.mark.parametrize("is_idle", [True, False])
async def test_what_the_runbook_names(database: Database, breaks: str, mends: str, codes: str, is_idle: bool) -> None:
    """Whatever keeps the database from answering, whether or not anybody asks: the log has the runbook's word."""
    runbook = (ROOT / "docs/monitor.md").read_text(encoding="utf-8").split("### WhoisdDatabaseDown")[1].split("\n### ")[0]
    superuser = await asyncpg.connect(database.superuser)
    with Service(database.reader) as service:
        try:
            assert service.http("/readyz") == (200, "ready\n")
            await superuser.execute(breaks)
            if not is_idle:
                service.ask("eksempel.dk")
                service.ask("ns1.eksempel.dk")
            service.wait_for_figure(0, "whoisd_database_up")
            assert service.http("/readyz")[0] == 503
            service.wait_for_event("store.fails")
            said = [it["because"] for it in service.events("store.fails")]
            said += [it["cause"] for it in service.events("store.unreachable")]
            named = [code for code in codes.split("|") if f"`{code}`" in runbook]
            assert any(it.endswith(code) for it in said for code in named), said
        finally:
            await superuser.execute(mends)
            await superuser.close()
        service.wait_for_figure(1, "whoisd_database_up")
        assert service.http("/readyz") == (200, "ready\n")
        service.wait_for_event("store.answers")


def test_nothing_personal(database: Database) -> None:
    """No label and no value has an address, a name that was asked for, or anything of a registrant."""
    with Service(database.reader, LIMITED) as service:
        for query in ("--show-handles punktum.dk", "zebrafisk-quagga.dk", "ns1.zebrafisk-quagga.dk", "zebrafisk quagga"):
            for last in (1, 2):
                service.ask(query, f"127.99.88.{last}")
        service.wait_for_figure(8, "whoisd_query_duration_seconds_count")
        text = service.http("/metrics")[1]
        labels = {value for it in Figures(text).samples for value in it.labels.values()}
    for planted in ("zebrafisk", "quagga", "127.", "99.88", "punktum", "Punktum", "info@", "@", "restad", "33646060"):
        assert planted not in text
    known = {
        *Build,
        *Protocol,
        *Outcome,
        *Reason,
        "domain",
        "host",
        "help",
        "none",
        "shown",
        "withheld",
        "source",
        "network",
        "other",
    }
    bounds = {it for it in labels if it == "+Inf" or it.replace(".", "").isdigit()}
    versions = {version("whoisd"), python_version()}
    assert labels - bounds - versions <= known | {"applied", "rejected", "probes", "registrars"}


FEW: Final = 6  # sockets of the observer's own: it listens, and has the database and its loop


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(sandbox_database: Database) -> Iterator[Service]:
    with Service(sandbox_database.reader) as service:
        yield service


def request(service: Service, sent: bytes, *, end: bool = False) -> bytes:
    """What the observer answers to these bytes."""
    port = service.events("metrics.listening")[0]["port"]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(sent)
        if end:
            client.shutdown(socket.SHUT_WR)
        return receive(client)


def test_paths(watched: Service) -> None:
    """There are three paths and no others; each says of what type it is."""
    assert watched.http("/livez") == (200, "alive\n")
    assert watched.http("/readyz") == (200, "ready\n")
    for path in ("/", "/metric", "/metrics/", "/livez/x", "/../metrics", "/%6detrics%00", "/favicon.ico"):
        assert watched.http(path) == (404, "there is /metrics, /livez and /readyz\n")
    port = watched.events("metrics.listening")[0]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics?x=1", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert len(answer.read()) == int(answer.headers["Content-Length"])


def test_odd_requests_do_no_harm(watched: Service) -> None:
    """HEAD has no body, and whatever else is sent, or not, costs neither an answer to the next one nor a line in the log."""
    assert request(watched, b"HEAD /metrics HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")
    for sent in (
        b"POST /metrics HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        b"DELETE /livez HTTP/1.0\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.0\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /livez HTTP/1.0\r\nContent-Length: -1\r\nHost: \xff\r\n\r\n",
        b"GET \xff\xfe HTTP/1.0\r\n\r\n",
    ):
        with suppress(ConnectionResetError):
            request(watched, sent)
        assert watched.http("/livez") == (200, "alive\n")
    for sent in (b"", b"GET /livez HTTP/1.0\r\n", b"GET"):
        request(watched, sent, end=True)
    events = {event["event"] for event in watched.events()}  # and each line is JSON
    assert events <= {"server.listening", "metrics.listening", "server.ready", "process.started", "store.connected"}


@pytest.mark.alone
def test_slow_request_holds_nobody_up(watched: Service) -> None:
    """While some send nothing or do not read, others are answered at once, also many at a time; queries are answered too."""
    port = watched.events("metrics.listening")[0]["port"]
    silent = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(20)]
    for client in silent[::2]:
        client.sendall(b"GET /metrics HTTP/1.0\r\n")
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as scrapers:
        texts = [*scrapers.map(lambda path: watched.http(path)[0], ["/metrics", "/readyz"] * 10)]
    assert texts == [200] * 20
    assert "eksempel.dk" in watched.ask("eksempel.dk")
    assert time.monotonic() - begun < 5
    for client in silent:
        client.close()


@pytest.mark.alone
def test_crowd_of_slow_clients(watched: Service) -> None:
    """Clients that drip take a bounded number of places; when they have had their time they give way to who comes."""
    port = int(watched.wait_for_event("metrics.listening")["port"])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(observer.MOST_REQUESTS + 20)]
    for client in held:
        with suppress(OSError):
            client.sendall(b"GET /livez HTTP/1.0\r\nX-Slow: ")
    descriptors = Path(f"/proc/{watched.pids()['observer']}/fd")
    until(lambda: sockets_of(descriptors) >= observer.MOST_REQUESTS)
    until(lambda: sockets_of(descriptors) <= observer.MOST_REQUESTS + FEW)
    deadline = time.monotonic() + observer.PATIENCE + PATIENCE
    answered = b""
    while not answered.startswith(b"HTTP/1.1 200") and time.monotonic() < deadline:
        for client in held:
            with suppress(OSError):
                client.send(b"y")
        with suppress(ConnectionError):
            answered = request(watched, b"GET /livez HTTP/1.0\r\n\r\n")
        time.sleep(0.2)
    assert answered.startswith(b"HTTP/1.1 200")
    for client in held:
        client.close()


def sockets_of(descriptors: Path) -> int:
    """How many sockets a process has open."""
    found = 0
    for descriptor in descriptors.iterdir():
        with suppress(OSError):  # it was closed since
            found += str(descriptor.readlink()).startswith("socket:")
    return found
