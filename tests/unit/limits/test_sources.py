"""Who may ask now: both allowances, named networks, open connections."""

import math
from dataclasses import FrozenInstanceError, replace
from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from limits_data import (
    ADDRESS,
    KEY,
    LIMITS,
    NARROW,
    NEIGHBOUR,
    NOW,
    ONE,
    SINGLE,
    TICK,
    UNLIMITED,
    WIDE,
    ask,
    counters,
    debt,
    ledger,
    memory,
    named,
    sources,
)

from whoisd.limits.counters import Counters
from whoisd.limits.keys import NETWORK, SOURCE, key_of
from whoisd.limits.ledger import Allowance, Ban, Ledger
from whoisd.limits.sources import CONNECTIONS_RETRY, Client, Limit, Named, Refusal, Sources

# --- both allowances -------------------------------------------------------------------------------------------------


def test_words_of_the_limits() -> None:
    """The log says which limit a refusal is for by a word that never changes: its name in small letters."""
    assert [*Limit] == [
        *("source_rate", "network_rate", "source_ban"),
        *("source_connections", "network_connections", "all_connections"),
    ]
    assert [limit.name.lower() for limit in Limit] == [*Limit]


def test_excess_brings_a_ban() -> None:
    """A source may ask its burst; one more is refused with a ban, and while it lasts each try is told what remains."""
    who = sources()
    assert ask(who, "192.0.2.7", NOW, 5) == [
        None, None, None, Refusal(Limit.SOURCE_RATE, 60), Refusal(Limit.SOURCE_BAN, 60)
    ]  # fmt: skip
    for seconds, left in ((0.5, 60), (1, 59), (59, 1), (59.001, 1), (60 - TICK, 1)):
        assert ask(who, "192.0.2.7", NOW + seconds) == [Refusal(Limit.SOURCE_BAN, left)]
    assert ask(who, "192.0.2.7", NOW + 60, 4) == [None, None, None, Refusal(Limit.SOURCE_RATE, 600)]


def test_a_try_never_lengthens_a_ban() -> None:
    """However often a banned client tries, by query or connection, its ban ends when it was to end, and is one ban."""
    book = ledger()
    who = sources(over=book)
    client = who.client(ADDRESS)
    ask(who, "192.0.2.7", NOW, 4)
    for number in range(599):
        refusal = Refusal(Limit.SOURCE_BAN, math.ceil(60 - number / 10))
        assert who.charge(client, NOW + number / 10) == refusal
        assert who.connect(client, NOW + number / 10) == refusal
    assert [*book.bans(NOW + 59)] == [Ban(KEY, 1.0, 1)]
    assert who.connect(client, NOW + 60) is None
    assert who.charge(client, NOW + 60) is None


def test_network_allowance() -> None:
    """Sources of one network share its allowance; what exceeds it waits until the rate has room, and nobody is banned."""
    book = ledger()
    who = sources(over=book)
    for host in (1, 2, 3, 4):
        assert ask(who, f"192.0.2.{host}", NOW, 2) == [None, None]
    assert ask(who, "192.0.2.5", NOW, 3) == [Refusal(Limit.NETWORK_RATE, 1)] * 3
    assert ask(who, "192.0.2.6", NOW + 0.1) == [Refusal(Limit.NETWORK_RATE, 1)]
    assert who.connect(who.client(ip_address("192.0.2.255")), NOW + 0.1) is None
    assert ask(who, "192.0.3.0", NOW) == [None]
    assert ask(who, "192.0.1.255", NOW) == [None]
    assert ask(who, "192.0.2.6", NOW + 0.25, 2) == [None, Refusal(Limit.NETWORK_RATE, 1)]
    assert [*book.bans(NOW)] == []


