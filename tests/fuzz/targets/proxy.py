"""What a balancer sends, cut anyhow, to the client that its header names."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from fuzz.cuts import cuts_of
from support import LOCAL, PROXY, SIGNATURE, TCP4, TCP6, UNIX, UNSPECIFIED, v1, v2

from whoisd.errors import ProxyError, ProxyFault
from whoisd.server.proxy import LIMIT, LONGEST_LINE, Header, HeaderBuffer

LONGEST: Final = 4300
WORDS: Final = (
    *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b"192.0.2.1 ", b"2001:db8::1 ", b"::ffff:192.0.2.1", b"65535"),
    *(SIGNATURE, *(bytes([command, family]) for command in (LOCAL, PROXY) for family in (UNSPECIFIED, TCP4, TCP6, UNIX))),
    *(b"\0\x0c", b"\0\x24", b"\0\xd8", b"\x0f\xf0"),
)  # fmt: skip

_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*?)?|(TCP4|TCP6) (\S+) (\S+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n", re.DOTALL
)


def check(data: bytes) -> None:
    """Any bytes are a header, may become one, or are refused for a fault, whatever the cuts, and at the same byte."""
    said, taken = _feed((data,))
    for pieces in cuts_of(data):
        assert _feed(pieces)[0] == said, pieces
    by_bytes, decided = _feed(tuple(data[at : at + 1] for at in range(len(data))))
    if isinstance(by_bytes, Header):
        assert _feed((data[:decided],)) == (Header(by_bytes.client, b""), decided)
    if by_bytes is not None:
        assert _feed((data[: decided - 1],))[0] is None  # nothing is decided any sooner
    else:
        assert len(data) < (LONGEST_LINE if data.startswith(b"PROXY ") else LIMIT)
    if data.startswith(b"PROXY "):
        _check_line(data, said)
    if isinstance(said, Header):
        assert decided <= LIMIT
        assert data.endswith(said.rest)
        assert taken == len(data)
        _check_client(said.client)


def _feed(pieces: tuple[bytes, ...]) -> tuple[Header | ProxyFault | None, int]:
    """What these are, what is behind the header among them, and how many bytes it took to tell."""
    buffer = HeaderBuffer()
    taken = 0
    for number, piece in enumerate(pieces):
        taken += len(piece)
        try:
            header = buffer.feed(piece)
        except ProxyError as error:
            return error.fault, taken
        if header:
            return Header(header.client, header.rest + b"".join(pieces[number + 1 :])), taken
    assert buffer.pending is bool(taken)
    return None, taken


def _check_line(data: bytes, said: Header | ProxyFault | None) -> None:
    """A header of version 1 is taken just where the specification's grammar, read as a whole, takes it."""
    match = _LINE.match(data[:LONGEST_LINE])
    if match and (not match[1] or _is_sound(match)):
        client = ip_address(match[2].decode()) if match[1] else None
        client = (isinstance(client, IPv6Address) and client.ipv4_mapped) or client
        assert said == Header(client, data[match.end() :])
    else:
        assert not isinstance(said, Header)


def _is_sound(match: re.Match[bytes]) -> bool:
    kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
    try:
        addresses = [kind(match[2].decode("ascii")), kind(match[3].decode("ascii"))]
    except ValueError:
        return False
    return not any(getattr(it, "scope_id", None) for it in addresses) and all(int(match[it]) <= 65535 for it in (4, 5))


def _check_client(client: IPv4Address | IPv6Address | None) -> None:
    """Whoever is named is named alike by both versions, and is an IPv4 address if it is one mapped into IPv6."""
    if isinstance(client, IPv6Address):
        assert (client.ipv4_mapped, client.scope_id) == (None, None)
    if client:
        other = IPv6Address("::1") if client.version == 6 else IPv4Address("192.0.2.1")
        assert _feed((v1(client, other),))[0] == _feed((v2(client),))[0] == Header(client, b"")
