"""The NIS2 email rules: the table against an oracle in the rules' own words, and `publish` over all combinations."""

from dataclasses import replace
from datetime import date
from functools import cache
from itertools import product
from math import prod
from random import Random
from string import ascii_uppercase
from typing import Any, get_type_hints

import pytest
from support import IN_FORCE, NOT_YET, domain, registrant

from whoisd.answers.disclosure import (
    RULES,
    Classification,
    Conditions,
    Country,
    Facts,
    Party,
    PublicDomain,
    PublicRegistrant,
    Reason,
    Truth,
    Verdict,
    Withheld,
    decide,
    facts_of,
    publish,
    publish_email,
    publish_registrant,
    publish_registrar,
    verdict_of,
)
from whoisd.answers.model import CvrForm, CvrStanding, DomainStatus, IdStatus, Registrant, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.response import REDACTED, render_domain
from whoisd.answers.vat import Number
from whoisd.answers.wire import Charset, encode

NAME = DomainName("eksempel.dk", "eksempel.dk")


# --- the table ---------------------------------------------------------------------------------------------------


# Every combination of facts is a bit of an integer, so that a set of them is an integer too, and a rule walks all two
# million at once.
VALUES: list[list[Any]] = [list(get_type_hints(Facts)[name]) for name in Facts._fields]
NUMBER = prod(map(len, VALUES))
EVERY = (1 << NUMBER) - 1


@cache
def with_value(position: int, value: Any) -> int:
    """The combinations in which a fact has a value."""
    block = prod(map(len, VALUES[position + 1 :]))
    found, length = ((1 << block) - 1) << block * VALUES[position].index(value), block * len(VALUES[position])
    while length < NUMBER:  # repeated, twice as often each time
        found, length = found | found << length, length * 2
    return found & EVERY


@cache
def by_rule() -> tuple[list[int], int]:
    """The combinations that each rule decides, and those that none does."""
    left, decided = EVERY, list[int]()
    for rule in RULES:
        found = left
        for position, want in enumerate(rule[: len(Facts._fields)]):
            found &= EVERY if want is None else with_value(position, want)
        decided.append(found)
        left &= ~found
    return decided, left


def combination(number: int) -> Facts:
    """The facts of a bit."""
    facts = []
    for values in reversed(VALUES):
        number, position = divmod(number, len(values))
        facts.append(values[position])
    return Facts._make(reversed(facts))


def bits(number: int) -> list[int]:
    return [position for position, bit in enumerate(reversed(f"{number:b}")) if bit == "1"]


YES, NO, ORG = Truth.YES, Truth.NO, Party.ORGANISATION
LOCKED = Facts(
    YES, YES, NO, ORG, Country.DANISH, YES, Number.RIGHT, CvrStanding.HELD, NO, CvrForm.ORDINARY, Classification.NONE
)
FOREIGN = Facts(
    YES, YES, NO, ORG, Country.FOREIGN, NO, Number.RIGHT, CvrStanding.HELD, NO, CvrForm.NONE, Classification.NONE
)
SHOWN = {
    LOCKED: Reason.LOCKED_TO_CVR,
    FOREIGN: Reason.VAT_REGISTERED,
    FOREIGN._replace(classified=Classification.NO): Reason.VAT_REGISTERED,
    FOREIGN._replace(number=Number.PERSONS, classified=Classification.NO): Reason.VAT_DOCUMENTED,
    FOREIGN._replace(number=Number.UNSETTLED, classified=Classification.NO): Reason.VAT_DOCUMENTED,
}


def test_table_shows_nothing_but_what_the_rules_show() -> None:
    """Of all combinations of facts five are shown: one Danish; four foreign, of which two by documentation alone."""
    decided, _ = by_rule()
    assert {
        combination(bit): rule.reason
        for rule, found in zip(RULES, decided, strict=True)
        if rule.shown
        for bit in bits(found)
    } == SHOWN


def test_every_rule_decides_something() -> None:
    """No row of the table is dead: each is the first to match some combination of facts; and some are left to precaution."""
    decided, left = by_rule()
    assert all([*decided, left])


