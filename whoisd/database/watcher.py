"""What those who watch ask the database, on a connection of their own: how old its data is, and what state it is in."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import asyncpg

from whoisd.database import maintenance
from whoisd.database.cvr_age import CVR_AGE, HAS_CVR
from whoisd.database.dsn import Dsn
from whoisd.database.hosts import HostConnection, HostPool
from whoisd.database.views import DOMAIN
from whoisd.errors import StoreError, cause_of
from whoisd.log import Logger


class Watcher:
    """Asks the database, one question at a time. Made on the running loop; `close` ends its connection.

    `deadline` is in seconds, for each question. A question that is not answered raises `StoreError`.
    """

    def __init__(self, dsn: Dsn, deadline: float, log: Logger) -> None:
        self._deadline = deadline
        self._hosts = HostPool(dsn, deadline, log)

    async def has_domains(self) -> bool:
        """Return whether there is any domain: a registry without one is not ready."""
        return await self._value(lambda _: "SELECT EXISTS (SELECT FROM whois.domain)") is True

    async def data_age(self) -> float:
        """Return how old the data is in seconds, by its heartbeat or its lag; NaN when it cannot tell."""
        age = await self._value(lambda host: f"SELECT {host.age}")
        return math.nan if age is None else float(age)

    async def cvr_age(self) -> float | None:
        """Return how old CVR's own data is in seconds; None where none was read."""
        if not await self._value(lambda _: HAS_CVR):
            return None
        age: float | None = await self._value(lambda _: CVR_AGE)
        return age

    async def window(self) -> maintenance.Window | None:
        """Return the maintenance window that is open, or None; a registry need not tell of windows."""
        if not await self._value(lambda _: maintenance.HAS_VIEW):
            return None
        row = await self._row(lambda _: maintenance.VIEW)
        return maintenance.Window(**row) if row else None

    async def close(self) -> None:
        """End the connection; idempotent."""
        await self._hosts.close()

    async def _value(self, query: Callable[[HostConnection], str]) -> Any:  # noqa: ANN401 - whatever is asked for
        """Return the one value of a query; None where it has no row."""
        row = await self._row(query)
        return row[0] if row else None

    async def _row(self, query: Callable[[HostConnection], str]) -> asyncpg.Record | None:
        """Return the one row of a query, asked after a lookup that shows that the views can be read."""
        try:
            async with asyncio.timeout(self._deadline):
                host = await self._hosts.connected()
                await host.fetch(DOMAIN, [""])
                return await host.connection.fetchrow(query(host))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the database does not answer
            self._hosts.drop(cause_of(error))
            raise StoreError(cause_of(error)) from None


async def cvr_age_at(dsn: Dsn, deadline: float, log: Logger) -> float | None:
    """Return how old CVR's own data is at a database, in seconds; None where none was read. Raises `StoreError`."""
    watcher = Watcher(dsn, deadline, log)
    try:
        return await watcher.cvr_age()
    finally:
        await watcher.close()
