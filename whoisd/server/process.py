"""What the server's processes do about themselves: who ends first when memory runs out, no core, and who has ended.

Each of these is Linux's own; where a machine does not let us, we go on without.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

# Of 1,000, which is all of the memory: a process counts as if it had half of it in use besides its own. A worker that is
# killed is replaced at once; its supervisor, or a PostgreSQL beside it, is not.
OOM_SCORE: Final = 500

_OOM_FILE: Final = Path("/proc/self/oom_score_adj")
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_PR_SET_DUMPABLE: Final = 4
_INIT: Final = 1


def follow(parent: int) -> bool:
    """Have the kernel send SIGTERM when the parent ends, however that is; return whether it is still there."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def go_first() -> None:
    """Be killed before the supervisor when memory runs out. For a process that is dumpable: else the file is root's."""
    with suppress(OSError, ValueError):
        if int(_OOM_FILE.read_text()) < OOM_SCORE:
            _OOM_FILE.write_text(str(OOM_SCORE))


def leave_no_core() -> None:
    """Leave no core behind, whatever a unit allows: it would hold registrants.

    The limit is for a core that is a file. One that is piped to a program, as systemd-coredump has them, minds no limit of 0
    (core(5)), but leaves alone who is not dumpable; such a process is not traced by others of its account either.
    """
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def ended(ours: Iterable[int]) -> list[tuple[int, int]]:
    """Return which of our processes have ended, each with its status.

    The first process of a container inherits every orphan in it, and is the only one that can let them go (wait(2)): there
    the orphans that have ended are among what is returned.
    """
    found = [(pid, status) for pid in ours for ended, status in [os.waitpid(pid, os.WNOHANG)] if ended]
    if os.getpid() == _INIT:
        with suppress(ChildProcessError):
            while (orphan := os.waitpid(-1, os.WNOHANG))[0]:
                found.append(orphan)
    return found


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
