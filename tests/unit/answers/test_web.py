"""One decision in every protocol: text, RESTful WHOIS, RDAP and the page; and which request gets which answer."""

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from html import unescape
from http import HTTPStatus
from itertools import product
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from support import domain, registrant

from whoisd.answers import page, rdap
from whoisd.answers.answer import Policy, Protocol
from whoisd.answers.disclosure import PublicDomain, Reason, publish
from whoisd.answers.explain import SENTENCES
from whoisd.answers.model import CvrForm, Domain, DomainStatus, Found, Host, IdStatus, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery
from whoisd.answers.response import REDACTED, render_domain
from whoisd.answers.web import Request, WebAnswer, WebLookup, asked_by, begin_request, finish_request, refusal
from whoisd.answers.wire import Charset
from whoisd.errors import NameFault, Outcome, QueryFault, RequestFault, StoreError

SCHEMA: Final = Path(__file__).parents[2] / "rdap.schema.json"
VALIDATOR: Final = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
NOW: Final = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
POLICY: Final = Policy(
    in_force_from=datetime(2025, 11, 3, 13, 0, tzinfo=UTC),
    omit_withheld_email=False,
    operator="the registry operator",
    terms="You may look up\nsingle names.",
    version="whoisd 1.2.3",
    vat_listed_only=False,
    whois_host="whois.example.dk",
    rdap_url="https://rdap.example.dk/rdap/",
)
CONDITIONS: Final = POLICY.conditions(NOW, fresh=True)
REGISTRAR: Final = Registrar(
    "Registrar A/S", public=True, city="København", email="kunder@registrar.example", abuse_email="misbrug@registrar.example"
)
PATHS: Final = {Protocol.REST: b"/domain/eksempel.dk", Protocol.RDAP: b"/rdap/domain/eksempel.dk", Protocol.PAGE: b"/"}


def request(path: bytes, query: bytes = b"", **changes: Any) -> Request:
    return replace(Request("GET", path, query), **changes)


def get(found: Found, path: bytes, query: bytes = b"", **changes: str) -> WebAnswer:
    """The answer to a request, of whose name this is found."""
    begun = begin_request(request(path, query, **changes), POLICY, NOW)
    return finish_request(begun, found, POLICY) if isinstance(begun, WebLookup) else begun


def get_by(protocol: Protocol, found: Found, **changes: str) -> WebAnswer:
    return get(found, PATHS[protocol], b"name=eksempel.dk" if protocol is Protocol.PAGE else b"", **changes)


def body(answer: WebAnswer) -> Any:
    return json.loads(answer.answer.payload)


def rdap_of(found: Found, path: bytes = PATHS[Protocol.RDAP]) -> Any:
    """What RDAP says, which is valid."""
    said = body(get(found, path))
    VALIDATOR.validate(said)
    return said


# --- one decision --------------------------------------------------------------------------------------------------

Decision = tuple[str, str | None, str | None]  # whether there is a section; the email; the name


def by_text(said: str) -> Decision:
    if "Registrant\n" not in said:
        return "none", None, None
    lines = dict(re.findall("^([A-Za-z]+): +(.*)$", said.partition("Registrant\n")[2], re.MULTILINE))
    email, name = (None if lines[label] == REDACTED else lines[label] for label in ("Email", "Name"))
    return "section", email, name


def by_rest(said: Any) -> Decision:
    who = said.get("registrant")
    return ("section", who["email"], who["name"]) if who else ("none", None, None)


def by_rdap(said: Any) -> Decision:
    found = [it for it in said["entities"] if it["roles"] == ["registrant"]]
    if not found:
        return "none", None, None
    card = {it[0]: it[3] for it in found[0]["vcardArray"][1]}
    return "section", card.get("email"), card["fn"] or None


def by_page(said: str) -> Decision:
    if '<h3 lang="en">Registrant</h3>\n<dl>' not in said:
        return "none", None, None
    rows = re.findall("<dt[^>]*>([^<]*)</dt><dd><span[^>]*>([^<]*)</span>", said.partition("Registrant</h3>")[2])
    values = {label: None if value == REDACTED else unescape(value) for label, value in rows}
    return "section", values["Email"], values["Name"]


