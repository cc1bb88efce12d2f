"""Clients by the hundred and the thousand, which judge every answer by its bytes, in a process of their own.

Run as a program it takes one order, a line of JSON on standard input, and says on standard output, in a line of JSON
each, when it has got so far that trouble may begin, and how it ended. `Load` and `Silence` are what a test has of it.
"""

import asyncio
import json
import math
import re
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, ClassVar, Final, NamedTuple, Self

import uvloop

LATE: Final = 30.0  # seconds after which an answer that has not come is given up
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # Linux: the port is chosen at connect, and so may serve several addresses

# What can become of a query. All but the first are a loss; of those that are REFUSED nobody ever knew.
ANSWERED, REFUSED, RESET, EMPTY, SHORT, WRONG, LATE_ANSWER = FATES = (
    "answered",
    "refused",
    "reset",
    "empty",
    "short",
    "wrong",
    "late",
)


# The server closed a connection that had been idle for so long that it may; no loss, though a query was on its way.
IDLE: Final = "idle"
IDLE_AFTER: Final = 0.5  # seconds


class Heard(NamedTuple):
    """What a client got until the other side closed, and the fault, if there was one: `REFUSED`, `RESET`, `LATE_ANSWER`."""

    data: bytes
    fault: str = ""

    def fate(self, whole: bytes) -> str:
        """What became of a query whose answer is known."""
        if self.data and self.data != whole:
            return SHORT if whole.startswith(self.data) else WRONG
        return self.fault or (ANSWERED if self.data else EMPTY)


async def connect(address: tuple[str, int], source: str = "") -> socket.socket:
    """A connection, from this address of the machine's own."""
    client = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    client.setblocking(False)
    try:
        if source:
            client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            client.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(client, address)
    except BaseException:
        client.close()
        raise
    return client


async def exchange(client: socket.socket, data: bytes) -> Heard:
    """Send these bytes, hear everything until the server closes, and close."""
    loop = asyncio.get_running_loop()
    received = b""
    with client:
        try:
            async with asyncio.timeout(LATE):
                if data:
                    await loop.sock_sendall(client, data)
                while chunk := await loop.sock_recv(client, 65536):
                    received += chunk
        except (ConnectionResetError, BrokenPipeError):
            return Heard(received, RESET)
        except TimeoutError:
            return Heard(received, LATE_ANSWER)
    return Heard(received)


async def ask(address: tuple[str, int], data: bytes, source: str = "") -> Heard:
    """Connect, send these bytes, and hear everything until the server closes."""
    try:
        async with asyncio.timeout(LATE):
            client = await connect(address, source)
    except ConnectionRefusedError:
        return Heard(b"", REFUSED)
    except ConnectionResetError:
        return Heard(b"", RESET)
    except TimeoutError:
        return Heard(b"", LATE_ANSWER)
    return await exchange(client, data)


# --- what a test has of it -------------------------------------------------------------------------------------------


class _Program(AbstractContextManager["_Program"]):
    """This file as a program of its own, which ends with the test."""

    order: ClassVar[str]

    def __init__(self, address: tuple[str, int], **order: Any) -> None:
        self._order = {"order": self.order, "address": address, **order}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._write(self._order)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def _write(self, value: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self, seconds: float) -> Any:
        """The next that it says, within so many seconds."""
        assert self._has_spoken(seconds), f"the load said nothing for {seconds} s"
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def _has_spoken(self, seconds: float) -> bool:
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], seconds)[0])


class Load(_Program):
    """Clients that ask one query after the other, until there were enough and the test has said `end`."""

    order = "load"

    def __init__(
        self, address: tuple[str, int], known: Mapping[bytes, bytes], *, queries: int = 20_000, clients: int = 50
    ) -> None:
        texts = {query.decode("latin-1"): answer.decode("latin-1") for query, answer in known.items()}
        super().__init__(address, known=texts, queries=queries, clients=clients)
        self._enough = False

    def enough(self) -> bool:
        """Whether as many queries have ended as were wanted at least."""
        if not self._enough and self._has_spoken(0):
            self._enough = bool(self._read(0))
        return self._enough

    def end(self) -> Counter[str]:
        """Ask no more once there were enough; say how many queries had which fate."""
        self._write("end")
        if not self._enough:
            self._read(120)
        return Counter(self._read(2 * LATE))


class Silence(_Program):
    """Connections that say nothing, or a byte each second, and never close; they are there once this is entered."""

    order = "silence"

    def __init__(self, address: tuple[str, int], *, silent: int, dripping: int, text: bytes) -> None:
        super().__init__(address, silent=silent, dripping=dripping, text=text.decode())

    def __enter__(self) -> Self:
        super().__enter__()
        self._read(LATE)
        return self

    def end(self) -> tuple[Counter[str], float]:
        """Say what became of them, once all have ended; and how many seconds the longest took from its connect on."""
        fates, longest = self._read(2 * LATE)
        return Counter(fates), longest


class Honest(_Program):
    """A client that asks one query after the other until the test has said `end`, and takes the time of each."""

    order = "honest"

    def __init__(self, address: tuple[str, int], query: bytes, whole: bytes) -> None:
        super().__init__(address, query=query.decode("latin-1"), whole=whole.decode("latin-1"))

    def end(self) -> tuple[Counter[str], list[float]]:
        """Say how many queries had which fate, and how many seconds each took from connect to the end of its answer."""
        self._write("end")
        fates, taken = self._read(2 * LATE)
        return Counter(fates), taken


