"""Limits: they hold over all workers, a reload and a restart, to the query; and whoever is refused is told so in full."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from faults.load import Heard, connect, exchange
from support import LOCAL, PATIENCE, UNSPECIFIED, Database, Service, binary, receive

from whoisd.answers import notices
from whoisd.errors import QueryFault
from whoisd.limits.counters import Counters
from whoisd.limits.keys import SOURCE, key_of
from whoisd.limits.ledger import Allowance, Ban, Ledger, Secret
from whoisd.limits.memory import LEDGER_SIZE, anonymous
from whoisd.limits.sources import Limit, Quotas, Sources

QUERY: Final = b"eksempel.dk\r\n"
JUNK: Final = b"x" * 200_000
TIMES: Final = 1000
BAN: Final = 60  # seconds, of the first


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


_REFUSAL: Final = re.escape(wire(notices.too_many_requests(987))).replace(b"987", rb"(\d+)")


def retry_after(answer: bytes) -> int:
    """The seconds that a refusal tells; it must be whole, and the number one of a first ban's."""
    found = re.fullmatch(_REFUSAL, answer)
    assert found, answer
    number = int(found[1])
    assert 1 <= number <= BAN
    return number


def known(service: Service) -> Callable[[str], bytes]:
    """The whole answer to `QUERY` for each source: it is greeted by its address."""
    answer = service.exchange(QUERY, "127.0.0.2")
    greeting = b"# Hello 127.0.0.2. "
    assert answer.startswith(greeting)
    assert answer.endswith(wire(notices.FOOT))
    return lambda source: answer.replace(greeting, f"# Hello {source}. ".encode(), 1)


def source(number: int) -> str:
    """A source, each in a network of its own."""
    return f"127.{100 + number // 250}.{number % 250}.7"


# --- how many ----------------------------------------------------------------------------------------------------------


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Let these processes stand still for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_bursts_of_many_sources(sandbox_database: Database) -> None:
    """200 sources that send 30 queries each at once get 10 answers each, 1 % more at most; the rest are told how long."""
    sources, each, burst, workers = 200, 30, 10, 4
    settings = {
        "WHOISD_SERVER__WORKERS": str(workers),
        "WHOISD_SERVER__READ_TIMEOUT": "60",
        "WHOISD_DATABASE__DEADLINE": "20",  # no answer is to fail, and so be given back
        "WHOISD_LIMITS__RATE": "0.05",  # nobody earns an answer meanwhile, however slow the machine is
        "WHOISD_LIMITS__BURST": str(burst),
    }
    with Service(sandbox_database.reader, settings) as service:
        whole = known(service)
        clients = [
            (source(number), await connect((service.host, service.port), source(number)))
            for number in range(sources)
            for _ in range(each)
        ]
        service.wait_for_figure(len(clients), "whoisd_connections_open")
        with stopped([pid for name, pid in service.pids().items() if name.startswith("worker")]):
            for _, client in clients:
                await asyncio.get_running_loop().sock_sendall(client, QUERY)
        heard = await asyncio.gather(*(exchange(client, b"") for _, client in clients))
        figures = service.wait_for_figure(0, "whoisd_connections_open")
        assert figures.sum("whoisd_bans_in_force", scope="source") == sources
    answered: Counter[str] = Counter()
    for (name, _), got in zip(clients, heard, strict=True):
        if got == Heard(whole(name)):
            answered[name] += 1
        else:
            assert not got.fault
            retry_after(got.data)
    assert len(answered) == sources
    assert min(answered.values()) == burst
    assert answered.total() <= sources * burst * 1.01


class _HeldUp(Ledger):
    """A ledger as a worker has it that is held up within a ban, while another worker bans the same source."""

    other: Ledger

    def _count(self, at: int, now: float) -> int:
        self.other.ban(KEY, NOW)
        return super()._count(at, now)


KEY: Final = key_of(IPv4Address("192.0.2.1"), SOURCE)
NOW: Final = 1_800_000_000.0


