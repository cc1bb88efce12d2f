"""The views that are the contract with the database: what is selected from each, and what a row of it means.

Their columns are described by comments in the database (`COMMENT ON COLUMN`). Knows nothing of connections; whoever has a
row, the server or a command that counts, reads it by the functions here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final, cast

from asyncpg import Record

from whoisd.answers.model import (
    CvrForm,
    CvrStanding,
    Domain,
    DomainStatus,
    Found,
    Host,
    IdStatus,
    Registrant,
    RegistrantKind,
    Registrar,
)
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.errors import ContractError, StoreError

# Enum members by value: a dictionary finds one in a sixth of the time that its class takes.
_STATUS: Final = {status.value: status for status in DomainStatus}
_KIND: Final[dict[str | None, RegistrantKind]] = {kind.value: kind for kind in RegistrantKind}
_FORM: Final[dict[str | None, CvrForm]] = {None: CvrForm.NONE} | {form.value: form for form in CvrForm}
_STANDING: Final[dict[str | None, CvrStanding]] = {standing.value: standing for standing in CvrStanding}
_ID_STATUS: Final[dict[str | None, IdStatus]] = {status.value: status for status in IdStatus}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One of the views that names are looked up in, and the type of each of its columns."""

    name: str
    columns: Mapping[str, str]
    read: Callable[[DomainName, Record], Domain | Host]  # raises `ContractError` where a row breaks the contract

    def select_one(self, age: str = "") -> str:
        """Return the statement for one name; `age`, where it is wanted too, is SQL for how old the data is."""
        return f"{self._select(age)} WHERE name = $1::text"

    def select_many(self, age: str = "") -> str:
        """Return the statement for a list of names."""
        return f"{self._select(age)} WHERE name = ANY($1::text[])"

    @property
    def select_sample(self) -> str:
        """The statement for a few names, to see how they are spelled."""
        return f"SELECT name FROM {self.name} LIMIT {_SAMPLE}"  # noqa: S608 - our own words

    def _select(self, age: str) -> str:
        columns = [*self.columns, *([f"(SELECT {age}) AS data_age"] if age else [])]
        return f"SELECT {', '.join(columns)} FROM {self.name}"  # noqa: S608 - our own words

    def fault_of_types(self, types: Mapping[str, str]) -> str:
        """Return which column has another type than the contract says, or nothing; `types` are PostgreSQL's, by column."""
        for column, wanted in self.columns.items():
            if types[column] not in _TYPES[wanted]:
                found = _WRONG_TYPES.get(types[column], types[column])
                return f"{self.name}.{column} is of type {found}, and must be {wanted}"
        return ""

    def fault_of_names(self, names: Iterable[str | None]) -> str:
        """Return that a name is spelled as none is asked for, so that it would not be found; or nothing."""
        if all(name and _ASKED_FOR.fullmatch(name) for name in names):
            return ""
        return f"{self.name}.name must be in lower case, as A-labels, without a trailing dot or blanks; a name is not"

    def found(self, name: DomainName, row: Record | None) -> Found:
        """Return what a row says of a name, or that it breaks the contract; None where there is no row."""
        if row is None:
            return None
        try:
            return self.read(name, row)
        except ContractError as error:
            return StoreError(f"{self.name}.{error}")


# The types by which PostgreSQL and asyncpg know what the contract calls so. The values of `char(n)` are padded with blanks.
_TYPES: Final = {
    "text": ("text", "varchar"),
    "text[]": ("text[]", "varchar[]"),
    "date": ("date",),
    "integer": ("int2", "int4", "int8"),
    "boolean": ("bool",),
}
_WRONG_TYPES: Final = {"bpchar": "char(n)", "bpchar[]": "char(n)[]"}
_SAMPLE: Final = 100
_ASKED_FOR: Final = re.compile("[a-z0-9_-]+([.][a-z0-9_-]+)*")


def _host(name: DomainName, row: Record) -> Host:
    return Host(name, glue=row["glue"] is True)


def _domain(name: DomainName, row: Record) -> Domain:
    status = _STATUS.get(row["status"])
    if status is None:
        raise ContractError(f"status must be one of {', '.join(_STATUS)}")
    return Domain(
        name=name,
        status=status,
        registered=_day(row, "registered"),
        expires=_day(row, "expires"),
        delete_date=_day(row, "delete_date"),
        period_years=row["period_years"],
        vid=row["vid"] is True,
        dnssec=row["dnssec"] is True,
        registrar=_registrar(row),
        nameservers=_texts(row, "nameservers"),
        registrant=registrant_of(row),
        data_age=row.get("data_age"),
    )


