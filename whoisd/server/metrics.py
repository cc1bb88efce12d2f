"""What is counted, in memory that all processes of a server share, and how Prometheus reads it.

A board has a row of numbers for each process, which is its only writer; the figures of the whole server are the sums. A
counter stays when its process ends, and the next one to take the row counts on from it; a gauge starts anew. No label
holds an address, a domain name, or anything else that a client or a registrant brings.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from whoisd.answers.answer import Protocol
from whoisd.answers.disclosure import RULES, Reason
from whoisd.build import build_of
from whoisd.errors import Outcome
from whoisd.limits.counters import MOST_NAMED
from whoisd.limits.sources import Limit

# Bounds of the latency histogram.
SECONDS: Final[tuple[float, ...]] = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
NAMES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # bounds of the batch histogram
SHOWN: Final = frozenset(rule.reason for rule in RULES if rule.shown)


class _Layout:
    """Hands out the cells of a row, one after the other."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, count: int = 1) -> int:
        first, self.size = self.size, self.size + count
        return first


_cells = _Layout()
# What can have been asked for, by outcome; where nothing is named it is not known.
_ASKED: Final = {
    Outcome.FOUND: ("domain", "host"),
    Outcome.NOT_FOUND: ("domain", "host"),
    Outcome.HELP: ("help",),
    Outcome.WRITE_TIMEOUT: ("domain", "host", "help", "none"),
    Outcome.CLIENT_GONE: ("domain", "host", "help", "none"),
}
_QUERIES: Final = {
    (protocol, it, kind): _cells.take() for protocol in Protocol for it in Outcome for kind in _ASKED.get(it, ("none",))
}
_LATENCY: Final = {protocol: _cells.take(len(SECONDS) + 1) for protocol in Protocol}
_MICROSECONDS: Final = {protocol: _cells.take() for protocol in Protocol}
_EMAILS: Final = {reason: _cells.take() for reason in Reason}
_BATCHES: Final = _cells.take(len(NAMES) + 1)
_BATCHED: Final = _cells.take()
_REFUSALS: Final = _cells.take(MOST_NAMED + 1)
_BANS: Final = {"source": _cells.take()}
_THROTTLED: Final = _cells.take()
_EXCESS: Final = {Limit.SOURCE_RATE: _BANS["source"], Limit.NETWORK_RATE: _THROTTLED}  # what excess is counted as
_LOST_LINES: Final = _cells.take()
_OPEN: Final = _cells.take()
_ALIVE: Final = _cells.take()
_ACCEPTING: Final = _cells.take()
_RESTARTS: Final = _cells.take()
_RELOADS: Final = {"applied": _cells.take(), "rejected": _cells.take()}
_RELOADED_AT: Final = _cells.take()
_RELOAD_FAILED: Final = _cells.take()
_STOPPING: Final = _cells.take()
_DATABASE: Final = _cells.take()  # whether a worker's database answers: it does, it does not, or 0 where that is not known
_ANSWERS, _FAILS = 1, 2
_GAUGES: Final = (_OPEN, _ALIVE, _ACCEPTING, _DATABASE)


