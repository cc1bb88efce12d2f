"""What the tests of the registrar portal share: accounts, registrants abroad and at home, users, and the audit trail.

The fixtures are every test's, by `conftest`.

Every personal field of a registrant holds a token with a capital Q, which nothing that may be printed has.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import pytest
from support import Database, run_whoisd

from whoisd.registry.access import Group

ACCOUNT, OTHER, THIRD = "REG-1", "REG-2", "REG-3"
FOREIGN, DANISH, PROTECTED = "BETA-1", "DANSK-1", "HEMLIG-1"
PERSONAL: Final = ("Q", "@q", "12345671", "99000019", "Helsinki", "FI", "DK", "SE")
EVIDENCE: Final = "Extract of the trade register of 2026-03-02, case 4711"

_FILL: Final = """
    TRUNCATE portal.staff, portal.portal_user, portal.object_role, portal.taken_over_role;
    INSERT INTO registry.registrar (handle, name, email, phone) VALUES
        ('REG-1', 'Første Registrator A/S', 'hej@foerste.example', '+45 33000000'),
        ('REG-2', 'Anden Registrator [red]', NULL, '33000001'), ('REG-3', '=Tredje()', NULL, NULL);
    INSERT INTO registry.registrant
        (handle, kind, name, street, postal_code, city, country, phone, email, secondary_email,
         vat_number, cvr_locked, cvr_form, sole_proprietorship, address_protection)
    VALUES
        ('BETA-1', 'company', 'QName', '{QStreet 1,QFloor}', 'Q100', 'Helsinki', 'FI', 'Q358', 'QPrimary@qmail.example',
         'QSecondary@qmail.example', 'FI12345671', false, NULL, true, false),
        ('DANSK-1', 'company', 'QName', '{QStreet 1}', 'Q100', 'QCity', 'DK', 'Q45', 'QPrimary@qmail.example',
         'QSecondary@qmail.example', '99000019', true, 80, false, false),
        ('HEMLIG-1', 'individual', 'QName', '{QStreet 1}', 'Q100', 'QCity', 'SE', 'Q46', 'QPrimary@qmail.example',
         NULL, NULL, false, NULL, false, true);
    INSERT INTO registry.domain (name, status, registered, expires, period_years, registrar, registrant, nameservers) VALUES
        ('q-beta.dk', 'active', '2020-01-01', '2030-01-01', 1, 'REG-1', 'BETA-1', '{ns1.q-beta.dk,ns2.q-beta.dk}'),
        ('q-beta-to.dk', 'deactivated', '2020-01-01', '2030-01-01', 1, NULL, 'BETA-1', '{}'),
        ('q-dansk.dk', 'active', '2020-01-01', '2030-01-01', 1, 'REG-1', 'DANSK-1', '{ns1.q-beta.dk,ns2.q-beta.dk}'),
        ('q-hemlig.dk', 'active', '2020-01-01', '2030-01-01', 1, 'REG-1', 'HEMLIG-1', '{ns1.q-beta.dk,ns2.q-beta.dk}'),
        ('xn--q-r-zla.dk', 'active', '2020-01-01', '2030-01-01', 1, 'REG-2', 'DANSK-1', '{ns1.q-beta.dk,ns2.q-beta.dk}');
    INSERT INTO registry.host (name) VALUES ('q-beta.dk');
    INSERT INTO portal.staff (name) VALUES ('anna');
"""

_ENTRIES: Final = "SELECT who, command, object, evidence, before, after FROM audit.entry WHERE command <> 'load' ORDER BY id"


def settings(database: Database) -> dict[str, str]:
    """The settings of an operator with the database."""
    return {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def fill(database: Database) -> Database:
    """Put the accounts, registrants and domains into a database, and staff:anna; there is no user yet."""
    await database.execute(_FILL)
    return database


@pytest.fixture
async def registry(database: Database) -> Database:
    """A database with the accounts, registrants and domains of these tests."""
    return await fill(database)


@pytest.fixture
async def owner(registry: Database) -> AsyncIterator[Any]:
    """A connection of the owner's."""
    async with connected(registry.owner) as connection:
        yield connection


async def add_user(
    owner: Any, handle: str, *roles: str, account: str = ACCOUNT, linked: bool = False, group: Group | None = None
) -> None:
    await owner.execute(
        "INSERT INTO portal.portal_user (handle, account, linked, roles, access_group) VALUES ($1, $2, $3, $4, $5)",
        handle,
        account,
        linked,
        list(roles),
        group,
    )


async def link(owner: Any, holder: str, target: str, *roles: str) -> None:
    """Let a linked user hold roles on an object."""
    await owner.execute(
        "INSERT INTO portal.object_role (holder, object, role) SELECT $1, $2, unnest($3::text[])",
        holder,
        target,
        list(roles),
    )


async def add_links(owner: Any) -> None:
    """Linked users of three accounts, and one who is not linked any more, with roles on objects."""
    await add_user(owner, "LINK-1", linked=True)
    await add_user(owner, "LINK-2", linked=True)
    await add_user(owner, "LINK-3", account=OTHER, linked=True)
    await add_user(owner, "LINK-4", account=THIRD, linked=True)
    await add_user(owner, "PLAIN")
    await link(owner, "LINK-1", "domain:q-beta.dk", "proxy", "billing_contact")
    await link(owner, "LINK-1", f"registrant:{FOREIGN}", "registrant")
    await link(owner, "LINK-2", "domain:q-beta.dk", "proxy")
    await link(owner, "LINK-3", "domain:xn--q-r-zla.dk", "name_server_management")
    await link(owner, "LINK-4", "host:ns1.q-beta.dk", "name_server_management")
    await link(owner, "PLAIN", "domain:q-dansk.dk", "proxy")


async def entries(owner: Any) -> list[dict[str, Any]]:
    """The audit trail, in its order, without the load of the predefined data."""
    return [
        dict(row) | {name: row[name] and json.loads(row[name]) for name in ("before", "after")}
        for row in await owner.fetch(_ENTRIES)
    ]


async def state(owner: Any) -> list[Any]:
    """All that the commands could change, with the transaction that wrote each row, and the length of the audit trail."""
    found = []
    for table in ("registry.registrant", "portal.portal_user", "portal.object_role", "portal.taken_over_role"):
        found += await owner.fetch(f"SELECT xmin, row.* FROM {table} AS row ORDER BY row")  # noqa: S608 - names of ours
    return [*map(tuple, found), await owner.fetchval("SELECT count(*) FROM audit.entry")]


async def refuse_audit(database: Database, condition: str) -> None:
    """Let PostgreSQL refuse the rows of the audit trail for which this does not hold."""
    async with connected(database.superuser) as superuser:
        await superuser.execute(f"ALTER TABLE audit.entry ADD CONSTRAINT of_the_test CHECK ({condition}) NOT VALID")


def without_personal_data(text: str) -> str:
    """The text, in which nothing of a registrant may be."""
    found = [token for token in PERSONAL if token in text]
    assert not found, f"{found} in {text}"
    return text


def ran_without_personal_data(group: str, database: Database, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command of this group, in which nothing personal may be."""
    done = run_whoisd(group, *arguments, settings=settings(database))
    without_personal_data(done.stdout + done.stderr)
    return done.returncode, done.stdout, done.stderr
