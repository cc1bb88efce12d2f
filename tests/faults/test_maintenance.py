"""A maintenance window under load: the registry is rewritten below everybody who asks, and nobody notices."""

import re
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
from faults.load import ANSWERED, Load
from support import WHOISD, Database, WebService, environment

QUERIES: Final = (
    b"eksempel.dk\r\n",
    b"--show-handles punktum.dk\r\n",
    b"auth01.ns.dk-hostmaster.dk\r\n",
    b"findes-ikke.dk\r\n",
)
WEB: Final = ("/domain/eksempel.dk", "/rdap/domain/punktum.dk", "/domain/findes-ikke.dk")
TABLES: Final = ("registry.domain", "registry.registrant", "registry.host", "registry.registrar")
# Lookups may wait for as long as a busy machine takes to rewrite a table; they are not lost for it.
SETTINGS: Final = {"WHOISD_DATABASE__DEADLINE": "30", "WHOISD_HTTP__WORKERS": "1"}

_NOW: Final = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-][0-9:]+)")  # RDAP says when it answered


class _Browser(threading.Thread):
    """A client over HTTP that asks one question after the other, and holds each answer to what it was before."""

    def __init__(self, service: WebService) -> None:
        super().__init__()
        self._service = service
        self._known = {path: self._get(path) for path in WEB}
        self.enough = threading.Event()
        self.answered = 0
        self.wrong: list[object] = []

    def _get(self, path: str) -> tuple[int, bytes]:
        status, _, body = self._service.get(path, Accept="*/*")
        return status, _NOW.sub(b"", body)

    def run(self) -> None:
        while not self.enough.is_set():
            for path, known in self._known.items():
                try:
                    found = self._get(path)
                except OSError as error:
                    self.wrong.append((path, error))
                    continue
                self.answered += 1
                if found != known:
                    self.wrong.append((path, found))


def maintenance(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"WHOISD_DATABASE__DSN": database.reader, "WHOISD_DATABASE__OWNER_DSN": database.owner}
    return subprocess.run(
        [WHOISD, *arguments], env=environment(settings), capture_output=True, text=True, timeout=120, check=False
    )


async def rewrite(database: Database) -> None:
    """Rewrite every row and index of the tables; and the tables themselves, under the lock that readers wait for."""
    superuser = await asyncpg.connect(database.superuser)
    try:
        for table in TABLES:
            key = "name" if table in ("registry.domain", "registry.host") else "handle"
            await superuser.execute(f"UPDATE {table} SET {key} = {key}")  # noqa: S608 - names of ours
            await superuser.execute(f"VACUUM (ANALYZE) {table}")
            await superuser.execute(f"REINDEX TABLE CONCURRENTLY {table}")
            await superuser.execute(f"VACUUM (FULL) {table}")
    finally:
        await superuser.close()


async def test_answers_go_on(database: Database) -> None:
    """20,000 queries, and what is asked over HTTP, while the tables are rewritten in a window: none is lost or otherwise."""
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    with WebService(database.reader, SETTINGS) as service:
        browser = _Browser(service)
        known = {query: service.exchange(query) for query in QUERIES}
        with Load((service.host, service.port), known) as load:
            browser.start()
            try:
                assert maintenance(database, "maintenance", "begin", "--until", until, "--why", "x").returncode == 0
                assert maintenance(database, "portal", "convert").returncode == 1
                rewritten = 0
                while not load.enough() or rewritten < 3:
                    await rewrite(database)
                    rewritten += 1
                assert maintenance(database, "migrate").returncode == 0
                assert maintenance(database, "maintenance", "end").returncode == 0
            finally:
                browser.enough.set()
                browser.join()
            fates = load.end()
        assert {fate for fate, number in fates.items() if number} == {ANSWERED}, fates
        assert fates[ANSWERED] >= 20_000
        assert browser.wrong == []
        assert browser.answered > 0
        assert service.events("query.failed") == []
