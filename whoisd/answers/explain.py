"""Why an answer shows what it shows: each of its fields with its reason, and the facts that decided on the email.

For operators and support, whose tickets are passed around: no value of a registrant is in the text, shown or withheld. What
is said comes from `publish`, as the server calls it, and from `Facts`, which are enumerations; nothing below `explain` is
handed a `Registrant`. Of one under name and address protection nothing is said but that: not even which rule would
otherwise have matched, nor whether a field is given. Where the whole Registrant section is left out, the facts are too: they
would tell the country. Knows no setting but the moment of entry into force.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from whoisd.answers.disclosure import (
    ANY,
    RULES,
    Classification,
    Conditions,
    Country,
    Facts,
    Party,
    PublicDomain,
    PublicRegistrant,
    Reason,
    Rule,
    Truth,
    Withheld,
    deciding_rule,
    facts_of,
    publish,
    publish_registrant,
)
from whoisd.answers.model import CvrForm, CvrStanding, Domain, DomainStatus, Host, Registrant
from whoisd.answers.response import STATUS
from whoisd.answers.vat import Number
from whoisd.answers.wire import Charset

# --- The words ---------------------------------------------------------------------------------------------------

# What an answer does with a field: its line has the value, DATA REDACTED (or is left out, where the operator wants that),
# or ***N/A***; or there is no line.
SHOWN: Final = "shown"
WITHHELD: Final = "withheld"
NOT_GIVEN: Final = "not given"
LEFT_OUT: Final = "left out"

# Every reason in plain English.
SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.LOCKED_TO_CVR: "The registrant is Danish, listed in and locked to CVR, and in no category that is withheld.",
    Reason.VAT_REGISTERED: "The registrant is abroad, has a VAT number, and is no sole proprietorship.",
    Reason.VAT_DOCUMENTED: "The registrant is abroad, and staff have seen that it is no sole proprietorship.",
    Reason.NOT_IN_FORCE: "The rules that make emails public are not yet in force.",
    Reason.DATA_TOO_OLD: "The data is older than database.max_age allows, or its age is not known.",
    Reason.ADDRESS_PROTECTION: "The registrant has name and address protection: every field is withheld.",
    Reason.INDIVIDUAL: "The registrant is a private individual, whose email is withheld whatever else is known.",
    Reason.CONTRADICTORY: "The facts contradict each other: Danish and foreign ones are mixed, and precaution withholds.",
    Reason.NOT_LOCKED_TO_CVR: "The registrant is Danish, and not locked to CVR.",
    Reason.NO_CVR_NUMBER: "The registrant is said to be locked to CVR, and the data has no CVR number of 8 digits.",
    Reason.CEASED_IN_CVR: "The registrant is said to be locked to CVR, where the company has ceased.",
    Reason.NOT_IN_CVR: "The registrant is said to be locked to CVR, which has no company of this number.",
    Reason.BANKRUPTCY_ESTATE: "CVR has the registrant as a bankruptcy estate under trustee administration.",
    Reason.SOLE_PROPRIETORSHIP: "CVR has the registrant as a sole proprietorship (Enkeltmandsvirksomhed).",
    Reason.SMALL_BUSINESS: "CVR has the registrant as a small business (Personligt ejet mindre virksomhed).",
    Reason.DECEASED_ESTATE: "CVR has the registrant as a deceased estate (Dødsbo).",
    Reason.CVR_FORM_UNSTATED: "CVR does not state the registrant's company form (Uoplyst virksomhedsform).",
    Reason.CVR_FORM_UNKNOWN: "The registrant's CVR company form is missing, or not one that our table lists.",
    Reason.FOREIGN_SOLE_PROPRIETORSHIP: "The registrant is abroad, and classified as a sole proprietorship.",
    Reason.NO_VAT_NUMBER: "The registrant is abroad, and the data has no VAT number, or something else in its place.",
    Reason.WRONG_VAT_NUMBER: "The registrant is abroad, and the VAT number is wrong by the rules of its country.",
    Reason.VAT_NUMBER_OF_A_PERSON: "The VAT number is one that persons have; documentation can show that none has it.",
    Reason.VAT_NUMBER_OF_ANOTHER_COUNTRY: "The VAT number is one of another country than the registrant's.",
    Reason.VAT_NUMBER_NOT_SETTLED: "Nothing tells whether this is a registered VAT number; documentation can show it.",
    Reason.VAT_NUMBER_NOT_REGISTERED: "VIES, the register of VAT numbers of the EU, answered that it has no such number.",
    Reason.VAT_NUMBER_NOT_LISTED: "The operator publishes by numbers that VIES lists alone, and this is none that it did.",
    Reason.NOT_SETTLED: "The data does not settle whether it may be shown, and precaution withholds.",
    Reason.NEEDS_UTF_8: "The part before the @ is not ASCII: it is shown in an answer in UTF-8, and in no other.",
    Reason.NOT_ASKED: "A query without --show-handles is answered without the Registrant section.",
    Reason.NO_REGISTRATION: "The domain is offered to a waiting list: there is no registration, and no registrant.",
    Reason.DEACTIVATED: "The domain is suspended, and the registrant of a suspended domain is not shown.",
    Reason.ID_NOT_CONFIRMED: "The registrant's identity is not confirmed, or the data does not say that it is.",
    Reason.NEVER_SHOWN: "Handles are never shown.",
}
NO_ADDRESS: Final = "There is no email, or what stands in its place is not an address."

_YES_NO: Final[Mapping[str, str]] = {Truth.YES: "yes", Truth.NO: "no", Truth.UNKNOWN: "the data does not say"}


class FactWords(NamedTuple):
    """What a fact is called, and each of its values."""

    label: str
    values: Mapping[str, str]


# By the names of `Facts`, in their order.
FACTS: Final[Mapping[str, FactWords]] = {
    "in_force": FactWords("Rules in force", {Truth.YES: "yes", Truth.NO: "not yet", Truth.UNKNOWN: "not known"}),
    "fresh": FactWords("Data young enough", {Truth.YES: "yes", Truth.NO: "no", Truth.UNKNOWN: "not known"}),
    "protected": FactWords("Name and address protection", _YES_NO),
    "party": FactWords(
        "Kind of registrant",
        {
            Party.ORGANISATION: "an organisation: company, association or public body",
            Party.INDIVIDUAL: "a private individual",
            Party.UNKNOWN: "the data does not say",
        },
    ),
    "country": FactWords(
        "Rule by country",
        {
            Country.DANISH: "for Danish registrants",
            Country.FOREIGN: "for registrants abroad",
            Country.MISSING: "neither: the country is missing, or does not exist",
        },
    ),
    "locked": FactWords("Listed in and locked to CVR", _YES_NO),
    "number": FactWords(
        "CVR number or, abroad, VAT number",
        {
            Number.NONE: "none, or something else in its place",
            Number.RIGHT: "right, as far as it tells",
            Number.WRONG: "wrong by the rules of its country",
            Number.PERSONS: "right, and a person's",
            Number.ANOTHERS: "one of another country",
            Number.UNSETTLED: "not settled",
            Number.UNREGISTERED: "not registered, by VIES",
            Number.UNLISTED: "not one that VIES has listed",
        },
    ),
    "cvr": FactWords(
        "The lock, by CVR's own data",
        {
            CvrStanding.HELD: "nothing against it, or no such data",
            CvrStanding.CEASED: "the company has ceased",
            CvrStanding.ABSENT: "there is no such company",
            CvrStanding.UNKNOWN: "the data does not say",
        },
    ),
    "bankrupt": FactWords("Bankruptcy estate in CVR", _YES_NO),
    "form": FactWords(
        "CVR company form",
        {
            CvrForm.NONE: "none",
            CvrForm.ORDINARY: "an ordinary one",
            CvrForm.SOLE_PROPRIETORSHIP: "sole proprietorship",
            CvrForm.SMALL_BUSINESS: "personally owned small business",
            CvrForm.DECEASED_ESTATE: "deceased estate",
            CvrForm.UNSTATED: "unstated in CVR",
            CvrForm.UNKNOWN: "not one that our table lists",
        },
    ),
    "classified": FactWords(
        "Classified as a sole proprietorship",
        {
            Classification.YES: "yes",
            Classification.NO: "no: staff have seen documentation",
            Classification.NONE: "by nobody",
            Classification.UNKNOWN: "the data does not say",
        },
    ),
}

# Why the glue of a host is or is not spooled, by whether it is and whether the host is under .dk.
GLUE: Final[Mapping[tuple[bool, bool], str]] = {
    (True, True): "The host serves {domain}, the very domain that it is a child of, and that domain is active.",
    (False, True): "The host does not serve {domain}, the very domain that it is a child of, or that domain is not active.",
    (False, False): "Glue is spooled for hosts under .dk alone.",
    (True, False): "The data says so, though glue is spooled for hosts under .dk alone: the view whois.host is at fault.",
}


class Field(NamedTuple):
    """One field of an answer: what becomes of it, and why."""

    label: str
    answer: str
    reason: str


_HEAD: Final = Field("Field", "Answer", "Reason")
_DECIDED: Final = "\nWhat decided on the email\n\n"


# --- The whole ---------------------------------------------------------------------------------------------------


def explain(domain: Domain, *, now: datetime, in_force_from: datetime, conditions: Conditions, charset: Charset) -> str:
    """Explain the answer to `--charset=CHARSET --show-handles NAME` at `now`: text for a terminal, with plain newlines.

    Both times are aware; the conditions are those of `now`. The text holds no value of the registrant.
    """
    conditions = conditions.for_age(domain.data_age)
    public = publish(domain, show_handles=True, conditions=conditions, charset=charset)
    facts = facts_of(domain.registrant, conditions)
    return (
        f"Domain {public.name.unicode}, DNS {public.name.ascii}, status {STATUS[public.status]}\n"
        f"As answered at {now.isoformat()} to: --charset={charset} --show-handles {public.name.ascii}\n"
        + _force(in_force_from, in_force=conditions.in_force)
        + _registrant_part(public.registrant)
        + "\n"
        + columns([_HEAD, *_domain_fields(public), *_registrant_fields(public.registrant), _nameservers(public)])
        + _DECIDED
        + _email_part(public.registrant, facts)
    )


def explain_registrant(
    registrant: Registrant, *, now: datetime, in_force_from: datetime, conditions: Conditions, charset: Charset
) -> str:
    """Explain what the answer about an active domain of a registrant shows of them: a part of what `explain` says of one."""
    section = publish_registrant(DomainStatus.ACTIVE, registrant, show_handles=True, conditions=conditions, charset=charset)
    return (
        f"As answered at {now.isoformat()} about an active domain of theirs, with --charset={charset} --show-handles\n"
        + _force(in_force_from, in_force=conditions.in_force)
        + _registrant_part(section)
        + "\n"
        + columns([_HEAD, *_registrant_fields(section)])
        + _DECIDED
        + _email_part(section, facts_of(registrant, conditions))
    )


def of_when_cvr_is(cvr_age: float | None, now: datetime) -> str:
    """Return of which day CVR's own data is that was read last, by its age in seconds; nothing where none was read."""
    return "" if cvr_age is None else f"\nCVR's own data is of {(now - timedelta(seconds=cvr_age)).date()}.\n"


