"""The clients that people use, as their authors ship them, read our answers right.

What each makes of each answer is a table, in client_matrix.py; here it is walked. Libraries ask in processes of their own.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from asyncwhois.parse import TLDBaseKeys
from asyncwhois.parse_tld import DomainParser
from client_matrix import (
    CASES,
    CLIENTS,
    LATIN_1,
    PINNED,
    UTF_8,
    WAYS,
    Reading,
    Server,
    Verdict,
    ask_all,
    client_version,
    expected,
    missing,
)
from support import PATIENCE, Database, Service, fields
from whois.parser import WhoisEntry

from whoisd.answers import notices
from whoisd.errors import NameFault, QueryFault


def on_debian_12() -> bool:
    release = Path("/etc/os-release")
    return release.exists() and {"ID=debian", 'VERSION_ID="12"'} <= set(release.read_text().splitlines())


# --- the matrix ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(sandbox_database: Database) -> Iterator[Mapping[Server, Service]]:
    """A server that answers, one that has banned us, and one whose database is stopped; none gives up while we are slow."""
    patient = {"WHOISD_SERVER__READ_TIMEOUT": "60", "WHOISD_DATABASE__DEADLINE": "20"}
    limited = patient | {"WHOISD_LIMITS__RATE": "0.001", "WHOISD_LIMITS__BURST": "1"}
    stopped = sandbox_database.reader.partition("?")[0] + "?host=/nonexistent"
    with ExitStack() as stack:
        started = {
            Server.SANDBOX: Service(sandbox_database.reader, patient),
            Server.LIMITED: Service(sandbox_database.reader, limited),
            Server.STOPPED: Service(stopped, patient),
        }
        for service in started.values():
            stack.enter_context(service)
        started[Server.LIMITED].ask("eksempel.dk")
        yield started


@pytest.fixture(scope="module")
def sandbox(servers: Mapping[Server, Service]) -> Service:
    return servers[Server.SANDBOX]


@pytest.fixture(scope="module")
def readings(servers: Mapping[Server, Service]) -> Mapping[tuple[str, str], Reading]:
    """What is made of each case in each way that can be tried on this machine."""
    return ask_all([name for name in WAYS if not missing(name)], servers)


@pytest.fixture
def answer(servers: Mapping[Server, Service], way: str, case: str) -> str:
    """The answer that a client is given in this case when it is asked in this way."""
    query = f"--charset=utf-8 {'--show-handles ' * WAYS[way].handles}{CASES[case].name}"
    return servers[CASES[case].server].ask(query)


@pytest.mark.parametrize("case", CASES)
def test_case(servers: Mapping[Server, Service], case: str) -> None:
    """Each case is what it is named for."""
    query = f"--charset=utf-8 --show-handles {CASES[case].name}"
    assert CASES[case].says in servers[CASES[case].server].ask(query).splitlines()


def test_rate_and_ban(servers: Mapping[Server, Service]) -> None:
    """The query that exceeds the rate and those during the ban that it brings are refused alike: they are one case."""
    answered, exceeding, banned = (servers[Server.LIMITED].ask("punktum.dk", "127.0.0.2") for _ in range(3))
    assert fields(answered)["Domain"] == ["punktum.dk"]
    assert exceeding.splitlines()[0] == banned.splitlines()[0] == CASES["refused for its rate, or a ban"].says


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_reading(readings: Mapping[tuple[str, str], Reading], answer: str, way: str, case: str) -> None:
    """Each client makes of each answer what the table says: it reads the fields that it knows as they are in the answer."""
    if reason := missing(way):
        pytest.skip(reason)
    assert readings[way, case] == expected(way, case, answer)


@pytest.mark.parametrize("way", WAYS)
def test_only_an_unknown_name_reads_as_free(readings: Mapping[tuple[str, str], Reading], way: str) -> None:
    """No client takes a refusal, a failure or any domain for an unregistered name; each takes an unknown one for that."""
    if reason := missing(way):
        pytest.skip(reason)
    assert [case for case in CASES if readings[way, case].verdict is Verdict.FREE] == ["unknown"]


def test_versions() -> None:
    """The JavaScript clients that are asked are of the versions that the manual tells of."""
    if reason := missing("whoiser"):
        pytest.skip(reason)
    manifests = [CLIENTS / "node_modules" / client / "package.json" for client in PINNED]
    assert [json.loads(manifest.read_text())["version"] for manifest in manifests] == list(PINNED.values())


@pytest.mark.skipif(bool(missing("whois")), reason=missing("whois"))
@pytest.mark.skipif(not on_debian_12(), reason="the manual tells of Debian 12's whois")
def test_version_of_the_stock_client() -> None:
    """The Debian client that is asked is of the version that the manual tells of."""
    said = subprocess.run(["whois", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0] == f"Version {client_version('whois')}."


NOTICES = [*(notices.refusal(fault) for fault in (*QueryFault, *NameFault)), notices.HELP, notices.read_timeout(10)]


@pytest.mark.parametrize("notice", NOTICES)
def test_no_notice_reads_as_free(notice: str) -> None:
    """No notice, whatever is wrong with a query, is taken for an unregistered name by either Python library's parser."""
    assert DomainParser().parse(notice, "dk")[TLDBaseKeys.DOMAIN_NAME] in (None, "")
    assert WhoisEntry.load("eksempel.dk", notice).domain_name is None