def test_one_customer_does_not_ban_its_neighbours() -> None:
    """However long a /56 floods, its /48 is answered at the network's rate, its neighbours among them, and not banned."""
    who = sources(replace(LIMITS, network=Allowance(10.0, 100)))
    flood = [f"2001:db8:7:{number:x}::1" for number in range(256)]
    answered = [ask(who, address, NOW)[0] for address in flood]
    assert answered == [None] * 100 + [Refusal(Limit.NETWORK_RATE, 1)] * 156
    for second in range(1, 100):
        neighbour = ask(who, f"2001:db8:7:ff00:{second:x}::", NOW + second)
        assert neighbour == [None]
        said = [ask(who, address, NOW + second)[0] for address in flood]
        assert said.count(None) == 9
        assert {refusal.limit for refusal in said if refusal} <= {Limit.NETWORK_RATE, Limit.SOURCE_RATE, Limit.SOURCE_BAN}


def test_retry_after_of_a_slow_network() -> None:
    """A client of a throttled network is told when that has room again, in whole seconds, and is answered then."""
    who = sources(replace(LIMITS, network=Allowance(1 / 16, 3)))
    assert ask(who, "192.0.2.7", NOW, 3) == [None] * 3
    assert ask(who, "192.0.2.8", NOW) == [Refusal(Limit.NETWORK_RATE, 16)]
    assert ask(who, "192.0.2.8", NOW + 5.5) == [Refusal(Limit.NETWORK_RATE, 11)]
    assert ask(who, "192.0.2.8", NOW + 16) == [None]


def test_a_ban_of_a_network_is_none() -> None:
    """A ban that version 0.2.0 wrote for a network holds nobody, and is not listed."""
    book = ledger()
    book.ban(key_of(ADDRESS, NETWORK), NOW)
    who = sources(over=book)
    assert who.connect(who.client(ADDRESS), NOW) is None
    assert ask(who, "192.0.2.7", NOW) == [None]
    assert [*book.bans(NOW)] == []


def test_network_allowance_of_ipv6() -> None:
    """A client that changes its /64 within a /48 is held by the network's allowance; the next /48 is served."""
    who = sources()
    said = [ask(who, f"2001:db8:7:{number:x}::1", NOW)[0] for number in range(9)]
    assert said == [None] * 8 + [Refusal(Limit.NETWORK_RATE, 1)]
    assert ask(who, "2001:db8:7:ffff:ffff::", NOW) == [Refusal(Limit.NETWORK_RATE, 1)]
    assert ask(who, "2001:db8:8::", NOW) == [None]
    assert ask(who, "2001:db8:6:ffff::", NOW) == [None]


def test_addresses_of_one_64_are_one_source() -> None:
    """IPv6 addresses of a /64 share one allowance, and one ban."""
    who = sources()
    assert [ask(who, f"2001:db8::{number}", NOW)[0] for number in range(1, 5)] == [
        None, None, None, Refusal(Limit.SOURCE_RATE, 60)
    ]  # fmt: skip
    assert ask(who, "2001:db8::ffff:ffff:ffff:ffff", NOW) == [Refusal(Limit.SOURCE_BAN, 60)]
    assert ask(who, "2001:db8:0:1::", NOW) == [None]


def test_both_are_checked_before_either_is_charged() -> None:
    """A query that the source's allowance refuses costs the network nothing, and the other way round."""
    book = ledger()
    who = sources(over=book)
    network = key_of(ADDRESS, NETWORK)
    ask(who, "192.0.2.7", NOW, 50)
    assert debt(book, network, LIMITS.network) == 3 / LIMITS.network.rate
    assert ask(who, "192.0.2.1", NOW, 3) == [None] * 3
    assert ask(who, "192.0.2.2", NOW, 2) == [None] * 2
    assert ask(who, "192.0.2.8", NOW) == [Refusal(Limit.NETWORK_RATE, 1)]
    assert book.wait(key_of(NEIGHBOUR, SOURCE), ONE, NOW) == 0
    assert {ban.key for ban in book.bans(NOW)} == {KEY}


def test_source_is_judged_before_its_network() -> None:
    """Where both allowances are used up, it is the source that is banned."""
    who = sources(replace(LIMITS, network=Allowance(1.0, 3)))
    assert ask(who, "192.0.2.7", NOW, 4)[3] == Refusal(Limit.SOURCE_RATE, 60)
    assert ask(who, "192.0.2.8", NOW) == [Refusal(Limit.NETWORK_RATE, 1)]
    assert ask(who, "192.0.2.7", NOW) == [Refusal(Limit.SOURCE_BAN, 60)]


