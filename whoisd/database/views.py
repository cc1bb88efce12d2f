"""The views that are the contract with the database: what is selected from each, and what a row of it means.

Their columns are described by comments in the database (`COMMENT ON COLUMN`). Knows nothing of connections; whoever has a
row, the server or a command that counts, reads it by the functions here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final

from asyncpg import Record

from whoisd.answers.model import CvrForm, Domain, DomainStatus, Found, Host, IdStatus, Registrant, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.errors import StoreError, whereabouts

_ONE: Final = "$1::text"
_MANY: Final = "ANY($1::text[])"

# Enum members by value: a dictionary finds one in a sixth of the time that its class takes.
_STATUS: Final = {status.value: status for status in DomainStatus}
_KIND: Final[dict[str | None, RegistrantKind]] = {kind.value: kind for kind in RegistrantKind}
_FORM: Final[dict[str | None, CvrForm]] = {None: CvrForm.NONE} | {form.value: form for form in CvrForm}
_ID_STATUS: Final[dict[str | None, IdStatus]] = {status.value: status for status in IdStatus}


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One of the views that names are looked up in."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[DomainName, Record], Domain | Host]  # raises what a row raises that breaks the contract

    @property
    def select_one(self) -> str:
        """The statement for one name."""
        return f"{self._select} WHERE name = {_ONE}"

    @property
    def select_many(self) -> str:
        """The statement for a list of names."""
        return f"{self._select} WHERE name = {_MANY}"

    @property
    def _select(self) -> str:
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608 - our own words

    def found(self, name: DomainName, row: Record | None) -> Found:
        """Return what a row says of a name, or that it breaks the contract; None where there is no row."""
        if row is None:
            return None
        try:
            return self.read(name, row)
        except (KeyError, TypeError, ValueError) as error:
            return StoreError(whereabouts(error))


def _host(name: DomainName, row: Record) -> Host:
    return Host(name, glue=row["glue"] is True)


def _domain(name: DomainName, row: Record) -> Domain:
    return Domain(
        name=name,
        status=_STATUS[row["status"]],
        registered=_day(row["registered"]),
        expires=_day(row["expires"]),
        delete_date=_day(row["delete_date"]),
        period_years=_years(row["period_years"]),
        vid=_flag(row["vid"]),
        dnssec=_flag(row["dnssec"]),
        registrar=_registrar(row),
        nameservers=_texts(row["nameservers"]),
        registrant=registrant_of(row),
    )


def _registrar(row: Record) -> Registrar | None:
    """Return the registrar of a row, or None under registrant management."""
    return None if row["registrar"] is None else Registrar(row["registrar"])


def registrant_of(row: Record) -> Registrant:
    """Return the registrant of a row that has the `registrant_*` columns of the views."""
    return Registrant(
        kind=_KIND.get(row["registrant_kind"], RegistrantKind.UNKNOWN),
        name=row["registrant_name"],
        street=_texts(row["registrant_street"]),
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
        sole_proprietorship=row["registrant_sole_proprietorship"],
        address_protection=row["registrant_address_protection"],
        id_confirmed=row["registrant_id_confirmed"],
        id_status=_ID_STATUS.get(row["registrant_id_status"]),
    )


def _flag(value: object) -> bool:
    """Take a view's yes or no; what is neither, nor NULL, breaks the contract."""
    if not isinstance(value, bool | None):
        raise TypeError("not a boolean")
    return value is True


def _day(value: object) -> date | None:
    """Take a view's date, or NULL. A moment is none, though Python's is a date too: it has the day of UTC, and a time."""
    if value is not None and type(value) is not date:
        raise TypeError("not a date")
    return value


def _years(value: object) -> int | None:
    """Take a view's number of years, or NULL."""
    if value is not None and type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _texts(values: object) -> tuple[str, ...]:
    """Take a view's list of texts; NULL is none."""
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)


DOMAIN: Final = View(
    "whois.domain",
    (
        "name", "status", "registered", "expires", "delete_date", "period_years", "vid", "dnssec", "registrar",
        "nameservers", "registrant_kind", "registrant_name", "registrant_street", "registrant_postal_code",
        "registrant_city", "registrant_country", "registrant_phone", "registrant_email", "registrant_secondary_email",
        "registrant_vat_number", "registrant_cvr_locked", "registrant_cvr_form", "registrant_cvr_bankruptcy",
        "registrant_sole_proprietorship", "registrant_address_protection", "registrant_id_confirmed", "registrant_id_status",
    ),
    _domain,
)  # fmt: skip
HOST: Final = View("whois.host", ("name", "glue"), _host)
VIEWS: Final = (DOMAIN, HOST)


def view_of(query: DomainQuery | HostQuery) -> View:
    """Return the view that a query's name is looked up in."""
    return DOMAIN if isinstance(query, DomainQuery) else HOST
