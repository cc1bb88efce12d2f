"""Measures what an answer costs: the server as it ships against the floor, in one run.

For each size of registry a PostgreSQL is made, filled once and kept. The floor and the servers over these registries then
take turns under the load generator, all on the same CPU; what they and PostgreSQL used is the kernel's accounting. `make
bench` writes the tables and plots to bench/results; bench/README.md says how to read them.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import asyncpg
from accounting import cpu_seconds, family, pin, resident_mib
from registry import domain_name, host_name
from results import Figures, Idle, Row, Soak, write

from whoisd.sandbox.postgres import Cluster
from whoisd.sandbox.sandbox import DATABASE, prepare

HERE: Final = Path(__file__).parent
WHOISD: Final = Path(sys.executable).with_name("whoisd")
SIZES: Final = (10_000, 100_000, 1_300_000)
CONNECTIONS: Final = (1, 4, 64, 256)
SERVER_CPU, OTHER_CPU = 0, 1  # the floor or the worker; the load generator and PostgreSQL
QUERIES: Final = 200_000  # lines, asked in their order: at 1.3 million domains hardly one twice
BY_SIZE: Final = 64  # connections, with which registries of all sizes are compared
IDLE: Final = 5_000
PATIENCE: Final = 600  # seconds for a server to start, which takes one under valgrind a hundred times as long
IN_EVERY_ANSWER: Final = "# Hello 127.0.0.1. Your session has been logged."
SETTINGS: Final = {"shared_buffers": "1GB", "max_wal_size": "4GB"}  # what the manual advises for a registry of that size

CONFIG: Final = """
[[listen]]
host = "127.0.0.1"
port = {port}

[server]
workers = {workers}

[database]
dsn = "{dsn}"

[limits]
file = "{sources}"

[metrics]
port = 0

[[network]]  # all that differs for the benchmark: the generator is one source, and asks more than one may
name = "bench"
cidrs = ["127.0.0.0/8"]
rate = "unlimited"
connections = 6000
"""


def serve_by(python: Path) -> tuple[str | Path, ...]:
    """Return the command that serves with the whoisd of an interpreter's environment."""
    return python.with_name("whoisd"), "serve", "--config"


SERVE: Final = serve_by(Path(sys.executable))


def build_of(python: Path) -> str:
    """Return what the whoisd of an interpreter is: its version, compiled or plain, and the interpreter's own version."""
    commands: tuple[list[str | Path], ...] = ([python.with_name("whoisd"), "--version"], [python, "--version"])
    said = [subprocess.run(it, check=True, capture_output=True, text=True).stdout.strip() for it in commands]  # noqa: S603 - ours
    return " on ".join(said)


# --- data and programs -------------------------------------------------------------------------------------------------


def build(folder: Path, name: str) -> Path:
    """Compile one of the C programs beside this file; return where it is."""
    program = folder / name
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, HERE / f"{name}.c"], check=True)  # noqa: S603, S607 - ours
    return program


@contextmanager
def registry(folder: Path, domains: int) -> Iterator[Cluster]:
    """Run the PostgreSQL that holds a registry of so many domains; make it when it is not there."""
    cluster = Cluster(folder / str(domains), durable=True, settings=SETTINGS)
    made = folder / f"{domains}.made"
    if not made.exists():
        shutil.rmtree(cluster.directory, ignore_errors=True)
    cluster.start()
    try:
        asyncio.run(prepare(cluster, predefined=False))
        if not made.exists():
            print(f"loading {domains:,} domains, this once", flush=True)
            fill(cluster, folder, domains)
            made.touch()
        asyncio.run(run_sql(cluster, "CHECKPOINT"))  # now, and not while we measure
        yield cluster
    finally:
        cluster.stop()


def fill(cluster: Cluster, folder: Path, domains: int) -> None:
    """Load a registry, and do at once what autovacuum would do while we measure."""
    file = folder / "registry.jsonl"
    subprocess.run([sys.executable, HERE / "registry.py", "--domains", str(domains), file], check=True)  # noqa: S603 - ours
    environment = os.environ | {"WHOISD_DATABASE__OWNER_DSN": cluster.dsn("whoisd_owner", DATABASE)}
    environment["WHOISD_DATABASE__DSN"] = cluster.dsn("whoisd_reader", DATABASE)
    subprocess.run([WHOISD, "load", file], env=environment, check=True)  # noqa: S603 - ours
    file.unlink()
    asyncio.run(run_sql(cluster, "VACUUM (FREEZE, ANALYZE)"))


