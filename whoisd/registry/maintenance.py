"""Maintenance: a window begins and ends, orders about one object are kept in it, and are carried out when it is over.

They are kept as they were understood, and nothing is asked of the data until they are carried out: by `maintenance end`, or
by the next command that writes where the window ended by itself; in their order, before anything else is written. Each is
carried out in one transaction with the removal of its row, and leaves a row in the audit trail that says what came of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import asyncpg
import orjson
from asyncpg import Record

from whoisd.answers.disclosure import Conditions
from whoisd.database.audit import record, this_account
from whoisd.database.connect import Connection
from whoisd.database.maintenance import FORMAT, Window, has_queued, has_tables, keep_out, open_window
from whoisd.database.transaction import all_or_nothing
from whoisd.errors import (
    AccessError,
    EppCode,
    EppError,
    MaintenanceError,
    PortalError,
    RegistrantError,
    RegistrantFault,
    WhoisdError,
)
from whoisd.registry.by_epp import carry_out
from whoisd.registry.classification import Decision, classify, sentences
from whoisd.registry.epp import ContactCommand, Operation
from whoisd.registry.portal import objects_named, take_over

LONGEST: Final = timedelta(days=7)  # of a window, so that a wrong year does not stop the registry; one can be begun again

_HINT: Final = "`whoisd maintenance show` tells"

_BAR: Final = "LOCK TABLE registry.maintenance IN EXCLUSIVE MODE"  # which writers bar, who hold `keep_out`'s; readers do not
_BEGIN: Final = """
    INSERT INTO registry.maintenance (until, why, is_queue) VALUES ($1, $2, $3)
    ON CONFLICT (single) DO UPDATE
    SET began = clock_timestamp(), until = excluded.until, why = excluded.why, is_queue = excluded.is_queue"""
_QUEUE: Final = "INSERT INTO registry.queued_order (who, kind, fields) VALUES ($1, $2, $3) RETURNING id"
_BY_ONE: Final = "LOCK TABLE registry.queued_order IN EXCLUSIVE MODE"  # two who carry out do so one after the other
_QUEUED: Final = "SELECT id, at, who, kind, fields FROM registry.queued_order ORDER BY id"


# --- orders about one object -----------------------------------------------------------------------------------------

# Each as it was understood, with who gives it, what it is about (as the audit trail names both), and what it says in words.


@dataclass(frozen=True, slots=True)
class ClassifyOrder:
    """`registrant classify`, by hand."""

    kind: ClassVar[str] = "classify"

    who: str
    handle: str
    decision: Decision
    evidence: str

    @property
    def object(self) -> str:
        """The registrant."""
        return f"registrant:{self.handle}"

    def __str__(self) -> str:
        return f"registrant classify {self.handle} --sole-proprietorship {self.decision}, by {self.who}"

    async def carry_out(self, connection: Connection, conditions: Conditions) -> str:
        """Decide; return how the registrant stood before and stands now."""
        before, after = await classify(
            connection,
            self.handle,
            Decision(self.decision),  # which is a text when it was kept
            evidence=self.evidence,
            who=self.who,
            conditions=conditions,
        )
        return sentences(self.handle, before, after).removesuffix("\n")


@dataclass(frozen=True, slots=True)
class TakeOverOrder:
    """`portal take-over`; `text` is the object as it was typed."""

    kind: ClassVar[str] = "take_over"

    who: str
    account: str
    text: str

    @property
    def object(self) -> str:
        """The object, or both that it may be. Raises `PortalError` for a text that names none."""
        return " or ".join(objects_named(self.text))

    def __str__(self) -> str:
        return f"portal take-over {self.account} {self.object}, by {self.who}"

    async def carry_out(self, connection: Connection, conditions: Conditions) -> str:  # noqa: ARG002 - as all
        """Take over; return what the account holds now."""
        done = await take_over(connection, self.account, self.text, who=self.who)
        held = "holds its roles already" if done.after == done.before else "now holds"
        return f"{done.object}: {self.account} {held}: {', '.join(done.after)}"


@dataclass(frozen=True, slots=True)
class EppOrder:
    """What an EPP frame asks for."""

    kind: ClassVar[str] = "epp"

    who: str
    server_transaction: str
    command: ContactCommand

    @property
    def object(self) -> str:
        """The contact."""
        return f"registrant:{self.command.handle}"

    def __str__(self) -> str:
        asked = f"EPP contact {self.command.operation} {self.command.handle}"
        return f"{asked}, by {self.who}, svTRID {self.server_transaction}"

    async def carry_out(self, connection: Connection, conditions: Conditions) -> str:
        """Carry the command out; return what is to be said besides its being done."""
        return await carry_out(
            connection, self.command, who=self.who, server_transaction=self.server_transaction, conditions=conditions
        )


Order = ClassifyOrder | TakeOverOrder | EppOrder


def _read_epp(who: str, server_transaction: str, command: Mapping[str, Any]) -> EppOrder:
    operation = Operation(command["operation"])
    return EppOrder(who, server_transaction, ContactCommand(**{**command, "operation": operation}))


_READ: Final[Mapping[str, Callable[..., Order]]] = {
    ClassifyOrder.kind: ClassifyOrder,
    TakeOverOrder.kind: TakeOverOrder,
    EppOrder.kind: _read_epp,
}


def _order_of(row: Record) -> Order:
    return _READ[row["kind"]](who=row["who"], **orjson.loads(row["fields"]))


def _fields_of(order: Order) -> str:
    kept = asdict(order)
    del kept["who"]  # which has a column
    return orjson.dumps(kept).decode()


@dataclass(frozen=True, slots=True)
class Queued:
    """An order that is kept until a window is over, by its number."""

    number: int
    window: Window

    def __str__(self) -> str:
        until = f"{self.window.until.astimezone(UTC):{FORMAT}}"
        return f"queued as number {self.number}, and carried out when the maintenance is over, by {until}"


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an order that was kept; `why` is empty where it was carried out, and else why it no longer can be."""

    number: int
    at: datetime
    order: str
    why: str

    def __str__(self) -> str:
        came = f"no longer possible: {self.why}" if self.why else "done"
        return f"{self.number}, queued {self.at.astimezone(UTC):{FORMAT}}: {self.order}: {came}"


