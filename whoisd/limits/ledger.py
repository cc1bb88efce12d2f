"""The rates and bans of all sources and networks: a table in memory that all workers share.

It is of a fixed size, however many sources come: where it is full, what matters for the shortest time gives way. There is
no lock: two workers that judge one source in the same microsecond may admit a query too many, and one that the system holds
up in just that microsecond may undo what others charged meanwhile, but no ban that they began.

Time is an argument, in seconds since 1970, so that what outlives a reboot still means something. A clock can be set back,
and then every moment in the table lies too far ahead: a query of a second ago would count as excess. `Ledger.time` makes a
clock of it that never goes back; and a moment that lies further ahead than rates and bans can put one counts as past.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from zlib import crc32

from whoisd.limits.keys import NETWORK, Key, Scope

BANS: Final[tuple[float, ...]] = (
    60.0,
    600.0,
    3600.0,
    86400.0,
)  # seconds of the first, second, third ban, and of each one after
FORGIVEN_AFTER: Final = 3600.0  # seconds without a ban after which one of those that went before is forgotten
_REMEMBERED: Final = BANS[-1] + len(BANS) * FORGIVEN_AFTER  # seconds from the beginning of a ban until all is forgotten

HEADER: Final = 64  # bytes before the first entry: eight cells, of which two are free
ENTRY: Final = 32  # bytes: four cells
ENTRIES: Final = 1 << 17
MOST_WORKERS: Final = 128
_MAGIC: Final = int.from_bytes(b"whoisd-1", "little")
_WAYS: Final = 8  # entries that a key may be in
_ROUNDING: Final = 1e-6  # seconds: what is left of a moment that has come, in numbers of this size
_HELD_UP: Final = 1.0  # seconds: a worker may be held up so long between reading the clock and looking here
_STEP: Final = 0.1  # seconds by which a clock must fall behind to have been set back; ntpd slews what is less than 0.128
_MOST_TIME: Final = 2.0**40  # seconds since 1970 that no clock shows

# The cells of the header: what tells a ledger from other files, the number of entries, the secret's two numbers, the latest
# moment that was seen, and by how many seconds the table's time is ahead of the clock. The last two are moments.
_MAGIC_AT, _ENTRIES_AT, _FACTOR_AT, _SALT_AT, _LATEST_AT, _SHIFT_AT = range(6)
_FAMILY: Final = b"whoisd-"  # how the magic of every release begins; a digit follows

# The parts of an entry's state: the key's scope, the number of its bans, and the mark of the allowance that it used.
_SCOPE: Final = 0xFF
_NETWORKS: Final = frozenset(NETWORK.values())
_BANNED: Final = frozenset(Scope) - _NETWORKS
_BANS_AT: Final = 8
_MARK_AT: Final = 16


@dataclass(frozen=True, slots=True)
class Allowance:
    """Queries a second and how many at once; an infinite rate is none at all."""

    rate: float
    burst: int
    mark: int = field(init=False, compare=False)  # 16 bits that tell it from others; not 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mark", crc32(f"{self.rate} {self.burst}".encode()) % 0xFFFF + 1)


class Secret(NamedTuple):
    """What keys are hashed with: two random numbers of 64 bits, the first of them odd."""

    factor: int
    salt: int

    @classmethod
    def of(cls, random: bytes) -> "Secret":
        """Make one of 16 random bytes."""
        return cls(int.from_bytes(random[:8], "little") | 1, int.from_bytes(random[8:16], "little"))


def hash_of(key: Key, secret: Secret, bits: int) -> int:
    """Return a number of so many bits (multiply-shift: two keys rarely meet, whoever chose them)."""
    return ((key.prefix ^ secret.salt) + key.scope) * secret.factor % (1 << 64) >> 64 - bits


class Ban(NamedTuple):
    """A ban that is in force: of whom, for how many seconds more, and how many there were with it."""

    key: Key
    remaining: float
    number: int


class Place:
    """Where a ledger keeps a key, worked out once: the first of the entries it may be in, and the one it was last seen in.

    An entry can change hands, so the ledger verifies it before each use.
    """

    __slots__ = ("at", "first", "prefix", "scope")

    def __init__(self, key: Key, first: int) -> None:
        self.scope, self.prefix = key
        self.first = self.at = first


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
    """The table, in `memory`: `HEADER` bytes, and a power of two of entries.

    A rate is kept as a moment, the one at which the allowance will be full again (a token bucket without its counter;
    "virtual scheduling" of the GCRA, ITU-T I.371). It is that of one allowance, whose mark goes with it: when the limits
    change, everyone has their new allowance whole, for what was within the old one may be excess by the new.

    An entry is four cells of 8 bytes, each read and written as a whole: the key's prefix, the state, when the allowance is
    full again, and when the ban ends. One that changes hands is written so that whoever finds it by its new key finds it
    blank. A free one is blank, and taken without a write to its moments: another worker may have taken it for the same key
    just before.

    Whoever asks once gives a key; whoever asks again and again about the same one has its `place` worked out once.
    """

    __slots__ = ("_bits", "_clock", "_ends", "_full", "_prefixes", "_states", "secret")

    def __init__(self, memory: memoryview) -> None:
        header = memory[:HEADER].cast("Q")
        numbers, moments = memory[HEADER:].cast("Q"), memory[HEADER:].cast("d")
        self._prefixes, self._states = numbers[0::4], numbers[1::4]
        self._full, self._ends = moments[2::4], moments[3::4]
        self._clock = memory[:HEADER].cast("d")
        self.secret = Secret(header[_FACTOR_AT], header[_SALT_AT])
        self._bits = (header[_ENTRIES_AT] // _WAYS).bit_length() - 1

    @staticmethod
    def is_valid(memory: memoryview) -> bool:
        """Whether memory holds a ledger."""
        if len(memory) <= HEADER or len(memory) % 8:
            return False
        header, clock = memory[:HEADER].cast("Q"), memory[:HEADER].cast("d")
        return (
            header[_MAGIC_AT] == _MAGIC
            and header[_ENTRIES_AT] * ENTRY + HEADER == len(memory)
            and 0 <= clock[_LATEST_AT] < _MOST_TIME
            and 0 <= clock[_SHIFT_AT] < _MOST_TIME
        )

    @staticmethod
    def is_header(head: bytes) -> bool:
        """Whether a file that begins so was made as a ledger, by whatever release: no other file has all of this."""
        if len(head) < HEADER or not head.startswith(_FAMILY) or not head[len(_FAMILY) : len(_FAMILY) + 1].isdigit():
            return False
        header = memoryview(head)[:HEADER].cast("Q")
        return header[_ENTRIES_AT].bit_count() == 1 and header[_FACTOR_AT] % 2 == 1

    @staticmethod
    def format(memory: memoryview, secret: Secret) -> None:
        """Make memory (all zero) an empty ledger, with a secret of its own, so that nobody can aim at an entry."""
        header = memory[:HEADER].cast("Q")
        header[_ENTRIES_AT] = (len(memory) - HEADER) // ENTRY
        header[_FACTOR_AT], header[_SALT_AT] = secret
        header[_MAGIC_AT] = _MAGIC

    def time(self, now: float) -> float:
        """Return the time by which this table counts: the clock's, but it goes on from the latest when that is set back.

        It is then ahead of the clock by as much, in every process that has the table, and after a restart.
        """
        clock = self._clock
        moment, latest = now + clock[_SHIFT_AT], clock[_LATEST_AT]
        if moment > latest:
            clock[_LATEST_AT] = moment
        elif latest - moment > _STEP:
            clock[_SHIFT_AT] = latest - now
            return latest
        return moment

    def place(self, key: Key) -> Place:
        """Work out where a key is kept."""
        return Place(key, hash_of(key, self.secret, self._bits) * _WAYS)

    def ban_of(self, whom: Key | Place, now: float) -> float:
        """Return for how many seconds more a key is banned; 0 when it is not."""
        at = self._find(whom)
        return self._left(at, now) if at >= 0 else 0.0

    def ban_to_tell(self, whom: Key | Place, now: float) -> float:
        """Return the same as a client is to be told: no longer than the ban was to last, were `now` from before it began."""
        at = self._find(whom)
        return min(self._left(at, now), BANS[min(self._bans(at), len(BANS)) - 1]) if at >= 0 else 0.0

    def wait(self, whom: Key | Place, allowance: Allowance, now: float) -> float:
        """Return how many seconds a key must wait for its next query to be within the allowance; 0 when it is now."""
        at = self._find(whom)
        return self._wait(at, allowance, now) if at >= 0 else 0.0

    def charge(self, whom: Key | Place, allowance: Allowance, now: float) -> None:
        """Take one query from a key's allowance."""
        at = self._claim(whom, now, allowance.mark)
        self._full[at] = now + self._debt(at, allowance, now) + 1 / allowance.rate
        if (
            self._states[at] >> _MARK_AT != allowance.mark
        ):  # seldom, so that a ban which begins meanwhile is seldom uncounted
            self._states[at] = whom.scope | self._bans(at) << _BANS_AT | allowance.mark << _MARK_AT

    def refund(self, whom: Key | Place, allowance: Allowance) -> None:
        """Give one query back."""
        at = self._find(whom)
        if at >= 0 and self._states[at] >> _MARK_AT == allowance.mark:
            self._full[at] -= 1 / allowance.rate

    def ban(self, whom: Key | Place, now: float) -> float:
        """Ban a key, the longer the more often it was; return for how many seconds. A ban in force stays as it is.

        Another worker may have just begun one.
        """
        at = self._claim(whom, now)
        count = self._count(at, now)  # in this order, and written in the other: one excess that two workers see counts once
        if left := self._left(at, now):
            return left
        seconds = BANS[min(count, len(BANS) - 1)]
        self._ends[at] = now + seconds
        mark = self._states[at] >> _MARK_AT
        self._states[at] = whom.scope | min(count + 1, len(BANS)) << _BANS_AT | mark << _MARK_AT
        return seconds

    def bans(self, now: float) -> Iterator[Ban]:
        """Return the bans that are in force, in no order; of sources: a network is never banned, though 0.2.0 wrote some."""
        for at, end in enumerate(self._ends):
            if end > now and (scope := self._states[at] & _SCOPE) in _BANNED and (remaining := self._left(at, now)):
                yield Ban(Key(Scope(scope), self._prefixes[at]), remaining, self._bans(at))

    def throttled(self, allowance: Allowance, now: float) -> Iterator[tuple[Key, float]]:
        """Return the networks that have used up their allowance, each with the seconds until its next query is within it."""
        for at, full in enumerate(self._full):
            if full > now and (scope := self._states[at] & _SCOPE) in _NETWORKS and (wait := self._wait(at, allowance, now)):
                yield Key(Scope(scope), self._prefixes[at]), wait

    def lift(self, whom: Key | Place, now: float) -> bool:
        """End a ban and forget those before it, and the excess; return whether there was one in force."""
        at = self._find(whom)
        if at < 0:
            return False
        banned = self._left(at, now) > 0
        self._full[at] = self._ends[at] = 0.0
        self._states[at] = whom.scope
        return banned

    # --- entries --------------------------------------------------------------------------------------------------

    def _find(self, whom: Key | Place) -> int:
        """Return the number of a key's entry; -1 when it has none."""
        place = whom if isinstance(whom, Place) else self.place(whom)
        prefix, scope, at = place.prefix, place.scope, place.at
        prefixes, states = self._prefixes, self._states
        if prefixes[at] == prefix and states[at] & _SCOPE == scope:
            return at
        for at in range(place.first, place.first + _WAYS):
            if prefixes[at] == prefix and states[at] & _SCOPE == scope:
                place.at = at
                return at
        return -1

    def _claim(self, whom: Key | Place, now: float, mark: int = 0) -> int:
        """Return the entry of a key, taking the one that matters for the shortest time when it has none."""
        place = whom if isinstance(whom, Place) else self.place(whom)
        at = self._find(place)
        if at >= 0:
            return at
        at = min(range(place.first, place.first + _WAYS), key=lambda at: self._matters_for(at, now))
        taken = self._states[at]
        if (found := self._find(place)) >= 0:
            return found  # that of another worker, which may have charged and banned the key while this one chose
        if taken:  # in this order: what is free is blank, and whoever reads the new prefix reads what follows it blank
            self._full[at] = self._ends[at] = 0.0
            self._states[at] = 0
        self._prefixes[at] = place.prefix
        self._states[at] = place.scope | mark << _MARK_AT
        place.at = at
        return at

    def _debt(self, at: int, allowance: Allowance, now: float) -> float:
        """Return for how many seconds more an allowance will not be full."""
        return _ahead(self._full[at], now, _longest(allowance)) if self._states[at] >> _MARK_AT == allowance.mark else 0.0

    def _wait(self, at: int, allowance: Allowance, now: float) -> float:
        wait = self._debt(at, allowance, now) - (allowance.burst - 1) / allowance.rate
        return wait if wait > _ROUNDING else 0.0

    def _bans(self, at: int) -> int:
        return self._states[at] >> _BANS_AT & 0xFF

    def _matters_for(self, at: int, now: float) -> float:
        """Return for how many seconds more an entry tells anything; -1 for one that is free."""
        if not self._states[at]:
            return -1.0
        forgotten = self._ends[at] + self._bans(at) * FORGIVEN_AFTER
        return max(_ahead(self._full[at], now, BANS[-1]), _ahead(forgotten, now, _REMEMBERED))

    def _left(self, at: int, now: float) -> float:
        """Return for how many seconds more an entry is banned; never for longer than its ban was to last."""
        number = min(self._bans(at), len(BANS))
        return _ahead(self._ends[at], now, BANS[number - 1] + _HELD_UP)

    def _count(self, at: int, now: float) -> int:
        """Return how many bans of an entry are not yet forgotten."""
        forgiven = int(max(0.0, now - self._ends[at]) // FORGIVEN_AFTER)
        return max(0, self._bans(at) - forgiven)
