"""One line of a registry file: what each field may hold, what goes together, and what is said of a fault."""

import json
from datetime import date
from typing import Any

import pytest

from whoisd.registry.records import (
    RECORDS,
    SCHEMA,
    HostRecord,
    ObjectRoleRecord,
    PortalUserRecord,
    Record,
    RegistrarRecord,
    StaffRecord,
    doubts,
    parse_record,
)

Fields = dict[str, Any]
Change = tuple[str, Any]  # of a field; `...` leaves it out

REGISTRAR: Fields = {"type": "registrar", "handle": "REG-1", "name": "Registrar ApS"}
HOST: Fields = {"type": "host", "name": "ns1.eksempel.dk"}
REGISTRANT: Fields = {
    "type": "registrant",
    "handle": "EKSEMPEL-DK",
    "kind": "company",
    "name": "Eksempel ApS",
    "country": "DK",
    "email": "primary@eksempel.example",
}
PERSON: Fields = REGISTRANT | {"kind": "individual"}
SWEDISH: Fields = REGISTRANT | {"country": "SE"}
DOMAIN: Fields = {
    "type": "domain",
    "name": "eksempel.dk",
    "status": "active",
    "registered": "2020-01-31",
    "expires": "2027-01-31",
    "period_years": 1,
    "registrant": "EKSEMPEL-DK",
    "nameservers": ["ns1.eksempel.dk", "ns2.eksempel.dk"],
}
RESERVED: Fields = DOMAIN | {"status": "reserved"}
STAFF: Fields = {"type": "staff", "name": "bodil"}
USER: Fields = {"type": "portal_user", "handle": "ANNE-1", "account": "REG-1"}
ROLE: Fields = {"type": "object_role", "holder": "ANNE-1", "role": "proxy", "object": "domain:eksempel.dk"}
OFFERED: Fields = {"type": "domain", "name": "eksempel.dk", "status": "offered_to_waiting_list"}

LINE = "must be one line of text: not blank, without control characters, at most 255 characters"
STREET_LINE = "must be one line of text without control characters, at most 255 characters"
OPTIONAL = "must be one line of text without control characters, at most 255 characters, or null"
URL = "url: must be a URL that begins with http:// or https://, at most 255 characters, or null"
EMAIL = "must be one email address, at most 255 characters, or null"
FORM = "must be upper-case letters and digits, in parts joined by hyphens, at most 32 characters"
ROLES = "must be registrar, registrant, proxy, billing_contact or name_server_management"
ALL_ROLES = "administrator, registrar, registrant, proxy, billing_contact, name_server_management"
STAFF_FORM = "must be lower-case letters and digits, in parts joined by dots, hyphens or underscores, at most 32 characters"
CVR = "vat_number: must be a CVR number, with the right check digit, of a registrant that is locked to CVR"
NO_NAME = "This is not a domain name, for "
OFFERED_FAULT = "must not be given for a domain that is offered to a waiting list"
REGISTERED_FAULT = "required unless the domain is offered to a waiting list"
TYPES = "must be registrar, registrant, host, domain, staff, portal_user or object_role"


def line(base: Fields, *changes: Change) -> bytes:
    fields = base | dict(changes)
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def parse(base: Fields, *changes: Change) -> Any:
    return parse_record(line(base, *changes))


def untyped(fields: Fields) -> Fields:
    """The fields without the type, which the record is."""
    return {name: value for name, value in fields.items() if name != "type"}


def fault(text: bytes) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        parse_record(text)
    return str(refused.value)


# --- what a record becomes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [REGISTRANT, REGISTRAR])
def test_blank_lines_of_a_street(base: Fields) -> None:
    """A line of the street that is blank, or of invisible characters alone, is left out."""
    assert parse(base, ("street", ["Vej 1", ""])).street == ["Vej 1"]
    assert parse(base, ("street", ["\u200b", "Vej 1", " \ufe0f"])).street == ["Vej 1"]
    assert parse(base, ("street", ["", " ", "\u3164"])).street == []


