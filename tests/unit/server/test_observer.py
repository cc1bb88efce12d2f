"""The observer's own faults: whoever asks is told their kind and place, and no text of an exception leaves the process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from whoisd.server.metrics import Board
from whoisd.server.observer import Watch, observe


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


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """Where an observer with a broken store answers."""
    store: Any = Broken()
    ledger: Any = None
    board = Board(memoryview(bytearray(Board.size(1))), 1)
    board.tally(0).alive(1e9)
    board.tally(0).accepting(yes=True)
    board.tally(0).database(answers=True)
    retire = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            group.create_task(observe(listening, Watch(board, ledger, {}, store), retire))
            yield port
            retire.set()


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
async def test_fault_is_told_without_its_text(port: int, path: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault of ours is a 500 with its kind and place; its text is neither in the answer nor on standard error."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 500")
    assert "ValueError at test_observer.py:" in answer
    assert "S3cret" not in answer
    assert capfd.readouterr().err == ""
