"""Who may ask now: every boundary of rates, bans, forgiveness and open connections, by day and with a clock that is set."""

import math
import struct
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

import pytest

from whoisd.errors import SourceError
from whoisd.limits.sources import (
    BANS,
    CONNECTIONS_RETRY,
    ENTRIES,
    ENTRY,
    FORGIVEN_AFTER,
    HEADER,
    MOST_NAMED,
    MOST_WORKERS,
    NAMED,
    NETWORK,
    SOURCE,
    Allowance,
    Ban,
    Client,
    Connections,
    Key,
    Ledger,
    Limit,
    Limits,
    Named,
    Refusal,
    Scope,
    Secret,
    Sources,
    around,
    key_of,
    keys_of,
)

NOW: Final = 1_800_000_000.0
HOUR: Final = 3600.0
TICK: Final = 2.0**-22  # seconds between the numbers about NOW
SECRET: Final = Secret.of(bytes(range(16)))
ONE: Final = Allowance(1.0, 1)
THREE: Final = Allowance(1.0, 3)
UNLIMITED: Final = Allowance(math.inf, 5)
LIMITS: Final = Limits(
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


def connections(rows: int = 2, mine: int = 0, cells: memoryview | None = None) -> Connections:
    return Connections(cells or memoryview(bytearray(Connections.size(rows))), rows, mine, SECRET)


def sources(limits: Limits = LIMITS, over: Ledger | None = None) -> Sources:
    return Sources(limits, over or ledger(), connections())


def named(*cidrs: str, number: int = 0, allowance: Allowance = THREE, most: int = 5) -> Named:
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


# --- keys ------------------------------------------------------------------------------------------------------------


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


# --- the ledger's memory ---------------------------------------------------------------------------------------------


def test_is_valid() -> None:
    """Memory that was formatted is a ledger; any that is empty, blank, short, long or of another form is none."""
    good = memory(8)
    assert Ledger.is_valid(good)
    for wrong in (
        b"",
        bytes(HEADER),
        bytes(len(good)),
        good[:-ENTRY],
        good[:-1],
        bytes(good) + bytes(8),
        good[: HEADER + 1],
    ):
        assert Ledger.is_valid(memoryview(wrong)) is False
    assert not Ledger.is_valid(good[:HEADER])
    of_nothing = memoryview(bytearray(HEADER))
    Ledger.format(of_nothing, SECRET)
    assert not Ledger.is_valid(of_nothing)
    for at in (0, 7, 8):
        other = bytearray(good)
        other[at] ^= 1
        assert not Ledger.is_valid(memoryview(other))


def test_secret_of_random_bytes() -> None:
    """The secret is two numbers of 8 bytes each, the first of them made odd."""
    assert Secret.of(bytes([2] + [0] * 7 + [4] + [0] * 7)) == Secret(3, 4)
    assert Secret.of(bytes([3] + [0] * 7 + [5] + [0] * 7)) == Secret(3, 5)
    assert Secret.of(b"\xff" * 16) == Secret(2**64 - 1, 2**64 - 1)


def place_of(key: Key, entries: int) -> int:
    """The first byte of the eight entries that a key may be in."""
    mixed = ((key.prefix ^ SECRET.salt) + key.scope) * SECRET.factor % 2**64
    return HEADER + mixed * (entries // 8) // 2**64 * 8 * ENTRY


@pytest.mark.parametrize("entries", [8, 16, 1024])
@pytest.mark.parametrize("text", ["192.0.2.7", "2001:db8:1:2::", "ffff:ffff:ffff:ffff::", "0.0.0.1", "192.0.2.0/24"])
def test_form_of_the_memory(entries: int, text: str) -> None:
    """The form is the one that its magic stands for, so that what another release wrote is read as it was meant."""
    made = memory(entries)
    assert (ENTRIES, MOST_WORKERS, MOST_NAMED) == (131_072, 128, 64)
    assert struct.unpack_from("<8sQQQ", made) == (b"whoisd-1", entries, *SECRET)
    assert Ledger(made).secret == SECRET
    key = keys_of(text)[0]
    book = Ledger(made)
    book.charge(key, ONE, NOW)
    book.ban(key, NOW)
    where = place_of(key, entries)
    assert struct.unpack_from("<QQdd", made, where) == (
        key.prefix,
        key.scope | 1 << 8 | ONE.mark << 16,
        NOW + 1,
        NOW + 60,
    )
    assert bytes(made[HEADER:where]) == bytes(where - HEADER)
    assert not any(made[where + ENTRY :])
    for position in range(8):
        other = memory(entries)
        numbers = (key.prefix, key.scope | 2 << 8 | THREE.mark << 16)
        struct.pack_into("<QQdd", other, where + position * ENTRY, *numbers, NOW + 3, NOW + 500)
        assert [*Ledger(other).bans(NOW)] == [Ban(key, 500.0, 2)]
        assert Ledger(other).ban_of(key, NOW) == 500.0
        assert Ledger(other).wait(key, THREE, NOW) == 1.0


def entry(made: memoryview, number: int = 0) -> tuple[int, int, float, float]:
    """An entry as it is in memory: prefix; scope, number of bans and mark; when the allowance is full; the ban's end."""
    prefix, scope, full, until = struct.unpack_from("<QQdd", made, HEADER + number * ENTRY)
    return prefix, scope, full, until


def test_entries_are_wiped() -> None:
    """Nothing is left in an entry of a ban that was lifted, nor in one that changed hands of what was there before."""
    made = memory(8)
    book = Ledger(made)
    keys = several(8)
    for key in keys:
        book.charge(key, ONE, NOW)
        ban_often(book, key, 3, NOW - 660)
    book.lift(keys[0], NOW)
    assert entry(made) == (keys[0].prefix, Scope.SOURCE_4, 0, 0)
    book.ban(KEY, NOW)
    assert entry(made) == (KEY.prefix, Scope.SOURCE_4 | 1 << 8, 0, NOW + 60)
    book.lift(KEY, NOW)
    book.charge(keys[0], ONE, NOW)
    assert entry(made) == (keys[0].prefix, Scope.SOURCE_4 | ONE.mark << 16, NOW + 1, 0)
    book.refund(keys[0], ONE)
    assert entry(made) == (keys[0].prefix, Scope.SOURCE_4 | ONE.mark << 16, NOW, 0)
    assert entry(made, 7)[:2] == (keys[7].prefix, Scope.SOURCE_4 | 3 << 8 | ONE.mark << 16)


def test_the_secret_decides() -> None:
    """Where a key is kept depends on the secret, so that nobody can aim at an entry or counter."""
    other = Connections(memoryview(bytearray(Connections.size(1))), 1, 0, Secret.of(bytes(range(16, 32))))
    keys = several(100)
    assert sum(other.slot(key) == connections().slot(key) for key in keys) < 5
    assert len({connections().slot(key) for key in keys}) > 95


def test_every_secret_can_be_kept() -> None:
    """A ledger gives back whatever secret it was formatted with, be it of the largest numbers."""
    made = memoryview(bytearray(HEADER + 8 * ENTRY))
    largest = Secret.of(b"\xff" * 16)
    Ledger.format(made, largest)
    assert Ledger(made).secret == largest


def test_keys_are_told_apart_within_their_eight_entries() -> None:
    """Keys in the same eight entries keep what is theirs, and what has the same leading bits is not mistaken for it."""
    book = ledger(8)
    keys = [Key(scope, 7) for scope in Scope]
    for number, key in enumerate(keys):
        for _ in range(number + 1):
            book.charge(key, Allowance(1.0, 1), NOW)
    assert [book.wait(key, ONE, NOW) for key in keys] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert book.wait(Key(Scope.SOURCE_4, 8), ONE, NOW) == 0
    book.ban(keys[2], NOW)
    assert [book.ban_of(key, NOW) for key in keys] == [0, 0, 60, 0, 0, 0]


@pytest.mark.parametrize("known", [[], [Key(Scope.SOURCE_6, ONE.mark << 16)]])
def test_an_unknown_key_leaves_no_trace(known: list[Key]) -> None:
    """Asking about a key, giving back to it or lifting its ban makes no entry, and takes none for its own."""
    made = memory(8)
    book = Ledger(made)
    for other in known:  # whose first number, just behind the header, would be taken for the mark of an entry before it
        book.charge(other, ONE, NOW)
    before = bytes(made)
    assert (book.ban_of(KEY, NOW), book.ban_to_tell(KEY, NOW), book.wait(KEY, ONE, NOW), book.lift(KEY, NOW)) == (
        0,
        0,
        0,
        False,
    )
    book.refund(KEY, ONE)
    assert bytes(made) == before


# --- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allowance", [Allowance(1.0, 1), Allowance(1.0, 3), Allowance(0.25, 5), Allowance(8.0, 100)])
def test_burst_and_rate(allowance: Allowance) -> None:
    """A key may ask so many times at once, then once in each interval of the rate, and not a moment before that."""
    book = ledger()
    for _ in range(allowance.burst):
        assert book.wait(KEY, allowance, NOW) == 0
        book.charge(KEY, allowance, NOW)
    interval = 1 / allowance.rate
    for number in range(5):
        then = NOW + number * interval
        assert book.wait(KEY, allowance, then) == interval
        assert book.wait(KEY, allowance, then + interval / 2) == interval / 2
        assert book.wait(KEY, allowance, then + interval - 5 * TICK) == 5 * TICK
        assert book.wait(KEY, allowance, then + interval) == 0
        book.charge(KEY, allowance, then + interval)


def test_a_moment_that_has_all_but_come() -> None:
    """What is left of a wait by rounding, a millionth of a second, is no wait."""
    book = ledger()
    book.charge(KEY, ONE, NOW)
    assert book.wait(KEY, ONE, NOW + 1 - 4 * TICK) == 0
    assert book.wait(KEY, ONE, NOW + 1 - 5 * TICK) > 0


def test_allowance_is_never_more_than_the_burst() -> None:
    """However long a key has asked nothing, it may ask no more at once than the burst."""
    book = ledger()
    book.charge(KEY, THREE, NOW)
    later = NOW + 1_000_000
    for _ in range(3):
        assert book.wait(KEY, THREE, later) == 0
        book.charge(KEY, THREE, later)
    assert book.wait(KEY, THREE, later) == 1


def test_part_of_an_interval_counts() -> None:
    """An allowance that is used again before it is full goes on from where it was."""
    book = ledger()
    book.charge(KEY, THREE, NOW)
    book.charge(KEY, THREE, NOW + 0.5)
    book.charge(KEY, THREE, NOW + 0.5)
    assert book.wait(KEY, THREE, NOW + 0.5) == 0.5


def test_refund_gives_one_back() -> None:
    """A refund is as if the query had not been, and gives nothing beyond the burst."""
    book = ledger()
    for _ in range(3):
        book.charge(KEY, THREE, NOW)
    book.refund(KEY, THREE)
    assert book.wait(KEY, THREE, NOW) == 0
    book.charge(KEY, THREE, NOW)
    assert book.wait(KEY, THREE, NOW) == 1
    for _ in range(9):
        book.refund(KEY, THREE)
    for _ in range(3):
        assert book.wait(KEY, THREE, NOW) == 0
        book.charge(KEY, THREE, NOW)
    assert book.wait(KEY, THREE, NOW) == 1


@pytest.mark.parametrize("rate", [0.25, 1.0, 8.0])
def test_refund_is_of_one_query(rate: float) -> None:
    """A refund gives back as much as one query took, at whatever rate."""
    book = ledger()
    allowance = Allowance(rate, 5)
    for _ in range(5):
        book.charge(KEY, allowance, NOW)
    book.refund(KEY, allowance)
    assert debt(book, KEY, allowance) == 4 / rate


@pytest.mark.parametrize("allowance", [ONE, THREE, Allowance(0.5, 2)])
def test_all_workers_at_once(allowance: Allowance) -> None:
    """What workers admit too much in the same moment is counted, and not taken for a clock that was set."""
    book = ledger()
    for _ in range(allowance.burst + MOST_WORKERS):
        book.charge(KEY, allowance, NOW)
    assert book.wait(KEY, allowance, NOW) == (MOST_WORKERS + 1) / allowance.rate


def test_a_charge_leaves_bans_alone() -> None:
    """A query of an allowance that is in use writes nothing where bans are counted: another worker may just ban."""
    book: Any = ledger()
    book.charge(KEY, ONE, NOW)
    book._numbers = book._numbers.toreadonly()
    book.charge(KEY, ONE, NOW + 1)
    assert book.wait(KEY, ONE, NOW + 1) == 1


# --- bans ------------------------------------------------------------------------------------------------------------


def test_ladder() -> None:
    """Bans last a minute, ten, an hour, a day, and a day each time after; each is told by its number, up to the fourth."""
    book, now = ledger(), NOW
    for seconds, number in ((60, 1), (600, 2), (3600, 3), (86400, 4), (86400, 4), (86400, 4)):
        assert book.ban(KEY, now) == seconds
        assert [*book.bans(now)] == [Ban(KEY, seconds, number)]
        assert book.ban_of(KEY, now) == seconds
        assert book.ban_of(KEY, now + seconds - TICK) == TICK
        assert book.ban_of(KEY, now + seconds) == 0
        assert [*book.bans(now + seconds)] == []
        now += seconds


@pytest.mark.parametrize(
    ("before", "hours", "seconds"),
    [
        (1, 0, 600), (1, 1, 60), (1, 2, 60),
        (2, 0, 3600), (2, 1, 600), (2, 2, 60), (2, 3, 60),
        (3, 0, 86400), (3, 1, 3600), (3, 2, 600), (3, 3, 60),
        (4, 0, 86400), (4, 1, 86400), (4, 2, 3600), (4, 3, 600), (4, 4, 60), (4, 1000, 60),
        (9, 0, 86400), (9, 2, 3600), (9, 4, 60),
    ],
)  # fmt: skip
def test_forgiveness(before: int, hours: int, seconds: float) -> None:
    """Each whole hour after the end of a ban makes one of those before it forgotten, and none is forgotten earlier."""
    book = ledger()
    end = ban_often(book, KEY, before)
    assert book.ban(KEY, end + hours * HOUR) == seconds
    book = ledger()
    end = ban_often(book, KEY, before)
    just_before = book.ban(KEY, end + (hours + 1) * HOUR - TICK)
    assert just_before == seconds
    assert FORGIVEN_AFTER == HOUR


def test_forgiveness_is_counted_from_the_last_ban() -> None:
    """What was forgotten stays so: the next ban counts on from what was left."""
    book = ledger()
    end = ban_often(book, KEY, 3)
    assert book.ban(KEY, end + 2 * HOUR) == 600
    assert [ban.number for ban in book.bans(end + 2 * HOUR)] == [2]
    assert book.ban(KEY, end + 2 * HOUR + 600) == 3600


def test_a_ban_in_force_is_not_begun_again() -> None:
    """A worker that bans what another has just banned neither lengthens that ban nor counts one more."""
    book = ledger()
    book.ban(KEY, NOW)
    assert book.ban(KEY, NOW + 10) == 50
    assert book.ban(KEY, NOW - 0.001) == pytest.approx(60.001)
    assert [*book.bans(NOW + 10)] == [Ban(KEY, 50.0, 1)]
    assert book.ban(KEY, NOW + 60) == 600


@pytest.mark.parametrize(("number", "seconds"), [*enumerate(BANS, start=1)])
def test_no_more_is_told_than_a_ban_lasts(number: int, seconds: float) -> None:
    """A worker that read the clock before another began a ban tells no more seconds than that ban is to last."""
    book = ledger(8)
    assert book.ban_to_tell(KEY, NOW) == 0
    begin = ban_often(book, KEY, number) - seconds
    for now, told in ((begin - 0.5, seconds), (begin, seconds), (begin + 0.5, seconds - 0.5), (begin + seconds, 0)):
        assert book.ban_to_tell(KEY, now) == told
    assert ask(sources(over=book), "192.0.2.7", begin - 0.5) == [Refusal(Limit.SOURCE_BAN, int(seconds))]


def test_a_number_that_no_ban_has() -> None:
    """An entry with more bans than are ever counted, as from a damaged file, is as one with the most."""
    made = memory(8)
    struct.pack_into("<QQdd", made, HEADER, KEY.prefix, KEY.scope | 200 << 8, 0.0, NOW + 86400)
    book = Ledger(made)
    assert (book.ban_of(KEY, NOW), book.ban_to_tell(KEY, NOW), book.ban(KEY, NOW)) == (86400, 86400, 86400)
    assert book.ban(KEY, NOW + 86400) == 86400
    assert [ban.number for ban in book.bans(NOW + 86400)] == [4]


def test_bans_are_all_listed() -> None:
    """Every ban in force is listed once, of whatever scope, and nothing else is."""
    book = ledger()
    banned = [Key(scope, 7) for scope in Scope]
    for key in banned:
        book.ban(key, NOW)
    for key in several(10):
        book.charge(key, ONE, NOW)
    book.ban(Key(Scope.SOURCE_4, 9), NOW - 60)
    assert sorted(book.bans(NOW)) == [Ban(key, 60.0, 1) for key in banned]
    assert book.ban_of(several(1)[0], NOW) == 0


def test_what_is_nobodys_is_no_ban() -> None:
    """The end of a ban in an entry that nobody has, as a worker leaves it that was held up while the entry changed hands."""
    made = memory(8)
    struct.pack_into("<QQdd", made, HEADER, KEY.prefix, 0, 0, NOW + 60)
    assert [*Ledger(made).bans(NOW)] == []


def test_lift() -> None:
    """A lifted ban is over at once, with those before it and the excess that brought it; of others nothing is lifted."""
    book = ledger()
    other = Key(Scope.NAMED_4, KEY.prefix)
    for key in (KEY, other):
        ban_often(book, key, 2, NOW - 660)
        for _ in range(5):
            book.charge(key, THREE, NOW)
        assert book.ban(key, NOW) == 3600
    assert book.lift(KEY, NOW)
    assert (book.ban_of(KEY, NOW), book.wait(KEY, THREE, NOW)) == (0, 0)
    assert [*book.bans(NOW)] == [Ban(other, 3600.0, 3)]
    assert not book.lift(KEY, NOW)
    assert book.ban(KEY, NOW) == 60
    assert book.wait(other, THREE, NOW) == 3


def test_lift_of_what_is_over() -> None:
    """Where no ban is in force there is none to lift, but what went before is forgotten all the same."""
    book = ledger()
    end = ban_often(book, KEY, 1)
    assert not book.lift(KEY, end)
    assert book.ban(KEY, end) == 60
    assert book.lift(KEY, end + 60 - TICK)


# --- a clock that is set ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "seconds"), [*enumerate(BANS, start=1)])
def test_clock_set_back(number: int, seconds: float) -> None:
    """A ban of which more would be left than it was to last is none, beyond a second by which workers may differ."""
    book = ledger()
    begin = ban_often(book, KEY, number) - seconds
    assert book.ban_of(KEY, begin - 1) == seconds + 1
    assert book.ban_of(KEY, begin - 1 - 4 * TICK) == seconds + 1 + 4 * TICK
    assert book.ban_of(KEY, begin - 1 - 5 * TICK) == 0
    for back in (2, 60, HOUR, 1e6, NOW):
        assert book.ban_of(KEY, begin - back) == 0
        assert [*book.bans(begin - back)] == []


def test_clock_set_back_after_bans() -> None:
    """After a clock was set back the next ban is the next of the ladder, and lasts as long as it says."""
    book = ledger()
    ban_often(book, KEY, 1)
    back = NOW - 1e6
    assert book.ban_of(KEY, back) == 0
    assert book.ban(KEY, back) == 600
    assert book.ban_of(KEY, back) == 600
    assert book.ban_of(KEY, back + 600) == 0


@pytest.mark.parametrize("allowance", [ONE, THREE, Allowance(0.25, 4)])
def test_rate_and_a_clock_set_back(allowance: Allowance) -> None:
    """An allowance that would take longer to be full than it ever can was used up by another clock: it is full."""
    book = ledger()
    for _ in range(allowance.burst):
        book.charge(KEY, allowance, NOW)
    further = MOST_WORKERS / allowance.rate
    assert book.wait(KEY, allowance, NOW - further) == further + 1 / allowance.rate
    assert book.wait(KEY, allowance, NOW - further - 4 * TICK) > 0
    assert book.wait(KEY, allowance, NOW - further - 5 * TICK) == 0
    book.charge(KEY, allowance, NOW - 1e6)
    assert debt(book, KEY, allowance, NOW - 1e6) == 1 / allowance.rate


def test_clock_set_forward() -> None:
    """A clock set forward ends bans and waits, and forgets."""
    book = ledger()
    ban_often(book, KEY, 3)
    for _ in range(3):
        book.charge(KEY, THREE, NOW)
    later = NOW + 1e8
    assert (book.ban_of(KEY, later), book.wait(KEY, THREE, later), book.ban(KEY, later)) == (0, 0, 60)


# --- a ledger that is full -------------------------------------------------------------------------------------------


def known(book: Ledger, keys: list[Key], now: float) -> list[bool]:
    """Which of these keys the ledger knows as banned, or as having used some of an allowance."""
    return [book.ban_of(key, now) > 0 or book.wait(key, ONE, now) > 0 for key in keys]


def test_what_matters_least_gives_way() -> None:
    """Where all entries are taken, the one whose allowance is full again first gives way to a new key."""
    keys = several(9)
    for least in range(8):
        book = ledger(8)
        for number, key in enumerate(keys[:8]):
            for _ in range(2 if number == least else 3):
                book.charge(key, ONE, NOW)
        book.charge(keys[8], ONE, NOW)
        assert known(book, keys, NOW) == [number != least for number in range(9)]


@pytest.mark.parametrize("over", range(8))
def test_an_entry_that_is_over_goes_first(over: int) -> None:
    """An entry of which nothing is left, as after a lifted ban, gives way before one of which something is."""
    keys = several(9)
    book = ledger(8)
    for key in keys[:8]:
        book.charge(key, ONE, NOW)
    book.ban(keys[over], NOW)
    book.lift(keys[over], NOW)
    book.charge(keys[8], ONE, NOW)
    assert known(book, keys, NOW) == [number != over for number in range(9)]


def test_a_free_entry_is_taken_before_one_that_is_over() -> None:
    """A key that comes when those before it have long been over takes a free entry beside theirs."""
    made = memory(8)
    book = Ledger(made)
    for number, key in enumerate(several(8)):
        book.charge(key, ONE, NOW + 100 * number)
    prefixes = [struct.unpack_from("<Q", made, HEADER + number * ENTRY)[0] for number in range(8)]
    assert prefixes == [key.prefix for key in several(8)]


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize(("bans", "excess"), [(3, 0), (0, 3), (3, 3)])
def test_an_entry_that_changes_hands_is_blank(bans: int, excess: int, first: int) -> None:
    """A key that takes an entry over has neither the ban, nor the number of bans, nor the excess of the one before."""
    book = ledger(8)
    for key in [Key(Scope.SOURCE_4, first + number) for number in range(8)]:
        ban_often(book, key, bans, NOW - 660)
        for _ in range(excess):
            book.charge(key, THREE, NOW)
    newcomer = key_of(STRANGER, SOURCE)
    book.charge(newcomer, THREE, NOW)
    assert book.ban_of(newcomer, NOW) == 0
    assert debt(book, newcomer, THREE) == 1
    assert book.ban(newcomer, NOW) == 60


class Watched:
    """Cells of which each write is looked at."""

    def __init__(self, cells: Any, look: Callable[[], None]) -> None:
        self._cells = cells
        self._look = look

    def __getitem__(self, at: int) -> object:
        return self._cells[at]

    def __setitem__(self, at: int, value: float) -> None:
        self._cells[at] = value
        self._look()


def test_an_entry_is_blank_while_it_changes_hands() -> None:
    """After each write another worker finds it under the old key or none, and only then, blank, under the new; no fault."""
    made = memory(8)
    for key in several(8):
        Ledger(made).charge(key, ONE, NOW)
        Ledger(made).ban(key, NOW)
    seen = []

    def look() -> None:
        seen.append(entry(made))
        assert {*several(8)[1:]} <= {ban.key for ban in Ledger(made).bans(NOW)} <= {*several(8)}

    book: Any = Ledger(made)
    old = several(1)[0].prefix, Scope.SOURCE_4 | 1 << 8 | ONE.mark << 16
    book._numbers, book._times = Watched(book._numbers, look), Watched(book._times, look)
    book._claim(KEY, NOW, THREE.mark)
    assert seen == [
        (*old, 0, NOW + 60),
        (*old, 0, 0),
        (old[0], 0, 0, 0),
        (KEY.prefix, 0, 0, 0),
        (KEY.prefix, KEY.scope | THREE.mark << 16, 0, 0),
    ]


class HeldUp(Ledger):
    """A ledger as a worker has it that is held up on its way to an entry for a new key, just as it calls what is named."""

    def hold(self, call: str, number: int, meanwhile: Callable[[], None]) -> None:
        """Have something happen at the `number`th such call; what that call returns is what was so before."""
        self.call, self.number, self.meanwhile = call, number, meanwhile

    def _find(self, key: Key) -> int:
        found = super()._find(key)
        self._called("_find")
        return found

    def _matters_for(self, at: int, now: float) -> float:
        found = super()._matters_for(at, now)
        self._called("_matters_for")
        return found

    def _called(self, call: str) -> None:
        if call == self.call:
            self.number -= 1
            if not self.number:
                self.meanwhile()


@pytest.mark.parametrize(
    ("call", "number", "bans"), [("_find", 1, 1), *[("_matters_for", n, 1) for n in range(1, 9)], ("_find", 2, 0)]
)
def test_new_key_that_two_workers_claim_at_once(call: str, number: int, bans: int) -> None:
    """What a worker wrote of a new key is not undone by one that was held up on its way to an entry for it.

    One that is held up at the very last takes the number of bans back, though not the ban.
    """
    made = memory(8)
    book, other = HeldUp(made), Ledger(made)

    def exceed() -> None:
        for _ in range(3):
            other.charge(KEY, THREE, NOW)
        other.ban(KEY, NOW)

    book.hold(call, number, exceed)
    book.charge(KEY, THREE, NOW)
    assert [*other.bans(NOW)] == [Ban(KEY, 60.0, bans)]
    assert book.wait(KEY, THREE, NOW) == 2  # four were charged
    assert book.ban(KEY, NOW) == 60


def test_a_ban_outlives_a_flood() -> None:
    """No flood of new sources displaces a source that is banned, as long as anything else is there."""
    book = ledger(8)
    banned = several(7, "192.0.2.0")
    for key in banned:
        book.ban(key, NOW)
    for number, key in enumerate(several(1000)):
        for _ in range(50):
            book.charge(key, Allowance(1.0, 50), NOW + number / 1000)
    assert [book.ban_of(key, NOW + 1) for key in banned] == [59.0] * 7


def test_of_bans_the_one_that_is_forgotten_first_gives_way() -> None:
    """Among bans the one that will be forgotten first gives way: not the shortest, where there were more before it."""
    keys = several(9)
    book = ledger(8)
    for key in keys[:7]:
        ban_often(book, key, 2, NOW - 660)  # over at NOW, and all forgotten two hours after that
    now = NOW + HOUR - 61
    book.ban(keys[7], now)  # over in a minute, and forgotten an hour after that: a second before the others
    book.ban(keys[8], now)
    assert book.ban_of(keys[7], now) == 0
    assert [book.ban(key, now) for key in keys[:7]] == [3600] * 7


def test_what_is_not_yet_forgotten_is_kept() -> None:
    """A ban that is over is kept until it is forgotten, before those that only used some of their allowance."""
    keys = several(9)
    for hours, kept in ((1.99, True), (2.01, False)):
        book = ledger(8)
        end = ban_often(book, keys[0], 2)
        now = end + hours * HOUR
        for key in keys[1:8]:
            book.charge(key, ONE, now)
        book.charge(keys[8], ONE, now)
        assert known(book, keys[1:], now).count(True) == (7 if kept else 8)
        assert book.ban(keys[0], now) == (600 if kept else 60)


@pytest.mark.parametrize("prefix", [0, 1, 2**64 - 1])
def test_the_first_and_last_of_all_sources_are_kept_too(prefix: int) -> None:
    """No leading bits, not even those that are all zero, make an entry count as free."""
    book = ledger(8)
    key = Key(Scope.SOURCE_6, prefix)
    book.ban(key, NOW)
    for other in several(50):
        book.charge(other, ONE, NOW)
    assert book.ban_of(key, NOW) == 60


def test_a_long_excess_is_kept() -> None:
    """What a source has used of an allowance that takes most of a day to come back is kept before what matters for less."""
    book = ledger(8)
    slow = Allowance(1 / 1024, 80)
    for _ in range(80):
        book.charge(KEY, slow, NOW)
    for key in several(50):
        ban_often(book, key, 3, NOW - 660)
    assert book.wait(KEY, slow, NOW) == 1024


@pytest.mark.parametrize("ahead", [30 * HOUR, 1e9])
def test_what_another_clock_wrote_gives_way(ahead: float) -> None:
    """Entries that a clock far ahead has left do not hold the table for as long as that: they give way to new ones."""
    book = ledger(8)
    for key in several(8):
        book.charge(key, ONE, NOW + ahead)
        book.ban(key, NOW + ahead)
    fresh = several(8, "192.0.2.0")
    for key in fresh:
        book.charge(key, ONE, NOW)
    assert known(book, fresh, NOW) == [True] * 8


def test_the_longest_ban_is_kept_from_its_beginning() -> None:
    """A day's ban that has just begun, with all before it, matters more than the excess of any other."""
    book = ledger(8)
    end = ban_often(book, KEY, 4)
    begin = end - 86400
    for key in several(50):
        book.ban(key, begin)
    assert book.ban_of(KEY, begin) == 86400
    for key in several(50, "192.0.2.100"):
        book.ban(key, end - 1)
    assert book.ban(KEY, end) == 86400


# --- both allowances -------------------------------------------------------------------------------------------------


def test_words_of_the_limits() -> None:
    """The log says which limit a refusal is for by a word that never changes: its name in small letters."""
    assert [*Limit] == [
        *("source_rate", "network_rate", "source_ban", "network_ban"),
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
    """Sources of one network share its allowance; excess bans the network, and with it those that asked nothing."""
    who = sources()
    for host in (1, 2, 3, 4):
        assert ask(who, f"192.0.2.{host}", NOW, 2) == [None, None]
    assert ask(who, "192.0.2.5", NOW) == [Refusal(Limit.NETWORK_RATE, 60)]
    assert ask(who, "192.0.2.6", NOW + 0.1) == [Refusal(Limit.NETWORK_BAN, 60)]
    assert who.connect(who.client(ip_address("192.0.2.255")), NOW + 1) == Refusal(Limit.NETWORK_BAN, 59)
    assert ask(who, "192.0.3.0", NOW) == [None]
    assert ask(who, "192.0.1.255", NOW) == [None]
    assert ask(who, "192.0.2.6", NOW + 60) == [None]


def test_network_allowance_of_ipv6() -> None:
    """A client that changes its /64 within a /48 is held by the network's allowance; the next /48 is served."""
    who = sources()
    said = [ask(who, f"2001:db8:7:{number:x}::1", NOW)[0] for number in range(9)]
    assert said == [None] * 8 + [Refusal(Limit.NETWORK_RATE, 60)]
    assert ask(who, "2001:db8:7:ffff:ffff::", NOW) == [Refusal(Limit.NETWORK_BAN, 60)]
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
    assert ask(who, "192.0.2.8", NOW) == [Refusal(Limit.NETWORK_RATE, 60)]
    assert book.wait(key_of(NEIGHBOUR, SOURCE), ONE, NOW) == 0
    assert {ban.key for ban in book.bans(NOW)} == {KEY, network}


def test_source_is_judged_before_its_network() -> None:
    """Where both allowances are used up, it is the source that is banned."""
    who = sources(replace(LIMITS, network=Allowance(1.0, 3)))
    assert ask(who, "192.0.2.7", NOW, 4)[3] == Refusal(Limit.SOURCE_RATE, 60)
    assert ask(who, "192.0.2.8", NOW) == [Refusal(Limit.NETWORK_RATE, 60)]
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
    assert ask(who, "192.0.2.9", NOW) == [Refusal(Limit.NETWORK_RATE, 60)]


@pytest.mark.parametrize("rate", [1 / 64, 1 / 128, 1 / 1024])
def test_retry_after_a_slow_rate(rate: float) -> None:
    """Where an allowance takes longer to come back than the ban lasts, the client is told so much, and may ask then."""
    who = sources(replace(LIMITS, source=Allowance(rate, 1)))
    assert ask(who, "192.0.2.7", NOW, 2) == [None, Refusal(Limit.SOURCE_RATE, round(1 / rate))]
    assert ask(who, "192.0.2.7", NOW + 10) == [Refusal(Limit.SOURCE_BAN, round(1 / rate) - 10)]
    assert ask(who, "192.0.2.7", NOW + 1 / rate) == [None]


def test_retry_after_two_bans() -> None:
    """A client that is held by its own ban and its network's is told when the later of them ends."""
    book = ledger()
    who = sources(over=book)
    network = key_of(ADDRESS, NETWORK)
    ban_often(book, network, 1, NOW - 60)
    book.ban(network, NOW)
    book.ban(KEY, NOW)
    assert ask(who, "192.0.2.7", NOW) == [Refusal(Limit.SOURCE_BAN, 600)]
    assert ask(who, "192.0.2.7", NOW + 100) == [Refusal(Limit.NETWORK_BAN, 500)]
    assert ask(who, "192.0.2.7", NOW + 600) == [None]
    book.ban(KEY, NOW + 700)
    book.lift(network, NOW + 700)
    book.ban(network, NOW + 700)
    assert ask(who, "192.0.2.7", NOW + 700) == [Refusal(Limit.SOURCE_BAN, 600)]
    assert ask(who, "192.0.2.7", NOW + 760) == [Refusal(Limit.SOURCE_BAN, 540)]


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
    assert ask(who, "192.0.2.7", NOW, 9) == [None] * 8 + [Refusal(Limit.NETWORK_RATE, 60)]
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


def test_marks_tell_allowances_apart() -> None:
    """Allowances that differ in rate or burst have different marks, of 16 bits and not 0; equal ones have the same."""
    allowances = [Allowance(rate, burst) for rate in (0.1, 0.5, 1.0, 2.0, 10.0) for burst in (1, 2, 5, 10, 100)]
    marks = [allowance.mark for allowance in allowances]
    assert len(set(marks)) == len(marks)
    assert all(0 < mark < 2**16 for mark in marks)
    assert Allowance(1.0, 5).mark == Allowance(1.0, 5).mark
    assert (ONE.mark, THREE.mark) == (31215, 12980)  # as they are in files


def test_an_allowance_is_its_rate_and_burst() -> None:
    """Allowances of the same rate and burst are equal, however they were written, and none is given its mark."""
    assert Allowance(1, 5) == Allowance(1.0, 5) != Allowance(1.0, 6)
    with pytest.raises(TypeError):
        Allowance(1.0, 5, 7)  # type: ignore[call-arg]


# --- named networks --------------------------------------------------------------------------------------------------

WIDE: Final = named("198.51.100.0/24", "2001:db8::/32", number=3, allowance=Allowance(1.0, 5), most=7)
NARROW: Final = named("198.51.100.64/26", "2001:db8:7::/48", number=1, allowance=Allowance(1.0, 4), most=2)
SINGLE: Final = named("198.51.100.65/32", "2001:db8:7::7/128", number=2, allowance=UNLIMITED, most=1)


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
    for value, name in ((client, "address"), (who._limits, "named"), (WIDE, "name"), (ONE, "rate")):
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
    """A source that is banned, or in a network that is, may ask once the operator names its network."""
    book = ledger()
    before = sources(over=book)
    ask(before, "198.51.100.66", NOW, 4)
    book.ban(key_of(ip_address("198.51.100.66"), NETWORK), NOW)
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
    assert not any(who._connections._cells)
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


def test_counters_are_apart() -> None:
    """All others and each named network have a counter of their own, behind those that sources share by hash."""
    counters = [Connections.slot_of_all(None), *map(Connections.slot_of_all, range(MOST_NAMED))]
    assert counters == [*range(1 << 16, (1 << 16) + 1 + MOST_NAMED)]
    assert Connections.size(3) == (counters[-1] + 1) * 3 * 4
    for key in several(1000):
        mixed = ((key.prefix ^ SECRET.salt) + key.scope) * SECRET.factor % 2**64
        assert connections().slot(key) == mixed >> 48


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_caps_hold_over_all_workers(rows: int) -> None:
    """A cap is of all workers together: what one has open leaves the others less."""
    cells = memoryview(bytearray(Connections.size(rows)))
    workers = [Sources(LIMITS, ledger(), connections(rows, row, cells)) for row in range(rows)]
    client = workers[0].client(ADDRESS)
    opened = [workers[number % rows].connect(client, NOW) for number in range(20)]
    assert opened == [None] * 4 + [Refusal(Limit.SOURCE_CONNECTIONS, CONNECTIONS_RETRY)] * 16
    assert connections(rows, 0, cells).count(client.caps[0].slot) == 4
    assert connections(rows, 0, cells).count(client.caps[0].slot + 1) == 0
    assert connections(rows, 0, cells).count(client.caps[0].slot - 1) == 0


def test_clear_is_of_one_row() -> None:
    """What a worker that is gone had open is forgotten, of every client, and nothing of the others'."""
    cells = memoryview(bytearray(Connections.size(3)))
    workers = [Sources(replace(LIMITS, named=(NARROW,)), ledger(), connections(3, row, cells)) for row in range(3)]
    addresses = [ADDRESS, STRANGER, ip_address("2001:db8::"), ip_address("198.51.100.64")]
    clients = [workers[0].client(address) for address in addresses]
    for worker in workers[:2]:
        for client in clients:
            assert worker.connect(client, NOW) is None
    gone = connections(3, 0, cells)
    before = cells.tobytes()
    connections(3, 2, cells).clear(2)
    assert cells.tobytes() == before
    connections(3, 2, cells).clear(0)
    assert not any(cells.cast("I")[0::3])
    assert sum(cells.cast("I")[1::3]) == 10
    for client in clients:
        assert all(gone.count(cap.slot) for cap in client.caps)
        workers[1].disconnect(client)
    assert not any(cells)


def test_no_counter_goes_below_zero() -> None:
    """A connection that was not counted in is not counted out: that is a fault, and the counter stays as it was."""
    counters = connections()
    with pytest.raises(ValueError, match="invalid value"):
        counters.add(7, -1)
    assert counters.count(7) == 0
    counters.add(7, 1)
    counters.add(7, -1)
    assert counters.count(7) == 0


def test_unnamed_connections() -> None:
    """What is left for all others is what no named network may have."""
    assert LIMITS.unnamed_connections == 20
    assert replace(LIMITS, named=(WIDE, NARROW)).unnamed_connections == 11
