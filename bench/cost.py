"""Measures what an answer costs: the server as it ships against the floor, in one run.

For each size of registry a PostgreSQL is made, filled once and kept. Floor and server then take turns under the load
generator, each on the same CPU; what they and PostgreSQL used of it is the kernel's accounting. `make bench` writes the
tables and plots to bench/results; bench/README.md says how to read them.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from accounting import cpu_seconds, family, pin, resident_mib
from registry import domain_name, host_name
from results import Figures, Idle, Row, Soak, write

from whoisd.postgres import Cluster
from whoisd.sandbox import DATABASE, prepare

HERE: Final = Path(__file__).parent
WHOISD: Final = Path(sys.executable).with_name("whoisd")
SIZES: Final = (10_000, 100_000, 1_300_000)
CONNECTIONS: Final = (1, 4, 64, 256)
SERVER_CPU, OTHER_CPU = 0, 1  # the floor or the worker; the load generator and PostgreSQL
QUERIES: Final = 200_000  # lines, asked in their order: at 1.3 million domains hardly one twice
IDLE: Final = 5_000
IN_EVERY_ANSWER: Final = "# Hello 127.0.0.1. Your session has been logged."
SETTINGS: Final = {"shared_buffers": "1GB", "max_wal_size": "4GB"}  # what the README advises for a registry of that size

CONFIG: Final = """
[[listen]]
host = "127.0.0.1"
port = {port}

[server]
workers = 1

[database]
dsn = "{dsn}"

[limits]
file = "{folder}/sources"

[[network]]  # all that differs for the benchmark: the generator is one source, and asks more than one may
name = "bench"
cidrs = ["127.0.0.0/8"]
rate = "unlimited"
connections = 6000
"""


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


def wait_for(port: int) -> None:
    """Wait until somebody answers on a port."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as client:
            client.sendall(b"HELP\r\n")
            client.settimeout(20)
            if client.recv(1):
                return
        time.sleep(0.05)
    sys.exit(f"nobody answers on port {port}")


