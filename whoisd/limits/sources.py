"""Who may ask now: the rate of each source, the bans that excess brings, and the connections that are open.

A source is an IPv4 address or an IPv6 /64; an IPv4-mapped address counts as IPv4. Around it lies a network, IPv4 /24 or IPv6
/48, with a wider allowance of its own, so that changing addresses does not help. A network that the operator has named has
limits of its own instead of both.

Everything is kept in memory that all workers share, of a size that is fixed however many sources come. There is no lock:
two workers that judge one source in the same microsecond may admit a query too many, and one that the system holds up in
just that microsecond may undo what others charged meanwhile, but no ban that they began. Time is an argument, in seconds
since 1970, so that what outlives a reboot still means something.

    Ledger        rates and bans: a hash table of entries. Where it is full, what matters for the shortest time gives way.
    Connections   open connections: counters, each with one writer, which sources share by hash.
    Sources       the two together, under the limits in force: what a worker asks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple
from zlib import crc32

from whoisd.errors import SourceError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

BANS: Final = (60.0, 600.0, 3600.0, 86400.0)  # seconds of the first, second, third ban, and of each one after
FORGIVEN_AFTER: Final = 3600.0  # seconds without a ban after which one of those that went before is forgotten
_REMEMBERED: Final = BANS[-1] + len(BANS) * FORGIVEN_AFTER  # seconds from the beginning of a ban until all is forgotten


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


class Limit(StrEnum):
    """Which limit a refusal is for; the log says it."""

    SOURCE_RATE = "source_rate"
    NETWORK_RATE = "network_rate"
    SOURCE_BAN = "source_ban"
    NETWORK_BAN = "network_ban"
    SOURCE_CONNECTIONS = "source_connections"
    NETWORK_CONNECTIONS = "network_connections"
    ALL_CONNECTIONS = "all_connections"


class Refusal(NamedTuple):
    """Why a client may not ask now, and after how many whole seconds it may."""

    limit: Limit
    retry_after: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """Queries a second and how many at once; an infinite rate is none at all."""

    rate: float
    burst: int
    mark: int = field(init=False, compare=False)  # 16 bits that tell it from others; not 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", crc32(f"{self.rate} {self.burst}".encode()) % 0xFFFF + 1)


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
class Limits:
    """The limits in force. Those for all clients, and the room that is kept for the named ones."""

    source: Allowance
    source_connections: int
    network: Allowance
    network_connections: int
    connections: int
    named: tuple[Named, ...] = ()

    @property
    def unnamed_connections(self) -> int:
        """Connections that clients outside the named networks may have open together."""
        return self.connections - sum(named.connections for named in self.named)


# --- rates and bans --------------------------------------------------------------------------------------------------

HEADER: Final = 64  # bytes before the first entry: magic, number of entries, the hash's two secrets
ENTRY: Final = 32  # bytes: prefix; scope, number of bans and mark; when the allowance is full again; the end of the ban
ENTRIES: Final = 1 << 17
MOST_WORKERS: Final = 128
_MAGIC: Final = int.from_bytes(b"whoisd-1", "little")
_CELLS: Final = ENTRY // 8
_WAYS: Final = 8  # entries that a key may be in
_ROUNDING: Final = 1e-6  # seconds: what is left of a moment that has come, in numbers of this size
_HELD_UP: Final = 1.0  # seconds: a worker may be held up so long between reading the clock and looking here


class Secret(NamedTuple):
    """What keys are hashed with: two random numbers of 64 bits, the first of them odd."""

    factor: int
    salt: int

    @classmethod
    def of(cls, random: bytes) -> "Secret":
        """Make one of 16 random bytes."""
        return cls(int.from_bytes(random[:8], "little") | 1, int.from_bytes(random[8:16], "little"))


def _hash(key: Key, secret: Secret, bits: int) -> int:
    """Return a number of so many bits (multiply-shift: two keys rarely meet, whoever chose them)."""
    return ((key.prefix ^ secret.salt) + key.scope) * secret.factor % (1 << 64) >> 64 - bits


class Ban(NamedTuple):
    """A ban that is in force: of whom, for how many seconds more, and how many there were with it."""

    key: Key
    remaining: float
    number: int


def _ahead(moment: float, now: float, most: float) -> float:
    """Return how many seconds a moment lies ahead; 0 when it lies further ahead than any that is written.

    Then the clock was set back, and what it said before tells nothing.
    """
    ahead = moment - now
    return ahead if 0 < ahead <= most + _ROUNDING else 0.0


def _longest(allowance: Allowance) -> float:
    """Return how many seconds at most it takes an allowance to be full again, should all workers have charged it at once."""
    return (allowance.burst + MOST_WORKERS) / allowance.rate


class Ledger:
    """The rates and bans of all sources, in `memory`: `HEADER` bytes and a power of two of entries.

    A rate is kept as a moment, the one at which the allowance will be full again (a token bucket without its counter;
    "virtual scheduling" of the GCRA, ITU-T I.371). It is that of one allowance, whose mark goes with it: should the limits
    be changed, everyone has their new allowance whole, for what was within the old one may be excess by the new.

    An entry is four numbers of 8 bytes, each read and written as a whole. One that changes hands is written so that
    whoever finds it by its new key finds it blank. A free one is blank, and taken without a write to its moments: another
    worker may have taken it for the same key just before.
    """

    __slots__ = ("_bits", "_numbers", "_times", "secret")

    def __init__(self, memory: memoryview) -> None:
        words = memory.cast("Q")
        self._numbers = memory[HEADER:].cast("Q")
        self._times = memory[HEADER:].cast("d")
        self.secret = Secret(words[2], words[3])
        self._bits = (words[1] // _WAYS).bit_length() - 1

    @staticmethod
    def is_valid(memory: memoryview) -> bool:
        """Whether memory holds a ledger."""
        if len(memory) <= HEADER or len(memory) % 8:
            return False
        words = memory.cast("Q")
        return words[0] == _MAGIC and words[1] * ENTRY + HEADER == len(memory)

    @staticmethod
    def format(memory: memoryview, secret: "Secret") -> None:
        """Make memory (all zero) an empty ledger, with a secret of its own, so that nobody can aim at an entry."""
        words = memory.cast("Q")
        words[1] = (len(memory) - HEADER) // ENTRY
        words[2], words[3] = secret
        words[0] = _MAGIC

    def ban_of(self, key: Key, now: float) -> float:
        """Return for how many seconds more a key is banned; 0 when it is not."""
        at = self._find(key)
        return self._left(at, now) if at >= 0 else 0.0

    def ban_to_tell(self, key: Key, now: float) -> float:
        """Return the same as a client is to be told: no longer than the ban was to last, were `now` from before it began."""
        at = self._find(key)
        return min(self._left(at, now), BANS[min(self._bans(at), len(BANS)) - 1]) if at >= 0 else 0.0

    def wait(self, key: Key, allowance: Allowance, now: float) -> float:
        """Return how many seconds a key must wait for its next query to be within the allowance; 0 when it is now."""
        at = self._find(key)
        if at < 0:
            return 0.0
        wait = self._debt(at, allowance, now) - (allowance.burst - 1) / allowance.rate
        return wait if wait > _ROUNDING else 0.0

    def charge(self, key: Key, allowance: Allowance, now: float) -> None:
        """Take one query from a key's allowance."""
        at = self._claim(key, now, allowance.mark)
        self._times[at + 2] = now + self._debt(at, allowance, now) + 1 / allowance.rate
        if self._numbers[at + 1] >> 16 != allowance.mark:  # seldom, so that a ban which begins meanwhile is seldom uncounted
            self._numbers[at + 1] = key.scope | self._bans(at) << 8 | allowance.mark << 16

    def refund(self, key: Key, allowance: Allowance) -> None:
        """Give one query back."""
        at = self._find(key)
        if at >= 0 and self._numbers[at + 1] >> 16 == allowance.mark:
            self._times[at + 2] -= 1 / allowance.rate

    def ban(self, key: Key, now: float) -> float:
        """Ban a key, the longer the more often it was; return for how many seconds. A ban in force stays as it is.

        Another worker may have just begun one.
        """
        at = self._claim(key, now)
        count = self._count(at, now)  # in this order, and written in the other: one excess that two workers see counts once
        if left := self._left(at, now):
            return left
        seconds = BANS[min(count, len(BANS) - 1)]
        self._times[at + 3] = now + seconds
        self._numbers[at + 1] = key.scope | min(count + 1, len(BANS)) << 8 | self._numbers[at + 1] >> 16 << 16
        return seconds

    def bans(self, now: float) -> Iterator[Ban]:
        """Return the bans that are in force, in no order."""
        for at, until in zip(range(0, len(self._times), _CELLS), self._times[3::_CELLS], strict=True):
            if until > now and (remaining := self._left(at, now)) and (key := self._key(at)):
                yield Ban(key, remaining, self._bans(at))

    def lift(self, key: Key, now: float) -> bool:
        """End a ban and forget those before it, and the excess; return whether there was one in force."""
        at = self._find(key)
        if at < 0:
            return False
        banned = self.ban_of(key, now) > 0
        self._times[at + 2] = self._times[at + 3] = 0.0
        self._numbers[at + 1] = key.scope
        return banned

    def _debt(self, at: int, allowance: Allowance, now: float) -> float:
        """Return for how many seconds more an allowance will not be full."""
        return (
            _ahead(self._times[at + 2], now, _longest(allowance)) if self._numbers[at + 1] >> 16 == allowance.mark else 0.0
        )

    def _bans(self, at: int) -> int:
        return self._numbers[at + 1] >> 8 & 0xFF

    # --- entries --------------------------------------------------------------------------------------------------

    def _first(self, key: Key) -> int:
        """Return where the entries begin that a key may be in."""
        return _hash(key, self.secret, self._bits) * _WAYS * _CELLS

    def _find(self, key: Key) -> int:
        scope, prefix = key
        numbers = self._numbers
        first = self._first(key)
        for at in range(first, first + _WAYS * _CELLS, _CELLS):
            if numbers[at] == prefix and numbers[at + 1] & 0xFF == scope:
                return at
        return -1

    def _claim(self, key: Key, now: float, mark: int = 0) -> int:
        """Return the entry of a key, taking the one that matters for the shortest time when it has none."""
        at = self._find(key)
        if at >= 0:
            return at
        first = self._first(key)
        at = min(range(first, first + _WAYS * _CELLS, _CELLS), key=lambda at: self._matters_for(at, now))
        taken = self._numbers[at + 1]
        if (found := self._find(key)) >= 0:
            return found  # that of another worker, which may have charged and banned the key while this one chose
        if taken:  # in this order: what is free is blank, and whoever reads the new prefix reads what follows it blank
            self._times[at + 2] = self._times[at + 3] = 0.0
            self._numbers[at + 1] = 0
        self._numbers[at] = key.prefix
        self._numbers[at + 1] = key.scope | mark << 16
        return at

    def _matters_for(self, at: int, now: float) -> float:
        """Return for how many seconds more an entry tells anything; -1 for one that is free."""
        if not self._numbers[at + 1]:
            return -1.0
        forgotten = self._times[at + 3] + self._bans(at) * FORGIVEN_AFTER
        return max(_ahead(self._times[at + 2], now, BANS[-1]), _ahead(forgotten, now, _REMEMBERED))

    def _left(self, at: int, now: float) -> float:
        """Return for how many seconds more an entry is banned; never for longer than its ban was to last."""
        number = min(self._bans(at), len(BANS))
        return _ahead(self._times[at + 3], now, BANS[number - 1] + _HELD_UP)

    def _count(self, at: int, now: float) -> int:
        """Return how many bans of an entry are not yet forgotten."""
        forgiven = int(max(0.0, now - self._times[at + 3]) // FORGIVEN_AFTER)
        return max(0, self._bans(at) - forgiven)

    def _key(self, at: int) -> Key | None:
        scope = self._numbers[at + 1] & 0xFF
        return Key(Scope(scope), self._numbers[at]) if scope else None


# --- open connections ------------------------------------------------------------------------------------------------

COUNTER_BITS: Final = 16  # how many counters the sources share by hash, as a power of two
_ALL: Final = 1 << COUNTER_BITS  # behind them: the counter of all unnamed clients, and one for each named network
MOST_NAMED: Final = 64
_CELL: Final = 4  # bytes


class Connections:
    """The open connections of all workers: for each counter a row of cells, one for each worker, its only writer.

    Sources share counters by hash: one is refused wrongly when it falls on the counter of another that is at its limit,
    one in 65,536 for each such, and nobody can aim at it. A cap is never missed.
    """

    __slots__ = ("_cells", "_mine", "_rows", "_secret")

    def __init__(self, memory: memoryview, rows: int, mine: int, secret: Secret) -> None:
        self._cells = memory.cast("I")
        self._rows = rows
        self._mine = mine
        self._secret = secret

    @staticmethod
    def size(rows: int) -> int:
        """Return how many bytes of memory this many workers need."""
        return (_ALL + 1 + MOST_NAMED) * rows * _CELL

    def slot(self, key: Key) -> int:
        """Return the counter of a source or network."""
        return _hash(key, self._secret, COUNTER_BITS)

    @staticmethod
    def slot_of_all(number: int | None) -> int:
        """Return the counter of all clients of a named network, by its number, or of all others."""
        return _ALL if number is None else _ALL + 1 + number

    def count(self, slot: int) -> int:
        """Return how many connections a counter counts over all workers."""
        first = slot * self._rows
        return sum(self._cells[first : first + self._rows])

    def add(self, slot: int, change: int) -> None:
        """Count a connection in (1) or out (-1)."""
        at = slot * self._rows + self._mine
        self._cells[at] += change

    def clear(self, row: int) -> None:
        """Forget what a worker that is gone had open."""
        cells = self._cells
        for at in range(row, len(cells), self._rows):
            if cells[at]:
                cells[at] = 0


# --- the two together ------------------------------------------------------------------------------------------------

CONNECTIONS_RETRY: Final = 5  # seconds, as told to a client refused for the number of open connections


class Rate(NamedTuple):
    """A rate that a client is held to, and what a refusal for it is called."""

    key: Key
    allowance: Allowance
    excess: Limit
    ban: Limit


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

    def __init__(self, limits: Limits, ledger: Ledger, connections: Connections) -> None:
        self._limits = limits
        self._ledger = ledger
        self._connections = connections
        self._named = _by_length(limits.named)
        # The clients seen last are remembered, for many ask several times in a row; by their address, and by its text.
        self.client = lru_cache(maxsize=4096)(self._client)
        self.peer = lru_cache(maxsize=4096)(self._peer)

    def connect(self, client: Client, now: float) -> Refusal | None:
        """Count a connection in, unless its client is banned or one of its numbers is reached."""
        if refusal := self._banned(client, now):
            return refusal
        for cap in client.caps:
            if self._connections.count(cap.slot) >= cap.most:
                return Refusal(cap.limit, CONNECTIONS_RETRY)
        for cap in client.caps:
            self._connections.add(cap.slot, 1)
        return None

    def disconnect(self, client: Client) -> None:
        """Count a connection out that was counted in."""
        for cap in client.caps:
            self._connections.add(cap.slot, -1)

    def charge(self, client: Client, now: float) -> Refusal | None:
        """Take a query from the client's allowances, or refuse it: excess brings a ban, which a try does not lengthen."""
        if refusal := self._banned(client, now):
            return refusal
        for rate in client.rates:
            if self._ledger.wait(rate.key, rate.allowance, now):
                self._ledger.ban(rate.key, now)
                return Refusal(rate.excess, self._retry_after(client, now))
        for rate in client.rates:
            self._ledger.charge(rate.key, rate.allowance, now)
        return None

    def refund(self, client: Client) -> None:
        """Give a query back that was charged and could not be answered."""
        for rate in client.rates:
            self._ledger.refund(rate.key, rate.allowance)

    def _banned(self, client: Client, now: float) -> Refusal | None:
        for rate in client.rates:
            if self._ledger.ban_of(rate.key, now):
                return Refusal(rate.ban, self._retry_after(client, now))
        return None

    def _retry_after(self, client: Client, now: float) -> int:
        """Return after how many seconds no ban holds the client any more, and none of its allowances would bring one."""
        ledger = self._ledger
        waits = ((ledger.ban_to_tell(it.key, now), ledger.wait(it.key, it.allowance, now)) for it in client.rates)
        return math.ceil(max(map(max, waits)))

    def _peer(self, text: str) -> Client:
        """Return a client by its address as the system writes it: with a zone maybe, and IPv4 maybe mapped into IPv6."""
        address = ip_address(text.partition("%")[0])
        return self.client(address.ipv4_mapped or address if isinstance(address, IPv6Address) else address)

    def _client(self, address: Address) -> Client:
        """Return a client by its address. An IPv4-mapped address is to be given as IPv4."""
        position = self._position(address)
        return self._unnamed(address) if position is None else self._in_network(address, position)

    def _unnamed(self, address: Address) -> Client:
        limits, slot = self._limits, self._connections.slot
        source = key_of(address, SOURCE)
        network = key_of(address, NETWORK)
        rates = (
            Rate(source, limits.source, Limit.SOURCE_RATE, Limit.SOURCE_BAN),
            Rate(network, limits.network, Limit.NETWORK_RATE, Limit.NETWORK_BAN),
        )
        caps = (
            Cap(slot(source), limits.source_connections, Limit.SOURCE_CONNECTIONS),
            Cap(slot(network), limits.network_connections, Limit.NETWORK_CONNECTIONS),
            Cap(self._connections.slot_of_all(None), limits.unnamed_connections, Limit.ALL_CONNECTIONS),
        )
        return Client(address, str(address), address.exploded, None, _held(rates), caps)

    def _in_network(self, address: Address, position: int) -> Client:
        named = self._limits.named[position]
        source = key_of(address, NAMED)
        rate = Rate(source, named.allowance, Limit.SOURCE_RATE, Limit.SOURCE_BAN)
        cap = Cap(self._connections.slot_of_all(named.number), named.connections, Limit.NETWORK_CONNECTIONS)
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
