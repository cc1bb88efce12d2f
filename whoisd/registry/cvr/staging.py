"""What an update from CVR's data says to the database: claims into a temporary table, companies out of it, what differs.

Knows SQL; knows nothing of files, of words for people and of when what is done. Every statement reads whole tables, under
the settings of a load.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from asyncpg import Record

from whoisd.database.connect import Connection, only_row
from whoisd.registry import staging
from whoisd.registry.cvr.facts import Claim, Period, Span, Topic
from whoisd.registry.cvr.reading import Said
from whoisd.registry.staging import Row

CHUNK: Final = 10_000  # rows held at a time
_EVER_SINCE: Final = date.min  # PostgreSQL's -infinity, to asyncpg
_FOR_EVER: Final = date.max  # and its infinity

# The CVR number of a registrant r who may have one; as registry.registrant_facts reads it, but for the lock, which may come.
_NUMBER: Final = "CASE WHEN r.country = 'DK' THEN substring(r.vat_number FROM '[0-9]{8}')::integer END"
_CLAIM: Final = ("number", "at", "mistaken", "topic", "value", "begins", "ends", "may_end", "mark")
_COMPANY: Final = (
    *("number", "since", "listed", "ceased", "form", "bankrupt", "name", "street", "postal_code", "city", "as_of", "until"),
)
_CREATE: Final = f"""
    CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
    SELECT DISTINCT {_NUMBER} AS number FROM registry.registrant AS r WHERE {_NUMBER} IS NOT NULL;
    CREATE TEMPORARY TABLE new_claim (
        number integer, at timestamptz, mistaken boolean, topic text COLLATE "C", value text COLLATE "C",
        begins date, ends date, may_end date, mark bigint
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE new_company ON COMMIT DROP AS TABLE registry.cvr_company WITH NO DATA;
    ANALYZE wanted"""  # noqa: S608 - names of ours


class Source(NamedTuple):
    """Which of CVR's data was read last: the generation of Datafordeleren's files, and of when they are; None for none."""

    generation: int | None
    as_of: datetime | None


async def held(connection: Connection) -> Source:
    """Return which of Datafordeleren's files were read last."""
    row = await connection.fetchrow("SELECT generation, as_of FROM registry.cvr_source WHERE source = 'datafordeler'")
    return Source(row["generation"], row["as_of"]) if row else Source(None, None)


async def today(connection: Connection) -> date:
    """Return the day in Denmark, by the clock by which the answers go."""
    day: date = await connection.fetchval("SELECT (now() AT TIME ZONE 'Europe/Copenhagen')::date")
    return day


async def create(connection: Connection) -> set[int]:
    """Make the temporary tables, which the end of the transaction removes; return the CVR numbers that registrants have."""
    await connection.execute(_CREATE)
    cursor = await connection.cursor("SELECT number FROM wanted")
    wanted: set[int] = set()
    while rows := await cursor.fetch(CHUNK):
        wanted.update(row[0] for row in rows)
    return wanted


async def copy_claims(connection: Connection, said: Sequence[Said]) -> None:
    """Add what records say."""
    rows = [(it.number, it.at, it.mistaken, it.claim.topic, it.claim.value, *it.claim.period, it.claim.mark) for it in said]
    await staging.copy_rows(connection, "new_claim", _CLAIM, rows)


# --- from claims to companies ------------------------------------------------------------------------------------------

# Of several documents of a company the one that was changed last counts, and those that say nothing of when count least; one
# that was registered by mistake yields to any other. Two of the same moment count together.
_CHOSEN: Final = """
    SELECT * FROM (
        SELECT *, rank() OVER (PARTITION BY number ORDER BY mistaken, at DESC NULLS LAST) AS place FROM new_claim
    ) AS ranked
    WHERE place = 1
    ORDER BY number"""


class Company(NamedTuple):
    """All that counts of what was read of a company, and of a document when it was changed last."""

    number: int
    at: datetime | None
    claims: list[Claim]


async def companies(connection: Connection) -> AsyncGenerator[Company]:
    """Yield the companies that were read, one after the other."""
    await connection.execute("ANALYZE new_claim")
    cursor = await connection.cursor(_CHOSEN)
    company: Company | None = None
    while rows := await cursor.fetch(CHUNK):
        for row in rows:
            if company is None or company.number != row["number"]:
                if company:
                    yield company
                company = Company(row["number"], row["at"], [])
            company.claims.append(_claim(row))
    if company:
        yield company


def _claim(row: Record) -> Claim:
    return Claim(Topic(row["topic"]), row["value"], Period(row["begins"], row["ends"], row["may_end"]), row["mark"])


def rows_of(company: Company, spans: Sequence[Span], now: datetime) -> Iterator[Row]:
    """Return the rows of a company; a document that says to have been changed after now was changed now."""
    as_of = min(company.at, now) if company.at else None
    for span in spans:
        facts, address = span.facts, span.facts.address
        yield (
            *(company.number, span.begins or _EVER_SINCE),
            *(facts.listed, facts.ceased, facts.form, facts.bankrupt, facts.name),
            *((list(address.street), address.postal_code, address.city) if address else (None, None, None)),
            as_of,
            span.until or _FOR_EVER,
        )


async def copy_companies(connection: Connection, rows: Sequence[Row]) -> None:
    """Add companies, as they are to be."""
    await staging.copy_rows(connection, "new_company", _COMPANY, rows)


# --- what would change ---------------------------------------------------------------------------------------------------

# Files are of all companies: a number that is not in them is none of CVR's. Of one without a document nothing is said.
_ABSENT: Final = """
    INSERT INTO new_company (number, since, until, listed)
    SELECT number, '-infinity', 'infinity', false FROM wanted
    WHERE NOT EXISTS (SELECT FROM new_company AS new WHERE new.number = wanted.number)"""
_NEWER: Final = """
    WITH held AS (
        SELECT DISTINCT number, coalesce(as_of, $1, '-infinity') AS as_of FROM registry.cvr_company
        WHERE as_of IS NOT NULL OR $2::timestamptz IS NULL  -- between files the generation decides
    ), older AS (
        DELETE FROM new_company AS new USING held
        WHERE held.number = new.number AND held.as_of > coalesce(new.as_of, $2, '-infinity')
        RETURNING new.number
    )
    SELECT count(DISTINCT number) FROM older"""
_CHANGED: Final = """
    CREATE TEMPORARY TABLE changed_company ON COMMIT DROP AS
    SELECT DISTINCT number FROM (
        (TABLE new_company EXCEPT TABLE registry.cvr_company)
        UNION ALL
        (SELECT * FROM registry.cvr_company WHERE number IN (SELECT number FROM new_company) EXCEPT TABLE new_company)
    ) AS differing"""


class Changes(NamedTuple):
    """What an update does: companies by number; `older` were read, and what is held of them is newer and stays."""

    read: int
    absent: int
    older: int
    changed: int
    removed: int


async def compare(connection: Connection, before: Source, now: Source) -> Changes:
    """Leave in `new_company` what is to be held, and in `changed_company` the numbers of which that differs from before.

    What a document said stays when it was changed later than the document that is read now, or than the last registration
    in the files.
    """
    read = await connection.fetchval("SELECT count(DISTINCT number) FROM new_company")
    if now.generation is not None:
        await connection.execute(_ABSENT)
    older = await connection.fetchval(_NEWER, before.as_of, now.as_of if now.generation is not None else None)
    await connection.execute(_CHANGED)
    row = await only_row(
        connection,
        "SELECT (SELECT count(*) FROM changed_company) AS changed,"  # noqa: S608 - names of ours
        " (SELECT count(DISTINCT number) FROM new_company WHERE NOT listed) AS absent,"
        f" (SELECT count(DISTINCT number) FROM registry.cvr_company AS old WHERE {_UNWANTED}) AS removed",
    )
    return Changes(read=read, older=older, **row)


_UNWANTED: Final = "NOT EXISTS (SELECT FROM wanted WHERE wanted.number = old.number)"
CONCERNED: Final = f"SELECT handle FROM registry.registrant AS r WHERE {_NUMBER} IN (SELECT number FROM changed_company)"  # noqa: S608 - names of ours
_WRITE: Final = f"""
    DELETE FROM registry.cvr_company AS old WHERE {_UNWANTED} OR number IN (SELECT number FROM changed_company);
    INSERT INTO registry.cvr_company
    SELECT * FROM new_company WHERE number IN (SELECT number FROM changed_company) ORDER BY number, since"""  # noqa: S608 - names of ours
_SOURCE: Final = """
    INSERT INTO registry.cvr_source AS old (source, generation, as_of, read_at)
    VALUES (CASE WHEN $1::bigint IS NULL THEN 'distribution' ELSE 'datafordeler' END, $1, $2, now())
    ON CONFLICT (source) DO UPDATE SET
        generation = excluded.generation, as_of = greatest(old.as_of, excluded.as_of), read_at = excluded.read_at"""


async def write(connection: Connection, source: Source) -> None:
    """Write what differs, and of when it is."""
    await connection.execute(_WRITE)
    if source.as_of:
        await connection.execute(_SOURCE, source.generation, min(source.as_of, datetime.now(UTC)))