def explain_host(host: Host) -> str:
    """Explain the answer about a name server host: what it shows, and why its glue is or is not being spooled."""
    labels = host.name.unicode.split(".")
    why = GLUE[host.glue, labels[-1] == "dk"].format(domain=".".join(labels[-2:]))
    return (
        f"Host {host.name.unicode}, DNS {host.name.ascii}\n\n"
        + columns([_HEAD, Field("Nameserver", SHOWN, "public"), Field("Glue", SHOWN, "public")])
        + f"\nGlue: {'being spooled' if host.glue else 'not being spooled'}\n{why}\n"
        + "Who administers a host is not disclosed.\n"
    )


def _force(in_force_from: datetime, *, in_force: bool) -> str:
    """Return since when the rules are in force, or from when on they will be."""
    force = "in force since" if in_force else "not yet in force: they will be from"
    return f"The rules on emails are {force} {in_force_from.isoformat()}\n\n"


def columns(rows: Iterable[tuple[str, ...]]) -> str:
    """Return the rows as lines, each column as wide as its widest cell."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


# --- The fields --------------------------------------------------------------------------------------------------


def _registrant_part(section: PublicRegistrant | Withheld) -> str:
    """Return whether there is a Registrant section, and for which queries."""
    if isinstance(section, Withheld):
        either = f"No Registrant section, with --show-handles or without: {section.reason}\n"
        return either + SENTENCES[section.reason] + "\n"
    return f"With --show-handles there is a Registrant section. Without: {Reason.NOT_ASKED}\n{SENTENCES[Reason.NOT_ASKED]}\n"


def _domain_fields(domain: PublicDomain) -> list[Field]:
    """Return the fields of the domain, in the answer's order (`response._domain_section`, `_waiting_list_section`)."""
    offered = domain.status is DomainStatus.OFFERED_TO_WAITING_LIST
    return [
        Field("Domain", SHOWN, "public"),
        Field("DNS", SHOWN, "public"),
        _always("Registered", given=domain.registered is not None, offered=offered),
        _always("Expires", given=domain.expires is not None, offered=offered),
        _if_given("Registrar", "under registrant management", given=domain.registrar is not None, offered=offered),
        _if_given("Delete date", "none is set", given=domain.delete_date is not None, offered=offered),
        _always("Registration period", given=bool(domain.period_years), offered=offered),
        _always("VID", given=True, offered=offered),
        _always("DNSSEC", given=True, offered=offered),
        Field("Status", SHOWN, "public"),
    ]