def test_refund_is_of_both() -> None:
    """A query that could not be answered costs neither the source nor its network anything."""
    who = sources()
    client = who.client(ADDRESS)
    for _ in range(100):
        assert who.charge(client, NOW) is None
        who.refund(client)
    for host in range(8):
        assert ask(who, f"192.0.2.{host}", NOW) == [None]
    assert ask(who, "192.0.2.9", NOW) == [Refusal(Limit.NETWORK_RATE, 1)]


@pytest.mark.parametrize("rate", [1 / 64, 1 / 128, 1 / 1024])
def test_retry_after_a_slow_rate(rate: float) -> None:
    """Where an allowance takes longer to come back than the ban lasts, the client is told so much, and may ask then."""
    who = sources(replace(LIMITS, source=Allowance(rate, 1)))
    assert ask(who, "192.0.2.7", NOW, 2) == [None, Refusal(Limit.SOURCE_RATE, round(1 / rate))]
    assert ask(who, "192.0.2.7", NOW + 10) == [Refusal(Limit.SOURCE_BAN, round(1 / rate) - 10)]
    assert ask(who, "192.0.2.7", NOW + 1 / rate) == [None]


def test_retry_after_a_ban_and_a_slow_network() -> None:
    """A client that is held by its own ban and its network's rate is told when the later of them ends."""
    who = sources(replace(LIMITS, network=Allowance(1 / 128, 4)))
    assert ask(who, "192.0.2.7", NOW, 4)[3] == Refusal(Limit.SOURCE_RATE, 60)
    assert ask(who, "192.0.2.8", NOW) == [None]
    assert ask(who, "192.0.2.7", NOW + 10) == [Refusal(Limit.SOURCE_BAN, 118)]
    assert ask(who, "192.0.2.7", NOW + 60) == [Refusal(Limit.NETWORK_RATE, 68)]
    assert ask(who, "192.0.2.7", NOW + 128) == [None]


def test_retry_after_another_excess() -> None:
    """A client whose ban ends before its network's allowance is back is told when that is."""
    who = sources(replace(LIMITS, network=Allowance(1 / 128, 1)))
    book = who._ledger
    assert ask(who, "192.0.2.8", NOW) == [None]
    book.ban(KEY, NOW)
    assert ask(who, "192.0.2.7", NOW) == [Refusal(Limit.SOURCE_BAN, 128)]


def test_unlimited() -> None:
    """An unlimited rate refuses nobody; that of the network holds all the same; and what is not limited is not kept."""
    book = ledger()
    who = sources(replace(LIMITS, source=UNLIMITED), book)
    book.ban(KEY, NOW)
    assert ask(who, "192.0.2.7", NOW, 9) == [None] * 8 + [Refusal(Limit.NETWORK_RATE, 1)]
    made = memory(8)
    who = sources(replace(LIMITS, source=UNLIMITED, network=UNLIMITED), Ledger(made))
    before = bytes(made)
    assert ask(who, "192.0.2.7", NOW, 1000) == [None] * 1000
    who.refund(who.client(ADDRESS))
    assert bytes(made) == before
    who = sources(replace(LIMITS, network=UNLIMITED))
    assert ask(who, "192.0.2.7", NOW, 4) == [None] * 3 + [Refusal(Limit.SOURCE_RATE, 60)]
    assert [ask(who, f"192.0.2.{host}", NOW)[0] for host in range(100, 200)] == [None] * 100


def test_new_limits_over_the_same_ledger() -> None:
    """After a reload everyone has their new allowance whole, whatever was used up of the old; and a ban goes on."""
    book = ledger()
    ask(sources(over=book), "192.0.2.7", NOW, 4)
    ask(sources(over=book), "192.0.2.8", NOW, 2)
    after = sources(replace(LIMITS, source=Allowance(1.0, 2)), book)
    assert ask(after, "192.0.2.7", NOW + 1) == [Refusal(Limit.SOURCE_BAN, 59)]
    assert ask(after, "192.0.2.8", NOW, 3) == [None, None, Refusal(Limit.SOURCE_RATE, 60)]
    slow, quick = (replace(LIMITS, source=Allowance(rate, 5), network=UNLIMITED) for rate in (0.1, 1.0))
    assert ask(sources(slow, book), "192.0.2.9", NOW, 5) == [None] * 5
    assert ask(sources(quick, book), "192.0.2.9", NOW, 5) == [None] * 5
    sources(slow, book).refund(sources(slow, book).client(ip_address("192.0.2.9")))  # of a query from before
    assert ask(sources(quick, book), "192.0.2.9", NOW) == [Refusal(Limit.SOURCE_RATE, 60)]