Say = Callable[[Applied], None]


async def give(connection: Connection, order: Order, conditions: Conditions, say: Say) -> str | Queued:
    """Carry an order out and return what to say of it; or keep it, in a window that keeps orders.

    What was kept in a window that is over is carried out first, and `say` is told. Raises what the order does.
    """
    while True:
        await settle(connection, conditions, say)
        try:
            return await order.carry_out(connection, conditions)
        except MaintenanceError as refused:
            if not (refused.is_queue or refused.is_over):
                raise
        if queued := await _queue(connection, order):
            return queued


async def _queue(connection: Connection, order: Order) -> Queued | None:
    """Keep an order; return None where there is no window any more that keeps any."""
    async with all_or_nothing(connection, _HINT):
        await keep_out(connection)
        window = await open_window(connection)
        if window is None or not window.is_queue:
            return None
        number = await connection.fetchval(_QUEUE, order.who, order.kind, _fields_of(order))
        await record(
            connection,
            who=order.who,
            command="maintenance queue",
            object=order.object,
            evidence=getattr(order, "evidence", None),
            before=None,
            after={"number": number, "order": str(order)},
        )
    return Queued(number, window)


# --- afterwards ------------------------------------------------------------------------------------------------------


async def settle(connection: Connection, conditions: Conditions, say: Say) -> None:
    """Carry out what was kept in a window that is over, in its order; tell `say` what came of each. In a window, do nothing.

    Raises `WhoisdError` where one cannot be carried out now and may be later: it is kept, with those behind it.
    """
    if not await has_tables(connection):
        return
    while await has_queued(connection) and (applied := await _apply_first(connection, conditions)):
        say(applied)


