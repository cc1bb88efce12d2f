"""A worker that stands still: it is noticed, killed and replaced, and meanwhile the others serve."""

import os
import signal
import time

from support import Database, Service

from whoisd.server.fleet import HANGS_AFTER


def test_worker_that_hangs_is_replaced(sandbox_database: Database) -> None:
    """A worker that gives no sign of life for 20 seconds is killed and replaced; the others serve all the time."""
    with Service(sandbox_database.reader) as service:
        hung = service.pids()["worker 1"]
        os.kill(hung, signal.SIGSTOP)
        begun = time.monotonic()
        while not service.events("process.died"):
            assert time.monotonic() - begun < 2 * HANGS_AFTER
            client = service.connect()  # the one that hangs has accepted nothing: it stands still
            client.sendall(b"HELP\r\n")
            with client:
                assert client.recv(1) == b"#"
            time.sleep(0.2)
        assert HANGS_AFTER - 2 < time.monotonic() - begun < HANGS_AFTER + 5
        assert service.wait_for_event("process.hangs")["process"] == "worker 1"
        service.wait_for_figure(2, "whoisd_workers")
        assert service.pids()["worker 1"] != hung
        assert service.figures().sum("whoisd_restarts_total") == 1


def test_all_workers_hang(sandbox_database: Database) -> None:
    """While no worker turns the server is not ready, though it lives; when they are replaced it is, and serves."""
    with Service(sandbox_database.reader) as service:
        workers = [pid for name, pid in service.pids().items() if name != "observer"]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        service.wait_for_figure(0, "whoisd_workers")
        assert service.http("/readyz") == (503, "no worker accepts\n")
        assert service.http("/livez") == (200, "alive\n")
        with service.connect() as waits:
            waits.sendall(b"HELP\r\n")
            waits.settimeout(2 * HANGS_AFTER)
            assert waits.recv(1) == b"#"
        service.wait_for_figure(2, "whoisd_workers")
        assert service.http("/readyz") == (200, "ready\n")


def test_machine_that_stood_still(sandbox_database: Database) -> None:
    """When all stood still, the supervisor too, as a machine does that sleeps, no worker is taken for hung."""
    with Service(sandbox_database.reader) as service:
        pids = [service.process.pid, *service.pids().values()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(HANGS_AFTER + 2)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        service.wait_for_figure(2, "whoisd_workers")
        time.sleep(2)
        assert service.events("process.died") == service.events("process.hangs") == []
