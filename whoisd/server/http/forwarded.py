"""Who asks, by the `X-Forwarded-For` of a balancer that is trusted: header values -> the client's address.

Each balancer appends whom it had it from, so that the header is read from its end: the first address that is no balancer of
ours is the client's, and what stands before it is what the client says of itself. Knows nothing of who sent the header.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from whoisd.limits.keys import Address, Network

MOST_HOPS: Final = 16  # addresses that are looked at

_FORMS: Final = re.compile(
    r"(?:(?P<four>[0-9.]+)(?::[0-9]{1,5})?|\[(?P<six>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|(?P<bare>[0-9A-Fa-f:.]+))"
)


def client_of(values: Sequence[str], peer: Address, trusted: Sequence[Network]) -> Address:
    """Return the client's address: of these values of the header, in their order, or `peer` where they name none.

    An address may have a port, and one of IPv6 brackets. What is no address ends the search: whoever wrote it is counted.
    """
    client = peer
    hops = [hop.strip() for value in values for hop in value.split(",")]
    for hop in reversed(hops[-MOST_HOPS:]):
        address = _address(hop)
        if address is None:
            break
        client = address
        if not any(address in network for network in trusted):
            break
    return client


def _address(text: str) -> Address | None:
    found = _FORMS.fullmatch(text)
    if not found:
        return None
    try:
        address: IPv4Address | IPv6Address = ip_address(found["four"] or found["six"] or found["bare"])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
