"""The schema of the registry: how it comes into being, who may do what, and which rows it refuses."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from support import Database, Service

from whoisd.database.migrations import Migration, migrate, shipped_migrations
from whoisd.errors import MigrationError
from whoisd.sandbox.sandbox import take_privileges

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE first (); CREATE TABLE first_too ()")
SECOND = Migration(2, "0002_second.sql", "CREATE TABLE second ()")


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def apply(database: Database, *migrations: Migration) -> list[str]:
    """Migrate as the owner, by these or by those that ship; the names of what was applied."""
    async with connected(database.owner) as owner:
        return await migrate(owner, list(migrations) or None)


async def tables(database: Database) -> set[str]:
    """The tables of the migrations of these tests that the database holds."""
    async with connected(database.owner) as owner:
        rows = await owner.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
    return {row["relname"] for row in rows}


async def test_what_everybody_may_is_taken_twice(empty_database: Database) -> None:
    """sql/privileges.sql changes nothing when it is run again, and leaves to the owner what a load and a migration need."""
    await take_privileges(empty_database.cluster, empty_database.name)
    await apply(empty_database)
    async with connected(empty_database.owner) as owner:
        await owner.execute("SELECT pg_advisory_lock(1), pg_advisory_unlock_all(); CREATE TEMPORARY TABLE x ()")


async def test_database_that_lacks_the_privileges(empty_database: Database) -> None:
    """Whether the reader may hold up a writer is told by `migrate`, with what to do."""
    async with connected(empty_database.superuser) as superuser:
        await superuser.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC")
    said: list[str] = []
    async with connected(empty_database.owner) as owner:
        await migrate(owner, say=said.append)
        assert "run sql/privileges.sql" in said[-1]
        await take_privileges(empty_database.cluster, empty_database.name)
        said.clear()
        await migrate(owner, say=said.append)
    assert said == []


# --- beside readers ------------------------------------------------------------------------------------------------

REPLACE = "DROP VIEW whois.host; CREATE VIEW whois.host AS SELECT name, true AS glue FROM registry.host;"
REPLACE += "GRANT SELECT ON whois.host TO whoisd_reader"


async def test_long_reader_stops_no_query(database: Database) -> None:
    """While a migration waits for a report to end no query fails, nor takes long; it says for whom it waits."""
    another = [*shipped_migrations(), Migration(len(shipped_migrations()) + 1, "9999_host.sql", REPLACE)]
    said: list[str] = []
    with Service(database.reader) as service:
        async with connected(database.owner) as owner, connected(database.superuser) as dump:
            reading = dump.transaction()
            await reading.start()
            await dump.fetch("SELECT FROM whois.host, whois.domain")
            migrating = asyncio.create_task(migrate(owner, another, said.append))
            longest = 0.0
            for _ in range(60):
                begun = time.monotonic()
                answer = await asyncio.to_thread(service.ask, "ns1.eksempel.dk")
                longest = max(longest, time.monotonic() - begun)
                assert "Nameserver:" in answer
                await asyncio.sleep(0.05)
            assert not migrating.done()
            await reading.rollback()
            assert await migrating == ["9999_host.sql"]
        assert "Being spooled" in service.ask("ns2.eksempel.dk")
    assert longest < 1.0
    assert len(said) == 1
    assert said[0].startswith("sql/9999_host.sql: waits for others to end, and is tried again until then: postgres (")


async def test_reader_that_does_not_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time it is given up, with who stood in the way; nothing of it is applied."""
    monkeypatch.setattr("whoisd.database.migrations.GIVE_UP_AFTER", 0.1)
    another = [*shipped_migrations(), Migration(len(shipped_migrations()) + 1, "9999_host.sql", REPLACE)]
    async with connected(database.owner) as owner, connected(database.superuser) as dump, dump.transaction():
        await dump.fetch("SELECT FROM whois.host")
        with pytest.raises(MigrationError, match=r"^sql/9999_host\.sql: waits .* postgres .* it is given up"):
            await migrate(owner, another)
        assert await owner.fetchval("SELECT max(number) FROM whoisd.migration") == len(shipped_migrations())