def test_first_row_that_matches_decides() -> None:
    """What decides on a combination is the first row that takes it, and no row withholds: of many, and of all near shown."""
    decided, _ = by_rule()
    chance = Random(20251103)  # noqa: S311 - the same each time, and no secret
    near = [
        facts._replace(**{name: value})
        for facts in SHOWN
        for name, it in zip(Facts._fields, VALUES, strict=True)
        for value in it
    ]
    for facts in [*near, *(combination(chance.randrange(NUMBER)) for _ in range(5000))]:
        bit = 1 << sum(
            values.index(value) * prod(map(len, VALUES[position + 1 :]))
            for position, (values, value) in enumerate(zip(VALUES, facts, strict=True))
        )
        rule = next((rule for rule, found in zip(RULES, decided, strict=True) if found & bit), None)
        assert decide(facts) == ((rule.shown, rule.reason) if rule else (False, Reason.NOT_SETTLED))
        assert decide(facts).shown is (facts in SHOWN)


def test_showing_rows_state_every_fact() -> None:
    """A row shows an email or does not, and one that does leaves no fact open."""
    assert {type(rule.shown) for rule in RULES} == {bool}
    assert [rule.reason for rule in RULES if rule.shown] == [*SHOWN.values()]
    assert all(None not in rule for rule in RULES if rule.shown)


@pytest.mark.parametrize(
    "changes", [{"vat_number": None}, {"cvr_bankruptcy": True}, *({"cvr_form": form} for form in CvrForm)]
)
def test_cvr_is_not_read_for_who_may_not_be_in_it(changes: dict[str, Any]) -> None:
    """Where it is not known whether a Danish registrant is locked to CVR, nothing that CVR would say is the reason."""
    facts = facts_of(registrant(cvr_locked=None, **changes), IN_FORCE)
    assert decide(facts) == (False, Reason.NOT_SETTLED)


def test_words_of_the_reasons() -> None:
    """Logs, reports and `explain` quote a reason by a word that never changes: its name in small letters."""
    assert [*Reason] == [
        *("locked_to_cvr", "vat_registered", "vat_documented"),
        *("not_in_force", "data_too_old", "address_protection", "individual", "contradictory", "not_locked_to_cvr"),
        *(
            "no_cvr_number",
            "ceased_in_cvr",
            "not_in_cvr",
            "bankruptcy_estate",
            "sole_proprietorship",
            "small_business",
            "deceased_estate",
            "cvr_form_unstated",
        ),
        *("cvr_form_unknown", "foreign_sole_proprietorship", "no_vat_number", "wrong_vat_number", "vat_number_of_a_person"),
        *("vat_number_of_another_country", "vat_number_not_settled", "vat_number_not_registered", "vat_number_not_listed"),
        *("not_settled", "needs_utf_8"),
        *("not_asked", "no_registration", "deactivated", "id_not_confirmed", "never_shown"),
    ]
    assert [reason.name.lower() for reason in Reason] == [*Reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.LOCKED_TO_CVR),
        ({"kind": RegistrantKind.ASSOCIATION}, Reason.LOCKED_TO_CVR),
        ({"kind": RegistrantKind.PUBLIC_ORGANIZATION}, Reason.LOCKED_TO_CVR),
        ({"kind": RegistrantKind.INDIVIDUAL}, Reason.INDIVIDUAL),
        ({"kind": RegistrantKind.UNKNOWN}, Reason.NOT_SETTLED),
        ({"cvr_locked": False}, Reason.NOT_LOCKED_TO_CVR),
        ({"cvr_locked": None}, Reason.NOT_SETTLED),
        ({"vat_number": None}, Reason.NO_CVR_NUMBER),
        ({"vat_number": " "}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "n/a"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "under stiftelse 1"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "00000000"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "9900001"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "990000190"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "SE556000016701"}, Reason.NO_CVR_NUMBER),
        ({"vat_number": "DK99000019"}, Reason.LOCKED_TO_CVR),
        ({"vat_number": "DK 99000019 "}, Reason.LOCKED_TO_CVR),
        ({"cvr_bankruptcy": True}, Reason.BANKRUPTCY_ESTATE),
        ({"cvr_bankruptcy": None}, Reason.NOT_SETTLED),
        ({"cvr_form": CvrForm.SOLE_PROPRIETORSHIP}, Reason.SOLE_PROPRIETORSHIP),
        ({"cvr_form": CvrForm.SMALL_BUSINESS}, Reason.SMALL_BUSINESS),
        ({"cvr_form": CvrForm.DECEASED_ESTATE}, Reason.DECEASED_ESTATE),
        ({"cvr_form": CvrForm.UNSTATED}, Reason.CVR_FORM_UNSTATED),
        ({"cvr_form": CvrForm.UNKNOWN}, Reason.CVR_FORM_UNKNOWN),
        ({"cvr_form": CvrForm.NONE}, Reason.CVR_FORM_UNKNOWN),
        ({"sole_proprietorship": True}, Reason.CONTRADICTORY),
        ({"sole_proprietorship": None}, Reason.NOT_SETTLED),
        ({"address_protection": True}, Reason.ADDRESS_PROTECTION),
        ({"address_protection": None}, Reason.NOT_SETTLED),
        ({"country": None}, Reason.NOT_SETTLED),
        ({"country": ""}, Reason.NOT_SETTLED),
        ({"country": "dk"}, Reason.NOT_SETTLED),
        ({"country": " DK"}, Reason.NOT_SETTLED),
        ({"country": "DNK"}, Reason.NOT_SETTLED),
        ({"country": "SE"}, Reason.CONTRADICTORY),
        ({"cvr_standing": CvrStanding.CEASED}, Reason.CEASED_IN_CVR),
        ({"cvr_standing": CvrStanding.ABSENT}, Reason.NOT_IN_CVR),
        ({"cvr_standing": CvrStanding.UNKNOWN}, Reason.NOT_SETTLED),
        ({"documented": True}, Reason.NOT_SETTLED),
        ({"vat_listed": False}, Reason.LOCKED_TO_CVR),
    ],
)
def test_reasons_for_danish_registrants(changes: dict[str, Any], reason: Reason) -> None:
    """Each fact that departs from the Danish rule withholds the email, with a reason of its own."""
    assert publish_email(registrant(**changes), Charset.UTF_8, IN_FORCE)[1] is reason


