"""One HTTP request to one answer, as `answer` is one line to one: RESTful WHOIS, RDAP and the page. No socket and no clock.

Knows which path is whose, and how each of the three says what came of a query; knows nothing of who asks, of connections
and of HTTP's framing. A name stands in the path, percent-encoded UTF-8, or in the page's form.

    /domain/NAME  /host/NAME  /query/NAME              RESTful WHOIS
    /rdap/domain/NAME  /rdap/nameserver/NAME  /rdap/help   RDAP
    /  /?name=NAME                                     the page
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote_to_bytes

import orjson

from whoisd.answers import notices, page, rdap, rest
from whoisd.answers.answer import Answer, Find, Policy, Protocol
from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld, publish
from whoisd.answers.model import Domain, Found, Host
from whoisd.answers.names import DomainName, parse_name
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.answers.wire import Charset
from whoisd.errors import InvalidName, NameFault, Outcome, QueryFault, RequestFault, StoreError, whereabouts

RETRY_AFTER: Final = 5  # seconds, as told to a client whose answer failed
LONGEST_NAME: Final = 1024  # bytes of a name as it is asked for, percent-encoded: as long as a line of port 43
METHODS: Final = ("GET", "HEAD")

_SECURITY: Final = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
HEADERS: Final[Mapping[Protocol, tuple[tuple[str, str], ...]]] = {
    Protocol.REST: _SECURITY,
    Protocol.RDAP: (*_SECURITY, ("access-control-allow-origin", "*")),
    Protocol.PAGE: (*_SECURITY, ("content-security-policy", page.POLICY), ("vary", "accept-language")),
}


@dataclass(slots=True, unsafe_hash=True)
class Request:
    """What an answer depends on: method and path as they came, the query behind the path, and what is accepted."""

    method: Final[str]
    path: Final[bytes]
    query: Final[bytes]
    accept: Final[str]
    accept_language: Final[str]

    def __init__(self, method: str, path: bytes, query: bytes = b"", accept: str = "", accept_language: str = "") -> None:
        self.method = method
        self.path = path
        self.query = query
        self.accept = accept
        self.accept_language = accept_language


@dataclass(slots=True, unsafe_hash=True)
class WebAnswer:
    """An answer over HTTP. The payload is the body, which a HEAD is not sent."""

    answer: Final[Answer]
    status: Final[HTTPStatus]
    media_type: Final[str]
    headers: Final[tuple[tuple[str, str], ...]]

    def __init__(
        self, answer: Answer, status: HTTPStatus, media_type: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.answer = answer
        self.status = status
        self.media_type = media_type
        self.headers = headers


@dataclass(slots=True, unsafe_hash=True)
class WebLookup:
    """A request that was understood, and waits for what the database knows of its name."""

    query: Final[DomainQuery | HostQuery]
    asked: Final["Asked"]
    now: Final[datetime]

    def __init__(self, query: DomainQuery | HostQuery, asked: "Asked", now: datetime) -> None:
        self.query = query
        self.asked = asked
        self.now = now


class Asked(NamedTuple):
    """By which protocol is asked, and of the page what stands around its answer."""

    protocol: Protocol
    frame: page.Frame


def _domain(name: DomainName) -> DomainQuery | None:
    """Make a query for a domain; None for a name that is none of .dk, which is not there."""
    return DomainQuery(name, Charset.UTF_8, show_handles=True) if name.is_dk_domain else None


def _host(name: DomainName) -> HostQuery:
    return HostQuery(name, Charset.UTF_8)


def _either(name: DomainName) -> DomainQuery | HostQuery:
    return _domain(name) or _host(name)


Make = Callable[[DomainName], DomainQuery | HostQuery | None]

# What a name is that stands behind these.
_ROUTES: Final[Mapping[bytes, Make]] = {
    b"/domain/": _domain,
    b"/host/": _host,
    b"/query/": _either,
    b"/rdap/domain/": _domain,
    b"/rdap/nameserver/": _host,
}
_HELP: Final = b"/rdap/help"
_FORM: Final = b"/"
# Who answers, by the first part of a path; the page does for all others.
_BENEATH: Final = {b"domain": Protocol.REST, b"host": Protocol.REST, b"query": Protocol.REST, b"rdap": Protocol.RDAP}


async def answer_request(request: Request, find: Find, policy: Policy, now: datetime) -> WebAnswer:
    """Answer a request at `now`; `find` looks a name up. Never raises but for cancellation."""
    begun = begin_request(request, policy, now)
    if isinstance(begun, WebAnswer):
        return begun
    return finish_request(begun, await find(begun.query), policy)


def asked_by(request: Request, policy: Policy) -> Asked:
    """Return by which protocol a request asks, whatever becomes of it."""
    folders = request.path.split(b"/", 2)
    protocol = _BENEATH.get(folders[1], Protocol.PAGE) if len(folders) > 1 else Protocol.PAGE
    if protocol is not Protocol.PAGE:
        return Asked(protocol, _NO_FRAME)
    return Asked(protocol, _frame(page.language_of(request.accept_language), policy.operator, policy.terms))


_NO_FRAME: Final = page.Frame(page.Language.ENGLISH, "", "")  # of what a program asks for


@lru_cache(maxsize=len(page.Language))  # of a pure function: each request has one, and there is one a language
def _frame(language: page.Language, operator: str, terms: str) -> page.Frame:
    return page.Frame(language, operator, " ".join(terms.split()))


def begin_request(request: Request, policy: Policy, now: datetime) -> WebAnswer | WebLookup:
    """Understand a request; return its answer, or what has to be looked up for it. Never raises."""
    asked = asked_by(request, policy)
    try:
        return _begin(request, asked, policy, now)
    except Exception as error:  # noqa: BLE001 - a fault of ours is one client's failure, not a lost answer
        return failure(asked, Outcome.INTERNAL_ERROR, whereabouts(error))


def _begin(request: Request, asked: Asked, policy: Policy, now: datetime) -> WebAnswer | WebLookup:
    if request.method not in METHODS:
        return fault(asked, RequestFault.METHOD)
    if asked.protocol is Protocol.REST and not _admits_json(request.accept):
        return fault(asked, RequestFault.NOT_ACCEPTABLE)
    if request.path == _HELP:
        return _answer(asked, HTTPStatus.OK, Outcome.HELP, _json(rdap.render_help(_service(policy))), kind="help")
    if request.path == _FORM:
        return _begin_page(request, asked, now)
    return _begin_path(request.path, asked, now)


def _begin_path(path: bytes, asked: Asked, now: datetime) -> WebAnswer | WebLookup:
    """Understand a path that ends in a name."""
    prefix, slash, name = path.rpartition(b"/")
    make = _ROUTES.get(prefix + slash)
    if make is None:
        return fault(asked, RequestFault.NO_SUCH_PATH)
    if len(name) > LONGEST_NAME:
        return fault(asked, NameFault.LONG_NAME)
    try:
        return _begin_name(unquote_to_bytes(name).decode(), make, asked, now)
    except UnicodeDecodeError:
        return fault(asked, QueryFault.NOT_TEXT)


def _begin_page(request: Request, asked: Asked, now: datetime) -> WebAnswer | WebLookup:
    if len(request.query) > LONGEST_NAME:
        return fault(asked, NameFault.LONG_NAME)
    try:
        fields = parse_qs(request.query.decode("ascii"), max_num_fields=8, errors="strict")
    except ValueError:  # of a text that is no UTF-8 too
        return fault(asked, QueryFault.NOT_TEXT)
    typed = fields.get("name", [""])[0].strip()
    if not typed:
        payload = page.render_form(asked.frame).encode()
        return _answer(asked, HTTPStatus.OK, Outcome.HELP, payload, kind="help")
    return _begin_name(typed, _either, asked._replace(frame=replace(asked.frame, typed=typed)), now)


def _begin_name(text: str, make: Make, asked: Asked, now: datetime) -> WebAnswer | WebLookup:
    if not text:
        return fault(asked, QueryFault.NO_NAME)
    try:
        name = parse_name(text)
    except InvalidName as error:
        return fault(asked, error.fault)
    query = make(name)
    if query is None:
        return _not_found(asked, "domain", name)
    return WebLookup(query, asked, now)


def finish_request(lookup: WebLookup, found: Found, policy: Policy) -> WebAnswer:
    """Answer a request from what was found, or from why nothing was. Never raises."""
    asked, query = lookup.asked, lookup.query
    try:
        if isinstance(found, StoreError):
            return failure(asked, Outcome.TEMPORARY_FAILURE, found.cause)
        if found is None:
            return _not_found(asked, query.kind, query.name)
        if isinstance(query, DomainQuery) and isinstance(found, Domain):
            return _domain_answer(lookup, found, policy)
        if isinstance(query, HostQuery) and isinstance(found, Host):
            payload = _render_host(asked, found, policy)
            return _answer(asked, HTTPStatus.OK, Outcome.FOUND, payload, kind=query.kind, name=query.name.ascii)
        raise TypeError(found)  # noqa: TRY301 - what was found is not what was asked for
    except Exception as error:  # noqa: BLE001 - the same as in `begin_request`
        return failure(asked, Outcome.INTERNAL_ERROR, whereabouts(error))


def _domain_answer(lookup: WebLookup, domain: Domain, policy: Policy) -> WebAnswer:
    conditions = policy.conditions(lookup.now, fresh=True)
    public = publish(domain, show_handles=True, conditions=conditions, charset=Charset.UTF_8)
    section = public.registrant
    return _answer(
        lookup.asked,
        HTTPStatus.OK,
        Outcome.FOUND,
        _render_domain(lookup, public, policy),
        kind="domain",
        name=public.name.ascii,
        registrant=section.reason if isinstance(section, Withheld) else None,
        email=section.email_reason if isinstance(section, PublicRegistrant) else None,
    )


# --- what each protocol says ---------------------------------------------------------------------------------------


def _render_domain(lookup: WebLookup, public: PublicDomain, policy: Policy) -> bytes:
    match lookup.asked.protocol:
        case Protocol.REST:
            return _json(rest.render_domain(public))
        case Protocol.RDAP:
            return _json(rdap.render_domain(public, _service(policy), lookup.now))
        case _:
            return page.render_domain_page(lookup.asked.frame, public).encode()


def _render_host(asked: Asked, host: Host, policy: Policy) -> bytes:
    match asked.protocol:
        case Protocol.REST:
            return _json(rest.render_host(host))
        case Protocol.RDAP:
            return _json(rdap.render_host(host, _service(policy)))
        case _:
            return page.render_host_page(asked.frame, host).encode()


def _render_notice(asked: Asked, status: HTTPStatus, title: str, text: str) -> bytes:
    match asked.protocol:
        case Protocol.REST:
            return _json(rest.render_error(status.value, text))
        case Protocol.RDAP:
            return _json(rdap.render_error(status.value, text))
        case _:
            return page.render_notice(asked.frame, title, text).encode()


MEDIA_TYPES: Final = {
    Protocol.REST: rest.MEDIA_TYPE,
    Protocol.RDAP: rdap.MEDIA_TYPE,
    Protocol.PAGE: page.MEDIA_TYPE,
}


def _service(policy: Policy) -> rdap.Service:
    return rdap.Service(policy.operator, policy.terms, policy.whois_host, policy.rdap_url)


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_OMIT_MICROSECONDS)


def _words(asked: Asked, key: str) -> str:
    """Return what is said of a fault: to a person in the page's language, to a program in English."""
    language = asked.frame.language if asked.protocol is Protocol.PAGE else page.Language.ENGLISH
    return page.WORDS[language][key]


