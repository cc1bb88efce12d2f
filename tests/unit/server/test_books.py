"""The books: what came of a query is counted once and is one line of the log, the same by every protocol."""

from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address

import orjson
import pytest
import structlog

from whoisd.answers.answer import Answer, Protocol
from whoisd.answers.disclosure import Reason
from whoisd.answers.wire import Charset
from whoisd.errors import Outcome
from whoisd.limits.sources import Client, Limit, Refusal
from whoisd.log import ClientNames, open_log
from whoisd.server.books import Books
from whoisd.server.metrics import Board

CLIENT = Client(ip_address("192.0.2.7"), "192.0.2.7", "192.0.2.7", None, (), ())


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """The log that a test opens is not the next test's."""
    yield
    structlog.reset_defaults()


def open_books(cells: memoryview) -> Books:
    names = ClientNames("address", bytes(32), datetime.now(UTC).date())
    return Books(Board(cells, 1).tally(0), names, open_log("info", "json"))


def no_cells() -> memoryview:
    return memoryview(bytearray(Board.size(1)))


@pytest.mark.parametrize(("protocol", "status"), [(Protocol.WHOIS, None), (Protocol.RDAP, 200)])
def test_line(capsys: pytest.CaptureFixture[str], protocol: Protocol, status: int | None) -> None:
    """A line has all that is known of a query, and no status where there is none."""
    answer = Answer(Outcome.FOUND, b"12345", Charset.UTF_8, "domain", "a.dk", email=Reason.INDIVIDUAL, protocol=protocol)
    open_books(no_cells()).record(CLIENT, answer, 0.0012345, status)
    line = orjson.loads(capsys.readouterr().err)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo
    assert line == {
        "event": "query.answered",
        "level": "info",
        "outcome": "found",
        "client": "192.0.2.7",
        "protocol": protocol.value,
        "kind": "domain",
        "name": "a.dk",
        "email": Reason.INDIVIDUAL.value,
        "bytes": 5,
        **({"status": status} if status else {}),
        "ms": 1.234,
    }


@pytest.mark.parametrize("limit", Limit)
def test_refusal(limit: Limit) -> None:
    """Every limit has its outcome, and whoever is refused is counted once; nothing is said of it before it is answered."""
    cells = no_cells()
    assert open_books(cells).refusal(CLIENT, Refusal(limit, 1)) in (
        Outcome.RATE_EXCEEDED,
        Outcome.BANNED,
        Outcome.TOO_MANY_CONNECTIONS,
    )
    excess = limit in (Limit.SOURCE_RATE, Limit.NETWORK_RATE)
    assert sum(cells.cast("Q")) == 1 + excess
