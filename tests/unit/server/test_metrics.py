"""What is counted: each count ends in its figure and in no other, summed over all processes, and nothing personal."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from itertools import count
from platform import python_version
from typing import Final

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from support import Figures

from whoisd.answers.answer import Protocol
from whoisd.answers.disclosure import RULES, Reason
from whoisd.build import Build, build_of
from whoisd.errors import Outcome
from whoisd.limits.counters import MOST_NAMED
from whoisd.limits.sources import Limit
from whoisd.server.metrics import NAMES, SECONDS, Board, BoardCollector, Findings, Tally

ROWS: Final = 3
NOTHING: Final = Findings(0, {}, None, {})

Sample = tuple[str, tuple[tuple[str, str], ...]]


def board(rows: int = ROWS) -> Board:
    return Board(memoryview(bytearray(Board.size(rows))), rows)


def text_of(board: Board, facts: Findings = NOTHING) -> str:
    """What Prometheus gets."""
    registry = CollectorRegistry()
    registry.register(BoardCollector(board, facts))
    return generate_latest(registry).decode()


def figures(board: Board, facts: Findings = NOTHING) -> Figures:
    return Figures(text_of(board, facts))


def values(board: Board, facts: Findings = NOTHING) -> dict[Sample, float]:
    """Every figure by its name and labels."""
    return {(it.name, tuple(sorted(it.labels.items()))): it.value for it in figures(board, facts).samples}


def changed(act: Callable[[Tally], None], facts: Findings = NOTHING) -> dict[Sample, float]:
    """By how much each figure changes that an act of one process changes at all."""
    over = board()
    before = values(over, facts)
    act(over.tally(1))
    after = values(over, facts)
    assert before.keys() == after.keys()
    return {sample: after[sample] - before[sample] for sample in after if after[sample] != before[sample]}


def sample(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


# --- each count in its figure ----------------------------------------------------------------------------------------

# What can be asked for with each outcome; where nothing is listed it is not known.
KINDS: Final = {
    Outcome.FOUND: ("domain", "host"),
    Outcome.NOT_FOUND: ("domain", "host"),
    Outcome.HELP: ("help",),
    Outcome.WRITE_TIMEOUT: ("domain", "host", "help", None),
    Outcome.CLIENT_GONE: ("domain", "host", "help", None),
}
QUERIES: Final = [(outcome, kind) for outcome in Outcome for kind in KINDS.get(outcome, (None,))]


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(("outcome", "kind"), QUERIES)
def test_query(outcome: Outcome, kind: str | None, protocol: Protocol) -> None:
    """A connection that ended is counted by protocol, outcome and what was asked for, and in the histogram of latency."""
    found = changed(lambda tally: tally.query(outcome, kind, 3.0, protocol))
    assert found == {
        sample("whoisd_queries_total", protocol=protocol, outcome=outcome, kind=kind or "none"): 1,
        sample("whoisd_query_duration_seconds_bucket", protocol=protocol, le="+Inf"): 1,
        sample("whoisd_query_duration_seconds_count", protocol=protocol): 1,
        sample("whoisd_query_duration_seconds_sum", protocol=protocol): 3.0,
    }


def test_every_query_has_a_figure_from_the_start() -> None:
    """Every outcome has its figure before it happens first, so that a rate over it begins at zero."""
    found = {name_labels for name_labels in values(board()) if name_labels[0] == "whoisd_queries_total"}
    assert found == {
        sample("whoisd_queries_total", protocol=protocol, outcome=outcome, kind=kind or "none")
        for protocol in Protocol
        for outcome, kind in QUERIES
    }


@pytest.mark.parametrize("bound", SECONDS)
@pytest.mark.parametrize("beside", [-1e-9, 0.0, 1e-9])
def test_latency(bound: float, beside: float) -> None:
    """A latency is in every bucket whose bound it does not exceed."""
    over = board()
    over.tally(1).query(Outcome.HELP, "help", bound + beside)
    found = figures(over)
    for each in SECONDS:
        expected = bound + beside <= each
        assert found.sum("whoisd_query_duration_seconds_bucket", le=str(each)) == expected
    assert found.sum("whoisd_query_duration_seconds_bucket", le="+Inf") == 1
    assert found.sum("whoisd_query_duration_seconds_count") == 1
    assert found.sum("whoisd_query_duration_seconds_sum") == pytest.approx(bound + beside, abs=1e-6)


def test_latencies_add_up() -> None:
    """The histogram is cumulative over all processes, and its sum is in seconds."""
    over = board()
    for row, seconds in enumerate((0.0001, 0.0015, 0.0015, 0.3, 7.25)):
        over.tally(row % ROWS).query(Outcome.FOUND, "domain", seconds)
    found = figures(over)
    buckets = [found.sum("whoisd_query_duration_seconds_bucket", le=str(bound)) for bound in SECONDS]
    assert buckets == [1, 1, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4]
    assert found.sum("whoisd_query_duration_seconds_sum") == pytest.approx(7.5531)


@pytest.mark.parametrize("reason", Reason)
def test_decision(reason: Reason) -> None:
    """An answer for a domain is counted by the reason, as one that shows the email or one that withholds it."""
    shown = "shown" if any(rule.shown for rule in RULES if rule.reason is reason) else "withheld"
    assert changed(lambda tally: tally.decision(reason)) == {sample("whoisd_emails_total", email=shown, reason=reason): 1}


@pytest.mark.parametrize("names", [*NAMES, *(bound + 1 for bound in NAMES)])
def test_batch(names: int) -> None:
    """A lookup is counted by how many names it was for."""
    found = changed(lambda tally: tally.batch(names))
    bounds = [str(bound) for bound in NAMES if names <= bound]
    assert found.pop(sample("whoisd_batch_names_count")) == 1
    assert found.pop(sample("whoisd_batch_names_sum")) == names
    assert found == {sample("whoisd_batch_names_bucket", le=bound): 1 for bound in [*bounds, "+Inf"]}


EXCESS: Final = {
    Limit.SOURCE_RATE: sample("whoisd_bans_total", scope="source"),
    Limit.NETWORK_RATE: sample("whoisd_throttled_total"),
}


@pytest.mark.parametrize("limit", Limit)
@pytest.mark.parametrize(("number", "name"), [(None, "other"), (0, "first"), (MOST_NAMED - 1, "last")])
def test_refusal(limit: Limit, number: int | None, name: str) -> None:
    """A refusal is counted by the name of the network, or as one of all others; and excess as a ban, or as throttled."""
    facts = Findings(0, {}, None, {"first": 0, "last": MOST_NAMED - 1})
    expected = {sample("whoisd_refusals_total", network=name): 1.0}
    if limit in EXCESS:
        expected[EXCESS[limit]] = 1
    assert changed(lambda tally: tally.refusal(limit, number), facts) == expected


def test_networks_are_told_by_the_names_they_have_now() -> None:
    """There is a figure for each network that is named now, and none for one that no longer is."""
    over = board()
    over.tally(0).refusal(Limit.SOURCE_BAN, 7)
    assert figures(over, Findings(0, {}, None, {"cert": 7})).by("network", "whoisd_refusals_total") == {"cert": 1}
    assert figures(over).by("network", "whoisd_refusals_total") == {}


ACTS: Final[list[tuple[Callable[[Tally], None], dict[Sample, float]]]] = [
    (lambda tally: tally.lost_line(), {sample("whoisd_log_lines_lost_total"): 1}),
    (lambda tally: tally.open(1), {sample("whoisd_connections_open"): 1}),
    (lambda tally: tally.restart(), {sample("whoisd_restarts_total"): 1}),
    (
        lambda tally: tally.reload(applied=True, at=1.8e9 + 0.7),
        {
            sample("whoisd_config_reloads_total", result="applied"): 1,
            sample("whoisd_config_in_force_since_seconds"): 1.8e9,
        },
    ),
    (
        lambda tally: tally.reload(applied=False, at=1.8e9),
        {
            sample("whoisd_config_reloads_total", result="rejected"): 1,
            sample("whoisd_config_last_reload_successful"): -1,
        },
    ),
    (lambda tally: tally.stopping(), {}),
    (lambda tally: tally.alive(1234.5), {}),
]


@pytest.mark.parametrize(("act", "expected"), ACTS)
def test_process(act: Callable[[Tally], None], expected: Mapping[Sample, float]) -> None:
    """What becomes of lines, connections, processes and the configuration is each counted in its own figure."""
    assert changed(act) == expected


def test_a_good_reload_after_a_bad_one() -> None:
    """A bad reload says so until a good one comes; the moment is that of the configuration in force."""
    over = board()
    tally = over.tally(0)
    tally.reload(applied=True, at=100)
    tally.reload(applied=False, at=200)
    found = figures(over)
    assert found.sum("whoisd_config_last_reload_successful") == 0
    assert found.sum("whoisd_config_in_force_since_seconds") == 100
    tally.reload(applied=True, at=300)
    found = figures(over)
    assert found.sum("whoisd_config_last_reload_successful") == 1
    assert found.sum("whoisd_config_in_force_since_seconds") == 300
    assert found.by("result", "whoisd_config_reloads_total") == {"applied": 2, "rejected": 1}


# --- over all processes ----------------------------------------------------------------------------------------------


def test_rows_are_summed() -> None:
    """A figure is the sum over all processes, from the first row to the last."""
    over = board()
    for row in range(ROWS):
        for _ in range(10**row):
            over.tally(row).query(Outcome.NOT_FOUND, "host", 0.001)
            over.tally(row).open(1)
    over.tally(1).open(-1)
    found = figures(over)
    assert found.sum("whoisd_queries_total", outcome="not_found", kind="host") == 111
    assert found.sum("whoisd_connections_open") == 110
    assert found.sum("whoisd_queries_total") == 111


def test_every_count_at_once() -> None:
    """No two counts share a number: each that is made another number of times is found again as often."""
    over = board()
    tally = over.tally(2)
    times = count(1)
    expected: dict[Sample, float] = {}
    for protocol in Protocol:
        for outcome, kind in QUERIES:
            labels = {"protocol": protocol, "outcome": outcome, "kind": kind or "none"}
            expected[sample("whoisd_queries_total", **labels)] = often = next(times)
            for _ in range(often):
                tally.query(outcome, kind, 0, protocol)
    for reason in Reason:
        shown = "shown" if any(rule.shown for rule in RULES if rule.reason is reason) else "withheld"
        expected[sample("whoisd_emails_total", email=shown, reason=reason)] = often = next(times)
        for _ in range(often):
            tally.decision(reason)
    networks = {f"n{number}": number for number in range(MOST_NAMED)}
    for name, number in networks.items():
        expected[sample("whoisd_refusals_total", network=name)] = often = next(times)
        for _ in range(often):
            tally.refusal(Limit.SOURCE_BAN, number)
    for act in (tally.lost_line, tally.restart, lambda: tally.open(1)):
        for _ in range(next(times)):
            act()
    found = values(over, Findings(0, {}, None, networks))
    assert {key: found[key] for key in expected} == expected
    assert [found[sample(name)] for name in ("whoisd_log_lines_lost_total", "whoisd_restarts_total")] == [
        len(expected) + 1,
        len(expected) + 2,
    ]
    assert found[sample("whoisd_connections_open")] == len(expected) + 3


def test_reset_keeps_what_is_the_servers() -> None:
    """When a process ends, what it had open and its last sign of life end with it; what it counted stays."""
    over = board()
    tally = over.tally(1)
    for seconds in (0, *SECONDS, 3):
        tally.query(Outcome.HELP, "help", seconds)
    tally.open(5)
    tally.alive(100.0)
    over.tally(2).open(2)
    before = values(over)
    tally.reset()
    after = values(over)
    assert after == before | {sample("whoisd_connections_open"): 2.0}
    assert (tally.last_alive, over.turning(0)) == (0, 0)
    over.tally(1).query(Outcome.HELP, "help", 0.1)
    assert figures(over).sum("whoisd_queries_total") == len(SECONDS) + 3


def test_signs_of_life() -> None:
    """A process turns when it accepts, and its last sign of life is later than the moment that is asked about."""
    over = board()
    assert (over.tally(0).last_alive, over.turning(0)) == (0, 0)
    over.tally(0).alive(100.25)
    over.tally(2).alive(105.5)
    assert over.turning(0) == 0
    for row in (0, 1, 2):
        over.tally(row).accepting(yes=True)
    assert [over.tally(row).last_alive for row in range(ROWS)] == [100.25, 0, 105.5]
    assert [over.turning(since) for since in (0, 100.249, 100.25, 105.4, 105.5)] == [2, 2, 1, 1, 0]
    over.tally(2).accepting(yes=False)
    assert over.turning(0) == 1


@pytest.mark.parametrize("row", range(ROWS))
def test_stopping(row: int) -> None:
    """The server stops when any process says so."""
    over = board()
    assert not over.is_stopping
    over.tally(row).stopping()
    assert over.is_stopping


def test_size() -> None:
    """Rows are of one size and lie side by side: what one process counts is in no other's row."""
    assert Board.size(5) == 5 * Board.size(1)
    over = board()
    assert over.rows == ROWS
    over.tally(1).query(Outcome.HELP, "help", 5)
    memory = over._cells.tobytes()
    row = Board.size(1)
    assert any(memory[row : 2 * row])
    assert not any(memory[:row])
    assert not any(memory[2 * row :])


