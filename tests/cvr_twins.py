"""Made-up twins of CVR's data, in both of its formats: no company and no person in them exists.

A twin is told once, by its facts, and written as a document and as the rows of Datafordeleren's files.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

import orjson

from whoisd.registry.cvr import datafordeler, distribution
from whoisd.registry.cvr.datafordeler import Entity
from whoisd.registry.cvr.facts import Facts, facts_on

Record = dict[str, Any]

LONG_AGO: Final = "2001-05-01"
REGISTERED: Final = "2024-11-20T10:00:00.000000+01:00"
GENERATION: Final = 345
TODAY: Final = date(2026, 11, 25)  # of the twins


def cvr_number(seed: int) -> int:
    """Return a CVR number with a right check digit (modulus 11), of a range that begins with 99."""
    while True:
        digits = f"{9_900_000 + seed:07}"
        rest = sum(weight * int(digit) for weight, digit in zip((2, 7, 6, 5, 4, 3, 2), digits, strict=True)) % 11
        if rest != 1:
            return int(digits + str(-rest % 11))
        seed = (seed + 5_000) % 100_000


# --- Datafordeleren ------------------------------------------------------------------------------------------------


def row(**values: Any) -> Record:
    """Return a row that is in effect, and has not been superseded."""
    return {
        "virkningFra": f"{LONG_AGO}T00:00:00.000000+02:00",
        "virkningTil": None,
        "registreringFra": REGISTERED,
        "registreringTil": None,
        **values,
    }


def company(number: int | str, unit: int | str, status: str = "aktiv", **values: Any) -> Record:
    """Return a row of Virksomhed."""
    start = {"virksomhedStartdato": LONG_AGO, "virksomhedOphoersdato": None}
    return row(CVRNummer=number, id=unit, status=status, **start) | values


def form(unit: int | str, code: Any, **values: Any) -> Record:
    """Return a row of Virksomhedsform."""
    return row(CVREnhedsId=unit, vaerdi=code, vaerdiTekst="Opdigtet form") | values


def credit(unit: int | str, stage: Any, kind: Any = "3", kind_text: str | None = "Konkurs", **values: Any) -> Record:
    """Return a row of Kreditoplysninger."""
    return (
        row(
            CVREnhedsId=unit,
            Kreditoplysning=kind,
            kreditoplysningstekst=kind_text,
            statusvaerdi=stage,
            statusvaerdiTekst=None,
        )
        | values
    )


def name(unit: int | str, text: str, place: Any = 0, **values: Any) -> Record:
    """Return a row of Navn."""
    return row(CVREnhedsId=unit, vaerdi=text, sekvens=place) | values


def address(unit: int | str, use: str = "beliggenhedsadresse", **values: Any) -> Record:
    """Return a row of Adressering."""
    parts = {
        "vejnavn": "Opdigtet Allé",
        "husnummerFra": "12B",
        "husnummerTil": None,
        "etagebetegnelse": "3",
        "doerbetegnelse": "tv",
        "supplerendeBynavn": None,
        "postnummer": "0999",
        "postdistrikt": "Ingensteds",
        "landekode": "DK",
        "postboks": None,
        "adresseFritekst": None,
    }
    return (
        row(CVREnhedsId=unit, AdresseringAnvendelse=use, coNavn=None)
        | {f"CVRAdresse_{part}": value for part, value in parts.items()}
        | values
    )


def file_name(entity: str, generation: int = GENERATION, history: str = "Current") -> str:
    """Return the name of a file of Datafordeleren's, without its ending."""
    return f"CVR_V2_{entity}_TotalDownload_json_{history}_{generation}"


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a zip with these files in it."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return path


def write_entity(folder: Path, entity: str, rows: Iterable[Any], generation: int = GENERATION, **name: str) -> Path:
    """Write a file of Datafordeleren's."""
    called = file_name(entity, generation, **name)
    data = b"[" + b",\n".join(map(orjson.dumps, rows)) + b"]"
    return write_zip(folder / f"{called}.zip", {f"{called}.json": data})


def write_generation(
    folder: Path,
    companies: Sequence[Record],
    forms: Sequence[Record],
    credits: Sequence[Record] = (),  # noqa: A002 - CVR's word
    *,
    generation: int = GENERATION,
    **others: Any,
) -> list[Path]:
    """Write the files of a generation: those that are required, and others by their entity."""
    rows = {"Virksomhed": companies, "Virksomhedsform": forms, "Kreditoplysninger": credits, **others}
    return [write_entity(folder, entity, given, generation) for entity, given in rows.items()]


# --- system-til-system ---------------------------------------------------------------------------------------------


def period(begins: str | None = LONG_AGO, ends: str | None = None) -> Record:
    """Return a `periode`."""
    return {"periode": {"gyldigFra": begins, "gyldigTil": ends}}


def document(number: int | str, code: Any = 80, **values: Any) -> Record:
    """Return a document of a healthy company, without the wrappers that it may come in."""
    return {
        "cvrNummer": number,
        "fejlRegistreret": False,
        "fejlVedIndlaesning": False,
        "reklamebeskyttet": False,
        "sidstOpdateret": "2024-11-19T09:00:00.000+01:00",
        "livsforloeb": [period()],
        "virksomhedsform": [{"virksomhedsformkode": code, **period()}],
        "virksomhedsstatus": [{"status": "NORMAL", **period()}],
        "status": [],
        "attributter": [{"type": "PSEUDOCVRNR", "vaerdier": [{"vaerdi": "false", **period()}]}],
        "navne": [{"navn": f"Opdigtet {number} ApS", **period()}],
        "beliggenhedsadresse": [
            {
                "vejnavn": "Opdigtet Allé",
                "husnummerFra": 12,
                "bogstavFra": "B",
                "etage": "3",
                "sidedoer": "tv",
                "postnummer": 999,
                "postdistrikt": "Ingensteds",
                "landekode": "DK",
                **period(),
            }
        ],
        **values,
    }


def bankruptcy(stage: Any, kind: Any = 3, text: str | None = "Konkurs", **when: str | None) -> Record:
    """Return an item of `status[]`."""
    return {
        "statuskode": stage,
        "statustekst": None,
        "kreditoplysningkode": kind,
        "kreditoplysningtekst": text,
        **period(**when),
    }


def hit(found: Record) -> Record:
    """Return a document as a search finds it."""
    return {"_index": "cvr", "_id": "1", "_source": {"Vrvirksomhed": found}}


def answer(*found: Record) -> Record:
    """Return an answer to a search."""
    return {"took": 3, "timed_out": False, "hits": {"total": len(found), "hits": [hit(each) for each in found]}}


def lines(*values: Any) -> bytes:
    """Return JSON lines."""
    out = io.BytesIO()
    for value in values:
        out.write(orjson.dumps(value) + b"\n")
    return out.getvalue()


# --- what is made of them --------------------------------------------------------------------------------------------


def of_document(found: Record, day: date = TODAY) -> Facts:
    """Return the facts of a company by its document."""
    return facts_on(distribution.document(found).claims, day)


def of_rows(*rows: tuple[Entity, Record], day: date = TODAY) -> Facts:
    """Return the facts of a company by its rows."""
    valid = [(entity, row) for entity, row in rows if not datafordeler.is_superseded(row)]
    return facts_on([claim for entity, row in valid for claim in datafordeler.claims(entity, row)], day)