TOKENS: Final = {
    "name": "NAME-TOKEN",
    "street": ("STREET-TOKEN",),
    "postal_code": "POSTCODE-TOKEN",
    "city": "CITY-TOKEN",
    "phone": "PHONE-TOKEN",
    "email": "primary@token.example",
}
PERSONAL: Final = ("NAME-TOKEN", "STREET-TOKEN", "POSTCODE-TOKEN", "CITY-TOKEN", "PHONE-TOKEN", "DK99990019")
AXES: Final[dict[str, list[Any]]] = {
    "kind": [*RegistrantKind],
    "country": ["DK", "SE", None],
    "cvr_locked": [False, True, None],
    "cvr_form": [CvrForm.NONE, CvrForm.ORDINARY, CvrForm.SOLE_PROPRIETORSHIP, CvrForm.UNSTATED],
    "cvr_bankruptcy": [False, True],
    "vat_number": ["DK99990019", ""],
    "sole_proprietorship": [False, True],
    "address_protection": [False, True, None],
    "id_confirmed": [False, True],
    "secondary_email": ["secondary@token.example", None],
}


def count_differences(whole: Domain, text: str) -> int:
    """In how many ways the other protocols say of a domain what the text does not, or do not say what it does."""
    expected = by_text(text)
    answers = {it: get_by(it, whole) for it in PATHS}
    said = rdap_of(whole)
    redacted = {next(iter(it["name"].values())) for it in said.get("redacted", ())}
    decisions = [by_rest(body(answers[Protocol.REST])), by_rdap(said)]
    decisions.append(by_page(answers[Protocol.PAGE].answer.payload.decode()))
    different = sum(decision != expected for decision in decisions)
    different += ("Registrant Email" in redacted) != (expected[0] == "section" and expected[1] is None)
    different += len({(it.answer.registrant, it.answer.email) for it in answers.values()}) != 1
    for answer in answers.values():
        payload = answer.answer.payload.decode()
        different += sum((token in payload) != (token in text) for token in PERSONAL)
        different += payload.count("@token.example") != bool(expected[1])
    return different


@pytest.mark.parametrize("status", DomainStatus)
@pytest.mark.parametrize("kind", RegistrantKind)
def test_all_combinations_in_every_protocol(status: DomainStatus, kind: RegistrantKind) -> None:
    """Whatever the facts, all four protocols make one decision of them; and RDAP says of each field why it is withheld."""
    differences = 0
    seen: set[PublicDomain] = set()  # renderers take nothing else: what was rendered once is rendered the same again
    for values in product(*(AXES | {"kind": [kind]}).values()):
        who = registrant(**TOKENS, **dict(zip(AXES, values, strict=True)), id_status=IdStatus.REGISTRAR)
        whole = domain(who, status, registrar=REGISTRAR)
        public = publish(whole, show_handles=True, conditions=CONDITIONS, charset=Charset.UTF_8)
        if public not in seen:
            seen.add(public)
            differences += count_differences(whole, render_domain(public, omit_withheld_email=False))
    assert differences == 0


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_words(reason: Reason) -> None:
    """Each reason can be told in English and in Danish."""
    assert SENTENCES[reason].endswith(".")
    assert page.DANISH[reason].endswith(".")


@pytest.mark.parametrize("fault", NameFault)
def test_every_fault_of_a_name_has_danish_words(fault: NameFault) -> None:
    """What may be wrong with a name that a person types can be told in Danish."""
    assert page.DANISH_FAULTS[fault].startswith("Det er ikke et domænenavn: ")


def test_both_languages_say_the_same() -> None:
    """Whatever the page says in one language it says in the other."""
    assert page.WORDS[page.Language.DANISH].keys() == page.WORDS[page.Language.ENGLISH].keys()


# --- RDAP ----------------------------------------------------------------------------------------------------------


