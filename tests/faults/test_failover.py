"""A primary and its standby, under load: who serves when one goes, what a standby answers, and how old it is."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import asyncpg
import pytest
import structlog
from faults.standby import (
    LONGEST,
    QUERIES,
    RECOVERY,
    TEMPORARY_FAILURE,
    Watch,
    answers,
    catch_up,
    copy,
    ending,
    freeze,
    kill,
    processes,
    reader,
    run_sql,
    thaw,
)
from support import PATIENCE, Service, domain_of, fields, until

from whoisd.answers.names import parse_name
from whoisd.database.dsn import parse_dsn
from whoisd.database.hosts import BETTER_PAUSE
from whoisd.database.store import Store
from whoisd.database.watcher import Watcher
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

NAME: Final = parse_name("eksempel.dk")
CHANGED: Final = "--show-handles eksempel.dk"
DEADLINE: Final = 1.5  # seconds: database.deadline as it is by default
READERS: Final = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'whoisd_reader'"
UNCHANGED: Final = tuple(query for query in QUERIES if b"--show-handles eksempel.dk" not in query)
ALL_KINDS: Final = (
    *QUERIES,
    b"punktum.dk\r\n",
    b"--charset=utf-8 --show-handles \xc3\xa6\xc3\xb8\xc3\xa5\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa9.dk\r\n",
    b"--show-handles enkeltmand.dk\r\n",
    b"HELP\r\n",
    b"--no-such-option\r\n",
    b"\r\n",
)


class Pair(NamedTuple):
    """A primary, and a standby of it that has all that the primary has."""

    primary: Cluster
    standby: Cluster


@contextmanager
def make_pair() -> Iterator[Pair]:
    with temporary_folder() as folder:
        primary = Cluster(folder / "first")
        with ending(primary):
            primary.start()
            asyncio.run(prepare(primary))
            standby = copy(primary, folder / "second")
            with ending(standby):
                standby.start()
                catch_up(primary, standby)
                yield Pair(primary, standby)


@pytest.fixture(scope="module")
def whole_pair() -> Iterator[Pair]:
    with make_pair() as pair:
        yield pair


@pytest.fixture
def pair(whole_pair: Pair) -> Pair:
    """A primary and its standby, both up, and the standby up to date."""
    for cluster in whole_pair:
        thaw(cluster)
        if not processes(cluster):
            cluster.start()
    run_sql(whole_pair.standby, "SELECT pg_wal_replay_resume()")
    catch_up(*whole_pair)
    return whole_pair


@pytest.fixture
def own_pair() -> Iterator[Pair]:
    """A primary and its standby that need not be what they were afterwards."""
    with make_pair() as pair:
        yield pair


def change(primary: Cluster, email: str) -> None:
    """Give the registrant of `CHANGED` another email."""
    sql = "UPDATE registry.registrant SET secondary_email = $1 WHERE handle = 'EKSEMPEL-DK' RETURNING handle"
    assert run_sql(primary, sql, email) == "EKSEMPEL-DK"


def email(service: Service) -> list[str]:
    return fields(service.ask(CHANGED)).get("Email", [])


def served_by(cluster: Cluster, workers: int = 2) -> bool:
    """Whether all workers, and nobody but them and the observer, are connected here."""
    return workers <= int(run_sql(cluster, READERS)) <= workers + 1


# --- one of two goes ---------------------------------------------------------------------------------------------------


def test_failed_over(own_pair: Pair) -> None:
    """The primary killed, the standby serves; promoted, it takes writes, which the next answer has; the old one may return.

    It comes back as a standby of the new one, and serves what that writes.
    """
    first, second = own_pair
    with Service(reader(first, second)) as service:
        with Watch(service, answers(service, UNCHANGED)) as watch:
            watch.wait_for_answers()
            kill(first)
            gone = time.monotonic()
            watch.wait_for_answers(RECOVERY)
            assert watch.recovered_within(gone) < RECOVERY
            promoted = time.monotonic()
            assert run_sql(second, "SELECT pg_promote()")
            for number in range(5):
                change(second, f"ny{number}@eksempel.example")
                assert email(service) == [f"ny{number}@eksempel.example"]
            copy(second, first.directory)
            first.start()
            catch_up(second, first)
            # The old host is the first of the URL again, and so preferred, once it is looked for.
            until(lambda: served_by(first), "nobody goes back to the first host")
            back = time.monotonic()
            change(second, "sidst@eksempel.example")
            catch_up(second, first)
            assert email(service) == ["sidst@eksempel.example"]
            watch.wait_for_answers(1.0)
            assert watch.failures_after(promoted) == []
            assert watch.failures_after(back) == []
        assert watch.judge()[0] > 100
        assert service.process.poll() is None
        assert run_sql(second, READERS) == 0


def test_first_host_hangs(pair: Pair) -> None:
    """A host that takes connections and never answers has its share of the deadline, and the other serves."""
    first, second = pair
    with Service(reader(first, second)) as service:
        with Watch(service, answers(service)) as watch:
            watch.wait_for_answers()
            freeze(first)
            try:
                hung = time.monotonic()
                watch.wait_for_answers()
                # Whoever looks for the better host meanwhile costs no query either.
                time.sleep(max(0.0, hung + 2 * DEADLINE + BETTER_PAUSE - time.monotonic()))
                assert watch.recovered_within(hung) < RECOVERY, service.events("store.")
            finally:
                thaw(first)
        assert watch.judge()[0] > 100


def test_starts_with_a_host_that_hangs(pair: Pair) -> None:
    """A server that starts while its first host hangs answers its first query, by the other."""
    first, second = pair
    os.kill(processes(first)[0], signal.SIGSTOP)  # the kernel takes connections for it
    try:
        with Service(reader(first, second)) as service:
            begun = time.monotonic()
            for query in QUERIES:
                assert service.exchange(query) != TEMPORARY_FAILURE
            assert time.monotonic() - begun < LONGEST
    finally:
        thaw(first)


# --- which of two ------------------------------------------------------------------------------------------------------


def test_prefers_the_standby(pair: Pair) -> None:
    """With prefer-standby the standby serves though it is named last; the primary while that is away; and then it again.

    No query fails when the server goes back.
    """
    primary, standby = pair
    with Service(reader(primary, standby, target="prefer-standby")) as service:
        assert served_by(standby)
        assert run_sql(primary, READERS) == 0
        with Watch(service, answers(service)) as watch:
            watch.wait_for_answers()
            standby.stop()
            away = time.monotonic()
            watch.wait_for_answers(RECOVERY)
            assert watch.recovered_within(away) < 1  # they are told in so many words that it stops
            assert served_by(primary)
            back = time.monotonic()
            standby.start()
            until(lambda: served_by(standby) and run_sql(primary, READERS) <= 1, "nobody goes back")
            assert time.monotonic() - back < BETTER_PAUSE + RECOVERY
            watch.wait_for_answers(1.0)
            assert watch.failures_after(back) == []
        assert watch.judge()[0] > 100
        hosts = [(event["host"], event["standby"]) for event in service.events("store.connected")]
    assert hosts.count((2, True)) >= 4
    assert hosts.count((1, False)) >= 2
    assert set(hosts) == {(2, True), (1, False)}


def test_standby_alone(pair: Pair) -> None:
    """With standby a primary serves nobody: the temporary failure, and the log says why; a standby that comes serves."""
    primary, standby = pair
    with Service(reader(primary, target="standby")) as service:
        assert [service.exchange(query) for query in QUERIES] == [TEMPORARY_FAILURE] * len(QUERIES)
        causes = {event["cause"] for event in service.events("store.unreachable")}
        assert run_sql(primary, READERS) == 0  # it does not stay connected to what it does not want
    assert causes == {"no server that target_session_attrs admits"}
    with Service(reader(primary, standby, target="standby")) as service:
        right = answers(service)
        assert served_by(standby)
        standby.stop()
        assert {service.exchange(query) for query in QUERIES} == {TEMPORARY_FAILURE}
        standby.start()
        back = time.monotonic()
        until(lambda: service.exchange(QUERIES[0]) == right[QUERIES[0]])
        assert time.monotonic() - back < RECOVERY


@pytest.mark.parametrize("target", ["", "any"])
def test_any(pair: Pair, target: str) -> None:
    """With any, and without a word, the hosts are taken in their order, whatever they are."""
    for first, second in (pair, pair[::-1]):
        with Service(reader(first, second, target=target)) as service:
            answers(service)
            assert served_by(first)
            assert run_sql(second, READERS) == 0


@pytest.mark.parametrize("target", ["primary", "read-write"])
def test_primary(pair: Pair, target: str) -> None:
    """With primary or read-write the standby is passed over."""
    with Service(reader(*reversed(pair), target=target)) as service:
        answers(service)
        assert served_by(pair.primary)
        assert run_sql(pair.standby, READERS) == 0


async def test_promoted_standby_is_none(own_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With prefer-standby a standby that is promoted is left for a new one, though it kept its connections."""
    monkeypatch.setattr("whoisd.database.hosts.BETTER_PAUSE", 0.2)
    first, second = own_pair
    hosts = parse_dsn(reader(second, first, target="prefer-standby"))
    store = Store(hosts, DEADLINE, structlog.get_logger())
    try:
        assert await domain_of(store, NAME)
        await asyncio.to_thread(kill, first)
        assert await asyncio.to_thread(run_sql, second, "SELECT pg_promote()")
        assert await domain_of(store, NAME)
        await asyncio.to_thread(copy, second, first.directory)
        await asyncio.to_thread(first.start)
        deadline = time.monotonic() + PATIENCE
        while await asyncio.to_thread(run_sql, second, READERS):
            assert await domain_of(store, NAME)
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        watcher = Watcher(hosts, DEADLINE, structlog.get_logger())
        try:
            deadline = time.monotonic() + PATIENCE
            while await watcher.data_age() != 0:  # a standby that has just started cannot tell before it receives
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        finally:
            await watcher.close()
    finally:
        await store.close()
    deadline = time.monotonic() + PATIENCE
    while await asyncio.to_thread(run_sql, first, READERS):
        assert time.monotonic() < deadline


