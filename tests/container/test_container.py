"""The image: built by its Containerfile, run with as little as it says that it needs, stopped, and without its database."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from container.storage import IMAGE, Podman, why_not
from faults.standby import ending
from support import PATIENCE, Service, receive, until

from whoisd.answers import notices
from whoisd.sandbox.postgres import Cluster, temporary_folder
from whoisd.sandbox.sandbox import DATABASE, prepare

LACKING: Final = why_not()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

LEAST: Final = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
TOOLS: Final = ("pip", "gcc", "cc", "mypy", "setuptools", "hatchling")
ENDS_WITH: Final = b"auth02.ns.dk-hostmaster.dk\r\n"  # the answer for punktum.dk
NAMES: Final = ("punktum.dk", "enkeltmand.dk", "findes-ikke.dk")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL for all tests here, at whose socket whoever is in a container may knock."""
    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        with ending(cluster):
            start(cluster)
            asyncio.run(prepare(cluster))
            yield cluster


def start(cluster: Cluster) -> None:
    """Start it, and open its folder and its socket."""
    cluster.start()
    for path in (cluster.directory, cluster.directory / ".s.PGSQL.5432"):
        path.chmod(0o777)


@contextmanager
def serving(podman: Podman, cluster: Cluster, *options: str) -> Iterator[tuple[str, int]]:
    """The name and port of a container that serves the database, over its socket, with the least of privileges."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    network = {"name": "podman", "cidrs": ["10.0.0.0/8"], "rate": "unlimited", "connections": 1000}
    settings = {"WHOISD_DATABASE__DSN": dsn_of(cluster), "WHOISD_NETWORK": json.dumps([network])}
    given = [f"--env={name}={value}" for name, value in settings.items()]
    folder = f"--volume={cluster.directory}:{cluster.directory}"
    published = f"--publish=127.0.0.1:{port}:4343"
    podman("run", "--detach", "--name=whoisd", *LEAST, *given, folder, published, *options, IMAGE)
    try:
        until(lambda: is_ready(podman), "the server is ready")
        yield "whoisd", port
    finally:
        podman("rm", "--force", "--time=0", "--volumes", "whoisd")


def is_ready(podman: Podman) -> bool:
    """Whether the server has said that it is ready."""
    return "server.ready" in podman("logs", "whoisd", errors=True)


def dsn_of(cluster: Cluster) -> str:
    """The URL of the server's role."""
    return cluster.dsn("whoisd_reader", DATABASE)


def ask(port: int, name: str) -> bytes:
    """The answer for a name."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(f"--charset=utf-8 --show-handles {name}\r\n".encode())
        return receive(client)


def test_what_the_image_says_of_itself(podman: Podman) -> None:
    """It runs as an account that is not root, ends by SIGTERM, and says its port, its volume and its health."""
    image = podman.inspect(IMAGE)
    told = image["Config"]
    assert told["User"] == "10043:10043"
    assert told["StopSignal"] in {"SIGTERM", "15"}
    assert (list(told["ExposedPorts"]), list(told["Volumes"])) == (["4343/tcp"], ["/run/whoisd"])
    assert told["Entrypoint"] + told["Cmd"] == ["whoisd", "serve"]
    assert "/livez" in " ".join((told.get("Healthcheck") or image["Healthcheck"])["Test"])


def test_what_is_in_the_image(podman: Podman) -> None:
    """The compiled server, none of the tools that made it, and nothing that its account may write but the volume."""
    assert podman("run", "--rm", IMAGE, "--version").strip().endswith(", compiled")
    named = " -o ".join(f"-name {tool} -o -name '{tool}-*'" for tool in TOOLS)
    look = ("run", "--rm", "--entrypoint=sh", IMAGE, "-c")
    assert podman(*look, f"find /opt /usr/bin /usr/lib/python3 {named}") == ""
    writable = podman(*look, "find / -xdev -writable ! -type l ! -path '/proc/*' ! -perm -1000 2>/dev/null || true")
    assert {*writable.split()} <= {"/run/whoisd", "/dev/pts", "/dev/null", "/dev/full", "/dev/zero", "/dev/tty"}


def test_answers_with_the_least_of_privileges(podman: Podman, postgresql: Cluster) -> None:
    """Read-only and without a capability it answers as the server does outside, and says that it is well."""
    with serving(podman, postgresql) as (name, port), Service(dsn_of(postgresql)) as outside:
        for asked in NAMES:
            answers = ask(port, asked), outside.exchange(f"--charset=utf-8 --show-handles {asked}\r\n".encode())
            (_, inside), (_, expected) = (answer.split(b"\r\n", 1) for answer in answers)  # after the client's address
            assert inside == expected
        podman("healthcheck", "run", name)


def test_health_is_not_taken_for_granted(podman: Podman, postgresql: Cluster) -> None:
    """What does not answer for its health is unwell."""
    with serving(podman, postgresql, "--env=WHOISD_METRICS__ENABLED=false") as (name, _):
        podman("healthcheck", "run", name, fails=True)


def test_without_its_database(podman: Podman, postgresql: Cluster) -> None:
    """While the database is away clients are told to come again, and the container is well; then it answers again."""
    with serving(podman, postgresql) as (name, port):
        postgresql.stop()
        try:
            assert ask(port, "punktum.dk") == notices.TEMPORARY_FAILURE.replace("\n", "\r\n").encode()
            podman("healthcheck", "run", name)
        finally:
            start(postgresql)
        until(lambda: ask(port, "punktum.dk").endswith(ENDS_WITH), "the answer")


def test_stop(podman: Podman, postgresql: Cluster) -> None:
    """Stopped while clients ask it ends by itself, at once and well, and whoever was answered has the answer whole."""
    answers: list[bytes] = []
    enough = threading.Event()

    def go_on(port: int) -> None:
        while not enough.is_set():
            try:
                answers.append(ask(port, "punktum.dk"))
            except OSError:  # it listens no more
                return

    with serving(podman, postgresql) as (name, port):
        clients = [threading.Thread(target=go_on, args=(port,)) for _ in range(8)]
        for client in clients:
            client.start()
        until(lambda: len(answers) > 500)
        begun = time.monotonic()
        podman("stop", "--time=30", name)
        assert time.monotonic() - begun < 15
        enough.set()
        for client in clients:
            client.join()
        assert podman.inspect(name)["State"]["ExitCode"] == 0
        assert '"server.stopped"' in podman("logs", name, errors=True)
    assert [answer for answer in answers if not answer.endswith(ENDS_WITH)] == []
