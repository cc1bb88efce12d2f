"""One line to one answer: parse, look up, publish, render, encode. No socket and no clock of its own.

The server, `whoisd query` and the golden tests all answer through this; it is where to begin reading. An answer is begun
and finished by two plain functions, which know nothing of waiting; between them stands the lookup.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from whoisd.answers import notices
from whoisd.answers.disclosure import Conditions, PublicRegistrant, Reason, Withheld, publish
from whoisd.answers.model import Domain, Found, Host
from whoisd.answers.query import DomainQuery, HelpQuery, HostQuery, parse_query
from whoisd.answers.response import render_domain, render_host
from whoisd.answers.wire import Charset, encode
from whoisd.errors import Outcome, QueryError, StoreError, whereabouts


class Protocol(StrEnum):
    """By which protocol is asked; logs and metrics say it."""

    WHOIS = "whois"
    REST = "rest"
    RDAP = "rdap"
    PAGE = "page"
    HTTP = "http"  # a connection to the HTTP server without a request


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides about answers, from the settings."""

    in_force_from: datetime
    vat_listed_only: bool
    omit_withheld_email: bool
    operator: str
    terms: str
    version: str
    whois_host: str | None = None  # the name of the host whose port 43 we are
    rdap_url: str | None = None  # the base of the URLs in RDAP answers, with a slash at its end
    max_age: float | None = None  # seconds, of the data that an email may be shown from
    notice: str = ""  # what the head of each answer says for a time, in one line
    notice_until: datetime | None = None

    def conditions(self, now: datetime, *, fresh: bool) -> Conditions:
        """Return the conditions of an answer at `now`; `fresh` is whether the data is young enough."""
        return Conditions(now >= self.in_force_from, fresh, self.vat_listed_only, self.max_age)

    def about(self, now: datetime) -> str:
        """Return the comment lines about the service, of an answer at `now`."""
        is_over = self.notice_until is not None and now >= self.notice_until
        notice = "" if is_over else self.notice
        return notices.about_lines(self.operator, self.version, self.terms, now.astimezone(UTC).year, notice)


@dataclass(slots=True, unsafe_hash=True)
class Answer:
    """The bytes to send, how the query ended, and what the log says of it."""

    outcome: Final[Outcome]
    payload: Final[bytes]
    charset: Final[Charset]
    kind: Final[str | None]  # domain, host or help
    name: Final[str | None]  # as A-labels
    registrant: Final[Reason | None]  # why the Registrant section was left out
    email: Final[Reason | None]  # why the email was shown or withheld
    fault: Final[str | None]  # what was wrong with the query, or with us
    protocol: Final[Protocol]

    def __init__(
        self,
        outcome: Outcome,
        payload: bytes,
        charset: Charset = Charset.LATIN_1,
        kind: str | None = None,
        name: str | None = None,
        registrant: Reason | None = None,
        email: Reason | None = None,
        fault: str | None = None,
        protocol: Protocol = Protocol.WHOIS,
    ) -> None:
        self.outcome = outcome
        self.payload = payload
        self.charset = charset
        self.kind = kind
        self.name = name
        self.registrant = registrant
        self.email = email
        self.fault = fault
        self.protocol = protocol

    def facts(self) -> dict[str, object]:
        """Return what the log says of the answer. Words are plain text: orjson has to ask Python for that of an enum."""
        return {
            "protocol": str(self.protocol),
            "kind": self.kind,
            "name": self.name,
            "registrant": self.registrant and str(self.registrant),
            "email": self.email and str(self.email),
            "fault": self.fault,
            "bytes": len(self.payload),
        }

    def text(self) -> str:
        """Return the payload as text with plain newlines, for a terminal."""
        return self.payload.decode(self.charset).replace("\r\n", "\n")


def notice(outcome: Outcome, text: str, *, fault: str | None = None) -> Answer:
    """Return an answer that is a notice alone. Notices are ASCII, so they read alike in both charsets."""
    return Answer(outcome, encode(text, Charset.LATIN_1), fault=fault)


@dataclass(slots=True, unsafe_hash=True)
class Lookup:
    """A query that was understood, and waits for what the database knows of its name."""

    query: Final[DomainQuery | HostQuery]
    head: Final[str]
    conditions: Final[Conditions]

    def __init__(self, query: DomainQuery | HostQuery, head: str, conditions: Conditions) -> None:
        self.query = query
        self.head = head
        self.conditions = conditions


Find = Callable[[DomainQuery | HostQuery], Awaitable[Found]]


async def answer(line: bytes, client: str, find: Find, policy: Policy, now: datetime) -> Answer:
    """Answer one query line, its end taken off, from the address `client`, written out in full, at `now`.

    `find` looks a name up. Never raises but for cancellation: what goes wrong is an answer too. The server, which waits for
    many lookups at once, calls the two halves itself.
    """
    begun = begin_answer(line, client, policy, now)
    if isinstance(begun, Answer):
        return begun
    return finish_answer(begun, await find(begun.query), policy)


def begin_answer(line: bytes, client: str, policy: Policy, now: datetime) -> Answer | Lookup:
    """Understand a query line; return its answer, or what has to be looked up for it. Never raises."""
    try:
        query = parse_query(line)
        if isinstance(query, HelpQuery):
            return Answer(Outcome.HELP, encode(notices.HELP, query.charset), query.charset, kind="help")
        return Lookup(query, notices.head(client, policy.about(now)), policy.conditions(now, fresh=True))
    except QueryError as refused:
        return notice(Outcome.BAD_QUERY, notices.refusal(refused.fault), fault=refused.fault.value)
    except Exception as error:  # noqa: BLE001 - a fault of ours is one client's temporary failure, not a lost answer
        return internal_error(error)


def finish_answer(lookup: Lookup, found: Found, policy: Policy) -> Answer:
    """Answer a query from what was found, or from why nothing was. Never raises."""
    query = lookup.query
    try:
        if isinstance(found, StoreError):
            return notice(Outcome.TEMPORARY_FAILURE, notices.TEMPORARY_FAILURE, fault=found.cause)
        if found is None:
            payload = encode(lookup.head + notices.NO_ENTRIES, query.charset)
            return Answer(Outcome.NOT_FOUND, payload, query.charset, kind=query.kind, name=query.name.ascii)
        if isinstance(query, DomainQuery) and isinstance(found, Domain):
            return _domain_answer(query, found, lookup, policy)
        if isinstance(query, HostQuery) and isinstance(found, Host):
            payload = encode(lookup.head + render_host(found), query.charset)
            return Answer(Outcome.FOUND, payload, query.charset, kind=query.kind, name=query.name.ascii)
        raise TypeError(found)  # noqa: TRY301 - what was found is not what was asked for
    except Exception as error:  # noqa: BLE001 - the same
        return internal_error(error)


def _domain_answer(query: DomainQuery, domain: Domain, lookup: Lookup, policy: Policy) -> Answer:
    public = publish(domain, show_handles=query.show_handles, conditions=lookup.conditions, charset=query.charset)
    section = public.registrant
    return Answer(
        Outcome.FOUND,
        encode(lookup.head + render_domain(public, omit_withheld_email=policy.omit_withheld_email), query.charset),
        query.charset,
        kind=query.kind,
        name=query.name.ascii,
        registrant=section.reason if isinstance(section, Withheld) else None,
        email=section.email_reason if isinstance(section, PublicRegistrant) else None,
    )


def internal_error(error: Exception) -> Answer:
    """Return the answer to a query that a fault of ours ended, with where that is, for the log."""
    return notice(Outcome.INTERNAL_ERROR, notices.TEMPORARY_FAILURE, fault=whereabouts(error))
