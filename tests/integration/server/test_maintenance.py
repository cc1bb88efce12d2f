"""A maintenance window, as those who watch a server see it: lookups go on, and health and figures name it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from support import Database, Service

WINDOW: Final = "INSERT INTO registry.maintenance (until, why, is_queue) VALUES ($1, 'new disks', false)"
UNTIL: Final = datetime(2099, 1, 31, 12, tzinfo=UTC)


async def test_health_and_figures(database: Database) -> None:
    """In a window `/readyz` names its end and reason, and a figure its end; when it is over both are as before."""
    with Service(database.reader) as service:
        before = service.exchange(b"eksempel.dk\r\n")
        assert service.http("/readyz") == (200, "ready\n")
        assert service.figures().sum("whoisd_maintenance_until_seconds") == 0
        await database.execute(WINDOW, UNTIL)
        assert service.http("/readyz") == (200, "ready; maintenance until 2099-01-31 12:00:00 UTC: new disks\n")
        assert service.figures().sum("whoisd_maintenance_until_seconds") == UNTIL.timestamp()
        assert service.exchange(b"eksempel.dk\r\n") == before
        await database.execute("UPDATE registry.maintenance SET until = clock_timestamp()")
        assert service.http("/readyz") == (200, "ready\n")
        assert service.figures().sum("whoisd_maintenance_until_seconds") == 0


async def test_without_the_view(database: Database) -> None:
    """A registry of another making tells of no windows: it is ready, and has none."""
    await database.execute("DROP VIEW whois.maintenance")
    with Service(database.reader) as service:
        assert service.http("/readyz") == (200, "ready\n")
        assert service.figures().sum("whoisd_maintenance_until_seconds") == 0


def test_notice_for_a_time(database: Database) -> None:
    """What the configuration has to tell for a time stands in the head of each answer, found or not, and in no refusal."""
    line = b"# No changes until Thursday.\r\n"
    settings = {
        "WHOISD_ANSWER__NOTICE": "No changes until Thursday.",
        "WHOISD_ANSWER__NOTICE_UNTIL": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }
    with Service(database.reader, settings) as service:
        for query in (b"eksempel.dk\r\n", b"findes-ikke.dk\r\n", b"auth01.ns.dk-hostmaster.dk\r\n"):
            assert service.exchange(query).count(line) == 1
        assert line not in service.exchange(b"--odd eksempel.dk\r\n")
