"""The commands that write the registry's data: `migrate` and `load`."""

import asyncio
from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

import click

from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.commands.writing import as_writer
from whoisd.config import load_settings
from whoisd.database.connect import Connection
from whoisd.database.heartbeat import DEFAULT_GAP, beat
from whoisd.database.migrations import migrate
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import Options, Report, load
from whoisd.registry.progress import Progress
from whoisd.registry.staging import TABLES, Mode


@click.command("migrate")
@config_option
@command
def migrate_command(file: Path | None) -> None:
    """Bring the database's schema up to date. Needs database.owner_dsn."""

    async def work(connection: Connection) -> list[str]:
        return await migrate(connection, say=tell)

    applied = asyncio.run(as_owner(file, work))
    for name in applied:
        tell(f"applied sql/{name}")
    if not applied:
        tell("The database is up to date.")


@click.command("heartbeat")
@config_option
@click.option(
    "--data-is-current",
    "is_current",
    is_flag=True,
    help="Go on after a fail-over or a restore though the last heartbeat is old: what was missing is there again.",
)
@command
def heartbeat_command(file: Path | None, *, is_current: bool) -> None:
    """Write to the primary that it is alive now, so that a standby knows how old its data is. Needs database.owner_dsn.

    For a timer (systemd/whoisd-heartbeat.timer). database.max_age goes by it. A server that was promoted or restored takes
    the heartbeat up only where the last one is younger than database.max_age (60 seconds where that is not set).
    """
    max_gap = load_settings(file).database.max_age or DEFAULT_GAP
    asyncio.run(as_owner(file, lambda owner: beat(owner, max_gap, is_current=is_current)))


def _percent(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse nan: to click it is in every range, and no share is more than it."""
    if isnan(value):
        raise click.BadParameter("must be a number from 0 to 100")
    return value


@click.command("load")
@config_option
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.MERGE.value,
    show_default=True,
    help="merge: add and update. replace: make the database hold exactly what the files hold, as after an export.",
)
@click.option(
    "--max-delete",
    type=click.FloatRange(0, 100),
    callback=_percent,
    default=5.0,
    show_default=True,
    metavar="PERCENT",
    help="With --mode replace: refuse to remove more of any kind of record than this.",
)
@click.option(
    "--max-newly-shown",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    metavar="NUMBER",
    help="Refuse to make more registrants public, in email or name, who are withheld now.",
)
@click.option("--dry-run", is_flag=True, help="Find faults, and say what would change; change nothing.")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@command
def load_command(  # noqa: PLR0913 - click's
    *,
    file: Path | None,
    mode: str,
    max_delete: float,
    max_newly_shown: int,
    dry_run: bool,
    data: tuple[Path, ...],
) -> None:
    """Load registry files: all of them, or nothing when a line has a fault. Needs database.owner_dsn.

    DATA are files of JSON lines, plain or gzip; - is standard input. What people decided by hand (classifications, roles
    taken over) is kept, and what the files say otherwise is reported.
    """
    files, listed_only = RegistryFiles(data), load_settings(file).policy.vat_listed_only
    options = Options(Mode(mode), max_delete, max_newly_shown, dry_run, listed_only)

    async def work(connection: Connection) -> Report:
        async with Progress() as progress:
            return await load(connection, files, options, progress)

    report = asyncio.run((as_owner if dry_run else as_writer)(file, work))
    for line in _warnings(report):
        tell(f"warning: {line}", err=True)
    for line in (*_changes(report), *report.newly_shown.lines()):
        tell(line)
    tell("Nothing was changed: this was a dry run." if dry_run else "The load is committed.")


def _warnings(report: Report) -> Sequence[str]:
    return [*report.warnings, *report.doubts, *([f"and {report.more:,} more"] if report.more else [])]


def _changes(report: Report) -> Iterator[str]:
    for kind, changes in report.changes.items():
        if changes.records or changes.removed:
            yield (
                f"{TABLES[kind].plural}: {changes.records:,} in the files, {changes.added:,} added,"
                f" {changes.changed:,} changed, {changes.removed:,} removed"
            )
