"""Networks of a test's own: namespaces, links between them that delay and lose packets, and a balancer in one.

Nothing here has a name that another could have, or touches the machine's own network. A namespace is held by a thread that
has left for it and by a descriptor; once these are gone, however the tests end, the kernel removes it and all that is in it.
"""

import ctypes
import fcntl
import json
import os
import random
import selectors
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, Self, TypeVar

from support import PATIENCE, Service, end

MTU: Final = 1280  # bytes of a packet: the least that IPv6 has, so that an answer is several packets
_CLONE_NEWNET: Final = 0x40000000
_TUN: Final = Path("/dev/net/tun")
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000  # packets as they are, with nothing before them
_P = ParamSpec("_P")
_T = TypeVar("_T")


def why_not() -> str:
    """Why this machine has no networks for a test; nothing when it has."""
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("haproxy", "haproxy")):
        if not shutil.which(program):
            return f"{program} is not installed: apt-get install {package}"
    try:
        with Namespace() as namespace:
            return "" if has_netem(namespace) or _TUN.exists() else "the kernel has neither netem nor TUN devices"
    except OSError as error:
        return f"may not make a network namespace here: {error.strerror}"


# --- namespaces ------------------------------------------------------------------------------------------------------


class Namespace(AbstractContextManager["Namespace"]):
    """A network that has nothing in it but a loopback device of its own."""

    def __enter__(self) -> Self:
        self._inside = ThreadPoolExecutor(1)
        with ExitStack() as undone:
            undone.callback(self._inside.shutdown)
            self.within(_leave)
            self._descriptor = self.within(os.open, "/proc/thread-self/ns/net", os.O_RDONLY)
            undone.callback(os.close, self._descriptor)
            self.ip("link set lo up")
            self._done = undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.close()

    @property
    def path(self) -> str:
        """Where programs find it, as long as this is entered."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def within(self, function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """What a function returns that is called inside: sockets that it opens and programs that it starts are there."""
        return self._inside.submit(function, *arguments, **named).result()

    def ip(self, *lines: str) -> None:
        """Carry out lines of iproute2's `ip`."""
        self.run("ip", "-batch", "-", given="\n".join(lines))

    def run(self, *command: str, given: str = "") -> str:
        """What a command prints that is run inside, which must end well."""
        ended = self.within(
            subprocess.run, command, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert ended.returncode == 0, f"{command}: {given}: {ended.stderr}"
        return ended.stdout

    def own(self, *addresses: str) -> None:
        """Have these addresses."""
        self.ip(*(f"address replace {address} dev lo{' nodad' if ':' in address else ''}" for address in addresses))


def _leave() -> None:
    """Move this thread into a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# --- links -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """What becomes of packets, in each direction: how many seconds they take, and which share is lost."""

    delay: float
    loss: float


class Carrier(ABC):
    """What carries packets between a device of one namespace and a device of another."""

    @abstractmethod
    def lost(self) -> int:
        """How many packets were lost so far."""

    @abstractmethod
    def close(self) -> None:
        """Carry nothing more."""


class Veth(Carrier):
    """A veth pair; what troubles it is the kernel's own netem at both ends."""

    def __init__(self, device: str, near: Namespace, far: Namespace, trouble: Trouble | None) -> None:
        self._device = device
        self._ends = (near, far)
        near.ip(f"link add {device} type veth peer name {device} netns {far.path}")
        if trouble:
            for namespace in self._ends:
                _add_netem(namespace, device, trouble)

    def lost(self) -> int:
        """How many packets netem dropped."""
        command = "tc", "-s", "-j", "qdisc", "show", "dev", self._device
        qdiscs = [qdisc for namespace in self._ends for qdisc in json.loads(namespace.run(*command))]
        return sum(qdisc["drops"] for qdisc in qdiscs if qdisc["kind"] == "netem")

    def close(self) -> None:
        """Leave it to the kernel, which removes both ends with the first of their namespaces."""


def _add_netem(namespace: Namespace, device: str, trouble: Trouble) -> None:
    what = ["limit", "100000", "delay", f"{trouble.delay * 1000:g}ms", "loss", f"{trouble.loss:%}"]
    namespace.run("tc", "qdisc", "add", "dev", device, "root", "netem", *what)


def has_netem(namespace: Namespace) -> bool:
    """Whether the kernel has netem; tried at the loopback device of a namespace that is for nothing else."""
    try:
        _add_netem(namespace, "lo", Trouble(0.001, 0.01))
    except AssertionError:
        return False
    return True


class _Packet(NamedTuple):
    """A packet that is under way: the moment at which it arrives, and the device."""

    due: float
    sink: int
    data: bytes


class Wire(Carrier):
    """Two TUN devices and a thread that carries each packet from one to the other, late, or never."""

    def __init__(self, device: str, near: Namespace, far: Namespace, trouble: Trouble) -> None:
        self._trouble = trouble
        self._lost = 0
        self._random = random.Random(0)  # noqa: S311 - chance, and no secret
        self._under_way: deque[_Packet] = deque()  # all take equally long: the first that came is the first that is due
        self._ended = os.eventfd(0)
        ends = near.within(_open_tun, device), far.within(_open_tun, device)
        self._sinks = {ends[0]: ends[1], ends[1]: ends[0]}
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    def lost(self) -> int:
        """How many packets the thread threw away."""
        return self._lost

    def close(self) -> None:
        """End the thread; with their descriptors the devices go."""
        os.eventfd_write(self._ended, 1)
        self._thread.join()
        for descriptor in (*self._sinks, self._ended):
            os.close(descriptor)

    def _carry(self) -> None:
        with selectors.DefaultSelector() as selector:
            for descriptor in (*self._sinks, self._ended):
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                wait = max(0.0, self._under_way[0].due - time.monotonic()) if self._under_way else None
                ready = [key.fd for key, _ in selector.select(wait)]
                if self._ended in ready:
                    return
                for source in ready:
                    self._take(os.read(source, 65536), self._sinks[source])
                self._deliver()

    def _take(self, data: bytes, sink: int) -> None:
        if self._random.random() < self._trouble.loss:
            self._lost += 1
        else:
            self._under_way.append(_Packet(time.monotonic() + self._trouble.delay, sink, data))

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0].due <= time.monotonic():
            packet = self._under_way.popleft()
            os.write(packet.sink, packet.data)


