"""CVR's files: which belong together, what is refused, and the records in them; what is about registrants' companies."""

import gzip
import io
import random
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from cvr_twins import (
    answer,
    company,
    credit,
    cvr_number,
    document,
    file_name,
    form,
    hit,
    lines,
    write_entity,
    write_generation,
    write_zip,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.errors import LoadError
from whoisd.registry.cvr import files
from whoisd.registry.cvr.facts import Topic
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.reading import MOST_FAULTS, Reader

ONE, OTHER = cvr_number(1), cvr_number(2)
REQUIRED = ["Virksomhed", "Virksomhedsform", "Kreditoplysninger"]


def faults_of(paths: list[Path], wanted: set[int] | None = None) -> list[str]:
    """What is said of files that are not taken, without the folder that they are in."""
    folder = f"{paths[0].parent}/"
    with pytest.raises(LoadError) as caught:
        claims_of(paths, wanted)
    return [fault.replace(folder, "") for fault in caught.value.faults]


def reader_of(paths: list[Path], wanted: set[int] | None = None) -> tuple[Reader, list[tuple[int, Topic, str]]]:
    """Read files as an update does."""
    given = CvrFiles(paths)
    reader = Reader(given, {ONE, OTHER} if wanted is None else wanted)
    claims = [said for file in given.files for chunk in reader.read(file) for said in chunk]
    if reader.faults:
        raise LoadError(reader.faults)
    return reader, [(said.number, said.claim.topic, said.claim.value) for said in claims]


def claims_of(paths: list[Path], wanted: set[int] | None = None) -> list[tuple[int, Topic, str]]:
    return reader_of(paths, wanted)[1]


def generation(folder: Path) -> list[Path]:
    """The files of a generation with one company in them."""
    return write_generation(folder, [company(ONE, 1)], [form(1, "80")], [credit(1, "1")])


# --- which belong together -------------------------------------------------------------------------------------------


def test_a_generation(tmp_path: Path) -> None:
    """The files of a generation are read with Virksomhed first, in whatever order they are given."""
    paths = generation(tmp_path)
    for order in (paths, paths[::-1]):
        assert claims_of(order) == [
            (ONE, Topic.LIFE, "alive"), (ONE, Topic.FORM, "80"), (ONE, Topic.STATE, "bankrupt"),
        ]  # fmt: skip
    assert CvrFiles(paths).generation == 345


def test_mixed_generations(tmp_path: Path) -> None:
    """Files of two generations are refused."""
    paths = [*generation(tmp_path)[:2], write_entity(tmp_path, "Kreditoplysninger", [], 346)]
    assert faults_of(paths) == ["generation: the files are of several, 345, 346: give those of one"]


def test_mixed_histories(tmp_path: Path) -> None:
    """Files with histories and files without are refused together; alone each is taken."""
    paths = [*generation(tmp_path)[:2], write_entity(tmp_path, "Kreditoplysninger", [], history="Temporal")]
    assert faults_of(paths) == ["kind: the files are of several, Current, Temporal: give those of one"]
    rows: dict[str, list[Any]] = {
        "Virksomhed": [company(ONE, 1)],
        "Virksomhedsform": [form(1, "80")],
        "Kreditoplysninger": [],
    }
    for history in ("Temporal", "Bitemporal"):
        assert claims_of([write_entity(tmp_path, entity, given, history=history) for entity, given in rows.items()])


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_file_that_is_missing(tmp_path: Path, missing: str) -> None:
    """Without each of the three files that say what an email depends on nothing is taken."""
    paths = [path for path in generation(tmp_path) if f"_{missing}_" not in path.name]
    (fault,) = faults_of(paths)
    assert fault.startswith(f"{missing}: required, and not given")


def test_two_files_of_one_entity(tmp_path: Path) -> None:
    """Two files of one entity are refused."""
    paths = generation(tmp_path)
    assert faults_of([*paths, paths[2]]) == ["Kreditoplysninger: 2 files of this entity are given: give one"]


def test_documents_beside_files(tmp_path: Path) -> None:
    """Complete files and documents are not read together."""
    (tmp_path / "documents").write_bytes(lines(document(ONE)))
    assert faults_of([*generation(tmp_path), tmp_path / "documents"]) == [
        "files of Datafordeleren's and documents are not read together: give one or the other"
    ]


def test_a_zip_under_another_name(tmp_path: Path) -> None:
    """A zip that was saved under another name is known by the file in it; one whose two names differ is refused."""
    first, *rest = generation(tmp_path)
    assert claims_of([first.rename(tmp_path / "companies.zip"), *rest])
    other = write_zip(tmp_path / first.name, {file_name("Virksomhedsform") + ".json": b"[]"})
    assert faults_of([other, *rest]) == [f"{first.name}: has another file in it than its name says: download it again"]
    unnamed = write_zip(tmp_path / "data.zip", {"data.json": b"[]"})
    assert faults_of([unnamed, *rest])[0].startswith("data.zip: has no name as CVR's files have")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("CVR_V2_Virksomhed_DeltaDownload_json_Current_345.zip", "is a DeltaDownload"),
        ("CVR_V2_Virksomhed_TotalDownload_csv_Current_345.zip", "is CSV"),
        ("CVR_V2_Branche_TotalDownload_json_Current_345.zip", "is of the entity Branche, which is not read"),
    ],
)
def test_a_file_that_is_not_read(tmp_path: Path, name: str, fault: str) -> None:
    """A file of CVR's that is not read is refused by its name."""
    (said,) = faults_of([write_zip(tmp_path / name, {name.replace("zip", "json"): b"[]"})])
    assert said.startswith(f"{name}: {fault}")


