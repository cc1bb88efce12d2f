"""The process that keeps a server up: it starts the others and replaces them. It serves nothing itself.

`fleet` decides what is to be done; this carries it out. Its order is that of `run`: look who has ended, do what is decided,
wait for the next event.

    SIGHUP            read the configuration anew; if it is good, replace the processes by it one by one, else keep the old
    SIGTERM, SIGINT   stop accepting, let open connections end within the grace period, cut the rest
"""

import gc
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic, time
from typing import Any, Final

from whoisd.config import HttpListen, Settings
from whoisd.errors import ConfigError, whereabouts
from whoisd.limits.counters import MOST_NAMED
from whoisd.log import Logger
from whoisd.server import fleet, process
from whoisd.server.children import Configuration, Shared
from whoisd.server.events import Events, Signals
from whoisd.server.fleet import Announce, Child, Death, Fleet, Kill, Kind, Look, Order, Part, Start, Tell, Wanted
from whoisd.server.http.process import check_certificates
from whoisd.server.http.process import patience_of as http_patience_of
from whoisd.server.sockets import Listener, Room, open_socket, raise_descriptor_limit
from whoisd.server.systemd import Notifier
from whoisd.server.worker import RETIRE, STOP, patience_of

MOST_FAULTS: Final = 10  # of a configuration that one line of the log names: a pipe takes 4,096 bytes at once
TICK: Final = 0.5  # seconds between two looks when nothing happens

_SIGNALS: Final = {Order.RETIRE: RETIRE, Order.STOP: STOP}

Load = Callable[[], Settings]