# --- a clock that is set back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [0.05, 0.5, 1, 2, 3, 4, 5, 6, 10, 30, 100, 130, 3600, 1e6])
@pytest.mark.parametrize("before", [1, 2, 3])
def test_no_clock_bans_the_innocent(back: float, before: int) -> None:
    """A client that stays within its allowance is refused nothing, however far the clock is set back between two queries."""
    who = sources(replace(LIMITS, source=Allowance(1.0, 5)))
    assert ask(who, "192.0.2.7", NOW, before) == [None] * before
    assert ask(who, "192.0.2.7", NOW - back, 4 - before) == [None] * (4 - before)
    assert [ask(who, "192.0.2.7", NOW - back + second) for second in range(1, 100)] == [[None]] * 99


def test_a_clock_that_is_set_back_lengthens_no_ban() -> None:
    """A ban lasts as long as was told, for queries and connections, when the clock is set back during it."""
    who = sources()
    client = who.client(ADDRESS)
    assert ask(who, "192.0.2.7", NOW, 4)[3] == Refusal(Limit.SOURCE_RATE, 60)
    assert ask(who, "192.0.2.7", NOW + 40) == [Refusal(Limit.SOURCE_BAN, 20)]
    assert who.connect(client, NOW + 10) == Refusal(Limit.SOURCE_BAN, 20)  # 30 s back
    assert ask(who, "192.0.2.7", NOW + 20) == [Refusal(Limit.SOURCE_BAN, 10)]
    assert who.connect(client, NOW + 30) is None


def test_a_clock_that_is_set_back_ends_no_ban() -> None:
    """Nor is a ban over when the clock is set back to before it."""
    who = sources()
    ask(who, "192.0.2.7", NOW, 4)
    assert ask(who, "192.0.2.7", NOW - 1e6) == [Refusal(Limit.SOURCE_BAN, 60)]
    assert ask(who, "192.0.2.7", NOW - 1e6 + 60) == [None]


# --- addresses that a translator made --------------------------------------------------------------------------------


def test_clients_behind_a_translator_are_told_apart() -> None:
    """Clients that reach us through NAT64 are the IPv4 clients that they are: with allowances and networks of their own."""
    prefix = ip_network("2001:db8:64::/96")
    assert isinstance(prefix, IPv6Network)
    who = sources(replace(LIMITS, nat64=(prefix,), named=(NARROW,), connections=100))
    client = who.client(ADDRESS)
    for text in ("64:ff9b::192.0.2.7", "2001:db8:64::192.0.2.7", "::ffff:192.0.2.7"):
        assert who.peer(text) is who.client(ip_address(text)) is client
    assert (client.text, client.exploded) == ("192.0.2.7", "192.0.2.7")
    assert ask(who, "64:ff9b::192.0.2.7", NOW, 4)[3] == Refusal(Limit.SOURCE_RATE, 60)
    assert ask(who, "192.0.2.7", NOW) == [Refusal(Limit.SOURCE_BAN, 60)]
    assert ask(who, "64:ff9b::192.0.2.8", NOW) == [None]
    assert who.client(ip_address("64:ff9b::198.51.100.64")).network is NARROW


