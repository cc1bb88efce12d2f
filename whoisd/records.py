"""One line of a registry file to one checked record. Knows the format of the README; knows nothing of the database.

A registry file is UTF-8 text of JSON objects, one a line (JSON Lines). A fault is reported by its field and what is wrong
with it, never by the value, which may be personal data.
"""

import json
import re
from contextlib import suppress
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from whoisd.errors import InvalidName
from whoisd.names import parse_name
from whoisd.notices import FAULTS, NO_ENTRIES

FEWEST_NAMESERVERS: Final = 2  # of an active domain
MOST_NAMESERVERS: Final = 7

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FIELD: Final = re.compile("[a-z_]{1,30}|[0-9]{1,3}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line of text without control characters")
    if not value.strip():
        raise ValueError("must not be blank")
    if NO_ENTRIES.strip().lower() in value.lower():
        raise ValueError("must not hold the sentence that clients take for an unregistered name")
    return value


def _blank_is_none(value: Any) -> Any:
    """Absent, null, empty and blank all mean: not given."""
    return None if isinstance(value, str) and not value.strip() else value


def _iso_date(value: Any) -> Any:
    """Take a date as it is written, where pydantic would take seconds since 1970 too."""
    if not isinstance(value, str):
        return value
    if _DATE.fullmatch(value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise ValueError("must be a date, as in 2026-07-01")


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def _name(value: str) -> str:
    try:
        name = parse_name(value).ascii
    except InvalidName as error:
        raise ValueError(FAULTS[error.fault]) from None
    if "." not in name:
        raise ValueError("must have at least two labels")
    return name


def _dk_domain(value: str) -> str:
    name = _name(value)
    if not parse_name(name).is_dk_domain:
        raise ValueError("must be one label and .dk")
    return name


Line = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_line)]
OptionalLine = Annotated[Line | None, BeforeValidator(_blank_is_none)]
Handle = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*$", max_length=32)]
HostName = Annotated[str, AfterValidator(_name)]
DkDomain = Annotated[str, AfterValidator(_dk_domain)]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Day = Annotated[date, BeforeValidator(_iso_date)]
Years = Annotated[Literal[1, 2, 3, 5], BeforeValidator(_not_boolean)]
Code = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class RegistrarRecord(_Record):
    """A registrar."""

    type: Literal["registrar"]
    handle: Handle
    name: Line


class RegistrantRecord(_Record):
    """A registrant, with the facts that the disclosure rules look at."""

    type: Literal["registrant"]
    handle: Handle
    kind: Literal["company", "public_organization", "association", "individual"]
    name: Line
    street: Annotated[list[Line], Field(max_length=3)] = []
    postal_code: OptionalLine = None
    city: OptionalLine = None
    country: Country
    phone: OptionalLine = None
    email: Line
    secondary_email: OptionalLine = None
    vat_number: OptionalLine = None
    cvr_locked: bool = False
    cvr_form: Code | None = None
    cvr_bankruptcy: bool = False
    sole_proprietorship: bool = False
    address_protection: bool = False
    id_confirmed: bool = True
    id_status: Literal["electronic_id", "documentation", "registrar", "risk_assessment"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        danish = self.country == "DK"
        if self.cvr_locked and not danish:
            raise ValueError("cvr_locked: only a registrant with country DK is locked to CVR")
        if self.sole_proprietorship and danish:
            raise ValueError("sole_proprietorship: must not be true with country DK, where CVR decides")
        if self.address_protection and self.kind != "individual":
            raise ValueError("address_protection: only for kind individual")
        return self


class HostRecord(_Record):
    """A name server host."""

    type: Literal["host"]
    name: HostName


class DomainRecord(_Record):
    """A domain and its delegation; hosts that no record names come into being with it."""

    type: Literal["domain"]
    name: DkDomain
    status: Literal["active", "deactivated", "reserved", "offered_to_waiting_list"]
    registered: Day | None = None
    expires: Day | None = None
    delete_date: Day | None = None
    period_years: Years | None = None
    vid: bool = False
    dnssec: bool = False
    registrar: Handle | None = None
    registrant: Handle | None = None
    nameservers: Annotated[list[HostName], Field(max_length=MOST_NAMESERVERS)] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.status == "offered_to_waiting_list":
            for field in ("registered", "expires", "registrant", "nameservers"):
                if getattr(self, field):
                    raise ValueError(f"{field}: must not be given for a domain that is offered to a waiting list")
            return self
        for field in ("registered", "expires", "period_years", "registrant"):
            if getattr(self, field) is None:
                raise ValueError(f"{field}: required unless the domain is offered to a waiting list")
        self._check_dates()
        self._check_nameservers()
        return self

    def _check_dates(self) -> None:
        for field in ("expires", "delete_date"):
            day = getattr(self, field)
            if self.registered and day and day < self.registered:
                raise ValueError(f"{field}: must not be before registered")

    def _check_nameservers(self) -> None:
        if len(set(self.nameservers)) < len(self.nameservers):
            raise ValueError("nameservers: names a host twice")
        if self.status == "active" and len(self.nameservers) < FEWEST_NAMESERVERS:
            raise ValueError("nameservers: an active domain has 2 to 7")


Record = RegistrarRecord | RegistrantRecord | HostRecord | DomainRecord

_RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Annotated[Record, Field(discriminator="type")])

_HANDLE_FORM: Final = "upper-case letters and digits, in parts joined by hyphens"

_MESSAGES: Final = {
    "extra_forbidden": "not a field of this record",
    "missing": "required",
    "json_invalid": "not a JSON object",
    "model_type": "not a JSON object",
    "model_attributes_type": "not a JSON object",
    "union_tag_not_found": "required: registrar, registrant, host or domain",
    "union_tag_invalid": "must be registrar, registrant, host or domain",
}


def parse_record(line: bytes) -> Record:
    """Check one line. Raises `ValueError` whose text is `field: what is wrong`, several joined with `; `."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    _refuse_repeated_fields(text)
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        faults = [_fault(dict(fault)) for fault in error.errors(include_url=False, include_input=False)]
        raise ValueError("; ".join(faults)) from None


def _refuse_repeated_fields(text: str) -> None:
    """Refuse a field that is given twice: it contradicts itself, and the parser would take the last without a word."""
    with suppress(RecursionError, json.JSONDecodeError):  # which `validate_json` words better
        json.loads(text, object_pairs_hook=_refuse_repeated)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is given twice")


def _fault(fault: dict[str, Any]) -> str:
    kind = fault["type"]
    # The name of a field that is none of ours may be anything, personal data too.
    place = [part if _FIELD.fullmatch(part) else "?" for part in map(str, fault["loc"][1:])]
    if kind.startswith("union_tag"):
        place = ["type"]
    if kind == "string_pattern_mismatch":
        country = place == ["country"]
        return f"{place[0]}: must be " + ("two capital letters" if country else _HANDLE_FORM)
    what = _MESSAGES.get(kind, fault["msg"].removeprefix("Value error, "))
    return f"{'.'.join(place)}: {what}" if place else what
