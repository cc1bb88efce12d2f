"""The process that keeps a server up: it opens the sockets, forks the workers, and replaces them. It serves nothing itself.

It compares what runs with what should, and starts or ends a process to bring the one nearer to the other; a death, a
reload and a start are all the same to it. Its order is that of `run`: look who ended, start what is missing, end what is
not wanted or hangs, wait for the next event.

    SIGHUP            read the configuration anew; if it is good, replace the workers by it one by one, else go on by the old
    SIGTERM, SIGINT   stop accepting, let open connections end within the grace period, cut the rest
"""

import ctypes
import gc
import math
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic, time
from typing import Final, NamedTuple, NoReturn

import uvloop

from whoisd.config import Settings
from whoisd.database.store import Store
from whoisd.errors import ConfigError, whereabouts
from whoisd.limits.memory import anonymous, open_ledger
from whoisd.limits.sources import MOST_NAMED, Allowance, Connections, Limits, Named, Sources
from whoisd.log import ClientNames, Logger, log_fault, open_log
from whoisd.server.events import Events, Signals
from whoisd.server.metrics import Board, Tally
from whoisd.server.observer import PATIENCE, Watch, observe
from whoisd.server.sockets import Listener, Room, open_socket, raise_descriptor_limit
from whoisd.server.systemd import Notifier
from whoisd.server.worker import RETIRE, STOP, Post, Stage, patience_of
from whoisd.server.worker import run as work

STEADY_AFTER: Final = 10.0  # seconds: a process that ends sooner may do so again, so the next one waits
FIRST_PAUSE: Final = 0.5  # seconds before the second start in a row; each further one waits twice as long
LONGEST_PAUSE: Final = 30.0
HANGS_AFTER: Final = 20.0  # seconds without a sign of life, after which a worker is killed
CUT_AFTER: Final = 5.0  # seconds beyond the grace period, after which a worker that was told to end is killed
MOST_FAULTS: Final = 10  # of a configuration that one line of the log names: a pipe takes 4,096 bytes at once
TICK: Final = 0.5  # seconds between two looks when nothing happens

_SUPERVISOR_ROW: Final = 0
_OBSERVER: Final = -1  # the observer's slot; workers have 0 and up
_PR_SET_PDEATHSIG: Final = 1

Load = Callable[[], Settings]


@dataclass(slots=True)
class Child:
    """A process of ours. It is killed when it was told to end and has not done so by `ends_by`."""

    slot: int
    row: int
    generation: int
    started: float
    settings: Settings
    stage: Stage = Stage.STARTING
    ends_by: float | None = None

    @property
    def is_worker(self) -> bool:
        """Whether it serves clients; else it is the observer."""
        return self.slot != _OBSERVER


class Death(NamedTuple):
    """That a process ended unasked: how many times in a row soon after its start, when, and for how long to wait."""

    number: int
    at: float
    pause: float