# --- zips ----------------------------------------------------------------------------------------------------------


def spoilt(folder: Path, spoil: Callable[[Path], None]) -> list[str]:
    """What is said of a generation whose largest file was spoilt."""
    random_rows = [company(cvr_number(seed), seed) for seed in random.Random(1).sample(range(100_000), 3_000)]  # noqa: S311
    paths = write_generation(folder, random_rows, [form(1, "80")])
    spoil(paths[0])
    return faults_of(paths)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[120:184] = bytes([255]) * 64
    path.write_bytes(data)


def encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + offset
        data[at : at + 2] = struct.pack("<H", 1)
    path.write_bytes(data)


def two_members(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.json", b"[]")


def bomb(path: Path) -> None:
    write_zip(path, {path.name.replace("zip", "json"): b"[" + b" " * (100 << 16) + b" " * 100 + b"]"})


def no_zip(path: Path) -> None:
    path.write_bytes(b"[]")


def empty(path: Path) -> None:
    path.write_bytes(b"")


NAME = file_name("Virksomhed") + ".zip"


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (cut_off, "is a zip file that is cut off or damaged: download it again"),
        (damaged, "is damaged: download it again"),
        (encrypted, "is encrypted, and CVR's files are not"),
        (two_members, "has 2 files in it, and CVR's have one"),
        (bomb, "grows to more than 100 times its size, and CVR's files do not"),
        (no_zip, "is no zip file, as a file of that name is: give it as it was downloaded"),
        (empty, "is no zip file, as a file of that name is: give it as it was downloaded"),
    ],
)
def test_spoilt_zips(tmp_path: Path, spoil: Callable[[Path], None], fault: str) -> None:
    """A zip that was cut off, damaged or made by somebody else is refused for what it is."""
    assert spoilt(tmp_path, spoil) == [f"{NAME}: {fault}"]


