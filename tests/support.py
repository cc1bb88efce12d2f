"""What the tests share: a real server process, a real socket to it, and registrants and domains to dress as a test needs."""

import asyncio
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import date
from http.client import HTTPConnection
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
import pytest
import structlog
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from whoisd.answers.disclosure import Conditions
from whoisd.answers.model import CvrForm, CvrStanding, Domain, DomainStatus, Host, Registrant, RegistrantKind
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.answers.wire import Charset
from whoisd.commands.cli import main
from whoisd.database.store import Store
from whoisd.errors import StoreError
from whoisd.sandbox.postgres import Cluster

WHOISD: Final = Path(sys.executable).with_name("whoisd")
PATIENCE: Final = 60.0  # seconds that a test waits for what must come; none waits them where all is well
NOWHERE: Final = "postgresql://whoisd_owner:hunter2@/whois?host=/nonexistent"  # a database that never answers


_END_SESSIONS: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"

# What the email rules look at besides the registrant: as it is by default, and before they entered into force.
IN_FORCE: Final = Conditions(in_force=True, fresh=True, listed_only=False)
NOT_YET: Final = replace(IN_FORCE, in_force=False)


@dataclass(frozen=True)
class Database:
    """A database of its own, with the predefined data of the sandbox in it."""

    cluster: Cluster
    name: str

    @property
    def reader(self) -> str:
        return self.cluster.dsn("whoisd_reader", self.name)

    @property
    def owner(self) -> str:
        return self.cluster.dsn("whoisd_owner", self.name)

    @property
    def superuser(self) -> str:
        return self.cluster.dsn("postgres", self.name)

    def allow(self, *, connections: bool) -> None:
        """Let nobody in, and end who is in; or let everybody in again."""

        async def change() -> None:
            superuser = await asyncpg.connect(self.cluster.dsn("postgres", "postgres"))
            await superuser.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS {connections}")
            if not connections:
                await superuser.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self.name
                )
            await superuser.close()

        asyncio.run(change())

    async def execute(self, sql: str, *arguments: object) -> None:
        """Run plain SQL as the owner, committed when this returns."""
        connection = await asyncpg.connect(self.owner)
        try:
            await connection.execute(sql, *arguments)
        finally:
            await connection.close()


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[], str]) -> str:
    """Return a text that takes long to make: made by the first process of the run that needs it, while the others wait."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make()
    file = factory.getbasetemp().parent / name
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(make(), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that we start: ours without our own settings, and with these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WHOISD_")}
    return ours | {"PYTHONWARNINGS": "error"} | dict(settings or {})


def run_whoisd(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [WHOISD, *arguments], env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )


def run_here(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in this process, for tests of what it says and not of how it starts, ends or is printed."""
    theirs = {name: None for name in os.environ if name.startswith("WHOISD_")} | dict(settings or {})
    with ThreadPoolExecutor(1) as thread:  # where no loop is running yet, as one is in a test of ours
        ran = thread.submit(CliRunner().invoke, main, [*map(str, arguments)], env=theirs).result(PATIENCE)
    structlog.reset_defaults()  # a command configures the log of its process, which is ours
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return subprocess.CompletedProcess(arguments, ran.exit_code, ran.stdout, ran.stderr)


