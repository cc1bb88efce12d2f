"""The log: one line an event on standard error, as JSON or, for a person at a terminal, in colour.

Events are named noun.verb and facts are fields. No field holds personal data but the client's address: what is withheld
is logged by its reason. An exception is logged by its type and place, never by its text.
"""

import logging
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from whoisd.errors import Outcome, whereabouts
from whoisd.sources import NETWORK, Address, key_of

Logger = structlog.typing.FilteringBoundLogger

# The event of each outcome, and so the verb: what became of the query.
EVENTS: Final = {
    Outcome.FOUND: "query.answered",
    Outcome.NOT_FOUND: "query.answered",
    Outcome.HELP: "query.answered",
    Outcome.BAD_QUERY: "query.refused",
    Outcome.RATE_EXCEEDED: "query.refused",
    Outcome.BANNED: "query.refused",
    Outcome.TOO_MANY_CONNECTIONS: "query.refused",
    Outcome.UNTRUSTED_PROXY: "query.refused",
    Outcome.BAD_PROXY_HEADER: "query.refused",
    Outcome.READ_TIMEOUT: "query.missing",
    Outcome.NO_QUERY: "query.missing",
    Outcome.TEMPORARY_FAILURE: "query.failed",
    Outcome.INTERNAL_ERROR: "query.failed",
    Outcome.WRITE_TIMEOUT: "query.abandoned",
    Outcome.CLIENT_GONE: "query.abandoned",
}


class _Stderr:
    """Standard error for the log. A full disk, or a reader that is gone or slow, costs lines of the log, never an answer."""

    def __init__(self, file: Any, on_loss: Callable[[], None]) -> None:
        self._file = file
        self._on_loss = on_loss
        self._poll: select.poll | None = None
        with suppress(OSError, ValueError):  # what has no descriptor makes nobody wait
            poll = select.poll()
            poll.register(file.fileno(), select.POLLOUT)
            self._poll = poll

    def write(self, line: Any) -> None:
        """Write a line, or lose it: a pipe that has no room for one would stop us until somebody reads it."""
        data = line.encode(errors="backslashreplace") if isinstance(line, str) else line
        with suppress(OSError, ValueError):
            if (self._poll is None or self._poll.poll(0)) and self._file.write(data) == len(data):
                return
        self._on_loss()

    def flush(self) -> None:
        """Pass on nothing more: a line is passed on when it is written."""


def _unbuffered(stderr: Any) -> Any:
    """Return what writes at once: in a buffer a line that nobody takes would stay, and make Python's own end a failure."""
    return getattr(stderr.buffer, "raw", stderr.buffer)


def open_log(level: str, form: str, on_loss: Callable[[], None] = lambda: None) -> Logger:
    """Open the log on standard error; `form` is json, console, or auto (console on a terminal).

    `on_loss` is called for each line that could not be written.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    last: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(serializer=orjson.dumps)
    stderr: Any = _Stderr(_unbuffered(sys.stderr), on_loss)
    factory: Any = structlog.WriteLoggerFactory(stderr) if console else structlog.BytesLoggerFactory(stderr)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger()
    return logger.bind()


def log_query(log: Logger, outcome: Outcome, **facts: object) -> None:
    """Write the one event of a connection; facts that are None are left out."""
    event = EVENTS[outcome]
    write = log.error if event == "query.failed" else log.info
    write(event, outcome=outcome.value, **{key: fact for key, fact in facts.items() if fact is not None})


def log_fault(log: Logger, context: dict[str, Any]) -> None:
    """Log what a loop could not deliver to anyone, as its exception handler: its kind and place, not its text."""
    error = context.get("exception")
    log.error("server.fault", fault=whereabouts(error) if error else str(context.get("message")))


class ClientNames:
    """What the log calls a client: its address, a hash of its network, or nothing.

    The hash is keyed, and its key is replaced daily (UTC) by one from which the old cannot be had, so that what was
    logged on different days cannot be put together, nor be undone later. The network is the IPv4 /24 or IPv6 /48.
    `key` is 32 random bytes that all processes share, and `day` the day that it is for.
    """

    def __init__(self, form: str, key: bytes, day: date) -> None:
        self._form = form
        self._key = key
        self._day = day.toordinal()

    def name(self, address: Address | None, today: date) -> str | None:
        """Return what to call a client today; None for nothing."""
        if address is None or self._form == "none":
            return None
        if self._form == "address":
            return str(address)
        self.advance(today)
        network = key_of(address, NETWORK).network()
        return blake2b(str(network).encode(), key=self._key, digest_size=8).hexdigest()

    def advance(self, today: date) -> bytes:
        """Forget the keys of the days before; return that of today."""
        for _ in range(today.toordinal() - self._day):
            self._key = blake2b(self._key, digest_size=32, person=b"the next day").digest()
            self._day += 1
        return self._key