def test_what_is_redacted() -> None:
    """Of a withheld email the path, the method and the reason are told; and that handles are never shown."""
    said = rdap_of(domain(registrant(kind=RegistrantKind.INDIVIDUAL)))
    assert said["redacted"] == [
        {
            "name": {"type": "Registry Registrant ID"},
            "prePath": "$.entities[?(@.roles[0]=='registrant')].handle",
            "pathLang": "jsonpath",
            "method": "removal",
            "reason": {"description": f"never_shown: {SENTENCES[Reason.NEVER_SHOWN]}"},
        },
        {
            "name": {"type": "Registrant Email"},
            "prePath": "$.entities[?(@.roles[0]=='registrant')].vcardArray[1][?(@[0]=='email')]",
            "pathLang": "jsonpath",
            "method": "removal",
            "reason": {"description": f"individual: {SENTENCES[Reason.INDIVIDUAL]}"},
        },
    ]


def test_protected_registrant() -> None:
    """Under protection every field is redacted, and the card has an empty name alone."""
    said = rdap_of(domain(registrant(kind=RegistrantKind.INDIVIDUAL, address_protection=True)))
    assert len(said["redacted"]) == len(rdap.FIELDS)
    assert said["entities"][0]["vcardArray"] == ["vcard", [["version", {}, "text", "4.0"], ["fn", {}, "text", ""]]]
    name = next(it for it in said["redacted"] if it["name"] == {"type": "Registrant Name"})
    assert (name["method"], "postPath" in name) == ("emptyValue", True)


@pytest.mark.parametrize(
    ("status", "reason"), [(DomainStatus.DEACTIVATED, Reason.DEACTIVATED), (DomainStatus.ACTIVE, Reason.ID_NOT_CONFIRMED)]
)
def test_registrant_that_is_left_out(status: DomainStatus, reason: Reason) -> None:
    """Where there is no registrant it is redacted as a whole, with the reason."""
    said = rdap_of(domain(registrant(id_confirmed=reason is not Reason.ID_NOT_CONFIRMED), status))
    (redacted,) = said["redacted"]
    assert redacted["prePath"] == "$.entities[?(@.roles[0]=='registrant')]"
    assert redacted["reason"]["description"].startswith(f"{reason}: ")
    assert said["entities"] == []


def test_whom_to_write_to() -> None:
    """The registrar has its contact, and an abuse contact by RFC 8605 in which an email can add no field to a message."""
    odd = replace(REGISTRAR, url="https://registrar.example/", abuse_email="a?bcc=b@registrar.example")
    entity = rdap_of(domain(registrant(), registrar=odd))["entities"][1]
    assert ["contact-uri", {}, "uri", "https://registrar.example/"] in entity["vcardArray"][1]
    (abuse,) = entity["entities"]
    assert abuse["roles"] == ["abuse"]
    assert ["email", {}, "text", "a?bcc=b@registrar.example"] in abuse["vcardArray"][1]
    assert ["contact-uri", {}, "uri", "mailto:a%3Fbcc%3Db@registrar.example"] in abuse["vcardArray"][1]


def test_dates_names_and_status_in_rdap() -> None:
    """Events are the moments at which days begin in Copenhagen; names are in both forms where they differ."""
    name = DomainName("xn--5cab8c.dk", "æøå.dk")
    whole = domain(registrant(), name=name, delete_date=date(2027, 7, 14), nameservers=("ns.xn--5cab8c.dk",), dnssec=True)
    said = rdap_of(whole, b"/rdap/domain/xn--5cab8c.dk")
    events = {it["eventAction"]: it["eventDate"] for it in said["events"]}
    assert events == {
        "registration": "2020-01-01T00:00:00+01:00",
        "expiration": "2027-01-01T00:00:00+01:00",
        "deletion": "2027-07-14T00:00:00+02:00",
        "last update of RDAP database": "2026-07-01T12:00:00+00:00",
    }
    assert (said["ldhName"], said["unicodeName"]) == ("xn--5cab8c.dk", "æøå.dk")
    assert said["nameservers"] == [
        {"objectClassName": "nameserver", "ldhName": "ns.xn--5cab8c.dk", "unicodeName": "ns.æøå.dk"}
    ]
    assert (said["secureDNS"], said["status"], said["port43"]) == (
        {"delegationSigned": True},
        ["active"],
        "whois.example.dk",
    )
    assert said["links"][0]["href"] == "https://rdap.example.dk/rdap/domain/xn--5cab8c.dk"


