"""Answers from any stored text: no value adds a line."""

from dataclasses import replace
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.model import DomainStatus, IdStatus, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.response import render_domain
from whoisd.answers.wire import Charset, encode

few = settings(max_examples=200, deadline=None)

WITHHELD = Withheld(Reason.NOT_SETTLED)
# Any code point at all, lone surrogates too, or one text of those that end a line somewhere. (Hypothesis draws from the
# union of two alphabets evenly, so that in one text the few would be lost among the many.)
ENDS = st.text(st.sampled_from("a \n\r\t\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\u202e\ud800\x00#:"), max_size=12)
TEXTS = ENDS | st.text(st.characters(), max_size=12)
VALUES = st.none() | st.just(WITHHELD) | TEXTS

REGISTRANTS = st.builds(
    PublicRegistrant,
    handle=st.just(WITHHELD),
    name=VALUES,
    street=st.just(WITHHELD) | st.lists(TEXTS, max_size=3).map(tuple),
    postal_code=VALUES,
    city=VALUES,
    country=VALUES,
    phone=VALUES,
    email=st.just(WITHHELD) | TEXTS,
    email_reason=st.sampled_from(Reason),
    id_status=st.none() | st.sampled_from(IdStatus),
    kind=st.just(WITHHELD) | st.sampled_from(RegistrantKind),
)
DOMAINS = st.builds(
    PublicDomain,
    name=st.just(DomainName("xn--5cab8c.dk", "æøå.dk")),
    status=st.sampled_from(DomainStatus),
    registered=st.none() | st.dates(),
    expires=st.none() | st.dates(),
    delete_date=st.none() | st.dates(),
    period_years=st.none() | st.sampled_from([1, 2, 3, 5]),
    vid=st.booleans(),
    dnssec=st.booleans(),
    registrar=st.none() | TEXTS.map(Registrar),
    nameservers=st.lists(TEXTS, max_size=7).map(tuple),
    registrant=REGISTRANTS | st.sampled_from(Reason).map(Withheld),
)


def count_lines(domain: PublicDomain, charset: Charset, *, omit_withheld_email: bool) -> set[int]:
    """Count the lines of an answer by each way of reading lines; one number when all agree."""
    data = encode(render_domain(domain, omit_withheld_email=omit_withheld_email), charset)
    assert data.endswith(b"\r\n")
    return {
        len(data.decode(charset).splitlines()),
        len(data.splitlines()),
        data.count(b"\r\n"),
        data.count(b"\n"),
        data.count(b"\r"),
    }


def plain(value: str | Withheld | None) -> str | Withheld | None:
    """Return the value, or where it is a text another that is harmless."""
    return "x" if isinstance(value, str) and value else value


def plain_registrant(registrant: PublicRegistrant) -> PublicRegistrant:
    return replace(
        registrant,
        name=plain(registrant.name),
        street=registrant.street if isinstance(registrant.street, Withheld) else ("x",) * any(registrant.street),
        postal_code=plain(registrant.postal_code),
        city=plain(registrant.city),
        country=plain(registrant.country),
        phone=plain(registrant.phone),
        email="x" if isinstance(registrant.email, str) else registrant.email,
    )


def plain_domain(domain: PublicDomain) -> PublicDomain:
    return replace(
        domain,
        registrar=Registrar("x") if domain.registrar else None,
        nameservers=("x",) * len(domain.nameservers),
        registrant=plain_registrant(domain.registrant)
        if isinstance(domain.registrant, PublicRegistrant)
        else domain.registrant,
    )


@few
@given(DOMAINS, st.sampled_from(Charset), st.booleans())
def test_no_value_adds_a_line(domain: PublicDomain, charset: Charset, omit_withheld_email: bool) -> None:
    """Whatever its values hold, an answer has the lines of one with plain values, by every way of reading lines."""
    lines = count_lines(domain, charset, omit_withheld_email=omit_withheld_email)
    assert len(lines) == 1
    assert lines == count_lines(plain_domain(domain), charset, omit_withheld_email=omit_withheld_email)


REGISTERED = PublicDomain(
    name=DomainName("eksempel.dk", "eksempel.dk"),
    status=DomainStatus.ACTIVE,
    registered=date(2010, 6, 14),
    expires=date(2027, 6, 30),
    delete_date=None,
    period_years=1,
    vid=False,
    dnssec=False,
    registrar=None,
    nameservers=("ns1.example.net",),
    registrant=WITHHELD,
)


@few
@given(REGISTRANTS, st.sampled_from(Charset), st.booleans())
def test_six_lines_by_position(
    registrant: PublicRegistrant,
    charset: Charset,
    omit_withheld_email: bool,
) -> None:
    """Whatever a registrant's values hold, its first six lines are the six that clients read by position."""
    domain = replace(REGISTERED, registrant=registrant)
    data = encode(render_domain(domain, omit_withheld_email=omit_withheld_email), charset)
    lines = data.decode(charset).splitlines()
    start = lines.index("Registrant") + 1
    labels = [line.partition(":")[0] for line in lines[start : start + 6]]
    assert labels == ["Handle", "Name", "Address", "Postalcode", "City", "Country"]
    assert all(len(line) > 22 and line[21] == " " for line in lines[start : start + 6])
