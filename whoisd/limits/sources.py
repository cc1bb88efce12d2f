"""Who may ask now: the rate of each source, the bans that excess brings, and the connections that are open.

A source has an allowance of queries, and so has the network around it, so that changing addresses does not help. A source
that exceeds its own is banned. A network that exceeds its own is throttled: its next query is answered as soon as the rate
allows, for those who share it are not to blame for each other. A network that the operator has named has limits of its own
instead of both.

Rates and bans are in a `Ledger`, open connections in `Counters`; `Sources` asks both under the limits in force. Time is an
argument. A query needs no connection: whoever serves in another way asks `client` and `charge`, and no more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Network, ip_address
from typing import Final, NamedTuple

from whoisd.limits.counters import Counters
from whoisd.limits.keys import NAMED, NETWORK, SOURCE, Address, Key, Network, counted_as, key_of
from whoisd.limits.ledger import Allowance, Ledger, Place

CONNECTIONS_RETRY: Final = 5  # seconds, as told to a client refused for the number of open connections


class Limit(StrEnum):
    """Which limit a refusal is for; the log says it."""

    SOURCE_RATE = "source_rate"
    NETWORK_RATE = "network_rate"
    SOURCE_BAN = "source_ban"
    SOURCE_CONNECTIONS = "source_connections"
    NETWORK_CONNECTIONS = "network_connections"
    ALL_CONNECTIONS = "all_connections"


class Refusal(NamedTuple):
    """Why a client may not ask now, and after how many whole seconds it may."""

    limit: Limit
    retry_after: int


@dataclass(frozen=True, slots=True)
class Named:
    """A network with limits of its own: for each source in it, and connections for all of it.

    Its number, below `MOST_NAMED`, is what its counters go by; it stays over a change of the limits.
    """

    number: int
    name: str
    cidrs: tuple[Network, ...]
    allowance: Allowance
    connections: int


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits in force: those for all clients, and the room that is kept for the named networks."""

    source: Allowance
    source_connections: int
    network: Allowance
    network_connections: int
    connections: int
    named: tuple[Named, ...] = ()
    nat64: tuple[IPv6Network, ...] = ()  # the operator's own prefixes, see `counted_as`

    @property
    def unnamed_connections(self) -> int:
        """Connections that clients outside the named networks may have open together."""
        return self.connections - sum(named.connections for named in self.named)


class Rate(NamedTuple):
    """A rate that a client is held to, where the ledger keeps it, and what refusals for it are called.

    Excess brings no ban where there is no word for one.
    """

    key: Key
    place: Place
    allowance: Allowance
    excess: Limit
    ban: Limit | None


