"""Which of what we know may be shown: the NIS2 email rules as one table, and `publish`, which holds them.

`publish` turns a `Domain` (all we know) into a `PublicDomain` (what anyone may see). A value that is withheld is not in
it: `Withheld(reason)` stands in its place, so that nothing downstream can leak what it never had.

The rules, in force since 3 November 2025, 14:00 CET: the email of a Danish registrant is public when the registrant is
listed in and locked to the Central Business Register (CVR) and is no sole proprietorship, personally owned small
business, deceased estate or bankruptcy estate; that of any other when it has a registered VAT number and is not
classified as a sole proprietorship. A VAT number that tells that a person has it counts as one of a sole proprietorship,
unless staff have seen documentation that it is none. Individuals are withheld whatever else is known. Precaution breaks
every tie: what the data does not settle is withheld.
"""

import re
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cache
from typing import Final, NamedTuple

from whoisd.answers.model import CvrForm, CvrStanding, Domain, DomainStatus, IdStatus, Registrant, RegistrantKind, Registrar
from whoisd.answers.names import DomainName, ascii_domain
from whoisd.answers.vat import Number, is_cvr_form, judge
from whoisd.answers.wire import Charset
from whoisd.errors import InvalidName


class Reason(StrEnum):
    """Why a value is shown or withheld. Logs, reports and `explain` quote these words: they are never changed."""

    # An email is shown
    LOCKED_TO_CVR = "locked_to_cvr"
    VAT_REGISTERED = "vat_registered"
    VAT_DOCUMENTED = "vat_documented"
    # An email is withheld
    NOT_IN_FORCE = "not_in_force"
    DATA_TOO_OLD = "data_too_old"
    ADDRESS_PROTECTION = "address_protection"
    INDIVIDUAL = "individual"
    CONTRADICTORY = "contradictory"
    NOT_LOCKED_TO_CVR = "not_locked_to_cvr"
    NO_CVR_NUMBER = "no_cvr_number"
    CEASED_IN_CVR = "ceased_in_cvr"
    NOT_IN_CVR = "not_in_cvr"
    BANKRUPTCY_ESTATE = "bankruptcy_estate"
    SOLE_PROPRIETORSHIP = "sole_proprietorship"
    SMALL_BUSINESS = "small_business"
    DECEASED_ESTATE = "deceased_estate"
    CVR_FORM_UNSTATED = "cvr_form_unstated"
    CVR_FORM_UNKNOWN = "cvr_form_unknown"
    FOREIGN_SOLE_PROPRIETORSHIP = "foreign_sole_proprietorship"
    NO_VAT_NUMBER = "no_vat_number"
    WRONG_VAT_NUMBER = "wrong_vat_number"
    VAT_NUMBER_OF_A_PERSON = "vat_number_of_a_person"
    VAT_NUMBER_OF_ANOTHER_COUNTRY = "vat_number_of_another_country"
    VAT_NUMBER_NOT_SETTLED = "vat_number_not_settled"
    VAT_NUMBER_NOT_REGISTERED = "vat_number_not_registered"
    VAT_NUMBER_NOT_LISTED = "vat_number_not_listed"
    NOT_SETTLED = "not_settled"
    NEEDS_UTF_8 = "needs_utf_8"
    # The whole Registrant section is left out
    NOT_ASKED = "not_asked"
    NO_REGISTRATION = "no_registration"
    DEACTIVATED = "deactivated"
    ID_NOT_CONFIRMED = "id_not_confirmed"
    # A field is never shown
    NEVER_SHOWN = "never_shown"


@dataclass(slots=True, unsafe_hash=True)
class Withheld:
    """Stands where a value would, and says why it does not."""

    reason: Final[Reason]

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


# --- The rules ---------------------------------------------------------------------------------------------------


