"""Two networks: clients with addresses of their own reach the server over a link that delays and loses packets.

There are three namespaces: of the clients, of the server, and of a balancer, HAProxy. The links of the clients, to the
server and to the balancer, take 20 ms each way and lose 5 % of the packets each way; that between balancer and server is
good. PostgreSQL is reached by its UNIX socket, to which networks mean nothing.

Where the kernel has netem, a link with delay and loss is a veth pair with netem at both ends. Where it has not, it is two
TUN devices and a thread that holds each packet up or throws it away; TCP at both ends is the kernel's all the same.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import cycle, islice
from typing import Any, Final, Literal

import pytest
from faults.load import LATE, Heard, connect, exchange
from network import Balancer, Link, Namespace, NamespaceService, Trouble, why_not
from support import PATIENCE, Database, Service, v1, v2

from whoisd.answers import notices

pytestmark = pytest.mark.skipif(bool(WHY_NOT := why_not()), reason=WHY_NOT)

WAN: Final = Trouble(delay=0.02, loss=0.05)
CLIENTS: Final = ("198.18.0.0/15", "2001:db8::/32")
ANY: Final = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - of a namespace's own
VERSIONS: Final = (1, 2)  # of the PROXY protocol; and HAProxy's ports, in a namespace where all ports are ours

QUERY: Final = b"eksempel.dk\r\n"
JUNK: Final = b"x" * 50_000
LONG_TERMS: Final = "\n".join(f"Term {number} of many, so that an answer is several packets." for number in range(60))
SETTINGS: Final = {
    "WHOISD_DATABASE__DEADLINE": "20",  # a busy machine is to cost time alone, no answer
    "WHOISD_SERVER__READ_TIMEOUT": "20",
    "WHOISD_SERVER__WRITE_TIMEOUT": "20",
    "WHOISD_ANSWER__TERMS": LONG_TERMS,
    "WHOISD_LIMITS__RATE": "0.02",
    "WHOISD_LIMITS__BURST": "3",
    "WHOISD_LIMITS__NETWORK_RATE": "0.02",
    "WHOISD_LIMITS__NETWORK_BURST": "8",
}
HAPROXY: Final = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    default-server check check-send-proxy inter 100ms
listen version-1
    bind {front[4]}:1
    bind [{front[6]}]:1
    server whoisd {back[4]}:{ports[4]} send-proxy
listen version-2
    bind {front[4]}:2
    bind [{front[6]}]:2
    server whoisd [{back[6]}]:{ports[6]} send-proxy-v2
"""

Address = tuple[str, int]
Manner = Callable[[Any], Awaitable[Heard]]
Asking = tuple[Address, str, Manner]  # where, from which source, how


def wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


UNTRUSTED: Final = Heard(wire(notices.UNTRUSTED_PROXY))
_REFUSAL: Final = re.escape(wire(notices.too_many_requests(987))).replace(b"987", rb"[1-9]\d*")

# Outcome and fault, in the log.
FOUND: Final = ("found", None)
EXCEEDED: Final = {FOUND: 3, ("rate_exceeded", "source_rate"): 1, ("banned", "source_ban"): 2}


# --- clients ---------------------------------------------------------------------------------------------------------


async def at_once(client: Any) -> Heard:
    """The line, and no more."""
    return await exchange(client, QUERY)


async def in_pieces(client: Any) -> Heard:
    """A byte at a time."""
    for byte in QUERY[:-1]:
        await asyncio.get_running_loop().sock_sendall(client, bytes([byte]))
        await asyncio.sleep(0.005)
    return await exchange(client, QUERY[-1:])


async def half_closing(client: Any) -> Heard:
    """A line that ends with the client's half of the connection."""
    await asyncio.get_running_loop().sock_sendall(client, QUERY.strip())
    client.shutdown(1)
    return await exchange(client, b"")


async def with_more(client: Any) -> Heard:
    """The line and much behind it, all sent before anything is read."""
    return await exchange(client, QUERY + JUNK)


