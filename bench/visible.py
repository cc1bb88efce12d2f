"""Measures how soon a change is visible: it is written to the database, and asked for until an answer shows it.

Each time a domain gets another day of expiry, in a transaction of its own, and port 43 is asked for it from the moment at
which PostgreSQL has said that it is committed. Meanwhile the load generator keeps the server busy. Prints a table in
Markdown; `make bench-visible` takes a minute, and five more the first time, which makes the registry.
"""

import argparse
import asyncio
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
from cost import HERE, build, queries, registry, whoisd
from registry import domain_name

from whoisd.sandbox.sandbox import DATABASE

CONNECTIONS: Final = 64  # of the generator
PATIENCE: Final = 60.0  # seconds for an answer
WRITE: Final = "UPDATE registry.domain SET expires = $2 WHERE name = $1 AND expires IS NOT NULL"
FIRST_DAY: Final = date(2040, 1, 1)  # of the expiries that are written: none has it before


class Seen(NamedTuple):
    """How a change became visible: seconds from its commit to the end of the answer that shows it; answers, that one too."""

    seconds: float
    answers: int


def ask(port: int, name: str) -> bytes:
    """Return the answer for a name."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(name.encode() + b"\r\n")
        return b"".join(iter(lambda: client.recv(65_536), b""))


@contextmanager
def under_load(generator: Path, port: int, asked: Path) -> Iterator[None]:
    """Keep the server busy."""
    command: list[str | Path] = [generator, "-p", str(port), "-f", asked, "-c", str(CONNECTIONS), "-n", str(10**9)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def watch(dsn: str, port: int, names: Iterator[str], changes: int) -> list[Seen]:
    """Make so many changes to these domains, one after the other, and look how each becomes visible."""
    seen: list[Seen] = []
    writer = await asyncpg.connect(dsn)
    try:
        while len(seen) < changes:
            name, day = next(names), FIRST_DAY + timedelta(days=len(seen))
            if await writer.execute(WRITE, name, day) != "UPDATE 1":
                continue  # it is offered to the waiting list, and never expires
            committed = time.monotonic()
            shows, answers = f"{day:%Y-%m-%d}".encode(), 1
            while shows not in ask(port, name):
                answers += 1
            seen.append(Seen(time.monotonic() - committed, answers))
    finally:
        await writer.close()
    return seen


def row(what: str, seen: list[Seen]) -> str:
    """Return a row of the table."""
    cuts = statistics.quantiles((it.seconds * 1000 for it in seen), n=100)
    later = sum(it.answers - 1 for it in seen)
    worst = max(it.seconds for it in seen) * 1000
    return f"| {what} | {len(seen):,} | {cuts[49]:.1f} ms | {cuts[98]:.1f} ms | {worst:.1f} ms | {later} |"


def main() -> None:
    """Measure as the command line asks, and print the table."""
    options = argparse.ArgumentParser(description="Measure how soon a change is visible.")
    options.add_argument(
        "--data", type=Path, default=HERE.parent / ".bench", help="folder of the registries (default: .bench)"
    )
    options.add_argument("--domains", type=int, default=100_000)
    options.add_argument("--changes", type=int, default=1_000)
    given = options.parse_args()
    given.data.mkdir(mode=0o711, exist_ok=True)
    folder = given.data.absolute()
    asked = folder / "visible.queries"
    asked.write_text("\n".join(queries(given.domains, seed=1)) + "\n", encoding="utf-8")
    generator = build(folder, "whoisload")
    chance = random.Random(1)
    with ExitStack() as stack:
        cluster = stack.enter_context(registry(folder, given.domains))
        port, _ = stack.enter_context(whoisd(folder, given.domains, cluster))
        dsn = cluster.dsn("whoisd_owner", DATABASE)
        print("| port 43 | changes | p50 | p99 | longest | answers that did not show it yet |\n|---|--:|--:|--:|--:|--:|")
        for what, load in (("nobody else asks", False), (f"{CONNECTIONS} connections ask all the time", True)):
            names = map(domain_name, iter(partial(chance.randrange, given.domains), None))
            with under_load(generator, port, asked) if load else ExitStack():
                print(row(what, asyncio.run(watch(dsn, port, names, given.changes))), flush=True)


if __name__ == "__main__":
    main()
