"""Documents of CVR's distribution to facts: made-up twins, beside those of Datafordeleren's files where both tell."""

from datetime import date
from typing import Any

import pytest
from cvr_twins import (
    TODAY,
    answer,
    bankruptcy,
    company,
    credit,
    cvr_number,
    document,
    form,
    hit,
    of_document,
    of_rows,
    period,
)

from whoisd.registry.cvr import distribution, text
from whoisd.registry.cvr.datafordeler import Entity
from whoisd.registry.cvr.facts import UNKNOWN_FORM, Address, facts_on

NUMBER = cvr_number(1)
LIVES = (Entity.COMPANY, company(NUMBER, 1))


def test_a_healthy_company() -> None:
    """A healthy company is listed, lives, is not bankrupt, and has its form, its name and its address."""
    facts = of_document(document(NUMBER))
    assert (facts.listed, facts.ceased, facts.form, facts.bankrupt) == (True, False, 80, False)
    assert facts.name == f"Opdigtet {NUMBER} ApS"
    assert facts.address == Address(("Opdigtet Allé 12B, 3. tv",), "0999", "Ingensteds")


def test_a_state_alone_is_a_bankruptcy() -> None:
    """A company that is UNDER KONKURS, of which there is no credit information, is bankrupt."""
    found = document(NUMBER, virksomhedsstatus=[{"status": "UNDER KONKURS", **period()}])
    assert of_document(found).bankrupt is True


@pytest.mark.parametrize("code", [10, 30, 110])
@pytest.mark.parametrize(("stage", "bankrupt"), [(1, True), (2, False), (3, True), (6, True)])
def test_credit_information_alone_is_a_bankruptcy(code: int, stage: int, bankrupt: bool) -> None:
    """A Konkurs counts on every form, also while the company's state says NORMAL; one that was annulled does not."""
    facts = of_document(document(NUMBER, code, status=[bankruptcy(stage)]))
    assert (facts.bankrupt, facts.form) == (bankrupt, code)
    rows = [LIVES, (Entity.FORM, form(1, str(code))), (Entity.CREDIT, credit(1, str(stage)))]
    facts = of_rows(*rows)
    assert (facts.bankrupt, facts.form) == (bankrupt, code)


@pytest.mark.parametrize("before", [81, 10])
def test_a_form_that_changes(before: int) -> None:
    """A form counts to its last day, and the next from its first."""
    forms = [
        {"virksomhedsformkode": before, **period(ends="2026-11-24")},
        {"virksomhedsformkode": 80, **period("2026-11-25")},
    ]
    found = document(NUMBER, virksomhedsform=forms)
    assert [of_document(found, date(2026, 11, day)).form for day in (24, 25)] == [before, 80]


@pytest.mark.parametrize("before", ["81", "10"])
def test_on_the_day_of_a_change_the_form_of_a_row_is_unknown(before: str) -> None:
    """Whether virkningTil is the last day or the day after is not documented: on it the form is unknown, then the new."""
    changes = "2026-11-25T00:00:00.000000+01:00"
    rows = [LIVES, (Entity.FORM, form(1, before, virkningTil=changes)), (Entity.FORM, form(1, "80", virkningFra=changes))]
    days = [date(2026, 11, day) for day in (24, 25, 26)]
    assert [of_rows(*rows, day=day).form for day in days] == [int(before), UNKNOWN_FORM, 80]


def test_a_closed_form_while_the_state_is_normal() -> None:
    """A company that has ceased has no form; that its state still says NORMAL is nothing."""
    ended = period(ends="2024-02-29")
    facts = of_document(document(NUMBER, livsforloeb=[ended], virksomhedsform=[{"virksomhedsformkode": 80, **ended}]))
    assert (facts.ceased, facts.form, facts.bankrupt) == (True, None, False)


def test_two_open_forms() -> None:
    """Of two forms that are both open none is known."""
    forms = [{"virksomhedsformkode": code, **period()} for code in (10, 80)]
    assert of_document(document(NUMBER, virksomhedsform=forms)).form == UNKNOWN_FORM
    assert of_rows(LIVES, *[(Entity.FORM, form(1, code)) for code in ("10", "80")]).form == UNKNOWN_FORM


def test_a_fault_at_loading_says_nothing() -> None:
    """A fejlVedIndlaesning is true of healthy companies, and counts no more than reklamebeskyttet and virksomhedMetadata."""
    odd = {"fejlVedIndlaesning": True, "reklamebeskyttet": True}
    latest = {"virksomhedMetadata": {"nyesteStatus": {"kreditoplysningkode": 3}, "nyesteVirksomhedsform": {"kode": 10}}}
    assert of_document(document(NUMBER, **odd, **latest)) == of_document(document(NUMBER))


@pytest.mark.parametrize("key", ["virksomhedsform", "livsforloeb", "virksomhedsstatus", "status"])
@pytest.mark.parametrize("how", ["missing", "null"])
def test_what_a_document_does_not_say_is_not_settled(key: str, how: str) -> None:
    """A list that a document lacks, as one of a search for some fields, settles nothing."""
    found = document(NUMBER)
    if how == "null":
        found[key] = None
    else:
        del found[key]
    facts = of_document(found)
    assert (facts.form, facts.ceased, facts.bankrupt) in [(UNKNOWN_FORM, False, False), (80, None, False), (80, False, None)]