# --- what is no record ---------------------------------------------------------------------------------------------

_STATUS: Final[Mapping[RequestFault | QueryFault | NameFault, HTTPStatus]] = {
    RequestFault.METHOD: HTTPStatus.METHOD_NOT_ALLOWED,
    RequestFault.NOT_ACCEPTABLE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,  # by the specification of RESTful WHOIS
    RequestFault.NO_SUCH_PATH: HTTPStatus.NOT_FOUND,
    RequestFault.BODY: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RequestFault.TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}


def fault(asked: Asked, what: RequestFault | QueryFault | NameFault) -> WebAnswer:
    """Return the answer to a request that cannot be taken."""
    status = _STATUS.get(what, HTTPStatus.BAD_REQUEST)
    english = notices.REQUEST_FAULTS[what] if isinstance(what, RequestFault) else notices.FAULTS[what]
    is_danish = asked.protocol is Protocol.PAGE and asked.frame.language is page.Language.DANISH
    text = page.DANISH_FAULTS.get(what, english) if is_danish else english
    more = (("allow", ", ".join(METHODS)),) if what is RequestFault.METHOD else ()
    payload = _render_notice(asked, status, "bad_name", text)
    return _answer(asked, status, Outcome.BAD_QUERY, payload, more, fault=what.value)


