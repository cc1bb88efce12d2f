"""What may leave the process: what an answer shows, in the words of the registry's rules; and who else may say what.

Written from the rules, and from what the manual promises; it knows the records of a registry file and the answers' fields,
and calls nothing of the product.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from leaks.registry import COUNTRIES, Field, Person

# --- answers ---------------------------------------------------------------------------------------------------------

# The CVR company forms that are none of the exempt ones, and neither unstated nor unknown.
_ORDINARY: Final = {
    *(30, 40, 45, 50, 60, 70, 80, 81, 90, 100, 110, 115, 130, 140, 150, 151, 152, 160, 170, 180, 190, 195, 196, 200, 210),
    *(220, 230, 235, 240, 245, 250, 260, 280, 285, 290, 291, 520, 540),
}


class Question(NamedTuple):
    """Which domain of whom is asked for, how, and whether the rules have entered into force by then."""

    person: Person
    status: str = "active"
    show_handles: bool = True
    utf_8: bool = True
    in_force: bool = True

    @property
    def domain(self) -> str:
        """The domain's token."""
        return self.person.domains[self.status]


def visible(question: Question) -> set[str]:
    """The tokens that the answer shows: these, and no others."""
    tokens = question.person.tokens
    texts = [*_section(question)] if question.show_handles and question.status in ("active", "reserved") else []
    return {question.domain} | {token for token in tokens if any(token.lower() in text.lower() for text in texts)}


def _section(question: Question) -> Iterator[str]:
    """The values of the Registrant section."""
    record = question.person.record
    if record["address_protection"] or not record["id_confirmed"]:
        return
    yield from (record["name"], *record["street"], record["postal_code"], record["city"], record["phone"])
    if record["country"] in COUNTRIES:
        yield record["country"]
    secondary = (record.get("secondary_email") or "").strip()
    email = secondary or record["email"]
    local, at, _ = email.partition("@")
    if question.in_force and at and (local.isascii() or question.utf_8) and _is_public(record):
        yield email


def _is_public(record: Mapping[str, Any]) -> bool:
    """The two rules: locked to CVR and not exempt there; abroad, with an organisation's VAT number, and not classified."""
    if record["kind"] == "individual":
        return False
    number = (record["vat_number"] or "").strip()
    has_number = number[-1:].isdigit()
    if record["country"] == "DK":
        listed = record["cvr_locked"] and has_number
        return bool(listed and record["cvr_form"] in _ORDINARY and not record["cvr_bankruptcy"])
    # What only CVR knows of a Danish registrant contradicts a country abroad.
    contradictory = record["cvr_bankruptcy"] or record["cvr_form"] is not None
    return _is_slovak_organisations(number) and not record["sole_proprietorship"] and not contradictory


def _is_slovak_organisations(number: str) -> bool:
    """Ten digits that divide by 11, as an organisation has: a person's begin with 1 or 3. The other country has no VAT."""
    digits = number.removeprefix("SK")
    return digits.isdigit() and len(digits) == 10 and int(digits) % 11 == 0 and digits[0] not in "13"


# --- all other ways --------------------------------------------------------------------------------------------------


class Way(StrEnum):
    """By what something leaves the process."""

    ANSWER = "an answer"
    LOG = "the log, which `query` writes too"
    HTTP = "metrics and health checks"
    SYSTEMD = "what systemd is told"
    SOURCES = "the file of rates and bans"
    EXPLAIN = "whoisd explain"
    LOAD = "whoisd load, check, migrate, bans, report, portal convert, serve's refusals"
    REGISTRANT = "whoisd registrant"
    PORTAL = "whoisd portal affected, contacted and take-over"
    PROBE = "whoisd probe"
    AUDIT = "the audit trail"


# Which tokens may leave by each way, by the field that they stand in, and only when whoever reads it has them already: they
# were asked for or typed, or name an object of the portal. Nothing else may, whatever happens.
MAY_HOLD: Final[Mapping[Way, frozenset[Field]]] = {
    # The handle is never shown, and of the VAT number nothing is said.
    Way.ANSWER: frozenset({*Field} - {Field.HANDLE, Field.VAT_NUMBER}),
    # "What was asked": the name, as a client asks for a domain, or for a handle, which no query finds.
    Way.LOG: frozenset({Field.DOMAIN, Field.HANDLE}),
    Way.HTTP: frozenset(),  # "No label holds an address, a domain name or anything personal"
    Way.SYSTEMD: frozenset(),
    Way.SOURCES: frozenset(),
    Way.EXPLAIN: frozenset({Field.DOMAIN}),  # "no value of a registrant"
    Way.LOAD: frozenset({Field.HANDLE}),  # whose decision it meets, who would be public; no value
    Way.REGISTRANT: frozenset({Field.HANDLE}),  # "prints no value of a registrant": it repeats the handle that was typed
    Way.PORTAL: frozenset({Field.HANDLE, Field.DOMAIN}),  # the objects on which linked users hold roles
    Way.PROBE: frozenset({Field.DOMAIN, Field.EMAIL}),  # "never quotes an answer", but the texts that it is to look for
    Way.AUDIT: frozenset({Field.HANDLE, Field.DOMAIN}),  # what was changed
}
