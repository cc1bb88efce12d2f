"""The supervisor: as many workers as there should be, replaced when they die or the configuration changes, ended in order.

A worker that hangs is replaced only after 20 seconds: see tests/faults.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import pytest
from support import PATIENCE, WHOISD, Database, Service, environment, passing_on, receive, until

from whoisd.answers import notices
from whoisd.limits.memory import LEDGER_SIZE

QUERY: Final = b"eksempel.dk\r\n"
ENDS_WITH: Final = notices.FOOT.replace("\n", "\r\n").encode()


class Configured(Service):
    """A server that reads a configuration file, which `configure` writes."""

    def __init__(self, folder: Path, dsn: str) -> None:
        super().__init__(dsn)
        self._settings = {}
        self.dsn = dsn
        self.file = folder / "whoisd.toml"
        # Without any variable of ours: it would win over the file.
        self.command = ("env", "-u", "WHOISD_LIMITS__FILE", WHOISD, "serve", "--config", self.file)

    def __enter__(self) -> Self:
        self.configure()
        return super().__enter__()

    def configure(self, **sections: dict[str, Any]) -> None:
        """Write a file with the settings that a server begins with, but for these."""
        values: dict[str, dict[str, Any]] = {
            "server": {"workers": 2},
            "limits": {"file": str(self.file.with_name("sources")), "rate": "unlimited", "network_rate": "unlimited"},
            "database": {"dsn": self.dsn},
            "answer": {"operator": "First"},
            "log": {"level": "debug"},
            "metrics": {"port": 0},
        }
        listen = sections.pop("listen", {"host": "127.0.0.1", "port": 0})
        network = sections.pop("network", None)
        lines = ["[[listen]]", *_lines(listen), *(["[[network]]", *_lines(network)] if network else [])]
        for name in values | sections:
            lines += [f"[{name}]", *_lines(values.get(name, {}) | sections.get(name, {}))]
        self.file.write_text("\n".join(lines), encoding="utf-8")

    def reload(self, **sections: dict[str, Any]) -> None:
        """Write the file anew and send SIGHUP."""
        self.configure(**sections)
        self.process.send_signal(signal.SIGHUP)


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


@pytest.fixture
def configured(tmp_path: Path, sandbox_database: Database) -> Iterator[Configured]:
    with Configured(tmp_path, sandbox_database.reader) as service:
        yield service


def is_there(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def workers_of(service: Service) -> dict[str, int]:
    return {name: pid for name, pid in service.pids().items() if name != "observer"}


# --- who serves ------------------------------------------------------------------------------------------------------


def test_as_many_workers_as_cpus(sandbox_database: Database) -> None:
    """Without server.workers there is a worker for each CPU that the server may use, and it says so."""
    cpu = min(os.sched_getaffinity(0))
    for cpus in ({cpu}, os.sched_getaffinity(0)):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)
        try:
            service = Service(sandbox_database.reader)
            del service._settings["WHOISD_SERVER__WORKERS"]
            with service:
                assert len(workers_of(service)) == len(cpus)
                assert service.wait_for_event("server.ready")["workers"] == len(cpus)
        finally:
            os.sched_setaffinity(0, before)


def test_all_workers_share_the_sockets(sandbox_database: Database) -> None:
    """Every worker accepts on every socket, IPv4 and IPv6: with all others stopped each one answers on both."""
    listen = [{"host": "127.0.0.1", "port": 0}, {"host": "::1", "port": 0}]
    settings = {"WHOISD_LISTEN": json.dumps(listen), "WHOISD_SERVER__WORKERS": "3"}
    with Service(sandbox_database.reader, settings) as service:
        workers = [*workers_of(service).values()]
        addresses = [(event["host"], event["port"]) for event in service.events("server.listening")]
        assert (len({*workers}), len(addresses)) == (3, 2)
        assert all(is_there(pid) for pid in workers)
        for worker in workers:
            others = [pid for pid in workers if pid != worker]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                for address in addresses:
                    for _ in range(5):
                        assert _asked(address).endswith(ENDS_WITH)
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)


def _asked(address: tuple[str, int]) -> bytes:
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(QUERY)
        return receive(client)


@pytest.mark.alone
@pytest.mark.parametrize("how", [signal.SIGKILL, 40])
def test_process_that_dies_is_replaced_at_once(own_service: Service, how: int) -> None:
    """A worker or the observer that dies is replaced at once, which the log and the metrics say; queries go on."""
    before = own_service.pids()
    begun = time.monotonic()
    for count, name in enumerate(("worker 1", "observer"), start=1):
        os.kill(before[name], how)
        died = own_service.wait_for_event("process.died", count)
        assert died["process"] == name
        assert died["pause"] == 0  # only who dies again soon after its start waits, whatever the others did
        until(lambda name=name: own_service.pids()[name] != before[name])  # type: ignore[misc] # a lambda with a default
        assert own_service.exchange(QUERY).endswith(ENDS_WITH)
    assert time.monotonic() - begun < 5
    own_service.wait_for_figure(2, "whoisd_restarts_total")
    own_service.wait_for_figure(2, "whoisd_workers")
    assert own_service.process.poll() is None


def test_worker_that_somebody_else_tells_to_end(sandbox_database: Database) -> None:
    """A worker that was not told by the supervisor is replaced when it accepts no more, not when its last client is gone."""
    settings = {"WHOISD_SERVER__WORKERS": "1", "WHOISD_SERVER__GRACE": "15", "WHOISD_SERVER__READ_TIMEOUT": "30"}
    with Service(sandbox_database.reader, settings) as service, service.connect() as slow:
        slow.sendall(b"punktum")
        service.wait_for_figure(1, "whoisd_connections_open")
        worker = service.pids()["worker 1"]
        os.kill(worker, signal.SIGTERM)
        until(lambda: service.pids()["worker 1"] != worker, "it was not replaced")
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        assert is_there(worker)
        slow.sendall(b".dk\r\n")
        assert receive(slow).endswith(ENDS_WITH)
        assert service.wait_for_event("process.died")["process"] == "worker 1"
        service.wait_for_figure(1, "whoisd_workers")
        service.wait_for_figure(1, "whoisd_restarts_total")


def test_death_costs_none_that_waits(sandbox_database: Database) -> None:
    """Whoever waits in the queue when all workers die is answered by those that follow."""
    with Service(sandbox_database.reader) as service:
        workers = [*workers_of(service).values()]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        clients = [service.connect() for _ in range(20)]
        for client in clients:
            client.sendall(QUERY)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for client in clients:
            with client:
                assert receive(client).endswith(ENDS_WITH)


@pytest.mark.plain
def test_worker_that_cannot_begin(sandbox_database: Database, tmp_path: Path) -> None:
    """A worker that cannot even begin, as where the machine has no open file left, says why; the others serve on."""
    full = tmp_path / "full"
    begin = f"""