# --- what is found out when Prometheus asks --------------------------------------------------------------------------


def test_facts() -> None:
    """Workers, bans in force and the data's age are as they were found; where there are no bans that is zero."""
    found = figures(board(), Findings(4, {"source": 3}, 12.5, {}, database=True))
    assert found.sum("whoisd_workers") == 4
    assert found.sum("whoisd_bans_in_force", scope="source") == 3
    assert figures(board(), Findings(4, {}, 12.5, {})).sum("whoisd_bans_in_force", scope="source") == 0
    assert found.sum("whoisd_database_up") == 1
    assert found.sum("whoisd_data_age_seconds") == 12.5


def test_the_age_of_cvrs_data() -> None:
    """The age of CVR's own data is a figure where some was read, and none where none was."""
    found = figures(board(), Findings(1, {}, 0.0, {}, database=True, cvr_age=86_400.5))
    assert found.sum("whoisd_cvr_age_seconds") == 86_400.5
    assert "whoisd_cvr_age_seconds" not in text_of(board(), Findings(1, {}, 0.0, {}, database=True))


@pytest.mark.parametrize("until", [0.0, 1_795_680_000.0])
def test_maintenance(until: float) -> None:
    """The end of a maintenance window is a figure, zero where there is none; it is not there where nobody could find out."""
    found = figures(board(), Findings(1, {}, 0.0, {}, database=True, maintenance=until))
    assert found.sum("whoisd_maintenance_until_seconds") == until
    assert "whoisd_maintenance_until_seconds" not in text_of(board(), Findings(1, {}, None, {}))


