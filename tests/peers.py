"""Servers that behave as a test tells them to: they answer, stall, drip and flood."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Self

from support import PATIENCE

Behaviour = Callable[[socket.socket], None]


class Peer(AbstractContextManager["Peer"]):
    """A server on a free port, which reads a line from each connection and then behaves as it is told."""

    def __init__(self, behave: Behaviour, *, host: str = "127.0.0.1") -> None:
        self._behave = behave
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = int(self._listener.getsockname()[1])
        self.target = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.lines: list[bytes] = []  # what was asked
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                # A client that goes ends the behaviour; one that stays does not keep the test waiting.
                with connection, suppress(OSError):
                    connection.settimeout(PATIENCE)
                    self.lines.append(connection.makefile("rb").readline())
                    self._behave(connection)


def answers(text: str | bytes, *, charset: str = "iso-8859-1", after: float = 0) -> Behaviour:
    """Wait, send all of it, its lines ended by CRLF, and close."""
    data = text if isinstance(text, bytes) else text.replace("\n", "\r\n").encode(charset)

    def behave(connection: socket.socket) -> None:
        time.sleep(after)
        connection.sendall(data)

    return behave


def drips(connection: socket.socket) -> None:
    """A byte now and then, for far longer than the client is to wait."""
    for _ in range(100):
        connection.sendall(b"#")
        time.sleep(0.05)


def floods(connection: socket.socket) -> None:
    """Bytes as fast as they go, far more than the client is to take."""
    for _ in range(100):
        connection.sendall(b"# and so on\r\n" * 50_000)


def stalls(connection: socket.socket) -> None:
    """A part of an answer, and then nothing, until the client goes."""
    connection.sendall(b"Domain:\r\n")
    connection.recv(1)
