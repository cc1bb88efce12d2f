"""Rates and bans against a model of them in tokens, over any queries; and what no order of queries, or of clocks, brings."""

import math
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.limits.counters import Counters
from whoisd.limits.keys import NETWORK, SOURCE, Key, Scope, key_of
from whoisd.limits.ledger import ENTRY, HEADER, Allowance, Ledger, Secret
from whoisd.limits.sources import Limit, Quotas, Refusal, Sources

few = settings(max_examples=200, deadline=None)

NOW: Final = 1_800_000_000.0
BANS: Final = (60.0, 600.0, 3600.0, 86400.0)
ADDRESSES: Final = tuple(
    map(ip_address, ("192.0.2.1", "192.0.2.2", "192.0.3.1", "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::"))
)
COUNTERS: Final = memoryview(bytearray(Counters.size(1)))
# Rates and moments that numbers of this size hold exactly, so that the model and the ledger agree to the last bit.
EXACT: Final = st.builds(Allowance, st.sampled_from([1 / 512, 0.25, 0.5, 1.0, 2.0, 8.0]), st.integers(1, 5))
ANY: Final = st.builds(Allowance, st.floats(0.001, 1000), st.integers(1, 50))
STEPS: Final = st.sampled_from(
    [0.0, 0.0, 0.0, 1 / 16, 0.5, 1.0, 1.5, 59.0, 60.0, 61.0, 540.0, 600.0, 3600.0, 3600.0, 86400.0]
)


def ledger(entries: int = 1024) -> Ledger:
    memory = memoryview(bytearray(HEADER + entries * ENTRY))
    Ledger.format(memory, Secret.of(bytes(range(16))))
    return Ledger(memory)


def sources(source: Allowance, network: Allowance, over: Ledger) -> Sources:
    limits = Quotas(source, 10, network, 10, 100)
    return Sources(limits, over, Counters(COUNTERS, 1, 0, Secret(1, 0)))


# --- the model -------------------------------------------------------------------------------------------------------


