"""One line of a registry file to one checked record. Knows the format; knows nothing of files and of the database.

A registry file is UTF-8 text of JSON objects, one a line (JSON Lines). What a single field may hold is in
`registry.schema.json`, by which every line is validated; names, and what must go together, are checked here. A fault is
told by its field and what it must be, never by the value, which may be personal data.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import jsonschema_rs
import orjson

from whoisd.answers.disclosure import COUNTRIES
from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.notices import FAULTS, NO_ENTRIES
from whoisd.answers.response import is_blank
from whoisd.answers.vat import Number, is_cvr_number, judge
from whoisd.errors import InvalidName

FEWEST_NAMESERVERS: Final = 2  # of an active domain

SCHEMA: Final[dict[str, Any]] = orjson.loads(files("whoisd").joinpath("registry.schema.json").read_bytes())

_FIELD: Final = re.compile("[a-z_]{1,30}|[0-9]{1,3}")
_HANDLE: Final = re.compile(f"(?!.{{{SCHEMA['$defs']['handle']['maxLength'] + 1}}}){SCHEMA['$defs']['handle']['pattern']}")
_NO_ENTRIES: Final = NO_ENTRIES.strip().lower()
_NO_ENTRIES_BYTES: Final = _NO_ENTRIES.encode()

Fields = dict[str, Any]


class RegistrarRecord(NamedTuple):
    """A registrar, whose handle names its account at the registrar portal, and how to reach it."""

    handle: str
    name: str
    public: bool = False
    street: tuple[str, ...] | list[str] = ()
    postal_code: str | None = None
    city: str | None = None
    country: str | None = None
    phone: str | None = None
    url: str | None = None
    email: str | None = None
    abuse_email: str | None = None


class RegistrantRecord(NamedTuple):
    """A registrant, with the facts that the disclosure rules look at."""

    handle: str
    kind: str
    name: str
    country: str
    email: str
    street: tuple[str, ...] | list[str] = ()
    postal_code: str | None = None
    city: str | None = None
    phone: str | None = None
    secondary_email: str | None = None
    vat_number: str | None = None
    cvr_locked: bool = False
    cvr_form: int | None = None
    cvr_bankruptcy: bool | None = None  # of the four, None is for a record that says nothing of it
    sole_proprietorship: bool | None = None
    address_protection: bool | None = None
    id_confirmed: bool | None = None
    id_status: str | None = None


class HostRecord(NamedTuple):
    """A name server host."""

    name: str


class DomainRecord(NamedTuple):
    """A domain and its delegation; hosts that no record names come into being with it."""

    name: str
    status: str
    registered: date | None = None
    expires: date | None = None
    delete_date: date | None = None
    period_years: int | None = None
    vid: bool = False
    dnssec: bool = False
    registrar: str | None = None
    registrant: str | None = None
    nameservers: tuple[str, ...] | list[str] = ()


class StaffRecord(NamedTuple):
    """Somebody of the registry's staff."""

    name: str


class PortalUserRecord(NamedTuple):
    """A user of a registrar's account at the registrar portal."""

    handle: str
    account: str
    linked: bool = False
    roles: tuple[str, ...] | list[str] = ()
    access_group: str | None = None


class ObjectRoleRecord(NamedTuple):
    """A role that a linked user held on an object; `object` is its kind, a colon and its name as the database has it."""

    holder: str
    role: str
    object: str


Record = RegistrarRecord | RegistrantRecord | HostRecord | DomainRecord | StaffRecord | PortalUserRecord | ObjectRoleRecord

# The record of each `type`, in an order in which none refers to a later one.
RECORDS: Final[dict[str, type[Record]]] = {
    "registrar": RegistrarRecord,
    "registrant": RegistrantRecord,
    "host": HostRecord,
    "domain": DomainRecord,
    "staff": StaffRecord,
    "portal_user": PortalUserRecord,
    "object_role": ObjectRoleRecord,
}

_VALIDATORS: Final = {
    name: jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}, validate_formats=True
    )
    for name in RECORDS
}  # fmt: skip
_TYPES: Final = f"{', '.join([*RECORDS][:-1])} or {[*RECORDS][-1]}"


