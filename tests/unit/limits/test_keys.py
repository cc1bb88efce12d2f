"""What a client is counted by: the edges of sources and networks, and how operators write them."""

from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import pytest

from whoisd.errors import SourceError
from whoisd.limits.keys import NAMED, NAT64_LENGTHS, NETWORK, SOURCE, Key, Scope, around, counted_as, key_of, keys_of


@pytest.mark.parametrize(
    ("kind", "first", "last", "network"),
    [
        (SOURCE, "192.0.2.7", "192.0.2.7", "192.0.2.7/32"),
        (SOURCE, "0.0.0.0", "0.0.0.0", "0.0.0.0/32"),  # noqa: S104 - an address like any other here
        (SOURCE, "255.255.255.255", "255.255.255.255", "255.255.255.255/32"),
        (NAMED, "192.0.2.7", "192.0.2.7", "192.0.2.7/32"),
        (NETWORK, "192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
        (SOURCE, "2001:db8:0:7::", "2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:7::/64"),
        (NAMED, "2001:db8:0:7::", "2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8:0:7::/64"),
        (NETWORK, "2001:db8:7::", "2001:db8:7:ffff:ffff:ffff:ffff:ffff", "2001:db8:7::/48"),
    ],
)
def test_edges_of_a_key(kind: dict[int, Scope], first: str, last: str, network: str) -> None:
    """A source is an IPv4 address or an IPv6 /64, a network an IPv4 /24 or IPv6 /48: from its first address to its last."""
    key = key_of(ip_address(first), kind)
    assert key == key_of(ip_address(last), kind)
    assert key.network() == ip_network(network)
    assert key.scope is kind[ip_address(first).version]
    before, behind = int(ip_address(first)) - 1, int(ip_address(last)) + 1
    for outside in (before, behind):
        if 0 <= outside < 1 << ip_address(first).max_prefixlen:
            assert key_of(type(ip_address(first))(outside), kind) != key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::/64"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("2001:db8::/48", "2001:db8::/48"),
        ("192.0.2.32", "192.0.2.32"),
    ],
)
def test_text_of_a_key(text: str, said: str) -> None:
    """A key is written as an address, or as a network with its length, and names itself when it is read."""
    for key in keys_of(text):
        assert key.text() == said
        assert key in keys_of(said)


def test_scopes_are_apart() -> None:
    """What has the same leading bits is another key as a source, a network, a source in a named network, and of IPv6."""
    assert len({Key(scope, 7) for scope in Scope}) == 6
    assert [*Scope] == [1, 2, 3, 4, 5, 6]  # as they are in files


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("192.0.2.7", [Key(Scope.SOURCE_4, 0xC0000207), Key(Scope.NAMED_4, 0xC0000207)]),
        ("192.0.2.7/32", [Key(Scope.SOURCE_4, 0xC0000207), Key(Scope.NAMED_4, 0xC0000207)]),
        ("192.0.2.0/24", [Key(Scope.NETWORK_4, 0xC00002)]),
        ("2001:db8:1:2::3", [Key(Scope.SOURCE_6, 0x20010DB800010002), Key(Scope.NAMED_6, 0x20010DB800010002)]),
        ("2001:db8:1:2::/64", [Key(Scope.SOURCE_6, 0x20010DB800010002), Key(Scope.NAMED_6, 0x20010DB800010002)]),
        ("2001:db8:1::/48", [Key(Scope.NETWORK_6, 0x20010DB80001)]),
    ],
)
def test_what_an_operator_means(text: str, keys: list[Key]) -> None:
    """An address means its source, in a named network and out of it; a network of a counted length means that."""
    assert keys_of(text) == keys


COUNTED: Final = "bans are of an IPv4 address or /24, or of an IPv6 /64 or /48"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("nonsense", "is neither an address nor a network"),
        ("", "is neither an address nor a network"),
        ("192.0.2.7/24", "is neither an address nor a network"),
        ("192.0.2.0/25", COUNTED),
        ("192.0.0.0/16", COUNTED),
        ("2001:db8::/32", COUNTED),
        ("2001:d00::/24", COUNTED),
        ("2001:db8::/127", COUNTED),
        ("192.0.2.0/31", COUNTED),
        ("::ffff:192.0.2.7", "is counted as 192.0.2.7"),
        ("64:ff9b::c000:207", "is counted as 192.0.2.7"),
    ],
)
def test_what_is_no_source(text: str, fault: str) -> None:
    """What is no source is refused, with what it was and what a source is."""
    with pytest.raises(SourceError) as refused:
        keys_of(text)
    assert str(refused.value) == f"{text}: {fault}"


def test_around() -> None:
    """The networks around sources are each named once, and one that was asked for is not around itself."""
    assert around(keys_of("192.0.2.7")) == keys_of("192.0.2.0/24")
    assert around(keys_of("2001:db8:1:2::")) == keys_of("2001:db8:1::/48")
    assert around(keys_of("192.0.2.0/24")) == []
    both = keys_of("2001:db8:1:2::") + keys_of("198.51.100.1") + keys_of("192.0.2.7")
    assert around(both) == keys_of("192.0.2.0/24") + keys_of("198.51.100.0/24") + keys_of("2001:db8:1::/48")


# --- addresses that a translator made --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "text"),
    [  # RFC 6052, section 2.4
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ],
)
def test_a_translator_of_the_operator(prefix: str, text: str) -> None:
    """An address in a prefix of the operator's counts as the IPv4 address in it, wherever the prefix's length puts that."""
    network = IPv6Network(prefix)
    assert network.prefixlen in NAT64_LENGTHS
    assert counted_as(ip_address(text), (network,)) == ip_address("192.0.2.33")
    assert counted_as(ip_address(text), (IPv6Network("2001:db9::/32"), network)) == ip_address("192.0.2.33")
    assert counted_as(ip_address(text)) == ip_address(text)
    highest = int(network.network_address) | (1 << 128 - network.prefixlen) - 1
    assert counted_as(IPv6Address(highest), (network,)) == ip_address("255.255.255.255")
    assert counted_as(network.network_address, (network,)) == ip_address("0.0.0.0")  # noqa: S104 - an address


@pytest.mark.parametrize("text", ["64:ff9b::192.0.2.33", "::ffff:192.0.2.33", "192.0.2.33"])
def test_what_counts_as_ipv4(text: str) -> None:
    """Everywhere an address in the well-known prefix of NAT64, and one that is mapped, count as the IPv4 address in them."""
    assert counted_as(ip_address(text)) == ip_address("192.0.2.33")


@pytest.mark.parametrize(
    "text",
    [
        "2002:c000:221::1",  # 6to4: the /48 is one IPv4 address's own
        "2001:0:4136:e378:8000:63bf:3fff:fdde",  # Teredo
        "::192.0.2.33",
        "::ffff:0:192.0.2.33",
        "64:ff9b:1::192.0.2.33",  # RFC 8215: of a local translator, which its operator names
        "64:ff9b:0:0:0:1:c000:221",
        "64:ff9a:ffff:ffff:ffff:ffff:c000:221",
        "2001:db8::1",
    ],
)
def test_what_does_not_count_as_ipv4(text: str) -> None:
    """Any other address is what it is, those of tunnels among them."""
    assert counted_as(ip_address(text)) == ip_address(text)