def test_excess_that_two_workers_see() -> None:
    """Where two workers see one excess at once it brings one ban, and none is told more seconds than that lasts."""
    memory = anonymous(LEDGER_SIZE)
    Ledger.format(memory, Secret(1, 2))
    mine, other = _HeldUp(memory), Ledger(memory)
    mine.other = other
    assert mine.ban(KEY, NOW) == BAN
    assert [*other.bans(NOW)] == [Ban(KEY, BAN, 1)]
    limits = Quotas(Allowance(1, 5), 20, Allowance(10, 100), 200, 1000)
    sources = Sources(limits, other, Counters(anonymous(Counters.size(1)), 1, 0, other.secret))
    client = sources.client(IPv4Address("192.0.2.1"))
    for held_up in (0, 0.001, 0.5):  # seconds between reading the clock and looking
        assert sources.charge(client, NOW - held_up) == (Limit.SOURCE_BAN, BAN)


def test_ban_holds_everywhere(sandbox_database: Database, tmp_path: Path) -> None:
    """A ban holds on every worker, over a reload and over a restart, and whoever tries all the time is not banned longer."""
    banned, workers = "127.88.0.1", 4
    settings = {
        "WHOISD_SERVER__WORKERS": str(workers),
        "WHOISD_LIMITS__RATE": "1",
        "WHOISD_LIMITS__BURST": "3",
        "WHOISD_LIMITS__FILE": str(tmp_path / "sources"),
    }
    told: list[float] = []  # moments at which the ban ends, as each refusal says

    def try_again() -> None:
        told.append(time.monotonic() + retry_after(service.exchange(QUERY, banned)))

    with Service(sandbox_database.reader, settings) as service:
        whole = known(service)(banned)
        answers = [service.exchange(QUERY, banned) for _ in range(4)]
        assert answers[:3] == [whole] * 3
        assert retry_after(answers[3]) == BAN
        ends = time.monotonic() + BAN
        pids = [pid for name, pid in service.pids().items() if name.startswith("worker")]
        for pid in pids:
            with stopped([other for other in pids if other != pid]):
                for _ in range(20):
                    try_again()
        with ThreadPoolExecutor(20) as clients:
            list(clients.map(lambda _: try_again(), range(500)))
        service.process.send_signal(signal.SIGHUP)
        service.wait_for_event("server.ready", 2)
        while time.monotonic() < ends - BAN + 3:
            try_again()
    with Service(sandbox_database.reader, settings) as service:
        while time.monotonic() < ends - BAN + 6:
            try_again()
        assert service.exchange(QUERY, "127.88.0.2").startswith(b"# Hello 127.88.0.2. ")
        assert service.figures().sum("whoisd_bans_in_force", scope="source") == 1
    assert len(told) > 1000
    assert all(-1 < end - ends < 2 for end in told), (min(told) - ends, max(told) - ends)


