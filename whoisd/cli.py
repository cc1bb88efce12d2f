"""The commands. Each reads its settings, calls one function of the package, and says what came of it.

Exit status: 0 when it is done, 1 when it cannot be, 2 when the command line or the configuration is wrong.
"""

import asyncio
import math
import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import time
from typing import Final, NoReturn

import click

from whoisd import notices
from whoisd.answer import Answer, answer
from whoisd.cli_portal import portal_commands, registrant_commands
from whoisd.cli_registry import load_command, migrate_command
from whoisd.cli_report import report_commands
from whoisd.config import Settings, default_file, load_settings
from whoisd.errors import InvalidName, Outcome, StoreError, WhoisdError
from whoisd.explain import explain, explain_host
from whoisd.log import Logger, log_query, open_log
from whoisd.memory import open_ledger
from whoisd.names import DomainName, parse_name
from whoisd.probe import probe_command
from whoisd.sandbox import run_sandbox
from whoisd.server import policy_of
from whoisd.sockets import open_listeners
from whoisd.sources import around, keys_of
from whoisd.store import Store
from whoisd.supervisor import supervise
from whoisd.terminal import command, config_option, file_path
from whoisd.wire import Charset

_FAILED: Final = {Outcome.BAD_QUERY, Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("whoisd"), prog_name="whoisd")
def main() -> None:
    """Run or keep a WHOIS server for the .dk registry."""


@main.command()
@config_option
@command
def serve(file: Path | None) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration anew."""
    file = file or default_file()  # settled now: should it be gone at a reload, that is a fault, and not a change of mind
    settings = load_settings(file)
    with open_listeners(settings.listen) as listeners:
        supervise(settings, listeners, lambda: load_settings(file))


@main.command()
@config_option
@command
def check(file: Path | None) -> None:
    """Say whether the configuration is good, or what is wrong with it. Connects to nothing."""
    settings = load_settings(file)
    where = " and ".join(f"{address.host} port {address.port}" for address in settings.listen)
    click.echo(f"The configuration is good: it listens on {where}.")


@main.command()
@config_option
@click.argument("words", metavar="-- QUERY", nargs=-1, required=True)
@command
def query(file: Path | None, words: tuple[str, ...]) -> None:
    """Answer a query without the network, as the server would answer 127.0.0.1.

    The answer's bytes go to standard output; at a terminal they are decoded first. Standard error gets the event that
    the server would log, with the reason why the email is shown or withheld, or what failed.
    """
    settings = load_settings(file)
    line = b" ".join(os.fsencode(word) for word in words)
    log = open_log(settings.log.level, settings.log.format)
    found = asyncio.run(_answer(line, settings, log))
    log_query(log, found.outcome, **found.facts())
    if sys.stdout.isatty():
        click.echo(found.text(), nl=False)
    else:
        sys.stdout.buffer.write(found.payload)
    if found.outcome in _FAILED:
        sys.exit(1)


async def _answer(line: bytes, settings: Settings, log: Logger) -> Answer:
    store = _store(settings, log)
    try:
        return await answer(line, "127.0.0.1", store, policy_of(settings), datetime.now(UTC))
    finally:
        await store.close()


@main.command("explain")
@config_option
@click.argument("text", metavar="NAME")
@click.option(
    "--charset", type=click.Choice([charset.value for charset in Charset]), default=Charset.UTF_8.value, show_default=True,
    help="Charset of the answer that is explained.",
)  # fmt: skip
@command
def explain_name(file: Path | None, text: str, charset: str) -> None:
    """Say of each field of an answer whether it is shown or withheld, why, and which facts decided.

    Prints no value of a registrant.
    """
    settings = load_settings(file)
    try:
        name = parse_name(text)
    except InvalidName as error:
        raise WhoisdError(f"{text}: {notices.FAULTS[error.fault]}") from None
    log = open_log("warning", settings.log.format)
    click.echo(asyncio.run(_explain(name, Charset(charset), settings, log)), nl=False)


async def _explain(name: DomainName, charset: Charset, settings: Settings, log: Logger) -> str:
    store = _store(settings, log)
    try:
        if not name.is_dk_domain:
            host = await store.host(name)
            return explain_host(host) if host else _no_such(name)
        domain = await store.domain(name)
        if domain is None:
            return _no_such(name)
        in_force_from = settings.disclosure.in_force_from
        return explain(domain, now=datetime.now(UTC), in_force_from=in_force_from, charset=charset)
    except StoreError as error:
        raise WhoisdError(f"the database does not answer: {error.cause}") from None
    finally:
        await store.close()


def _no_such(name: DomainName) -> NoReturn:
    raise WhoisdError(f"{name.unicode}: there is no such {'domain' if name.is_dk_domain else 'host'}")


def _store(settings: Settings, log: Logger) -> Store:
    return Store(settings.database.hosts, settings.database.deadline, log)


@main.group()
def bans() -> None:
    """See and lift the bans of the running server."""


@bans.command("list")
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


@bans.command("lift")
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


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4343, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any.")
@click.option("--data", multiple=True, type=file_path, metavar="FILE", help="Registry file to load too; may be repeated.")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder to keep and use again.  [default: a temporary one, removed at exit]",
)  # fmt: skip
@command
def sandbox(host: str, port: int, data: tuple[Path, ...], directory: Path | None) -> None:
    """Serve a small predefined registry from a PostgreSQL of its own."""
    run_sandbox(host, port, data, directory)


for added in (migrate_command, load_command, registrant_commands, portal_commands, report_commands, probe_command):
    main.add_command(added)
