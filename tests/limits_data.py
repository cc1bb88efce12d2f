"""Limits, clients and ledgers for the tests of `whoisd.limits`."""

import math
from ipaddress import ip_address, ip_network
from typing import Final

from whoisd.limits.counters import Counters
from whoisd.limits.keys import SOURCE, Key, key_of
from whoisd.limits.ledger import ENTRY, HEADER, Allowance, Ledger, Secret
from whoisd.limits.sources import Named, Quotas, Refusal, Sources

NOW: Final = 1_800_000_000.0
HOUR: Final = 3600.0
TICK: Final = 2.0**-22  # seconds between the numbers about NOW
SECRET: Final = Secret.of(bytes(range(16)))
ONE: Final = Allowance(1.0, 1)
THREE: Final = Allowance(1.0, 3)
UNLIMITED: Final = Allowance(math.inf, 5)
LIMITS: Final = Quotas(
    source=Allowance(1.0, 3),
    source_connections=4,
    network=Allowance(4.0, 8),
    network_connections=6,
    connections=20,
)
ADDRESS: Final = ip_address("192.0.2.7")
NEIGHBOUR: Final = ip_address("192.0.2.8")
STRANGER: Final = ip_address("198.51.100.7")
KEY: Final = key_of(ADDRESS, SOURCE)


def memory(entries: int = 1024) -> memoryview:
    """An empty ledger's memory."""
    made = memoryview(bytearray(HEADER + entries * ENTRY))
    Ledger.format(made, SECRET)
    return made


def ledger(entries: int = 1024) -> Ledger:
    """A ledger; of eight entries every key may be in any of them."""
    return Ledger(memory(entries))


def debt(book: Ledger, key: Key, allowance: Allowance, now: float = NOW) -> float:
    """Seconds until an allowance is full again."""
    return book._debt(book._find(key), allowance, now)


def counters(rows: int = 2, mine: int = 0, cells: memoryview | None = None) -> Counters:
    """The counters as one of several workers has them."""
    return Counters(cells or memoryview(bytearray(Counters.size(rows))), rows, mine, SECRET)


def sources(limits: Quotas = LIMITS, over: Ledger | None = None) -> Sources:
    """What a worker asks, under these limits."""
    return Sources(limits, over or ledger(), counters())


def named(*cidrs: str, number: int = 0, allowance: Allowance = THREE, most: int = 5) -> Named:
    """A network with limits of its own."""
    return Named(number, f"network-{number}", tuple(ip_network(cidr) for cidr in cidrs), allowance, most)


def ask(who: Sources, address: str, now: float, times: int = 1) -> list[Refusal | None]:
    """What so many queries at one moment come to."""
    client = who.client(ip_address(address))
    return [who.charge(client, now) for _ in range(times)]


def ban_often(book: Ledger, key: Key, times: int, now: float = NOW) -> float:
    """Ban a key anew whenever its ban has ended; return the end of the last."""
    for _ in range(times):
        now += book.ban(key, now)
    return now


def several(count: int, first: str = "203.0.113.0") -> list[Key]:
    """Keys of sources that follow each other."""
    return [key_of(ip_address(first) + number, SOURCE) for number in range(count)]


# --- named networks ------------------------------------------------------------------------------------------

WIDE: Final = named("198.51.100.0/24", "2001:db8::/32", number=3, allowance=Allowance(1.0, 5), most=7)
NARROW: Final = named("198.51.100.64/26", "2001:db8:7::/48", number=1, allowance=Allowance(1.0, 4), most=2)
SINGLE: Final = named("198.51.100.65/32", "2001:db8:7::7/128", number=2, allowance=UNLIMITED, most=1)