def _nameservers(domain: PublicDomain) -> Field:
    offered = domain.status is DomainStatus.OFFERED_TO_WAITING_LIST
    return _if_given("Nameservers", "the domain has none", given=bool(domain.nameservers), offered=offered)


def _always(label: str, *, given: bool, offered: bool) -> Field:
    """Return a field of the domain whose line is always there."""
    if offered:
        return Field(label, NOT_GIVEN, Reason.NO_REGISTRATION)
    return Field(label, SHOWN, "public") if given else Field(label, NOT_GIVEN, "the data has none")


def _if_given(label: str, otherwise: str, *, given: bool, offered: bool) -> Field:
    """Return a field of the domain whose line is there when there is something to show."""
    if offered:
        return Field(label, LEFT_OUT, Reason.NO_REGISTRATION)
    return Field(label, SHOWN, "public") if given else Field(label, LEFT_OUT, otherwise)


def _registrant_fields(who: PublicRegistrant | Withheld) -> list[Field]:
    """Return the Registrant section and its fields, in the answer's order (`response._registrant_section`)."""
    labels = ("Handle", "Name", "Address", "Postalcode", "City", "Country", "Phone", "Email", "ID status")
    if isinstance(who, Withheld):
        return [Field(label, LEFT_OUT, who.reason) for label in ("Registrant section", *labels)]
    lines = (who.handle, who.name, who.address, who.postal_code, who.city, who.country)
    return [
        Field("Registrant section", SHOWN, "asked for with --show-handles"),
        *(_personal(label, value, NOT_GIVEN) for label, value in zip(labels, lines, strict=False)),
        _personal("Phone", who.phone, LEFT_OUT),
        Field("Email", WITHHELD if isinstance(who.email, Withheld) else SHOWN, who.email_reason),
        # Under protection the line is left out whether there is an ID status or not: it is withheld like the name.
        _personal("ID status", who.name if isinstance(who.name, Withheld) else who.id_status, LEFT_OUT),
    ]


