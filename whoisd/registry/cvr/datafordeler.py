"""The rows of CVR's files at Datafordeleren (file download, CVR v2) to claims about companies. Pure.

A file has one entity, which its name tells, and a row for each value that something has in a period. Rows of `Virksomhed`
have the CVR number, and the others refer to them by `CVREnhedsId`. Every row has a period of effect (`virkningFra`,
`virkningTil`) and one of registration: a row whose registration has ended was superseded, and says nothing any more. Whether
`virkningTil` is the last day on which the value holds or the day after is not documented; on that day it is not known.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple
from zlib import crc32

from whoisd.registry.cvr import text
from whoisd.registry.cvr.facts import DAY, Claim, Life, Period, Topic, Unreal, code_of, credit_claims, status_claims
from whoisd.registry.cvr.text import Record


class Entity(StrEnum):
    """What the rows of a file are about."""

    COMPANY = "Virksomhed"
    FORM = "Virksomhedsform"
    CREDIT = "Kreditoplysninger"
    NAME = "Navn"
    ADDRESS = "Adressering"


REQUIRED: Final = (Entity.COMPANY, Entity.FORM, Entity.CREDIT)
_LAST_PLACE: Final = 1_000_000
NAMES: Final = ", ".join(entity.value for entity in Entity)

_NAME: Final = re.compile(
    r"CVR_V2_(?P<entity>[A-Za-z0-9-]+)_(?P<part>[A-Za-z]+)_(?P<format>[a-z]+)_"
    r"(?P<history>Current|Temporal|Bitemporal)_(?P<generation>[0-9]{1,18})\.(?:zip|json)"
)


class Download(NamedTuple):
    """What the name of a file says of it."""

    entity: Entity
    history: str
    generation: int


def download(name: str) -> Download | None:
    """Read the name of a file; None where it is none of CVR's. Raises `ValueError` for a file that cannot be used."""
    if not (found := _NAME.fullmatch(name)):
        return None
    if found["part"] != "TotalDownload":
        raise ValueError(f"is a {found['part']}, and only a TotalDownload is complete: download that")
    if found["format"] != "json":
        raise ValueError(f"is {found['format'].upper()}: download it as JSON")
    if found["entity"] not in {entity.value for entity in Entity}:
        raise ValueError(f"is of the entity {found['entity']}, which is not read: give {NAMES}")
    return Download(Entity(found["entity"]), found["history"], int(found["generation"]))


# --- rows ----------------------------------------------------------------------------------------------------------


def unit(record: Record, key: str = "CVREnhedsId") -> int | str:
    """Return the unit that a row is about. Raises `ValueError`."""
    value = text.required(record, key)
    if (code := code_of(value)) is not None:
        return code  # the same whether it is given as a number or as text
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"{key}: must be the identifier of a unit")


def is_superseded(record: Record) -> bool:
    """Whether another row was registered in the place of this one. Raises `ValueError`."""
    return text.day(record, "registreringTil") is not None


def is_mistake(record: Record) -> bool:
    """Whether a company's row was registered by mistake: what refers to it is about no company."""
    return _word(record.get("status")) == "FEJLOPRETTET"


def claims(entity: Entity, record: Record) -> Iterator[Claim]:
    """Return what a row that was not superseded says. Raises `ValueError`, whose text is `key: what is wrong`."""
    return _CLAIMS[entity](record)


def _period(record: Record) -> Period:
    begins, until = text.day(record, "virkningFra"), text.day(record, "virkningTil")
    return Period(begins, None if until is None else until - DAY, until)


def _company(record: Record) -> Iterator[Claim]:
    period = _period(record)
    word, which = _word(text.required(record, "status")), _mark(unit(record, "id"))
    if word == "FEJLOPRETTET":
        yield Claim(Topic.UNREAL, Unreal.MISTAKE, period)
    elif word == "AKTIV":
        yield Claim(Topic.LIFE, Life.ALIVE, _lifetime(record, period), which)
    elif word == "INAKTIV":
        yield Claim(Topic.LIFE, Life.ENDED, period, which)
    else:
        yield Claim(Topic.LIFE, Life.UNKNOWN, period, which)
        yield from status_claims(word, period)


def _mark(unit: int | str) -> int:
    """Return a number that tells units apart, of at most 32 bits."""
    return crc32(str(unit).encode())


def _lifetime(record: Record, period: Period) -> Period:
    """Return when a company lives: no longer than until the day on which it ceases, of which it is not known."""
    starts, ceases = text.day(record, "virksomhedStartdato"), text.day(record, "virksomhedOphoersdato")
    begins = max((day for day in (period.begins, starts) if day), default=None)
    if ceases is None or (period.may_end is not None and period.may_end < ceases):
        return period._replace(begins=begins)
    return Period(begins, ceases - DAY, ceases)


def _form(record: Record) -> Iterator[Claim]:
    code = code_of(text.required(record, "vaerdi"))
    yield Claim(Topic.FORM, "?" if code is None else str(code), _period(record))


def _credit(record: Record) -> Iterator[Claim]:
    kind, said = record.get("Kreditoplysning"), record.get("kreditoplysningstekst")
    if "Kreditoplysning" not in record and "kreditoplysningstekst" not in record:
        raise ValueError("Kreditoplysning: required")
    return credit_claims(kind, said, record.get("statusvaerdi"), record.get("statusvaerdiTekst"), _period(record))


def _name(record: Record) -> Iterator[Claim]:
    place = code_of(text.required(record, "sekvens"))
    if place is None:
        raise ValueError("sekvens: must be a number")
    if name := text.line(text.required(record, "vaerdi")):
        yield Claim(Topic.NAME, name, _period(record), min(place, _LAST_PLACE))


def _address(record: Record) -> Iterator[Claim]:
    if _word(text.required(record, "AdresseringAnvendelse")) != "BELIGGENHEDSADRESSE":
        return
    part: Callable[[str], Any] = lambda name: record.get(f"CVRAdresse_{name}")  # noqa: E731 - a name for what follows
    address = text.address(
        country=part("landekode"),
        care_of=record.get("coNavn"),
        street=part("vejnavn"),
        first=text.line(part("husnummerFra")) or "",
        last=text.line(part("husnummerTil")) or "",
        floor=part("etagebetegnelse"),
        door=part("doerbetegnelse"),
        place=part("supplerendeBynavn"),
        box=part("postboks"),
        free=part("adresseFritekst"),
        postal_code=part("postnummer"),
        city=part("postdistrikt"),
    )
    if address:
        yield Claim(Topic.ADDRESS, address.pack(), _period(record))


_CLAIMS: Final[Mapping[Entity, Callable[[Record], Iterator[Claim]]]] = {
    Entity.COMPANY: _company,
    Entity.FORM: _form,
    Entity.CREDIT: _credit,
    Entity.NAME: _name,
    Entity.ADDRESS: _address,
}


def _word(value: object) -> str:
    return " ".join(value.upper().split()) if isinstance(value, str) else ""