# --- bringing a database up to date ------------------------------------------------------------------------------


def test_shipped_migrations_are_numbered_without_a_gap() -> None:
    """The migrations that ship are numbered from 1 without a gap, and the script of the roles is none of them."""
    shipped = shipped_migrations()
    assert [migration.number for migration in shipped] == list(range(1, len(shipped) + 1))
    assert shipped[0].file == "0001_registry.sql"
    assert "roles.sql" not in [migration.file for migration in shipped]


async def test_each_is_applied_once(empty_database: Database) -> None:
    """The first run applies all in their order and says so; the second finds nothing to do and changes nothing."""
    shipped = [migration.file for migration in shipped_migrations()]
    assert await apply(empty_database) == shipped
    async with connected(empty_database.owner) as owner:
        ledger = await owner.fetch("SELECT * FROM whoisd.migration ORDER BY number")
        assert [row["file"] for row in ledger] == shipped
        assert await migrate(owner) == []
        assert await owner.fetch("SELECT * FROM whoisd.migration ORDER BY number") == ledger


async def test_only_what_is_new_is_applied(empty_database: Database) -> None:
    """A newer version applies only the migrations that the database lacks."""
    assert await apply(empty_database, FIRST) == ["0001_first.sql"]
    assert await apply(empty_database, FIRST, SECOND) == ["0002_second.sql"]
    assert await tables(empty_database) == {"first", "first_too", "second"}


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_database_of_another_encoding(empty_database: Database, encoding: str) -> None:
    """A new database that cannot hold every letter is refused; one that is in use is still brought up to date."""
    other = Database(empty_database.cluster, f"{empty_database.name}_{encoding.lower()}")
    async with connected(empty_database.superuser) as superuser:
        await superuser.execute(
            f"CREATE DATABASE {other.name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C' OWNER whoisd_owner"
        )
        try:
            with pytest.raises(MigrationError, match=f"^the database's encoding is {encoding}, and must be UTF8: "):
                await apply(other, FIRST)
            assert await tables(other) == set()
            await other.execute("INSERT INTO whoisd.migration VALUES ($1, $2, $3)", 1, FIRST.file, FIRST.sha256)
            assert await apply(other, FIRST, SECOND) == [SECOND.file]
        finally:
            await superuser.execute(f"DROP DATABASE {other.name} WITH (FORCE)")


async def test_edited_file(empty_database: Database) -> None:
    """A file that was edited after it was applied stops everything and is named."""
    await apply(empty_database, FIRST)
    edited = Migration(1, FIRST.file, FIRST.sql + " -- better")
    with pytest.raises(MigrationError, match=r"^sql/0001_first\.sql: not the file that was applied"):
        await apply(empty_database, edited, SECOND)
    assert "second" not in await tables(empty_database)


async def test_database_newer_than_software(empty_database: Database) -> None:
    """A database that was migrated by a newer version is left alone; its newest migration is named."""
    await apply(empty_database, FIRST, SECOND)
    with pytest.raises(MigrationError, match=r"newer than this software: it holds 0002_second\.sql"):
        await apply(empty_database, FIRST)