def test_a_primary_has_an_age() -> None:
    """A data age of zero is one: the database answers."""
    found = figures(board(), Findings(1, {}, 0.0, {}, database=True))
    assert (found.sum("whoisd_database_up"), found.sum("whoisd_data_age_seconds")) == (1, 0)


def test_database_of_the_workers() -> None:
    """The database is up where it answers a worker that accepts and turns; what the others have, or had, does not count."""
    rows = Board(memoryview(bytearray(Board.size(4))), 4)
    for row, (alive, accepts, answers) in enumerate([(9.0, True, False), (2.0, True, True), (9.0, False, True)]):
        rows.tally(row).alive(alive)
        rows.tally(row).accepting(yes=accepts)
        rows.tally(row).database(answers=answers)
    assert (rows.turning(5.0), rows.answered(5.0)) == (1, 0)
    rows.tally(0).database(answers=True)
    assert rows.answered(5.0) == 1
    rows.tally(0).reset()
    assert rows.answered(0.0) == 1  # of the second, which turned before


def test_without_the_database() -> None:
    """Where the database does not answer there is no age, rather than an old or a wrong one."""
    found = figures(board())
    assert found.sum("whoisd_database_up") == 0
    assert "whoisd_data_age_seconds" not in text_of(board())


def test_build() -> None:
    """The versions that run are told."""
    assert (
        figures(board()).sum("whoisd_build_info", version=version("whoisd"), python=python_version(), build=build_of()) == 1
    )


