"""Ask a WHOIS server one query from outside, and judge the answer as a monitoring plugin: one line and an exit status.

Keeps the Monitoring Plugins guidelines (https://www.monitoring-plugins.org/doc/guidelines.html), which Nagios, Icinga and
their like share. Knows the sentences by which a .dk server refuses, and nothing of its configuration or its database: it
sees what a client sees. It never quotes an answer, which may hold personal data that a monitoring system would keep.
"""

import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from ipaddress import IPv6Address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, NoReturn

import click

from whoisd.answers.names import ascii_domain
from whoisd.errors import InvalidName, WhoisdError, whereabouts

WHOIS_PORT: Final = 43
ANSWER_LIMIT: Final = 2**20  # bytes of an answer
QUOTE_LIMIT: Final = 80  # characters quoted of a text from the command line
LARGEST_NUMBER: Final = 1_000_000  # of each limit: milliseconds, or seconds, far below what the system calls can take

# How lines of `notices` begin, and those of other versions of it: a probe may be older or newer than what it asks.
TOO_MANY: Final = "WHOIS LIMIT EXCEEDED"
TEMPORARY: Final = "WHOIS time limit exceeded"
NO_ENTRIES: Final = "No entries found"

# HOST, HOST:PORT, [IPv6] or [IPv6]:PORT; a bare IPv6 address is put in brackets first.
_TARGET: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Za-z:.%_-]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")