def _personal(label: str, value: str | Withheld | None, otherwise: str) -> Field:
    """Return a field of the registrant, with nothing of its value but whether there is one to show."""
    if isinstance(value, Withheld):
        return Field(label, WITHHELD, value.reason)
    if value is None or not value.strip():
        return Field(label, otherwise, "the data has none")
    return Field(label, SHOWN, "asked for with --show-handles")


# --- The email ---------------------------------------------------------------------------------------------------


def _email_part(section: PublicRegistrant | Withheld, facts: Facts) -> str:
    """Return what decided on the email or, where the Registrant section is left out, what would."""
    if section == Withheld(Reason.NO_REGISTRATION):
        return "There is no registrant, and so no email to decide on.\n"
    if isinstance(section, Withheld):
        return _would_be(facts)
    if facts.protected is not Truth.NO:
        return f"{_protected(section.email_reason)}\n{_protected_table(facts.protected)}"
    rule = deciding_rule(facts)
    return f"{_verdict(section.email_reason, rule)}\n{_fact_table(facts, rule)}"


def _would_be(facts: Facts) -> str:
    """Return what the rules would decide, were there a Registrant section; no fact, for they would tell its country."""
    if facts.protected is Truth.NO:
        decided = _by_rule(deciding_rule(facts))
    else:
        decided = _protected(Reason.ADDRESS_PROTECTION if facts.protected is Truth.YES else Reason.NOT_SETTLED)
    proviso = "It would have to be an address, and fit for the answer's charset.\n" if decided.startswith(SHOWN) else ""
    return (
        "Without --show-handles the section is never there, and no email with it.\n"
        f"With --show-handles, were the section there, the email would be {decided}{proviso}"
    )