def test_invisible_texts() -> None:
    """A text of invisible characters alone is blank: not given, where that may be."""
    invisible = "\u00ad\u200d\u2060\u3164\ufeff\U000e0020"
    fields = ("postal_code", "city", "phone", "secondary_email", "vat_number")
    assert parse(REGISTRANT | dict.fromkeys(fields, invisible)) == parse(REGISTRANT)
    assert parse(REGISTRANT, ("name", f"{invisible}A")).name == f"{invisible}A"


def test_registrar() -> None:
    """A registrar is a handle and a name; what its record leaves out is not given, and not public."""
    assert parse(REGISTRAR) == RegistrarRecord(handle="REG-1", name="Registrar ApS")
    assert parse(REGISTRAR).public is False


def test_registrar_in_full() -> None:
    """How to reach a registrar is kept as given, and what is blank is not given."""
    contact: Fields = {
        "public": True,
        "street": ["Registratorvej 1", "2. sal"],
        "postal_code": "2300",
        "city": "København S",
        "country": "DK",
        "phone": "+45 00112233",
        "url": "https://registrar.example/da?x=1#y",
        "email": "kunder@registrar.example",
        "abuse_email": "misbrug@registrar.example",
    }
    assert parse(REGISTRAR | contact)._asdict() == untyped(REGISTRAR) | contact
    blank = dict.fromkeys(("postal_code", "city", "phone", "url", "email", "abuse_email"), " ")
    assert parse(REGISTRAR | blank) == parse(REGISTRAR)


def test_registrant_by_default() -> None:
    """What a registrant's record leaves out is not given or not true; of the guards it is known that it says nothing."""
    assert parse(REGISTRANT)._asdict() == untyped(REGISTRANT) | {
        "street": (),
        "postal_code": None,
        "city": None,
        "phone": None,
        "secondary_email": None,
        "vat_number": None,
        "cvr_locked": False,
        "cvr_form": None,
        "cvr_bankruptcy": None,
        "sole_proprietorship": None,
        "address_protection": None,
        "id_confirmed": None,
        "id_status": None,
    }


def test_registrant_in_full() -> None:
    """A registrant's record keeps every value as it stands."""
    full = REGISTRANT | {
        "street": ["Ørestads Boulevard 108, 11.", "c/o Łukasz", "€"],
        "postal_code": "2300",
        "city": "København S",
        "phone": "+45 00112233",
        "secondary_email": "sekundær@eksempel.example",
        "vat_number": "99000015",
        "cvr_locked": True,
        "cvr_form": 60,
        "cvr_bankruptcy": True,
        "sole_proprietorship": False,
        "address_protection": False,
        "id_confirmed": False,
        "id_status": "electronic_id",
    }
    assert parse_record(json.dumps(full, ensure_ascii=False).encode())._asdict() == untyped(full)


def test_domain() -> None:
    """A domain's dates are dates, and what its record leaves out is not given or not true."""
    assert parse(DOMAIN)._asdict() == untyped(DOMAIN) | {
        "registered": date(2020, 1, 31),
        "expires": date(2027, 1, 31),
        "delete_date": None,
        "vid": False,
        "dnssec": False,
        "registrar": None,
    }


def test_domain_on_offer() -> None:
    """A domain that is offered to a waiting list has a name and a status, and need have nothing else."""
    domain = parse(OFFERED)
    assert (domain.registered, domain.expires, domain.period_years, domain.registrant, domain.nameservers) == (
        None,
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("NS1.Eksempel.DK", "ns1.eksempel.dk"),
        ("ns1.eksempel.dk.", "ns1.eksempel.dk"),
        ("ns1.æøå.dk", "ns1.xn--5cab8c.dk"),
        ("NS1.ÆØÅ.DK", "ns1.xn--5cab8c.dk"),
        ("ns1.xn--5cab8c.dk", "ns1.xn--5cab8c.dk"),
        ("NS1.XN--5CAB8C.DK.", "ns1.xn--5cab8c.dk"),
        ("ns.straße.dk", "ns.xn--strae-oqa.dk"),
        ("ns.strasse.dk", "ns.strasse.dk"),
        ("a.dk", "a.dk"),
        ("ns1.example.net", "ns1.example.net"),
    ],
)
def test_names_are_stored_as_a_labels(name: str, stored: str) -> None:
    """Names of hosts and name servers, in either form and any case, are stored as lower-case A-labels with no final dot."""
    assert parse(HOST, ("name", name)) == HostRecord(stored)
    assert parse(RESERVED, ("nameservers", [name])).nameservers == [stored]