def test_a_checksum_that_is_wrong(tmp_path: Path) -> None:
    """A zip whose data is whole and not what it was is refused at its end, by its checksum."""
    paths = generation(tmp_path)
    with zipfile.ZipFile(paths[0]) as archive:
        right = archive.read(archive.infolist()[0])
    with zipfile.ZipFile(paths[0], "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(file_name("Virksomhed") + ".json", right)
    paths[0].write_bytes(paths[0].read_bytes().replace(b'"aktiv"', b'"AKTIV"'))
    assert faults_of(paths) == [f"{NAME}: is a zip file that is cut off or damaged: download it again"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be read is told with the system's words."""
    assert faults_of([tmp_path / "none"]) == ["none: cannot be read: No such file or directory"]


# --- JSON in a zip -----------------------------------------------------------------------------------------------------


def with_data(folder: Path, data: bytes) -> list[Path]:
    """The files of a generation, with this in the place of the companies."""
    paths = generation(folder)
    write_zip(paths[0], {file_name("Virksomhed") + ".json": data})
    return paths


GOOD = orjson.dumps(company(ONE, 1))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"[" + GOOD, "after record 1, at byte "),
        (b"[" + GOOD + b"," + GOOD[:40], "after record 1, at byte "),
        (b"[" + GOOD + b"] []", "after record 1, at byte "),
        (b"[" + GOOD + b",]", "after record 1, at byte "),
        (b'["\xff"]', "after record 0, at byte "),
        (b"[" + b"1" * 5_000 + b"]", "after record 0, at byte "),  # which ends a parser that takes numbers of any length
        (b'{"rows": [' + GOOD + b"]}", "has no JSON list in it, as CVR's files have"),
        (b"", "has no JSON list in it, as CVR's files have"),
        (b"[]", "has no row: was it written in full?"),
        (b"[7, " + GOOD + b"]", "record 1: not a JSON object"),
        (b'[{"id": 1}, ' + GOOD + b"]", "record 1: CVRNummer: required"),
        (b'[{"CVRNummer": "1"}]', "record 1: CVRNummer: must be a CVR number, of 8 digits"),
        (b'["' + b"x" * 400_000 + b'"]', "after record 0: a record is longer than 262,144 bytes"),
    ],
)
def test_json_that_is_wrong(tmp_path: Path, data: bytes, fault: str) -> None:
    """JSON that is cut off or wrong is told by file, record and byte, and never quoted."""
    (said,) = faults_of(with_data(tmp_path, data))
    assert said.startswith(f"{NAME}: {fault}")
    assert str(ONE) not in said


def test_where_json_is_wrong(tmp_path: Path) -> None:
    """The bytes that are told are those that the fault is among."""
    rows = [company(cvr_number(seed), seed) for seed in range(2_000)]
    data = b"[" + b",".join(map(orjson.dumps, rows))
    (said,) = faults_of(with_data(tmp_path, data + b",!]"))
    first, _, last = said.partition(" at byte ")[2].partition(":")[0].partition(" to ")
    assert int(first.replace(",", "")) <= len(data) + 1 < int(last.replace(",", ""))


def test_no_more_faults_than_anybody_reads(tmp_path: Path) -> None:
    """Reading ends at the hundredth fault, and says so."""
    said = faults_of(with_data(tmp_path, orjson.dumps([{"id": 1}] * 200)))
    assert len(said) == MOST_FAULTS + 1
    assert said[-1] == "100 faults; the rest was not looked at"


# --- documents -------------------------------------------------------------------------------------------------------


