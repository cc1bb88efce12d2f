"""Bytes to one line, text to bytes. Knows RFC 3912's framing and the two charsets; knows nothing of what a line says."""

import re
import unicodedata
from enum import StrEnum

LINE_LIMIT = 1024  # bytes of a query line, its end not counted

# A query is one line of text: no control character but the tab in it.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# What may stand before a query: telnet's commands (RFC 854: IAC and a command; an option after WILL, WONT, DO and DONT; a
# subnegotiation up to IAC SE), then a byte order mark. No name begins with either of their first bytes.
_PREAMBLE = re.compile(
    rb"(?:\xff(?:[\xfb-\xfe].|\xfa(?:[^\xff]|\xff\xff)*\xff\xf0|[\xf1-\xf9]))*(?:\xef\xbb\xbf)?", re.DOTALL
)
_BEGINS_PREAMBLE = (b"\xff", b"\xef")
_UNFINISHED = (b"\xff", b"\xff\xfa", b"\xff\xfb", b"\xff\xfc", b"\xff\xfd", b"\xff\xfe")


class Charset(StrEnum):
    """The charsets of a query and its answer, by their Python codec names."""

    LATIN_1 = "iso-8859-1"
    UTF_8 = "utf-8"


class LineBuffer:
    """Collects what a client sends until it holds a line to judge.

    A line ends at the first LF or CR, or with the input (the client's half-close). So it may end in CRLF, in LF, or in what
    telnet and careless programs send: CR NUL, CR CR LF, a bare CR. What stands behind its end is ignored. Telnet's commands
    and a byte order mark before it are skipped. Input that can no longer become a query (too long, not text) is handed out
    at once as it stands, for `parse_query` to refuse: there is one judge.
    """

    __slots__ = ("_held", "pending")

    def __init__(self) -> None:
        self._held = b""
        self.pending = False  # whether any byte has come

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; return the line without its end once there is one to judge, else None."""
        self.pending = True
        held = self._held = (self._held + data)[: LINE_LIMIT + 1]
        text = _without_preamble(held)
        line = _first_line(text)
        if len(held) > LINE_LIMIT and len(line) == len(text):
            return held  # too long, however much of it would be skipped
        if _is_unfinished_command(text):
            return None
        return line if len(line) < len(text) or _NOT_TEXT.search(line) else None

    def rest(self) -> bytes:
        """Return what was collected, as the line that the end of input closes."""
        return _first_line(_without_preamble(self._held))


def _first_line(text: bytes) -> bytes:
    return text.partition(b"\n")[0].partition(b"\r")[0]


def _without_preamble(text: bytes) -> bytes:
    return _PREAMBLE.sub(b"", text, count=1) if text[:1] in _BEGINS_PREAMBLE else text


def _is_unfinished_command(text: bytes) -> bool:
    """Whether a text begins with a command of telnet whose end is still to come; finished ones have been taken off."""
    return text[:2] in _UNFINISHED


def is_text(line: bytes) -> bool:
    """Whether a line (its end taken off) is free of control characters."""
    return not _NOT_TEXT.search(line)


def encode(text: str, charset: Charset) -> bytes:
    r"""Make an answer's bytes: lines end in CRLF (RFC 3912), and a character that the charset lacks becomes `?`."""
    try:
        encoded = text.encode(charset)
    except UnicodeEncodeError:
        # A letter that is written as two, as in a + ring (NFD), the charset may have as one: å is not to become a?.
        encoded = unicodedata.normalize("NFC", text).encode(charset, errors="replace")
    return encoded.replace(b"\n", b"\r\n")