# --- a standby serves --------------------------------------------------------------------------------------------------


def test_standby_answers_as_the_primary(pair: Pair) -> None:
    """Every kind of query has the same answer from a standby as from its primary, byte for byte, and so has a change."""
    primary, standby = pair
    with Service(reader(primary)) as one, Service(reader(standby)) as other:
        said = [one.exchange(query) for query in ALL_KINDS]
        assert len(set(said)) >= len(ALL_KINDS) - 2
        assert [other.exchange(query) for query in ALL_KINDS] == said
        for number in range(20):
            change(primary, f"a{number}@eksempel.example")
            catch_up(primary, standby)
            assert email(other) == email(one) == [f"a{number}@eksempel.example"]


def test_recovery_conflicts(own_pair: Pair) -> None:
    """While a standby replays what lookups are in the way of, and ends them for it, answers are right or failures."""
    primary, standby = own_pair
    standby.stop()
    standby._settings["max_standby_streaming_delay"] = "0"
    standby._settings["max_standby_archive_delay"] = "0"
    standby.start()
    with Service(reader(standby)) as service:
        with Watch(service, answers(service), clients=12) as watch:
            watch.wait_for_answers()
            over = time.monotonic() + 3
            rounds = 0
            while time.monotonic() < over:
                run_sql(primary, "UPDATE registry.registrant SET city = city")
                run_sql(primary, "UPDATE registry.domain SET status = status")
                run_sql(primary, "VACUUM (FULL) registry.domain")
                run_sql(primary, "VACUUM (FREEZE) registry.registrant")
                run_sql(primary, "DROP INDEX IF EXISTS registry.conflict")
                run_sql(primary, "CREATE INDEX conflict ON registry.domain (status)")
                rounds += 1
            # A lock that stays is in the way of every lookup: who waits for it is ended by the statement timeout.
            asyncio.run(_hold_lock(primary, 2))
            catch_up(primary, standby)
            back = time.monotonic()
            watch.wait_for_answers(1.0)
            assert watch.recovered_within(back) < RECOVERY
        right, failed = watch.judge()
        conflicts = run_sql(
            standby, "SELECT sum(confl_lock + confl_snapshot + confl_bufferpin) FROM pg_stat_database_conflicts"
        )
        assert service.events("process.died") == []
    assert rounds > 3
    assert right > 100
    assert failed > 10
    assert conflicts > 0


