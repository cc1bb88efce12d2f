"""A client that does not take its answer: the worker on the test's own loop, with socket buffers too small for an answer."""

import asyncio
import socket
from datetime import date

import structlog
from structlog.testing import capture_logs
from support import Database

from whoisd.config import Answers, Listen, Server, Settings
from whoisd.config import Database as DatabaseSettings
from whoisd.log import ClientNames
from whoisd.memory import anonymous
from whoisd.metrics import Board
from whoisd.server import Post, Worker
from whoisd.sockets import Room, open_listeners
from whoisd.sources import ENTRY, HEADER, Connections, Ledger, Secret, Sources
from whoisd.supervisor import limits_of


async def test_client_that_does_not_read(sandbox_database: Database) -> None:
    """An answer that a client leaves untaken is cut off at the write deadline, and the outcome says so."""
    settings = Settings(
        listen=(Listen(host="127.0.0.1", port=0),),
        database=DatabaseSettings(dsn=sandbox_database.reader),
        server=Server(write_timeout=0.5),
        answer=Answers(terms="\n".join(["terms of use " * 6] * 50)),
    )
    with open_listeners(settings.listen) as listeners, capture_logs() as events:
        [listening] = [listener.socket for listener in listeners]
        address = listening.getsockname()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it the least there is
        worker = Worker(
            Post(
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
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, b"eksempel.dk\r\n")
            await asyncio.sleep(0.4)
            assert not [event for event in events if event["event"].startswith("query")]
            await asyncio.sleep(0.4)
        await worker.stop()
    assert [(event["event"], event["outcome"]) for event in events if event["event"].startswith("query")] == [
        ("query.abandoned", "write_timeout")
    ]


def sources(settings: Settings) -> Sources:
    memory = memoryview(bytearray(HEADER + 8 * ENTRY))
    Ledger.format(memory, Secret.of(bytes(range(16))))
    ledger = Ledger(memory)
    connections = Connections(memoryview(bytearray(Connections.size(1))), 1, 0, ledger.secret)
    return Sources(limits_of(settings, {}), ledger, connections)