PRETTY = orjson.dumps([document(ONE), document(OTHER)], option=orjson.OPT_INDENT_2)
SHAPES = {
    "JSON lines": lines(document(ONE), document(OTHER)),
    "JSON lines of hits": lines(hit(document(ONE)), {"Vrvirksomhed": document(OTHER)}),
    "JSON lines of answers": lines(answer(document(ONE)), answer(document(OTHER))),
    "answers and documents": lines(answer(document(ONE)), document(OTHER)),
    "one answer": orjson.dumps(answer(document(ONE), document(OTHER))),
    "one answer over lines": orjson.dumps(answer(document(ONE), document(OTHER)), option=orjson.OPT_INDENT_2),
    "a list": orjson.dumps([document(ONE), document(OTHER)]),
    "a list over lines": PRETTY,
    "a list of hits": orjson.dumps([hit(document(ONE)), hit(document(OTHER))], option=orjson.OPT_INDENT_2),
    "with blank lines": b"\n \n" + lines(document(ONE)) + b"\n\n" + lines(document(OTHER)),
    "with line ends of Windows": lines(document(ONE), document(OTHER)).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zipped", [False, True])
def test_shapes_of_documents(tmp_path: Path, shape: str, zipped: bool) -> None:
    """Documents are read in every shape in which they come, plain and gzip."""
    path = tmp_path / "documents"
    path.write_bytes(gzip.compress(SHAPES[shape]) if zipped else SHAPES[shape])
    reader, claims = reader_of([path])
    assert {number for number, _, _ in claims} == {ONE, OTHER}
    assert (reader.records, reader.companies, reader.warnings) == (2, 2, [])


@pytest.mark.parametrize("shape", SHAPES)
def test_long_documents(tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is longer than is read at once is read by and by, in every shape."""
    monkeypatch.setattr(files, "LONGEST_DOCUMENT", 3_000)
    monkeypatch.setattr(files, "_CHUNK", 64)
    test_shapes_of_documents(tmp_path, shape, zipped=False)


def test_one_document_over_lines(tmp_path: Path) -> None:
    """One document may stand alone, over several lines."""
    (tmp_path / "one").write_bytes(orjson.dumps({"Vrvirksomhed": document(ONE)}, option=orjson.OPT_INDENT_2))
    assert {number for number, _, _ in claims_of([tmp_path / "one"])} == {ONE}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (lines(document(ONE)) + b'{"cvrNummer":', "line 2: is not JSON, or is cut off"),
        (lines(document(ONE), [7]), "record 2: not a JSON object"),
        (lines(document(ONE), {"x": 1}), "record 2: cvrNummer: required"),
        (lines({"took": 1, "hits": {}}), "record 1: hits.hits: must be a list"),
        (PRETTY[:-9], "after record 1, at byte "),
        (PRETTY + PRETTY, "after record 2, at byte "),
        (b"\xef\xbb\xbf" + PRETTY, "after record 0, at byte "),
        (b"null\n", "record 1: not a JSON object"),
    ],
)
def test_documents_that_are_wrong(tmp_path: Path, data: bytes, fault: str) -> None:
    """What is no document is told by file and place, and never quoted."""
    (tmp_path / "documents").write_bytes(data)
    (said,) = faults_of([tmp_path / "documents"])
    assert said.startswith(f"documents: {fault}")
    assert str(ONE) not in said


def test_gzip_that_is_cut_off(tmp_path: Path) -> None:
    """A gzip file without its end is refused."""
    whole = gzip.compress(random.Random(1).randbytes(100_000).hex().encode())  # noqa: S311 - the same each time
    (tmp_path / "documents").write_bytes(gzip.compress(lines(document(ONE)))[:-12])
    assert faults_of([tmp_path / "documents"])[0].startswith("documents: ")
    (tmp_path / "documents").write_bytes(whole[: len(whole) // 2])
    assert faults_of([tmp_path / "documents"])[0].startswith("documents: ")


def test_no_document(tmp_path: Path) -> None:
    """A file without a document is told, as a search may have failed; it is no fault, as one may have found nothing."""
    (tmp_path / "documents").write_bytes(lines(answer()))
    reader, claims = reader_of([tmp_path / "documents"])
    assert claims == []
    assert reader.warnings == [f"{tmp_path / 'documents'}: no document of a company"]


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is read once, and only where there is one."""
    with pytest.raises(LoadError, match="standard input can be read only once"):
        CvrFiles([Path("-"), Path("-")])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(LoadError, match="there is no standard input"):
        CvrFiles([Path("-")])


@settings(deadline=None)  # files are written
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever is in a file, it is read or refused with a text that is ours."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    try:
        reader_of([path])
    except LoadError as error:
        assert all(str(fault).startswith(str(path)) for fault in error.faults)


KEYS = st.sampled_from([*document(ONE), "hits", "_source", "Vrvirksomhed", "periode", "gyldigFra", "gyldigTil"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)
)


@settings(deadline=None)  # the same
@given(JSON)
def test_any_json(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    """Whatever JSON is in a file, it is read or refused with a text that is ours."""
    path = tmp_path_factory.getbasetemp() / "json"
    data = io.BytesIO()
    try:
        data.write(orjson.dumps({**document(ONE), "status": value}) + b"\n" + orjson.dumps(value) + b"\n")
    except TypeError:  # a whole number of more than 64 bits
        return
    path.write_bytes(data.getvalue())
    try:
        reader_of([path])
    except LoadError as error:
        assert all(str(fault).startswith(str(path)) for fault in error.faults)
