"""The only SQL of the serving path: a name to what the database knows of it, read afresh for every query.

One connection a worker. A name that waits alone is looked up by a single-row statement; names that come while a lookup is
in flight wait, and are then fetched together. A name never joins a lookup that was sent before it came: what was
committed before a query arrived is in its answer. One deadline covers waiting and lookup.

When the connection is lost the lookup is tried once more on a new one; when there is none to be had, every query fails at
once until the next try, a fraction of a second later. Where several hosts are named they are tried in their order, each for
its share of the deadline, and one that was not the best is left for a better one when that is back. Nothing here retries
for ever, and nothing needs a hand. A row that cannot be read fails its own name and no other; a name with two rows, or with
one under another spelling, fails too, for what the data does not settle is not answered.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from itertools import islice
from typing import Any, Final

import asyncpg
import structlog

from whoisd.answers.model import CvrForm, Domain, DomainStatus, Found, Host, IdStatus, Registrant, RegistrantKind, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HostQuery
from whoisd.database.dsn import Dsn, is_standby
from whoisd.deadlines import Deadlines
from whoisd.errors import ContractError, StoreError, cause_of, whereabouts

# The columns of the two views are the contract with the database; sql/0003_views.sql says what each holds.
_DOMAIN: Final = """
    SELECT name, status, registered, expires, delete_date, period_years, vid, dnssec, registrar, nameservers,
           registrant_kind, registrant_name, registrant_street, registrant_postal_code, registrant_city,
           registrant_country, registrant_phone, registrant_email, registrant_secondary_email, registrant_vat_number,
           registrant_cvr_locked, registrant_cvr_form, registrant_cvr_bankruptcy, registrant_sole_proprietorship,
           registrant_address_protection, registrant_id_confirmed, registrant_id_status
    FROM whois.domain WHERE name = """
_HOST: Final = "SELECT name, glue FROM whois.host WHERE name = "
_ONE: Final = "$1::text"
_MANY: Final = "ANY($1::text[])"

LARGEST_BATCH: Final = 500  # names fetched together: beyond this a batch delays its first name more than it saves
RETRY_PAUSE: Final = 0.2  # seconds between tries to connect
BETTER_PAUSE: Final = 10.0  # seconds between looks for a better host than the one connected to

# How old the data is, in seconds: what a standby has still to replay. One that has replayed all that it received is up to
# date as long as it receives; after that its age is that of the last change it knows of.
_AGE: Final = """
    SELECT CASE
        WHEN NOT pg_is_in_recovery() THEN 0
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
    END"""

# What a column says, by its text: a dictionary finds a member in a sixth of the time that its class takes.
_STATUS: Final = {status.value: status for status in DomainStatus}
_KIND: Final[dict[str | None, RegistrantKind]] = {kind.value: kind for kind in RegistrantKind}
_FORM: Final[dict[str | None, CvrForm]] = {None: CvrForm.NONE} | {form.value: form for form in CvrForm}
_ID_STATUS: Final[dict[str | None, IdStatus]] = {status.value: status for status in IdStatus}

# What says that the connection is of no use any more, or its prepared statements. asyncpg's errors are of several trees.
_LOST: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.SerializationError,  # a standby replays a change that the lookup stands in the way of
)

Tell = Callable[[Any], None]


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

Merit = tuple[int, int]  # of a host, the less the better: how much its kind is wanted, and its position
_BEST: Final = (0, 0)
_NONE: Final = (9, 0)  # not to be taken


class _Session:
    """A connection to one of the hosts, with every statement prepared."""

    __slots__ = ("_dsn", "_position", "_settings", "_statements", "connection")

    def __init__(self, dsn: Dsn, position: int, connection: Any, statements: "dict[_Lane, tuple[Any, Any]]") -> None:
        self._dsn = dsn
        self._position = position
        self._settings = connection.get_settings()  # kept up to date by asyncpg; not to be had once it is closed
        self.connection = connection
        self._statements = statements

    @classmethod
    async def open(cls, dsn: Dsn, position: int, settings: dict[str, str], lanes: "Sequence[_Lane]") -> "_Session":
        """Connect to a host. Raises whatever asyncpg raises."""
        connection = await asyncpg.connect(dsn.hosts[position], server_settings=settings)
        try:
            return cls(dsn, position, connection, {lane: await _prepare(connection, lane.select) for lane in lanes})
        except BaseException:
            connection.terminate()
            raise

    @property
    def is_standby(self) -> bool:
        """Whether it is a standby now: PostgreSQL says so when that changes."""
        return is_standby(self._settings)

    @property
    def merit(self) -> Merit:
        """The merit of the host as it is now: one that is promoted is no longer what it was."""
        rank = self._dsn.rank(standby=self.is_standby)
        return _NONE[0] if rank is None else rank, self._position

    async def fetch(self, lane: "_Lane", names: list[str]) -> Sequence[Any]:
        """Fetch the rows of these names."""
        one, many = self._statements[lane]
        rows: Sequence[Any] = await (one.fetch(names[0]) if len(names) == 1 else many.fetch(names))
        return rows

    def end(self) -> None:
        self.connection.terminate()


async def _prepare(connection: Any, select: str) -> tuple[Any, Any]:
    """Return the statements for one name and for many.

    Each is run once: asyncpg ends its preparing with a Flush and no Sync, so that PostgreSQL's statement timeout runs on
    until the next statement ends, and cancels one that comes later than that (measured).
    """
    one = await connection.prepare(select + _ONE)
    await one.fetch("")
    many = await connection.prepare(select + _MANY)
    await many.fetch([])
    return one, many


class _Lane:
    """One of the two views, what a row of it becomes, and the names that wait to be looked up in it."""

    __slots__ = ("make", "select", "waiting")

    def __init__(self, select: str, make: Callable[[DomainName, Any], Domain | Host]) -> None:
        self.select = select
        self.make = make
        self.waiting: Waiting = {}

    def add(self, waiter: _Waiter) -> None:
        """Let somebody wait."""
        self.waiting.setdefault(waiter.name.ascii, []).append(waiter)

    def take(self) -> Waiting:
        """Take the names to fetch next, the oldest first."""
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


class Store:
    """Looks names up in the database. Made on the running loop; `close` ends its connection.

    `deadline` is in seconds, from the call to its answer; `on_batch` is told how many names each lookup fetches.
    """

    def __init__(
        self,
        dsn: Dsn,
        deadline: float,
        log: structlog.typing.FilteringBoundLogger,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._dsn = dsn
        self._deadline = deadline
        self._log = log
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._domains = _Lane(_DOMAIN, _domain)
        self._hosts = _Lane(_HOST, _host)
        self._waiters: Deadlines[_Waiter] = Deadlines(self._loop, deadline, self._expire)
        self._session: _Session | None = None
        self._better: _Session | None = None  # found while the other serves, to take its place between two lookups
        self._better_at = 0.0  # when to look for one
        self._search: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._reachable = True  # as last logged
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    def look_up(self, query: DomainQuery | HostQuery, tell: Callable[[Found], None]) -> None:
        """Have `tell` called, in a later turn of the loop, with what there is for a query, or with why that is not known."""
        self._wait(self._lane(query), query.name, tell)

    async def find(self, query: DomainQuery | HostQuery) -> Found:
        """Return what there is for a query, or why that is not known."""
        return await self._found(self._lane(query), query.name)

    async def domain(self, name: DomainName) -> Domain | None:
        """Return all we know of a domain, or None when there is none. Raises `StoreError`."""
        found = await self._found(self._domains, name)
        if isinstance(found, StoreError):
            raise found
        assert not isinstance(found, Host)  # noqa: S101 - the lane makes domains
        return found

    async def host(self, name: DomainName) -> Host | None:
        """Return all we know of a host, or None when there is none. Raises `StoreError`."""
        found = await self._found(self._hosts, name)
        if isinstance(found, StoreError):
            raise found
        assert not isinstance(found, Domain)  # noqa: S101 - the lane makes hosts
        return found

    async def connect(self) -> bool:
        """Connect now rather than at the first query; return whether the database answers."""
        try:
            async with asyncio.timeout(self._deadline):
                await self._connected()
        except (StoreError, TimeoutError):
            return False
        return True

    async def data_age(self) -> float:
        """Return how old the data is in seconds, 0 on a primary; NaN when a standby cannot tell. Raises `StoreError`.

        For whoever watches the database with a store of its own, one call at a time.
        """
        try:
            async with asyncio.timeout(self._deadline):
                session = await self._connected()
                await session.fetch(self._domains, [""])
                age = await session.connection.fetchval(_AGE)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the database does not answer
            self._drop(cause_of(error))
            raise StoreError(cause_of(error)) from None
        return math.nan if age is None else float(age)

    async def close(self) -> None:
        """End the connection; idempotent. Lookups under way fail, and so do those that come later."""
        self._closed = True
        tasks = [task for task in (self._runner, self._search) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in (self._domains, self._hosts):
            waiting, lane.waiting = lane.waiting, {}
            self._fail(waiting, "stopping")
        self._waiters.close()
        self._drop()
        if self._better:
            self._better.end()
        await asyncio.sleep(0)  # a turn of the loop, in which the connection's transport goes

    # --- one name waits -------------------------------------------------------------------------------------------

    def _lane(self, query: DomainQuery | HostQuery) -> _Lane:
        return self._domains if isinstance(query, DomainQuery) else self._hosts

    def _wait(self, lane: _Lane, name: DomainName, tell: Tell) -> _Waiter:
        waiter = _Waiter(name, tell)
        lane.add(waiter)
        self._waiters.add(waiter)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        return waiter

    async def _found(self, lane: _Lane, name: DomainName) -> Found:
        future: asyncio.Future[Found] = self._loop.create_future()
        waiter = self._wait(lane, name, partial(_settle, future))
        try:
            return await future
        finally:
            self._give_up(waiter)

    def _expire(self, waiter: _Waiter) -> None:
        self._give_up(waiter)
        waiter.tell(StoreError("deadline"))

    def _give_up(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        for lane in (self._domains, self._hosts):
            lane.forget(waiter)

    # --- the runner: one batch after the other, while names wait ---------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._domains.waiting or self._hosts.waiting:
                for lane in (self._domains, self._hosts):
                    if lane.waiting:
                        await self._run_batch(lane, lane.take())
        finally:
            self._runner = None

    async def _run_batch(self, lane: _Lane, waiting: Waiting) -> None:
        self._on_batch(len(waiting))
        try:
            async with asyncio.timeout(self._deadline):
                await self._fetch(lane, waiting)
        except StoreError as error:
            self._fail(waiting, error.cause)
        except TimeoutError:
            self._drop("no answer within the deadline")
            self._fail(waiting, "deadline")
        except BaseException:
            self._fail(waiting, "stopping")
            raise

    async def _fetch(self, lane: _Lane, waiting: Waiting) -> None:
        """Answer whoever waits for these names; a connection that turns out to be lost is replaced once."""
        for last_try in (False, True):
            try:
                session = await self._connected()
                found = _by_name(await session.fetch(lane, list(waiting)), waiting)
            except StoreError:
                raise
            except asyncpg.QueryCanceledError:  # the statement timeout: the connection is sound, the tables are not
                raise StoreError("statement timeout") from None
            except _LOST as error:
                self._drop(cause_of(error))
                if last_try:
                    raise StoreError(cause_of(error)) from None
            except Exception as error:  # noqa: BLE001 - a row that cannot be read, for whatever reason
                if len(waiting) == 1:
                    raise StoreError(cause_of(error)) from None
                await self._fetch_each(lane, waiting)
                return
            else:
                self._hand_out(lane, found, waiting)
                return

    async def _fetch_each(self, lane: _Lane, waiting: Waiting) -> None:
        """Fetch the names one by one, so that the one whose row cannot be read or is not as agreed fails alone."""
        for name, waiters in waiting.items():
            alone = {name: waiters}
            try:
                await self._fetch(lane, alone)
            except StoreError as error:
                self._fail(alone, error.cause)

    def _hand_out(self, lane: _Lane, found: dict[str, Any], waiting: Waiting) -> None:
        """Tell everyone what their name's row says, or that there is none."""
        for name, waiters in waiting.items():
            row = found.get(name)
            for waiter in waiters:
                self._tell(waiter, _made(lane, waiter.name, row))

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

    # --- the connection -------------------------------------------------------------------------------------------

    async def _connected(self) -> _Session:
        """Return a session. Raises `StoreError` at once while the last failure to have one is fresh."""
        if self._closed:
            raise StoreError("stopping")
        if self._better:
            self._judge_better()
        if self._session and not self._session.connection.is_closed():
            if self._session.merit > _BEST and self._loop.time() > self._better_at and not self._search:
                self._search = self._loop.create_task(self._look_for_better(self._session.merit))
            return self._session
        if self._loop.time() < self._retry_at:
            raise StoreError("not connected")
        self._retry_at = self._loop.time() + RETRY_PAUSE
        try:
            session = await self._connect(_NONE)
        except Exception as error:  # noqa: BLE001 - a connection that cannot be had fails in many ways
            self._retry_at = self._loop.time() + RETRY_PAUSE
            was_reachable, self._reachable = self._reachable, False
            if was_reachable:
                self._log.warning("store.unreachable", cause=cause_of(error))
            raise StoreError(cause_of(error)) from None
        if self._closed:
            session.end()
            raise StoreError("stopping")
        self._take(session)
        return session

    def _judge_better(self) -> None:
        """Take what the search found, if it is better still: the one that served may have been replaced meanwhile."""
        found, self._better = self._better, None
        if not found:
            return
        served = self._session
        served_well = served and not served.connection.is_closed() and served.merit <= found.merit
        if served_well or found.connection.is_closed():
            found.end()
            self._better_at = self._loop.time() + BETTER_PAUSE
        else:
            self._take(found)

    def _take(self, session: _Session) -> None:
        """Serve by this session from now on. For a moment at which none is in use."""
        if self._session:
            self._session.end()
        self._session = session
        self._better_at = self._loop.time() + BETTER_PAUSE
        self._retry_at = 0.0
        self._reachable = True
        self._log.info("store.connected", host=session.merit[1] + 1, standby=session.is_standby)

    async def _look_for_better(self, than: Merit) -> None:
        """Look for a better host than the one that serves, which serves on."""
        try:
            self._better = await self._connect(than)
        except Exception:  # noqa: BLE001 - there is none to be had
            self._better_at = self._loop.time() + BETTER_PAUSE
        finally:
            self._search = None

    async def _connect(self, than: Merit) -> _Session:
        """Return a session with the best host to be had that is better than `than`; each is given its share of time."""
        share = self._deadline / len(self._dsn.hosts) * 0.9  # which leaves some for the lookup that waits
        settings = self._server_settings()
        best: _Session | None = None
        failure: Exception = StoreError("no server that target_session_attrs admits")
        try:
            for position in range(len(self._dsn.hosts)):
                if (0, position) >= (best.merit if best else than):
                    break  # neither this one nor one after it can be better
                try:
                    async with asyncio.timeout(share):
                        session = await _Session.open(self._dsn, position, settings, (self._domains, self._hosts))
                except Exception as error:  # noqa: BLE001 - a host fails in many ways; the next may not
                    failure = error
                    continue
                if session.merit >= (best.merit if best else than):
                    session.end()
                    continue
                if best:
                    best.end()
                best = session
        except BaseException:
            if best:
                best.end()
            raise
        if not best:
            raise failure
        return best

    def _server_settings(self) -> dict[str, str]:
        return {
            "application_name": "whoisd",
            # What sql/roles.sql sets for the role, said again for a database that has roles of its own.
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(self._deadline * 1000 * 2 / 3)),
            "jit": "off",
            # A few names are looked up by their keys. Hashing a whole small table for them, that of the registrars, costs
            # 45 us a lookup, as much as all the rest of it: the planner expects ten names, and finds that a fair price.
            "enable_hashjoin": "off",
            "enable_mergejoin": "off",
        }

    def _drop(self, cause: str = "") -> None:
        session, self._session = self._session, None
        if session:
            session.end()
        if cause:
            self._log.warning("store.lost", cause=cause)