class Truth(StrEnum):
    """A fact that is yes or no, or that the data does not settle."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Party(StrEnum):
    """Whom the rules are about."""

    ORGANISATION = "organisation"
    INDIVIDUAL = "individual"
    UNKNOWN = "unknown"


class Country(StrEnum):
    """Which of the two rules applies."""

    DANISH = "Danish"
    FOREIGN = "foreign"
    MISSING = "missing"


class Classification(StrEnum):
    """Whether a registrant is a sole proprietorship, by whoever classified it. That a file says no documents nothing."""

    YES = "yes"
    NO = "no"  # staff have seen documentation
    NONE = "none"  # nobody has classified it
    UNKNOWN = "unknown"


class Facts(NamedTuple):
    """What the rules look at, and all that they look at. `number` is the CVR number or, abroad, the VAT number."""

    in_force: Truth
    fresh: Truth
    protected: Truth
    party: Party
    country: Country
    locked: Truth
    number: Number
    cvr: CvrStanding
    bankrupt: Truth
    form: CvrForm
    classified: Classification


class Rule(NamedTuple):
    """One row of the table: a value for each fact, or ANY; whether the email is shown; and the reason."""

    in_force: Truth | None
    fresh: Truth | None
    protected: Truth | None
    party: Party | None
    country: Country | None
    locked: Truth | None
    number: Number | None
    cvr: CvrStanding | None
    bankrupt: Truth | None
    form: CvrForm | None
    classified: Classification | None
    shown: bool
    reason: Reason

    def matches(self, facts: Facts) -> bool:
        """Whether each fact is the row's value, or the row takes any."""
        return all(want is ANY or want is fact for want, fact in zip(self, facts, strict=False))


ANY: Final = None
YES, NO = Truth.YES, Truth.NO
ORG, PERSON = Party.ORGANISATION, Party.INDIVIDUAL
DK, ABROAD = Country.DANISH, Country.FOREIGN
HELD = CvrStanding.HELD
SOLE, DOCUMENTED, OPEN = Classification.YES, Classification.NO, Classification.NONE
SHOW, HIDE = True, False

