"""Counts what becomes of the email of each registrant and each domain, over the views that the server reads.

What a row says is read by the server's own function, and what may be shown of it is decided by the server's own, so that a
count cannot differ from the answers. All counts are of one moment: one snapshot, read in chunks, of which one is held at a
time. Registrants and domains that were counted are not kept.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import asyncpg

from whoisd.answers.disclosure import Conditions, PublicRegistrant, Verdict, Withheld, publish_registrant, verdict_of
from whoisd.answers.model import DomainStatus, Registrant
from whoisd.answers.wire import Charset
from whoisd.database.connect import Connection, only_row
from whoisd.database.dsn import Dsn, is_standby
from whoisd.database.heartbeat import data_age
from whoisd.database.owner import close, connect_to_any
from whoisd.database.transaction import GONE
from whoisd.database.views import registrant_of
from whoisd.errors import ContractError, WhoisdError, cause_of, whereabouts
from whoisd.registry.progress import Progress
from whoisd.registry.report import Counts, Subject, counts_of

Publish = Callable[[DomainStatus, Registrant], PublicRegistrant | Withheld]


class Tally(NamedTuple):
    """What was counted, and how old the data was, in seconds; None where the database cannot tell."""

    age: float | None
    counts: dict[Subject, Counts]


CHUNK: Final = 5000  # rows held at a time

# What the decision looks at. The rest of a registrant it has no use for, and so is not fetched.
_FACTS: Final = """
    registrant_kind, registrant_country, registrant_email, registrant_secondary_email, registrant_vat_number,
    registrant_cvr_locked, registrant_cvr_form, registrant_cvr_bankruptcy, registrant_sole_proprietorship,
    registrant_address_protection, registrant_id_confirmed, registrant_documented, registrant_vat_listed,
    registrant_cvr_standing,
    NULL AS registrant_name, NULL AS registrant_street, NULL AS registrant_postal_code, NULL AS registrant_city,
    NULL AS registrant_phone, NULL AS registrant_id_status"""

# A registrant is counted by what the answer for an active domain of theirs says.
_ROWS: Final[dict[Subject, str]] = {
    "registrants": f"SELECT '{DomainStatus.ACTIVE}' AS status, {_FACTS} FROM whois.registrant",  # noqa: S608 - of constants
    "domains": f"SELECT status, {_FACTS} FROM whois.domain",  # noqa: S608 - of constants
}
# `answered` are those that a query can reach: of one name with several rows the server answers none. Grouped, so that the
# table is read from beginning to end: a third of the time that distinct names take, read by their index (measured).
_SIZES: Final = r"""
    SELECT coalesce(sum(rows), 0)::bigint AS domains,
           count(*) FILTER (WHERE rows = 1 AND name ~ '^[a-z0-9-]+\.dk$') AS answered,
           (SELECT count(*) FROM whois.registrant) AS registrants
    FROM (SELECT name, count(*) AS rows FROM whois.domain GROUP BY name) AS by_name"""

# A report takes longer than an answer may (sql/roles.sql). What is fetched in chunks is not read by several processes, so no
# plan should count on that.
_SETTINGS: Final = {
    "application_name": "whoisd-report",
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


async def tally(dsn: Dsn, charset: Charset, progress: Progress, conditions: Conditions) -> Tally:
    """Count the emails that answers in this charset show or withhold, by the data as it is now and as old as it is.

    Raises `WhoisdError` when no database is to be had or it ends the work, and `ContractError` when there is a row that the
    server could not answer by: then there is no count, rather than a wrong one.
    """
    connection = await connect_to_any(dsn, "database.dsn", _SETTINGS)
    on_standby = is_standby(connection.get_settings())
    try:
        age = await data_age(connection)
        conditions = conditions.for_age(age)
        publish = partial(publish_registrant, show_handles=True, conditions=conditions, charset=charset)
        return Tally(age, await _tally(connection, publish, progress))
    except asyncpg.SerializationError as error:
        raise _ended(error, on_standby=True) from None
    except GONE as error:
        raise _ended(error, on_standby=on_standby) from None
    finally:
        await close(connection)  # and with it the transaction


def _ended(error: Exception, *, on_standby: bool) -> WhoisdError:
    """Return what is told of a report that was cut off; whether the standby cut it off, asyncpg seldom says (measured)."""
    if not on_standby:
        return WhoisdError(f"the database went away, and nothing is reported: {cause_of(error)}")
    return WhoisdError(
        f"the standby went away, or ended the report, which stood in the way of what it had to replay: {cause_of(error)};"
        " run it again, or with the URL of the primary in database.dsn"
    )


async def _tally(connection: Connection, publish: Publish, progress: Progress) -> dict[Subject, Counts]:
    await connection.transaction(isolation="repeatable_read", readonly=True).start()
    progress.begin("looking how much there is")
    sizes = await only_row(connection, _SIZES)
    _check(sizes["domains"], sizes["answered"])
    counts: dict[Subject, Counts] = {}
    for subject, statement in _ROWS.items():
        progress.begin(f"counting {subject}", sizes[subject])
        try:
            verdicts = await _count(connection, statement, publish, progress)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"whois.{subject.removesuffix('s')}: a row is not as the view's comments say, so that the server could not"
                f" answer by it: {whereabouts(error)}"
            ) from None
        counts[subject] = counts_of(subject, verdicts)
    return counts


def _check(domains: int, answered: int) -> None:
    if answered != domains:
        raise ContractError(
            f"whois.domain: no query is answered by {domains - answered} of its {domains} rows: a name is to be one row's"
            " alone, and to read <label>.dk in lower-case A-labels"
        )


async def _count(connection: Connection, statement: str, publish: Publish, progress: Progress) -> Counter[Verdict]:
    found: Counter[Verdict] = Counter()
    cursor = await connection.cursor(statement)
    while chunk := await cursor.fetch(CHUNK):
        found.update(verdict_of(publish(DomainStatus(row["status"]), registrant_of(row))) for row in chunk)
        progress.done += len(chunk)
    return found