def test_labels_are_words_of_ours() -> None:
    """No label holds anything but a word of ours, the name of a network from the configuration, a bound or a version."""
    facts = Findings(1, {"source": 1}, 1.0, {"cert": 0})
    words = {*Outcome, *Reason, *map(str, NAMES), *map(str, SECONDS)}
    words |= {"domain", "host", "help", "none", "shown", "withheld", "source", "network", "other", "cert"}
    words |= set(Protocol)
    words |= {"applied", "rejected", "+Inf", version("whoisd"), python_version(), *Build}
    found = {value for it in figures(board(), facts).samples for value in it.labels.values()}
    assert found <= words
    names = {name for it in figures(board(), facts).samples for name in it.labels}
    assert names == {
        "outcome",
        "kind",
        "reason",
        "email",
        "scope",
        "network",
        "result",
        "le",
        "version",
        "python",
        "build",
        "protocol",
    }


def test_every_figure_is_explained() -> None:
    """Every figure has its type and a sentence of help."""
    lines = text_of(board(), Findings(1, {}, 1.0, {})).splitlines()
    types = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    helps = {line.split()[2]: line.split(maxsplit=3)[3] for line in lines if line.startswith("# HELP")}
    assert types.keys() == helps.keys()
    assert all(text.endswith(".") for text in helps.values())
    assert len(types) == 18
    assert {name for name, kind in types.items() if kind == "histogram"} == {
        "whoisd_query_duration_seconds",
        "whoisd_batch_names",
    }