# Read from the top: the first row that matches decides. No match withholds (`not_settled`). The rows that show an email state
# every fact, so that they hold wherever they stand in the table.
# fmt: off
RULES: Final = (
    #    force fresh prot. party   country locked number               CVR                  bankr. form                         classified  shown  reason
    Rule(ANY,  ANY,  YES,  ANY,    ANY,    ANY,   ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.ADDRESS_PROTECTION),
    Rule(NO,   ANY,  ANY,  ANY,    ANY,    ANY,   ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.NOT_IN_FORCE),
    Rule(ANY,  NO,   ANY,  ANY,    ANY,    ANY,   ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.DATA_TOO_OLD),
    Rule(ANY,  ANY,  ANY,  PERSON, ANY,    ANY,   ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.INDIVIDUAL),
    # Danish registrants: CVR decides
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     ANY,   ANY,                 ANY,                 ANY,   ANY,                         SOLE,       HIDE, Reason.CONTRADICTORY),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     NO,    ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.NOT_LOCKED_TO_CVR),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   Number.NONE,         ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.NO_CVR_NUMBER),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 CvrStanding.CEASED,  ANY,   ANY,                         ANY,        HIDE, Reason.CEASED_IN_CVR),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 CvrStanding.ABSENT,  ANY,   ANY,                         ANY,        HIDE, Reason.NOT_IN_CVR),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 YES,   ANY,                         ANY,        HIDE, Reason.BANKRUPTCY_ESTATE),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.SOLE_PROPRIETORSHIP, ANY,        HIDE, Reason.SOLE_PROPRIETORSHIP),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.SMALL_BUSINESS,      ANY,        HIDE, Reason.SMALL_BUSINESS),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.DECEASED_ESTATE,     ANY,        HIDE, Reason.DECEASED_ESTATE),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.UNSTATED,            ANY,        HIDE, Reason.CVR_FORM_UNSTATED),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.UNKNOWN,             ANY,        HIDE, Reason.CVR_FORM_UNKNOWN),
    Rule(ANY,  ANY,  ANY,  ANY,    DK,     YES,   ANY,                 ANY,                 ANY,   CvrForm.NONE,                ANY,        HIDE, Reason.CVR_FORM_UNKNOWN),
    Rule(YES,  YES,  NO,   ORG,    DK,     YES,   Number.RIGHT,        HELD,                NO,    CvrForm.ORDINARY,            OPEN,       SHOW, Reason.LOCKED_TO_CVR),
    # Registrants abroad: the VAT number and the classification decide
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, YES,   ANY,                 ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.CONTRADICTORY),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   ANY,                 ANY,                 YES,   ANY,                         ANY,        HIDE, Reason.CONTRADICTORY),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   ANY,                 ANY,                 ANY,   ANY,                         SOLE,       HIDE, Reason.FOREIGN_SOLE_PROPRIETORSHIP),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.NONE,         ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.NO_VAT_NUMBER),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.WRONG,        ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.WRONG_VAT_NUMBER),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.ANOTHERS,     ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.UNREGISTERED, ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.VAT_NUMBER_NOT_REGISTERED),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.UNLISTED,     ANY,                 ANY,   ANY,                         ANY,        HIDE, Reason.VAT_NUMBER_NOT_LISTED),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.PERSONS,      ANY,                 ANY,   ANY,                         OPEN,       HIDE, Reason.VAT_NUMBER_OF_A_PERSON),
    Rule(ANY,  ANY,  ANY,  ANY,    ABROAD, ANY,   Number.UNSETTLED,    ANY,                 ANY,   ANY,                         OPEN,       HIDE, Reason.VAT_NUMBER_NOT_SETTLED),
    Rule(YES,  YES,  NO,   ORG,    ABROAD, NO,    Number.RIGHT,        HELD,                NO,    CvrForm.NONE,                OPEN,       SHOW, Reason.VAT_REGISTERED),
    Rule(YES,  YES,  NO,   ORG,    ABROAD, NO,    Number.RIGHT,        HELD,                NO,    CvrForm.NONE,                DOCUMENTED, SHOW, Reason.VAT_REGISTERED),
    Rule(YES,  YES,  NO,   ORG,    ABROAD, NO,    Number.PERSONS,      HELD,                NO,    CvrForm.NONE,                DOCUMENTED, SHOW, Reason.VAT_DOCUMENTED),
    Rule(YES,  YES,  NO,   ORG,    ABROAD, NO,    Number.UNSETTLED,    HELD,                NO,    CvrForm.NONE,                DOCUMENTED, SHOW, Reason.VAT_DOCUMENTED),
)
# fmt: on


class Verdict(NamedTuple):
    """Whether an email is shown, and why."""

    shown: bool
    reason: Reason


@cache  # of a pure function of facts, of which there are few combinations in a registry; no answer and no value is kept
def decide(facts: Facts) -> Verdict:
    """Apply the rules: the first row that matches the facts decides, and no match withholds."""
    rule = deciding_rule(facts)
    return Verdict(rule.shown, rule.reason) if rule else Verdict(HIDE, Reason.NOT_SETTLED)


def deciding_rule(facts: Facts) -> Rule | None:
    """Return the row of the table that decides, the first that matches; None where none does."""
    return next((rule for rule in RULES if rule.matches(facts)), None)


# --- What the rules look at --------------------------------------------------------------------------------------

# The codes that ISO 3166-1 alpha-2 assigns. Any other names no country that there is: one left to users (ZZ is "unknown" to
# many), withdrawn (YU), kept for what is no country (EU), or a slip of the pen for DK, where CVR would decide.
COUNTRIES: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - 249 strings, each in its quotes, are not read as well
)
_TRUTH = {True: YES, False: NO}
_PARTY = {
    RegistrantKind.COMPANY: ORG,
    RegistrantKind.PUBLIC_ORGANIZATION: ORG,
    RegistrantKind.ASSOCIATION: ORG,
    RegistrantKind.INDIVIDUAL: PERSON,
}
# By whether it is classified as a sole proprietorship, and whether staff have seen documentation that it is none.
_CLASSIFICATION = {
    (True, True): SOLE,
    (True, False): SOLE,
    (True, None): SOLE,
    (False, True): DOCUMENTED,
    (False, False): OPEN,
}
# What a number is that may be shown as far as its text tells.
_HOPEFUL = frozenset({Number.RIGHT, Number.PERSONS, Number.UNSETTLED})


