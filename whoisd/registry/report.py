"""How many emails are shown and withheld, and why: a report of counts, its written forms, and what is between two reports.

Knows neither the database nor a terminal: `census` counts, `commands.report` prints. A report holds counts and moments, and
no value of a registrant. Its JSON form, by which it is kept and compared with a later one, has the fields of `Report`,
sorted. In a comparison each count is `{"before": ..., "now": ..., "change": ...}`, and so it is no report to compare with.
"""

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, NonNegativeInt, StringConstraints, TypeAdapter, ValidationError

from whoisd.answers.disclosure import RULES, Reason, Verdict
from whoisd.answers.wire import Charset
from whoisd.errors import ReportError

LARGEST: Final = 2**20  # bytes of a report that is read; one of ours has two thousand

Subject = Literal["registrants", "domains"]
Email = Literal["shown", "withheld"]
Place = tuple[Subject, Email, Reason]  # of a count in a report

SUBJECTS: Final[tuple[Subject, ...]] = ("registrants", "domains")
EMAILS: Final[tuple[Email, ...]] = ("shown", "withheld")

_SHOWN: Final = tuple(reason for reason in Reason if any(rule.shown and rule.reason is reason for rule in RULES))
# Of answers to --show-handles; and a handle is no email.
_WITHHELD: Final = tuple(reason for reason in Reason if reason not in {*_SHOWN, Reason.NOT_ASKED, Reason.NEVER_SHOWN})
_OF_DOMAINS_ALONE: Final = (Reason.NO_REGISTRATION, Reason.DEACTIVATED)

# Every reason that may occur, in the order of `Reason`. A report has a count for each, so that two are compared key by key.
REASONS: Final[Mapping[tuple[Subject, Email], tuple[Reason, ...]]] = {
    ("registrants", "shown"): _SHOWN,
    ("registrants", "withheld"): tuple(reason for reason in _WITHHELD if reason not in _OF_DOMAINS_ALONE),
    ("domains", "shown"): _SHOWN,
    ("domains", "withheld"): _WITHHELD,
}
_EXAMPLE: Final = "as in 2025-11-03T14:00:00+01:00"


def moment(value: object) -> datetime:
    """Take a moment from its text. Raises `ValueError`, whose message says what it must be."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value else None
    except ValueError:
        found = None
    if found is None:
        raise ValueError(f"must be a date and a time, {_EXAMPLE}")
    if found.tzinfo is None:
        raise ValueError(f"must state its offset from UTC, {_EXAMPLE}")
    return found


Moment = Annotated[datetime, BeforeValidator(moment)]
_STRICT: Final = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many registrants, or domains, have their email shown or withheld, by reason."""

    __pydantic_config__ = _STRICT

    total: NonNegativeInt
    shown: Mapping[Reason, NonNegativeInt]
    withheld: Mapping[Reason, NonNegativeInt]

    def __post_init__(self) -> None:
        if self.total != sum(self.shown.values()) + sum(self.withheld.values()):
            raise ValueError("total is not the sum of shown and withheld")


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted, when it was made (of the data as it was then), and at which moment's rules. Moments are aware.

    `data_age` is how many seconds older than `made_at` the data was; None where that is not known, as of reports made before
    it was kept.
    """

    __pydantic_config__ = _STRICT

    report: Literal["disclosure"]
    format: Literal[1]
    version: Annotated[str, StringConstraints(pattern="^[0-9A-Za-z.+!-]{1,60}$")]
    made_at: Moment
    at: Moment
    in_force_from: Moment
    in_force: bool
    charset: Charset
    registrants: Counts
    domains: Counts
    data_age: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def is_too_old(self) -> bool:
        """Whether emails were withheld because the data was older than `database.max_age` allows."""
        return self.registrants.withheld.get(Reason.DATA_TOO_OLD, 0) > 0


# --- Counting ----------------------------------------------------------------------------------------------------


def counts_of(subject: Subject, verdicts: Mapping[Verdict, int]) -> Counts:
    """Return the counts of a subject, with a zero for each reason that did not occur."""
    shown, withheld = (
        {reason: verdicts.get(Verdict(email == "shown", reason), 0) for reason in REASONS[subject, email]}
        for email in EMAILS
    )
    return Counts(sum(verdicts.values()), shown, withheld)


def figures(report: Report) -> dict[Place, int]:
    """Return every count but the totals, always in one order.

    A reason without a count is one that the version which made the report did not know, and so did not find.
    """
    return {
        (subject, email, reason): _counts(report, subject, email).get(reason, 0)
        for (subject, email), reasons in REASONS.items()
        for reason in reasons
    }


def _counts(report: Report, subject: Subject, email: Email) -> Mapping[Reason, int]:
    counts = report.registrants if subject == "registrants" else report.domains
    return counts.shown if email == "shown" else counts.withheld


# --- CSV ---------------------------------------------------------------------------------------------------------


def to_csv(report: Report, before: Report | None = None) -> str:
    """Write a row for each count; with an earlier report also its count, and the difference."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["subject", "email", "reason", "count", *(("before", "change") if before else ())])
    was = figures(before) if before else {}
    for place, count in figures(report).items():
        writer.writerow([*place, count, *((was[place], count - was[place]) if before else ())])
    return out.getvalue()


