"""The store against a real PostgreSQL: every rule, the very next answer, batching, deadlines, outages."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
import structlog
from structlog.testing import capture_logs
from support import IN_FORCE, PATIENCE, WHOISD, Database, Service, domain_of, environment, fields, host_of, receive

from whoisd.answers.disclosure import publish_email
from whoisd.answers.model import CvrForm, CvrStanding, DomainStatus, Host, IdStatus, RegistrantKind, Registrar
from whoisd.answers.names import parse_name
from whoisd.answers.wire import Charset
from whoisd.database.dsn import parse_dsn
from whoisd.database.hosts import NONE
from whoisd.database.store import LARGEST_BATCH, Store
from whoisd.database.views import DOMAIN
from whoisd.errors import StoreError
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import load
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

TEMPORARY_FAILURE = "WHOIS time limit exceeded. Temporary failure, please try again later.\r\n"

pytestmark = pytest.mark.alone  # lookups have deadlines of a second and less


@asynccontextmanager
async def open_store(dsn: str, deadline: float = 10) -> AsyncIterator[Store]:
    store = Store(parse_dsn(dsn), deadline, structlog.get_logger())
    try:
        yield store
    finally:
        await store.close()


# --- what a row becomes ------------------------------------------------------------------------------------------


async def test_domain(sandbox_database: Database) -> None:
    """A domain comes with its registrar and how to reach it, its name servers in delegation order and its registrant."""
    async with open_store(sandbox_database.reader) as store:
        domain = await domain_of(store, parse_name("æøåöäüé.dk"))
    assert domain
    assert (domain.name.ascii, domain.status) == ("xn--4cabco7dk5a.dk", DomainStatus.ACTIVE)
    assert [str(day) for day in (domain.registered, domain.expires, domain.delete_date)] == [
        "2010-06-14",
        "2027-06-30",
        "2027-07-14",
    ]
    assert domain.registrar == Registrar(
        "Eksempelregistrator ApS",
        public=True,
        street=("Eksempelvej 43",),
        postal_code="2300",
        city="København S",
        country="DK",
        phone="+45 00004343",
        url="https://registrator.example/",
        email="kunder@registrator.example",
        abuse_email="misbrug@registrator.example",
    )
    assert domain.nameservers == ("auth01.ns.dk-hostmaster.dk", "auth02.ns.dk-hostmaster.dk")
    assert (domain.registrant.kind, domain.registrant.cvr_form) == (RegistrantKind.ASSOCIATION, CvrForm.ORDINARY)
    assert (domain.registrant.email, domain.registrant.id_status) == ("post@bogstaver.example", IdStatus.DOCUMENTATION)


async def test_unknown_names(sandbox_database: Database) -> None:
    """A name that the database does not hold is None, as a domain and as a host, alone and in a batch."""
    async with open_store(sandbox_database.reader) as store:
        assert await domain_of(store, parse_name("findes-ikke.dk")) is None
        assert await host_of(store, parse_name("www.eksempel.dk")) is None
        both = await asyncio.gather(domain_of(store, parse_name("a.dk")), domain_of(store, parse_name("eksempel.dk")))
        assert [domain is None for domain in both] == [True, False]


async def test_batches_give_each_its_own(database: Database) -> None:
    """Two thousand names at once, in batches over one connection, get each its own row; a name asked twice gets it twice."""
    await database.execute(
        "INSERT INTO registry.domain (name, status) SELECT 'n' || i || '.dk', 'offered_to_waiting_list'"
        " FROM generate_series(1, 2000) AS i"
    )
    names = [parse_name(f"n{number}.dk") for number in range(4 * LARGEST_BATCH + 1)] * 2
    async with open_store(database.reader) as store:
        found = await asyncio.gather(
            *(domain_of(store, name) for name in names), host_of(store, parse_name("ns1.eksempel.dk"))
        )
        host = found.pop()
    assert host
    assert [domain and domain.name.ascii for domain in found] == [
        name.ascii if name.ascii != "n0.dk" else None for name in names
    ]


async def test_odd_rows_of_a_registry_of_its_own(database: Database) -> None:
    """Where a view says nothing or something odd, the facts come out unsettled, so that the email is withheld."""
    await database.execute("DROP VIEW whois.domain")
    await database.execute(
        """
        CREATE VIEW whois.domain AS SELECT
            'odd.dk'::text AS name, 'active'::text AS status, NULL::date AS registered, NULL::date AS expires,
            NULL::date AS delete_date, NULL::integer AS period_years, NULL::boolean AS vid, NULL::boolean AS dnssec,
            ' '::text AS registrar, NULL::boolean AS registrar_public, NULL::text[] AS registrar_street,
            NULL::text AS registrar_postal_code, NULL::text AS registrar_city, NULL::text AS registrar_country,
            NULL::text AS registrar_phone, NULL::text AS registrar_url, NULL::text AS registrar_email,
            NULL::text AS registrar_abuse_email, NULL::text[] AS nameservers, 'club'::text AS registrant_kind,
            NULL::text AS registrant_name, NULL::text[] AS registrant_street,
            NULL::text AS registrant_postal_code, NULL::text AS registrant_city,
            'DK'::text AS registrant_country, NULL::text AS registrant_phone, 'a@b.example'::text AS registrant_email,
            NULL::text AS registrant_secondary_email, '99000019'::text AS registrant_vat_number,
            true AS registrant_cvr_locked, 'limited'::text AS registrant_cvr_form,
            NULL::boolean AS registrant_cvr_bankruptcy, NULL::boolean AS registrant_sole_proprietorship,
            false AS registrant_address_protection,
            true AS registrant_id_confirmed, 'passport'::text AS registrant_id_status,
            NULL::boolean AS registrant_documented, NULL::boolean AS registrant_vat_listed,
            'gone'::text AS registrant_cvr_standing
        """
    )
    await database.execute("GRANT SELECT ON whois.domain TO whoisd_reader")
    async with open_store(database.reader) as store:
        domain = await domain_of(store, parse_name("odd.dk"))
    assert domain
    assert (domain.registrant.kind, domain.registrant.cvr_form) == (RegistrantKind.UNKNOWN, CvrForm.UNKNOWN)
    assert (domain.registrant.id_status, domain.nameservers, domain.registrant.street) == (None, (), ())
    assert (domain.registrant.cvr_standing, domain.registrant.documented) == (CvrStanding.UNKNOWN, None)


async def test_row_that_breaks_the_contract(database: Database) -> None:
    """A status that is none is a failure that names its column, not an answer."""
    await database.execute(
        "CREATE OR REPLACE VIEW whois.host AS SELECT name, NULL::boolean AS glue FROM registry.host;"
        "ALTER TABLE registry.domain DROP CONSTRAINT domain_status_check, DROP CONSTRAINT registered_or_offered;"
        "UPDATE registry.domain SET status = 'parked' WHERE name = 'eksempel.dk'"
    )
    async with open_store(database.reader) as store:
        with pytest.raises(StoreError, match=r"^whois\.domain\.status must be one of active, "):
            await domain_of(store, parse_name("eksempel.dk"))
        host = await host_of(store, parse_name("ns1.eksempel.dk"))
    assert host
    assert host.glue is False


async def test_name_in_another_spelling(database: Database) -> None:
    """A view whose names are padded is a failure that names the column, never "no entries found"."""
    await database.execute(
        "DROP VIEW whois.host; CREATE VIEW whois.host AS SELECT name::char(80) AS name, false AS glue FROM registry.host;"
        "GRANT SELECT ON whois.host TO whoisd_reader"
    )
    async with open_store(database.reader) as store:
        with pytest.raises(StoreError, match=r"whois\.host\.name is of type char\(n\), and must be text"):
            await host_of(store, parse_name("ns1.eksempel.dk"))
        both = [host_of(store, parse_name("ns1.eksempel.dk")), host_of(store, parse_name("ns2.eksempel.dk"))]
        assert all(isinstance(found, StoreError) for found in await asyncio.gather(*both, return_exceptions=True))


async def test_two_rows_for_a_name(database: Database) -> None:
    """A name for which the view returns two rows fails, alone and in a batch, and no other name with it."""
    await database.execute(
        "DROP VIEW whois.host; CREATE VIEW whois.host AS SELECT name, false AS glue FROM registry.host"
        " UNION ALL SELECT 'ns1.eksempel.dk', true; GRANT SELECT ON whois.host TO whoisd_reader"
    )
    one, other = parse_name("ns1.eksempel.dk"), parse_name("ns2.eksempel.dk")
    async with open_store(database.reader) as store:
        with pytest.raises(StoreError, match="several rows"):
            await host_of(store, one)
        found = await asyncio.gather(host_of(store, one), host_of(store, other), host_of(store, one), return_exceptions=True)
    assert [type(result) for result in found] == [StoreError, Host, StoreError]


async def test_row_that_cannot_be_read_fails_alone(database: Database) -> None:
    """While one name's row cannot be read, every other name is answered, and the connection stays."""
    await database.execute(
        "CREATE OR REPLACE VIEW whois.host AS"
        " SELECT name, 1 / (CASE name WHEN 'ns1.eksempel.dk' THEN 0 ELSE 1 END) = 1 AS glue FROM registry.host"
    )
    bad, good = parse_name("ns1.eksempel.dk"), parse_name("ns2.eksempel.dk")
    async with open_store(database.reader) as store:
        assert await store.connect()
        with capture_logs() as events:
            for _ in range(20):
                found = await asyncio.gather(*(host_of(store, name) for name in [bad, good] * 5), return_exceptions=True)
                assert [type(result) for result in found] == [StoreError, Host] * 5
        assert events == []