def _protected(reason: Reason) -> str:
    """Return the verdict on a registrant under name and address protection, or of whom that is not settled.

    `publish` decides on such a registrant before it comes to the rules, so that no other rule may be named here.
    """
    number = next((f" ({_number(rule)})" for rule in RULES if rule.reason is reason), "")
    return f"{WITHHELD}: {reason}{number}\n{SENTENCES[reason]}\n"


def _protected_table(protected: Truth) -> str:
    words = FACTS["protected"]
    return (
        columns([("Fact", "Value"), (words.label, words.values[protected])]) + "\nNo other fact decides, and none is told.\n"
    )


def _verdict(email_reason: Reason, rule: Rule | None) -> str:
    """Return what was decided on the email: by the rules or, where they show it, by what its text is."""
    by_rule = _by_rule(rule)
    if email_reason is (rule.reason if rule else Reason.NOT_SETTLED):
        return by_rule
    why = NO_ADDRESS if email_reason is Reason.NOT_SETTLED else SENTENCES[email_reason]
    return f"{WITHHELD}: {email_reason}\n{why}\n\nBy the rules alone it would be {by_rule}"


def _by_rule(rule: Rule | None) -> str:
    """Return what a rule decides, and in a sentence why; no rule withholds."""
    if rule is None:
        return f"{WITHHELD}: {Reason.NOT_SETTLED} (no rule matches)\n{SENTENCES[Reason.NOT_SETTLED]}\n"
    return f"{SHOWN if rule.shown else WITHHELD}: {rule.reason} ({_number(rule)})\n{SENTENCES[rule.reason]}\n"


def _number(rule: Rule) -> str:
    """Return which rule it is, counted from 1 in the order of the table and of its print in the manual."""
    return f"rule {RULES.index(rule) + 1} of {len(RULES)}"


def _fact_table(facts: Facts, rule: Rule | None) -> str:
    """Return every fact in words, which of them the rule looks at, and what those in the way would have to be."""
    wanted = _wanted(facts)
    rows = [
        (
            "*" if rule and getattr(rule, name) is not ANY else "",
            words.label,
            words.values[getattr(facts, name)],
            wanted.get(name, ""),
        )
        for name, words in FACTS.items()
    ]
    table = columns([("", "Fact", "Value", "Would have to be" if wanted else ""), *rows])
    return table + ("\n* what this rule looks at\n" if rule else "")


def _wanted(facts: Facts) -> dict[str, str]:
    """Return what the facts that are in the way would have to be, by the nearest showing rule of the country."""
    ways = [_differences(rule, facts) for rule in RULES if rule.shown and rule.country is facts.country]
    return min(ways, key=len, default={"country": "one of the two"})


def _differences(rule: Rule, facts: Facts) -> dict[str, str]:
    """Return the values of a rule, in words, where the facts have others."""
    return {
        name: words.values[getattr(rule, name)]
        for name, words in FACTS.items()
        if getattr(rule, name) is not getattr(facts, name)
    }
