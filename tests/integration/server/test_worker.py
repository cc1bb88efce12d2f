"""The worker on the test's own loop: clients that do not take their answer, and what fails around it."""

import asyncio
import errno
import os
import select
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from typing import Any, Final

import pytest
import structlog
from structlog.testing import capture_logs
from support import Database

from whoisd.answers.disclosure import Reason
from whoisd.config import Answers, Listen, Server, Settings
from whoisd.config import Database as DatabaseSettings
from whoisd.limits.counters import Counters
from whoisd.limits.ledger import ENTRY, HEADER, Ledger, Secret
from whoisd.limits.memory import anonymous
from whoisd.limits.sources import Client, Sources
from whoisd.log import ClientNames
from whoisd.server import context
from whoisd.server.connection import Connection
from whoisd.server.context import WorkerContext
from whoisd.server.metrics import Board
from whoisd.server.sockets import Room, open_listeners
from whoisd.server.states import Closing
from whoisd.server.worker import PAUSE, Acceptor, Worker

QUERY: Final = b"--show-handles punktum.dk\r\n"
Address = tuple[str, int]


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[tuple[Worker, Address]]:
    """A worker and where it listens; an answer is too large for a socket's least buffers, and the kernel gives no more."""
    settings = Settings(
        listen=(Listen(host="127.0.0.1", port=0),),
        database=DatabaseSettings(dsn=database.reader),
        server=Server(write_timeout=0.5),
        answer=Answers(terms="\n".join(["terms of use " * 6] * 50)),
    )
    with open_listeners(settings.listen) as listeners:
        [listening] = [listener.socket for listener in listeners]
        address = listening.getsockname()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it the least there is
        worker = Worker(
            WorkerContext(
                settings=settings,
                listeners=listeners,
                room=Room(10, 10),
                sources=sources(settings),
                tally=Board(anonymous(Board.size(1)), 1).tally(0),
                names=ClientNames("address", bytes(32), date(2026, 1, 1)),
                log=structlog.get_logger(),
            )
        )
        await worker.start()
        try:
            yield worker, address
        finally:
            await worker.stop()


def sources(settings: Settings) -> Sources:
    memory = memoryview(bytearray(HEADER + 8 * ENTRY))
    Ledger.format(memory, Secret.of(bytes(range(16))))
    ledger = Ledger(memory)
    connections = Counters(memoryview(bytearray(Counters.size(1))), 1, 0, ledger.secret)
    return Sources(settings.quotas({}), ledger, connections)


@asynccontextmanager
async def asking_and_not_reading(address: Address) -> AsyncIterator[socket.socket]:
    """A client that sends its query, and takes nothing of the answer but what its least buffer holds."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, QUERY)
        await asyncio.sleep(0.4)
        yield client


async def ask(address: Address) -> bytes:
    """The whole answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(QUERY)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


def ends(events: Any) -> list[tuple[str, str]]:
    return [(event["event"], event["outcome"]) for event in events if event["event"].startswith("query")]


async def test_client_that_does_not_read(sandbox_database: Database) -> None:
    """An answer that a client leaves untaken is cut off at the write deadline, and the outcome says so."""
    with capture_logs() as events:
        async with running(sandbox_database) as (_, address), asking_and_not_reading(address):
            assert not ends(events)
            await asyncio.sleep(0.4)
            assert ends(events) == [("query.abandoned", "write_timeout")]


async def test_bytes_of_an_answer_that_is_cut_off(sandbox_database: Database) -> None:
    """What the log calls the bytes of an answer are those that were sent, and not those that were left."""
    with capture_logs() as events:
        async with running(sandbox_database) as (worker, address), asking_and_not_reading(address):
            [cut_off] = worker._context.open
            assert isinstance(cut_off, Connection)
            assert isinstance(cut_off._state, Closing)
            left = len(cut_off._state.unsent)
            await worker.stop()
        async with running(sandbox_database) as (_, address):
            whole = len(await ask(address))
    [written] = [event["bytes"] for event in events if event["event"] == "query.abandoned"]
    assert 0 < written == whole - left < whole


async def test_answer_that_the_stop_cuts_off(sandbox_database: Database) -> None:
    """An answer that is still under way when the worker stops was not taken either, and does not count as one that was."""
    with capture_logs() as events:
        async with running(sandbox_database) as (worker, address), asking_and_not_reading(address):
            await worker.stop()
    assert ends(events) == [("query.abandoned", "write_timeout")]


