"""PgBouncer between the server and PostgreSQL, in its default configuration and in each of its modes."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import structlog
from structlog.testing import capture_logs
from support import PATIENCE, Database, Service, domain_of, host_of

from whoisd.answers.names import parse_name
from whoisd.database.dsn import parse_dsn
from whoisd.database.store import Store
from whoisd.sandbox.postgres import temporary_folder

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/sbin:/bin")
IGNORED = "default_transaction_read_only, statement_timeout, jit, enable_hashjoin, enable_mergejoin"

pytestmark = [pytest.mark.alone, pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")]


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer that runs."""

    port: int
    database: Database
    log: Path

    @property
    def dsn(self) -> str:
        return f"postgresql://whoisd_reader@127.0.0.1:{self.port}/{self.database.name}"


@contextmanager
def pooler(database: Database, mode: str, size: int, **settings: str) -> Iterator[Pooler]:
    """A PgBouncer in front of the database, as an account that may do nothing, on a free port, in its own folder."""
    assert PGBOUNCER
    with temporary_folder() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        (folder / "users").write_text('"whoisd_reader" ""\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": str(folder / "users"),
            "logfile": str(folder / "log"),
            "pool_mode": mode,
            "default_pool_size": str(size),
        } | settings
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        to = f"host={database.cluster.directory} dbname={database.name}"
        (folder / "pgbouncer.ini").write_text(f"[databases]\n{database.name} = {to}\n[pgbouncer]\n{lines}")
        if account:
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        process = subprocess.Popen([PGBOUNCER, "-q", folder / "pgbouncer.ini"], user=account.pw_uid if account else None)
        try:
            wait_for(port)
            yield Pooler(port, database, folder / "log")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@asynccontextmanager
async def open_store(dsn: str) -> AsyncIterator[Store]:
    store = Store(parse_dsn(dsn), 10, structlog.get_logger())
    try:
        yield store
    finally:
        await store.close()


NAMES = [parse_name(name) for name in ("eksempel.dk", "punktum.dk", "æøåöäüé.dk", "waiting-list.dk")]


async def ask(store: Store, rounds: int) -> list[Any]:
    """Ask for a name alone, then for several at once; return what came of those that came out wrong."""
    host = parse_name("ns1.eksempel.dk")
    wrong: list[Any] = []
    for number in range(rounds):
        alone = NAMES[number % len(NAMES)]
        found: list[Any] = [await asyncio.gather(domain_of(store, alone), return_exceptions=True)]
        found += [
            await asyncio.gather(*(domain_of(store, name) for name in NAMES), host_of(store, host), return_exceptions=True)
        ]
        expected = [[alone], [*NAMES, host]]
        wrong += [
            it for it, names in zip(found, expected, strict=True) if [getattr(one, "name", one) for one in it] != names
        ]
        if await domain_of(store, parse_name("findes-ikke.dk")) is not None:
            wrong.append("findes-ikke.dk")
    return wrong


@pytest.mark.parametrize(("mode", "size"), [("session", 20), ("transaction", 3), ("transaction", 20)])
@pytest.mark.parametrize("ignored", [True, False])
async def test_answers_through_a_pooler(database: Database, mode: str, size: int, ignored: bool) -> None:
    """Eight clients ask at once through PgBouncer: every name is found, whoever prepared what on which server."""
    settings = {"ignore_startup_parameters": IGNORED} if ignored else {}
    with pooler(database, mode, size, **settings) as between:
        stores = [Store(parse_dsn(between.dsn), 10, structlog.get_logger()) for _ in range(8)]
        try:
            wrong = await asyncio.gather(*(ask(store, 40) for store in stores))
        finally:
            for store in stores:
                await store.close()
    assert wrong == [[]] * 8


async def test_default_configuration(database: Database) -> None:
    """PgBouncer's defaults refuse our start-up parameters: the log says so, once, and answers come all the same."""
    with pooler(database, "session", 5) as between, capture_logs() as events:
        async with open_store(between.dsn) as store:
            assert await domain_of(store, NAMES[0])
            assert await domain_of(store, NAMES[1])
    assert [event["event"] for event in events] == ["store.settings_refused", "store.connected"]
    assert "statement_timeout" in events[0]["settings"]


async def test_statement_of_another(database: Database) -> None:
    """A server that lost what was prepared on it answers nobody wrong: each lookup is parsed anew, and the log says so."""
    with capture_logs() as events:
        async with open_store(database.reader) as store:
            assert await domain_of(store, NAMES[0])
            used = store._hosts._used
            assert used
            await used.connection.execute("DEALLOCATE ALL")
            assert [await domain_of(store, name) is None for name in NAMES] == [False] * 4
            assert await host_of(store, parse_name("ns1.eksempel.dk"))
    assert [event["event"] for event in events if event["event"] != "store.lost"] == [
        "store.connected",
        "store.unprepared",
        "store.connected",
    ]


async def test_names_are_our_own(database: Database) -> None:
    """No two connections have a prepared statement of one name, in this process or another."""

    async def names(store: Store) -> set[str]:
        await domain_of(store, NAMES[0])
        assert store._hosts._used
        rows = await store._hosts._used.connection.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''")
        return {row["name"] for row in rows}

    async with open_store(database.reader) as one, open_store(database.reader) as other:
        mine, theirs = await names(one), await names(other)
    assert len(mine) == len(theirs) == 4
    assert not mine & theirs
    assert all(name.startswith("whoisd_") and len(name) >= len("whoisd_") + 16 for name in mine)


def test_service_through_transactions(database: Database) -> None:
    """A server with four workers behind PgBouncer in transaction mode finds every name of a few hundred queries."""
    with (
        pooler(database, "transaction", 2) as between,
        Service(between.dsn, {"WHOISD_SERVER__WORKERS": "4"}) as service,
    ):
        answers = [service.ask(name.unicode if number % 2 else "ns1.eksempel.dk") for number in range(50) for name in NAMES]
    assert not [answer for answer in answers if "No entries found" in answer or "failure" in answer]


async def test_view_replaced_behind_a_pooler(database: Database) -> None:
    """A view that is replaced under a pooled server connection is read as it is now."""
    with pooler(database, "transaction", 1) as between:
        async with open_store(between.dsn) as store:
            assert await host_of(store, parse_name("ns1.eksempel.dk"))
            owner = await asyncpg.connect(database.owner)
            await owner.execute(
                "DROP VIEW whois.host; CREATE VIEW whois.host AS SELECT name, 1 AS more, true AS glue FROM registry.host;"
                "GRANT SELECT ON whois.host TO whoisd_reader"
            )
            await owner.close()
            host = await host_of(store, parse_name("ns1.eksempel.dk"))
    assert host
    assert host.glue is True
