"""The connections of commands: the owner's, on the primary, for those that write, and the reader's for the report."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import asyncpg

from whoisd.database.connect import Connection, connect
from whoisd.database.dsn import Dsn, is_standby
from whoisd.errors import ConfigError, DsnError, WhoisdError, cause_of

T = TypeVar("T")

CONNECT_DEADLINE: Final = 10.0  # seconds for each host


async def do_as_owner(dsn: Dsn, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do the work with a connection of the owner's, at `database.owner_dsn`, and return what it returns.

    Raises `ConfigError` for a URL that cannot be used, `WhoisdError` where the database is not there or goes away.
    """
    connection = await connect_to_any(dsn, "database.owner_dsn")
    try:
        return await work(connection)
    except ConnectionError as error:
        raise WhoisdError(f"the database went away: {cause_of(error)}") from None
    finally:
        await close(connection)


async def connect_to_any(dsn: Dsn, key: str, settings: Mapping[str, str] | None = None) -> Connection:
    """Return a connection to the host that is wanted most; of those wanted alike, to the first. `key` is the URL's setting.

    For commands, which are patient. Raises `ConfigError` for a URL that cannot be used, `WhoisdError` where no host answers.
    """
    failure: Exception = WhoisdError("no server that target_session_attrs admits")
    ranks = {rank for standby in (False, True) if (rank := dsn.rank(standby=standby)) is not None}
    for wanted in sorted(ranks):
        for host in dsn.hosts:
            try:
                connection = await connect(host, CONNECT_DEADLINE, settings)
            except DsnError as error:
                raise ConfigError(f"{key}: {error}") from None
            except ValueError:  # a text of its own would quote the URL
                raise ConfigError(f"{key}: is not a PostgreSQL URL that can be used") from None
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                failure = error
                continue
            if dsn.rank(standby=is_standby(connection.get_settings())) == wanted:
                return connection
            await close(connection)
    if isinstance(failure, asyncpg.PostgresError):
        raise failure
    raise WhoisdError(f"{key}: the database does not answer: {cause_of(failure)}")


async def close(connection: Connection) -> None:
    """End a connection, whether or not there still is somebody at its other end."""
    try:
        await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
