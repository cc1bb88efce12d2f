"""What the contract of the views refuses: a column of another type, a name as nobody asks for it, a day that is none."""

from datetime import date

import pytest

from whoisd.database.views import DOMAIN, HOST, decode_day, encode_day


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ({"name": "text", "glue": "bool"}, ""),
        ({"name": "varchar", "glue": "bool"}, ""),
        ({"name": "bpchar", "glue": "bool"}, "whois.host.name is of type char(n), and must be text"),
        ({"name": "text", "glue": "text"}, "whois.host.glue is of type text, and must be boolean"),
    ],
)
def test_types(found: dict[str, str], fault: str) -> None:
    """A column of another type than agreed is named, with both types."""
    assert HOST.fault_of_types(found) == fault


@pytest.mark.parametrize(
    ("name", "right"),
    [("eksempel.dk", True), ("xn--4cabco7dk5a.dk", True), ("ns_1.example.net", True), ("EKSEMPEL.DK", False)]
    + [(name, False) for name in ("Eksempel.dk", "eksempel.dk.", "eksempel.dk ", "æøå.dk", "", "eksempel.dk\n", None)],
)
def test_names(name: str | None, right: bool) -> None:
    """A name is spelled in lower case, as A-labels, without a trailing dot or blanks; any other would never be found."""
    fault = DOMAIN.fault_of_names(["a.dk", name])
    assert fault == "" if right else fault.startswith("whois.domain.name must be in lower case")


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(9999, 12, 31)])
def test_days(day: date) -> None:
    """Every day that Python knows is decoded to itself."""
    assert decode_day(encode_day(day)) == day


@pytest.mark.parametrize("days", [2**31 - 1, -(2**31), date.max.toordinal(), encode_day(date.min)[0] - 1])
def test_no_days(days: int) -> None:
    """Infinity, either way, and days beyond the years 1 to 9999 are no dates."""
    assert not isinstance(decode_day((days,)), date)
