"""The states that a connection goes through, each with what it needs and the others do not have."""

from dataclasses import dataclass
from typing import Final

from whoisd.answers.answer import Answer
from whoisd.answers.wire import LineBuffer
from whoisd.server.proxy import HeaderBuffer


@dataclass(slots=True)
class Header:
    """It waits for the header that a balancer sends."""

    buffer: HeaderBuffer


@dataclass(slots=True)
class Reading:
    """It waits for the client's line."""

    buffer: LineBuffer


class Answering:
    """It waits for its answer, and is not read meanwhile."""

    __slots__ = ()


@dataclass(slots=True)
class Closing:
    """It has an answer, which took so many seconds; what is not sent yet; and then waits for the client's end."""

    answer: Answer
    seconds: float
    unsent: bytes
    drained: int = 0  # bytes that were read and thrown away
    heard: int = 0  # how many of them there were when its time was last up


class Closed:
    """Its socket is closed."""

    __slots__ = ()


State = Header | Reading | Answering | Closing | Closed
ANSWERING: Final = Answering()
CLOSED: Final = Closed()
