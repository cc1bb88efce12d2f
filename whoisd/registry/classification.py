"""The classification of registrants abroad by hand, and what support sees of a registrant: both without a value of theirs.

What was decided by hand counts instead of what the registry files say, until it is withdrawn; a load leaves it alone. Of
Danish registrants CVR decides. Knows no command line.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import asyncpg
from asyncpg import Record

from whoisd.answers.disclosure import Country, Reason, facts_of, publish_registrant, verdict_of
from whoisd.answers.explain import SENTENCES, SHOWN, WITHHELD, columns, explain_registrant
from whoisd.answers.model import DomainStatus
from whoisd.answers.response import STATUS, UNPRINTABLE
from whoisd.answers.wire import Charset
from whoisd.database.audit import record
from whoisd.database.connect import Connection
from whoisd.database.transaction import changing
from whoisd.database.views import registrant_of
from whoisd.errors import RegistrantError
from whoisd.registry import newly_shown
from whoisd.registry.access import Denial, Operation, denial, refuse
from whoisd.registry.portal import is_staff, managers_of, user_of

LOCK_TIMEOUT: Final = 30.0  # seconds to wait for whoever else is changing the registrant, as a load may be for long

COMMAND: Final = "registrant classify"  # as the audit trail has it

# The lock is one that does not wait for who merely refers to the registrant, as a load of domains does.
_LOCK: Final = "SELECT FROM registry.registrant WHERE handle = $1 FOR NO KEY UPDATE"
_SELECT: Final = """
    SELECT facts.*, registrant.classified_by_hand, registrant.sole_proprietorship
    FROM registry.registrant JOIN registry.registrant_facts AS facts USING (handle)
    WHERE registrant.handle = $1"""
_UPDATE: Final = "UPDATE registry.registrant SET classified_by_hand = $2 WHERE handle = $1"
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


_CLASSIFIED: Final = {Decision.YES: True, Decision.NO: False, Decision.WITHDRAW: None}

# What was decided by hand, in words.
BY_HAND: Final = {True: "yes", False: "no", None: "undecided"}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registrant is classified, and what an answer about an active domain of theirs makes of it."""

    by_hand: bool | None
    by_files: bool
    danish: bool
    protected: bool
    shown: bool
    reason: Reason

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
            "sole_proprietorship": self.counts,
            "email": self.email,
            "reason": self.reason,
        }


# --- classify ----------------------------------------------------------------------------------------------------


async def classify(  # noqa: PLR0913 - what is decided, and all that is kept of it
    connection: Connection, handle: str, decision: Decision, *, evidence: str, who: str, in_force: bool
) -> tuple[Standing, Standing]:
    """Decide on a registrant by hand, and return how they stood before and stand now: it is in the very next answer.

    `who` is staff:NAME or user:HANDLE. Raises `AccessError` or `RegistrantError`, and then nothing is changed;
    `WhoisdError` when the database goes away.
    """
    try:
        async with changing(connection, f"`whoisd registrant show {handle}` tells"):
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
            # A statement of its own: one that waits for the lock and reads on would read what was before the wait.
            await connection.execute(_LOCK, handle)
            await _authorise(connection, who, handle)
            before = _standing(await _read(connection, handle), in_force=in_force)
            if why := _refusal(before, decision):
                raise RegistrantError(f"{handle}: {why}")
            await newly_shown.remember(connection, "SELECT $1", handle)
            await connection.execute(_UPDATE, handle, _CLASSIFIED[decision])
            shown = await newly_shown.find(connection, command=None)
            after = _standing(await _read(connection, handle), in_force=in_force)
            await record(
                connection,
                who=who,
                command=COMMAND,
                object=f"registrant:{handle}",
                evidence=evidence,
                before=before.entry(),
                after=after.entry() | shown.entry(),
            )
            return before, after
    except asyncpg.LockNotAvailableError:
        raise RegistrantError(
            f"{handle}: something else, such as a load, has been changing this registrant for {LOCK_TIMEOUT:g} seconds;"
            " nothing was changed, try again when it is done"
        ) from None


async def _authorise(connection: Connection, who: str, handle: str) -> None:
    """Raise `AccessError` unless this is staff, or a user of an account that manages a domain of the registrant."""
    kind, _, name = who.partition(":")
    if kind == "staff":
        why = None if await is_staff(connection, name) else Denial.UNKNOWN_STAFF
    elif user := await user_of(connection, name):
        why = denial(user, Operation.PORTFOLIO, await managers_of(connection, handle))
    else:
        why = Denial.UNKNOWN_USER
    if why:
        raise refuse(who, f"classify {handle}", why)


def _refusal(standing: Standing, decision: Decision) -> str | None:
    """Return why this cannot be decided on a registrant, or None where it can."""
    if decision is Decision.WITHDRAW:
        return None if standing.by_hand is not None else "nobody has decided by hand, so that there is nothing to withdraw"
    if standing.protected:  # said before anything that would tell the country
        return "is under name and address protection: nothing of theirs is shown, and nothing to be decided"
    if standing.danish:
        why = "is Danish: CVR decides, and nobody by hand"
        return (
            why
            if standing.by_hand is None
            else f"{why}; `--sole-proprietorship withdraw` takes back what was decided before"
        )
    return None


# --- show --------------------------------------------------------------------------------------------------------


async def show(connection: Connection, handle: str, *, now: datetime, in_force_from: datetime) -> str:
    """Return as text what support may know of a registrant, or raise `RegistrantError` where there is none.

    That is what the rules decide on which kind of facts, and why; what was decided by hand; and how many domains there
    are, and who manages them. Of one under name and address protection it is that alone.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        row = await _read(connection, handle)
        standing = _standing(row, in_force=now >= in_force_from)
        explained = explain_registrant(registrant_of(row), now=now, in_force_from=in_force_from, charset=Charset.UTF_8)
        head = f"Registrant {handle}\n{explained}"
        if standing.protected:
            return head
        return head + await _classification(connection, handle, standing) + await _domains(connection, handle)


async def _classification(connection: Connection, handle: str, standing: Standing) -> str:
    history = await connection.fetch(_HISTORY, f"registrant:{handle}", [COMMAND, "load"])  # which may have removed it
    made = [
        (
            f"{row['at']:%Y-%m-%d %H:%M:%S} UTC",
            row["who"],
            f"{BY_HAND[row['before']]} -> {BY_HAND[row['after']]}",
            UNPRINTABLE.sub("?", row["evidence"] or ""),
        )
        for row in history
    ]
    rows = [("By the registry files", BY_HAND[standing.by_files]), ("By hand", BY_HAND[standing.by_hand])]
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
        raise RegistrantError(f"{handle}: there is no such registrant")
    return row


def _standing(row: Record, *, in_force: bool) -> Standing:
    registrant = registrant_of(row)
    section = publish_registrant(
        DomainStatus.ACTIVE, registrant, show_handles=True, in_force=in_force, charset=Charset.UTF_8
    )
    shown, reason = verdict_of(section)
    return Standing(
        by_hand=row["classified_by_hand"],
        by_files=row["sole_proprietorship"],
        danish=facts_of(registrant, in_force=in_force).country is Country.DANISH,
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