def _open_tun(device: str) -> int:
    """A TUN device that is up, in the namespace of whoever calls; it is there as long as its descriptor."""
    descriptor = os.open(_TUN, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
        subprocess.run(["ip", "link", "set", device, "up"], timeout=PATIENCE, check=True)  # of this thread's namespace
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Link(AbstractContextManager["Link"]):
    """What joins two namespaces, with an address of each family at each end: of `near`, and of `far`, by version of IP.

    One without trouble is a veth pair, and so is one with, where the kernel has netem; where it has not, a `Wire`.
    """

    def __init__(self, number: int, near: Namespace, far: Namespace, trouble: Trouble | None = None) -> None:
        self._device = f"link{number}"
        self._ends = (near, far)
        self._trouble = trouble
        self.near, self.far = ({4: f"10.{number}.0.{host}", 6: f"fd00:{number}::{host}"} for host in (1, 2))

    def __enter__(self) -> Self:
        self._carrier = self._lay()
        try:
            for namespace, addresses in zip(self._ends, (self.near, self.far), strict=True):
                namespace.ip(
                    f"address add {addresses[4]}/24 dev {self._device}",
                    f"address add {addresses[6]}/64 dev {self._device} nodad",
                    f"link set {self._device} mtu {MTU} up",
                )
        except BaseException:
            self._carrier.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._carrier.close()

    def _lay(self) -> Carrier:
        if self._trouble:
            with Namespace() as namespace:
                if not has_netem(namespace):
                    return Wire(self._device, *self._ends, self._trouble)
        return Veth(self._device, *self._ends, self._trouble)

    @property
    def kind(self) -> str:
        """What it is made of."""
        return type(self._carrier).__name__

    def lost(self) -> int:
        """How many packets were lost so far, both directions together."""
        return self._carrier.lost()

    def route(self, *networks: str) -> None:
        """Let the far end reach networks that are at the near one."""
        self._ends[1].ip(*(f"route add {network} via {self.near[6 if ':' in network else 4]}" for network in networks))


# --- programs within -------------------------------------------------------------------------------------------------


class NamespaceService(Service):
    """`whoisd serve` inside a namespace. It reaches its database by a UNIX socket, which is in none."""

    def __init__(self, namespace: Namespace, dsn: str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(dsn, settings)
        self._namespace = namespace

    def __enter__(self) -> Self:
        return self._namespace.within(super().__enter__)

    def http(self, path: str) -> tuple[int, str]:
        """The status and text of what the observer answers."""
        return self._namespace.within(super().http, path)


def _start(*command: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)


class Balancer(AbstractContextManager["Balancer"]):
    """HAProxy inside a namespace; its servers are checked, and up, once this is entered."""

    def __init__(self, namespace: Namespace, configuration: str) -> None:
        self.namespace = namespace
        self._configuration = configuration

    def __enter__(self) -> Self:
        with ExitStack() as undone:
            folder = Path(undone.enter_context(tempfile.TemporaryDirectory()))
            self._socket = folder / "haproxy.sock"
            file = folder / "haproxy.cfg"
            file.write_text(f"global\n    stats socket {self._socket}\n{self._configuration}")
            self._process = self.namespace.within(_start, "haproxy", "-db", "-f", file)
            undone.callback(end, self._process)
            self._wait_until_up()
            self._done = undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.close()

    def servers(self) -> list[dict[str, str]]:
        """What HAProxy tells of each server, by the names of its CSV (HAProxy's management guide, 9.1)."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self._socket))
            client.sendall(b"show stat -1 4 -1\n")  # of all proxies, the servers
            with client.makefile() as answer:
                head, *rows = (line.strip().removeprefix("# ").split(",") for line in answer if line.strip())
        return [dict(zip(head, row, strict=True)) for row in rows]

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_up():
            assert time.monotonic() < deadline, "HAProxy does not come up"
            assert self._process.poll() is None, "HAProxy ended"
            time.sleep(0.02)

    def _is_up(self) -> bool:
        try:
            return all(server["check_status"] == "L4OK" for server in self.servers())
        except (FileNotFoundError, ConnectionRefusedError):
            return False