@dataclass(slots=True, unsafe_hash=True)
class Conditions:
    """What the rules look at besides the registrant: of the moment, and of the settings.

    `in_force` is whether the email rules have entered into force, `fresh` whether the data is as young as the operator
    wants it; `listed_only`, whether no VAT number publishes but one that VIES lists. `max_age` is how old, in seconds, what is
    shown may be; `publish` sees to it, so that no protocol can forget.
    """

    in_force: Final[bool]
    fresh: Final[bool]
    listed_only: Final[bool]
    max_age: Final[float | None]

    def __init__(self, in_force: bool, fresh: bool, listed_only: bool, max_age: float | None = None) -> None:
        self.in_force = in_force
        self.fresh = fresh
        self.listed_only = listed_only
        self.max_age = max_age

    def for_age(self, age: float | None) -> "Conditions":
        """Return the conditions for data of an age, in seconds. One that is not known, or of a clock far ahead, is too old."""
        if self.max_age is None:
            return self
        is_young = age is not None and -self.max_age <= age <= self.max_age
        return replace(self, fresh=self.fresh and is_young)


def facts_of(registrant: Registrant, conditions: Conditions) -> Facts:
    """Return the facts of a registrant; whatever is missing or odd becomes a value that no showing rule takes."""
    in_force, fresh = _TRUTH[conditions.in_force], _TRUTH[conditions.fresh]
    protected = _truth(registrant.address_protection)
    party = _PARTY.get(registrant.kind, Party.UNKNOWN)
    country = _country(registrant.country)
    locked = _truth(registrant.cvr_locked)
    number = _number(registrant, country, listed_only=conditions.listed_only)
    cvr, form = registrant.cvr_standing, registrant.cvr_form
    bankrupt = _truth(registrant.cvr_bankruptcy)
    classified = _classification(registrant.sole_proprietorship, registrant.documented)
    # By position: by their names a named tuple is made in three times the time.
    return Facts(in_force, fresh, protected, party, country, locked, number, cvr, bankrupt, form, classified)


def _truth(value: object) -> Truth:
    return YES if value is True else NO if value is False else Truth.UNKNOWN


def _classification(sole_proprietorship: object, documented: object) -> Classification:
    if isinstance(sole_proprietorship, bool) and (documented is None or isinstance(documented, bool)):
        return _CLASSIFICATION.get((sole_proprietorship, documented), Classification.UNKNOWN)
    return Classification.UNKNOWN


def _number(registrant: Registrant, country: Country, *, listed_only: bool) -> Number:
    """Return what the CVR number or, abroad, the VAT number is: by its text, and by what VIES said of it.

    A number that VIES does not know publishes nothing, whatever staff have seen; nor does one that it was not asked about,
    where the operator wants it asked.
    """
    text = _given(registrant.vat_number)
    if country is DK:
        return Number.RIGHT if is_cvr_form(text) else Number.NONE
    number = judge(text, registrant.country or "")
    if number not in _HOPEFUL or registrant.vat_listed is True:
        return number
    if registrant.vat_listed is None:
        return Number.UNLISTED if listed_only else number
    return Number.UNREGISTERED


def _country(code: str | None) -> Country:
    if code not in COUNTRIES:
        return Country.MISSING
    return DK if code == "DK" else ABROAD


