"""The grammar of queries: what each line asks for, and which rule a refused one breaks."""

import pytest

from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HelpQuery, HostQuery, Query, parse_query
from whoisd.answers.wire import Charset
from whoisd.errors import NameFault, QueryError, QueryFault

LATIN_1, UTF_8 = Charset.LATIN_1, Charset.UTF_8
EKSEMPEL = DomainName("eksempel.dk", "eksempel.dk")
NATIONAL = DomainName("xn--5cab8c.dk", "æøå.dk")


@pytest.mark.parametrize(
    ("line", "query"),
    [
        (b"eksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=False)),
        (b"EKSEMPEL.dk.", DomainQuery(EKSEMPEL, LATIN_1, show_handles=False)),
        (b" \t eksempel.dk \t", DomainQuery(EKSEMPEL, LATIN_1, show_handles=False)),
        (b"--show-handles eksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=True)),
        (b"--Show-HANDLES\teksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=True)),
        (b"--charset=utf-8 --show-handles eksempel.dk", DomainQuery(EKSEMPEL, UTF_8, show_handles=True)),
        (b"--show-handles --CHARSET=UTF8 eksempel.dk", DomainQuery(EKSEMPEL, UTF_8, show_handles=True)),
        (b"--show-handles --show-handles eksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=True)),
        (b"--charset=utf-8 --charset=utf8 eksempel.dk", DomainQuery(EKSEMPEL, UTF_8, show_handles=False)),
        (b"ns1.eksempel.dk", HostQuery(DomainName("ns1.eksempel.dk", "ns1.eksempel.dk"), LATIN_1)),
        (b"--show-handles ns.example", HostQuery(DomainName("ns.example", "ns.example"), LATIN_1)),
        (b"DKHM1-DK", HostQuery(DomainName("dkhm1-dk", "dkhm1-dk"), LATIN_1)),
        (b"domain eksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=False)),
        (b"--show-handles DoMain\teksempel.dk", DomainQuery(EKSEMPEL, LATIN_1, show_handles=True)),
        (b"domain ns1.eksempel.dk", HostQuery(DomainName("ns1.eksempel.dk", "ns1.eksempel.dk"), LATIN_1)),
        (b"domain domain", HostQuery(DomainName("domain", "domain"), LATIN_1)),
        (b"domain", HostQuery(DomainName("domain", "domain"), LATIN_1)),
        (b"domain.dk", DomainQuery(DomainName("domain.dk", "domain.dk"), LATIN_1, show_handles=False)),
        (b"domain help", HelpQuery(LATIN_1)),
        (b"HELP", HelpQuery(LATIN_1)),
        (b" hElp ", HelpQuery(LATIN_1)),
        (b"--charset=utf-8 help", HelpQuery(UTF_8)),
        (b"help.dk", DomainQuery(DomainName("help.dk", "help.dk"), LATIN_1, show_handles=False)),
    ],
)
def test_line_is_understood(line: bytes, query: Query) -> None:
    """Options, and the word domain, stand before one name; one label under .dk asks for a domain, all else for a host."""
    assert parse_query(line) == query


@pytest.mark.parametrize("word", [b"iso-8859-1", b"latin-1", b"latin1", b"Latin1", b"ISO-8859-1"])
def test_words_for_latin_1(word: bytes) -> None:
    """ISO 8859-1 has three words, in any case."""
    assert parse_query(b"--charset=" + word + b" \xe6\xf8\xe5.dk") == DomainQuery(NATIONAL, LATIN_1, show_handles=False)


@pytest.mark.parametrize("word", [b"utf-8", b"utf8", b"UTF-8"])
def test_words_for_utf_8(word: bytes) -> None:
    """UTF-8 has two words, in any case."""
    line = b"--charset=" + word + b" \xc3\xa6\xc3\xb8\xc3\xa5.dk"
    assert parse_query(line) == DomainQuery(NATIONAL, UTF_8, show_handles=False)


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        (b"xn--5cab8c.dk", LATIN_1),
        (b"\xe6\xf8\xe5.dk", LATIN_1),
        (b"\xc6\xd8\xc5.DK", LATIN_1),
        (b"\xc3\xa6\xc3\xb8\xc3\xa5.dk", UTF_8),
        (b"\xc3\x86\xc3\x98\xc3\x85.DK", UTF_8),
        (b"\xc3\xa6\xc3\xb8a\xcc\x8a.dk", UTF_8),
    ],
)
def test_charset_is_guessed_where_none_is_named(name: bytes, charset: Charset) -> None:
    """Without --charset a name that is valid UTF-8 and not ASCII is UTF-8, and all else is ISO 8859-1."""
    assert parse_query(name) == DomainQuery(NATIONAL, charset, show_handles=False)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"", QueryFault.NO_NAME),
        (b" \t ", QueryFault.NO_NAME),
        (b"--show-handles", QueryFault.NO_NAME),
        (b"--charset=utf-8 ", QueryFault.NO_NAME),
        (b"a.dk b.dk", QueryFault.SEVERAL_NAMES),
        (b"help me", QueryFault.SEVERAL_NAMES),
        (b"a.dk --show-handles", QueryFault.SEVERAL_NAMES),
        (b"domain a.dk b.dk", QueryFault.SEVERAL_NAMES),
        (b"domain domain a.dk", QueryFault.SEVERAL_NAMES),
        (b"a.dk domain", QueryFault.SEVERAL_NAMES),
        (b"--verbose a.dk", QueryFault.UNKNOWN_OPTION),
        (b"--show-handles=yes a.dk", QueryFault.UNKNOWN_OPTION),
        (b"--show-handle a.dk", QueryFault.UNKNOWN_OPTION),
        (b"-- a.dk", QueryFault.UNKNOWN_OPTION),
        (b"-a.dk", QueryFault.UNKNOWN_OPTION),
        (b"--charset a.dk", QueryFault.UNKNOWN_CHARSET),
        (b"--charset= a.dk", QueryFault.UNKNOWN_CHARSET),
        (b"--charset=utf-16 a.dk", QueryFault.UNKNOWN_CHARSET),
        (b"--charset=utf-8=x a.dk", QueryFault.UNKNOWN_CHARSET),
        (b"--charset=utf-8 --charset=latin1 a.dk", QueryFault.TWO_CHARSETS),
        (b"--charset=latin1 --charset=utf8 a.dk", QueryFault.TWO_CHARSETS),
        (b"a\x00.dk", QueryFault.NOT_TEXT),
        (b"a.dk\r", QueryFault.NOT_TEXT),
        (b"\x1b[2Ja.dk", QueryFault.NOT_TEXT),
        (b"--charset=utf-8 \xe6\xf8\xe5.dk", QueryFault.NOT_TEXT),
        (b"a" * 1025, QueryFault.TOO_LONG),
        (b"a.dk" + b" " * 1021, QueryFault.TOO_LONG),
        (b"\x00" * 1025, QueryFault.TOO_LONG),
        (b"a..dk", NameFault.EMPTY_LABEL),
        (b"a-.dk", NameFault.OUTER_HYPHEN),
        (b"ab--c.dk", NameFault.RESERVED_HYPHENS),
        (b"xn--zz.dk", NameFault.A_LABEL),
        (b"a@b.dk", NameFault.CHARACTER),
        (b"\xa0a.dk", NameFault.CHARACTER),
        (b"a\x85.dk", NameFault.CHARACTER),
        (b"--charset=latin1 \xc3\xa6.dk", NameFault.CHARACTER),
        (b"a" * 64 + b".dk", NameFault.LONG_LABEL),
        (b"a." * 127 + b"dk", NameFault.LONG_NAME),
    ],
)
def test_line_is_refused(line: bytes, fault: QueryFault | NameFault) -> None:
    """A line that cannot be understood is refused for the first rule that it breaks."""
    with pytest.raises(QueryError) as caught:
        parse_query(line)
    assert caught.value.fault is fault


def test_longest_line() -> None:
    """A line may have 1,024 bytes."""
    assert parse_query(b"eksempel.dk" + b" " * 1013) == DomainQuery(EKSEMPEL, LATIN_1, show_handles=False)
