"""`whoisd top`: what two readings of the metrics say, and the screen that is drawn of them."""

import math
from io import StringIO

import pytest
from rich.console import Console

from whoisd.commands.top import Reading, quantile, rate, reading_of, screen
from whoisd.server.metrics import SECONDS

LATENCY = "whoisd_query_duration_seconds"


def reading(at: float = 0.0, **samples: float) -> Reading:
    return Reading(at, {(name, ()): value for name, value in samples.items()})


def buckets(at: float, *counts: float) -> Reading:
    """A histogram with so many in each bucket, the last one beyond all bounds."""
    bounds = [*map(str, SECONDS), "+Inf"]
    return Reading(
        at, {(f"{LATENCY}_bucket", (("le", bound),)): float(sum(counts[: n + 1])) for n, bound in enumerate(bounds)}
    )


def drawn(before: Reading, now: Reading) -> list[str]:
    console = Console(file=StringIO(), width=80)
    console.print(screen(before, now))
    file = console.file
    assert isinstance(file, StringIO)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_reading() -> None:
    """A reading has every sample by name and labels, and sums those that have the labels asked for."""
    found = reading_of('a_total{x="1",y="2"} 3\na_total{x="1",y="3"} 4\na_total{x="2",y="3"} 5\nb 6\n', 1.0)
    assert found.sum("a_total") == 12
    assert found.sum("a_total", x="1") == 7
    assert found.sum("a_total", y="3", x="2") == 5
    assert found.sum("none") == 0
    with pytest.raises(ValueError, match=r".*"):
        reading_of("a_total{", 1.0)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "grown"), [(10, 30, 2, 10), (30, 10, 2, 5), (5, 5, 2, 0), (0, 1, 0, 1000)]
)
def test_rate(before: float, now: float, seconds: float, grown: float) -> None:
    """A rate is the growth by the time; a server that was restarted counts from nothing."""
    assert rate(reading(5.0, a_total=before), reading(5.0 + seconds, a_total=now), "a_total") == grown


def test_quantile() -> None:
    """A quantile is of what came between two readings, and beyond the largest bound it is infinite."""
    nothing = buckets(0, *[0] * 13)
    assert quantile(0.5, nothing, nothing, LATENCY) is None
    assert quantile(0.5, reading(), reading(), LATENCY) is None
    later = buckets(1, 50, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5)
    assert [quantile(share, nothing, later, LATENCY) for share in (0.5, 0.95, 0.96)] == [0.0005, 0.001, math.inf]
    last = buckets(2, 50, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 5)
    assert quantile(0.5, later, last, LATENCY) == 2.0


def test_screen_when_all_is_well() -> None:
    """The screen has queries a second by outcome, and a line for each thing that can go wrong, within 80 columns."""
    samples = {
        ("whoisd_build_info", (("python", "3.11.7"), ("version", "9.9.9"))): 1.0,
        ("whoisd_queries_total", (("kind", "domain"), ("outcome", "found"))): 300.0,
        ("whoisd_queries_total", (("kind", "host"), ("outcome", "found"))): 100.0,
        ("whoisd_queries_total", (("kind", "none"), ("outcome", "banned"))): 0.0,
        ("whoisd_workers", ()): 2.0,
        ("whoisd_database_up", ()): 1.0,
        ("whoisd_data_age_seconds", ()): 0.0,
        ("whoisd_config_last_reload_successful", ()): 1.0,
    }
    before = Reading(0.0, {key: value / 2 if key[0].endswith("_total") else value for key, value in samples.items()})
    lines = drawn(before, Reading(2.0, samples))
    assert lines[0] == "whoisd 9.9.9   100.0 queries a second"
    assert [line.split() for line in lines if line.startswith(("found", "banned"))] == [["found", "100.0", "400"]]
    assert [line.split() for line in lines if line.startswith("Database")] == [["Database", "answers"]]
    assert "2 accept   0 restarts" in "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "lost" not in "\n".join(lines)


def test_screen_when_nothing_is_well() -> None:
    """What calls for somebody is said: no database, no worker, lost lines, a failed reload, answers that take too long."""
    now = Reading(
        2.0,
        {
            **buckets(2, *[0] * 12, 10).values,
            ("whoisd_log_lines_lost_total", ()): 7.0,
        },
    )
    text = "\n".join(drawn(Reading(0.0, {}), now))
    for said in ("does not answer", "0 accept", "7 lines lost", "the last reload failed", "over 2,000 ms", "none yet"):
        assert said in text


@pytest.mark.parametrize(("age", "said"), [(math.nan, "the age of its data is not known"), (120.0, "its data is 120 s old")])
def test_screen_of_a_standby(age: float, said: str) -> None:
    """A standby's age is told, and that it is not known."""
    assert said in "\n".join(drawn(reading(), reading(1.0, whoisd_database_up=1.0, whoisd_data_age_seconds=age)))
