"""The commands of a server: `serve`, and `check` of what it is configured by."""

import asyncio
from pathlib import Path
from typing import Final

import click

from whoisd.commands.terminal import command, config_option
from whoisd.config import default_file, load_settings
from whoisd.database.cvr_age import TOO_OLD
from whoisd.database.watcher import cvr_age_at
from whoisd.log import open_log
from whoisd.server.sockets import open_listeners
from whoisd.server.supervisor import supervise

CHECK_DEADLINE: Final = 1.0  # seconds for the database to tell how old CVR's data is


@click.command("serve")
@config_option
@command
def serve_command(file: Path | None) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration anew."""
    file = file or default_file()  # settled now: should it be gone at a reload, that is a fault, and not a change of mind
    settings = load_settings(file)
    with open_listeners(settings.listen, settings.http.listen) as listeners:
        supervise(settings, listeners, lambda: load_settings(file))


@click.command("check")
@config_option
@command
def check_command(file: Path | None) -> None:
    """Say whether the configuration is good, or what is wrong with it.

    A database that answers at once is asked how old CVR's own data is: with more than 14 days there is a warning. One that
    does not answer is not waited for, and says nothing about the configuration.
    """
    settings = load_settings(file)
    where = " and ".join(f"{address.host} port {address.port}" for address in settings.listen)
    click.echo(f"The configuration is good: it listens on {where}.")
    log = open_log("critical", settings.log.format)
    if (age := asyncio.run(cvr_age_at(settings.database.hosts, CHECK_DEADLINE, log))) and age > TOO_OLD:
        click.echo(
            f"warning: CVR's own data is {age / 86_400:.0f} days old: read the newest with `whoisd cvr update`", err=True
        )
