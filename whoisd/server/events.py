"""What the supervisor waits for: signals, and the stages that its workers come to.

Knows pipes and signal handlers, and the one moment at which they must be held back; knows nothing of what is to be done.
"""

import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from whoisd.server.fleet import Stage


class Events(NamedTuple):
    """What happened: signals that came, and stages that workers have come to, by their pid."""

    signals: set[int]
    stages: list[tuple[int, Stage]]


_SAID: Final = struct.Struct("=ii")  # pid, stage


class Signals:
    """The events that the supervisor waits for. A signal is noted, and does nothing halfway."""

    _OURS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    _NOBODYS: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)  # which would end us, and mean nothing to us

    def __init__(self) -> None:
        self._signals, self._on_signal = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stages, self._on_stage = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._came: set[int] = set()
        for number in self._OURS:
            signal.signal(number, lambda number, _: self._came.add(number))
        for number in self._NOBODYS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._on_signal, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._OURS)  # `whoisd.commands` holds SIGHUP back until here

    def wait(self, seconds: float) -> Events:
        """Return what has happened, as soon as something has, or after so many seconds."""
        select.select([self._signals, self._stages], [], [], seconds)
        _read(self._signals)  # which only ends the waiting: when full it loses what comes
        came, self._came = self._came, set()
        said = _SAID.iter_unpack(_read(self._stages))
        return Events(came, [(pid, Stage(stage)) for pid, stage in said])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back while a process is forked: one that is meant for it must not be taken for ours."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._OURS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def forget(self) -> None:
        """Be a forked process, which minds no terminal and ends when it is told to."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        for number in self._OURS:
            signal.signal(number, signal.SIG_DFL if number in {signal.SIGTERM, signal.SIGCHLD} else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._OURS)
        os.close(self._signals)
        os.close(self._on_signal)
        os.close(self._stages)

    def say(self, stage: Stage) -> None:
        """Tell the supervisor what stage this process has come to."""
        with suppress(OSError):  # it is gone: then we are told to end
            os.write(self._on_stage, _SAID.pack(os.getpid(), stage))


def _read(pipe: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(pipe, 512 * _SAID.size)
    return b""