# --- named networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(WIDE, NARROW, SINGLE), (SINGLE, NARROW, WIDE), (NARROW, WIDE, SINGLE)])
@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.99.255", None),
        ("198.51.100.0", WIDE),
        ("198.51.100.63", WIDE),
        ("198.51.100.64", NARROW),
        ("198.51.100.65", SINGLE),
        ("198.51.100.66", NARROW),
        ("198.51.100.127", NARROW),
        ("198.51.100.128", WIDE),
        ("198.51.100.255", WIDE),
        ("198.51.101.0", None),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", None),
        ("2001:db8::", WIDE),
        ("2001:db8:7::6", NARROW),
        ("2001:db8:7::7", SINGLE),
        ("2001:db8:7::8", NARROW),
        ("2001:db8:8::", WIDE),
        ("2001:db9::", None),
        ("::c633:6441", None),
    ],
)
def test_narrowest_network_wins(order: tuple[Named, ...], address: str, network: Named | None) -> None:
    """An address is in the named network with the narrowest prefix that holds it, in whatever order they are named."""
    who = sources(replace(LIMITS, named=order, connections=100))
    client = who.client(ip_address(address))
    assert (client.address, client.network) == (ip_address(address), network)
    for value, name in ((client, "address"), (who._quotas, "named"), (WIDE, "name"), (ONE, "rate")):
        assert not hasattr(value, "__dict__")
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


def test_the_whole_internet_can_be_named() -> None:
    """A network of no length at all holds every address of its version and none of the other's."""
    who = sources(replace(LIMITS, named=(named("0.0.0.0/0", number=5),)))
    for address, expected in (("0.0.0.0", 5), ("255.255.255.255", 5), ("::", None), ("ffff::", None)):  # noqa: S104 - an address
        network = who.client(ip_address(address)).network
        assert (network and network.number) == expected


def test_named_allowance() -> None:
    """Each source in a named network has that network's allowance, and there is none of the network around it."""
    who = sources(replace(LIMITS, named=(NARROW,)))
    for host in range(64, 128):
        assert ask(who, f"198.51.100.{host}", NOW, 4) == [None] * 4
    assert ask(who, "198.51.100.64", NOW, 2) == [Refusal(Limit.SOURCE_RATE, 60), Refusal(Limit.SOURCE_BAN, 60)]
    assert ask(who, "198.51.100.65", NOW + 1) == [None]
    assert ask(who, "198.51.100.1", NOW, 4) == [None] * 3 + [Refusal(Limit.SOURCE_RATE, 60)]


def test_named_source_is_a_64_of_ipv6() -> None:
    """In a named network too a source of IPv6 is a /64."""
    who = sources(replace(LIMITS, named=(NARROW,)))
    assert ask(who, "2001:db8:7::1", NOW, 4) == [None] * 4
    assert ask(who, "2001:db8:7::2", NOW) == [Refusal(Limit.SOURCE_RATE, 60)]
    assert ask(who, "2001:db8:7:1::", NOW) == [None]


def test_naming_a_network_frees_it() -> None:
    """A source that is banned may ask once the operator names its network."""
    book = ledger()
    before = sources(over=book)
    ask(before, "198.51.100.66", NOW, 4)
    assert ask(sources(replace(LIMITS, named=(NARROW,)), book), "198.51.100.66", NOW, 4) == [None] * 4
    assert ask(before, "198.51.100.66", NOW) == [Refusal(Limit.SOURCE_BAN, 60)]


def test_unlimited_named_network() -> None:
    """A named network without a limit is refused nothing but connections."""
    who = sources(replace(LIMITS, named=(SINGLE,)))
    assert ask(who, "198.51.100.65", NOW, 1000) == [None] * 1000


def test_a_client_is_known_again() -> None:
    """A client seen before is not worked out anew."""
    who = sources()
    assert who.client(ADDRESS) is who.client(ip_address("192.0.2.7"))
    assert isinstance(who.client(ADDRESS), Client)
    assert who.client.cache_info().maxsize == who.peer.cache_info().maxsize == 4096  # and no more are remembered


@pytest.mark.parametrize(
    ("peer", "text", "exploded"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0001"),
        ("fe80::1%eth0", "fe80::1", "fe80:0000:0000:0000:0000:0000:0000:0001"),
    ],
)
def test_client_by_its_peer_name(peer: str, text: str, exploded: str) -> None:
    """What the system calls the other side is a client without its zone, an IPv4-mapped address an IPv4 one; known again."""
    for networks in ((), (named("0.0.0.0/0", "::/0"),)):
        who = sources(replace(LIMITS, named=networks))
        client = who.peer(peer)
        assert (client.text, client.exploded) == (text, exploded)
        assert client is who.peer(peer) is who.client(ip_address(text))