async def _hold_lock(cluster: Cluster, seconds: float) -> None:
    owner = await asyncpg.connect(cluster.dsn("whoisd_owner", DATABASE))
    async with owner.transaction():
        await owner.execute("LOCK TABLE registry.domain, registry.host IN ACCESS EXCLUSIVE MODE")
        await owner.execute("CREATE TABLE registry.written (); DROP TABLE registry.written")  # so that the standby is told
        await asyncio.sleep(seconds)
    await owner.close()


# --- how old ------------------------------------------------------------------------------------------------------------


def age(service: Service) -> float:
    return service.figures().sum("whoisd_data_age_seconds")


def test_data_age(pair: Pair) -> None:
    """The metric is 0 on a primary and on a standby that is up to date, and grows while that does not replay or receive."""
    primary, standby = pair
    with Service(reader(primary)) as service:
        change(primary, "ja@eksempel.example")
        assert age(service) == 0
    with Service(reader(standby)) as service:
        catch_up(primary, standby)
        assert age(service) == 0
        run_sql(standby, "SELECT pg_wal_replay_pause()")
        until(lambda: run_sql(standby, "SELECT pg_get_wal_replay_pause_state()") == "paused")
        change(primary, "ny@eksempel.example")
        until(lambda: age(service) > 0)
        _grows(service)
        assert email(service) == ["ja@eksempel.example"]
        run_sql(standby, "SELECT pg_wal_replay_resume()")
        until(lambda: age(service) == 0)
        assert email(service) == ["ny@eksempel.example"]
        try:
            _cut_off(standby)
            change(primary, "ukendt@eksempel.example")
            until(lambda: age(service) > 0)
            _grows(service)
            assert email(service) == ["ny@eksempel.example"]
        finally:
            run_sql(standby, "ALTER SYSTEM RESET primary_slot_name")
            run_sql(standby, "SELECT pg_reload_conf()")
        catch_up(primary, standby)
        until(lambda: age(service) == 0)
        assert email(service) == ["ukendt@eksempel.example"]


