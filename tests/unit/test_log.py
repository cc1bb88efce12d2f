"""The log: an event for every outcome, one line of JSON each, and no fact that is not there."""

from collections.abc import Iterator
from datetime import datetime

import orjson
import pytest
import structlog

from whoisd.errors import Outcome
from whoisd.log import EVENTS, log_query, open_log


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """The log that a test opens is not the next test's."""
    yield
    structlog.reset_defaults()


def test_every_outcome_has_an_event() -> None:
    """Each outcome of a connection has its event, whose verb says what became of the query."""
    assert {*EVENTS} == {*Outcome}
    assert {*EVENTS.values()} == {
        "query.answered",
        "query.refused",
        "query.missing",
        "query.failed",
        "query.abandoned",
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_one_line_of_json(capsys: pytest.CaptureFixture[str], outcome: Outcome) -> None:
    """A connection's event is one line of JSON on standard error: event, outcome, level, moment and facts."""
    log_query(open_log("info", "json"), outcome, client="192.0.2.7", name="xn--4cabco7dk5a.dk", bytes=12, ms=0.5)
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n"), written.err[-1]) == ("", 1, "\n")
    line = orjson.loads(written.err)
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() is not None
    assert line == {
        "event": EVENTS[outcome],
        "outcome": outcome.value,
        "level": "error" if outcome in (Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR) else "info",
        "client": "192.0.2.7",
        "name": "xn--4cabco7dk5a.dk",
        "bytes": 12,
        "ms": 0.5,
    }


def test_facts_that_are_none_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A fact that is None is left out; one that is false, empty or zero is not."""
    log_query(open_log("info", "json"), Outcome.NO_QUERY, name=None, fault="", bytes=0, utf8=False)
    line = orjson.loads(capsys.readouterr().err)
    assert line.keys() == {"event", "outcome", "level", "timestamp", "fault", "bytes", "utf8"}


def test_no_value_makes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end in a fact does not end the line of the log."""
    log_query(open_log("info", "json"), Outcome.BAD_QUERY, fault="a\nb\r\u2028")
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert orjson.loads(line)["fault"] == "a\nb\r\u2028"


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["query.answered", "query.failed"]),
        ("info", ["query.answered", "query.failed"]),
        ("warning", ["query.failed"]),
        ("error", ["query.failed"]),
    ],
)
def test_level(capsys: pytest.CaptureFixture[str], level: str, events: list[str]) -> None:
    """From level warning on only queries that failed by our fault are logged."""
    log = open_log(level, "json")
    log_query(log, Outcome.FOUND)
    log_query(log, Outcome.INTERNAL_ERROR)
    assert [orjson.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == events


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` writes JSON where standard error is no terminal."""
    log_query(open_log("info", "auto"), Outcome.HELP)
    assert orjson.loads(capsys.readouterr().err)["outcome"] == "help"


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """`console` writes a line for a person, with the event and its facts."""
    log_query(open_log("info", "console"), Outcome.HELP, client="192.0.2.7")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not line.startswith("{")
    assert all(word in line for word in ("query.answered", "outcome", "help", "192.0.2.7"))
