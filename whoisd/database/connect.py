"""A connection to one PostgreSQL server: how it is opened, and the type that the rest of whoisd knows it by.

asyncpg connects by the loop that it is given. It gets one that tries every address of a host, each for its share of the
time, and whose sockets notice when the other end, or the path to it, is silently gone.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import asyncpg

from whoisd.errors import DsnError

# Quoted, for asyncpg's classes take no parameters at run time; asyncpg-stubs has the types.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"

_Address = tuple[int, int, int, str, Any]  # family, kind, protocol, canonical name, address

KEEPALIVE_IDLE: Final = 30  # seconds of silence, fewer than NATs forget in, before the kernel asks for a sign of life
KEEPALIVE_INTERVAL: Final = 10
KEEPALIVE_COUNT: Final = 3
UNACKNOWLEDGED: Final = 60_000  # milliseconds after which what was sent and not acknowledged ends the connection


async def only_row(connection: Connection, query: str, *arguments: object) -> asyncpg.Record:
    """Return the row of a query that has just one, as one of totals has."""
    return (await connection.fetch(query, *arguments))[0]


async def connect(
    url: str, seconds: float, settings: Mapping[str, str] | None = None, *, keep_statements: bool = True
) -> Connection:
    """Connect to the server that a URL names, within so many seconds. `settings` are the server's, for this connection.

    With `keep_statements` asyncpg keeps what it has prepared, under names that other clients have too, which only a
    connection that leads through no pooler bears. Raises `TimeoutError`, `DsnError` for TLS files that cannot be used, and
    whatever else asyncpg raises.
    """
    loop = _TryingLoop(asyncio.get_running_loop(), seconds)
    try:
        async with asyncio.timeout(seconds):
            return await asyncpg.connect(
                url,
                loop=cast("asyncio.AbstractEventLoop", loop),
                statement_cache_size=100 if keep_statements else 0,
                server_settings=dict(settings or {}),
            )
    except asyncpg.ClientConfigurationError:  # its own text would quote the URL
        raise DsnError("sslmode cannot be had with the files of sslrootcert, sslcert, sslkey and sslcrl") from None


class _TryingLoop:
    """The running loop, but for how it connects."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._ends_at = loop.time() + seconds
        self.create_future = loop.create_future  # asyncpg makes one for each query
        self.call_later = loop.call_later

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncio.Protocol]:
        """Connect to the first address of the host that takes a connection."""
        opened = await self._open(host, port)
        try:
            return await self._loop.create_connection(factory, sock=opened)
        except BaseException:
            opened.close()
            raise

    async def _open(self, host: str, port: int) -> socket.socket:
        addresses = await _addresses(self._loop, host, port)
        failure: OSError = TimeoutError("no address takes a connection in time")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            # An equal part of what is left: an address that swallows packets leaves time for those behind it.
            share = (self._ends_at - self._loop.time()) / (len(addresses) - position)
            opened = socket.socket(family, kind, protocol)
            try:
                opened.setblocking(False)
                _set_options(opened)
                async with asyncio.timeout(share):
                    await self._loop.sock_connect(opened, address)
            except OSError as error:  # a TimeoutError is one
                opened.close()
                failure = error
            except BaseException:
                opened.close()
                raise
            else:
                return opened
        raise failure


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_Address]:
    """Return the addresses of a host, in the system's order of preference."""
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _set_options(opened: socket.socket) -> None:
    """Have the kernel notice that the other end is gone though nothing said so, and send at once what is written."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