@pytest.mark.parametrize(
    "column",
    [
        "'no'::text AS vid",
        "ARRAY['a.b', NULL] AS nameservers",
        "'a.b'::text AS nameservers",
        "'2001-05-15 00:00 Europe/Copenhagen'::timestamptz AS registered",
        "'2027-05-31 00:00'::timestamp AS expires",
        "'2027-05-31'::text AS delete_date",
        "2::numeric AS period_years",
        "'1'::text AS period_years",
        "'active'::char(20) AS status",
        "'eksempel.dk'::char(80) AS name",
        "'info@eksempel.example'::char(80) AS registrant_email",
        "ARRAY['Vej 1'::char(20)] AS registrant_street",
        "'infinity'::date AS expires",
        "'-infinity'::date AS registered",
        "'10000-01-01'::date AS delete_date",
    ],
)
async def test_values_of_another_type(database: Database, column: str) -> None:
    """A value that the contract does not have is a failure that names the column, not a wrong fact."""
    connection = await asyncpg.connect(database.owner)
    columns = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'whois' AND table_name = 'domain'"
    )
    replaced = column.rpartition(" ")[2]
    others = ", ".join(row["column_name"] for row in columns if row["column_name"] != replaced)
    await connection.execute(
        f"ALTER VIEW whois.domain RENAME TO real; CREATE VIEW whois.domain AS SELECT {others}, {column} FROM whois.real;"  # noqa: S608 - ours
        "GRANT SELECT ON whois.domain TO whoisd_reader"
    )
    await connection.close()
    async with open_store(database.reader) as store:
        with pytest.raises(StoreError, match=rf"^whois\.domain\.{replaced} (is of type .* and )?must be "):
            await domain_of(store, parse_name("eksempel.dk"))


