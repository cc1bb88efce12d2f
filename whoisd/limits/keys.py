"""What a client is counted by: the leading bits of its address.

    source          an IPv4 address or an IPv6 /64
    network         what lies around a source: IPv4 /24 or IPv6 /48
    named network   a network that the operator named; a source in one is counted apart from all others

An IPv6 address into which a translator wrote an IPv4 address is that IPv4 address: a client that has IPv4 is behind it, and
all of these would be one source, for they share a /64. Those are IPv4-mapped addresses, which the system itself makes; the
well-known prefix of NAT64, 64:ff9b::/96; and the prefixes that an operator names (RFC 6052).

An address of a tunnel is an IPv6 address like any other. 6to4 (2002::/16) gives each IPv4 address a /48 of its own, which is
the network that is counted here; Teredo is out of service; and in both the client is at the IPv6 address, and not behind it.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple

from whoisd.errors import SourceError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


WELL_KNOWN_NAT64: Final = IPv6Network("64:ff9b::/96")
NAT64_LENGTHS: Final = (32, 40, 48, 56, 64, 96)  # bits that a prefix may have (RFC 6052 section 2.2)


class Scope(IntEnum):
    """What a key stands for."""

    SOURCE_4 = 1
    SOURCE_6 = 2
    NETWORK_4 = 3
    NETWORK_6 = 4
    NAMED_4 = 5  # a source in a named network: what it did under other limits does not count
    NAMED_6 = 6


# How many bits of an address a key of each scope has, and how many an address has.
PREFIX: Final = {
    Scope.SOURCE_4: 32,
    Scope.SOURCE_6: 64,
    Scope.NETWORK_4: 24,
    Scope.NETWORK_6: 48,
    Scope.NAMED_4: 32,
    Scope.NAMED_6: 64,
}
# The scopes of a kind of key, by version of IP.
SOURCE: Final = {4: Scope.SOURCE_4, 6: Scope.SOURCE_6}
NETWORK: Final = {4: Scope.NETWORK_4, 6: Scope.NETWORK_6}
NAMED: Final = {4: Scope.NAMED_4, 6: Scope.NAMED_6}
_VERSION_6: Final = (Scope.SOURCE_6, Scope.NETWORK_6, Scope.NAMED_6)


class Key(NamedTuple):
    """A source or a network, as the table knows it: the leading bits of its addresses."""

    scope: Scope
    prefix: int

    def network(self) -> Network:
        """Return the addresses that it stands for."""
        length = PREFIX[self.scope]
        if self.scope in _VERSION_6:
            return IPv6Network((self.prefix << 128 - length, length))
        return IPv4Network((self.prefix << 32 - length, length))

    def text(self) -> str:
        """Return it as an operator writes it: an address, or a network with its length."""
        return str(self.network()).removesuffix("/32")


def counted_as(address: Address, nat64: Sequence[IPv6Network] = ()) -> Address:
    """Return the IPv4 address that a translator wrote into an address; any other address as it is.

    `nat64` are the operator's own prefixes, each of one of `NAT64_LENGTHS`.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    for prefix in (WELL_KNOWN_NAT64, *nat64):
        if address in prefix:
            return _embedded(address, prefix.prefixlen)
    return address


def _embedded(address: IPv6Address, length: int) -> IPv4Address:
    """Return the IPv4 address behind a prefix of so many bits. Bits 64 to 71 are reserved, and no part of it."""
    number = int(address)
    unreserved = number >> 64 << 56 | number & (1 << 56) - 1
    before = length if length <= 64 else length - 8  # noqa: PLR2004 - bits
    return IPv4Address(unreserved >> 120 - 32 - before & 0xFFFFFFFF)


def key_of(address: Address, kind: Mapping[int, Scope]) -> Key:
    """Return the key of an address, as a `SOURCE`, as the `NETWORK` around it, or as a source in a `NAMED` network."""
    scope = kind[address.version]
    return Key(scope, int(address) >> address.max_prefixlen - PREFIX[scope])


def keys_of(text: str, nat64: Sequence[IPv6Network] = ()) -> list[Key]:
    """Return what an operator means by an address, or by a network of a length that is counted. Raises `SourceError`."""
    try:
        network = ip_network(text)
    except ValueError:
        raise SourceError(f"{text}: is neither an address nor a network") from None
    address = network.network_address
    if (counted := counted_as(address, nat64)) != address:
        raise SourceError(f"{text}: is counted as {counted}")
    alone = network.prefixlen == network.max_prefixlen
    kinds = [
        kind
        for kind in (SOURCE, NAMED, NETWORK)
        if (alone and kind is not NETWORK) or network.prefixlen == PREFIX[kind[network.version]]
    ]
    if not kinds:
        raise SourceError(f"{text}: bans are of an IPv4 address or /24, or of an IPv6 /64 or /48")
    return [key_of(address, kind) for kind in kinds]


def around(keys: Sequence[Key]) -> list[Key]:
    """Return the networks around sources."""
    found = {key_of(key.network().network_address, NETWORK) for key in keys}
    return sorted(found - set(keys))
