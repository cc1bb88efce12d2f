"""The observer's own faults: whoever asks is told their kind and place, and no text of an exception leaves the process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support import receive

from whoisd.server.metrics import Board
from whoisd.server.observer import Watch, _Server


class Broken:
    """A store that fails in a way that nobody foresaw."""

    async def data_age(self) -> float:
        raise ValueError("S3cret")

    async def cvr_age(self) -> float | None:
        raise ValueError("S3cret")

    async def window(self) -> Any:
        raise ValueError("S3cret")

    async def has_domains(self) -> bool:
        raise ValueError("S3cret")


@pytest.fixture
def port() -> Iterator[int]:
    """Where an observer with a broken store answers."""
    loop = asyncio.new_event_loop()
    store: Any = Broken()
    ledger: Any = None
    board = Board(memoryview(bytearray(Board.size(1))), 1)
    board.tally(0).alive(1e9)
    board.tally(0).accepting(yes=True)
    board.tally(0).database(answers=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        _Server(listening, Watch(board, ledger, {}, store, loop)) as server,
    ):
        threads = [threading.Thread(target=run) for run in (loop.run_forever, server.serve_forever)]
        for thread in threads:
            thread.start()
        yield listening.getsockname()[1]
        server.shutdown()
        loop.call_soon_threadsafe(loop.stop)
        for thread in threads:
            thread.join()
        loop.close()


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_fault_is_told_without_its_text(port: int, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault of ours is a 500 with its kind and place; its text is neither in the answer nor on standard error."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = receive(client).decode()
    assert answer.startswith("HTTP/1.0 500")
    assert "ValueError at test_observer.py:" in answer
    assert "S3cret" not in answer
    assert capfd.readouterr().err == ""
