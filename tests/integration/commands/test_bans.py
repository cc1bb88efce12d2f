"""`whoisd bans` against a running server: what it shows is in force, and what it lifts is lifted in the next query."""

import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from support import Database, Service, run_whoisd

pytestmark = pytest.mark.alone  # rates and bans pass with time

QUERY: Final = b"eksempel.dk\r\n"
REFUSED: Final = b"WHOIS LIMIT EXCEEDED. Too many requests, try again later.\r\n# Too many connections. Retry after "
BURST: Final = 3
WORKERS: Final = 3
LIMITS: Final = {
    "WHOISD_LIMITS__RATE": "0.001",
    "WHOISD_LIMITS__BURST": str(BURST),
    "WHOISD_LIMITS__NETWORK_RATE": "0.001",
    "WHOISD_LIMITS__NETWORK_BURST": str(2 * BURST),
}

NOT_THERE: Final = (
    "is not there; no server runs with this configuration, or somebody removed the file of one that does, which makes it"
    " anew when it is restarted"
)

_numbers = count(1)


def network() -> str:
    """The first three numbers of a network that nothing else uses."""
    return f"127.3.{next(_numbers)}"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bans") / "sources"


@pytest.fixture(scope="module")
def server(sandbox_database: Database, file: Path) -> Iterator[Service]:
    """A server of several workers that bans a source at its fourth query, and throttles its network at the seventh of it."""
    settings = {
        "WHOISD_SERVER__WORKERS": str(WORKERS),
        "WHOISD_LIMITS__FILE": str(file),
        **LIMITS,
        "WHOISD_LISTEN": json.dumps([{"host": "127.0.0.1", "port": 0}, {"host": "::1", "port": 0}]),
        "WHOISD_NETWORK": json.dumps([{"name": "probes", "cidrs": ["127.4.0.0/16"], "rate": 0.001, "burst": 2}]),
    }
    with Service(sandbox_database.reader, settings) as service:
        yield service


