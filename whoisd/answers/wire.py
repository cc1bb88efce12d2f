"""Bytes to one line, text to bytes. Knows RFC 3912's framing and the two charsets; knows nothing of what a line says."""

import re
import unicodedata
from enum import StrEnum

LINE_LIMIT = 1024  # bytes of a query line, its end not counted

# A query is one line of text: no control character but the tab in it, and CR LF at its end.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NEVER_TEXT = re.compile(rb"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")


class Charset(StrEnum):
    """The charsets of a query and its answer, by their Python codec names."""

    LATIN_1 = "iso-8859-1"
    UTF_8 = "utf-8"


class LineBuffer:
    """Collects what a client sends until it holds a line to judge.

    A line ends at CRLF, at a bare LF, or with the input (the client's half-close). Input that can no longer become a
    query (too long, not text) is handed out as it stands, at once, for `parse_query` to refuse: there is one judge.
    """

    __slots__ = ("_held", "pending")

    def __init__(self) -> None:
        self._held = b""
        self.pending = False  # whether any byte has come

    def feed(self, data: bytes) -> bytes | None:
        """Add bytes; return the line without its end once there is one to judge, else None."""
        self.pending = True
        held = self._held = self._held + data[: LINE_LIMIT + 2]
        line, newline, _ = held.partition(b"\n")
        if newline or len(held) > LINE_LIMIT + 1 or _NEVER_TEXT.search(held):
            return line.removesuffix(b"\r")
        return None

    def rest(self) -> bytes:
        """Return what was collected, as the line that the end of input closes."""
        return self._held.removesuffix(b"\r")


def is_text(line: bytes) -> bool:
    """Whether a line (its end taken off) is free of control characters."""
    return not _NOT_TEXT.search(line)


def encode(text: str, charset: Charset) -> bytes:
    r"""Make an answer's bytes: lines end in CRLF (RFC 3912), and a character that the charset lacks becomes `?`."""
    text = text.replace("\n", "\r\n")
    try:
        return text.encode(charset)
    except UnicodeEncodeError:
        # A letter that is written as two, as in a + ring (NFD), the charset may have as one: å is not to become a?.
        return unicodedata.normalize("NFC", text).encode(charset, errors="replace")