class WebLoad(_Program):
    """Clients that ask for one path after the other over HTTP, each over one connection until it is told to close that."""

    order = "web"

    def __init__(self, address: tuple[str, int], known: Mapping[str, bytes], *, queries: int, clients: int) -> None:
        texts = {path: answer.decode() for path, answer in known.items()}
        super().__init__(address, known=texts, queries=queries, clients=clients)

    def wait(self) -> None:
        """Wait until there were enough."""
        assert self._read(120)

    def end(self) -> tuple[Counter[str], int]:
        """Ask no more; say how many queries had which fate, and how many answers told a client to close."""
        self._write("end")
        fates, told = self._read(2 * LATE)
        return Counter(fates), told


# --- what it does as a program ---------------------------------------------------------------------------------------


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def _load(order: Mapping[str, Any]) -> None:
    address = (order["address"][0], order["address"][1])
    known = [(query.encode("latin-1"), answer.encode("latin-1")) for query, answer in order["known"].items()]
    fates: Counter[str] = Counter(dict.fromkeys(FATES, 0))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    numbers = count()

    async def client() -> None:
        while not (ended.is_set() and fates.total() >= order["queries"]):
            query, whole = known[next(numbers) % len(known)]
            fates[(await ask(address, query)).fate(whole)] += 1
            if fates.total() == order["queries"]:
                _say(True)

    await asyncio.gather(*(client() for _ in range(order["clients"])))
    _say(fates)


async def _web(order: Mapping[str, Any]) -> None:
    address = (order["address"][0], order["address"][1])
    known = [(path, answer.encode()) for path, answer in order["known"].items()]
    fates: Counter[str] = Counter()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    numbers = count()
    told = 0

    async def over_one() -> None:
        """Ask over a connection until it ends."""
        nonlocal told
        async with asyncio.timeout(LATE):
            client = await connect(address)
        with client:
            answered = math.inf  # so that a new connection has not been idle
            while not ended.is_set():
                path, whole = known[next(numbers) % len(known)]
                idle = time.monotonic() - answered
                heard, closes = await _request(client, path)
                answered = time.monotonic()
                fate = heard.fate(whole)
                fates[IDLE if fate in {EMPTY, RESET} and idle > IDLE_AFTER else fate] += 1
                if fates.total() == order["queries"]:
                    _say(True)
                told += closes
                if closes or fate != ANSWERED:
                    return

    async def client() -> None:
        while not ended.is_set():
            try:
                await over_one()
            except ConnectionRefusedError:
                fates[REFUSED] += 1

    await asyncio.gather(*(client() for _ in range(order["clients"])))
    _say([fates, told])


async def _request(client: socket.socket, path: str) -> tuple[Heard, bool]:
    """Ask for a path; return the status and body of what came, and whether it says that the connection closes."""
    loop = asyncio.get_running_loop()
    received = b""
    try:
        async with asyncio.timeout(LATE):
            await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            while True:
                head, separator, body = received.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)^content-length: *([0-9]+)", head, re.MULTILINE)
                if separator and length and len(body) >= int(length[1]):
                    status = head.split(b" ", 2)[1]
                    return Heard(status + b" " + body), b"\nconnection: close" in head.lower()
                chunk = await loop.sock_recv(client, 65536)
                if not chunk:
                    return Heard(b"", SHORT if received else EMPTY), False
                received += chunk
    except (ConnectionResetError, BrokenPipeError):
        return Heard(b"", RESET), False
    except TimeoutError:
        return Heard(b"", LATE_ANSWER), False


async def _honest(order: Mapping[str, Any]) -> None:
    address = (order["address"][0], order["address"][1])
    query, whole = order["query"].encode("latin-1"), order["whole"].encode("latin-1")
    fates: Counter[str] = Counter()
    taken: list[float] = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        begun = time.perf_counter()
        heard = await ask(address, query)
        taken.append(time.perf_counter() - begun)
        fates[heard.fate(whole)] += 1
    _say([fates, taken])


async def _silence(order: Mapping[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    address = (order["address"][0], order["address"][1])
    whole = order["text"].encode()
    fates: Counter[str] = Counter()
    held: list[socket.socket] = []
    longest = 0.0

    async def drip(client: socket.socket) -> None:
        while True:
            await asyncio.sleep(1)
            await loop.sock_sendall(client, b"e")

    async def hold(client: socket.socket, *, dripping: bool) -> None:
        nonlocal longest
        since = time.monotonic()
        dripper = loop.create_task(drip(client)) if dripping else None
        heard = await exchange(client.dup(), b"")  # ours stays open
        longest = max(longest, time.monotonic() - since)
        if dripper:
            dripper.cancel()
        fates[heard.fate(whole)] += 1

    async with asyncio.TaskGroup() as group:
        for sources, number in _sources(order["silent"] + order["dripping"]):
            client = await connect(address, sources)
            held.append(client)
            group.create_task(hold(client, dripping=number < order["dripping"]))
        _say(True)
    _say([fates, longest])
    sys.stdin.read()


def _sources(number: int) -> Iterator[tuple[str, int]]:
    """So many clients, each from one of a thousand addresses."""
    return ((f"127.77.{each % 1000 // 250}.{each % 250 + 1}", each) for each in range(number))


def main() -> None:
    """Carry out the order on standard input."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    order = json.loads(sys.stdin.readline())
    uvloop.run({"load": _load, "silence": _silence, "honest": _honest, "web": _web}[order["order"]](order))


if __name__ == "__main__":
    main()
