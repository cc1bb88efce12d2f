"""Fixtures: one real PostgreSQL for the whole run, and a database of its own for whatever writes."""

import asyncio
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import uvloop
from hypothesis import HealthCheck, settings
from support import Database, Service

from whoisd.build import Build, build_of
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, create_audit_trail, prepare, take_privileges

pytest_plugins = ["portal_data"]  # its fixtures

# How fast hypothesis makes its input is a matter of the machine, and of whether it has done so before.
settings.register_profile("any machine", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# Who runs the tests in the background of a script ignores SIGINT, and so would every server and command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write tests/golden and the manual's tables anew")
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped fails, for want of what it needs")
    parser.addoption("--connections", type=int, default=10_000, help="odd clients that tests/faults/test_wire.py sends")
    parser.addoption("--schemas", type=Path, help="folder of the published EPP schemas, by which tests/schemas validates")
    parser.addoption("--rdap-schemas", type=Path, help="checkout of ICANN's conformance tool, the same for RDAP")
    parser.addoption("--screenshots", help="folder to keep a picture of each view of the page in")
    parser.addoption("--seed", type=int, default=0, help="which odd clients")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the compiled build leave out what only plain Python lets a test do."""
    if build_of() is Build.COMPILED:
        left_out = [item for item in items if item.get_closest_marker("plain")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("plain")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be passed over on a machine that is to have all that tests need."""
    report = yield
    if report.skipped and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped, with --no-skips: {report.longrepr}"
    return report


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The tests run on the loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One PostgreSQL for the run; the sandbox's database in it is the template of all others, which nobody may be using."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        cluster.start()
        try:
            asyncio.run(prepare(cluster))
            _administer(cluster, _NO_TRAIL, DATABASE)
            yield cluster
        finally:
            cluster.stop()


# What the sandbox itself did, in a trail that nobody else can empty: a test looks for what it did.
_NO_TRAIL = "SET session_replication_role = replica; TRUNCATE audit.entry"

_numbers = count(1)


@contextmanager
def _new_database(cluster: Cluster, template: str) -> Iterator[Database]:
    database = Database(cluster, f"test_{next(_numbers)}")
    _administer(cluster, f"CREATE DATABASE {database.name} TEMPLATE {template} OWNER whoisd_owner")
    try:
        yield database
    finally:
        _administer(cluster, f"DROP DATABASE {database.name} WITH (FORCE)")


def _administer(cluster: Cluster, sql: str, database: str = "postgres") -> None:
    async def execute() -> None:
        superuser = await asyncpg.connect(cluster.dsn("postgres", database))
        await superuser.execute(sql)
        await superuser.close()

    asyncio.run(execute())


@pytest.fixture(scope="session")
def sandbox_database(cluster: Cluster) -> Iterator[Database]:
    """The predefined data of the sandbox, for tests that only read it."""
    with _new_database(cluster, DATABASE) as database:
        yield database


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A database of this test's own, with the predefined data in it."""
    with _new_database(cluster, DATABASE) as database:
        yield database


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[Database]:
    """A database of this test's own, with an audit trail, and not even migrated."""
    with _new_database(cluster, "template0") as database:
        asyncio.run(create_audit_trail(cluster, database.name))
        asyncio.run(take_privileges(cluster, database.name))
        yield database


@pytest.fixture(scope="session")
def service(sandbox_database: Database) -> Iterator[Service]:
    """`whoisd serve` over the predefined data."""
    with Service(
        sandbox_database.reader, {"WHOISD_SERVER__READ_TIMEOUT": "2", "WHOISD_SERVER__WRITE_TIMEOUT": "2"}
    ) as service:
        yield service


@pytest.fixture
def own_service(sandbox_database: Database) -> Iterator[Service]:
    """`whoisd serve` of this test's own, so that nobody else's events are in its log."""
    with Service(sandbox_database.reader) as service:
        yield service
