"""What is read of CVR's files: what is about registrants' companies."""

from pathlib import Path

from cvr_twins import company, cvr_number, form, write_generation

from whoisd.registry.cvr.facts import Topic
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.reading import Reader

ONE, OTHER = cvr_number(1), cvr_number(2)


def reader_of(paths: list[Path], wanted: set[int]) -> tuple[Reader, list[tuple[int, Topic, str]]]:
    """Read files as an update does."""
    given = CvrFiles(paths)
    reader = Reader(given, wanted)
    claims = [said for file in given.files for chunk in reader.read(file) for said in chunk]
    return reader, [(said.number, said.claim.topic, said.claim.value) for said in claims]


def claims_of(paths: list[Path], wanted: set[int]) -> list[tuple[int, Topic, str]]:
    return reader_of(paths, wanted)[1]


def test_only_registrants_companies(tmp_path: Path) -> None:
    """What is about a company that no registrant has is passed over."""
    paths = write_generation(tmp_path, [company(ONE, 1), company(OTHER, 2)], [form(1, "80"), form(2, "10"), form(3, "60")])
    assert {number for number, _, _ in claims_of(paths, {OTHER})} == {OTHER}
    assert reader_of(paths, {OTHER})[0].companies == 2


def test_a_wrong_check_digit(tmp_path: Path) -> None:
    """A number whose check digit is wrong is no company's, also where a registrant has it."""
    wrong = ONE + 1
    assert claims_of(write_generation(tmp_path, [company(wrong, 1)], [form(1, "80")]), {wrong}) == []


def test_the_forms_of_what_was_registered_by_mistake(tmp_path: Path) -> None:
    """A unit that was registered by mistake leads, and what refers to it is about no company."""
    companies = [company(ONE, 1, "fejloprettet"), company(ONE, 2)]
    paths = write_generation(tmp_path, companies, [form(1, "10"), form(2, "80")])
    assert [value for _, topic, value in claims_of(paths, {ONE}) if topic is Topic.FORM] == ["80"]


def test_the_last_registration(tmp_path: Path) -> None:
    """The files are of the moment of the last registration in them, whosever it is."""
    companies = [company(ONE, 1), company(OTHER, 2, registreringFra="2026-11-24T03:00:00.5Z"), company(cvr_number(3), 3)]
    last = reader_of(write_generation(tmp_path, companies, [form(1, "80")]), {ONE})[0].last()
    assert last is not None
    assert last.isoformat() == "2026-11-24T03:00:00.500000+00:00"
