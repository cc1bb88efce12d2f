"""The commands. Each reads its settings, calls one function of the package, and says what came of it.

Exit status: 0 when it is done, 1 when it cannot be, 2 when the command line or the configuration is wrong.
"""

import asyncio
import math
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import wraps
from importlib.metadata import version
from ipaddress import IPv4Address
from pathlib import Path
from time import time
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import asyncpg
import click

from whoisd import notices
from whoisd.answer import Answer, answer
from whoisd.config import DEFAULT_FILE, Settings, default_file, load_settings
from whoisd.errors import ConfigError, InvalidName, Outcome, StoreError, WhoisdError, cause_of, whereabouts
from whoisd.explain import explain, explain_host
from whoisd.log import Logger, log_query, open_log
from whoisd.memory import open_ledger
from whoisd.migrations import migrate as migrate_database
from whoisd.names import DomainName, parse_name
from whoisd.probe import probe_command
from whoisd.registry import load as load_files
from whoisd.sandbox import run_sandbox
from whoisd.server import policy_of
from whoisd.sockets import open_listeners
from whoisd.sources import around, keys_of
from whoisd.store import Store
from whoisd.supervisor import supervise
from whoisd.wire import Charset

P = ParamSpec("P")
T = TypeVar("T")

_FAILED: Final = {Outcome.BAD_QUERY, Outcome.TEMPORARY_FAILURE, Outcome.INTERNAL_ERROR}

# What an operator can do about a refusal, by the beginning of its SQLSTATE.
_HINTS: Final = {
    "28": ": it does not let this role in; see the role in the URL, and pg_hba.conf",
    "3D000": ": it has no database of the name in the URL",
    "42P01": ": it lacks a table or view; run `whoisd migrate`",
    "3F000": ": it lacks a schema; run `whoisd migrate`",
    "42501": ": this role may not do that; database.owner_dsn is for the role that owns the database",
    "42704": ": it lacks a role; run sql/roles.sql",
}

_file = click.Path(path_type=Path, dir_okay=False)
_config_option = click.option(
    "--config", "file", type=_file, metavar="FILE", help=f"Configuration file.  [default: {DEFAULT_FILE}]"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("whoisd"), prog_name="whoisd")
def main() -> None:
    """Run or keep a WHOIS server for the .dk registry."""


def _command(function: Callable[P, None]) -> Callable[P, None]:
    """End a command that fails with its error's text, which is written for the reader, and with its exit status."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ConfigError as error:
            _fail(str(error), 2)
        except WhoisdError as error:
            _fail(str(error), 1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Not the error's own text: it may quote a row.
            sqlstate = getattr(error, "sqlstate", None) or ""
            hint = next((hint for prefix, hint in _HINTS.items() if sqlstate.startswith(prefix)), "")
            _fail(f"the database refuses: {cause_of(error)}{hint}", 1)
        except KeyboardInterrupt:
            _fail("interrupted", 130)
        except Exception as error:  # noqa: BLE001 - a traceback would end in the error's own text, which may quote a row
            _fail(f"a fault of whoisd's own, please report it: {whereabouts(error)}", 1)

    return run


def _fail(text: str, status: int) -> NoReturn:
    click.echo("\n".join(f"whoisd: {line}" for line in text.splitlines()), err=True)
    sys.exit(status)


@main.command()
@_config_option
@_command
def serve(file: Path | None) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration anew."""
    file = file or default_file()  # settled now: should it be gone at a reload, that is a fault, and not a change of mind
    settings = load_settings(file)
    with open_listeners(settings.listen) as listeners:
        supervise(settings, listeners, lambda: load_settings(file))


@main.command()
@_config_option
@_command
def check(file: Path | None) -> None:
    """Say whether the configuration is good, or what is wrong with it. Connects to nothing."""
    settings = load_settings(file)
    where = " and ".join(f"{address.host} port {address.port}" for address in settings.listen)
    click.echo(f"The configuration is good: it listens on {where}.")


@main.command()
@_config_option
@click.argument("words", metavar="-- QUERY", nargs=-1, required=True)
@_command
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
        return await answer(line, IPv4Address("127.0.0.1"), store, policy_of(settings), datetime.now(UTC))
    finally:
        await store.close()


@main.command("explain")
@_config_option
@click.argument("text", metavar="NAME")
@click.option(
    "--charset", type=click.Choice([charset.value for charset in Charset]), default=Charset.UTF_8.value, show_default=True,
    help="Charset of the answer that is explained.",
)  # fmt: skip
@_command
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
@_config_option
@_command
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
@_config_option
@click.argument("source")
@_command
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
@_config_option
@_command
def migrate(file: Path | None) -> None:
    """Bring the database's schema up to date. Needs database.owner_dsn."""
    applied = asyncio.run(_as_owner(file, migrate_database))
    for name in applied:
        click.echo(f"applied sql/{name}")
    if not applied:
        click.echo("The database is up to date.")


@main.command()
@_config_option
@click.argument("data", nargs=-1, required=True, type=_file)
@_command
def load(file: Path | None, data: tuple[Path, ...]) -> None:
    """Load registry files: all of them, or nothing when a line has a fault. Needs database.owner_dsn."""
    counts = asyncio.run(_as_owner(file, lambda connection: load_files(connection, data)))
    click.echo("loaded " + ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()))


async def _as_owner(file: Path | None, work: Callable[[Any], Awaitable[T]]) -> T:
    dsn = load_settings(file).database.owner_dsn
    if dsn is None:
        raise ConfigError(
            f"{file or DEFAULT_FILE}: database.owner_dsn: required by this command;"
            " set it there or in the environment as WHOISD_DATABASE__OWNER_DSN"
        )
    try:
        connection = await asyncpg.connect(dsn.get_secret_value(), timeout=10)
    except ValueError:  # a text of its own would quote the URL
        raise ConfigError("database.owner_dsn: is not a PostgreSQL URL that can be used") from None
    except (OSError, TimeoutError) as error:
        raise WhoisdError(f"database.owner_dsn: the database does not answer: {cause_of(error)}") from None
    try:
        return await work(connection)
    finally:
        await connection.close()


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4343, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any.")
@click.option("--data", multiple=True, type=_file, metavar="FILE", help="Registry file to load too; may be repeated.")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder to keep and use again.  [default: a temporary one, removed at exit]",
)  # fmt: skip
@_command
def sandbox(host: str, port: int, data: tuple[Path, ...], directory: Path | None) -> None:
    """Serve a small predefined registry from a PostgreSQL of its own."""
    run_sandbox(host, port, data, directory)


main.add_command(probe_command)
