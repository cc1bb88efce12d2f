"""Queries from any bytes, in packets of any size."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.answers.notices import FAULTS
from whoisd.answers.query import DomainQuery, HelpQuery, HostQuery, Query, parse_query
from whoisd.answers.wire import LINE_LIMIT, LineBuffer
from whoisd.errors import NameFault, QueryError, QueryFault

few = settings(max_examples=200, deadline=None)

WORDS = st.sampled_from(
    [b"--charset=utf-8", b"--charset=latin1", b"--CHARSET=", b"--show-handles", b"--x", b"HELP", b"a.dk", b"b.example"]
)
SHORT_LINES = (st.lists(WORDS, max_size=4) | st.lists(WORDS | st.binary(max_size=20), max_size=4)).map(b" ".join)
ABOUT_THE_LIMIT = st.integers(LINE_LIMIT - 3, LINE_LIMIT + 5).map(b"a".__mul__)
TEXT_LINES = st.text(st.sampled_from("\t abc-=.æøå"), max_size=LINE_LIMIT).map(lambda text: text.encode("latin-1"))
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\0", b"\r\r\n"])


@st.composite
def chunks(draw: st.DrawFn, lines: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Draw a line with no end in it, and that line with its end, cut into pieces."""
    line = draw(lines).replace(b"\n", b"").replace(b"\r", b"")
    sent = line + draw(LINE_ENDS)
    cuts = sorted(draw(st.sets(st.integers(1, len(sent)), max_size=8)) | {0, len(sent)})
    return line, [sent[start:end] for start, end in pairwise(cuts)]


def receive(pieces: list[bytes]) -> bytes | None:
    """Return the first line that a buffer hands out."""
    buffer = LineBuffer()
    return next((line for piece in pieces if (line := buffer.feed(piece)) is not None), None)


def judge(line: bytes | None) -> Query | QueryFault | NameFault:
    """Return the query that a line makes, or the fault for which it is refused; any other exception fails the test."""
    assert line is not None
    try:
        return parse_query(line)
    except QueryError as error:
        return error.fault


@few
@given(SHORT_LINES | ABOUT_THE_LIMIT | st.binary(max_size=LINE_LIMIT + 100))
def test_any_bytes_are_a_query_or_refused(line: bytes) -> None:
    """Any bytes make a query, a domain query just for a .dk domain, or are refused for a fault that has a notice."""
    match judge(line):
        case DomainQuery(name):
            assert name.is_dk_domain
        case HostQuery(name):
            assert not name.is_dk_domain
        case HelpQuery():
            assert line.lower().split()[-1] == b"help"
        case fault:
            assert fault in FAULTS


@few
@given(st.binary(min_size=LINE_LIMIT + 1, max_size=LINE_LIMIT + 50))
def test_longer_lines_are_too_long(line: bytes) -> None:
    """A line beyond the limit is refused as too long, whatever is in it."""
    assert judge(line) == QueryFault.TOO_LONG


@few
@given(chunks(TEXT_LINES))
def test_packets_do_not_change_a_line(sent: tuple[bytes, list[bytes]]) -> None:
    """A line of text is handed out as it was sent, in whatever pieces it came."""
    line, pieces = sent
    assert receive(pieces) == line


@few
@given(chunks(SHORT_LINES | ABOUT_THE_LIMIT))
def test_packets_do_not_change_a_verdict(sent: tuple[bytes, list[bytes]]) -> None:
    """A line is judged the same in one piece as in many, whatever is in it, and on either side of the limit."""
    _, pieces = sent
    assert judge(receive(pieces)) == judge(receive([b"".join(pieces)]))


@few
@given(chunks(st.binary(min_size=LINE_LIMIT + 60, max_size=3 * LINE_LIMIT)))
def test_packets_do_not_let_a_long_line_in(sent: tuple[bytes, list[bytes]]) -> None:
    """No way of cutting a long line into packets makes a query of it."""
    _, pieces = sent
    assert judge(receive(pieces)) in {QueryFault.TOO_LONG, QueryFault.NOT_TEXT}
