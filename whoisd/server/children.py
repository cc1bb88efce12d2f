"""What the processes of a server share, and what a process of each kind becomes once it is forked.

A new kind of process takes a `Kind` in `fleet`, the functions that begin it here (`_BECOME`), and its part in
`Shared.parts`. Nothing here decides when a process starts or ends.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, NoReturn

import uvloop

from whoisd.config import HttpListen, Listen, Settings
from whoisd.database.watcher import Watcher
from whoisd.errors import whereabouts
from whoisd.limits.counters import Counters
from whoisd.limits.memory import anonymous, open_ledger
from whoisd.limits.sources import Quotas, Sources
from whoisd.log import ClientNames, Logger, log_fault, open_log
from whoisd.server import process
from whoisd.server.context import WorkerContext
from whoisd.server.cpus import default_workers
from whoisd.server.events import Signals
from whoisd.server.fleet import Kind, Part, rows_for
from whoisd.server.http.process import HttpWork
from whoisd.server.http.process import run as serve_http
from whoisd.server.metrics import Board
from whoisd.server.observer import PATIENCE, TURNING_WITHIN, Watch, observe
from whoisd.server.sockets import Listener, Room, Section
from whoisd.server.worker import RETIRE, STOP
from whoisd.server.worker import run as work

_SUPERVISOR_ROW: Final = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force, and what was made of them: for how many connections there is room, and the limits."""

    settings: Settings
    room: Room
    limits: Quotas
    numbers: Mapping[str, int]  # of the named networks, by their names


class Shared:
    """What the supervisor has made once, and every process forked from it has too."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener[Any]], metrics: socket.socket | None) -> None:
        self.listeners = listeners
        self.metrics = metrics
        self.parts = tuple(_parts(settings, metrics))
        rows = rows_for(self.parts)
        self.board = Board(anonymous(Board.size(rows)), rows)
        self.tally = self.board.tally(_SUPERVISOR_ROW)
        self._open_connections = anonymous(Counters.size(rows))
        self._names_key, self._names_day = secrets.token_bytes(32), datetime.now(UTC).date()
        self._pid = os.getpid()
        self.open_ledger(settings)

    def open_ledger(self, settings: Settings) -> None:
        """Use the file of rates and bans as it is now, made anew if need be. Raises `ConfigError`."""
        self.ledger = open_ledger(settings.limits.file, create=True)

    def open_log(self, settings: Settings, row: int = _SUPERVISOR_ROW) -> Logger:
        """Open the log of the process that counts in a row."""
        return open_log(settings.log.level, settings.log.format, self.board.tally(row).lost_line)

    def connections(self, row: int) -> Counters:
        """Return the open connections as the process with this row counts them."""
        sharing = sum(part.serves for part in self.parts)
        return Counters(self._open_connections, self.board.rows, row, self.ledger.secret, sharing)

    def forget(self, row: int) -> None:
        """Forget what a process that has ended had under way; what it counted stays."""
        self.board.tally(row).reset()
        self.connections(row).clear(row)

    def advance_names_key(self) -> None:
        """Hash clients' names with today's key, so that no process forked from now on has that of a day before."""
        names = ClientNames("none", self._names_key, self._names_day)
        self._names_day = datetime.now(UTC).date()
        self._names_key = names.advance(self._names_day)

    def become(self, part: Part, row: int, configuration: Configuration, signals: Signals) -> NoReturn:
        """Be the process that was just forked, to its end."""
        status = 1
        try:
            log = self.open_log(configuration.settings, row)
            if self._begin(part, row, configuration, signals, log):
                status = 0
        finally:
            os._exit(status)  # a forked process ends here, and nowhere above

    def _begin(self, part: Part, row: int, configuration: Configuration, signals: Signals, log: Logger) -> bool:
        """Do what a process of this kind does, to its end; return whether that was a good one."""
        try:
            signals.forget()
            process.go_first()
            process.leave_no_core()
            if process.follow(self._pid):  # else the supervisor has ended already
                _BECOME[part.kind](self, row, configuration, signals, log)
                return True
        except BaseException as error:  # noqa: BLE001 - whatever it is, the log tells it
            log.error("server.fault", fault=whereabouts(error))  # noqa: TRY400 - without its text
        return False

    def be_worker(self, row: int, configuration: Configuration, signals: Signals, log: Logger) -> None:
        """Serve clients until told to end."""
        settings = configuration.settings

        def make() -> WorkerContext:
            return WorkerContext(
                settings=settings,
                listeners=self._keep(Listen),
                room=configuration.room,
                sources=Sources(configuration.limits, self.ledger, self.connections(row)),
                tally=self.board.tally(row),
                names=ClientNames(settings.log.client, self._names_key, self._names_day),
                log=log,
                say=signals.say,
                others_answer=lambda: self.board.answered(monotonic() - TURNING_WITHIN) > 0,
            )

        work(make)

    def be_http(self, row: int, configuration: Configuration, signals: Signals, log: Logger) -> None:
        """Serve RESTful WHOIS, RDAP and the page until told to end."""
        settings = configuration.settings
        serve_http(
            HttpWork(
                settings=settings,
                listeners=self._keep(HttpListen),
                room=configuration.room,
                sources=Sources(configuration.limits, self.ledger, self.connections(row)),
                tally=self.board.tally(row),
                names=ClientNames(settings.log.client, self._names_key, self._names_day),
                log=log,
                say=signals.say,
            )
        )

    def _keep(self, section: type[Section]) -> list[Listener[Section]]:
        """Return the listeners of one kind, and close the others: clients would wait on them for nobody."""
        if self.metrics:
            self.metrics.close()
        for listener in self.listeners:
            if not isinstance(listener.listen, section):
                listener.socket.close()
        return [listener for listener in self.listeners if isinstance(listener.listen, section)]

    def be_observer(self, row: int, configuration: Configuration, signals: Signals, log: Logger) -> None:  # noqa: ARG002 - as all
        """Tell how the server does until told to end."""
        signal.signal(STOP, signal.SIG_DFL)
        for listener in self.listeners:
            listener.socket.close()  # when all that accept have ended, clients are to be turned away
        if self.metrics:  # else there is no observer
            uvloop.run(self._observe(self.metrics, configuration, log))

    async def _observe(self, metrics: socket.socket, configuration: Configuration, log: Logger) -> None:
        loop, retire = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda _, context: log_fault(log, context))
        loop.add_signal_handler(RETIRE, retire.set)
        database = configuration.settings.database
        deadline = min(database.deadline, PATIENCE / 2)  # whoever asks is to be told before they lose patience
        watcher = Watcher(database.hosts, deadline, log)
        try:
            await observe(metrics, Watch(self.board, self.ledger, configuration.numbers, watcher), retire)
        finally:
            await watcher.close()


_BECOME: Final[Mapping[Kind, Callable[[Shared, int, Configuration, Signals, Logger], None]]] = {
    Kind.WORKER: Shared.be_worker,
    Kind.OBSERVER: Shared.be_observer,
    Kind.HTTP: Shared.be_http,
}


def _parts(settings: Settings, metrics: socket.socket | None) -> list[Part]:
    """Return the parts of a server, in the order in which they are started."""
    workers = settings.server.workers or default_workers()
    observer = [Part(Kind.OBSERVER)] if metrics else []
    http = settings.http.workers if settings.http.listen else 0
    return [
        *observer,
        *(Part(Kind.WORKER, number) for number in range(1, workers + 1)),
        *(Part(Kind.HTTP, number) for number in range(1, http + 1)),
    ]