# --- JSON --------------------------------------------------------------------------------------------------------

_JSON: Final = TypeAdapter(Report)
_OF_EACH: Final = (
    "version",
    "made_at",
    "at",
    "in_force_from",
    "in_force",
    "data_age",
)  # what a comparison says of both reports


def to_json(report: Report, before: Report | None = None) -> str:
    """Write a report as JSON; with an earlier one, what is between the two."""
    form = _JSON.dump_python(report, mode="json")
    if before:
        form = _comparison(_JSON.dump_python(before, mode="json"), form)
    return json.dumps(form, indent=2, sort_keys=True) + "\n"


def _comparison(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {
        "report": "disclosure_changes",
        "format": now["format"],
        "charset": now["charset"],
        "before": {name: before[name] for name in _OF_EACH},
        "now": {name: now[name] for name in _OF_EACH},
        **{subject: _differences(before[subject], now[subject]) for subject in SUBJECTS},
    }


def _differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return each count, also of those within, as the two reports have it."""
    found = {}
    for name, count in now.items():
        if isinstance(count, dict):
            found[name] = _differences(before[name], count)
        else:
            was = before.get(name, 0)
            found[name] = {"before": was, "now": count, "change": count - was}
    return found


def from_json(text: bytes) -> Report:
    """Read a report that `to_json` wrote. Raises `ReportError`, which names the first key that is at fault."""
    if len(text) > LARGEST:
        raise ReportError("is too large for a report")
    try:
        report = _JSON.validate_json(text)
    except ValidationError as error:
        raise ReportError(_fault(error)) from None
    for (subject, email), known in REASONS.items():
        for reason in _counts(report, subject, email):
            if reason not in known:
                raise ReportError(f"{subject}.{email}.{reason}: {_WORDS['enum']}")
    return report


# What is wrong with a key, by the key where it has one right value, else by what pydantic calls the fault.
_WANTED: Final = "a report is what --format json writes without --changes-from"
_ONE_VALUE: Final[Mapping[str, str]] = {
    "report": f"must be 'disclosure'; {_WANTED}",
    "format": "must be 1, which is what this version of whoisd reads and writes",
    "version": "must be the version of whoisd that made it",
    "charset": f"must be {' or '.join(Charset)}",
}
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "unexpected_keyword_argument": "is no key of a report",
    "enum": "is no reason that an email can have there; use the version of whoisd that made the report",
    "bool_type": "must be true or false",
    "dataclass_type": "must be an object",
    "dict_type": "must be an object",
    "float_type": "must be a number of seconds, or null",
    "finite_number": "must be a number of seconds, or null",
    "int_type": "must be a whole number, 0 or more",
    "greater_than_equal": "must be a whole number, 0 or more",
}
_KEY: Final = re.compile("[a-z0-9_]{1,40}")


def _fault(error: ValidationError) -> str:
    """Return the first fault in our words, which quote no value, nor a key that cannot be one of ours."""
    fault = error.errors()[0]
    place = [str(part) for part in fault["loc"] if part != "[key]"]
    if not place:
        return f"is {'not JSON' if fault['type'] == 'json_invalid' else 'no object'}; {_WANTED}"
    what = _ONE_VALUE.get(place[0]) or _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    return f"{'.'.join(part if _KEY.fullmatch(part) else '?' for part in place)}: {what}"
