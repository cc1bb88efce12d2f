"""A registry in which every personal field of every registrant is a token that is nowhere else.

A token is twelve random letters (in some fields one of them is a letter of ours that ASCII lacks), or the digits of a
number of valid form; a country is a code that no text of ours has. Knows which combinations of facts a registry file can
hold; knows nothing of what may be shown.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle, product
from typing import Any, Final, NamedTuple

SEED: Final = 20251103
STATUSES: Final = ("active", "deactivated", "reserved")
COUNTRIES: Final = ("SK", "VU")  # one whose VAT numbers tell who has them, and one that has no VAT
FORMS: Final = (80, 10, 15, 20, 990, 999, None)  # an ordinary one, each exempt one, unstated, unknown, none
REGISTRAR, OTHER_REGISTRAR, STAFF, LINKED, USER = "REG-1", "REG-2", "anna", "LINKED-1", "USER-1"
WAITING: Final = "venteliste.dk"
HOSTS: Final = ("ns1.navneserver.example", "ns2.navneserver.example")


class Field(StrEnum):
    """What a token stands in."""

    NAME = "name"
    STREET = "street"
    POSTAL_CODE = "postal code"
    CITY = "city"
    COUNTRY = "country"
    PHONE = "phone"
    EMAIL = "email"
    SECONDARY_EMAIL = "secondary email"
    VAT_NUMBER = "VAT number"
    HANDLE = "handle"
    DOMAIN = "domain"  # a name is public, but not everywhere


class Emails(StrEnum):
    """What the two emails of a registrant are."""

    PRIMARY = "a primary one alone"
    SECONDARY = "both"
    BLANK = "a blank secondary one"
    LETTERS = "a local part that is not ASCII"
    MAIL_DOMAIN = "a domain that is not ASCII"
    REMARK = "a secondary one that is no address"


# Which are shown in every answer where the facts make them public: where one is not shown, it is for the facts.
FIT: Final = (Emails.PRIMARY, Emails.SECONDARY, Emails.BLANK, Emails.MAIL_DOMAIN)


class Number(StrEnum):
    """What a registrant has for a CVR or VAT number."""

    NONE = "none"
    RIGHT = "a right one of an organisation, or of whoever CVR has"
    WRONG = "one whose last digit is wrong"
    PERSONS = "a person's"
    ANOTHERS = "a Danish one, of a registrant abroad"
    UNSETTLED = "one of a country that has no VAT"


class Facts(NamedTuple):
    """What the rules look at, as a registry file has it."""

    kind: str = "company"
    danish: bool = True
    cvr_locked: bool = True
    cvr_form: int | None = 80
    cvr_bankruptcy: bool = False
    number: Number = Number.RIGHT
    sole_proprietorship: bool = False
    address_protection: bool = False
    id_confirmed: bool = True

    @property
    def possible(self) -> bool:
        """Whether a load takes them."""
        impossible = self.cvr_locked and not self.danish, self.sole_proprietorship and self.danish
        danish_number = self.danish and self.number not in (Number.RIGHT, Number.NONE)
        return not any(impossible) and not danish_number and (self.kind == "individual" or not self.address_protection)


DANISH: Final = Facts()
ABROAD: Final = Facts(danish=False, cvr_locked=False, cvr_form=None)
_BOTH: Final = (False, True)
_VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "kind": ("company", "public_organization", "association", "individual"),
    "danish": _BOTH,
    "cvr_locked": _BOTH,
    "cvr_form": FORMS,
    **dict.fromkeys(Facts._fields[4:], _BOTH),
    "number": (Number.RIGHT, Number.NONE),  # the others only of those who differ in nothing else
}


def one_fact_off() -> Iterator[tuple[Facts, Emails]]:
    """Those whose emails are public, with all kinds of emails; and those who differ from them in a single fact."""
    emails = cycle(FIT)
    for public in (DANISH, ABROAD):
        for kind in Emails:
            yield public, kind
        for name, values in _VALUES.items():
            for value in values:
                if (facts := public._replace(**{name: value})) != public and facts.possible:
                    yield facts, next(emails)
    for number in Number:
        yield ABROAD._replace(number=number), Emails.PRIMARY
    for danish in (True, False):
        yield Facts(kind="individual", danish=danish, cvr_locked=danish, address_protection=True), next(emails)


def everyone() -> Iterator[tuple[Facts, Emails]]:
    """Every combination of facts that a load takes, CVR forms with codes of all sorts, and those above."""
    emails = cycle(FIT)
    yield from one_fact_off()
    for code in (*range(10, 300, 5), 81, 151):
        yield DANISH._replace(cvr_form=code), Emails.PRIMARY
    for facts in map(Facts._make, product(*_VALUES.values())):
        if facts.possible:
            yield facts, next(emails)


@dataclass(frozen=True)
class Person:
    """A registrant: the record, which field each of its tokens stands in, and a domain for each status, by its token."""

    record: Mapping[str, Any]
    tokens: Mapping[str, Field]
    domains: Mapping[str, str]

    @property
    def handle(self) -> str:
        return str(self.record["handle"])

    def domain(self, status: str = "active") -> str:
        """The name of the domain that has this status, as U-labels."""
        return f"{self.domains[status]}.dk"

    def token(self, of: Field) -> str:
        """The first token in a field."""
        return next(token for token, where in self.tokens.items() if where is of)

    def lines(self) -> Iterator[bytes]:
        """The registrant and the domains as a registry file has them."""
        yield line(self.record)
        for status in self.domains:
            yield line(domain_record(self.domain(status), status, self.handle))


def line(record: Mapping[str, Any]) -> bytes:
    """A line of a registry file."""
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def domain_record(name: str, status: str, registrant: str) -> dict[str, Any]:
    days = {"registered": "2020-01-01", "expires": "2030-01-01", "period_years": 1}
    whose = {"registrar": REGISTRAR, "registrant": registrant, "nameservers": HOSTS}
    return {"type": "domain", "name": name, "status": status, **days, **whose}


class _Mint:
    """Makes tokens, none of them twice."""

    def __init__(self) -> None:
        self._random = random.Random(SEED)  # noqa: S311 - the same each time, and no secret
        self._made: set[str] = set()

    def _new(self, token: str) -> str | None:
        if token in self._made:
            return None
        self._made.add(token)
        return token

    def letters(self, *, odd: bool = False) -> str:
        letters = self._random.choices("bcdfghjklmnpqrstvwxz", k=12)
        if odd:
            letters[self._random.randrange(1, 11)] = self._random.choice("æøåöäüé")
        return self._new("".join(letters)) or self.letters(odd=odd)

    def digits(self, count: int) -> str:
        return self._new(str(self._random.randrange(10 ** (count - 1), 10**count))) or self.digits(count)

    def slovak_number(self, first: str, *, wrong: bool = False) -> str:
        """Ten digits that divide by 11, or do not, and begin as those of organisations or of persons do."""
        number = int(f"{first}{self._random.randrange(10)}2{self._random.randrange(10**7):07}")
        number -= number % 11
        return self._new(str(number + wrong)) or self.slovak_number(first, wrong=wrong)

    def cvr_number(self) -> str:
        """Eight digits of which the last is right (modulus 11)."""
        first = f"{self._random.randrange(1_000_000, 10_000_000)}"
        check = -sum(int(digit) * weight for digit, weight in zip(first, (2, 7, 6, 5, 4, 3, 2), strict=True)) % 11
        return (self._new(f"{first}{check}") if check < 10 else None) or self.cvr_number()


@dataclass
class Registry:
    """Registrants in which tokens are planted; `spare` are not in the file, but in those that tests load in trouble."""

    people: list[Person]
    spare: list[Person]
    fields: dict[str, Field] = field(init=False)

    def __post_init__(self) -> None:
        everybody = self.people + self.spare
        self.fields = {token: where for person in everybody for token, where in person.tokens.items()}
        self.fields |= {token: Field.DOMAIN for person in everybody for token in person.domains.values()}

    def tokens(self, *fields: Field) -> set[str]:
        """All tokens that stand in one of these fields."""
        return {token for token, where in self.fields.items() if where in fields}

    def file(self) -> bytes:
        """The registry file: everybody, a waiting list, and a portal whose linked users hold roles on the first two."""
        first, second = self.people[:2]
        others: list[Mapping[str, Any]] = [
            {"type": "registrar", "handle": REGISTRAR, "name": "Første Registrator A/S"},
            {"type": "registrar", "handle": OTHER_REGISTRAR, "name": "Anden Registrator ApS"},
            {"type": "staff", "name": STAFF},
            {"type": "portal_user", "handle": USER, "account": REGISTRAR, "roles": ["registrar"]},
            {"type": "portal_user", "handle": LINKED, "account": REGISTRAR, "linked": True, "roles": ["proxy"]},
            {"type": "object_role", "holder": LINKED, "role": "proxy", "object": f"registrant:{first.handle}"},
            {"type": "object_role", "holder": LINKED, "role": "registrant", "object": f"domain:{second.domain()}"},
            {"type": "domain", "name": WAITING, "status": "offered_to_waiting_list"},
        ]
        return b"".join([*map(line, others), *(it for person in self.people for it in person.lines())])


def plant(combinations: Iterable[tuple[Facts, Emails]]) -> Registry:
    """Make a registry with a registrant for each of these, and two to spare."""
    mint = _Mint()
    people = [_person(mint, number, *both) for number, both in enumerate(combinations)]
    return Registry(people, [_person(mint, number, DANISH, Emails.SECONDARY) for number in range(2)])


def _person(mint: _Mint, number: int, facts: Facts, emails: Emails) -> Person:
    odd = number % 2 == 0
    name, *street, postal_code, city, handle = (mint.letters(odd=odd and it < 6) for it in range(7))
    phone = mint.digits(12)
    tokens = dict.fromkeys(street, Field.STREET)
    tokens |= {name: Field.NAME, postal_code: Field.POSTAL_CODE, city: Field.CITY, handle: Field.HANDLE, phone: Field.PHONE}
    country = "DK" if facts.danish else COUNTRIES[facts.number is Number.UNSETTLED]
    if not facts.danish:
        tokens[country] = Field.COUNTRY
    given = facts._asdict()
    del given["danish"], given["number"]
    record = {
        "type": "registrant", "handle": handle.upper(), "name": f"{name.capitalize()} & Søn", "country": country,
        "street": [f"{street[0]}vej 1", f"c/o {street[1].upper()}", street[2]], "postal_code": postal_code, "city": city,
        "phone": f"+883 {phone}", "id_status": "documentation", **given,
    }  # fmt: skip
    for key, value, of in (*_emails(mint, emails), _number(mint, number, facts, country)):
        record[key] = value
        tokens |= dict.fromkeys(_tokens_in(value), of)
    return Person(record, tokens, {status: mint.letters(odd=odd) for status in STATUSES})


def _tokens_in(value: str | None) -> list[str]:
    """The tokens in an email or a number: what is left of it without its marks and its other words, which are short."""
    parts = (value or "").replace("@", " ").replace(".example", " ").split()
    return [part.lstrip("".join(COUNTRIES)) for part in parts if len(part) > len("følger:")]


def _emails(mint: _Mint, emails: Emails) -> Iterator[tuple[str, str, Field]]:
    local, mail_domain = mint.letters(odd=emails is Emails.LETTERS), mint.letters(odd=emails is Emails.MAIL_DOMAIN)
    yield "email", f"{local}@{mail_domain}.example", Field.EMAIL
    if emails is Emails.SECONDARY:
        yield "secondary_email", f"{mint.letters()}@{mint.letters()}.example", Field.SECONDARY_EMAIL
    elif emails is Emails.REMARK:
        yield "secondary_email", f"følger: {mint.letters()}", Field.SECONDARY_EMAIL
    elif emails is Emails.BLANK:
        yield "secondary_email", " ", Field.SECONDARY_EMAIL


def _number(mint: _Mint, number: int, facts: Facts, country: str) -> tuple[str, str | None, Field]:
    if facts.number is not Number.NONE:
        return "vat_number", _given_number(mint, facts, country), Field.VAT_NUMBER
    # Locked to CVR without a number, or with a remark in its place: the latter only where a load takes it.
    remark = f"søgt {mint.letters()}" if number % 3 and not facts.cvr_locked else None
    return "vat_number", remark, Field.VAT_NUMBER


def _given_number(mint: _Mint, facts: Facts, country: str) -> str:
    if facts.danish or facts.number is Number.ANOTHERS:
        return mint.cvr_number()
    if facts.number is Number.UNSETTLED:
        return f"{country}{mint.digits(11)}"
    first = "1" if facts.number is Number.PERSONS else "2"
    return f"{country}{mint.slovak_number(first, wrong=facts.number is Number.WRONG)}"
