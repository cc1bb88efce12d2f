"""What the pool of hosts decides: whom to serve by, when to connect, when to look for a better host."""

from typing import Final

import pytest

from whoisd.database.hosts import BEST, Merit, Step, is_search_due, next_step

SECOND: Final = (0, 1)
THIRD: Final = (0, 2)
STANDBY_WANTED: Final = (1, 0)  # the first host, of a kind that is wanted less


@pytest.mark.parametrize(
    ("used", "found", "step"),
    [
        (BEST, None, Step.SERVE),
        (THIRD, None, Step.SERVE),
        (THIRD, SECOND, Step.SWITCH),
        (STANDBY_WANTED, THIRD, Step.SWITCH),
        (SECOND, SECOND, Step.SERVE),
        (SECOND, THIRD, Step.SERVE),
        (None, THIRD, Step.SWITCH),
        (None, None, Step.CONNECT),
    ],
)
def test_next_step(used: Merit | None, found: Merit | None, step: Step) -> None:
    """What was found is taken where it is better or there is no other; without either a host is connected to."""
    assert next_step(used, found, now=10.0, retry_at=10.0) is step


def test_fresh_failure_refuses() -> None:
    """While the last failure is fresh nobody connects; a connection that there is, or was found, serves all the same."""
    assert next_step(None, None, now=9.9, retry_at=10.0) is Step.REFUSE
    assert next_step(SECOND, None, now=9.9, retry_at=10.0) is Step.SERVE
    assert next_step(None, SECOND, now=9.9, retry_at=10.0) is Step.SWITCH


@pytest.mark.parametrize(("used", "now", "due"), [(BEST, 99.0, False), (SECOND, 9.0, False), (SECOND, 10.1, True)])
def test_search(used: Merit, now: float, due: bool) -> None:
    """A better host than the best is not looked for, and than any other one only when the time has come."""
    assert is_search_due(used, now, search_at=10.0) is due
