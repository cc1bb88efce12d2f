"""The process that tells how the server does: metrics for Prometheus, and whether it lives and is ready, over HTTP.

It serves no query and shares with those that do nothing but the memory that they count in, so that neither it nor who asks
it can slow an answer. Whether the database answers is what the workers say of theirs. It has a connection of its own for
what they do not know: how old the data is, and whether there is any.

    /metrics   all figures
    /livez     200: the server runs
    /readyz    200: workers accept, and the database answers them; 503 with the reason, also while the server stops
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from io import StringIO
from socketserver import ThreadingMixIn
from time import monotonic, time
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from whoisd.database.maintenance import Window
from whoisd.database.watcher import Watcher
from whoisd.errors import StoreError, whereabouts
from whoisd.limits.ledger import Ledger
from whoisd.server.metrics import Board, BoardCollector, Findings

PATIENCE: Final = 10.0  # seconds for whoever asks to send a request and take the answer
MOST_REQUESTS: Final = 32  # under way at once
TURNING_WITHIN: Final = 5.0  # seconds since its last sign of life in which a worker counts as one that turns

_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Watch:
    """What the observer looks at."""

    board: Board
    ledger: Ledger
    networks: Mapping[str, int]
    watcher: Watcher
    loop: asyncio.AbstractEventLoop  # the watcher's
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def data_age(self) -> float:
        """Return how old the data is, in seconds; NaN when it does not tell. Raises `StoreError`."""
        with self.one_at_a_time:
            return asyncio.run_coroutine_threadsafe(self.watcher.data_age(), self.loop).result(PATIENCE)

    def cvr_age(self) -> float | None:
        """Return how old CVR's own data is, in seconds; None where none was read. Raises `StoreError`."""
        with self.one_at_a_time:
            return asyncio.run_coroutine_threadsafe(self.watcher.cvr_age(), self.loop).result(PATIENCE)

    def window(self) -> Window | None:
        """Return the maintenance window that is open, or None. Raises `StoreError`."""
        with self.one_at_a_time:
            return asyncio.run_coroutine_threadsafe(self.watcher.window(), self.loop).result(PATIENCE)

    def has_domains(self) -> bool:
        """Return whether the registry has any domain. Raises `StoreError`."""
        with self.one_at_a_time:
            return asyncio.run_coroutine_threadsafe(self.watcher.has_domains(), self.loop).result(PATIENCE)

    def workers(self) -> int:
        """Return how many workers turn."""
        return self.board.turning(monotonic() - TURNING_WITHIN)

    def database(self) -> bool:
        """Return whether the database answers any worker."""
        return self.board.answered(monotonic() - TURNING_WITHIN) > 0

    def findings(self) -> Findings:
        """Find out what is not counted."""
        age: float | None = None
        cvr_age: float | None = None
        maintenance: float | None = None
        with suppress(StoreError):
            age = self.data_age()
            cvr_age = self.cvr_age()
            window = self.window()
            maintenance = window.until.timestamp() if window else 0.0
        bans = {"source": sum(1 for _ in self.ledger.bans(self.ledger.time(time())))}
        return Findings(self.workers(), bans, age, self.networks, self.database(), cvr_age, maintenance)


def application(watch: Watch, path: str) -> tuple[HTTPStatus, str, bytes]:
    """Answer a request: status, content type, body."""
    match path:
        case "/metrics":
            registry = CollectorRegistry()
            registry.register(BoardCollector(watch.board, watch.findings()))
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)
        case "/livez":
            return HTTPStatus.OK, _TEXT, b"alive\n"
        case "/readyz":
            fault = _why_not_ready(watch)
            status = HTTPStatus.SERVICE_UNAVAILABLE if fault else HTTPStatus.OK
            return status, _TEXT, f"{fault or _ready(watch)}\n".encode()
    return HTTPStatus.NOT_FOUND, _TEXT, b"there is /metrics, /livez and /readyz\n"


def _why_not_ready(watch: Watch) -> str:
    if watch.board.is_stopping:
        return "the server stops"
    if not watch.workers():
        return "no worker accepts"
    if not watch.database():
        return "the database does not answer: no worker has one that does"
    with suppress(StoreError):  # our own session's trouble is none of whoever asks the workers
        if not watch.has_domains():
            return "the registry has no domain: whois.domain has no row"
    return ""


def _ready(watch: Watch) -> str:
    """Say so, and name a maintenance window, in which answers go on."""
    with suppress(StoreError):
        if window := watch.window():
            return f"ready; {window}"
    return "ready"


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
        """Log nothing: whoever watches asks every few seconds."""

    def get_stderr(self) -> StringIO:
        """Print no traceback where whoever asked is too slow to take the answer."""
        return StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request, up to a number; who takes longer than our patience gives way to who comes next."""

    def __init__(self, listening: socket.socket, watch: Watch) -> None:
        address = listening.getsockname()
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = address[:2]
        self.setup_environ()
        self.set_app(self._answer)
        self._watch = watch
        self._begun: dict[socket.socket, float] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a request, or turn it away when too many are under way."""
        now = monotonic()
        for other, since in tuple(self._begun.items()):
            if now - since > PATIENCE:
                with suppress(OSError):
                    other.shutdown(socket.SHUT_RDWR)
        if len(self._begun) >= MOST_REQUESTS:
            request.close()
            return
        self._begun[request] = now
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a request that has ended."""
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            status, kind, body = application(self._watch, environ["PATH_INFO"])
        except Exception as error:  # noqa: BLE001 - wsgiref would print a traceback, which ends in the error's own text
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, f"{whereabouts(error)}\n".encode()
        start_response(f"{status.value} {status.phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a connection that fails go: it is whoever asked that went."""


def observe(listening: socket.socket, watch: Watch, retire: int) -> None:
    """Answer requests on a listening socket, each in a thread of its own, until the signal `retire` comes.

    Then those that were taken are answered, and what waits is left to whoever listens too.
    """
    threading.Thread(target=watch.loop.run_forever, daemon=True).start()
    with _Server(listening, watch) as server:  # whose end waits for the threads
        signal.signal(retire, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever()
