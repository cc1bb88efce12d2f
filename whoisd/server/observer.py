"""The process that tells how the server does: metrics for Prometheus, and whether it lives and is ready, over HTTP.

It serves no query and shares with those that do nothing but the memory that they count in, so that neither it nor who asks
it can slow an answer. Whether the database answers is what the workers say of theirs. It has a connection of its own for
what they do not know: how old the data is, and whether there is any.

    /metrics   all figures
    /livez     200: the server runs
    /readyz    200: workers accept, and the database answers them; 503 with the reason, also while the server stops
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from socket import socket
from time import monotonic, time
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from whoisd.database.maintenance import Window
from whoisd.database.watcher import Watcher
from whoisd.errors import StoreError, whereabouts
from whoisd.limits.ledger import Ledger
from whoisd.server.asgi import Receive, Scope, Send, config_of
from whoisd.server.metrics import Board, BoardCollector, Findings
from whoisd.server.sockets import BACKLOG

PATIENCE: Final = 10.0  # seconds for whoever asks to send a request and take the answer
MOST_REQUESTS: Final = 32  # under way at once
LARGEST_REQUEST: Final = 64 * 1024  # bytes
TURNING_WITHIN: Final = 5.0  # seconds since its last sign of life in which a worker counts as one that turns

_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Watch:
    """What the observer looks at."""

    board: Board
    ledger: Ledger
    networks: Mapping[str, int]
    watcher: Watcher
    one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def window(self) -> Window | None:
        """Return the maintenance window that is open, or None. Raises `StoreError`."""
        async with self.one_at_a_time:
            return await self.watcher.window()

    async def has_domains(self) -> bool:
        """Return whether the registry has any domain. Raises `StoreError`."""
        async with self.one_at_a_time:
            return await self.watcher.has_domains()

    def workers(self) -> int:
        """Return how many workers turn."""
        return self.board.turning(monotonic() - TURNING_WITHIN)

    def database(self) -> bool:
        """Return whether the database answers any worker."""
        return self.board.answered(monotonic() - TURNING_WITHIN) > 0

    async def findings(self) -> Findings:
        """Find out what is not counted."""
        age: float | None = None
        cvr_age: float | None = None
        maintenance: float | None = None
        with suppress(StoreError):
            async with self.one_at_a_time:
                age = await self.watcher.data_age()
                cvr_age = await self.watcher.cvr_age()
            window = await self.window()
            maintenance = window.until.timestamp() if window else 0.0
        bans = {"source": sum(1 for _ in self.ledger.bans(self.ledger.time(time())))}
        return Findings(self.workers(), bans, age, self.networks, self.database(), cvr_age, maintenance)


async def answer(watch: Watch, path: bytes) -> tuple[HTTPStatus, str, bytes]:
    """Answer a request: status, content type, body."""
    match path:
        case b"/metrics":
            registry = CollectorRegistry()
            registry.register(BoardCollector(watch.board, await watch.findings()))
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)
        case b"/livez":
            return HTTPStatus.OK, _TEXT, b"alive\n"
        case b"/readyz":
            fault = await _why_not_ready(watch)
            status = HTTPStatus.SERVICE_UNAVAILABLE if fault else HTTPStatus.OK
            return status, _TEXT, f"{fault or await _ready(watch)}\n".encode()
    return HTTPStatus.NOT_FOUND, _TEXT, b"there is /metrics, /livez and /readyz\n"


async def _why_not_ready(watch: Watch) -> str:
    if watch.board.is_stopping:
        return "the server stops"
    if not watch.workers():
        return "no worker accepts"
    if not watch.database():
        return "the database does not answer: no worker has one that does"
    with suppress(StoreError):  # our own session's trouble is none of whoever asks the workers
        if not await watch.has_domains():
            return "the registry has no domain: whois.domain has no row"
    return ""


async def _ready(watch: Watch) -> str:
    """Say so, and name a maintenance window, in which answers go on."""
    with suppress(StoreError):
        if window := await watch.window():
            return f"ready; {window}"
    return "ready"


class App:
    """The application that the observer serves."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is received
        """Answer a request, the only one of its connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                status, kind, body = await answer(self._watch, scope["raw_path"])
        except Exception as error:  # noqa: BLE001 - the text of an exception is for nobody
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, f"{whereabouts(error)}\n".encode()
        fields = {b"content-type": kind.encode(), b"content-length": str(len(body)).encode(), b"connection": b"close"}
        await send({"type": "http.response.start", "status": status.value, "headers": [*fields.items()]})
        await send({"type": "http.response.body", "body": body})


class Connection(HttpToolsProtocol):
    """The connection of somebody who asks, and has so long for it and no longer: then who comes next has the place."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._size = 0
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or turn away when too many are there."""
        super().connection_made(transport)
        self._end = self.loop.call_later(PATIENCE, transport.abort)
        if len(self.connections) > MOST_REQUESTS:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._end:
            self._end.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a request, as far as it is not too large."""
        self._size += len(data)
        if self._size > LARGEST_REQUEST:
            self.transport.abort()
        elif not self.transport.is_closing():
            super().data_received(data)


async def observe(listening: socket, watch: Watch, retire: asyncio.Event) -> None:
    """Answer requests on a listening socket until told to retire.

    Then those that were taken are answered, and what waits is left to whoever listens too.
    """
    config, state = config_of(App(watch), PATIENCE), ServerState()
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    server = await loop.create_server(lambda: Connection(config, state), sock=listening, backlog=BACKLOG)
    await retire.wait()
    server.close()
    while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn keeps sets
        await asyncio.sleep(0.02)
