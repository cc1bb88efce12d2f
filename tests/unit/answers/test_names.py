"""The rules for names, in both of their forms."""

from typing import NoReturn

import idna
import pytest

from whoisd.answers.names import DomainName, ascii_domain, parse_name
from whoisd.errors import InvalidName, NameFault

NAME_OF_253 = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("text", "ascii_form", "unicode_form"),
    [
        ("eksempel.dk", "eksempel.dk", "eksempel.dk"),
        ("EKSEMPEL.DK", "eksempel.dk", "eksempel.dk"),
        ("eksempel.dk.", "eksempel.dk", "eksempel.dk"),
        ("dk", "dk", "dk"),
        ("a-b.0.example", "a-b.0.example", "a-b.0.example"),
        ("æøåöäüé.dk", "xn--4cabco7dk5a.dk", "æøåöäüé.dk"),
        ("ÆØÅÖÄÜÉ.DK.", "xn--4cabco7dk5a.dk", "æøåöäüé.dk"),
        ("xn--4cabco7dk5a.dk", "xn--4cabco7dk5a.dk", "æøåöäüé.dk"),
        ("XN--4CABCO7DK5A.DK", "xn--4cabco7dk5a.dk", "æøåöäüé.dk"),
        ("ns.æøå.xn--4cabco7dk5a.dk", "ns.xn--5cab8c.xn--4cabco7dk5a.dk", "ns.æøå.æøåöäüé.dk"),
        ("e\N{COMBINING ACUTE ACCENT}.dk", "xn--9ca.dk", "é.dk"),
        ("A\N{COMBINING RING ABOVE}.dk", "xn--5ca.dk", "å.dk"),
    ],
)
def test_both_forms(text: str, ascii_form: str, unicode_form: str) -> None:
    """U-labels and A-labels, in any case, composed or not, with a trailing dot or without, make the same name."""
    assert parse_name(text) == DomainName(ascii_form, unicode_form)


@pytest.mark.parametrize("text", ["straße.dk", "STRAẞE.DK", "xn--strae-oqa.dk"])
def test_sharp_s_is_kept(text: str) -> None:
    """ß is a letter of its own (IDNA2008): straße.dk is not strasse.dk."""
    assert parse_name(text) == DomainName("xn--strae-oqa.dk", "straße.dk")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", NameFault.EMPTY_LABEL),
        (".", NameFault.EMPTY_LABEL),
        (".dk", NameFault.EMPTY_LABEL),
        ("a..dk", NameFault.EMPTY_LABEL),
        ("a.dk..", NameFault.EMPTY_LABEL),
        ("-a.dk", NameFault.OUTER_HYPHEN),
        ("a-.dk", NameFault.OUTER_HYPHEN),
        ("æ-.dk", NameFault.OUTER_HYPHEN),
        ("-", NameFault.OUTER_HYPHEN),
        ("ab--c.dk", NameFault.RESERVED_HYPHENS),
        ("æø--å.dk", NameFault.RESERVED_HYPHENS),
        ("a.ab--c.dk", NameFault.RESERVED_HYPHENS),
        ("a b.dk", NameFault.CHARACTER),
        ("a.dk\n", NameFault.CHARACTER),
        ("\ta.dk", NameFault.CHARACTER),
        ("a_b.dk", NameFault.CHARACTER),
        ("ñ.dk", NameFault.CHARACTER),
        ("пример.example", NameFault.CHARACTER),
        ("ﬁ.dk", NameFault.CHARACTER),
        ("İ.dk", NameFault.CHARACTER),
        ("٣.dk", NameFault.CHARACTER),
        ("a。dk", NameFault.CHARACTER),
        ("\ud800.dk", NameFault.CHARACTER),
        ("xn--e1afmkfd.dk", NameFault.CHARACTER),
        ("xn--zz.dk", NameFault.A_LABEL),
        ("xn--a.dk", NameFault.A_LABEL),
        ("xn--æ.dk", NameFault.A_LABEL),
        ("xn--eksempel-.dk", NameFault.OUTER_HYPHEN),
        ("a" * 64 + ".dk", NameFault.LONG_LABEL),
        ("æ" * 58 + ".dk", NameFault.LONG_LABEL),
        (NAME_OF_253 + "d", NameFault.LONG_NAME),
    ],
)
def test_faults(text: str, fault: NameFault) -> None:
    """A text that breaks a rule is no name, and the fault is the rule it breaks."""
    with pytest.raises(InvalidName) as caught:
        parse_name(text)
    assert caught.value.fault is fault