async def test_last_day_of_all(database: Database) -> None:
    """9999-12-31 is a day, and not taken for infinity."""
    await database.execute("UPDATE registry.domain SET expires = '9999-12-31' WHERE name = 'eksempel.dk'")
    async with open_store(database.reader) as store:
        domain = await domain_of(store, parse_name("eksempel.dk"))
    assert domain
    assert domain.expires == date(9999, 12, 31)


@pytest.mark.parametrize("spelled", ["upper(name)", "name || '.'", "rpad(name, 80)", "'æ' || name"])
async def test_names_that_nobody_asks_for(database: Database, spelled: str) -> None:
    """Where the view spells names as nobody asks for them, a name is a failure that names the column, and not free."""
    await database.execute(
        f"ALTER VIEW whois.host RENAME TO real; CREATE VIEW whois.host AS SELECT {spelled} AS name, glue FROM whois.real;"  # noqa: S608 - ours
        "GRANT SELECT ON whois.host TO whoisd_reader"
    )
    async with open_store(database.reader) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match=r"^whois\.host\.name must be in lower case"):
                await host_of(store, parse_name("ns1.eksempel.dk"))
        assert await domain_of(store, parse_name("eksempel.dk"))


# --- every rule through the database -----------------------------------------------------------------------------


async def test_every_combination_through_the_database(database: Database, tmp_path: Path) -> None:
    """Loaded from a file and read through the views, each combination of facts shows the email that the rules name."""
    codes = {10: CvrForm.SOLE_PROPRIETORSHIP, 15: CvrForm.SMALL_BUSINESS, 20: CvrForm.DECEASED_ESTATE, 990: CvrForm.UNSTATED}
    codes |= {60: CvrForm.ORDINARY, 80: CvrForm.ORDINARY, 999: CvrForm.UNKNOWN}
    axes = product(
        ("company", "public_organization", "association", "individual"),
        ("DK", "DE"),
        (False, True),
        (*codes, None),
        (False, True),
        (True, "", None),
        (False, True),
        ("second@a.example", " ", None),
    )
    expected: dict[str, str | None] = {}
    lines: list[bytes] = []
    for number, (kind, country, locked, code, bankrupt, number_given, sole, secondary) in enumerate(axes):
        if (locked and country != "DK") or (sole and country == "DK"):
            continue  # the database refuses them
        handle = f"R{number}"
        vat = {"DK": "99000015", "DE": "DE999990002"}[country] if number_given is True else number_given
        who: dict[str, object] = {
            "type": "registrant",
            "handle": handle,
            "kind": kind,
            "name": "N",
            "country": country,
            "vat_number": vat,
        }
        who |= {"email": "first@a.example", "secondary_email": secondary, "cvr_locked": locked, "cvr_form": code}
        who |= {"cvr_bankruptcy": bankrupt, "sole_proprietorship": sole}
        domain: dict[str, object] = {
            "type": "domain",
            "name": f"d{number}.dk",
            "status": "reserved",
            "registered": "2020-01-01",
        }
        domain |= {"expires": "2027-01-01", "period_years": 1, "registrant": handle}
        lines += [orjson.dumps(domain), orjson.dumps(who)]
        public = kind != "individual" and vat and not bankrupt and not sole
        public = public and (locked and code in (60, 80) if country == "DK" else code is None)
        expected[f"d{number}.dk"] = (
            ("second@a.example" if secondary and secondary.strip() else "first@a.example") if public else None
        )
    file = tmp_path / "all.jsonl"
    file.write_bytes(b"\n".join(lines))
    connection = await asyncpg.connect(database.owner)
    try:
        await load(connection, RegistryFiles([file]))
    finally:
        await connection.close()
    async with open_store(database.reader) as store:
        domains = await asyncio.gather(*(domain_of(store, parse_name(name)) for name in expected))
    emails = [domain and publish_email(domain.registrant, Charset.LATIN_1, IN_FORCE)[0] for domain in domains]
    assert [email if isinstance(email, str) else None for email in emails] == list(expected.values())
    assert {*expected.values()} == {"first@a.example", "second@a.example", None}


