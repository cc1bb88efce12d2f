"""systemd's side of a service: which sockets are inherited, and what arrives at NOTIFY_SOCKET."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import PATIENCE, said_by

from whoisd.server.systemd import Notifier, inherited_sockets

SAY = """
import os
from whoisd.errors import ConfigError
from whoisd.server.systemd import inherited_sockets
try:
    first, second = inherited_sockets(), inherited_sockets()
except ConfigError as error:
    print("fault:", error)
else:
    print([(each.fileno(), each.getsockname()[:2], each.get_inheritable()) for each in first], second)
    for each in first:
        each.close()
print([name for name in os.environ if name.startswith("LISTEN_")])
"""

REFUSED = "fault: a socket that was passed on is no TCP socket that listens: see ListenStream=, Accept= in whoisd.socket"


def said_with(*descriptors: int, **changes: str) -> list[str]:
    """What a process says of the descriptors that are passed on to it, and of what is left in its environment."""
    return said_by(SAY, passing=descriptors, **{"LISTEN_FDNAMES": "whois"} | changes).splitlines()


# --- sockets that are passed on --------------------------------------------------------------------------------------


def test_sockets_are_inherited_in_their_order() -> None:
    """The sockets are those from descriptor 3 on, in their order; they are ours once, and no child of ours has them."""
    with (
        socket.create_server(("127.0.0.1", 0)) as ipv4,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as ipv6,
    ):
        said = said_with(ipv6.fileno(), ipv4.fileno())
        expected = [(3, ipv6.getsockname()[:2], False), (4, ipv4.getsockname(), False)]
    assert said == [f"{expected} []", "[]"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "", "LISTEN_PID": ""},
        {"LISTEN_FDS": "one", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": "1"},
    ],
)
def test_what_is_for_another_process_is_not_ours(changes: dict[str, str]) -> None:
    """Without both variables, or with those of another process, nothing is inherited, and no child of ours sees them."""
    assert said_with(**changes) == ["[] []", "[]"]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
        (socket.AF_UNIX, socket.SOCK_STREAM),
        (socket.AF_UNIX, socket.SOCK_DGRAM),
    ],
)
def test_only_tcp_is_taken(family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    """A socket that is no TCP socket is refused, with where to look."""
    with socket.socket(family, kind) as passed_on:
        said = said_with(passed_on.fileno())
    assert said[0] == REFUSED


def test_connection_is_refused() -> None:
    """A TCP socket that does not listen, as the connection that Accept=yes would pass on, is refused in the same words."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        passed_on, _ = listening.accept()
        with passed_on:
            said = said_with(passed_on.fileno())
    assert said[0] == REFUSED


def test_what_is_no_socket_is_refused() -> None:
    """A descriptor that is no socket at all (a FIFO, a file) is refused in the same words."""
    with Path(os.devnull).open("rb") as passed_on:
        said = said_with(passed_on.fileno())
    assert said[0] == REFUSED


def test_none_are_inherited_here() -> None:
    """Without systemd nothing is inherited."""
    assert inherited_sockets() == []


# --- notifications ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def received(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The other end of NOTIFY_SOCKET, in the file system or in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        if request.param == "path":
            name = str(tmp_path / "notify")
            bound.bind(name)
        else:
            name = f"@whoisd-test-{os.getpid()}"
            bound.bind(name.replace("@", "\0"))
        bound.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield bound


def test_each_notification_is_one_datagram(received: socket.socket) -> None:
    """Every state arrives as one datagram of assignments, as sd_notify(3) has them."""
    notifier = Notifier()
    for say in (notifier.ready, notifier.stopping, notifier.alive):
        say()
    notifier.status("2 workers serve")
    assert [received.recv(4096) for _ in range(4)] == [b"READY=1", b"STOPPING=1", b"WATCHDOG=1", b"STATUS=2 workers serve"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, moment = received.recv(4096).decode().split("\n")
    assert state == "RELOADING=1"
    name, _, microseconds = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_children_do_not_see_the_variables(received: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd says to the main process is taken out of the environment, so that no child answers for it."""
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & {*os.environ}
    notifier.ready()
    assert received.recv(4096) == b"READY=1"


@pytest.mark.parametrize(
    ("microseconds", "owner", "expected"),
    [
        ("30000000", None, 30.0),
        ("500000", "me", 0.5),
        ("30000000", "another", None),
        ("", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_watchdog(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, owner: str | None, expected: float | None
) -> None:
    """The watchdog's patience is known where it is set for this process, and for no other."""
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if owner:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() if owner == "me" else os.getppid()))
    assert Notifier().watchdog == expected


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NOTIFY_SOCKET a notification is nothing."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready()
    notifier.alive()


def test_watcher_that_is_gone_does_not_stop_us(received: socket.socket) -> None:
    """When nobody holds the other end any more, a notification is lost, and nothing else."""
    notifier = Notifier()
    received.close()
    notifier.alive()


def test_watcher_that_does_not_read_does_not_stop_us(received: socket.socket) -> None:
    """When the other end is full, a notification waits for a second at most, and is lost."""
    notifier = Notifier()
    received.setblocking(False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(100_000):
                other.sendto(b"X=1", received.getsockname())
            pytest.fail("it is never full")
    begun = time.monotonic()
    notifier.alive()
    assert time.monotonic() - begun < 5


def test_no_descriptor_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no socket can be made, nobody is told, and nothing fails."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    notifier = Notifier()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        notifier.alive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
