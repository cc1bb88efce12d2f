"""Takes CVR's own data into the database: all of it or nothing, and whoever reads meanwhile sees what was before.

The files are read once (`reading`), their claims about registrants' companies go into a temporary table (`staging`), and
come back company by company, to be made facts of (`facts`): of today, and of the days to come on which they change. What
differs from what is held is written in one transaction, with a row in the audit trail, if it does not make too many public.
"""

import asyncio
from collections.abc import Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import asyncpg

from whoisd.database import audit
from whoisd.database.connect import Connection
from whoisd.database.migrations import lock_registry
from whoisd.database.transaction import changing
from whoisd.errors import LoadError
from whoisd.registry import newly_shown
from whoisd.registry.cvr import staging
from whoisd.registry.cvr.facts import timeline
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.reading import Reader, Said
from whoisd.registry.cvr.staging import Changes, Source
from whoisd.registry.loader import gather_statistics, in_thread
from whoisd.registry.newly_shown import NewlyShown
from whoisd.registry.progress import Progress
from whoisd.registry.staging import SETTINGS, Row

COMMAND: Final = "cvr update"  # as the audit trail has it

_AGAIN: Final = "run it again, which changes nothing if it is in"


@dataclass(frozen=True, slots=True)
class Options:
    """How many registrants may become public who were withheld; a dry run does all, and takes it back."""

    max_newly_shown: int = 100
    dry_run: bool = False


@dataclass(slots=True)
class Report:
    """What an update did, or would do.

    `companies` are those in the files, `wanted` the CVR numbers that registrants have.
    """

    source: Source
    companies: int = 0
    wanted: int = 0
    changes: Changes = field(default_factory=lambda: Changes(0, 0, 0, 0, 0))
    newly_shown: NewlyShown = field(default_factory=NewlyShown)
    warnings: list[str] = field(default_factory=list)


async def update(
    connection: Connection, files: CvrFiles, options: Options | None = None, progress: Progress | None = None
) -> Report:
    """Take CVR's files as the owner, or with `dry_run` find out what that would change.

    Raises `LoadError`, with up to 100 faults as `file: record: key: what is wrong`, and then nothing is changed;
    `WhoisdError` when the database goes away.
    """
    return await _Update(connection, files, options or Options(), progress or Progress()).run()


class _Update:
    """One update: what it reads, and what it has found so far."""

    def __init__(self, connection: Connection, files: CvrFiles, options: Options, progress: Progress) -> None:
        self._connection = connection
        self._files = files
        self._options = options
        self._progress = progress
        self._report = Report(Source(files.generation, None))
        self._latest: datetime | None = None  # of the documents

    async def run(self) -> Report:
        await self._connection.execute(SETTINGS)
        self._progress.begin("waiting for another load or migration to end")
        await lock_registry(self._connection)
        try:
            async with changing(self._connection, _AGAIN, dry_run=self._options.dry_run):
                await self._work()
        except asyncpg.IntegrityConstraintViolationError as error:
            # What was read is made to fit, so this is a fault of ours. The exception's own text would quote a row.
            raise LoadError([f"the database refuses the data: {error.table_name}: {error.constraint_name}"]) from None
        if not self._options.dry_run:
            self._progress.begin("gathering statistics")
            await gather_statistics(self._connection, ["registry.cvr_company"])
        return self._report

    async def _work(self) -> None:
        before = await staging.held(self._connection)
        self._refuse_older(before)
        await self._read()
        await self._make_companies()
        self._progress.begin("comparing with the database")
        self._report.changes = await staging.compare(self._connection, before, self._report.source)
        await self._write()
        await self._leave_a_trace(before)

    def _refuse_older(self, before: Source) -> None:
        generation = self._files.generation
        if generation is not None and before.generation is not None and generation < before.generation:
            raise LoadError(
                [f"the files are of generation {generation}, and generation {before.generation} is held: give newer ones"]
            )

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        self._progress.begin("looking which companies registrants have")
        wanted = await staging.create(self._connection)
        reader = Reader(self._files, wanted)
        for file in self._files.files:
            self._progress.begin(f"reading {file.path.name}", self._files.size(file))
            await self._take(reader.read(file))
        if reader.faults:
            raise LoadError(reader.faults)
        report = self._report
        report.companies, report.wanted, report.warnings = reader.companies, len(wanted), reader.warnings
        generation = self._files.generation
        report.source = Source(generation, self._latest if generation is None else _last_registration(reader))

    async def _take(self, chunks: Generator[list[Said]]) -> None:
        """Hand PostgreSQL what a file says, while the next of it is read."""
        chunk = await in_thread(lambda: next(chunks, None))
        while chunk is not None:
            self._progress.done = self._files.read
            handing = asyncio.create_task(self._hand_on(chunk))
            try:
                chunk = await in_thread(lambda: next(chunks, None))
            finally:
                await handing

    async def _hand_on(self, said: list[Said]) -> None:
        changed = [it.at for it in said if it.at]
        self._latest = max([*changed, *([self._latest] if self._latest else [])], default=None)
        await staging.copy_claims(self._connection, said)

    async def _make_companies(self) -> None:
        self._progress.begin("working out what each company is")
        day, now = await staging.today(self._connection), datetime.now(UTC)
        rows: list[Row] = []
        async with aclosing(staging.companies(self._connection)) as companies:
            async for company in companies:
                rows += staging.rows_of(company, timeline(company.claims, day), now)
                if len(rows) >= staging.CHUNK:
                    await staging.copy_companies(self._connection, rows)
                    rows = []
        await staging.copy_companies(self._connection, rows)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write it all, and refuse when that makes too many public. A dry run does the same, so that it tells the same."""
        self._progress.begin("looking what is shown now")
        await newly_shown.remember(self._connection, staging.CONCERNED)
        self._progress.begin("writing")
        await staging.write(self._connection, self._report.source)
        self._progress.begin("looking who becomes public")
        shown = self._report.newly_shown = await newly_shown.find(self._connection, command=COMMAND)
        if refusal := shown.refusal(self._options.max_newly_shown):
            raise LoadError(refusal)

    async def _leave_a_trace(self, before: Source) -> None:
        report = self._report
        after: dict[str, object] = {"files": [str(file.path) for file in self._files.files], **_entry(report.source)}
        after |= {**report.changes._asdict(), "newly_shown": report.newly_shown.registrants}
        await audit.record(
            self._connection,
            who=audit.this_account(),
            command=COMMAND,
            object="cvr",
            before=_entry(before),
            after=after,
        )


def _entry(source: Source) -> dict[str, object]:
    """Return what the audit trail keeps of which data it was."""
    return {"generation": source.generation, "as_of": source.as_of and source.as_of.astimezone(UTC)}


def _last_registration(reader: Reader) -> datetime:
    """Return of when Datafordeleren's files are. Raises `LoadError` where they do not tell."""
    try:
        last = reader.last()
    except ValueError as error:
        raise LoadError([f"Virksomhed: {error}"]) from None
    if last is None:
        raise LoadError(["Virksomhed: no row has a registreringFra, which tells of when the files are"])
    return min(last, datetime.now(UTC))
