"""Makes a generation of CVR's own data: the companies that a registry file's registrants are, as it has them, and others.

bench/cvr.py REGISTRY FOLDER COMPANIES     prints how many are registrants', how many MB the files are, and their names
"""

import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import orjson

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # what the tests know of CVR's rows

import cvr_twins as twins  # noqa: E402 - it is found only now

BANKRUPT: Final = 100  # one in so many of the others
FORMS: Final = (10, 15, 60, 80, 110)  # of the others


def registrants_of(registry: Path) -> dict[str, dict[str, Any]]:
    """Return the records of Danish registrants that have a CVR number, by it."""
    with registry.open("rb") as lines:
        records = (orjson.loads(line) for line in lines if b'"registrant"' in line)
        danish = (record for record in records if record["type"] == "registrant" and record["country"] == "DK")
        return {record["vat_number"]: record for record in danish if record.get("cvr_locked")}


def companies(registry: Path, size: int) -> Iterator[tuple[str, int, bool]]:
    """Yield each company's number, its form, and whether it is bankrupt; the registrants' are among them."""
    ours = registrants_of(registry)
    for number, record in ours.items():
        yield number, record["cvr_form"], record.get("cvr_bankruptcy", False)
    for seed in islice(count(), max(0, size - len(ours))):
        yield f"{10_000_000 + seed * 7}", FORMS[seed % len(FORMS)], seed % BANKRUPT == 0


def main(registry: Path, folder: Path, size: int) -> None:
    """Write the files of a generation with so many companies."""
    every = [*enumerate(companies(registry, size))]
    zips = [
        twins.write_entity(folder, "Virksomhed", (twins.company(number, unit) for unit, (number, _, _) in every)),
        twins.write_entity(folder, "Virksomhedsform", (twins.form(unit, code) for unit, (_, code, _) in every)),
        twins.write_entity(
            folder, "Kreditoplysninger", (twins.credit(unit, "1") for unit, (_, _, bankrupt) in every if bankrupt)
        ),
    ]
    unpacked = sum(member.file_size for file in zips for member in ZipFile(file).infolist())
    print(len(registrants_of(registry)), round(unpacked / 1e6), *zips)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
