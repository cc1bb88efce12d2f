"""What a server's processes are, and what is to be done about them now: the supervisor's decisions.

Plain functions of what runs, what should run and the time. They start and end nothing: `supervisor` carries out what they
return. A death, a reload and the first start are all one case: what runs is not what should.

    part        one place in the server that a process fills: worker 1, worker 2, the observer
    generation  the configuration that a process was started with, counted up at each reload
    row         where in shared memory a process counts; each has its own, and its successor another
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

STEADY_AFTER: Final = 10.0  # seconds: a process that ends sooner may do so again, so its successor waits
FIRST_PAUSE: Final = 0.5  # seconds before the second start in a row; each further pause is twice as long
LONGEST_PAUSE: Final = 30.0
HANGS_AFTER: Final = 20.0  # seconds without a sign of life, after which a process that serves is killed
CUT_AFTER: Final = 5.0  # seconds beyond the time that a process was given to end, after which it is killed


class Kind(StrEnum):
    """What a process does, and the word for it in the log."""

    OBSERVER = "observer"
    WORKER = "worker"
    HTTP = "http"


# The kinds that serve clients. They tell the supervisor of their stages and give signs of life; the server is up once all of
# them accept. The others are up as soon as they are started, and are the last to end.
SERVING: Final = frozenset({Kind.WORKER, Kind.HTTP})


class Part(NamedTuple):
    """A place in the server that a process fills; `number` tells those of one kind apart, and is 0 where there is one."""

    kind: Kind
    number: int = 0

    @property
    def serves(self) -> bool:
        """Whether its process serves clients."""
        return self.kind in SERVING

    def __str__(self) -> str:
        """Return what the log calls it."""
        return f"{self.kind} {self.number}" if self.number else str(self.kind)


class Stage(IntEnum):
    """How far a process is."""

    STARTING = 0
    ACCEPTING = 1
    ENDING = 2  # it accepts no more, and lets the open connections end


class Order(StrEnum):
    """What a process is told."""

    RETIRE = "retire"  # others go on: leave them what waits, and let the open connections end
    STOP = "stop"  # the server ends: take what waits to be accepted, and be done within the grace period


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. Moments are in seconds of the monotonic clock."""

    pid: int
    part: Part
    row: int
    generation: int
    started: float
    patience: float  # seconds that it may take to end once it is told to retire
    grace: float  # seconds that it may take to end once it is told to stop
    stage: Stage
    alive: float = 0.0  # when it last gave a sign of life
    told: Order | None = None
    ends_by: float | None = None  # when it is killed, once it was told to end


class Death(NamedTuple):
    """That a process ended unasked: how many times in a row soon after its start, when, and for how long to wait."""

    number: int
    at: float
    pause: float