ABROAD: dict[str, Any] = {"country": "SE", "vat_number": "SE556036079301", "cvr_locked": False, "cvr_form": CvrForm.NONE}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.VAT_REGISTERED),
        ({"vat_number": "556036-0793"}, Reason.VAT_REGISTERED),
        ({"kind": RegistrantKind.INDIVIDUAL}, Reason.INDIVIDUAL),
        ({"kind": RegistrantKind.INDIVIDUAL, "documented": True}, Reason.INDIVIDUAL),
        ({"vat_number": None}, Reason.NO_VAT_NUMBER),
        ({"vat_number": None, "documented": True}, Reason.NO_VAT_NUMBER),
        ({"vat_number": "\u00a0"}, Reason.NO_VAT_NUMBER),
        ({"vat_number": "none"}, Reason.NO_VAT_NUMBER),
        ({"vat_number": "SE556036079401"}, Reason.WRONG_VAT_NUMBER),
        ({"vat_number": "SE556036079401", "documented": True}, Reason.WRONG_VAT_NUMBER),
        ({"vat_number": "SE121212121201"}, Reason.VAT_NUMBER_OF_A_PERSON),
        ({"vat_number": "SE121212121201", "documented": True}, Reason.VAT_DOCUMENTED),
        ({"vat_number": "SE121212121201", "documented": None}, Reason.NOT_SETTLED),
        (
            {"vat_number": "SE121212121201", "documented": True, "sole_proprietorship": True},
            Reason.FOREIGN_SOLE_PROPRIETORSHIP,
        ),
        ({"vat_number": "DK13585628"}, Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY),
        ({"vat_number": "13585628"}, Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY),
        ({"vat_number": "13585628", "documented": True}, Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY),
        ({"country": "US", "vat_number": "12-3456789"}, Reason.VAT_NUMBER_NOT_SETTLED),
        ({"country": "US", "vat_number": "12-3456789", "documented": True}, Reason.VAT_DOCUMENTED),
        ({"vat_listed": True}, Reason.VAT_REGISTERED),
        ({"vat_listed": False}, Reason.VAT_NUMBER_NOT_REGISTERED),
        ({"vat_listed": False, "documented": True}, Reason.VAT_NUMBER_NOT_REGISTERED),
        pytest.param({"vat_listed": 0}, Reason.VAT_NUMBER_NOT_REGISTERED, marks=pytest.mark.plain),
        ({"vat_listed": False, "vat_number": None}, Reason.NO_VAT_NUMBER),
        ({"cvr_standing": CvrStanding.UNKNOWN}, Reason.NOT_SETTLED),
        ({"cvr_standing": CvrStanding.CEASED}, Reason.NOT_SETTLED),
        ({"documented": True}, Reason.VAT_REGISTERED),
        pytest.param({"documented": 1}, Reason.NOT_SETTLED, marks=pytest.mark.plain),
        ({"country": "ZZ"}, Reason.NOT_SETTLED),
        ({"country": "AA"}, Reason.NOT_SETTLED),
        ({"country": "QM"}, Reason.NOT_SETTLED),
        ({"country": "QN"}, Reason.NOT_SETTLED),
        ({"country": "QZ"}, Reason.NOT_SETTLED),
        ({"country": "XA"}, Reason.NOT_SETTLED),
        ({"country": "XX"}, Reason.NOT_SETTLED),
        ({"country": "XZ"}, Reason.NOT_SETTLED),
        ({"country": "DL"}, Reason.NOT_SETTLED),
        ({"country": "EU"}, Reason.NOT_SETTLED),
        ({"country": "UK"}, Reason.NOT_SETTLED),
        ({"country": "YU"}, Reason.NOT_SETTLED),
        ({"sole_proprietorship": True}, Reason.FOREIGN_SOLE_PROPRIETORSHIP),
        ({"sole_proprietorship": None}, Reason.NOT_SETTLED),
        ({"cvr_locked": True}, Reason.CONTRADICTORY),
        ({"cvr_bankruptcy": True}, Reason.CONTRADICTORY),
        ({"cvr_form": CvrForm.ORDINARY}, Reason.NOT_SETTLED),
        ({"cvr_form": CvrForm.SOLE_PROPRIETORSHIP}, Reason.NOT_SETTLED),
    ],
)
def test_reasons_for_registrants_abroad(changes: dict[str, Any], reason: Reason) -> None:
    """Each fact that departs from the rule for registrants abroad withholds the email, with a reason of its own."""
    assert publish_email(registrant(**(ABROAD | changes)), Charset.UTF_8, IN_FORCE)[1] is reason


