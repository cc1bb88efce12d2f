"""The audit trail: a row for each write of a command, which no role of this software can change or remove.

The table is in sql/audit.sql; PostgreSQL itself writes when a row was added and as which role.
"""

import os
import pwd

import orjson

from whoisd.database.connect import Connection

_INSERT = (
    "INSERT INTO audit.entry (who, command, object, evidence, before, after, account) VALUES ($1, $2, $3, $4, $5, $6, $7)"
)


def this_account() -> str:
    """Return who runs the command as the operating system knows them; commands that are told who decides keep this too."""
    uid = os.getuid()  # and not LOGNAME or USER, which anybody may set, and which `su` and `runuser` leave as they were
    try:
        return f"account:{pwd.getpwuid(uid).pw_name}"
    except KeyError:  # an account that has no name
        return f"account:#{uid}"


async def record(  # noqa: PLR0913 - the columns of the table
    connection: Connection,
    *,
    who: str,
    command: str,
    object: str,  # noqa: A002 - the same
    before: object,
    after: object,
    evidence: str | None = None,
) -> None:
    """Add a row, in the transaction that makes the change; `before` and `after` become JSON."""
    texts = [None if value is None else orjson.dumps(value).decode() for value in (before, after)]
    await connection.execute(_INSERT, who, command, object, evidence, *texts, this_account())
