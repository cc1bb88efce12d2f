"""The views that are the contract with the database: what is selected from each, and what a row of it means.

Their columns are described by comments in the database (`COMMENT ON COLUMN`). Knows nothing of connections; whoever has a
row, the server or a command that counts, reads it by the functions here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final, cast

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
    # By position: to find a value by its column takes as long as all the rest that is done with it.
    values = tuple(row)
    _, status_word, registered, expires, delete_date, period_years, vid, dnssec = values[:_REGISTRAR_AT]
    status = _STATUS.get(status_word)
    if status is None:
        raise ContractError(f"status must be one of {', '.join(_STATUS)}")
    return Domain(
        name=name,
        status=status,
        registered=_day(registered, "registered"),
        expires=_day(expires, "expires"),
        delete_date=_day(delete_date, "delete_date"),
        period_years=period_years,
        vid=vid is True,
        dnssec=dnssec is True,
        registrar=_registrar(values[_REGISTRAR_AT:_NAMESERVERS_AT]),
        nameservers=_texts(values[_NAMESERVERS_AT], "nameservers"),
        registrant=_registrant(values[_REGISTRANT_AT:_DATA_AGE_AT]),
        data_age=values[_DATA_AGE_AT] if len(values) > _DATA_AGE_AT else None,
    )


def _registrar(values: tuple[Any, ...]) -> Registrar | None:
    """Return the registrar that the values of its columns tell of, or None under registrant management."""
    name, public, street, postal_code, city, country, phone, url, email, abuse_email = values
    if name is None:
        return None
    return Registrar(
        name=name,
        public=public is True,
        street=_texts(street, "registrar_street"),
        postal_code=postal_code,
        city=city,
        country=country,
        phone=phone,
        url=url,
        email=email,
        abuse_email=abuse_email,
    )


def registrant_of(row: Record) -> Registrant:
    """Return the registrant of a row that has the `registrant_*` columns of the views."""
    return _registrant(tuple([row[column] for column in REGISTRANT_COLUMNS]))


def _registrant(values: tuple[Any, ...]) -> Registrant:
    """Return the registrant that the values of its columns tell of."""
    kind, name, street, postal_code, city, country, phone, email, secondary_email, vat_number = values[:10]
    cvr_locked, cvr_form, cvr_bankruptcy, sole_proprietorship, address_protection = values[10:15]
    id_confirmed, id_status, documented, vat_listed, cvr_standing = values[15:]
    return Registrant(
        kind=_KIND.get(kind, RegistrantKind.UNKNOWN),
        name=name,
        street=_texts(street, "registrant_street"),
        postal_code=postal_code,
        city=city,
        country=country,
        phone=phone,
        email=email,
        secondary_email=secondary_email,
        vat_number=vat_number,
        cvr_locked=cvr_locked,
        cvr_form=_FORM.get(cvr_form, CvrForm.UNKNOWN),
        cvr_bankruptcy=cvr_bankruptcy,
        cvr_standing=_STANDING.get(cvr_standing, CvrStanding.UNKNOWN),
        sole_proprietorship=sole_proprietorship,
        documented=documented,
        vat_listed=vat_listed,
        address_protection=address_protection,
        id_confirmed=id_confirmed,
        id_status=_ID_STATUS.get(id_status),
    )


def _day(value: object, column: str) -> date | None:
    """Take a date, or NULL."""
    if value is None or isinstance(value, date):
        return value
    raise ContractError(f"{column} must be a day of the years 1 to 9999, and no infinity")


def _texts(values: list[object] | None, column: str) -> tuple[str, ...]:
    """Take a list of texts; NULL is none."""
    if not values:
        return ()
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

# The columns of a domain, in the order in which they are selected and read.
_OWN: Final = {
    "name": "text",
    "status": "text",
    "registered": "date",
    "expires": "date",
    "delete_date": "date",
    "period_years": "integer",
    "vid": "boolean",
    "dnssec": "boolean",
}
_REGISTRAR: Final = {
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
}
REGISTRANT_COLUMNS: Final = {
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
}
_REGISTRAR_AT: Final = 8  # where those of the registrar begin, and so on
_NAMESERVERS_AT: Final = 18
_REGISTRANT_AT: Final = 19
_DATA_AGE_AT: Final = 39

DOMAIN: Final = View("whois.domain", {**_OWN, **_REGISTRAR, "nameservers": "text[]", **REGISTRANT_COLUMNS}, _domain)
HOST: Final = View("whois.host", {"name": "text", "glue": "boolean"}, _host)
VIEWS: Final = (DOMAIN, HOST)


def view_of(query: DomainQuery | HostQuery) -> View:
    """Return the view that a query's name is looked up in."""
    return DOMAIN if isinstance(query, DomainQuery) else HOST