@pytest.mark.parametrize(
    ("migrations", "fault"),
    [
        ([FIRST, Migration(3, "0003_third.sql", "SELECT 1")], "sql/0003_third.sql: numbered 3 where 2 comes next"),
        ([SECOND], "sql/0002_second.sql: numbered 2 where 1 comes next"),
        ([FIRST, Migration(1, "0001_other.sql", "SELECT 1")], "sql/0001_other.sql: numbered 1 where 2 comes next"),
    ],
)
async def test_gap_in_the_numbers(empty_database: Database, migrations: list[Migration], fault: str) -> None:
    """A gap in the numbers, or a number given twice, stops everything before anything is applied."""
    with pytest.raises(MigrationError) as refused:
        await apply(empty_database, *migrations)
    assert str(refused.value) == fault
    assert await tables(empty_database) == set()


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT 1 / 0", "22012: DivisionByZeroError"),
        ("ALTER TABLE whoisd.migration RENAME TO x", '42P01: relation "whoisd.migration" does not exist'),
    ],
)
async def test_failing_migration(empty_database: Database, sql: str, fault: str) -> None:
    """A migration that fails leaves nothing behind; those before it stay, and once it is mended the next run goes on."""
    failing = Migration(2, SECOND.file, f"{SECOND.sql}; {sql}")
    with pytest.raises(MigrationError) as refused:
        await apply(empty_database, FIRST, failing)
    assert str(refused.value) == f"sql/0002_second.sql: {fault}"
    assert await tables(empty_database) == {"first", "first_too"}
    assert await apply(empty_database, FIRST, SECOND) == ["0002_second.sql"]


async def test_two_at_once(empty_database: Database) -> None:
    """Of two runs at once one applies everything, and the other waits and finds nothing to do."""
    runs = await asyncio.gather(apply(empty_database), apply(empty_database))
    assert sorted(runs) == [[], [migration.file for migration in shipped_migrations()]]


# --- what the server's role may do -------------------------------------------------------------------------------


async def test_reader_reads_the_two_views(database: Database) -> None:
    """The reader may SELECT from the two views."""
    async with connected(database.reader) as reader:
        domain = await reader.fetchrow("SELECT * FROM whois.domain WHERE name = 'eksempel.dk'")
        host = await reader.fetchrow("SELECT * FROM whois.host WHERE name = 'ns1.eksempel.dk'")
    assert domain["registrant_name"] == "Eksempel Handel A/S"
    assert dict(host) == {"name": "ns1.eksempel.dk", "glue": True}


async def test_reader_reads_no_table(database: Database) -> None:
    """Every table and view but those of the schema whois is refused to the reader."""
    async with connected(database.owner) as owner, connected(database.reader) as reader:
        rows = await owner.fetch(
            "SELECT format('%I.%I', nspname, relname) AS name"
            " FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid"
            " WHERE nspname IN ('registry', 'whoisd', 'portal', 'audit') AND relkind IN ('r', 'v', 'm', 'p', 'S')"
        )
        names = {row["name"] for row in rows}
        assert names >= {"registry.registrant", "registry.domain", "portal.portal_user", "audit.entry", "whoisd.migration"}
        for name in names:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.fetch(f"SELECT FROM {name}")