async def with_more_later(client: Any) -> Heard:
    """The line, and much behind it once the answer is under way or there."""
    await asyncio.get_running_loop().sock_sendall(client, QUERY)
    await asyncio.sleep(0.1)
    return await exchange(client, JUNK)


MANNERS: Final[Sequence[Manner]] = (at_once, in_pieces, half_closing, with_more, with_more_later)


async def ask(address: Address, source: str, manner: Manner = at_once) -> Heard:
    async with asyncio.timeout(LATE):
        client = await connect(address, source)
    return await manner(client)


async def ask_in_turn(turns: Sequence[Asking]) -> list[Heard]:
    return [await ask(*each) for each in turns]


async def ask_side_by_side(sides: Sequence[Sequence[Asking]]) -> list[list[Heard]]:
    return await asyncio.gather(*(ask_in_turn(turns) for turns in sides))


# --- where they are --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The networks, what serves in them, and what each source must hear."""

    clients: Namespace
    wan: Link  # from clients to server
    front: Link  # from clients to balancer
    back: Link  # from balancer to server
    service: Service
    balancer: Balancer
    whole: Callable[[str], Heard]

    def address(self, version: int, *, proxy: bool = False) -> Address:
        """Where clients reach the server itself: its plain listener, or that for the balancer."""
        return self.wan.far[version], port(self.service, version, proxy=proxy)

    def behind(self, version: int, protocol: int) -> Address:
        """Where clients reach the balancer that speaks this version of the PROXY protocol to the server."""
        return self.front.far[version], protocol

    def hear(self, sides: Sequence[Sequence[Asking]]) -> list[list[Heard]]:
        """What clients hear. They go side by side, and ask each in turn."""
        self.clients.own(*{source for turns in sides for _, source, _ in turns})
        return self.clients.within(asyncio.run, ask_side_by_side(sides))

    def tell(self, *sides: Sequence[tuple[Address, str]]) -> list[list[str]]:
        """Whether clients were answered or refused, and in full. They go side by side, and ask each in turn."""
        heard = self.hear([[(address, source, at_once) for address, source in turns] for turns in sides])
        return [
            [_told(got, self.whole(source)) for got, (_, source) in zip(told, turns, strict=True)]
            for told, turns in zip(heard, sides, strict=True)
        ]

    def events(self, *clients: str, count: int) -> list[dict[str, Any]]:
        """The log's events of these clients; there must come to be so many in all."""
        deadline = time.monotonic() + PATIENCE
        while len(found := [event for event in self.service.events("query") if event.get("client") in clients]) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found

    def outcomes(self, *clients: str, count: int) -> Counter[tuple[str, str | None]]:
        """How often the log has which outcome and fault of these clients; there must come to be so many in all."""
        return Counter((event["outcome"], event.get("fault")) for event in self.events(*clients, count=count))


def _told(heard: Heard, whole: Heard) -> Literal["answered", "refused"]:
    if heard == whole:
        return "answered"
    assert not heard.fault
    assert re.fullmatch(_REFUSAL, heard.data), heard
    return "refused"


@pytest.fixture(scope="module")
def site(sandbox_database: Database) -> Iterator[Site]:
    """The server, where a source may send 3 queries and its network 8, and HAProxy; each test has clients of its own."""
    with ExitStack() as stack:
        clients, server, balancer = (stack.enter_context(Namespace()) for _ in range(3))
        wan = stack.enter_context(Link(1, clients, server, WAN))
        front = stack.enter_context(Link(2, clients, balancer, WAN))
        back = stack.enter_context(Link(3, balancer, server))
        wan.route(*CLIENTS)
        front.route(*CLIENTS)
        listen: list[dict[str, Any]] = [{"host": host, "port": 0} for host in ANY.values()]
        listen += [each | {"proxy": True, "trusted": list(back.near.values())} for each in listen]
        settings = SETTINGS | {"WHOISD_LISTEN": json.dumps(listen)}
        service = stack.enter_context(NamespaceService(server, sandbox_database.reader, settings))
        whole = known(server.within(asyncio.run, ask(("127.0.0.1", port(service, 4)), "127.0.0.1")).data)
        ports = {version: port(service, version, proxy=True) for version in ANY}
        haproxy = Balancer(balancer, HAPROXY.format(front=front.far, back=back.far, ports=ports))
        yield Site(clients, wan, front, back, service, stack.enter_context(haproxy), whole)


