"""What the supervisor decides: a table of situations, and any history that hypothesis makes up, without a process."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.server.fleet import (
    CUT_AFTER,
    FIRST_PAUSE,
    HANGS_AFTER,
    LONGEST_PAUSE,
    STEADY_AFTER,
    Action,
    Announce,
    Child,
    Death,
    Fleet,
    Kill,
    Kind,
    Look,
    Order,
    Part,
    Stage,
    Start,
    Tell,
    Wanted,
    decide,
    died,
    first_stage,
    look_again,
    not_started,
    rows_for,
)

OBSERVER: Final = Part(Kind.OBSERVER)
ONE: Final = Part(Kind.WORKER, 1)
TWO: Final = Part(Kind.WORKER, 2)
PARTS: Final = (OBSERVER, ONE, TWO)
NOW: Final = 1000.0
PATIENCE: Final = 21.5
GRACE: Final = 10.0
STARTING, ACCEPTING, ENDING = Stage.STARTING, Stage.ACCEPTING, Stage.ENDING


def child(part: Part, stage: Stage = ACCEPTING, **facts: Any) -> Child:
    """A process that was started a minute ago and lives; its row is that of its place among the parts."""
    usual = {
        "pid": 100 + PARTS.index(part),
        "row": 1 + PARTS.index(part),
        "generation": 0,
        "started": NOW - 60,
        "patience": PATIENCE,
        "grace": GRACE if part.serves else 0.0,
        "alive": NOW - 0.5,
    }
    return Child(part=part, stage=stage, **(usual | facts))


def younger(part: Part, stage: Stage = ACCEPTING, **facts: Any) -> Child:
    """Its successor, of the next generation."""
    return child(part, stage, **({"pid": 200 + PARTS.index(part), "row": 4 + PARTS.index(part), "generation": 1} | facts))


def told(it: Child, order: Order, ends_by: float = NOW + 1) -> Child:
    return replace(it, told=order, ends_by=ends_by)


def decided(
    children: Iterable[Child],
    *,
    generation: int = 0,
    stopping: bool = False,
    deaths: dict[Part, Death] | None = None,
    announced: int | None = 0,
) -> list[Action]:
    """What is decided of these at NOW."""
    fleet = Fleet(tuple(children), deaths or {}, Look(NOW, NOW - 600), announced)
    return decide(fleet, Wanted(PARTS, generation, stopping), NOW)


def said(actions: Sequence[Action]) -> list[str]:
    """Actions in a few words each."""
    words = []
    for action in actions:
        match action:
            case Start(part, row):
                words.append(f"start {part} in row {row}")
            case Tell(it, order, ends_by):
                words.append(f"{order} {it.pid} by {ends_by - NOW:+g}")
            case Kill(it, hangs):
                words.append(f"kill {it.pid}, which {'hangs' if hangs else 'is late'}")
            case Announce(generation):
                words.append(f"announce {generation}")
    return words


ALL: Final = (child(OBSERVER), child(ONE), child(TWO))
YOUNG: Final = (younger(OBSERVER), younger(ONE), younger(TWO))
RECENTLY: Final = Death(5, NOW - 1, 4.0)

# What there is, what else is known, and what is to be done.
TABLE: Final[list[tuple[str, Sequence[Child], dict[str, Any], list[str]]]] = [
    # starting
    (
        "at first all are started at once",
        (),
        {"announced": None},
        ["start observer in row 1", "start worker 1 in row 2", "start worker 2 in row 3"],
    ),
    ("it is not up while one of them is starting", (*ALL[:2], child(TWO, STARTING)), {"announced": None}, []),
    ("it is up once all of them accept", ALL, {"announced": None}, ["announce 0"]),
    ("which does not wait for the observer", ALL[1:], {"announced": None}, ["start observer in row 1", "announce 0"]),
    ("and is said once", ALL, {}, []),
    # dying
    ("one that is gone is started again, in a free row", ALL[:2], {}, ["start worker 2 in row 3"]),
    ("one that died soon and often waits", ALL[:2], {"deaths": {TWO: RECENTLY}}, []),
    ("but not beyond its pause", ALL[:2], {"deaths": {TWO: Death(5, NOW - 5, 4.0)}}, ["start worker 2 in row 3"]),
    (
        "where nobody serves it waits no longer than the first pause",
        (child(OBSERVER), child(ONE, STARTING)),
        {"deaths": {TWO: RECENTLY}},
        ["start worker 2 in row 3"],
    ),
    ("an observer that died soon and often waits too", ALL[1:], {"deaths": {OBSERVER: RECENTLY}}, []),
    ("one death is not another's", ALL[:2], {"deaths": {ONE: RECENTLY}}, ["start worker 2 in row 3"]),
    (
        "one that somebody else told to end has a successor at once",
        (*ALL[:2], child(TWO, ENDING)),
        {},
        ["start worker 2 in row 4"],
    ),
    # reloading
    (
        "a reload replaces the observer, and workers one by one",
        ALL,
        {"generation": 1},
        ["start observer in row 4", "start worker 1 in row 5"],
    ),
    (
        "the next is not started before the last accepts",
        (*ALL, YOUNG[0], younger(ONE, STARTING)),
        {"generation": 1},
        ["retire 100 by +26.5"],
    ),
    (
        "who has a successor that accepts retires",
        (*ALL, *YOUNG[:2]),
        {"generation": 1},
        ["start worker 2 in row 6", "retire 100 by +26.5", "retire 101 by +26.5"],
    ),
    (
        "and is told once",
        (told(ALL[1], Order.RETIRE), ALL[0], ALL[2], *YOUNG[:2]),
        {"generation": 1},
        ["start worker 2 in row 6", "retire 100 by +26.5"],
    ),
    (
        "it is up by the new configuration when none accepts by the old",
        (*YOUNG, replace(told(ALL[1], Order.RETIRE), stage=ENDING)),
        {"generation": 1},
        ["announce 1"],
    ),
    ("and not before", (*YOUNG, told(ALL[1], Order.RETIRE)), {"generation": 1}, []),
    (
        "a row is had when the one that was told to end is gone",
        (*ALL, *YOUNG[1:], younger(TWO, ENDING, pid=300, row=4)),
        {"generation": 2, "announced": 1},
        ["retire 101 by +26.5", "retire 102 by +26.5"],
    ),
    # hanging
    (
        "a worker that gives no sign of life is killed",
        (child(ONE, alive=NOW - HANGS_AFTER - 0.1), *ALL[::2]),
        {},
        ["kill 101, which hangs"],
    ),
    ("but not before its time is up", (child(ONE, alive=NOW - HANGS_AFTER), *ALL[::2]), {}, []),
    ("nor one that has just been started", (child(ONE, STARTING, started=NOW - 1, alive=0.0), *ALL[::2]), {}, []),
    ("an observer gives no signs of life", (child(OBSERVER, alive=0.0), *ALL[1:]), {}, []),
    (
        "who was told to end and has not is killed",
        (told(child(ONE, ENDING), Order.RETIRE, NOW - 0.1), *YOUNG),
        {"generation": 1, "announced": 1},
        ["kill 101, which is late"],
    ),
    # stopping
    ("at a stop those that serve are told", ALL, {"stopping": True}, ["stop 101 by +15", "stop 102 by +15"]),
    (
        "also who was told to retire",
        (ALL[0], told(ALL[1], Order.RETIRE)),
        {"stopping": True},
        ["stop 101 by +15"],
    ),
    ("and once", (ALL[0], told(ALL[1], Order.STOP)), {"stopping": True}, []),
    ("the observer is the last", ALL[:1], {"stopping": True}, ["stop 100 by +5"]),
    ("nobody is started any more", (told(ALL[0], Order.STOP),), {"stopping": True}, []),
    ("nor is anything announced", ALL, {"stopping": True, "announced": None}, ["stop 101 by +15", "stop 102 by +15"]),
]


@pytest.mark.parametrize(("what", "children", "facts", "expected"), TABLE, ids=[row[0] for row in TABLE])
def test_table(what: str, children: Sequence[Child], facts: dict[str, Any], expected: list[str]) -> None:
    """What is decided in each situation, in this order."""
    assert what
    assert said(decided(children, **facts)) == expected


@pytest.mark.parametrize(
    ("lived", "before", "number", "pause"),
    [
        (1.0, None, 1, 0.0),
        (1.0, 1, 2, FIRST_PAUSE),
        (STEADY_AFTER, 2, 3, 2 * FIRST_PAUSE),
        (STEADY_AFTER + 0.1, 2, 1, 0.0),
        (1.0, 20, 21, LONGEST_PAUSE),
    ],
)
def test_death(lived: float, before: int | None, number: int, pause: float) -> None:
    """The pause after a death doubles with each in a row soon after the start, up to the longest; a steady life ends it."""
    last = None if before is None else Death(before, NOW - 100, 0.0)
    assert died(last, NOW - lived, NOW) == Death(number, NOW, pause)


def test_process_that_could_not_be_started() -> None:
    """Where a process could not be started the next try waits."""
    assert said(decided(ALL[:2], deaths={TWO: not_started(NOW - FIRST_PAUSE / 2)})) == []
    assert said(decided(ALL[:2], deaths={TWO: not_started(NOW - FIRST_PAUSE)})) == ["start worker 2 in row 3"]


def test_standstill() -> None:
    """After a gap between two looks the time without a sign of life begins anew: it was the machine that stood still."""
    steady = Look(NOW - HANGS_AFTER / 2, NOW - 600)
    assert look_again(steady, NOW) == Look(NOW, NOW - 600)
    look = look_again(steady._replace(at=NOW - HANGS_AFTER / 2 - 0.1), NOW)
    assert look == Look(NOW, NOW)
    silent = (child(ONE, alive=NOW - 60), *ALL[::2])
    assert said(decide(Fleet(silent, {}, look, 0), Wanted(PARTS, 0), NOW)) == []


def test_names() -> None:
    """The log calls a worker by its number, and the observer, of which there is one, by its kind."""
    assert [str(part) for part in PARTS] == ["observer", "worker 1", "worker 2"]


# --- any history -----------------------------------------------------------------------------------------------------


class History:
    """A supervisor without processes: what is decided is taken as done, and processes do as they are told, or not."""

    def __init__(self, workers: int) -> None:
        self.parts = (OBSERVER, *(Part(Kind.WORKER, number) for number in range(1, workers + 1)))
        self.wanted = Wanted(self.parts, 0)
        self.now = NOW
        self.look = Look(NOW, NOW)
        self.children: dict[int, Child] = {}
        self.deaths: dict[Part, Death] = {}
        self.announced: int | None = None
        self.next_pid = 1
        self.killed: list[Kill] = []

    def turn(self, seconds: float = 0.5) -> None:
        """Let time pass, in which all that live give signs of it, and do what is decided."""
        self.now += seconds
        self.children = {pid: replace(it, alive=self.now) for pid, it in self.children.items()}
        self.look = look_again(self.look, self.now)
        fleet = Fleet(tuple(self.children.values()), self.deaths, self.look, self.announced)
        for action in decide(fleet, self.wanted, self.now):
            self.do(action)
        self.check()

    def do(self, action: Action) -> None:
        match action:
            case Start(part, row):
                pid, self.next_pid = self.next_pid, self.next_pid + 1
                grace = GRACE if part.serves else 0.0
                self.children[pid] = Child(
                    pid, part, row, self.wanted.generation, self.now, PATIENCE, grace, first_stage(part)
                )
            case Tell(it, order, ends_by):
                assert it.told is not order
                assert ends_by > self.now
                self.children[it.pid] = replace(it, told=order, ends_by=ends_by)
            case Kill(it, _):
                self.killed.append(action)
                del self.children[it.pid]
            case Announce(generation):
                assert generation == self.wanted.generation != self.announced
                self.announced = generation

    def check(self) -> None:
        """Rules that hold after each turn."""
        rows = Counter(it.row for it in self.children.values())
        assert not rows or max(rows.values()) == 1, "two processes count in one row"
        assert all(0 < row < rows_for(self.parts) for row in rows)
        wanted = Counter(it.part for it in self.children.values() if it.told is None and it.stage is not ENDING)
        assert all(count <= 2 for count in wanted.values()), "a part is filled more than twice"

    def settle(self) -> None:
        """Let every process do what it is to do, for as long as that may take."""
        for _ in range(2 * int(LONGEST_PAUSE) + 3 * len(self.parts)):
            for pid, it in tuple(self.children.items()):
                if it.told or it.stage is ENDING:
                    del self.children[pid]
                elif it.stage is STARTING:
                    self.children[pid] = replace(it, stage=ACCEPTING)
            self.turn()

    def happen(self, what: str, which: int) -> None:
        """Let one thing happen."""
        pids = [*self.children]
        pid = pids[which % len(pids)] if pids else None
        match what:
            case "reload" if not self.wanted.stopping:
                self.wanted = replace(self.wanted, generation=self.wanted.generation + 1)
            case "step" if pid is not None:
                it = self.children[pid]
                if it.part.serves and (it.stage is STARTING or it.told):
                    self.children[pid] = replace(it, stage=Stage(min(it.stage + 1, ENDING)))
            case "end" if pid is not None:
                it = self.children.pop(pid)
                if not it.told and not self.wanted.stopping:
                    self.deaths[it.part] = died(self.deaths.get(it.part), it.started, self.now)
            case "late":
                self.turn(60)


few = settings(max_examples=100, deadline=None)
EVENTS: Final = st.lists(
    st.tuples(st.sampled_from(["reload", "step", "end", "late", "wait"]), st.integers(0, 9)), max_size=60
)


@few
@given(st.integers(1, 4), EVENTS)
def test_any_history_ends_in_what_is_wanted(workers: int, events: list[tuple[str, int]]) -> None:
    """Whatever has happened, in time each part is filled once, by the configuration in force, and that is announced."""
    history = History(workers)
    for what, which in events:
        history.happen(what, which)
        history.turn()
    history.settle()
    assert sorted(it.part for it in history.children.values()) == sorted(history.parts)
    assert {(it.generation, it.stage, it.told) for it in history.children.values()} == {
        (history.wanted.generation, ACCEPTING, None)
    }
    assert history.announced == history.wanted.generation


@few
@given(st.integers(1, 4), EVENTS, EVENTS)
def test_any_stop_ends(workers: int, before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Whatever has happened, a stop starts nobody, tells the observer last, and leaves nobody in the end."""
    history = History(workers)
    for what, which in before:
        history.happen(what, which)
        history.turn()
    history.wanted = replace(history.wanted, stopping=True)
    last = history.next_pid
    for what, which in after:
        history.happen(what, which)
        history.turn()
        served = any(it.part.serves for it in history.children.values())
        assert not (served and any(it.told is Order.STOP and not it.part.serves for it in history.children.values()))
    for _ in range(int((GRACE + 2 * CUT_AFTER) / 0.5) + 5):
        history.turn()
    assert not history.children, "who does not end by itself is killed within the grace period and twice the cut"
    assert history.next_pid == last
