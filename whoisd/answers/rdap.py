"""What anyone may see, as RDAP has it: JSON by RFC 9083, and what is withheld, with its reason, by RFC 9537.

Takes the public types alone, so it can print nothing withheld. Contacts are jCards (RFC 7095), with the country as a
parameter and the page to write to by RFC 8605; the words for a status are those of RFC 8056. No contact's handle is
shown, and there is no search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from whoisd.answers.dates import midnight
from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.explain import SENTENCES
from whoisd.answers.model import DomainStatus, Host, RegistrantKind, Registrar
from whoisd.answers.names import DomainName, unicode_of
from whoisd.answers.response import ID_STATUS, mailto, printable
from whoisd.answers.response import STATUS as STATUS_WORDS

MEDIA_TYPE: Final = "application/rdap+json"

CONFORMANCE: Final = ("rdap_level_0", "redacted")

# A suspended domain is not in the zone, by the registry's decision; a reserved one waits for its registrant to activate it.
STATUS: Final = {
    DomainStatus.ACTIVE: "active",
    DomainStatus.DEACTIVATED: "server hold",
    DomainStatus.RESERVED: "pending create",
    DomainStatus.OFFERED_TO_WAITING_LIST: "inactive",
}
_KIND: Final[Mapping[RegistrantKind, str | None]] = {
    RegistrantKind.COMPANY: "org",
    RegistrantKind.PUBLIC_ORGANIZATION: "org",
    RegistrantKind.ASSOCIATION: "org",
    RegistrantKind.INDIVIDUAL: "individual",
    RegistrantKind.UNKNOWN: None,
}

HELP: Final = (
    "Ask for a .dk domain at domain/<name>, and for a name server host at nameserver/<name>.",
    "A name is given as A-labels, or with its national letters in UTF-8, percent-encoded.",
    "What is withheld of a registrant is listed in the member redacted of an answer, each field with the reason.",
    "There is no search, and handles are never shown.",
    "Queries are limited for each source: a refusal says after how many seconds to ask again.",
)

Object = dict[str, object]


@dataclass(slots=True, unsafe_hash=True)
class Service:
    """What an answer says of who answers: operator, terms of use (lines), the host of port 43, and the base of its URLs."""

    operator: Final[str]
    terms: Final[str]
    whois_host: Final[str | None]
    base_url: Final[str | None]  # with a slash at its end

    def __init__(self, operator: str, terms: str, whois_host: str | None = None, base_url: str | None = None) -> None:
        self.operator = operator
        self.terms = terms
        self.whois_host = whois_host
        self.base_url = base_url


def render_domain(domain: PublicDomain, service: Service, updated: datetime) -> Object:
    """Return the object for a domain; `updated` (aware) is the moment of which the data is."""
    whole = _begin("domain", domain.name)
    whole["status"] = [STATUS[domain.status]]
    whole["events"] = _events(domain, updated)
    offered = domain.status is DomainStatus.OFFERED_TO_WAITING_LIST
    if not offered:
        whole["nameservers"] = [_nameserver(host) for host in domain.nameservers]
        whole["secureDNS"] = {"delegationSigned": domain.dnssec}
    whole["entities"] = [] if offered else _entities(domain)
    if domain.status is not DomainStatus.ACTIVE:
        whole["remarks"] = [_notice("Status", STATUS_WORDS[domain.status])]
    _end(whole, service, "domain", domain.name)
    redacted = [] if offered else _redacted(domain.registrant)
    if redacted:
        whole["redacted"] = redacted
    return whole


def render_host(host: Host, service: Service) -> Object:
    """Return the object for a name server host."""
    whole = _begin("nameserver", host.name)
    whole["remarks"] = [_notice("Glue", "Being spooled" if host.glue else "Not being spooled")]
    _end(whole, service, "nameserver", host.name)
    return whole


def render_help(service: Service) -> Object:
    """Return the answer to a request for help."""
    notices = [_notice("How to ask", *HELP), _terms(service.operator, service.terms)]
    return {"rdapConformance": CONFORMANCE, "lang": "en", "notices": notices}


def render_error(status: int, *description: str) -> Object:
    """Return the object of an answer that has no record (RFC 9083, 6); `status` is that of HTTP."""
    return {
        "rdapConformance": CONFORMANCE,
        "lang": "en",
        "errorCode": status,
        "title": HTTPStatus(status).phrase,
        "description": description,
    }


# --- the parts -----------------------------------------------------------------------------------------------------


def _begin(kind: str, name: DomainName) -> Object:
    """Return what an object begins with. Its handle is its name; no contact has one. whoisit reads no answer without it."""
    whole: Object = {"rdapConformance": CONFORMANCE, "lang": "en", "objectClassName": kind, "handle": printable(name.ascii)}
    _put_names(whole, name.ascii, name.unicode)
    return whole


def _end(whole: Object, service: Service, kind: str, name: DomainName) -> None:
    """Put to an object what each ends with."""
    if service.base_url:
        url = f"{service.base_url}{kind}/{name.ascii}"
        whole["links"] = [{"value": url, "rel": "self", "href": url, "type": MEDIA_TYPE}]
    if service.whois_host:
        whole["port43"] = service.whois_host
    whole["notices"] = [_terms(service.operator, service.terms)]


@lru_cache(maxsize=4)  # of a pure function, whose value nobody changes: it is in each answer, and the same in all
def _terms(operator: str, terms: str) -> Object:
    lines = [line.strip() for line in terms.splitlines() if line.strip()]
    return _notice("Terms of Use", f"Published by {operator}.", " ".join(lines))


def _notice(title: str, *description: str) -> Object:
    return {"title": title, "description": description}


def _put_names(whole: Object, ascii_form: str, unicode_form: str) -> None:
    whole["ldhName"] = printable(ascii_form)
    if unicode_form != ascii_form:
        whole["unicodeName"] = printable(unicode_form)


@lru_cache(maxsize=4096)  # of a pure function, whose value nobody changes: a few name servers serve most domains
def _nameserver(host: str) -> Object:
    nameserver: Object = {"objectClassName": "nameserver"}
    _put_names(nameserver, host, unicode_of(host))
    return nameserver


def _events(domain: PublicDomain, updated: datetime) -> list[Object]:
    """Return what happened and will; each action once (RFC 9083, 4.5)."""
    days: Sequence[tuple[str, date | None]] = ()
    if domain.status is not DomainStatus.OFFERED_TO_WAITING_LIST:
        days = (("registration", domain.registered), ("expiration", domain.expires), ("deletion", domain.delete_date))
    events: list[Object] = [{"eventAction": action, "eventDate": midnight(day)} for action, day in days if day]
    events.append({"eventAction": "last update of RDAP database", "eventDate": updated})
    return events


def _entities(domain: PublicDomain) -> list[Object]:
    entities = []
    if isinstance(domain.registrant, PublicRegistrant):
        entities.append(_registrant(domain.registrant))
    if domain.registrar:
        entities.append(_registrar(domain.registrar))
    return entities


def _registrant(who: PublicRegistrant) -> Object:
    streets = () if isinstance(who.street, Withheld) else who.street
    entity = _entity(
        "registrant",
        _card(
            _text(who.name),
            kind=None if isinstance(who.kind, Withheld) else _KIND[who.kind],
            address=_address(streets, who.city, who.postal_code, who.country),
            phone=who.phone,
            email=who.email,
        ),
    )
    if who.id_status:
        entity["remarks"] = [_notice("ID status", ID_STATUS[who.id_status])]
    return entity


def _registrar(registrar: Registrar) -> Object:
    card = _card(
        _text(registrar.name),
        kind="org",
        address=_address(registrar.street, registrar.city, registrar.postal_code, registrar.country),
        phone=registrar.phone,
        email=registrar.email,
        url=registrar.url,
    )
    entity = _entity("registrar", card)
    if registrar.abuse_email:
        # Whom to write to of a domain whose registrant's email is withheld; RFC 8605 has it as a URI.
        abuse = _card(_text(registrar.name), kind="org", email=registrar.abuse_email)
        abuse.append(["contact-uri", {}, "uri", mailto(registrar.abuse_email)])
        entity["entities"] = [_entity("abuse", abuse)]
    return entity


def _entity(role: str, card: Sequence[object]) -> Object:
    return {"objectClassName": "entity", "roles": [role], "vcardArray": ["vcard", card]}


# --- jCards --------------------------------------------------------------------------------------------------------

Property = list[object]


def _card(  # noqa: PLR0913 - each is a property
    name: str,
    *,
    kind: str | None,
    address: Property | None = None,
    phone: str | Withheld | None = None,
    email: str | Withheld | None = None,
    url: str | None = None,
) -> list[Property]:
    """Return the properties of a jCard (RFC 7095); of those that are withheld or not given only the name is there, empty."""
    card: list[Property] = [["version", {}, "text", "4.0"], ["fn", {}, "text", name]]
    if kind:
        card.append(["kind", {}, "text", kind])
    if address:
        card.append(address)
    if text := _text(phone):
        card.append(["tel", {"type": "voice"}, "text", text])
    if text := _text(email):
        card.append(["email", {}, "text", text])
    if url:
        card.append(["contact-uri", {}, "uri", printable(url)])
    return card


def _address(
    street: Sequence[str], city: str | Withheld | None, postal_code: str | Withheld | None, country: str | Withheld | None
) -> Property | None:
    """Return an address, its country by its code (RFC 8605, 3.1); None when nothing of it is to be shown."""
    lines = [text for line in street if (text := _text(line))]
    where = ["", "", lines if len(lines) > 1 else "".join(lines), _text(city), "", _text(postal_code), ""]
    code = _text(country)
    return ["adr", {"cc": code} if code else {}, "text", where] if code or any(where) else None


def _text(value: str | Withheld | None) -> str:
    """Return a value, empty for one that is withheld, not given or blank."""
    return printable(value) if isinstance(value, str) and value.strip() else ""


# --- what is withheld ----------------------------------------------------------------------------------------------

_REGISTRANT: Final = "$.entities[?(@.roles[0]=='registrant')]"
_CARD: Final = f"{_REGISTRANT}.vcardArray[1]"

# Each field of a registrant: its name (of IANA's registry of them, where it is there), and where it would be. What is
# withheld is not there at all but for the name, which a jCard must have, and which is empty.
_NAME: Final = "Registrant Name"
FIELDS: Final[Mapping[str, tuple[Object, str]]] = {
    "handle": ({"type": "Registry Registrant ID"}, f"{_REGISTRANT}.handle"),
    "name": ({"type": _NAME}, f"{_CARD}[?(@[0]=='fn')][3]"),
    "kind": ({"description": "Registrant Kind"}, f"{_CARD}[?(@[0]=='kind')]"),
    "street": ({"type": "Registrant Street"}, f"{_CARD}[?(@[0]=='adr')][3][2]"),
    "postal_code": ({"type": "Registrant Postal Code"}, f"{_CARD}[?(@[0]=='adr')][3][5]"),
    "city": ({"type": "Registrant City"}, f"{_CARD}[?(@[0]=='adr')][3][3]"),
    "country": ({"description": "Registrant Country"}, f"{_CARD}[?(@[0]=='adr')][1].cc"),
    "phone": ({"type": "Registrant Phone"}, f"{_CARD}[?(@[0]=='tel')]"),
    "email": ({"type": "Registrant Email"}, f"{_CARD}[?(@[0]=='email')]"),
}


def _redacted(who: PublicRegistrant | Withheld) -> list[Object]:
    """Return what is withheld of a registrant: each field, or the registrant as a whole."""
    if isinstance(who, Withheld):
        return [_redaction("", who.reason)]
    redacted = []
    for field in FIELDS:
        value = getattr(who, field)
        if isinstance(value, Withheld):
            redacted.append(_redaction(field, value.reason))
    return redacted


@lru_cache(maxsize=256)  # of a pure function, whose value nobody changes: there are some ten fields and reasons
def _redaction(field: str, reason: Reason) -> Object:
    """Return that a field is withheld, or with no field the registrant; the reason's word is never changed."""
    name, path = FIELDS[field] if field else ({"description": "Registrant"}, _REGISTRANT)
    where = {"postPath": path} if field == "name" else {"prePath": path}
    method = "emptyValue" if field == "name" else "removal"
    description = f"{reason}: {SENTENCES[reason]}"
    return {"name": name, **where, "pathLang": "jsonpath", "method": method, "reason": {"description": description}}
