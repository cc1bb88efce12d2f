"""Clients of HTTP: those that ask as fast as they are answered, and those that only get in the way.

    bench/webload.py ask PORT FILE CONNECTIONS REQUESTS     paths from a file; prints what came of it, as JSON
    bench/webload.py crowd PORT IDLE SLOW                   until it is ended; prints a line when all are there

A crowd is so many connections that say nothing, so many that send a request a byte a second, and one client that sends a
megabyte ten times a second; whoever is let go comes again.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path

import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
OURS = {200, 404}  # the statuses of an answer to a name; any other ends the run
MEGABYTE = b"GET /domain/" + b"x" * 1_000_000


class Asker(asyncio.Protocol):
    """Asks for the next path as soon as it has the answer to the one before, over one connection."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._begun = 0.0
        self._is_done = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer."""
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0:
            return
        at = self._received.find(LENGTH, 0, end) + len(LENGTH)
        length = int(self._received[at : self._received.find(b"\r", at)])
        if len(self._received) - end - len(HEAD_END) < length:
            return
        self._load.note(int(self._received[9:12]), length, time.perf_counter() - self._begun)
        self._received = b""
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """End the run where a connection ends before we do."""
        if not self._is_done:
            self._load.lost += 1
            self._load.over.set()

    def _ask(self) -> None:
        path = self._load.next_path()
        if path is None:
            self._is_done = True
            self._transport.close()
            return
        self._begun = time.perf_counter()
        self._transport.write(b"GET " + path + b" HTTP/1.1\r\nHost: bench\r\n\r\n")


class Load:
    """So many requests over so many connections."""

    def __init__(self, paths: list[bytes], requests: int) -> None:
        self._paths = paths
        self._requests = requests
        self._numbers = count()
        self.statuses: Counter[int] = Counter()
        self.taken: list[float] = []
        self.size = 0
        self.lost = 0
        self.over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether all requests were answered."""
        return len(self.taken) >= self._requests

    def next_path(self) -> bytes | None:
        """Return what to ask for next; None when there were enough."""
        number = next(self._numbers)
        return self._paths[number % len(self._paths)] if number < self._requests else None

    def note(self, status: int, size: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.size += size
        self.taken.append(seconds)
        if self.is_over:
            self.over.set()


async def ask(port: int, paths: list[bytes], connections: int, requests: int) -> None:
    """Ask, and print what came of it."""
    load = Load(paths, requests)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Asker(load), "127.0.0.1", port)
    await load.over.wait()
    seconds = time.perf_counter() - begun
    hundredths = statistics.quantiles(load.taken, n=100)
    misses = load.lost + sum(number for status, number in load.statuses.items() if status not in OURS)
    found = {"done": len(load.taken), "misses": misses, "seconds": seconds, "bytes": load.size}
    found |= {"p50": hundredths[49] * 1e6, "p90": hundredths[89] * 1e6, "p99": hundredths[98] * 1e6}
    print(json.dumps(found))


async def crowd(port: int, idle: int, slow: int) -> None:
    """Get in the way of the server, and of nobody else on its CPU."""
    os.nice(19)
    there = asyncio.Semaphore(0)

    async def come(request: bytes, pause: float) -> None:
        first = True
        while True:
            with suppress(OSError, RuntimeError):  # the latter of a transport that was closed under us
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                if first:
                    there.release()
                first = False
                for at in range(0, len(request), len(request) if pause < 1 else 1):
                    writer.write(request[at:] if pause < 1 else request[at : at + 1])
                    await asyncio.sleep(pause)
                await reader.read()
                writer.close()

    async with asyncio.TaskGroup() as group:
        for number in range(idle + slow + 1):
            if number % 100 == 99:  # so that the server's queue has room for others
                await asyncio.sleep(0.05)
            is_large = number == idle + slow
            request = b"" if number < idle else MEGABYTE if is_large else b"GET /domain/a.dk HTTP/1.1\r\nX: " + b"x" * 99
            group.create_task(come(request, 0.1 if is_large else 1.0))
        for _ in range(idle + slow + 1):
            await there.acquire()
        print("there", flush=True)


def main() -> None:
    """Carry out the command line."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(sys.argv[2])
    if sys.argv[1] == "crowd":
        uvloop.run(crowd(port, int(sys.argv[3]), int(sys.argv[4])))
    else:
        paths = Path(sys.argv[3]).read_bytes().split()
        uvloop.run(ask(port, paths, int(sys.argv[4]), int(sys.argv[5])))


if __name__ == "__main__":
    main()