async def test_answer_that_a_reset_cuts_off(sandbox_database: Database) -> None:
    """What an answer shows was shown, though its client reset the connection when it had only the first of it."""
    with capture_logs() as events:
        async with running(sandbox_database) as (_, address), asking_and_not_reading(address) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await asyncio.sleep(0.1)
    assert ends(events) == [("query.abandoned", "client_gone")]
    [told] = [event for event in events if event["event"] == "query.abandoned"]
    assert (told["name"], told["email"]) == ("punktum.dk", Reason.LOCKED_TO_CVR)


@pytest.mark.plain
@pytest.mark.parametrize(("most", "longer"), [(1, True), (0, False)])
async def test_patience_with_the_refused_ends_where_they_are_many(
    sandbox_database: Database, monkeypatch: pytest.MonkeyPatch, most: int, *, longer: bool
) -> None:
    """A client that was refused at the door and still sends has more than the first while only if few are being refused."""
    monkeypatch.setattr(context, "REFUSAL_DRAIN", 0.2)
    monkeypatch.setattr(context, "MOST_DRAINED", most)
    with capture_logs() as events:
        async with running(sandbox_database) as (worker, address):
            worker._context.room = Room(0, 10)
            with socket.create_connection(address) as client:
                for _ in range(7):
                    with suppress(OSError):  # it was cut
                        client.send(b"x")
                    await asyncio.sleep(0.05)
                assert bool(ends(events)) is not longer
    assert ends(events) == [("query.refused", "too_many_connections")]


class Scarce:
    """A kernel that has no memory for one socket more: neither to accept it nor to watch it."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    @staticmethod
    def accept() -> Any:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def register(self, *_: int) -> None:
        self.accept()


async def test_memory_runs_short(sandbox_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that pauses for want of memory accepts again, though there is none either to watch another socket."""
    async with running(sandbox_database) as (worker, address):
        [acceptor] = worker._acceptors
        poller = worker._context.poller
        with monkeypatch.context() as scarcity:
            scarcity.setattr(acceptor, "_accept", Scarce.accept)
            scarcity.setattr(poller, "_epoll", Scarce(poller._epoll))
            waiting = asyncio.create_task(ask(address))
            await asyncio.sleep(PAUSE * 3)
        assert await waiting


async def test_stop_while_memory_is_short(sandbox_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is told to stop while it pauses tries once more to accept what waits, and then never again."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with running(sandbox_database) as (worker, address):
        [acceptor] = worker._acceptors
        monkeypatch.setattr(acceptor, "_accept", Scarce.accept)
        with socket.create_connection(address):
            await asyncio.sleep(PAUSE / 2)
            worker.close(last=True)
            await asyncio.sleep(PAUSE * 2)
    assert reported == []


@pytest.mark.plain
async def test_fault_while_accepting(sandbox_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours while accepting is reported and costs that one connection: the worker accepts the next."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with running(sandbox_database) as (_, address):
        begin = Acceptor._begin
        faults = [RuntimeError("x")]

        def fail_once(acceptor: Acceptor, client: Any, peer: str) -> None:
            if faults:
                client.close()
                raise faults.pop()
            begin(acceptor, client, peer)

        monkeypatch.setattr(Acceptor, "_begin", fail_once)
        assert await ask(address) == b""
        assert await ask(address)
    assert len(reported) == 1


@pytest.mark.plain
async def test_connection_is_given_back_before_its_end_is_seen(
    sandbox_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes again as soon as it sees the end of its connection does not find that one counted still."""
    has_heard: list[bool] = []
    async with running(sandbox_database) as (worker, address):
        sources = worker._context.sources
        with socket.create_connection(address) as client:

            def disconnect(who: Client) -> None:
                has_heard.append(bool(select.select([client], [], [], 0)[0]))
                Sources.disconnect(sources, who)

            monkeypatch.setattr(sources, "disconnect", disconnect)
            client.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.2)
            assert has_heard == [False]
            assert client.recv(4096)


@pytest.mark.plain
async def test_worker_without_a_database_leaves_accepting(sandbox_database: Database) -> None:
    """A worker whose database does not answer accepts while no other has one that does, and leaves it to that one then."""
    async with running(sandbox_database) as (worker, address):
        context = worker._context
        others = False
        context.others_answer = lambda: others
        assert await ask(address)

        async def does_not() -> str:
            return "whois.domain: deadline"

        context.store.check = does_not  # type: ignore[method-assign]
        context.doubt.set()
        await asyncio.sleep(0.5)
        assert await ask(address)
        others = True
        await asyncio.sleep(1.2)
        waiting = asyncio.create_task(ask(address))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        others = False
        assert await waiting
