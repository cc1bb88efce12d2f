"""What CVR's two formats share: days."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoisd.registry.cvr import text


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2026-11-25", date(2026, 11, 25)),
        ("2026-11-24T23:00:00Z", date(2026, 11, 25)),  # midnight in Denmark
        ("2026-11-24T22:59:59Z", date(2026, 11, 24)),
        ("2026-06-24T22:00:00.0000000Z", date(2026, 6, 25)),  # in summer
        ("2026-11-25T00:00:00.000000+01:00", date(2026, 11, 25)),
        ("2026-11-25T23:59:59", date(2026, 11, 25)),
        ("9999-12-31T23:59:59Z", None),
        (None, None),
    ],
)
def test_days_are_denmarks(value: str | None, day: date | None) -> None:
    """A moment is of the day that it is in Denmark then; the year 9999 is no end."""
    assert text.day({"day": value}, "day") == day


@given(st.text() | st.datetimes().map(datetime.isoformat) | st.integers() | st.none())
def test_a_day_or_a_fault(value: object) -> None:
    """Whatever is given for a day is one, none, or a fault that does not repeat it."""
    try:
        day = text.day({"day": value}, "day")
    except ValueError as error:
        assert str(error).startswith("day: must be")
    else:
        assert day is None or type(day) is date