@pytest.mark.parametrize("code", [80, "80", "080", " 80 "])
def test_codes_as_numbers_and_texts(code: int | str) -> None:
    """A code is the same as a number and as text."""
    assert of_document(document(NUMBER, code)).form == 80
    assert of_rows(LIVES, (Entity.FORM, form(1, code))).form == 80


@pytest.mark.parametrize("code", [None, "", "ApS", 80.5, True])
def test_a_code_that_is_none(code: object) -> None:
    """What is no code is an unknown form, and not none."""
    assert of_document(document(NUMBER, code)).form == UNKNOWN_FORM
    assert of_rows(LIVES, (Entity.FORM, form(1, code))).form == UNKNOWN_FORM


@pytest.mark.parametrize("given", [NUMBER, str(NUMBER), f" {NUMBER} "])
def test_numbers_as_numbers_and_texts(given: int | str) -> None:
    """A CVR number is the same as a number and as text."""
    assert distribution.document(document(given)).number == NUMBER
    assert text.cvr_number(company(given, 1), "CVRNummer") == NUMBER


@pytest.mark.parametrize("given", [None, "", "9900001", 123456789, 9.9e7, True, "DK99000001", "９９００００１１", [NUMBER]])
def test_a_number_that_is_none(given: object) -> None:
    """What is no CVR number is a fault, which does not repeat it."""
    with pytest.raises(ValueError, match=r"^cvrNummer: must be a CVR number, of 8 digits$"):
        distribution.document(document(given))  # type: ignore[arg-type]


def test_an_item_that_was_registered_by_mistake() -> None:
    """An item of a list that was registered by mistake says nothing, also where it leads."""
    wrong = {"virksomhedsformkode": 10, "fejlRegistreret": True, **period()}
    right = {"virksomhedsformkode": 80, "fejlRegistreret": False, **period()}
    assert of_document(document(NUMBER, virksomhedsform=[wrong, right])).form == 80
    mistaken = document(NUMBER, status=[bankruptcy(1) | {"fejlRegistreret": True}])
    assert of_document(mistaken).bankrupt is False


def test_a_document_that_was_registered_by_mistake() -> None:
    """A document that was registered by mistake is about no company."""
    found = distribution.document(document(NUMBER, fejlRegistreret=True))
    assert distribution.is_mistake(found)
    assert facts_on(found.claims, TODAY).listed is False
    assert not distribution.is_mistake(distribution.document(document(NUMBER)))


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ([{"vaerdi": "true", **period()}], False),
        ([{"vaerdi": True, **period()}], False),
        ([{"vaerdi": "false", **period()}], True),
        ([{"vaerdi": False, **period()}], True),
        ([{"vaerdi": None, **period()}], False),
        ([{"vaerdi": "true", **period(ends="2020-01-01")}, {"vaerdi": "false", **period("2020-01-02")}], True),
        (None, False),
    ],
)
def test_pseudo_numbers(values: list[object] | None, listed: bool) -> None:
    """A number whose attribute does not say that it is no pseudo number is no company's."""
    found = document(NUMBER, attributter=[{"type": "FORMÅL"}, {"type": "PSEUDOCVRNR", "vaerdier": values}])
    assert of_document(found).listed is listed


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"livsforloeb": {}}, "livsforloeb: must be a list"),
        ({"livsforloeb": [1]}, "livsforloeb.0: must be an object"),
        ({"livsforloeb": [{}]}, "livsforloeb.0.periode: must be an object"),
        ({"livsforloeb": [{"periode": {"gyldigFra": None}}]}, "livsforloeb.0.periode.gyldigTil: required"),
        ({"virksomhedsform": [period("i fjor")]}, "virksomhedsform.0.periode.gyldigFra: must be a day or a moment"),
        ({"status": [period(ends="20")]}, "status.0.periode.gyldigTil: must be a day or a moment"),
        ({"sidstOpdateret": "nu"}, "sidstOpdateret: must be a moment"),
    ],
)
def test_faults_of_documents(change: dict[str, Any], fault: str) -> None:
    """A document that is not as CVR's are is refused, by the key and what it must be."""
    with pytest.raises(ValueError, match=f"^{fault}"):
        distribution.document(document(NUMBER, **change))


def test_wrappers() -> None:
    """Companies are found bare, under their name, in _source and in the answer to a search."""
    one, other = document(NUMBER), document(cvr_number(2))
    assert [*distribution.companies(one)] == [one]
    assert [*distribution.companies({"Vrvirksomhed": one})] == [one]
    assert [*distribution.companies(hit(one))] == [one]
    assert [*distribution.companies({"_source": one})] == [one]
    assert [*distribution.companies(answer(one, other))] == [one, other]
    assert [*distribution.companies(answer())] == []


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "not a JSON object"),
        (["x"], "not a JSON object"),
        ({"hits": {"total": 1}}, "hits.hits: must be a list"),
        ({"hits": {"hits": [7]}}, "not a JSON object"),
        ({"_source": None}, "not a JSON object"),
    ],
)
def test_what_is_no_document(value: object, fault: str) -> None:
    """What is no document of a company is a fault."""
    with pytest.raises(ValueError, match=f"^{fault}$"):
        [*distribution.companies(value)]