def port(service: Service, version: int, *, proxy: bool = False) -> int:
    """The port that the system gave a listener."""
    events = service.events("server.listening")
    return next(int(event["port"]) for event in events if (event["host"], event["proxy"]) == (ANY[version], proxy))


def known(answer: bytes) -> Callable[[str], Heard]:
    """What each source must hear: the answer as it is inside the server's namespace, greeted by its own address."""
    greeting = b"# Hello 127.0.0.1. "
    assert answer.startswith(greeting)
    assert answer.endswith(wire(notices.FOOT))
    return lambda source: Heard(answer.replace(greeting, f"# Hello {ip_address(source).exploded}. ".encode(), 1))


# --- answers stay whole ----------------------------------------------------------------------------------------------


def crowd(first: int, each: int) -> list[tuple[int, str, Manner]]:
    """So many clients of each family for each manner, each in a network of its own, of which `first` is the first."""
    return [
        (base.version, str(base + number * 2 ** (base.max_prefixlen - length)), manner)
        for number, manner in enumerate(islice(cycle(MANNERS), each * len(MANNERS)), first)
        for base, length in ((IPv4Address("198.18.0.7"), 24), (IPv6Address("2001:db8::7"), 48))
    ]


def assert_whole(site: Site, asking: Sequence[Asking]) -> None:
    """All of these, at once, hear their whole answer, and the log has each as found, once, by its own address."""
    heard = site.hear([[each] for each in asking])
    assert [(each, got) for each, [got] in zip(asking, heard, strict=True) if got != site.whole(each[1])] == []
    sources = {source for _, source, _ in asking}
    events = site.events(*sources, count=len(asking))
    assert Counter((event["client"], event["outcome"]) for event in events) == Counter((s, "found") for s in sources)


def test_answers_stay_whole(site: Site) -> None:
    """200 clients of both families at once, whatever they send and however they close, hear each their whole answer."""
    lost = site.wan.lost()
    asking = [(site.address(version), source, manner) for version, source, manner in crowd(1, 20)]
    assert_whole(site, asking)
    assert site.wan.lost() - lost > len(asking) / 2, f"a {site.wan.kind} that was no trouble"


@pytest.mark.parametrize("protocol", VERSIONS)
def test_answers_stay_whole_behind_a_balancer(site: Site, protocol: int) -> None:
    """100 more behind HAProxy hear each their whole answer, greeted by their own address."""
    clients = crowd(protocol * 100 + 1, 10)
    assert_whole(site, [(site.behind(version, protocol), source, manner) for version, source, manner in clients])


# --- sources are told apart ------------------------------------------------------------------------------------------

SOURCES: Final = {  # the addresses of one source, and that of another in its network
    4: (["198.19.101.1"], "198.19.101.2"),
    6: (["2001:db8:1001:1::1", "2001:db8:1001:1:ffff::2"], "2001:db8:1001:2::1"),
}
NETWORKS: Final = {  # addresses of one network, and one of another
    4: ("198.19.102.{}", "198.19.103.1"),
    6: ("2001:db8:1002:{}::1", "2001:db8:1003:1::1"),
}
PROXIED: Final = {  # two clients of a balancer
    4: ("198.19.104.1", "198.19.104.2"),
    6: ("2001:db8:1004:1::1", "2001:db8:1004:2::1"),
}
FORGED: Final = {  # addresses that claim to be another, and that
    4: ("198.19.105.{}", "198.19.106.1"),
    6: ("2001:db8:1005:{}::1", "2001:db8:1006:1::1"),
}


