"""The classification of registrants abroad by hand, and what support sees of a registrant: both without a value of theirs.

What was decided by hand counts instead of what the registry files say, until it is withdrawn. It is about a handle: a load
leaves it alone, also one that removes the registrant. Staff decide, having seen documentation; the accounts that manage a
domain of the registrant may each say that it is a sole proprietorship, and take back what they said. Any yes counts. Of
Danish registrants CVR decides. Knows no command line.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import asyncpg
from asyncpg import Record

from whoisd.answers.disclosure import Conditions, Country, Reason, facts_of, publish_registrant, verdict_of
from whoisd.answers.explain import SENTENCES, SHOWN, WITHHELD, columns, explain_registrant, of_when_cvr_is
from whoisd.answers.model import DomainStatus
from whoisd.answers.response import STATUS, UNPRINTABLE
from whoisd.answers.wire import Charset
from whoisd.database.audit import record
from whoisd.database.connect import Connection
from whoisd.database.cvr_age import cvr_age
from whoisd.database.heartbeat import data_age
from whoisd.database.transaction import changing
from whoisd.database.views import registrant_of
from whoisd.errors import RegistrantError, RegistrantFault
from whoisd.registry import newly_shown
from whoisd.registry.access import Denial, Operation, denial, refuse
from whoisd.registry.portal import is_staff, managers_of, user_of

LOCK_TIMEOUT: Final = 30.0  # seconds to wait for whoever else is changing the registrant, as a load may be for long

COMMAND: Final = "registrant classify"  # as the audit trail has it

# The lock is one that does not wait for who merely refers to the registrant, as a load of domains does.
_LOCK: Final = "SELECT FROM registry.registrant WHERE handle = $1 FOR NO KEY UPDATE"
_SELECT: Final = """
    SELECT facts.*, registrant.sole_proprietorship
    FROM registry.registrant JOIN registry.registrant_facts AS facts USING (handle)
    WHERE registrant.handle = $1"""
_DECISIONS: Final = "SELECT decided_by, decision FROM registry.classification WHERE handle = $1 ORDER BY decided_by"
_DECIDE: Final = """
    INSERT INTO registry.classification (handle, decided_by, decision) VALUES ($1, $2, $3)
    ON CONFLICT (handle, decided_by) DO UPDATE SET decision = excluded.decision"""
_TAKE_BACK: Final = "DELETE FROM registry.classification WHERE handle = $1 AND coalesce(decided_by = $2, true)"
_HISTORY: Final = """
    SELECT
        at, who, evidence,
        (before ->> 'classified_by_hand')::boolean AS before,
        (after ->> 'classified_by_hand')::boolean AS after
    FROM audit.entry
    WHERE object = $1 AND command = ANY ($2)
        AND (before ? 'classified_by_hand' OR command <> 'load')  -- a load may have removed roles on the registrant too
    ORDER BY id"""
_DOMAINS: Final = "SELECT status, count(*) FROM registry.domain WHERE registrant = $1 GROUP BY status"
_NAMES: Final = "SELECT handle, name FROM registry.registrar WHERE handle = ANY ($1) ORDER BY handle"


class Decision(StrEnum):
    """What may be decided by hand: whether it is a sole proprietorship, or that nobody has decided any more."""

    YES = "yes"
    NO = "no"
    WITHDRAW = "withdraw"


STAFF: Final = "staff"  # as a party; every other is the account of a user, by its REG handle

# What was decided by hand, in words.
BY_HAND: Final = {True: "yes", False: "no", None: "undecided"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registrant is classified, and what an answer about an active domain of theirs makes of it."""

    decisions: Mapping[str, Decision]  # by hand, by party
    by_files: bool
    danish: bool
    protected: bool
    shown: bool
    reason: Reason

    @property
    def by_hand(self) -> bool | None:
        """What was decided by hand: yes where anybody says so, and None where nobody has decided."""
        return Decision.YES in self.decisions.values() if self.decisions else None

    @property
    def counts(self) -> bool:
        """Whether they count as a sole proprietorship."""
        return self.by_files if self.by_hand is None else self.by_hand

    @property
    def email(self) -> str:
        """What becomes of the email."""
        return SHOWN if self.shown else WITHHELD

    def entry(self) -> dict[str, object]:
        """Return what the audit trail keeps of it."""
        return {
            "classified_by_hand": self.by_hand,
            "decisions": dict(self.decisions),
            "sole_proprietorship": self.counts,
            "email": self.email,
            "reason": self.reason,
        }


# --- classify ----------------------------------------------------------------------------------------------------


