"""Takes what VIES answered into the database: all of the files or nothing, each number by its last answer.

An answer is kept whether or not a registrant has the number now: they may have it after the next load. An older answer never
overrules a newer one; of two of the same moment the one that withholds counts. Knows no command line.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from whoisd.database import audit
from whoisd.database.connect import Connection, only_row
from whoisd.database.migrations import lock_registry
from whoisd.database.transaction import changing
from whoisd.errors import LoadError
from whoisd.registry import newly_shown
from whoisd.registry.files import LONGEST_LINE, Line, RegistryFiles
from whoisd.registry.newly_shown import NewlyShown, as_asked_for
from whoisd.registry.progress import Progress
from whoisd.registry.vies import Answer, Failure, parse_answer

COMMAND: Final = "vat update"  # as the audit trail has it
MOST_FAULTS: Final = 100  # that one update reports
CHUNK: Final = 5_000  # lines held at a time

_CREATE: Final = """
    CREATE TEMPORARY TABLE answered (
        number text COLLATE "C", valid boolean, asked_at timestamptz, identifier text
    ) ON COMMIT DROP"""
# Whoever's number VIES may know of; what its answers make of them the view says.
_CONCERNED: Final = "SELECT handle FROM registry.registrant WHERE country <> 'DK' AND vat_number IS NOT NULL"
_WRITE: Final = """
    WITH last AS (
        SELECT DISTINCT ON (number) * FROM answered ORDER BY number, asked_at DESC, valid, identifier
    ), written AS (
        INSERT INTO registry.vies AS held (number, valid, asked_at, identifier)
        SELECT number, valid, asked_at, identifier FROM last
        ON CONFLICT (number) DO UPDATE
        SET valid = excluded.valid, asked_at = excluded.asked_at, identifier = excluded.identifier
        WHERE excluded.asked_at > held.asked_at OR excluded.asked_at = held.asked_at AND held.valid AND NOT excluded.valid
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM last) AS numbers, (SELECT count(*) FROM written) AS written"""


@dataclass(frozen=True, slots=True)
class Options:
    """How to update.

    `max_newly_shown` is how many registrants may become public who were withheld; `listed_only`, whether no VAT number
    publishes but one that VIES lists (`disclosure.vat`). A dry run does all that an update does, and takes it back.
    """

    max_newly_shown: int = 100
    listed_only: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Update:
    """What an update did, or would do."""

    answers: Counter[bool] = field(default_factory=Counter)  # by whether VIES lists the number
    failures: Counter[str] = field(default_factory=Counter)  # by VIES's word
    numbers: int = 0
    written: int = 0
    newly_shown: NewlyShown = field(default_factory=NewlyShown)

    def lines(self) -> Iterator[str]:
        """Yield what an operator is told."""
        yield f"answers: {self.answers.total():,}, {self.answers[True]:,} of them of numbers that VIES lists"
        if self.failures:
            errors = ", ".join(f"{error} {count:,}" for error, count in sorted(self.failures.items()))
            yield f"failures: {self.failures.total():,}, which change nothing ({errors})"
        known = self.numbers - self.written
        yield f"numbers: {self.numbers:,}, {self.written:,} of them written, {known:,} with nothing newer than is held"
        yield from self.newly_shown.lines()


async def update(connection: Connection, files: RegistryFiles, options: Options, progress: Progress | None = None) -> Update:
    """Take recorded answers into the database as the owner, or with `dry_run` find out what that would change.

    Raises `LoadError`, with up to 100 faults as `file:line: field: what is wrong` or with who would become public, and then
    nothing is changed; `WhoisdError` when the database goes away.
    """
    progress = progress or Progress()
    progress.begin("waiting for a load or migration to end")
    await lock_registry(connection)
    done = Update()
    async with changing(connection, "update again, which changes nothing if it is in", dry_run=options.dry_run):
        await connection.execute(_CREATE)
        progress.begin("reading", files.size())
        await _read(connection, files, done, progress)
        progress.begin("writing")
        await newly_shown.remember(connection, _CONCERNED)
        done.numbers, done.written = await only_row(connection, _WRITE)
        publish = as_asked_for(listed_only=options.listed_only)
        done.newly_shown = await newly_shown.find(connection, command=COMMAND, publish=publish)
        if refusal := done.newly_shown.refusal(options.max_newly_shown):
            raise LoadError(refusal)
        await audit.record(
            connection, who=audit.this_account(), command=COMMAND, object="registry", before=None, after=_entry(files, done)
        )
    return done


def _entry(files: RegistryFiles, done: Update) -> dict[str, object]:
    """Return what the audit trail keeps of an update."""
    return {
        "files": [str(path) for path in files.paths],
        "answers": done.answers.total(),
        "failures": done.failures.total(),
        "written": done.written,
        "newly_shown": done.newly_shown.registrants,
    }


async def _read(connection: Connection, files: RegistryFiles, done: Update, progress: Progress) -> None:
    """Hand all answers on to the database; raises `LoadError` with what is wrong with the lines."""
    faults: list[str] = []
    lines, now = files.lines(), datetime.now(UTC)
    while some := list(islice(lines, CHUNK)):
        answers = []
        for line in some:
            try:
                answer = _parse(line, now)
            except ValueError as error:
                faults.append(f"{files.paths[line.file]}:{line.number}: {error}")
                if len(faults) == MOST_FAULTS:
                    raise LoadError([*faults, f"{MOST_FAULTS} faults; the rest was not looked at"]) from None
                continue
            if isinstance(answer, Failure):
                done.failures[answer.error] += 1
            else:
                done.answers[answer.valid] += 1
                answers.append(answer)
        await connection.copy_records_to_table("answered", records=answers, columns=Answer._fields)
        progress.done = files.read
    if faults:
        raise LoadError(faults)


def _parse(line: Line, now: datetime) -> Answer | Failure:
    if line.text is None:
        raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
    return parse_answer(line.text, now)