async def test_reader_is_granted_nothing_else(database: Database) -> None:
    """No grant to the reader, or to everybody, but SELECT on the six views, and the one function that these call."""
    async with connected(database.superuser) as superuser:
        tables = await superuser.fetch(
            "SELECT table_schema || '.' || table_name AS name, privilege_type FROM information_schema.table_privileges"
            " WHERE grantee IN ('whoisd_reader', 'PUBLIC') AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        functions = await superuser.fetchval(
            "SELECT array_agg(proname) FROM pg_proc JOIN pg_namespace ON pronamespace = pg_namespace.oid"
            " WHERE nspname IN ('registry', 'whoisd', 'portal', 'audit')"
            " AND has_function_privilege('whoisd_reader', pg_proc.oid, 'EXECUTE')"
        )
        memberships = await superuser.fetchval(
            "SELECT count(*) FROM pg_auth_members WHERE member = 'whoisd_reader'::regrole"
        )
    views = ("cvr", "domain", "heartbeat", "host", "maintenance", "registrant")
    assert sorted(map(tuple, tables)) == [(f"whois.{name}", "SELECT") for name in views]
    assert (functions, memberships) == (["vies_number"], 0)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO registry.host VALUES ('ns1.ny.dk')",
        "UPDATE registry.domain SET dnssec = true",
        "DELETE FROM registry.host",
        "INSERT INTO portal.staff VALUES ('bodil')",
        "SELECT FROM audit.entry",
        "TRUNCATE registry.registrant",
        "SELECT registry.is_line('x')",
        "CREATE TEMPORARY TABLE x ()",
        "CREATE TABLE public.x ()",
        "CREATE TABLE whois.x ()",
        "CREATE SCHEMA x",
        "ALTER VIEW whois.domain RENAME TO x",
        "DROP VIEW whois.host",
        "CREATE OR REPLACE VIEW whois.host AS SELECT ''::text AS name, true AS glue",
        "SET ROLE whoisd_owner",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_unlink(1)",
        "SELECT pg_logical_emit_message(false, 'x', 'y')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
        "SELECT pg_notify('x', 'y')",
        "SELECT pg_export_snapshot()",
        "SELECT txid_current()",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "DO $$ BEGIN END $$",
    ],
)
async def test_reader_may_do_nothing_else(empty_database: Database, sql: str) -> None:
    """Everything but SELECT from the two views is refused to the reader, even in a transaction that may write."""
    await apply(empty_database)  # a copy of a migrated database would lack what is granted on the database itself
    async with connected(empty_database.reader) as reader:
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(sql)


async def test_public_schema_of_an_old_database(empty_database: Database) -> None:
    """A database from before PostgreSQL 15, where everybody may create in `public`, is closed to the reader."""
    async with connected(empty_database.superuser) as superuser:
        await superuser.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    await apply(empty_database)
    async with connected(empty_database.reader) as reader:
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("CREATE TABLE public.x ()")


async def test_readers_session(database: Database) -> None:
    """The reader's sessions are read-only, and give up a statement that takes a second."""
    async with connected(database.reader) as reader:
        assert await reader.fetchval("SHOW transaction_read_only") == "on"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("CREATE TABLE public.x ()")
        assert await reader.fetchval("SHOW statement_timeout") == "1s"
        with pytest.raises(asyncpg.QueryCanceledError):
            await reader.execute("SELECT pg_sleep(10)")


# --- which rows are refused --------------------------------------------------------------------------------------

REGISTRAR = "UPDATE registry.registrar SET {} WHERE handle = 'REG-100001'"
REGISTRANT = "UPDATE registry.registrant SET {} WHERE handle = 'EKSEMPEL-DK'"  # a Danish company
SWEDISH = "UPDATE registry.registrant SET {} WHERE handle = 'SOEDERLUND-SE'"
HOST = "INSERT INTO registry.host VALUES ({})"
DOMAIN = "UPDATE registry.domain SET {} WHERE name = 'reserveret.dk'"  # registered 2015-03-02, without name servers
OFFERED = "UPDATE registry.domain SET {} WHERE name = 'waiting-list.dk'"
SERVING = "UPDATE registry.host SET {} WHERE name = 'ns1.eksempel.dk'"
FORM = "INSERT INTO registry.cvr_form VALUES ({})"


