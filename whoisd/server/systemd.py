"""What systemd and a service say to each other: inherited sockets and notifications (sd_listen_fds(3), sd_notify(3)).

Without systemd nothing is inherited, and nobody is told.
"""

import os
import socket
import time
from contextlib import suppress
from typing import Final

from whoisd.errors import ConfigError

_FIRST: Final = 3  # descriptor of the first socket that is passed on


def inherited_sockets() -> list[socket.socket]:
    """Return the listening sockets that were passed on to this process; they are ours once. Raises `ConfigError`."""
    count, owner = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or owner != str(os.getpid()):
        return []
    return [_take(number) for number in range(_FIRST, _FIRST + int(count))]


def _take(number: int) -> socket.socket:
    """Make a socket of a descriptor that was passed on. Raises `ConfigError`."""
    with suppress(OSError):  # it is no socket at all
        inherited = socket.socket(fileno=number)
        inherited.set_inheritable(False)
        is_tcp = inherited.family in {socket.AF_INET, socket.AF_INET6} and inherited.type == socket.SOCK_STREAM
        # With Accept=yes it is a connection: accepting from that would fail again and again.
        if is_tcp and inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return inherited
        inherited.close()
    raise ConfigError(
        "a socket that was passed on is no TCP socket that listens: see ListenStream=, Accept= in whoisd.socket"
    )


class Notifier:
    """Tells systemd how the service stands. Made once, by the process that systemd started."""

    def __init__(self) -> None:
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        owner = os.environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        mine = owner == str(os.getpid()) and microseconds.isdigit()
        self.watchdog: float | None = int(microseconds) / 1e6 if mine else None  # seconds; more without a sign is a hang

    def ready(self) -> None:
        """Say that we serve, and by the configuration that was asked for last."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read anew; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that we stop."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """Say that we are alive."""
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in a line how it stands, for `systemctl status`."""
        self._tell(f"STATUS={text}")

    def _tell(self, message: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        # Whoever watches us may be gone, or descriptors short: neither is a reason to stop serving.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.settimeout(1)
            notify.sendto(message.encode(), address)