# --- the stock client ----------------------------------------------------------------------------------------------


def stock_client(service: Service, query: str, **environment: str) -> bytes:
    """What the Debian client prints for a query."""
    if reason := missing("whois"):
        pytest.skip(reason)
    command = ["whois", "-h", service.host, "-p", str(service.port), "--", query]
    ended = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, timeout=PATIENCE, check=True
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("eksempel.dk", {"Domain": "eksempel.dk", "Status": "Active", "Registrar": "Eksempelregistrator ApS"}),
        ("--show-handles punktum.dk", {"Email": "info@punktum.dk", "City": "København S"}),
        ("æøåöäüé.dk", {"Domain": "æøåöäüé.dk", "DNS": "xn--4cabco7dk5a.dk"}),
        ("xn--4cabco7dk5a.dk", {"Domain": "æøåöäüé.dk", "DNS": "xn--4cabco7dk5a.dk"}),
        ("waiting-list.dk", {"Registered": "***N/A***", "Status": "Offered to waiting list"}),
        ("auth01.ns.dk-hostmaster.dk", {"Nameserver": "auth01.ns.dk-hostmaster.dk", "Glue": "Being spooled"}),
    ],
)
def test_stock_client(sandbox: Service, query: str, expected: dict[str, str]) -> None:
    """The Debian client prints the right answer, in ISO 8859-1, for each query of the manual that asks for no charset."""
    found = fields(stock_client(sandbox, query, LANG="C.UTF-8").decode(LATIN_1))
    assert {label: found[label][0] for label in expected} == expected


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("HELP", b"# How to ask: [options] name"),
        ("www.eksempel.dk", b"No entries found for the selected source."),
        ("--no-such-option", b"# The query has an unknown option. Send HELP to read which there are."),
    ],
)
def test_stock_client_reads_notices(sandbox: Service, query: str, line: bytes) -> None:
    """The Debian client prints help, not-found and refusals as they are."""
    assert line in stock_client(sandbox, query, LANG="C.UTF-8").splitlines()


def test_stock_client_in_a_plain_locale(sandbox: Service) -> None:
    """Where the client sends the letters as they were typed, a query in UTF-8 is understood, and answered in UTF-8."""
    assert "Domain:               æøåöäüé.dk\n" in stock_client(sandbox, "æøåöäüé.dk", LC_ALL="C").decode(UTF_8)