@dataclass
class Bucket:
    """An allowance as tokens that come back with time, and the bans of whoever has it."""

    allowance: Allowance
    tokens: float = field(init=False)
    at: float = NOW
    banned_until: float = 0.0
    bans: int = 0

    def __post_init__(self) -> None:
        self.tokens = self.allowance.burst

    def turn_to(self, now: float) -> None:
        self.tokens = min(self.allowance.burst, self.tokens + (now - self.at) * self.allowance.rate)
        self.at = now

    def left(self) -> float:
        return max(0.0, self.banned_until - self.at)

    def wait(self) -> float:
        return max(0.0, (1 - self.tokens) / self.allowance.rate)

    def ban(self) -> None:
        hours = int((self.at - self.banned_until) // 3600)
        before = max(0, self.bans - hours) if self.bans else 0
        self.banned_until = self.at + BANS[min(before, 3)]
        self.bans = min(before + 1, 4)


class Model:
    """Sources and networks, each with its bucket."""

    def __init__(self, source: Allowance, network: Allowance) -> None:
        self._allowances = {SOURCE[4]: source, SOURCE[6]: source, NETWORK[4]: network, NETWORK[6]: network}
        self._buckets: dict[Key, Bucket] = {}

    def buckets(self, number: int, now: float) -> list[Bucket]:
        found = []
        for kind in (SOURCE, NETWORK):
            key = key_of(ADDRESSES[number], kind)
            bucket = self._buckets.setdefault(key, Bucket(self._allowances[key.scope]))
            bucket.turn_to(now)
            found.append(bucket)
        return found

    def charge(self, number: int, now: float) -> Refusal | None:
        source, network = both = self.buckets(number, now)
        limit = None
        if source.left():
            limit = Limit.SOURCE_BAN
        elif source.tokens < 1:
            source.ban()
            limit = Limit.SOURCE_RATE
        elif network.tokens < 1:
            limit = Limit.NETWORK_RATE
        if limit:
            return Refusal(limit, math.ceil(max(max(bucket.left(), bucket.wait()) for bucket in both)))
        for bucket in both:
            bucket.tokens -= 1
        return None

    def refund(self, number: int, now: float) -> None:
        for bucket in self.buckets(number, now):
            bucket.tokens = min(bucket.allowance.burst, bucket.tokens + 1)

    def lift(self, number: int, kind: dict[int, Scope], now: float) -> bool:
        bucket = self.buckets(number, now)[kind is NETWORK]
        was = bucket.left() > 0
        bucket.banned_until, bucket.bans, bucket.tokens = 0.0, 0, bucket.allowance.burst
        return was


ACTS: Final = st.sampled_from(["charge"] * 12 + ["refund"] * 2 + ["lift source", "lift network"])


@few
@given(EXACT, EXACT, st.lists(st.tuples(STEPS, st.integers(0, len(ADDRESSES) - 1), ACTS), max_size=80))
def test_agrees_with_a_model(source: Allowance, network: Allowance, events: list[tuple[float, int, str]]) -> None:
    """Whatever clients of few networks ask, are given back and are forgiven, each is told just what the model tells it."""
    book, model = ledger(), Model(source, network)
    who, now = sources(source, network, book), NOW
    for step, number, act in events:
        now += step
        client = who.client(ADDRESSES[number])
        if act == "charge":
            assert who.charge(client, now) == model.charge(number, now)
        elif act == "refund":
            who.refund(client)
            model.refund(number, now)
        else:
            kind = SOURCE if act == "lift source" else NETWORK
            assert book.lift(key_of(client.address, kind), now) == model.lift(number, kind, now)
        for bucket, kind in zip(model.buckets(number, now), (SOURCE, NETWORK), strict=True):
            key = key_of(client.address, kind)
            assert book.ban_of(key, now) == bucket.left()
            listed = [ban.number for ban in book.bans(now) if ban.key == key]
            assert listed == ([bucket.bans] if bucket.left() else [])


# --- what never happens ----------------------------------------------------------------------------------------------

GAPS: Final = st.floats(0, 0.01) | st.floats(0, 3) | st.floats(0, 100_000)


@few
@given(ANY, st.lists(GAPS, max_size=150))
def test_no_window_holds_more_than_its_allowance(allowance: Allowance, gaps: list[float]) -> None:
    """Over any window a key that is never given anything back gets its burst and what the rate brings, and no more."""
    book, key, now = ledger(), Key(Scope.SOURCE_4, 1), NOW
    answered: list[float] = []
    for gap in gaps:
        now += gap
        if not book.wait(key, allowance, now):
            book.charge(key, allowance, now)
            answered.append(now)
    for first, begin in enumerate(answered):
        for last, end in enumerate(answered[first:], first):
            # A ten-thousandth of a second for what numbers of this size round off.
            assert last - first + 1 <= allowance.burst + allowance.rate * (end - begin + 1e-4)


@few
@given(ANY, ANY, st.lists(st.tuples(GAPS, st.integers(0, len(ADDRESSES) - 1)), min_size=1, max_size=100))
def test_no_window_holds_more_with_bans(source: Allowance, network: Allowance, queries: list[tuple[float, int]]) -> None:
    """Nor does a source that may be banned, or its network with all the sources in it."""
    who, now = sources(source, network, ledger()), NOW
    answered: dict[Key, list[float]] = {}
    for gap, number in queries:
        now += gap
        client = who.client(ADDRESSES[number])
        if who.charge(client, now) is None:
            for rate in client.rates:
                answered.setdefault(rate.key, []).append(now)
    for key, moments in answered.items():
        allowance = network if key.scope in NETWORK.values() else source
        for first, begin in enumerate(moments):
            for last, end in enumerate(moments[first:], first):
                assert last - first + 1 <= allowance.burst + allowance.rate * (end - begin + 1e-4)


@few
@given(ANY, ANY, st.lists(st.tuples(GAPS, st.integers(0, len(ADDRESSES) - 1)), min_size=1, max_size=60))
def test_what_is_told_is_true(source: Allowance, network: Allowance, queries: list[tuple[float, int]]) -> None:
    """A client that asks again after just the seconds that it was told, while no other does, is answered."""
    who, now = sources(source, network, ledger()), NOW
    for gap, number in queries:
        now += gap
        client = who.client(ADDRESSES[number])
        if refusal := who.charge(client, now):
            assert refusal.retry_after >= 1
            now += refusal.retry_after
            assert who.charge(client, now) is None


@few
@given(ANY, st.lists(st.tuples(st.floats(-200_000, 200_000) | st.floats(-5, 5), st.booleans()), max_size=60))
def test_no_clock_lengthens_a_ban(allowance: Allowance, queries: list[tuple[float, bool]]) -> None:
    """However the clock is set, nothing is told to be banned for longer than its ban was to last and a second, nor fails."""
    book, now = ledger(), NOW
    slow = replace(allowance, rate=max(allowance.rate, 1.0))
    who = sources(slow, slow, book)
    client = who.client(ADDRESSES[0])
    for step, again in queries:
        now += step
        for _ in range(1 + 60 * again):
            who.charge(client, now)
        for ban in book.bans(now):
            assert 0 < ban.remaining <= BANS[ban.number - 1] + 1.001
            assert book.ban_of(ban.key, now) == ban.remaining


KEYS: Final = st.builds(Key, st.sampled_from(Scope), st.integers(0, 3) | st.integers(0, 2**64 - 1))


@few
@given(
    st.sampled_from([8, 16]), st.lists(st.tuples(st.floats(0, 30), KEYS, st.sampled_from(["charge", "ban"])), max_size=60)
)
def test_no_key_is_found_under_another(entries: int, events: list[tuple[float, Key, str]]) -> None:
    """However many keys come and go in few entries, none has a ban or an excess that it did not bring itself."""
    book, now = ledger(entries), NOW
    ends: dict[Key, float] = {}
    charged: dict[Key, float] = {}
    for gap, key, act in events:
        now += gap
        if act == "ban":
            ends[key] = now + book.ban(key, now)
        else:
            book.charge(key, Allowance(1.0, 1), now)
            charged[key] = max(charged.get(key, now), now) + 1
        assert book.ban_of(key, now) == max(0.0, ends.get(key, 0) - now) or act == "charge"
        for known in {*ends, *charged}:
            assert math.isclose(book.ban_of(known, now), max(0.0, ends.get(known, 0) - now), abs_tol=1e-5) or not (
                book.ban_of(known, now)
            )
            assert book.wait(known, Allowance(1.0, 1), now) <= max(0.0, charged.get(known, 0) - now) + 1e-5
        assert {ban.key for ban in book.bans(now)} <= {*ends}
        assert len([*book.bans(now)]) <= entries