# --- the very next answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "email"),
    [
        ("UPDATE registry.registrant SET secondary_email = 'ny@eksempel.example'", "ny@eksempel.example"),
        ("UPDATE registry.registrant SET secondary_email = NULL", "bogholderi@eksempel.example"),
        ("UPDATE registry.registrant SET cvr_form = 10", "DATA REDACTED"),
        ("UPDATE registry.registrant SET cvr_locked = false", "DATA REDACTED"),
        ("UPDATE registry.registrant SET cvr_bankruptcy = true", "DATA REDACTED"),
        ("UPDATE registry.registrant SET kind = 'individual'", "DATA REDACTED"),
    ],
)
async def test_change_is_in_the_very_next_answer(database: Database, sql: str, email: str) -> None:
    """What plain SQL changes and commits is in the very next answer, while others are being answered."""
    with Service(database.reader) as service, ThreadPoolExecutor(8) as others:
        asked = [others.submit(service.ask, "--show-handles eksempel.dk") for _ in range(200)]
        assert fields(service.ask("--show-handles eksempel.dk"))["Email"] == ["kontakt@eksempel.example"]
        await database.execute(f"{sql} WHERE handle = 'EKSEMPEL-DK'")
        assert fields(service.ask("--show-handles eksempel.dk"))["Email"] == [email]
        assert {fields(answer.result())["Email"][0] for answer in asked} <= {"kontakt@eksempel.example", email}