def _registrar(row: Record) -> Registrar | None:
    """Return the registrar of a row, or None under registrant management."""
    if row["registrar"] is None:
        return None
    return Registrar(
        name=row["registrar"],
        public=row["registrar_public"] is True,
        street=_texts(row, "registrar_street"),
        postal_code=row["registrar_postal_code"],
        city=row["registrar_city"],
        country=row["registrar_country"],
        phone=row["registrar_phone"],
        url=row["registrar_url"],
        email=row["registrar_email"],
        abuse_email=row["registrar_abuse_email"],
    )


def registrant_of(row: Record) -> Registrant:
    """Return the registrant of a row that has the `registrant_*` columns of the views."""
    return Registrant(
        kind=_KIND.get(row["registrant_kind"], RegistrantKind.UNKNOWN),
        name=row["registrant_name"],
        street=_texts(row, "registrant_street"),
        postal_code=row["registrant_postal_code"],
        city=row["registrant_city"],
        country=row["registrant_country"],
        phone=row["registrant_phone"],
        email=row["registrant_email"],
        secondary_email=row["registrant_secondary_email"],
        vat_number=row["registrant_vat_number"],
        cvr_locked=row["registrant_cvr_locked"],
        cvr_form=_FORM.get(row["registrant_cvr_form"], CvrForm.UNKNOWN),
        cvr_bankruptcy=row["registrant_cvr_bankruptcy"],
        cvr_standing=_STANDING.get(row["registrant_cvr_standing"], CvrStanding.UNKNOWN),
        sole_proprietorship=row["registrant_sole_proprietorship"],
        documented=row["registrant_documented"],
        vat_listed=row["registrant_vat_listed"],
        address_protection=row["registrant_address_protection"],
        id_confirmed=row["registrant_id_confirmed"],
        id_status=_ID_STATUS.get(row["registrant_id_status"]),
    )


def _day(row: Record, column: str) -> date | None:
    """Take a date, or NULL."""
    value: object = row[column]
    if value is None or isinstance(value, date):
        return value
    raise ContractError(f"{column} must be a day of the years 1 to 9999, and no infinity")


def _texts(row: Record, column: str) -> tuple[str, ...]:
    """Take a list of texts; NULL is none."""
    values: list[object] = row[column] or []
    if not all(isinstance(value, str) for value in values):
        raise ContractError(f"{column} must be a list of texts, of one dimension and with no NULL in it")
    return cast("tuple[str, ...]", tuple(values))


@lru_cache(maxsize=1 << 14)  # as the texts of days are
def decode_day(value: tuple[int]) -> date | str:
    """Decode PostgreSQL's days since 2000. asyncpg would make infinity of 9999-12-31, which is a day that there is."""
    try:
        return date.fromordinal(_DAY_0 + value[0])
    except (ValueError, OverflowError):
        return "no day"


def encode_day(value: date) -> tuple[int]:
    """Encode a day; the counterpart of `decode_day`."""
    return (value.toordinal() - _DAY_0,)


_DAY_0: Final = date(2000, 1, 1).toordinal()

DOMAIN: Final = View(
    "whois.domain",
    {
        "name": "text",
        "status": "text",
        "registered": "date",
        "expires": "date",
        "delete_date": "date",
        "period_years": "integer",
        "vid": "boolean",
        "dnssec": "boolean",
        "registrar": "text",
        "registrar_public": "boolean",
        "registrar_street": "text[]",
        "registrar_postal_code": "text",
        "registrar_city": "text",
        "registrar_country": "text",
        "registrar_phone": "text",
        "registrar_url": "text",
        "registrar_email": "text",
        "registrar_abuse_email": "text",
        "nameservers": "text[]",
        "registrant_kind": "text",
        "registrant_name": "text",
        "registrant_street": "text[]",
        "registrant_postal_code": "text",
        "registrant_city": "text",
        "registrant_country": "text",
        "registrant_phone": "text",
        "registrant_email": "text",
        "registrant_secondary_email": "text",
        "registrant_vat_number": "text",
        "registrant_cvr_locked": "boolean",
        "registrant_cvr_form": "text",
        "registrant_cvr_bankruptcy": "boolean",
        "registrant_sole_proprietorship": "boolean",
        "registrant_address_protection": "boolean",
        "registrant_id_confirmed": "boolean",
        "registrant_id_status": "text",
        "registrant_documented": "boolean",
        "registrant_vat_listed": "boolean",
        "registrant_cvr_standing": "text",
    },
    _domain,
)
REGISTRANT_COLUMNS: Final = tuple(column for column in DOMAIN.columns if column.startswith("registrant_"))
HOST: Final = View("whois.host", {"name": "text", "glue": "boolean"}, _host)
VIEWS: Final = (DOMAIN, HOST)


def view_of(query: DomainQuery | HostQuery) -> View:
    """Return the view that a query's name is looked up in."""
    return DOMAIN if isinstance(query, DomainQuery) else HOST
