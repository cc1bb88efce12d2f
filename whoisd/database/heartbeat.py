"""How old the data is: the heartbeat that the primary's side writes, and the SQL by which a reader measures.

Where there is a heartbeat its age counts, on a primary too: one that was a lagging standby before a fail-over has none that
is newer than its data. Without one it is what a standby has still to replay, which is honest of a standby whose own source
is the primary, and of no other.

A server that was promoted or restored may lack what was committed elsewhere. It takes up the heartbeat where the last one is
young enough; else somebody has to say that the data is current, for nobody but them can know.
"""

from typing import Final

from whoisd.database.connect import Connection
from whoisd.errors import WhoisdError

# Seconds that a standby has still to replay. One that has replayed all that it received is up to date as long as it
# receives; after that its age is that of the last change it knows of.
LAG: Final = """CASE
        WHEN NOT pg_is_in_recovery() THEN 0
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
        ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
    END"""
_BEAT: Final = "SELECT extract(epoch FROM clock_timestamp() - max(at))::float8 FROM whois.heartbeat"
AGE: Final = f"coalesce(({_BEAT}), {LAG})"

HAS_HEARTBEAT: Final = "SELECT to_regclass('whois.heartbeat') IS NOT NULL"


DEFAULT_GAP: Final = 60.0  # seconds: two heartbeats

# A promotion begins another timeline; a restored dump is another database, or of another server.
_BRANCH: Final = """
    (SELECT system_identifier FROM pg_control_system())::text
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())::text
    || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)"""
_WRITE: Final = f"""
    INSERT INTO registry.heartbeat AS last (at, branch) VALUES (clock_timestamp(), {_BRANCH})
    ON CONFLICT (single) DO UPDATE SET at = excluded.at, branch = excluded.branch
    WHERE last.branch = excluded.branch OR $2
        OR last.at BETWEEN excluded.at - make_interval(secs => $1) AND excluded.at + make_interval(secs => $1)
    RETURNING true"""  # noqa: S608 - our own words


async def beat(connection: Connection, max_gap: float, *, is_current: bool = False) -> None:
    """Write that the primary's side is alive now. It leaves no row in the audit trail: no data changes.

    `max_gap` is the seconds since the last heartbeat after which a server that was promoted or restored since then does not
    take it up: what was committed meanwhile may be missing. Raises `WhoisdError` then, unless somebody says that the data
    `is_current`.
    """
    if not await connection.fetchval(_WRITE, max_gap, is_current):
        raise WhoisdError(
            "the database was promoted or restored, and its last heartbeat is older than database.max_age"
            f" ({max_gap:g} s): what was committed meanwhile may be missing, and no heartbeat was written. Load the registry"
            " files and decide anew what was decided meanwhile; then run `whoisd heartbeat --data-is-current`"
        )


async def data_age(connection: Connection) -> float | None:
    """Return how old the data of a connection is, in seconds; None where a standby cannot tell."""
    age: float | None = await connection.fetchval(f"SELECT {await age_sql(connection)}")
    return age


async def age_sql(connection: Connection) -> str:
    """Return the SQL for how old the data of a connection is: by the heartbeat, where its database has the view."""
    return AGE if await connection.fetchval(HAS_HEARTBEAT) else LAG
