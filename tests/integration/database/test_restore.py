"""The backup and the restore of the manual, typed at a PostgreSQL that never had the database."""

import asyncio
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from support import Database, ended, run_whoisd

from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import take_privileges

ROOT: Final = Path(__file__).parents[3]
# A line of the manual: a program of PostgreSQL's, run as its superuser, and what it reads or writes.
_LINE: Final = re.compile(r"\(cd / && runuser -u postgres -- (?P<command>[^)]*)\)(?: (?P<way>[<>]) (?P<file>\S+))?")
# What each role may do with whatever there is; the superuser's own is not told.
_PRIVILEGES: Final = """
    SELECT kind, name, privilege.grantee::regrole::text AS grantee, privilege_type FROM (
        SELECT 'database', 'it', datacl FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT 'schema', nspname::text, nspacl FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
        UNION ALL SELECT 'relation', oid::regclass::text, relacl FROM pg_class
        UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, attacl FROM pg_attribute
        UNION ALL SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc
        UNION ALL SELECT 'language', lanname::text, lanacl FROM pg_language
        UNION ALL SELECT 'type', oid::regtype::text, typacl FROM pg_type
    ) AS given (kind, name, acl), aclexplode(acl) AS privilege
    WHERE privilege.grantee <> 'postgres'::regrole
    ORDER BY 1, 2, 3, 4"""
_OWNERS: Final = """
    SELECT relnamespace::regnamespace::text, relname::text, relowner::regrole::text FROM pg_class
    WHERE relnamespace::regnamespace::text IN ('registry', 'whois', 'portal', 'audit') ORDER BY 1, 2"""
_TABLES: Final = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace::regnamespace::text IN ('registry', 'whois', 'portal', 'audit') AND relkind IN ('r', 'v')"""
_ROLES: Final = "SELECT rolname::text, setconfig FROM pg_db_role_setting JOIN pg_roles ON pg_roles.oid = setrole ORDER BY 1"


@pytest.fixture
def elsewhere() -> Iterator[Cluster]:
    """Another PostgreSQL, without a database and a role of ours."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def typed(page: str, title: str) -> list[str]:
    """The commands of PostgreSQL's in a section of the manual."""
    section = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n{title}\n")[1].split("\n##")[0]
    return [line for block in section.split("```\n")[1::2] for line in block.splitlines() if "runuser" in line]


def type_at(cluster: Cluster, line: str, files: dict[str, Path], database: str = "whois") -> None:
    """Run a line of the manual at a cluster, as its superuser."""
    found = _LINE.fullmatch(line)
    assert found, line
    program, *words = shlex.split(found["command"])
    words = [word.replace("whois", database) if database != "whois" and word == "whois" else word for word in words]
    file = files.get(found["file"]) if found["file"] else None
    environment = {"PGHOST": str(cluster.directory), "PGUSER": "postgres", "PATH": "/usr/bin:/bin"}
    with (file or Path("/dev/null")).open("rb" if found["way"] != ">" else "wb") as stream:
        ways: dict[str, Any] = {"stdout": stream} if found["way"] == ">" else {"stdin": stream, "stdout": subprocess.DEVNULL}
        process = subprocess.run(
            [cluster.program(program), *words], env=environment, stderr=subprocess.PIPE, text=True, check=False, **ways
        )
    assert (process.returncode, process.stderr) == (0, ""), line


@asynccontextmanager
async def superuser_of(database: Database) -> Any:
    connection = await asyncpg.connect(database.superuser)
    try:
        yield connection
    finally:
        await connection.close()


async def contents(database: Database) -> dict[str, Any]:
    """All rows of all tables and views of ours, what every role may do, who owns what, and what roles have set."""
    async with superuser_of(database) as superuser:
        tables = [row[0] for row in await superuser.fetch(_TABLES)]
        found: dict[str, Any] = {name: sorted(map(str, await superuser.fetch(f"TABLE {name}"))) for name in tables}
        for what, query in {"privileges": _PRIVILEGES, "owners": _OWNERS, "roles": _ROLES}.items():
            found[what] = [tuple(row) for row in await superuser.fetch(query)]
        return found


def said(database: Database, *words: str) -> str:
    """What a command prints at a database; it ends well."""
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    status, printed, _ = ended(run_whoisd(*words, settings=settings))
    assert status == 0
    return printed


@pytest.mark.plain
async def test_backup_and_restore(database: Database, elsewhere: Cluster, tmp_path: Path) -> None:
    """What is restored elsewhere by the manual has the same rows, owners and privileges, and answers the same."""
    await take_privileges(database.cluster, database.name)
    decision = ("--sole-proprietorship", "no", "--by", "staff:bodil", "--evidence", "their articles")
    said(database, "registrant", "classify", "EINZEL-DE", *decision)
    files = {name: ROOT / "whoisd" / name for name in ("sql/roles.sql", "sql/privileges.sql")}
    files["whois.dump"] = tmp_path / "whois.dump"
    (backup,) = typed("operate.md", "## Backup")
    await asyncio.to_thread(type_at, database.cluster, backup, files, database.name)
    restored = Database(elsewhere, "whois")
    async with superuser_of(Database(elsewhere, "postgres")) as superuser:
        await superuser.execute("CREATE ROLE whoisd_auditor NOLOGIN")
    for line in (typed("install.md", "### 3. The database")[0], *typed("operate.md", "## Restoring")):
        await asyncio.to_thread(type_at, elsewhere, line, files)
    before, after = await contents(database), await contents(restored)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []
    question = ("query", "--", "--charset=utf-8 --show-handles einzelunternehmen.dk")
    assert "Email:                elke@einzel.example" in said(restored, *question)
    assert said(restored, *question) == said(database, *question)
    async with superuser_of(restored) as superuser:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="added to, and never changed"):
            await superuser.execute("DELETE FROM audit.entry")
