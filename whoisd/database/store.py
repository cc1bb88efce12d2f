"""Lookups in batches: a name to what the database knows of it, read afresh for every query.

One connection a worker. A name that waits alone is looked up by a single-row statement; names that come while a lookup is
in flight wait, and are then fetched together. A name never joins a lookup that was sent before it came: what was
committed before a query arrived is in its answer. One deadline covers waiting and lookup.

When the connection is lost the lookup is tried once more on a new one. A row that cannot be read fails its own name and no
other; a name with two rows, or with one under another spelling, fails too: what the data does not settle is not answered.
Which host is connected to is the business of `hosts`, what a row means that of `views`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import islice
from typing import Final

import asyncpg
import structlog

from whoisd.answers.model import Found
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.answers.wire import Charset
from whoisd.database.dsn import Dsn
from whoisd.database.hosts import HostPool
from whoisd.database.views import VIEWS, View, view_of
from whoisd.deadlines import Deadlines
from whoisd.errors import ContractError, StoreError, cause_of

LARGEST_BATCH: Final = 500  # names fetched together: beyond this a batch delays its first name more than it saves

# Errors after which a connection, or its prepared statements, are of no use. asyncpg's are of several trees.
_LOST: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.SerializationError,  # a standby replays a change that the lookup stands in the way of
)

# A statement of ours is not there, or its name is taken: a pooler gave us another server than the one it was prepared on.
_UNPREPARED: Final = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)

Tell = Callable[[Found], None]


# What `check` looks up, one in each view: neither a domain nor a host has the name of the root.
_ROOT: Final = DomainName(".", ".")
_NOBODY: Final = (DomainQuery(_ROOT, Charset.UTF_8, show_handles=False), HostQuery(_ROOT, Charset.UTF_8))
_CHECKED: Final = {_ROOT.ascii}


class _Waiter:
    """Somebody who waits for a name, and is told once what was found."""

    __slots__ = ("_tell", "name")

    def __init__(self, name: DomainName, tell: Tell) -> None:
        self.name = name
        self._tell: Tell | None = tell

    def tell(self, found: Found) -> None:
        """Tell it, unless it was told already: that its time is up."""
        tell, self._tell = self._tell, None
        if tell:
            tell(found)


Waiting = dict[str, list[_Waiter]]


class _Queue:
    """The names that wait to be looked up in one view, the oldest first."""

    __slots__ = ("view", "waiting")

    def __init__(self, view: View) -> None:
        self.view = view
        self.waiting: Waiting = {}

    def add(self, waiter: _Waiter) -> None:
        """Let somebody wait."""
        self.waiting.setdefault(waiter.name.ascii, []).append(waiter)

    def take(self) -> Waiting:
        """Take the names to fetch next."""
        if len(self.waiting) <= LARGEST_BATCH:
            taken, self.waiting = self.waiting, {}
            return taken
        return {name: self.waiting.pop(name) for name in list(islice(self.waiting, LARGEST_BATCH))}

    def forget(self, waiter: _Waiter) -> None:
        """Let a name go whose client is gone or was told to try later, unless it is being fetched."""
        name = waiter.name.ascii
        waiting = self.waiting.get(name, [])
        if waiter in waiting:
            waiting.remove(waiter)
            if not waiting:
                del self.waiting[name]


class _Bound:
    """The deadline of a batch: one timer for all of them, one after another, where `asyncio.timeout` makes one for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self._runners: Deadlines[asyncio.Task[None]] = Deadlines(loop, deadline, self._cut)
        self._is_late = False  # whether the batch under way was cut for its time

    async def hold(self, runner: asyncio.Task[None], batch: Coroutine[None, None, None]) -> None:
        """Run a batch in the task that runs them all, this very one. Raises `TimeoutError` at the deadline."""
        self._is_late = False
        self._runners.add(runner)
        try:
            await batch
        except asyncio.CancelledError:
            if self._is_late and not runner.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._runners.remove(runner)

    def close(self) -> None:
        """Watch no more."""
        self._runners.close()

    def _cut(self, runner: asyncio.Task[None]) -> None:
        self._is_late = True
        runner.cancel()


