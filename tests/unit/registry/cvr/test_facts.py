"""What CVR's claims make of a company on a day, and when that changes."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoisd.registry.cvr.facts import (
    ALWAYS,
    DAY,
    UNKNOWN_FORM,
    Address,
    Claim,
    Facts,
    Life,
    Period,
    State,
    Topic,
    Unreal,
    code_of,
    credit_claims,
    facts_on,
    status_claims,
    timeline,
)

TODAY = date(2026, 11, 25)
LIVES = Claim(Topic.LIFE, Life.ALIVE, ALWAYS)


def until(day: date) -> Period:
    """A period that ends with a day, which is one of it."""
    return Period(None, day, day)


def until_either(day: date) -> Period:
    """A period whose last day is a day or the day before: CVR does not say which."""
    return Period(None, day - DAY, day)


def since(day: date) -> Period:
    return Period(day, None, None)


def form(code: int | str, period: Period = ALWAYS) -> Claim:
    return Claim(Topic.FORM, str(code), period)


# --- periods -------------------------------------------------------------------------------------------------------


def test_a_period_holds_from_its_first_to_its_last_day() -> None:
    """A period holds on its first day and on its last, and neither before nor after."""
    held = Period(date(2026, 1, 1), date(2026, 1, 31), date(2026, 1, 31))
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1)]
    assert [held.holds(day) for day in days] == [False, True, True, False]


def test_where_the_readings_of_a_last_day_differ_nothing_is_known() -> None:
    """On a day that is the last by one reading, and the first after by the other, it is not known whether a period holds."""
    held = until_either(date(2026, 1, 31))
    assert [held.holds(date(2026, 1, day)) for day in (30, 31)] == [True, None]
    assert held.holds(date(2026, 2, 1)) is False


def test_a_period_may_end_with_the_calendar() -> None:
    """The last day that there is has no day after it."""
    assert [*Period(None, date.max, date.max).changes()] == []


# --- form ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ([], None),
        ([form(80)], 80),
        ([form(80), form("080")], UNKNOWN_FORM),  # which the readers would have written alike
        ([form(80), form(80, since(date(2020, 1, 1)))], 80),
        ([form(10), form(80)], UNKNOWN_FORM),
        ([form(81, until(TODAY - DAY)), form(80, since(TODAY))], 80),
        ([form(81, until(TODAY)), form(80, since(TODAY + DAY))], 81),
        ([form(10, until_either(TODAY)), form(80, since(TODAY))], UNKNOWN_FORM),
        ([form(80, until_either(TODAY)), form(80, since(TODAY))], 80),
        ([form(80, until_either(TODAY))], UNKNOWN_FORM),
        ([form(80, until(TODAY - DAY))], None),
        ([form(80, since(TODAY + DAY))], None),
        ([form("?")], UNKNOWN_FORM),
        ([form("²")], UNKNOWN_FORM),
        ([form(80), form("?")], UNKNOWN_FORM),
    ],
)
def test_form(claims: list[Claim], code: int | None) -> None:
    """The form is the one distinct code that holds on the day; where there are several, or two readings, it is unknown."""
    assert facts_on(claims, TODAY).form == code


# --- bankruptcy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "bankrupt"),
    [(1, True), (2, False), (3, True), (4, True), (5, True), (6, True), (7, True), (None, True), ("2", False), ("1", True)],
)
@pytest.mark.parametrize("kind", [3, "3"])
def test_a_bankruptcy_by_its_stage(kind: int | str, stage: int | str | None, bankrupt: bool) -> None:
    """A Konkurs is a bankruptcy at every stage, also at one that is none of CVR's, but where its order is annulled (2)."""
    claims = [*credit_claims(kind, "Konkurs", stage, None, ALWAYS)]
    assert facts_on(claims, TODAY).bankrupt is bankrupt


@pytest.mark.parametrize(
    ("kind", "text", "stage", "stage_text", "bankrupt"),
    [
        (1, "Tvangsakkord", 1, None, False),
        ("1", None, None, None, False),
        (None, "Tvangsakkord", None, None, False),
        (1, "Konkurs", 1, None, True),  # the code and the text differ
        (3, "Tvangsakkord", 1, None, True),
        (None, "konkurs", None, None, True),
        (3, None, None, None, True),
        (2, "Rekonstruktion", 1, None, None),  # no words that we know
        (1, "Rekonstruktion", 1, None, None),
        (None, None, None, None, None),
        (True, None, None, None, None),
        (3, "Konkurs", 2, "Dekret", True),  # the stage and its text differ
        (3, "Konkurs", 2, "Ophævelse af dekret", False),
        (3, "Konkurs", None, "Ophævelse af dekret", True),
        (3, "Konkurs", True, None, True),
    ],
)
def test_credit_information(kind: object, text: object, stage: object, stage_text: object, bankrupt: bool | None) -> None:
    """What may be a bankruptcy is one, and of words that are none of CVR's nothing is settled."""
    assert facts_on(credit_claims(kind, text, stage, stage_text, ALWAYS), TODAY).bankrupt is bankrupt