def parse_record(line: bytes) -> Record:
    """Check one line. Raises `ValueError` whose text is `field: what is wrong`, several joined with `; `."""
    fields = parse_object(line)
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in RECORDS:
        raise ValueError(f"type: must be {_TYPES}")
    if not _VALIDATORS[kind].is_valid(fields):
        # A value may break several rules of its field, of all of which the same is said.
        raise ValueError("; ".join(dict.fromkeys(map(_fault, _VALIDATORS[kind].iter_errors(fields)))))
    if b"\\" in line or _NO_ENTRIES_BYTES in line.lower():  # nothing else can hold it
        _refuse_what_clients_misread(fields)
    del fields["type"]
    return _MAKERS[kind](fields)


def doubts(record: Record) -> Iterator[str]:
    """Return what is odd about a record and no fault, in the form of a fault."""
    if not isinstance(record, RegistrantRecord):
        return
    if record.country not in COUNTRIES:
        yield "country: is none that ISO 3166-1 assigns, with which the email is withheld"
    elif record.vat_number is not None and _is_no_number(record.vat_number, record.country):
        yield "vat_number: is no valid number of the registrant's country"


def _is_no_number(text: str, country: str) -> bool:
    if country == "DK":
        return not is_cvr_number(text)
    return judge(text, country) in {Number.NONE, Number.WRONG, Number.ANOTHERS}


# --- one kind of record each ---------------------------------------------------------------------------------------


def _registrar(fields: Fields) -> RegistrarRecord:
    _drop_blanks(fields, "postal_code", "city", "phone", "url", "email", "abuse_email")
    return RegistrarRecord(**fields)


def _registrant(fields: Fields) -> RegistrantRecord:
    _drop_blanks(fields, "postal_code", "city", "phone", "secondary_email", "vat_number")
    if (form := fields.get("cvr_form")) is not None:
        fields["cvr_form"] = int(form)  # to a schema 60.0 is a whole number
    record = RegistrantRecord(**fields)
    if faults := [*_registrant_faults(record)]:
        raise ValueError("; ".join(faults))
    return record


def _drop_blanks(fields: Fields, *names: str) -> None:
    """Let a text that is blank be one that is not given, and a line of the street that is blank be none."""
    for name in names:
        value = fields.get(name)
        if value is not None and is_blank(value):
            fields[name] = None
    if street := fields.get("street"):
        fields["street"] = [line for line in street if not is_blank(line)]


def _registrant_faults(record: RegistrantRecord) -> Iterator[str]:
    danish = record.country == "DK"
    if record.cvr_locked and not danish:
        yield "cvr_locked: only a registrant with country DK is locked to CVR"
    elif record.cvr_locked and record.vat_number and not is_cvr_number(record.vat_number):
        yield "vat_number: must be a CVR number, with the right check digit, of a registrant that is locked to CVR"
    if record.sole_proprietorship and danish:
        yield "sole_proprietorship: must not be true with country DK, where CVR decides"
    if record.address_protection and record.kind != "individual":
        yield "address_protection: only for kind individual"


def _host(fields: Fields) -> HostRecord:
    return HostRecord(_name("name", fields["name"]))


def _domain(fields: Fields) -> DomainRecord:
    fields["name"] = _dk_domain("name", fields["name"])
    for name in ("registered", "expires", "delete_date"):
        if day := fields.get(name):
            fields[name] = _day(name, day)
    if years := fields.get("period_years"):
        fields["period_years"] = int(years)
    if servers := fields.get("nameservers"):
        fields["nameservers"] = [
            _name(f"nameservers.{number}", host, _parse_host_name) for number, host in enumerate(servers)
        ]
    record = DomainRecord(**fields)
    faults = _offered_faults(record) if record.status == "offered_to_waiting_list" else _registered_faults(record)
    if said := [*faults]:
        raise ValueError("; ".join(said))
    return record


def _offered_faults(record: DomainRecord) -> Iterator[str]:
    for name in ("registered", "expires", "registrant", "nameservers"):
        if getattr(record, name):
            yield f"{name}: must not be given for a domain that is offered to a waiting list"


