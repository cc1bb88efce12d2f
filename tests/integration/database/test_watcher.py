"""What those who watch ask a real database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
import structlog
from support import Database, run_whoisd

from whoisd.database.dsn import parse_dsn
from whoisd.database.watcher import Watcher
from whoisd.errors import StoreError


@asynccontextmanager
async def watching(database: Database) -> AsyncIterator[Watcher]:
    watcher = Watcher(parse_dsn(database.reader), 10, structlog.get_logger())
    try:
        yield watcher
    finally:
        await watcher.close()


async def test_registry_without_a_domain(database: Database, empty_database: Database) -> None:
    """Whether there is any domain is told; without the views it is not known."""
    async with watching(database) as watcher:
        assert await watcher.has_domains()
        await database.execute("DELETE FROM registry.domain")
        assert not await watcher.has_domains()
    async with watching(empty_database) as watcher:
        with pytest.raises(StoreError):
            await watcher.has_domains()


async def test_age_is_the_heartbeats(database: Database) -> None:
    """Without a heartbeat a primary's data is of this moment; with one it is as old as that."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    async with watching(database) as watcher:
        assert await watcher.data_age() == 0
        assert run_whoisd("heartbeat", settings=settings).returncode == 0
        await database.execute("UPDATE registry.heartbeat SET at = at - interval '1 hour'")
        assert 3600 <= await watcher.data_age() < 3660


async def test_a_lost_connection_is_replaced(database: Database) -> None:
    """A connection that is gone costs one question at most: the next one is asked on another."""
    async with watching(database) as watcher:
        assert await watcher.has_domains()
        superuser = await asyncpg.connect(database.superuser)
        await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'whoisd_reader'")
        await superuser.close()
        with suppress(StoreError):
            assert await watcher.has_domains()
        assert await watcher.has_domains()