def test_staff() -> None:
    """Somebody of the staff is a name."""
    assert parse(STAFF) == StaffRecord("bodil")


def test_portal_user() -> None:
    """A portal user belongs to an account, and by default is not linked and has neither roles nor a group."""
    assert parse(USER) == PortalUserRecord("ANNE-1", "REG-1", linked=False, roles=(), access_group=None)
    full = {"linked": True, "roles": ["administrator", "billing_contact"], "access_group": "accounting"}
    assert parse(USER, *full.items())._asdict() == {"handle": "ANNE-1", "account": "REG-1"} | full


@pytest.mark.parametrize(
    ("object_", "stored"),
    [
        ("domain:ÆØÅ.dk.", "domain:xn--5cab8c.dk"),
        ("host:NS1.eksempel.dk", "host:ns1.eksempel.dk"),
        ("registrant:EKSEMPEL-DK", "registrant:EKSEMPEL-DK"),
    ],
)
def test_object_role(object_: str, stored: str) -> None:
    """A role is on one object, whose name is stored as the database has it."""
    assert parse(ROLE, ("object", object_)) == ObjectRoleRecord("ANNE-1", "proxy", stored)


@pytest.mark.parametrize("name", ["æøå.dk", "ÆØÅ.dk.", "xn--5cab8c.dk", "XN--5CAB8C.DK"])
def test_domain_names_are_stored_as_a_labels(name: str) -> None:
    """A domain's name in either form and any case is stored as a lower-case A-label."""
    assert parse(DOMAIN, ("name", name)).name == "xn--5cab8c.dk"


