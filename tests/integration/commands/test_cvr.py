"""`whoisd cvr update`: what it prints, where, and its exit status."""

from pathlib import Path

import pytest
from cvr_twins import company, document, form, lines, write_generation
from support import NOWHERE, Database, ended, run_query, run_whoisd

EGON = 99000074  # Malermester Egon Enkelt of the sandbox, in form 10


@pytest.fixture
def owned(database: Database) -> dict[str, str]:
    """The settings of an operator with the predefined data."""
    return {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}


def test_update_with_documents(database: Database, owned: dict[str, str], tmp_path: Path) -> None:
    """An update tells what it read, what it changed and who becomes public, and is in the very next answer."""
    path = tmp_path / "documents.jsonl"
    path.write_bytes(lines(document(EGON, 80), document(99999999 - 5, 80)))
    said = (
        "documents, of 2024-11-19: 2 companies in the files\n"
        "CVR numbers of registrants: 17; 1 of them in the files, 1 changed, 0 removed\n"
        "newly shown: 1 registrant, withheld until now\n"
        "  email of 1, withheld until now: sole_proprietorship\n"
        "  ENKELT-DK\n"
    )
    dry = said + "Nothing was changed: this was a dry run.\n"
    assert ended(run_whoisd("cvr", "update", "--dry-run", path, settings=owned)) == (0, dry, "")
    assert b"DATA REDACTED" in run_query(database.reader, b"--show-handles", b"enkeltmand.dk").stdout.splitlines()[-6]
    status, printed, warned = ended(run_whoisd("cvr", "update", path, settings=owned))
    assert (status, printed, warned) == (0, said + "The update is committed.\n", "")
    assert b"egon@enkeltmand.example" in run_query(database.reader, b"--show-handles", b"enkeltmand.dk").stdout


def test_update_with_a_generation(owned: dict[str, str], tmp_path: Path) -> None:
    """Of a generation the numbers that it lacks are counted; an older one is refused with 1, by both numbers."""
    files = write_generation(tmp_path, [company(EGON, 1)], [form(1, "10")], generation=7)
    status, said, _ = ended(run_whoisd("cvr", "update", *files, settings=owned))
    assert (status, said.splitlines()) == (
        0,
        [
            "generation 7, of 2024-11-20: 1 company in the files",
            "CVR numbers of registrants: 17; 1 of them in the files, 17 changed, 0 removed",
            "not in CVR, or registered by mistake: 16",
            "The update is committed.",
        ],
    )
    older = write_generation(tmp_path, [company(EGON, 1)], [form(1, "10")], generation=6)
    fault = "whoisd: the files are of generation 6, and generation 7 is held: give newer ones\n"
    assert ended(run_whoisd("cvr", "update", *older, settings=owned)) == (1, "", fault)


def test_too_many_would_be_shown(owned: dict[str, str], tmp_path: Path) -> None:
    """More than --max-newly-shown are refused with 1, and told as a load tells them."""
    path = tmp_path / "documents.jsonl"
    path.write_bytes(lines(document(EGON, 80)))
    status, said, fault = ended(run_whoisd("cvr", "update", "--max-newly-shown", "0", path, settings=owned))
    assert (status, said) == (1, "")
    assert fault.startswith("whoisd: 1 registrant, withheld until now, would become public, more than --max-newly-shown 0")
    assert "whoisd:   ENKELT-DK\n" in fault


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"cvrNummer": 1', "{}: line 1: is not JSON, or is cut off"),
        (b"[]\n[]\n", ""),
        (b'{"cvrNummer": "hemmelig"}', "{}: record 1: cvrNummer: must be a CVR number, of 8 digits"),
        (b"\xff\xfe\x00", "{}: line 1: is not JSON, or is cut off"),
        (b'"text"', "{}: record 1: not a JSON object"),
        (b"1e400", "{}: line 1: is not JSON, or is cut off"),
    ],
)
def test_odd_files(owned: dict[str, str], tmp_path: Path, content: bytes, said: str) -> None:
    """A file that is no document is refused with 1, without what is in it; one without a document is warned of."""
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    status, _, fault = ended(run_whoisd("cvr", "update", path, settings=owned))
    assert (status, fault) == (
        (1, f"whoisd: {said.format(path)}\n") if said else (0, f"warning: {path}: no document of a company\n")
    )


def test_without_the_database(tmp_path: Path) -> None:
    """A database that is not there ends the command with 1; files that do not belong together are said before."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_DATABASE__OWNER_DSN": NOWHERE}
    files = write_generation(tmp_path, [company(EGON, 1)], [form(1, "10")])
    status, _, fault = ended(run_whoisd("cvr", "update", *files, settings=settings))
    assert (status, "the database does not answer" in fault) == (1, True)
    status, _, fault = ended(run_whoisd("cvr", "update", *files[:2], settings=settings))
    assert (status, fault.startswith("whoisd: Kreditoplysninger: required, and not given")) == (1, True)
