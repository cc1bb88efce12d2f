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
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NoReturn

from whoisd.errors import ProxyError, ProxyFault

LONGEST_LINE: Final = 107  # bytes of a header of version 1, its CRLF counted (specification, 2.1)
LIMIT: Final = 4096  # bytes of a header of version 2: 232 with the longest addresses, and the TLVs of a TLS balancer

_LINE_START: Final = b"PROXY "
_NUMBER: Final = re.compile("0|[1-9][0-9]{0,4}")
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

        Raises ProxyError at the first byte that breaks the format or a limit, however the bytes are cut; a length of
        version 2 counts as one byte.
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

    def end(self) -> NoReturn:
        """Raise ProxyError: the input ended before the header did (`pending` says whether there was any)."""
        raise ProxyError(ProxyFault.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class _Word:
    """One word of a line: which texts it may be, and endings of which one makes any beginning of such a text whole."""

    is_valid: Callable[[str], bool]
    endings: tuple[str, ...]

    def may_begin(self, text: str) -> bool:
        """Whether a text, whole or not, can still become this word."""
        return any(self.is_valid(text + ending) for ending in self.endings)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)  # refuses zeros before a number
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and int(text) <= 0xFFFF  # noqa: PLR2004 - 16 bits


def _tails(text: str) -> tuple[str, ...]:
    return tuple(text[start:] for start in range(len(text) + 1))


_KEYWORDS: Final = ("TCP4", "TCP6", "UNKNOWN")
_FAMILY: Final = _Word(_KEYWORDS.__contains__, tuple(tail for keyword in _KEYWORDS for tail in _tails(keyword)))
_PORT: Final = _Word(_is_port, _tails("0"))
_IPV4: Final = _Word(_is_ipv4, _tails("0.0.0.0"))  # noqa: S104 - nothing is bound
# An address of version 6 is made whole by "::", the other half of it or a last group; its end may be dotted (inet_ntop).
_IPV6: Final = _Word(_is_ipv6, (*_tails("::"), *_IPV4.endings))
_BEHIND: Final = {"TCP4": (_IPV4, _IPV4, _PORT, _PORT), "TCP6": (_IPV6, _IPV6, _PORT, _PORT)}


def _read_line(held: bytearray) -> Header | None:
    """Read a header of version 1 as far as it has come; raise ProxyError once it cannot become one."""
    start = bytes(held[:LONGEST_LINE])
    line, ended, _ = start.partition(b"\r\n")
    words = (line if ended else line.removesuffix(b"\r")).removeprefix(_LINE_START).decode("latin-1").split(" ")
    whole = start.endswith(b"\r") or bool(ended)
    if words[0] != "UNKNOWN" and not _follow_grammar(words, whole=whole):
        raise ProxyError(ProxyFault.MALFORMED)
    if ended:
        client = None if words[0] == "UNKNOWN" else _address(words[1])
        return Header(client, bytes(held[len(line) + 2 :]))
    if len(start) == LONGEST_LINE:
        raise ProxyError(ProxyFault.TOO_LONG)
    return None


def _follow_grammar(words: list[str], *, whole: bool) -> bool:
    """Whether the words behind PROXY are a line, or, of a line that is not whole, can become one (the last may be begun)."""
    grammar = (_FAMILY, *_BEHIND.get(words[0], ()))
    if len(words) > len(grammar) or (whole and len(words) < len(grammar)):
        return False
    *before, (last, text) = zip(grammar, words, strict=False)
    return all(word.is_valid(said) for word, said in before) and (last.is_valid if whole else last.may_begin)(text)


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