@pytest.mark.parametrize("status", DomainStatus)
def test_status_in_every_protocol(status: DomainStatus) -> None:
    """RDAP has a word of RFC 8056 for each status, and RESTful WHOIS a letter."""
    said = rdap_of(domain(registrant(), status))
    letter = body(get_by(Protocol.REST, domain(registrant(), status)))["public_domain_status"]
    assert (said["status"][0], letter) == {
        DomainStatus.ACTIVE: ("active", "A"),
        DomainStatus.DEACTIVATED: ("server hold", "H"),
        DomainStatus.RESERVED: ("pending create", "I"),
        DomainStatus.OFFERED_TO_WAITING_LIST: ("inactive", "W"),
    }[status]


def test_rdap_host_and_help() -> None:
    """A host is a nameserver, and its glue a remark; help says how to ask."""
    said = rdap_of(Host(DomainName("ns1.eksempel.dk", "ns1.eksempel.dk"), glue=True), b"/rdap/nameserver/ns1.eksempel.dk")
    assert said["remarks"] == [{"title": "Glue", "description": ["Being spooled"]}]
    assert rdap_of(None, b"/rdap/help")["notices"][0]["title"] == "How to ask"


# --- RESTful WHOIS -------------------------------------------------------------------------------------------------


def test_rest_domain() -> None:
    """A domain has the fields of the specification, and no other."""
    who = registrant(street=("a", "b", "c", "d"), id_status=IdStatus.REGISTRAR)
    whole = domain(
        who, registrar=REGISTRAR, delete_date=date(2027, 7, 14), period_years=2, nameservers=("ns.xn--5cab8c.dk",)
    )
    assert body(get_by(Protocol.REST, whole)) == {
        "domain": "eksempel.dk",
        "domain_encoded": "eksempel.dk",
        "createddate": "2020-01-01T00:00:00+01:00",
        "paiduntildate": "2027-01-01T00:00:00+01:00",
        "public_deletedate": "2027-07-14T00:00:00+02:00",
        "periodqty": "2",
        "dnssec": "N",
        "domain_type": "V",
        "public_domain_status": "A",
        "nameservers": {
            "ns.xn--5cab8c.dk": {
                "domain": "eksempel.dk",
                "domain_encoded": "eksempel.dk",
                "hostname": "ns.æøå.dk",
                "hostname_encoded": "ns.xn--5cab8c.dk",
            }
        },
        "registrant": {
            "name": "Eksempel ApS",
            "street1": "a",
            "street2": "b",
            "street3": "c, d",
            "zipcode": "2300",
            "city": "København S",
            "countryregionid": "DK",
            "phone": "+45 00112233",
            "email": "primary@eksempel.example",
            "id_status": "ID checked by registrar",
            "useridtype": "V",
        },
        "registrar": {
            "is_public": True,
            "name": "Registrar A/S",
            "street1": None,
            "street2": None,
            "street3": None,
            "zipcode": None,
            "city": "København",
            "countryregionid": None,
            "phone": None,
            "url": None,
            "logo": None,
            "useridtype": "V",
        },
        "message": "OK",
        "status": 200,
    }


def test_rest_registrar() -> None:
    """A registrar that is not public has no more than that; under registrant management there is none."""
    private = body(get_by(Protocol.REST, domain(registrant(), registrar=replace(REGISTRAR, public=False))))
    assert private["registrar"] == {"is_public": False}
    assert "registrar" not in body(get_by(Protocol.REST, domain(registrant())))


def test_rest_waiting_list_and_host() -> None:
    """An answer about a waiting list has five fields, and one about a host six."""
    offered = body(get_by(Protocol.REST, domain(registrant(), DomainStatus.OFFERED_TO_WAITING_LIST)))
    assert offered == {
        "domain": "eksempel.dk",
        "domain_encoded": "eksempel.dk",
        "message": "OK",
        "public_domain_status": "W",
        "status": 200,
    }
    assert body(get(Host(DomainName("ns.xn--5cab8c.dk", "ns.æøå.dk"), glue=False), b"/query/ns.%C3%A6%C3%B8%C3%A5.dk")) == {
        "hostname": "ns.æøå.dk",
        "hostname_encoded": "ns.xn--5cab8c.dk",
        "glue_spooled": "N",
        "nameserver_status": "A",
        "message": "OK",
        "status": 200,
    }


