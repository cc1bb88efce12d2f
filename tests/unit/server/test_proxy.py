"""The balancer's header: whose query follows it, and what is refused, at which byte."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LOCAL, PROXY, SIGNATURE, TCP4, TCP6, UDP4, UDP6, UNIX, UNIX_DATAGRAM, UNSPECIFIED, binary, v1, v2

from whoisd.errors import ProxyError, ProxyFault
from whoisd.server.proxy import Header, HeaderBuffer

few = settings(max_examples=200, deadline=None)

V4, V6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
QUERY = b"eksempel.dk\r\n"

Address = IPv4Address | IPv6Address


def feed(*chunks: bytes) -> Header | ProxyFault | None:
    """The first header, or fault, that a new buffer gives to these chunks."""
    buffer = HeaderBuffer()
    try:
        return next((header for chunk in chunks if (header := buffer.feed(chunk)) is not None), None)
    except ProxyError as error:
        return error.fault


def one_by_one(data: bytes) -> tuple[int, Header | ProxyFault | None]:
    """How many bytes a new buffer takes, one at a time, before it says what it makes of them, and what that is."""
    buffer = HeaderBuffer()
    for taken in range(1, len(data) + 1):
        try:
            said: Header | ProxyFault | None = buffer.feed(data[taken - 1 : taken])
        except ProxyError as error:
            said = error.fault
        if said is not None:
            return taken, said
    return len(data), None


# --- what is a header ---


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v1("192.0.2.1"), V4),
        (v1("255.255.255.255", "0.10.0.100", (0, 65535)), IPv4Address("255.255.255.255")),
        (v1("2001:db8::1", V6), V6),
        (v1("2001:DB8:0000:0:0:0:0:0001", "::"), V6),
        (v1("1:2:3:4:5:6:7::", "::1"), IPv6Address("1:2:3:4:5:6:7:0")),
        (v1("::ffff:192.0.2.1", V6), V4),
        (v1("::ffff:c000:201", V6), V4),
        (v1("f" * 4 + ":ffff" * 7, "f" * 4 + ":ffff" * 7, (65535, 65535)), IPv6Address(2**128 - 1)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN \r\n", None),
        (b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", None),
        (b"PROXY UNKNOWN \xff\x00\r \n TCP4\r\r\n", None),
        (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    ],
)
def test_line_names_the_client(header: bytes, client: Address | None) -> None:
    """Version 1 names the client, one mapped into IPv6 by its IPv4 address; what follows UNKNOWN is ignored."""
    assert feed(header + QUERY) == Header(client, QUERY)
    assert one_by_one(header) == (len(header), Header(client, b""))


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (v2(V4), V4),
        (v2(V6), V6),
        (v2(IPv6Address("::ffff:192.0.2.1")), V4),
        (v2(V4, tlvs=b"\x03\x00\x04\xde\xad\xbe\xef"), V4),
        (v2(V6, tlvs=b"no TLV"), V6),
        (v2(V4, tlvs=b"\x04" * 4068), V4),
        (binary(UNSPECIFIED, b""), None),
        (binary(UNSPECIFIED, V4.packed * 3), None),
        (binary(UNIX, b"/" * 216), None),
        (binary(UNSPECIFIED, b"", LOCAL), None),
        (binary(TCP4, b"", LOCAL), None),
        (binary(TCP4, V4.packed * 3, LOCAL), None),
        (binary(UDP6, b"any", LOCAL), None),
        (binary(0xFF, b"x" * 4080, LOCAL), None),
    ],
)
def test_binary_names_the_client(header: bytes, client: Address | None) -> None:
    """Version 2 names the client of a TCP connection and of no other; LOCAL ignores all but the length; TLVs are skipped."""
    assert feed(header + QUERY) == Header(client, QUERY)
    assert one_by_one(header) == (len(header), Header(client, b""))


def test_query_may_be_long() -> None:
    """What follows the header is handed on whole, however much it is: to limit it is for the next reader."""
    flood = b"\r\n" * 100_000
    assert feed(v1(V4) + flood) == feed(v2(V4) + flood) == Header(V4, flood)


# --- what is none ---


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (QUERY, 1),
        (b"GET / HTTP/1.1\r\n", 1),
        (b"POST / HTTP/1.1\r\n", 2),
        (b"PRI * HTTP/2.0\r\n", 3),
        (b"\x16\x03\x01", 1),
        (b"proxy TCP4", 1),
        (b" PROXY TCP4", 1),
        (b"PROXY\tTCP4", 6),
        (b"PROXY\r\n", 6),
        (b"\n", 1),
        (b"\r\na.dk\r\n", 3),
        (b"\r\n\r\n\r\n", 5),
        (SIGNATURE[:-1] + b"\r", 12),
        (b"\0", 1),
    ],
)
def test_what_is_no_header_is_refused_at_its_first_impossible_byte(data: bytes, taken: int) -> None:
    """A query, an HTTP greeting or anything else that is no header is refused at once, not when a deadline passes."""
    assert one_by_one(data) == (taken, ProxyFault.NOT_PROXY)
    assert feed(data) == ProxyFault.NOT_PROXY


# In these, | stands before the first byte that cannot be; those without an end are given one.
@pytest.mark.parametrize(
    "line",
    [
        b"PROXY | TCP4",
        b"PROXY |tcp4",
        b"PROXY TCP|5",
        b"PROXY TCP|\r\n",
        b"PROXY U|DP4",
        b"PROXY |\r\n",
        b"PROXY TCP4|\r\n",
        b"PROXY TCP4|\t192.0.2.1",
        b"PROXY TCP4 | 192.0.2.1",
        b"PROXY TCP4 |\r\n",
        b"PROXY TCP4 |eksempel.dk",
        b"PROXY TCP4 |::1",
        b"PROXY TCP4 |-1",
        b"PROXY TCP4 |+1",
        b"PROXY TCP4 25|6",
        b"PROXY TCP4 192.0|0.2.1",
        b"PROXY TCP4 0|1",
        b"PROXY TCP4 0|x7f",
        b"PROXY TCP4 192.|.",
        b"PROXY TCP4 192.0.2| ",
        b"PROXY TCP4 192.0.2.1|.",
        b"PROXY TCP4 192.0.2.1|/",
        b"PROXY TCP4 192.0.2.1|%",
        b"PROXY TCP4 |\xb2",
        b"PROXY TCP4 192.0.2.1|\r\n",
        b"PROXY TCP4 192.0.2.1|\n",
        b"PROXY TCP4 192.0.2.1 200|1:db8::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 | 1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |-1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 0|1",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 6553|6",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 10000|0",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 |\xb9",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 |\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 6553|6\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2| \r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2|\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r|\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r|eksempel.dk\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2| 3\r\n",
        b"PROXY TCP6 192| 0.2.1",
        b"PROXY TCP6 192|.0.2.1 ",
        b"PROXY TCP6 |[::1]",
        b"PROXY TCP6 :|1",
        b"PROXY TCP6 ::|:",
        b"PROXY TCP6 1::2:|:",
        b"PROXY TCP6 1234|5",
        b"PROXY TCP6 |g",
        b"PROXY TCP6 1:2:3:4:5:6:7:8|:",
        b"PROXY TCP6 1:2:3:4:5:6:7| ",
        b"PROXY TCP6 1::2:3:4:5:6:7|:8",
        b"PROXY TCP6 ::ffff:1.2.3| ",
        b"PROXY TCP6 ::ffff:1.2.3.4|:",
        b"PROXY TCP6 fe80::1|%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 fe80::1|/64",
        b"PROXY UNKNOWN|S\r\n",
        b"PROXY UNKNOWN|\n",
        b"PROXY UNKNOWN\r|\r\n",
        b"PROXY UNKNOWN\r| \r\n",
        b"PROXY UN|\r\n",
    ],
)
def test_malformed_line_is_refused_at_its_end(line: bytes) -> None:
    """A line that breaks the format, wherever it does, is refused once it is whole."""
    whole = line.replace(b"|", b"", 1)
    whole += b"" if b"\r\n" in whole else b"\r\n"
    assert one_by_one(whole) == (whole.index(b"\r\n") + 2, ProxyFault.MALFORMED)
    assert feed(whole + QUERY) == ProxyFault.MALFORMED


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (SIGNATURE + b"\x11", 13),
        (SIGNATURE + b"\x00", 13),
        (SIGNATURE + b"\x22", 13),
        (SIGNATURE + b"\x2f", 13),
        (SIGNATURE + b"\x31", 13),
        (SIGNATURE + QUERY, 13),
        (binary(UDP4, V4.packed * 3), 14),
        (binary(UDP6, V6.packed * 3), 14),
        (binary(UNIX_DATAGRAM, b"/" * 216), 14),
        (binary(0x01, b""), 14),
        (binary(0x10, V4.packed * 3), 14),
        (binary(0x13, V4.packed * 3), 14),
        (binary(0x41, b""), 14),
        (binary(TCP4, b""), 16),
        (binary(TCP4, b"x" * 11), 16),
        (binary(TCP6, b"x" * 35), 16),
        (binary(TCP6, V4.packed * 3), 16),
        (binary(UNIX, b"x" * 215), 16),
    ],
)
def test_malformed_binary_is_refused_at_its_first_impossible_field(header: bytes, taken: int) -> None:
    """Version 2 is refused at the field that breaks it: version, command, family, protocol, or too short a length."""
    assert one_by_one(header) == (taken, ProxyFault.MALFORMED)
    assert feed(header + QUERY) == ProxyFault.MALFORMED


@pytest.mark.parametrize("length", [4081, 4096, 0xFFFF])
@pytest.mark.parametrize(("command", "family"), [(PROXY, TCP4), (PROXY, UNSPECIFIED), (PROXY, UNIX), (LOCAL, TCP6)])
def test_binary_beyond_the_limit_is_refused_by_its_length(command: int, family: int, length: int) -> None:
    """A header longer than 4,096 bytes is refused as soon as its length is told, and its bytes are not waited for."""
    header = binary(family, b"", command, length)
    assert one_by_one(header) == (16, ProxyFault.TOO_LONG)
    assert feed(header + b"x" * 100_000) == ProxyFault.TOO_LONG


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY UNKNOWN " + b"x" * 1000,
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n",
        v1("2001:0db8:0000:0000:0000:ffff:192.168.100.228", "2001:0db8:0000:0000:0000:ffff:192.168.100.228", (10000, 10000)),
    ],
)
def test_line_beyond_the_limit_is_refused(line: bytes) -> None:
    """A line whose CRLF is not among its first 107 bytes is refused at that byte."""
    assert one_by_one(line) == (107, ProxyFault.TOO_LONG)
    assert feed(line) == ProxyFault.TOO_LONG


# --- the buffer ---


@pytest.mark.parametrize("data", [b"", b"P", v1(V4)[:-1], SIGNATURE, v2(V6)[:-1]])
def test_part_of_a_header_is_none_yet(data: bytes) -> None:
    """What may become a header is none yet; whether any of it came is told beside it."""
    buffer = HeaderBuffer()
    assert not buffer.pending
    assert buffer.feed(data) is None
    assert buffer.pending is bool(data)


def test_pending_stays() -> None:
    """A buffer that took a byte does not forget it when an empty piece follows."""
    buffer = HeaderBuffer()
    buffer.feed(b"P")
    buffer.feed(b"")
    assert buffer.pending


@pytest.mark.parametrize("fault", ProxyFault)
def test_error_is_named_for_its_fault(fault: ProxyFault) -> None:
    """The text of an error is the fault's word, and nothing of what the balancer sent."""
    assert str(ProxyError(fault)) == fault.value