def _grows(service: Service) -> None:
    before, begun = age(service), time.monotonic()
    time.sleep(1.0)
    assert abs(age(service) - before - (time.monotonic() - begun)) < 0.5


def _cut_off(standby: Cluster) -> None:
    """Let the standby receive nothing more: it asks for a slot that there is not."""
    run_sql(standby, "ALTER SYSTEM SET primary_slot_name = 'there_is_none'")
    run_sql(standby, "SELECT pg_reload_conf()")
    until(lambda: run_sql(standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE slot_name IS NULL") == 0)
    until(lambda: run_sql(standby, "SELECT count(*) FROM pg_stat_wal_receiver") == 0)


def test_down_and_ready_again(pair: Pair) -> None:
    """With its database down the server says so: whoisd_database_up is 0, /readyz is 503; and not when it is back."""
    standby = pair.standby
    with Service(reader(standby)) as service:
        assert service.http("/readyz") == (200, "ready\n")
        assert service.figures().sum("whoisd_database_up") == 1
        standby.stop()
        figures = service.wait_for_figure(0, "whoisd_database_up")  # the workers look each second
        status, text = service.http("/readyz")
        assert status == 503
        assert text.startswith("the database does not answer: ")
        assert not any(it.value >= 0 for it in figures.samples if it.name == "whoisd_data_age_seconds")  # none, or NaN
        assert service.http("/livez")[0] == 200
        standby.start()
        back = time.monotonic()
        until(lambda: service.http("/readyz") == (200, "ready\n"))
        assert time.monotonic() - back < RECOVERY
        assert service.figures().sum("whoisd_database_up") == 1
        freeze(standby)
        try:
            begun = time.monotonic()
            service.wait_for_figure(0, "whoisd_database_up")
            assert service.http("/readyz")[0] == 503
            assert time.monotonic() - begun < 2 * LONGEST
        finally:
            thaw(standby)
        until(lambda: service.http("/readyz")[0] == 200)
