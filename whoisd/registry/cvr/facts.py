"""What CVR says of a company, and what that makes of it on a day. Pure: knows no file, no format and no database.

The readers of CVR's two formats turn each record into claims: that something holds of a company in a period. `timeline`
turns the claims of one company into its facts, today and on each later day on which they change. A fact has three values:
yes, no, and None where CVR's data does not settle it, with which the disclosure rules withhold.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

DAY: Final = timedelta(days=1)
_LONGEST_CODE: Final = 4  # digits; those of CVR's forms have 3 at most
UNKNOWN_FORM: Final = 0  # no code of CVR's: several forms at once, one that is no number, or two readings that differ


class Topic(StrEnum):
    """What a claim is about."""

    LIFE = "life"
    UNREAL = "unreal"
    STATE = "state"
    FORM = "form"
    NAME = "name"
    ADDRESS = "address"


class Life(StrEnum):
    """The value of a claim about a company's life."""

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Unreal(StrEnum):
    """Why a number is none of a company that there is."""

    MISTAKE = "mistake"  # the record was registered by mistake
    PSEUDO = "pseudo"  # the number is one that the authorities made up


class State(StrEnum):
    """The value of a claim about a company's state."""

    BANKRUPT = "bankrupt"
    UNKNOWN = "unknown"  # of words that we do not know nobody can say whether they mean a bankruptcy


class Period(NamedTuple):
    """When a claim holds: from `begins` to `ends`, which both are days on which it does. None is open.

    Where the source does not say whether its last day is one on which the claim holds, `ends` is the day before, and
    `may_end` that day.
    """

    begins: date | None
    ends: date | None
    may_end: date | None

    def holds(self, day: date) -> bool | None:
        """Whether the claim holds on a day; None: it does by one reading, and does not by the other."""
        if self.begins is not None and day < self.begins:
            return False
        if self.ends is None or day <= self.ends:
            return True
        return False if self.may_end is None or day > self.may_end else None

    def changes(self) -> Iterator[date]:
        """Return the days on which that may be another than on the day before."""
        if self.begins is not None:
            yield self.begins
        for day in (self.ends, self.may_end):
            if day is not None and day < date.max:
                yield day + DAY


ALWAYS: Final = Period(None, None, None)


class Claim(NamedTuple):
    """That something holds of a company in a period.

    `value` is a word of the topic's; of a form its code, of a name the name, of an address its lines (see `Address`).
    `mark` is of a name its place in CVR's order (the lowest is the main name), of a life which of CVR's units lives it.
    """

    topic: Topic
    value: str
    period: Period
    mark: int = 0


class Address(NamedTuple):
    """A Danish address as an answer prints it."""

    street: tuple[str, ...]
    postal_code: str | None
    city: str | None

    def pack(self) -> str:
        """Return it as the value of a claim."""
        return "\n".join([self.postal_code or "", self.city or "", *self.street])

    @classmethod
    def unpack(cls, value: str) -> "Address":
        """Return the address that is the value of a claim."""
        postal_code, city, *street = value.split("\n")
        return cls(tuple(street), postal_code or None, city or None)


@dataclass(frozen=True, slots=True, repr=False)
class Facts:
    """What a company is on a day. No name or no address: CVR's data has none that could be shown."""

    listed: bool | None
    ceased: bool | None
    form: int | None  # None: it has none
    bankrupt: bool | None
    name: str | None = None
    address: Address | None = None

    def __repr__(self) -> str:
        return "Facts(...)"


NOT_LISTED: Final = Facts(listed=False, ceased=None, form=None, bankrupt=None)  # of a number that no company has


class Span(NamedTuple):
    """The facts of a company from a day, None at first, until the day before another, None at last."""

    begins: date | None
    until: date | None
    facts: Facts


def timeline(claims: Sequence[Claim], day: date) -> list[Span]:
    """Return the facts on a day, and after each later day on which they change: without a gap, from the oldest.

    What was before the day is not told: the first span reaches back for ever.
    """
    later = sorted({change for claim in claims for change in claim.period.changes() if change > day})
    spans = [Span(None, None, facts_on(claims, day))]
    for change in later:
        facts = facts_on(claims, change)
        if facts != spans[-1].facts:
            spans[-1] = spans[-1]._replace(until=change)
            spans.append(Span(change, None, facts))
    return spans


def facts_on(claims: Iterable[Claim], day: date) -> Facts:
    """Return what a company is on a day, by all that CVR says of it."""
    held = _Held(claims, day)
    life = _life(held)
    return Facts(
        listed=_listed(held, life),
        ceased=None if life is Life.UNKNOWN else life is Life.ENDED,
        form=_form(held),
        bankrupt=_bankrupt(held),
        name=_name(held),
        address=_address(held),
    )


class _Held:
    """The claims that hold on a day, those that may hold, and those that are over, by topic."""

    def __init__(self, claims: Iterable[Claim], day: date) -> None:
        self.sure: dict[Topic, list[Claim]] = {topic: [] for topic in Topic}
        self.unsure: dict[Topic, list[Claim]] = {topic: [] for topic in Topic}
        self.future: set[Topic] = set()
        for claim in claims:
            holds = claim.period.holds(day)
            if holds:
                self.sure[claim.topic].append(claim)
            elif holds is None:
                self.unsure[claim.topic].append(claim)
            elif claim.period.begins is not None and day < claim.period.begins:
                self.future.add(claim.topic)

    def values(self, topic: Topic) -> tuple[set[str], set[str]]:
        """Return the values that hold, and those that may."""
        return {claim.value for claim in self.sure[topic]}, {claim.value for claim in self.unsure[topic]}