class Supervisor:
    """A server, from start to stop. Made by `serve`."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], metrics: socket.socket | None) -> None:
        self._settings = settings
        self._listeners = listeners
        self._metrics = metrics
        self._workers = settings.server.workers or len(os.sched_getaffinity(0))
        rows = 1 + 2 * (1 + self._workers)  # ours, and twice the others', for those that end and those that follow
        self._board = Board(anonymous(Board.size(rows)), rows)
        self._tally = self._board.tally(_SUPERVISOR_ROW)
        self._ledger = open_ledger(settings.limits.file, create=True)
        self._open_connections = anonymous(Connections.size(rows))
        self._numbers: dict[str, int] = {}
        self._names_key, self._names_day = secrets.token_bytes(32), datetime.now(UTC).date()
        self._log = self._open_log(self._tally)
        self._room = raise_descriptor_limit(settings.server.max_connections, self._log)
        self._limits = self._limits_of(settings, self._room)
        self._notifier = Notifier()
        self._pid = os.getpid()
        self._children: dict[int, Child] = {}
        self._generation = 0
        self._announced = -1  # the generation that is known to serve
        self._stopping = False
        self._deaths: dict[int, Death] = {}  # the last of each slot
        self._looked_at = self._looking_since = monotonic()
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def run(self, load: Load | None, on_ready: Callable[[], None], signals: Signals) -> None:
        """Keep the server up until it is told to stop. `load` reads the configuration anew; without it SIGHUP is a stop."""
        self._tally.configured(time())
        for listener in self._listeners:
            host, port = listener.address
            self._log.info("server.listening", host=host, port=port, proxy=listener.listen.proxy)
        if self._metrics:
            host, port = self._metrics.getsockname()[:2]
            self._log.info("metrics.listening", host=host, port=port)
        gc.freeze()  # what is there now stays: without this the first collection copies every page into every worker
        try:
            while True:
                self._reap()
                if self._stopping and not self._children:
                    break
                self._start_missing(signals)
                self._end_unwanted()
                self._announce(on_ready)
                self._obey(signals.wait(TICK), load)
        finally:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)
            self._log.info("server.stopped")

    # --- what runs, and what should -------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Look which processes have ended."""
        for pid, child in tuple(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self._children[pid]
            self._board.tally(child.row).reset()
            self._connections(child.row).clear(child.row)
            code = os.waitstatus_to_exitcode(status)
            if child.ends_by is None:
                self._note_death(child, code)
            if code == -signal.SIGBUS and self._is_as_wanted(child):
                self._renew_ledger()

    def _note_death(self, child: Child, code: int) -> None:
        """Say that a process ended unasked, and make its successor wait if this happens again and again."""
        now = monotonic()
        before = self._deaths.get(child.slot)
        number = before.number + 1 if before and now - child.started <= STEADY_AFTER else 1
        pause = min(FIRST_PAUSE * 2 ** (number - 2), LONGEST_PAUSE) if number > 1 else 0.0
        self._deaths[child.slot] = Death(number, now, pause)
        self._tally.restart()
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        self._log.error("process.died", process=_name(child.slot), how=how, pause=pause)

    def _renew_ledger(self) -> None:
        """Have all processes use the file of limits as it is now, made anew if need be: it was cut off under them.

        Who touches what is gone of a mapped file is killed (mmap(2), SIGBUS), and all that follow would be.
        """
        try:
            self._ledger = open_ledger(self._settings.limits.file, create=True)
        except ConfigError as error:  # the next that is killed has us try again
            self._log.error("limits.lost", fault=str(error))
            return
        self._generation += 1
        self._log.warning("limits.renewed")

    def _must_wait(self, slot: int) -> bool:
        """Whether a process that died before may not start yet. While no worker accepts, a short pause must do."""
        death = self._deaths.get(slot)
        if not death:
            return False
        serving = any(child.stage is Stage.ACCEPTING and child.is_worker for child in self._children.values())
        return monotonic() < death.at + (death.pause if serving else min(death.pause, FIRST_PAUSE))

    def _start_missing(self, signals: Signals) -> None:
        """Start what should run and does not; while others serve, one process at a time."""
        if self._stopping:
            return
        for slot in self._wanted_slots():
            if any(child.slot == slot and self._is_as_wanted(child) for child in self._children.values()):
                continue
            if self._must_wait(slot):
                continue
            replaces = any(child.slot == slot for child in self._children.values())
            if replaces and any(not child.stage for child in self._children.values()):
                return
            row = self._free_row()
            if row is None:
                return  # until one that was told to end has done so
            self._start(slot, row, signals)

    def _is_as_wanted(self, child: Child) -> bool:
        """Whether a process is of the configuration in force, and serves or will: somebody else may have told it to end."""
        return child.generation == self._generation and child.stage is not Stage.ENDING

    def _wanted_slots(self) -> Iterator[int]:
        if self._metrics:
            yield _OBSERVER
        yield from range(self._workers)

    def _free_row(self) -> int | None:
        taken = {child.row for child in self._children.values()}
        return next((row for row in range(1, self._board.rows) if row not in taken), None)

    def _end_unwanted(self) -> None:
        """End workers whose successor serves; kill those that hang, or do not end."""
        now = monotonic()
        if now - self._looked_at > HANGS_AFTER / 2:  # it was not they that stood still, but we, or the whole machine
            self._looking_since = now
        self._looked_at = now
        for pid, child in self._children.items():
            successor = any(
                other.slot == child.slot and other.generation > child.generation and other.stage
                for other in self._children.values()
            )
            if child.ends_by is None and successor:
                self._tell(pid, child, RETIRE)
            elif child.ends_by and now > child.ends_by:
                os.kill(pid, signal.SIGKILL)
            elif self._hangs(child, now):
                self._log.error("process.hangs", process=_name(child.slot), seconds=HANGS_AFTER)
                os.kill(pid, signal.SIGKILL)
        if self._stopping and not any(child.is_worker for child in self._children.values()):
            for pid in self._children:  # the last to go: until then it says that we stop
                os.kill(pid, signal.SIGTERM)

    def _hangs(self, child: Child, now: float) -> bool:
        last = max(child.started, self._looking_since, self._board.tally(child.row).last_alive)
        return child.is_worker and now - last > HANGS_AFTER

    def _tell(self, pid: int, child: Child, number: int) -> None:
        patience = patience_of(child.settings) if number == RETIRE else child.settings.server.grace
        child.ends_by = monotonic() + patience + CUT_AFTER
        os.kill(pid, number)

    def _announce(self, on_ready: Callable[[], None]) -> None:
        """Tell systemd that we live, and that we serve once all workers do, and none by a configuration before."""
        self._notifier.alive()
        workers = [child for child in self._children.values() if child.is_worker]
        accepting = {(child.generation, child.slot) for child in workers if child.stage is Stage.ACCEPTING}
        if self._announced == self._generation or accepting != {(self._generation, slot) for slot in range(self._workers)}:
            return
        first, self._announced = self._announced < 0, self._generation
        self._notifier.ready()
        self._notifier.status(f"{self._workers} workers serve")
        self._log.info("server.ready", workers=self._workers)
        if first:
            on_ready()

    # --- what we are told -----------------------------------------------------------------------------------------

    def _obey(self, events: Events, load: Load | None) -> None:
        for pid, stage in events.stages:
            if pid in self._children:
                self._children[pid].stage = stage
        if events.signals & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif signal.SIGHUP in events.signals and not self._stopping:
            if load:
                self._reload(load)
            else:
                self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._tally.stopping()
        self._notifier.stopping()
        for listener in self._listeners:
            listener.socket.close()  # our copies: the workers close theirs once they have taken what waits
        for pid, child in self._children.items():
            if child.is_worker:
                self._tell(pid, child, STOP)
            else:
                child.ends_by = monotonic() + child.settings.server.grace + 2 * CUT_AFTER

    def _reload(self, load: Load) -> None:
        """Take up the configuration as it is now, or say why not."""
        self._notifier.reloading()
        try:
            settings = load()
            _check_unchanged(self._settings, settings)
            room = raise_descriptor_limit(settings.server.max_connections, self._log)
            limits = self._limits_of(settings, room)
        except ConfigError as error:
            self._reject(str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - whatever a file does to us: the server goes on as it was
            self._reject([f"a fault of whoisd's own, please report it: {whereabouts(error)}"])
        else:
            self._settings, self._room, self._limits = settings, room, limits
            self._log = self._open_log(self._tally)
            self._generation += 1
            self._tally.reload(applied=True, at=time())
            self._log.info("config.reloaded")

    def _reject(self, faults: Sequence[str]) -> None:
        self._log.error("config.rejected", faults=faults[:MOST_FAULTS], number=len(faults))
        self._tally.reload(applied=False, at=time())
        self._notifier.status("the configuration has faults, see the log; the one before it is in force")
        self._notifier.ready()

    def _limits_of(self, settings: Settings, room: Room) -> Limits:
        """Return the limits of a configuration, by no more connections than there is room for in a process.

        A named network keeps its number, and what is counted under it, when it is named no more; only when there are no
        other numbers left does a new one take that of one which is gone. Raises `ConfigError` when what is kept for the
        named ones is all the room that there is: everybody else would be refused.
        """
        kept = sum(network.connections for network in settings.network)
        if kept >= room.served:
            raise ConfigError(
                f"network: connections add up to {kept}, which leaves others no room in the {room.served} that the limit on"
                " open files (RLIMIT_NOFILE) allows"
            )
        names = [network.name for network in settings.network]
        for name in names:
            if name in self._numbers:
                continue
            number = len(self._numbers)
            if number == MOST_NAMED:
                number = self._numbers.pop(next(gone for gone in self._numbers if gone not in names))
            self._numbers[name] = number
        limits = limits_of(settings, self._numbers)
        return replace(limits, connections=min(limits.connections, room.served))

    # --- starting a process ---------------------------------------------------------------------------------------

    def _start(self, slot: int, row: int, signals: Signals) -> None:
        names = ClientNames("none", self._names_key, self._names_day)
        self._names_day = datetime.now(UTC).date()
        self._names_key = names.advance(self._names_day)  # so that no process has a key of the days before
        child = Child(
            slot,
            row,
            self._generation,
            monotonic(),
            self._settings,
            Stage.ACCEPTING if slot == _OBSERVER else Stage.STARTING,
        )
        try:
            with signals.held():
                pid = os.fork()
                if not pid:
                    self._become(child, signals)
        except OSError as error:  # no memory, or too many processes: both pass
            self._deaths[slot] = Death(1, monotonic(), FIRST_PAUSE)
            self._log.error("process.not_started", process=_name(slot), fault=error.strerror)
            return
        self._children[pid] = child
        self._log.debug("process.started", process=_name(slot), pid=pid)

    def _become(self, child: Child, signals: Signals) -> NoReturn:
        """Be the process that was just forked, to its end."""
        status = 1
        try:
            signals.forget()
            if self._prctl:
                self._prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # when the supervisor ends, however that is
            if os.getppid() != self._pid:
                os._exit(status)  # it has ended already
            if child.is_worker:
                if self._metrics:
                    self._metrics.close()
                work(self._post(child.row, signals.say))
            else:
                self._observe()
            status = 0
        except BaseException as error:  # noqa: BLE001 - a forked process ends here, and nowhere above
            self._log.error("server.fault", fault=whereabouts(error))
        finally:
            os._exit(status)

    def _post(self, row: int, say: Callable[[Stage], None]) -> Post:
        tally = self._board.tally(row)
        return Post(
            settings=self._settings,
            listeners=self._listeners,
            room=self._room,
            sources=Sources(self._limits, self._ledger, self._connections(row)),
            tally=tally,
            names=ClientNames(self._settings.log.client, self._names_key, self._names_day),
            log=self._open_log(tally),
            say=say,
        )

    def _connections(self, row: int) -> Connections:
        return Connections(self._open_connections, self._board.rows, row, self._ledger.secret)

    def _observe(self) -> None:
        signal.signal(STOP, signal.SIG_DFL)
        assert self._metrics  # noqa: S101 - else there is no observer
        for listener in self._listeners:
            listener.socket.close()  # when all that accept have ended, clients are to be turned away
        loop = uvloop.new_event_loop()
        loop.set_exception_handler(lambda _, context: log_fault(self._log, context))
        database = self._settings.database

        async def open_store() -> Store:
            deadline = min(database.deadline, PATIENCE / 2)  # whoever asks is to be told before they lose patience
            return Store(database.hosts, deadline, self._log)

        store = loop.run_until_complete(open_store())
        observe(self._metrics, Watch(self._board, self._ledger, dict(self._numbers), store, loop), RETIRE)

    def _open_log(self, tally: Tally) -> Logger:
        return open_log(self._settings.log.level, self._settings.log.format, tally.lost_line)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last of them have names
        return str(number)


def _name(slot: int) -> str:
    return "observer" if slot == _OBSERVER else f"worker {slot + 1}"


# What is made once, for as long as the server runs.
_FIXED: Final[Mapping[str, Callable[[Settings], object]]] = {
    "listen": lambda settings: settings.listen,
    "server.workers": lambda settings: settings.server.workers,
    "limits.file": lambda settings: settings.limits.file,
    "metrics": lambda settings: settings.metrics,
}


def _check_unchanged(old: Settings, new: Settings) -> None:
    """Refuse a change that a reload cannot make. Raises `ConfigError`."""
    changed = [f"{key}: a change of it takes a restart" for key, part in _FIXED.items() if part(old) != part(new)]
    if changed:
        raise ConfigError("\n".join(changed))


def limits_of(settings: Settings, numbers: Mapping[str, int]) -> Limits:
    """Return the limits of a configuration; `numbers` are those of its named networks."""
    limits = settings.limits
    return Limits(
        source=_allowance(limits.rate, limits.burst),
        source_connections=limits.connections,
        network=_allowance(limits.network_rate, limits.network_burst),
        network_connections=limits.network_connections,
        connections=settings.server.max_connections,
        named=tuple(
            Named(numbers[it.name], it.name, it.cidrs, _allowance(it.rate, it.burst), it.connections)
            for it in settings.network
        ),
    )


def _allowance(rate: float | str, burst: int) -> Allowance:
    return Allowance(math.inf if isinstance(rate, str) else rate, burst)


def supervise(
    settings: Settings, listeners: Sequence[Listener], load: Load | None = None, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve until SIGTERM or SIGINT.

    `load` reads the configuration anew at SIGHUP; without it that is a stop too. `on_ready` is called once all workers
    accept. Raises `ConfigError` when the server cannot be started.
    """
    metrics = settings.metrics
    with ExitStack() as stack:
        watched = stack.enter_context(open_socket(metrics.host, metrics.port, "metrics")) if metrics.enabled else None
        Supervisor(settings, listeners, watched).run(load, on_ready, Signals())