@pytest.mark.parametrize("field", ["postal_code", "city", "phone", "secondary_email", "vat_number"])
@pytest.mark.parametrize("value", [..., None, "", " ", "   "])
def test_not_given(field: str, value: object) -> None:
    """Absent, null, empty and blank all mean that an optional value is not given."""
    assert getattr(parse(REGISTRANT, (field, value)), field) is None


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "changes", "said"),
    [
        (REGISTRAR, [("handle", "reg-1")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "-REG")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "REG--1")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "REG 1")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "ÆØÅ")], f"handle: {FORM}"),
        (REGISTRAR, [("handle", "REG-1\n")], f"handle: {FORM}"),
        (REGISTRAR, [("name", ...)], "name: required"),
        (REGISTRAR, [("name", " ")], f"name: {LINE}"),
        (REGISTRAR, [("name", "A\nB")], f"name: {LINE}"),
        (REGISTRAR, [("fax", "+45 00112233")], "fax: not a field of this record"),
        (REGISTRANT, [("attention", "Bodil")], "attention: not a field of this record"),
        (REGISTRANT, [("handle", ...)], "handle: required"),
        (REGISTRANT, [("kind", ...)], "kind: required"),
        (REGISTRANT, [("name", ...)], "name: required"),
        (REGISTRANT, [("country", ...), ("email", ...)], "country: required; email: required"),
        (REGISTRANT, [("country", "dk")], "country: must be two capital letters"),
        (REGISTRANT, [("country", "DNK")], "country: must be two capital letters"),
        (REGISTRANT, [("country", "")], "country: must be two capital letters"),
        (REGISTRANT, [("email", "  ")], f"email: {LINE}"),
        (REGISTRANT, [("secondary_email", "a\tb")], f"secondary_email: {OPTIONAL}"),
        (REGISTRANT, [("street", ["A", "B\r"])], f"street.1: {STREET_LINE}"),
        (REGISTRANT, [("name", "\u200b\u3164 ")], f"name: {LINE}"),
        (REGISTRANT, [("email", "\u2800\ufeff")], f"email: {LINE}"),
        (REGISTRANT, [("name", "\U000e0061")], f"name: {LINE}"),
        (SWEDISH, [("cvr_locked", True)], "cvr_locked: only a registrant with country DK is locked to CVR"),
        (
            REGISTRANT,
            [("sole_proprietorship", True)],
            "sole_proprietorship: must not be true with country DK, where CVR decides",
        ),
        (REGISTRANT, [("address_protection", True)], "address_protection: only for kind individual"),
        (REGISTRAR, [("url", "javascript:alert(1)")], URL),
        (REGISTRAR, [("url", "https://")], URL),
        (REGISTRAR, [("url", 'https://registrar.example/"onclick')], URL),
        (REGISTRAR, [("email", "misbrug")], f"email: {EMAIL}"),
        (REGISTRAR, [("abuse_email", "a@b@c.example")], f"abuse_email: {EMAIL}"),
        (REGISTRAR, [("abuse_email", "a b@c.example")], f"abuse_email: {EMAIL}"),
        (REGISTRAR, [("country", "dk")], "country: must be two capital letters, or null"),
        (REGISTRAR, [("public", None)], "public: must be true or false"),
        (HOST, [("name", ...)], "name: required"),
        (HOST, [("name", "localhost")], "name: must have at least two labels"),
        (HOST, [("name", "")], f"name: {NO_NAME}a label is empty."),
        (HOST, [("name", "ns1..dk")], f"name: {NO_NAME}a label is empty."),
        (HOST, [("name", "-ns1.dk")], f"name: {NO_NAME}a label begins or ends with a hyphen."),
        (HOST, [("name", "ns_1.dk")], f"name: {NO_NAME}a label has a character that .dk names do not have."),
        (HOST, [("name", "ns1.dk\n")], f"name: {NO_NAME}a label has a character that .dk names do not have."),
        (HOST, [("name", "a" * 64 + ".dk")], f"name: {NO_NAME}a label is longer than 63 characters."),
        (HOST, [("name", "xn--a.dk")], f"name: {NO_NAME}a label that begins with xn-- is not valid in IDNA2008."),
        (HOST, [("glue", True)], "glue: not a field of this record"),
        (DOMAIN, [("name", "eksempel.se")], "name: must be one label and .dk"),
        (DOMAIN, [("name", "www.eksempel.dk")], "name: must be one label and .dk"),
        (DOMAIN, [("name", "dk")], "name: must have at least two labels"),
        (DOMAIN, [("status", ...)], "status: required"),
        (DOMAIN, [("registrar", "reg")], f"registrar: {FORM}, or null"),
        (DOMAIN, [("registrant", "")], f"registrant: {FORM}, or null"),
        (DOMAIN, [("registered", None)], f"registered: {REGISTERED_FAULT}"),
        (DOMAIN, [("expires", ...)], f"expires: {REGISTERED_FAULT}"),
        (DOMAIN, [("period_years", None)], f"period_years: {REGISTERED_FAULT}"),
        (RESERVED, [("registrant", ...)], f"registrant: {REGISTERED_FAULT}"),
        (DOMAIN, [("expires", "2020-01-30")], "expires: must not be before registered"),
        (DOMAIN, [("delete_date", "2020-01-30")], "delete_date: must not be before registered"),
        (DOMAIN, [("nameservers", ...)], "nameservers: an active domain has 2 to 7"),
        (DOMAIN, [("nameservers", ["ns1.eksempel.dk"])], "nameservers: an active domain has 2 to 7"),
        (DOMAIN, [("nameservers", ["ns.å.dk", "NS.XN--5CA.dk."])], "nameservers: names a host twice"),
        (DOMAIN, [("nameservers", ["ns.eksempel.dk", "ns"])], "nameservers.1: must have at least two labels"),
        (OFFERED, [("registered", "2020-01-31")], f"registered: {OFFERED_FAULT}"),
        (OFFERED, [("expires", "2027-01-31")], f"expires: {OFFERED_FAULT}"),
        (OFFERED, [("registrant", "EKSEMPEL-DK")], f"registrant: {OFFERED_FAULT}"),
        (OFFERED, [("nameservers", ["ns1.eksempel.dk"])], f"nameservers: {OFFERED_FAULT}"),
        (HOST, [("type", ...)], f"type: {TYPES}"),
        (HOST, [("type", "contact")], f"type: {TYPES}"),
        (HOST, [("type", None)], f"type: {TYPES}"),
        (HOST, [("type", ["host"])], f"type: {TYPES}"),
        (REGISTRANT, [("cvr_locked", True), ("vat_number", "99000018")], CVR),
        (REGISTRANT, [("cvr_locked", True), ("vat_number", "9900001")], CVR),
        (REGISTRANT, [("cvr_locked", True), ("vat_number", "99-00-00-19")], CVR),
        (REGISTRANT, [("cvr_locked", True), ("vat_number", "00000000")], CVR),
        (
            SWEDISH,
            [("cvr_locked", True), ("address_protection", True)],
            "cvr_locked: only a registrant with country DK is locked to CVR; address_protection: only for kind individual",
        ),
        (DOMAIN, [("registered", "0000-01-31")], "registered: must be a date, as in 2026-07-01"),
        (STAFF, [("name", "Bodil")], f"name: {STAFF_FORM}"),
        (STAFF, [("name", "bodil:x")], f"name: {STAFF_FORM}"),
        (USER, [("account", ...)], "account: required"),
        (USER, [("roles", ["proxy", "proxy"])], f"roles: must be a list of different roles: {ALL_ROLES}"),
        (USER, [("roles", ["boss"])], f"roles.0: {ROLES.replace('be registrar', 'be administrator, registrar')}"),
        (
            USER,
            [("access_group", "Accounting")],
            "access_group: must be administration, portfolio_management, accounting or null",
        ),
        (ROLE, [("role", "administrator")], f"role: {ROLES}"),
        (ROLE, [("object", "eksempel.dk")], "object: must be domain:NAME, registrant:HANDLE or host:NAME"),
        (ROLE, [("object", "domain:www.eksempel.dk")], "object: must be one label and .dk"),
        (ROLE, [("object", "host:localhost")], "object: must have at least two labels"),
        (ROLE, [("object", "registrant:eksempel")], f"object: {FORM}"),
    ],
)
def test_faults(base: Fields, changes: list[Change], said: str) -> None:
    """A fault is told as `field: what is wrong`, several on one line."""
    assert fault(line(base, *changes)) == said