# A byte of the command line that is no UTF-8 arrives as a surrogate, and cannot be sent or found.
_NOT_UTF_8: Final = re.compile(r"[\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class Status(IntEnum):
    """What came of a probe; the value is the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a probe: the status, why, and the measurements, which are empty where no whole answer came."""

    status: Status
    text: str
    performance: str = ""

    def line(self) -> str:
        """Return the plugin's output. No value from the command line can end the line or begin the measurements."""
        text = "".join(letter if letter.isprintable() and letter != "|" else "?" for letter in self.text)
        return f"WHOIS {self.status.name} - {text}" + (f" | {self.performance}" if self.performance else "")


@dataclass(frozen=True, slots=True)
class _Demands:
    """What an answer must be: milliseconds from which on it is too slow, texts that must be in it, or must not."""

    warning: float | None
    critical: float | None
    expect: Sequence[str]
    absent: Sequence[str]


class _NoAnswerError(WhoisdError):
    """No whole answer came; the message says why, for the operator."""


class _Deadline:
    """The one deadline over name resolution, connecting, sending and the whole answer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun = time.monotonic()

    def spent(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self._begun

    def left(self) -> float:
        """Return the seconds that are left, more than none. Raises `TimeoutError` when it has passed."""
        left = self.seconds - self.spent()
        if left <= 0:
            raise TimeoutError
        return left


def probe(  # noqa: PLR0913 - each is an option of the command
    target: str,
    query: str,
    *,
    warning: float | None,
    critical: float | None,
    expect: Sequence[str] = (),
    absent: Sequence[str] = (),
    timeout: float = 10.0,
) -> Result:
    """Ask `target` (HOST, HOST:PORT, an IPv6 address or [IPv6]:PORT) the query, and judge what comes back.

    `warning` and `critical` are milliseconds, from resolving the name to the end of the answer; `timeout`, in seconds,
    is the deadline over the same. Texts are compared as they are, with the answer's line ends as plain newlines. Raises
    nothing for what the network or the server does: that is in the result, as is a wrong use.
    """
    demands = _Demands(warning, critical, expect, absent)
    host = _parse_target(target)
    if host is None:
        return Result(Status.UNKNOWN, f"{_quoted(target)} is no HOST, HOST:PORT or [IPV6]:PORT")
    if fault := _misuse(query, demands, timeout):
        return Result(Status.UNKNOWN, fault)
    line = query.encode() + b"\r\n"
    deadline = _Deadline(timeout)
    try:
        data = _fetch(*host, line, deadline)
    except _NoAnswerError as error:
        return Result(Status.CRITICAL, f"{_shortened(target)}: {error}")
    milliseconds = deadline.spent() * 1000
    rules = _rules(query, data, milliseconds, demands)
    status, text = next((status, text) for holds, status, text in rules if holds)
    return Result(status, text, _performance(milliseconds, len(data), demands))


# --- what is asked for -----------------------------------------------------------------------------------------------


def _parse_target(target: str) -> tuple[str, int] | None:
    """Return the host, in ASCII, and the port, or None for a text that cannot be both."""
    bare_ipv6 = target.count(":") > 1 and not target.startswith("[")
    found = _TARGET.fullmatch(f"[{target}]" if bare_ipv6 else target)
    if not found or _CONTROL.search(target):
        return None
    port = int(found["port"] or WHOIS_PORT)
    try:
        host = str(IPv6Address(found["ipv6"])) if found["ipv6"] else ascii_domain(found["host"])
    except (ValueError, InvalidName):
        return None
    return (host, port) if 0 < port < 2**16 else None


def _misuse(query: str, demands: _Demands, timeout: float) -> str | None:
    """Return what is wrong with the query or with what is demanded, or None."""
    if not query.strip():
        return "there is no name to ask for"
    if _CONTROL.search(query) or _NOT_UTF_8.search(query):
        return "the query must be one line of UTF-8 text"
    for text in (*demands.expect, *demands.absent):
        # An empty text is in every answer: `--expect "$UNSET"` would be content with any.
        if not text or _NOT_UTF_8.search(text):
            return "a text to look for must be UTF-8, and not empty"
    limits = {"--warning": demands.warning, "--critical": demands.critical, "--timeout": timeout}
    for option, limit in limits.items():
        if limit is not None and not 0 < limit <= LARGEST_NUMBER:
            return f"{option} must be more than 0, and at most {LARGEST_NUMBER}"
    if demands.warning is not None and demands.critical is not None and demands.warning > demands.critical:
        return "--warning must not be more than --critical"
    return None


# --- the network -----------------------------------------------------------------------------------------------------


def _fetch(host: str, port: int, line: bytes, deadline: _Deadline) -> bytes:
    """Return the whole answer to a query line. Raises `_NoAnswerError`."""
    with _connect(_resolve(host, port, deadline), deadline) as connection:
        return _exchange(connection, line, deadline)


def _resolve(host: str, port: int, deadline: _Deadline) -> Sequence[_Address]:
    """Return the addresses of a host in the system's order of preference. Raises `_NoAnswerError`."""
    found: SimpleQueue[Sequence[_Address] | OSError] = SimpleQueue()

    def look_up() -> None:
        try:
            # As bytes: a str would pass through Python's own IDNA, which refuses what the system's resolver may know.
            found.put(socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)

    # The system's resolver takes no deadline. A daemon thread does not hold up the end of the process either.
    Thread(target=look_up, daemon=True).start()
    try:
        addresses = found.get(timeout=deadline.left())
    except (Empty, TimeoutError):
        raise _NoAnswerError(f"the name was not resolved within {deadline.seconds:g} s") from None
    if isinstance(addresses, OSError):
        raise _NoAnswerError(f"the name cannot be resolved: {_words(addresses)}")
    return addresses


def _connect(addresses: Sequence[_Address], deadline: _Deadline) -> socket.socket:
    """Return a connection to the first address that takes one. Raises `_NoAnswerError` with what each of them did."""
    faults = []
    for position, address in enumerate(addresses):
        try:
            # An equal part of what is left: an address that swallows packets leaves time for those behind it.
            return _open(address, deadline.left() / (len(addresses) - position))
        except TimeoutError:
            faults.append("no connection in time")
        except OSError as error:
            faults.append(_words(error))
    raise _NoAnswerError(", ".join(dict.fromkeys(faults)))


def _open(address: _Address, seconds: float) -> socket.socket:
    family, kind, protocol, _, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.settimeout(seconds)
        connection.connect(where)
    except BaseException:
        connection.close()
        raise
    return connection


def _exchange(connection: socket.socket, line: bytes, deadline: _Deadline) -> bytes:
    """Send the line and return everything until the server closes. Raises `_NoAnswerError`."""
    received = bytearray()
    try:
        connection.settimeout(deadline.left())
        connection.sendall(line)
        while chunk := _receive(connection, deadline):
            received += chunk
            if len(received) > ANSWER_LIMIT:
                raise _NoAnswerError(f"the answer is longer than {ANSWER_LIMIT} bytes")
    except TimeoutError:
        raise _NoAnswerError(f"no whole answer within {deadline.seconds:g} s, only {len(received)} bytes") from None
    except (ConnectionResetError, BrokenPipeError):
        raise _NoAnswerError(f"reset after {len(received)} bytes") from None
    except OSError as error:
        raise _NoAnswerError(f"{_words(error)} after {len(received)} bytes") from None
    if not received.strip():
        raise _NoAnswerError("closed without an answer")
    return bytes(received)


def _receive(connection: socket.socket, deadline: _Deadline) -> bytes:
    connection.settimeout(deadline.left())  # anew before each read: bytes that drip do not put the deadline off
    return connection.recv(2**16)


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


# --- the answer ------------------------------------------------------------------------------------------------------


def _rules(query: str, data: bytes, milliseconds: float, demands: _Demands) -> Iterator[tuple[bool, Status, str]]:
    """Yield the judgements of a whole answer, the most severe first: whether each holds, its status and its words.

    The first that holds decides, and the last one always does.
    """
    text, name = _decode(data), _shortened(query)
    answered = f"{name} answered in {int(milliseconds)} ms, {len(data)} bytes"
    yield (
        _says(text, TOO_MANY),
        Status.UNKNOWN,
        (
            "the server refuses the probe for its rate, a ban or open connections;"
            " name the probe's network in a [[network]] of the server's configuration"
        ),
    )
    yield _says(text, TEMPORARY), Status.CRITICAL, "the server answers with a temporary failure: it cannot reach its data"
    for words in demands.absent:
        yield _plain(words) in text, Status.CRITICAL, f"the answer to {name} has {_quoted(words)}, which must not be there"
    for words in demands.expect:
        yield _plain(words) not in text, Status.CRITICAL, f"the answer to {name} lacks {_quoted(words)}"
    if not demands.expect:
        yield _says(text, NO_ENTRIES), Status.CRITICAL, f"the name is not there: {name}"
        yield _is_refusal(query, text), Status.UNKNOWN, f"the server refuses the query: {name}"
    for limit, status in ((demands.critical, Status.CRITICAL), (demands.warning, Status.WARNING)):
        if limit is not None:
            yield milliseconds >= limit, status, f"{answered}; it must be under {_number(limit)} ms"
    yield True, Status.OK, answered


def _decode(data: bytes) -> str:
    """Return an answer as text with plain newlines: UTF-8 where it is, else ISO 8859-1."""
    try:
        return _plain(data.decode())
    except UnicodeDecodeError:
        return _plain(data.decode("iso-8859-1"))


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _says(text: str, notice: str) -> bool:
    """Whether a line begins with the notice: within a line it would be a value, or the terms of use."""
    return f"\n{notice}" in f"\n{text}"


def _is_refusal(query: str, text: str) -> bool:
    """Whether an answer has only comments, as one to a query that is not taken; HELP is answered so too, in many lines."""
    lines = [line for line in text.split("\n") if line.strip()]
    asked_for_help = query.rsplit(maxsplit=1)[-1].lower() == "help"
    return all(line.startswith("#") for line in lines) and not (asked_for_help and len(lines) > 1)


def _performance(milliseconds: float, size: int, demands: _Demands) -> str:
    """Return the measurements: 'label'=value[UOM];[warn];[crit];[min];[max]."""
    limits = ";".join("" if limit is None else _number(limit) for limit in (demands.warning, demands.critical))
    return f"time={int(milliseconds)}ms;{limits};0 size={size}B;;;0"


def _number(value: float) -> str:
    """Return a number in digits alone: the guidelines know no exponent."""
    return f"{Decimal(str(value)):f}".removesuffix(".0")


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTE_LIMIT else text[:QUOTE_LIMIT] + "..."


def _quoted(text: str) -> str:
    return f'"{_shortened(text)}"'


# --- the command -----------------------------------------------------------------------------------------------------


class _Plugin(click.Command):
    """A command whose wrong use is UNKNOWN: click's own status for it, 2, would be read as CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _end(ctx, Result(Status.UNKNOWN, error.format_message()))
        except click.exceptions.Exit:  # of --help, which is UNKNOWN too by the guidelines: nothing was probed
            ctx.exit(Status.UNKNOWN)


def _end(context: click.Context, result: Result) -> NoReturn:
    # As bytes: a locale that lacks a letter of the line must not turn the verdict into a traceback.
    click.echo(result.line().encode())
    context.exit(result.status)


@click.command("probe", cls=_Plugin)
@click.option("--warning", type=float, metavar="MS", help="Milliseconds from which on the answer is a WARNING.")
@click.option("--critical", type=float, metavar="MS", help="Milliseconds from which on the answer is CRITICAL.")
@click.option("--expect", multiple=True, metavar="TEXT", help="CRITICAL unless the answer has this text; may be repeated.")
@click.option("--absent", multiple=True, metavar="TEXT", help="CRITICAL if the answer has this text; may be repeated.")
@click.option(
    "--timeout", type=float, default=10.0, show_default=True, metavar="SECONDS", help="For everything, to the answer's end."
)
@click.argument("target", metavar="HOST[:PORT]")
@click.argument("words", metavar="NAME...", nargs=-1, required=True)
@click.pass_context
def probe_command(context: click.Context, /, target: str, words: tuple[str, ...], **limits: Any) -> None:
    """Ask a server as a client does and judge the answer, as a monitoring plugin.

    Prints one line; the exit status is 0 OK, 1 WARNING, 2 CRITICAL or 3 UNKNOWN. Options of the query go behind `--`:
    whoisd probe whois.example.dk -- --show-handles punktum.dk
    """
    try:
        result = probe(target, " ".join(words), **limits)
    except KeyboardInterrupt:
        result = Result(Status.UNKNOWN, "interrupted")
    except Exception as error:  # noqa: BLE001 - Python's own status for it, 1, would be read as WARNING
        result = Result(Status.UNKNOWN, f"a fault of whoisd's own, please report it: {whereabouts(error)}")
    _end(context, result)