def run_query(dsn: str, *words: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run `whoisd query` to its end."""
    return subprocess.run(
        [WHOISD, "query", "--", *words],
        env=environment({"WHOISD_DATABASE__DSN": dsn}),
        capture_output=True,
        timeout=60,
        check=False,
    )


def ended(ran: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command, which tells neither a traceback nor a password."""
    assert "Traceback" not in ran.stderr
    assert "hunter2" not in ran.stdout + ran.stderr
    return ran.returncode, ran.stdout, ran.stderr


class Figures:
    """What /metrics says, to be asked by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name that have these labels, of which there must be one at least."""
        found = [sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def by(self, label: str, name: str) -> dict[str, float]:
        """What is not zero of the samples of this name, summed up by this label."""
        found: dict[str, float] = {}
        for sample in self.samples:
            if sample.name == name and sample.value:
                found[sample.labels[label]] = found.get(sample.labels[label], 0) + sample.value
        return found


def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for what must come to be."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    """Tell a process to end and see that it does; one that does not is killed, and fails the test."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def said_by(code: str, *arguments: str, passing: Sequence[int] = (), **settings: str) -> str:
    """What a Python process prints that these descriptors are passed on to; it must end well, and say nothing else."""
    command = [*(passing_on(*passing) if passing else []), sys.executable, "-c", code, *arguments]
    ended = subprocess.run(
        command,
        env=environment(settings),
        pass_fds=passing,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


class Service(AbstractContextManager["Service"]):
    """`whoisd serve` as its own process on a free port; settings are given as environment variables."""

    command: Sequence[str | Path] = (WHOISD, "serve")
    pass_fds: Sequence[int] = ()
    awaits = "server.ready"  # the event after which it is taken to have started

    def __init__(self, dsn: str, settings: Mapping[str, str] | None = None, *, host: str = "127.0.0.1") -> None:
        self.host = host
        self._settings = {
            "WHOISD_DATABASE__DSN": dsn,
            "WHOISD_LISTEN": json.dumps([{"host": host, "port": 0}]),
            "WHOISD_LOG__LEVEL": "debug",
            "WHOISD_SERVER__WORKERS": "2",
            "WHOISD_METRICS__PORT": "0",
            # A test is one source, and asks much; those of limits set their own.
            "WHOISD_LIMITS__RATE": "unlimited",
            "WHOISD_LIMITS__NETWORK_RATE": "unlimited",
            "WHOISD_LIMITS__CONNECTIONS": "10000",
            "WHOISD_LIMITS__NETWORK_CONNECTIONS": "10000",
        } | dict(settings or {})

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._settings.setdefault("WHOISD_LIMITS__FILE", f"{self._folder.name}/sources")
        self._log = Path(self._folder.name, "log")
        self._log.touch()
        self._all_of_log = b""
        self._start()
        self.port = int(self.wait_for_event("server.listening")["port"])
        self.wait_for_event(self.awaits)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
        finally:
            self._all_of_log = self._log.read_bytes()
            self._folder.cleanup()

    def _start(self) -> None:
        """Start the process. Its log is a file, for a pipe that is read too slowly costs lines of it."""
        with self._log.open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command, env=environment(self._settings), stderr=stderr, pass_fds=self.pass_fds
            )

    def _end(self) -> None:
        end(self.process)

    def log(self) -> str:
        """All whole lines that the process has written so far."""
        written = self._all_of_log or self._log.read_bytes()
        return written.rpartition(b"\n")[0].decode()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log's events so far whose names begin so; a line that is no JSON fails the test."""
        events = [json.loads(line) for line in self.log().splitlines()]
        return [event for event in events if event["event"].startswith(name)]

    def wait_for_event(self, name: str, count: int = 1) -> dict[str, Any]:
        """The `count`th event whose name begins so, as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while len(found := self.events(name)) < count:
            assert time.monotonic() < deadline, f"no {name} in:\n{self.log()}"
            assert self.process.poll() is None, f"ended with:\n{self.log()}"
            time.sleep(0.01)
        return found[count - 1]

    def pids(self) -> dict[str, int]:
        """The process that has each part now, by the part's name: `worker 1`, `observer`. For level debug."""
        return {event["process"]: event["pid"] for event in self.events("process.started")}

    def http(self, path: str) -> tuple[int, str]:
        """The status and text of what the observer answers."""
        port = self.wait_for_event("metrics.listening")["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figures(self) -> Figures:
        """The server's figures now."""
        return Figures(self.http("/metrics")[1])

    def wait_for_figure(self, expected: float, name: str, **labels: str) -> Figures:
        """The figures, as soon as this one is as it must become."""
        deadline = time.monotonic() + PATIENCE
        while (found := (figures := self.figures()).sum(name, **labels)) != expected:
            assert time.monotonic() < deadline, f"{name} {labels} is {found}, not {expected}"
            time.sleep(0.02)
        return figures

    def connect(self, source: str = "") -> socket.socket:
        """A connection, from this address of the machine's own."""
        return socket.create_connection((self.host, self.port), PATIENCE, (source, 0) if source else None)

    def ask(self, query: str | bytes, source: str = "") -> str:
        """Send a query line and return the answer's body and notices as text: UTF-8 where it is, else ISO 8859-1."""
        answer = self.exchange((query.encode() if isinstance(query, str) else query) + b"\r\n", source)
        try:
            return answer.decode()
        except UnicodeDecodeError:
            return answer.decode("iso-8859-1")

    def exchange(self, data: bytes, source: str = "") -> bytes:
        """Send these bytes and return everything until the server closes."""
        with self.connect(source) as client:
            client.sendall(data)
            return receive(client)


class WebService(Service):
    """`whoisd serve` with the HTTP server beside port 43; `listen` is what its section has besides an address."""

    def __init__(
        self, dsn: str, settings: Mapping[str, str] | None = None, *, listen: Mapping[str, object] | None = None
    ) -> None:
        section = {"host": "127.0.0.1", "port": 0} | dict(listen or {})
        super().__init__(dsn, {"WHOISD_HTTP__LISTEN": json.dumps([section])} | dict(settings or {}))

    @property
    def http_port(self) -> int:
        return int(self.wait_for_event("http.listening")["port"])

    def call(self, source: str = "127.0.0.1") -> HTTPConnection:
        """A connection for requests, from this address of the machine's own."""
        return HTTPConnection("127.0.0.1", self.http_port, timeout=PATIENCE, source_address=(source, 0))

    def get(
        self, path: str, source: str = "127.0.0.1", method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of one request, over a connection of its own; `_` in a header's name is a hyphen."""
        with closing(self.call(source)) as client:
            client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = client.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def send(self, data: bytes, source: str = "127.0.0.1") -> bytes:
        """Send these bytes to the HTTP server, and return everything until it closes."""
        with socket.create_connection(("127.0.0.1", self.http_port), PATIENCE, (source, 0)) as client:
            client.sendall(data)
            return receive(client)


def receive(client: socket.socket) -> bytes:
    """Everything until the other side closes; a reset fails the test."""
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def make_certificate(file: Path, name: str) -> None:
    """Make a self-signed certificate for a name, such as `DNS:one.example`, with its key in the same file."""
    key, certificate = f"{file}.key", f"{file}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    parts = ["-subj", f"/CN={name.partition(':')[2]}", "-addext", f"subjectAltName={name}"]
    subprocess.run([*command, *parts, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    file.write_text(Path(certificate).read_text() + Path(key).read_text())


_INHERIT: Final = """
import fcntl, os, sys
held = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for number, descriptor in enumerate(held, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ |= {"LISTEN_FDS": str(len(held)), "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


def passing_on(*descriptors: int) -> list[str]:
    """What stands before a command so that it inherits these as systemd passes them on; Popen is to pass them too."""
    return [sys.executable, "-c", _INHERIT, ",".join(map(str, descriptors))]


# --- the header of a balancer ------------------------------------------------------------------------------------------

SIGNATURE: Final = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DATAGRAM = 0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32


def v1(
    client: IPv4Address | IPv6Address | str,
    server: IPv4Address | IPv6Address | str = "192.0.2.1",
    ports: tuple[object, object] = (43210, 43),
    family: str = "",
) -> bytes:
    """A header of version 1."""
    family = family or ("TCP6" if ":" in str(client) else "TCP4")
    return f"PROXY {family} {client} {server} {ports[0]} {ports[1]}\r\n".encode()


def v2(
    client: IPv4Address | IPv6Address,
    server: IPv4Address | IPv6Address | None = None,
    ports: tuple[int, int] = (43210, 43),
    tlvs: bytes = b"",
) -> bytes:
    """A header of version 2 for a TCP connection."""
    numbers = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    return binary(TCP4 if client.version == 4 else TCP6, client.packed + (server or client).packed + numbers + tlvs)


def binary(family: int, body: bytes, command: int = PROXY, length: int | None = None) -> bytes:
    """A header of version 2 with this behind its length."""
    return SIGNATURE + bytes([command, family]) + (len(body) if length is None else length).to_bytes(2, "big") + body


def fields(answer: str) -> dict[str, list[str]]:
    """The field lines of an answer, by label."""
    found: dict[str, list[str]] = {}
    for line in answer.replace("\r\n", "\n").splitlines():
        if match := re.fullmatch(r"([A-Za-z ]+): +(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


async def domain_of(store: Store, name: DomainName) -> Domain | None:
    """What the database knows of a domain. Raises `StoreError`."""
    found = await store.find(DomainQuery(name, Charset.UTF_8, show_handles=True))
    if isinstance(found, StoreError):
        raise found
    assert not isinstance(found, Host)
    return found


async def host_of(store: Store, name: DomainName) -> Host | None:
    """What the database knows of a host. Raises `StoreError`."""
    found = await store.find(HostQuery(name, Charset.UTF_8))
    if isinstance(found, StoreError):
        raise found
    assert not isinstance(found, Domain)
    return found


def registrant(**changes: Any) -> Registrant:
    """A Danish company whose email is public, with these changes."""
    facts: dict[str, Any] = {
        "kind": RegistrantKind.COMPANY,
        "name": "Eksempel ApS",
        "street": ("Eksempelvej 1",),
        "postal_code": "2300",
        "city": "København S",
        "country": "DK",
        "phone": "+45 00112233",
        "email": "primary@eksempel.example",
        "secondary_email": None,
        "vat_number": "99000019",
        "cvr_locked": True,
        "cvr_form": CvrForm.ORDINARY,
        "cvr_bankruptcy": False,
        "cvr_standing": CvrStanding.HELD,
        "sole_proprietorship": False,
        "documented": False,
        "vat_listed": None,
        "address_protection": False,
        "id_confirmed": True,
        "id_status": None,
    }
    return Registrant(**(facts | changes))


def domain(who: Registrant, status: DomainStatus = DomainStatus.ACTIVE, **changes: Any) -> Domain:
    """A domain of a registrant, with these changes."""
    facts: dict[str, Any] = {
        "name": DomainName("eksempel.dk", "eksempel.dk"),
        "registered": date(2020, 1, 1),
        "expires": date(2027, 1, 1),
        "delete_date": None,
        "period_years": 1,
        "vid": False,
        "dnssec": False,
        "registrar": None,
        "nameservers": ("ns1.example.net", "ns2.example.net"),
    }
    return Domain(status=status, registrant=who, **(facts | changes))