@pytest.mark.parametrize(
    ("statement", "values", "constraint"),
    [
        (REGISTRAR, "handle = 'reg-1'", "registrar_handle_check"),
        (REGISTRAR, "handle = repeat('A', 33)", "registrar_handle_check"),
        (REGISTRAR, r"handle = E'REG-1\n'", "registrar_handle_check"),
        (REGISTRAR, "name = ' '", "registrar_name_check"),
        (REGISTRANT, "handle = 'A--B'", "registrant_handle_check"),
        (REGISTRANT, "kind = 'club'", "registrant_kind_check"),
        (REGISTRANT, "name = ''", "registrant_name_check"),
        (REGISTRANT, r"name = E'A\nB'", "registrant_name_check"),
        (REGISTRANT, r"name = E'A\u0085B'", "registrant_name_check"),
        (REGISTRANT, r"name = E'A\u2028B'", "registrant_name_check"),
        (REGISTRANT, "name = repeat('x', 256)", "registrant_name_check"),
        (REGISTRANT, "street = '{A,B,C,D}'", "registrant_street_check"),
        (REGISTRANT, "street = '{A,NULL}'", "registrant_street_check"),
        (REGISTRANT, r"street = ARRAY[E'A\rB']", "registrant_street_check"),
        (REGISTRANT, "postal_code = ''", "registrant_postal_code_check"),
        (REGISTRANT, r"city = E'A\tB'", "registrant_city_check"),
        (SWEDISH, "country = 'se'", "registrant_country_check"),
        (SWEDISH, "country = 'SWE'", "registrant_country_check"),
        (REGISTRANT, r"phone = E'\x1b[2J'", "registrant_phone_check"),
        (REGISTRANT, "email = ' '", "registrant_email_check"),
        (REGISTRANT, r"secondary_email = E'a\x7fb'", "registrant_secondary_email_check"),
        (REGISTRANT, "vat_number = ' '", "registrant_vat_number_check"),
        (REGISTRANT, "id_status = 'passport'", "registrant_id_status_check"),
        (REGISTRANT, "country = 'SE'", "locked_is_danish"),
        (SWEDISH, "cvr_locked = true", "locked_is_danish"),
        (REGISTRANT, "sole_proprietorship = true", "classified_is_foreign"),
        (REGISTRANT, "address_protection = true", "protected_is_individual"),
        (HOST, "'NS1.eksempel.dk'", "host_name_check"),
        (HOST, "'ns9.eksempel.dk.'", "host_name_check"),
        (HOST, "'ns9.æøå.dk'", "host_name_check"),
        (HOST, "'localhost'", "host_name_check"),
        (HOST, "'ns9..dk'", "host_name_check"),
        (HOST, "'-ns9.dk'", "host_name_check"),
        (HOST, "'ns9-.dk'", "host_name_check"),
        (HOST, "'ns_9.dk'", "host_name_check"),
        (HOST, r"E'ns9.dk\n'", "host_name_check"),
        (HOST, "repeat('a', 64) || '.dk'", "host_name_check"),
        (HOST, "repeat('abc.', 63) || 'dk'", "host_name_check"),
        (HOST, "'ns1.eksempel.dk'", "host_pkey"),
        (DOMAIN, "name = 'Reserveret.dk'", "domain_name_check"),
        (DOMAIN, "name = 'reserveret.dk.'", "domain_name_check"),
        (DOMAIN, "name = 'ærø.dk'", "domain_name_check"),
        (DOMAIN, "name = 'reserveret.se'", "domain_name_check"),
        (DOMAIN, "name = 'www.reserveret.dk'", "domain_name_check"),
        (DOMAIN, "status = 'expired'", "domain_status_check"),
        (DOMAIN, "period_years = 4", "domain_period_years_check"),
        (DOMAIN, "expires = '2015-03-01'", "dates_in_order"),
        (DOMAIN, "delete_date = '2015-03-01'", "dates_in_order"),
        (DOMAIN, "registrant = NULL", "registered_or_offered"),
        (DOMAIN, "status = 'active', registrant = NULL", "registered_or_offered"),
        (DOMAIN, "registered = NULL", "registered_or_offered"),
        (DOMAIN, "expires = NULL", "registered_or_offered"),
        (DOMAIN, "period_years = NULL", "registered_or_offered"),
        (DOMAIN, "status = 'offered_to_waiting_list'", "registered_or_offered"),
        (DOMAIN, "registrant = 'NOBODY'", "domain_registrant_fkey"),
        (DOMAIN, "registrar = 'NOBODY'", "domain_registrar_fkey"),
        (OFFERED, "registrant = 'EKSEMPEL-DK'", "registered_or_offered"),
        (OFFERED, "registered = '2020-01-31'", "registered_or_offered"),
        (OFFERED, "expires = '2027-01-31'", "registered_or_offered"),
        (OFFERED, "status = 'active'", "registered_or_offered"),
        (DOMAIN, "nameservers = '{a.dk,b.dk,a.dk}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{a.dk,a.dk}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{a.dk,b.dk,c.dk,d.dk,e.dk,f.dk,f.dk}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{a.dk,b.dk,c.dk,d.dk,e.dk,f.dk,g.dk,h.dk}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{a.dk,NULL}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{{a.dk},{b.dk}}'", "domain_nameservers_check"),
        (DOMAIN, "nameservers = '{NS1.eksempel.dk,b.dk}'", "host_name_check"),
        (SERVING, "name = 'ns9.eksempel.dk'", "hosts_that_serve_stay"),
        (FORM, "60, 'Aktieselskab', 'ordinary'", "cvr_form_pkey"),
        (FORM, "61, 'Aktieselskab', 'limited'", "cvr_form_category_check"),
        (FORM, "61, ' ', 'ordinary'", "cvr_form_name_check"),
    ],
)
async def test_bad_rows(sandbox_database: Database, statement: str, values: str, constraint: str) -> None:
    """A row that breaks a rule of the registry is refused by the constraint that holds the rule."""
    async with connected(sandbox_database.owner) as owner:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await owner.execute(statement.format(values))
    assert refused.value.constraint_name == constraint


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("registrar", {"handle", "name", "public", "street"}),
        (
            "registrant",
            {"handle", "kind", "name", "street", "country", "email", "cvr_locked", "cvr_bankruptcy"}
            | {"sole_proprietorship", "address_protection", "id_confirmed"},
        ),
        ("host", {"name"}),
        ("domain", {"name", "status", "vid", "dnssec", "nameservers"}),
        ("cvr_form", {"code", "name", "category"}),
        ("guard", {"handle", "address_protection", "cvr_bankruptcy", "sole_proprietorship", "id_confirmed"}),
    ],
)
async def test_what_must_be_given(sandbox_database: Database, table: str, columns: set[str]) -> None:
    """What the rules look at, and what every answer prints, must be given; NULL is only for what may be lacking."""
    async with connected(sandbox_database.owner) as owner:
        rows = await owner.fetch(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'registry' AND table_name = $1 AND is_nullable = 'NO'",
            table,
        )
    assert {row["column_name"] for row in rows} == columns


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (REGISTRANT, "country = 'SE', cvr_locked = false, sole_proprietorship = true"),
        (REGISTRANT, "kind = 'individual', address_protection = true"),
        (REGISTRANT, "name = repeat('Æ', 255), street = '{A,B,C}', phone = NULL"),
        (HOST, "'xn--4cabco7dk5a.dk'"),
        (HOST, "repeat('abc.', 62) || 'ab.dk'"),
        (DOMAIN, "expires = '2015-03-02', delete_date = '2015-03-02'"),
        (DOMAIN, "status = 'offered_to_waiting_list', registered = NULL, expires = NULL, registrant = NULL"),
        (OFFERED, "period_years = 5"),
        (DOMAIN, "nameservers = '{a.dk,b.dk,c.dk,d.dk,e.dk,f.dk,g.dk}'"),
        (DOMAIN, "nameservers = '{a.dk}'"),
        (DOMAIN, "nameservers = '{}'"),
    ],
)
async def test_good_rows(database: Database, statement: str, values: str) -> None:
    """A row on the good side of a rule is taken."""
    async with connected(database.owner) as owner:
        assert await owner.execute(statement.format(values)) in ("UPDATE 1", "INSERT 0 1")


