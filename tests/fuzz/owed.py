"""What a client is owed, worked out from its bytes alone by the same `answer` as the server's.

So what is tried is everything between the bytes and the answer, and it is compared to the byte. How a connection may have
ended follows likewise; where the client goes before its answer there are several ways.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address
from typing import Final, Self

import structlog
from fuzz.clients import Address, Door, Ending, Script

from whoisd.answers import notices
from whoisd.answers.answer import answer
from whoisd.answers.wire import LINE_LIMIT, LineBuffer
from whoisd.config import Settings
from whoisd.database.store import Store
from whoisd.errors import Outcome, ProxyError, QueryFault
from whoisd.server.proxy import HeaderBuffer

TIMEOUT: Final = 2.0  # seconds, of the server, to read and to write


@dataclass(frozen=True, slots=True)
class Owed:
    """How a connection may end, and the texts of which one is owed to a client that reads."""

    outcomes: frozenset[Outcome]
    texts: frozenset[bytes]


def _notice(outcome: Outcome, *texts: str) -> Owed:
    return Owed(frozenset({outcome}), frozenset(text.replace("\n", "\r\n").encode() for text in texts))


NO_QUERY: Final = _notice(Outcome.NO_QUERY, notices.refusal(QueryFault.NO_NAME))
READ_TIMEOUT: Final = _notice(Outcome.READ_TIMEOUT, notices.read_timeout(TIMEOUT))
BAD_HEADER: Final = _notice(Outcome.BAD_PROXY_HEADER, notices.BAD_PROXY_HEADER)
UNTRUSTED: Final = _notice(Outcome.UNTRUSTED_PROXY, notices.UNTRUSTED_PROXY)

# A long line that is no text either is refused for the one or the other, as it is cut.
_OF_A_LONG_LINE: Final = (QueryFault.TOO_LONG, QueryFault.NOT_TEXT)
EITHER_FAULT: Final = _notice(Outcome.BAD_QUERY, *map(notices.refusal, _OF_A_LONG_LINE))


def _read(script: Script, *, ended: bool) -> tuple[Address, bytes | Owed]:
    """Who a client is to the server, and its line, or what it is told without one; `ended` is whether its input has."""
    client: Address = ip_address(script.source)
    data = script.sent
    if script.door is Door.STRANGER:
        return client, UNTRUSTED
    if script.door is Door.BALANCER:
        try:
            header = HeaderBuffer().feed(data)
        except ProxyError:
            return client, BAD_HEADER
        if not header:
            return client, (BAD_HEADER if data else NO_QUERY) if ended else READ_TIMEOUT
        client, data = header.client or client, header.rest
    if not data:
        return client, NO_QUERY if ended else READ_TIMEOUT
    buffer = LineBuffer()
    line = buffer.feed(data)
    if line is None:
        return client, buffer.rest() if ended else READ_TIMEOUT
    return client, line


def hastened(script: Script) -> Script:
    """The client, which does not wait for the deadline where there is nothing else to wait for, unless it is patient."""
    waits = script.ending in {Ending.WAIT, Ending.LINGER} and not script.is_patient
    if waits and _read(script, ended=False)[1] is READ_TIMEOUT:
        return replace(script, ending=Ending.HALF_CLOSE)
    return script


class Oracle:
    """Says what a client is owed, by the database that the server has too."""

    _NOBODY: Final = IPv4Address("0.0.0.0")  # noqa: S104 - no address to listen on

    def __init__(self, dsn: str) -> None:
        settings = Settings.model_validate({"database": {"dsn": dsn}})
        self._policy = settings.policy
        self._store = Store(settings.database.hosts, 20.0, structlog.get_logger(), lambda _: None)
        self._known: dict[bytes, tuple[Outcome, str | None, bytes]] = {}

    async def __aenter__(self) -> Self:
        await self._store.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._store.close()

    async def owed(self, script: Script) -> Owed:
        """What a client is owed that was not late."""
        ended = await self._owed(script, ended=script.ending in {Ending.HALF_CLOSE, Ending.CLOSE})
        if script.ending.reads:
            return ended
        sooner = await self._owed(script, ended=False)
        ways = ended.outcomes | sooner.outcomes | {Outcome.CLIENT_GONE}
        return Owed(ways - {Outcome.READ_TIMEOUT}, frozenset())

    async def _owed(self, script: Script, *, ended: bool) -> Owed:
        client, read = _read(script, ended=ended)
        if isinstance(read, Owed):
            return read
        outcome, fault, payload = await self._answer(read)
        if fault in _OF_A_LONG_LINE and len(script.sent) > LINE_LIMIT:
            return EITHER_FAULT
        greeted = payload.replace(f"# Hello {self._NOBODY}.".encode(), f"# Hello {client.exploded}.".encode(), 1)
        return Owed(frozenset({outcome}), frozenset({greeted}))

    async def _answer(self, line: bytes) -> tuple[Outcome, str | None, bytes]:
        if line not in self._known:
            found = await answer(line, str(self._NOBODY), self._store.find, self._policy, datetime.now(UTC))
            self._known[line] = found.outcome, found.fault, found.payload
        return self._known[line]
