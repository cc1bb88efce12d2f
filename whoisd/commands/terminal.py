"""What the commands share: their configuration, how they fail, and the connection of those that write."""

import os
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Final, NoReturn, ParamSpec, TypeVar

import asyncpg
import click

from whoisd.config import DEFAULT_FILE, load_settings
from whoisd.database.connect import Connection
from whoisd.database.dsn import parse_dsn
from whoisd.database.owner import do_as_owner
from whoisd.errors import ConfigError, WhoisdError, cause_of, whereabouts

P = ParamSpec("P")
T = TypeVar("T")

# What an operator can do about a refusal, by the beginning of its SQLSTATE.
_HINTS: Final = {
    "28": ": it does not let this role in; see the role in the URL, and pg_hba.conf",
    "3D000": ": it has no database of the name in the URL",
    "42P01": ": it lacks a table or view; run `whoisd migrate`",
    "3F000": ": it lacks a schema; run `whoisd migrate`",
    "22P05": ": its encoding lacks a letter; create it with encoding UTF8",
    "25006": ": this role may only read, or this is a standby; database.owner_dsn is for the owner, on the primary",
    "42501": ": this role may not do that; database.owner_dsn is for the owner, database.dsn for one that reads the views",
    "42704": ": it lacks a role; run sql/roles.sql",
    "57014": ": the statement was cancelled, by somebody or by the statement_timeout of the role",
}

file_path = click.Path(path_type=Path, dir_okay=False)
config_option = click.option(
    "--config", "file", type=file_path, metavar="FILE", help=f"Configuration file.  [default: {DEFAULT_FILE}]"
)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """End a command that fails with its error's text, which is written for the reader, and with its exit status."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except click.UsageError:  # click says how the command is written
            raise
        except ConfigError as error:
            _fail(str(error), 2)
        except WhoisdError as error:
            _fail(str(error), 1)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Not the error's own text: it may quote a row.
            _fail(f"the database refuses: {cause_of(error)}{hint(getattr(error, 'sqlstate', None) or '')}", 1)
        except KeyboardInterrupt:
            _fail("interrupted", 130)
        except Exception as error:  # noqa: BLE001 - a traceback would end in the error's own text, which may quote a row
            _fail(f"a fault of whoisd's own, please report it: {whereabouts(error)}", 1)

    return run


def hint(sqlstate: str) -> str:
    """Return what an operator can do about a refusal, to be put behind it; empty where we do not know."""
    return next((hint for prefix, hint in _HINTS.items() if sqlstate.startswith(prefix)), "")


def _fail(text: str, status: int) -> NoReturn:
    click.echo("\n".join(f"whoisd: {line}" for line in text.splitlines()), err=True)
    sys.exit(status)


def tell(text: str | bytes, *, err: bool = False) -> None:
    """Print what a command did: it is done, and its exit status says so, whether or not there is somebody to tell."""
    try:
        click.echo(text, err=err)
    except OSError as error:
        # What could not be written is still held, and would be tried again at Python's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())
        if not err and not isinstance(error, BrokenPipeError):
            tell(f"whoisd: it is done, and standard output cannot be written: {error.strerror}", err=True)


async def as_owner(file: Path | None, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do the work with a connection of the owner's (`database.owner_dsn`), and return what it returns.

    Raises `ConfigError` where no owner is configured, `WhoisdError` where the database is not there or goes away.
    """
    dsn = load_settings(file).database.owner_dsn
    if dsn is None:
        raise ConfigError(
            f"{file or DEFAULT_FILE}: database.owner_dsn: required by this command;"
            " set it there or in the environment as WHOISD_DATABASE__OWNER_DSN"
        )
    return await do_as_owner(parse_dsn(dsn.get_secret_value()), work)
