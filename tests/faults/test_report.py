"""A report on a standby, whose primary removes what the report still reads."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.standby import catch_up, copy, ending, reader, run_sql
from support import PATIENCE, WHOISD, environment, until

from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import prepare

SLOW = (
    "ALTER VIEW whois.registrant RENAME TO quick",
    "CREATE VIEW whois.registrant AS SELECT quick.* FROM (SELECT pg_sleep(1.5) OFFSET 0) AS waited, whois.quick",
    "GRANT SELECT ON whois.registrant TO whoisd_reader",
)
COUNTING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'whoisd-report' AND query LIKE '%kind%registrant'"


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary on which registrants are slow to count, and a standby that waits for no reader."""
    with temporary_folder() as folder:
        primary = Cluster(folder / "first")
        with ending(primary):
            primary.start()
            asyncio.run(prepare(primary))
            for sql in SLOW:
                run_sql(primary, sql)
            standby = copy(primary, folder / "second", {"max_standby_streaming_delay": "0"})
            with ending(standby):
                standby.start()
                catch_up(primary, standby)
                yield primary, standby


def test_standby_ends_a_report_that_is_in_the_way(pair: tuple[Cluster, Cluster]) -> None:
    """A report that reads what its standby is to remove is ended, prints nothing, and says what to do; again it succeeds."""
    primary, standby = pair
    settings = environment({"WHOISD_DATABASE__DSN": reader(primary, standby, target="prefer-standby")})
    command: list[str | Path] = [WHOISD, "report", "disclosure", "--format", "json"]
    with subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: run_sql(standby, COUNTING), "no report counts registrants")
        run_sql(primary, "DELETE FROM registry.domain WHERE name = 'eksempel.dk'")
        run_sql(primary, "VACUUM registry.domain")
        said, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (1, "")
    told = "the standby went away, or ended the report, which stood in the way of what it had to replay"
    advice = "run it again, or with the URL of the primary in database.dsn"
    assert re.fullmatch(f"whoisd: {told}: [A-Za-z]+: [0-9]{{5}}; {advice}\n", wrong)
    again = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (again.returncode, again.stderr) == (0, "")