def _registered_faults(record: DomainRecord) -> Iterator[str]:
    for name in ("registered", "expires", "period_years", "registrant"):
        if getattr(record, name) is None:
            yield f"{name}: required unless the domain is offered to a waiting list"
    for name in ("expires", "delete_date"):
        day = getattr(record, name)
        if record.registered and day and day < record.registered:
            yield f"{name}: must not be before registered"
    if len(set(record.nameservers)) < len(record.nameservers):
        yield "nameservers: names a host twice"
    elif record.status == "active" and len(record.nameservers) < FEWEST_NAMESERVERS:
        yield "nameservers: an active domain has 2 to 7"


def _object_role(fields: Fields) -> ObjectRoleRecord:
    kind, _, name = fields["object"].partition(":")
    fields["object"] = f"{kind}:{OBJECTS[kind](name)}"
    return ObjectRoleRecord(**fields)


_MAKERS: Final[dict[str, Callable[[Fields], Record]]] = {
    "registrar": _registrar,
    "registrant": _registrant,
    "host": _host,
    "domain": _domain,
    "staff": lambda fields: StaffRecord(**fields),
    "portal_user": lambda fields: PortalUserRecord(**fields),
    "object_role": _object_role,
}


# --- what a schema cannot say --------------------------------------------------------------------------------------


_parse_host_name = lru_cache(maxsize=2**16)(parse_name)  # a host serves many domains, and its name is read but once


def _name(field: str, value: str, parse: Callable[[str], DomainName] = parse_name) -> str:
    try:
        name = parse(value).ascii
    except InvalidName as error:
        raise ValueError(f"{field}: {FAULTS[error.fault]}") from None
    if "." not in name:
        raise ValueError(f"{field}: must have at least two labels")
    return name


def _dk_domain(field: str, value: str) -> str:
    name = _name(field, value)
    if not (name.endswith(".dk") and name.count(".") == 1):
        raise ValueError(f"{field}: must be one label and .dk")
    return name


def _handle(field: str, value: str) -> str:
    if not _HANDLE.fullmatch(value):
        raise ValueError(f"{field}: must {SCHEMA['$defs']['handle']['must']}")
    return value


# What brings the name of each kind of object into the form in which the database has it, or raises `ValueError`.
OBJECTS: Final = {
    "domain": lambda value: _dk_domain("object", value),
    "host": lambda value: _name("object", value),
    "registrant": lambda value: _handle("object", value),
}


def _day(field: str, value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:  # the year 0, which a schema takes
        raise ValueError(f"{field}: must {SCHEMA['$defs']['day']['must']}") from None


def _refuse_what_clients_misread(fields: Fields) -> None:
    for name, value in fields.items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and _NO_ENTRIES in text.lower() for text in texts):
            raise ValueError(f"{name}: must not hold the sentence that clients take for an unregistered name")


# --- a line's JSON, and what is wrong with it ----------------------------------------------------------------------


def parse_object(line: bytes) -> Fields:
    """Return the fields of a line that is a JSON object. Raises `ValueError` for any other, and for a field given twice."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("not UTF-8 text") from None
        if line.startswith(BOM_UTF8):
            raise ValueError("begins with a byte order mark, which JSON does not have: write the file without one") from None
        raise ValueError("not a JSON object") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a fault of the line, like all others
    if _may_repeat_a_field(line, fields):
        _refuse_repeated_fields(line)
    return fields


def _may_repeat_a_field(line: bytes, fields: Fields) -> bool:
    """Whether a field may be given twice: nearly no line is in doubt, and reading one again costs more than all else.

    Where nothing is escaped and no white space stands before a colon, every field's name ends in `":`.
    """
    return line.count(b'":') != len(fields) or b"\\" in line or b" :" in line or b"\t:" in line or b"\r:" in line


def _refuse_repeated_fields(line: bytes) -> None:
    """Refuse a field that is given twice: it contradicts itself, and the parser takes the last without a word."""
    with suppress(RecursionError):
        json.loads(line, object_pairs_hook=_refuse_repeated)


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a field is given twice")


def _fault(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        return f"{kind.property}: required"
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        # The name of a field that is none of ours may be anything, personal data too.
        return "; ".join(f"{_known(name)}: not a field of this record" for name in kind.unexpected)
    broken: Any = SCHEMA
    for part in error.schema_path[:-1]:  # the last is the keyword; what it stands in says what the value must be
        broken = broken[part]
    return f"{'.'.join(map(str, error.instance_path))}: must {broken['must']}"


def _known(name: str) -> str:
    return name if _FIELD.fullmatch(name) else "?"
