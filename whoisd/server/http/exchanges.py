"""The requests of one HTTP connection: answered one after the other, each begun and finished by two plain functions.

Between the two the store waits for the database. Every request is a query, whatever it asks for; what was our fault costs
nothing. What an answer says is `answers.web`'s business, and how a connection ends `connection`'s.
"""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from whoisd.answers.answer import Answer
from whoisd.answers.model import Found
from whoisd.answers.web import METHODS, WebAnswer, WebLookup, asked_by, begin_request, fault, finish_request, refusal
from whoisd.errors import Outcome
from whoisd.limits.sources import Client, Refusal
from whoisd.server.http.asker import Asker
from whoisd.server.http.context import HttpContext
from whoisd.server.http.framing import Incoming, to_bytes

if TYPE_CHECKING:
    from whoisd.server.http.connection import HttpConnection

MOST_PIPELINED: Final = 32  # requests that wait for the answer to one before them

_OUR_FAULT: Final = {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


class _Exchange:
    """A request that is being answered: who made it, since when, and in the end what it was answered with."""

    __slots__ = ("answer", "client", "incoming", "refused", "since")

    def __init__(self, incoming: Incoming, client: Client, refused: Refusal | None) -> None:
        self.incoming = incoming
        self.client = client
        self.refused = refused
        self.since = perf_counter()
        self.answer: WebAnswer | None = None


class Exchanges:
    """What was asked on a connection and what became of it."""

    __slots__ = ("_answers", "_asker", "_connection", "_context", "_current", "_unsent", "_waiting")

    def __init__(self, context: HttpContext, asker: Asker, connection: "HttpConnection") -> None:
        self._context = context
        self._asker = asker
        self._connection = connection
        self._waiting: deque[Incoming] = deque()
        self._current: _Exchange | None = None
        self._unsent: list[_Exchange] = []  # answered, and not yet taken by the kernel to the last byte
        self._answers = 0

    @property
    def is_answering(self) -> bool:
        """Whether a request is still to be answered."""
        return self._current is not None or bool(self._waiting)

    def add(self, requests: Sequence[Incoming]) -> bool:
        """Let requests wait for their turn; return whether there is room for all.

        Where there is not, the last that has room is the last of the connection: by its answer a client knows that it has
        to ask again, on another, for what stood behind (RFC 9112, 9.3.2).
        """
        room = MOST_PIPELINED - len(self._waiting)
        self._waiting.extend(requests[:room])
        if len(requests) <= room:
            return True
        self.end_after_these()
        return False

    def end_after_these(self) -> None:
        """Let the newest request be the last."""
        newest = self._waiting[-1] if self._waiting else self._current.incoming if self._current else None
        if newest:
            newest.closes = True

    def drop(self) -> None:
        """Let go what waits: nobody is there any more to be answered."""
        self._waiting.clear()

    def go_on(self) -> None:
        """Begin what waits, one after the other."""
        while self._waiting and self._current is None and self._connection.is_open:
            incoming = self._waiting.popleft()
            self._current = _Exchange(incoming, *self._asker.of_request(incoming.forwarded))
            self._begin(self._current)
        self._connection.pause(is_paused=bool(self._waiting))

    def _begin(self, exchange: _Exchange) -> None:
        """Charge the client for a request, and begin its answer."""
        context, incoming = self._context, exchange.incoming
        request = incoming.request
        refused = exchange.refused or context.sources.charge(exchange.client, time())
        if refused:
            incoming.closes = incoming.closes or self._asker.refused is not None
            outcome = context.books.refusal(exchange.client, refused)
            asked = asked_by(request, context.policy)
            self._finish(exchange, refusal(asked, outcome, refused.retry_after, fault=refused.limit.value))
        elif incoming.fault and request.method in METHODS:
            self._finish(exchange, fault(asked_by(request, context.policy), incoming.fault))
        else:
            begun = begin_request(request, context.policy, datetime.now(UTC))
            if isinstance(begun, WebAnswer):
                self._finish(exchange, begun)
            else:
                context.store.look_up(begun.query, partial(self._found, exchange, begun))

    def _found(self, exchange: _Exchange, lookup: WebLookup, found: Found) -> None:
        self._finish(exchange, finish_request(lookup, found, self._context.policy))
        self.go_on()

    def _finish(self, exchange: _Exchange, web: WebAnswer) -> None:
        """Send an answer, if there is still somebody; what was our fault costs the client nothing."""
        context, connection = self._context, self._connection
        exchange.answer = web
        self._current = None
        if web.answer.outcome in _OUR_FAULT:
            context.sources.refund(exchange.client)
        if not connection.is_open:
            self._tell(exchange, None if self._answers else Outcome.CLIENT_GONE)
            return
        self._answers += 1
        self._unsent.append(exchange)
        closes = exchange.incoming.closes or context.draining
        connection.write(to_bytes(web, exchange.incoming.request.method, context.date, closes=closes))
        if closes:
            connection.leave()
        elif not self._waiting:
            connection.keep()

    # --- what came of them --------------------------------------------------------------------------------------------

    def sent(self, outcome: Outcome | None = None) -> None:
        """Tell what came of the requests whose answers the client has taken or, by `outcome`, has not."""
        sent, self._unsent = self._unsent, []
        for exchange in sent:
            self._tell(exchange, outcome)

    def _tell(self, exchange: _Exchange, outcome: Outcome | None) -> None:
        """Count and log what came of a request; `outcome` is one that its answer does not tell of."""
        assert exchange.answer  # noqa: S101 - only who has one is here
        answer = exchange.answer.answer
        if outcome:
            answer = Answer(outcome, b"", protocol=answer.protocol)
        self._asker.done_with(exchange.client, exchange.refused)
        seconds, status = perf_counter() - exchange.since, int(exchange.answer.status)
        self._context.books.record(exchange.client, answer, seconds, status)
