"""Sends odd clients to a server, some of them at once, and judges what each of them heard and what the server says of them.

A client that is slow beyond reason is not judged: the server may have lost its patience.
"""

import asyncio
import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.load import connect
from fuzz.clients import NETWORKS, Door, Ending, Script, client_of
from fuzz.owed import TIMEOUT, Oracle, Owed, hastened
from support import PATIENCE, Database, Service

from whoisd.errors import Outcome

LATE: Final = 0.8  # seconds after which that may be: whom it refused at the door it gives 1 s
AT_ONCE: Final = 100  # clients
GROWTH: Final = 2048  # KiB by which a process may be larger at the end: less than 50 bytes for each of 50,000 connections
HOLD_ON: Final = 60.0  # seconds after which a client that still waits has lost


@dataclass(frozen=True, slots=True)
class Heard:
    """What a client heard; `fault` is what kept it from hearing all."""

    data: bytes
    fault: str
    late: bool


async def play(script: Script, port: int) -> Heard:
    """Be this client."""
    begun = time.monotonic()
    late = True
    heard = bytearray()
    try:
        async with asyncio.timeout(HOLD_ON):
            client = await connect(("127.0.0.1", port), script.source)
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    await _send(client, script)
                finally:  # one that is cut off while it sends is late only if it was slow
                    late = time.monotonic() - begun > LATE
                while script.ending.reads and (chunk := await asyncio.get_running_loop().sock_recv(client, 65536)):
                    heard += chunk
                if script.ending is Ending.LINGER:
                    await asyncio.sleep(TIMEOUT + 0.2)
    except (OSError, TimeoutError) as error:
        return Heard(bytes(heard), type(error).__name__, late)
    return Heard(bytes(heard), "", late)


async def _send(client: socket.socket, script: Script) -> None:
    for piece in script.pieces:
        await asyncio.get_running_loop().sock_sendall(client, piece)
        if script.pause:
            await asyncio.sleep(script.pause)
    if script.ending is Ending.HALF_CLOSE:
        client.shutdown(socket.SHUT_WR)
    elif script.ending is Ending.RESET:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- a run ------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What came of many clients."""

    sure: Counter[Outcome] = field(default_factory=Counter)  # connections that can have ended in one way only
    unsure: Counter[frozenset[Outcome]] = field(default_factory=Counter)
    late: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, number: int, script: Script, owed: Owed, heard: Heard) -> None:
        """Judge what one client heard."""
        if heard.late:
            self.late += 1
            self.unsure[frozenset(Outcome)] += 1
            return
        if len(owed.outcomes) == 1:
            self.sure.update(owed.outcomes)
        else:
            self.unsure[owed.outcomes] += 1
        if script.ending.reads and (heard.fault or heard.data not in owed.texts):
            self.wrong.append(f"client {number}, {script}, heard {heard} and was owed {owed.texts}")

    def check(self, counted: Mapping[str, int]) -> None:
        """Whether these counts by outcome can be those of the clients that there were."""
        for outcome in Outcome:
            least, count = self.sure[outcome], counted.get(outcome, 0)
            most = least + sum(number for ways, number in self.unsure.items() if outcome in ways)
            assert least <= count <= most, f"{outcome}: {count} counted, and there were {least} to {most}"


async def run(oracle: Oracle, service: Service, seed: int, numbers: range) -> Run:
    """Be the clients of these numbers, some of them at once."""
    ports = {event["proxy"]: event["port"] for event in service.events("server.listening")}
    found, waiting = Run(), iter(numbers)

    async def one_after_the_other() -> None:
        for number in waiting:
            played = hastened(client_of(seed, number))
            owed = await oracle.owed(played)
            found.note(number, played, owed, await play(played, ports[played.door is not Door.PLAIN]))

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return found


SETTINGS: Final = {
    "WHOISD_LISTEN": json.dumps(
        [
            {"host": "127.0.0.1", "port": 0},
            {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": [f"{NETWORKS[Door.BALANCER]}.0.0/16"]},
        ]
    ),
    "WHOISD_SERVER__READ_TIMEOUT": str(TIMEOUT),
    "WHOISD_SERVER__WRITE_TIMEOUT": str(TIMEOUT),
    # As it is unless told otherwise; but a header may name anyone, and all of them are of one network without a rate.
    "WHOISD_LIMITS__RATE": "1",
    "WHOISD_LIMITS__NETWORK_RATE": "10",
    "WHOISD_LIMITS__CONNECTIONS": "20",
    "WHOISD_LIMITS__NETWORK_CONNECTIONS": "200",
    "WHOISD_NETWORK": json.dumps(
        [
            {
                "name": "fuzzers",
                "cidrs": ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
                "rate": "unlimited",
                "connections": 5000,
            }
        ]
    ),
}
EXPECTED: Final = {
    *(Outcome.FOUND, Outcome.NOT_FOUND, Outcome.HELP, Outcome.BAD_QUERY, Outcome.NO_QUERY, Outcome.READ_TIMEOUT),
    *(Outcome.UNTRUSTED_PROXY, Outcome.BAD_PROXY_HEADER, Outcome.CLIENT_GONE),
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large a process is: KiB of memory, and open descriptors."""

    memory: int
    descriptors: int