async def run_sql(cluster: Cluster, command: str) -> None:
    """Run one command as the superuser."""
    connection = await asyncpg.connect(cluster.dsn("postgres", DATABASE))
    try:
        await connection.execute(command)
    finally:
        await connection.close()


def queries(domains: int, seed: int) -> list[str]:
    """Return what is asked: names drawn uniformly, a tenth unknown, a tenth hosts, half of all with `--show-handles`."""
    chance = random.Random(seed)
    lines = []
    for _ in range(QUERIES):
        kind, number = chance.random(), chance.randrange(domains)
        if kind < 0.1:
            name = f"ukendt-{number}.dk"
        elif kind < 0.2:
            name = host_name(chance.randrange(max(1, domains // 50)))
        else:
            name = domain_name(number)
        lines.append(f"--show-handles {name}" if chance.random() < 0.5 else name)
    return lines


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server answers on its port."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"HELP\r\n")
            client.settimeout(60)
            if client.recv(1):
                return
        time.sleep(0.05)
    sys.exit(f"nobody answers on port {port}; see {log}")


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[int]:
    """Run a server until we are done with it; give its process number."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)  # noqa: S603 - ours
    try:
        wait_for(process, port, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def whoisd(
    folder: Path, domains: int, cluster: Cluster, command: Sequence[str | Path] = SERVE, workers: int = 1
) -> Iterator[tuple[int, int]]:
    """Run the server, by its command, over a registry; give its port and the process number of its supervisor."""
    port = free_port()
    config = folder / f"{domains}.toml"
    dsn = cluster.dsn("whoisd_reader", DATABASE)
    text = CONFIG.format(port=port, dsn=dsn, sources=folder / f"{domains}.sources", workers=workers)
    config.write_text(text, encoding="utf-8")
    with running([*command, config], port, folder / f"{domains}.log") as pid:
        yield port, pid


# --- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Subject:
    """What is measured: a server on a port, the processes whose CPU counts (its own, PostgreSQL's), and what it is asked."""

    port: int
    groups: Sequence[list[int]]
    queries: Path
    must_hold: str = ""


@dataclass
class Bench:
    """The programs and the folder of a run, and how many requests and rounds a measurement has."""

    folder: Path
    floor: Path
    generator: Path
    requests: int
    rounds: int
    serve: Sequence[str | Path] = SERVE
    workers: int = 1

    def load(self, subject: Subject, connections: int, requests: int) -> dict[str, float]:
        """Ask so many times; return what the generator says. Anything but whole answers ends the run."""
        command: list[str | Path] = [self.generator, "-p", str(subject.port), "-f", subject.queries, "-c", str(connections)]
        command += ["-n", str(requests), *(["-m", subject.must_hold] if subject.must_hold else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - ours
        pin([process.pid], OTHER_CPU)
        said, _ = process.communicate()
        found: dict[str, float] = json.loads(said)
        if found["done"] != requests or found["misses"]:
            sys.exit(f"not every request was answered: {found}")
        return found

    def measure(self, subject: Subject, connections: int) -> Figures:
        """Ask, and return the figures."""
        before = [cpu_seconds(group) for group in subject.groups]
        found = self.load(subject, connections, self.requests)
        used = [(cpu_seconds(group) - was) / self.requests * 1e6 for group, was in zip(subject.groups, before, strict=True)]
        rate = self.requests / found["seconds"]
        worker, postgres = [*used, 0.0][:2]  # the floor has no PostgreSQL
        return Figures(rate, worker, postgres, found["p50"], found["p90"], found["p99"])

    def compare(self, floor: Subject, servers: Mapping[int, Subject], connections: int) -> Iterator[Row]:
        """Measure the floor and the servers, by their number of domains, in turn."""
        floors: list[Figures] = []
        found: dict[int, list[Figures]] = {domains: [] for domains in servers}
        for _ in range(self.rounds):
            floors.append(self.measure(floor, connections))
            for domains, server in servers.items():
                found[domains].append(self.measure(server, connections))
        for domains, figures in found.items():
            spread = [here.cpu / there.worker for here, there in zip(figures, floors, strict=True)]
            yield Row(domains, connections, median(floors), median(figures), min(spread), max(spread))

    def soak(self, server: Subject, requests: int) -> tuple[Soak, Idle]:
        """Measure a worker's memory over many queries, and then with many idle connections."""
        worker = server.groups[0][0]
        before = resident_mib(worker)
        self.load(server, 64, requests)
        after = resident_mib(worker)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        opened = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(IDLE)]
        time.sleep(1)
        idle = Idle(IDLE, after, resident_mib(worker))
        for connection in opened:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return Soak(requests, before, after), idle


def median(figures: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*(statistics.median(column) for column in zip(*figures, strict=True)))


@contextmanager
def server_over(bench: Bench, domains: int) -> Iterator[tuple[Subject, int]]:
    """Run a server over a registry, with all in memory and on its CPU; give the bytes of an answer on average too."""
    asked = bench.folder / f"{domains}.queries"
    asked.write_text("\n".join(queries(domains, seed=1)) + "\n", encoding="utf-8")
    with (
        registry(bench.folder, domains) as cluster,
        whoisd(bench.folder, domains, cluster, bench.serve, bench.workers) as (port, supervisor),
    ):
        subject, answer = warm(bench, Subject(port, [], asked, IN_EVERY_ANSWER), supervisor, cluster, QUERIES)
        yield subject, answer


def warm(bench: Bench, subject: Subject, supervisor: int, cluster: Cluster, requests: int) -> tuple[Subject, int]:
    """Ask a server of ours so often, and put it on its CPU; return what to measure of it, and the bytes of an answer.

    Several workers have each a CPU of its own, the second that of the generator and of PostgreSQL.
    """
    children = family(supervisor)[1:]
    before = {pid: cpu_seconds([pid]) for pid in children}
    warmed = bench.load(subject, 64, requests)
    workers = sorted(children, key=lambda pid: before[pid] - cpu_seconds([pid]))[: bench.workers]  # those that answer
    postgres = family(cluster.pid)
    pin(family(supervisor), SERVER_CPU)
    for number, worker in enumerate(workers):
        pin([worker], (SERVER_CPU, OTHER_CPU)[number % 2])
    pin(postgres, OTHER_CPU)
    return replace(subject, groups=[workers, postgres]), int(warmed["bytes"] / requests)


@contextmanager
def floor_of(bench: Bench, answer: int, asked: Path) -> Iterator[Subject]:
    """Run the floor, with answers of so many bytes."""
    port = free_port()
    with running([bench.floor, str(port), str(answer)], port, bench.folder / "floor.log") as floor:
        pin([floor], SERVER_CPU)
        yield Subject(port, [[floor]], asked)


def main() -> None:
    """Measure as the command line asks, and write the results."""
    options = argparse.ArgumentParser(description="Measure what an answer costs, against the floor.")
    options.add_argument(
        "--data", type=Path, default=HERE.parent / ".bench", help="folder of the registries (default: .bench)"
    )
    options.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="the interpreter whose whoisd is measured (default: this one)",
    )
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="DOMAINS")
    options.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    options.add_argument("--requests", type=int, default=30_000, help="of one measurement (default: 30,000)")
    options.add_argument("--rounds", type=int, default=5, help="measurements of each, in turn (default: 5)")
    options.add_argument("--soak", type=int, default=1_000_000, metavar="REQUESTS", help="0 leaves it out")
    options.add_argument("--workers", type=int, default=1, help="of the server (default: 1)")
    options.add_argument("--results", type=Path, help="folder to write to; without it the table is just printed")
    asked = options.parse_args()
    asked.data.mkdir(mode=0o711, exist_ok=True)
    folder = asked.data.absolute()
    bench = Bench(
        folder,
        build(folder, "floor"),
        build(folder, "whoisload"),
        asked.requests,
        asked.rounds,
        serve_by(asked.python),
        asked.workers,
    )
    rows: list[Row] = []
    with ExitStack() as stack:
        servers = {domains: stack.enter_context(server_over(bench, domains)) for domains in sorted(asked.sizes)}
        largest, (server, answer) = max(servers.items())
        floor = stack.enter_context(floor_of(bench, answer, server.queries))
        for connections in asked.connections:
            subjects = {domains: subject for domains, (subject, _) in servers.items()}
            for row in bench.compare(floor, subjects if connections == BY_SIZE else {largest: server}, connections):
                rows.append(row)
                print(row, flush=True)
        memory = bench.soak(server, asked.soak) if asked.soak else None
    write(rows, memory, build_of(asked.python), asked.results)


if __name__ == "__main__":
    main()
