"""Domain names, in both of their forms, made once (RFC 5890: U-label and A-label).

Knows the .dk rules for labels and IDNA2008; knows nothing of queries, hosts or the database.

    name  = label *("." label) ["."]        at most 253 characters as A-labels, any case
    label = 1 to 63 characters as an A-label:
            a-z 0-9 - and æ ø å ö ä ü é ß; no hyphen first or last; no "--" in positions 3 and 4,
            or an A-label (xn--...) that IDNA2008 decodes and encodes back to itself

The registrable label of a .dk name has none but these characters in A-label form either; a label elsewhere, whose
registry has rules of its own, may decode to any.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import idna

from whoisd.answers.punycode import punycode
from whoisd.errors import InvalidName, NameFault

LONGEST_NAME = 253
LONGEST_LABEL = 63
REPERTOIRE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-æøåöäüéß")


@dataclass(slots=True, unsafe_hash=True)
class DomainName:
    """A valid name in lower case, with no trailing dot: as A-labels (`ascii`) and as U-labels (`unicode`)."""

    ascii: Final[str]
    unicode: Final[str]

    def __init__(self, ascii: str, unicode: str) -> None:
        self.ascii = ascii
        self.unicode = unicode

    @property
    def is_dk_domain(self) -> bool:
        """Whether this is `<label>.dk`, the form of a .dk domain; anything else can only be a host."""
        return self.ascii.endswith(".dk") and self.ascii.count(".") == 1


def parse_name(text: str) -> DomainName:
    """Make a name of U-labels or A-labels in any case, with or without a trailing dot.

    Raises `InvalidName`. A capital ẞ is ß and stays ß (IDNA2008; IDNA2003 made it ss).
    """
    # NFC first (RFC 5891, 5.2): a decomposed é is é, and nothing but a canonical equivalent becomes a letter of ours.
    text = unicodedata.normalize("NFC", text).lower()
    text = text.removesuffix(".")
    # Length first, work after: a name only grows as it is encoded, and to decode an A-label takes as long as a whole answer.
    if len(text) > LONGEST_NAME:
        raise InvalidName(NameFault.LONG_NAME)
    if _is_plain(text):
        return DomainName(text, text)
    labels = [_parse_label(label) for label in text.split(".")]
    name = DomainName(".".join(a for a, _ in labels), ".".join(u for _, u in labels))
    if len(name.ascii) > LONGEST_NAME:
        raise InvalidName(NameFault.LONG_NAME)
    if name.ascii.endswith(".dk") and not REPERTOIRE.issuperset(labels[-2][1]):
        raise InvalidName(NameFault.CHARACTER)
    return name


@lru_cache(maxsize=4096)  # of a pure function: a few name servers serve most domains
def unicode_of(text: str) -> str:
    """Return a name as U-labels, or as it is when it is no name."""
    try:
        return parse_name(text).unicode
    except InvalidName:
        return text


def ascii_domain(text: str) -> str:
    """Return a mail domain in A-label form: as it is when it is ASCII, else encoded by IDNA2008.

    Raises `InvalidName`. Unlike `parse_name` it takes every character that IDNA2008 takes: a mailbox may be anywhere.
    """
    if text.isascii():
        return text
    try:
        return idna.encode(unicodedata.normalize("NFC", text).lower()).decode("ascii")
    except idna.IDNAError:
        raise InvalidName(NameFault.CHARACTER) from None


def _is_plain(text: str) -> bool:
    """Whether both forms of a name are itself, as far as that can be told without a walk over its labels.

    So it is of nearly every name: short, and of letters and digits, with single dots and hyphens between them.
    """
    words = text.replace("-", ".")
    return (
        len(text) <= LONGEST_LABEL
        and text.isascii()
        and ".." not in words
        and not words.startswith(".")
        and not words.endswith(".")
        and words.replace(".", "").isalnum()
    )


def _parse_label(label: str) -> tuple[str, str]:
    """Return a label's A-label and U-label forms (the same for a plain one), or raise `InvalidName`."""
    if not label:
        raise InvalidName(NameFault.EMPTY_LABEL)
    if label[0] == "-" or label[-1] == "-":
        raise InvalidName(NameFault.OUTER_HYPHEN)
    if not REPERTOIRE.issuperset(label):
        raise InvalidName(NameFault.CHARACTER)
    if label[2:4] == "--" and not label.startswith("xn--"):
        raise InvalidName(NameFault.RESERVED_HYPHENS)
    if len(label) > LONGEST_LABEL:
        raise InvalidName(NameFault.LONG_LABEL)
    ascii_form = label if label.isascii() else "xn--" + punycode(label)
    if len(ascii_form) > LONGEST_LABEL:
        raise InvalidName(NameFault.LONG_LABEL)
    # Letters of ours in NFC, without hyphens out of place, are a U-label (RFC 5892 has them all as PVALID, of one direction
    # and without a context): only what comes as an A-label has to be decoded to be judged.
    return ascii_form, _u_label(ascii_form) if label.startswith("xn--") else label


@lru_cache(maxsize=4096)  # a name has room for thirty A-labels, and whoever sends such a name sends it again
def _u_label(a_label: str) -> str:
    try:
        u_label = a_label.removeprefix("xn--").encode("ascii").decode("punycode")
        if idna.alabel(u_label).decode("ascii") == a_label:  # which judges every character of the U-label
            return u_label
    except (idna.IDNAError, UnicodeError):
        pass
    raise InvalidName(NameFault.A_LABEL)
