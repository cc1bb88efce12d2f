"""Loads registry files into the database: all of them or nothing, and whoever reads meanwhile sees what was before.

The files are read once, line by line (`parsing`), into temporary tables (`staging`), where SQL looks for faults between
records, counts what differs from the database, and writes just that: in one transaction, with a row in the audit trail.
What people decided (classifications by hand, the roles that were taken over) a load never touches; where it says otherwise,
that is reported.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Final, TypeVar

import asyncpg
from asyncpg import Record

from whoisd.database import audit
from whoisd.database.connect import Connection
from whoisd.database.migrations import lock_registry
from whoisd.database.transaction import GONE, changing
from whoisd.errors import LoadError
from whoisd.registry import newly_shown, staging
from whoisd.registry.checking import Chunk, parsing
from whoisd.registry.files import RegistryFiles
from whoisd.registry.newly_shown import NewlyShown
from whoisd.registry.progress import Progress
from whoisd.registry.staging import REFERENCES, TABLES, Changes, Mode, Modes

T = TypeVar("T")

MOST_FAULTS: Final = 100  # of faults, and of doubts, that one load reports

# What a registrant was of whom a load lifts it.
_LIFTED: Final = {
    "address_protection": "protected",
    "cvr_bankruptcy": "a bankruptcy estate, whose email is withheld",
    "sole_proprietorship": "a sole proprietorship, whose email is withheld",
}

# Why a guard that stays cannot.
_STAYS: Final = {
    "address_protection": "which only an individual has",
    "sole_proprietorship": "which with country DK CVR decides",
}

_AGAIN: Final = "load again, which changes nothing if it is in"


@dataclass(frozen=True, slots=True)
class Options:
    """How to load.

    `max_delete` is how many percent of any kind of record `Mode.REPLACE` may remove; `max_newly_shown`, how many registrants
    may become public who were withheld; `listed_only`, whether no VAT number publishes but one that VIES lists. A dry run
    does all that a load does, and takes it back.
    """

    mode: Mode = Mode.MERGE
    max_delete: float = 5.0
    max_newly_shown: int = 100
    dry_run: bool = False
    listed_only: bool = False


@dataclass(slots=True)
class Report:
    """What a load did, or would do.

    Changes by kind of record, who becomes public, warnings, and doubts, of which `more` were left out.
    """

    changes: dict[str, Changes] = field(default_factory=dict)
    newly_shown: NewlyShown = field(default_factory=NewlyShown)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    more: int = 0

    def warn(self, place: str, said: str) -> None:
        """Add a warning: of what people decided and whom the registry protects every one is told."""
        self.warnings.append(f"{place}: {said}")

    def doubt(self, place: str, said: str) -> None:
        """Add a doubt about a record, or count it when there are enough."""
        if len(self.doubts) < MOST_FAULTS:
            self.doubts.append(f"{place}: {said}")
        else:
            self.more += 1


async def load(
    connection: Connection, files: RegistryFiles, options: Options | None = None, progress: Progress | None = None
) -> Report:
    """Load registry files as the owner, or with `dry_run` find out what that would change.

    Raises `LoadError`, with up to 100 faults as `file:line: field: what is wrong`, and then nothing is changed;
    `WhoisdError` when the database goes away.
    """
    return await _Load(connection, files, options or Options(), progress or Progress()).run()


class _Load:
    """One load: what it reads, and what it has found so far."""

    def __init__(self, connection: Connection, files: RegistryFiles, options: Options, progress: Progress) -> None:
        self._connection = connection
        self._files = files
        self._options = options
        self._progress = progress
        self._faults: list[str] = []
        self._report = Report()
        self._modes: Modes = {}

    async def run(self) -> Report:
        await self._connection.execute(staging.SETTINGS)
        self._progress.begin("waiting for another load or migration to end")
        await lock_registry(self._connection)
        try:
            async with changing(self._connection, _AGAIN, dry_run=self._options.dry_run):
                await self._work()
        except asyncpg.IntegrityConstraintViolationError as error:
            # The records were checked by the same rules, so this is a fault of ours, or a writer that came between. The
            # exception's own text would quote a row.
            raise LoadError([f"the database refuses the data: {error.table_name}: {error.constraint_name}"]) from None
        if not self._options.dry_run:
            self._progress.begin("gathering statistics")
            await gather_statistics(self._connection, [table.name for table in TABLES.values()])
        return self._report

    async def _work(self) -> None:
        await self._read()
        self._progress.begin("looking for faults between records")
        self._modes = await staging.modes(self._connection, self._options.mode)
        await self._find_duplicates()
        await self._find_dangling()
        await self._find_contradicted()
        self._check()
        self._progress.begin("comparing with the database")
        changes = self._report.changes = {
            kind: await staging.compare(self._connection, kind, self._modes) for kind in TABLES
        }
        if not any(change.records for change in changes.values()):
            # It may be right; or what was to write the records has failed.
            self._report.warn(", ".join(map(str, self._files.paths)), "no record")
        _check_removals(changes, self._options.max_delete)
        # From here on nobody decides on what is removed, of which the trail would not know.
        await staging.hold_removed(self._connection, changes, self._modes)
        await self._find_disagreements()
        await self._write(changes)
        await self._leave_a_trace(changes)

    async def _write(self, changes: Mapping[str, Changes]) -> None:
        """Write it all, and refuse when that makes too many public. A dry run does the same, so that it tells the same."""
        somebody = changes["registrant"].before > 0
        if somebody:
            self._progress.begin("looking what is shown now")
            await newly_shown.remember(self._connection, staging.concerned())
        self._progress.begin("writing")
        account = audit.this_account()
        if self._options.mode is Mode.REPLACE:
            await staging.record_removed(self._connection, account)
        if ended := await staging.end_roles(self._connection, account):
            said = f"ended with the registrant of their domain, who is another now: {ended:,} roles that were taken over"
            self._report.warn("database", said)
        await staging.write(self._connection, changes, self._modes)
        if somebody:
            self._progress.begin("looking who becomes public")
            publish = newly_shown.as_asked_for(listed_only=self._options.listed_only)
            shown = await newly_shown.find(self._connection, command="load", publish=publish)
            self._report.newly_shown = shown
            if refusal := shown.refusal(self._options.max_newly_shown):
                raise LoadError(refusal)

    async def _leave_a_trace(self, changes: Mapping[str, Changes]) -> None:
        after: dict[str, object] = {"mode": self._options.mode, "files": [str(path) for path in self._files.paths]}
        for kind, change in changes.items():
            after[kind] = {"added": change.added, "changed": change.changed, "removed": change.removed}
        after["newly_shown"] = self._report.newly_shown.registrants
        await audit.record(
            self._connection, who=audit.this_account(), command="load", object="registry", before=None, after=after
        )

    # --- reading --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        await staging.create(self._connection)
        self._progress.begin("reading", self._files.size())
        with parsing(self._files) as take:
            chunk = await in_thread(take)
            while chunk:
                self._progress.done = self._files.read
                # The next records are taken while PostgreSQL is handed these.
                handing = asyncio.create_task(self._hand_on(chunk))
                try:
                    chunk = await in_thread(take)
                finally:
                    await handing
        self._check()
        await staging.complete(self._connection)

    async def _hand_on(self, chunk: Chunk) -> None:
        for place, said in chunk.faults:
            self._add(*place, said)
        for place, doubt in chunk.doubts:
            self._report.doubt(self._place(*place), doubt)
        for kind, rows in chunk.rows.items():
            await staging.copy(self._connection, kind, rows)

    # --- faults ---------------------------------------------------------------------------------------------------

    def _place(self, file: int, line: int) -> str:
        return f"{self._files.paths[file]}:{line}"

    def _add(self, file: int, line: int, said: str) -> None:
        """Add a fault; when that is enough, end the load with all there are."""
        self._faults.append(f"{self._place(file, line)}: {said}")
        if len(self._faults) == MOST_FAULTS:
            raise LoadError([*self._faults, f"{MOST_FAULTS} faults; the rest was not looked at"])

    def _check(self) -> None:
        if self._faults:
            raise LoadError(self._faults)

    async def _find_duplicates(self) -> None:
        for kind, table in TABLES.items():
            for place, first in await staging.duplicates(self._connection, kind, MOST_FAULTS):
                self._add(*place, f"{table.key[-1]}: given before, at {self._place(*first)}")

    async def _find_dangling(self) -> None:
        found = []
        for reference in REFERENCES:
            alone = self._modes[reference.of] is Mode.REPLACE
            where = "in these files" if alone else "in these files or in the database"
            said = f"{reference.field}: there is no such {reference.of.replace('_', ' ')}, {where}"
            places = await staging.dangling(self._connection, reference, self._modes, MOST_FAULTS)
            found += [(*place, said) for place in places]
        for place in await staging.roles_of_the_unlinked(self._connection, MOST_FAULTS):
            found.append((*place, "holder: is no linked user"))
        for file, line, said in sorted(found):
            self._add(file, line, said)

    async def _find_contradicted(self) -> None:
        for place, column in await staging.contradicted(self._connection, MOST_FAULTS):
            said = f"{column}: is not given and stays true, {_STAYS[column]}: say false if it is lifted"
            self._add(*place, said)

    # --- warnings -------------------------------------------------------------------------------------------------

    async def _find_disagreements(self) -> None:
        """Warn of what people decided and the files say otherwise, and of who would be less protected than before."""
        for row in await staging.disagreements(self._connection):
            self._report.warn(self._place(row["file"], row["line"]), _disagreement(row))
        for place, column in await staging.lifted(self._connection):
            said = f"{column}: is lifted; in the database this registrant is {_LIFTED[column]}"
            self._report.warn(self._place(*place), said)
        places, number = await staging.unknown_forms(self._connection, MOST_FAULTS)
        for place in places:
            said = "cvr_form: is none that registry.cvr_form lists, with which the email is withheld"
            self._report.doubt(self._place(*place), said)
        self._report.more += number - len(places)
        for place in await staging.groups_left_behind(self._connection):
            self._report.warn(
                self._place(*place),
                "account: is another than in the database, and the group there is not kept; `whoisd portal convert` gives"
                " them the group of their roles",
            )
        if self._options.mode is Mode.REPLACE:
            classified, taken_over = await staging.decided_and_removed(self._connection)
            if classified:
                said = f"removed, and classified by hand: {classified:,} registrants, whose classification stays"
                self._report.warn("database", said)
            if taken_over:
                self._report.warn("database", f"removed with their objects: {taken_over:,} roles that were taken over")


async def gather_statistics(connection: Connection, tables: Sequence[str]) -> None:
    """Tell the planner what it deals with now. All is committed: should this fail, PostgreSQL does it in time."""
    with suppress(*GONE, asyncpg.PostgresError, TimeoutError):
        await connection.execute(f"ANALYZE {', '.join(tables)}", timeout=60)


async def in_thread(work: Callable[[], T]) -> T:
    """Do what blocks in a thread that nobody waits for at the end: it may be waiting itself, for a silent standard input."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()  # so that the thread can always say how it ended

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


def _check_removals(changes: Mapping[str, Changes], max_delete: float) -> None:
    refused = [
        f"--mode replace would remove {change.removed:,} of {change.before:,} {TABLES[kind].plural}"
        f" ({change.removed / change.before:.1%}), more than --max-delete {max_delete:g} (percent) allows:"
        " are the files whole? If they are, allow more"
        for kind, change in changes.items()
        if change.removed * 100 > change.before * max_delete
    ]
    if refused:
        raise LoadError(refused)


def _disagreement(row: Record) -> str:
    by_hand = row["decision"]
    if row["country"] == "DK":
        contradicts = "contradicts it" if by_hand == "yes" else "counts for nothing"
        return f"country: is DK now; classified by hand as a sole proprietorship: {by_hand}, which is kept and {contradicts}"
    if row["is_back"]:
        return f"handle: {row['handle']} is back; classified by hand as a sole proprietorship: {by_hand}, which counts"
    said = "true" if row["sole_proprietorship"] else "false"
    return f"sole_proprietorship: is {said}; classified by hand: {by_hand}, which is kept and counts"
