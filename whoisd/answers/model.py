"""All that is known of a domain, its registrant and a host: data only, as the two views of the database give it.

A `Registrant` may hold what nobody may see. Its `repr` is empty, so that no traceback or log can show it; only
`disclosure.publish` reads it.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from whoisd.answers.names import DomainName
from whoisd.errors import StoreError


class DomainStatus(StrEnum):
    """Where a domain stands."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    RESERVED = "reserved"
    OFFERED_TO_WAITING_LIST = "offered_to_waiting_list"


class RegistrantKind(StrEnum):
    """What a registrant is; what the data does not say is unknown."""

    COMPANY = "company"
    PUBLIC_ORGANIZATION = "public_organization"
    ASSOCIATION = "association"
    INDIVIDUAL = "individual"
    UNKNOWN = "unknown"


class CvrForm(StrEnum):
    """What a CVR company form (virksomhedsform) means to the disclosure rules; the codes are in `registry.cvr_form`."""

    NONE = "none"
    ORDINARY = "ordinary"
    SOLE_PROPRIETORSHIP = "sole_proprietorship"
    SMALL_BUSINESS = "small_business"
    DECEASED_ESTATE = "deceased_estate"
    UNSTATED = "unstated"
    UNKNOWN = "unknown"


class CvrStanding(StrEnum):
    """What CVR's own data says of a registrant's lock, which it can end and never give."""

    HELD = "held"  # nothing against it, or no data of CVR's own has been read
    CEASED = "ceased"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class IdStatus(StrEnum):
    """How a registrant's identity was established."""

    ELECTRONIC_ID = "electronic_id"
    DOCUMENTATION = "documentation"
    REGISTRAR = "registrar"
    RISK_ASSESSMENT = "risk_assessment"


@dataclass(slots=True, unsafe_hash=True)
class Registrant:
    """All we know of a registrant. None means that the data does not say."""

    kind: Final[RegistrantKind]
    name: Final[str | None]
    street: Final[tuple[str, ...]]
    postal_code: Final[str | None]
    city: Final[str | None]
    country: Final[str | None]
    phone: Final[str | None]
    email: Final[str | None]
    secondary_email: Final[str | None]
    vat_number: Final[str | None]
    cvr_locked: Final[bool | None]
    cvr_form: Final[CvrForm]
    cvr_bankruptcy: Final[bool | None]
    cvr_standing: Final[CvrStanding]
    sole_proprietorship: Final[bool | None]
    documented: Final[bool | None]  # staff have seen documentation that it is no sole proprietorship
    vat_listed: Final[bool | None]  # what VIES answered last about the VAT number; None: nothing is known of it
    address_protection: Final[bool | None]
    id_confirmed: Final[bool | None]
    id_status: Final[IdStatus | None]

    def __init__(
        self,
        kind: RegistrantKind,
        name: str | None,
        street: tuple[str, ...],
        postal_code: str | None,
        city: str | None,
        country: str | None,
        phone: str | None,
        email: str | None,
        secondary_email: str | None,
        vat_number: str | None,
        cvr_locked: bool | None,
        cvr_form: CvrForm,
        cvr_bankruptcy: bool | None,
        cvr_standing: CvrStanding,
        sole_proprietorship: bool | None,
        documented: bool | None,
        vat_listed: bool | None,
        address_protection: bool | None,
        id_confirmed: bool | None,
        id_status: IdStatus | None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.street = street
        self.postal_code = postal_code
        self.city = city
        self.country = country
        self.phone = phone
        self.email = email
        self.secondary_email = secondary_email
        self.vat_number = vat_number
        self.cvr_locked = cvr_locked
        self.cvr_form = cvr_form
        self.cvr_bankruptcy = cvr_bankruptcy
        self.cvr_standing = cvr_standing
        self.sole_proprietorship = sole_proprietorship
        self.documented = documented
        self.vat_listed = vat_listed
        self.address_protection = address_protection
        self.id_confirmed = id_confirmed
        self.id_status = id_status

    def __repr__(self) -> str:
        return "Registrant(...)"


@dataclass(slots=True, unsafe_hash=True)
class Registrar:
    """A registrar, and how to reach it. `public` is whether all but its name and abuse contact may be shown too."""

    name: Final[str]
    public: Final[bool]
    street: Final[tuple[str, ...]]
    postal_code: Final[str | None]
    city: Final[str | None]
    country: Final[str | None]
    phone: Final[str | None]
    url: Final[str | None]
    email: Final[str | None]
    abuse_email: Final[str | None]

    def __init__(
        self,
        name: str,
        public: bool = False,
        street: tuple[str, ...] = (),
        postal_code: str | None = None,
        city: str | None = None,
        country: str | None = None,
        phone: str | None = None,
        url: str | None = None,
        email: str | None = None,
        abuse_email: str | None = None,
    ) -> None:
        self.name = name
        self.public = public
        self.street = street
        self.postal_code = postal_code
        self.city = city
        self.country = country
        self.phone = phone
        self.url = url
        self.email = email
        self.abuse_email = abuse_email


@dataclass(slots=True, unsafe_hash=True)
class Domain:
    """All we know of a domain. Dates are in the registry's local time (Europe/Copenhagen)."""

    name: Final[DomainName]
    status: Final[DomainStatus]
    registered: Final[date | None]
    expires: Final[date | None]
    delete_date: Final[date | None]
    period_years: Final[int | None]
    vid: Final[bool]
    dnssec: Final[bool]
    registrar: Final[Registrar | None]  # None under registrant management
    nameservers: Final[tuple[str, ...]]
    registrant: Final[Registrant]
    data_age: Final[float | None]  # seconds, of what this was read from; None where it is not known, or nobody asked

    def __init__(
        self,
        name: DomainName,
        status: DomainStatus,
        registered: date | None,
        expires: date | None,
        delete_date: date | None,
        period_years: int | None,
        vid: bool,
        dnssec: bool,
        registrar: Registrar | None,
        nameservers: tuple[str, ...],
        registrant: Registrant,
        data_age: float | None = None,
    ) -> None:
        self.name = name
        self.status = status
        self.registered = registered
        self.expires = expires
        self.delete_date = delete_date
        self.period_years = period_years
        self.vid = vid
        self.dnssec = dnssec
        self.registrar = registrar
        self.nameservers = nameservers
        self.registrant = registrant
        self.data_age = data_age


@dataclass(slots=True, unsafe_hash=True)
class Host:
    """A name server host; `glue` is whether its addresses are being spooled into the zone."""

    name: Final[DomainName]
    glue: Final[bool]

    def __init__(self, name: DomainName, glue: bool) -> None:
        self.name = name
        self.glue = glue


Found = (
    Domain | Host | StoreError | None
)  # what a lookup comes to: why there is no answer, or None when there is no such name
