"""What is shown by a standby that is behind: one that follows another which was cut off, and one that was promoted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from faults.standby import catch_up, copy, ending, kill, reader, run_sql
from support import Service, fields, run_whoisd, until

from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

pytestmark = pytest.mark.alone  # the data gets old while it runs

ASKED: Final = "--show-handles punktum.dk"
EMAIL: Final = "info@punktum.dk"
MAX_AGE: Final = {"WHOISD_DATABASE__MAX_AGE": "300"}
HIDE: Final = """
    UPDATE registry.registrant SET cvr_locked = false
    WHERE handle = (SELECT registrant FROM registry.domain WHERE name = 'punktum.dk')"""
# An hour ago, as though it had been written and not replaced since.
HOUR_AGO: Final = "UPDATE registry.heartbeat SET at = clock_timestamp() - interval '1 hour'"


@pytest.fixture
def primary() -> Iterator[Cluster]:
    with temporary_folder() as folder, _started(Cluster(folder / "first")) as primary:
        asyncio.run(prepare(primary))
        yield primary


@contextmanager
def _started(cluster: Cluster) -> Iterator[Cluster]:
    with ending(cluster):
        cluster.start()
        yield cluster


@contextmanager
def standby_of(source: Cluster, name: str) -> Iterator[Cluster]:
    with _started(copy(source, source.directory.parent / name)) as standby:
        yield standby


def beat(cluster: Cluster, *options: str) -> tuple[int, str]:
    """The heartbeat as the timer writes it: its exit status, and its error."""
    settings = MAX_AGE | {
        "WHOISD_DATABASE__DSN": reader(cluster),
        "WHOISD_DATABASE__OWNER_DSN": cluster.dsn("whoisd_owner", DATABASE),
    }
    ended = run_whoisd("heartbeat", *options, settings=settings)
    return ended.returncode, ended.stderr


def email(service: Service) -> str:
    return fields(service.ask(ASKED))["Email"][0]


def replayed(standby: Cluster, sql: str) -> None:
    until(lambda: run_sql(standby, f"SELECT {sql}"), f"the standby does not have: {sql}")


def cut_off(standby: Cluster) -> None:
    """Have a standby look for what it follows where nobody is; it goes on to answer."""
    run_sql(standby, "ALTER SYSTEM SET primary_conninfo = 'host=/nonexistent'")
    run_sql(standby, "SELECT pg_reload_conf()")
    until(lambda: run_sql(standby, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"), "it still follows")


def test_cascaded_standby_whose_source_was_cut_off(primary: Cluster) -> None:
    """A standby that follows one that was cut off from the primary shows no email once its data is older than max_age.

    By its lag alone it would be up to date: it has replayed all that its source has. What is withheld on the primary since
    then would be shown.
    """
    with standby_of(primary, "second") as middle, standby_of(middle, "third") as last:
        assert beat(primary) == (0, "")
        replayed(last, "EXISTS (SELECT FROM registry.heartbeat)")
        with Service(reader(last), MAX_AGE) as service, Service(reader(last)) as unbound:
            assert email(service) == EMAIL
            run_sql(primary, HOUR_AGO)  # the last that came before the cut
            replayed(last, "max(at) < clock_timestamp() - interval '59 minutes' FROM registry.heartbeat")
            cut_off(middle)
            run_sql(primary, HIDE)
            assert beat(primary) == (0, "")
            assert email(service) == "DATA REDACTED"
            assert service.wait_for_event("query.answered", 2)["email"] == "data_too_old"
            assert service.figures().sum("whoisd_data_age_seconds") >= 3600
            assert run_sql(last, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)")
            assert email(unbound) == EMAIL  # the cut is real: without max_age it is shown


def test_nothing_older_than_max_age_after_a_fail_over(primary: Cluster) -> None:
    """A lagging standby that is promoted shows no email, whatever the timer does, until somebody says that it is current."""
    assert beat(primary) == (0, "")
    with standby_of(primary, "second") as standby:
        run_sql(primary, HOUR_AGO)
        catch_up(primary, standby)
        cut_off(standby)
        run_sql(primary, HIDE)  # which the standby never gets
        assert beat(primary) == (0, "")
        kill(primary)
        assert run_sql(standby, "SELECT pg_promote()")
        with Service(reader(standby), MAX_AGE) as service:
            assert email(service) == "DATA REDACTED"
            for _ in range(2):
                status, error = beat(standby)
                assert status == 1
                assert error.startswith("whoisd: the database was promoted or restored, and its last heartbeat is older")
                assert email(service) == "DATA REDACTED"
            assert {event["email"] for event in service.events("query.answered")} == {"data_too_old"}
            run_sql(standby, HIDE)  # the files are loaded anew
            assert beat(standby, "--data-is-current") == (0, "")
            assert email(service) == "DATA REDACTED"
            assert service.wait_for_event("query.answered", 4)["email"] == "not_locked_to_cvr"
        assert beat(standby) == (0, "")


def test_fail_over_to_a_standby_that_is_up_to_date(primary: Cluster) -> None:
    """A standby that was close behind takes the heartbeat up by itself when it is promoted."""
    assert beat(primary) == (0, "")
    with standby_of(primary, "second") as standby:
        catch_up(primary, standby)
        kill(primary)
        assert run_sql(standby, "SELECT pg_promote()")
        assert beat(standby) == (0, "")
        with Service(reader(standby), MAX_AGE) as service:
            assert email(service) == EMAIL
