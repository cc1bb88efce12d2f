"""What anyone may see, as text: the fields, their order and their column."""

from dataclasses import replace
from datetime import date

import pytest

from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.model import DomainStatus, Host, IdStatus, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.notices import FOOT
from whoisd.answers.response import render_domain, render_host

NEVER = Withheld(Reason.NEVER_SHOWN)
HIDDEN = Withheld(Reason.ADDRESS_PROTECTION)

REGISTRANT = PublicRegistrant(
    handle=NEVER,
    name="Eksempel ApS",
    street=("Eksempelvej 1", "2. tv."),
    postal_code="2300",
    city="København S",
    country="DK",
    phone="+45 00112233",
    email="info@eksempel.example",
    email_reason=Reason.LOCKED_TO_CVR,
    id_status=IdStatus.ELECTRONIC_ID,
    kind=RegistrantKind.COMPANY,
)
DOMAIN = PublicDomain(
    name=DomainName("xn--5cab8c.dk", "æøå.dk"),
    status=DomainStatus.ACTIVE,
    registered=date(2010, 6, 14),
    expires=date(2027, 6, 30),
    delete_date=date(2027, 7, 14),
    period_years=1,
    vid=False,
    dnssec=True,
    registrar=Registrar("Eksempel Registrar A/S"),
    nameservers=("ns2.example.net", "ns1.example.net"),
    registrant=REGISTRANT,
)


def render(domain: PublicDomain, *, omit_withheld_email: bool = False) -> str:
    return render_domain(domain, omit_withheld_email=omit_withheld_email)


def registrant_lines(registrant: PublicRegistrant, *, omit_withheld_email: bool = False) -> list[str]:
    """Return the lines of the Registrant section, from its title to the blank line."""
    lines = render(replace(DOMAIN, registrant=registrant), omit_withheld_email=omit_withheld_email).split("\n")
    start = lines.index("Registrant")
    return lines[start : lines.index("", start)]


def label(line: str) -> str:
    return line.partition(":")[0]


def test_whole_answer() -> None:
    """An answer with all that it can have has its sections and fields in this order, and values from column 23."""
    assert render(DOMAIN) == (
        "Domain:               æøå.dk\n"
        "DNS:                  xn--5cab8c.dk\n"
        "Registered:           2010-06-14\n"
        "Expires:              2027-06-30\n"
        "Registrar:            Eksempel Registrar A/S\n"
        "Delete date:          2027-07-14\n"
        "Registration period:  1 year\n"
        "VID:                  no\n"
        "DNSSEC:               Signed delegation\n"
        "Status:               Active\n"
        "\n"
        "Registrant\n"
        "Handle:               DATA REDACTED\n"
        "Name:                 Eksempel ApS\n"
        "Address:              Eksempelvej 1, 2. tv.\n"
        "Postalcode:           2300\n"
        "City:                 København S\n"
        "Country:              DK\n"
        "Phone:                +45 00112233\n"
        "Email:                info@eksempel.example\n"
        "ID status:            ID verified via electronic ID\n"
        "\n"
        "Nameservers\n"
        "Hostname:             ns2.example.net\n"
        "Hostname:             ns1.example.net\n"
    )


def test_optional_lines_are_left_out() -> None:
    """A registrar, a delete date and name servers that are not there have no line; a date that is not there has."""
    bare = replace(
        DOMAIN, registrar=None, delete_date=None, expires=None, nameservers=(), registrant=Withheld(Reason.DEACTIVATED)
    )
    assert [label(line) for line in render(bare).splitlines()] == [
        *("Domain", "DNS", "Registered", "Expires", "Registration period", "VID", "DNSSEC", "Status")
    ]
    assert "Expires:              ***N/A***\n" in render(bare)