class Supervisor:
    """A server, from start to stop. Made by `supervise`, which says what the arguments are."""

    def __init__(self, shared: Shared, settings: Settings, load: Load | None, on_ready: Callable[[], None]) -> None:
        self._shared = shared
        self._load = load
        self._on_ready = on_ready
        self._log = shared.open_log(settings)
        self._configuration = _configure(settings, {}, self._log)
        self._notifier = Notifier()
        self._children: dict[int, Child] = {}
        self._deaths: dict[Part, Death] = {}  # the last of each part
        self._look = Look(monotonic(), monotonic())
        self._wanted = Wanted(shared.parts, generation=0)
        self._announced: int | None = None

    def run(self, signals: Signals) -> None:
        """Keep the server up until it is told to stop."""
        self._shared.tally.configured(time())
        self._say_where()
        gc.freeze()  # what is there now stays: without this the first collection copies every page into every child
        try:
            while True:
                self._reap()
                if self._wanted.stopping and not self._children:
                    break
                self._act(signals)
                self._notifier.alive()
                self._obey(signals.wait(TICK))
        finally:
            for pid in self._children:
                os.kill(pid, signal.SIGKILL)
            self._log.info("server.stopped")

    def _say_where(self) -> None:
        for listener in self._shared.listeners:
            host, port = listener.address
            if isinstance(listener.listen, HttpListen):
                tls = listener.listen.certificate is not None
                self._log.info("http.listening", host=host, port=port, tls=tls, client=listener.listen.client)
            else:
                self._log.info("server.listening", host=host, port=port, proxy=listener.listen.proxy)
        if self._shared.metrics:
            host, port = self._shared.metrics.getsockname()[:2]
            self._log.info("metrics.listening", host=host, port=port)

    # --- who has ended --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Look which processes have ended."""
        for pid, status in process.ended(tuple(self._children)):
            child = self._children.pop(pid, None)
            if not child:
                continue  # an orphan
            self._shared.forget(child.row)
            code = os.waitstatus_to_exitcode(status)
            if not child.told and not self._wanted.stopping:
                self._note_death(child, code)
            if code == -signal.SIGBUS and fleet.is_wanted(child, self._wanted):
                self._renew_ledger()

    def _note_death(self, child: Child, code: int) -> None:
        """Say that a process ended unasked."""
        death = self._deaths[child.part] = fleet.died(self._deaths.get(child.part), child.started, monotonic())
        self._shared.tally.restart()
        how = f"signal {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        self._log.error("process.died", process=str(child.part), how=how, pause=death.pause)

    def _renew_ledger(self) -> None:
        """Have all processes use the file of limits as it is now, made anew if need be: it was cut off under them.

        Who touches what is gone of a mapped file is killed (mmap(2), SIGBUS), and all that follow would be.
        """
        try:
            self._shared.open_ledger(self._configuration.settings)
        except ConfigError as error:  # the next that is killed has us try again
            self._log.error("limits.lost", fault=str(error))
            return
        self._renew_processes()
        self._log.warning("limits.renewed")

    # --- what is decided ------------------------------------------------------------------------------------------

    def _act(self, signals: Signals) -> None:
        now = monotonic()
        self._look = fleet.look_again(self._look, now)
        board = self._shared.board
        children = [replace(child, alive=board.tally(child.row).last_alive) for child in self._children.values()]
        for action in fleet.decide(Fleet(children, self._deaths, self._look, self._announced), self._wanted, now):
            match action:
                case Start(part, row):
                    self._start(part, row, signals)
                case Tell(child, order, ends_by):
                    os.kill(child.pid, _SIGNALS[order])
                    self._children[child.pid] = replace(child, told=order, ends_by=ends_by)
                case Kill(child, hangs):
                    if hangs:
                        self._log.error("process.hangs", process=str(child.part), seconds=fleet.HANGS_AFTER)
                    os.kill(child.pid, signal.SIGKILL)
                case Announce(generation):
                    self._announce(generation)

    def _start(self, part: Part, row: int, signals: Signals) -> None:
        self._shared.advance_names_key()
        try:
            with signals.held():
                pid = os.fork()
                if not pid:
                    self._shared.become(part, row, self._configuration, signals)
        except OSError as error:  # no memory, or too many processes: both pass
            self._deaths[part] = fleet.not_started(monotonic())
            self._log.error("process.not_started", process=str(part), fault=error.strerror)
            return
        settings = self._configuration.settings
        self._children[pid] = Child(
            pid=pid,
            part=part,
            row=row,
            generation=self._wanted.generation,
            started=monotonic(),
            patience=http_patience_of(settings) if part.kind is Kind.HTTP else patience_of(settings),
            grace=settings.server.grace if part.serves else 0.0,
            stage=fleet.first_stage(part),
        )
        self._log.debug("process.started", process=str(part), pid=pid)

    def _announce(self, generation: int) -> None:
        """Tell systemd and the log that all workers serve."""
        first, self._announced = self._announced is None, generation
        workers = sum(part.kind is Kind.WORKER for part in self._wanted.parts)
        self._notifier.ready()
        self._notifier.status(f"{workers} workers serve")
        self._log.info("server.ready", workers=workers)
        if first:
            self._on_ready()

    # --- what we are told -----------------------------------------------------------------------------------------

    def _obey(self, events: Events) -> None:
        for pid, stage in events.stages:
            if pid in self._children:
                self._children[pid] = replace(self._children[pid], stage=stage)
        if events.signals & {signal.SIGTERM, signal.SIGINT}:
            self._stop()
        elif signal.SIGHUP in events.signals and not self._wanted.stopping:
            if self._load:
                self._reload(self._load)
            else:
                self._stop()

    def _stop(self) -> None:
        if self._wanted.stopping:
            return
        self._wanted = replace(self._wanted, stopping=True)
        self._shared.tally.stopping()
        self._notifier.stopping()
        for listener in self._shared.listeners:
            listener.socket.close()  # our copies: the workers close theirs once they have taken what waits

    def _reload(self, load: Load) -> None:
        """Take up the configuration as it is now, or say why not."""
        self._notifier.reloading()
        old = self._configuration
        try:
            settings = load()
            _check_unchanged(old.settings, settings)
            new = _configure(settings, old.numbers, self._log)
        except ConfigError as error:
            self._reject(str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - whatever a file does to us: the server goes on as it was
            self._reject([f"a fault of whoisd's own, please report it: {whereabouts(error)}"])
        else:
            self._configuration = new
            self._log = self._shared.open_log(settings)
            self._renew_processes()
            self._shared.tally.reload(applied=True, at=time())
            self._log.info("config.reloaded")

    def _renew_processes(self) -> None:
        """Have every process replaced by one that is forked from now on."""
        self._wanted = replace(self._wanted, generation=self._wanted.generation + 1)

    def _reject(self, faults: Sequence[str]) -> None:
        self._log.error("config.rejected", faults=faults[:MOST_FAULTS], number=len(faults))
        self._shared.tally.reload(applied=False, at=time())
        self._notifier.status("the configuration has faults, see the log; the one before it is in force")
        self._notifier.ready()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal: only the first and the last of them have names
        return str(number)


# What is made once, for as long as the server runs.
_FIXED: Final[Mapping[str, Callable[[Settings], object]]] = {
    "listen": lambda settings: settings.listen,
    "http.listen": lambda settings: settings.http.listen,
    "http.workers": lambda settings: settings.http.workers,
    "server.workers": lambda settings: settings.server.workers,
    "limits.file": lambda settings: settings.limits.file,
    "metrics": lambda settings: settings.metrics,
}


def _check_unchanged(old: Settings, new: Settings) -> None:
    """Refuse a change that a reload cannot make. Raises `ConfigError`."""
    changed = [f"{key}: a change of it takes a restart" for key, part in _FIXED.items() if part(old) != part(new)]
    if changed:
        raise ConfigError("\n".join(changed))


def _configure(settings: Settings, numbers: Mapping[str, int], log: Logger) -> Configuration:
    """Return what settings come to in this process; `numbers` are of the networks named before. Raises `ConfigError`."""
    check_certificates(settings)
    room = raise_descriptor_limit(settings.server.max_connections, log)
    _check_room(settings, room)
    numbers = _renumber(numbers, [network.name for network in settings.network])
    limits = settings.quotas(numbers)
    return Configuration(settings, room, replace(limits, connections=min(limits.connections, room.served)), numbers)


def _check_room(settings: Settings, room: Room) -> None:
    """Refuse to keep all room for named networks: everybody else would be turned away. Raises `ConfigError`."""
    kept = sum(network.connections for network in settings.network)
    if kept >= room.served:
        raise ConfigError(
            f"network: connections add up to {kept}, which leaves others no room in the {room.served} that the limit on"
            " open files (RLIMIT_NOFILE) allows"
        )


def _renumber(numbers: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of named networks.

    A network that is named no more keeps its number, and what is counted under it. Only when no other number is left does a
    new network take that of one which is gone.
    """
    found = dict(numbers)
    for name in names:
        if name in found:
            continue
        number = len(found)
        if number == MOST_NAMED:
            number = found.pop(next(gone for gone in found if gone not in names))
        found[name] = number
    return found


def supervise(
    settings: Settings,
    listeners: Sequence[Listener[Any]],
    load: Load | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    `load` reads the configuration anew at SIGHUP; without it that is a stop too. `on_ready` is called once all workers
    accept. Raises `ConfigError` when the server cannot be started.
    """
    metrics = settings.metrics
    with ExitStack() as stack:
        watched = stack.enter_context(open_socket(metrics.host, metrics.port, "metrics")) if metrics.enabled else None
        Supervisor(Shared(settings, listeners, watched), settings, load, on_ready).run(Signals())