async def test_hosts_that_serve_stay(database: Database) -> None:
    """A host that serves a domain is not deleted, alone or among others; one that serves none any more is."""
    async with connected(database.owner) as owner:
        for statement in (
            "DELETE FROM registry.host WHERE name = 'auth03.ns.dk-hostmaster.dk'",
            "DELETE FROM registry.host",
        ):
            with pytest.raises(asyncpg.ForeignKeyViolationError):
                await owner.execute(statement)
        await owner.execute("DELETE FROM registry.domain WHERE name = 'dk-hostmaster.dk'")
        assert await owner.execute("DELETE FROM registry.host WHERE name = 'auth03.ns.dk-hostmaster.dk'") == "DELETE 1"


async def test_hosts_come_with_domains(database: Database) -> None:
    """A host that a domain names comes into being with it, by plain SQL too."""
    await database.execute(DOMAIN.format("nameservers = '{ns8.example.net,ns9.example.net}'"))
    async with connected(database.reader) as reader:
        rows = await reader.fetch("SELECT name FROM whois.host WHERE name ~ '^ns[89].example.net$' ORDER BY name")
    assert [row["name"] for row in rows] == ["ns8.example.net", "ns9.example.net"]


async def test_host_removed_while_a_domain_takes_it(database: Database) -> None:
    """Whoever removes a host waits for one who is just letting it serve, and is refused then."""
    async with connected(database.owner) as one, connected(database.owner) as other:
        await one.execute("INSERT INTO registry.host VALUES ('ns9.example.net')")
        taking = one.transaction()
        await taking.start()
        await one.execute(DOMAIN.format("nameservers = '{ns9.example.net}'"))
        removing = asyncio.create_task(other.execute("DELETE FROM registry.host WHERE name = 'ns9.example.net'"))
        done, _ = await asyncio.wait([removing], timeout=0.5)
        assert not done
        await taking.commit()
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await removing