async def classify(  # noqa: PLR0913 - what is decided, and all that is kept of it
    connection: Connection, handle: str, decision: Decision, *, evidence: str, who: str, conditions: Conditions
) -> tuple[Standing, Standing]:
    """Decide on a registrant by hand, and return how they stood before and stand now: it is in the very next answer.

    `who` is staff:NAME or user:HANDLE. Raises `AccessError` or `RegistrantError`, and then nothing is changed;
    `WhoisdError` when the database goes away.
    """
    async with deciding(connection, handle):
        party = await authorise(connection, who, handle)
        before = await standing_of(connection, handle, conditions)
        if fault := _fault(before, decision):
            raise refuse_decision(handle, fault, withdrawable=before.by_hand is not None)
        if party != STAFF and (denied := _denial(before, decision, party)):
            raise refuse(who, f"classify {handle}", denied)
        after = await write(
            connection, handle, decision, party, who=who, evidence=evidence, before=before, conditions=conditions
        )
        return before, after


@asynccontextmanager
async def deciding(connection: Connection, handle: str) -> AsyncIterator[None]:
    """Decide on a registrant whom nobody else changes meanwhile, all of it or nothing. Raises what `classify` does."""
    try:
        async with changing(connection, f"`whoisd registrant show {handle}` tells"):
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
            # A statement of its own: one that waits for the lock and reads on would read what was before the wait.
            await connection.execute(_LOCK, handle)
            yield
    except asyncpg.LockNotAvailableError:
        raise RegistrantError(
            RegistrantFault.BUSY,
            f"{handle}: something else, such as a load, has been changing this registrant for {LOCK_TIMEOUT:g} seconds;"
            " nothing was changed, try again when it is done",
        ) from None


async def authorise(connection: Connection, who: str, handle: str) -> str:
    """Return the party that decides: staff, or an account that manages a domain of the registrant; else `AccessError`."""
    kind, _, name = who.partition(":")
    party = STAFF
    if kind == "staff":
        why = None if await is_staff(connection, name) else Denial.UNKNOWN_STAFF
    elif user := await user_of(connection, name):
        why = denial(user, Operation.PORTFOLIO, await managers_of(connection, handle))
        party = user.account
    else:
        why = Denial.UNKNOWN_USER
    if why:
        raise refuse(who, f"classify {handle}", why)
    return party


def _denial(standing: Standing, decision: Decision, account: str) -> Denial | None:
    """Return why the users of an account may not decide this: they decide towards withholding, or take that back."""
    if decision is Decision.NO:
        return Denial.STAFF_ALONE
    return Denial.NOT_THEIRS if decision is Decision.WITHDRAW and account not in standing.decisions else None


async def write(  # noqa: PLR0913 - what is decided, and all that is kept of it
    connection: Connection,
    handle: str,
    decision: Decision,
    party: str,
    *,
    who: str,
    evidence: str,
    before: Standing,
    conditions: Conditions,
) -> Standing:
    """Write a decision down, with its row in the audit trail, and return how the registrant stands by it."""
    await newly_shown.remember(connection, "SELECT $1", handle)
    await _decide(connection, handle, decision, party)
    publish = newly_shown.as_asked_for(listed_only=conditions.listed_only)
    shown = await newly_shown.find(connection, command=None, publish=publish)
    after = await standing_of(connection, handle, conditions)
    await record(
        connection,
        who=who,
        command=COMMAND,
        object=f"registrant:{handle}",
        evidence=evidence,
        before=before.entry(),
        after=after.entry() | shown.entry(),
    )
    return after


async def _decide(connection: Connection, handle: str, decision: Decision, party: str) -> None:
    """Write a decision down. What staff decide otherwise, or withdraw, ends what accounts said."""
    if decision is not Decision.YES:
        await connection.execute(_TAKE_BACK, handle, None if party == STAFF else party)
    if decision is not Decision.WITHDRAW:
        await connection.execute(_DECIDE, handle, party, decision)


def _fault(standing: Standing, decision: Decision) -> RegistrantFault | None:
    """Return why this cannot be decided on a registrant, or None where it can."""
    if decision is Decision.WITHDRAW:
        return None if standing.by_hand is not None else RegistrantFault.NOTHING_TO_WITHDRAW
    return undecidable(standing)


def undecidable(standing: Standing) -> RegistrantFault | None:
    """Return why nothing can be decided by hand on a registrant, or None where it can."""
    if standing.protected:  # said before anything that would tell the country
        return RegistrantFault.PROTECTED
    return RegistrantFault.DANISH if standing.danish else None


_WHY: Final[Mapping[RegistrantFault, str]] = {
    RegistrantFault.NO_SUCH: "there is no such registrant",
    RegistrantFault.DANISH: "is Danish: CVR decides, and nobody by hand",
    RegistrantFault.PROTECTED: "is under name and address protection: nothing of theirs is shown, and nothing to be decided",
    RegistrantFault.NOTHING_TO_WITHDRAW: "nobody has decided by hand, so that there is nothing to withdraw",
}
_WITHDRAWABLE: Final = "; `--sole-proprietorship withdraw` takes back what was decided before"


