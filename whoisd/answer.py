"""One line to one answer: parse, look up, publish, render, encode. No socket and no clock of its own.

The server, `whoisd query` and the golden tests all answer through `answer`; this is where to begin reading.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from whoisd import notices
from whoisd.disclosure import PublicRegistrant, Reason, Withheld, publish
from whoisd.errors import Outcome, QueryError, StoreError, whereabouts
from whoisd.query import DomainQuery, HelpQuery, HostQuery, Query, parse_query
from whoisd.response import render_domain, render_host
from whoisd.store import Store
from whoisd.wire import Charset, encode


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides about answers, from the settings."""

    in_force_from: datetime
    omit_withheld_email: bool
    operator: str
    terms: str
    version: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes to send, how the query ended, and what the log says of it."""

    outcome: Outcome
    payload: bytes
    charset: Charset = Charset.LATIN_1
    kind: str | None = None  # domain, host or help
    name: str | None = None  # as A-labels
    registrant: Reason | None = None  # why the Registrant section was left out
    email: Reason | None = None  # why the email was shown or withheld
    fault: str | None = None  # what was wrong with the query, or with us

    def facts(self) -> dict[str, object]:
        """Return what the log says of the answer."""
        return {
            "kind": self.kind,
            "name": self.name,
            "registrant": self.registrant,
            "email": self.email,
            "fault": self.fault,
            "bytes": len(self.payload),
        }

    def text(self) -> str:
        """Return the payload as text with plain newlines, for a terminal."""
        return self.payload.decode(self.charset).replace("\r\n", "\n")


def notice(outcome: Outcome, text: str, *, fault: str | None = None) -> Answer:
    """Return an answer that is a notice alone. Notices are ASCII, so they read alike in both charsets."""
    return Answer(outcome, encode(text, Charset.LATIN_1), fault=fault)


async def answer(line: bytes, client: notices.Address, store: Store, policy: Policy, now: datetime) -> Answer:
    """Answer one query line, its end taken off, from `client` at `now`.

    Never raises but for cancellation: what goes wrong is an answer too.
    """
    try:
        query = parse_query(line)
    except QueryError as error:
        return notice(Outcome.BAD_QUERY, notices.refusal(error.fault), fault=error.fault.value)
    try:
        return await _answer_query(query, client, store, policy, now)
    except StoreError as error:
        return notice(Outcome.TEMPORARY_FAILURE, notices.TEMPORARY_FAILURE, fault=error.cause)
    except Exception as error:  # noqa: BLE001 - a fault of ours is one client's temporary failure, not a lost answer
        return notice(Outcome.INTERNAL_ERROR, notices.TEMPORARY_FAILURE, fault=whereabouts(error))


async def _answer_query(query: Query, client: notices.Address, store: Store, policy: Policy, now: datetime) -> Answer:
    if isinstance(query, HelpQuery):
        return Answer(Outcome.HELP, encode(notices.HELP, query.charset), query.charset, kind="help")
    about = notices.about_lines(policy.operator, policy.version, policy.terms, now.astimezone(UTC).year)
    head = notices.head(client, about)
    if isinstance(query, DomainQuery):
        return await _answer_domain(query, head, store, policy, in_force=now >= policy.in_force_from)
    return await _answer_host(query, head, store)


async def _answer_domain(query: DomainQuery, head: str, store: Store, policy: Policy, *, in_force: bool) -> Answer:
    domain = await store.domain(query.name)
    if domain is None:
        return _no_entries(query, "domain", head)
    public = publish(domain, show_handles=query.show_handles, in_force=in_force, charset=query.charset)
    section = public.registrant
    return Answer(
        Outcome.FOUND,
        encode(head + render_domain(public, omit_withheld_email=policy.omit_withheld_email), query.charset),
        query.charset,
        kind="domain",
        name=query.name.ascii,
        registrant=section.reason if isinstance(section, Withheld) else None,
        email=section.email_reason if isinstance(section, PublicRegistrant) else None,
    )


async def _answer_host(query: HostQuery, head: str, store: Store) -> Answer:
    host = await store.host(query.name)
    if host is None:
        return _no_entries(query, "host", head)
    payload = encode(head + render_host(host), query.charset)
    return Answer(Outcome.FOUND, payload, query.charset, kind="host", name=query.name.ascii)


def _no_entries(query: DomainQuery | HostQuery, kind: str, head: str) -> Answer:
    payload = encode(head + notices.NO_ENTRIES, query.charset)
    return Answer(Outcome.NOT_FOUND, payload, query.charset, kind=kind, name=query.name.ascii)
