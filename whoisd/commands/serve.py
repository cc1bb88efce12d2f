"""The commands of a server: `serve`, and `check` of what it is configured by."""

import asyncio
from pathlib import Path
from typing import Final

import click

from whoisd.commands.terminal import command, config_option
from whoisd.config import Settings, default_file, load_settings
from whoisd.database.cvr_age import TOO_OLD
from whoisd.database.watcher import cvr_age_at
from whoisd.errors import StoreError
from whoisd.log import open_log
from whoisd.server.http.process import check_certificates
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

    Certificates and keys are tried too, by whoever types this: root may read what the server's account may not.
    The database has a second to answer. There is a warning when it does not, and when CVR's own data is older than 14 days;
    neither makes the configuration a bad one, for the server starts without a database.
    """
    settings = load_settings(file)
    check_certificates(settings)
    where = " and ".join(f"{address.host} port {address.port}" for address in settings.listen)
    click.echo(f"The configuration is good: it listens on {where}.")
    if warning := _warning(settings):
        click.echo(f"warning: {warning}", err=True)


def _warning(settings: Settings) -> str | None:
    """Return what is not as it should be with the database, if anything."""
    log = open_log("critical", settings.log.format)
    try:
        age = asyncio.run(cvr_age_at(settings.database.hosts, CHECK_DEADLINE, log))
    except StoreError as error:
        return f"the database does not answer ({error.cause}): until it does clients are told to try again later"
    if age and age > TOO_OLD:
        return f"CVR's own data is {age / 86_400:.0f} days old: read the newest with `whoisd cvr update`"
    return None
