"""Restarts: whatever becomes of the processes, whoever has connected is answered, but for those that a killed worker had."""

import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from faults.load import ANSWERED, EMPTY, RESET, Load
from support import PATIENCE, WHOISD, Database, Service, passing_on, receive

QUERIES: Final = (
    b"eksempel.dk\r\n",
    b"--show-handles punktum.dk\r\n",
    b"--charset=utf-8 --show-handles lodz.dk\r\n",
    b"findes-ikke.dk\r\n",
    b"ns1.eksempel.dk\r\n",
    b"--no-such-option\r\n",
)
CLIENTS: Final = 50
WORKERS: Final = 4
SETTINGS: Final = {"WHOISD_SERVER__WORKERS": str(WORKERS)}


def known(service: Service) -> dict[bytes, bytes]:
    """The whole answer to each query, as it is while nothing happens."""
    answers = {query: service.exchange(query) for query in QUERIES}
    assert len(set(answers.values())) == len(QUERIES)
    assert all(b"emporary" not in answer and answer.endswith(b"\r\n") for answer in answers.values())
    return answers


def errors(service: Service) -> list[dict[str, Any]]:
    """What the log has of faults."""
    return [event for event in service.events() if event["level"] == "error"]


def children(pid: int) -> set[int]:
    """The processes that this one has."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()}


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def seconds(start: float, most: float) -> Iterator[int]:
    """Count the seconds as they pass, up to so many."""
    number = 0
    while time.monotonic() < start + most:
        yield number
        number += 1
        time.sleep(max(0.0, start + number - time.monotonic()))


# --- asked to --------------------------------------------------------------------------------------------------------


def test_reload_every_second(sandbox_database: Database) -> None:
    """20,000 queries while SIGHUP comes every second: not one is refused, lost, reset or cut short, and nothing is left."""
    with Service(sandbox_database.reader, SETTINGS) as service:
        with Load((service.host, service.port), known(service), clients=CLIENTS) as load:
            reloads = 0
            for second in seconds(time.monotonic(), 60):
                if second >= 10 and load.enough():
                    break
                service.process.send_signal(signal.SIGHUP)
                reloads += 1
            fates = load.end()
        figures = service.wait_for_figure(0, "whoisd_connections_open")
        deadline = time.monotonic() + PATIENCE
        while len(running := children(service.process.pid)) != WORKERS + 1:
            assert time.monotonic() < deadline, running
            time.sleep(0.05)
        assert figures.sum("whoisd_config_reloads_total", result="applied") == reloads
        assert figures.sum("whoisd_restarts_total") == 0
        assert figures.sum("whoisd_log_lines_lost_total") == 0  # no error is missing below
    assert {fate for fate, number in fates.items() if number} == {ANSWERED}, fates
    assert fates[ANSWERED] >= 20_000
    assert service.process.returncode == 0
    assert errors(service) == []
    started = [event["pid"] for event in service.events("process.started")]
    assert len(started) > WORKERS * reloads / 2
    assert not any(map(is_there, started))


def inheriting(database: Database, held: socket.socket, file: Path) -> Service:
    """A server with a socket that is held here, and a file of bans that outlives it."""
    host, port = held.getsockname()
    settings = {"WHOISD_LISTEN": json.dumps([{"host": host, "port": port}]), "WHOISD_LIMITS__FILE": str(file)}
    service = Service(database.reader, SETTINGS | settings)
    service.command = (*passing_on(held.fileno()), WHOISD, "serve")
    service.pass_fds = (held.fileno(),)
    return service


def has_ended_well(service: Service) -> bool:
    return service.process.returncode == 0 and errors(service) == [] and bool(service.events("server.stopped"))


def test_restarts_with_the_socket_held_outside(sandbox_database: Database, tmp_path: Path) -> None:
    """20,000 queries while servers follow each other on a socket that is held outside: not one is lost."""
    file = tmp_path / "sources"
    with closing(socket.create_server(("127.0.0.1", 0), backlog=4096)) as held:
        with inheriting(sandbox_database, held, file) as service:
            answers = known(service)
        servers = 0
        with Load(held.getsockname(), answers, clients=CLIENTS) as load:
            deadline = time.monotonic() + 70
            while (servers < 6 or not load.enough()) and time.monotonic() < deadline:
                with inheriting(sandbox_database, held, file) as service:
                    time.sleep(0.7)
                assert has_ended_well(service)
                servers += 1
            with inheriting(sandbox_database, held, file):
                fates = load.end()
    assert {fate for fate, number in fates.items() if number} == {ANSWERED}, fates
    assert fates[ANSWERED] >= 20_000
    assert servers >= 6


def test_restarts_that_overlap(sandbox_database: Database, tmp_path: Path) -> None:
    """20,000 queries while each server ends only when the next one serves: not one is lost."""
    file = tmp_path / "sources"
    with closing(socket.create_server(("127.0.0.1", 0), backlog=4096)) as held, ExitStack() as last:
        old = last.enter_context(inheriting(sandbox_database, held, file))
        servers = 0
        with Load(held.getsockname(), known(old), clients=CLIENTS) as load:
            deadline = time.monotonic() + 70
            while (servers < 6 or not load.enough()) and time.monotonic() < deadline:
                with last.pop_all():
                    new = last.enter_context(inheriting(sandbox_database, held, file))
                assert has_ended_well(old)
                old = new
                servers += 1
            fates = load.end()
    assert {fate for fate, number in fates.items() if number} == {ANSWERED}, fates
    assert fates[ANSWERED] >= 20_000
    assert servers >= 6


# --- killed ----------------------------------------------------------------------------------------------------------


def accepted(pid: int, port: int) -> int:
    """How many connections of this port a process has accepted and not yet closed."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] != "0A"}  # 0A: listens
    return sum(str(entry.readlink()) in sockets for entry in Path(f"/proc/{pid}/fd").iterdir())


