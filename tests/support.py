"""What the tests share: a real server process, a real socket to it, and registrants to dress as a test needs them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import asyncpg

from whoisd.model import CvrForm, Registrant, RegistrantKind
from whoisd.postgres import Cluster

WHOISD: Final = Path(sys.executable).with_name("whoisd")
PATIENCE: Final = 20.0  # seconds that a test waits for what must come


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

    async def execute(self, sql: str, *arguments: object) -> None:
        """Run plain SQL as the owner, committed when this returns."""
        connection = await asyncpg.connect(self.owner)
        try:
            await connection.execute(sql, *arguments)
        finally:
            await connection.close()


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that we start: ours without our own settings, and with these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WHOISD_")}
    return ours | {"PYTHONWARNINGS": "error"} | dict(settings or {})


def run_whoisd(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [WHOISD, *arguments], env=environment(settings), capture_output=True, text=True, timeout=60, check=False
    )


class Service(AbstractContextManager["Service"]):
    """`whoisd serve` as its own process on a free port; settings are given as environment variables."""

    def __init__(self, dsn: str, settings: Mapping[str, str] | None = None, *, host: str = "127.0.0.1") -> None:
        self.host = host
        self._settings = {
            "WHOISD_DATABASE__DSN": dsn,
            "WHOISD_LISTEN": json.dumps([{"host": host, "port": 0}]),
            "WHOISD_LOG__LEVEL": "debug",
        } | dict(settings or {})

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([WHOISD, "serve"], env=environment(self._settings), stderr=subprocess.PIPE)
        self._written: list[bytes] = []
        self._reader = threading.Thread(target=self._read)  # a pipe that nobody reads would stop the server
        self._reader.start()
        self.port = int(self.wait_for_event("server.listening")["port"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr as stderr:
            self._written.extend(stderr)

    def log(self) -> str:
        """Everything that the process has written so far."""
        return b"".join(self._written).decode()

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

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=PATIENCE)

    def ask(self, query: str | bytes) -> str:
        """Send a query line and return the answer's body and notices as text: UTF-8 where it is, else ISO 8859-1."""
        answer = self.exchange((query.encode() if isinstance(query, str) else query) + b"\r\n")
        try:
            return answer.decode()
        except UnicodeDecodeError:
            return answer.decode("iso-8859-1")

    def exchange(self, data: bytes) -> bytes:
        """Send these bytes and return everything until the server closes."""
        with self.connect() as client:
            client.sendall(data)
            return receive(client)


def receive(client: socket.socket) -> bytes:
    """Everything until the other side closes; a reset fails the test."""
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def fields(answer: str) -> dict[str, list[str]]:
    """The field lines of an answer, by label."""
    found: dict[str, list[str]] = {}
    for line in answer.replace("\r\n", "\n").splitlines():
        if match := re.fullmatch(r"([A-Za-z ]+): +(.*)", line):
            found.setdefault(match[1], []).append(match[2])
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
        "sole_proprietorship": False,
        "address_protection": False,
        "id_confirmed": True,
        "id_status": None,
    }
    return Registrant(**(facts | changes))
