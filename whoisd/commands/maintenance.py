"""The commands on maintenance windows. Each needs `database.owner_dsn`."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from whoisd.commands.arguments import note_argument
from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.config import load_settings
from whoisd.database.maintenance import FORMAT
from whoisd.registry.maintenance import Applied, begin, end, show
from whoisd.registry.report import moment


def _moment(_context: click.Context, _parameter: click.Parameter, value: str) -> datetime:
    try:
        return moment(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group("maintenance")
def maintenance_commands() -> None:
    """Keep commands that write away from the database for a time; answers go on."""


@maintenance_commands.command("begin")
@config_option
@click.option(
    "--until",
    required=True,
    callback=_moment,
    metavar="TIME",
    help="When it ends by itself, such as 2026-11-26T08:00:00+01:00; in a week at most.",
)
@click.option("--why", required=True, callback=note_argument, metavar="TEXT", help="What it is for, in one line.")
@click.option("--queue", "is_queue", is_flag=True, help="Keep commands about one object, and carry them out afterwards.")
@command
def begin_window(file: Path | None, until: datetime, why: str, *, is_queue: bool) -> None:
    """Begin a maintenance window, or change the one that is open. Commands that are writing are waited for.

    Until it ends every command that writes is refused, and told until when and why; `migrate` and `heartbeat` are not. With
    --queue classifications, take-overs and EPP frames are kept. Needs database.owner_dsn.
    """
    wait = "whoisd: waits for the commands that are writing to end"
    begun = as_owner(file, lambda owner: begin(owner, until, why, is_queue=is_queue, wait=lambda: tell(wait, err=True)))
    window = asyncio.run(begun)
    tell(f"There is {window}")
    tell("Commands about one object are queued." if is_queue else "Every command that writes is refused.")


@maintenance_commands.command("show")
@config_option
@command
def show_window(file: Path | None) -> None:
    """Say whether there is a maintenance window, until when and why, and what is queued. Needs database.owner_dsn."""
    window, orders = asyncio.run(as_owner(file, show))
    tell(f"There is {window}" if window else "There is no maintenance window.")
    for number, at, order in orders:
        tell(f"{number}, queued {at.astimezone(UTC):{FORMAT}}: {order}")
    if orders and not window:
        tell("They are carried out by the next command that writes, or by `whoisd maintenance end`.")


@maintenance_commands.command("end")
@config_option
@command
def end_window(file: Path | None) -> None:
    """End the maintenance window, and carry out what was queued, in its order, each with what came of it.

    The exit status is 1 where one of them is no longer possible. Needs database.owner_dsn.
    """
    conditions = load_settings(file).policy.conditions(datetime.now(UTC), fresh=True)
    came: list[Applied] = []

    def say(applied: Applied) -> None:
        came.append(applied)
        tell(str(applied))

    window = asyncio.run(as_owner(file, lambda owner: end(owner, conditions, say)))
    tell("The maintenance is over." if window else "There was no maintenance window open.")
    sys.exit(any(applied.why for applied in came))
