"""The log: an event for every outcome, one line each, none of which makes anybody wait; and what it calls a client."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import orjson
import pytest
import structlog
from support import PATIENCE, environment

from whoisd.answers.answer import Protocol
from whoisd.errors import Outcome
from whoisd.limits.sources import Client
from whoisd.log import EVENTS, ClientNames, log_query, open_log

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


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
    facts = {"client": "192.0.2.7", "name": "xn--4cabco7dk5a.dk", "bytes": 12, "ms": 0.5}
    log_query(open_log("info", "json"), NOW, outcome, facts)
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


@pytest.mark.parametrize("outcome", Outcome)
def test_a_query_is_logged_as_all_else_is(capsys: pytest.CaptureFixture[str], outcome: Outcome) -> None:
    """A connection's line is, byte for byte but for the moment, what the log's own method makes of the same facts."""
    log = open_log("info", "json").bind(row=3)
    facts = {"client": "192.0.2.7", "protocol": Protocol.WHOIS, "utf8": False, "ms": 0.5}
    log_query(log, NOW, outcome, {**facts, "network": None})
    level = log.error if EVENTS[outcome] == "query.failed" else log.info
    level(EVENTS[outcome], outcome=outcome, **facts)
    one, other = (line.rpartition('"timestamp"') for line in capsys.readouterr().err.splitlines())
    assert one[:2] == other[:2]
    assert one[1]


def test_facts_that_are_none_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A fact that is None is left out; one that is false, empty or zero is not."""
    log_query(open_log("info", "json"), NOW, Outcome.NO_QUERY, {"name": None, "fault": "", "bytes": 0, "utf8": False})
    line = orjson.loads(capsys.readouterr().err)
    assert line.keys() == {"event", "outcome", "level", "timestamp", "fault", "bytes", "utf8"}


