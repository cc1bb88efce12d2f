"""The disclosure report as a page: its words are the rules', its figures the report's, and it loads nothing."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lxml import html

from whoisd.answers.disclosure import RULES, Reason, Verdict
from whoisd.answers.page import Language, reason_in
from whoisd.answers.wire import Charset
from whoisd.registry.report import REASONS, Report, counts_of
from whoisd.registry.report_page import to_html

MADE_AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
SOME = {
    Verdict(True, Reason.LOCKED_TO_CVR): 1_234_567,
    Verdict(False, Reason.INDIVIDUAL): 1_000_000,
    Verdict(False, Reason.SOLE_PROPRIETORSHIP): 2,
}


def report(
    verdicts: dict[Verdict, int] | None = None, *, made_at: datetime = MADE_AT, in_force: bool = True, age: float | None = 5
) -> Report:
    """A report of these verdicts; of a few of them unless others are given."""
    found = SOME if verdicts is None else verdicts
    return Report(
        report="disclosure",
        format=1,
        version="1.2.3",
        made_at=made_at,
        at=made_at,
        in_force_from=MADE_AT - timedelta(days=1) if in_force else MADE_AT + timedelta(days=1),
        in_force=in_force,
        charset=Charset.UTF_8,
        registrants=counts_of("registrants", found),
        domains=counts_of("domains", found),
        data_age=age,
    )


def page(
    now: Report | None = None,
    before: Report | None = None,
    language: Language = Language.ENGLISH,
    operator: str = "Registret",
) -> Any:
    return html.document_fromstring(to_html(now or report(), before, language, operator))


def said(found: Any) -> str:
    """The words of a page or of a part of it, with one space between."""
    return " ".join(" ".join(found.itertext()).split())


def items(found: Any, where: str) -> list[str]:
    return [said(item) for item in found.xpath(where)]


def words(reason: Reason, language: Language = Language.ENGLISH) -> str:
    """A reason as the page has it."""
    return f"{reason_in(language, reason)} {reason}"


# --- the figures -------------------------------------------------------------------------------------------------


def test_bars() -> None:
    """Each reason that occurred has a bar as long as its share, and says how many of how many, the most first."""
    registrants = page().xpath("//section[@aria-labelledby='registrants']")[0]
    assert [item.split(" of ")[0].rpartition(" ")[2] for item in items(registrants, ".//li")] == [
        "1,234,567",
        "1,000,000",
        "2",
    ]
    assert items(registrants, ".//li//code") == ["locked_to_cvr", "individual", "sole_proprietorship"]
    assert items(registrants, ".//li/p[@class='number']") == [
        "1,234,567 of 2,234,569 (55 %)",
        "1,000,000 of 2,234,569 (45 %)",
        "2 of 2,234,569 (< 1 %)",
    ]
    assert registrants.xpath(".//li//rect[not(@class='rest')]/@width") == ["55.25", "44.75", "0.5"]
    assert registrants.xpath(".//*[@class='whole']/rect[@class='shown']/@width") == ["55.25"]
    assert "Of 2,234,569 registrants the email of 1,234,567 is shown, and that of 1,000,002 withheld." in said(registrants)


def test_danish() -> None:
    """In Danish all words are, and numbers are written as they are there."""
    found = page(language=Language.DANISH, before=report(made_at=MADE_AT - timedelta(days=30)))
    assert found.get("lang") == "da"
    assert "1.234.567 af 2.234.569 (55 %)" in said(found)
    assert "CVR en enkeltmandsvirksomhed" in said(found)
    assert "Ændringer siden 2026-09-01 12:00 UTC" in said(found)
    assert not re.search("registrant is|withheld|shown of", said(found.body))


@pytest.mark.parametrize("language", Language)
def test_nothing_to_count(language: Language) -> None:
    """A registry without a registrant has a page too."""
    found = page(report({}), language=language)
    assert found.xpath("//ul[@class='bars']") == []
    assert found.xpath("//*[@class='whole']/rect[@class='shown']/@width") == ["0.0"] * 2


def test_no_share_is_rounded_to_nothing_or_to_all() -> None:
    """A single one of a million is not said to be 0 %, nor are all others 100 %."""
    found = page(report({Verdict(True, Reason.LOCKED_TO_CVR): 1, Verdict(False, Reason.INDIVIDUAL): 1_000_000}))
    numbers = items(found, "//section[@aria-labelledby='domains']//p[@class='number']")
    assert numbers == ["1 of 1,000,001 (< 1 %)", "1,000,000 of 1,000,001 (> 99 %)"]


# --- when, and of which data -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (0, "less than 2 minutes old"),
        (-60, "less than 2 minutes old"),
        (119.9, "less than 2 minutes old"),
        (120, "2 minutes old"),
        (7_199, "119 minutes old"),
        (7_200, "2 hours old"),
        (172_800, "2 days old"),
        (None, "of an age that is not known"),
        (-3_600, "of an age that is not known"),  # of a clock that is ahead
    ],
)
def test_age(age: float | None, words: str) -> None:
    """The page says of when its data is and how old it was then."""
    assert items(page(report(age=age)), "//header//li")[0] == f"Data of 2026-10-01 12:00 UTC, {words}"


def test_too_old() -> None:
    """Where emails are withheld for the age of the data, that is said before anything else; else nothing is."""
    found = page(report({Verdict(False, Reason.DATA_TOO_OLD): 3}, age=9_000))
    assert said(found.xpath("//main/*[1]")[0]) == (
        "The data is older than the operator allows, or its age is not known: every email is withheld."
    )
    assert page().xpath("//*[@class='notice']") == []


@pytest.mark.parametrize(("in_force", "words"), [(True, "are in force since 2026-09-30"), (False, "are not yet in force")])
def test_force(in_force: bool, words: str) -> None:
    """The page says whether the rules are in force."""
    assert words in said(page(report(in_force=in_force)).xpath("//header")[0])


# --- changes -----------------------------------------------------------------------------------------------------


def test_changes() -> None:
    """With an earlier report each count that changed is told, from and to, the largest change first, and no other."""
    earlier = {
        Verdict(True, Reason.LOCKED_TO_CVR): 1_234_560,
        Verdict(False, Reason.INDIVIDUAL): 1_000_000,
        Verdict(False, Reason.SOLE_PROPRIETORSHIP): 12,
    }
    found = page(before=report(earlier, made_at=MADE_AT - timedelta(days=30), in_force=False))
    changes = found.xpath("//section[@aria-labelledby='changes']")[0]
    assert items(changes, ".//h2") == ["Changes since 2026-09-01 12:00 UTC"]
    assert "not yet in force" in said(changes)
    assert items(changes, "(.//ul[@class='changes'])[1]/li") == [
        f"Withheld: from 12 to 2, 10 fewer than before {words(Reason.SOLE_PROPRIETORSHIP)}",
        f"Shown: from 1,234,560 to 1,234,567, 7 more than before {words(Reason.LOCKED_TO_CVR)}",
    ]


def test_no_changes() -> None:
    """Where nothing has changed the page says so; without an earlier report there is no such part."""
    assert said(page(before=report())).count("Nothing has changed.") == 2
    assert page().xpath("//*[@id='changes']") == []


# --- the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", Language)
def test_rules(language: Language) -> None:
    """The rules stand in the order of their table, in its reasons' words; what else withholds stands behind them."""
    section = page(language=language).xpath("//section[@aria-labelledby='rules']")[0]
    reasons = items(section, ".//ol/li/code")
    table = [rule.reason for number, rule in enumerate(RULES) if not number or RULES[number - 1].reason is not rule.reason]
    assert reasons == [*table, Reason.NOT_SETTLED]
    emails = {True: ("Shown.", "Vises."), False: ("Withheld.", "Tilbageholdes.")}
    shown = {rule.reason for rule in RULES if rule.shown}
    for item, reason in zip(section.xpath(".//ol/li"), reasons, strict=True):
        email = emails[Reason(reason) in shown][language is Language.DANISH]
        assert said(item) == f"{email} {words(Reason(reason), language)}"
    besides = items(section, ".//ul/li/code")
    assert {*reasons, *besides} == {*REASONS["domains", "shown"], *REASONS["domains", "withheld"]}


# --- the page ----------------------------------------------------------------------------------------------------


def test_self_contained() -> None:
    """The page has no script, no link, no form and no attribute of style, and its policy forbids all that it lacks."""
    found = page(before=report())
    assert found.xpath("//script | //a | //img | //iframe | //form | //object | //@style | //@src") == []
    assert found.xpath("//@href") == ["data:,"]
    (policy,) = found.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"url\(|@import", said(found.xpath("//style")[0]))


def test_operator_is_text() -> None:
    """Whatever the operator is called, it is text on the page."""
    name = '<script>alert(1)</script> & "Søn"'
    found = page(operator=name)
    assert found.xpath("//script") == []
    assert name in said(found.xpath("//footer")[0])
