"""Which of several database hosts serves: the one connection of a process, and the search for a better one.

Hosts are tried in their order, each for its share of the deadline. When there is none to be had, every try fails at once
until the next, a fraction of a second later. A host that is not the best is left for a better one when that is back. What to
do is decided by plain functions of merits and times, at the top; the pool does it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from secrets import token_hex
from typing import Final

import structlog
from asyncpg import ProtocolViolationError, QueryCanceledError, Record

from whoisd.database.connect import Connection, Statement, connect
from whoisd.database.dsn import Dsn, is_standby
from whoisd.database.heartbeat import LAG, age_sql
from whoisd.database.views import DOMAIN, VIEWS, View, decode_day, encode_day
from whoisd.errors import ContractError, StoreError, cause_of

SAMPLE_DEADLINE: Final = 0.3  # seconds for a look at how a view spells names
RETRY_PAUSE: Final = 0.2  # seconds between tries to connect
BETTER_PAUSE: Final = 10.0  # seconds between looks for a better host than the one connected to

Merit = tuple[int, int]  # of a host, the less the better: how much its kind is wanted, and its position
BEST: Final = (0, 0)
NONE: Final = (9, 0)  # not to be taken


class Step(Enum):
    """What to do when a connection is asked for."""

    SERVE = auto()  # by the one in use
    SWITCH = auto()  # to the one that the search found
    CONNECT = auto()
    REFUSE = auto()  # the last failure is fresh


def next_step(used: Merit | None, found: Merit | None, now: float, retry_at: float) -> Step:
    """Decide by the merits of the connection in use and of the one that was found, None for one that there is not."""
    if found is not None and (used is None or found < used):
        return Step.SWITCH
    if used is not None:
        return Step.SERVE
    return Step.CONNECT if now >= retry_at else Step.REFUSE


def is_search_due(used: Merit, now: float, search_at: float) -> bool:
    """Whether to look for a better host than the one in use."""
    return used > BEST and now > search_at


@dataclass(frozen=True, slots=True)
class Manner:
    """How to connect; what a pooler that is in between does not bear is given up one by one."""

    settings: Mapping[str, str]
    tells_age: bool = False  # with each row of a domain, how old the data is
    sends_settings: bool = True  # else the server's role has them (sql/roles.sql)
    prepares: bool = True  # else each lookup is parsed anew


class HostConnection:
    """A connection to one of the hosts, with the statements of every view prepared where that is possible."""

    __slots__ = ("_dsn", "_faults", "_position", "_settings", "_statements", "_unsampled", "age", "connection", "manner")

    def __init__(self, dsn: Dsn, position: int, connection: Connection, manner: Manner) -> None:
        self._dsn = dsn
        self._position = position
        self._settings = connection.get_settings()  # kept up to date by asyncpg; not to be had once it is closed
        self._statements: dict[View, tuple[Statement, Statement]] = {}
        self._faults: dict[View, str] = {}
        self._unsampled = {*VIEWS}
        self.age = LAG  # the SQL for how old the data is
        self.connection = connection
        self.manner = manner

    @classmethod
    async def open(cls, dsn: Dsn, position: int, manner: Manner, seconds: float) -> "HostConnection":
        """Connect to a host within so many seconds. Raises whatever asyncpg raises."""
        async with asyncio.timeout(seconds):
            connection, manner = await _open(dsn.hosts[position], manner, seconds)
            try:
                await connection.set_type_codec(
                    "date", schema="pg_catalog", format="tuple", encoder=encode_day, decoder=decode_day
                )
                host = cls(dsn, position, connection, manner)
                host.age = await age_sql(connection)
                for view in VIEWS:
                    await host.prepare(view)
            except BaseException:
                connection.terminate()
                raise
        return host

    async def prepare(self, view: View) -> None:
        """Prepare the statements for one name and for many, and see whether the view has the types that are agreed.

        Their names are this connection's own: behind a pooler in transaction mode another client's statements may be on the
        same server, and under one name there could be another. Each is run once: asyncpg ends its preparing with a Flush and
        no Sync, so that PostgreSQL's statement timeout runs on until the next statement ends, and cancels one that comes
        later than that (measured).
        """
        name = f"whoisd_{token_hex(8)}"
        age = self._age_with(view)
        one = await self.connection.prepare(view.select_one(age), name=f"{name}_one" if self.manner.prepares else "")
        await one.fetch("")
        self._faults[view] = view.fault_of_types({it.name: it.type.name for it in one.get_attributes()})
        if self.manner.prepares:
            many = await self.connection.prepare(view.select_many(age), name=f"{name}_many")
            await many.fetch([])
            self._statements[view] = one, many

    @property
    def is_standby(self) -> bool:
        """Whether it is a standby now: PostgreSQL says so when that changes."""
        return is_standby(self._settings)

    @property
    def merit(self) -> Merit:
        """The merit of the host as it is now: one that is promoted is no longer what it was."""
        rank = self._dsn.rank(standby=self.is_standby)
        return NONE[0] if rank is None else rank, self._position

    @property
    def is_open(self) -> bool:
        """Whether it has not been lost, as far as is known."""
        return not self.connection.is_closed()

    async def fetch(self, view: View, names: list[str]) -> Sequence[Record]:
        """Fetch the rows of these names. Raises `ContractError` where the view's columns or names are not as agreed."""
        if fault := self._faults[view]:
            raise ContractError(fault)
        if not self.manner.prepares:
            rows: Sequence[Record] = await self.connection.fetch(view.select_many(self._age_with(view)), names)
        else:
            one, many = self._statements[view]
            rows = await (one.fetch(names[0]) if len(names) == 1 else many.fetch(names))
        if len(rows) < len(names) and view in self._unsampled:
            await self._sample(view)
        return rows

    def _age_with(self, view: View) -> str:
        return self.age if self.manner.tells_age and view is DOMAIN else ""

    async def _sample(self, view: View) -> None:
        """Before the first name is said not to be there, look at some that are: in upper case, say, none would be found."""
        self._unsampled.discard(view)
        try:
            rows = await self.connection.fetch(view.select_sample, timeout=SAMPLE_DEADLINE)
        except (TimeoutError, QueryCanceledError):  # a view that is made as a whole before its first row comes
            return
        if fault := view.fault_of_names(row["name"] for row in rows):
            self._faults[view] = fault
            raise ContractError(fault)

    def end(self) -> None:
        """Give the connection up."""
        self.connection.terminate()