# --- What anyone may see -----------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class PublicRegistrant:
    """The Registrant section: a value, `Withheld`, or None for one that is not given."""

    handle: Final[Withheld]
    name: Final[str | Withheld | None]
    street: Final[tuple[str, ...] | Withheld]
    postal_code: Final[str | Withheld | None]
    city: Final[str | Withheld | None]
    country: Final[str | Withheld | None]
    phone: Final[str | Withheld | None]
    email: Final[str | Withheld]
    email_reason: Final[Reason]
    id_status: Final[IdStatus | None]
    kind: Final[RegistrantKind | Withheld]

    def __init__(
        self,
        handle: Withheld,
        name: str | Withheld | None,
        street: tuple[str, ...] | Withheld,
        postal_code: str | Withheld | None,
        city: str | Withheld | None,
        country: str | Withheld | None,
        phone: str | Withheld | None,
        email: str | Withheld,
        email_reason: Reason,
        id_status: IdStatus | None,
        kind: RegistrantKind | Withheld,
    ) -> None:
        self.handle = handle
        self.name = name
        self.street = street
        self.postal_code = postal_code
        self.city = city
        self.country = country
        self.phone = phone
        self.email = email
        self.email_reason = email_reason
        self.id_status = id_status
        self.kind = kind

    @property
    def address(self) -> str | Withheld:
        """The lines of the street as one."""
        return self.street if isinstance(self.street, Withheld) else ", ".join(self.street)


@dataclass(slots=True, unsafe_hash=True)
class PublicDomain:
    """What anyone may see of a domain. Made by `publish` alone; the renderer takes nothing else."""

    name: Final[DomainName]
    status: Final[DomainStatus]
    registered: Final[date | None]
    expires: Final[date | None]
    delete_date: Final[date | None]
    period_years: Final[int | None]
    vid: Final[bool]
    dnssec: Final[bool]
    registrar: Final[Registrar | None]
    nameservers: Final[tuple[str, ...]]
    registrant: Final[PublicRegistrant | Withheld]

    def __init__(
        self,
        name: DomainName,
        status: DomainStatus,
        registered: date | None,
        expires: date | None,
        delete_date: date | None,
        period_years: int | None,
        vid: bool,
        dnssec: bool,
        registrar: Registrar | None,
        nameservers: tuple[str, ...],
        registrant: PublicRegistrant | Withheld,
    ) -> None:
        self.name = name
        self.status = status
        self.registered = registered
        self.expires = expires
        self.delete_date = delete_date
        self.period_years = period_years
        self.vid = vid
        self.dnssec = dnssec
        self.registrar = registrar
        self.nameservers = nameservers
        self.registrant = registrant


def publish(domain: Domain, *, show_handles: bool, conditions: Conditions, charset: Charset) -> PublicDomain:
    """Reduce all we know of a domain to what the answer to this query may show.

    `charset` is the answer's, because an email whose local part is not ASCII is shown in UTF-8 only: replaced by question
    marks it would be somebody else's.
    """
    conditions = conditions.for_age(domain.data_age)
    return PublicDomain(
        name=domain.name,
        status=domain.status,
        registered=domain.registered,
        expires=domain.expires,
        delete_date=domain.delete_date,
        period_years=domain.period_years,
        vid=domain.vid,
        dnssec=domain.dnssec,
        registrar=publish_registrar(domain.registrar),
        nameservers=domain.nameservers,
        registrant=publish_registrant(
            domain.status, domain.registrant, show_handles=show_handles, conditions=conditions, charset=charset
        ),
    )


def publish_registrar(registrar: Registrar | None) -> Registrar | None:
    """Return what anyone may see of a registrar: its name, its abuse contact and, where that is public, the rest."""
    if registrar is None or not (name := _given(registrar.name)):
        return None
    abuse_email = _address(_given(registrar.abuse_email))
    if registrar.public is not True:
        return Registrar(name, abuse_email=abuse_email)
    return replace(
        registrar,
        name=name,
        phone=_given(registrar.phone) or None,
        url=_url(_given(registrar.url)),
        email=_address(_given(registrar.email)),
        abuse_email=abuse_email,
    )


def publish_registrant(
    status: DomainStatus, registrant: Registrant, *, show_handles: bool, conditions: Conditions, charset: Charset
) -> PublicRegistrant | Withheld:
    """Reduce all we know of the registrant of a domain to the Registrant section, or to why there is none.

    `publish` makes its answers of this, and the report counts what this returns: the two cannot differ.
    """
    left_out = _why_no_registrant(status, registrant, show_handles=show_handles)
    return Withheld(left_out) if left_out else _registrant_section(registrant, charset, conditions)


