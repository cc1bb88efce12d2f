"""What the tests of the database's faults share: a PostgreSQL to hurt, a standby of it, clients who judge all they get."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import asyncpg
from support import PATIENCE, Service, until

from whoisd.sandbox.postgres import Cluster
from whoisd.sandbox.sandbox import DATABASE

TEMPORARY_FAILURE: Final = b"WHOIS time limit exceeded. Temporary failure, please try again later.\r\n"
RECOVERY: Final = 3.0  # seconds from the end of a fault to the last failure that it may cause
LONGEST: Final = 3.0  # seconds that any query may take: the deadline is 1.5, and the machine may be busy
QUERIES: Final = (
    b"eksempel.dk\r\n",
    b"--show-handles punktum.dk\r\n",
    b"--charset=utf-8 --show-handles eksempel.dk\r\n",
    b"findes-ikke.dk\r\n",
    b"ns1.eksempel.dk\r\n",
    b"auth01.ns.dk-hostmaster.dk\r\n",
    b"www.findes-ikke.dk\r\n",
)
# A standby looks for its primary ten times a second, not every five seconds, and says at once how far it is.
_STANDBY: Final = {"wal_retrieve_retry_interval": "100ms", "wal_receiver_status_interval": "1s"}


def reader(*clusters: Cluster, target: str = "") -> str:
    """The URL by which the server reaches these, in this order."""
    attributes = f"&target_session_attrs={target}" if target else ""
    hosts = ",".join(str(cluster.directory) for cluster in clusters)
    return f"postgresql://whoisd_reader@/{DATABASE}?host={hosts}{attributes}"


def run_sql(cluster: Cluster, sql: str, *arguments: object) -> Any:
    """Run SQL as the superuser, committed when this returns; give the value that it returns."""

    async def run() -> Any:
        # What is committed is written out, so that `catch_up` waits for it.
        connection = await asyncpg.connect(
            cluster.dsn("postgres", DATABASE), server_settings={"synchronous_commit": "local"}
        )
        try:
            return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())


# --- a standby -------------------------------------------------------------------------------------------------------


def copy(primary: Cluster, directory: Path, settings: Mapping[str, str] | None = None) -> Cluster:
    """A standby of a running primary in this folder, not yet started; what was there before is gone."""
    standby = Cluster(directory, settings=_STANDBY | dict(settings or {}))
    standby._prepare_directory()
    shutil.rmtree(standby._data, ignore_errors=True)
    source = ("--host", primary.directory, "--username", "postgres")
    how = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream")
    made = standby._run([primary.program("pg_basebackup"), "--pgdata", standby._data, *source, *how])
    assert made.returncode == 0, made.stdout.decode()
    return standby


def catch_up(primary: Cluster, standby: Cluster) -> None:
    """Wait until the standby has replayed all that the primary has written."""
    position = run_sql(primary, "SELECT pg_current_wal_flush_lsn()::text")
    seen = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
    until(lambda: run_sql(standby, seen, position), "the standby does not follow")


@contextmanager
def ending(*clusters: Cluster) -> Iterator[None]:
    """Stop these at the end, whatever state they are in."""
    try:
        yield
    finally:
        for cluster in clusters:
            with contextlib.suppress(ProcessLookupError):
                thaw(cluster)
            cluster.stop()


# --- the processes of a PostgreSQL -----------------------------------------------------------------------------------


def processes(cluster: Cluster) -> list[int]:
    """All its processes, the postmaster first; none when it has ended."""
    if not cluster._process or cluster._process.poll() is not None:
        return []
    postmaster = cluster._process.pid
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text(encoding="ascii").split()
    return [postmaster, *map(int, children)]


def kill(cluster: Cluster) -> None:
    """Kill every process of it, and return when they are gone."""
    assert cluster._process
    victims = processes(cluster)
    os.kill(victims[0], signal.SIGSTOP)  # so that it starts none while they are killed
    victims = processes(cluster)
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster._process.wait(PATIENCE)
    until(lambda: not any(map(_runs, victims)), "killed processes run on")


def freeze(cluster: Cluster) -> None:
    """Stop every process of it as it stands: it takes connections, as the kernel does that, and answers nothing."""
    for pid in processes(cluster):  # the postmaster first: it starts none meanwhile
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)


def thaw(cluster: Cluster) -> None:
    """Let every process of it go on."""
    for pid in processes(cluster):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- clients ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """One query, and what became of it."""

    query: bytes
    answer: bytes | OSError
    begun: float
    ended: float

    @property
    def failed(self) -> bool:
        return self.answer == TEMPORARY_FAILURE


class Watch(AbstractContextManager["Watch"]):
    """Clients who ask all the time, each one query after the other, until this is left; then `judge` them.

    `known` is the right answer to each query. A client waits a little between its queries, so that the machine is not
    busy with them alone.
    """

    def __init__(self, service: Service, known: Mapping[bytes, bytes], clients: int = 6) -> None:
        self.known = known
        self.heard: list[Heard] = []
        self._service = service
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        queries = [*self.known]
        while not self._over.wait(0.003):
            query = queries[number % len(queries)]
            number += 1
            begun = time.monotonic()
            answer: bytes | OSError
            try:
                answer = self._service.exchange(query)
            except OSError as fault:  # reset, refused, or no answer in time: judged at the end
                answer = fault
            self.heard.append(Heard(query, answer, begun, time.monotonic()))

    def wait_for(self, condition: Callable[[Heard], bool], after: float, what: str, count: int = 1) -> None:
        """Wait until so many queries that began after a moment have ended so."""
        until(lambda: sum(condition(it) for it in self.heard[:] if it.begun >= after) >= count, what)

    def wait_for_failure(self, count: int = 1) -> None:
        self.wait_for(lambda it: it.failed, time.monotonic(), "no query failed", count)

    def wait_for_answers(self, seconds: float = 0.0) -> float:
        """Wait until each query is answered right, asked after now, and then for so long; give the moment it began."""
        begun = time.monotonic()
        for query in self.known:
            self.wait_for(lambda it, query=query: it.query == query and not it.failed, begun, f"no answer to {query!r}")  # type: ignore[misc]  # mypy infers no type for a lambda's default
        self._over.wait(max(0.0, begun + seconds - time.monotonic()))
        return begun

    def judge(self) -> tuple[int, int]:
        """Hold every query to the rule: right, or the temporary failure, whole, in time. Give how many of each."""
        wrong = [it for it in self.heard if not it.failed and it.answer != self.known[it.query]]
        assert not wrong, f"{len(wrong)} of {len(self.heard)}, first: {wrong[0]}"
        longest = max(self.heard, key=lambda it: it.ended - it.begun)
        assert longest.ended - longest.begun < LONGEST, longest
        failed = sum(it.failed for it in self.heard)
        return len(self.heard) - failed, failed

    def failures_after(self, moment: float) -> Sequence[Heard]:
        """The failures of queries that began after a moment."""
        return [it for it in self.heard if it.failed and it.begun >= moment]

    def recovered_within(self, moment: float) -> float:
        """The seconds from a moment to the end of the last failure."""
        return max((it.ended - moment for it in self.heard if it.failed), default=0.0)


def answers(service: Service, queries: Sequence[bytes] = QUERIES) -> dict[bytes, bytes]:
    """The whole answer to each query, as it is while nothing happens."""
    known = {query: service.exchange(query) for query in queries}
    assert TEMPORARY_FAILURE not in known.values()
    assert all(answer.endswith(b"\r\n") for answer in known.values())
    return known
