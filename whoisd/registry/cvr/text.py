"""What CVR's two formats share: moments as Danish days, CVR numbers, names and addresses as an answer may print them. Pure.

A fault is told by its key and what it must be, never by the value: names and addresses are of people too.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from stdnum.dk import cvr

from whoisd.answers.notices import NO_ENTRIES
from whoisd.registry.cvr.facts import Address

COPENHAGEN: Final = ZoneInfo("Europe/Copenhagen")

_FOR_EVER: Final = 9999  # a year that stands for no end
_LONGEST: Final = 255  # characters of a line, as registry.is_line has it
_MOST_LINES: Final = 3
_ODD: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MISREAD: Final = NO_ENTRIES.strip().lower()
_SMALLEST, _LARGEST = 10_000_000, 99_999_999

Record = Mapping[str, Any]


def required(record: Record, key: str) -> Any:
    """Return the value of a key, which may be None. Raises `ValueError` where there is no such key."""
    try:
        return record[key]
    except KeyError:
        raise ValueError(f"{key}: required") from None


def day(record: Record, key: str) -> date | None:
    """Return the Danish day of a moment or a day; None for none, and for one that stands for no end.

    Raises `ValueError` where the key is missing or its value is neither.
    """
    value = required(record, key)
    if value is None:
        return None
    found = _danish_day(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{key}: must be a day or a moment, as 2025-01-31 or 2025-01-31T00:00:00+01:00, or null")
    return None if found.year >= _FOR_EVER else found


@lru_cache(maxsize=2**14)  # most moments of a file are the same few
def _danish_day(value: str) -> date | None:
    at = _moment_of(value)
    if at is None or at.tzinfo is None or at.year >= _FOR_EVER:
        return at and at.date()
    return at.astimezone(COPENHAGEN).date()


def _moment_of(value: str) -> datetime | None:
    """Return what a text says of a time, which of a day is its beginning; None for what is no time."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.year > 1 else None  # the year 1 has no other time zones


def moment(record: Record, key: str) -> datetime | None:
    """Return a moment, of UTC where it names no other time zone; None where it is not given. Raises `ValueError`."""
    value = record.get(key)
    if value is None:
        return None
    at = _moment_of(value) if isinstance(value, str) else None
    if at is None:
        raise ValueError(f"{key}: must be a moment, as 2025-01-31T12:00:00Z, or null")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def cvr_number(record: Record, key: str) -> int:
    """Return a CVR number that is given as a number or as text. Raises `ValueError` where it has not 8 digits."""
    value = required(record, key)
    if isinstance(value, str) and value.isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"{key}: must be a CVR number, of 8 digits")
    return value


def has_right_check_digit(number: int) -> bool:
    """Whether the last digit of a CVR number is right (modulus 11): one whose is wrong is no company's."""
    return bool(cvr.is_valid(str(number)))


def line(value: object) -> str | None:
    """Return a text as one line of an answer; None for what cannot be one, or would be misread by clients."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    text = " ".join(value.split())
    if not text or len(text) > _LONGEST or _ODD.search(text) or _MISREAD in text.lower():
        return None
    return text


def address(  # noqa: PLR0913 - the parts of an address
    *,
    country: object,
    care_of: object,
    street: object,
    first: str,
    last: str,
    floor: object,
    door: object,
    place: object,
    box: object,
    free: object,
    postal_code: object,
    city: object,
) -> Address | None:
    """Return a Danish address of its parts; None for one abroad, and for one that lacks a street or a postal code.

    `first` and `last` are house numbers with their letters; `place` is a name within the city; `free` is what has no parts.
    """
    code, town, where = line(postal_code), line(city), line(street) or line(free)
    if line(country) != "DK" or code is None or town is None or where is None:
        return None
    if line(street):
        where += _house(first, last) + _storey(line(floor), line(door))
    lines = [care for care in (_care_of(line(care_of)),) if care] + [where]
    rest = [text for text in (line(place), f"Postboks {line(box)}" if line(box) else None) if text]
    if len(lines) + len(rest) > _MOST_LINES:
        rest = [", ".join(rest)]
    if any(line(text) is None for text in lines + rest):
        return None
    return Address((*lines, *rest), code.zfill(4), town)


def _house(first: str, last: str) -> str:
    return (f" {first}" if first else "") + (f"-{last}" if last and last != first else "")


def _storey(floor: str | None, door: str | None) -> str:
    """Return floor and door as Danes write them: `, 3. tv`."""
    parts = ([f"{floor.lower().rstrip('.')}."] if floor else []) + ([door.lower()] if door else [])
    return f", {' '.join(parts)}" if parts else ""


def _care_of(name: str | None) -> str | None:
    return name if name is None or name.lower().startswith("c/o") else f"c/o {name}"