@pytest.mark.parametrize("version", ANY)
def test_excess_of_a_source(site: Site, version: int) -> None:
    """A source, an IPv4 address or an IPv6 /64, is refused its fourth query and banned; its neighbour is answered."""
    where = site.address(version)
    source, neighbour = SOURCES[version]
    greedy, modest = site.tell([(where, each) for each in islice(cycle(source), 6)], [(where, neighbour)] * 3)
    assert greedy == ["answered"] * 3 + ["refused"] * 3
    assert modest == ["answered"] * 3
    assert site.outcomes(*source, count=6) == EXCEEDED
    assert site.outcomes(neighbour, count=3) == {FOUND: 3}


@pytest.mark.parametrize("version", ANY)
def test_excess_of_a_network(site: Site, version: int) -> None:
    """A network, an IPv4 /24 or IPv6 /48, is refused its ninth query and those behind it; another network is answered."""
    where = site.address(version)
    form, neighbour = NETWORKS[version]
    sources = [form.format(number) for number in range(1, 11)]
    inside, outside = site.tell([(where, each) for each in sources], [(where, neighbour)] * 3)
    assert inside == ["answered"] * 8 + ["refused"] * 2
    assert outside == ["answered"] * 3
    assert site.outcomes(*sources[:8], count=8) == {FOUND: 8}
    assert site.outcomes(sources[8], count=1) == {("rate_exceeded", "network_rate"): 1}
    assert site.outcomes(sources[9], count=1) == {("rate_exceeded", "network_rate"): 1}
    assert site.outcomes(neighbour, count=3) == {FOUND: 3}


@pytest.mark.parametrize("version", ANY)
def test_limits_count_the_client_behind_a_balancer(site: Site, version: int) -> None:
    """A client's excess behind a balancer is its own: it is refused by whichever way it comes, and another client is not."""
    first, second = (site.behind(version, protocol) for protocol in VERSIONS)
    greedy, modest = PROXIED[version]
    ways = [first, second, first, second, first, site.address(version)]
    assert site.tell([(way, greedy) for way in ways], [(first, modest)] * 3) == [
        ["answered"] * 3 + ["refused"] * 3,
        ["answered"] * 3,
    ]
    assert site.outcomes(greedy, count=6) == EXCEEDED
    assert site.outcomes(modest, count=3) == {FOUND: 3}


@pytest.mark.parametrize("version", ANY)
def test_forged_header(site: Site, version: int) -> None:
    """Who reaches a listener for balancers without being one is refused in full; whom it claims to be is not charged."""
    form, victim = FORGED[version]
    forgers = [form.format(number) for number in range(1, 41)]

    def forging(header: bytes) -> Manner:
        return lambda client: exchange(client, header + QUERY)

    manners = cycle([forging(v1(victim)), forging(v2(ip_address(victim)))])
    where = site.address(version, proxy=True)
    heard = site.hear([[(where, forger, manner)] for forger, manner in zip(forgers, manners, strict=False)])
    assert heard == [[UNTRUSTED]] * len(forgers)
    assert site.outcomes(*forgers, count=len(forgers)) == {("untrusted_proxy", None): len(forgers)}
    assert site.tell([(site.address(version), victim)] * 3) == [["answered"] * 3]
    assert site.outcomes(victim, count=3) == {FOUND: 3}


def test_health_checks_are_no_clients(site: Site) -> None:
    """HAProxy's checks find the server up, are nobody's query, and are not charged, not even to the balancer's address."""
    checks = site.events(*site.back.near.values(), count=50)
    for version, source in site.back.near.items():
        address = site.back.far[version], port(site.service, version)
        heard = site.balancer.namespace.within(asyncio.run, ask_in_turn([(address, source, at_once)] * 3))
        assert heard == [site.whole(source)] * 3
    assert {event["outcome"] for event in checks} <= {"no_query", "client_gone"}
    assert all("client" in event for event in site.service.events("query"))
    found = [(server["status"], server["check_status"]) for server in site.balancer.servers()]
    assert found == [("UP", "L4OK")] * len(VERSIONS)