async def test_upgrade_keeps_delegations(empty_database: Database) -> None:
    """What a database held before name servers became a list of the domain is in the views as it was, in its order."""
    shipped = shipped_migrations()
    await apply(empty_database, *shipped[:4])
    await empty_database.execute("""
        INSERT INTO registry.registrant (handle, kind, name, country, email)
        VALUES ('A', 'company', 'A ApS', 'DK', 'a@a.example');
        INSERT INTO registry.domain (name, status, registered, expires, period_years, registrant) VALUES
            ('a.dk', 'active', '2020-01-31', '2027-01-31', 1, 'A'), ('b.dk', 'reserved', '2020-01-31', '2027-01-31', 1, 'A');
        INSERT INTO registry.host VALUES ('ns1.a.dk'), ('ns2.a.dk'), ('ns3.example.net');
        INSERT INTO registry.delegation
        VALUES ('a.dk', 3, 'ns1.a.dk'), ('a.dk', 1, 'ns3.example.net'), ('a.dk', 2, 'ns2.a.dk');
    """)
    queries = ("SELECT * FROM whois.domain ORDER BY name", "SELECT * FROM whois.host ORDER BY name")
    async with connected(empty_database.reader) as reader:
        before = [await reader.fetch(query) for query in queries]
    await apply(empty_database, *shipped)
    async with connected(empty_database.reader) as reader:
        after = [await reader.fetch(query) for query in queries]  # which have columns besides that are newer
    for old, new in zip(before, after, strict=True):
        assert [dict(row) for row in old] == [{column: row[column] for column in old[0].keys()} for row in new]  # noqa: SIM118 - of a row
    assert [row["nameservers"] for row in before[0]] == [["ns3.example.net", "ns2.a.dk", "ns1.a.dk"], []]


async def test_upgrade_keeps_what_cvr_said(empty_database: Database) -> None:
    """What CVR said of a number from a day held until the day before the next, and the last of it holds for ever."""
    shipped = shipped_migrations()
    await apply(empty_database, *shipped[:14])
    await empty_database.execute("""
        INSERT INTO registry.cvr_company (number, since, listed)
        VALUES (1, '2026-03-01', true), (1, '-infinity', true), (1, '2026-01-31', true), (2, '-infinity', false)
    """)
    await apply(empty_database, *shipped)
    async with connected(empty_database.owner) as owner:
        rows = await owner.fetch("SELECT number, since::text, until::text FROM registry.cvr_company ORDER BY number, since")
    assert [tuple(row) for row in rows] == [
        (1, "-infinity", "2026-01-31"),
        (1, "2026-01-31", "2026-03-01"),
        (1, "2026-03-01", "infinity"),
        (2, "-infinity", "infinity"),
    ]


