"""What `explain` says: always what `publish` decided, and never a value of a registrant."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import support
from support import IN_FORCE, NOT_YET, registrant

from whoisd.answers.disclosure import (
    RULES,
    Conditions,
    Facts,
    PublicDomain,
    PublicRegistrant,
    Reason,
    Withheld,
    decide,
    facts_of,
    publish,
)
from whoisd.answers.explain import FACTS, SENTENCES, _number, explain, explain_host, explain_registrant
from whoisd.answers.model import (
    CvrForm,
    CvrStanding,
    Domain,
    DomainStatus,
    Host,
    IdStatus,
    Registrant,
    RegistrantKind,
    Registrar,
)
from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.response import NOT_GIVEN, REDACTED, render_domain
from whoisd.answers.wire import Charset

IN_FORCE_FROM = datetime(2025, 11, 3, 13, tzinfo=UTC)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
BEFORE = IN_FORCE_FROM - timedelta(microseconds=1)

# Every personal field holds a token of its own, with a capital Q, which no sentence has; so have they no DK, FI or ZZ.
TOKENS: dict[str, Any] = {
    "name": "QNAME",
    "street": ("QSTREET", "QFLOOR"),
    "postal_code": "QPOST",
    "city": "QCITY",
    "phone": "QPHONE",
    "email": "QPRIMARY@qmail.example",
    "secondary_email": "QSECONDARY@qmail.example",
    "id_status": IdStatus.ELECTRONIC_ID,
}
PERSONAL = ("Q", "@q", "99000019", "20774740", "DK", "FI", "ZZ", "electronic")
BARE: dict[str, Any] = {
    **dict.fromkeys(["name", "postal_code", "city", "country", "phone", "email", "vat_number", "id_status"]),
    "street": (),
    "kind": RegistrantKind.UNKNOWN,
    "cvr_locked": None,
    "cvr_form": CvrForm.UNKNOWN,
    "cvr_bankruptcy": None,
    "cvr_standing": CvrStanding.UNKNOWN,
    "sole_proprietorship": None,
    "documented": None,
}
LABELS = (
    *(
        "Domain",
        "DNS",
        "Registered",
        "Expires",
        "Registrar",
        "Delete date",
        "Registration period",
        "VID",
        "DNSSEC",
        "Status",
    ),
    *("Handle", "Name", "Address", "Postalcode", "City", "Country", "Phone", "Email", "ID status"),
)

domain = partial(support.domain, name=DomainName("xn--5cab8c.dk", "æøå.dk"), registrar=Registrar("All Things DK Domains"))


def with_number(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts with a number of the country instead of whether there is one."""
    numbers = {"DK": "DK99000019", "FI": "FI20774740", "ZZ": "DK99000019"}
    return facts | {"vat_number": numbers[facts["country"]] if facts["vat_number"] else None}


def conditions_at(now: datetime) -> Conditions:
    return IN_FORCE if now >= IN_FORCE_FROM else NOT_YET


def text_of(about: Domain, charset: Charset = Charset.UTF_8, now: datetime = NOW) -> str:
    return explain(about, now=now, in_force_from=IN_FORCE_FROM, conditions=conditions_at(now), charset=charset)


def publish_of(about: Domain, charset: Charset = Charset.UTF_8, now: datetime = NOW) -> PublicDomain:
    return publish(about, show_handles=True, conditions=conditions_at(now), charset=charset)


def fields(text: str) -> dict[str, tuple[str, str]]:
    """The answer and the reason of each field, by label."""
    table = text.partition("Field  ")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [re.split(r"  +", line) for line in table]
    return {label: (answer, reason) for label, answer, reason in rows}


def verdict(text: str) -> str:
    """What stands below "What decided on the email"."""
    return text.partition("What decided on the email\n\n")[2]


