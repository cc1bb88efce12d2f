"""Debian's Prometheus and blackbox exporter watch a server with what `monitoring/` has: alerts fire, and resolve."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from support import Database, Service, WebService, end, until

FOLDER: Final = Path(__file__).parents[2] / "monitoring"
SOON: Final = re.compile(r"^( +for: ).*$", re.MULTILINE)
EXPECTED: Final = {"WhoisdDatabaseDown", "WhoisdProbeFails"}
PROGRAMS: Final = ("prometheus", "prometheus-blackbox-exporter")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@contextmanager
def running(port: int, ready: str, *command: str | Path, cwd: Path) -> Iterator[None]:
    """Run a server until the block ends; it begins when the server answers this path on its port."""
    with (cwd / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log)
        try:
            until(lambda: answers(port, ready), f"{command[0]} answers")
            yield
        finally:
            end(process)


def answers(port: int, path: str) -> bool:
    with suppress(OSError):
        return bool(get(port, path))
    return False


@pytest.fixture
def tools() -> None:
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {program}")


def configure(folder: Path, service: Service, exporter: int) -> None:
    """Write what `monitoring/` has, asking as often as can be, and with alerts that do not wait."""
    shutil.copy(FOLDER / "blackbox.yml", folder)
    rules = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    (folder / "alerts.yml").write_text(SOON.sub(r"\g<1>0s", rules), encoding="utf-8")
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    for known, ours in (("9043", metrics_port(service)), ("43", service.port), ("9115", exporter)):
        text = re.sub(rf"127\.0\.0\.1:{known}\b", f"127.0.0.1:{ours}", text)
    # The exporter takes half a second off the time that a scrape has.
    text = "global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 500ms}\n" + text
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")


def metrics_port(service: Service) -> int:
    port: int = service.wait_for_event("metrics.listening")["port"]
    return port


def found(port: int, query: str) -> list[Any]:
    data: dict[str, Any] = json.loads(get(port, f"/api/v1/query?query={quote(query)}"))["data"]
    return list(data["result"])


def firing(port: int) -> set[str]:
    alerts: list[dict[str, Any]] = json.loads(get(port, "/api/v1/alerts"))["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@pytest.mark.usefixtures("tools")
def test_alerts_fire_and_resolve(database: Database, tmp_path: Path) -> None:
    """While the database lets nobody in, Prometheus says so and the probe fails; when it does again, all is well."""
    ours, exporter = free_port(), free_port()
    with Service(database.reader) as service:
        configure(tmp_path, service, exporter)
        listen = f"--web.listen-address=127.0.0.1:{exporter}"
        prometheus = ("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data")
        with (
            running(exporter, "/-/healthy", PROGRAMS[1], "--config.file=blackbox.yml", listen, cwd=tmp_path),
            running(ours, "/-/ready", *prometheus, f"--web.listen-address=127.0.0.1:{ours}", cwd=tmp_path),
        ):
            for module in ("whois_shown", "whois_withheld"):
                path = f"/probe?module={module}&target=127.0.0.1:{service.port}"
                assert re.search(r"^probe_success 1$", get(exporter, path), re.MULTILINE), module
            until(lambda: found(ours, "probe_success == 1"), "a probe has succeeded")
            assert firing(ours) == set()
            database.allow(connections=False)
            until(lambda: firing(ours) >= EXPECTED, "the alerts fire")
            database.allow(connections=True)
            until(lambda: not firing(ours) & EXPECTED, "the alerts resolve")


@pytest.mark.usefixtures("tools")
def test_probe_of_rdap(database: Database, tmp_path: Path) -> None:
    """The module for RDAP passes while the email is withheld, and fails as soon as it is shown."""
    exporter = free_port()
    shutil.copy(FOLDER / "blackbox.yml", tmp_path)
    with WebService(database.reader) as service:
        command = (PROGRAMS[1], "--config.file=blackbox.yml", f"--web.listen-address=127.0.0.1:{exporter}")
        target = quote(f"http://127.0.0.1:{service.http_port}/rdap/domain/enkeltmand.dk", safe="")
        path = f"/probe?module=rdap_withheld&target={target}"
        with running(exporter, "/-/healthy", *command, cwd=tmp_path):
            assert "\nprobe_success 1\n" in get(exporter, path)
            asyncio.run(database.execute("UPDATE registry.registrant SET cvr_form = 80 WHERE email LIKE '%@enkeltmand.%'"))
            assert b"@enkeltmand." in service.get("/rdap/domain/enkeltmand.dk")[2]
            assert "\nprobe_success 0\n" in get(exporter, path)
