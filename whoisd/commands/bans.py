"""The commands on the bans of the running server, and on the networks that it throttles."""

import math
from pathlib import Path
from time import time

import click

from whoisd.commands.terminal import command, config_option
from whoisd.config import Settings, load_settings
from whoisd.errors import WhoisdError
from whoisd.limits.keys import NETWORK, Key, around, keys_of
from whoisd.limits.ledger import Allowance, Ledger
from whoisd.limits.memory import open_ledger


@click.group("bans")
def bans_commands() -> None:
    """See and lift the bans of the running server."""


@bans_commands.command("list")
@config_option
@command
def list_bans(file: Path | None) -> None:
    """List the bans in force: source, seconds that remain, and how many it had with this one.

    The next ban would be longer; an hour without a ban makes one of them forgotten. A network that has used up its rate
    follows as throttled, with the seconds until a query from it is answered again: it is never banned.
    """
    settings = load_settings(file)
    ledger = open_ledger(settings.limits.file, create=False)
    now = ledger.time(time())
    bans = sorted(ledger.bans(now), key=lambda ban: ban.remaining, reverse=True)
    for ban in bans:
        click.echo(_line(ban.key, ban.remaining, str(ban.number)))
    if not bans:
        click.echo("No ban is in force.")
    for key, wait in sorted(ledger.throttled(_of_networks(settings), now), key=lambda it: it[1], reverse=True):
        click.echo(_line(key, wait, "throttled"))


@bans_commands.command("lift")
@config_option
@click.argument("source")
@command
def lift_ban(file: Path | None, source: str) -> None:
    """Lift a ban, at once on all workers, and forget what went before it.

    SOURCE is an address (its ban, and that of its IPv6 /64), or a network as `list` shows it, which may then ask its burst
    again.
    """
    settings = load_settings(file)
    keys = keys_of(source, settings.limits.nat64)
    ledger = open_ledger(settings.limits.file, create=False)
    now = ledger.time(time())
    allowance = _of_networks(settings)
    held = [key for key in keys if _is_held(ledger, key, allowance, now)]
    for key in keys:
        ledger.lift(key, now)
    for key in held:
        click.echo(f"lifted: {key.text()}")
    for key in around(keys):
        if _is_held(ledger, key, allowance, now):
            click.echo(f"its network is throttled: whoisd bans lift {key.text()}", err=True)
    if not held:
        raise WhoisdError(f"{source}: is not {'throttled' if _is_network(keys[0]) else 'banned'}")


def _line(key: Key, seconds: float, what: str) -> str:
    return f"{key.text():<43}  {math.ceil(seconds):>6} s  {what}"


def _of_networks(settings: Settings) -> Allowance:
    """Return the allowance of networks that have no name."""
    return settings.quotas({it.name: number for number, it in enumerate(settings.network)}).network


def _is_network(key: Key) -> bool:
    return key.scope in NETWORK.values()


def _is_held(ledger: Ledger, key: Key, allowance: Allowance, now: float) -> bool:
    """Whether a source is banned, or a network throttled."""
    return (ledger.wait(key, allowance, now) if _is_network(key) else ledger.ban_of(key, now)) > 0