async def _apply_first(connection: Connection, conditions: Conditions) -> Applied | None:
    """Carry out the first that waits, or find that it no longer can be; return None for none, and in a window."""
    async with all_or_nothing(connection, _HINT):
        await keep_out(connection)
        if await open_window(connection):
            return None
        await connection.execute(_BY_ONE)
        row = await connection.fetchrow(f"{_QUEUED} LIMIT 1")
        if row is None:
            return None
        order = _order_of(row)
        why = await _why_not(connection, order, conditions)
        await connection.execute("DELETE FROM registry.queued_order WHERE id = $1", row["id"])
        await record(
            connection,
            who=order.who,
            command="maintenance apply",
            object=order.object,
            before={"number": row["id"], "queued_at": row["at"]},
            after={"is_done": not why, "why": why or None},
        )
    return Applied(row["id"], row["at"], str(order), why)


async def _why_not(connection: Connection, order: Order, conditions: Conditions) -> str:
    """Carry an order out within the transaction; return why it no longer can be, or nothing where it was."""
    try:
        await order.carry_out(connection, conditions)
    except (AccessError, PortalError, RegistrantError, EppError) as error:
        if _may_pass(error):
            raise WhoisdError(
                f"what was queued in a maintenance window comes first, and cannot be carried out now: {order}: {error}"
            ) from None
        return str(error)
    return ""


def _may_pass(error: WhoisdError) -> bool:
    """Whether somebody stands in the way who will be gone: the order may be possible then."""
    if isinstance(error, EppError):
        return error.code is EppCode.FAILED
    return isinstance(error, RegistrantError) and error.fault is RegistrantFault.BUSY


# --- the window ------------------------------------------------------------------------------------------------------


async def begin(
    connection: Connection, until: datetime, why: str, *, is_queue: bool, wait: Callable[[], None] = lambda: None
) -> Window:
    """Begin a window, or change the one that is open. Those who are writing are waited for, and `wait` is told.

    Raises `MaintenanceError` for an end that is past or too far off; `WhoisdError` when the database goes away.
    """
    await _require_tables(connection)
    async with all_or_nothing(connection, _HINT):
        await _bar_writers(connection, wait)
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        if not now < until <= now + LONGEST:
            raise MaintenanceError(f"--until: must be to come, and in {LONGEST.days} days at most")
        before, window = await open_window(connection), Window(until, why, is_queue)
        await connection.execute(_BEGIN, until, why, is_queue)
        await _audit(connection, "maintenance begin", before, window, evidence=why)
    return window


async def end(connection: Connection, conditions: Conditions, say: Say) -> Window | None:
    """End the window that is open and return it, or None; carry out what was kept, also where a window ended by itself.

    `say` is told what came of each. Raises what `settle` does: the window is over then all the same.
    """
    await _require_tables(connection)
    async with all_or_nothing(connection, _HINT):
        await _bar_writers(connection, lambda: None)
        window = await open_window(connection)
        await connection.execute("DELETE FROM registry.maintenance")
        if window:
            await _audit(connection, "maintenance end", window, None)
    await settle(connection, conditions, say)
    return window


async def show(connection: Connection) -> tuple[Window | None, list[tuple[int, datetime, str]]]:
    """Return the window that is open, or None; and the orders that wait, each with its number and when it was given."""
    await _require_tables(connection)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        window = await open_window(connection)
        rows = await connection.fetch(_QUEUED)
    return window, [(row["id"], row["at"], str(_order_of(row))) for row in rows]


async def _require_tables(connection: Connection) -> None:
    if not await has_tables(connection):
        raise MaintenanceError("the database cannot have a maintenance window yet: run `whoisd migrate`")


async def _bar_writers(connection: Connection, wait: Callable[[], None]) -> None:
    """Wait until nobody writes, and let nobody until the transaction ends."""
    try:
        async with connection.transaction():
            await connection.execute(f"{_BAR} NOWAIT")
    except asyncpg.LockNotAvailableError:
        wait()
        await connection.execute(_BAR)


async def _audit(
    connection: Connection, command: str, before: Window | None, after: Window | None, evidence: str | None = None
) -> None:
    states = [one and {"until": one.until, "why": one.why, "queue": one.is_queue} for one in (before, after)]
    await record(
        connection,
        who=this_account(),
        command=command,
        object="registry",
        evidence=evidence,
        before=states[0],
        after=states[1],
    )
