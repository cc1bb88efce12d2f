"""Rates, bans and forgiveness at every boundary, by day and with a clock that is set; and a table that is full."""

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from limits_data import (
    HOUR,
    KEY,
    NOW,
    ONE,
    SECRET,
    STRANGER,
    THREE,
    TICK,
    ask,
    ban_often,
    debt,
    ledger,
    memory,
    several,
    sources,
)

from whoisd.limits.counters import MOST_NAMED
from whoisd.limits.keys import NETWORK, SOURCE, Key, Scope, key_of, keys_of
from whoisd.limits.ledger import (
    BANS,
    ENTRIES,
    ENTRY,
    FORGIVEN_AFTER,
    HEADER,
    MOST_WORKERS,
    Allowance,
    Ban,
    Ledger,
    Place,
    Secret,
)
from whoisd.limits.sources import Limit, Refusal

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
        assert [*Ledger(other).bans(NOW)] == ([] if key.scope in NETWORK.values() else [Ban(key, 500.0, 2)])
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
    book._states, book._prefixes = book._states.toreadonly(), book._prefixes.toreadonly()
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
    """Every ban in force is listed once, of sources in named networks and of others, and nothing else is: no network's."""
    book = ledger()
    banned = [Key(scope, 7) for scope in Scope]
    for key in banned:
        book.ban(key, NOW)
    for key in several(10):
        book.charge(key, ONE, NOW)
    book.ban(Key(Scope.SOURCE_4, 9), NOW - 60)
    sources = [key for key in banned if key.scope not in NETWORK.values()]
    assert sorted(book.bans(NOW)) == [Ban(key, 60.0, 1) for key in sources]
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


def test_time_is_the_clocks() -> None:
    """While the clock goes on the table's time is the clock's, however far it is set forward; workers differ a little."""
    book = ledger()
    for now in (NOW, NOW + 1, NOW + 0.95, NOW + 1, NOW + 1e8):
        assert book.time(now) == now


@pytest.mark.parametrize("back", [0.125, 1, 4, 30, 1e6, NOW])
def test_time_goes_on_where_the_clock_is_set_back(back: float) -> None:
    """The table's time never goes back: from the moment at which the clock is set back it runs on, ahead of the clock."""
    made = memory(8)
    book = Ledger(made)
    assert book.time(NOW) == NOW
    assert book.time(NOW - back) == NOW
    assert book.time(NOW - back + 5) == NOW + 5
    assert Ledger(made).time(NOW - back + 6) == NOW + 6  # in every process, and after a restart
    assert book.time(NOW - back) == NOW + 6  # and again
    assert book.time(NOW - back + 1) == NOW + 7


@pytest.mark.parametrize("cell", [4, 5])
@pytest.mark.parametrize(("moment", "good"), [(0.0, True), (NOW, True), (-1.0, False), (2.0**40, False), (math.nan, False)])
def test_a_time_that_no_clock_shows(cell: int, moment: float, good: bool) -> None:
    """A table of which the time is none, as of a damaged file, is no ledger."""
    made = memory(8)
    struct.pack_into("<d", made, 8 * cell, moment)
    assert Ledger.is_valid(made) is good


def test_is_header() -> None:
    """What begins as a ledger of any release does is told from all else, of whatever size: zeros, a text, half a header."""
    good = bytes(memory(8))[:HEADER]
    assert Ledger.is_header(good)
    assert Ledger.is_header(b"whoisd-9" + good[8:])
    for wrong in (
        b"",
        bytes(HEADER),
        good[:-1],
        b"whoisd-x" + good[8:],
        b"whoisd=1" + good[8:],
        (b"whoisd-1 is the name of a host\n" * 3)[:HEADER],
        good[:8] + bytes(8) + good[16:],
        good[:8] + (12).to_bytes(8, "little") + good[16:],
        good[:16] + (2).to_bytes(8, "little") + good[24:],
    ):
        assert not Ledger.is_header(wrong)


# --- networks that are throttled --------------------------------------------------------------------------------------


def test_throttled() -> None:
    """The networks that have used up their allowance are listed with their wait; no source is, and no other allowance."""
    book = ledger()
    networks = [*keys_of("192.0.2.0/24"), *keys_of("2001:db8::/48")]
    within = keys_of("198.51.100.0/24")[0]
    for number, key in enumerate([*networks, KEY]):
        for _ in range(3 + number):
            book.charge(key, THREE, NOW)
    for _ in range(2):
        book.charge(within, THREE, NOW)
    assert sorted(book.throttled(THREE, NOW)) == [(networks[0], 1.0), (networks[1], 2.0)]
    assert [*book.throttled(THREE, NOW + 1)] == [(networks[1], 1.0)]
    assert [*book.throttled(THREE, NOW + 2)] == []
    assert [*book.throttled(ONE, NOW)] == []
    book.lift(networks[1], NOW)
    assert [*book.throttled(THREE, NOW)] == [(networks[0], 1.0)]


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
    for cells in ("_prefixes", "_states", "_full", "_ends"):
        setattr(book, cells, Watched(getattr(book, cells), look))
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

    def _find(self, whom: Key | Place) -> int:
        found = super()._find(whom)
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


@pytest.mark.plain
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
