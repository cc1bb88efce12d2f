"""Whom a balancer speaks for: the last address of X-Forwarded-For that is no balancer of ours."""

from ipaddress import ip_address, ip_network

import pytest

from whoisd.server.http.forwarded import MOST_HOPS, client_of

PEER = ip_address("10.0.0.1")
TRUSTED = (ip_network("10.0.0.0/8"), ip_network("fd00::/16"))


@pytest.mark.parametrize(
    ("values", "client"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7 ,fd00::5, 10.0.0.2"], "192.0.2.7"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["192.0.2.7, unknown"], "10.0.0.1"),
        (["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.7, 10.0.0.256"], "10.0.0.1"),
        (["fe80::1%eth0"], "10.0.0.1"),
        (["192.0.2.7:x"], "10.0.0.1"),
        (["_hidden, 192.0.2.7\x00"], "10.0.0.1"),
        ([", ".join(["198.51.100.1"] * 5000)], "198.51.100.1"),
        (["192.0.2.7, " + ", ".join(["10.0.0.2"] * MOST_HOPS)], "10.0.0.2"),
    ],
)
def test_client(values: list[str], client: str) -> None:
    """What the client says of itself, before the balancers' own addresses, never counts; nor does what is no address."""
    assert client_of(values, PEER, TRUSTED) == ip_address(client)