@pytest.mark.parametrize(
    ("word", "bankrupt", "ceased"),
    [
        ("NORMAL", False, False),
        ("Under Konkurs", True, False),
        ("UNDER  KONKURS ", True, False),
        ("UNDER REKONSTRUKTION", False, False),
        ("UNDER FRIVILLIG LIKVIDATION", False, False),
        ("UNDER TVANGSOPLØSNING", False, False),
        ("UNDER REASSUMERING", False, False),
        ("OMDANNET", False, False),
        ("OPLØST EFTER KONKURS", False, None),
        ("OPLØST EFTER GRÆNSEOVERSKRIDENDE FUSION", False, None),
        ("SLETTET", False, None),
        ("TVANGSOPLØST", False, None),
        ("UDEN RETSVIRKNING", False, None),
        ("PÅ FERIE", None, False),
        ("", None, False),
    ],
)
def test_states(word: str, bankrupt: bool | None, ceased: bool | None) -> None:
    """UNDER KONKURS is a bankruptcy; that it ended contradicts a company's life; a word that CVR has not settles nothing."""
    facts = facts_on([LIVES, *status_claims(word, ALWAYS)], TODAY)
    assert (facts.bankrupt, facts.ceased) == (bankrupt, ceased)


def test_a_bankruptcy_that_may_have_ended_is_not_settled() -> None:
    """On the day on which a bankruptcy ends by one reading it is not known; the day after, it is none."""
    claims = [*credit_claims(3, "Konkurs", 1, None, until_either(TODAY))]
    assert facts_on(claims, TODAY).bankrupt is None
    assert facts_on(claims, TODAY + DAY).bankrupt is False


# --- life ------------------------------------------------------------------------------------------------------------


def life(value: Life, period: Period = ALWAYS, mark: int = 0) -> Claim:
    return Claim(Topic.LIFE, value, period, mark)


@pytest.mark.parametrize(
    ("claims", "ceased"),
    [
        ([LIVES], False),
        ([], True),
        ([life(Life.ALIVE, until(TODAY - DAY))], True),
        ([life(Life.ALIVE, until(TODAY))], False),
        ([life(Life.ALIVE, until_either(TODAY))], None),
        ([life(Life.ALIVE, until_either(TODAY)), life(Life.ALIVE, since(TODAY))], False),
        ([life(Life.ENDED)], True),
        ([LIVES, life(Life.ENDED)], None),
        ([life(Life.ALIVE, since(TODAY + DAY))], None),  # it does not live yet
        ([life(Life.UNKNOWN)], None),
        ([life(Life.ALIVE, mark=1), life(Life.ALIVE, mark=2)], None),  # two units of one number
        ([life(Life.ALIVE, mark=1), life(Life.ALIVE, since(date(2020, 1, 1)), mark=1)], False),
    ],
)
def test_ceased(claims: list[Claim], ceased: bool | None) -> None:
    """A company without a life that holds has ceased; where it may have, or records contradict each other, nobody knows."""
    assert facts_on(claims, TODAY).ceased is ceased


MISTAKE = Claim(Topic.UNREAL, Unreal.MISTAKE, ALWAYS)


@pytest.mark.parametrize(
    ("claims", "listed"),
    [
        ([LIVES], True),
        ([MISTAKE], False),
        ([MISTAKE, LIVES], True),  # another record of the number
        ([MISTAKE, life(Life.ENDED)], True),
        ([MISTAKE, life(Life.UNKNOWN)], None),
        ([MISTAKE, life(Life.ALIVE, until_either(TODAY))], None),
        ([Claim(Topic.UNREAL, Unreal.MISTAKE, until_either(TODAY))], None),
        ([LIVES, Claim(Topic.UNREAL, Unreal.PSEUDO, ALWAYS)], False),
        ([LIVES, Claim(Topic.UNREAL, Unreal.PSEUDO, until(TODAY - DAY))], True),
        ([LIVES, Claim(Topic.UNREAL, Unreal.PSEUDO, until_either(TODAY))], None),
    ],
)
def test_listed(claims: list[Claim], listed: bool | None) -> None:
    """A pseudo number is no company's; a record that was registered by mistake is none, and yields to any other."""
    assert facts_on(claims, TODAY).listed is listed