def by_the_answer(public: PublicDomain) -> dict[str, str]:
    """What becomes of each field, as read off the answer that the server gives."""
    body = render_domain(public, omit_withheld_email=False)
    lines = dict(re.findall(r"^([A-Za-z ]+): +(.*)$", body, re.MULTILINE))
    words = {REDACTED: "withheld", NOT_GIVEN: "not given", None: "left out"}
    found = {label: words.get(lines.get(label), "shown") for label in LABELS}
    found["Registrant section"] = "shown" if "Registrant\n" in body else "left out"
    found["Nameservers"] = "shown" if "Nameservers\n" in body else "left out"
    if isinstance(public.registrant, PublicRegistrant) and isinstance(public.registrant.name, Withheld):
        found["ID status"] = "withheld"  # there is no such line, and whether there is an ID status is not told
    return found


# --- the words ---------------------------------------------------------------------------------------------------


def test_every_reason_has_a_sentence() -> None:
    """Each reason has a sentence of its own in plain English, short enough for a line."""
    assert list(SENTENCES) == list(Reason)
    assert len(set(SENTENCES.values())) == len(Reason)
    assert all(sentence.endswith(".") and len(sentence) <= 100 for sentence in SENTENCES.values())


def test_every_fact_has_words() -> None:
    """Each value of each fact that the rules look at has words, in the order of the facts, and no two the same."""
    types: dict[str, type[StrEnum]] = get_type_hints(Facts)
    assert list(FACTS) == list(Facts._fields)
    for name, (_, words) in FACTS.items():
        assert list(words) == list(types[name])
        assert len(set(words.values())) == len(words)


# --- all combinations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "charset"),
    [(DomainStatus.ACTIVE, Charset.LATIN_1), *((status, Charset.UTF_8) for status in DomainStatus)],
)
def test_all_combinations(status: DomainStatus, charset: Charset) -> None:
    """Whatever the facts: what the server's answer shows, with the reason of `publish`, and no personal value."""
    axes: dict[str, list[Any]] = {
        "kind": [RegistrantKind.COMPANY, RegistrantKind.INDIVIDUAL, RegistrantKind.UNKNOWN],
        "country": ["DK", "FI", "ZZ"],
        "cvr_locked": [False, True],
        "cvr_form": [*CvrForm],
        "cvr_bankruptcy": [False, True],
        "vat_number": [True, False],
        "sole_proprietorship": [False, True],
        "address_protection": [False, True, None],
        "id_confirmed": [False, True],
        "secondary_email": ["QSECONDARY@qmail.example", "QØØ@qmail.example", "QNONE"],
    }
    for values in product(*axes.values()):
        who = registrant(**with_number(TOKENS | dict(zip(axes, values, strict=True))))
        about = domain(who, status)
        text, public = text_of(about, charset), publish_of(about, charset)
        assert [token for token in PERSONAL if token in text] == []
        told = fields(text)
        assert {label: answer for label, (answer, _) in told.items()} == by_the_answer(public)
        check_reasons(text, told, public, who)


def check_reasons(text: str, told: dict[str, tuple[str, str]], public: PublicDomain, who: Registrant) -> None:
    section = public.registrant
    if isinstance(section, Withheld):
        assert {told[label][1] for label in ("Registrant section", *LABELS[10:])} == {section.reason}
        assert f"No Registrant section, with --show-handles or without: {section.reason}\n" in text
        assert section.reason is Reason.NO_REGISTRATION or would_be(who) in verdict(text)
        return
    email = "withheld" if isinstance(section.email, Withheld) else "shown"
    assert told["Email"] == (email, section.email_reason)
    assert told["Handle"] == ("withheld", "never_shown")
    assert verdict(text).startswith(f"{email}: {section.email_reason}")
    if who.address_protection is not False:
        assert {told[label] for label in LABELS[11:]} == {("withheld", section.email_reason)}


def would_be(who: Registrant) -> str:
    """What the rules say of an email that is an address, of a registrant who is shown."""
    public = publish_of(domain(replace(who, id_confirmed=True, secondary_email="a@b.example"))).registrant
    assert isinstance(public, PublicRegistrant)
    answer = "withheld" if isinstance(public.email, Withheld) else "shown"
    return f"were the section there, the email would be {answer}: {public.email_reason}"