def test_rules_enter_into_force_without_a_restart(sandbox_database: Database) -> None:
    """Until the moment of entry into force every email is withheld; from that moment on it is shown, with no restart."""
    for seconds in (3, 12, 48):  # in which a busy machine, too, has started the server
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        asked = {"before": set[str](), "about": set[str](), "after": set[str]()}
        with Service(sandbox_database.reader, {"WHOISD_DISCLOSURE__IN_FORCE_FROM": moment.isoformat()}) as service:
            while not asked["after"]:
                begun = datetime.now(UTC)
                emails = fields(service.ask("--show-handles punktum.dk"))["Email"]
                when = "before" if datetime.now(UTC) < moment else "after" if begun > moment else "about"
                asked[when].update(emails)
            reasons = {event["email"] for event in service.events("query.answered")}
        if asked["before"]:
            break
    assert (asked["before"], asked["after"]) == ({"DATA REDACTED"}, {"info@punktum.dk"})
    assert asked["about"] <= {"DATA REDACTED", "info@punktum.dk"}
    assert reasons <= {"not_in_force", "locked_to_cvr"}


# --- several hosts -------------------------------------------------------------------------------------------------


EVERYBODY = 1000


class Gate:
    """Another folder by which to reach a cluster: no host at all until `open`, which may let in nobody until `let_in`."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self._path = cluster.directory / ".s.PGSQL.5432"
        self._free = asyncio.Semaphore(0)
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.come = 0  # connections that came
        self.gone = 0  # and that have ended

    async def open(self, *, held: bool = False) -> None:
        self._server = await asyncio.start_unix_server(self._pass_on, self.folder / ".s.PGSQL.5432")
        if not held:
            self.let_in(EVERYBODY)

    def let_in(self, number: int) -> None:
        """Let in so many, those first who came first."""
        for _ in range(number):
            self._free.release()

    async def close(self) -> None:
        """Let in whoever waits, and return when all have gone."""
        self.let_in(EVERYBODY)
        await until(lambda: self.gone == self.come)

    async def end(self) -> None:
        """Cut whoever has not gone."""
        if self._server:
            self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def dsn(self, database: Database) -> str:
        """The URL with the gate as the first host, and the cluster itself as the next."""
        return f"postgresql://whoisd_reader@/{database.name}?host={self.folder},{database.cluster.directory}"

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.come += 1
        task = asyncio.create_task(self._pass_both_ways(reader, writer))
        self._passing.add(task)
        await asyncio.wait([task])
        writer.close()
        self.gone += 1

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._free.acquire()
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._path)
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            inner_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come to be."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - of most of what is waited for nobody tells
            await asyncio.sleep(0.01)


async def settles(database: Database, expected: int) -> bool:
    """Whether PostgreSQL comes to have so many of our connections, as soon as it has; those that went take it a moment."""
    superuser = await asyncpg.connect(database.superuser)
    sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'whoisd_reader' AND datname = $1"
    try:
        for _ in range(100):
            if await superuser.fetchval(sql, database.name) == expected:
                return True
            await asyncio.sleep(0.02)
        return False
    finally:
        await superuser.close()


async def cut(database: Database) -> None:
    superuser = await asyncpg.connect(database.superuser)
    sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'whoisd_reader' AND datname = $1"
    await superuser.execute(sql, database.name)
    await superuser.close()


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A better host is looked for at every lookup."""
    monkeypatch.setattr("whoisd.database.hosts.BETTER_PAUSE", 0.0)


@pytest.fixture
async def gate(database: Database) -> AsyncIterator[Gate]:
    with temporary_folder() as folder:
        gate = Gate(folder, database.cluster)
        yield gate
        await gate.end()


NAME = parse_name("eksempel.dk")


async def search_is_under_way(store: Store, gate: Gate) -> None:
    """Ask until a lookup begins a search: none does while the one before it, which found no gate, is still under way."""
    async with asyncio.timeout(PATIENCE):
        while not gate.come:
            assert await domain_of(store, NAME)


@pytest.mark.usefixtures("looking")
async def test_goes_back_to_the_first_host(database: Database, gate: Gate) -> None:
    """The next host serves while the first is away; when it is back it serves, and no lookup is lost at the switch."""
    with capture_logs() as events:
        async with open_store(gate.dsn(database)) as store:
            assert await domain_of(store, NAME)
            await gate.open()
            async with asyncio.timeout(PATIENCE):
                while len(events) < 2:
                    assert all(await asyncio.gather(*(domain_of(store, NAME) for _ in range(5))))
            for _ in range(20):
                assert await domain_of(store, NAME)
            assert await settles(database, 1)
    assert [(event["event"], event["host"]) for event in events] == [("store.connected", 2), ("store.connected", 1)]
    await gate.close()
    assert await settles(database, 0)


