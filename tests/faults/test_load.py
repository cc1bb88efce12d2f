"""Loading a registry while everybody asks, while the loader is killed and while the database goes away: all or nothing."""

import asyncio
import gzip
import json
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from support import WHOISD, Service, environment, fields, said_by

from whoisd.registry.staging import TABLES
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

DOMAINS: Final = 30_000
GENERATIONS: Final = ("Første", "Anden")
_SUM: Final = "SELECT count(*), sum(hashtext(it::text)) FROM {} AS it"
LATER: Final = 60  # seconds by which a load has ended


@pytest.fixture
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of this test's own, whose registry is empty."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        cluster.start()
        try:
            asyncio.run(prepare(cluster, predefined=False))
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exports of one registry, in each of which every record says which of the two it is of."""
    folder = tmp_path_factory.mktemp("registry")
    return [_export(folder / f"{number}.jsonl", number) for number in range(len(GENERATIONS))]


def _export(path: Path, number: int) -> Path:
    said, servers = GENERATIONS[number], [f"ns1.gen{number}.dk", f"ns2.gen{number}.dk"]
    registrar = {"type": "registrar", "handle": "REG-1", "name": said}
    registrant = {"type": "registrant", "kind": "company", "name": said, "country": "SE", "email": "x@x.example"}
    domain = {"type": "domain", "status": "active", "registered": "2020-01-31", "period_years": 1, "registrar": "REG-1"}
    with path.open("w") as file:
        for record in (
            registrar,
            *(registrant | {"handle": f"R{each}", "city": said} for each in range(DOMAINS // 2)),
            *(
                domain
                | {
                    "name": f"navn{each}.dk",
                    "registrant": f"R{each // 2}",
                    "nameservers": servers,
                    "expires": f"203{number}-01-31",
                }
                for each in range(DOMAINS)
            ),
        ):
            file.write(json.dumps(record) + "\n")
    return path


def _owner(cluster: Cluster) -> dict[str, str]:
    """The settings of who loads."""
    return {
        "WHOISD_DATABASE__DSN": cluster.dsn("whoisd_reader", DATABASE),
        "WHOISD_DATABASE__OWNER_DSN": cluster.dsn("whoisd_owner", DATABASE),
    }


def _start(cluster: Cluster, *arguments: str | Path, stdin: int | None = None) -> subprocess.Popen[bytes]:
    """`whoisd load` as a process."""
    return subprocess.Popen(
        [WHOISD, "load", *arguments],
        env=environment(_owner(cluster)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=stdin,
    )


def _load(cluster: Cluster, *arguments: str | Path) -> str:
    """Load to the end, which must be a good one."""
    with _start(cluster, *arguments) as process:
        said, *ended = _end(process)
        assert ended == [0, b""]
    return said.decode()


def _end(process: subprocess.Popen[bytes], within: float = LATER) -> tuple[bytes, int, bytes]:
    """What a load said, its exit status, and what else it said than how far it was, as it does after some seconds."""
    said, error = process.communicate(timeout=within)
    return said, process.returncode, re.sub(rb"(?m)^\d+ s: .*\n", b"", error)


async def _contents(cluster: Cluster) -> list[tuple[Any, ...]]:
    """How much the registry's tables hold, and the sum of it all."""
    connection = await asyncpg.connect(cluster.dsn("whoisd_owner", DATABASE))
    try:
        tables = [table.name for table in TABLES.values()] + ["audit.entry"]
        return [tuple(await connection.fetchrow(_SUM.format(name)) or ()) for name in tables]
    finally:
        await connection.close()


class _Asker(threading.Thread):
    """A client that asks for one domain after the other and notes of which of the exports each answer is; whole ones."""

    def __init__(self, service: Service, names: Sequence[str]) -> None:
        super().__init__()
        self._service = service
        self._names = names
        self.enough = threading.Event()
        self.heard: list[set[str]] = []

    def run(self) -> None:
        for name in cycle(self._names):
            if self.enough.is_set():
                return
            found = fields(self._service.ask(f"--charset=utf-8 --show-handles {name}"))
            said = {*found["Registrar"], *found["Name"], *found["City"]}
            said |= {GENERATIONS[int(day[3])] for day in found["Expires"]}
            said |= {GENERATIONS[int(host[7])] for host in found["Hostname"]}
            self.heard.append(said)


@pytest.mark.parametrize("mode", ["merge", "replace"])
def test_answers_are_from_before_or_after(postgresql: Cluster, files: list[Path], mode: str) -> None:
    """While a load changes every record, each answer is wholly from before or wholly from after it, and none goes back."""
    _load(postgresql, files[0])
    with Service(postgresql.dsn("whoisd_reader", DATABASE)) as service:
        askers = [_Asker(service, [f"navn{each}.dk" for each in range(start, DOMAINS, 97)]) for start in range(4)]
        for asker in askers:
            asker.start()
        try:
            _load(postgresql, "--mode", mode, "--max-delete", "100", files[1])
            time.sleep(0.5)
        finally:
            for asker in askers:
                asker.enough.set()
                asker.join()
        assert service.events("query.failed") == []
    for asker in askers:
        assert all(len(said) == 1 for said in asker.heard)
        flat = [said for (said,) in asker.heard]
        assert flat == sorted(flat, key=GENERATIONS.index)  # none from before follows one from after
        assert {*flat} == {*GENERATIONS}
        assert len(flat) > 100


