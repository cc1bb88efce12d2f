"""One HTTP request, as an ASGI application: charge whoever asks, have the answer, send it, and say what came of it.

What an answer says is `answers.web`'s business. Every request is a query, whatever it asks for; what was our fault costs
nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Final

from whoisd.answers.answer import Answer
from whoisd.answers.web import METHODS, Request, WebAnswer, asked_by, begin_request, fault, finish_request, refusal
from whoisd.errors import Outcome
from whoisd.limits.sources import Client, Refusal
from whoisd.server.asgi import Receive, Scope, Send
from whoisd.server.http.connection import HttpConnection
from whoisd.server.http.context import HttpContext

FLUSH: Final = 0.02  # seconds between two looks whether a client has taken the rest of its answer

_OUR_FAULT: Final = {Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


class App:
    """The application that a process serves."""

    def __init__(self, context: HttpContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is received
        """Answer a request."""
        since = perf_counter()
        connection: HttpConnection = scope["state"]["connection"]
        request = request_of(scope)
        client, refused = connection.asker.of_request(scope["headers"])
        found = await self._answer(request, scope, connection, client, refused)
        if found.answer.outcome in _OUR_FAULT:
            self._context.sources.refund(client)
        outcome = found.answer.outcome
        try:
            await self._send(found, connection, send, closes=bool(scope["state"].get("closes")))
            outcome = await self._delivered(connection, outcome)
        finally:
            connection.asker.done_with(client, refused)
            cut_off = Answer(outcome, b"", protocol=found.answer.protocol)
            answer = found.answer if outcome is found.answer.outcome else cut_off
            self._context.record(client, answer, since, found.status.value)

    async def _answer(
        self, request: Request, scope: Scope, connection: HttpConnection, client: Client, refused: Refusal | None
    ) -> WebAnswer:
        context = self._context
        asked = asked_by(request, context.policy)
        refused = refused or context.sources.charge(client, time())
        if refused:
            outcome = context.count_refusal(client, refused)
            if connection.asker.refused or context.draining:
                scope["state"]["closes"] = True
            return refusal(asked, outcome, refused.retry_after, fault=refused.limit.value)
        what = scope["state"].get("fault")
        if what and request.method in METHODS:
            return fault(asked, what)
        begun = begin_request(request, context.policy, datetime.now(UTC))
        if isinstance(begun, WebAnswer):
            return begun
        return finish_request(begun, await context.store.find(begun.query), context.policy)

    async def _send(self, found: WebAnswer, connection: HttpConnection, send: Send, *, closes: bool) -> None:
        body = found.answer.payload
        headers = [
            (b"content-type", found.media_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in found.headers),
        ]
        if closes or self._context.draining:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": found.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        connection.answered()

    async def _delivered(self, connection: HttpConnection, outcome: Outcome) -> Outcome:
        """Return how a request ended that was answered: by then its client may be gone, or take nothing."""
        deadline = self._context.loop.time() + self._context.settings.server.write_timeout
        while connection.unsent:
            if self._context.loop.time() > deadline:
                connection.abort()
                return Outcome.WRITE_TIMEOUT
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(FLUSH)
        return Outcome.CLIENT_GONE if connection.gone_unanswered else outcome


def request_of(scope: Scope) -> Request:
    """Return what an answer depends on, of an ASGI scope."""
    headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
    request = Request(scope["method"], scope["raw_path"], scope["query_string"])
    accept = [value for name, value in headers if name == b"accept"]
    languages = [value for name, value in headers if name == b"accept-language"]
    if not accept and not languages:
        return request
    return replace(
        request,
        accept=b",".join(accept).decode("latin-1"),
        accept_language=b",".join(languages).decode("latin-1"),
    )