def verdict_of(section: PublicRegistrant | Withheld) -> Verdict:
    """Return what an answer with this in the place of its Registrant section says of the email."""
    if isinstance(section, Withheld):
        return Verdict(shown=False, reason=section.reason)
    return Verdict(shown=not isinstance(section.email, Withheld), reason=section.email_reason)


def _why_no_registrant(status: DomainStatus, registrant: Registrant, *, show_handles: bool) -> Reason | None:
    """Return why the answer has no Registrant section, or None when it has one."""
    if status is DomainStatus.OFFERED_TO_WAITING_LIST:
        return Reason.NO_REGISTRATION
    if not show_handles:
        return Reason.NOT_ASKED
    if status is DomainStatus.DEACTIVATED:
        return Reason.DEACTIVATED
    if registrant.id_confirmed is not True:
        return Reason.ID_NOT_CONFIRMED
    return None


_NEVER: Final = Withheld(Reason.NEVER_SHOWN)


def _registrant_section(registrant: Registrant, charset: Charset, conditions: Conditions) -> PublicRegistrant:
    if registrant.address_protection is not False:
        # Name and address protection, or data that does not say: no field is shown, nor whether it is given.
        hidden = Withheld(Reason.ADDRESS_PROTECTION if registrant.address_protection else Reason.NOT_SETTLED)
        return PublicRegistrant(_NEVER, hidden, hidden, hidden, hidden, hidden, hidden, hidden, hidden.reason, None, hidden)
    email, reason = publish_email(registrant, charset, conditions)
    return PublicRegistrant(
        handle=_NEVER,
        name=registrant.name,
        street=registrant.street,
        postal_code=registrant.postal_code,
        city=registrant.city,
        country=registrant.country,
        phone=_given(registrant.phone) or None,
        email=email,
        email_reason=reason,
        id_status=registrant.id_status,
        kind=registrant.kind,
    )


def publish_email(registrant: Registrant, charset: Charset, conditions: Conditions) -> tuple[str | Withheld, Reason]:
    """Return the email to show (the secondary or, where none is given, the primary) or `Withheld`, and the reason.

    The domain part is shown in A-label form. A text that is no address is withheld: what it is, is not settled.
    """
    shown, reason = decide(facts_of(registrant, conditions))
    if not shown:
        return Withheld(reason), reason
    address = _address(_given(registrant.secondary_email) or _given(registrant.email))
    if address is None:
        return Withheld(Reason.NOT_SETTLED), Reason.NOT_SETTLED
    if charset is not Charset.UTF_8 and not address.isascii():
        return Withheld(Reason.NEEDS_UTF_8), Reason.NEEDS_UTF_8
    return address, reason


# A local part and a domain (RFC 5321, 4.1.2), and nothing that could make them two addresses, or part of something else: a
# name, a remark, a telephone number.
_LOCAL_PART = re.compile(r"[^\s,:;<>()]+")
_MAIL_DOMAIN = re.compile("[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+")
# What a page may link to: of no other scheme, and with nothing in it that ends an attribute.
_URL = re.compile(r"""https?://[^\s"'<>\\^`{|}]+""")


def _address(email: str) -> str | None:
    """Return an email with its domain as A-labels, or None for a text that is no one address."""
    local, _, domain = email.partition("@")
    if not _LOCAL_PART.fullmatch(local) or not local.isprintable():
        return None
    try:
        domain = ascii_domain(domain)
    except InvalidName:
        return None
    return f"{local}@{domain}" if _MAIL_DOMAIN.fullmatch(domain) else None


def _url(text: str) -> str | None:
    """Return a URL of the web, or None for any other text."""
    return text if _URL.fullmatch(text) and text.isprintable() else None


def _given(value: str | None) -> str:
    return (value or "").strip()
