"""How old CVR's own data is: the SQL by which a reader measures, and when it is too old.

A generation comes out each week, and two that were missed are a sign that nobody reads them any more.
"""

from typing import Final

HAS_CVR: Final = "SELECT to_regclass('whois.cvr') IS NOT NULL"
CVR_AGE: Final = "SELECT extract(epoch FROM clock_timestamp() - as_of)::float8 FROM whois.cvr"

TOO_OLD: Final = 14 * 86_400.0  # seconds
