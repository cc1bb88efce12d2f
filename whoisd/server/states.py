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

    def __init__(self, buffer: HeaderBuffer) -> None:
        self.buffer = buffer


@dataclass(slots=True)
class Reading:
    """It waits for the client's line."""

    buffer: LineBuffer

    def __init__(self, buffer: LineBuffer) -> None:
        self.buffer = buffer


class Answering:
    """It waits for its answer, and is not read meanwhile."""

    __slots__ = ()


@dataclass(slots=True)
class Closing:
    """It has an answer, which took so many seconds; what is not sent yet; and then waits for the client's end."""

    answer: Answer
    seconds: float
    unsent: bytes
    drained: int  # bytes that were read and thrown away
    heard: int  # how many of them there were when its time was last up

    def __init__(self, answer: Answer, seconds: float, unsent: bytes, drained: int = 0, heard: int = 0) -> None:
        self.answer = answer
        self.seconds = seconds
        self.unsent = unsent
        self.drained = drained
        self.heard = heard


class Closed:
    """Its socket is closed."""

    __slots__ = ()


State = Header | Reading | Answering | Closing | Closed
ANSWERING: Final = Answering()
CLOSED: Final = Closed()
