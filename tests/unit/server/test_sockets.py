"""The sockets to listen on: opened or inherited, each with its section, and what is said when one cannot be had."""

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from support import PATIENCE, environment, said_by

from whoisd.config import Listen
from whoisd.errors import ConfigError
from whoisd.server.sockets import SPARE_DESCRIPTORS, open_listeners, open_socket, raise_descriptor_limit

OPEN = """
import json, sys
from whoisd.config import Listen
from whoisd.errors import ConfigError
from whoisd.server.sockets import open_listeners
try:
    with open_listeners([Listen(**section) for section in json.loads(sys.argv[1])]) as listeners:
        print([(it.socket.fileno(), it.address, it.inherited) for it in listeners])
except ConfigError as error:
    print("fault:", error)
"""


def opened_with(passed_on: list[socket.socket], sections: list[dict[str, object]]) -> str:
    """What a process makes of sockets that are passed on to it, and of these sections."""
    return said_by(OPEN, json.dumps(sections), passing=[each.fileno() for each in passed_on]).strip()


# --- opened here -----------------------------------------------------------------------------------------------------


def test_each_section_has_its_socket() -> None:
    """Every section has a socket that listens at its address, in their order, and all are closed at the end."""
    sections = [
        Listen(host="127.0.0.1", port=0),
        Listen(host="::1", port=0),
        Listen.model_validate({"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["192.0.2.0/24"]}),
    ]
    with open_listeners(sections) as listeners:
        assert [it.listen for it in listeners] == sections
        assert [it.address[0] for it in listeners] == ["127.0.0.1", "::1", "127.0.0.1"]
        assert not any(it.inherited for it in listeners)
        for it in listeners:
            socket.create_connection(it.address, timeout=PATIENCE).close()
        addresses = [it.address for it in listeners]
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=PATIENCE)


def test_both_versions_on_one_port() -> None:
    """The wildcard of IPv6 leaves IPv4 to a section of its own, so that both can have one port."""
    with open_listeners([Listen(host="::", port=0)]) as (it,):
        port = it.address[1]
        with open_socket("127.0.0.1", port, "listen.1") as ipv4:
            assert ipv4.getsockname() == ("127.0.0.1", port)


def test_port_can_be_had_again_at_once() -> None:
    """A port whose last connection was closed a moment ago (TIME_WAIT) can be listened on."""
    with open_listeners([Listen(host="127.0.0.1", port=0)]) as (it,):
        address = it.address
        with socket.create_connection(address, timeout=PATIENCE) as client:
            served, _ = it.socket.accept()
            served.close()  # we close first, so that TIME_WAIT is ours
            assert client.recv(1) == b""
    with open_listeners([Listen(host=address[0], port=address[1])]) as (again,):
        assert again.address == address


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken_port_is_named(taken: int) -> None:
    """A port that is taken is named, with its section and what to do; the sockets before it are closed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        before = free.getsockname()[1]
    sections = [Listen(host="127.0.0.1", port=before), Listen(host="127.0.0.1", port=taken)]
    with pytest.raises(ConfigError) as raised, open_listeners(sections):
        pass
    assert str(raised.value) == (
        f"listen.1: cannot listen on 127.0.0.1 port {taken}: Address already in use; choose another port"
    )
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before), timeout=PATIENCE)


def test_address_that_is_not_ours_is_named() -> None:
    """An address that the machine does not have is named (192.0.2.0/24 is nobody's: RFC 5737)."""
    with pytest.raises(ConfigError) as raised:
        open_socket("192.0.2.1", 0, "metrics")
    assert str(raised.value) == (
        "metrics: cannot listen on 192.0.2.1 port 0: Cannot assign requested address;"
        " this machine does not have that address"
    )


# --- inherited -------------------------------------------------------------------------------------------------------


def test_inherited_sockets_find_their_sections() -> None:
    """A socket that is passed on belongs to the section of its address, however that is written; others are opened."""
    with (
        socket.create_server(("127.0.0.1", 0)) as ipv4,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as ipv6,
    ):
        v4, v6 = ipv4.getsockname(), ipv6.getsockname()[:2]
        sections: list[dict[str, object]] = [
            {"host": "0:0:0:0:0:0:0:1", "port": v6[1]},
            {"host": "127.0.0.2", "port": v4[1]},
            {"host": "127.0.0.1", "port": v4[1]},
        ]
        said = opened_with([ipv4, ipv6], sections)
    assert said == f"[(4, {v6}, True), (5, ('127.0.0.2', {v4[1]}), False), (3, {v4}, True)]"


def test_inherited_socket_without_a_section_is_named() -> None:
    """A socket that is passed on and is in no section stops the start, and its address is named."""
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = opened_with([named, other], [{"host": "127.0.0.1", "port": named.getsockname()[1]}])
    assert said == f"fault: listen: a socket on 127.0.0.1 port {port} was passed on; add a [[listen]] section for it"


def test_every_inherited_socket_without_a_section_is_named() -> None:
    """All that are in no section are named, before any is opened: one of them may be in the way of what is configured."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
        said = opened_with([one, other], [{"host": "127.0.0.2", "port": ports[0]}])
    assert said.startswith("fault: ")
    assert all(f"a socket on 127.0.0.1 port {port} was passed on" in said for port in ports)


def test_address_that_is_passed_on_twice() -> None:
    """Two sockets of one address, of which one would be taken from by nobody, stop the start."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        other.bind(("127.0.0.1", port))
        one.listen()
        other.listen()
        said = opened_with([one, other], [{"host": "127.0.0.1", "port": port}])
    assert said == f"fault: listen: two sockets on 127.0.0.1 port {port} were passed on; leave one ListenStream= of them"


# --- the limit on open files -----------------------------------------------------------------------------------------


@pytest.fixture
def limit_as_it_was() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_room_is_what_was_asked_where_there_is_enough(limit_as_it_was: tuple[int, int]) -> None:
    """Where the limit leaves room for what is asked for, that is the room, and nothing is said; the limit is raised."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit_as_it_was[1]))
    with capture_logs() as events:
        assert raise_descriptor_limit(100, structlog.get_logger()).served == 100
    assert events == []
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit_as_it_was[1]


LIMITED = """
import resource, sys
import structlog
from whoisd.errors import ConfigError
from whoisd.server.sockets import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (32, int(sys.argv[1])))
try:
    print(*raise_descriptor_limit(10_000, structlog.get_logger()))
except ConfigError as error:
    print("fault:", error)
"""


@pytest.mark.parametrize(
    ("limit", "room"),
    [
        (SPARE_DESCRIPTORS, "fault"),
        (SPARE_DESCRIPTORS + 1, "fault"),
        (SPARE_DESCRIPTORS + 2, "1 1"),
        (200, f"{(200 - SPARE_DESCRIPTORS) * 4 // 5} {(200 - SPARE_DESCRIPTORS) // 5}"),
    ],
)
def test_room_within_a_hard_limit(limit: int, room: str) -> None:
    """Of the hard limit a fifth of what is not spared is kept for refusals; less room is said, none stops the start."""
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    *log, said = ended.stdout.splitlines()
    if room == "fault":
        assert said == (
            f"fault: the limit on open files (RLIMIT_NOFILE) is {limit}: raise it to {2 * SPARE_DESCRIPTORS} or more"
        )
    else:
        assert said == room
        assert [line for line in log if "server.limited" in line and f"max_connections={room.split(maxsplit=1)[0]}" in line]
