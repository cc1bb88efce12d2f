"""Listeners behind a balancer: whose query it is, who may say so, and what everybody else is told."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from typing import Any, Final

import pytest
from support import LOCAL, PATIENCE, TCP4, UNIX, UNSPECIFIED, Database, Service, binary, receive, until, v1, v2

from whoisd.answers import notices
from whoisd.errors import QueryFault

pytestmark = pytest.mark.alone  # rates and bans pass with time

QUERY: Final = b"eksempel.dk\r\n"
ENDS_WITH: Final = notices.FOOT.replace("\n", "\r\n").encode()
BAD_HEADER: Final = notices.BAD_PROXY_HEADER.replace("\n", "\r\n").encode()
UNTRUSTED: Final = notices.UNTRUSTED_PROXY.replace("\n", "\r\n").encode()
PROMPTLY: Final = 4.0  # seconds, where the deadline is 10
JUNK: Final = b"x" * 200_000
BANNED: Final = b"WHOIS LIMIT EXCEEDED. Too many requests, try again later.\r\n# Too many connections. Retry after "

# Behind a balancer, whose addresses are 127.1.0.0/16; and plain.
LISTEN: Final = [
    {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.1.0.0/16", "2001:db8::/32"]},
    {"host": "127.0.0.1", "port": 0},
]
_numbers = count(1)


def balancer() -> str:
    """An address of the balancer's that nothing else uses."""
    number = next(_numbers)
    return f"127.1.{number // 250}.{number % 250 + 1}"


def stranger() -> str:
    """An address that is not trusted and that nothing else uses."""
    return balancer().replace("127.1.", "127.2.")


def client() -> IPv4Address:
    """A client's address that nothing else uses, in a network of its own."""
    return IPv4Address("198.18.0.7") + 256 * next(_numbers)


@pytest.fixture(scope="module")
def balanced(sandbox_database: Database) -> Iterator[Service]:
    """A server with both listeners, and no limits."""
    with Service(sandbox_database.reader, {"WHOISD_LISTEN": json.dumps(LISTEN)}) as service:
        yield service


@pytest.fixture(scope="module")
def limited(sandbox_database: Database) -> Iterator[Service]:
    """A server with both listeners, three queries and three connections for each source, and a deadline of a second."""
    settings = {
        "WHOISD_LISTEN": json.dumps(LISTEN),
        "WHOISD_SERVER__READ_TIMEOUT": "1",
        "WHOISD_LIMITS__RATE": "0.01",
        "WHOISD_LIMITS__BURST": "3",
        "WHOISD_LIMITS__CONNECTIONS": "3",
    }
    with Service(sandbox_database.reader, settings) as service:
        yield service


def alone(limited: Service) -> Service:
    """The server when nobody is connected: who has read to the end may count for a moment more, and only three may."""
    limited.wait_for_figure(0, "whoisd_connections_open")
    return limited


def plain(service: Service, source: str) -> socket.socket:
    """A connection to the plain listener."""
    address = next(event for event in service.events("server.listening") if not event["proxy"])
    return socket.create_connection((address["host"], address["port"]), PATIENCE, (source, 0))


def event_of(service: Service, address: str | IPv4Address | IPv6Address) -> dict[str, Any]:
    """The one event of the one connection that is of this client, by the log."""
    deadline = time.monotonic() + PATIENCE
    while not (found := [event for event in service.events("query") if event["client"] == str(address)]):
        assert time.monotonic() < deadline, f"no event of {address} in:\n{service.log()}"
        time.sleep(0.01)
    assert len(found) == 1
    return found[0]


# --- whose query it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (v1("192.0.2.1"), "192.0.2.1"),
        (v1("2001:db8::2", "::1"), "2001:db8::2"),
        (v1("::ffff:192.0.2.3", "::1"), "192.0.2.3"),
        (v2(IPv4Address("192.0.2.4")), "192.0.2.4"),
        (v2(IPv6Address("2001:db8::5")), "2001:db8::5"),
        (v2(IPv6Address("::ffff:192.0.2.6")), "192.0.2.6"),
        (v2(IPv4Address("192.0.2.7"), tlvs=b"\x04" * 1000), "192.0.2.7"),
    ],
)
def test_header_names_the_client(balanced: Service, header: bytes, address: str) -> None:
    """The greeting and the log have the address of the header; one mapped into IPv6 is its IPv4 address."""
    answer = balanced.exchange(header + QUERY, balancer())
    assert answer.startswith(f"# Hello {ip_address(address).exploded}. ".encode())
    assert answer.endswith(ENDS_WITH)
    event = event_of(balanced, address)
    assert (event["outcome"], event["name"], event["bytes"]) == ("found", "eksempel.dk", len(answer))


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.50 192.0.2.51 1 2\r\n",
        binary(UNSPECIFIED, b"", LOCAL),
        binary(TCP4, IPv4Address("192.0.2.50").packed * 3, LOCAL),
        binary(UNSPECIFIED, IPv4Address("192.0.2.50").packed * 3),
        binary(UNIX, b"/" * 216),
    ],
)
def test_balancer_that_speaks_for_itself(balanced: Service, header: bytes) -> None:
    """Where the header tells of no client (LOCAL, UNKNOWN, UNIX) the balancer's own address is the client's."""
    source = balancer()
    assert balanced.exchange(header + QUERY, source).startswith(f"# Hello {source}. ".encode())
    assert event_of(balanced, source)["outcome"] == "found"
    assert "192.0.2.50" not in balanced.log()


