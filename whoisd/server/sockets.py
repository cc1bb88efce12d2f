"""The sockets that a server listens on: passed on by systemd or opened here, each with its `[[listen]]` section.

All workers accept from the same sockets. One that dies or is replaced takes no waiting connection with it, and what waits
on a socket that systemd holds is there for the next server too.
"""

import errno
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Generic, NamedTuple, TypeVar

from whoisd.config import HttpListen, Listen
from whoisd.errors import ConfigError
from whoisd.log import Logger
from whoisd.server.systemd import inherited_sockets

BACKLOG: Final = 4096  # connections that wait to be accepted; the kernel lowers it to net.core.somaxconn
SPARE_DESCRIPTORS: Final = 64  # for the database, the log, the sockets that listen

_HINTS: Final = {
    errno.EADDRINUSE: "; choose another port",
    errno.EACCES: "; a port below 1024 takes CAP_NET_BIND_SERVICE, or a socket that systemd passes on",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    errno.EAFNOSUPPORT: "; this machine does not speak that protocol: name others in [[listen]]",
}


Section = TypeVar("Section", bound=Listen | HttpListen)


@dataclass(frozen=True, slots=True)
class Listener(Generic[Section]):
    """A listening socket and its section of the settings. One that was `inherited` is held by someone outside too."""

    socket: socket.socket
    listen: Section
    inherited: bool

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: address and port."""
        return _address(self.socket)


@contextmanager
def open_listeners(listen: Sequence[Listen], http: Sequence[HttpListen] = ()) -> Iterator[list[Listener[Any]]]:
    """Give each section its socket, inherited or opened, and close them at the end; those of HTTP are the last.

    Raises `ConfigError`, which names the address that cannot be had, or that was passed on and is in no section.
    """
    with ExitStack() as stack:
        sections = [*_by_key(listen, http)]
        inherited = _by_address([stack.enter_context(each) for each in inherited_sockets()], [each for _, each in sections])
        listeners: list[Listener[Any]] = []
        for key, section in sections:
            passed_on = inherited.pop((str(ip_address(section.host)), section.port), None)
            opened = passed_on or stack.enter_context(open_socket(section.host, section.port, key))
            opened.setblocking(False)  # several processes accept from it: the one that is late is not to wait
            listeners.append(Listener(opened, section, inherited=passed_on is not None))
        yield listeners


def _by_address(
    inherited: Sequence[socket.socket], sections: Sequence[Listen | HttpListen]
) -> dict[tuple[str, int], socket.socket]:
    """Return the sockets that were passed on, by address. Raises `ConfigError` for those that are in no section, or twice.

    Before any other is opened: that one may be in the way of what is configured is the lesser news.
    """
    wanted = {(section.host, section.port) for section in sections}
    found: dict[tuple[str, int], socket.socket] = {}
    faults = []
    for each in inherited:
        host, port = address = _address(each)
        if address not in wanted:
            faults.append(f"listen: a socket on {host} port {port} was passed on; add a [[listen]] section for it")
        elif address in found:
            faults.append(f"listen: two sockets on {host} port {port} were passed on; leave one ListenStream= of them")
        found[address] = each
    if faults:
        raise ConfigError("\n".join(faults))
    return found


def _by_key(listen: Sequence[Listen], http: Sequence[HttpListen]) -> Iterator[tuple[str, Listen | HttpListen]]:
    yield from ((f"listen.{number}", section) for number, section in enumerate(listen))
    yield from ((f"http.listen.{number}", section) for number, section in enumerate(http))


def open_socket(host: str, port: int, key: str) -> socket.socket:
    """Open a listening socket. Raises `ConfigError`, naming the key and the address that cannot be had."""
    try:
        return _open(host, port)
    except OSError as error:
        what = f"{error.strerror}{_HINTS.get(error.errno or 0, '')}"
        raise ConfigError(f"{key}: cannot listen on {host} port {port}: {what}") from None


def _open(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _address(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()[:2]
    return host, port


class Room(NamedTuple):
    """For how many connections a process has descriptors: those that it serves, and those that it is refusing."""

    served: int
    refused: int


def raise_descriptor_limit(connections: int, log: Logger) -> Room:
    """Raise the limit on open files as far as it goes; return for how many connections it leaves room.

    A fifth is kept for connections that are refused: beyond it they could not even be told. Raises `ConfigError` when
    there is no room at all.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return Room(connections, connections)
    served, refused = (hard - SPARE_DESCRIPTORS) * 4 // 5, (hard - SPARE_DESCRIPTORS) // 5
    if served < 1:
        raise ConfigError(f"the limit on open files (RLIMIT_NOFILE) is {hard}: raise it to {2 * SPARE_DESCRIPTORS} or more")
    if served < connections:
        log.warning("server.limited", max_connections=served, because="the limit on open files (RLIMIT_NOFILE)")
    return Room(min(connections, served), max(refused, 1))
