"""The commands on CVR's own data: `cvr update`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click

from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.commands.writing import as_writer
from whoisd.database.connect import Connection
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.update import Options, Report, update
from whoisd.registry.progress import Progress


@click.group("cvr")
def cvr_commands() -> None:
    """Take what the Central Business Register itself says of registrants' companies."""


@cvr_commands.command("update")
@config_option
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
def update_command(*, file: Path | None, max_newly_shown: int, dry_run: bool, data: tuple[Path, ...]) -> None:
    """Read CVR's files: all of them, or nothing when one has a fault. Needs database.owner_dsn, and no network.

    DATA are the zips of Datafordeleren's file download of one generation (Virksomhed, Virksomhedsform, Kreditoplysninger;
    where names and addresses are to follow CVR, Navn and Adressering), or system-til-system documents (JSON or JSON lines,
    plain or gzip; - is standard input). Only what is about a CVR number that a registrant has is kept. What registry files
    say is left as it is.
    """
    files, options = CvrFiles(data), Options(max_newly_shown, dry_run)

    async def work(connection: Connection) -> Report:
        async with Progress() as progress:
            return await update(connection, files, options, progress)

    report = asyncio.run((as_owner if dry_run else as_writer)(file, work))
    for line in report.warnings:
        tell(f"warning: {line}", err=True)
    for line in (*_changes(report), *report.newly_shown.lines()):
        tell(line)
    tell("Nothing was changed: this was a dry run." if dry_run else "The update is committed.")


def _changes(report: Report) -> Iterator[str]:
    changes, source = report.changes, report.source
    of = "documents" if source.generation is None else f"generation {source.generation}"
    when = f", of {source.as_of:%Y-%m-%d}" if source.as_of else ""
    yield f"{of}{when}: {report.companies:,} compan{'y' if report.companies == 1 else 'ies'} in the files"
    yield (
        f"CVR numbers of registrants: {report.wanted:,}; {changes.read:,} of them in the files, {changes.changed:,} changed,"
        f" {changes.removed:,} removed"
    )
    if changes.absent:
        yield f"not in CVR, or registered by mistake: {changes.absent:,}"
    if changes.older:
        yield f"left as they are, by a newer document: {changes.older:,}"