# --- open connections ------------------------------------------------------------------------------------------------


def connect(who: Sources, address: str, times: int = 1) -> list[Limit | None]:
    """What limit so many connections at once meet."""
    client = who.client(ip_address(address))
    said = [who.connect(client, NOW) for _ in range(times)]
    assert all(refusal is None or refusal.retry_after == CONNECTIONS_RETRY == 5 for refusal in said)
    return [refusal and refusal.limit for refusal in said]


def test_caps() -> None:
    """A source, its network, and all together have so many connections open and no more, whoever refused first."""
    who = sources()
    assert connect(who, "192.0.2.1", 6) == [None] * 4 + [Limit.SOURCE_CONNECTIONS] * 2
    assert connect(who, "192.0.2.2", 4) == [None] * 2 + [Limit.NETWORK_CONNECTIONS] * 2
    assert connect(who, "192.0.3.1", 4) == [None] * 4
    assert connect(who, "192.0.4.1", 4) == [None] * 4
    assert connect(who, "2001:db8::", 4) == [None] * 4
    assert connect(who, "192.0.5.1", 4) == [None] * 2 + [Limit.ALL_CONNECTIONS] * 2


def test_a_refused_connection_is_counted_nowhere() -> None:
    """A refusal takes no room, and a connection that closes makes room for one."""
    who = sources()
    connect(who, "192.0.2.1", 100)
    assert connect(who, "192.0.2.2", 2) == [None, None]
    who.disconnect(who.client(ip_address("192.0.2.1")))
    assert connect(who, "192.0.2.1", 2) == [None, Limit.SOURCE_CONNECTIONS]
    for address, times in (("192.0.2.1", 4), ("192.0.2.2", 2)):
        for _ in range(times):
            who.disconnect(who.client(ip_address(address)))
    assert not any(who._open._cells)
    for number in range(5):
        assert connect(who, f"192.0.{number}.1", 4) == [None] * 4


def test_room_is_kept_for_named_networks() -> None:
    """The others have what the named networks leave; those have all of theirs, whoever else is there, and no more."""
    who = sources(replace(LIMITS, named=(NARROW, WIDE)))
    assert sum(connect(who, f"192.0.{number}.1") == [None] for number in range(100)) == 20 - 2 - 7
    assert connect(who, "198.51.100.64", 3) == [None, None, Limit.NETWORK_CONNECTIONS]
    assert connect(who, "2001:db8:7::") == [Limit.NETWORK_CONNECTIONS]
    assert connect(who, "198.51.100.1", 8) == [None] * 7 + [Limit.NETWORK_CONNECTIONS]
    assert connect(who, "203.0.113.1") == [Limit.ALL_CONNECTIONS]
    who.disconnect(who.client(ip_address("198.51.100.64")))
    assert connect(who, "203.0.113.1") == [Limit.ALL_CONNECTIONS]
    assert connect(who, "198.51.100.1") == [Limit.NETWORK_CONNECTIONS]
    assert connect(who, "198.51.100.65", 2) == [None, Limit.NETWORK_CONNECTIONS]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_caps_hold_over_all_workers(rows: int) -> None:
    """A cap is of all workers together: what one has open leaves the others less."""
    cells = memoryview(bytearray(Counters.size(rows)))
    workers = [Sources(LIMITS, ledger(), counters(rows, row, cells)) for row in range(rows)]
    client = workers[0].client(ADDRESS)
    opened = [workers[number % rows].connect(client, NOW) for number in range(20)]
    assert opened == [None] * 4 + [Refusal(Limit.SOURCE_CONNECTIONS, CONNECTIONS_RETRY)] * 16
    assert counters(rows, 0, cells).count(client.caps[0].slot) == 4
    assert counters(rows, 0, cells).count(client.caps[0].slot + 1) == 0
    assert counters(rows, 0, cells).count(client.caps[0].slot - 1) == 0


def test_unnamed_connections() -> None:
    """What is left for all others is what no named network may have."""
    assert LIMITS.unnamed_connections == 20
    assert replace(LIMITS, named=(WIDE, NARROW)).unnamed_connections == 11