def kill(pid: int, port: int) -> int:
    """Kill a process as it stands; say how many connections it had."""
    os.kill(pid, signal.SIGSTOP)  # so that it accepts none while they are counted
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
    had = accepted(pid, port)
    os.kill(pid, signal.SIGKILL)
    return had


def moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def deaths(service: Service) -> list[tuple[dict[str, Any], float]]:
    """Each death that the log tells of, and the seconds until the process was started again."""
    events = service.events("process.")
    return [
        (
            died,
            next(
                moment(event) - moment(died)
                for event in events[at:]
                if event["event"] == "process.started" and event["process"] == died["process"]
            ),
        )
        for at, died in enumerate(events)
        if died["event"] == "process.died"
    ]


def test_killed_under_load(sandbox_database: Database) -> None:
    """A worker that is killed loses what it had accepted and no more, is replaced at once, and is counted."""
    workers = 8
    with Service(sandbox_database.reader, {"WHOISD_SERVER__WORKERS": str(workers)}) as service:
        first = {name: pid for name, pid in service.pids().items() if name.startswith("worker")}
        time.sleep(10.5)  # who dies within ten seconds of its start is replaced more slowly: see below
        with Load((service.host, service.port), known(service), clients=CLIENTS) as load:
            had, noticed = 0, []
            for number, pid in enumerate(first.values(), 1):
                had += kill(pid, service.port)
                killed = time.time()
                noticed.append(moment(service.wait_for_event("process.died", number)) - killed)
                time.sleep(0.3)
            for _ in seconds(time.monotonic(), 60):
                if load.enough():
                    break
            fates = load.end()
        figures = service.wait_for_figure(0, "whoisd_connections_open")
        assert figures.sum("whoisd_restarts_total") == workers
        assert figures.sum("whoisd_workers") == workers
        now = {name: pid for name, pid in service.pids().items() if name.startswith("worker")}
        assert first.keys() == now.keys()
        assert not set(first.values()) & set(now.values())
    lost = fates[RESET] + fates[EMPTY]
    assert fates[ANSWERED] >= 20_000
    assert fates[ANSWERED] + lost == fates.total(), fates
    assert lost <= had <= workers * CLIENTS
    found = deaths(service)
    assert [(died["process"], died["how"], died["pause"]) for died, _ in found] == [
        (name, "signal SIGKILL", 0.0) for name in first
    ]
    assert statistics.median(noticed) < 0.2  # where nobody tells of a death it takes half a second to see
    assert statistics.median(until for _, until in found) < 0.2


def test_killed_while_others_wait(sandbox_database: Database) -> None:
    """Who has connected and is not yet accepted is answered by the next worker, were all killed that there are."""
    with Service(sandbox_database.reader) as service:
        answers = known(service)
        workers = [pid for name, pid in service.pids().items() if name.startswith("worker")]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        queued = [(service.connect(), query) for query in QUERIES * 50]
        for client, query in queued:
            client.sendall(query)
        assert [kill(pid, service.port) for pid in workers] == [0] * len(workers)
        for client, query in queued:
            with client:
                assert receive(client) == answers[query]


def test_worker_that_keeps_dying(sandbox_database: Database) -> None:
    """The pauses grow before a worker that keeps dying is started again, others serve meanwhile, and it is forgiven."""
    pauses = [0.0, 0.5, 1.0, 2.0]
    with Service(sandbox_database.reader) as service:
        answers = known(service)
        for number, _ in enumerate(pauses, 1):
            os.kill(service.pids()["worker 1"], signal.SIGKILL)
            service.wait_for_event("process.died", number)
            while len(service.events("process.started")) < 3 + number:
                assert {query: service.exchange(query) for query in QUERIES} == answers
        restarted = time.monotonic()
        service.wait_for_figure(len(pauses), "whoisd_restarts_total")
        time.sleep(restarted + 10.5 - time.monotonic())
        os.kill(service.pids()["worker 1"], signal.SIGKILL)
        service.wait_for_event("process.started", 3 + len(pauses) + 1)
    found = deaths(service)
    assert [died["pause"] for died, _ in found] == [*pauses, 0.0]
    for died, until in found:
        assert died["pause"] - 0.01 <= until < died["pause"] + 1  # it looks each half second


def test_connections_of_the_dead_are_given_back(sandbox_database: Database) -> None:
    """What a killed worker had open no longer counts: a source that was at its cap may connect as often as before."""
    with Service(sandbox_database.reader, {"WHOISD_LIMITS__CONNECTIONS": "5"}) as service:
        whole = service.exchange(QUERIES[0])
        for deaths_so_far in (2, 4):
            service.wait_for_figure(0, "whoisd_connections_open")
            with ExitStack() as held:
                clients = [held.enter_context(service.connect()) for _ in range(5)]
                service.wait_for_figure(5, "whoisd_connections_open")
                assert service.exchange(QUERIES[0]).startswith(b"WHOIS LIMIT EXCEEDED. ")
                service.wait_for_figure(5, "whoisd_connections_open")
                workers = [pid for name, pid in service.pids().items() if name.startswith("worker")]
                assert sum(kill(pid, service.port) for pid in workers) == 5
                assert [receive(client) for client in clients] == [b""] * 5
            service.wait_for_event("process.started", 3 + deaths_so_far)
            service.wait_for_figure(0, "whoisd_connections_open")
            assert service.exchange(QUERIES[0]) == whole