def test_health_checks_are_no_abuse(sandbox_database: Database) -> None:
    """1,000 connections that open and close without a byte, however they close, cost their source none of its queries."""
    listen = [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.0.0.0/8"]}]
    settings = {
        "WHOISD_LISTEN": json.dumps(listen),
        "WHOISD_LIMITS__RATE": "0.02",
        "WHOISD_LIMITS__BURST": "5",
        "WHOISD_LIMITS__CONNECTIONS": "20",
    }
    with Service(sandbox_database.reader, settings) as service:
        whole = known(service)
        proxied = service.events("server.listening")[1]["port"]
        checks = 0
        for port, said, checker in (
            (service.port, b"", "127.66.0.1"),
            (proxied, b"", "127.66.0.2"),
            (proxied, binary(UNSPECIFIED, b"", LOCAL), "127.66.0.3"),
        ):
            for number in range(TIMES):
                with socket.create_connection((service.host, port), PATIENCE, (checker, 0)) as client:
                    client.sendall(said)
                    if number % 3 == 1:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
                    if number % 3 == 2:
                        client.shutdown(socket.SHUT_WR)
                        receive(client)
                checks += 1
            answers = [service.exchange(QUERY, checker) for _ in range(6)]
            assert answers[:5] == [whole(checker)] * 5
            retry_after(answers[5])
        figures = service.wait_for_figure(0, "whoisd_connections_open")
    outcomes = figures.by("outcome", "whoisd_queries_total")
    assert outcomes.pop("no_query") + outcomes.pop("client_gone") == checks
    assert outcomes == {"found": 16, "rate_exceeded": 3}


# --- told in full --------------------------------------------------------------------------------------------------------


def burdened(service: Service, source: str, line: bytes = b"") -> bytes:
    """What a client gets that reads nothing before it has sent this line and 200 KB behind it; a reset fails the test."""
    with service.connect(source) as client:
        client.sendall(line + JUNK)
        return receive(client)


def count_whole(service: Service, attempts: Callable[[int], bool]) -> int:
    """How many of a thousand attempts, of eight clients at a time, went well; and that no connection is left."""
    with ThreadPoolExecutor(8) as clients:
        whole = sum(clients.map(attempts, range(TIMES)))
    service.wait_for_figure(0, "whoisd_connections_open")
    return whole


STRICT: Final = {"WHOISD_LIMITS__RATE": "0.02", "WHOISD_LIMITS__BURST": "1"}  # a query in 50 s, which is within a ban


def test_refusals_for_rate_and_ban_arrive_whole(sandbox_database: Database) -> None:
    """1,000 of 1,000 clients that sent 200 KB first read the refusal whole: for the rate, after the line; or at the door."""
    with Service(sandbox_database.reader, STRICT) as service:
        whole = known(service)

        def exceed(number: int) -> bool:
            name = source(number)
            assert service.exchange(QUERY, name) == whole(name)
            return retry_after(burdened(service, name, QUERY)) == BAN

        def try_again(number: int) -> bool:
            return retry_after(burdened(service, source(number), (QUERY, b"")[number % 2])) <= BAN

        assert count_whole(service, exceed) == TIMES
        assert count_whole(service, try_again) == TIMES
        outcomes = service.figures().by("outcome", "whoisd_queries_total")
    assert outcomes == {"found": TIMES + 1, "rate_exceeded": TIMES, "banned": TIMES}


def test_refusals_for_connections_arrive_whole(sandbox_database: Database) -> None:
    """1,000 of 1,000 clients that sent 200 KB first and have too many connections read the refusal whole."""
    text = wire(notices.too_many_requests(5))
    settings = {"WHOISD_LIMITS__CONNECTIONS": "1", "WHOISD_SERVER__READ_TIMEOUT": "60"}
    with Service(sandbox_database.reader, settings) as service:
        with service.connect("127.55.0.1"):
            service.wait_for_figure(1, "whoisd_connections_open")
            with ThreadPoolExecutor(8) as clients:
                answers = list(clients.map(lambda _: burdened(service, "127.55.0.1", QUERY), range(TIMES)))
        figures = service.wait_for_figure(0, "whoisd_connections_open")
        outcomes = figures.by("outcome", "whoisd_queries_total")
    assert Counter(answers) == {text: TIMES}
    assert outcomes.pop("too_many_connections") == TIMES
    assert outcomes.keys() <= {"client_gone", "no_query"}  # the one that was there


def test_refusals_of_bad_queries_arrive_whole(sandbox_database: Database) -> None:
    """1,000 of 1,000 clients that sent 200 KB with or behind a bad query read whole what is wrong with it."""
    cases = [
        (b"--no-such-option eksempel.dk\r\n", QueryFault.UNKNOWN_OPTION),
        (b"", QueryFault.TOO_LONG),
        (b"\x00\r\n", QueryFault.NOT_TEXT),
        (b"\r\n", QueryFault.NO_NAME),
    ]
    with Service(sandbox_database.reader, STRICT) as service:

        def ask_badly(number: int) -> bool:
            line, fault = cases[number % len(cases)]
            return burdened(service, source(number), line) == wire(notices.refusal(fault))

        assert count_whole(service, ask_badly) == TIMES
        outcomes = service.figures().by("outcome", "whoisd_queries_total")
    assert outcomes == {"bad_query": TIMES}