def test_only_countries_that_there_are() -> None:
    """Of all pairs of letters the 249 that ISO 3166-1 assigns are countries, none withdrawn, reserved or left to users."""
    pairs = {"".join(pair) for pair in product(ascii_uppercase, repeat=2)}
    countries = {code for code in pairs if facts_of(registrant(country=code), IN_FORCE).country is not Country.MISSING}
    assert len(countries) == 249
    assert countries.isdisjoint(_codes("AC AN BU CP CQ CS DD DG EA EU EZ FX IC NT SF SU TA TP UK UN YU ZR"))
    assert countries.issuperset(_codes("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"))
    assert countries.issuperset(_codes("AX CH CN FO GB GG GI GL IM IN IS JE JP LI NO SJ TR UA US"))


def _codes(text: str) -> list[str]:
    return text.split()


def test_nothing_is_shown_before_the_rules_are_in_force() -> None:
    """Before entry into force a public email is withheld."""
    assert publish_email(registrant(), Charset.UTF_8, NOT_YET) == (Withheld(Reason.NOT_IN_FORCE), Reason.NOT_IN_FORCE)


def test_nothing_is_shown_by_data_that_is_too_old() -> None:
    """Where the data is older than the operator wants it a public email is withheld, and the rest is shown."""
    old = replace(IN_FORCE, fresh=False)
    section = publish_registrant(DomainStatus.ACTIVE, registrant(), show_handles=True, conditions=old, charset=Charset.UTF_8)
    assert verdict_of(section) == Verdict(shown=False, reason=Reason.DATA_TOO_OLD)
    assert isinstance(section, PublicRegistrant)
    assert section.name == "Eksempel ApS"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, Reason.VAT_NUMBER_NOT_LISTED),
        ({"vat_listed": True}, Reason.VAT_REGISTERED),
        ({"vat_listed": False}, Reason.VAT_NUMBER_NOT_REGISTERED),
        ({"documented": True}, Reason.VAT_NUMBER_NOT_LISTED),
        ({"vat_number": "SE121212121201", "documented": True}, Reason.VAT_NUMBER_NOT_LISTED),
        ({"vat_number": "SE121212121201", "documented": True, "vat_listed": True}, Reason.VAT_DOCUMENTED),
        ({"vat_number": "SE121212121201", "vat_listed": True}, Reason.VAT_NUMBER_OF_A_PERSON),
        ({"vat_number": None}, Reason.NO_VAT_NUMBER),
        ({"vat_number": "SE556036079401", "vat_listed": True}, Reason.WRONG_VAT_NUMBER),
    ],
)
def test_only_what_vies_lists(changes: dict[str, Any], reason: Reason) -> None:
    """Where the operator wants it, no VAT number publishes but one that VIES lists; a Danish registrant needs none."""
    listed = replace(IN_FORCE, listed_only=True)
    assert publish_email(registrant(**(ABROAD | changes)), Charset.UTF_8, listed)[1] is reason
    assert publish_email(registrant(), Charset.UTF_8, listed)[1] is Reason.LOCKED_TO_CVR


