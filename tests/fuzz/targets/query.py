"""What a client sends, cut anyhow, to the line that it makes, to the query, to the frame of its answer."""

from datetime import UTC, datetime
from itertools import chain
from typing import Final

from fuzz.cuts import cuts_of
from support import domain, registrant

from whoisd.answers.answer import Answer, Policy, begin_answer, finish_answer
from whoisd.answers.model import Domain, Host
from whoisd.answers.names import REPERTOIRE, DomainName
from whoisd.answers.notices import FAULTS
from whoisd.answers.query import CHARSETS, DomainQuery, HelpQuery, HostQuery, Query, parse_query
from whoisd.answers.response import UNPRINTABLE
from whoisd.answers.wire import LineBuffer
from whoisd.config import DEFAULT_TERMS, IN_FORCE_FROM
from whoisd.errors import NameFault, Outcome, QueryError, QueryFault

LONGEST: Final = 2200
WORDS: Final = (
    *CHARSETS,
    b"--charset=",
    b"--show-handles ",
    b"help",
    b".dk",
    b"xn--",
    b"\r\n",
    "æøåß".encode(),
    b"\t",
    b"domain ",
    b"\xff\xfb",
    b"\xff\xfa",
    b"\xff\xf0",
)

_POLICY: Final = Policy(
    IN_FORCE_FROM, vat_listed_only=False, omit_withheld_email=False, operator="X", terms=DEFAULT_TERMS, version="whoisd"
)
_CLIENT: Final = "2001:0db8:0000:0000:0000:0000:0000:0001"
_ANSWERED: Final = {DomainQuery: "domain", HostQuery: "host", HelpQuery: "help"}

Verdict = Query | QueryFault | NameFault


def check(data: bytes) -> None:
    """Any bytes are a query or refused, the same in whatever pieces; a query has an answer, and its name is that name."""
    line = _line((data,))
    verdict = _judge(line)
    for pieces in cuts_of(data):
        other = _judge(_line(pieces))
        # A long line may be handed out early, for a control character in it, and is refused all the same.
        assert other == verdict or {other, verdict} == {QueryFault.TOO_LONG, QueryFault.NOT_TEXT}, (other, verdict)
    said = _answer(line)
    _check_frame(said)
    if isinstance(verdict, QueryFault | NameFault):
        assert verdict in FAULTS
        assert (said.outcome, said.fault) == (Outcome.BAD_QUERY, verdict.value)
        return
    assert said.kind == _ANSWERED[type(verdict)], said
    if not isinstance(verdict, HelpQuery):
        assert isinstance(verdict, DomainQuery) is verdict.name.is_dk_domain
        _check_name(verdict)


def _line(pieces: tuple[bytes, ...]) -> bytes:
    """The line that these make, the last of them being the end of input."""
    buffer = LineBuffer()
    line = next((line for piece in pieces if (line := buffer.feed(piece)) is not None), None)
    assert buffer.pending is bool(pieces)
    return buffer.rest() if line is None else line


def _judge(line: bytes) -> Verdict:
    assert b"\n" not in line
    try:
        return parse_query(line)
    except QueryError as error:
        return error.fault


def _answer(line: bytes) -> Answer:
    """The answer by a database in which there is every name."""
    begun = begin_answer(line, _CLIENT, _POLICY, datetime(2026, 1, 31, tzinfo=UTC))
    if isinstance(begun, Answer):
        return begun
    name = begun.query.name
    return finish_answer(begun, _domain(name) if name.is_dk_domain else Host(name, glue=False), _POLICY)


def _domain(name: DomainName) -> Domain:
    return domain(registrant(), name=name, nameservers=(name.ascii, "ns.example"))


def _check_frame(said: Answer) -> None:
    """An answer is text in its charset, in lines that end in CRLF and hold no control character."""
    assert said.outcome in {Outcome.FOUND, Outcome.HELP, Outcome.BAD_QUERY}, said
    *lines, last = said.payload.decode(said.charset).split("\r\n")
    assert last == ""
    assert not any(UNPRINTABLE.search(line) for line in lines), lines
    assert lines[0].startswith("# ")


def _check_name(query: DomainQuery | HostQuery) -> None:
    """The name is found by both of its forms, in any case, with a final dot, by whoever asks in UTF-8."""
    name = query.name
    spelt = [name.ascii, name.ascii.upper(), f"{name.ascii}."]
    spelt += [name.unicode] if REPERTOIRE.issuperset(name.unicode.replace(".", "")) else []
    for text in chain(spelt):
        if name.ascii != "help":
            again = parse_query(f"--charset=utf8 {text}".encode())
            assert not isinstance(again, HelpQuery)
            assert again.name == name