@pytest.mark.parametrize(
    ("domain", "line"),
    [
        (replace(DOMAIN, period_years=2), "Registration period:  2 years"),
        (replace(DOMAIN, period_years=5), "Registration period:  5 years"),
        (replace(DOMAIN, period_years=None), "Registration period:  ***N/A***"),
        (replace(DOMAIN, vid=True), "VID:                  yes"),
        (replace(DOMAIN, dnssec=False), "DNSSEC:               Unsigned delegation"),
        (replace(DOMAIN, status=DomainStatus.DEACTIVATED), "Status:               Deactivated"),
        (replace(DOMAIN, status=DomainStatus.RESERVED), "Status:               Reserved"),
    ],
)
def test_words_of_the_domain_section(domain: PublicDomain, line: str) -> None:
    """Period, VID, DNSSEC and status have words of their own, as the .dk specification writes them."""
    assert line in render(domain).splitlines()


@pytest.mark.parametrize(
    ("id_status", "words"),
    [
        (IdStatus.ELECTRONIC_ID, "ID verified via electronic ID"),
        (IdStatus.DOCUMENTATION, "ID verified by submission of documentation"),
        (IdStatus.REGISTRAR, "ID checked by registrar"),
        (IdStatus.RISK_ASSESSMENT, "Registrant approved after a risk assessment"),
    ],
)
def test_words_for_id_status(id_status: IdStatus, words: str) -> None:
    """Each ID status is the last registrant line, in the words of the .dk specification."""
    assert registrant_lines(replace(REGISTRANT, id_status=id_status))[-1] == f"ID status:            {words}"


SIX = ["Handle", "Name", "Address", "Postalcode", "City", "Country"]
UNKNOWN = RegistrantKind.UNKNOWN
NOTHING = PublicRegistrant(NEVER, None, (), None, None, None, None, NEVER, Reason.NOT_SETTLED, None, UNKNOWN)
BLANK = PublicRegistrant(NEVER, "", (" ",), "\t", "\n", "\N{NO-BREAK SPACE}", "", NEVER, Reason.NOT_SETTLED, None, UNKNOWN)
PROTECTED = PublicRegistrant(NEVER, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN, HIDDEN.reason, None, HIDDEN)
FORGED = replace(REGISTRANT, name="x\nAddress: y", street=("x\r\nCity: y",), city="x\x85Country: y")


@pytest.mark.parametrize("registrant", [REGISTRANT, NOTHING, BLANK, PROTECTED, FORGED])
@pytest.mark.parametrize("omit_withheld_email", [False, True])
def test_six_lines_by_position(registrant: PublicRegistrant, *, omit_withheld_email: bool) -> None:
    """The first six registrant lines are always there, once, in order, right below the title."""
    title, *lines = registrant_lines(registrant, omit_withheld_email=omit_withheld_email)
    assert title == "Registrant"
    assert [label(line) for line in lines[:6]] == SIX
    assert not {label(line) for line in lines[6:]} & set(SIX)


@pytest.mark.parametrize("registrant", [NOTHING, BLANK])
def test_value_that_is_not_given(registrant: PublicRegistrant) -> None:
    """A value that is missing or blank reads ***N/A*** in the lines that are always there, and Phone and ID status go."""
    assert registrant_lines(registrant) == [
        "Registrant",
        "Handle:               DATA REDACTED",
        "Name:                 ***N/A***",
        "Address:              ***N/A***",
        "Postalcode:           ***N/A***",
        "City:                 ***N/A***",
        "Country:              ***N/A***",
        "Email:                DATA REDACTED",
    ]


def test_value_that_is_withheld() -> None:
    """A protected registrant's every line, Handle to Email, reads DATA REDACTED."""
    assert registrant_lines(PROTECTED) == [
        "Registrant",
        *(f"{name + ':':<22}DATA REDACTED" for name in [*SIX, "Phone", "Email"]),
    ]


@pytest.mark.parametrize(
    ("email", "omit", "lines"),
    [
        ("a@b.example", False, ["Email:                a@b.example"]),
        ("a@b.example", True, ["Email:                a@b.example"]),
        (Withheld(Reason.INDIVIDUAL), False, ["Email:                DATA REDACTED"]),
        (Withheld(Reason.INDIVIDUAL), True, []),
    ],
)
def test_withheld_email_may_be_omitted(email: str | Withheld, omit: bool, lines: list[str]) -> None:
    """An operator can leave the Email line out where the email is withheld, and only there."""
    rendered = registrant_lines(replace(REGISTRANT, email=email), omit_withheld_email=omit)
    assert [line for line in rendered if line.startswith("Email:")] == lines


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NOT_ASKED])
def test_no_foot_unless_the_registrant_was_not_asked_for(reason: Reason) -> None:
    """A registrant that is withheld for any other reason leaves neither a section nor a foot."""
    answer = render(replace(DOMAIN, registrant=Withheld(reason)))
    assert "Registrant\n" not in answer
    assert "#" not in answer