class Tally:
    """The row of one process."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def query(self, outcome: Outcome, kind: str | None, seconds: float, protocol: Protocol = Protocol.WHOIS) -> None:
        """Count a connection that ended, or a request, and how long its answer took."""
        cells = self._cells
        cells[_QUERIES[protocol, outcome, kind or "none"]] += 1
        cells[_LATENCY[protocol] + bisect_left(SECONDS, seconds)] += 1
        cells[_MICROSECONDS[protocol]] += int(seconds * 1e6)

    def decision(self, reason: Reason) -> None:
        """Count an answer for a domain, by the reason why it shows the email or does not."""
        self._cells[_EMAILS[reason]] += 1

    def batch(self, names: int) -> None:
        """Count a lookup of so many names."""
        self._cells[_BATCHES + bisect_left(NAMES, names)] += 1
        self._cells[_BATCHED] += names

    def refusal(self, limit: Limit, network: int | None) -> None:
        """Count a client that was refused, by the number of its named network; and what excess came to, a ban or a wait."""
        self._cells[_REFUSALS + (MOST_NAMED if network is None else network)] += 1
        if limit in _EXCESS:
            self._cells[_EXCESS[limit]] += 1

    def lost_line(self) -> None:
        """Count a line of the log that could not be written."""
        self._cells[_LOST_LINES] += 1

    def open(self, change: int) -> None:
        """Count a connection that opens (1) or closes (-1)."""
        self._cells[_OPEN] += change

    def alive(self, monotonic: float) -> None:
        """Say that this process turns, at a moment of the monotonic clock in seconds."""
        self._cells[_ALIVE] = int(monotonic * 1000)

    def accepting(self, *, yes: bool) -> None:
        """Say whether this process accepts connections."""
        self._cells[_ACCEPTING] = yes

    def database(self, *, answers: bool) -> None:
        """Say whether the database answers this process."""
        self._cells[_DATABASE] = _ANSWERS if answers else _FAILS

    @property
    def last_alive(self) -> float:
        """The last moment at which it said so; 0 before the first."""
        return int(self._cells[_ALIVE]) / 1000

    def restart(self) -> None:
        """Count a process that was replaced because it ended unasked."""
        self._cells[_RESTARTS] += 1

    def configured(self, at: float) -> None:
        """Say since when the configuration is in force, in seconds since 1970."""
        self._cells[_RELOADED_AT] = int(at)

    def reload(self, *, applied: bool, at: float) -> None:
        """Count a reload of the configuration, at a moment in seconds since 1970."""
        self._cells[_RELOADS["applied" if applied else "rejected"]] += 1
        self._cells[_RELOAD_FAILED] = not applied
        if applied:
            self.configured(at)

    def stopping(self) -> None:
        """Say that the server stops."""
        self._cells[_STOPPING] = 1

    def reset(self) -> None:
        """Begin anew what tells of a process and not of the server."""
        for cell in _GAUGES:
            self._cells[cell] = 0


class Board:
    """The rows of all processes."""

    def __init__(self, memory: memoryview, rows: int) -> None:
        self._cells = memory.cast("Q")
        self.rows = rows

    @staticmethod
    def size(rows: int) -> int:
        """Return how many bytes of memory so many rows need."""
        return rows * _cells.size * 8

    def tally(self, row: int) -> Tally:
        """Return the row of a process."""
        return Tally(self._cells[row * _cells.size : (row + 1) * _cells.size])

    def total(self, cell: int) -> int:
        """Return the sum of a cell over all rows."""
        return sum(self._cells[cell :: _cells.size])

    def totals(self, first: int, count: int) -> list[int]:
        """Return the sums of cells that follow each other."""
        return [self.total(cell) for cell in range(first, first + count)]

    @property
    def is_stopping(self) -> bool:
        """Whether the server stops."""
        return bool(self.total(_STOPPING))

    def turning(self, since: float) -> int:
        """Return how many processes accept, and have said since a moment of the monotonic clock that they turn."""
        return len(self._accepting(since))

    def answered(self, since: float) -> int:
        """Return how many of them have a database that answers."""
        return sum(database == _ANSWERS for database in self._accepting(since))

    def _accepting(self, since: float) -> list[int]:
        """Return what the database is to each process that accepts, and has said since a moment that it turns."""
        rows = zip(*(self._cells[cell :: _cells.size] for cell in (_ALIVE, _ACCEPTING, _DATABASE)), strict=True)
        return [database for at, accepts, database in rows if at > since * 1000 and accepts]


class Findings(NamedTuple):
    """What is found out when Prometheus asks, rather than counted."""

    workers: int
    bans: Mapping[str, int]  # in force, by scope: source; a network is never banned
    data_age: float | None  # seconds; None when it cannot be had
    networks: Mapping[str, int]  # number of each named network, by its name
    database: bool = False  # whether it answers any worker
    cvr_age: float | None = None  # seconds; None where none of CVR's own data was read
    maintenance: float | None = None  # when the window that is open ends, in seconds since 1970; 0: none; None: not known


class BoardCollector(Collector):
    """Hands a board to Prometheus."""

    def __init__(self, board: Board, findings: Findings) -> None:
        self._board = board
        self._findings = findings

    def collect(self) -> Iterator[Metric]:
        """Return all figures."""
        yield self._build()
        yield self._queries()
        yield self._latency()
        yield self._emails()
        yield self._batches()
        yield from self._clients()
        yield from self._processes()
        yield from self._database()

    def _build(self) -> Metric:
        build = InfoMetricFamily("whoisd_build", "The version that runs, and whether it is compiled or plain Python.")
        build.add_metric([], {"version": version("whoisd"), "python": python_version(), "build": build_of()})
        return build

    def _queries(self) -> Metric:
        return _counter(
            "whoisd_queries",
            "Connections that ended, and requests over HTTP, by protocol, by outcome and by what was asked for.",
            ("protocol", "outcome", "kind"),
            {labels: self._board.total(cell) for labels, cell in _QUERIES.items()},
        )

    def _latency(self) -> Metric:
        latency = HistogramMetricFamily(
            "whoisd_query_duration_seconds",
            "Seconds from a connection's accept, or over HTTP from a request, to its answer or end.",
            labels=("protocol",),
        )
        for protocol in Protocol:
            counts = self._board.totals(_LATENCY[protocol], len(SECONDS) + 1)
            seconds = self._board.total(_MICROSECONDS[protocol]) / 1e6
            latency.add_metric([protocol], _buckets(SECONDS, counts), seconds)
        return latency

    def _emails(self) -> Metric:
        return _counter(
            "whoisd_emails",
            "Answers for domains, by whether they show the registrant's email, and why.",
            ("email", "reason"),
            {
                ("shown" if reason in SHOWN else "withheld", reason): self._board.total(cell)
                for reason, cell in _EMAILS.items()
            },
        )

    def _batches(self) -> Metric:
        batches = HistogramMetricFamily("whoisd_batch_names", "Names looked up together in the database.")
        batches.add_metric(
            [], _buckets(NAMES, self._board.totals(_BATCHES, len(NAMES) + 1)), float(self._board.total(_BATCHED))
        )
        return batches

    def _clients(self) -> Iterator[Metric]:
        yield _gauge("whoisd_connections_open", "Open connections.", {(): self._board.total(_OPEN)})
        networks = {"other": MOST_NAMED, **self._findings.networks}
        yield _counter(
            "whoisd_refusals",
            "Clients refused for rate, ban or number of connections, by the named network that they are in.",
            ("network",),
            {(name,): self._board.total(_REFUSALS + number) for name, number in networks.items()},
        )
        yield _counter(
            "whoisd_bans",
            "Bans that began.",
            ("scope",),
            {(scope,): self._board.total(cell) for scope, cell in _BANS.items()},
        )
        yield _counter(
            "whoisd_throttled", "Queries refused for the rate of a network.", (), {(): self._board.total(_THROTTLED)}
        )
        yield _gauge(
            "whoisd_bans_in_force",
            "Bans in force.",
            {(scope,): self._findings.bans.get(scope, 0) for scope in _BANS},
            ("scope",),
        )

    def _processes(self) -> Iterator[Metric]:
        board = self._board
        yield _gauge("whoisd_workers", "Workers that accept.", {(): self._findings.workers})
        yield _counter(
            "whoisd_restarts", "Processes that ended unasked and were replaced.", (), {(): board.total(_RESTARTS)}
        )
        yield _counter(
            "whoisd_config_reloads",
            "Reloads of the configuration.",
            ("result",),
            {(result,): board.total(cell) for result, cell in _RELOADS.items()},
        )
        yield _gauge(
            "whoisd_config_last_reload_successful",
            "Whether the configuration that was read last is in force.",
            {(): not board.total(_RELOAD_FAILED)},
        )
        yield _gauge(
            "whoisd_config_in_force_since_seconds",
            "When the configuration in force was read, in seconds since 1970.",
            {(): board.total(_RELOADED_AT)},
        )
        yield _counter("whoisd_log_lines_lost", "Lines of the log that nobody took.", (), {(): board.total(_LOST_LINES)})

    def _database(self) -> Iterator[Metric]:
        age = self._findings.data_age
        yield _gauge("whoisd_database_up", "Whether the database answers any worker.", {(): self._findings.database})
        if age is not None:
            yield _gauge("whoisd_data_age_seconds", "Replication lag of a standby; 0 on a primary.", {(): age})
        if self._findings.cvr_age is not None:
            yield _gauge("whoisd_cvr_age_seconds", "Age of CVR's own data.", {(): self._findings.cvr_age})
        if self._findings.maintenance is not None:
            yield _gauge(
                "whoisd_maintenance_until_seconds",
                "When the maintenance window that is open ends, in seconds since 1970; 0: there is none.",
                {(): self._findings.maintenance},
            )


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the cumulative buckets of a histogram by their bounds, as Prometheus has them."""
    total, buckets = 0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _counter(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    counter = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        counter.add_metric(key, value)
    return counter


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], labels: Sequence[str] = ()) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        gauge.add_metric(key, value)
    return gauge