@pytest.mark.parametrize(
    ("base", "field", "value"),
    [
        (REGISTRAR, "handle", "A" * 33),
        (REGISTRAR, "handle", None),
        (REGISTRANT, "kind", "club"),
        (REGISTRANT, "name", ""),
        (REGISTRANT, "name", 7),
        (REGISTRANT, "name", "x" * 256),
        (REGISTRANT, "street", "Eksempelvej 1"),
        (REGISTRANT, "street", None),
        (REGISTRANT, "street", ["A", "B", "C", "D"]),
        (REGISTRANT, "city", "x" * 256),
        (REGISTRANT, "phone", 4500112233),
        (REGISTRANT, "country", None),
        (REGISTRANT, "email", ""),
        (REGISTRANT, "email", None),
        (REGISTRANT, "vat_number", 99000019),
        (REGISTRANT, "cvr_locked", "true"),
        (REGISTRANT, "cvr_locked", 1),
        (REGISTRANT, "cvr_locked", None),
        (REGISTRANT, "cvr_form", "60"),
        (REGISTRANT, "cvr_form", True),
        (REGISTRANT, "cvr_form", 60.5),
        (REGISTRANT, "cvr_form", 2**31),
        (REGISTRANT, "cvr_bankruptcy", 0),
        (SWEDISH, "sole_proprietorship", "yes"),
        (PERSON, "address_protection", "yes"),
        (REGISTRANT, "id_confirmed", None),
        (REGISTRANT, "id_status", "passport"),
        (HOST, "name", None),
        (DOMAIN, "status", "Active"),
        (DOMAIN, "registered", "2020-02-30"),
        (DOMAIN, "registered", "2020-1-31"),
        (DOMAIN, "registered", "31-01-2020"),
        (DOMAIN, "registered", "2020-01-31T12:00:00"),
        (DOMAIN, "registered", 20200131),
        (DOMAIN, "registered", ""),
        (DOMAIN, "expires", " 2027-01-31"),
        (DOMAIN, "delete_date", True),
        (DOMAIN, "period_years", 4),
        (DOMAIN, "registered", "1577836800"),
        (DOMAIN, "registered", "0"),
        (DOMAIN, "expires", "-86400"),
        (DOMAIN, "period_years", True),
        (DOMAIN, "period_years", "1"),
        (DOMAIN, "vid", "no"),
        (DOMAIN, "dnssec", None),
        (DOMAIN, "nameservers", "ns1.eksempel.dk"),
        (DOMAIN, "nameservers", None),
        (DOMAIN, "nameservers", [f"ns{number}.eksempel.dk" for number in range(8)]),
    ],
)
def test_wrong_values(base: Fields, field: str, value: object) -> None:
    """A value of a wrong type, length or form is refused by its field."""
    assert fault(line(base, (field, value))).startswith(f"{field}: ")


