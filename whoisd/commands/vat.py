"""The command on VAT numbers: what VIES answered of them is taken into the database. It needs `database.owner_dsn`."""

import asyncio
from pathlib import Path

import click

from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.commands.writing import as_writer
from whoisd.config import load_settings
from whoisd.database.connect import Connection
from whoisd.registry.files import RegistryFiles
from whoisd.registry.progress import Progress
from whoisd.registry.vat_update import Options, Update, update


@click.group("vat")
def vat_commands() -> None:
    """Keep what VIES says of VAT numbers."""


@vat_commands.command("update")
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
@click.argument("answers", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@command
def update_command(file: Path | None, *, max_newly_shown: int, dry_run: bool, answers: tuple[Path, ...]) -> None:
    """Take answers of VIES: all of them, or nothing when a line has a fault. Needs database.owner_dsn.

    ANSWERS are files of JSON lines, plain or gzip, each line an answer as VIES gave it; - is standard input. A number that
    VIES does not know withholds the email of whoever abroad has it, until a newer answer lists it. Failures change nothing.
    """
    files = RegistryFiles(answers)
    options = Options(max_newly_shown, load_settings(file).policy.vat_listed_only, dry_run)

    async def work(connection: Connection) -> Update:
        async with Progress() as progress:
            return await update(connection, files, options, progress)

    done = asyncio.run((as_owner if dry_run else as_writer)(file, work))
    if not done.answers:
        tell(f"warning: {', '.join(map(str, answers))}: no answer", err=True)
    for line in done.lines():
        tell(line)
    tell("Nothing was changed: this was a dry run." if dry_run else "The update is committed.")
