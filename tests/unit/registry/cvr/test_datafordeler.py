"""Rows of Datafordeleren's files to facts: made-up twins, and the names of its files."""

from datetime import date
from typing import Any

import pytest
from cvr_twins import address, company, credit, cvr_number, form, name, of_rows, row

from whoisd.registry.cvr import datafordeler
from whoisd.registry.cvr.datafordeler import Download, Entity
from whoisd.registry.cvr.facts import Address

NUMBER = cvr_number(1)
LIVES = (Entity.COMPANY, company(NUMBER, 1))


@pytest.mark.parametrize(
    ("status", "listed", "ceased", "bankrupt"),
    [
        ("aktiv", True, False, False),
        ("AKTIV", True, False, False),
        ("inaktiv", True, True, False),
        ("fejloprettet", False, True, False),
        ("UNDER KONKURS", True, None, True),
        ("sovende", True, None, None),
        (None, True, None, None),
    ],
)
def test_status(status: Any, listed: bool, ceased: bool | None, bankrupt: bool | None) -> None:
    """A company is what its status says, and of a word that CVR has not nothing is settled."""
    facts = of_rows((Entity.COMPANY, company(NUMBER, 1, status)))
    assert (facts.listed, facts.ceased, facts.bankrupt) == (listed, ceased, bankrupt)


@pytest.mark.parametrize(
    ("ceases", "ceased"),
    [("2026-11-24", True), ("2026-11-25", None), ("2026-11-26", False), ("2026-11-25T00:00:00Z", None), (None, False)],
)
def test_a_day_of_ceasing(ceases: str | None, ceased: bool | None) -> None:
    """A company has ceased when its last day is past, whatever its status says; on that day it is not known."""
    assert of_rows((Entity.COMPANY, company(NUMBER, 1, virksomhedOphoersdato=ceases))).ceased is ceased


def test_a_company_to_come() -> None:
    """A company that begins in the future does not live yet."""
    rows = (Entity.COMPANY, company(NUMBER, 1, virksomhedStartdato="2026-12-01"))
    assert [of_rows(rows, day=date(2026, month, 1)).ceased for month in (11, 12)] == [None, False]


def test_several_rows_of_one_company() -> None:
    """Of rows with histories those count that are in effect, and were not superseded by others."""
    before = company(NUMBER, 1, virkningTil="2020-01-01T00:00:00+01:00", registreringTil=None)
    superseded = form(1, "10", registreringTil="2021-01-01T00:00:00Z")
    now = company(NUMBER, 1, virkningFra="2020-01-01T00:00:00+01:00")
    facts = of_rows((Entity.COMPANY, before), (Entity.COMPANY, now), (Entity.FORM, superseded), (Entity.FORM, form(1, "80")))
    assert (facts.ceased, facts.form) == (False, 80)


def test_two_units_of_one_number() -> None:
    """Two units that both live under one number contradict each other."""
    assert of_rows(LIVES, (Entity.COMPANY, company(NUMBER, "2"))).ceased is None


def test_a_mistaken_row_yields() -> None:
    """A row that was registered by mistake says nothing where another is of the same number."""
    facts = of_rows((Entity.COMPANY, company(NUMBER, 2, "fejloprettet")), LIVES)
    assert (facts.listed, facts.ceased) == (True, False)


def test_the_main_name() -> None:
    """The main name is the one of the lowest sekvens."""
    names = [(Entity.NAME, name(1, "Binavn", "1")), (Entity.NAME, name(1, "Opdigtet A/S", "0"))]
    assert of_rows(LIVES, *names).name == "Opdigtet A/S"


@pytest.mark.parametrize("odd", ["", " ", "a\x00b", "x" * 256, "No entries found for the selected source.", None, 7.5])
def test_a_name_that_cannot_be_shown(odd: Any) -> None:
    """A name that is no line of an answer, or that clients would misread, is none; white space is made even."""
    assert of_rows(LIVES, (Entity.NAME, name(1, odd))).name is None
    assert of_rows(LIVES, (Entity.NAME, name(1, " To\u00a0 ord\n"))).name == "To ord"


