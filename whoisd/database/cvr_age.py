"""How old CVR's own data is: the SQL by which a reader measures, and when it is too old.

A generation comes out each week, and two that were missed are a sign that nobody reads them any more.
"""

from typing import Final

from whoisd.database.connect import Connection

HAS_CVR: Final = "SELECT to_regclass('whois.cvr') IS NOT NULL"
CVR_AGE: Final = "SELECT extract(epoch FROM clock_timestamp() - as_of)::float8 FROM whois.cvr"

TOO_OLD: Final = 14 * 86_400.0  # seconds


async def cvr_age(connection: Connection) -> float | None:
    """Return how old CVR's own data is, in seconds; None where none was read."""
    age: float | None = await connection.fetchval(CVR_AGE) if await connection.fetchval(HAS_CVR) else None
    return age