class Look(NamedTuple):
    """When the supervisor last looked at the processes, and since when it has done so without a long gap."""

    at: float
    since: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """What there is: the processes, the last death of each part, and the generation that is known to serve, if any."""

    children: Sequence[Child]
    deaths: Mapping[Part, Death]
    look: Look
    announced: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What there should be."""

    parts: Sequence[Part]
    generation: int
    stopping: bool = False


class Start(NamedTuple):
    """Start a process."""

    part: Part
    row: int


class Tell(NamedTuple):
    """Tell a process to end."""

    child: Child
    order: Order
    ends_by: float


class Kill(NamedTuple):
    """Kill a process: it hangs, or has not ended in time."""

    child: Child
    hangs: bool


class Announce(NamedTuple):
    """Say that the server is up, or up by a new configuration."""

    generation: int


Action = Start | Tell | Kill | Announce


def rows_for(parts: Collection[Part]) -> int:
    """Return how many rows of shared memory a server needs: the supervisor's, and two for each part.

    Two, because a process that is told to end still counts while its successor does too.
    """
    return 1 + 2 * len(parts)


def first_stage(part: Part) -> Stage:
    """Return the stage at which a process begins."""
    return Stage.STARTING if part.serves else Stage.ACCEPTING


def look_again(last: Look, now: float) -> Look:
    """Return the look at `now` after the last one.

    After a long gap nobody has been silent for longer than that look: it was not the processes that stood still but the
    supervisor, or the whole machine.
    """
    return Look(now, now if now - last.at > HANGS_AFTER / 2 else last.since)


def died(before: Death | None, started: float, now: float) -> Death:
    """Return the death of a process that ended unasked. If this happens again and again, its successor waits."""
    number = before.number + 1 if before and now - started <= STEADY_AFTER else 1
    pause = min(FIRST_PAUSE * 2 ** (number - 2), LONGEST_PAUSE) if number > 1 else 0.0
    return Death(number, now, pause)


def not_started(now: float) -> Death:
    """Return what stands for a death where a process could not even be started: for want of memory, say, which passes."""
    return Death(1, now, FIRST_PAUSE)


def decide(fleet: Fleet, wanted: Wanted, now: float) -> list[Action]:
    """Return what is to be done now, in this order."""
    return [*_starts(fleet, wanted, now), *_ends(fleet, wanted, now), *_announcements(fleet, wanted)]


def is_wanted(child: Child, wanted: Wanted) -> bool:
    """Whether a process is of the configuration in force, and serves or will. Somebody else may have told it to end."""
    return child.generation == wanted.generation and child.stage is not Stage.ENDING


def _starts(fleet: Fleet, wanted: Wanted, now: float) -> Iterator[Action]:
    """Start what should run and does not; while its predecessor serves, one process at a time."""
    if wanted.stopping:
        return
    taken = {child.row for child in fleet.children}
    free = (row for row in range(1, rows_for(wanted.parts)) if row not in taken)
    one_starts = any(child.stage is Stage.STARTING for child in fleet.children)
    for part in wanted.parts:
        there = [child for child in fleet.children if child.part == part]
        if any(is_wanted(child, wanted) for child in there) or _must_wait(fleet, part, now):
            continue
        if there and one_starts:
            return
        row = next(free, None)
        if row is None:
            return  # until one that was told to end has done so
        yield Start(part, row)
        one_starts = one_starts or first_stage(part) is Stage.STARTING


def _must_wait(fleet: Fleet, part: Part, now: float) -> bool:
    """Whether a process that died before may not start yet. While nobody else serves, a short pause must do."""
    death = fleet.deaths.get(part)
    if not death:
        return False
    kinds = {part.kind} if part.serves else SERVING
    served = any(child.stage is Stage.ACCEPTING and child.part.kind in kinds for child in fleet.children)
    return now < death.at + (death.pause if served else min(death.pause, FIRST_PAUSE))


def _ends(fleet: Fleet, wanted: Wanted, now: float) -> Iterator[Action]:
    """Tell those to end that are not wanted any more; kill those that hang, or do not end."""
    for child in fleet.children:
        order = _order(child, fleet, wanted)
        if order and order is not child.told:
            yield Tell(child, order, now + (child.patience if order is Order.RETIRE else child.grace) + CUT_AFTER)
        elif child.ends_by is not None and now > child.ends_by:
            yield Kill(child, hangs=False)
        elif _hangs(child, fleet.look, now):
            yield Kill(child, hangs=True)


def _order(child: Child, fleet: Fleet, wanted: Wanted) -> Order | None:
    """Return what a process is to be told: to retire once its successor serves, or to stop, those that serve first."""
    if wanted.stopping:
        last = not any(other.part.serves for other in fleet.children)
        return Order.STOP if child.part.serves or last else None
    replaced = any(
        other.part == child.part and other.generation > child.generation and other.stage is not Stage.STARTING
        for other in fleet.children
    )
    return Order.RETIRE if replaced else None


def _hangs(child: Child, look: Look, now: float) -> bool:
    return child.part.serves and now - max(child.started, look.since, child.alive) > HANGS_AFTER


def _announcements(fleet: Fleet, wanted: Wanted) -> Iterator[Action]:
    """Say so once all parts that serve do, and none by a configuration before."""
    if wanted.stopping or fleet.announced == wanted.generation:
        return
    accepting = {(child.generation, child.part) for child in fleet.children if child.stage is Stage.ACCEPTING}
    serving = {(generation, part) for generation, part in accepting if part.serves}
    if serving == {(wanted.generation, part) for part in wanted.parts if part.serves}:
        yield Announce(wanted.generation)