def test_foot_when_the_registrant_was_not_asked_for() -> None:
    """A plain domain answer ends with the foot, and an answer with the registrant has none."""
    assert render(replace(DOMAIN, registrant=Withheld(Reason.NOT_ASKED))).endswith("ns1.example.net\n" + FOOT)
    assert "#" not in render(DOMAIN)


@pytest.mark.parametrize("registrant", [Withheld(Reason.NO_REGISTRATION), Withheld(Reason.NOT_ASKED), REGISTRANT])
def test_waiting_list(registrant: PublicRegistrant | Withheld) -> None:
    """A domain offered to a waiting list has eight lines and no other section, whatever else is known of it."""
    assert render(replace(DOMAIN, status=DomainStatus.OFFERED_TO_WAITING_LIST, registrant=registrant)) == (
        "Domain:               æøå.dk\n"
        "DNS:                  xn--5cab8c.dk\n"
        "Registered:           ***N/A***\n"
        "Expires:              ***N/A***\n"
        "Registration period:  ***N/A***\n"
        "VID:                  ***N/A***\n"
        "DNSSEC:               ***N/A***\n"
        "Status:               Offered to waiting list\n"
    )


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\t", "\n", "\x0b", "\x0c", "\r", "\x1b", "\x1c", "\x1d", "\x1e", "\x1f", "\x7f", "\x80", "\x85", "\x9f"),
        *("\N{LINE SEPARATOR}", "\N{PARAGRAPH SEPARATOR}"),
        *("\N{LEFT-TO-RIGHT EMBEDDING}", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{POP DIRECTIONAL FORMATTING}"),
        *("\N{LEFT-TO-RIGHT ISOLATE}", "\N{RIGHT-TO-LEFT ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"),
        *("\ud800", "\udc00", "\udfff"),
    ],
)
def test_character_that_could_forge_a_line(character: str) -> None:
    """A control character, a line separator, a bidirectional override or a surrogate in a value is a question mark."""
    lines = registrant_lines(replace(REGISTRANT, name=f"Eksempel{character}Email: x@y.example"))
    assert lines[2] == "Name:                 Eksempel?Email: x@y.example"


def test_control_characters_in_every_other_value() -> None:
    """Registrar, host names and email are cleansed as any value is."""
    forged = replace(
        DOMAIN,
        registrar=Registrar("a\nStatus: b"),
        nameservers=("a\r\nb",),
        registrant=replace(REGISTRANT, email="a\nb@c", phone="1\x0b2"),
    )
    lines = render(forged).split("\n")
    assert "Registrar:            a?Status: b" in lines
    assert "Hostname:             a??b" in lines
    assert "Email:                a?b@c" in lines
    assert "Phone:                1?2" in lines


@pytest.mark.parametrize(
    "value", ["Łódź 5€ 東京 😀", "no\N{NO-BREAK SPACE}break", "#1 ApS", "a: b", "ק\N{RIGHT-TO-LEFT MARK}"]
)
def test_text_is_left_as_it_is(value: str) -> None:
    """Letters, signs and spaces of any script are printed as they are stored."""
    assert registrant_lines(replace(REGISTRANT, name=value))[2] == f"Name:                 {value}"


@pytest.mark.parametrize(("glue", "words"), [(True, "Being spooled"), (False, "Not being spooled")])
def test_host(glue: bool, words: str) -> None:
    """A host has two lines: its name as A-labels, and whether its glue is spooled."""
    host = Host(DomainName("ns.xn--5cab8c.dk", "ns.æøå.dk"), glue)
    assert render_host(host) == f"Nameserver:           ns.xn--5cab8c.dk\nGlue:                 {words}\n"
