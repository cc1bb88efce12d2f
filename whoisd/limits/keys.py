"""What a client is counted by: the leading bits of its address.

    source          an IPv4 address or an IPv6 /64
    network         what lies around a source: IPv4 /24 or IPv6 /48
    named network   a network that the operator named; a source in one is counted apart from all others

An IPv4-mapped IPv6 address is that IPv4 address.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple

from whoisd.errors import SourceError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


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


def key_of(address: Address, kind: Mapping[int, Scope]) -> Key:
    """Return the key of an address, as a `SOURCE`, as the `NETWORK` around it, or as a source in a `NAMED` network."""
    scope = kind[address.version]
    return Key(scope, int(address) >> address.max_prefixlen - PREFIX[scope])


def keys_of(text: str) -> list[Key]:
    """Return what an operator means by an address, or by a network of a length that is counted. Raises `SourceError`."""
    try:
        network = ip_network(text)
    except ValueError:
        raise SourceError(f"{text}: is neither an address nor a network") from None
    address = network.network_address
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise SourceError(f"{text}: is counted as {address.ipv4_mapped}")
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
