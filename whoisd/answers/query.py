"""One line to a query. Knows the grammar of .dk WHOIS queries; knows nothing of answers.

    query   = [options] ["domain"] name | [options] ["domain"] "HELP"
    options = *( "--charset=" charset | "--show-handles" )     any case, each followed by white space
    charset = "iso-8859-1" | "latin-1" | "latin1" | "utf-8" | "utf8"
    name    = see `names`; <label>.dk is a domain, anything else a host

A line has at most 1,024 bytes and no control characters but tabs; `wire` takes its end off. The charset in force, of the
query and of its answer, is the one that `--charset` names; without it, bytes that are not ASCII but valid UTF-8 are UTF-8,
and all else is ISO 8859-1. A handle is a name of one label: it is looked up as a host, and there is none. The word "domain"
before a name, in any case, is skipped: BusyBox asks so again when an answer has no `Domain:` line, and prints the second.
"""

from dataclasses import dataclass
from typing import Final

from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.wire import LINE_LIMIT, Charset, is_text
from whoisd.errors import InvalidName, QueryError, QueryFault

CHARSETS = {
    b"iso-8859-1": Charset.LATIN_1,
    b"latin-1": Charset.LATIN_1,
    b"latin1": Charset.LATIN_1,
    b"utf-8": Charset.UTF_8,
    b"utf8": Charset.UTF_8,
}


@dataclass(slots=True, unsafe_hash=True)
class DomainQuery:
    """Asks for a domain, and with `show_handles` for its registrant."""

    name: Final[DomainName]
    charset: Final[Charset]
    show_handles: Final[bool]

    def __init__(self, name: DomainName, charset: Charset, show_handles: bool) -> None:
        self.name = name
        self.charset = charset
        self.show_handles = show_handles

    @property
    def kind(self) -> str:
        """What is asked for."""
        return "domain"


@dataclass(slots=True, unsafe_hash=True)
class HostQuery:
    """Asks for a name server host."""

    name: Final[DomainName]
    charset: Final[Charset]

    def __init__(self, name: DomainName, charset: Charset) -> None:
        self.name = name
        self.charset = charset

    @property
    def kind(self) -> str:
        """What is asked for."""
        return "host"


@dataclass(slots=True, unsafe_hash=True)
class HelpQuery:
    """Asks how to ask."""

    charset: Final[Charset]

    def __init__(self, charset: Charset) -> None:
        self.charset = charset


Query = DomainQuery | HostQuery | HelpQuery


def parse_query(line: bytes) -> Query:
    """Understand one line, its end taken off. Raises `QueryError`, whose fault says which rule it breaks."""
    if len(line) > LINE_LIMIT:
        raise QueryError(QueryFault.TOO_LONG)
    if not is_text(line):
        raise QueryError(QueryFault.NOT_TEXT)
    words = line.split()
    start = 0
    while start < len(words) and words[start].startswith(b"-"):
        start += 1
    asked_charset, show_handles = _parse_options(words[:start])
    names = words[start:]
    if len(names) > 1 and names[0].lower() == b"domain":
        del names[0]
    match names:
        case []:
            raise QueryError(QueryFault.NO_NAME)
        case [name]:
            charset = asked_charset or _guess_charset(name)
            return _parse_name(name, charset, show_handles=show_handles)
        case _:
            raise QueryError(QueryFault.SEVERAL_NAMES)


def _parse_options(words: list[bytes]) -> tuple[Charset | None, bool]:
    charset, show_handles = None, False
    for word in words:
        option, equals, value = word.lower().partition(b"=")
        if option == b"--show-handles" and not equals:
            show_handles = True
        elif option == b"--charset":
            if value not in CHARSETS:
                raise QueryError(QueryFault.UNKNOWN_CHARSET)
            if charset not in (None, CHARSETS[value]):
                raise QueryError(QueryFault.TWO_CHARSETS)
            charset = CHARSETS[value]
        else:
            raise QueryError(QueryFault.UNKNOWN_OPTION)
    return charset, show_handles


def _guess_charset(name: bytes) -> Charset:
    # Somebody at a UTF-8 terminal types `whois -h HOST æøå.dk`. Latin-1 text is hardly ever valid UTF-8 by chance.
    if name.isascii():
        return Charset.LATIN_1
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return Charset.LATIN_1
    return Charset.UTF_8


def _parse_name(word: bytes, charset: Charset, *, show_handles: bool) -> Query:
    if word.lower() == b"help":
        return HelpQuery(charset)
    try:
        name = parse_name(word.decode(charset))
    except UnicodeDecodeError:
        raise QueryError(QueryFault.NOT_TEXT) from None
    except InvalidName as error:
        raise QueryError(error.fault) from None
    if name.is_dk_domain:
        return DomainQuery(name, charset, show_handles)
    return HostQuery(name, charset)
