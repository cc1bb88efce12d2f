"""A day of the registry as the moment at which it begins. Days are in its local time, Europe/Copenhagen.

Knows the offset from UTC on each day since 1987, in which .dk began; knows nothing of what happens on a day.
"""

from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

_WINTER: Final = timezone(timedelta(hours=1))
_SUMMER: Final = timezone(timedelta(hours=2))
_SUMMER_BEGINS: Final = 3  # on the last Sunday of March, at 02:00 (Directive 2000/84/EC and those before it)
_SUMMER_ENDS: Final = 10  # on the last Sunday of October, at 03:00
_ENDED_BEFORE_1996: Final = 9  # on the last Sunday of September
_LAST: Final = {3: 31, 9: 30, 10: 31}
_SUNDAY: Final = 6


@lru_cache(maxsize=1 << 14)  # of a pure function: there are so many days since 1987, and on each many domains begin
def midnight(day: date) -> str:
    """Return the moment at which a day begins, as ISO 8601 has it: 2010-06-14T00:00:00+02:00.

    The clocks change in the night of a Sunday after that, so that it is never ambiguous. It is worked out rather than
    looked up: a machine without a database of time zones would answer without a date.
    """
    ends = _last_sunday(day.year, _SUMMER_ENDS if day.year >= 1996 else _ENDED_BEFORE_1996)  # noqa: PLR2004 - the year of it
    is_summer = _last_sunday(day.year, _SUMMER_BEGINS) < day <= ends
    return datetime(day.year, day.month, day.day, tzinfo=_SUMMER if is_summer else _WINTER).isoformat()


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, _LAST[month])
    return last - timedelta(days=(last.weekday() - _SUNDAY) % 7)