@contextmanager
def running(command: Sequence[str | Path], port: int, log: Path) -> Iterator[int]:
    """Run a server until we are done with it; give its process number."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file)  # noqa: S603 - ours
    try:
        wait_for(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def whoisd(folder: Path, cluster: Cluster) -> Iterator[tuple[int, int]]:
    """Run the server over a registry; give its port and the process number of its supervisor."""
    port = free_port()
    config = folder / "whoisd.toml"
    dsn = cluster.dsn("whoisd_reader", DATABASE)
    config.write_text(CONFIG.format(port=port, dsn=dsn, folder=folder), encoding="utf-8")
    with running([WHOISD, "serve", "--config", config], port, folder / "whoisd.log") as pid:
        yield port, pid


# --- measuring ---------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The programs and the folder of a run, and how many requests a measurement has."""

    folder: Path
    floor: Path
    generator: Path
    requests: int
    rounds: int

    def load(self, port: int, connections: int, requests: int, must_hold: str = "") -> dict[str, float]:
        """Ask so many times; return what the generator says. Anything but whole answers ends the run."""
        command = [self.generator, "-p", str(port), "-f", self.folder / "queries", "-c", str(connections)]
        command += ["-n", str(requests), *(["-m", must_hold] if must_hold else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - ours
        pin([process.pid], OTHER_CPU)
        said, _ = process.communicate()
        found: dict[str, float] = json.loads(said)
        if found["done"] != requests or found["misses"]:
            sys.exit(f"not every request was answered: {found}")
        return found

    def measure(self, port: int, connections: int, groups: Sequence[list[int]], must_hold: str = "") -> Figures:
        """Ask, and return the figures: what each of these groups of processes used of the CPU, for one request."""
        before = [cpu_seconds(group) for group in groups]
        found = self.load(port, connections, self.requests, must_hold)
        used = [(cpu_seconds(group) - was) / self.requests * 1e6 for group, was in zip(groups, before, strict=True)]
        rate = self.requests / found["seconds"]
        return Figures(rate, *[*used, 0.0][:2], found["p50"], found["p90"], found["p99"])

    def warm_up(self, port: int) -> int:
        """Ask every query once, so that all is in memory; return the bytes of an answer on average."""
        return int(self.load(port, 64, QUERIES, IN_EVERY_ANSWER)["bytes"] / QUERIES)


def worker_of(bench: Bench, supervisor: int, port: int) -> tuple[int, int]:
    """Return the process that answers, the child that a warm-up costs most, and the bytes of an answer on average."""
    children = family(supervisor)[1:]
    before = {pid: cpu_seconds([pid]) for pid in children}
    size = bench.warm_up(port)
    return max(children, key=lambda pid: cpu_seconds([pid]) - before[pid]), size


def median(figures: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*(statistics.median(column) for column in zip(*figures, strict=True)))


def compare(bench: Bench, domains: int, cluster: Cluster, connections: Sequence[int]) -> Iterator[Row]:
    """Measure server and floor in turn, for each number of connections."""
    (bench.folder / "queries").write_text("\n".join(queries(domains, seed=1)) + "\n", encoding="utf-8")
    with whoisd(bench.folder, cluster) as (port, supervisor):
        worker, size = worker_of(bench, supervisor, port)
        postgres = family(cluster.pid)
        pin(family(supervisor), SERVER_CPU)
        pin(postgres, OTHER_CPU)
        floor_port = free_port()
        with running([bench.floor, str(floor_port), str(size)], floor_port, bench.folder / "floor.log") as floor:
            pin([floor], SERVER_CPU)
            for count in connections:
                floors, servers = [], []
                for _ in range(bench.rounds):
                    floors.append(bench.measure(floor_port, count, [[floor]]))
                    servers.append(bench.measure(port, count, [[worker], postgres], IN_EVERY_ANSWER))
                spread = [here.cpu / there.worker for here, there in zip(servers, floors, strict=True)]
                yield Row(domains, count, median(floors), median(servers), min(spread), max(spread))


def soak(bench: Bench, cluster: Cluster, requests: int) -> tuple[Soak, Idle]:
    """Measure a worker's memory over many queries, and then with many idle connections."""
    with whoisd(bench.folder, cluster) as (port, supervisor):
        worker, _ = worker_of(bench, supervisor, port)
        before = resident_mib(worker)
        bench.load(port, 64, requests, IN_EVERY_ANSWER)
        after = resident_mib(worker)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
        time.sleep(1)
        idle = Idle(IDLE, after, resident_mib(worker))
        for connection in opened:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Soak(requests, before, after), idle


def main() -> None:
    """Measure as the command line asks, and write the results."""
    options = argparse.ArgumentParser(description="Measure what an answer costs, against the floor.")
    options.add_argument(
        "--data", type=Path, default=HERE.parent / ".bench", help="folder of the registries (default: .bench)"
    )
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="DOMAINS")
    options.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    options.add_argument("--requests", type=int, default=40_000, help="of one measurement (default: 40,000)")
    options.add_argument("--rounds", type=int, default=5, help="measurements of each, in turn (default: 5)")
    options.add_argument("--soak", type=int, default=1_000_000, metavar="REQUESTS", help="0 leaves it out")
    options.add_argument("--results", type=Path, help="folder to write to; without it the table is just printed")
    asked = options.parse_args()
    asked.data.mkdir(mode=0o711, exist_ok=True)
    folder = asked.data.absolute()
    bench = Bench(folder, build(folder, "floor"), build(folder, "whoisload"), asked.requests, asked.rounds)
    rows: list[Row] = []
    memory = None
    for domains in asked.sizes:
        with registry(folder, domains) as cluster:
            most = domains == max(asked.sizes)
            for row in compare(bench, domains, cluster, asked.connections if most else [64]):
                rows.append(row)
                print(row, flush=True)
            if most and asked.soak:
                memory = soak(bench, cluster, asked.soak)
    write(rows, memory, asked.results)


if __name__ == "__main__":
    main()
