"""The sandbox: the same software as in production over a small predefined registry, for people who write clients.

One call makes a PostgreSQL of its own, brings it up to date, fills it, and serves. Everything lies in one folder: a
temporary one is gone at exit, one that is named is kept and used again.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import asyncpg

from whoisd.config import HttpListen, Listen, load_settings
from whoisd.database.migrations import migrate
from whoisd.registry import vat_update
from whoisd.registry.cvr.files import CvrFiles
from whoisd.registry.cvr.update import update
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import load
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.server.sockets import Listener, open_listeners
from whoisd.server.supervisor import supervise

DATABASE: Final = "whois"
HTTP_PORT: Final = 8080
OPERATOR: Final = "nobody: this is a sandbox, and what it holds is made up"

# What the sandbox sets itself; all else may be set in the environment.
_OWN: Final = ("WHOISD_DATABASE", "WHOISD_LISTEN", "WHOISD_LIMITS__FILE", "WHOISD_HTTP__LISTEN")

_SUGGESTIONS: Final = """
The sandbox answers on {host} port {port}. Try, in another terminal:

    whois -h {host} -p {port} eksempel.dk
    whois -h {host} -p {port} -- '--charset=utf-8 --show-handles punktum.dk'
    whois -h {host} -p {port} HELP

It has a page for a browser, RESTful WHOIS and RDAP too:

    {web}/
    curl {web}/domain/punktum.dk
    curl {web}/rdap/domain/enkeltmand.dk

The other commands work on it too; two ways to see why an email is withheld:

    {program} query --config {config} -- --show-handles enkeltmand.dk
    {program} explain --config {config} enkeltmand.dk

So do decisions by hand; this makes the email of einzelunternehmen.dk public in the next answer:

    {program} registrant classify --config {config} EINZEL-DE --sole-proprietorship no --by staff:bodil --evidence 'a trial'

And so does plain SQL on the tables in the schema registry:

    {psql} '{dsn}' -c "UPDATE registry.registrant SET cvr_form = 80 WHERE handle = 'ENKELT-DK'"

Ctrl-C ends it.
"""


def run_sandbox(host: str, ports: tuple[int, int], data: Sequence[Path], directory: Path | None) -> None:
    """Serve the sandbox until SIGTERM, SIGINT or SIGHUP.

    `ports` are that of WHOIS and that of HTTP; `data` are registry files to load besides the predefined ones; `directory` is
    kept and used again, without one a temporary folder is used and removed. Raises `SandboxError`, `ConfigError` or
    `LoadError`.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what was begun is undone
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # the terminal is closed
    with ExitStack() as stack:
        sections = [Listen(host=host, port=ports[0])], [HttpListen(host=host, port=ports[1])]
        listeners = stack.enter_context(open_listeners(*sections))
        folder = stack.enter_context(_folder(directory))
        cluster = Cluster(folder / "postgresql", durable=directory is not None)
        stack.callback(cluster.stop)
        cluster.start()
        asyncio.run(prepare(cluster, data))
        config = _write_config(folder, cluster, listeners)
        supervise(load_settings(config), listeners, on_ready=lambda: _suggest(config, cluster, listeners))


async def prepare(cluster: Cluster, data: Sequence[Path] = (), *, predefined: bool = True) -> None:
    """Bring a cluster's database up to date: roles, database, migrations, the predefined data when it is new, `data`."""
    await _create_database(cluster)
    await create_audit_trail(cluster, DATABASE)
    await take_privileges(cluster, DATABASE)
    owner = await asyncpg.connect(cluster.dsn("whoisd_owner", DATABASE))
    try:
        await migrate(owner)
        with as_file(files("whoisd").joinpath("sql")) as sql:
            empty = not await owner.fetchval("SELECT EXISTS (SELECT FROM registry.domain)")
            if predefined and empty:
                await load(owner, RegistryFiles([sql / "sandbox.jsonl"]))
                await update(owner, CvrFiles([sql / "sandbox_cvr.jsonl"]))
                await vat_update.update(owner, RegistryFiles([sql / "sandbox_vies.jsonl"]), vat_update.Options())
        if data:
            await load(owner, RegistryFiles(data))
    finally:
        await owner.close()


async def _create_database(cluster: Cluster) -> None:
    superuser = await asyncpg.connect(cluster.dsn("postgres", "postgres"))
    try:
        if not await superuser.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'whoisd_reader')"):
            await superuser.execute(files("whoisd").joinpath("sql/roles.sql").read_text(encoding="utf-8"))
        if not await superuser.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", DATABASE):
            await superuser.execute(f"CREATE DATABASE {DATABASE} OWNER whoisd_owner")
    finally:
        await superuser.close()


async def create_audit_trail(cluster: Cluster, database: str) -> None:
    """Run sql/audit.sql in a database, as the superuser that it takes."""
    await _run_as_superuser(cluster, database, "audit.sql")


async def take_privileges(cluster: Cluster, database: str) -> None:
    """Run sql/privileges.sql in a database that has an audit trail, as the superuser that it takes."""
    await _run_as_superuser(cluster, database, "privileges.sql")


async def _run_as_superuser(cluster: Cluster, database: str, file: str) -> None:
    superuser = await asyncpg.connect(cluster.dsn("postgres", database))
    try:
        await superuser.execute(files("whoisd").joinpath("sql", file).read_text(encoding="utf-8"))
    finally:
        await superuser.close()


@contextmanager
def _folder(directory: Path | None) -> Iterator[Path]:
    if directory is None:
        with temporary_folder() as folder:
            yield folder
    else:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.absolute()


def _write_config(folder: Path, cluster: Cluster, listeners: Sequence[Listener[Any]]) -> Path:
    """Write the configuration that the sandbox serves by, for the other commands to use too."""
    (host, port), (_, http_port) = (listener.address for listener in listeners)
    for variable in [name for name in os.environ if name.upper().startswith(_OWN)]:
        del os.environ[variable]
    config = folder / "whoisd.toml"
    config.write_text(
        f"""\
# The sandbox that lies in this folder; written anew at each start.

[[listen]]
host = "{host}"
port = {port}

[[http.listen]]
host = "{host}"
port = {http_port}

[database]
dsn = {json.dumps(cluster.dsn("whoisd_reader", DATABASE))}
owner_dsn = {json.dumps(cluster.dsn("whoisd_owner", DATABASE))}

[limits]  # none on queries: it is there to be tried
file = {json.dumps(str(folder / "sources"))}
rate = "unlimited"
network_rate = "unlimited"

[metrics]
port = 0

[answer]
operator = "{OPERATOR}"
""",
        encoding="utf-8",
    )
    return config


def _suggest(config: Path, cluster: Cluster, listeners: Sequence[Listener[Any]]) -> None:
    (host, port), (_, http_port) = (listener.address for listener in listeners)
    text = _SUGGESTIONS.format(
        host=host,
        port=port,
        web=f"http://[{host}]:{http_port}" if ":" in host else f"http://{host}:{http_port}",
        program=sys.argv[0],
        config=config,
        psql=cluster.program("psql"),
        dsn=cluster.dsn("whoisd_owner", DATABASE),
    )
    print(text, flush=True)  # noqa: T201 - this is what the command prints