@pytest.mark.parametrize(
    ("accept", "admitted"),
    [
        ("", True),
        ("*/*", True),
        ("application/*;q=0.1", True),
        ("text/html, application/json", True),
        ("Application/JSON ; q=1", True),
        ("text/html", False),
        ("application/rdap+json", False),
        ("application/json;q=0", False),
        ("application/json; q=0.000, */*", False),
        ("*/*;q=0", False),
        (",;,", False),
    ],
)
def test_what_must_be_accepted(accept: str, admitted: bool) -> None:
    """RESTful WHOIS answers 415 unless JSON is accepted."""
    answer = get_by(Protocol.REST, domain(registrant()), accept=accept)
    assert answer.status == (HTTPStatus.OK if admitted else HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


# --- requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "query", "protocol", "kind", "name"),
    [
        (b"/domain/EKSEMPEL.dk.", b"", Protocol.REST, "domain", "eksempel.dk"),
        (b"/query/eksempel.dk", b"", Protocol.REST, "domain", "eksempel.dk"),
        (b"/query/ns1.example.net", b"", Protocol.REST, "host", "ns1.example.net"),
        (b"/host/ns1.example.net", b"", Protocol.REST, "host", "ns1.example.net"),
        (b"/domain/%C3%86%c3%b8%C3%A5.dk", b"", Protocol.REST, "domain", "xn--5cab8c.dk"),
        (b"/rdap/domain/xn--5cab8c.dk", b"?", Protocol.RDAP, "domain", "xn--5cab8c.dk"),
        (b"/rdap/nameserver/ns1.eksempel.dk", b"", Protocol.RDAP, "host", "ns1.eksempel.dk"),
        (b"/", b"name=+eksempel.dk+", Protocol.PAGE, "domain", "eksempel.dk"),
        (b"/", b"name=%C3%A6%C3%B8%C3%A5.dk&x=y", Protocol.PAGE, "domain", "xn--5cab8c.dk"),
        (b"/", b"name=ns1.example.net", Protocol.PAGE, "host", "ns1.example.net"),
    ],
)
def test_request_for_a_name(path: bytes, query: bytes, protocol: Protocol, kind: str, name: str) -> None:
    """A name in the path or the form is looked up, whichever way it is written."""
    begun = begin_request(request(path, query), POLICY, NOW)
    assert isinstance(begun, WebLookup)
    assert (begun.asked.protocol, begun.query.kind, begun.query.name.ascii) == (protocol, kind, name)
    assert begun.query.charset is Charset.UTF_8
    assert not isinstance(begun.query, DomainQuery) or begun.query.show_handles