@pytest.mark.parametrize("character", ["\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u2029"])
def test_control_characters(character: str) -> None:
    """No text holds a character that a terminal or a client may take for a line end or a command."""
    assert fault(line(REGISTRANT, ("name", f"A{character}B"))) == f"name: {LINE}"
    assert fault(line(REGISTRANT, ("phone", f"+45{character}"))) == f"phone: {OPTIONAL}"


@pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b'{"type": "host"', b'{"type": "host", "name": "\\ud800"}'])
def test_not_json(text: bytes) -> None:
    """A line that is no JSON in UTF-8, or no text, is refused as such."""
    assert fault(text) == "not a JSON object"


def test_byte_order_mark() -> None:
    """The mark that some programs put before the first line is named: nobody sees it in an editor."""
    said = "begins with a byte order mark, which JSON does not have: write the file without one"
    assert fault(b"\xef\xbb\xbf" + line(HOST)) == said


@pytest.mark.parametrize("text", [b"[]", b"null", b'"host"', b"1"])
def test_json_but_no_object(text: bytes) -> None:
    """A line of JSON that is no object is refused."""
    assert fault(text) == "not a JSON object"


@pytest.mark.parametrize(
    ("base", "field"),
    [
        (base, field)
        for base, record in zip((REGISTRAR, REGISTRANT, HOST, DOMAIN, STAFF, USER, ROLE), RECORDS.values(), strict=True)
        for field in ("type", *record._fields)
    ],
)
@pytest.mark.parametrize("value", ["Hemmelig\n", ["Hemmelig\n"], {"Hemmelig\n": 1}])
def test_no_fault_quotes_a_value(base: Fields, field: str, value: object) -> None:
    """A fault never quotes the value, whatever the field: it may be personal data."""
    assert "Hemmelig" not in fault(line(base, (field, value)))


def test_limits_are_inclusive() -> None:
    """Text may have 255 characters, a handle 32, a domain seven name servers, and dates may fall on one day."""
    assert len(parse(REGISTRANT, ("name", "Æ" * 255)).name) == 255
    assert len(parse(REGISTRANT, ("handle", "A" * 32)).handle) == 32
    assert len(parse(DOMAIN, ("nameservers", [f"ns{number}.eksempel.dk" for number in range(7)])).nameservers) == 7
    assert parse(DOMAIN, ("expires", "2020-01-31"), ("delete_date", "2020-01-31")).expires == date(2020, 1, 31)


