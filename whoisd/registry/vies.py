"""What VIES, the register of VAT numbers of the European Union, answered: from a recorded answer to what is kept of it.

A file of answers is UTF-8 text of JSON objects, one a line, as VIES gives them: by REST (POST check-vat-number with `valid`,
or GET ms/COUNTRY/vat/NUMBER with `isValid` and `userError`, to which whoever records it adds the countryCode that they
asked for) or by SOAP (checkVat, checkVatApprox). A failure tells nothing of a number, also where it says `isValid: false`.
Names and addresses are read over. Knows no file and no database. Faults never quote a value: a number can hold a personal
number.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

from whoisd.registry.records import parse_object

# The codes by which VIES knows countries (its technical information, 2026): Greece is EL, Northern Ireland XI.
COUNTRIES: Final = frozenset(
    "AT BE BG CY CZ DE DK EE EL ES FI FR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK XI".split()  # noqa: SIM905 - as read
)
BEGAN: Final = datetime(1993, 1, 1, tzinfo=UTC)
AHEAD: Final = timedelta(hours=1)  # by which VIES's clock may be ahead of ours
UNKNOWN: Final = "OTHER"  # of a failure whose word is none

_NUMBER: Final = re.compile("[A-Z0-9+*]{2,14}")
_MARKS: Final = re.compile(r"[\s.\u2010-\u2015\u2212-]")
_ERROR: Final = re.compile("[A-Z][A-Z_]{2,39}")
_IDENTIFIER: Final = re.compile("[!-~]{1,100}")
_DAY: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(Z|[+-][0-9]{2}:[0-9]{2})?")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?")

# Where an answer does not say when in the day, or by which clock, it is as early as it can be where VIES lists the number,
# and as late as it can be where it does not: what withholds wins. VIES is in Brussels.
_SUMMER, _WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
_LAST_OF_A_DAY: Final = timedelta(days=1, microseconds=-1)


class Answer(NamedTuple):
    """What VIES said of a number: its code of the country and the number without marks; whether it lists it; when, aware."""

    number: str
    valid: bool
    asked_at: datetime
    identifier: str | None  # of the request


class Failure(NamedTuple):
    """Why VIES told nothing, by its own word, such as MS_UNAVAILABLE."""

    error: str


def parse_answer(line: bytes, now: datetime) -> Answer | Failure:
    """Read one recorded answer; `now` is aware. Raises `ValueError` whose text is `field: what is wrong`."""
    fields = parse_object(line)
    if error := _error(fields):
        return Failure(error if _ERROR.fullmatch(error) else UNKNOWN)
    valid = _valid(fields)
    return Answer(_number(fields), valid, _asked_at(fields, now, valid=valid), _identifier(fields))


def _error(fields: Mapping[str, Any]) -> str | None:
    """Return why an answer is none, or None for one that is."""
    wrappers = fields.get("errorWrappers")
    if isinstance(wrappers, list) and wrappers:
        return str(wrappers[0].get("error", "")) if isinstance(wrappers[0], dict) else UNKNOWN
    if fields.get("actionSucceed") is False:
        return UNKNOWN
    for name in ("userError", "faultstring"):
        said = fields.get(name)
        if said is not None and not isinstance(said, str):
            raise ValueError(f"{name}: must be a text")
        if said and not (name == "userError" and said in _SAID):
            return said
    return None


_SAID: Final = {"VALID": True, "INVALID": False}  # by userError, when nothing failed


def _valid(fields: Mapping[str, Any]) -> bool:
    said = {name: fields[name] for name in ("valid", "isValid") if name in fields}
    if not said:
        raise ValueError("valid: required")
    for name, value in said.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}: must be true or false")  # noqa: TRY004 - a fault of the line, like all others
    if fields.get("userError"):
        said["userError"] = _SAID[fields["userError"]]
    if len({*said.values()}) > 1:
        raise ValueError(f"{', '.join(said)}: contradict each other")
    return bool(next(iter(said.values())))


def _number(fields: Mapping[str, Any]) -> str:
    code, text = fields.get("countryCode"), fields.get("vatNumber")
    if not isinstance(code, str) or code not in COUNTRIES:
        raise ValueError("countryCode: must be a code that VIES has (Greece is EL, Northern Ireland XI)")
    number = _MARKS.sub("", text).upper() if isinstance(text, str) and text.isascii() else ""
    if not _NUMBER.fullmatch(number):
        raise ValueError("vatNumber: must be the number, without its country's code")
    return code + _whole(code, number)


def _whole(code: str, number: str) -> str:
    """Return a number with what people leave out of it, as the registrants' are read too (registry.registrant_facts)."""
    if code == "SE" and len(number) == 10:  # noqa: PLR2004 - digits of an organisation's number
        return f"{number}01"
    return number.zfill({"EL": 9, "BE": 10, "NL": 12}.get(code, 0))


def _asked_at(fields: Mapping[str, Any], now: datetime, *, valid: bool) -> datetime:
    """Return when VIES answered."""
    text = fields.get("requestDate")
    earliest, latest = _readings(text) if isinstance(text, str) else (None, None)
    if earliest is None or latest is None:
        raise ValueError("requestDate: must be a date or a time as VIES gives it, such as 2026-05-19T12:25:12.544Z")
    if earliest < BEGAN:
        raise ValueError(f"requestDate: must not be before {BEGAN.year}, when VIES began")
    if earliest > now + AHEAD:
        raise ValueError("requestDate: is in the future")
    return earliest if valid else latest


def _readings(text: str) -> tuple[datetime | None, datetime | None]:
    """Return the earliest and the latest moment that a text may mean; none where it is neither a date nor a time."""
    day = _DAY.fullmatch(text)
    if not day and not _TIME.fullmatch(text):
        return None, None
    try:
        moment = datetime.fromisoformat(f"{day[1]}T00:00:00{day[2] or ''}" if day else text)
        earliest, latest = (moment if moment.tzinfo else moment.replace(tzinfo=zone) for zone in (_SUMMER, _WINTER))
        return earliest.astimezone(UTC), (latest + (_LAST_OF_A_DAY if day else timedelta())).astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February; the year 0
        return None, None


def _identifier(fields: Mapping[str, Any]) -> str | None:
    said = fields.get("requestIdentifier")
    if said is None or said == "":
        return None
    if not isinstance(said, str) or not _IDENTIFIER.fullmatch(said):
        raise ValueError("requestIdentifier: must be up to 100 ASCII characters without spaces")
    return said
