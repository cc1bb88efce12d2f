"""The connection of the commands that write: the owner's, on the primary."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from whoisd.database.connect import Connection
from whoisd.errors import ConfigError, WhoisdError, cause_of

T = TypeVar("T")


async def do_as_owner(url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do the work with a connection of the owner's, at `database.owner_dsn`, and return what it returns.

    Raises `ConfigError` for a URL that cannot be used, `WhoisdError` where the database is not there or goes away.
    """
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except ValueError:  # a text of its own would quote the URL
        raise ConfigError("database.owner_dsn: is not a PostgreSQL URL that can be used") from None
    except (OSError, TimeoutError) as error:
        raise WhoisdError(f"database.owner_dsn: the database does not answer: {cause_of(error)}") from None
    try:
        return await work(connection)
    except ConnectionError as error:
        raise WhoisdError(f"the database went away: {cause_of(error)}") from None
    finally:
        await close(connection)


async def close(connection: Connection) -> None:
    """End a connection, whether or not there still is somebody at its other end."""
    try:
        await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
