"""The audit trail is added to, and never changed: PostgreSQL refuses it to everybody."""

import os
import pwd
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from portal_data import ACCOUNT, FOREIGN, add_user, connected, entries, fill, link
from support import IN_FORCE, Database

from whoisd.database.audit import this_account
from whoisd.registry.affected import contact
from whoisd.registry.classification import Decision, classify
from whoisd.registry.maintenance import ClassifyOrder, begin, end, give
from whoisd.registry.portal import convert, take_over

CHANGES = {
    "update": "UPDATE audit.entry SET who = 'staff:nobody'",
    "update of one": "UPDATE audit.entry SET evidence = NULL WHERE id = 1",
    "delete": "DELETE FROM audit.entry",
    "truncate": "TRUNCATE audit.entry",
    "upsert": (
        "INSERT INTO audit.entry (id, who, command, object, account) OVERRIDING SYSTEM VALUE VALUES (1, 'x', 'x', 'x', 'x')"
        " ON CONFLICT (id) DO UPDATE SET who = 'x'"
    ),
    "merge": "MERGE INTO audit.entry AS e USING (VALUES (1)) AS v (id) ON e.id = v.id WHEN MATCHED THEN DELETE",
}
COMMANDS = [
    *("registrant classify", "portal convert", "portal take-over", "portal contacted"),
    *("maintenance begin", "maintenance queue", "maintenance end", "registrant classify", "maintenance apply"),
]
DISABLE = "ALTER TABLE audit.entry DISABLE TRIGGER ALL"
DEFINITIONS = [
    DISABLE,
    "ALTER TABLE audit.entry DROP COLUMN who",
    "ALTER TABLE audit.entry OWNER TO whoisd_owner",
    "DROP TABLE audit.entry",
    "DROP SCHEMA audit CASCADE",
    "DROP TRIGGER added_to_only ON audit.entry",
    "CREATE RULE none AS ON INSERT TO audit.entry DO INSTEAD NOTHING",
    "CREATE OR REPLACE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "GRANT UPDATE ON audit.entry TO whoisd_owner; UPDATE audit.entry SET who = 'x'",
    "SET ROLE whoisd_auditor",
    "SET session_replication_role = replica",
    "INSERT INTO audit.entry (at, who, command, object, account) VALUES ('2000-01-01', 'x', 'x', 'x', 'x')",
    "INSERT INTO audit.entry (login, who, command, object, account) VALUES ('x', 'x', 'x', 'x', 'x')",
]


@pytest.fixture
async def audited(database: Database) -> Database:
    """A database in which each command that writes was run once."""
    await fill(database)
    async with connected(database.owner) as owner:
        await add_user(owner, "LINKED", "proxy", linked=True)
        await link(owner, "LINKED", "domain:q-beta.dk", "proxy")
        await classify(owner, FOREIGN, Decision.NO, evidence="seen", who="staff:anna", conditions=IN_FORCE)
        await convert(owner, dry_run=False)
        await take_over(owner, ACCOUNT, "q-beta.dk")
        await contact(owner, ACCOUNT, who="staff:anna", note="called")
        await begin(owner, datetime.now(UTC) + timedelta(hours=1), "new disks", is_queue=True)
        await give(owner, ClassifyOrder("staff:anna", FOREIGN, Decision.YES, "seen"), IN_FORCE, lambda _: None)
        await end(owner, IN_FORCE, lambda _: None)
    return database


async def refused(database: Database, dsn: str, sql: str) -> str:
    """The SQLSTATE by which PostgreSQL refuses this; the audit trail is as it was."""
    async with connected(database.owner) as owner:
        before = await entries(owner)
        assert [entry["command"] for entry in before] == COMMANDS
        async with connected(dsn) as connection:
            with pytest.raises(asyncpg.PostgresError) as error:
                await connection.execute(sql)
        assert await entries(owner) == before
    return str(error.value.sqlstate)


async def test_every_write_is_in_it_for_good(audited: Database) -> None:
    """Each command that writes has its row, and neither the owner nor a superuser can change one or remove it."""
    for sql in CHANGES.values():
        assert await refused(audited, audited.owner, sql) == "42501"
        assert await refused(audited, audited.superuser, sql) == "42501"


async def test_the_owner_cannot_redefine_it(audited: Database) -> None:
    """The owner of all else can neither take the guard off, nor become who could, nor date a row or sign it for another."""
    for sql in DEFINITIONS:
        assert await refused(audited, audited.owner, sql) == "42501"


async def test_the_reader_cannot_read_it(audited: Database) -> None:
    """The server's role neither reads nor changes the audit trail."""
    for sql in ("SELECT FROM audit.entry", *CHANGES.values(), *DEFINITIONS):
        assert await refused(audited, audited.reader, sql) in ("42501", "25006")


@pytest.mark.parametrize("variable", ["LOGNAME", "USER"])
def test_the_account_is_the_operating_systems(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Who ran a command is told by the process's user, whatever the environment says."""
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setenv(variable, "bodil")
    assert this_account() == f"account:{pwd.getpwuid(os.getuid()).pw_name}"


def test_an_account_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that has no name is told by its number, as `sudo` writes it."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert this_account() == "account:#4000000001"