# --- the registry's schema ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "changes", "valid"),
    [
        (REGISTRAR, [], True),
        (REGISTRAR, [("handle", "1-A-2")], True),
        (REGISTRAR, [("handle", "a")], False),
        (REGISTRAR, [("handle", "A" * 33)], False),
        (REGISTRAR, [("name", "")], False),
        (REGISTRAR, [("name", None)], False),
        (REGISTRAR, [("phone", "1")], True),
        (REGISTRAR, [("fax", "1")], False),
        (REGISTRANT, [], True),
        (REGISTRANT, [("kind", "public_organization")], True),
        (REGISTRANT, [("kind", "association")], True),
        (PERSON, [("address_protection", True)], True),
        (REGISTRANT, [("kind", "person")], False),
        (REGISTRANT, [("street", [])], True),
        (REGISTRANT, [("street", ["A", "B", "C"])], True),
        (REGISTRANT, [("street", ["A", "B", "C", "D"])], False),
        (REGISTRANT, [("street", [""])], True),
        (REGISTRANT, [("street", None)], False),
        (REGISTRANT, [("postal_code", "2300"), ("city", ""), ("phone", None)], True),
        (REGISTRANT, [("postal_code", 2300)], False),
        (REGISTRANT, [("country", "D")], False),
        (REGISTRANT, [("country", ...)], False),
        (REGISTRANT, [("email", ...)], False),
        (REGISTRANT, [("email", "x" * 256)], False),
        (REGISTRANT, [("cvr_locked", True), ("cvr_form", 60), ("vat_number", "99000015")], True),
        (REGISTRANT, [("cvr_form", None)], True),
        (REGISTRANT, [("cvr_form", 6.5)], False),
        (REGISTRANT, [("cvr_locked", None)], False),
        (REGISTRANT, [("cvr_bankruptcy", "no")], False),
        (SWEDISH, [("sole_proprietorship", True)], True),
        (REGISTRANT, [("id_confirmed", False), ("id_status", "documentation")], True),
        (REGISTRANT, [("id_status", "registrar")], True),
        (REGISTRANT, [("id_status", "risk_assessment")], True),
        (REGISTRANT, [("id_status", "")], False),
        (HOST, [], True),
        (HOST, [("name", "NS1.Ærø.dk.")], True),
        (HOST, [("name", 1)], False),
        (HOST, [("addresses", ["192.0.2.1"])], False),
        (DOMAIN, [], True),
        (DOMAIN, [("status", "deactivated"), ("nameservers", [])], True),
        (RESERVED, [("nameservers", ...)], True),
        (DOMAIN, [("status", "expired")], False),
        (DOMAIN, [("delete_date", "2027-02-28"), ("vid", True), ("dnssec", True), ("registrar", "REG-1")], True),
        (DOMAIN, [("delete_date", None), ("registrar", None)], True),
        (DOMAIN, [("registered", "2020-02-30")], False),
        (DOMAIN, [("registered", ...)], False),
        (DOMAIN, [("expires", ...)], False),
        (DOMAIN, [("period_years", 5)], True),
        (DOMAIN, [("period_years", 4)], False),
        (DOMAIN, [("period_years", ...)], False),
        (DOMAIN, [("registrant", ...)], False),
        (DOMAIN, [("registrant", "eksempel")], False),
        (DOMAIN, [("nameservers", [f"ns{number}.dk" for number in range(8)])], False),
        (OFFERED, [], True),
        (OFFERED, [("registered", None), ("registrant", None), ("nameservers", [])], True),
        (OFFERED, [("period_years", 1), ("vid", False), ("dnssec", False)], True),
        (OFFERED, [("registered", "2020-01-31")], False),
        (OFFERED, [("expires", "2027-01-31")], False),
        (OFFERED, [("registrant", "EKSEMPEL-DK")], False),
        (OFFERED, [("nameservers", ["ns1.eksempel.dk", "ns2.eksempel.dk"])], False),
        (HOST, [("type", "hosts")], False),
        (HOST, [("type", ...)], False),
    ],
)
def test_agrees_with_the_schema(base: Fields, changes: list[Change], valid: bool) -> None:
    """What the registry's JSON Schema accepts is a record, and what it refuses is not."""
    if valid:
        assert isinstance(parse(base, *changes), Record)
    else:
        assert ": " in fault(line(base, *changes))


@pytest.mark.parametrize("blank", ["\u00a0", "\t", "  \u2003 "])
def test_blank_is_any_white_space(blank: str) -> None:
    """White space of any kind is blank: not given where that may be, a fault where it may not."""
    assert parse(REGISTRANT, ("vat_number", blank)).vat_number is None
    assert fault(line(REGISTRANT, ("email", blank))).startswith("email: must ")


def test_unknown_field_cannot_forge_a_fault() -> None:
    """The name of an unknown field adds no line to a report."""
    assert fault(line(HOST, ("x\nwhoisd: all is well", 1))) == "?: not a field of this record"


@pytest.mark.parametrize(
    "text",
    [
        b'{"type": "host", "name": "ns1.eksempel.dk", "name": "ns2.eksempel.dk"}',
        b'{"type": "host", "type": "host", "name": "ns1.eksempel.dk"}',
    ],
)
def test_field_given_twice(text: bytes) -> None:
    """A field that is given twice contradicts itself, so that neither value is taken."""
    assert fault(text) == "a field is given twice"


