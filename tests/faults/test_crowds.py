"""Crowds: however many come, and however they behave, the server stays as large and as fast as it was."""

import asyncio
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from faults.load import ANSWERED, Heard, Honest, Silence, ask
from support import Database, Service, v2

from whoisd.answers import notices
from whoisd.limits.memory import LEDGER_SIZE

QUERY: Final = b"eksempel.dk\r\n"
REFUSED: Final = b"WHOIS LIMIT EXCEEDED. Too many requests, try again later.\r\n# Too many connections. Retry after "


def resident(pid: int) -> int:
    """How many KiB of memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


# --- many sources ----------------------------------------------------------------------------------------------------

# What a worker does for each of many clients, that no two of share a network; it says its memory before and after.
_MANY: Final = """
import random, sys, time
from ipaddress import IPv6Address
from pathlib import Path
from whoisd.limits.memory import anonymous, open_ledger
from whoisd.limits.counters import Counters
from whoisd.limits.ledger import Allowance
from whoisd.limits.sources import Quotas, Sources

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))

def come(number):
    for _ in range(number):
        client = sources.client(IPv6Address(0x2000 << 112 | numbers.getrandbits(125)))
        assert sources.connect(client, time.time()) is None
        assert sources.charge(client, time.time()) is None
        sources.disconnect(client)

ledger = open_ledger(Path(sys.argv[1]), create=True)
connections = Counters(anonymous(Counters.size(3)), 3, 1, ledger.secret)
limits = Quotas(Allowance(1, 5), 20, Allowance(10, 100), 200, 10_000)
sources, numbers = Sources(limits, ledger, connections), random.Random(int(sys.argv[2]))
come(10_000)
before = resident()
come(int(sys.argv[3]))
print(before, resident())
"""


def test_a_million_sources(tmp_path: Path) -> None:
    """A million sources, each in a network of its own, leave memory and file as they were, and none is refused."""
    file = tmp_path / "sources"

    def run(seed: int) -> list[int]:
        command = [sys.executable, "-c", _MANY, str(file), str(seed), "500000"]
        return [int(text) for text in subprocess.check_output(command, timeout=240).split()]

    with ThreadPoolExecutor(2) as workers:  # two, for as many sources each: they share the file
        measured = list(workers.map(run, (1, 2)))
    assert all(after - before < 1024 for before, after in measured), measured
    assert file.stat().st_size == LEDGER_SIZE
    assert file.stat().st_blocks * 512 <= LEDGER_SIZE + 4096


@contextmanager
def balanced(database: Database) -> Iterator[Service]:
    """A server behind a balancer, with the limits that it has unless told otherwise."""
    settings = {
        "WHOISD_LISTEN": json.dumps([{"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.0.0.0/8"]}]),
        "WHOISD_LIMITS__RATE": "1",
        "WHOISD_LIMITS__NETWORK_RATE": "10",
    }
    with Service(database.reader, settings) as service:
        yield service


class Asker:
    """Asks through the balancer's listener for clients of any address, and knows the whole answer of each."""

    def __init__(self, service: Service) -> None:
        self._address = service.host, service.port
        client = IPv6Address("2001:db8::1")
        self._answer = service.exchange(v2(client) + QUERY)
        self._greeting = f"# Hello {client.exploded}. ".encode()
        assert self._answer.startswith(self._greeting)
        assert self._answer.endswith(notices.FOOT.replace("\n", "\r\n").encode())

    async def ask(self, client: IPv6Address) -> tuple[bool, Heard]:
        """Whether this client got its whole answer, and what it got."""
        heard = await ask(self._address, v2(client) + QUERY)
        return heard == Heard(self._answer.replace(self._greeting, f"# Hello {client.exploded}. ".encode(), 1)), heard


async def at_a_time(askers: int, asker: Asker, clients: Iterator[IPv6Address]) -> list[tuple[bool, Heard]]:
    """Ask for each of these clients, so many at a time."""
    heard: list[tuple[bool, Heard]] = []

    async def one_after_the_other() -> None:
        for client in clients:
            heard.append(await asker.ask(client))  # noqa: PERF401 - the clients are shared with the others

    await asyncio.gather(*(one_after_the_other() for _ in range(askers)))
    return heard


def strangers(number: int, numbers: random.Random) -> Iterator[IPv6Address]:
    """So many clients, none of which shares a network with another but by rare chance."""
    return (IPv6Address(0x2A00 << 112 | numbers.getrandbits(112)) for _ in range(number))


async def test_many_sources_of_a_server(sandbox_database: Database) -> None:
    """25,000 sources over real connections are all answered, and leave the memory of every worker where it was."""
    numbers = random.Random(3)  # noqa: S311 - addresses, no secrets
    with balanced(sandbox_database) as service:
        asker = Asker(service)
        workers = [pid for name, pid in service.pids().items() if name.startswith("worker")]
        heard = await at_a_time(50, asker, strangers(10_000, numbers))  # more than a worker remembers
        before = [resident(pid) for pid in workers]
        heard += await at_a_time(50, asker, strangers(25_000, numbers))
        after = [resident(pid) for pid in workers]
    assert Counter(right for right, _ in heard) == {True: 35_000}
    assert all(last - first < 1024 for first, last in zip(before, after, strict=True)), (before, after)


