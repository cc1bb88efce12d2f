"""Every sentence that a client may read, besides the fields of an answer.

No notice but `NO_ENTRIES` may hold a phrase that client libraries take for an unregistered name (`PHRASES_FOR_FREE`), and
none echoes the query, which could hold one. No refusal has a colon, behind which two clients read the value of a field.
"""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from whoisd.errors import NameFault, QueryFault, RequestFault

Address = IPv4Address | IPv6Address

# What clients search an answer for, in any case, to call a name unregistered.
PHRASES_FOR_FREE: Final = (
    "no entries found",
    "not found",
    "no match",
    "not registered",
    "available",
    "free",
    "no data found",
    "does not exist",
    "no such domain",
    "nothing found",
    "unassignable",
    "malformed request",
    "invalid query",
    "no object found",
    "domain name not known",
    "domain you requested is not known",
)
# The same, of an answer that is short, as a refusal is.
WORDS_FOR_FREE_ALONE: Final = ("error", "generic", "restricted")

NO_ENTRIES: Final = "No entries found for the selected source.\n"

# php-whois, the PHP client with the most users, takes an answer without a record for an unregistered name, unless its first
# line begins with WHOIS and goes on with LIMIT EXCEEDED.
TEMPORARY_FAILURE: Final = "WHOIS time limit exceeded. Temporary failure, please try again later.\n"

FOOT: Final = """
# To see the registrant too, put --show-handles before the name.
# Send HELP to read how to ask.
"""

HELP: Final = """\
# How to ask: [options] name
#
# name  A .dk domain (eksempel.dk) or a name server host (ns1.eksempel.dk), with its national letters
#       or as an A-label (xn--...), in upper or lower case.
#
# --show-handles    Add the registrant to the answer for a domain.
# --charset=NAME    The character set of the query and of the answer: iso-8859-1 (also latin-1, latin1)
#                   or utf-8 (also utf8). Without it the answer is in iso-8859-1, unless the query holds UTF-8.
#
# HELP              Show this text.
#
# A value that is withheld reads DATA REDACTED; one that is not given reads ***N/A***.
"""

FAULTS: Final[Mapping[QueryFault | NameFault, str]] = {
    QueryFault.TOO_LONG: "The query is too long, for a line has at most 1024 bytes.",
    QueryFault.NOT_TEXT: "The query is not text in the character set in force.",
    QueryFault.NO_NAME: "The query has no name. Send HELP to read how to ask.",
    QueryFault.SEVERAL_NAMES: "The query has several words where one name belongs; options stand before the name.",
    QueryFault.UNKNOWN_OPTION: "The query has an unknown option. Send HELP to read which there are.",
    QueryFault.UNKNOWN_CHARSET: "The query asks for an unknown character set. Send HELP to read which there are.",
    QueryFault.TWO_CHARSETS: "The query asks for two different character sets.",
    NameFault.EMPTY_LABEL: "This is not a domain name, for a label is empty.",
    NameFault.LONG_LABEL: "This is not a domain name, for a label is longer than 63 characters.",
    NameFault.LONG_NAME: "This is not a domain name, for it is longer than 253 characters.",
    NameFault.OUTER_HYPHEN: "This is not a domain name, for a label begins or ends with a hyphen.",
    NameFault.RESERVED_HYPHENS: "This is not a domain name, for a label has hyphens in both its third and fourth position.",
    NameFault.CHARACTER: "This is not a domain name, for a label has a character that .dk names do not have.",
    NameFault.A_LABEL: "This is not a domain name, for a label that begins with xn-- is not valid in IDNA2008.",
}


REQUEST_FAULTS: Final[Mapping[RequestFault, str]] = {
    RequestFault.METHOD: "Only GET and HEAD are served here.",
    RequestFault.NOT_ACCEPTABLE: "The answer is application/json, which the request does not accept.",
    RequestFault.NO_SUCH_PATH: "There is nothing at this path.",
    RequestFault.BODY: "A request has no body here.",
    RequestFault.TOO_LARGE: "The request is too large.",
    RequestFault.NOT_HTTP: "The request is not HTTP/1.1.",
    RequestFault.NOT_ASCII: "Letters beyond ASCII are percent-encoded as UTF-8 in a request, as in %C3%A6 for æ.",
    RequestFault.HOST: "A request of HTTP/1.1 has one Host, a name and perhaps a port.",
}


def head(client: str, about: str) -> str:
    """Return the comment lines that begin every answer to a query that was looked up, and the blank line after them.

    `client` is its address, an IPv6 address written out in full; `about` is what `about_lines` made.
    """
    return f"# Hello {client}. Your session has been logged.\n{about}\n"


@lru_cache(maxsize=8)
def about_lines(operator: str, version: str, terms: str, year: int, notice: str = "") -> str:
    """Return the comment lines about the service: copyright to `year`, version, terms of use (of any number of lines).

    Before them stands the notice, one line that the operator has to tell for a time.
    """
    lines = [
        *(["", notice] if notice else []),
        "",
        f"Copyright (c) 2002 - {year} by {operator}",
        "",
        f"Version: {version}",
        "",
        *terms.strip().splitlines(),
    ]
    return "".join(_comment(line) for line in lines)


def refusal(fault: QueryFault | NameFault) -> str:
    """Return the comment line that says what is wrong with a query."""
    return _comment(FAULTS[fault])


UNTRUSTED_PROXY: Final = "# This port is for the registry's own load balancers.\n"

BAD_PROXY_HEADER: Final = "# The connection does not begin with a PROXY protocol header, as it must on this port.\n"


def read_timeout(seconds: float) -> str:
    """Return the comment line for a client that sent no whole line within the deadline."""
    return _comment(f"No whole query came within {seconds:g} seconds.")


def too_many_requests(retry_after: int) -> str:
    """Return the refusal for rate, ban or number of connections; `retry_after` is in whole seconds.

    The first line is throttling to php-whois (see `TEMPORARY_FAILURE`) and to those that look for "too many requests" or
    "try again later"; the second begins with the only words by which Ruby's whois-parser knows it.
    """
    return (
        "WHOIS LIMIT EXCEEDED. Too many requests, try again later.\n"
        f"# Too many connections. Retry after {retry_after} seconds.\n"
    )


def _comment(line: str) -> str:
    return f"# {line}".rstrip() + "\n"