def test_too_long_a_name_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is too long is refused before any of its labels is worked out, which takes as long as an answer."""

    def work(text: str) -> NoReturn:
        pytest.fail(f"{text} was worked out")

    monkeypatch.setattr(idna, "alabel", work)
    with pytest.raises(InvalidName, match=NameFault.LONG_NAME):
        parse_name(".".join(f"xn--{label}" for label in ["mgberp4a5d4a87g", "wgbl6a"] * 15) + ".dk")


@pytest.mark.parametrize("label", ["a" * 63, "æ" * 57])
def test_longest_label(label: str) -> None:
    """A label may have 63 characters, counted in its A-label form."""
    assert len(parse_name(label + ".dk").ascii) == 63 + len(".dk")


@pytest.mark.parametrize("text", [NAME_OF_253, NAME_OF_253 + "."])
def test_longest_name(text: str) -> None:
    """A name may have 253 characters, a trailing dot not counted."""
    assert len(parse_name(text).ascii) == 253


def test_long_name_is_counted_in_its_a_label_form() -> None:
    """A name of no more than 253 letters is too long when its A-label form has more."""
    text = ".".join(["æ" * 57] * 4)
    assert len(text) == 231
    with pytest.raises(InvalidName) as caught:
        parse_name(text)
    assert caught.value.fault is NameFault.LONG_NAME


@pytest.mark.parametrize(
    ("text", "unicode_form"),
    [("xn--e1afmkfd.example", "пример.example"), ("xn--e1afmkfd.eksempel.dk", "пример.eksempel.dk")],
)
def test_other_alphabets_outside_the_registrable_label(text: str, unicode_form: str) -> None:
    """An A-label that is not the registrable label of a .dk name may decode to any letters that IDNA2008 takes."""
    assert parse_name(text) == DomainName(text, unicode_form)


@pytest.mark.parametrize(
    ("text", "is_dk_domain"),
    [
        ("eksempel.dk", True),
        ("æøå.dk", True),
        ("EKSEMPEL.DK.", True),
        ("www.eksempel.dk", False),
        ("dk", False),
        ("dk.example", False),
        ("eksempel.xdk", False),
        ("eksempel", False),
    ],
)
def test_dk_domain(text: str, is_dk_domain: bool) -> None:
    """One label under .dk is the form of a .dk domain, and nothing else is."""
    assert parse_name(text).is_dk_domain is is_dk_domain


@pytest.mark.parametrize(
    ("text", "ascii_form"),
    [
        ("eksempel.example", "eksempel.example"),
        ("Eksempel.Example", "Eksempel.Example"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
        ("æøå.example", "xn--5cab8c.example"),
        ("ÆØÅ.example", "xn--5cab8c.example"),
        ("e\N{COMBINING ACUTE ACCENT}.example", "xn--9ca.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("пример.example", "xn--e1afmkfd.example"),
    ],
)
def test_mail_domain(text: str, ascii_form: str) -> None:
    """A mail domain is left as it is when it is ASCII, and else encoded by IDNA2008, of whatever alphabet it is."""
    assert ascii_domain(text) == ascii_form


@pytest.mark.parametrize("text", ["æ..example", "æ b.example", "☃.example", "æ" * 64 + ".example", "\ud800.example"])
def test_mail_domain_that_is_none(text: str) -> None:
    """A mail domain that IDNA2008 does not take is no name."""
    with pytest.raises(InvalidName):
        ascii_domain(text)
