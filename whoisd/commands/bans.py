"""The commands on the bans of the running server."""

import math
from pathlib import Path
from time import time

import click

from whoisd.commands.terminal import command, config_option
from whoisd.config import load_settings
from whoisd.errors import WhoisdError
from whoisd.limits.keys import around, keys_of
from whoisd.limits.memory import open_ledger


@click.group("bans")
def bans_commands() -> None:
    """See and lift the bans of the running server."""


@bans_commands.command("list")
@config_option
@command
def list_bans(file: Path | None) -> None:
    """List the bans in force: source or network, seconds that remain, and how many it had with this one.

    After a further one it would be banned for longer; an hour without a ban makes one of them forgotten.
    """
    ledger = open_ledger(load_settings(file).limits.file, create=False)
    found = sorted(ledger.bans(time()), key=lambda ban: ban.remaining, reverse=True)
    for ban in found:
        click.echo(f"{ban.key.text():<43}  {math.ceil(ban.remaining):>6} s  {ban.number}")
    if not found:
        click.echo("No ban is in force.")


@bans_commands.command("lift")
@config_option
@click.argument("source")
@command
def lift_ban(file: Path | None, source: str) -> None:
    """Lift a ban, at once on all workers, and forget what went before it.

    SOURCE is an address (its ban, and that of its IPv6 /64) or a network as `list` shows it.
    """
    keys = keys_of(source)
    ledger = open_ledger(load_settings(file).limits.file, create=False)
    now = time()
    lifted = [key for key in keys if ledger.lift(key, now)]
    for key in lifted:
        click.echo(f"lifted: {key.text()}")
    for key in around(keys):
        if ledger.ban_of(key, now):
            click.echo(f"its network is banned too: whoisd bans lift {key.text()}", err=True)
    if not lifted:
        raise WhoisdError(f"{source}: is not banned")