# --- any of them ---

PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535))
IPV4S, IPV6S = st.ip_addresses(v=4), st.ip_addresses(v=6)
TLVS = st.binary(max_size=300)
UNMAPPED = IPV6S.filter(lambda address: address not in IPv6Network("::ffff:0:0/96"))
SPARSE = st.lists(st.sampled_from([0, 1, 0xFFFF]), min_size=8, max_size=8).map(
    lambda groups: ":".join(f"{g:x}" for g in groups)
)
SPELT = (
    IPV6S.map(str)
    | IPV6S.map(lambda address: address.exploded.upper())
    | SPARSE.map(lambda groups: str(ip_address(groups)))
    | SPARSE
    | IPV4S.map(lambda address: f"64:ff9b::{address}")
)
NAMED_1 = st.builds(v1, IPV4S, IPV4S, PORTS) | st.builds(v1, SPELT, SPELT, PORTS)
NAMED_2 = st.builds(v2, IPV4S, IPV4S, PORTS, TLVS) | st.builds(v2, IPV6S, IPV6S, PORTS, TLVS)
UNKNOWN = st.binary(max_size=80).map(lambda said: b"PROXY UNKNOWN " + said.replace(b"\r\n", b"") + b"\r\n")
UNNAMED = st.builds(binary, st.just(UNSPECIFIED), TLVS) | st.builds(binary, st.integers(0, 255), TLVS, st.just(LOCAL))
HEADERS = NAMED_1 | NAMED_2 | UNKNOWN | UNNAMED


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A header with some of its bytes replaced, and something behind it."""
    header = bytearray(draw(HEADERS))
    for place in draw(st.sets(st.integers(0, len(header) - 1), max_size=2)):
        header[place : place + draw(st.integers(0, 2))] = draw(
            st.binary(max_size=2) | st.sampled_from([b"\r", b" ", b"0", b":"])
        )
    return bytes(header) + draw(st.binary(max_size=200))


@st.composite
def pieces(draw: st.DrawFn, sent: st.SearchStrategy[bytes]) -> Sequence[bytes]:
    """Bytes cut into pieces, of which some may be empty."""
    data = draw(sent)
    cuts = sorted([0, *draw(st.lists(st.integers(0, len(data)), max_size=8)), len(data)])
    return [data[start:end] for start, end in pairwise(cuts)]


ANY_BYTES = (
    st.binary(max_size=200)
    | spoilt()
    | st.binary(max_size=40).map(SIGNATURE.__add__)
    | st.text(st.sampled_from("TCP46UNKOW 0123456789abf.:%\r\n"), max_size=120).map(lambda text: b"PROXY " + text.encode())
)


@few
@given(st.data(), PORTS, st.binary(max_size=50))
def test_any_client_comes_through(data: st.DataObject, ports: tuple[int, int], rest: bytes) -> None:
    """The client that a balancer names, in either version and of either family, is the client of the header."""
    addresses: st.SearchStrategy[Address] = data.draw(st.sampled_from([IPV4S, UNMAPPED]))
    client, server = data.draw(addresses), data.draw(addresses)
    assert feed(v1(client, server, ports) + rest) == Header(client, rest)
    assert feed(v2(client, server, ports, data.draw(TLVS)) + rest) == Header(client, rest)


@few
@given(IPV4S, PORTS)
def test_any_mapped_client_is_an_ipv4_client(client: Address, ports: tuple[int, int]) -> None:
    """An IPv4 client has one address, however a balancer that listens on IPv6 writes it."""
    mapped = ip_address(f"::ffff:{client}")
    for text in (f"::ffff:{client}", f"0:0:0:0:0:FFFF:{client}", mapped.exploded):
        assert feed(v1(text, "::1", ports)) == Header(client, b"")
    assert feed(v2(mapped, mapped, ports)) == Header(client, b"")


@few
@given(HEADERS)
def test_no_prefix_is_a_header(header: bytes) -> None:
    """A valid header is taken at its last byte and neither taken nor refused before."""
    taken, said = one_by_one(header)
    assert taken == len(header)
    assert isinstance(said, Header)
    assert all(feed(header[:length]) is None for length in range(len(header)))


@few
@given(pieces(st.builds(bytes.__add__, HEADERS, st.binary(max_size=50))))
def test_packets_do_not_change_a_header(sent: Sequence[bytes]) -> None:
    """A header says the same in whatever pieces it comes, and all that came behind it in its last piece is handed on."""
    whole = feed(b"".join(sent))
    assert isinstance(whole, Header)
    buffer = HeaderBuffer()
    for number, piece in enumerate(sent):
        if header := buffer.feed(piece):
            assert Header(header.client, header.rest + b"".join(sent[number + 1 :])) == whole
            return
    raise AssertionError


@few
@given(pieces(ANY_BYTES))
def test_any_bytes_are_a_header_or_refused(sent: Sequence[bytes]) -> None:
    """Any bytes are a header, may become one, or are refused for a fault, in however many pieces they come."""
    whole = feed(b"".join(sent))
    for said in (feed(*sent), one_by_one(b"".join(sent))[1]):
        if isinstance(whole, Header):
            assert isinstance(said, Header)
            assert said.client == whole.client
        else:
            assert said == whole