import errno, pathlib, whoisd.server.context
def poller(loop, make=whoisd.server.context.Poller):
    if pathlib.Path({str(full)!r}).exists():
        raise OSError(errno.ENFILE, "")
    return make(loop)
whoisd.server.context.Poller = poller
from whoisd.commands.cli import main
main(["serve"])
"""
    service = Service(sandbox_database.reader)
    service.command = (sys.executable, "-c", begin)
    with service:
        full.touch()
        os.kill(service.pids()["worker 1"], signal.SIGKILL)
        assert service.wait_for_event("server.fault")["fault"].startswith("OSError at ")
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        full.unlink()
        service.wait_for_figure(2, "whoisd_workers")


def test_file_of_limits_that_is_cut_off(sandbox_database: Database, tmp_path: Path) -> None:
    """Should somebody empty the file of rates and bans under the server, it is made anew, and queries and limits go on."""
    file = tmp_path / "sources"
    settings = {"WHOISD_LIMITS__FILE": str(file), "WHOISD_LIMITS__RATE": "1", "WHOISD_LIMITS__BURST": "1"}
    with Service(sandbox_database.reader, settings) as service:
        file.write_bytes(b"")
        with suppress(ConnectionError):  # the worker that this one meets is lost
            service.exchange(QUERY)
        service.wait_for_event("limits.renewed")
        service.wait_for_event("server.ready", 2)
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        assert service.exchange(QUERY).startswith(b"WHOIS LIMIT EXCEEDED. ")
        assert file.stat().st_size == LEDGER_SIZE
        assert service.figures().sum("whoisd_bans_in_force", scope="source") == 1


# --- reload ----------------------------------------------------------------------------------------------------------


def test_reload_applies(configured: Configured) -> None:
    """SIGHUP applies a good file and replaces every process; a connection that an old worker has open gets its answer."""
    before = configured.pids()
    held = [configured.connect() for _ in range(8)]
    for client in held:
        client.sendall(QUERY[:4])
    configured.wait_for_figure(8, "whoisd_connections_open")
    network = {"name": "probes", "cidrs": ["127.0.0.0/8"], "rate": "unlimited"}
    configured.reload(answer={"operator": "Second"}, network=network, log={"level": "info"})
    configured.wait_for_event("config.reloaded")
    configured.wait_for_event("server.ready", 2)
    answer = configured.exchange(QUERY)
    assert b" by Second\r\n" in answer
    assert configured.wait_for_event("query.answered")["network"] == "probes"
    for client in held:
        with client:
            client.sendall(QUERY[4:])
            assert b" by First\r\n" in receive(client)
    until(lambda: not any(is_there(pid) for pid in before.values()))
    figures = configured.wait_for_figure(0, "whoisd_connections_open")
    assert figures.by("result", "whoisd_config_reloads_total") == {"applied": 1}
    assert figures.sum("whoisd_config_last_reload_successful") == 1
    assert figures.sum("whoisd_refusals_total", network="probes") == 0
    assert figures.sum("whoisd_restarts_total") == 0
    # At level info no process is announced any more.
    assert configured.pids() == before


FAULTY: Final[dict[str, dict[str, Any]]] = {
    "answer.operatr": {"answer": {"operatr": "S3cret"}},
    "limits.rate": {"limits": {"rate": "S3cret"}},
    "database.dsn": {"database": {"dsn": "S3cret"}},
    "network.0.name": {"network": {"name": "S3cret", "cidrs": ["192.0.2.0/24"], "rate": 1}},
}


def test_bad_file_is_rejected(configured: Configured) -> None:
    """SIGHUP with a bad file keeps the old one; the log has file and key and no value; the metrics count it.

    So has one that is no TOML, or is not there. A good one after that is applied, and all is well again.
    """
    before = configured.pids()
    for count, (key, changes) in enumerate(FAULTY.items(), start=1):
        configured.reload(**changes)
        faults = configured.wait_for_event("config.rejected", count)["faults"]
        assert faults
        assert all(fault.startswith(f"{configured.file}: {key}") for fault in faults)
        figures = configured.wait_for_figure(count, "whoisd_config_reloads_total", result="rejected")
        assert figures.sum("whoisd_config_last_reload_successful") == 0
        assert b" by First\r\n" in configured.exchange(QUERY)
    configured.file.write_text("[answer\nS3cret")
    configured.process.send_signal(signal.SIGHUP)
    assert "is not TOML" in configured.wait_for_event("config.rejected", 5)["faults"][0]
    configured.file.unlink()
    configured.process.send_signal(signal.SIGHUP)
    assert configured.wait_for_event("config.rejected", 6)["faults"] == [
        f"{configured.file}: cannot be read: No such file or directory"
    ]
    assert b" by First\r\n" in configured.exchange(QUERY)
    assert configured.pids() == before
    assert "S3cret" not in configured.log()
    configured.reload(answer={"operator": "Second"})
    configured.wait_for_event("server.ready", 2)
    configured.wait_for_figure(1, "whoisd_config_last_reload_successful")
    assert b" by Second\r\n" in configured.exchange(QUERY)
    figures = configured.figures()
    assert figures.by("result", "whoisd_config_reloads_total") == {"applied": 1, "rejected": 6}


def test_what_takes_a_restart_is_named(configured: Configured) -> None:
    """A change that a reload cannot make is rejected, and each such key is named."""
    configured.reload(
        answer={"operator": "Second"},
        listen={"host": "127.0.0.2", "port": 0},
        server={"workers": 3},
        limits={"file": f"{configured.file}.sources"},
        metrics={"enabled": False},
    )
    assert configured.wait_for_event("config.rejected")["faults"] == [
        f"{key}: a change of it takes a restart" for key in ("listen", "server.workers", "limits.file", "metrics")
    ]
    assert b" by First\r\n" in configured.exchange(QUERY)
    assert configured.figures().sum("whoisd_config_last_reload_successful") == 0


def test_named_network_has_its_own_figures(configured: Configured) -> None:
    """A network that takes the place of another begins at no refusals; what comes back goes on from where it was."""

    def reload(name: str, count: int) -> None:
        configured.reload(network={"name": name, "cidrs": ["127.0.0.0/8"], "rate": 0.001, "burst": 1})
        configured.wait_for_event("server.ready", count)
        configured.wait_for_figure(count - 1, "whoisd_config_reloads_total", result="applied")

    reload("first", 2)
    for _ in range(4):
        configured.exchange(QUERY)
    assert configured.wait_for_figure(3, "whoisd_refusals_total", network="first")
    reload("second", 3)
    until(lambda: any(it.labels.get("network") == "second" for it in configured.figures().samples))
    assert configured.figures().sum("whoisd_refusals_total", network="second") == 0
    configured.exchange(QUERY)
    configured.wait_for_figure(1, "whoisd_refusals_total", network="second")
    reload("first", 4)
    until(lambda: any(it.labels.get("network") == "first" for it in configured.figures().samples))
    assert configured.figures().sum("whoisd_refusals_total", network="first") == 3


def test_scrape_outlives_a_reload(configured: Configured) -> None:
    """A request for the metrics that is under way when the observer is replaced gets its answer."""
    before = configured.pids()["observer"]
    port = configured.events("metrics.listening")[0]["port"]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as scraper:
        scraper.sendall(b"GET /livez HTTP/1.0\r\n")
        configured.figures()  # so that the one before was accepted
        configured.reload(answer={"operator": "Second"})
        configured.wait_for_event("server.ready", 2)
        for _ in range(20):
            assert configured.http("/livez") == (200, "alive\n")
        scraper.sendall(b"\r\n")
        assert receive(scraper).endswith(b"alive\n")
    until(lambda: not is_there(before))


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.alone
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_end(sandbox_database: Database, how: int) -> None:
    """Told to stop, even twice, it stops accepting, lets open connections end, cuts the rest after the grace period.

    It ends with status 0, and no process is left.
    """
    with Service(sandbox_database.reader, {"WHOISD_SERVER__GRACE": "0.7"}) as service:
        pids = service.pids()
        with service.connect() as ends, service.connect() as stays:
            for client in (ends, stays):
                client.sendall(QUERY[:4])
            service.wait_for_figure(2, "whoisd_connections_open")
            begun = time.monotonic()
            service.process.send_signal(how)
            until(lambda: _is_refused(service))
            assert service.http("/readyz") == (503, "the server stops\n")
            service.process.send_signal(how)
            service.process.send_signal(signal.SIGHUP)
            ends.sendall(QUERY[4:])
            assert receive(ends).endswith(ENDS_WITH)
            ends.close()
            with suppress(ConnectionResetError):
                assert stays.recv(1) == b""
            assert time.monotonic() - begun >= 0.6
            assert service.process.wait(PATIENCE) == 0
            assert time.monotonic() - begun < 6
        assert not any(is_there(pid) for pid in pids.values())
        outcomes = [event["outcome"] for event in service.events("query")]
        assert sorted(outcome for outcome in outcomes if outcome != "no_query") == ["client_gone", "found"]
        assert service.events("config") == service.events("process.died") == []
        assert service.events()[-1]["event"] == "server.stopped"


def _is_refused(service: Service) -> bool:
    try:
        service.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_end_of_a_killed_supervisor(sandbox_database: Database) -> None:
    """When the supervisor is killed its processes end too, having answered who had connected, and the port is free."""
    with Service(sandbox_database.reader) as service, service.connect() as client:
        pids = service.pids()
        client.sendall(QUERY[:4])
        service.wait_for_figure(1, "whoisd_connections_open")
        service.process.kill()
        service.process.wait(PATIENCE)
        try:
            until(lambda: _is_refused(service))
            client.sendall(QUERY[4:])
            assert receive(client).endswith(ENDS_WITH)
            client.close()
            until(lambda: not any(is_there(pid) for pid in pids.values()))
            socket.create_server((service.host, service.port)).close()
        finally:
            for pid in filter(is_there, pids.values()):
                os.kill(pid, signal.SIGKILL)  # nobody else ends them now


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_notifications(sandbox_database: Database, tmp_path: Path) -> None:
    """It tells systemd READY once all workers serve, RELOADING and READY at a reload, STOPPING, and often that it lives."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(name)
        notify.settimeout(PATIENCE)
        said: list[tuple[float, str]] = []

        def wait_for(state: str) -> None:
            while True:
                said.extend((time.monotonic(), line) for line in notify.recv(4096).decode().splitlines())
                if said[-1][1].startswith("MONOTONIC_USEC="):
                    del said[-1]
                if said[-1][1] == state:
                    return

        settings = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000000"}
        reading = ThreadPoolExecutor(1)
        ready = reading.submit(wait_for, "READY=1")  # a full queue would hold the server up
        with reading, Service(sandbox_database.reader, settings) as service:
            ready.result(PATIENCE)
            assert {state for _, state in said} == {"WATCHDOG=1", "READY=1"}
            assert len(workers_of(service)) == 2
            assert service.exchange(QUERY).endswith(ENDS_WITH)
            del said[:]
            service.process.send_signal(signal.SIGHUP)
            wait_for("RELOADING=1")
            before = {*service.pids().values()}
            wait_for("READY=1")
            assert len([pid for pid in workers_of(service).values() if pid not in before]) == 2
            for _ in range(4):
                wait_for("WATCHDOG=1")
            signs = [moment for moment, state in said if state == "WATCHDOG=1"]
            assert max(second - first for first, second in pairwise(signs)) < 1.9
            service.process.send_signal(signal.SIGTERM)
            wait_for("STOPPING=1")
            notify.close()
            assert service.process.wait(PATIENCE) == 0


