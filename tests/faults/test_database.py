"""PostgreSQL in every trouble, under load: a right answer or the temporary failure, and recovery that needs no hand."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from faults.standby import (
    RECOVERY,
    TEMPORARY_FAILURE,
    Watch,
    answers,
    ending,
    freeze,
    kill,
    processes,
    run_sql,
    thaw,
)
from support import Service, until

from whoisd.database.hosts import RETRY_PAUSE
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

DEADLINE: Final = 1.5  # seconds: database.deadline as it is by default
QUERY: Final = b"eksempel.dk\r\n"


@pytest.fixture(scope="module")
def whole_postgresql() -> Iterator[Cluster]:
    """A PostgreSQL for all tests here."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        with ending(cluster):
            cluster.start()
            asyncio.run(prepare(cluster))
            yield cluster


@pytest.fixture
def postgresql(whole_postgresql: Cluster) -> Cluster:
    """A PostgreSQL that runs, to hurt."""
    thaw(whole_postgresql)
    if not processes(whole_postgresql):
        whole_postgresql.start()
    return whole_postgresql


@pytest.fixture
def service(postgresql: Cluster) -> Iterator[Service]:
    """`whoisd serve` with two workers over that PostgreSQL; it ends as it began, with all its processes and no fault."""
    with Service(postgresql.dsn("whoisd_reader", DATABASE)) as service:
        yield service
        assert service.process.poll() is None
    assert service.process.returncode == 0
    assert service.events("process.died") == []
    assert {event["event"] for event in service.events() if event["level"] == "error"} <= {"query.failed"}


def recovers(watch: Watch) -> float:
    """Wait for right answers to every query, and on for as long as recovery may take; give when that began."""
    back = time.monotonic()
    watch.wait_for_answers(RECOVERY + 0.5)
    return back


# --- gone --------------------------------------------------------------------------------------------------------------


def test_killed_and_started_again(postgresql: Cluster, service: Service) -> None:
    """With every process of PostgreSQL killed all queries are told to try later; when it is started they are answered."""
    with Watch(service, answers(service)) as watch:
        for _ in range(2):
            watch.wait_for_answers()
            kill(postgresql)
            gone = time.monotonic()
            watch.wait_for_failure(200)
            down = [it for it in watch.heard[:] if it.begun > gone]
            assert all(it.failed for it in down)
            assert max(it.ended - it.begun for it in down) < DEADLINE  # at once, but that needs a quiet machine
            postgresql.start()
            back = recovers(watch)
            assert watch.recovered_within(back) < RECOVERY
    right, failed = watch.judge()
    assert min(right, failed) > 100


def test_backend_killed(postgresql: Cluster, service: Service) -> None:
    """A backend killed, which makes PostgreSQL end all others and recover by itself, costs its moment and no more."""
    with Watch(service, answers(service)) as watch:
        watch.wait_for_answers()
        pid = run_sql(postgresql, "SELECT pid FROM pg_stat_activity WHERE usename = 'whoisd_reader' LIMIT 1")
        os.kill(pid, 9)
        until(lambda: pid not in processes(postgresql))
        back = recovers(watch)
        assert watch.recovered_within(back) < RECOVERY
    assert watch.judge()[0] > 100


def test_restarted(postgresql: Cluster, service: Service) -> None:
    """A restart of PostgreSQL, as an upgrade makes it, is over for the clients when it is over."""
    with Watch(service, answers(service)) as watch:
        for _ in range(3):
            watch.wait_for_answers()
            postgresql.stop()
            postgresql.start()
            back = recovers(watch)
            assert watch.recovered_within(back) < RECOVERY
    assert watch.judge()[0] > 100


def test_connections_cut(postgresql: Cluster, service: Service) -> None:
    """While an administrator ends every connection, every few milliseconds, no query is lost; then all are answered."""

    async def cut(seconds: float) -> int:
        ended = 0
        superuser = await asyncpg.connect(postgresql.dsn("postgres", DATABASE))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended += await superuser.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'whoisd_reader'"
            )
            await asyncio.sleep(0.005)
        await superuser.close()
        return ended

    with Watch(service, answers(service)) as watch:
        watch.wait_for_answers()
        begun = time.monotonic()
        assert asyncio.run(cut(4)) > 20
        over = time.monotonic()
        back = recovers(watch)
        assert watch.recovered_within(back) < 1
        assert any(not it.failed for it in watch.heard if begun < it.begun and it.ended < over)  # some come through
    watch.judge()
    time.sleep(0.3)
    readers = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'whoisd_reader'"
    assert run_sql(postgresql, readers) <= 3  # a connection for each worker, and one to watch: none was left behind


# --- slow --------------------------------------------------------------------------------------------------------------


