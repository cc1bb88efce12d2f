"""What is said of a change when the database goes away meanwhile: never more than can be known."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from portal_data import ACCOUNT, EVIDENCE, FOREIGN, add_user, link, state
from support import IN_FORCE, PATIENCE, Database

from whoisd.commands.terminal import as_owner
from whoisd.database.transaction import changing
from whoisd.errors import WhoisdError
from whoisd.registry import staging
from whoisd.registry.affected import contact
from whoisd.registry.classification import Decision, classify
from whoisd.registry.files import RegistryFiles
from whoisd.registry.loader import load
from whoisd.registry.portal import convert, take_over
from whoisd.registry.records import RegistrarRecord

Change = Callable[[Any, Path], Awaitable[object]]

AGAIN = "run it again, which changes nothing if it is in"
# Each command that changes something, and how to find out whether it has.
CHANGES: dict[str, tuple[Change, str]] = {
    "classify": (
        lambda owner, _: classify(owner, FOREIGN, Decision.NO, evidence=EVIDENCE, who="staff:anna", conditions=IN_FORCE),
        f"`whoisd registrant show {FOREIGN}` tells",
    ),
    "convert": (lambda owner, _: convert(owner, dry_run=False), AGAIN),
    "take-over": (lambda owner, _: take_over(owner, ACCOUNT, "domain:q-beta.dk"), AGAIN),
    "contacted": (
        lambda owner, _: contact(owner, ACCOUNT, who="staff:anna", note=EVIDENCE),
        f"`whoisd portal affected --progress --account {ACCOUNT}` tells",
    ),
    "load": (
        lambda owner, file: load(owner, RegistryFiles([file])),
        "load again, which changes nothing if it is in",
    ),
}


@asynccontextmanager
async def losing(database: Database, folder: Path, request: bytes, *, arrives: bool) -> AsyncIterator[str]:
    """The owner's URL of the database by a relay that cuts the connection at this request, or when it has arrived."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(database.cluster.directory / ".s.PGSQL.5432")
        replies = asyncio.create_task(copy(server, to_client))
        while (data := await client.read(65536)) and request not in data:
            to_server.write(data)
        replies.cancel()
        with suppress(asyncio.CancelledError):
            await replies
        if data and arrives:
            to_server.write(data)
            await server.read(1)
        for side in (to_client, to_server):
            side.transport.abort()

    async with await asyncio.start_unix_server(relay, folder / ".s.PGSQL.5432"):
        yield database.owner.replace(str(database.cluster.directory), str(folder))


class Rows:
    """Registrars to copy, more than a connection takes at once; in their midst something happens."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        for number in range(20_000):
            if number == 10_000:
                self._meanwhile()
            yield (*RegistrarRecord(f"REG-{number}", "x" * 250), 0, number)


async def test_connection_that_is_lost_while_it_takes_no_more(registry: Database) -> None:
    """A load ends whose connection is lost just when it waits for room to write to it."""
    connection: Any = await asyncpg.connect(registry.owner)
    rows: Any = Rows(lambda: os.kill(connection.get_server_pid(), signal.SIGTERM))

    async def change() -> None:
        async with asyncio.timeout(PATIENCE), changing(connection, AGAIN):
            await staging.create(connection)
            await staging.copy(connection, "registrar", rows)

    try:
        with pytest.raises(WhoisdError, match=r"^the database went away, and nothing was changed: "):
            await change()
    finally:
        connection.terminate()


@pytest.mark.parametrize("at", ["the audit trail", "COMMIT", "the reply to COMMIT"])
@pytest.mark.parametrize("change", CHANGES)
async def test_database_that_goes_away(tmp_path: Path, registry: Database, owner: Any, change: str, at: str) -> None:
    """Before COMMIT nothing was changed, and that is said; at COMMIT either may be, and how to find out is said instead."""
    work, hint = CHANGES[change]
    committing, arrives = "COMMIT" in at, at.startswith("the reply")
    config = tmp_path / "whoisd.toml"
    file = tmp_path / "new.jsonl"
    file.write_text(json.dumps({"type": "staff", "name": "ny"}))
    await add_user(owner, "ADM", "administrator")
    await add_user(owner, "LINKED", "proxy", linked=True)
    await link(owner, "LINKED", "domain:q-beta.dk", "proxy")
    before = await state(owner)
    async with losing(registry, tmp_path, b"COMMIT;" if committing else b"audit.entry", arrives=arrives) as dsn:
        config.write_text(f'[database]\ndsn = "{registry.reader}"\nowner_dsn = "{dsn}"\n')
        with pytest.raises(WhoisdError) as told:
            await asyncio.wait_for(as_owner(config, lambda connection: work(connection, file)), PATIENCE)
    said = "while the change was being committed: " if committing else "and nothing was changed: "
    assert said in str(told.value)
    assert str(told.value).endswith(f"; all of it is in, or nothing: {hint}") is committing
    assert (await state(owner) != before) is arrives


async def test_statement_that_is_cancelled(registry: Database, owner: Any) -> None:
    """A statement that is cancelled changes nothing, and nobody is told that the database went away."""
    await add_user(owner, "ADM", "administrator")
    before = await state(owner)
    async with owner.transaction():
        await owner.execute("LOCK TABLE portal.portal_user")
        impatient = await asyncpg.connect(registry.owner, server_settings={"statement_timeout": "50"})
        try:
            with pytest.raises(asyncpg.QueryCanceledError):
                await convert(impatient, dry_run=False)
            assert await impatient.fetchval("SELECT 1") == 1
        finally:
            await impatient.close()
    assert await state(owner) == before
