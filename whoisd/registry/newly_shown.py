"""Finds the registrants who are withheld, in email or name, and would be public once a change of the database is committed.

Every command that writes does it in its transaction, in this order:

    await newly_shown.remember(connection, "SELECT handle FROM ...")  # whom the change may concern, before it is made
    ...                                                               # the change
    found = await newly_shown.find(connection, command="load")        # who would be public; a row of the trail for each
    found.refusal(most)                                               # what to refuse it with, if they are too many

What was shown and what would be is decided by the server's own functions, over rows of the view that the server's are made
of, so that it holds for whatever the rules look at: a fact of the registrant, a domain that is no longer suspended, a form
that CVR's table had not, what CVR or VIES says. Nothing here knows a rule. It is judged as if the rules were in force: what
is loaded before their day is published on it. What CVR says of a later day counts too, for on that day nobody is asked.

A registrant without a domain is judged by what an active one would show, as the disclosure report does, and one who loses
the last by those that they had. Who was not in the database was not withheld. Rows are compared in PostgreSQL, and those
that differ are read in chunks, so that all of .dk takes no more memory than a few.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

import orjson
from asyncpg import Record

from whoisd.answers.disclosure import Conditions, PublicRegistrant, Reason, Withheld, publish_registrant
from whoisd.answers.model import DomainStatus, Registrant
from whoisd.answers.wire import Charset
from whoisd.database.audit import this_account
from whoisd.database.connect import Connection
from whoisd.database.views import REGISTRANT_COLUMNS, registrant_of

Publish = Callable[[DomainStatus, Registrant], PublicRegistrant | Withheld]

CHUNK: Final = 5_000  # rows held at a time
MOST_NAMED: Final = 10  # handles that are told; the audit trail has all


def as_asked_for(*, listed_only: bool) -> Publish:
    """Return what shows all that whoever asks can come to see: the section asked for, in the charset that shows most.

    `listed_only` is whether no VAT number publishes but one that VIES lists.
    """
    conditions = Conditions(in_force=True, fresh=True, listed_only=listed_only)
    return partial(publish_registrant, show_handles=True, conditions=conditions, charset=Charset.UTF_8)


AS_ASKED_FOR: Final = as_asked_for(listed_only=False)


class Part(StrEnum):
    """What of a registrant is withheld or public. All else of them is withheld and public with the name."""

    EMAIL = "email"
    NAME = "name"


# --- deciding ----------------------------------------------------------------------------------------------------------


def withheld(registrant: Registrant, statuses: Collection[str], publish: Publish) -> dict[Part, Reason]:
    """Return what no domain of a registrant shows, and why: the reason of the first of these statuses."""
    sections = [publish(DomainStatus(status), registrant) for status in statuses]
    found: dict[Part, Reason] = {}
    for part in Part:
        reasons = [_reason(section, part) for section in sections]
        if (first := reasons[0]) and all(reasons):
            found[part] = first
    return found


def _reason(section: PublicRegistrant | Withheld, part: Part) -> Reason | None:
    """Return why an answer withholds this, or None where it shows it."""
    value = section if isinstance(section, Withheld) else getattr(section, part)
    return value.reason if isinstance(value, Withheld) else None


@dataclass(slots=True)
class NewlyShown:
    """The registrants who would become public: how many, what of them by the reason that withheld it, the first handles."""

    registrants: int = 0
    later: int = 0  # how many of them not today, but on a day from which CVR says something else
    begins: date | None = None  # the first of those days
    reasons: Counter[tuple[Part, Reason]] = field(default_factory=Counter)
    handles: list[str] = field(default_factory=list)  # the first of them in their order, at most MOST_NAMED
    _counted: set[tuple[str, Part]] = field(default_factory=set, repr=False)

    def add(self, handle: str, parts: dict[Part, Reason], begins: date | None = None) -> dict[Part, Reason]:
        """Count a registrant of whom these parts become public, on a later day if one is given; return what is new of it."""
        new = {part: reason for part, reason in parts.items() if (handle, part) not in self._counted}
        if new and not any((handle, part) in self._counted for part in Part):
            self.registrants += 1
            self.handles = sorted([*self.handles, handle])[:MOST_NAMED]
            if begins:
                self.later += 1
                self.begins = min(begins, self.begins or begins)
        self._counted.update((handle, part) for part in new)
        self.reasons.update(new.items())
        return new

    def entry(self) -> dict[str, object]:
        """Return what the trail's row of a single registrant says of it; nothing where nothing becomes public."""
        return {"newly_shown": {part.value: reason for part, reason in sorted(self.reasons)}} if self.registrants else {}

    def lines(self) -> Iterator[str]:
        """Yield what an operator is told; nothing where there is nobody."""
        if not self.registrants:
            return
        yield f"newly shown: {_registrants(self.registrants)}, withheld until now"
        for (part, reason), count in sorted(self.reasons.items()):
            yield f"  {part} of {count:,}, withheld until now: {reason}"
        more = self.registrants - len(self.handles)
        yield f"  {', '.join(self.handles)}{f' and {more:,} more' if more else ''}"
        if self.begins:
            yield f"  {self.later:,} of them on a later day, by what CVR says of it: {self.begins} is the first"

    def refusal(self, most: int) -> list[str]:
        """Return the lines with which to refuse a change that shows more than this many; empty where it does not."""
        if self.registrants <= most:
            return []
        head = (
            f"{_registrants(self.registrants)}, withheld until now, would become public, more than --max-newly-shown {most}"
            " allows: does the data say all that it must? If it does, allow more"
        )
        return [head, *self.lines()]


