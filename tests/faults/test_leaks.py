"""The hunt for leaks at length: every combination of facts, and a database that fails at random moments."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from faults.standby import ending, freeze, kill, thaw
from leaks.breaks import disturb
from leaks.ear import Ear
from leaks.forks import Commands
from leaks.hunt import SOUND, Hunt
from leaks.oracle import Way
from leaks.orders import sandbox_badly
from leaks.registry import Registry, everyone, one_fact_off, plant
from leaks.talk import CLIENTS, Configuration, asking, lose_a_worker
from support import Database, until

from whoisd.sandbox import sandbox
from whoisd.sandbox.postgres import Cluster, temporary_folder

BY_NOBODY: Final[Configuration] = {"log": {"client": "none"}}
ROUNDS: Final = 2  # of each trouble


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


def test_every_combination(commands: Commands, empty_database: Database, tmp_path: Path) -> None:
    """Of every combination of facts that a load takes each answer shows what the rules make public, before and after."""
    registry = plant(everyone())
    hunt = Hunt(Ear(registry), commands, empty_database, tmp_path)
    hunt.load()
    with hunt.talk(SOUND | BY_NOBODY) as talk:
        hunt.ask(talk, ways=2)
        hunt.ask_before_the_rules(talk, step=10)
    hunt.order(12)
    hunt.judge(Way.PORTAL, Way.AUDIT)


def test_every_order_in_every_trouble(commands: Commands, empty_database: Database, tmp_path: Path) -> None:
    """Whatever PostgreSQL or Python says of a broken row, no order repeats it; nor does the sandbox of a faulty file."""
    hunt = Hunt(Ear(plant(one_fact_off())), commands, empty_database, tmp_path)
    hunt.load()
    protected = next(person for person in hunt.people if person.record["address_protection"])
    with hunt.talk(SOUND | BY_NOBODY) as talk:
        hunt.trouble(talk, protected, orders_of_each=4)
        hunt.hurry(talk)
    hunt.write()
    sandbox_badly(hunt.orders)
    hunt.judge(Way.PROBE)


# --- at random moments -------------------------------------------------------------------------------------------------


def _killed(database: Database) -> None:
    kill(database.cluster)
    time.sleep(0.1)
    database.cluster.start()


def _restarted(database: Database) -> None:
    database.cluster.stop()
    database.cluster.start()


def _frozen(database: Database) -> None:
    freeze(database.cluster)
    try:
        time.sleep(1.8)  # beyond the deadline of a lookup
    finally:
        thaw(database.cluster)


def _locked(database: Database) -> None:
    async def lock() -> None:
        owner = await asyncpg.connect(database.owner)
        async with owner.transaction():
            await owner.execute("LOCK TABLE registry.domain, registry.registrant IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(1.5)  # beyond the statement timeout of a lookup
        await owner.close()

    asyncio.run(lock())


def _owner_ended(database: Database) -> None:
    async def end() -> None:
        superuser = await asyncpg.connect(database.superuser)
        await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'whoisd_owner'")
        await superuser.close()

    asyncio.run(end())


TROUBLES: Final[Mapping[str, Callable[[Database], None]]] = {
    "killed": _killed,
    "restarted": _restarted,
    "frozen": _frozen,
    "locked": _locked,
    "lookups cancelled": lambda database: disturb(database, "pg_cancel_backend", 0.5),
    "connections ended": lambda database: disturb(database, "pg_terminate_backend", 0.5),
    "the owner's connections ended": _owner_ended,
}


@pytest.fixture
def own_database() -> Iterator[Database]:
    """A database in a PostgreSQL of its own, to hurt; migrated, and empty."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        with ending(cluster):
            cluster.start()
            asyncio.run(sandbox.prepare(cluster, predefined=False))
            yield Database(cluster, sandbox.DATABASE)


def _orders(registry: Registry, file: Path) -> list[tuple[Way, list[str | Path], set[str]]]:
    """What is under way when trouble comes: by which way it speaks, the order, and the tokens that it may repeat."""
    person = registry.people[0]
    handle, domains = {person.handle.lower()}, {*person.domains.values()}
    return [
        (Way.LOAD, ["load", file], set()),
        (Way.LOAD, ["report", "disclosure", "--format", "json"], set()),
        (Way.EXPLAIN, ["explain", person.domain()], domains),
        (Way.LOAD, ["load", "--dry-run", "--mode", "replace", file], set()),
        (Way.REGISTRANT, ["registrant", "show", person.handle], handle),
    ]


def test_trouble_at_random_moments(commands: Commands, own_database: Database, tmp_path: Path) -> None:
    """Whenever PostgreSQL fails or a worker dies, in the midst of lookups, loads and reports, nothing withheld is said."""
    registry = plant(one_fact_off())
    hunt = Hunt(Ear(registry), commands, own_database, tmp_path)
    hunt.load()
    orders = cycle(_orders(registry, tmp_path / "registry.jsonl"))
    chance = random.Random(5)  # noqa: S311 - the same each time
    troubles = [*TROUBLES.values()] * ROUNDS
    chance.shuffle(troubles)
    with hunt.talk(BY_NOBODY) as talk, asking(hunt.ear, talk, registry.people):
        for trouble, (way, order, known) in zip(troubles, orders, strict=False):
            with hunt.orders.given(way, *order, known=known):
                time.sleep(chance.uniform(0, 0.3))
                trouble(own_database)
                talk.listen(str(trouble))
            until(own_database.cluster._is_ready)
        lose_a_worker(talk)
        time.sleep(0.5)
    assert hunt.ear.failures > 100
    # A worker that is killed takes with it what it was answering: one query of each of those who ask, at most.
    hunt.judge(Way.PROBE, Way.PORTAL, Way.AUDIT, lost=CLIENTS)
