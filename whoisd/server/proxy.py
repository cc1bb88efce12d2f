r"""The header that a balancer sends before its client's query: bytes -> the client's address (PROXY protocol, 1 and 2).

Knows HAProxy's specification, doc/proxy-protocol.txt; knows nothing of who may send a header (whoever may is believed:
it names the source that the limits count) nor of what follows it.

    version 1 = "PROXY " ("TCP4" | "TCP6") " " client " " server " " port " " port CRLF     at most 107 bytes
              | "PROXY UNKNOWN" [" " anything] CRLF                                         at most 107 bytes
    version 2 = signature (12 bytes), version and command, family and protocol, length (2 bytes), addresses, TLVs

Words of version 1 are upper case and one space apart; addresses are of the family named and have no zone; numbers are
decimal with no zero before them. Version 2 has at most `LIMIT` bytes. Its TLVs are skipped unread, PP2_TYPE_CRC32C among
them: the specification leaves the checksum to receivers that support it, and TCP has one of its own.

A header for datagrams is refused. The specification lets a receiver fall back to the connection's peer where it does not
support a protocol, but no datagram becomes a TCP connection: the header is wrong, and its client would escape the limits
under the balancer's name.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from whoisd.errors import ProxyError, ProxyFault

LONGEST_LINE: Final = 107  # bytes of a header of version 1, its CRLF counted (specification, 2.1)
LIMIT: Final = 4096  # bytes of a header of version 2: 232 with the longest addresses, and the TLVs of a TLS balancer

_LINE_START: Final = b"PROXY "
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*)?"
    rb"|TCP(?P<family>[46]) (?P<client>[0-9A-Fa-f:.]+) (?P<server>[0-9A-Fa-f:.]+)"
    rb" (?P<from>0|[1-9][0-9]{0,4}) (?P<to>0|[1-9][0-9]{0,4}))",
    re.DOTALL,
)
_HIGHEST_PORT: Final = 0xFFFF
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16  # bytes of a header of version 2 up to its addresses
_LOCAL: Final = b"\x20"
_COMMANDS: Final = (_LOCAL, b"\x21")  # version 2 in the upper half; LOCAL, PROXY

# Family and protocol: the bytes of the client's address, and of both addresses and ports (specification, 2.2).
_NO_ADDRESS: Final = (0, 0)
_FAMILIES: Final = {
    b"\x00": _NO_ADDRESS,  # unspecified
    b"\x11": (4, 12),  # TCP over IPv4
    b"\x21": (16, 36),  # TCP over IPv6
    b"\x31": (0, 216),  # UNIX stream: paths, which are no source
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says: the client's address, and `rest`, the bytes behind the header, where the query begins.

    `client` is None where the balancer speaks for itself or cannot tell (LOCAL, UNKNOWN, unspecified, UNIX): the
    connection's own peer counts. An IPv4 address mapped into IPv6 is that IPv4 address, so that it has one allowance.
    """

    client: IPv4Address | IPv6Address | None
    rest: bytes


class HeaderBuffer:
    """Collects what a balancer sends until the header is whole; done with once it gave a header or raised.

    An empty query is CRLF, and so are the first bytes of version 2: that one is left to the deadline.
    """

    __slots__ = ("_held", "pending")

    def __init__(self) -> None:
        self._held = bytearray()  # grows in place: a byte at a time costs no copy of all before it
        self.pending = False  # whether any byte has come

    def feed(self, data: bytes) -> Header | None:
        """Add bytes; return the header once it is whole, else None.

        Raises ProxyError for what breaks the format or a limit, at the same byte however the bytes are cut: the first that
        begins no header, the end of a line, or the field of version 2 that is wrong.
        """
        self.pending = self.pending or bool(data)
        self._held += data
        held = self._held
        if held.startswith(_LINE_START):
            return _read_line(held)
        if held.startswith(_SIGNATURE):
            return _read_binary(held)
        if _LINE_START.startswith(held) or _SIGNATURE.startswith(held):
            return None
        raise ProxyError(ProxyFault.NOT_PROXY)


def _read_line(held: bytearray) -> Header | None:
    """Read a header of version 1 once its line is whole. Raises ProxyError."""
    line, ended, _ = bytes(held[:LONGEST_LINE]).partition(b"\r\n")
    if not ended:
        if len(held) >= LONGEST_LINE:
            raise ProxyError(ProxyFault.TOO_LONG)
        return None
    match = _LINE.fullmatch(line)
    if not match:
        raise ProxyError(ProxyFault.MALFORMED)
    return Header(_client(match) if match["family"] else None, bytes(held[len(line) + 2 :]))


def _client(match: re.Match[bytes]) -> IPv4Address | IPv6Address:
    """Return the client of a line whose form is right. Raises ProxyError when one of its values is none."""
    kind = IPv4Address if match["family"] == b"4" else IPv6Address
    try:
        client, _ = (str(kind(match[end].decode("ascii"))) for end in ("client", "server"))
    except ValueError:
        raise ProxyError(ProxyFault.MALFORMED) from None
    if max(int(match["from"]), int(match["to"])) > _HIGHEST_PORT:
        raise ProxyError(ProxyFault.MALFORMED)
    return _address(client)


def _read_binary(held: bytearray) -> Header | None:
    """Read a header of version 2 as far as it has come; raise ProxyError once it cannot become one."""
    address, addresses = _sizes(bytes(held[12:13]), bytes(held[13:14]))
    if len(held) < _FIXED:
        return None
    size = _FIXED + int.from_bytes(held[14:16], "big")
    if size > LIMIT:
        raise ProxyError(ProxyFault.TOO_LONG)
    if size < _FIXED + addresses:
        raise ProxyError(ProxyFault.MALFORMED)
    if len(held) < size:
        return None
    client = _address(bytes(held[_FIXED : _FIXED + address])) if address else None
    return Header(client, bytes(held[size:]))


def _sizes(command: bytes, family: bytes) -> tuple[int, int]:
    """Return the bytes of the client's address and of all addresses; a field that has not come yet (empty) is none."""
    if command and command not in _COMMANDS:
        raise ProxyError(ProxyFault.MALFORMED)
    if command == _LOCAL or not family:
        return _NO_ADDRESS
    if family not in _FAMILIES:
        raise ProxyError(ProxyFault.MALFORMED)
    return _FAMILIES[family]


def _address(given: str | bytes) -> IPv4Address | IPv6Address:
    """Make an address of its text or its bytes, an IPv4 address of one mapped into IPv6."""
    address = ip_address(given)
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