class Store:
    """Looks names up in the database. Made on the running loop; `close` ends its connection.

    `deadline` is in seconds, from the call to its answer; `on_batch` is told how many names each lookup fetches.
    `tells_age` is whether each domain comes with how old the data is, as `database.max_age` needs it.
    """

    def __init__(
        self,
        dsn: Dsn,
        deadline: float,
        log: structlog.typing.FilteringBoundLogger,
        on_batch: Callable[[int], None] = lambda _: None,
        *,
        tells_age: bool = False,
    ) -> None:
        self._deadline = deadline
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._hosts = HostPool(dsn, deadline, log, tells_age=tells_age)
        self._queues = {view: _Queue(view) for view in VIEWS}
        self._waiters: Deadlines[_Waiter] = Deadlines(self._loop, deadline, self._expire)
        self._runner: asyncio.Task[None] | None = None
        self._rest: asyncio.Future[None] | None = None  # what the runner waits for while no name does
        self._bound = _Bound(self._loop, deadline)

    def look_up(self, query: DomainQuery | HostQuery, tell: Tell) -> None:
        """Have `tell` called, in a later turn of the loop, with what there is for a query, or with why that is not known."""
        self._wait(query, tell)

    async def find(self, query: DomainQuery | HostQuery) -> Found:
        """Return what there is for a query, or why that is not known."""
        future: asyncio.Future[Found] = self._loop.create_future()
        waiter = self._wait(query, partial(_settle, future))
        try:
            return await future
        finally:
            self._give_up(waiter)

    async def check(self) -> str:
        """Return why lookups are not answered now, with the view; nothing when they are.

        In each view a name is looked up that is nobody's. It is in no figure.
        """
        for query in _NOBODY:
            found = await self.find(query)
            if isinstance(found, StoreError):
                return f"{view_of(query).name}: {found.cause}"
        return ""

    async def connect(self) -> bool:
        """Connect now rather than at the first query; return whether the database answers."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._hosts.connected()
        except (StoreError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """End the connection; idempotent. Lookups under way fail, and so do those that come later."""
        await self._hosts.close()  # first, so that nobody connects any more
        if self._runner:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        for queue in self._queues.values():
            waiting, queue.waiting = queue.waiting, {}
            self._fail(waiting, "stopping")
        self._waiters.close()
        self._bound.close()
        await asyncio.sleep(0)  # a turn of the loop, in which the connection's transport goes

    # --- one name waits -------------------------------------------------------------------------------------------

    def _wait(self, query: DomainQuery | HostQuery, tell: Tell) -> _Waiter:
        waiter = _Waiter(query.name, tell)
        self._queues[view_of(query)].add(waiter)
        self._waiters.add(waiter)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        elif self._rest and not self._rest.done():
            self._rest.set_result(None)
        return waiter

    def _expire(self, waiter: _Waiter) -> None:
        self._give_up(waiter)
        waiter.tell(StoreError("deadline"))

    def _give_up(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        for queue in self._queues.values():
            queue.forget(waiter)

    # --- the runner: one batch after the other, and a rest while no name waits --------------------------------------

    async def _run(self) -> None:
        queues = tuple(self._queues.values())
        runner = self._runner
        assert runner  # noqa: S101 - it is this very task
        try:
            while True:
                for queue in queues:
                    if queue.waiting:
                        await self._run_batch(runner, queue.view, queue.take())
                if not any(queue.waiting for queue in queues):
                    self._rest = self._loop.create_future()
                    await self._rest
        finally:
            self._runner = None

    async def _run_batch(self, runner: asyncio.Task[None], view: View, waiting: Waiting) -> None:
        if waiting.keys() != _CHECKED:
            self._on_batch(len(waiting))
        try:
            await self._bound.hold(runner, self._fetch(view, waiting))
        except StoreError as error:
            self._fail(waiting, error.cause)
        except TimeoutError:
            self._hosts.drop("no answer within the deadline")
            self._fail(waiting, "deadline")
        except BaseException:
            self._fail(waiting, "stopping")
            raise

    async def _fetch(self, view: View, waiting: Waiting) -> None:
        """Answer whoever waits for these names; a connection that turns out to be lost is replaced once."""
        for last_try in (False, True):
            try:
                host = await self._hosts.connected()
                found = _by_name(await host.fetch(view, list(waiting)), waiting)
            except StoreError:
                raise
            except asyncpg.QueryCanceledError:  # the statement timeout: the connection is sound, the tables are not
                raise StoreError("statement timeout") from None
            except (*_LOST, *_UNPREPARED) as lost:
                self._hosts.drop(cause_of(lost))
                if isinstance(lost, _UNPREPARED):
                    self._hosts.stop_preparing()
                if last_try:
                    raise StoreError(cause_of(lost)) from None
            except Exception as error:  # noqa: BLE001 - a row that cannot be read, for whatever reason
                if len(waiting) == 1:
                    raise StoreError(cause_of(error)) from None
                await self._fetch_each(view, waiting)
                return
            else:
                self._hand_out(view, found, waiting)
                return

    async def _fetch_each(self, view: View, waiting: Waiting) -> None:
        """Fetch the names one by one, so that the one whose row cannot be read or is not as agreed fails alone."""
        for name, waiters in waiting.items():
            alone = {name: waiters}
            try:
                await self._fetch(view, alone)
            except StoreError as error:
                self._fail(alone, error.cause)

    def _hand_out(self, view: View, found: dict[str, asyncpg.Record], waiting: Waiting) -> None:
        """Tell everyone what their name's row says, or that there is none."""
        for name, waiters in waiting.items():
            row = found.get(name)
            for waiter in waiters:
                self._tell(waiter, view.found(waiter.name, row))

    def _fail(self, waiting: Waiting, cause: str) -> None:
        for waiters in waiting.values():
            for waiter in waiters:
                self._tell(waiter, StoreError(cause))

    def _tell(self, waiter: _Waiter, found: Found) -> None:
        """Tell one; should it fail at what it hears, the others are still told."""
        self._waiters.remove(waiter)
        try:
            waiter.tell(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the others'
            self._loop.call_exception_handler({"message": "a waiter failed", "exception": error})


def _by_name(rows: Sequence[asyncpg.Record], waiting: Waiting) -> dict[str, asyncpg.Record]:
    """Return the rows by name. Raises `ContractError` for two of one name, and for one that nobody asked for."""
    found = {row["name"]: row for row in rows}
    if not found.keys() <= waiting.keys():
        raise ContractError("the view returns a name in another spelling than it was asked for")
    if len(found) < len(rows):
        raise ContractError("the view returns several rows for the name")
    return found


def _settle(future: asyncio.Future[Found], found: Found) -> None:
    if not future.done():  # it may have been cancelled in this very turn
        future.set_result(found)
