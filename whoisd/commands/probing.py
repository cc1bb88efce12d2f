"""What probes of every protocol have in common: verdict and line, the deadline, the connection, and what is demanded.

Keeps the Monitoring Plugins guidelines (https://www.monitoring-plugins.org/doc/guidelines.html), which Nagios, Icinga and
their like share. Knows no protocol. Quotes no answer, which may hold personal data that a monitoring system would keep.
"""

import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from ipaddress import IPv6Address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ClassVar, Final, Protocol

from whoisd.answers.names import ascii_domain
from whoisd.errors import InvalidName, WhoisdError

WHOIS: Final = "WHOIS"
ANSWER_LIMIT: Final = 2**20  # bytes of an answer
QUOTE_LIMIT: Final = 80  # characters quoted of a text from the command line
LARGEST_NUMBER: Final = 1_000_000  # of each limit: milliseconds, or seconds, far below what the system calls can take

# HOST, HOST:PORT, [IPv6] or [IPv6]:PORT; a bare IPv6 address is put in brackets first.
_TARGET: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Za-z:.%_-]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")

# A byte of the command line that is no UTF-8 arrives as a surrogate, and cannot be sent or found.
_NOT_UTF_8: Final = re.compile(r"[\ud800-\udfff]")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

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
    service: str = WHOIS

    def line(self) -> str:
        """Return the plugin's output. No value from the command line can end the line or begin the measurements."""
        text = "".join(letter if letter.isprintable() and letter != "|" else "?" for letter in self.text)
        return f"{self.service} {self.status.name} - {text}" + (f" | {self.performance}" if self.performance else "")


@dataclass(frozen=True, slots=True)
class Demands:
    """What an answer must be: milliseconds from which on it is too slow, texts that must be in it, or must not."""

    warning: float | None
    critical: float | None
    expect: Sequence[str]
    absent: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its body, and over HTTP its status and media type."""

    body: bytes
    status: int = 200
    media_type: str = ""


# Whether a judgement holds, and if so the status and the words that it comes to.
Rule = tuple[bool, Status, str]


class Question(Protocol):
    """What is asked of a server, by one protocol."""

    service: ClassVar[str]

    def ask(self, deadline: "Deadline") -> Answer:
        """Return the whole answer. Raises `NoAnswerError`."""

    def judge(self, answer: Answer, demands: Demands) -> Iterator[Rule]:
        """Yield the judgements of an answer but for its time, the most severe first: the first that holds decides."""


class WrongUseError(WhoisdError):
    """What is asked for or demanded makes no sense; the message says what is wrong with it."""


class NoAnswerError(WhoisdError):
    """No whole answer came; the message says why, for the operator."""


class Deadline:
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


# --- what is asked for ---------------------------------------------------------------------------------------------


def parse_target(target: str, default_port: int) -> tuple[str, int] | None:
    """Return the host, in ASCII, and the port, or None for a text that cannot be both."""
    bare_ipv6 = target.count(":") > 1 and not target.startswith("[")
    found = _TARGET.fullmatch(f"[{target}]" if bare_ipv6 else target)
    if not found or CONTROL.search(target):
        return None
    port = int(found["port"] or default_port)
    try:
        host = str(IPv6Address(found["ipv6"])) if found["ipv6"] else ascii_domain(found["host"])
    except (ValueError, InvalidName):
        return None
    return (host, port) if 0 < port < 2**16 else None


def misuse(query: str, demands: Demands, timeout: float) -> None:
    """Check the query and what is demanded. Raises `WrongUseError`."""
    if not query.strip():
        raise WrongUseError("there is no name to ask for")
    if CONTROL.search(query) or _NOT_UTF_8.search(query):
        raise WrongUseError("the query must be one line of UTF-8 text")
    for text in (*demands.expect, *demands.absent):
        # An empty text is in every answer: `--expect "$UNSET"` would be content with any.
        if not text or _NOT_UTF_8.search(text):
            raise WrongUseError("a text to look for must be UTF-8, and not empty")
    limits = {"--warning": demands.warning, "--critical": demands.critical, "--timeout": timeout}
    for option, limit in limits.items():
        if limit is not None and not 0 < limit <= LARGEST_NUMBER:
            raise WrongUseError(f"{option} must be more than 0, and at most {LARGEST_NUMBER}")
    if demands.warning is not None and demands.critical is not None and demands.warning > demands.critical:
        raise WrongUseError("--warning must not be more than --critical")


# --- the network -----------------------------------------------------------------------------------------------------


def _resolve(host: str, port: int, deadline: Deadline) -> Sequence[_Address]:
    """Return the addresses of a host in the system's order of preference. Raises `NoAnswerError`."""
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
        raise NoAnswerError(f"the name was not resolved within {deadline.seconds:g} s") from None
    if isinstance(addresses, OSError):
        raise NoAnswerError(f"the name cannot be resolved: {words_of(addresses)}")
    return addresses


