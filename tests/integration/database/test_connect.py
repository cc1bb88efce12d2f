"""How a connection is opened: every address of a host is tried, and the socket notices what nobody tells it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support import Database

from whoisd.database.connect import KEEPALIVE_COUNT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, UNACKNOWLEDGED, connect

pytestmark = pytest.mark.alone  # they have deadlines of a second


@pytest.fixture
async def gate(database: Database) -> AsyncIterator[int]:
    """A TCP port on 127.0.0.1 that leads to the cluster, which itself listens in a folder alone."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(database.cluster.directory / ".s.PGSQL.5432")
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@contextmanager
def swallowing() -> Iterator[int]:
    """A port on 127.0.0.2 that takes no further connection, and says nothing, as one behind a filter does."""
    with socket.socket() as full:
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # more than its queue holds: the kernel drops what comes after
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.2", port))
            waiting.append(client)
        try:
            yield port
        finally:
            for client in waiting:
                client.close()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Have the name of every host lead to these addresses."""

    async def resolved(*_: object) -> object:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in addresses]

    monkeypatch.setattr("whoisd.database.connect._addresses", resolved)


async def test_first_address_swallows_packets(database: Database, gate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses of a name the first swallows packets: the second answers, within the deadline."""
    with swallowing() as silent:
        resolve(monkeypatch, ("127.0.0.2", silent), ("127.0.0.1", gate))
        begun = time.monotonic()
        connection = await connect(f"postgresql://whoisd_reader@db.example/{database.name}", 2.0)
        assert 0.9 < time.monotonic() - begun < 2.0  # the first had its half
        assert await connection.fetchval("SELECT count(*) FROM whois.domain") > 0
        connection.terminate()


async def test_every_address_swallows_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no address answers the deadline holds, and no socket stays open."""
    with swallowing() as silent:
        resolve(monkeypatch, *[("127.0.0.2", silent)] * 3)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await connect("postgresql://whoisd_reader@db.example/whois", 0.6)
        assert 0.5 < time.monotonic() - begun < 1.0


async def test_keepalives(database: Database, gate: int) -> None:
    """A TCP connection to the database has keepalives, and a bound on how long what it sent may be unacknowledged."""
    connection: Any = await connect(f"postgresql://whoisd_reader@127.0.0.1:{gate}/{database.name}", 5.0)
    opened = connection._transport.get_extra_info("socket")
    is_kept_alive = opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT, socket.TCP_NODELAY]
    found = [opened.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    connection.terminate()
    assert is_kept_alive == 1
    assert found == [KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT, UNACKNOWLEDGED, 1]
