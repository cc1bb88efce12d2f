"""The compose file, with a stand-in for the image of PostgreSQL: started as the manual says, filled, asked, restarted."""

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from container.storage import ROOT, Podman, why_not
from container.test_container import ask
from debian_system import blocks
from support import until

LACKING: Final = why_not()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

HERE: Final = Path(__file__).parent
POSTGRES: Final = "localhost/postgres"
TYPED: Final = blocks((ROOT / "docs/container.md").read_text(encoding="utf-8"))
SANDBOX: Final = ROOT / "sql/sandbox.jsonl"


class Composed:
    """The project of the compose file, in a copy of the checkout's part that it takes."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self.podman, self.folder = podman, folder
        with socket.create_server(("0.0.0.0", 0)) as free:  # noqa: S104 - as containers publish their ports
            self.port = free.getsockname()[1]
        for name in ("container", "sql"):
            podman.run("cp", "--recursive", ROOT / name, folder)

    def __call__(self, *arguments: str, given: bytes | None = None) -> str:
        """Run the compose tool, as the manual types it."""
        tool = (sys.executable, "-m", "podman_compose", "--podman-path", self.podman.command)
        environment = {"WHOIS_PORT": str(self.port), "DATABASE_IMAGE": POSTGRES}
        file = ("--file", self.folder / "container/compose.yaml")
        return self.podman.run(*tool, *file, *arguments, given=given, at=self.folder, environment=environment)

    def up(self) -> None:
        """Start it all. That the database is well before the others start we see to: podman 4.3 waits for no health."""
        self("up", "--detach", "--no-build", "database")
        isready = ("exec", "whoisd_database_1", "sh", "-c", "pg_isready --host=127.0.0.1 --dbname=whois && echo well")
        until(lambda: "well" in self.podman(*isready[:-1], f"{isready[-1]} || true"), "PostgreSQL")
        self("up", "--detach", "--no-build", "--no-recreate")

    def ask(self, name: str) -> bytes:
        """The answer for a name, by the port that is published."""
        try:
            return ask(self.port, name)
        except OSError:
            return b""

    def container(self, service: str) -> Any:
        """What podman knows of the container of a service."""
        return self.podman.inspect(f"whoisd_{service}_1")


@pytest.fixture(scope="module")
def composed(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The project, up."""
    podman.build(POSTGRES, HERE / "Containerfile.postgres", HERE)
    composed = Composed(podman, tmp_path_factory.mktemp("compose"))
    podman.run("sh", "-euc", TYPED["With compose"].partition("docker compose")[0], at=composed.folder)
    try:
        composed.up()
        yield composed
    finally:
        composed("down", "--volumes")


def test_it_serves(composed: Composed) -> None:
    """The schema is there before the server; what is loaded is answered, and who asks is told by which address."""
    until(lambda: b"No entries found" in composed.ask("punktum.dk"), "an empty registry's answer")
    said = composed("run", "--rm", "-T", "registry", "load", "-", given=SANDBOX.read_bytes())
    assert "The load is committed." in said
    assert b"Domain:               punktum.dk" in composed.ask("punktum.dk")


def test_the_server_may_only_read(composed: Composed) -> None:
    """The server's container knows no password but the reader's, and has the least of privileges."""
    told = composed.container("whoisd")
    passwords = dict(re.findall(r"^(\w+)=(\w+)$", (composed.folder / "container/.env").read_text(), re.MULTILINE))
    environment = " ".join(told["Config"]["Env"])
    assert passwords["READER_PASSWORD"] in environment
    assert passwords["OWNER_PASSWORD"] not in environment
    assert passwords["SUPERUSER_PASSWORD"] not in environment
    assert told["HostConfig"]["ReadonlyRootfs"]
    assert told["EffectiveCaps"] in (None, [])


def test_it_outlives_its_containers(composed: Composed) -> None:
    """Taken down and put up again it has its data."""
    composed("down")
    composed.up()
    until(lambda: b"Domain:               punktum.dk" in composed.ask("punktum.dk"), "the data again")
