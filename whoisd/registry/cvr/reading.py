"""The records of CVR's files to claims about the companies that registrants have. Touches no database.

Rows of Datafordeleren's other entities name a unit, and which company that is the rows of `Virksomhed` tell, which are read
first. What is about anybody else's company is passed over, and nothing of it is kept.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from whoisd.errors import LoadError
from whoisd.registry.cvr import datafordeler, distribution, text
from whoisd.registry.cvr.datafordeler import Entity
from whoisd.registry.cvr.facts import Claim
from whoisd.registry.cvr.files import CvrFile, CvrFiles

CHUNK: Final = 10_000  # claims that are handed on together
MOST_FAULTS: Final = 100
_NEEDS_ROWS: Final = (Entity.COMPANY, Entity.FORM)  # without a row something has failed, and CVR would have no company


class Said(NamedTuple):
    """A claim, about which company, and of a document when CVR changed it last; a mistaken one yields to any other."""

    number: int
    at: datetime | None
    mistaken: bool
    claim: Claim


class Reader:
    """Reads the files of one update. `wanted` has the CVR numbers that registrants have.

    In the end `faults` has what is wrong, as `file: record: key: what is wrong`; `warnings` what is odd; `records` and
    `companies` how many there were; and `last` the moment of the last registration in the files of Datafordeleren's.
    """

    def __init__(self, files: CvrFiles, wanted: Collection[int]) -> None:
        self._files = files
        self._wanted = wanted
        self._units: dict[int | str, int] = {}  # the number of each unit
        self._registered = ""
        self.faults: list[str] = []
        self.warnings: list[str] = []
        self.records = self.companies = 0

    def read(self, file: CvrFile) -> Generator[list[Said]]:
        """Return what a file says, some at a time. Raises `LoadError` where it cannot be read, or has too many faults."""
        download = file.download
        claims = self._rows(file, download.entity) if download else self._documents(file)
        chunk: list[Said] = []
        for said in claims:
            chunk.append(said)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        yield chunk

    def last(self) -> datetime | None:
        """Return the moment of the last registration in the files of Datafordeleren's; None where they tell none."""
        return text.moment({"registreringFra": self._registered or None}, "registreringFra")

    # --- Datafordeleren --------------------------------------------------------------------------------------------

    def _rows(self, file: CvrFile, entity: Entity) -> Iterator[Said]:
        of = self._of_company if entity is Entity.COMPANY else self._of_unit
        number = 0
        for number, row in enumerate(self._files.rows(file), start=1):
            try:
                if company := of(row):
                    yield from [Said(company, None, False, claim) for claim in datafordeler.claims(entity, row)]
            except ValueError as error:
                self._add(file, number, str(error))
        self.records += number
        if not number and entity in _NEEDS_ROWS:
            self._add(file, 0, "has no row: was it written in full?")

    def _of_company(self, row: Any) -> int | None:
        """Return the number of the company that a row is about, and note its unit; None where nobody wants it."""
        number = text.cvr_number(_an_object(row), "CVRNummer")
        registered = row.get("registreringFra")
        if isinstance(registered, str) and registered > self._registered:
            self._registered = registered
        self.companies += 1
        if number not in self._wanted or datafordeler.is_superseded(row) or not text.has_right_check_digit(number):
            return None
        if not datafordeler.is_mistake(row):
            self._units[datafordeler.unit(row, "id")] = number
        return number

    def _of_unit(self, row: Any) -> int | None:
        number = self._units.get(datafordeler.unit(_an_object(row)))
        return None if number is None or datafordeler.is_superseded(row) else number

    # --- system-til-system -----------------------------------------------------------------------------------------

    def _documents(self, file: CvrFile) -> Iterator[Said]:
        number = 0
        for value in self._files.documents(file):
            try:
                found = [*distribution.companies(value)]
            except ValueError as error:
                number += 1
                self._add(file, number, str(error))
                continue
            for company in found:
                number += 1
                yield from self._document(file, number, company)
        self.records += number
        if not number:
            self.warnings.append(f"{file.path}: no document of a company")

    def _document(self, file: CvrFile, number: int, company: Any) -> Sequence[Said]:
        try:
            cvr = text.cvr_number(company, "cvrNummer")
            self.companies += 1
            if cvr not in self._wanted or not text.has_right_check_digit(cvr):
                return ()
            document = distribution.document(company)
        except ValueError as error:
            self._add(file, number, str(error))
            return ()
        mistaken = distribution.is_mistake(document)
        return [Said(cvr, document.at, mistaken, claim) for claim in document.claims]

    # --- faults ------------------------------------------------------------------------------------------------------

    def _add(self, file: CvrFile, number: int, said: str) -> None:
        """Add a fault; when that is enough, end the update with all there are."""
        self.faults.append(f"{file.path}: record {number}: {said}" if number else f"{file.path}: {said}")
        if len(self.faults) == MOST_FAULTS:
            raise LoadError([*self.faults, f"{MOST_FAULTS} faults; the rest was not looked at"])


def _an_object(row: Any) -> Any:
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the file, like all others
    return row