def _registrants(count: int) -> str:
    return f"{count:,} registrant{'' if count == 1 else 's'}"


# --- doing -------------------------------------------------------------------------------------------------------------

# The domains' statuses in an order, so that two sets of them can be compared. An active one comes first.
_STATUSES: Final = """
    SELECT registrant, array_agg(status ORDER BY status) AS statuses
    FROM (SELECT DISTINCT registrant, status FROM registry.domain WHERE registrant IN (SELECT handle FROM {0})) AS held
    GROUP BY registrant"""
_TODAY: Final = "(now() AT TIME ZONE 'Europe/Copenhagen')::date"  # by which the views go
_CREATE: Final = """
    CREATE TEMPORARY TABLE concerned (handle text COLLATE "C") ON COMMIT DROP;
    CREATE TEMPORARY TABLE shown_before (
        handle text COLLATE "C", facts registry.registrant_facts_by_day, statuses text[]
    ) ON COMMIT DROP"""
_REMEMBER: Final = f"""
    INSERT INTO shown_before
    SELECT facts.handle, facts, coalesce(held.statuses, '{{{DomainStatus.ACTIVE}}}')
    FROM registry.registrant_facts_by_day AS facts
    LEFT JOIN ({_STATUSES.format("concerned")}) AS held ON held.registrant = facts.handle
    WHERE facts.handle IN (SELECT handle FROM concerned) AND facts.until > {_TODAY}"""  # noqa: S608 - of constants
# What differs, on the days that a row of before and one of after have in common.
_CHANGED: Final = f"""
    SELECT * FROM (
        SELECT was.handle, was.facts AS facts_before, was.statuses AS statuses_before,
               facts_now AS facts_after, coalesce(held.statuses, was.statuses) AS statuses_after,
               nullif(greatest((was.facts).since, facts_now.since, {_TODAY}), {_TODAY}) AS begins
        FROM shown_before AS was
        JOIN registry.registrant_facts_by_day AS facts_now ON facts_now.handle = was.handle
            AND facts_now.until > greatest((was.facts).since, {_TODAY}) AND facts_now.since < (was.facts).until
        LEFT JOIN ({_STATUSES.format("shown_before")}) AS held ON held.registrant = was.handle
    ) AS compared
    WHERE (
        ({", ".join(f"(facts_before).{column}" for column in REGISTRANT_COLUMNS)})
        IS DISTINCT FROM ({", ".join(f"(facts_after).{column}" for column in REGISTRANT_COLUMNS)})
        OR statuses_before <> statuses_after
    )"""  # noqa: S608 - of constants
_AT_ONCE: Final = f"{_CHANGED} AND begins IS NULL"
_LATER: Final = f"{_CHANGED} AND begins IS NOT NULL ORDER BY begins"
_RECORD: Final = """
    INSERT INTO audit.entry (who, command, object, before, after, account)
    SELECT $1, $2, 'registrant:' || handle, before, after, $1
    FROM unnest($3::text[], $4::jsonb[], $5::jsonb[]) AS shown (handle, before, after)"""


async def remember(connection: Connection, concerned: str, *arguments: object) -> None:
    """Keep what is shown now of the registrants whom a change may concern, until the transaction ends.

    `concerned` is a query for their handles, as its only column; the same handle may come twice, and one that is nobody's.
    """
    await connection.execute(_CREATE)
    await connection.execute(f"INSERT INTO concerned {concerned}", *arguments)
    await connection.execute("ANALYZE concerned")
    await connection.execute(_REMEMBER)
    await connection.execute("ANALYZE shown_before")


async def find(connection: Connection, *, command: str | None, publish: Publish = AS_ASKED_FOR) -> NewlyShown:
    """Find who of those remembered would be public after the change, which is made by now and not committed.

    With `command` each of them has a row in the audit trail: what becomes public and why it was withheld, and no value.
    Without, the caller leaves a row of its own for each.
    """
    found = NewlyShown()
    for changed in (_AT_ONCE, _LATER):
        cursor = await connection.cursor(changed)
        while rows := await cursor.fetch(CHUNK):
            news = [it for row in rows if (it := _news(row, found, publish)).parts]
            if command and news:
                await _record(connection, command, news)
    return found


class _News(NamedTuple):
    """What becomes public of a registrant, and why it was withheld; on which later day, if not at once."""

    handle: str
    parts: dict[Part, Reason]
    begins: date | None


def _news(row: Record, found: NewlyShown, publish: Publish) -> _News:
    """Return what a row of `_CHANGED` makes public, once it is counted."""
    parts = withheld(registrant_of(row["facts_before"]), row["statuses_before"], publish)
    if parts:
        after = withheld(registrant_of(row["facts_after"]), row["statuses_after"], publish)
        parts = {part: reason for part, reason in parts.items() if part not in after}
    return _News(row["handle"], found.add(row["handle"], parts, row["begins"]), row["begins"])


async def _record(connection: Connection, command: str, news: list[_News]) -> None:
    before = [orjson.dumps({"withheld": {part.value: reason for part, reason in it.parts.items()}}).decode() for it in news]
    after = [orjson.dumps({"shown": [*it.parts]} | ({"from": it.begins} if it.begins else {})).decode() for it in news]
    await connection.execute(_RECORD, this_account(), command, [it.handle for it in news], before, after)