@pytest.mark.parametrize(
    ("values", "street"),
    [
        ({}, ("Opdigtet Allé 12B, 3. tv",)),
        ({"CVRAdresse_etagebetegnelse": None, "CVRAdresse_doerbetegnelse": None}, ("Opdigtet Allé 12B",)),
        ({"CVRAdresse_husnummerTil": "14"}, ("Opdigtet Allé 12B-14, 3. tv",)),
        ({"CVRAdresse_husnummerTil": "12B", "CVRAdresse_doerbetegnelse": None}, ("Opdigtet Allé 12B, 3.",)),
        ({"CVRAdresse_etagebetegnelse": "ST", "CVRAdresse_doerbetegnelse": "7"}, ("Opdigtet Allé 12B, st. 7",)),
        ({"coNavn": "Ingen Bestemt"}, ("c/o Ingen Bestemt", "Opdigtet Allé 12B, 3. tv")),
        ({"coNavn": "C/O Ingen"}, ("C/O Ingen", "Opdigtet Allé 12B, 3. tv")),
        (
            {"coNavn": "Ingen", "CVRAdresse_supplerendeBynavn": "Udby", "CVRAdresse_postboks": "9"},
            ("c/o Ingen", "Opdigtet Allé 12B, 3. tv", "Udby, Postboks 9"),
        ),
        ({"CVRAdresse_vejnavn": None, "CVRAdresse_adresseFritekst": "Gården ved søen"}, ("Gården ved søen",)),
    ],
)
def test_addresses(values: dict[str, Any], street: tuple[str, ...]) -> None:
    """An address has up to three lines, as Danes write them."""
    assert of_rows(LIVES, (Entity.ADDRESS, address(1, **values))).address == Address(street, "0999", "Ingensteds")


@pytest.mark.parametrize(
    "values",
    [
        {"CVRAdresse_landekode": "SE"},
        {"CVRAdresse_landekode": None},
        {"CVRAdresse_postnummer": None},
        {"CVRAdresse_postdistrikt": ""},
        {"CVRAdresse_vejnavn": None},
        {"CVRAdresse_vejnavn": "x" * 250},
        {"AdresseringAnvendelse": "postadresse"},
    ],
)
def test_addresses_that_are_not_taken(values: dict[str, Any]) -> None:
    """An address abroad, for post, or with a part missing leaves the registry's own as it is."""
    assert of_rows(LIVES, (Entity.ADDRESS, address(1, **values))).address is None


@pytest.mark.parametrize("key", ["virkningFra", "virkningTil", "registreringTil"])
@pytest.mark.parametrize("entity", [*Entity])
def test_a_row_without_its_periods(entity: Entity, key: str) -> None:
    """A row that does not tell when it is in effect is a fault, and not in effect for ever."""
    rows = {
        Entity.COMPANY: company(NUMBER, 1),
        Entity.FORM: form(1, "80"),
        Entity.CREDIT: credit(1, "1"),
        Entity.NAME: name(1, "Opdigtet"),
        Entity.ADDRESS: address(1),
    }
    found = {name: value for name, value in rows[entity].items() if name != key}
    with pytest.raises(ValueError, match=f"^{key}: required$"):
        of_rows((entity, found))


@pytest.mark.parametrize(
    ("entity", "found", "fault"),
    [
        (Entity.COMPANY, row(CVRNummer=NUMBER, id=1), "status: required"),
        (Entity.COMPANY, company(NUMBER, 1, virkningTil=7), "virkningTil: must be a day or a moment"),
        (Entity.FORM, row(CVREnhedsId=1), "vaerdi: required"),
        (Entity.CREDIT, row(CVREnhedsId=1), "Kreditoplysning: required"),
        (Entity.NAME, row(CVREnhedsId=1, vaerdi="x"), "sekvens: required"),
        (Entity.ADDRESS, row(CVREnhedsId=1), "AdresseringAnvendelse: required"),
    ],
)
def test_faults_of_rows(entity: Entity, found: dict[str, Any], fault: str) -> None:
    """A row of another entity, or of another form, is a fault by its key."""
    with pytest.raises(ValueError, match=f"^{fault}"):
        of_rows((entity, found))


@pytest.mark.parametrize("given", [7, "7", "007"])
def test_units_as_numbers_and_texts(given: int | str) -> None:
    """A unit is the same as a number and as text."""
    assert datafordeler.unit(form(given, "80")) == 7


# --- names of files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["zip", "json"])
@pytest.mark.parametrize("history", ["Current", "Temporal", "Bitemporal"])
def test_names_of_files(history: str, ending: str) -> None:
    """A file of any history is known by its name."""
    name = f"CVR_V2_Virksomhedsform_TotalDownload_json_{history}_345.{ending}"
    assert datafordeler.download(name) == Download(Entity.FORM, history, 345)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("CVR_V2_Virksomhed_DeltaDownload_json_Current_345.zip", "is a DeltaDownload, and only a TotalDownload is complete"),
        ("CVR_V2_Virksomhed_TotalDownload_csv_Current_345.zip", "is CSV: download it as JSON"),
        ("CVR_V2_Branche_TotalDownload_json_Current_345.zip", "is of the entity Branche, which is not read"),
    ],
)
def test_files_that_cannot_be_used(name: str, fault: str) -> None:
    """A file that cannot be used is refused for what it is."""
    with pytest.raises(ValueError, match=fault):
        datafordeler.download(name)


@pytest.mark.parametrize("name", ["virksomhed.zip", "CVR_V1_Virksomhed_TotalDownload_json_Current_1.zip", "x.json"])
def test_other_names(name: str) -> None:
    """A name of another form tells nothing."""
    assert datafordeler.download(name) is None