@pytest.mark.usefixtures("looking")
async def test_connection_lost_while_a_better_host_is_looked_for(database: Database, gate: Gate) -> None:
    """A better host that is found when the connection has just been replaced leaves no second connection behind."""
    async with open_store(gate.dsn(database)) as store:
        assert await domain_of(store, NAME)
        await gate.open(held=True)
        await search_is_under_way(store, gate)
        await cut(database)
        lookup = asyncio.create_task(domain_of(store, NAME))
        await until(lambda: gate.come == 2)
        gate.let_in(1)
        await until(lambda: store._hosts._found is not None)  # found, while the lookup waits for a connection of its own
        gate.let_in(1)
        assert await lookup
        assert await domain_of(store, NAME)
        assert await settles(database, 1)
    await gate.close()
    assert await settles(database, 0)


async def test_found_host_is_judged_anew(database: Database, gate: Gate) -> None:
    """What a search found is not taken when the connection was meanwhile replaced by one as good, nor when it is lost."""
    await gate.open()
    async with open_store(gate.dsn(database)) as store:
        assert await domain_of(store, NAME)
        served = store._hosts._used
        store._hosts._found = await store._hosts._connect(NONE)  # as a search leaves it that began before
        assert await domain_of(store, NAME)
        assert store._hosts._used is served
        assert await settles(database, 1)
        store._hosts._found = await store._hosts._connect(NONE)
        await cut(database)
        await until(lambda: store._hosts._found is None or not store._hosts._found.is_open)
        assert await domain_of(store, NAME)
        assert await settles(database, 1)
    await gate.close()


@pytest.mark.usefixtures("looking")
async def test_closed_while_a_better_host_is_looked_for(database: Database, gate: Gate) -> None:
    """After `close` no task runs and no connection is open, neither of the search nor of what it found."""
    async with open_store(gate.dsn(database)) as store:
        assert await domain_of(store, NAME)
        await gate.open(held=True)
        await search_is_under_way(store, gate)
        before = asyncio.all_tasks()
        search = store._hosts._search
        await store.close()
        assert search
        assert search.done()
        assert asyncio.all_tasks() <= before - {search}
        await store.close()
    await gate.close()
    async with open_store(gate.dsn(database)) as store:
        assert await domain_of(store, NAME)
        store._hosts._found = await store._hosts._connect(NONE)  # found, and not yet taken
    assert await settles(database, 0)


async def test_lookups_at_close(database: Database) -> None:
    """At `close` lookups fail at once, those under way, those that wait and those that come later; none connects again."""
    async with open_store(database.reader) as store:
        assert await store.connect()
        locker = await asyncpg.connect(database.owner)
        async with locker.transaction():
            await locker.execute("LOCK TABLE registry.domain")
            begun = time.monotonic()
            under_way = asyncio.create_task(domain_of(store, NAME))
            await until(lambda: store._runner is not None and not store._queues[DOMAIN].waiting)
            waiting = asyncio.create_task(domain_of(store, parse_name("punktum.dk")))
            await until(lambda: bool(store._queues[DOMAIN].waiting))
            await store.close()
            results = await asyncio.gather(under_way, waiting, domain_of(store, NAME), return_exceptions=True)
        await locker.close()
        assert [str(result) for result in results] == ["stopping"] * 3
        assert time.monotonic() - begun < 1
        assert await store.connect() is False
        assert await settles(database, 0)


async def test_host_that_says_nothing_has_its_share(database: Database, gate: Gate) -> None:
    """A host that takes connections and says nothing leaves the deadline's other share to the next; none stays open."""
    await gate.open(held=True)
    async with open_store(gate.dsn(database), deadline=1) as store:
        for _ in range(3):
            begun = time.monotonic()
            assert await domain_of(store, NAME)
            assert 0.4 < time.monotonic() - begun < 1
            await cut(database)
            await until(lambda: store._hosts._used is not None and not store._hosts._used.is_open)
        assert await domain_of(store, NAME)
        assert await settles(database, 1)
    await gate.close()  # which waits until all of those that came have gone


