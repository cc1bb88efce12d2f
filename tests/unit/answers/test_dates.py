"""The moment at which a day of the registry begins."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from whoisd.answers.dates import midnight


def test_every_day_since_the_beginning_of_dk() -> None:
    """Each day from 1987 to 2036 begins when the database of time zones says that it does in Copenhagen."""
    zone = ZoneInfo("Europe/Copenhagen")
    day = date(1987, 1, 1)
    while day < date(2037, 1, 1):
        assert midnight(day) == datetime(day.year, day.month, day.day, tzinfo=zone).isoformat()
        day += timedelta(days=1)