async def test_no_audit_trail(empty_database: Database) -> None:
    """Without the audit trail, which a superuser has to make, the schema is not brought up to date, and it is said why."""
    async with connected(empty_database.superuser) as superuser:
        await superuser.execute("DROP SCHEMA audit CASCADE")
    with pytest.raises(MigrationError, match=r"^sql/0006_.*: there is no audit trail .* run sql/audit.sql in it"):
        await apply(empty_database)


# --- the registrars ----------------------------------------------------------------------------------------------

_CONTACT = ("street", "postal_code", "city", "country", "phone", "url", "email")


@pytest.mark.parametrize("public", [True, False])
async def test_registrar_in_the_view(database: Database, public: bool) -> None:
    """How to reach a registrar leaves the database only where that is public; the abuse contact always does."""
    await database.execute(f"UPDATE registry.registrar SET public = {public}")  # noqa: S608 - a flag of ours
    async with connected(database.reader) as reader:
        row = await reader.fetchrow("SELECT * FROM whois.domain WHERE name = 'eksempel.dk'")
        other = await reader.fetchrow("SELECT * FROM whois.domain WHERE registrar IS NULL LIMIT 1")
    assert (row["registrar"], row["registrar_public"]) == ("Eksempelregistrator ApS", public)
    assert row["registrar_abuse_email"] == "misbrug@registrator.example"
    assert all((row[f"registrar_{column}"] is not None) is public for column in _CONTACT)
    assert [value for column, value in other.items() if column.startswith("registrar_") and value is not None] == []


# --- the company forms -------------------------------------------------------------------------------------------

OFFICIAL_CODES = (
    *(10, 15, 20, 30, 40, 45, 50, 60, 70, 80, 81, 90, 95, 100, 110, 115, 130, 140, 150, 151, 152, 160, 170, 180, 190, 195),
    *(196, 200, 210, 220, 230, 235, 240, 245, 250, 260, 270, 280, 285, 290, 291, 520, 540, 990),
)


async def test_company_forms(sandbox_database: Database) -> None:
    """The table holds CVR's official codes, and exactly these six are exempt from publication."""
    async with connected(sandbox_database.owner) as owner:
        rows = await owner.fetch("SELECT code, name, category FROM registry.cvr_form ORDER BY code")
    assert tuple(row["code"] for row in rows) == OFFICIAL_CODES
    assert [tuple(row) for row in rows if row["category"] != "ordinary"] == [
        (10, "Enkeltmandsvirksomhed", "sole_proprietorship"),
        (15, "Personligt ejet mindre virksomhed", "small_business"),
        (20, "Dødsbo", "deceased_estate"),
        (95, "Trust", "unstated"),
        (270, "Enhed under oprettelse", "unstated"),
        (990, "Uoplyst virksomhedsform", "unstated"),
    ]


@pytest.mark.parametrize(
    ("code", "category"), [("60", "ordinary"), ("10", "sole_proprietorship"), ("61", "unknown"), ("NULL", None)]
)
async def test_company_form_in_the_view(database: Database, code: str, category: str | None) -> None:
    """The view gives a form's category, `unknown` for a code that the table lacks, and NULL where CVR gave none."""
    await database.execute(REGISTRANT.format(f"cvr_form = {code}"))
    async with connected(database.reader) as reader:
        found = await reader.fetchval("SELECT registrant_cvr_form FROM whois.domain WHERE name = 'eksempel.dk'")
    assert found == category