@pytest.mark.plain
def test_truth_takes_booleans_alone() -> None:
    """A fact that is no boolean, though Python calls it true or false, is not settled."""
    facts = facts_of(registrant(cvr_locked=1, cvr_bankruptcy=0, sole_proprietorship=""), IN_FORCE)
    assert (facts.locked, facts.bankrupt, facts.classified) == (Truth.UNKNOWN, Truth.UNKNOWN, Classification.UNKNOWN)


# --- which email, and in what form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primary", "secondary", "charset", "shown"),
    [
        ("p@a.example", "s@a.example", Charset.LATIN_1, "s@a.example"),
        ("p@a.example", None, Charset.LATIN_1, "p@a.example"),
        ("p@a.example", "", Charset.LATIN_1, "p@a.example"),
        ("p@a.example", " \u00a0 ", Charset.LATIN_1, "p@a.example"),
        ("p@smørrebrød.example", None, Charset.LATIN_1, "p@xn--smrrebrd-64af.example"),
        ("p@ŁÓDŹ.example", None, Charset.LATIN_1, "p@xn--d-uga0v4h.example"),
        ("p@A.Example", None, Charset.LATIN_1, "p@A.Example"),
        ("rødgrød@a.example", None, Charset.UTF_8, "rødgrød@a.example"),
        ("rødgrød@a.example", None, Charset.LATIN_1, Reason.NEEDS_UTF_8),
        ("łoś@a.example", None, Charset.LATIN_1, Reason.NEEDS_UTF_8),
        ("p@a.example", "no address", Charset.UTF_8, Reason.NOT_SETTLED),
        ("", None, Charset.UTF_8, Reason.NOT_SETTLED),
        (None, None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("@a.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a@b.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@M5-m.M5-m.EXAMPLE", None, Charset.LATIN_1, "p@M5-m.M5-m.EXAMPLE"),
        ("p@z.example:+4512345678", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example(P.Person)", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("P.Person(p)p@a.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("mailto:p@a.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example/q", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a_b.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.b_c", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("rød@grød_x.example", None, Charset.LATIN_1, Reason.NOT_SETTLED),
        ("p@a..example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example.", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@[192.0.2.1]", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@smørrebrød", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example,q@b.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example q@b.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@a.example\r\nDomain: free", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p\u202e@a.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
        ("p@\u2603.example", None, Charset.UTF_8, Reason.NOT_SETTLED),
    ],
)
def test_email_shown(primary: str | None, secondary: str | None, charset: Charset, shown: str | Reason) -> None:
    """The secondary email is shown or, where it is blank, the primary; its domain as A-labels; only if it is an address."""
    who = registrant(email=primary, secondary_email=secondary)
    expected = (Withheld(shown), shown) if isinstance(shown, Reason) else (shown, Reason.LOCKED_TO_CVR)
    assert publish_email(who, charset, IN_FORCE) == expected


@pytest.mark.parametrize("character", " \t\n\u00a0@,:;<>()\u202e")
@pytest.mark.parametrize("email", ["p{}q@a.example", "p@a{}b.example"])
def test_what_no_address_has(email: str, character: str) -> None:
    """What could make an address two, or part of something else, is in neither half of one that is shown."""
    assert publish_email(registrant(email=email.format(character)), Charset.UTF_8, IN_FORCE)[1] is Reason.NOT_SETTLED


# --- what is published ---------------------------------------------------------------------------------------------


def test_everything_else_is_published_as_it_is() -> None:
    """Of a domain and its registrant all is passed on as it is, but for the handle and the emails."""
    who = registrant(street=("Eksempelvej 1", "2. tv."), id_status=IdStatus.REGISTRAR, secondary_email="s@a.example")
    whole = replace(
        domain(who), delete_date=date(2027, 1, 14), period_years=5, vid=True, dnssec=True, registrar=Registrar(" A/S ")
    )
    public = publish(whole, show_handles=True, conditions=IN_FORCE, charset=Charset.UTF_8)
    assert public == PublicDomain(
        name=NAME,
        status=DomainStatus.ACTIVE,
        registered=date(2020, 1, 1),
        expires=date(2027, 1, 1),
        delete_date=date(2027, 1, 14),
        period_years=5,
        vid=True,
        dnssec=True,
        registrar=Registrar("A/S"),
        nameservers=("ns1.example.net", "ns2.example.net"),
        registrant=PublicRegistrant(
            handle=Withheld(Reason.NEVER_SHOWN),
            name="Eksempel ApS",
            street=("Eksempelvej 1", "2. tv."),
            postal_code="2300",
            city="København S",
            country="DK",
            phone="+45 00112233",
            email="s@a.example",
            email_reason=Reason.LOCKED_TO_CVR,
            id_status=IdStatus.REGISTRAR,
            kind=RegistrantKind.COMPANY,
        ),
    )


@pytest.mark.parametrize("blank", [None, "", " \u00a0"])
def test_what_is_not_given_is_none(blank: str | None) -> None:
    """A registrar and a phone that are absent or blank are published as none."""
    public = publish(
        replace(domain(registrant(phone=blank)), registrar=blank if blank is None else Registrar(blank)),
        show_handles=True,
        conditions=IN_FORCE,
        charset=Charset.UTF_8,
    )
    assert isinstance(public.registrant, PublicRegistrant)
    assert (public.registrar, public.registrant.phone) == (None, None)


@pytest.mark.parametrize(("protection", "reason"), [(True, Reason.ADDRESS_PROTECTION), (None, Reason.NOT_SETTLED)])
def test_protected_section(protection: bool | None, reason: Reason) -> None:
    """Of a protected registrant, and of one of whom that is not settled, every field is withheld, for one reason."""
    who = registrant(address_protection=protection, id_status=IdStatus.REGISTRAR)
    public = publish(domain(who), show_handles=True, conditions=IN_FORCE, charset=Charset.UTF_8)
    hidden = Withheld(reason)
    assert public.registrant == PublicRegistrant(
        Withheld(Reason.NEVER_SHOWN), hidden, hidden, hidden, hidden, hidden, hidden, hidden, reason, None, hidden
    )


WHOLE_REGISTRAR = Registrar(
    name="Registrar A/S",
    public=True,
    street=("Registrarvej 1",),
    postal_code="2300",
    city="København S",
    country="DK",
    phone="+45 00113322",
    url="https://registrar.example/da?x=1#y",
    email="kunder@registrar.example",
    abuse_email="misbrug@registrar.example",
)


def test_registrar_that_is_public() -> None:
    """Of a registrar whose contact is public all is published as it is."""
    assert publish_registrar(WHOLE_REGISTRAR) == WHOLE_REGISTRAR


@pytest.mark.parametrize("public", [False, pytest.param(None, marks=pytest.mark.plain)])
def test_registrar_that_is_not_public(public: Any) -> None:
    """Of any other registrar the name and the abuse contact are published, and nothing else."""
    published = publish_registrar(replace(WHOLE_REGISTRAR, public=public))
    assert published == Registrar("Registrar A/S", abuse_email="misbrug@registrar.example")


@pytest.mark.parametrize("url", ["javascript:alert(1)", 'https://a.example/"x', "https://a b", "//a.example", " ", None])
def test_registrar_url_that_is_none(url: str | None) -> None:
    """What a page could not link to without harm is no URL."""
    published = publish_registrar(replace(WHOLE_REGISTRAR, url=url, email="no address", abuse_email=" "))
    assert published
    assert (published.url, published.email, published.abuse_email) == (None, None, None)


# --- all combinations --------------------------------------------------------------------------------------------

FORMS = [*CvrForm]
NUMBERS = {"DK": "DK99990019", "SE": "SE556036079301"}
SECRETS: dict[str, Any] = {
    "name": "NAME-TOKEN",
    "street": ("STREET-TOKEN",),
    "postal_code": "POSTCODE-TOKEN",
    "city": "CITY-TOKEN",
    "phone": "PHONE-TOKEN",
    "email": "primary@token.example",
}
PERSONAL = ("NAME-TOKEN", "STREET-TOKEN", "POSTCODE-TOKEN", "CITY-TOKEN", "PHONE-TOKEN", *NUMBERS.values(), "@token.example")


def expected_email(who: Registrant) -> str | None:
    """The rules in the words of the law, not of the table: the email to show, or None."""
    if who.kind is RegistrantKind.INDIVIDUAL or who.address_protection:
        return None
    if who.country == "DK":
        exempt = who.cvr_form is not CvrForm.ORDINARY or who.cvr_bankruptcy
        public = who.cvr_locked and who.vat_number and not exempt and not who.sole_proprietorship
    else:
        known_to_cvr = who.cvr_locked or who.cvr_bankruptcy or who.cvr_form is not CvrForm.NONE
        public = who.vat_number and not who.sole_proprietorship and not known_to_cvr
    secondary = (who.secondary_email or "").strip()
    return (secondary or who.email) if public else None


@pytest.mark.parametrize("status", DomainStatus)
@pytest.mark.parametrize("show_handles", [False, True])
def test_all_combinations(status: DomainStatus, show_handles: bool) -> None:
    """Whatever the facts: the email that the rules name, or none; and no withheld value in the answer or in any repr."""
    axes = product(
        [kind for kind in RegistrantKind if kind is not RegistrantKind.UNKNOWN],
        ["DK", "SE"],
        [False, True],
        FORMS,
        [False, True],
        [True, False],
        [False, True],
        [False, True],
        [False, True],
        ["secondary@token.example", "", None],
    )
    fields = ["kind", "country", "cvr_locked", "cvr_form", "cvr_bankruptcy", "vat_number", "sole_proprietorship"]
    fields += ["address_protection", "id_confirmed", "secondary_email"]
    for values in axes:
        facts = SECRETS | dict(zip(fields, values, strict=True))
        facts["vat_number"] = NUMBERS[facts["country"]] if facts["vat_number"] else None
        who = registrant(**facts, id_status=IdStatus.ELECTRONIC_ID)
        public = publish(domain(who, status), show_handles=show_handles, conditions=IN_FORCE, charset=Charset.LATIN_1)
        body = render_domain(public, omit_withheld_email=False)
        seen = encode(body, Charset.LATIN_1).decode("iso-8859-1") + repr(public) + repr(who) + repr(domain(who))
        section = show_handles and status in (DomainStatus.ACTIVE, DomainStatus.RESERVED) and who.id_confirmed
        email = expected_email(who) if section else None
        allowed = {token for token in PERSONAL[:5] if section and not who.address_protection}
        assert ("Registrant\n" in body) is bool(section)
        assert f"Email:                {email or REDACTED}\n" in body or not section
        seen = seen.replace(email, "") if email else seen
        assert [token for token in PERSONAL if token in seen] == [token for token in PERSONAL if token in allowed]
        assert ("ID status" in body) is bool(section and not who.address_protection)


def test_protected_registrant_is_withheld_whole() -> None:
    """Under name and address protection every field reads withheld, given or not, and there is no ID status."""
    given = registrant(kind=RegistrantKind.INDIVIDUAL, address_protection=True, id_status=IdStatus.ELECTRONIC_ID)
    bare = registrant(kind=RegistrantKind.INDIVIDUAL, address_protection=True, phone=None, street=(), city=None)
    sections = [
        publish(domain(who), show_handles=True, conditions=IN_FORCE, charset=Charset.UTF_8).registrant
        for who in (given, bare)
    ]
    assert sections[0] == sections[1]
    assert isinstance(sections[0], PublicRegistrant)
    hidden = Withheld(Reason.ADDRESS_PROTECTION)
    assert sections[0].name == sections[0].phone == sections[0].email == hidden
    assert sections[0].id_status is None


@pytest.mark.parametrize(
    ("changes", "status", "show_handles", "reason"),
    [
        ({}, DomainStatus.ACTIVE, False, Reason.NOT_ASKED),
        ({}, DomainStatus.DEACTIVATED, True, Reason.DEACTIVATED),
        ({"id_confirmed": False}, DomainStatus.ACTIVE, True, Reason.ID_NOT_CONFIRMED),
        ({"id_confirmed": None}, DomainStatus.ACTIVE, True, Reason.ID_NOT_CONFIRMED),
        ({}, DomainStatus.OFFERED_TO_WAITING_LIST, True, Reason.NO_REGISTRATION),
        ({}, DomainStatus.OFFERED_TO_WAITING_LIST, False, Reason.NO_REGISTRATION),
    ],
)
def test_section_left_out(
    changes: dict[str, Any],
    status: DomainStatus,
    show_handles: bool,
    reason: Reason,
) -> None:
    """The Registrant section is left out unless asked for, active or reserved, and confirmed; the reason says which."""
    who = registrant(**changes)
    public = publish(domain(who, status), show_handles=show_handles, conditions=IN_FORCE, charset=Charset.UTF_8)
    assert public.registrant == Withheld(reason)


# --- the verdict on an answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", DomainStatus)
@pytest.mark.parametrize("changes", [{}, {"kind": RegistrantKind.INDIVIDUAL}, {"id_confirmed": False}, {"email": "none"}])
@pytest.mark.parametrize("conditions", [IN_FORCE, NOT_YET])
def test_shown_is_what_the_answer_shows(status: DomainStatus, changes: dict[str, Any], conditions: Conditions) -> None:
    """The verdict on an answer is that the email is shown when the answer has it, and withheld when it has not."""
    about = domain(registrant(**changes), status)
    public = publish(about, show_handles=True, conditions=conditions, charset=Charset.UTF_8)
    body = render_domain(public, omit_withheld_email=False)
    shown = "Email: " in body and f"Email:                {REDACTED}" not in body
    assert verdict_of(public.registrant).shown is shown


def test_protection_that_is_not_settled_comes_first() -> None:
    """Where it is not known whether a registrant is protected, that is the reason, also before the rules."""
    who = registrant(address_protection=None)
    section = publish_registrant(DomainStatus.ACTIVE, who, show_handles=True, conditions=NOT_YET, charset=Charset.UTF_8)
    assert verdict_of(section) == Verdict(shown=False, reason=Reason.NOT_SETTLED)


def test_left_out_section_is_a_withheld_email() -> None:
    """An answer without a Registrant section withholds the email, for the reason why it has none."""
    assert verdict_of(Withheld(Reason.DEACTIVATED)) == Verdict(shown=False, reason=Reason.DEACTIVATED)


@pytest.mark.parametrize(
    ("max_age", "age", "fresh"),
    [
        (None, None, True),
        (None, 1e9, True),
        (60.0, 0.0, True),
        (60.0, 60.0, True),
        (60.0, 60.1, False),
        (60.0, -60.1, False),
        (60.0, None, False),
        (60.0, float("nan"), False),
        (60.0, float("inf"), False),
        (60.0, float("-inf"), False),
    ],
)
def test_age(max_age: float | None, age: float | None, fresh: bool) -> None:
    """Data is fresh up to the age that the operator allows; of an age that is not known, or odd, it is not."""
    conditions = Conditions(in_force=True, fresh=True, listed_only=False, max_age=max_age)
    assert conditions.for_age(age).fresh is fresh
    assert not replace(conditions, fresh=False).for_age(age).fresh
