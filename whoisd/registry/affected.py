"""What accounts lose by the change from roles to groups, whom to contact about it, and how far each account is.

Who was contacted stands in the audit trail and nowhere else, so that nobody can take it back. What is corrected is worked
out from the roles, and never stored: it is so when the REG handle holds all that the linked users of the account hold.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from asyncpg import Record

from whoisd.database.audit import record
from whoisd.database.connect import Connection
from whoisd.database.transaction import changing
from whoisd.errors import PortalError
from whoisd.registry.access import Denial, refuse
from whoisd.registry.portal import is_staff, require_account

PREFETCH: Final = 500  # rows of a cursor that are in memory at once
COMMAND: Final = "portal contacted"  # as the audit trail has it

# What linked users hold, and whether the REG handle of their account does not hold it too; of one account, or of all.
_HELD: Final = """
    SELECT
        linked_user.account,
        linked_user.handle AS user,
        linked.object,
        linked.role,
        NOT EXISTS (
            SELECT
            FROM portal.taken_over_role AS held
            WHERE held.account = linked_user.account AND held.object = linked.object AND held.role = linked.role
        ) AS is_lost
    FROM portal.object_role AS linked
    JOIN portal.portal_user AS linked_user ON linked_user.handle = linked.holder AND linked_user.linked
    WHERE coalesce(linked_user.account = $1, true)"""

# The last contact of a registrar; $2 is the command.
_CONTACT: Final = """
    LEFT JOIN LATERAL (
        SELECT at, who, evidence FROM audit.entry
        WHERE object = 'registrar:' || registrar.handle AND command = $2
        ORDER BY id DESC LIMIT 1
    ) AS contact ON true"""

_AFFECTED: Final = f"""
    SELECT
        held.account,
        registrar.name AS account_name,
        held.user,
        held.object,
        array_agg(held.role ORDER BY held.role) AS roles,
        registrar.email,
        registrar.phone,
        contact.at
    FROM ({_HELD}) AS held
    JOIN registry.registrar ON registrar.handle = held.account
    {_CONTACT}
    WHERE held.is_lost
    GROUP BY held.account, registrar.name, held.user, held.object, registrar.email, registrar.phone, contact.at
    ORDER BY held.account, held.user, held.object"""  # noqa: S608 - our own words

_PROGRESS: Final = f"""
    SELECT
        registrar.handle AS account,
        registrar.name AS account_name,
        registrar.email,
        registrar.phone,
        coalesce(held.objects_left, 0) AS objects_left,
        contact.at,
        contact.who,
        contact.evidence
    FROM registry.registrar
    LEFT JOIN (
        SELECT account, count(DISTINCT object) FILTER (WHERE is_lost) AS objects_left FROM ({_HELD}) AS one GROUP BY account
    ) AS held ON held.account = registrar.handle
    {_CONTACT}
    WHERE coalesce(registrar.handle = $1, true) AND (held.account IS NOT NULL OR contact.at IS NOT NULL)
    ORDER BY registrar.handle"""  # noqa: S608 - our own words


class State(StrEnum):
    """How far an account is."""

    NOT_CONTACTED = "not contacted"
    CONTACTED = "contacted"
    CORRECTED = "corrected"


class Affected(NamedTuple):
    """A linked user's roles on an object, which nobody of the account has unless the REG handle takes them over."""

    account: str
    account_name: str
    user: str
    object: str
    roles: Sequence[str]
    email: str | None  # the account's, as its phone
    phone: str | None
    state: State


class Progress(NamedTuple):
    """How far an account is whose linked users hold roles, or did when it was contacted; and its last contact, if any."""

    account: str
    account_name: str
    email: str | None
    phone: str | None
    state: State
    objects_left: int
    contacted: datetime | None
    by: str | None
    note: str | None


async def affected(connection: Connection, account: str | None) -> AsyncGenerator[Affected]:
    """Yield what linked users lose, in the order of accounts, users and objects; of one account, or of all."""
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(_AFFECTED, account, COMMAND, prefetch=PREFETCH):
            values = dict(row)
            is_contacted = values.pop("at") is not None
            yield Affected(**values, state=_state(1, is_contacted=is_contacted))


async def progress(connection: Connection, account: str | None) -> list[Progress]:
    """Return how far each account is that loses something or did, in the order of accounts; of one account, or of all."""
    return [_progress(row) for row in await connection.fetch(_PROGRESS, account, COMMAND)]


def _progress(row: Record) -> Progress:
    left, contacted = row["objects_left"], row["at"]
    state = _state(left, is_contacted=contacted is not None)
    head = (row["account"], row["account_name"], row["email"], row["phone"])
    return Progress(*head, state, left, contacted, row["who"], row["evidence"])


def _state(left: int, *, is_contacted: bool) -> State:
    if not left:
        return State.CORRECTED
    return State.CONTACTED if is_contacted else State.NOT_CONTACTED


async def contact(connection: Connection, account: str, *, who: str, note: str) -> Progress:
    """Write down that staff:NAME has contacted an account, and return how far the account is.

    Raises `AccessError` or `PortalError`, and then nothing is written; `WhoisdError` when the database goes away.
    """
    async with changing(connection, f"`whoisd portal affected --progress --account {account}` tells"):
        if not await is_staff(connection, who.removeprefix("staff:")):
            raise refuse(who, f"say that {account} was contacted", Denial.UNKNOWN_STAFF)
        await require_account(connection, account)
        found = await progress(connection, account)
        if not found:
            raise PortalError(
                f"{account}: its linked users hold no role on an object, so that there is nothing to contact it about;"
                " `whoisd portal affected` tells whom"
            )
        before = found[0]
        after = before._replace(state=_state(before.objects_left, is_contacted=True))
        # Nothing else is written: the row is the contact.
        await record(
            connection,
            who=who,
            command=COMMAND,
            object=f"registrar:{account}",
            evidence=note,
            before=_entry(before),
            after=_entry(after),
        )
    return after


def _entry(account: Progress) -> dict[str, object]:
    """Return what the audit trail keeps of how far an account is: no address of theirs."""
    return {"state": account.state, "objects_left": account.objects_left}
