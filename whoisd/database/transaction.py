"""A change of the database: all of it or nothing, and when the database goes away meanwhile, what is known of which."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
from asyncpg.transaction import Transaction

from whoisd.database.connect import Connection
from whoisd.database.maintenance import admit_writer
from whoisd.errors import WhoisdError, cause_of

# How asyncpg says that the database went away, or cut us off; a statement that was cancelled leaves it where it is.
GONE: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.DatabaseDroppedError,
    asyncpg.IdleSessionTimeoutError,
)


@asynccontextmanager
async def changing(connection: Connection, hint: str, *, dry_run: bool = False) -> AsyncIterator[None]:
    """Change the registry in a transaction, as `all_or_nothing` does, but not in a maintenance window.

    Every command that changes it does so here. A dry run changes nothing, and is let in. So is who has begun a transaction
    before: whether it may write was asked then, or it carries out what was queued. Raises `MaintenanceError` besides.
    """
    is_asked = not dry_run and not connection.is_in_transaction()
    async with all_or_nothing(connection, hint, dry_run=dry_run):
        if is_asked:
            await admit_writer(connection)
        yield


@asynccontextmanager
async def all_or_nothing(connection: Connection, hint: str, *, dry_run: bool = False) -> AsyncIterator[None]:
    """Change the database in a transaction; a dry run undoes it in the end.

    When the database goes away raises `WhoisdError`: nothing was changed, or, while it commits, that this cannot be known;
    `hint` says how to find out.
    """
    # Whatever the role's default: who waited for a lock must see what was changed meanwhile.
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        yield
    except BaseException as error:
        with suppress(*GONE):
            await transaction.rollback()
        if isinstance(error, GONE):
            raise WhoisdError(f"the database went away, and nothing was changed: {cause_of(error)}") from None
        raise
    if dry_run:
        await transaction.rollback()
    else:
        await _commit(transaction, hint)


async def _commit(transaction: Transaction, hint: str) -> None:
    try:
        await transaction.commit()
    except GONE as error:
        raise WhoisdError(
            f"the database went away while the change was being committed: {cause_of(error)};"
            f" all of it is in, or nothing: {hint}"
        ) from None
