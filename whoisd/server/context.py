"""What all connections of a worker share, and the books that are kept of them: who is let in, refused, and recorded.

A connection takes a place while it is served: one among its client's connections, and one in this process. It gives both
back once its answer is out, and when it is refused. Those that have only to close are kept apart, and the oldest of them
gives way when there is no room for more. So does the oldest that has sent nothing, when a client comes and every place is
taken: it is refused, in full, for one who may ask.

Knows connections by the few things that it does to them (`Guest`), and knows no socket.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Final, Protocol

from whoisd.answers import notices
from whoisd.answers.answer import Answer, Policy, notice
from whoisd.config import Listen, Settings
from whoisd.database.store import Store
from whoisd.deadlines import Deadlines
from whoisd.limits.sources import CONNECTIONS_RETRY, Client, Limit, Refusal, Sources
from whoisd.log import ClientNames, Logger
from whoisd.server.books import Books
from whoisd.server.fleet import Stage
from whoisd.server.metrics import Tally
from whoisd.server.poller import Poller
from whoisd.server.sockets import Listener, Room

REFUSAL_DRAIN: Final = 1.0  # seconds for a client refused at the door to take that and close; as many again while it sends
MOST_GIVEN_UP: Final = 50  # connections refused in one turn for others' sake: some 20 us each
MOST_DRAINED: Final = 1000  # connections being refused beyond which none is given more than the first of them

_NO_ROOM: Final = Refusal(Limit.ALL_CONNECTIONS, CONNECTIONS_RETRY)


class Guest(Hashable, Protocol):
    """A connection, as its context sees it."""

    def abort(self) -> None:
        """Cut it now."""

    def read_expired(self) -> None:
        """Give up waiting for its query."""

    def leave_expired(self) -> None:
        """Give up on it after a refusal, unless it still sends."""

    def give_way(self, refusal: Refusal) -> bool:
        """Refuse it, if it has sent nothing yet; return whether that is so."""


@dataclass(slots=True, eq=False)
class WorkerContext:
    """What a worker is given, and what its connections share. Made on the running loop; `say` takes the worker's stage."""

    settings: Settings
    listeners: Sequence[Listener[Listen]]
    room: Room
    sources: Sources
    tally: Tally
    names: ClientNames
    log: Logger
    say: Callable[[Stage], None] = lambda _: None
    others_answer: Callable[[], bool] = lambda: False  # whether another worker has a database that answers
    books: Books = field(init=False)
    policy: Policy = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)
    poller: Poller = field(init=False)
    store: Store = field(init=False)
    open: set[Guest] = field(init=False, default_factory=set)
    # Of those that are open, each with the oldest first:
    refused: dict[Guest, None] = field(init=False, default_factory=dict)  # at the door
    answered: dict[Guest, None] = field(init=False, default_factory=dict)  # they have their answer, and only have to close
    silent: dict[Guest, None] = field(init=False, default_factory=dict)  # they had sent nothing when last looked at
    idle: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    doubt: asyncio.Event = field(init=False, default_factory=asyncio.Event)  # a lookup has failed: does the database answer?
    reading: Deadlines[Guest] = field(init=False)
    closing: Deadlines[Guest] = field(init=False)
    leaving: Deadlines[Guest] = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.books = Books(self.tally, self.names, self.log)
        self.policy = settings.policy
        self.loop = asyncio.get_running_loop()
        self.poller = Poller(self.loop)
        database = settings.database
        self.store = Store(database.hosts, database.deadline, self.log, self.tally.batch, tells_age=database.tells_age)
        self.reading = Deadlines(self.loop, settings.server.read_timeout, _read_expired)
        self.closing = Deadlines(self.loop, settings.server.write_timeout, _abort)
        self.leaving = Deadlines(self.loop, REFUSAL_DRAIN, _leave_expired)

    def enter(self, guest: Guest) -> Refusal | None:
        """Take in a connection; return why it may not be served, where this process has no room for it."""
        self.open.add(guest)
        self.tally.open(1)
        if self.answered and len(self.open) > sum(self.room):
            next(iter(self.answered)).abort()
        served = len(self.open) - len(self.refused) - len(self.answered)
        return None if served <= self.room.served or self._make_way() else _NO_ROOM

    def admit(self, client: Client) -> Refusal | None:
        """Give a client's connection its place, or return why it has none."""
        refusal = self.sources.connect(client, time())
        if refusal and refusal.limit is Limit.ALL_CONNECTIONS:
            self._even_out()
        while refusal and refusal.limit is Limit.ALL_CONNECTIONS and self._make_way():
            refusal = self.sources.connect(client, time())
        return refusal

    def _even_out(self) -> None:
        """Give up places that are more than our part of all, which are taken, so that each worker has some to make way with.

        Else a client is refused for coming to the one worker of which nobody is silent, or is the oldest there at once.
        """
        for _ in range(min(self.sources.excess(), MOST_GIVEN_UP)):
            if not self._make_way():
                return

    def _make_way(self) -> bool:
        """Refuse the oldest connection that has sent nothing; return whether there was one."""
        while self.silent:
            oldest = next(iter(self.silent))
            del self.silent[oldest]
            if oldest.give_way(_NO_ROOM):
                return True
        return False

    def wait_for(self, guest: Guest, client: Client) -> None:
        """Wait for the line of a connection that has sent nothing yet. The places of a named network are kept for it."""
        if not client.network:
            self.silent[guest] = None

    def release(self, client: Client) -> None:
        """Take back the place that a client's connection was given."""
        self.sources.disconnect(client)

    def finish(self, guest: Guest) -> None:
        """Keep a connection apart whose answer is out, and which has only to close."""
        if guest not in self.refused:
            self.answered[guest] = None

    def refuse(self, guest: Guest) -> None:
        """Keep a connection that is refused at the door apart. It takes no room from others: the oldest such gives way."""
        self.refused[guest] = None
        if len(self.refused) > self.room.refused:
            next(iter(self.refused)).abort()

    @property
    def is_patient(self) -> bool:
        """Whether so few connections are being refused that one which still sends may have more time."""
        return len(self.refused) <= MOST_DRAINED

    def refusal(self, refusal: Refusal, client: Client) -> Answer:
        """Count a refusal, and return what to say."""
        outcome = self.books.refusal(client, refusal)
        return notice(outcome, notices.too_many_requests(refusal.retry_after), fault=refusal.limit.value)

    def leave(self, guest: Guest) -> None:
        """Let a connection go whose socket is closed."""
        self.open.discard(guest)
        for apart in (self.refused, self.answered, self.silent):
            apart.pop(guest, None)
        self.tally.open(-1)
        if not self.open:
            self.idle.set()

    def close(self) -> None:
        """Cut every connection, and watch nothing any more; idempotent."""
        for guest in tuple(self.open):
            guest.abort()
        for deadlines in (self.reading, self.closing, self.leaving):
            deadlines.close()
        self.poller.close()


def _read_expired(guest: Guest) -> None:
    guest.read_expired()


def _abort(guest: Guest) -> None:
    guest.abort()


def _leave_expired(guest: Guest) -> None:
    guest.leave_expired()