def refusal(asked: Asked, outcome: Outcome, retry_after: int, *, fault: str) -> WebAnswer:
    """Return the refusal for rate, ban or number of connections; `retry_after` is in whole seconds."""
    # RESTful WHOIS's specification says 503 where RFC 6585 says 429.
    status = HTTPStatus.SERVICE_UNAVAILABLE if asked.protocol is Protocol.REST else HTTPStatus.TOO_MANY_REQUESTS
    text = _words(asked, "refused").format(seconds=retry_after)
    payload = _render_notice(asked, status, "refused_title", text)
    return _answer(asked, status, outcome, payload, (("retry-after", str(retry_after)),), fault=fault)


def failure(asked: Asked, outcome: Outcome, cause: str) -> WebAnswer:
    """Return the answer to a request that failed with us; never 404, which would say that there is no such name.

    `cause` is for the log.
    """
    status = HTTPStatus.SERVICE_UNAVAILABLE
    payload = _render_notice(asked, status, "failed_title", _words(asked, "failed"))
    return _answer(asked, status, outcome, payload, (("retry-after", str(RETRY_AFTER)),), fault=cause)


def _not_found(asked: Asked, kind: str, name: DomainName) -> WebAnswer:
    status = HTTPStatus.NOT_FOUND
    payload = _render_notice(asked, status, "no_name", _words(asked, "not_found"))
    return _answer(asked, status, Outcome.NOT_FOUND, payload, kind=kind, name=name.ascii)