def test_deep_json_is_a_fault_like_any_other() -> None:
    """A line too deep to read is a fault, not a crash."""
    assert fault(b'{"type": ' + b"[" * 100_000 + b"]" * 100_000 + b"}") == "not a JSON object"


def test_text_that_clients_take_for_free() -> None:
    """No value holds the sentence by which clients know an unregistered name."""
    said = fault(line(REGISTRANT, ("name", "NO ENTRIES FOUND for the selected source.")))
    assert said == "name: must not hold the sentence that clients take for an unregistered name"


def test_name_of_an_unknown_field_is_not_quoted_when_it_may_be_personal() -> None:
    """An unknown field is named when it looks like a field, and else not."""
    assert fault(line(HOST, ("nmae", 1))) == "nmae: not a field of this record"
    assert fault(line(HOST, ("berit@beskyttet.example", 1))) == "?: not a field of this record"
    assert fault(line(HOST, ("Berit Beskyttet", 1))) == "?: not a field of this record"


def test_not_utf_8() -> None:
    """A line in another charset is called just that."""
    assert fault('{"type": "registrar", "handle": "R", "name": "Ærø"}'.encode("iso-8859-1")) == "not UTF-8 text"


# --- the schema that ships -------------------------------------------------------------------------------------------


def test_schema_has_the_fields_of_the_records() -> None:
    """The schema has each kind of record, with the fields that the software takes and the defaults that it gives them."""
    assert [kind["$ref"].rpartition("/")[2] for kind in SCHEMA["oneOf"]] == [*RECORDS]
    for kind, record in RECORDS.items():
        properties = SCHEMA["$defs"][kind]["properties"]
        assert {*properties} == {"type", *record._fields}
        assert {name for name in record._fields if name not in record._field_defaults} | {"type"} == {
            *SCHEMA["$defs"][kind]["required"]
        }
        given = {name: field["default"] for name, field in properties.items() if "default" in field}
        assert {
            name: list(value) if value == () else value
            for name, value in record._field_defaults.items()
            if value is not None
        } == given


def test_numbers_that_are_written_as_fractions() -> None:
    """A whole number may be written as JSON has it, and is a whole number."""
    assert [
        type(parse(REGISTRANT, ("cvr_form", 60.0)).cvr_form),
        type(parse(DOMAIN, ("period_years", 1.0)).period_years),
    ] == [int, int]


# --- doubts ----------------------------------------------------------------------------------------------------------


DOUBT = "vat_number: is no valid number of the registrant's country"


@pytest.mark.parametrize(
    ("country", "number", "said"),
    [
        ("DE", "DE136695976", []),
        ("DE", "136695976", []),
        ("DE", "DE136695977", [DOUBT]),
        ("DE", "applied for", [DOUBT]),
        ("SE", "DE136695976", [DOUBT]),
        ("NO", "NO 995525828 MVA", []),
        ("GR", "EL094259216", []),
        ("GR", "EL094259217", [DOUBT]),
        ("DK", "99000019", [DOUBT]),
        ("DK", "13585628", []),
        ("US", "anything", [DOUBT]),
        ("US", "12-3456789", []),
        ("SE", "121212121212", [DOUBT]),
        ("SE", "1212121212", []),
        ("SE", "13585628", [DOUBT]),
    ],
)
def test_doubts_about_numbers(country: str, number: str, said: list[str]) -> None:
    """A number that its country's rules refuse is a doubt; of a country whose rules are not known nothing is said."""
    assert [*doubts(parse(REGISTRANT, ("country", country), ("vat_number", number)))] == said
    assert [*doubts(parse(REGISTRANT, ("country", country), ("vat_number", None)))] == []


@pytest.mark.parametrize("country", ["DL", "UK", "YU", "ZZ"])
def test_doubts_about_countries(country: str) -> None:
    """A country that ISO 3166-1 does not assign is a doubt, whatever the number: Denmark may be meant."""
    said = ["country: is none that ISO 3166-1 assigns, with which the email is withheld"]
    assert [*doubts(parse(REGISTRANT, ("country", country)))] == said
    assert [*doubts(parse(REGISTRANT, ("country", country), ("vat_number", "1")))] == said