@pytest.mark.parametrize("now", [BEFORE, IN_FORCE_FROM])
def test_entry_into_force(now: datetime) -> None:
    """The rules are in force from the very moment; before it the email is withheld, and the moment is named."""
    text = text_of(domain(registrant()), now=now)
    in_force = now is IN_FORCE_FROM
    assert fields(text)["Email"] == (("shown", "locked_to_cvr") if in_force else ("withheld", "not_in_force"))
    line = "in force since 2025-11-03T13" if in_force else "not yet in force: they will be from 2025-11-03T13"
    assert f"The rules on emails are {line}:00:00+00:00\n" in text


# --- what is not told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [BEFORE, NOW])
@pytest.mark.parametrize("charset", Charset)
@pytest.mark.parametrize("status", DomainStatus)
@pytest.mark.parametrize("confirmed", [True, False, None])
@pytest.mark.parametrize("protection", [True, None])
def test_protected_persons_read_alike(
    protection: bool | None,
    confirmed: bool | None,
    status: DomainStatus,
    charset: Charset,
    now: datetime,
) -> None:
    """Under address protection, or where that is not settled, the text is the same whatever else is known or given."""
    same = {"address_protection": protection, "id_confirmed": confirmed}
    people = [registrant(**(changes | same)) for changes in ({}, TOKENS, BARE, {"kind": RegistrantKind.INDIVIDUAL})]
    people += [registrant(**{**same, name: BARE[name]}) for name in BARE]
    assert len({text_of(domain(who, status), charset, now) for who in people}) == 1


@pytest.mark.parametrize(
    ("changes", "status"), [({}, DomainStatus.DEACTIVATED), ({"id_confirmed": False}, DomainStatus.ACTIVE)]
)
def test_left_out_section_tells_no_fact(changes: dict[str, Any], status: DomainStatus) -> None:
    """Where the section is left out, nothing but the rule's verdict tells two registrants from each other."""
    person = {"kind": RegistrantKind.INDIVIDUAL, **changes}
    people = [registrant(**person), registrant(**(TOKENS | person)), registrant(**(BARE | person))]
    (text,) = {text_of(domain(who, status)) for who in people}
    assert [words.label for words in FACTS.values() if words.label in text] == []


def test_lengths_are_not_told() -> None:
    """Two registrants whose values differ, and no fact about them, read alike."""
    longer: dict[str, Any] = {
        name: value * 9 for name, value in TOKENS.items() if type(value) is str and name[-5:] != "email"
    }
    longer |= {"street": ("Q",) * 3, "email": "a@b.example", "secondary_email": None, "vat_number": "12345678"}
    texts = {
        text_of(domain(registrant(**(TOKENS | changes)))) for changes in ({}, longer, {"id_status": IdStatus.REGISTRAR})
    }
    assert len(texts) == 1


# --- the email ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "charset", "said"),
    [
        ({}, Charset.LATIN_1, "shown: locked_to_cvr (rule 17 of 31)\n"),
        ({"cvr_form": CvrForm.SMALL_BUSINESS}, Charset.UTF_8, "withheld: small_business (rule 12 of 31)\n"),
        ({"country": "ZZ"}, Charset.UTF_8, "withheld: not_settled (no rule matches)\n"),
        ({"address_protection": True}, Charset.UTF_8, "withheld: address_protection (rule 1 of 31)\n"),
        ({"address_protection": None}, Charset.UTF_8, "withheld: not_settled\n"),
        ({"email": "rød@a.example"}, Charset.UTF_8, "shown: locked_to_cvr (rule 17 of 31)\n"),
    ],
)
def test_rule_that_decided(changes: dict[str, Any], charset: Charset, said: str) -> None:
    """The email's verdict names the rule that matched, by its number in the table, and its reason."""
    assert verdict(text_of(domain(registrant(**changes)), charset)).startswith(said)


def test_rules_are_numbered_as_in_the_manual() -> None:
    """The number of a rule is its row in the manual's table, counted from 1, and its reason is that row's."""
    page = (Path(__file__).parents[3] / "docs" / "disclosure.md").read_text(encoding="utf-8")
    rows = page.partition("<!-- rules -->\n")[2].partition("<!-- /rules -->")[0].splitlines()[2:]
    assert [row.rpartition("`")[0].rpartition("`")[2] for row in rows] == [rule.reason for rule in RULES]
    assert [_number(rule) for rule in RULES] == [f"rule {place} of {len(rows)}" for place in range(1, len(rows) + 1)]


