"""Any text to a domain name in both of its forms, and any mail domain to A-labels."""

import unicodedata
from typing import Final

from whoisd.answers import names
from whoisd.answers.names import LONGEST_LABEL, LONGEST_NAME, REPERTOIRE, DomainName, ascii_domain, parse_name
from whoisd.answers.notices import FAULTS
from whoisd.answers.response import UNPRINTABLE
from whoisd.errors import InvalidName, NameFault

LONGEST: Final = 1100
WORDS: Final = (
    *(text.encode() for text in "æøåöäüéßẞ。．｡ﬁİK\u0301\u030a\u200d\u200c\u00b7٠۰中п"),
    *(b"xn--", b".dk", b".", b"--", b"XN--", b"xn--4cabco7dk5a", b"xn--strae-oqa", b"\xed\xa0\x80"),
)  # fmt: skip


def check(data: bytes) -> None:
    """A text is a name that keeps the rules and makes itself again, or is refused for a fault that has a notice."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        name = parse_name(text)
    except InvalidName as error:
        assert error.fault in FAULTS
    else:
        _check_ascii(name)
        _check_unicode(name)
        assert _walk(name.ascii) == name  # whichever way a plain name is read
        assert parse_name(f"{text.removesuffix('.')}.") == name
    _check_mail_domain(text)


def _check_ascii(name: DomainName) -> None:
    assert name.ascii.isascii()
    assert name.ascii == name.ascii.lower()
    assert len(name.ascii) <= LONGEST_NAME
    for label in name.ascii.split("."):
        assert 1 <= len(label) <= LONGEST_LABEL
        assert {*label} <= REPERTOIRE
        assert "-" not in {label[0], label[-1]}
        assert label[2:4] != "--" or label.startswith("xn--")
    assert parse_name(name.ascii) == parse_name(name.ascii.upper()) == name


def _check_unicode(name: DomainName) -> None:
    """The U-labels are as many, are printable and normalised, and where they are letters of ours make the name again."""
    assert unicodedata.is_normalized("NFC", name.unicode)
    assert not UNPRINTABLE.search(name.unicode)
    assert not {*name.unicode} & {*" 。．｡"}
    labels = name.unicode.split(".")
    for ascii_label, label in zip(name.ascii.split("."), labels, strict=True):
        assert ascii_label == (label if label.isascii() else "xn--" + label.encode("punycode").decode())
    if REPERTOIRE.issuperset("".join(labels)):
        assert parse_name(unicodedata.normalize("NFD", name.unicode)) == name
        assert parse_name(name.unicode) == parse_name(name.unicode.replace("ß", "ẞ").upper()) == name
    if name.ascii.endswith(".dk"):
        assert REPERTOIRE.issuperset(labels[-2])
    assert name.is_dk_domain is (len(labels) == 2 and labels[-1] == "dk")


def _walk(text: str) -> DomainName:
    """The name by its labels, which is how every name was read if there were no quicker way."""
    labels = [names._parse_label(label) for label in text.split(".")]
    return DomainName(".".join(it for it, _ in labels), ".".join(it for _, it in labels))


def _check_mail_domain(text: str) -> None:
    try:
        domain = ascii_domain(text)
    except InvalidName as error:
        assert error.fault is NameFault.CHARACTER
        assert not text.isascii()
    else:
        assert domain.isascii()
        assert ascii_domain(domain) == domain
        assert domain == text or not UNPRINTABLE.search(domain)