def _by_name(rows: Sequence[Any], waiting: Waiting) -> dict[str, Any]:
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


def _made(lane: _Lane, name: DomainName, row: Any) -> Found:
    """Return what a row becomes, or that it breaks the contract of the views."""
    if row is None:
        return None
    try:
        return lane.make(name, row)
    except (KeyError, TypeError, ValueError) as error:
        return StoreError(whereabouts(error))


def _host(name: DomainName, row: Any) -> Host:
    return Host(name, glue=row["glue"] is True)


def _domain(name: DomainName, row: Any) -> Domain:
    return Domain(
        name=name,
        status=_STATUS[row["status"]],
        registered=_day(row["registered"]),
        expires=_day(row["expires"]),
        delete_date=_day(row["delete_date"]),
        period_years=_years(row["period_years"]),
        vid=_flag(row["vid"]),
        dnssec=_flag(row["dnssec"]),
        registrar=_registrar(row),
        nameservers=_texts(row["nameservers"]),
        registrant=registrant_of(row),
    )


def _registrar(row: Any) -> Registrar | None:
    """Return the registrar of a row, or None under registrant management."""
    return None if row["registrar"] is None else Registrar(row["registrar"])


def registrant_of(row: Any) -> Registrant:
    """Return the registrant of a row that has the `registrant_*` columns of the views."""
    return Registrant(
        kind=_KIND.get(row["registrant_kind"], RegistrantKind.UNKNOWN),
        name=row["registrant_name"],
        street=_texts(row["registrant_street"]),
        postal_code=row["registrant_postal_code"],
        city=row["registrant_city"],
        country=row["registrant_country"],
        phone=row["registrant_phone"],
        email=row["registrant_email"],
        secondary_email=row["registrant_secondary_email"],
        vat_number=row["registrant_vat_number"],
        cvr_locked=row["registrant_cvr_locked"],
        cvr_form=_FORM.get(row["registrant_cvr_form"], CvrForm.UNKNOWN),
        cvr_bankruptcy=row["registrant_cvr_bankruptcy"],
        sole_proprietorship=row["registrant_sole_proprietorship"],
        address_protection=row["registrant_address_protection"],
        id_confirmed=row["registrant_id_confirmed"],
        id_status=_ID_STATUS.get(row["registrant_id_status"]),
    )


def _flag(value: object) -> bool:
    """Take a view's yes or no; what is neither, nor NULL, breaks the contract."""
    if not isinstance(value, bool | None):
        raise TypeError("not a boolean")
    return value is True


def _day(value: object) -> date | None:
    """Take a view's date, or NULL. A moment is none, though Python's is a date too: it has the day of UTC, and a time."""
    if value is not None and type(value) is not date:
        raise TypeError("not a date")
    return value


def _years(value: object) -> int | None:
    """Take a view's number of years, or NULL."""
    if value is not None and type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _texts(values: object) -> tuple[str, ...]:
    """Take a view's list of texts; NULL is none."""
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)