@pytest.mark.parametrize(
    ("path", "query", "protocol", "status", "fault"),
    [
        (b"/domain/", b"", Protocol.REST, 400, QueryFault.NO_NAME),
        (b"/domain", b"", Protocol.REST, 404, RequestFault.NO_SUCH_PATH),
        (b"/domain/a/b.dk", b"", Protocol.REST, 404, RequestFault.NO_SUCH_PATH),
        (b"/domain/%E6.dk", b"", Protocol.REST, 400, QueryFault.NOT_TEXT),
        (b"/domain/..%2F..%2Fetc", b"", Protocol.REST, 400, NameFault.EMPTY_LABEL),
        (b"/domain/../secret", b"", Protocol.REST, 404, RequestFault.NO_SUCH_PATH),
        (b"/domain/a%0d%0ab.dk", b"", Protocol.REST, 400, NameFault.CHARACTER),
        (b"/domain/a%00.dk", b"", Protocol.REST, 400, NameFault.CHARACTER),
        (b"/domain/" + b"a" * 2000, b"", Protocol.REST, 400, NameFault.LONG_NAME),
        (b"/query/127.0.0.1:43", b"", Protocol.REST, 400, NameFault.CHARACTER),
        (b"/query/[::1]", b"", Protocol.REST, 400, NameFault.CHARACTER),
        (b"/rdap", b"", Protocol.RDAP, 404, RequestFault.NO_SUCH_PATH),
        (b"/rdap/", b"", Protocol.RDAP, 404, RequestFault.NO_SUCH_PATH),
        (b"/rdap/entity/X", b"", Protocol.RDAP, 404, RequestFault.NO_SUCH_PATH),
        (b"/rdap/domains", b"name=e*.dk", Protocol.RDAP, 404, RequestFault.NO_SUCH_PATH),
        (b"/rdap/domain/a..dk", b"", Protocol.RDAP, 400, NameFault.EMPTY_LABEL),
        (b"/favicon.ico", b"", Protocol.PAGE, 404, RequestFault.NO_SUCH_PATH),
        (b"//domain/eksempel.dk", b"", Protocol.PAGE, 404, RequestFault.NO_SUCH_PATH),
        (b"*", b"", Protocol.PAGE, 404, RequestFault.NO_SUCH_PATH),
        (b"", b"", Protocol.PAGE, 404, RequestFault.NO_SUCH_PATH),
        (b"/", b"name=%FF", Protocol.PAGE, 400, QueryFault.NOT_TEXT),
        (b"/", b"name=\xff", Protocol.PAGE, 400, QueryFault.NOT_TEXT),
        (b"/", b"name=" + b"a" * 2000, Protocol.PAGE, 400, NameFault.LONG_NAME),
        (b"/", b"a=b&" * 20, Protocol.PAGE, 400, QueryFault.NOT_TEXT),
    ],
)
def test_request_that_is_none(path: bytes, query: bytes, protocol: Protocol, status: int, fault: str) -> None:
    """Any other path or name is refused by the protocol that it belongs to, in its own form, and looked up by none."""
    answer = get(StoreError("never asked"), path, query)
    assert (answer.answer.protocol, answer.status, answer.answer.fault) == (protocol, status, fault)
    assert answer.answer.outcome is Outcome.BAD_QUERY
    if protocol is Protocol.RDAP:
        VALIDATOR.validate(body(answer))
        assert body(answer)["errorCode"] == status
    if protocol is Protocol.REST:
        assert body(answer)["status"] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
@pytest.mark.parametrize("protocol", PATHS)
def test_method_that_is_not_served(method: str, protocol: Protocol) -> None:
    """Whatever is not GET or HEAD gets 405, which says what is served."""
    answer = get_by(protocol, domain(registrant()), method=method)
    assert answer.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("allow", "GET, HEAD") in answer.headers


@pytest.mark.parametrize(("path", "name"), [(b"/domain/example.com", "example.com"), (b"/rdap/domain/a.b.dk", "a.b.dk")])
def test_domain_that_is_none_of_dk(path: bytes, name: str) -> None:
    """A domain of another registry, and a name below a domain, is not found."""
    answer = get(StoreError("never asked"), path)
    assert (answer.status, answer.answer.outcome, answer.answer.name) == (404, Outcome.NOT_FOUND, name)


@pytest.mark.parametrize("protocol", PATHS)
def test_not_found(protocol: Protocol) -> None:
    """A name that is not there gets 404."""
    answer = get_by(protocol, None)
    assert (answer.status, answer.answer.outcome) == (HTTPStatus.NOT_FOUND, Outcome.NOT_FOUND)


@pytest.mark.parametrize("protocol", PATHS)
@pytest.mark.parametrize("found", [StoreError("deadline: row of Bodil"), "what no lookup finds"])
def test_failure_is_never_not_found(protocol: Protocol, found: Any) -> None:
    """What fails with us gets 503 and when to ask again, and nothing of what went wrong."""
    answer = get_by(protocol, found)
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert ("retry-after", "5") in answer.headers
    assert answer.answer.outcome in {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}
    assert b"Bodil" not in answer.answer.payload
    assert b"no lookup" not in answer.answer.payload