async def test_killed_at_any_point(postgresql: Cluster, files: list[Path]) -> None:
    """A loader that is killed, wherever it is, leaves what was there before, and the next load works."""
    began = time.monotonic()
    _load(postgresql, files[0])
    lasts = time.monotonic() - began
    before = await _contents(postgresql)
    chance = random.Random(4)  # noqa: S311 - the same each time
    killed = 0
    for step in range(8):
        with _start(postgresql, "--mode", "replace", "--max-delete", "100", files[1]) as process:
            await asyncio.sleep(lasts * (step + chance.random()) / 8)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        is_done = process.returncode == 0 or await _contents(postgresql) != before
        if is_done:
            break  # it was quicker than the first, and had committed
        killed += 1
    assert killed >= 4
    said = _load(postgresql, "--mode", "replace", "--max-delete", "100", files[1])
    assert f"domains: {DOMAINS:,} in the files, 0 added," in said
    assert not is_done or said.count(" 0 added, 0 changed, 0 removed") == said.count(" in the files, ")
    assert (await _contents(postgresql))[3][0] == DOMAINS


async def test_the_next_load_does_not_wait_for_a_dead_one(postgresql: Cluster, files: list[Path]) -> None:
    """PostgreSQL notices within seconds that a loader was killed, also in the midst of a long statement, and lets go."""
    writer, watcher = [await asyncpg.connect(postgresql.dsn("whoisd_owner", DATABASE)) for _ in range(2)]
    try:
        await writer.execute("INSERT INTO registry.registrar VALUES ('REG-1', 'X')")
        async with writer.transaction():
            await writer.execute("UPDATE registry.registrar SET name = 'Y'")  # which the load will wait for
            with _start(postgresql, files[0]) as process:
                await _until(watcher, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
                process.send_signal(signal.SIGKILL)
                process.communicate()
            await _until(watcher, "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')")
    finally:
        await writer.close()
        await watcher.close()
    _load(postgresql, files[0])


async def _until(connection: Any, sql: str) -> None:
    async with asyncio.timeout(20):
        while not await connection.fetchval(sql):  # noqa: ASYNC110 - what is waited for is PostgreSQL's
            await asyncio.sleep(0.05)


async def _in_the_midst(postgresql: Cluster) -> None:
    """Wait until a load has begun: it holds the lock that lets no two of them run."""
    watcher = await asyncpg.connect(postgresql.dsn("whoisd_owner", DATABASE))
    await _until(watcher, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted)")
    await watcher.close()


async def test_interrupted(postgresql: Cluster, files: list[Path]) -> None:
    """Ctrl-C ends a load at once with nothing changed, and says so."""
    _load(postgresql, files[0])
    before = await _contents(postgresql)
    with _start(postgresql, files[1]) as process:
        await _in_the_midst(postgresql)
        process.send_signal(signal.SIGINT)
        _, *ended = _end(process, within=10)
    assert ended == [130, b"whoisd: interrupted\n"]
    assert await _contents(postgresql) == before


async def test_interrupted_while_nothing_comes(postgresql: Cluster) -> None:
    """Ctrl-C ends a load at once that waits for a standard input on which nothing comes."""
    with _start(postgresql, "-", stdin=subprocess.PIPE) as process:
        await asyncio.sleep(2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 5) == 130
        assert process.stderr
        assert process.stderr.read() == b"whoisd: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT], ids=["immediate", "fast"])
async def test_database_goes_away(postgresql: Cluster, files: list[Path], number: signal.Signals) -> None:
    """When PostgreSQL stops in the midst, the load says so, and that nothing was changed, which is true; the next works."""
    _load(postgresql, files[0])
    before = await _contents(postgresql)
    with _start(postgresql, files[1]) as process:
        await _in_the_midst(postgresql)
        assert postgresql._process
        postgresql._process.send_signal(number)
        _, status, error = _end(process, within=20)
    postgresql._process.wait()
    assert status == 1
    assert error.startswith(b"whoisd: the database went away, and nothing was changed: ")
    assert error.count(b"\n") == 1
    postgresql.start()
    assert await _contents(postgresql) == before
    _load(postgresql, files[1])


async def test_cut_off(postgresql: Cluster, files: list[Path], tmp_path: Path) -> None:
    """A compressed export that ends in the middle changes nothing, be it merged or to replace everything."""
    _load(postgresql, files[0])
    before = await _contents(postgresql)
    whole = gzip.compress(files[1].read_bytes())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    for mode in ("merge", "replace"):
        with _start(postgresql, "--mode", mode, cut) as process:
            _, *ended = _end(process)
        assert ended == [1, f"whoisd: {cut}: is cut off: the end of the gzip file is missing\n".encode()]
    assert await _contents(postgresql) == before


# Its own size is small, which is the least that the system says of what it starts.
_PEAK: Final = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_memory(postgresql: Cluster, files: list[Path]) -> None:
    """A load's memory does not grow with the files: three times as much to read takes no tenth more of it."""
    small = files[0].parent / "small.jsonl"
    lines = files[0].read_bytes().splitlines(keepends=True)
    few = DOMAINS // 3  # more than are under way at once
    small.write_bytes(b"".join([lines[0], *lines[1 : few // 2 + 1], *lines[DOMAINS // 2 + 1 :][:few]]))
    owner: Any = _owner(postgresql)
    peaks = [int(said_by(_PEAK, str(WHOISD), "load", "--dry-run", str(file), **owner)) for file in (small, files[0])]
    assert peaks[1] < 400 * 1024, peaks
    assert peaks[1] < 1.1 * peaks[0], peaks