# --- names and addresses -----------------------------------------------------------------------------------------


def named(text: str, place: int = 0, period: Period = ALWAYS) -> Claim:
    return Claim(Topic.NAME, text, period, place)


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ([], None),
        ([named("Opdigtet A/S")], "Opdigtet A/S"),
        ([named("Binavn", 1), named("Opdigtet A/S", 0), named("Bibinavn", 2)], "Opdigtet A/S"),
        ([named("Det ene"), named("Det andet")], None),
        ([named("Før", 0, until_either(TODAY)), named("Nu", 0, since(TODAY))], None),
        ([named("Før", 0, until(TODAY - DAY)), named("Nu", 0, since(TODAY))], "Nu"),
    ],
)
def test_name(claims: list[Claim], name: str | None) -> None:
    """The name is the first in CVR's order; of two, and where readings differ, there is none."""
    assert facts_on(claims, TODAY).name == name


def test_address() -> None:
    """An address comes out as it went in; of two there is none."""
    one, other = Address(("c/o Ingen", "Vej 1"), "0999", "Ingensteds"), Address(("Vej 2",), "9998", "Andensteds")
    claims = [Claim(Topic.ADDRESS, each.pack(), ALWAYS) for each in (one, other)]
    assert [facts_on([claim], TODAY).address for claim in claims] == [one, other]
    assert facts_on(claims, TODAY).address is None


# --- in time ---------------------------------------------------------------------------------------------------------


def test_a_form_to_come_takes_effect_on_its_day() -> None:
    """What begins or ends in the future is in the timeline at its day; where readings differ that day is unknown."""
    ends = date(2026, 12, 1)
    spans = timeline([LIVES, form(80, until_either(ends)), form(10, since(ends))], TODAY)
    assert [(span.begins, span.until, span.facts.form) for span in spans] == [
        (None, ends, 80),
        (ends, ends + DAY, UNKNOWN_FORM),
        (ends + DAY, None, 10),
    ]


def test_what_does_not_change_is_one_span() -> None:
    """A day on which nothing changes but the claims begins no span."""
    ends = date(2026, 12, 1)
    spans = timeline([LIVES, form(80, until(ends)), form(80, since(ends + DAY))], TODAY)
    assert [(span.begins, span.until) for span in spans] == [(None, None)]


DAYS = st.dates(date(2026, 11, 1), date(2026, 12, 31))


@st.composite
def _periods(draw: st.DrawFn) -> Period:
    begins, ends = draw(st.none() | DAYS), draw(st.none() | DAYS)
    return Period(begins, None if ends is None else ends - draw(st.sampled_from([timedelta(0), DAY])), ends)


CLAIMS = st.lists(
    st.builds(
        lambda said, period: said._replace(period=period),
        st.sampled_from(
            [LIVES, life(Life.ENDED), form(80), form(10), MISTAKE, Claim(Topic.STATE, State.BANKRUPT, ALWAYS), named("Nu")]
        ),
        _periods(),
    ),
    max_size=6,
)


def _days(spans: list[tuple[date | None, date | None, Facts]], day: date) -> Iterator[Facts]:
    for begins, after, facts in spans:
        if (begins is None or begins <= day) and (after is None or day < after):
            yield facts


@given(CLAIMS, DAYS)
def test_a_timeline_has_each_later_day_once(claims: list[Claim], day: date) -> None:
    """On every day from the first the timeline has the facts of that day, once."""
    spans = [(span.begins, span.until, span.facts) for span in timeline(claims, day)]
    for later in range(70):
        on = day + timedelta(days=later)
        assert [*_days(spans, on)] == [facts_on(claims, on)]


@given(CLAIMS, DAYS)
def test_the_order_of_claims_does_not_matter(claims: list[Claim], day: date) -> None:
    """Files are in no order: whatever comes first, the facts are the same."""
    assert facts_on(claims, day) == facts_on(claims[::-1], day)


@given(st.integers() | st.text() | st.booleans() | st.none() | st.floats())
def test_a_code_is_a_number(value: object) -> None:
    """A code is a whole number or text of ASCII digits, and nothing else."""
    code = code_of(value)
    assert code is None or isinstance(code, int)
    if isinstance(value, str):
        assert (code is not None) == (value.strip().isascii() and value.strip().isdigit())


def test_facts_are_not_told() -> None:
    """No log and no traceback shows the name of a company, which may be a person's."""
    assert repr(facts_on([named("Opdigtet Person")], TODAY)) == "Facts(...)"
