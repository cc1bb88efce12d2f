"""How old CVR's own data is: what a reader sees, in the figures and at `whoisd check`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from support import Database, Service, ended, run_whoisd

READ = "INSERT INTO registry.cvr_source VALUES ('datafordeler', 345, now() - make_interval(hours => $1), now())"
GOOD = "The configuration is good: it listens on 0.0.0.0 port 43 and :: port 43.\n"


async def test_figure(database: Database) -> None:
    """The figure comes with the first update, and tells of when the data is."""
    with Service(database.reader) as service:
        assert "whoisd_cvr_age_seconds" not in service.http("/metrics")[1]
        await database.execute(READ, 48)
        assert 172_800 <= service.figures().sum("whoisd_cvr_age_seconds") < 172_860


async def test_without_the_view(database: Database) -> None:
    """A registry of another making has no such view: there is no figure, and nothing fails."""
    await database.execute("DROP VIEW whois.cvr")
    with Service(database.reader) as service:
        assert "whoisd_cvr_age_seconds" not in service.http("/metrics")[1]
        assert service.figures().sum("whoisd_data_age_seconds") == 0
    settings = {"WHOISD_DATABASE__DSN": database.reader}
    assert ended(run_whoisd("check", settings=settings)) == (0, GOOD, "")


async def test_explain_tells(database: Database) -> None:
    """Whoever asks why an email is withheld is told of which day CVR's own data is, where it was read."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    await database.execute(
        "INSERT INTO registry.registrant (handle, kind, name, country, email)"
        " VALUES ('A', 'individual', 'A', 'DK', 'hemmelig@a.example');"
        "INSERT INTO registry.domain (name, status, registered, expires, period_years, registrant)"
        " VALUES ('a.dk', 'active', '2020-01-31', '2027-01-31', 1, 'A')"
    )
    for words in (("explain", "a.dk"), ("registrant", "show", "A")):
        assert "CVR's own data is of" not in ended(run_whoisd(*words, settings=settings))[1]
    await database.execute(READ, 48)
    day = (datetime.now(UTC) - timedelta(days=2)).date()
    for words in (("explain", "a.dk"), ("registrant", "show", "A")):
        status, said, complaint = ended(run_whoisd(*words, settings=settings))
        assert (status, complaint) == (0, "")
        assert f"\nCVR's own data is of {day}.\n" in said


async def test_check_warns(database: Database) -> None:
    """`whoisd check` warns when CVR's data is older than 14 days; the configuration is good all the same."""
    settings = {"WHOISD_DATABASE__DSN": database.reader}
    assert ended(run_whoisd("check", settings=settings)) == (0, GOOD, "")
    await database.execute(READ, 13 * 24)
    assert ended(run_whoisd("check", settings=settings)) == (0, GOOD, "")
    await database.execute("UPDATE registry.cvr_source SET as_of = now() - interval '15 days'")
    warning = "warning: CVR's own data is 15 days old: read the newest with `whoisd cvr update`\n"
    assert ended(run_whoisd("check", settings=settings)) == (0, GOOD, warning)


def test_check_without_the_database(tmp_path: Path) -> None:
    """A database that does not answer is warned of, with the cause; the configuration is good all the same."""
    config = tmp_path / "whoisd.toml"
    config.write_text("[database]\ndsn = 'postgresql://whoisd_reader@127.0.0.1:1/whois'\n")
    cause = "ConnectionRefusedError: Connect call failed ('127.0.0.1', 1)"
    warning = f"warning: the database does not answer ({cause}): until it does clients are told to try again later\n"
    assert ended(run_whoisd("check", "--config", config)) == (0, GOOD, warning)