@pytest.mark.parametrize(
    ("email", "reason", "why"),
    [
        ("rød@a.example", Reason.NEEDS_UTF_8, SENTENCES[Reason.NEEDS_UTF_8]),
        ("QNONE", Reason.NOT_SETTLED, "There is no email, or what stands in its place is not an address."),
        (None, Reason.NOT_SETTLED, "There is no email, or what stands in its place is not an address."),
    ],
)
def test_email_that_the_rule_shows_and_its_text_withholds(email: str | None, reason: Reason, why: str) -> None:
    """Where the rule shows the email and what it is withholds it, both are said."""
    told = verdict(text_of(domain(registrant(email=email)), Charset.LATIN_1))
    assert told.startswith(
        f"withheld: {reason}\n{why}\n\nBy the rules alone it would be shown: locked_to_cvr (rule 17 of 31)\n"
    )


def test_facts_in_the_way_make_the_email_public() -> None:
    """Every fact is told; one in the way also with what it would have to be: were they so, a rule would show the email."""
    axes = product([*RegistrantKind], ["DK", "FI", "ZZ"], [False, True, None], [*CvrForm], [True, False], [False, True])
    names = ("kind", "country", "cvr_locked", "cvr_form", "vat_number", "cvr_bankruptcy")
    for values in axes:
        who = registrant(**with_number(dict(zip(names, values, strict=True))))
        facts = facts_of(who, IN_FORCE)
        head, *rows = fact_rows(text_of(domain(who)))
        assert [row[:2] for row in rows] == [
            (words.label, words.values[getattr(facts, name)]) for name, words in FACTS.items()
        ]
        wanted = {name: row[2] for name, row in zip(FACTS, rows, strict=True) if row[2]}
        assert bool(head[2]) is bool(wanted)
        if who.country == "ZZ":
            assert wanted == {"country": "one of the two"}
            continue
        changes: dict[str, Any] = {name: value_called(name, words) for name, words in wanted.items()}
        assert decide(facts._replace(**changes)).shown
        assert [name for name, value in changes.items() if getattr(facts, name) is value] == []