async def _open(url: str, manner: Manner, seconds: float) -> tuple[Connection, Manner]:
    """Connect, without the settings where a pooler refuses them; return in which manner it was."""
    if manner.sends_settings:
        try:
            return await connect(url, seconds, manner.settings, keep_statements=False), manner
        except ProtocolViolationError as error:
            if not str(error).startswith(_REFUSAL):
                raise
            manner = replace(manner, sends_settings=False)
    return await connect(url, seconds, {"application_name": "whoisd"}, keep_statements=False), manner


_REFUSAL: Final = "unsupported startup parameter"  # PgBouncer's words


class HostPool:
    """The one connection in use, to the best host to be had. Made on the running loop; `close` ends it.

    `deadline`, in seconds, is the lookups'; connecting takes nearly all of it at most. `tells_age` is whether each row of a
    domain comes with how old the data is.
    """

    def __init__(
        self, dsn: Dsn, deadline: float, log: structlog.typing.FilteringBoundLogger, *, tells_age: bool = False
    ) -> None:
        self._dsn = dsn
        self._deadline = deadline
        self._log = log
        self._manner = Manner(_settings(deadline), tells_age)
        self._loop = asyncio.get_running_loop()
        self._used: HostConnection | None = None
        self._found: HostConnection | None = None  # by the search, while the other serves
        self._search: asyncio.Task[None] | None = None
        self._search_at = 0.0  # when the next search is due
        self._retry_at = 0.0
        self._reachable = True  # as last logged
        self._closed = False

    async def connected(self) -> HostConnection:
        """Return the connection to use. Raises `StoreError` at once while the last failure to have one is fresh."""
        if self._closed:
            raise StoreError("stopping")
        used = self._used if self._used and self._used.is_open else None
        found = self._found if self._found and self._found.is_open else None
        merit = used.merit if used else None
        now = self._loop.time()
        step = next_step(merit, found.merit if found else None, now, self._retry_at)
        if self._found and step is not Step.SWITCH:
            self._found.end()  # the one in use was replaced meanwhile by one as good, or this one is lost
            self._found = None
            self._search_at = now + BETTER_PAUSE
        if used and merit and step is Step.SERVE:
            if is_search_due(merit, now, self._search_at) and not self._search:
                self._search = self._loop.create_task(self._look_for_better(merit))
            return used
        if found and step is Step.SWITCH:
            self._found = None
            return self._use(found)
        if step is Step.REFUSE:
            raise StoreError("not connected")
        return await self._reconnect()

    def drop(self, cause: str = "") -> None:
        """Give up the connection in use; a cause is logged."""
        used, self._used = self._used, None
        if used:
            used.end()
        if cause and not self._closed:
            self._log.warning("store.lost", cause=cause)

    def stop_preparing(self) -> None:
        """Parse each lookup anew from the next connection on: a pooler gave us a server that has not what we prepared."""
        if self._manner.prepares:
            self._manner = replace(self._manner, prepares=False)
            self._log.warning("store.unprepared")

    async def close(self) -> None:
        """End every connection; idempotent. There is none to be had afterwards."""
        self._closed = True
        if self._search:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)
        self.drop()
        if self._found:
            self._found.end()

    async def _reconnect(self) -> HostConnection:
        self._retry_at = self._loop.time() + RETRY_PAUSE
        try:
            connection = await self._connect(NONE)
        except Exception as error:  # noqa: BLE001 - a connection that cannot be had fails in many ways
            self._retry_at = self._loop.time() + RETRY_PAUSE
            was_reachable, self._reachable = self._reachable, False
            if was_reachable:
                self._log.warning("store.unreachable", cause=cause_of(error))
            raise StoreError(cause_of(error)) from None
        if self._closed:
            connection.end()
            raise StoreError("stopping")
        return self._use(connection)

    def _use(self, connection: HostConnection) -> HostConnection:
        """Serve by this connection from now on. For a moment at which none is in use."""
        self.drop()
        self._used = connection
        self._search_at = self._loop.time() + BETTER_PAUSE
        self._retry_at = 0.0
        self._reachable = True
        if self._manner.sends_settings and not connection.manner.sends_settings:
            self._manner = replace(self._manner, sends_settings=False)
            self._log.warning("store.settings_refused", settings=sorted(self._manner.settings))
        self._log.info("store.connected", host=connection.merit[1] + 1, standby=connection.is_standby)
        return connection

    async def _look_for_better(self, than: Merit) -> None:
        """Look for a better host than the one that serves, which serves on."""
        try:
            self._found = await self._connect(than)
        except Exception:  # noqa: BLE001 - there is none to be had
            self._search_at = self._loop.time() + BETTER_PAUSE
        finally:
            self._search = None

    async def _connect(self, than: Merit) -> HostConnection:
        """Connect to the best host to be had that is better than `than`; each is given its share of time."""
        share = self._deadline / len(self._dsn.hosts) * 0.9  # which leaves some for the lookup that waits
        best: HostConnection | None = None
        failure: Exception = StoreError("no server that target_session_attrs admits")
        try:
            for position in range(len(self._dsn.hosts)):
                if (0, position) >= (best.merit if best else than):
                    break  # neither this one nor one after it can be better
                try:
                    connection = await HostConnection.open(self._dsn, position, self._manner, share)
                except Exception as error:  # noqa: BLE001 - a host fails in many ways; the next may not
                    failure = error
                    continue
                if connection.merit >= (best.merit if best else than):
                    connection.end()
                    continue
                if best:
                    best.end()
                best = connection
        except BaseException:
            if best:
                best.end()
            raise
        if not best:
            raise failure
        return best


def _settings(deadline: float) -> dict[str, str]:
    """Return the settings of a connection for lookups that have so many seconds."""
    return {
        "application_name": "whoisd",
        # What sql/roles.sql sets for the role, said again for a database that has roles of its own.
        "default_transaction_read_only": "on",
        "statement_timeout": str(int(deadline * 1000 * 2 / 3)),
        "jit": "off",
        # A few names are looked up by their keys. Hashing a whole small table for them, that of the registrars, costs
        # 45 us a lookup, as much as all the rest of it: the planner expects ten names, and finds that a fair price.
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