def _answer(  # noqa: PLR0913 - what an Answer has
    asked: Asked,
    status: HTTPStatus,
    outcome: Outcome,
    payload: bytes,
    more: tuple[tuple[str, str], ...] = (),
    *,
    kind: str | None = None,
    name: str | None = None,
    registrant: Reason | None = None,
    email: Reason | None = None,
    fault: str | None = None,
) -> WebAnswer:
    protocol = asked.protocol
    answer = Answer(outcome, payload, Charset.UTF_8, kind, name, registrant, email, fault, protocol)
    headers = HEADERS[protocol]
    if protocol is Protocol.PAGE:
        headers = (*headers, ("content-language", asked.frame.language.value))
    return WebAnswer(answer, status, MEDIA_TYPES[protocol], headers + more)


def _admits_json(accept: str) -> bool:
    """Whether an `Accept` (RFC 9110, 12.5.1) admits JSON: by its own name or by a range, the narrower deciding."""
    if not accept.strip():
        return True
    found: dict[str, bool] = {}
    for part in accept[:1000].split(","):
        media, *parameters = [it.strip().lower() for it in part.split(";")]
        refused = any(it.replace(" ", "").rstrip("0") in {"q=", "q=0."} or it == "q=0" for it in parameters)
        found[media] = not refused
    return next((found[media] for media in ("application/json", "application/*", "*/*") if media in found), False)