def test_however_header_and_query_are_cut(balanced: Service) -> None:
    """Header and query may come at once, a byte at a time, or one after the other; the client may close its half."""
    for header in (v1(client()), v2(client())):
        for chunks in ([header, QUERY], [header + QUERY[:3], QUERY[3:]], [bytes([byte]) for byte in header + QUERY]):
            with balanced.connect(balancer()) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for chunk in chunks:
                    connection.sendall(chunk)
                    time.sleep(0.0005)
                assert receive(connection).endswith(ENDS_WITH)
        with balanced.connect(balancer()) as connection:
            connection.sendall(header + QUERY.strip())
            connection.shutdown(socket.SHUT_WR)
            assert receive(connection).endswith(ENDS_WITH)


def test_junk_behind_the_query(balanced: Service) -> None:
    """What follows the query, 200 KB of it, costs no byte of the answer, nor of a refusal of the header."""
    for _ in range(20):
        assert balanced.exchange(v2(client()) + QUERY + JUNK, balancer()).endswith(ENDS_WITH)
        assert balanced.exchange(b"PROXY TCP5 " + JUNK, balancer()) == BAD_HEADER


# --- who is refused --------------------------------------------------------------------------------------------------

HEADER_1, HEADER_2 = v1("192.0.2.60"), v2(IPv4Address("192.0.2.60"))


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (QUERY, "not_proxy"),
        (b"e", "not_proxy"),
        (b"\n", "not_proxy"),
        (b"\x16\x03\x01\x00\xc8", "not_proxy"),
        (b"proxy tcp4", "not_proxy"),
        (HEADER_1.replace(b"TCP4", b"UDP4") + QUERY, "malformed"),
        (HEADER_1.replace(b"192.0.2.60", b"192.0.2.256") + QUERY, "malformed"),
        (HEADER_1.replace(b"\r\n", b"\n") + QUERY, "malformed"),
        (HEADER_2.replace(b"\x21\x11", b"\x22\x11") + QUERY, "malformed"),
        (binary(TCP4, b"\0" * 11) + QUERY, "malformed"),
        (b"PROXY UNKNOWN " + b"x" * 100, "too_long"),
        (binary(TCP4, b"", length=0xFFFF), "too_long"),
    ],
)
def test_what_is_no_header(balanced: Service, sent: bytes, fault: str) -> None:
    """A connection that does not begin with a good header is refused in full, as soon as that is certain."""
    source = balancer()
    begun = time.monotonic()
    assert balanced.exchange(sent, source) == BAD_HEADER
    assert time.monotonic() - begun < PROMPTLY
    event = event_of(balanced, source)
    assert (event["event"], event["outcome"], event["fault"]) == ("query.refused", "bad_proxy_header", fault)
    assert "192.0.2.60" not in balanced.log()


@pytest.mark.parametrize("header", [HEADER_1, HEADER_2])
def test_header_that_is_cut(balanced: Service, header: bytes) -> None:
    """A header that ends before it is whole is refused in full, at once."""
    for size in (1, len(header) // 2, len(header) - 1):
        source = balancer()
        begun = time.monotonic()
        with balanced.connect(source) as connection:
            connection.sendall(header[:size])
            connection.shutdown(socket.SHUT_WR)
            assert receive(connection) == BAD_HEADER
        assert time.monotonic() - begun < PROMPTLY
        event = event_of(balanced, source)
        assert (event["outcome"], event["fault"]) == ("bad_proxy_header", "incomplete")


@pytest.mark.parametrize("sent", [b"", QUERY, v1("192.0.2.61") + QUERY, v2(IPv4Address("192.0.2.61")) + QUERY + JUNK])
def test_peer_that_is_not_trusted(balanced: Service, sent: bytes) -> None:
    """Whoever is not of the balancer's networks is refused in full, at once, whatever it sends; its header is not read."""
    source = stranger()
    begun = time.monotonic()
    assert balanced.exchange(sent, source) == UNTRUSTED
    assert time.monotonic() - begun < PROMPTLY
    event = event_of(balanced, source)
    assert (event["event"], event["outcome"]) == ("query.refused", "untrusted_proxy")
    assert "192.0.2.61" not in balanced.log()


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (v1("192.0.2.62"), QueryFault.SEVERAL_NAMES),
        (b"PROXY UNKNOWN\r\n", QueryFault.SEVERAL_NAMES),
        (v2(IPv4Address("192.0.2.62")), QueryFault.NO_NAME),
    ],
)
def test_plain_listener_knows_no_header(balanced: Service, header: bytes, fault: QueryFault) -> None:
    """On a plain listener a header is a bad query, of a trusted balancer too, and its address is believed nowhere."""
    source = balancer()
    with plain(balanced, source) as connection:
        connection.sendall(header + QUERY)
        assert receive(connection) == notices.refusal(fault).replace("\n", "\r\n").encode()
    event = event_of(balanced, source)
    assert (event["outcome"], event["fault"]) == ("bad_query", fault)
    assert "192.0.2.62" not in balanced.log()


