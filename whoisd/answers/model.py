"""All that is known of a domain, its registrant and a host: data only, as the two views of the database give it.

A `Registrant` may hold what nobody may see. Its `repr` is empty, so that no traceback or log can show it; only
`disclosure.publish` reads it.
"""

from datetime import date
from enum import StrEnum

from whoisd.answers.names import DomainName
from whoisd.errors import StoreError
from whoisd.values import frozen


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


@frozen
class Registrant:
    """All we know of a registrant. None means that the data does not say."""

    kind: RegistrantKind
    name: str | None
    street: tuple[str, ...]
    postal_code: str | None
    city: str | None
    country: str | None
    phone: str | None
    email: str | None
    secondary_email: str | None
    vat_number: str | None
    cvr_locked: bool | None
    cvr_form: CvrForm
    cvr_bankruptcy: bool | None
    cvr_standing: CvrStanding
    sole_proprietorship: bool | None
    documented: bool | None  # staff have seen documentation that it is no sole proprietorship
    vat_listed: bool | None  # what VIES answered last about the VAT number; None: nothing is known of it
    address_protection: bool | None
    id_confirmed: bool | None
    id_status: IdStatus | None

    def __repr__(self) -> str:
        return "Registrant(...)"


@frozen
class Registrar:
    """A registrar, and how to reach it. `public` is whether all but its name and abuse contact may be shown too."""

    name: str
    public: bool = False
    street: tuple[str, ...] = ()
    postal_code: str | None = None
    city: str | None = None
    country: str | None = None
    phone: str | None = None
    url: str | None = None
    email: str | None = None
    abuse_email: str | None = None


@frozen
class Domain:
    """All we know of a domain. Dates are in the registry's local time (Europe/Copenhagen)."""

    name: DomainName
    status: DomainStatus
    registered: date | None
    expires: date | None
    delete_date: date | None
    period_years: int | None
    vid: bool
    dnssec: bool
    registrar: Registrar | None  # None under registrant management
    nameservers: tuple[str, ...]
    registrant: Registrant
    data_age: float | None = None  # seconds, of what this was read from; None where it is not known, or nobody asked


@frozen
class Host:
    """A name server host; `glue` is whether its addresses are being spooled into the zone."""

    name: DomainName
    glue: bool


Found = (
    Domain | Host | StoreError | None
)  # what a lookup comes to: why there is no answer, or None when there is no such name
