"""A connection to one PostgreSQL server: how it is opened, and the type that the rest of whoisd knows it by."""

from collections.abc import Mapping
from typing import TypeAlias

import asyncpg

# Quoted, for asyncpg's classes take no parameters at run time; asyncpg-stubs has the types.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Statement: TypeAlias = "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]"


async def only_row(connection: Connection, query: str, *arguments: object) -> asyncpg.Record:
    """Return the row of a query that has just one, as one of totals has."""
    return (await connection.fetch(query, *arguments))[0]


async def connect(url: str, settings: Mapping[str, str] | None = None) -> Connection:
    """Connect to the server that a URL names. Raises whatever asyncpg raises; whoever calls has the deadline."""
    return await asyncpg.connect(url, server_settings=dict(settings or {}))