@pytest.mark.parametrize(("protocol", "status"), [(Protocol.REST, 503), (Protocol.RDAP, 429), (Protocol.PAGE, 429)])
def test_refusal(protocol: Protocol, status: int) -> None:
    """A refusal has the status of its protocol, and says when to ask again."""
    answer = refusal(asked_by(request(PATHS[protocol]), POLICY), Outcome.BANNED, 60, fault="source_ban")
    assert answer.status == status
    assert ("retry-after", "60") in answer.headers
    assert b"60" in answer.answer.payload
    if protocol is Protocol.RDAP:
        VALIDATOR.validate(body(answer))


@pytest.mark.parametrize("protocol", PATHS)
def test_headers(protocol: Protocol) -> None:
    """No answer is kept, guessed at or framed; only RDAP's is for scripts of other sites."""
    headers = dict(get_by(protocol, domain(registrant())).headers)
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert ("access-control-allow-origin" in headers) is (protocol is Protocol.RDAP)
    policy = headers.get("content-security-policy", "")
    assert "script" not in policy
    assert "unsafe" not in policy
    assert ("default-src 'none'" in policy) is (protocol is Protocol.PAGE)


# --- the page ------------------------------------------------------------------------------------------------------


def html_of(found: Found, query: bytes = b"name=eksempel.dk", language: str = "en") -> str:
    return get(found, b"/", query, accept_language=language).answer.payload.decode()


def test_page_says_why() -> None:
    """Beside a withheld email stands why, in the reader's language, and below whom to write to."""
    whole = domain(registrant(kind=RegistrantKind.INDIVIDUAL), registrar=REGISTRAR)
    for language, words in ((page.Language.DANISH, page.DANISH), (page.Language.ENGLISH, SENTENCES)):
        said = unescape(html_of(whole, language=language))
        assert f'>{REDACTED}</span><span class="reason">{words[Reason.INDIVIDUAL]}</span>' in said
        assert f'<html lang="{language}">' in said
        assert '<a href="mailto:misbrug@registrar.example">' in said


def test_page_without_a_registrant() -> None:
    """A Registrant section that is left out is a sentence that says why."""
    said = unescape(html_of(domain(registrant(), DomainStatus.DEACTIVATED)))
    assert f'Registrant</h3>\n<p class="reason">{SENTENCES[Reason.DEACTIVATED]}</p>' in said


def test_page_says_what_port_43_says() -> None:
    """Each line of port 43 is a line of the page."""
    whole = domain(registrant(name="<b>&\"'"), registrar=REGISTRAR, delete_date=date(2027, 1, 2), vid=True)
    public = publish(whole, show_handles=True, conditions=CONDITIONS, charset=Charset.UTF_8)
    lines = re.findall("^([A-Za-z ]+): +(.*)$", render_domain(public, omit_withheld_email=False), re.MULTILINE)
    said = html_of(whole)
    assert [(a, unescape(b)) for a, b in re.findall("<dt lang=[^>]*>([^<]*)</dt><dd><span[^>]*>([^<]*)<", said)] == lines
    assert "<b>" not in said


@pytest.mark.parametrize("typed", [b"%22%3E%3Cscript%3Ealert(1)%3C/script%3E", b"'onfocus='x", b"%E2%80%AE.dk", b"a%0Ab"])
def test_what_was_typed_is_text(typed: bytes) -> None:
    """What was typed stands in the form again, as text and nothing else."""
    said = html_of(None, b"name=" + typed)
    assert not re.search("<script|onfocus='|\u202e", said.replace("&#39;onfocus=&#39;", ""))
    assert said.count("<input") == 1


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("da", "da"),
        ("da-DK,da;q=0.9,en;q=0.8", "da"),
        ("en-GB, da;q=0.9", "en"),
        ("en;q=0.5, DA ; q = 0.7", "da"),
        ("da;q=0", "en"),
        ("da;q=x", "en"),
        ("sv, *", "en"),
        ("da;q=0.1", "da"),
        (",;,=", "en"),
    ],
)
def test_language(accepted: str, language: str) -> None:
    """The page is in Danish for those who prefer that to English, and in English for all others."""
    assert page.language_of(accepted) == language
    answer = get(None, b"/", accept_language=accepted)
    assert ("content-language", language) in answer.headers
