"""What the operator decides about answers, at a moment."""

from datetime import UTC, datetime, timedelta

import pytest

from whoisd.answers.answer import Policy

UNTIL = datetime(2026, 11, 26, 7, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("until", "now", "tells"),
    [(None, UNTIL, True), (UNTIL, UNTIL - SECOND, True), (UNTIL, UNTIL, False), (UNTIL, UNTIL + SECOND, False)],
)
def test_notice_until(until: datetime | None, now: datetime, tells: bool) -> None:
    """A notice is told until its moment, and without one for as long as it is configured."""
    policy = Policy(
        in_force_from=UNTIL,
        vat_listed_only=False,
        omit_withheld_email=False,
        operator="the registry",
        terms="Terms.",
        version="0.1.0",
        notice="No changes.",
        notice_until=until,
    )
    assert ("# No changes.\n" in policy.about(now)) is tells
