"""The log: one line an event on standard error, as JSON or, for a person at a terminal, in colour.

Events are named noun.verb and facts are fields. No field holds personal data but the client's address: what is withheld
is logged by its reason. An exception is logged by its type and place, never by its text.
"""

import json
import logging
import os
import select
import stat
import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from whoisd.errors import Outcome, whereabouts
from whoisd.limits.keys import NETWORK, key_of
from whoisd.limits.sources import Client

Logger = structlog.typing.FilteringBoundLogger

MOST_DAYS: Final = 3660  # by which a key is advanced at once: no process sleeps for longer, and a clock may say anything

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
        self._held: list[bytes] = []
        self._poll: select.poll | None = None
        with suppress(OSError, ValueError):  # what has no descriptor makes nobody wait, and nor does a file on a disk
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                poll = select.poll()
                poll.register(file.fileno(), select.POLLOUT)
                self._poll = poll

    def write(self, line: bytes) -> None:
        """Write a line, or hold it until the end of the turn (see `gather`)."""
        if _call_soon is None:
            self._put([line])
            return
        if not self._held:
            _call_soon(self.write_held)
        self._held.append(line)

    def write_held(self) -> None:
        """Write what is held, as many lines at once as a pipe takes as a whole: one of another process stays out of them."""
        held, self._held = self._held, []
        together: list[bytes] = []
        size = 0
        for line in held:
            if size + len(line) > select.PIPE_BUF and together:
                self._put(together)
                together, size = [], 0
            together.append(line)
            size += len(line)
        if together:
            self._put(together)

    def _put(self, lines: Sequence[bytes]) -> None:
        """Write lines, or lose them: a pipe that has no room for them would stop us until somebody reads it."""
        data = b"".join(lines)
        with suppress(OSError, ValueError):
            if (self._poll is None or self._poll.poll(0)) and self._file.write(data) == len(data):
                return
        for _ in lines:
            self._on_loss()


class _Lines:
    """What structlog passes a line on to, by the method of its level: whichever that is, the line is written."""

    def __init__(self, stderr: _Stderr) -> None:
        self._stderr = stderr

    def __getattr__(self, level: str) -> Callable[[str | bytes], None]:
        return self.write

    def write(self, line: str | bytes) -> None:
        """Write a line, whose end is still to be put to it."""
        data = line.encode(errors="backslashreplace") if isinstance(line, str) else line
        self._stderr.write(data + b"\n")


# The log that is open, structlog's class for it where it is JSON, and who writes what it holds at the end of a turn: one for
# a process, as structlog's settings are.
_stderr: _Stderr | None = None
_json_logger: type | None = None
_least = logging.INFO  # the level from which events are written
_call_soon: Callable[[Callable[[], None]], object] | None = None


def gather(call_soon: Callable[[Callable[[], None]], object] | None) -> None:
    """Write the lines of a turn of the loop together from now on, at its end; writing is half of what a line costs.

    `call_soon` is the loop's; None has each line written by itself again.
    """
    global _call_soon  # noqa: PLW0603 - one for a process
    _call_soon = call_soon
    if _stderr and not call_soon:
        _stderr.write_held()


def _unbuffered(stderr: Any) -> Any:
    """Return what writes at once: in a buffer a line that nobody takes would stay, and make Python's own end a failure."""
    return getattr(stderr.buffer, "raw", stderr.buffer)


def _json_line(_: Any, level: str, event: MutableMapping[str, Any]) -> bytes:
    """Make a line of an event: what structlog's own processors make of it, in a third of the time."""
    return _line(event, level, datetime.now(UTC))


def _line(event: MutableMapping[str, Any], level: str, now: datetime) -> bytes:
    event["level"] = level
    event["timestamp"] = now
    try:
        return orjson.dumps(event, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError:  # of the name of a file that is no UTF-8: a line of the log is to end nobody
        # And should it be of an object: its own text may quote personal data.
        event["timestamp"] = now.isoformat()
        return json.dumps(event, default=lambda value: type(value).__name__).encode()


_LEVELS: Final = {"info": logging.INFO, "error": logging.ERROR}  # those of queries

_CONSOLE: Final[list[Any]] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.dev.ConsoleRenderer(),
]


def open_log(level: str, form: str, on_loss: Callable[[], None] = lambda: None) -> Logger:
    """Open the log on standard error; `form` is json, console, or auto (console on a terminal).

    `on_loss` is called for each line that could not be written.
    """
    global _stderr, _json_logger, _least  # noqa: PLW0603 - one for a process
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    _stderr = _Stderr(_unbuffered(sys.stderr), on_loss)
    lines = _Lines(_stderr)
    _least = getattr(logging, level.upper())
    methods: Any = structlog.make_filtering_bound_logger(_least)
    _json_logger = None if console else type("JsonLogger", (methods,), {})
    structlog.configure(
        processors=_CONSOLE if console else [_json_line],
        wrapper_class=_json_logger or methods,
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger()
    return logger.bind()


def log_query(log: Logger, now: datetime, outcome: Outcome, facts: dict[str, object]) -> None:
    """Write the one event of a connection, which ended at `now` (UTC); facts that are None are left out.

    Nearly every line of the log is one of these. As JSON it takes structlog's methods and their chain, which is of one link,
    twice as long to be passed on as to be made; so it is handed over whole, and all else is the same.
    """
    name = EVENTS[outcome]
    level = "error" if name == "query.failed" else "info"
    stderr = _stderr if _json_logger is not None and isinstance(log, _json_logger) else None
    if stderr and _LEVELS[level] < _least:
        return
    event: dict[str, object] = structlog.get_context(log).copy() if stderr else {}
    event["outcome"] = str(outcome)
    for key, fact in facts.items():
        if fact is not None:
            event[key] = fact  # noqa: PERF403 - behind the outcome
    if stderr:
        event["event"] = name
        stderr.write(_line(event, level, now) + b"\n")
    else:
        getattr(log, level)(name, **event)


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

    def name(self, client: Client, today: date) -> str | None:
        """Return what to call a client today; None for nothing."""
        if self._form == "address":
            return client.text
        if self._form == "none":
            return None
        self.advance(today)
        network = key_of(client.address, NETWORK).network()
        return blake2b(str(network).encode(), key=self._key, digest_size=8).hexdigest()

    def advance(self, today: date) -> bytes:
        """Forget the keys of the days before; return that of today.

        A clock that is set back over midnight goes on with the key of the later day. One that was further ahead is not
        waited for: the days are counted from today again, with one key more.
        """
        ahead = today.toordinal() - self._day
        if ahead in (-1, 0):
            return self._key
        for _ in range(min(ahead, MOST_DAYS) if ahead > 0 else 1):
            self._key = blake2b(self._key, digest_size=32, person=b"the next day").digest()
        self._day = today.toordinal()
        return self._key
