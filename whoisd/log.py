"""The log: one line an event on standard error, as JSON or, for a person at a terminal, in colour.

Events are named noun.verb and facts are fields. No field holds personal data but the client's address: what is withheld
is logged by its reason. An exception is logged by its type and place, never by its text.
"""

import logging
import sys
from contextlib import suppress
from typing import Any, Final

import orjson
import structlog

from whoisd.errors import Outcome

Logger = structlog.typing.FilteringBoundLogger

# The event of each outcome, and so the verb: what became of the query.
EVENTS: Final = {
    Outcome.FOUND: "query.answered",
    Outcome.NOT_FOUND: "query.answered",
    Outcome.HELP: "query.answered",
    Outcome.BAD_QUERY: "query.refused",
    Outcome.TOO_MANY_CONNECTIONS: "query.refused",
    Outcome.READ_TIMEOUT: "query.missing",
    Outcome.NO_QUERY: "query.missing",
    Outcome.TEMPORARY_FAILURE: "query.failed",
    Outcome.INTERNAL_ERROR: "query.failed",
    Outcome.WRITE_TIMEOUT: "query.abandoned",
    Outcome.CLIENT_GONE: "query.abandoned",
}
_LEVELS: Final = {"query.failed": "error"}


class _Stderr:
    """Standard error for the log. A full disk or a reader that is gone costs lines of the log, never an answer."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, line: Any) -> None:
        """Write a line, or lose it."""
        with suppress(OSError, ValueError):
            self._file.write(line)

    def flush(self) -> None:
        """Pass on what was written."""
        with suppress(OSError, ValueError):
            self._file.flush()


def open_log(level: str, form: str) -> Logger:
    """Open the log on standard error; `form` is json, console, or auto (console on a terminal)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    last: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(serializer=orjson.dumps)
    stderr: Any = _Stderr(sys.stderr if console else sys.stderr.buffer)
    factory: Any = structlog.PrintLoggerFactory(stderr) if console else structlog.BytesLoggerFactory(stderr)
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
