"""CVR's documents of companies (system-til-system, distribution.virk.dk) to claims about them. Pure.

A document is a `Vrvirksomhed`: bare, under its name, in `_source`, or in the `hits.hits` of an answer to a search. Each of
its lists has what holds and what has held, with `periode`, whose last day (`gyldigTil`) is one on which it does. What was
registered by mistake (`fejlRegistreret`) says nothing. A list that is missing, as where a search asked for some fields
only, settles nothing. `fejlVedIndlaesning`, `reklamebeskyttet` and `virksomhedMetadata` say nothing of what holds today.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from whoisd.registry.cvr import text
from whoisd.registry.cvr.facts import (
    ALWAYS,
    Claim,
    Life,
    Period,
    State,
    Topic,
    Unreal,
    code_of,
    credit_claims,
    status_claims,
)
from whoisd.registry.cvr.text import Record


class Document(NamedTuple):
    """What a document says of a company, and when CVR changed it last; None: it does not say."""

    number: int
    at: datetime | None
    claims: Sequence[Claim]


def companies(value: object) -> Iterator[Record]:
    """Return the companies in a JSON value: one, or those that an answer to a search found. Raises `ValueError`."""
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the file, like all others
    if isinstance(value.get("hits"), dict):
        hits = value["hits"].get("hits")
        if not isinstance(hits, list):
            raise ValueError("hits.hits: must be a list")  # noqa: TRY004 - the same
        for hit in hits:
            yield from companies(hit)
        return
    for wrapper in ("_source", "Vrvirksomhed"):
        if wrapper in value:
            yield from companies(value[wrapper])
            return
    yield value


def document(record: Record) -> Document:
    """Read a company. Raises `ValueError`, whose text is `key: what is wrong`."""
    number = text.cvr_number(record, "cvrNummer")
    at = text.moment(record, "sidstOpdateret")
    if record.get("fejlRegistreret") not in (None, False):
        return Document(number, at, [Claim(Topic.UNREAL, Unreal.MISTAKE, ALWAYS)])
    return Document(number, at, [claim for read in _READERS for claim in read(record)])


def is_mistake(document: Document) -> bool:
    """Whether a document was registered by mistake: it yields to any other of its number."""
    return any(claim.value == Unreal.MISTAKE for claim in document.claims)


# --- one list of a document each -----------------------------------------------------------------------------------

_Item = tuple[dict[str, Any], Period]


def _items(record: Record, key: str) -> list[_Item] | None:
    """Return what a list has that was not registered by mistake, each with its period; None where there is no such list."""
    found = record.get(key)
    if found is None:
        return None
    if not isinstance(found, list):
        raise ValueError(f"{key}: must be a list")  # noqa: TRY004 - a fault of the file, like all others
    return [*_valid(key, found)]


def _valid(key: str, found: list[Any]) -> Iterator[_Item]:
    for number, item in enumerate(found):
        if not isinstance(item, dict):
            raise ValueError(f"{key}.{number}: must be an object")  # noqa: TRY004 - the same
        if item.get("fejlRegistreret") not in (None, False):
            continue
        if not isinstance(item.get("periode"), dict):
            raise ValueError(f"{key}.{number}.periode: must be an object")  # noqa: TRY004 - the same
        try:
            begins, ends = (text.day(item["periode"], name) for name in ("gyldigFra", "gyldigTil"))
        except ValueError as error:
            raise ValueError(f"{key}.{number}.periode.{error}") from None
        yield item, Period(begins, ends, ends)


def _lives(record: Record) -> Iterator[Claim]:
    lives = _items(record, "livsforloeb")
    if not lives:
        yield Claim(Topic.LIFE, Life.UNKNOWN if lives is None else Life.ENDED, ALWAYS)
    for _, period in lives or ():
        yield Claim(Topic.LIFE, Life.ALIVE, period)


def _states(record: Record) -> Iterator[Claim]:
    words, credit = _items(record, "virksomhedsstatus"), _items(record, "status")
    if words is None or credit is None:
        yield Claim(Topic.STATE, State.UNKNOWN, ALWAYS)
    for item, period in words or ():
        word = item.get("status")
        yield from status_claims(word if isinstance(word, str) else "", period)
    for item, period in credit or ():
        yield from credit_claims(
            item.get("kreditoplysningkode"),
            item.get("kreditoplysningtekst"),
            item.get("statuskode"),
            item.get("statustekst"),
            period,
        )


def _forms(record: Record) -> Iterator[Claim]:
    forms = _items(record, "virksomhedsform")
    if forms is None:
        yield Claim(Topic.FORM, "?", ALWAYS)
    for item, period in forms or ():
        code = code_of(item.get("virksomhedsformkode"))
        yield Claim(Topic.FORM, "?" if code is None else str(code), period)


def _pseudo(record: Record) -> Iterator[Claim]:
    """Return that a number is a pseudo number where its attribute does not say that it is none, as that of most does."""
    attributes = record.get("attributter")
    for attribute in attributes if isinstance(attributes, list) else ():
        if not isinstance(attribute, dict) or attribute.get("type") != "PSEUDOCVRNR":
            continue
        values = _items(attribute, "vaerdier")
        if values is None:
            yield Claim(Topic.UNREAL, Unreal.PSEUDO, ALWAYS)
        for item, period in values or ():
            if str(item.get("vaerdi")).strip().lower() != "false":
                yield Claim(Topic.UNREAL, Unreal.PSEUDO, period)


def _names(record: Record) -> Iterator[Claim]:
    for item, period in _items(record, "navne") or ():
        if name := text.line(item.get("navn")):
            yield Claim(Topic.NAME, name, period)


def _addresses(record: Record) -> Iterator[Claim]:
    for item, period in _items(record, "beliggenhedsadresse") or ():
        address = text.address(
            country=item.get("landekode"),
            care_of=item.get("conavn"),
            street=item.get("vejnavn"),
            first=_house(item, "Fra"),
            last=_house(item, "Til"),
            floor=item.get("etage"),
            door=item.get("sidedoer"),
            place=item.get("bynavn"),
            box=item.get("postboks"),
            free=item.get("fritekst"),
            postal_code=item.get("postnummer"),
            city=item.get("postdistrikt"),
        )
        if address:
            yield Claim(Topic.ADDRESS, address.pack(), period)


def _house(item: Record, end: str) -> str:
    return (text.line(item.get(f"husnummer{end}")) or "") + (text.line(item.get(f"bogstav{end}")) or "")


_READERS: Final = (_pseudo, _lives, _states, _forms, _names, _addresses)