@dataclass(frozen=True)
class Moment:
    """How a server stands when all its connections have ended: how many ended how, and how large its processes are."""

    at: float
    outcomes: Counter[str]
    sizes: dict[int, Size]


def moment(service: Service, connections: int) -> Moment:
    """How a server stands as soon as so many connections have ended in all; nothing may have gone wrong with it."""
    _check_faults(service)
    figures = service.wait_for_figure(connections, "whoisd_queries_total")
    assert figures.sum("whoisd_connections_open") == 0, "more connections are open than were made"
    outcomes = {outcome: int(count) for outcome, count in figures.by("outcome", "whoisd_queries_total").items()}
    pid = service.process.pid
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return Moment(time.monotonic(), Counter(outcomes), {pid: _size(Path(f"/proc/{pid}")) for pid in pids})


def _size(process: Path) -> Size:
    status = (process / "status").read_text(encoding="ascii").splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return Size(memory, sum(1 for _ in (process / "fd").iterdir()))


async def withstand(database: Database, connections: int, seed: int, *, warming_up: int) -> str:
    """Send so many odd clients to a server, after others to warm up; say in figures how it went, or raise."""
    with Service(database.reader, SETTINGS) as service:
        async with Oracle(database.reader) as oracle:
            whole = service.exchange(b"eksempel.dk\r\n")
            await run(oracle, service, seed, range(-warming_up, 0))
            before = moment(service, warming_up + 1)
            found = await run(oracle, service, seed, range(connections))
        after = moment(service, warming_up + 1 + connections)
        assert not found.wrong, "\n".join([f"{len(found.wrong)} wrong, seed {seed}", *found.wrong[:5]])
        assert found.late < connections / 2, f"{found.late} clients were late; the machine is too busy to tell"
        counted = after.outcomes - before.outcomes
        assert counted.keys() >= EXPECTED, f"the clients were too few, or too much alike: {counted}"
        found.check(counted)
        _check_sizes(before.sizes, after.sizes)
        _check_log(service)
        assert service.exchange(b"eksempel.dk\r\n") == whole, "it no longer answers as it did"
    return _report(found, before, after)


def _check_sizes(before: Mapping[int, Size], after: Mapping[int, Size]) -> None:
    """The processes are those that they were, and no larger; a descriptor of our own asking may take a moment to close."""
    assert before.keys() == after.keys(), "a process was replaced"
    grown = {pid: (size, after[pid]) for pid, size in before.items() if after[pid].memory - size.memory >= GROWTH}
    assert not grown, f"more memory than before: {grown}"
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid, size in before.items() if _size(Path(f"/proc/{pid}")).descriptors > size.descriptors]:
        assert time.monotonic() < deadline, f"more descriptors than before: {before} and {after}, of {left}"
        time.sleep(0.05)


def _check_log(service: Service) -> None:
    """Each connection left one event, but for lines that were lost; and nothing went wrong."""
    figures = service.figures()
    ended, lost = (int(figures.sum(name)) for name in ("whoisd_queries_total", "whoisd_log_lines_lost_total"))
    service.wait_for_event("query.", ended - lost)  # the last of them may be still under way
    assert len(service.events("query.")) <= ended, f"more events than the {ended} connections"
    _check_faults(service)


def _check_faults(service: Service) -> None:
    faults = [event for event in service.events() if event["level"] not in {"debug", "info"}]
    assert not faults, f"{len(faults)} faults, of which the first is {faults[0]}"


def _report(found: Run, before: Moment, after: Moment) -> str:
    counted, seconds = after.outcomes - before.outcomes, after.at - before.at
    lines = [
        f"{counted.total()} connections in {seconds:.1f} s, {counted.total() / seconds:.0f} a second; {found.late} late"
    ]
    lines += [f"  {outcome}: {count}" for outcome, count in sorted(counted.items())]
    lines += [
        f"  process {pid}: {size.memory} KiB before, {after.sizes[pid].memory} after; "
        f"{size.descriptors} descriptors before, {after.sizes[pid].descriptors} after"
        for pid, size in before.sizes.items()
    ]
    return "\n".join(lines)