def connect(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Return a connection to the first of a host's addresses that takes one.

    Raises `NoAnswerError` with what each of them did.
    """
    faults = []
    addresses = _resolve(host, port, deadline)
    for position, address in enumerate(addresses):
        try:
            # An equal part of what is left: an address that swallows packets leaves time for those behind it.
            return _open(address, deadline.left() / (len(addresses) - position))
        except TimeoutError:
            faults.append("no connection in time")
        except OSError as error:
            faults.append(words_of(error))
    raise NoAnswerError(", ".join(dict.fromkeys(faults)))


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


def exchange(connection: socket.socket, request: bytes, deadline: Deadline, is_last: Callable[[bytes], bool]) -> bytes:
    """Send the request and return all that comes until the server closes, or until a piece is the last.

    Raises `NoAnswerError`.
    """
    received = bytearray()
    try:
        connection.settimeout(deadline.left())
        connection.sendall(request)
        while chunk := _receive(connection, deadline):
            received += chunk
            if len(received) > ANSWER_LIMIT:
                raise NoAnswerError(f"the answer is longer than {ANSWER_LIMIT} bytes")
            if is_last(chunk):
                break
    except TimeoutError:
        raise NoAnswerError(f"no whole answer within {deadline.seconds:g} s, only {len(received)} bytes") from None
    except (ConnectionResetError, BrokenPipeError):
        raise NoAnswerError(f"reset after {len(received)} bytes") from None
    except OSError as error:
        raise NoAnswerError(f"{words_of(error)} after {len(received)} bytes") from None
    if not received.strip():
        raise NoAnswerError("closed without an answer")
    return bytes(received)


def _receive(connection: socket.socket, deadline: Deadline) -> bytes:
    connection.settimeout(deadline.left())  # anew before each read: bytes that drip do not put the deadline off
    return connection.recv(2**16)


def words_of(error: OSError) -> str:
    """Return what the system says of an error."""
    return (error.strerror or type(error).__name__).lower()


# --- the answer ------------------------------------------------------------------------------------------------------


def judge_text(text: str, name: str, demands: Demands) -> Iterator[Rule]:
    """Yield the judgements of what must be in an answer to a question for this name, and what must not."""
    name = shortened(name)
    for words in demands.absent:
        yield plain(words) in text, Status.CRITICAL, f"the answer to {name} has {quoted(words)}, which must not be there"
    for words in demands.expect:
        yield plain(words) not in text, Status.CRITICAL, f"the answer to {name} lacks {quoted(words)}"


def judge_time(name: str, milliseconds: float, size: int, demands: Demands) -> Iterator[Rule]:
    """Yield the judgements of how long a right answer took; the last one always holds."""
    answered = f"{shortened(name)} answered in {int(milliseconds)} ms, {size} bytes"
    for limit, status in ((demands.critical, Status.CRITICAL), (demands.warning, Status.WARNING)):
        if limit is not None:
            yield milliseconds >= limit, status, f"{answered}; it must be under {_number(limit)} ms"
    yield True, Status.OK, answered


REFUSED: Final = (
    "the server refuses the probe for its rate, a ban or open connections;"
    " name the probe's network in a [[network]] of the server's configuration"
)
FAILED: Final = "the server answers with a temporary failure: it cannot reach its data"


def decode(data: bytes) -> str:
    """Return an answer as text with plain newlines: UTF-8 where it is, else ISO 8859-1."""
    try:
        return plain(data.decode())
    except UnicodeDecodeError:
        return plain(data.decode("iso-8859-1"))


def plain(text: str) -> str:
    """Return a text with plain newlines."""
    return text.replace("\r\n", "\n")


def performance(milliseconds: float, size: int, demands: Demands) -> str:
    """Return the measurements: 'label'=value[UOM];[warn];[crit];[min];[max]."""
    limits = ";".join("" if limit is None else _number(limit) for limit in (demands.warning, demands.critical))
    return f"time={int(milliseconds)}ms;{limits};0 size={size}B;;;0"


def _number(value: float) -> str:
    """Return a number in digits alone: the guidelines know no exponent."""
    return f"{Decimal(str(value)):f}".removesuffix(".0")


def shortened(text: str) -> str:
    """Return the beginning of a text from the command line."""
    return text if len(text) <= QUOTE_LIMIT else text[:QUOTE_LIMIT] + "..."


def quoted(text: str) -> str:
    """Return the beginning of a text from the command line, in quotes."""
    return f'"{shortened(text)}"'
