"""One answer on its way to its client: written whole, and the connection closed so that none of it is lost.

An answer can be lost in closing: a socket closed while input is unread, or before input that is under way, is reset by the
kernel, and the reset can overtake the answer. So: write, FIN, read on and throw away until the client closes too (or its
deadline comes), then close. Knows nothing of what was asked; `connection` reads that.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from socket import MSG_DONTWAIT, MSG_MORE, SHUT_WR, SocketType
from time import perf_counter
from typing import Final

from whoisd.answers.answer import Answer
from whoisd.answers.wire import LineBuffer
from whoisd.deadlines import Deadlines
from whoisd.errors import Outcome
from whoisd.limits.sources import Client, Refusal
from whoisd.server.context import Guest, WorkerContext
from whoisd.server.poller import READABLE, WRITABLE
from whoisd.server.states import ANSWERING, CLOSED, Closing, Reading, State

NOW: Final = int(MSG_DONTWAIT)  # every call says so; as a number, for to put flags together takes longer than to send
LAST: Final = int(MSG_DONTWAIT | MSG_MORE)
DRAIN_LIMIT: Final = 16 * 1024 * 1024  # bytes read and thrown away for one connection; then it is left unread

_GONE: Final = Answer(Outcome.CLIENT_GONE, b"")


class Delivery(ABC):
    """A connection that has a socket and a client, and in time an answer. `Connection` is what asks for that."""

    __slots__ = ("_client", "_context", "_deadlines", "_descriptor", "_ended", "_has_place", "_since", "_socket", "_state",
                 "_watched")  # fmt: skip

    def __init__(self, context: WorkerContext, socket: SocketType, client: Client) -> None:
        self._context = context
        self._socket = socket
        self._descriptor = socket.fileno()
        self._client = client
        self._watched = 0  # the events that the poller watches it for
        self._state: State = Reading(LineBuffer())
        self._has_place = False  # whether the client's open connections have this one among them
        self._deadlines: Deadlines[Guest] | None = None  # which of them this is in
        self._ended = False  # whether the client has sent its FIN
        self._since = perf_counter()  # the loop's own clock is too coarse: it stands still within a turn

    @abstractmethod
    def ready(self, events: int) -> None:
        """Do what the socket is ready for."""

    @abstractmethod
    def read_expired(self) -> None:
        """Give up waiting for the query."""

    @abstractmethod
    def give_way(self, refusal: Refusal) -> bool:
        """Be refused, if nothing has come yet; return whether that is so."""

    def leave_expired(self) -> None:
        """Give up on a client refused at the door, unless it still sends: a reset now could overtake what it is told.

        It may have no more than the time of any other client, and only while there is room; the oldest still gives way.
        """
        context, state = self._context, self._state
        sends = False
        if isinstance(state, Closing):
            sends, state.heard = state.drained > state.heard, state.drained
        in_time = perf_counter() - self._since < context.settings.server.write_timeout
        if sends and in_time and context.is_patient:
            self._give_time(context.leaving)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection now, and what it has not taken of its answer; idempotent."""
        if self._state is not CLOSED:
            self._close(Outcome.WRITE_TIMEOUT)

    def _send(self, answer: Answer) -> None:
        """Write an answer and end our half; close at once only when the client has ended its own."""
        context = self._context
        self._state = state = Closing(answer, perf_counter() - self._since, answer.payload)
        self._give_time(context.leaving if self in context.refused else context.closing)
        self._write(state)

    def _write(self, state: Closing) -> None:
        """Write what the kernel takes of the answer. When it has it all, the FIN is next.

        MSG_MORE holds the last of it back for the FIN, which then takes no packet of its own: the client is woken once.
        """
        try:
            sent = self._socket.send(state.unsent, LAST)
            state.unsent = state.unsent[sent:]
            if not state.unsent:
                self._give_back()
                if not self._ended:
                    self._context.finish(self)
                    self._socket.shutdown(SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:  # a reset: nobody is there any more
            self._close(Outcome.CLIENT_GONE)
            return
        if self._ended and not state.unsent:
            self._close()  # nothing can be unread: the kernel delivers what it has, then the FIN
        else:
            self._watch()

    def _watch(self) -> None:
        """Have the socket watched for what the connection waits for now."""
        state = self._state
        events = 0
        if isinstance(state, Closing):
            events = (READABLE if not self._ended and state.drained <= DRAIN_LIMIT else 0) | (
                WRITABLE if state.unsent else 0
            )
        elif state is not ANSWERING and not self._ended:
            events = READABLE
        if events == self._watched:
            return
        self._watched = events
        if events:
            self._context.poller.watch(self._descriptor, events, self)
        else:
            self._context.poller.forget(self._descriptor)

    def _give_time(self, deadlines: Deadlines[Guest] | None) -> None:
        """Move to another deadline queue, or to none."""
        if self._deadlines:
            self._deadlines.remove(self)
        self._deadlines = deadlines
        if deadlines:
            deadlines.add(self)

    def _give_back(self) -> None:
        """Give back the client's place, before it sees the end of the connection: it may come again at once."""
        if self._has_place:
            self._has_place = False
            self._context.release(self._client)

    def _close(self, cut_off: Outcome = Outcome.CLIENT_GONE) -> None:
        """Give up the socket, and record how the connection ended: as its answer says, or so where that was cut off."""
        state, self._state = self._state, CLOSED
        context = self._context
        self._give_time(None)
        context.poller.drop(self._descriptor)
        self._give_back()
        self._socket.close()
        context.leave(self)
        if isinstance(state, Closing):
            context.books.record(self._client, _as_sent(state, cut_off), state.seconds)
        else:
            context.books.record(self._client, _GONE, perf_counter() - self._since)


def _as_sent(closing: Closing, cut_off: Outcome) -> Answer:
    """Return an answer as its client had it. One cut off part-way counts as shown as soon as any of it was sent."""
    answer = closing.answer
    if not closing.unsent:
        return answer
    sent = answer.payload[: -len(closing.unsent)]
    return replace(answer, outcome=cut_off, payload=sent) if sent else Answer(cut_off, b"")
