"""How old the data is: by the heartbeat, by what a standby has to replay, and what too old data shows."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import structlog
from support import Database, Service, WebService, domain_of, fields, run_whoisd

from whoisd.answers.names import parse_name
from whoisd.database.dsn import parse_dsn
from whoisd.database.store import Store

NAME = parse_name("eksempel.dk")


@asynccontextmanager
async def open_store(database: Database, *, tells_age: bool = True) -> AsyncIterator[Store]:
    store = Store(parse_dsn(database.reader), 10, structlog.get_logger(), tells_age=tells_age)
    try:
        yield store
    finally:
        await store.close()


def beat(database: Database) -> None:
    ended = run_whoisd(
        "heartbeat", settings={"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


async def age(store: Store) -> Any:
    domain = await domain_of(store, NAME)
    assert domain
    return domain.data_age


async def test_age_comes_with_the_row(database: Database) -> None:
    """Without a heartbeat a primary's data is of this moment; with one its age is the heartbeat's, alone and in a batch."""
    audited = await database_rows(database, "audit.entry")
    async with open_store(database) as store:
        assert await age(store) == 0
        beat(database)
        assert 0 <= await age(store) < 30
        await database.execute("UPDATE registry.heartbeat SET at = at - interval '1 hour'")
        assert 3600 <= await age(store) < 3660
        beat(database)
        assert 0 <= await age(store) < 30
    assert await database_rows(database, "registry.heartbeat") == 1
    assert await database_rows(database, "audit.entry") == audited


async def database_rows(database: Database, table: str) -> Any:
    connection = await asyncpg.connect(database.superuser)
    try:
        return await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - ours
    finally:
        await connection.close()


async def test_age_that_nobody_asks_for(database: Database) -> None:
    """Without max_age no age is fetched with a row."""
    async with open_store(database, tells_age=False) as store:
        assert await age(store) is None


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("DELETE FROM registry.heartbeat", True),
        ("UPDATE registry.heartbeat SET at = clock_timestamp()", True),
        ("UPDATE registry.heartbeat SET at = clock_timestamp() - interval '299 seconds'", True),
        ("UPDATE registry.heartbeat SET at = clock_timestamp() - interval '301 seconds'", False),
        ("UPDATE registry.heartbeat SET at = clock_timestamp() + interval '200 seconds'", True),
        ("UPDATE registry.heartbeat SET at = clock_timestamp() + interval '1 day'", False),
        ("UPDATE registry.heartbeat SET at = 'infinity'", False),
        ("UPDATE registry.heartbeat SET at = '-infinity'", False),
    ],
)
async def test_too_old(database: Database, change: str, shown: bool) -> None:
    """Beyond max_age every email is withheld, with its reason, and the rest is answered; the very next answer has it."""
    with Service(database.reader, {"WHOISD_DATABASE__MAX_AGE": "300"}) as service:
        beat(database)
        before = fields(service.ask("--show-handles punktum.dk"))
        assert before["Email"] == ["info@punktum.dk"]
        await database.execute(change)
        after = fields(service.ask("--show-handles punktum.dk"))
        reason = service.wait_for_event("query.answered", 2)["email"]
    assert after == before | {"Email": ["info@punktum.dk" if shown else "DATA REDACTED"]}
    assert reason == ("locked_to_cvr" if shown else "data_too_old")


@pytest.mark.parametrize(("age", "shown"), [("0 seconds", True), ("1 hour", False)])
async def test_too_old_in_every_protocol(database: Database, age: str, shown: bool) -> None:
    """RESTful WHOIS, RDAP and the page honour max_age as port 43 does; the rest of their answers is the same."""
    beat(database)
    asked = ("/domain/punktum.dk", "/rdap/domain/punktum.dk", "/?name=punktum.dk")
    settings = {"WHOISD_DATABASE__MAX_AGE": "300", "WHOISD_HTTP__URL": "https://rdap.example.dk"}
    with WebService(database.reader, settings) as service:
        before = [service.get(path)[2] for path in asked]
        assert all(b"info@punktum.dk" in body for body in before)
        await database.execute("UPDATE registry.heartbeat SET at = clock_timestamp() - $1::text::interval", age)
        after = [service.get(path)[2] for path in asked]
        assert [b"info@punktum.dk" in body for body in after] == [shown] * 3
        assert all(b"Registrant" in body or b"registrant" in body for body in after)
        reasons = {event["email"] for event in service.events("query.answered")[3:]}
    assert reasons == {"locked_to_cvr" if shown else "data_too_old"}


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        ("at = clock_timestamp() - interval '1 day'", True),
        ("branch = '1/2/00000001'", True),
        ("branch = '1/2/00000001', at = clock_timestamp() - interval '30 seconds'", True),
        ("branch = '1/2/00000001', at = clock_timestamp() - interval '61 seconds'", False),
        ("branch = '1/2/00000001', at = clock_timestamp() + interval '1 day'", False),
        ("branch = '1/2/00000001', at = '-infinity'", False),
    ],
)
async def test_heartbeat_is_taken_up(database: Database, change: str, goes_on: bool) -> None:
    """A server takes up its own heartbeat; one that was promoted or restored, only where the last is young enough."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    beat(database)
    await database.execute(f"UPDATE registry.heartbeat SET {change}")  # noqa: S608 - ours
    ended = run_whoisd("heartbeat", settings=settings)
    assert ended.returncode == (0 if goes_on else 1)
    assert ("--data-is-current" in ended.stderr) is not goes_on
    assert run_whoisd("heartbeat", "--data-is-current", settings=settings).returncode == 0
    beat(database)


@pytest.mark.parametrize(("age", "reason"), [("0 seconds", "locked_to_cvr"), ("1 hour", "data_too_old")])
async def test_report_and_explain_of_old_data(database: Database, age: str, reason: str) -> None:
    """The report counts, and explain says, what the server would answer: nothing is shown of data that is too old."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__MAX_AGE": "300"}
    beat(database)
    await database.execute("UPDATE registry.heartbeat SET at = clock_timestamp() - $1::text::interval", age)
    report = json.loads(run_whoisd("report", "disclosure", "--format", "json", settings=settings).stdout)
    assert (sum(report["domains"]["shown"].values()) > 0) is (reason == "locked_to_cvr")
    assert reason in run_whoisd("explain", "punktum.dk", settings=settings).stdout