async def test_silent_database_leaves_nothing_open() -> None:
    """A database that takes every connection and says nothing costs no descriptor, however often it is tried."""
    with temporary_folder() as folder, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / ".s.PGSQL.5432"))
        silent.listen(100)
        async with open_store(f"postgresql://whoisd_reader@/whois?host={folder},{folder}", deadline=0.1) as store:
            open_files = []
            for _ in range(20):
                with pytest.raises(StoreError):
                    await domain_of(store, NAME)
                await asyncio.sleep(0.01)
                open_files.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208 - no pathlib in a coroutine (ASYNC240)
    assert max(open_files) - min(open_files) <= 1


@pytest.mark.parametrize(("target", "admitted"), [("standby", False), ("read-only", False), ("prefer-standby", True)])
async def test_primary_where_a_standby_is_wanted(database: Database, target: str, admitted: bool) -> None:
    """A primary is taken when a standby is preferred and there is none; when one is required it is not: the log says so."""
    async with open_store(f"{database.reader}&target_session_attrs={target}") as store:
        with capture_logs() as events:
            assert await store.connect() is admitted
        assert await settles(database, int(admitted))
    told = [(event["event"], event.get("cause")) for event in events]
    wanted = ("store.unreachable", "no server that target_session_attrs admits")
    assert told == [("store.connected", None) if admitted else wanted]


# --- when the database is away -------------------------------------------------------------------------------------


async def test_nothing_to_connect_to(tmp_path: Path) -> None:
    """Without a database a lookup fails at once, and so do all that come with it."""
    async with open_store(f"postgresql://whoisd_reader@/whois?host={tmp_path}") as store:
        begun = time.monotonic()
        results = await asyncio.gather(
            *(domain_of(store, parse_name(f"n{n}.dk")) for n in range(50)), return_exceptions=True
        )
        assert all(isinstance(result, StoreError) for result in results)
        assert time.monotonic() - begun < 0.5
        assert await store.connect() is False