def refuse_decision(handle: str, fault: RegistrantFault, *, withdrawable: bool = False) -> RegistrantError:
    """Return the error for a registrant who cannot be decided on; it says where an earlier decision can be withdrawn."""
    more = _WITHDRAWABLE if withdrawable and fault is RegistrantFault.DANISH else ""
    return RegistrantError(fault, f"{handle}: {_WHY[fault]}{more}")


# --- show --------------------------------------------------------------------------------------------------------


async def show(
    connection: Connection, handle: str, *, now: datetime, in_force_from: datetime, conditions: Conditions
) -> str:
    """Return as text what support may know of a registrant, or raise `RegistrantError` where there is none.

    That is what the rules decide on which kind of facts, and why; what was decided by hand; and how many domains there
    are, and who manages them. Of one under name and address protection it is that alone.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await _read(connection, handle)
        conditions = conditions.for_age(await data_age(connection))
        standing = await standing_of(connection, handle, conditions)
        explained = explain_registrant(
            registrant_of(row), now=now, in_force_from=in_force_from, conditions=conditions, charset=Charset.UTF_8
        )
        head = f"Registrant {handle}\n{explained}{of_when_cvr_is(await cvr_age(connection), now)}"
        if standing.protected:
            return head
        return head + await _classification(connection, handle, standing) + await _domains(connection, handle)


async def _classification(connection: Connection, handle: str, standing: Standing) -> str:
    # A load, and a migration, may have ended a decision.
    history = await connection.fetch(_HISTORY, f"registrant:{handle}", [COMMAND, "load", "migrate"])
    made = [
        (
            f"{row['at']:%Y-%m-%d %H:%M:%S} UTC",
            row["who"],
            f"{BY_HAND[row['before']]} -> {BY_HAND[row['after']]}",
            UNPRINTABLE.sub("?", row["evidence"] or ""),
        )
        for row in history
    ]
    decided = [f"{decision} by {party}" for party, decision in standing.decisions.items()]
    by_hand = ", ".join(decided) or BY_HAND[None]
    rows = [("By the registry files", BY_HAND[standing.by_files]), ("By hand", by_hand)]
    danish = standing.danish and standing.by_hand is not None
    return (
        "\nSole proprietorship\n\n"
        + columns([*rows, ("What counts", BY_HAND[standing.counts])])
        + ("CVR decides: `registrant classify --sole-proprietorship withdraw` takes the rest back.\n" if danish else "")
        + ("\n" + columns([("When", "Who", "By hand", "Evidence"), *made]) if made else "")
    )


async def _domains(connection: Connection, handle: str) -> str:
    numbers = {row["status"]: row["count"] for row in await connection.fetch(_DOMAINS, handle)}
    managers = await connection.fetch(_NAMES, await managers_of(connection, handle))
    return (
        "\nDomains\n\n"
        + columns([("Status", "Number"), *((STATUS[status], str(numbers.get(status, 0))) for status in STATUS)])
        + "\nAccounts that manage them\n\n"
        + (columns((row["handle"], row["name"]) for row in managers) if managers else "none\n")
    )


# --- both --------------------------------------------------------------------------------------------------------


async def _read(connection: Connection, handle: str) -> Record:
    row = await connection.fetchrow(_SELECT, handle)
    if row is None:
        raise refuse_decision(handle, RegistrantFault.NO_SUCH)
    return row


async def standing_of(connection: Connection, handle: str, conditions: Conditions) -> Standing:
    """Return how a registrant is classified now, or raise `RegistrantError` where there is none."""
    row = await _read(connection, handle)
    decisions = await connection.fetch(_DECISIONS, handle)
    conditions = conditions.for_age(await data_age(connection))
    registrant = registrant_of(row)
    section = publish_registrant(
        DomainStatus.ACTIVE, registrant, show_handles=True, conditions=conditions, charset=Charset.UTF_8
    )
    shown, reason = verdict_of(section)
    return Standing(
        decisions={one["decided_by"]: Decision(one["decision"]) for one in decisions},
        by_files=row["sole_proprietorship"],
        danish=facts_of(registrant, conditions).country is Country.DANISH,
        protected=registrant.address_protection is not False,
        shown=shown,
        reason=reason,
    )


def sentences(handle: str, before: Standing, after: Standing) -> str:
    """Return what a classification changed, for who made it."""
    return (
        f"{handle}: sole proprietorship by hand: {BY_HAND[before.by_hand]} -> {BY_HAND[after.by_hand]};"
        f" what counts: {BY_HAND[before.counts]} -> {BY_HAND[after.counts]}\n"
        f"The email: {before.email} ({before.reason}) -> {after.email} ({after.reason})\n"
        f"{SENTENCES[after.reason]}\n"
    )