class Cap(NamedTuple):
    """A number of open connections that a client counts in."""

    slot: int
    most: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its address, also as text, short and in full; the named network that it is in; what it is held to."""

    address: Address
    text: str
    exploded: str
    network: Named | None
    rates: tuple[Rate, ...]
    caps: tuple[Cap, ...]


class Sources:
    """What a worker asks: may this client connect, may it query. One for each worker and each set of limits."""

    def __init__(self, quotas: Quotas, ledger: Ledger, open_connections: Counters) -> None:
        self._quotas = quotas
        self._ledger = ledger
        self._open = open_connections
        self._named = _by_length(quotas.named)
        # The clients seen last are remembered, for many ask several times in a row; by their address, and by its text.
        self.client = lru_cache(maxsize=4096)(self._client)
        self.peer = lru_cache(maxsize=4096)(self._peer)

    def connect(self, client: Client, now: float) -> Refusal | None:
        """Count a connection in, unless its client is banned or one of its numbers is reached."""
        if client.rates and (refusal := self._banned(client, self._ledger.time(now))):
            return refusal
        for cap in client.caps:
            if self._open.count(cap.slot) >= cap.most:
                return Refusal(cap.limit, CONNECTIONS_RETRY)
        for cap in client.caps:
            self._open.add(cap.slot, 1)
        return None

    def disconnect(self, client: Client) -> None:
        """Count a connection out that was counted in."""
        for cap in client.caps:
            self._open.add(cap.slot, -1)

    def excess(self) -> int:
        """Return how many more than its part of all connections, outside the named networks, this worker has."""
        return self._open.excess(self._open.slot_of_all(None))

    def charge(self, client: Client, now: float) -> Refusal | None:
        """Take a query from the client's allowances, or refuse it; a source's excess brings a ban, which no try prolongs."""
        if not client.rates:
            return None
        ledger = self._ledger
        now = ledger.time(now)
        if refusal := self._banned(client, now):
            return refusal
        for rate in client.rates:
            if ledger.wait(rate.place, rate.allowance, now):
                if rate.ban:
                    ledger.ban(rate.place, now)
                return Refusal(rate.excess, self._retry_after(client, now))
        for rate in client.rates:
            ledger.charge(rate.place, rate.allowance, now)
        return None

    def refund(self, client: Client) -> None:
        """Give a query back that was charged and could not be answered."""
        for rate in client.rates:
            self._ledger.refund(rate.place, rate.allowance)

    def _banned(self, client: Client, now: float) -> Refusal | None:
        for rate in client.rates:
            if rate.ban and self._ledger.ban_of(rate.place, now):
                return Refusal(rate.ban, self._retry_after(client, now))
        return None

    def _retry_after(self, client: Client, now: float) -> int:
        """Return after how many seconds no ban holds the client, and each of its allowances has room for a query."""
        return math.ceil(max(self._seconds(rate, now) for rate in client.rates))

    def _seconds(self, rate: Rate, now: float) -> float:
        wait = self._ledger.wait(rate.place, rate.allowance, now)
        return max(wait, self._ledger.ban_to_tell(rate.place, now)) if rate.ban else wait

    def _peer(self, text: str) -> Client:
        """Return a client by its address as the system writes it, maybe with a zone."""
        return self.client(ip_address(text.partition("%")[0]))

    def _client(self, address: Address) -> Client:
        """Return a client by its address; of one that a translator made, the client with the IPv4 address in it."""
        counted = counted_as(address, self._quotas.nat64)
        if counted != address:
            return self.client(counted)
        position = self._position(address)
        return self._unnamed(address) if position is None else self._in_network(address, position)

    def _unnamed(self, address: Address) -> Client:
        quotas, place, slot = self._quotas, self._ledger.place, self._open.slot
        source = key_of(address, SOURCE)
        network = key_of(address, NETWORK)
        rates = (
            Rate(source, place(source), quotas.source, Limit.SOURCE_RATE, Limit.SOURCE_BAN),
            Rate(network, place(network), quotas.network, Limit.NETWORK_RATE, None),
        )
        caps = (
            Cap(slot(source), quotas.source_connections, Limit.SOURCE_CONNECTIONS),
            Cap(slot(network), quotas.network_connections, Limit.NETWORK_CONNECTIONS),
            Cap(self._open.slot_of_all(None), quotas.unnamed_connections, Limit.ALL_CONNECTIONS),
        )
        return Client(address, str(address), address.exploded, None, _held(rates), caps)

    def _in_network(self, address: Address, position: int) -> Client:
        named = self._quotas.named[position]
        source = key_of(address, NAMED)
        rate = Rate(source, self._ledger.place(source), named.allowance, Limit.SOURCE_RATE, Limit.SOURCE_BAN)
        cap = Cap(self._open.slot_of_all(named.number), named.connections, Limit.NETWORK_CONNECTIONS)
        return Client(address, str(address), address.exploded, named, _held((rate,)), (cap,))

    def _position(self, address: Address) -> int | None:
        """Return the position of the named network that an address is in, by the narrowest that matches."""
        number, bits = int(address), address.max_prefixlen
        for length, networks in self._named[address.version]:
            position = networks.get(number >> bits - length)
            if position is not None:
                return position
        return None


def _held(rates: tuple[Rate, ...]) -> tuple[Rate, ...]:
    return tuple(rate for rate in rates if rate.allowance.rate != math.inf)


def _by_length(named: Sequence[Named]) -> dict[int, list[tuple[int, dict[int, int]]]]:
    """Return, for each version of IP, the named networks by length of prefix, the longest first, and then by prefix."""
    found: dict[int, dict[int, dict[int, int]]] = {4: {}, 6: {}}
    for position, network in enumerate(named):
        for cidr in network.cidrs:
            prefix = int(cidr.network_address) >> cidr.max_prefixlen - cidr.prefixlen
            found[cidr.version].setdefault(cidr.prefixlen, {})[prefix] = position
    return {version: sorted(lengths.items(), reverse=True) for version, lengths in found.items()}