async def test_flood_from_one_network(sandbox_database: Database) -> None:
    """A flood of 10,000 sources from one /48 is answered at the network's rate alone; others are served all along."""
    numbers = random.Random(4)  # noqa: S311 - addresses, no secrets
    burst, rate = 100, 10
    begin = time.monotonic()
    with balanced(sandbox_database) as service:
        asker = Asker(service)
        flood = (IPv6Address((0x2A02_0DB8_0001 << 16 | number) << 64 | 1) for number in range(10_000))
        flooding = asyncio.ensure_future(at_a_time(50, asker, flood))
        served: list[bool] = []
        while not flooding.done():
            served += [right for right, _ in await at_a_time(1, asker, strangers(20, numbers))]
        heard, seconds = flooding.result(), time.monotonic() - begin
        figures = service.wait_for_figure(0, "whoisd_connections_open")
    answered = sum(right for right, _ in heard)
    assert burst <= answered <= (burst + rate * seconds) * 1.05
    assert all(got.data.startswith(REFUSED) and got.data.endswith(b" seconds.\r\n") for right, got in heard if not right)
    assert not any(got.fault for _, got in heard)
    assert len(served) >= 40  # two rounds of them at least, however soon the flood is over
    assert all(served)
    assert figures.sum("whoisd_throttled_total") == len(heard) - answered
    assert figures.sum("whoisd_bans_total") == 0


# --- many that say nothing ----------------------------------------------------------------------------------------------

READ_TIMEOUT: Final = 8
WRITE_TIMEOUT: Final = 2


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def test_silent_and_dripping(sandbox_database: Database) -> None:
    """With 5,000 silent clients and 500 that drip, an honest one waits at most twice as long (p99); all are gone in time."""
    settings = {"WHOISD_SERVER__READ_TIMEOUT": str(READ_TIMEOUT), "WHOISD_SERVER__WRITE_TIMEOUT": str(WRITE_TIMEOUT)}
    text = notices.read_timeout(READ_TIMEOUT).replace("\n", "\r\n").encode()
    rounds: list[tuple[float, float]] = []
    with Service(sandbox_database.reader, settings) as service:
        address = service.host, service.port
        whole = service.exchange(QUERY)
        for _ in range(3):
            with Honest(address, QUERY, whole) as honest:
                time.sleep(3)
                fates, before = honest.end()
            assert fates == {ANSWERED: len(before)}
            with Silence(address, silent=5000, dripping=500, text=text) as silence:
                with Honest(address, QUERY, whole) as honest:
                    # The honest one has a connection, and another that a worker has yet to see closed.
                    assert 0 <= service.figures().sum("whoisd_connections_open") - 5500 <= 2
                    told, longest = silence.end()
                    fates, during = honest.end()
                service.wait_for_figure(0, "whoisd_connections_open")  # though none of them has closed
            assert fates == {ANSWERED: len(during)}
            assert told == {ANSWERED: 5500}
            assert longest < READ_TIMEOUT + WRITE_TIMEOUT
            rounds.append((p99(before), p99(during)))
            if rounds[-1][1] <= 2 * rounds[-1][0]:
                break  # else it may have been another that kept the machine busy
    assert min(during / before for before, during in rounds) <= 2, rounds


def test_silent_crowd_that_takes_every_place(sandbox_database: Database) -> None:
    """When 33 addresses, of 20 idle connections each, want more places than there are, an honest client is still served.

    Whoever gives way is told so in full, and comes again at once: the crowd takes every place for as long as it lasts.
    """
    settings = {
        "WHOISD_SERVER__MAX_CONNECTIONS": "500",
        "WHOISD_LIMITS__CONNECTIONS": "20",
        "WHOISD_LIMITS__NETWORK_CONNECTIONS": "100000",
    }
    heard: list[bytes] = []
    with Service(sandbox_database.reader, settings) as service, ExitStack() as crowd:
        address = service.host, service.port
        whole = service.exchange(QUERY)

        def come(number: int) -> socket.socket:
            client = crowd.enter_context(service.connect(f"127.9.{number % 33}.1"))
            client.setblocking(False)
            return client

        silent = [come(number) for number in range(660)]
        with Honest(address, QUERY, whole) as honest:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                for number, client in enumerate(silent):
                    with suppress(BlockingIOError):
                        heard.append(client.recv(4096))
                        client.close()
                        silent[number] = come(number)
            fates, seconds = honest.end()
        assert fates == {ANSWERED: len(seconds)}
        assert len(seconds) > 20
    assert len(heard) >= 160
    assert all(said.startswith(REFUSED) and said.endswith(b" seconds.\r\n") for said in heard)
