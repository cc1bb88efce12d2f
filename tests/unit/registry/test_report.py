"""The report: what it counts an answer as, its written forms, and which files it takes to compare with."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from support import IN_FORCE, NOT_YET, registrant

from whoisd.answers.disclosure import Reason, Verdict, publish_registrant, verdict_of
from whoisd.answers.model import CvrForm, CvrStanding, DomainStatus, Registrant, RegistrantKind
from whoisd.answers.wire import Charset
from whoisd.errors import ReportError
from whoisd.registry.report import (
    LARGEST,
    REASONS,
    Counts,
    Report,
    counts_of,
    figures,
    from_json,
    moment,
    to_csv,
    to_json,
)

CET = timezone(timedelta(hours=1))
IN_FORCE_FROM = datetime(2025, 11, 3, 14, tzinfo=CET)
MADE_AT = datetime(2026, 10, 1, 12, tzinfo=UTC)


def facts() -> Iterator[Registrant]:
    """Registrants of every combination of what the rules and the form of an answer look at."""
    axes: dict[str, list[Any]] = {
        "kind": [RegistrantKind.COMPANY, RegistrantKind.INDIVIDUAL, RegistrantKind.UNKNOWN],
        "country": ["DK", "SE", None],
        "vat_number": ["99000019", None],
        "cvr_locked": [True, False],
        "cvr_form": [*CvrForm],
        "cvr_bankruptcy": [True, False],
        "sole_proprietorship": [True, False],
        "address_protection": [True, False, None],
        "id_confirmed": [True, False],
        "email": ["p@a.example", "rødgrød@a.example", "none"],
    }
    for values in product(*axes.values()):
        yield registrant(**dict(zip(axes, values, strict=True)))
    for changes in ({"cvr_standing": CvrStanding.CEASED}, {"cvr_standing": CvrStanding.ABSENT}):
        yield registrant(**changes)
    for number, documented, listed in product(NUMBERS, [True, False], [True, False, None]):
        abroad = {"country": "SE", "cvr_locked": False, "cvr_form": CvrForm.NONE}
        yield registrant(**abroad, vat_number=number, documented=documented, vat_listed=listed)
    yield registrant(country="US", cvr_locked=False, cvr_form=CvrForm.NONE, vat_number="12-3456789")


# Of a Swedish organisation, of a Swedish person, with a wrong check digit, and Danish.
NUMBERS = ("SE556036079301", "SE121212121201", "SE556036079401", "DK13585628")
CONDITIONS = (IN_FORCE, NOT_YET, replace(IN_FORCE, fresh=False), replace(IN_FORCE, listed_only=True))


def report(
    domains: dict[Verdict, int] | None = None,
    registrants: dict[Verdict, int] | None = None,
    *,
    at: datetime = MADE_AT,
) -> Report:
    """A report of these verdicts; of a few of them unless others are given."""
    some = {Verdict(True, Reason.LOCKED_TO_CVR): 2, Verdict(False, Reason.INDIVIDUAL): 1}
    return Report(
        report="disclosure",
        format=1,
        version="1.2.3",
        made_at=MADE_AT,
        at=at,
        in_force_from=IN_FORCE_FROM,
        in_force=at >= IN_FORCE_FROM,
        charset=Charset.UTF_8,
        registrants=counts_of("registrants", some if registrants is None else registrants),
        domains=counts_of("domains", some if domains is None else domains),
        data_age=12.5,
    )


def written(**changes: Any) -> bytes:
    """The JSON form of a report, with these keys changed; None leaves one out."""
    form = json.loads(to_json(report())) | changes
    return json.dumps({key: value for key, value in form.items() if value is not None}).encode()


# --- what is counted ---------------------------------------------------------------------------------------------


def test_every_reason_is_counted() -> None:
    """Whatever the facts, what an answer to --show-handles says of the email has a count; and no count is idle."""
    seen: dict[str, set[Verdict]] = {"registrants": set(), "domains": set()}
    for who, conditions, charset in product(facts(), CONDITIONS, Charset):
        for status in [DomainStatus.ACTIVE] if who.id_confirmed else DomainStatus:
            section = publish_registrant(status, who, show_handles=True, conditions=conditions, charset=charset)
            seen["domains"].add(verdict_of(section))
            if status is DomainStatus.ACTIVE:
                seen["registrants"].add(verdict_of(section))
    counted: dict[str, set[Verdict]] = {"registrants": set(), "domains": set()}
    for (subject, email), reasons in REASONS.items():
        counted[subject].update(Verdict(email == "shown", reason) for reason in reasons)
    assert seen == counted


def test_reasons_are_in_their_order() -> None:
    """The reasons of a report stand in the order of `Reason`, each once, and those left out concern no email."""
    for reasons in REASONS.values():
        assert list(reasons) == [reason for reason in Reason if reason in reasons]
    of_domains = {*REASONS["domains", "shown"], *REASONS["domains", "withheld"]}
    assert set(Reason) - of_domains == {Reason.NOT_ASKED, Reason.NEVER_SHOWN}
    of_registrants = {*REASONS["registrants", "shown"], *REASONS["registrants", "withheld"]}
    assert of_domains - of_registrants == {Reason.NO_REGISTRATION, Reason.DEACTIVATED}


def test_counts_have_every_reason() -> None:
    """Counts have each reason that may occur, with a zero where it did not, and their sum is the total."""
    counts = counts_of("registrants", Counter({Verdict(shown=True, reason=Reason.VAT_REGISTERED): 3}))
    assert counts.total == 3
    assert counts.shown == {Reason.LOCKED_TO_CVR: 0, Reason.VAT_REGISTERED: 3, Reason.VAT_DOCUMENTED: 0}
    assert counts.withheld == dict.fromkeys(REASONS["registrants", "withheld"], 0)


def test_a_verdict_that_has_no_count_is_not_lost() -> None:
    """A verdict for which a report has no count ends in an error, not in a total that does not add up."""
    with pytest.raises(ValueError, match="total is not the sum of shown and withheld"):
        counts_of("registrants", {Verdict(shown=False, reason=Reason.DEACTIVATED): 1})


# --- the written forms -------------------------------------------------------------------------------------------


def test_json() -> None:
    """The JSON form has its keys sorted and every count, and is text with a line for each."""
    text = to_json(report())
    form = json.loads(text)
    assert text == json.dumps(form, indent=2, sort_keys=True) + "\n"
    counts = {"total": 3, "shown": {"locked_to_cvr": 2, "vat_registered": 0, "vat_documented": 0}}
    for subject in ("registrants", "domains"):
        found = form.pop(subject)
        withheld = {str(reason): 0 for reason in REASONS[subject, "withheld"]} | {"individual": 1}
        assert found == counts | {"withheld": withheld}
    assert form == {
        "report": "disclosure",
        "format": 1,
        "version": "1.2.3",
        "made_at": "2026-10-01T12:00:00Z",
        "at": "2026-10-01T12:00:00Z",
        "in_force_from": "2025-11-03T14:00:00+01:00",
        "in_force": True,
        "charset": "utf-8",
        "data_age": 12.5,
    }


def test_json_is_read_as_it_was_written() -> None:
    """A report that is written and read is the same report, and is written the same again."""
    text = to_json(report())
    assert from_json(text.encode()) == report()
    assert to_json(from_json(text.encode())) == text


def test_csv() -> None:
    """The CSV form has a head and a row for each count, in the order of the reasons."""
    lines = to_csv(report()).split("\n")
    assert lines[:4] == [
        "subject,email,reason,count",
        "registrants,shown,locked_to_cvr,2",
        "registrants,shown,vat_registered,0",
        "registrants,shown,vat_documented,0",
    ]
    assert lines[-3:] == ["domains,withheld,deactivated,0", "domains,withheld,id_not_confirmed,0", ""]
    assert [line.split(",")[:3] for line in lines[1:-1]] == [
        [subject, email, reason] for (subject, email), reasons in REASONS.items() for reason in reasons
    ]


def test_csv_of_changes() -> None:
    """With an earlier report a row of CSV has its count too, and the difference, which may be negative."""
    before = report({Verdict(shown=True, reason=Reason.LOCKED_TO_CVR): 5})
    lines = to_csv(report(), before).split("\n")
    assert lines[0] == "subject,email,reason,count,before,change"
    assert "registrants,shown,locked_to_cvr,2,2,0" in lines
    assert "domains,shown,locked_to_cvr,2,5,-3" in lines
    assert "domains,withheld,individual,1,0,1" in lines


def test_json_of_changes() -> None:
    """With an earlier report each count of the JSON form has before, now and change; what made the two stands beside."""
    before = report({Verdict(shown=True, reason=Reason.LOCKED_TO_CVR): 5}, at=IN_FORCE_FROM - timedelta(seconds=1))
    form = json.loads(to_json(report(), before))
    assert form["report"] == "disclosure_changes"
    assert form["domains"]["total"] == {"before": 5, "now": 3, "change": -2}
    assert form["domains"]["shown"]["locked_to_cvr"] == {"before": 5, "now": 2, "change": -3}
    assert form["registrants"]["withheld"]["individual"] == {"before": 1, "now": 1, "change": 0}
    assert form["charset"] == "utf-8"
    assert (form["before"]["at"], form["before"]["in_force"]) == ("2025-11-03T13:59:59+01:00", False)
    assert (form["now"]["at"], form["now"]["in_force"]) == ("2026-10-01T12:00:00Z", True)
    assert {*form["before"]} == {*form["now"]} == {"version", "made_at", "at", "in_force_from", "in_force", "data_age"}


def test_a_reason_that_the_earlier_version_did_not_know() -> None:
    """A report of a version that did not know a reason can be compared with: it found none of it."""
    old = from_json(written(domains={"total": 3, "shown": {"locked_to_cvr": 3}, "withheld": {}}))
    assert figures(old)["domains", "withheld", Reason.INDIVIDUAL] == 0
    assert "domains,withheld,individual,1,0,1" in to_csv(report(), old)
    assert json.loads(to_json(report(), old))["domains"]["withheld"]["individual"]["change"] == 1


def test_a_report_that_does_not_tell_the_age_of_its_data() -> None:
    """A report that was made before the age was kept can be compared with; its age is not known, and so says a null."""
    for text in (written(data_age=None), written(data_age=None)[:-1] + b', "data_age": null}'):
        assert from_json(text).data_age is None
        assert json.loads(to_json(report(), from_json(text)))["before"]["data_age"] is None


def test_too_old() -> None:
    """A report tells whether emails were withheld for the age of the data."""
    assert not report().is_too_old
    assert report(registrants={Verdict(False, Reason.DATA_TOO_OLD): 1}).is_too_old


# --- files to compare with ---------------------------------------------------------------------------------------

NO_REASON = "is no reason that an email can have there; use the version of whoisd that made the report"
WANTED = "a report is what --format json writes without --changes-from"
PERSONAL = "berit@beskyttet.example"


def counts(**changes: Any) -> dict[str, Any]:
    return {"total": 0, "shown": {}, "withheld": {}} | changes


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"report": "disclosure_changes"}, f"report: must be 'disclosure'; {WANTED}"),
        ({"report": None}, f"report: must be 'disclosure'; {WANTED}"),
        ({"report": PERSONAL, "format": 2}, f"report: must be 'disclosure'; {WANTED}"),
        ({"format": 2}, "format: must be 1, which is what this version of whoisd reads and writes"),
        ({"format": "1"}, "format: must be 1, which is what this version of whoisd reads and writes"),
        ({"version": f"1 {PERSONAL}"}, "version: must be the version of whoisd that made it"),
        ({"made_at": None}, "made_at: is missing"),
        ({"made_at": 1790000000}, "made_at: must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ({"at": "1790000000"}, "at: must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ({"at": "2026-10-01"}, "at: must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ({"at": "2026-10-01T12:00:00"}, "at: must state its offset from UTC, as in 2025-11-03T14:00:00+01:00"),
        ({"in_force": "yes"}, "in_force: must be true or false"),
        ({"charset": "ascii"}, "charset: must be iso-8859-1 or utf-8"),
        ({"data_age": PERSONAL}, "data_age: must be a number of seconds, or null"),
        ({"data_age": math.nan}, "data_age: must be a number of seconds, or null"),
        ({"extra": 1}, "extra: is no key of a report"),
        ({PERSONAL: 1}, "?: is no key of a report"),
        ({"domains": [PERSONAL]}, "domains: must be an object"),
        ({"domains": {"total": 0, "shown": {}}}, "domains.withheld: is missing"),
        ({"domains": counts(total=1)}, "domains: total is not the sum of shown and withheld"),
        ({"domains": counts(total=-1)}, "domains.total: must be a whole number, 0 or more"),
        ({"domains": counts(total=True)}, "domains.total: must be a whole number, 0 or more"),
        ({"domains": counts(shown=PERSONAL)}, "domains.shown: must be an object"),
        (
            {"domains": counts(withheld={"individual": 1.5})},
            "domains.withheld.individual: must be a whole number, 0 or more",
        ),
        (
            {"domains": counts(withheld={"of_a_later_version": 0})},
            f"domains.withheld.of_a_later_version: {NO_REASON}",
        ),
        (
            {"registrants": counts(withheld={"deactivated": 0})},
            f"registrants.withheld.deactivated: {NO_REASON}",
        ),
    ],
)
def test_no_report(changes: dict[str, Any], fault: str) -> None:
    """What is no report to compare with is refused by the key that is at fault, in words that quote no value."""
    with pytest.raises(ReportError) as refused:
        from_json(written(**changes))
    assert str(refused.value) == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", f"is not JSON; {WANTED}"),
        (b"\xff", f"is not JSON; {WANTED}"),
        (b"subject,email,reason,count\n", f"is not JSON; {WANTED}"),
        (b"[" * 100_000, f"is not JSON; {WANTED}"),
        (b"[]", f"is no object; {WANTED}"),
        (b" " * (LARGEST + 1), "is too large for a report"),
    ],
)
def test_no_json(text: bytes, fault: str) -> None:
    """What is no JSON object, or larger than any report, is refused."""
    with pytest.raises(ReportError) as refused:
        from_json(text)
    assert str(refused.value) == fault


def test_comparison_is_no_report() -> None:
    """A comparison cannot be compared with."""
    with pytest.raises(ReportError, match="must be 'disclosure'"):
        from_json(to_json(report(), report()).encode())


def test_a_report_that_was_changed_is_refused() -> None:
    """A report whose counts do not add up any more is refused."""
    form = json.loads(to_json(report()))
    form["registrants"]["shown"]["locked_to_cvr"] += 1
    with pytest.raises(ReportError, match="registrants: total is not the sum of shown and withheld"):
        from_json(json.dumps(form).encode())


# --- moments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2025-11-03T14:00:00+01:00", IN_FORCE_FROM),
        ("2025-11-03T13:00Z", IN_FORCE_FROM),
        ("20251103T130000.000001Z", IN_FORCE_FROM + timedelta(microseconds=1)),
    ],
)
def test_moment(text: str, found: datetime) -> None:
    """A moment is an ISO 8601 date and time with its offset from UTC."""
    assert moment(text) == found


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2025-11-03", "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ("2025-11-03 14:00:00+01:00", "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ("2025-13-03T14:00:00+01:00", "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ("TODAY", "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ("", "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        (1790000000, "must be a date and a time, as in 2025-11-03T14:00:00+01:00"),
        ("2025-11-03T14:00:00", "must state its offset from UTC, as in 2025-11-03T14:00:00+01:00"),
    ],
)
def test_no_moment(value: object, said: str) -> None:
    """What names no moment for certain is refused with an example: a bare date, a time without its offset, a number."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its text is compared whole
        moment(value)
    assert str(refused.value) == said


def test_counts_are_checked_wherever_they_are_made() -> None:
    """Counts whose total is not the sum of their reasons cannot be made."""
    with pytest.raises(ValueError, match="total is not the sum"):
        Counts(2, {Reason.LOCKED_TO_CVR: 1}, {})