def bans(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_whoisd(
        "bans",
        *arguments,
        settings={**LIMITS, "WHOISD_LIMITS__FILE": str(file), "WHOISD_DATABASE__DSN": "postgresql://nobody@/nothing"},
    )


def listed(file: Path) -> dict[str, tuple[int, int]]:
    """The bans that are shown: seconds that remain and the number of bans, by source or network."""
    said = bans(file, "list")
    assert (said.returncode, said.stderr) == (0, "")
    rows = [line.split() for line in said.stdout.splitlines() if " s " in line and "throttled" not in line]
    return {source: (int(seconds), int(number)) for source, seconds, _, number in rows}


def ban(server: Service, source: str, burst: int = BURST) -> None:
    for _ in range(burst):
        assert not server.exchange(QUERY, source).startswith(REFUSED)
    assert server.exchange(QUERY, source).startswith(REFUSED)


def answered(server: Service, source: str, times: int) -> list[bool]:
    return [not server.exchange(QUERY, source).startswith(REFUSED) for _ in range(times)]


def test_ban_is_listed_and_lifted_on_every_worker(server: Service, file: Path) -> None:
    """A ban is shown with the seconds that remain; lifted, it is over in the next query on every worker; others stay."""
    source, other = f"{network()}.1", f"{network()}.1"
    ban(server, source)
    ban(server, other)
    # Tried more often than any one worker alone would take, and refused by each.
    assert not any(answered(server, source, 10 * WORKERS))
    found = listed(file)
    assert (found[source][1], found[other][1]) == (1, 1)
    assert 30 < found[source][0] <= 60
    lifted = bans(file, "lift", source)
    assert (lifted.returncode, lifted.stdout, lifted.stderr) == (0, f"lifted: {source}\n", "")
    assert answered(server, source, BURST) == [True] * BURST  # it has its whole allowance again
    assert not any(answered(server, other, 10))
    assert source not in listed(file)
    assert other in listed(file)


def test_lifted_ban_does_not_count(server: Service, file: Path) -> None:
    """What was lifted is forgotten: the next ban is a first one again."""
    source = f"{network()}.1"
    ban(server, source)
    bans(file, "lift", source)
    ban(server, source)
    assert listed(file)[source][1] == 1


def test_network_is_lifted_by_itself(server: Service, file: Path) -> None:
    """A throttled network is shown as that; who lifts a source in it is told so, and gives it its burst by its own text."""
    around = network()
    sources = [f"{around}.{number}" for number in (1, 2, 3)]
    for source in sources[:2]:
        assert all(answered(server, source, BURST))
    assert answered(server, sources[2], 3) == [False] * 3
    line = next(line for line in bans(file, "list").stdout.splitlines() if f"{around}.0/24" in line)
    assert line.split()[2:] == ["s", "throttled"]
    assert 900 < int(line.split()[1]) <= 1000
    assert sources[2] not in listed(file)
    lifted = bans(file, "lift", sources[2])
    assert (lifted.returncode, lifted.stdout) == (1, "")
    assert lifted.stderr.splitlines() == [
        f"its network is throttled: whoisd bans lift {around}.0/24",
        f"whoisd: {sources[2]}: is not banned",
    ]
    assert not any(answered(server, sources[2], 3))
    assert bans(file, "lift", f"{around}.0/24").stdout == f"lifted: {around}.0/24\n"
    assert all(answered(server, sources[2], BURST))


def test_source_in_a_named_network(server: Service, file: Path) -> None:
    """A source in a named network is lifted by its address, as any other."""
    source = network().replace("127.3.", "127.4.") + ".1"
    ban(server, source, 2)
    assert bans(file, "lift", source).stdout == f"lifted: {source}\n"
    assert answered(server, source, 2) == [True] * 2


def test_ipv6(server: Service, file: Path) -> None:
    """An IPv6 source is shown as its /64, and lifted by that or by any address in it."""
    port = server.events("server.listening")[1]["port"]
    ipv6 = Service("")
    ipv6.host, ipv6.port = "::1", port
    for text in ("::/64", "0:0:0:0::2"):
        ban(ipv6, "")
        assert listed(file)["::/64"][1] == 1
        assert bans(file, "lift", text).stdout == "lifted: ::/64\n"


def test_what_cannot_be_lifted(server: Service, file: Path) -> None:
    """What is not banned, or is no source, is said in one line, and changes nothing."""
    source = f"{network()}.1"
    ban(server, source)
    before = {*listed(file)}
    for text, said in [
        ("192.0.2.1", "192.0.2.1: is not banned"),
        (f"::ffff:{source}", f"::ffff:{source}: is counted as {source}"),
    ]:
        lifted = bans(file, "lift", text)
        assert (lifted.returncode, lifted.stdout, lifted.stderr) == (1, "", f"whoisd: {said}\n")
    assert {*listed(file)} == before


def test_bans_outlive_the_server(sandbox_database: Database, tmp_path: Path) -> None:
    """A ban is there while no server runs, can be lifted then, and what was not lifted holds in the next server."""
    file = tmp_path / "sources"
    settings = {"WHOISD_LIMITS__FILE": str(file), "WHOISD_LIMITS__RATE": "0.001", "WHOISD_LIMITS__BURST": str(BURST)}
    with Service(sandbox_database.reader, settings) as service:
        for source in ("127.3.0.1", "127.3.0.2"):
            ban(service, source)
    assert bans(file, "lift", "127.3.0.1").returncode == 0
    with Service(sandbox_database.reader, settings) as service:
        assert answered(service, "127.3.0.1", 1) == [True]
        assert answered(service, "127.3.0.2", 1) == [False]
        assert bans(file, "lift", "127.3.0.2").returncode == 0
        assert bans(file, "list").stdout == "No ban is in force.\n"


def test_without_a_server(tmp_path: Path) -> None:
    """Where no server ever ran the commands say so in one line, and make no file."""
    file = tmp_path / "sources"
    for arguments in (["list"], ["lift", "192.0.2.1"]):
        said = bans(file, *arguments)
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr == f"whoisd: limits.file: {file}: {NOT_THERE}\n"
    assert list(tmp_path.iterdir()) == []