def _life(held: _Held) -> Life:
    """Return whether the company lives: of two records, or two readings, that differ nothing is known."""
    sure, unsure = held.values(Topic.LIFE)
    if len({claim.mark for claim in held.sure[Topic.LIFE] if claim.value == Life.ALIVE}) > 1:
        return Life.UNKNOWN  # two units of one number
    if sure and unsure <= sure:
        return Life(sure.pop()) if len(sure) == 1 else Life.UNKNOWN
    if sure or unsure or Topic.LIFE in held.future:
        return Life.UNKNOWN
    return Life.ENDED  # nothing holds, and nothing will


def _listed(held: _Held, life: Life) -> bool | None:
    """Return whether the number is a company's: a record that was registered by mistake yields to one that was not."""
    sure, unsure = held.values(Topic.UNREAL)
    if Unreal.PSEUDO in sure:
        return False
    if Unreal.PSEUDO in unsure:
        return None
    if not sure and not unsure:
        return True
    if held.sure[Topic.LIFE] and life is not Life.UNKNOWN:
        return True
    return None if held.sure[Topic.LIFE] or held.unsure[Topic.LIFE] or unsure else False


def _form(held: _Held) -> int | None:
    sure, unsure = held.values(Topic.FORM)
    if not sure and not unsure:
        return None
    if len(sure) == 1 and unsure <= sure:
        (code,) = sure
        return int(code) if code.isascii() and code.isdigit() and len(code) <= _LONGEST_CODE else UNKNOWN_FORM
    return UNKNOWN_FORM


def _bankrupt(held: _Held) -> bool | None:
    sure, unsure = held.values(Topic.STATE)
    if State.BANKRUPT in sure:
        return True
    return None if sure or unsure else False


def _name(held: _Held) -> str | None:
    """Return the main name; None where two readings differ, or two names are main."""
    if held.unsure[Topic.NAME] or not held.sure[Topic.NAME]:
        return None
    main = min(claim.mark for claim in held.sure[Topic.NAME])
    names = {claim.value for claim in held.sure[Topic.NAME] if claim.mark == main}
    return names.pop() if len(names) == 1 else None


def _address(held: _Held) -> Address | None:
    sure, unsure = held.values(Topic.ADDRESS)
    return Address.unpack(sure.pop()) if len(sure) == 1 and not unsure else None


# --- CVR's words -------------------------------------------------------------------------------------------------

# The states of a company (virksomhedsstatus) and what each says of its life; CVR's life cycle says the rest. A company that
# has ended by its state and lives by its life cycle is a contradiction.
_ORDINARY: Final = frozenset(
    {
        "NORMAL",
        "OMDANNET",
        "UNDER FRIVILLIG LIKVIDATION",
        "UNDER REASSUMERING",
        "UNDER REKONSTRUKTION",
        "UNDER TVANGSOPLØSNING",
    }
)
_ENDED: Final = ("OPLØST EFTER ", "SLETTET", "TVANGSOPLØST", "UDEN RETSVIRKNING")
_UNDER_BANKRUPTCY: Final = "UNDER KONKURS"

_BANKRUPTCY, _BANKRUPTCY_TEXT = 3, "KONKURS"
# A company that came to terms with its creditors, which is none: by its code, by its text or by both.
_COMPOSITIONS: Final = frozenset({(1, ""), (1, "TVANGSAKKORD"), (None, "TVANGSAKKORD")})
_ANNULLED, _ANNULLED_TEXT = 2, "OPHÆVELSE"  # Ophævelse af dekret: the order that made the company bankrupt is lifted


def status_claims(word: str, period: Period) -> Iterator[Claim]:
    """Return what a state of the company means; of a word that is none of CVR's, that nothing is settled."""
    word = " ".join(word.upper().split())
    if word == _UNDER_BANKRUPTCY:
        yield Claim(Topic.STATE, State.BANKRUPT, period)
    elif word.startswith(_ENDED):
        yield Claim(Topic.LIFE, Life.ENDED, period)
    elif word not in _ORDINARY:
        yield Claim(Topic.STATE, State.UNKNOWN, period)


def credit_claims(kind: object, kind_text: object, stage: object, stage_text: object, period: Period) -> Iterator[Claim]:
    """Return what credit information (Kreditoplysninger, `status[]`) means: a bankruptcy until its order is annulled.

    A kind and a stage are a code, as a number or text, and a text. Where the two differ it is taken for a bankruptcy.
    """
    code, text = code_of(kind), _upper(kind_text)
    if code == _BANKRUPTCY or _BANKRUPTCY_TEXT in text:
        if code_of(stage) != _ANNULLED or not _upper(stage_text or _ANNULLED_TEXT).startswith(_ANNULLED_TEXT):
            yield Claim(Topic.STATE, State.BANKRUPT, period)
    elif (code, text) not in _COMPOSITIONS:
        yield Claim(Topic.STATE, State.UNKNOWN, period)


def code_of(value: object) -> int | None:
    """Return a code that CVR gives as a number or as text; None for what is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return None


def _upper(text: object) -> str:
    return " ".join(text.upper().split()) if isinstance(text, str) else ""
