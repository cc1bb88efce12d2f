"""Who becomes public: what is withheld of a registrant over all their domains, and what an operator is told of it."""

from datetime import date
from typing import Any

import pytest
from support import registrant

from whoisd.answers.disclosure import Reason
from whoisd.answers.model import CvrForm, DomainStatus, RegistrantKind
from whoisd.registry.newly_shown import AS_ASKED_FOR, MOST_NAMED, NewlyShown, Part, withheld

ACTIVE, DEACTIVATED, RESERVED = DomainStatus.ACTIVE, DomainStatus.DEACTIVATED, DomainStatus.RESERVED
PERSON = {"kind": RegistrantKind.INDIVIDUAL}


@pytest.mark.parametrize(
    ("changes", "statuses", "expected"),
    [
        ({}, [ACTIVE], {}),
        ({}, [DEACTIVATED], {Part.EMAIL: Reason.DEACTIVATED, Part.NAME: Reason.DEACTIVATED}),
        ({}, [ACTIVE, DEACTIVATED], {}),
        ({}, [DEACTIVATED, RESERVED], {}),
        (PERSON, [ACTIVE], {Part.EMAIL: Reason.INDIVIDUAL}),
        (PERSON, [ACTIVE, DEACTIVATED], {Part.EMAIL: Reason.INDIVIDUAL}),
        (PERSON, [DEACTIVATED], {Part.EMAIL: Reason.DEACTIVATED, Part.NAME: Reason.DEACTIVATED}),
        (
            PERSON | {"address_protection": True},
            [ACTIVE],
            {Part.EMAIL: Reason.ADDRESS_PROTECTION, Part.NAME: Reason.ADDRESS_PROTECTION},
        ),
        ({"address_protection": None}, [ACTIVE], {Part.EMAIL: Reason.NOT_SETTLED, Part.NAME: Reason.NOT_SETTLED}),
        ({"id_confirmed": False}, [ACTIVE], {Part.EMAIL: Reason.ID_NOT_CONFIRMED, Part.NAME: Reason.ID_NOT_CONFIRMED}),
        ({"cvr_form": CvrForm.UNKNOWN}, [ACTIVE], {Part.EMAIL: Reason.CVR_FORM_UNKNOWN}),
        ({"email": "none"}, [ACTIVE], {Part.EMAIL: Reason.NOT_SETTLED}),
        ({"email": "ø@eksempel.example"}, [ACTIVE], {}),
    ],
)
def test_withheld(changes: dict[str, Any], statuses: list[DomainStatus], expected: dict[Part, Reason]) -> None:
    """What no domain of a registrant shows is withheld; what one of them shows to whoever asks well is public."""
    assert withheld(registrant(**changes), statuses, AS_ASKED_FOR) == expected


def found(*handles: str) -> NewlyShown:
    """These registrants, whose name becomes public."""
    shown = NewlyShown()
    for handle in handles:
        shown.add(handle, {Part.NAME: Reason.ADDRESS_PROTECTION})
    return shown


def test_nobody() -> None:
    """Of nobody nothing is told, and nothing refused."""
    assert [*NewlyShown().lines()] == []
    assert NewlyShown().refusal(0) == []


def test_lines() -> None:
    """An operator is told how many, what of them by the reason that withheld it, and their handles."""
    shown = found("B-DK")
    shown.add("A-DK", {Part.EMAIL: Reason.DEACTIVATED, Part.NAME: Reason.DEACTIVATED})
    assert [*shown.lines()] == [
        "newly shown: 2 registrants, withheld until now",
        "  email of 1, withheld until now: deactivated",
        "  name of 1, withheld until now: address_protection",
        "  name of 1, withheld until now: deactivated",
        "  A-DK, B-DK",
    ]


def test_later() -> None:
    """Of whom a part becomes public at once and another later, each is told once; whom only a later day shows is counted."""
    shown = found("A-DK")
    both = {Part.EMAIL: Reason.DEACTIVATED, Part.NAME: Reason.DEACTIVATED}
    assert shown.add("A-DK", both, date(2027, 1, 1)) == {Part.EMAIL: Reason.DEACTIVATED}
    assert shown.add("A-DK", both, date(2027, 1, 2)) == {}
    shown.add("C-DK", both, date(2027, 3, 1))
    shown.add("B-DK", both, date(2027, 2, 1))
    assert [*shown.lines()] == [
        "newly shown: 3 registrants, withheld until now",
        "  email of 3, withheld until now: deactivated",
        "  name of 1, withheld until now: address_protection",
        "  name of 2, withheld until now: deactivated",
        "  A-DK, B-DK, C-DK",
        "  2 of them on a later day, by what CVR says of it: 2027-02-01 is the first",
    ]


def test_many() -> None:
    """Of many the first in the order of their handles are named, and the others counted."""
    handles = [f"A{number:04}-DK" for number in range(1_200)]
    shown = found(*reversed(handles))
    assert [*shown.lines()][-1] == f"  {', '.join(handles[:MOST_NAMED])} and 1,190 more"


@pytest.mark.parametrize(("most", "refused"), [(0, True), (2, True), (3, False), (4, False)])
def test_refusal(most: int, refused: bool) -> None:
    """A change is refused when it shows more than it may, with what an operator is told of it."""
    shown = found("A", "B", "C")
    lines = shown.refusal(most)
    assert bool(lines) is refused
    if refused:
        assert lines[0] == (
            f"3 registrants, withheld until now, would become public, more than --max-newly-shown {most} allows: does the"
            " data say all that it must? If it does, allow more"
        )
        assert lines[1:] == [*shown.lines()]
