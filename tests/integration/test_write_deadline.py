"""A client that does not take its answer: the worker on the test's own loop, with socket buffers too small for an answer."""

import asyncio
import socket

import structlog
from structlog.testing import capture_logs
from support import Database

from whoisd.config import Answers, Listen, Server, Settings
from whoisd.config import Database as DatabaseSettings
from whoisd.server import Worker, open_sockets


async def test_client_that_does_not_read(sandbox_database: Database) -> None:
    """An answer that a client leaves untaken is cut off at the write deadline, and the outcome says so."""
    settings = Settings(
        listen=(Listen(host="127.0.0.1", port=0),),
        database=DatabaseSettings(dsn=sandbox_database.reader),
        server=Server(write_timeout=0.5),
        answer=Answers(terms="\n".join(["terms of use " * 6] * 50)),
    )
    with open_sockets(settings.listen) as [listening], capture_logs() as events:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel makes it the least there is
        worker = Worker(settings, structlog.get_logger())
        await worker.start([listening])
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listening.getsockname())
            await loop.sock_sendall(client, b"eksempel.dk\r\n")
            await asyncio.sleep(0.4)
            assert not [event for event in events if event["event"].startswith("query")]
            await asyncio.sleep(0.4)
        await worker.stop()
    assert [(event["event"], event["outcome"]) for event in events if event["event"].startswith("query")] == [
        ("query.abandoned", "write_timeout")
    ]
