"""What all connections of an HTTP process share, and what time each of them has."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from whoisd.answers.answer import Policy
from whoisd.config import Settings
from whoisd.database.store import Store
from whoisd.deadlines import Deadlines
from whoisd.limits.sources import Sources
from whoisd.log import ClientNames, Logger
from whoisd.server.books import Books
from whoisd.server.metrics import Tally
from whoisd.server.sockets import Room

if TYPE_CHECKING:
    from whoisd.server.http.connection import HttpConnection

SECOND_LOOK: Final = 0.05  # seconds from the end of the time to read: by then is read what lay there
LINGER: Final = 2.0  # seconds for a client to close, once it was answered for the last time


@dataclass(slots=True)
class HttpContext:
    """What all connections of an HTTP process share."""

    settings: Settings
    room: Room
    policy: Policy
    store: Store
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    loop: asyncio.AbstractEventLoop
    open: set["HttpConnection"] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    date: bytes = b""  # of this second, as HTTP has it
    reading: "Deadlines[HttpConnection]" = field(init=False)  # a request that has begun, and the first
    doubted: "Deadlines[HttpConnection]" = field(init=False)  # whose time to read is up
    keeping: "Deadlines[HttpConnection]" = field(init=False)  # between two requests
    writing: "Deadlines[HttpConnection]" = field(init=False)
    lingering: "Deadlines[HttpConnection]" = field(init=False)

    books: Books = field(init=False)

    def __post_init__(self) -> None:
        from whoisd.server.http.connection import HttpConnection  # noqa: PLC0415 - it takes this

        self.books = Books(self.tally, self.names, self.log)
        server, http = self.settings.server, self.settings.http
        self.reading = Deadlines(self.loop, server.read_timeout, HttpConnection.read_expired)
        self.doubted = Deadlines(self.loop, SECOND_LOOK, HttpConnection.doubt_expired)
        self.keeping = Deadlines(self.loop, http.idle_timeout, HttpConnection.read_expired)
        self.writing = Deadlines(self.loop, server.write_timeout, HttpConnection.write_expired)
        self.lingering = Deadlines(self.loop, LINGER, HttpConnection.abort)

    def close(self) -> None:
        """Cut every connection; idempotent."""
        for connection in tuple(self.open):
            connection.abort()
        for deadlines in (self.reading, self.doubted, self.keeping, self.writing, self.lingering):
            deadlines.close()

    def stop_waiting(self, connection: "HttpConnection") -> None:
        """Wait no more for a request on a connection; idempotent."""
        for deadlines in (self.reading, self.doubted, self.keeping):
            deadlines.remove(connection)

    def forget(self, connection: "HttpConnection") -> None:
        """Count out a connection that has ended."""
        self.stop_waiting(connection)
        self.writing.remove(connection)
        self.lingering.remove(connection)
        self.open.discard(connection)
        self.tally.open(-1)
        if not self.open:
            self.idle.set()