def fact_rows(text: str) -> list[tuple[str, str, str]]:
    """The rows of the table of facts, its head included: a fact, its value, and what it would have to be or nothing."""
    table = "Fact  " + verdict(text).partition("Fact  ")[2].partition("\n\n")[0]
    rows = [[*re.split(r"  +", line.lstrip("* ")), ""] for line in table.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


def value_called(name: str, words: str) -> str:
    return next(value for value, called in FACTS[name].values.items() if called == words)


def test_stars_mark_what_the_rule_looks_at() -> None:
    """A star stands at the facts for which the matched rule has a value, and at no other; no rule, no star."""
    told = verdict(text_of(domain(registrant(cvr_locked=False))))
    assert re.findall(r"^\*  (.+?)  ", told, re.MULTILINE) == ["Rule by country", "Listed in and locked to CVR"]
    assert "*" not in verdict(text_of(domain(registrant(cvr_locked=None))))


# --- whole texts -------------------------------------------------------------------------------------------------

SOLE_PROPRIETORSHIP = """\
Domain æøå.dk, DNS xn--5cab8c.dk, status Active
As answered at 2026-10-01T12:00:00+00:00 to: --charset=utf-8 --show-handles xn--5cab8c.dk
The rules on emails are in force since 2025-11-03T13:00:00+00:00

With --show-handles there is a Registrant section. Without: not_asked
A query without --show-handles is answered without the Registrant section.

Field                Answer     Reason
Domain               shown      public
DNS                  shown      public
Registered           shown      public
Expires              shown      public
Registrar            shown      public
Delete date          left out   none is set
Registration period  shown      public
VID                  shown      public
DNSSEC               shown      public
Status               shown      public
Registrant section   shown      asked for with --show-handles
Handle               withheld   never_shown
Name                 shown      asked for with --show-handles
Address              shown      asked for with --show-handles
Postalcode           shown      asked for with --show-handles
City                 not given  the data has none
Country              shown      asked for with --show-handles
Phone                left out   the data has none
Email                withheld   sole_proprietorship
ID status            left out   the data has none
Nameservers          shown      public

What decided on the email

withheld: sole_proprietorship (rule 11 of 31)
CVR has the registrant as a sole proprietorship (Enkeltmandsvirksomhed).

   Fact                                 Value                                                 Would have to be
   Rules in force                       yes
   Data young enough                    yes
   Name and address protection          no
   Kind of registrant                   an organisation: company, association or public body
*  Rule by country                      for Danish registrants
*  Listed in and locked to CVR          yes
   CVR number or, abroad, VAT number    right, as far as it tells
   The lock, by CVR's own data          nothing against it, or no such data
   Bankruptcy estate in CVR             the data does not say                                 no
*  CVR company form                     sole proprietorship                                   an ordinary one
   Classified as a sole proprietorship  by nobody

* what this rule looks at
"""

PROTECTED = """\
Domain æøå.dk, DNS xn--5cab8c.dk, status Active
As answered at 2026-10-01T12:00:00+00:00 to: --charset=utf-8 --show-handles xn--5cab8c.dk
The rules on emails are in force since 2025-11-03T13:00:00+00:00

With --show-handles there is a Registrant section. Without: not_asked
A query without --show-handles is answered without the Registrant section.

Field                Answer    Reason
Domain               shown     public
DNS                  shown     public
Registered           shown     public
Expires              shown     public
Registrar            shown     public
Delete date          left out  none is set
Registration period  shown     public
VID                  shown     public
DNSSEC               shown     public
Status               shown     public
Registrant section   shown     asked for with --show-handles
Handle               withheld  never_shown
Name                 withheld  address_protection
Address              withheld  address_protection
Postalcode           withheld  address_protection
City                 withheld  address_protection
Country              withheld  address_protection
Phone                withheld  address_protection
Email                withheld  address_protection
ID status            withheld  address_protection
Nameservers          shown     public

What decided on the email

withheld: address_protection (rule 1 of 31)
The registrant has name and address protection: every field is withheld.

Fact                         Value
Name and address protection  yes

No other fact decides, and none is told.
"""

SUSPENDED = """\
Domain æøå.dk, DNS xn--5cab8c.dk, status Deactivated
As answered at 2026-10-01T12:00:00+00:00 to: --charset=utf-8 --show-handles xn--5cab8c.dk
The rules on emails are in force since 2025-11-03T13:00:00+00:00

No Registrant section, with --show-handles or without: deactivated
The domain is suspended, and the registrant of a suspended domain is not shown.

Field                Answer     Reason
Domain               shown      public
DNS                  shown      public
Registered           not given  the data has none
Expires              shown      public
Registrar            left out   under registrant management
Delete date          shown      public
Registration period  not given  the data has none
VID                  shown      public
DNSSEC               shown      public
Status               shown      public
Registrant section   left out   deactivated
Handle               left out   deactivated
Name                 left out   deactivated
Address              left out   deactivated
Postalcode           left out   deactivated
City                 left out   deactivated
Country              left out   deactivated
Phone                left out   deactivated
Email                left out   deactivated
ID status            left out   deactivated
Nameservers          left out   the domain has none

What decided on the email

Without --show-handles the section is never there, and no email with it.
With --show-handles, were the section there, the email would be shown: locked_to_cvr (rule 17 of 31)
The registrant is Danish, listed in and locked to CVR, and in no category that is withheld.
It would have to be an address, and fit for the answer's charset.
"""

OFFERED = """\
Domain æøå.dk, DNS xn--5cab8c.dk, status Offered to waiting list
As answered at 2026-10-01T12:00:00+00:00 to: --charset=utf-8 --show-handles xn--5cab8c.dk
The rules on emails are in force since 2025-11-03T13:00:00+00:00

No Registrant section, with --show-handles or without: no_registration
The domain is offered to a waiting list: there is no registration, and no registrant.

Field                Answer     Reason
Domain               shown      public
DNS                  shown      public
Registered           not given  no_registration
Expires              not given  no_registration
Registrar            left out   no_registration
Delete date          left out   no_registration
Registration period  not given  no_registration
VID                  not given  no_registration
DNSSEC               not given  no_registration
Status               shown      public
Registrant section   left out   no_registration
Handle               left out   no_registration
Name                 left out   no_registration
Address              left out   no_registration
Postalcode           left out   no_registration
City                 left out   no_registration
Country              left out   no_registration
Phone                left out   no_registration
Email                left out   no_registration
ID status            left out   no_registration
Nameservers          left out   no_registration

What decided on the email

There is no registrant, and so no email to decide on.
"""


def sole_proprietorship() -> Domain:
    return domain(registrant(cvr_form=CvrForm.SOLE_PROPRIETORSHIP, cvr_bankruptcy=None, city=" ", phone=None))


def suspended() -> Domain:
    odd: dict[str, Any] = {
        "registered": None,
        "registrar": Registrar(" "),
        "delete_date": date(2027, 1, 2),
        "period_years": None,
    }
    return replace(domain(registrant(), DomainStatus.DEACTIVATED), **odd, nameservers=())


@pytest.mark.parametrize(
    ("about", "text"),
    [
        (sole_proprietorship(), SOLE_PROPRIETORSHIP),
        (domain(registrant(**(TOKENS | {"address_protection": True}))), PROTECTED),
        (suspended(), SUSPENDED),
        (domain(registrant(**TOKENS), DomainStatus.OFFERED_TO_WAITING_LIST), OFFERED),
    ],
    ids=["sole proprietorship", "protected", "suspended", "offered"],
)
def test_whole_text(about: Domain, text: str) -> None:
    """A whole text reads so: heading, registrant section or why there is none, every field, what decided on the email."""
    assert text_of(about) == text
    assert {label: answer for label, (answer, _) in fields(text).items()} == by_the_answer(publish_of(about))


@pytest.mark.parametrize(
    ("name", "glue", "why"),
    [
        ("ns1.æøå.dk", True, "The host serves æøå.dk, the very domain that it is a child of, and that domain is active."),
        (
            "a.ns1.æøå.dk",
            False,
            "The host does not serve æøå.dk, the very domain that it is a child of, or that domain is not active.",
        ),
        ("ns1.example.net", False, "Glue is spooled for hosts under .dk alone."),
        (
            "ns1.example.net",
            True,
            "The data says so, though glue is spooled for hosts under .dk alone: the view whois.host is at fault.",
        ),
    ],
)
def test_host(name: str, glue: bool, why: str) -> None:
    """A host's text names it in both forms, what is shown, whether its glue is being spooled, and why."""
    host = Host(parse_name(name), glue)
    assert explain_host(host) == (
        f"Host {host.name.unicode}, DNS {host.name.ascii}\n\n"
        "Field       Answer  Reason\n"
        "Nameserver  shown   public\n"
        "Glue        shown   public\n\n"
        f"Glue: {'being spooled' if glue else 'not being spooled'}\n{why}\n"
        "Who administers a host is not disclosed.\n"
    )


@pytest.mark.parametrize("now", [BEFORE, NOW])
@pytest.mark.parametrize("charset", Charset)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"country": "FI", "cvr_locked": False, "cvr_form": CvrForm.NONE},
        {"address_protection": True},
        {"address_protection": None},
        {"id_confirmed": False},
        {"email": "rød@a.example", "secondary_email": None},
        BARE,
    ],
)
def test_registrant(changes: dict[str, Any], charset: Charset, now: datetime) -> None:
    """A registrant's text is what is said of the registrant of an active domain, to the letter, without the domain."""
    who = registrant(**(TOKENS | changes))
    text = explain_registrant(who, now=now, in_force_from=IN_FORCE_FROM, conditions=conditions_at(now), charset=charset)
    of_a_domain = text_of(domain(who), charset, now)
    assert text.splitlines()[1:5] == of_a_domain.splitlines()[2:6]
    assert verdict(text) == verdict(of_a_domain)
    all_fields = fields(of_a_domain)
    assert fields(text) == {label: all_fields[label] for label in ("Registrant section", *LABELS[10:])}
    assert not [token for token in PERSONAL if token in text]