def test_tables_locked(postgresql: Cluster, service: Service) -> None:
    """While a lock keeps the tables for longer than the deadline, queries fail by then; when it is gone they do not."""

    async def lock(seconds: float) -> None:
        owner = await asyncpg.connect(postgresql.dsn("whoisd_owner", DATABASE))
        async with owner.transaction():
            await owner.execute("LOCK TABLE registry.domain, registry.host IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(seconds)
        await owner.close()

    with Watch(service, answers(service)) as watch:
        watch.wait_for_answers()
        begun = time.monotonic()
        asyncio.run(lock(4 * DEADLINE))
        back = recovers(watch)
        assert watch.recovered_within(back) < DEADLINE + 0.5  # a lookup sent before may end late
        assert sum(it.failed for it in watch.heard if it.begun > begun) > 10
    watch.judge()


def test_frozen(postgresql: Cluster, service: Service) -> None:
    """A PostgreSQL that stands still without a word, its connections open, fails queries at the deadline; then goes on."""
    with Watch(service, answers(service)) as watch:
        for _ in range(2):
            watch.wait_for_answers()
            freeze(postgresql)
            time.sleep(0.1)
            begun = time.monotonic()
            try:
                watch.wait_for_failure(12)
                time.sleep(max(0.0, begun + 2.5 * DEADLINE - time.monotonic()))
            finally:
                thaw(postgresql)
            still = time.monotonic()
            assert all(it.failed for it in watch.heard[:] if it.begun > begun and it.ended < still)
            assert watch.recovered_within(recovers(watch)) < RECOVERY
    watch.judge()
    until(lambda: run_sql(postgresql, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'whoisd_reader'") <= 3)


# --- full --------------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(cluster: Cluster, megabytes: int) -> Iterator[Path]:
    """Put the data of a stopped cluster on a disk of its own, of this size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    data, aside = cluster._data, cluster.directory / "aside"
    data.rename(aside)
    data.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", data], check=False)
    try:
        if made.returncode:
            pytest.skip("may not mount a file system here")
        subprocess.run(["cp", "--archive", f"{aside}/.", data], check=True)
        yield data
    finally:
        cluster.stop()
        if not made.returncode:
            subprocess.run(["umount", data], check=True)
        data.rmdir()
        aside.rename(data)


async def fill(cluster: Cluster, watch: Watch) -> None:
    """Fill the disk with data, see that who only reads does not notice, and go on until PostgreSQL panics."""
    superuser = await asyncpg.connect(cluster.dsn("postgres", DATABASE))
    try:
        await superuser.execute("CREATE UNLOGGED TABLE filler (bytes bytea STORAGE EXTERNAL)")
        begun = time.monotonic()
        rows = "INSERT INTO filler SELECT decode(repeat('00', 100000), 'hex') FROM generate_series(1, 10)"
        with pytest.raises(asyncpg.DiskFullError):
            await _again_and_again(superuser, rows)
        await asyncio.to_thread(watch.wait_for_answers, 0.5)
        assert watch.failures_after(begun) == []
        # The log that it must write is another matter: it ends all sessions rather than lose that.
        message = "SELECT pg_logical_emit_message(true, 'fill', repeat('x', 1 << 20))"
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await _again_and_again(superuser, message)
        assert "PANIC:  could not write to file" in cluster._log.read_text()
    finally:
        superuser.terminate()


def test_disk_full() -> None:
    """With PostgreSQL's disk full queries are answered as long as it runs; it panics, and they fail; freed, it recovers."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql", settings={"min_wal_size": "32MB", "max_wal_size": "32MB"})
        with ending(cluster):
            cluster.start()
            asyncio.run(prepare(cluster))
            cluster.stop()
            used = int(subprocess.check_output(["du", "-sm", cluster._data]).split()[0])
            with small_disk(cluster, used + 60) as data:
                ballast = data / "ballast"
                ballast.write_bytes(bytes(40 << 20))
                cluster.start()
                with Service(cluster.dsn("whoisd_reader", DATABASE)) as service:
                    with Watch(service, answers(service)) as watch:
                        watch.wait_for_answers()
                        asyncio.run(fill(cluster, watch))
                        watch.wait_for_failure(20)
                        ballast.unlink()
                        if _ended(cluster):
                            cluster.start()
                        until(cluster._is_ready)
                        assert watch.recovered_within(recovers(watch)) < RECOVERY
                    assert min(watch.judge()) > 20
                    assert service.events("process.died") == []


async def _again_and_again(connection: Any, sql: str) -> None:
    for _ in range(1000):
        await connection.execute(sql)


def _ended(cluster: Cluster) -> bool:
    """Whether the postmaster ends; where it recovers by itself it answers instead."""
    until(lambda: not processes(cluster) or cluster._is_ready())
    return not processes(cluster)


# --- what is charged ---------------------------------------------------------------------------------------------------


def test_only_answered_queries_are_charged(postgresql: Cluster) -> None:
    """With PostgreSQL down a source that asks 50 times is never refused, and has its whole burst when that is back."""
    limits = {"WHOISD_LIMITS__RATE": "1", "WHOISD_LIMITS__BURST": "5", "WHOISD_LIMITS__NETWORK_RATE": "10"}
    with Service(postgresql.dsn("whoisd_reader", DATABASE), limits) as service:
        source, other = "127.9.8.7", "127.9.9.7"
        right = service.exchange(QUERY, other).replace(other.encode(), source.encode())
        postgresql.stop()
        assert [service.exchange(QUERY, source) for _ in range(50)] == [TEMPORARY_FAILURE] * 50
        postgresql.start()
        time.sleep(RETRY_PAUSE)  # after it each worker connects at the first query
        begun = time.monotonic()
        got = [right]
        while got[-1] == right and len(got) < 20:
            got.append(service.exchange(QUERY, source))
        took = time.monotonic() - begun
    assert got[-1].startswith(b"WHOIS LIMIT EXCEEDED. ")
    assert 5 <= len(got) - 2 <= 5 + took
    assert service.events("query.failed")[0]["outcome"] == "temporary_failure"