def test_no_value_makes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end in a fact does not end the line of the log."""
    log_query(open_log("info", "json"), NOW, Outcome.BAD_QUERY, {"fault": "a\nb\r\u2028"})
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert orjson.loads(line)["fault"] == "a\nb\r\u2028"


def test_what_json_cannot_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a value that is no fact of ours, as an exception whose text may quote a row, the line has the type and no more."""
    open_log("info", "json").info("server.fault", fault=ValueError("planted"))
    line = orjson.loads(capsys.readouterr().err)
    assert (line["fault"], line["event"]) == ("ValueError", "server.fault")


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
    log_query(log, NOW, Outcome.FOUND, {})
    log_query(log, NOW, Outcome.INTERNAL_ERROR, {})
    assert [orjson.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == events


def test_auto_is_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` writes JSON where standard error is no terminal."""
    log_query(open_log("info", "auto"), NOW, Outcome.HELP, {})
    assert orjson.loads(capsys.readouterr().err)["outcome"] == "help"


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    """`console` writes a line for a person, with the event and its facts."""
    log_query(open_log("info", "console"), NOW, Outcome.HELP, {"client": "192.0.2.7"})
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert not line.startswith("{")
    assert all(word in line for word in ("query.answered", "outcome", "help", "192.0.2.7"))


# --- lines that nobody takes -----------------------------------------------------------------------------------------

# Logs this many events, then says on standard output how many were lost before and behind a word that it waits for.
WRITE: Final = """
import sys
from whoisd.log import open_log
lost = []
log = open_log("info", sys.argv[1], lambda: lost.append(1))
for number in range(int(sys.argv[2])):
    log.info("test.filled", number=number, text="x" * 100)
print(len(lost), flush=True)
sys.stdin.readline()
log.info("test.after")
print(len(lost), flush=True)
"""


def written(end: int, form: str, events: int, *, read: bool = True) -> tuple[list[int], bytes]:
    """Let a process log to this end of a pipe that nobody reads; then read it. How many lines it lost, and the others."""
    command = [sys.executable, "-c", WRITE, form, str(events)]
    buffered = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(command, env=buffered, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=end, text=True)
    os.close(end)
    with process:
        assert process.stdin
        assert process.stdout
        lost = [int(process.stdout.readline())]
        yet = b""
        if read:
            yet = os.read(READERS[-1], 1 << 20)
        process.stdin.write("\n")
        process.stdin.flush()
        lost.append(int(process.stdout.readline()))
        assert process.wait(PATIENCE) == 0
    while read and (more := os.read(READERS[-1], 1 << 20)):
        yet += more
    return lost, yet


READERS: Final[list[int]] = []


@pytest.fixture
def pipe() -> Iterator[int]:
    """The end of a pipe to write to; the other is in READERS."""
    reader, writer = os.pipe()
    READERS.append(reader)
    yield writer
    os.close(READERS.pop())


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_reader_that_is_slow(pipe: int, form: str) -> None:
    """Where nobody reads the log nobody waits: lines are lost whole and counted, and those after them are written again."""
    lost, said = written(pipe, form, 2000)
    lines = said.splitlines()
    assert said.endswith(b"\n")
    assert 0 < lost[0] < 2000
    assert lost[1] == lost[0]
    assert len(lines) == 2001 - lost[0]
    assert b"test.after" in lines[-1]
    if form == "json":
        assert [orjson.loads(line)["number"] for line in lines[:-1]] == [*range(2000 - lost[0])]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_reader_that_is_gone(pipe: int, form: str) -> None:
    """Where the reader of the log is gone every line is counted as lost, from the first on, and nothing else happens."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), READERS[-1])
    lost, _ = written(pipe, form, 300, read=False)
    assert lost == [300, 301]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_disk_that_is_full() -> None:
    """Where the log is a file on a full disk every line is counted as lost, and nothing else happens."""
    lost, _ = written(os.open("/dev/full", os.O_WRONLY), "json", 300, read=False)
    assert lost == [300, 301]


def test_no_line_is_lost_where_all_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A line that was written is not counted as lost."""
    lost: list[int] = []
    log = open_log("info", "json", lambda: lost.append(1))
    for _ in range(100):
        log_query(log, NOW, Outcome.HELP, {})
    assert (lost, capsys.readouterr().err.count("\n")) == ([], 100)


# --- what the log calls a client -------------------------------------------------------------------------------------

DAY: Final = date(2025, 12, 31)
KEY: Final = bytes(range(32))


def client_at(text: str) -> Client:
    """A client that has this address, as the log sees it."""
    address = ip_address(text)
    return Client(address, text, address.exploded, None, (), ())


CLIENT: Final = client_at("192.0.2.7")


def named(address: str, today: date = DAY, key: bytes = KEY) -> str | None:
    return ClientNames("hash", key, DAY).name(client_at(address), today)


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_client_by_address(address: str) -> None:
    """By `address` a client is called by its address, and by `none` not at all."""
    assert ClientNames("address", KEY, DAY).name(client_at(address), DAY) == address
    assert ClientNames("none", KEY, DAY).name(client_at(address), DAY) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.0", "192.0.2.255", True),
        ("192.0.2.255", "192.0.3.0", False),
        ("192.0.2.0", "192.0.1.255", False),
        ("2001:db8:7::", "2001:db8:7:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:7::", "2001:db8:6:ffff::", False),
        ("2001:db8:7::", "2001:db8:8::", False),
    ],
)
def test_hash_is_of_the_network(one: str, other: str, same: bool) -> None:
    """By `hash` all addresses of an IPv4 /24 or IPv6 /48 are called alike, and those of another network otherwise."""
    assert (named(one) == named(other)) is same


def test_hash_tells_nothing_without_the_key() -> None:
    """The hash is 16 hexadecimal digits, keyed: it holds nothing of the address, and with another key it is another."""
    name = named("192.0.2.7")
    assert name == blake2b(b"192.0.2.0/24", key=KEY, digest_size=8).hexdigest()
    assert name != named("192.0.2.7", key=KEY[::-1])
    assert name != blake2b(b"192.0.2.0/24", digest_size=8).hexdigest()


def test_hash_changes_daily() -> None:
    """A network is called alike all day and otherwise on each other day, by every process that began with one key."""
    names = [named("192.0.2.7", DAY + timedelta(days)) for days in range(400)]
    assert len({*names}) == 400
    going_on = ClientNames("hash", KEY, DAY)
    assert [going_on.name(CLIENT, DAY + timedelta(days)) for days in range(400) for _ in range(2)] == [
        name for name in names for _ in range(2)
    ]


def test_key_of_the_days_before_is_gone() -> None:
    """A process that starts later is given the key of its day, from which those of the days before cannot be had."""
    names = ClientNames("hash", KEY, DAY)
    keys = [names.advance(DAY + timedelta(days)) for days in (0, 1, 2, 2)]
    assert keys[0] == KEY
    assert keys[2] == keys[3]
    assert len({*keys}) == 3
    assert {len(key) for key in keys} == {32}
    assert names._key == keys[2]
    later = ClientNames("hash", keys[2], DAY + timedelta(2))
    assert later.name(CLIENT, DAY + timedelta(2)) == named("192.0.2.7", DAY + timedelta(2))


def test_a_clock_set_back_over_midnight() -> None:
    """A day that has been is not gone back to: the key of the later day is used."""
    names = ClientNames("hash", KEY, DAY)
    tomorrow = names.name(CLIENT, DAY + timedelta(1))
    assert names.name(CLIENT, DAY) == tomorrow
    assert names.name(CLIENT, DAY + timedelta(1)) == tomorrow


@pytest.mark.parametrize("ahead", [2, 30, 400, 5_000, 2_900_000])
def test_a_clock_that_was_far_ahead(ahead: int) -> None:
    """A clock that was days ahead and came back is not waited for: the key changes then, and daily as before."""
    names = ClientNames("hash", KEY, DAY)
    called = [names.name(CLIENT, DAY), names.name(CLIENT, DAY + timedelta(ahead))]
    called += [names.name(CLIENT, DAY + timedelta(days)) for days in range(10)]
    assert len({*called}) == len(called)
    assert names.name(CLIENT, DAY + timedelta(9)) == called[-1]