# --- limits ----------------------------------------------------------------------------------------------------------


def outcomes_of(service: Service, client: IPv4Address | str) -> Counter[str]:
    """How the client's connections ended so far; two workers write in whatever order they see their clients close."""
    return Counter(event["outcome"] for event in service.events("query") if event["client"] == str(client))


def test_bans_are_of_the_headers_address(limited: Service) -> None:
    """Two clients of one balancer have each its own allowance and ban; the balancer itself is never banned for them."""
    source, greedy, modest = balancer(), client(), client()
    for _ in range(3):
        assert alone(limited).exchange(v1(greedy) + QUERY, source).endswith(ENDS_WITH)
    for header in (v1(greedy), v2(greedy), v1(f"::ffff:{greedy}", "::1"), v2(IPv6Address(f"::ffff:{greedy}"))):
        assert alone(limited).exchange(header + QUERY, source).startswith(BANNED)
    assert alone(limited).exchange(v2(modest) + QUERY, source).endswith(ENDS_WITH)
    assert alone(limited).exchange(b"PROXY UNKNOWN\r\n" + QUERY, source).endswith(ENDS_WITH)
    expected = Counter(found=3, rate_exceeded=1, banned=3)
    until(lambda: outcomes_of(limited, greedy).total() >= expected.total())
    assert outcomes_of(limited, greedy) == expected


def test_headers_on_a_plain_listener_move_no_limit(limited: Service) -> None:
    """Whoever sends headers to a plain listener is held to the allowance of its own address."""
    source, answers = stranger(), []
    for _ in range(5):
        with plain(alone(limited), source) as connection:
            connection.sendall(v1(client()) + QUERY)
            answers.append(receive(connection))
    assert [answer.startswith(BANNED) for answer in answers] == [False] * 3 + [True] * 2


def test_connections_are_of_the_headers_address(limited: Service) -> None:
    """Two clients of one balancer have each their own number of open connections."""
    source, many, few = balancer(), client(), client()
    held = [limited.connect(source) for _ in range(3)]
    for connection in held:
        connection.sendall(v2(many) + QUERY[:1])  # it is served until it has its answer
    limited.wait_for_figure(3, "whoisd_connections_open")
    refused = notices.too_many_requests(5).replace("\n", "\r\n").encode()
    for header in (v1(many), v2(many)):
        assert limited.exchange(header + QUERY, source) == refused
    assert limited.exchange(v1(few) + QUERY, source).endswith(ENDS_WITH)
    for connection in held:
        connection.close()
    deadline = time.monotonic() + PATIENCE
    while (answer := _header_alone(limited, source, many)) == refused:
        assert time.monotonic() < deadline
    assert answer == notices.refusal(QueryFault.NO_NAME).replace("\n", "\r\n").encode()


def _header_alone(service: Service, source: str, address: IPv4Address) -> bytes:
    with service.connect(source) as connection:
        connection.sendall(v2(address))
        connection.shutdown(socket.SHUT_WR)
        return receive(connection)


def test_deadline_is_for_header_and_query(limited: Service) -> None:
    """A header that does not come, or stays unfinished, or has no query behind it, ends at the deadline for the line."""
    begun = time.monotonic()
    connections = []
    for sent in (b"", b"\r\n", b"PROXY TCP4 192.0.2.63 ", v1("192.0.2.64"), HEADER_2[:20]):
        connections.append(limited.connect(balancer()))
        connections[-1].sendall(sent)
    for connection in connections:
        with connection:
            assert receive(connection) == notices.read_timeout(1.0).replace("\n", "\r\n").encode()
    assert 0.9 < time.monotonic() - begun < PROMPTLY


@pytest.mark.parametrize("sent", [b"", binary(UNSPECIFIED, b"", LOCAL), b"PROXY UNKNOWN\r\n"])
def test_health_checks_are_no_abuse(limited: Service, sent: bytes) -> None:
    """A balancer that connects and closes, with a header or without, however often, sent no query and is not banned."""
    source = balancer()
    for _ in range(30):
        with alone(limited).connect(source) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert receive(connection) == notices.refusal(QueryFault.NO_NAME).replace("\n", "\r\n").encode()
    with alone(limited).connect(source) as connection:
        connection.sendall(sent)
    assert alone(limited).exchange(binary(UNSPECIFIED, b"", LOCAL) + QUERY, source).endswith(ENDS_WITH)
    until(lambda: outcomes_of(limited, source).total() >= 32)
    assert outcomes_of(limited, source) == {"found": 1, "no_query": 31}