def test_not_ready_before_the_workers_serve(tmp_path: Path) -> None:
    """READY is not said while the workers do not serve yet; they wait for a database no longer than the deadline."""
    name = str(tmp_path / "notify")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # a database that takes the connection and says nothing
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        ThreadPoolExecutor(1) as reading,
    ):
        notify.bind(name)
        notify.settimeout(PATIENCE)

        def seconds_to_ready() -> float:
            begun = time.monotonic()
            while notify.recv(4096) != b"READY=1":
                pass
            return time.monotonic() - begun

        seconds = reading.submit(seconds_to_ready)
        dsn = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with Service(dsn, {"NOTIFY_SOCKET": name, "WHOISD_DATABASE__DEADLINE": "1"}) as service:
            assert seconds.result(PATIENCE) > 1
            notify.close()
            assert service.ask("eksempel.dk") == notices.TEMPORARY_FAILURE.replace("\n", "\r\n")


def test_inherited_sockets_are_served(sandbox_database: Database) -> None:
    """On a socket that is passed on the server serves; who connects while none runs is answered by the next."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        settings = {"WHOISD_LISTEN": json.dumps([dict(zip(("host", "port"), held.getsockname(), strict=True))])}
        for _ in range(2):
            early = socket.create_connection(held.getsockname(), PATIENCE)
            early.sendall(QUERY)
            with _Inheriting(sandbox_database.reader, settings, held), early:
                assert receive(early).endswith(ENDS_WITH)


# --- what cannot be started ------------------------------------------------------------------------------------------


def refused(settings: dict[str, str], *passed_on: socket.socket) -> str:
    """What a server that cannot be started says; it ends with status 2 and one line."""
    numbers = [each.fileno() for each in passed_on]
    ended = subprocess.run(
        [*(passing_on(*numbers) if numbers else []), WHOISD, "serve"],
        env=environment({"WHOISD_DATABASE__DSN": "postgresql://nobody@/nothing", "WHOISD_METRICS__PORT": "0"} | settings),
        pass_fds=numbers,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    return ended.stderr.removesuffix("\n")


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    """A port that is taken, a file that cannot be written, a socket in no section: one line that names it, and status 2."""
    anywhere = {"WHOISD_LISTEN": '[{"host": "127.0.0.1", "port": 0}]', "WHOISD_LIMITS__FILE": str(tmp_path / "sources")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused(anywhere | {"WHOISD_METRICS__PORT": str(port)}) == (
            f"whoisd: metrics: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another port"
        )
        assert refused(anywhere | {"WHOISD_LISTEN": json.dumps([{"host": "127.0.0.1", "port": port}])}) == (
            f"whoisd: listen.0: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another port"
        )
        assert refused(anywhere, taken) == (
            f"whoisd: listen: a socket on 127.0.0.1 port {port} was passed on; add a [[listen]] section for it"
        )
    file = tmp_path / "file"
    file.touch()
    said = refused(anywhere | {"WHOISD_LIMITS__FILE": str(file / "sources")})
    assert said.startswith(f"whoisd: limits.file: {file}/sources: ")
    assert "name a file that the server's account may write" in said
    directory = tmp_path / "directory"
    directory.mkdir()
    assert refused(anywhere | {"WHOISD_LIMITS__FILE": str(directory)}).startswith(f"whoisd: limits.file: {directory}: ")


class _Inheriting(Service):
    """A server with a socket that is passed on to it."""

    def __init__(self, dsn: str, settings: dict[str, str], held: socket.socket) -> None:
        super().__init__(dsn, settings)
        self.command = (*passing_on(held.fileno()), WHOISD, "serve")
        self.pass_fds = (held.fileno(),)


class _Unread(Service):
    """A server whose log is read only while `reading` is set, until it is no more."""

    def __init__(self, dsn: str, settings: dict[str, str] | None = None) -> None:
        super().__init__(dsn, settings)
        self.reading = threading.Event()
        self.reading.set()
        self.gone = False

    def _start(self) -> None:
        self.process = subprocess.Popen(self.command, env=environment(self._settings), stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as stderr, self._log.open("ab", buffering=0) as read:
            for line in stderr:
                read.write(line)
                if self.gone:
                    return
                self.reading.wait()

    def _end(self) -> None:
        self.reading.set()
        super()._end()
        self._reader.join()


# --- the log ---------------------------------------------------------------------------------------------------------


def test_log_that_nobody_reads(sandbox_database: Database) -> None:
    """When nobody reads the log answers go on, the lines that are lost are counted, and later ones are written whole."""
    with _Unread(sandbox_database.reader, {"WHOISD_SERVER__WORKERS": "4"}) as service:
        service.reading.clear()
        with ThreadPoolExecutor(8) as clients:  # 200 bytes a line and more: the pipe has 64 KiB
            assert all(answer.endswith(ENDS_WITH) for answer in clients.map(service.exchange, [QUERY] * 1500))
        until(lambda: service.figures().sum("whoisd_queries_total") == 1500)
        lost = service.figures().sum("whoisd_log_lines_lost_total")
        service.process.send_signal(signal.SIGHUP)  # which the supervisor logs, or not
        service.wait_for_figure(1, "whoisd_config_reloads_total", result="applied")
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        service.reading.set()
        until(lambda: len(service.events("query")) > 100)
    assert lost > 500
    written = len(service.events("query"))
    assert abs(1501 - lost - written) <= 1  # the reload's lines are not queries


def test_log_whose_reader_is_gone(sandbox_database: Database) -> None:
    """When the reader of the log is gone answers go on, and the lines that are lost are counted."""
    with _Unread(sandbox_database.reader) as service:
        service.wait_for_event("store.connected", 2)  # of each worker, which on a busy machine is told after `server.ready`
        service.gone = True
        for _ in range(100):
            assert service.exchange(QUERY).endswith(ENDS_WITH)
        until(lambda: service.figures().sum("whoisd_log_lines_lost_total") >= 98)
        assert (
            service.figures().sum("whoisd_log_lines_lost_total") < 110
        )  # a busy machine makes a line of its own, not twice a line


# --- what a reload must not do -----------------------------------------------------------------------------------


def test_default_file_that_is_gone(tmp_path: Path, sandbox_database: Database) -> None:
    """A reload without the file that the server was started with is refused: its limits and its withholding stay."""
    file = tmp_path / "whoisd.toml"
    file.write_text("[disclosure]\nin_force_from = 2100-01-01T00:00:00Z\n")
    service = Service(sandbox_database.reader)
    run = f"import pathlib, whoisd.config; whoisd.config.DEFAULT_FILE = pathlib.Path({str(file)!r})"
    service.command = (sys.executable, "-c", f"{run}; from whoisd.commands.cli import main; main(['serve'])")
    with service:
        assert "DATA REDACTED" in service.ask("--show-handles punktum.dk").partition("Email:")[2]
        file.unlink()
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_event("config.rejected")
        assert "info@punktum.dk" not in service.ask("--show-handles punktum.dk")


def test_whatever_is_in_the_file(configured: Configured) -> None:
    """No file, however odd, ends the server; of many faults the log names some and their number, in a short line."""
    odd = ["x = " + "[" * 3000, "[limits]\nburst = " + "9" * 5000, "\x00", "\ud800"]
    for count, text in enumerate(odd, start=1):
        configured.file.write_bytes(text.encode(errors="surrogatepass"))
        configured.process.send_signal(signal.SIGHUP)
        configured.wait_for_event("config.rejected", count)
    configured.file.write_text("\n".join(f"key_{number} = 1" for number in range(500)))
    configured.process.send_signal(signal.SIGHUP)
    rejected = configured.wait_for_event("config.rejected", len(odd) + 1)
    assert (rejected["number"], len(rejected["faults"])) == (501, 10)  # and no database
    assert len(json.dumps(rejected)) < 4096
    assert configured.exchange(QUERY).endswith(ENDS_WITH)
    assert configured.process.poll() is None


def test_faults_in_a_file_whose_name_is_no_text(tmp_path: Path, sandbox_database: Database) -> None:
    """A reload is refused, and no more, also where the name of the file is not UTF-8, and so no text that JSON can hold."""
    service = Configured(tmp_path, sandbox_database.reader)
    service.file = tmp_path / os.fsdecode("blå.toml".encode("iso-8859-1"))
    service.command = (*service.command[:-1], service.file)
    with service:
        service.file.write_text("[")
        service.process.send_signal(signal.SIGHUP)
        [fault] = service.wait_for_event("config.rejected")["faults"]
        assert fault.startswith(f"{service.file}: is not TOML")
        assert service.exchange(QUERY).endswith(ENDS_WITH)
        assert service.process.poll() is None


def test_too_few_descriptors_at_a_reload(configured: Configured) -> None:
    """A reload that finds no room for connections is refused, and the server goes on."""
    resource.prlimit(configured.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    configured.reload(answer={"operator": "Second"})
    assert "RLIMIT_NOFILE" in configured.wait_for_event("config.rejected")["faults"][0]
    assert b" by First\r\n" in configured.exchange(QUERY)


def test_reload_waits_for_slow_clients(configured: Configured) -> None:
    """A client that was there before a reload has all the time that it had, however short the grace at stop is."""
    configured.reload(server={"workers": 2, "grace": 0.1})
    configured.wait_for_event("server.ready", 2)
    with configured.connect() as client:
        client.sendall(b"punktum")
        time.sleep(0.2)
        configured.reload(server={"workers": 2, "grace": 0.1}, answer={"operator": "Second"})
        configured.wait_for_event("server.ready", 3)
        time.sleep(1)
        client.sendall(b".dk\r\n")
        assert receive(client).endswith(ENDS_WITH)


@pytest.mark.alone
def test_stop_while_old_workers_end(configured: Configured) -> None:
    """A stop cuts the connections of replaced workers too, when the grace period is over."""
    configured.reload(server={"workers": 2, "grace": 0.5})
    configured.wait_for_event("server.ready", 2)
    with configured.connect() as client:
        client.sendall(b"punktum")
        time.sleep(0.2)
        configured.reload(server={"workers": 2, "grace": 0.5}, answer={"operator": "Second"})
        configured.wait_for_event("server.ready", 3)
        begun = time.monotonic()
        configured.process.send_signal(signal.SIGTERM)
        assert configured.process.wait(PATIENCE) == 0
        assert 0.4 < time.monotonic() - begun < 4


def test_crowd_at_the_door(sandbox_database: Database) -> None:
    """However many connections of one source are refused, others are served, named networks among them."""
    settings = {
        "WHOISD_SERVER__WORKERS": "1",
        "WHOISD_SERVER__MAX_CONNECTIONS": "50",
        "WHOISD_LIMITS__CONNECTIONS": "5",
        "WHOISD_SERVER__READ_TIMEOUT": "60",
        "WHOISD_NETWORK": json.dumps(
            [{"name": "probes", "cidrs": ["127.5.0.0/16"], "rate": "unlimited", "connections": 10}]
        ),
    }
    with Service(sandbox_database.reader, settings) as service:
        held = []
        for number in range(300):
            held.append(service.connect("127.6.6.6"))
            if number % 10 == 9:
                for source in (f"127.5.0.{number // 10 + 1}", f"127.7.0.{number // 10 + 1}"):
                    assert service.exchange(QUERY, source).endswith(ENDS_WITH)
        for client in held:
            client.close()
        until(lambda: len(service.events("query.refused")) >= 295)
        assert Counter(event["fault"] for event in service.events("query.refused")) == {"source_connections": 295}