async def test_database_that_does_not_answer() -> None:
    """A database that takes the connection and says nothing fails a lookup at its deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes the connection, and nobody reads it
        port = silent.getsockname()[1]
        async with open_store(f"postgresql://whoisd_reader@127.0.0.1:{port}/whois", deadline=0.5) as store:
            begun = time.monotonic()
            with pytest.raises(StoreError):
                await domain_of(store, parse_name("eksempel.dk"))
            assert 0.4 < time.monotonic() - begun < 1


async def test_locked_tables(database: Database) -> None:
    """While a lock keeps the tables, lookups fail within the deadline; when it is gone they are right again."""
    async with open_store(database.reader, deadline=0.6) as store:
        assert await domain_of(store, parse_name("eksempel.dk"))
        locker = await asyncpg.connect(database.owner)
        async with locker.transaction():
            await locker.execute("LOCK TABLE registry.domain")
            begun = time.monotonic()
            names = [parse_name("eksempel.dk"), parse_name("punktum.dk")] * 5
            results = await asyncio.gather(*(domain_of(store, name) for name in names), return_exceptions=True)
            assert all(isinstance(result, StoreError) for result in results)
            assert time.monotonic() - begun < 0.9
        await locker.close()
        assert await domain_of(store, parse_name("eksempel.dk"))


async def test_connection_cut_by_the_administrator(database: Database) -> None:
    """A connection that PostgreSQL ended is replaced within the lookup that finds it gone."""
    async with open_store(database.reader) as store:
        for _ in range(3):
            assert await domain_of(store, parse_name("eksempel.dk"))
            superuser = await asyncpg.connect(database.superuser)
            await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'whoisd_reader'")
            await superuser.close()
            assert await domain_of(store, parse_name("punktum.dk"))


async def test_connection_may_lie_idle(sandbox_database: Database) -> None:
    """A connection that lay idle for longer than the statement timeout answers the first query that comes."""
    async with open_store(sandbox_database.reader, deadline=0.3) as store:
        assert await store.connect()
        await asyncio.sleep(0.5)
        assert await domain_of(store, parse_name("eksempel.dk"))


async def test_view_replaced_under_the_connection(database: Database) -> None:
    """A migration that replaces the views under a running server costs no lookup."""
    async with open_store(database.reader) as store:
        assert await host_of(store, parse_name("ns1.eksempel.dk"))
        await database.execute(
            "DROP VIEW whois.host; CREATE VIEW whois.host AS SELECT name, 1 AS more, false AS glue FROM registry.host;"
            "GRANT SELECT ON whois.host TO whoisd_reader"
        )
        host = await host_of(store, parse_name("ns1.eksempel.dk"))
    assert host
    assert host.glue is False


async def test_lookup_given_up_leaves_the_others(database: Database) -> None:
    """A client that goes away while its name waits costs the others of its batch nothing."""
    async with open_store(database.reader) as store:
        await domain_of(store, parse_name("eksempel.dk"))
        tasks = [asyncio.create_task(domain_of(store, parse_name("punktum.dk"))) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [number == 3 for number in range(10)]
    assert all(not isinstance(result, StoreError) for result in results)


async def test_names_given_up_do_not_pile_up(database: Database) -> None:
    """While the database is stuck, a name whose client went or was told to try later is not kept."""
    async with open_store(database.reader, deadline=0.3) as store:
        async with asyncio.timeout(PATIENCE):
            while not await store.connect():
                pass
        locker = await asyncpg.connect(database.owner)
        left = []
        async with locker.transaction():
            await locker.execute("LOCK TABLE registry.domain")
            for start in range(0, 4000, 1000):
                names = [parse_name(f"n{number}.dk") for number in range(start, start + 1000)]
                tasks = [asyncio.create_task(domain_of(store, name)) for name in names]
                await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                left.append(len(store._queues[DOMAIN].waiting))
        await locker.close()
        assert left == [0, 0, 0, 0]
        async with asyncio.timeout(PATIENCE):
            while await store.check():
                pass


def test_dead_log_costs_no_answer(database: Database) -> None:
    """A log whose reader is gone costs lines, never an answer, not even when the connection is lost meanwhile."""

    async def terminate() -> None:
        superuser = await asyncpg.connect(database.superuser)
        await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'whoisd_reader'")
        await superuser.close()

    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_LISTEN": '[{"host": "127.0.0.1", "port": 0}]'}
    with subprocess.Popen([WHOISD, "serve"], env=environment(settings), stderr=subprocess.PIPE) as process:
        assert process.stderr
        port = next(json.loads(line)["port"] for line in process.stderr if b"server.listening" in line)
        next(line for line in process.stderr if b"server.ready" in line)  # no worker is just connecting
        process.stderr.close()
        try:
            for _ in range(3):
                asyncio.run(terminate())
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    client.sendall(b"eksempel.dk\r\n")
                    assert b"Status:               Active\r\n" in receive(client)
        finally:
            process.kill()


def test_postgresql_stopped_and_started() -> None:
    """With PostgreSQL stopped a query is told to try later within 2 s; within 2 s of its return it is answered right."""

    def ask_in_time(service: Service, right: Callable[[str], bool]) -> None:
        begun = time.monotonic()
        while not right(answer := service.ask("eksempel.dk")):
            assert answer == TEMPORARY_FAILURE
            assert time.monotonic() - begun < 2
            time.sleep(0.02)

    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        cluster.start()
        try:
            asyncio.run(prepare(cluster))
            with Service(cluster.dsn("whoisd_reader", DATABASE)) as service, ThreadPoolExecutor(4) as load:
                whole = service.ask("eksempel.dk")
                for _ in range(2):
                    under_load: list[Any] = [load.submit(service.ask, "eksempel.dk") for _ in range(400)]
                    cluster.stop()
                    begun = time.monotonic()
                    assert service.ask("eksempel.dk") == TEMPORARY_FAILURE
                    assert time.monotonic() - begun < 2
                    cluster.start()
                    ask_in_time(service, lambda answer: answer == whole)
                    assert {answer.result() for answer in under_load} <= {whole, TEMPORARY_FAILURE}
                assert service.process.poll() is None
                outcomes = {event["outcome"] for event in service.events("query")}
            assert outcomes == {"found", "temporary_failure"}
        finally:
            cluster.stop()


def test_server_starts_without_its_database(tmp_path: Path) -> None:
    """A server whose database is away starts, and says so to its clients."""
    with Service(f"postgresql://whoisd_reader@/whois?host={tmp_path}") as service:
        assert service.ask("--show-handles punktum.dk") == TEMPORARY_FAILURE
        assert "Send HELP" not in service.ask("HELP")
        event = service.wait_for_event("query.failed")
    assert event["level"] == "error"
    assert event["fault"] in ("FileNotFoundError: No such file or directory", "not connected")
