"""The commands of a server: `serve`, and `check` of what it is configured by."""

from pathlib import Path

import click

from whoisd.commands.terminal import command, config_option
from whoisd.config import default_file, load_settings
from whoisd.server.sockets import open_listeners
from whoisd.server.supervisor import supervise


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
    """Say whether the configuration is good, or what is wrong with it. Connects to nothing."""
    settings = load_settings(file)
    where = " and ".join(f"{address.host} port {address.port}" for address in settings.listen)
    click.echo(f"The configuration is good: it listens on {where}.")
