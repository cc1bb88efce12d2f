"""The clients that people use, as their authors ship them, read our answers right."""

import gc
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncwhois
import pytest
import whois
from asyncwhois.errors import NotFoundError
from asyncwhois.parse import TLDBaseKeys
from asyncwhois.query import Query
from support import PATIENCE, Service, fields
from whois.exceptions import WhoisDomainNotFoundError, WhoisUnknownDateFormatError

# What the libraries themselves leave open or call by an old name is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tldextract"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:asyncwhois"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def left_open() -> Iterator[None]:
    """Collect what a library left open while it is still known whose it is.

    python-whois does not wait for the process that it starts. One that has not ended when it is forgotten is kept by Python
    until the next process is started, and so its pipe would be another test's.
    """
    yield
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while kept := subprocess._active:  # type: ignore[attr-defined]  # where Python keeps them
        assert time.monotonic() < deadline, kept
        subprocess._cleanup()  # type: ignore[attr-defined]  # and this is how it looks after them
        time.sleep(0.01)


NEEDS_WHOIS = pytest.mark.skipif(
    shutil.which("whois") is None, reason="the whois client is not installed: apt-get install whois"
)

LATIN_1, UTF_8 = "iso-8859-1", "utf-8"


def stock_client(service: Service, query: str, charset: str) -> str:
    """What the Debian client prints for a query, decoded."""
    command = ["whois", "-h", service.host, "-p", str(service.port), "--", query]
    environment = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=True)
    return ended.stdout.decode(charset)


@NEEDS_WHOIS
@pytest.mark.parametrize(
    ("query", "charset", "expected"),
    [
        ("eksempel.dk", LATIN_1, {"Domain": "eksempel.dk", "Status": "Active", "Registrar": "Eksempelregistrator ApS"}),
        ("--show-handles punktum.dk", LATIN_1, {"Email": "info@punktum.dk", "City": "København S"}),
        ("æøåöäüé.dk", LATIN_1, {"Domain": "æøåöäüé.dk", "DNS": "xn--4cabco7dk5a.dk"}),
        ("xn--4cabco7dk5a.dk", LATIN_1, {"Domain": "æøåöäüé.dk", "DNS": "xn--4cabco7dk5a.dk"}),
        ("--charset=utf-8 --show-handles æøåöäüé.dk", UTF_8, {"Domain": "æøåöäüé.dk", "City": "Ærøskøbing"}),
        ("waiting-list.dk", LATIN_1, {"Registered": "***N/A***", "Status": "Offered to waiting list"}),
        ("auth01.ns.dk-hostmaster.dk", LATIN_1, {"Nameserver": "auth01.ns.dk-hostmaster.dk", "Glue": "Being spooled"}),
    ],
)
def test_stock_client(service: Service, query: str, charset: str, expected: dict[str, str]) -> None:
    """The Debian client prints the right answer for each query of the README."""
    found = fields(stock_client(service, query, charset))
    assert {label: found[label][0] for label in expected} == expected


@NEEDS_WHOIS
@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("HELP", "# How to ask: [options] name"),
        ("findes-ikke.dk", "No entries found for the selected source."),
        ("www.eksempel.dk", "No entries found for the selected source."),
        ("--no-such-option", "# The query has an unknown option. Send HELP to read which there are."),
    ],
)
def test_stock_client_reads_notices(service: Service, query: str, line: str) -> None:
    """The Debian client prints help, not-found and refusals as they are."""
    assert line in stock_client(service, query, LATIN_1).splitlines()


@NEEDS_WHOIS
def test_stock_client_in_a_plain_locale(service: Service) -> None:
    """Where the client sends the letters as they were typed, a query in UTF-8 is understood, and answered in UTF-8."""
    command = ["whois", "-h", service.host, "-p", str(service.port), "æøåöäüé.dk"]
    ended = subprocess.run(
        command, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=PATIENCE, check=True
    )
    assert "Domain:               æøåöäüé.dk\n" in ended.stdout.decode(UTF_8)


# --- python-whois --------------------------------------------------------------------------------------------------


class _ToOurPort(socket.socket):
    """A socket that goes to our server wherever it is sent: python-whois knows one host and port 43 alone."""

    service: Service

    def connect(self, address: Any) -> None:
        assert address[1] == 43
        super().connect((self.service.host, self.service.port))


@pytest.fixture
def python_whois(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """python-whois over its own socket code, to our port."""
    _ToOurPort.service = service
    monkeypatch.setattr(whois.NICClient, "get_socket", staticmethod(_ToOurPort))


@pytest.mark.usefixtures("python_whois")
def test_python_whois() -> None:
    """python-whois reads name, dates, registrar, status, DNSSEC and the six registrant fields off its own socket."""
    entry = whois.whois("eksempel.dk")
    assert entry.domain_name == "eksempel.dk"
    assert (entry.creation_date, entry.expiration_date) == (
        datetime(2001, 5, 15, tzinfo=UTC),
        datetime(2027, 5, 31, tzinfo=UTC),
    )
    assert (entry.registrar, entry.dnssec) == ("Eksempelregistrator ApS", "Unsigned delegation")
    assert entry.status == ["Active", "ID verified via electronic ID"]
    assert (entry.registrant_handle, entry.registrant_name) == ("DATA REDACTED", "Eksempel Handel A/S")
    assert (entry.registrant_address, entry.registrant_postal_code) == ("Eksempelvej 1, 2. sal", "2300")
    assert (entry.registrant_city.replace("\ufffd", "ø"), entry.registrant_country) == ("København S", "DK")


@pytest.mark.usefixtures("python_whois")
def test_python_whois_name_servers_off_its_socket() -> None:
    """Off its own socket python-whois finds no name servers: it looks for a bare LF, and RFC 3912 has CRLF."""
    assert whois.whois("eksempel.dk").name_servers is None


@NEEDS_WHOIS
def test_python_whois_through_the_stock_client(service: Service, tmp_path: Path) -> None:
    """Through the whois command, which prints bare LFs, python-whois reads the name servers too."""
    command = tmp_path / "whois"
    command.write_text(f'#!/bin/sh\nexec whois -h {service.host} -p {service.port} -- "--charset=utf-8 --show-handles $1"\n')
    command.chmod(0o755)
    entry = whois.whois("eksempel.dk", command=True, executable=str(command))
    assert entry.name_servers == ["ns1.eksempel.dk", "ns2.eksempel.dk"]
    assert (entry.registrant_name, entry.registrant_city) == ("Eksempel Handel A/S", "København S")


@pytest.mark.usefixtures("python_whois")
def test_python_whois_not_registered() -> None:
    """An unknown name is not registered to python-whois; one that is protected, deactivated or reserved is."""
    with pytest.raises(WhoisDomainNotFoundError):
        whois.whois("findes-ikke.dk")
    for name in ("beskyttet.dk", "suspenderet.dk", "reserveret.dk"):
        assert whois.whois(name).domain_name == name


@pytest.mark.usefixtures("python_whois")
def test_python_whois_waiting_list() -> None:
    """A domain that is offered to a waiting list is no free one to python-whois: it stumbles over a date that is N/A."""
    with pytest.raises(WhoisUnknownDateFormatError):
        whois.whois("waiting-list.dk")


# --- asyncwhois ----------------------------------------------------------------------------------------------------


@pytest.fixture
def async_whois(service: Service, monkeypatch: pytest.MonkeyPatch) -> asyncwhois.DomainClient:
    """The asyncwhois library, to our host and port."""
    monkeypatch.setattr(Query, "whois_port", service.port)
    client = asyncwhois.DomainClient()
    monkeypatch.setattr(client.query_obj, "_get_server_name", lambda _name: service.host)
    return client


async def test_asyncwhois(async_whois: asyncwhois.DomainClient) -> None:
    """The asyncwhois library reads name, dates, registrar, status and name servers, synchronously and not."""
    for _, found in (async_whois.whois("eksempel.dk"), await async_whois.aio_whois("eksempel.dk")):
        assert found[TLDBaseKeys.DOMAIN_NAME] == "eksempel.dk"
        assert (found[TLDBaseKeys.CREATED].date(), found[TLDBaseKeys.EXPIRES].date()) == (
            date(2001, 5, 15),
            date(2027, 5, 31),
        )
        assert (found[TLDBaseKeys.REGISTRAR], found[TLDBaseKeys.STATUS]) == ("Eksempelregistrator ApS", ["Active"])
        assert found[TLDBaseKeys.DNSSEC] == "Unsigned delegation"
        assert found[TLDBaseKeys.NAME_SERVERS] == ["ns1.eksempel.dk", "ns2.eksempel.dk"]


async def test_asyncwhois_registrant(service: Service, async_whois: asyncwhois.DomainClient) -> None:
    """The asyncwhois library, which does not ask for handles by itself, reads the registrant of an answer that has one."""
    answer = service.ask("--charset=utf-8 --show-handles punktum.dk")
    found = async_whois.parse_obj.parse(answer, "dk")
    assert found[TLDBaseKeys.REGISTRANT_NAME] == "Punktum dk A/S"
    assert found[TLDBaseKeys.REGISTRANT_ADDRESS] == "Ørestads Boulevard 108, 11."
    assert (found[TLDBaseKeys.REGISTRANT_ZIPCODE], found[TLDBaseKeys.REGISTRANT_CITY]) == ("2300", "København S")
    assert found[TLDBaseKeys.REGISTRANT_COUNTRY] == "DK"


async def test_asyncwhois_not_registered(async_whois: asyncwhois.DomainClient) -> None:
    """An unknown name is not registered to asyncwhois."""
    with pytest.raises(NotFoundError):
        await async_whois.aio_whois("findes-ikke.dk")


@pytest.mark.parametrize("query", ["a b", "--x", "eksempel..dk", "x" * 2000, "HELP", "--charset=x eksempel.dk"])
def test_no_refusal_reads_as_free(service: Service, async_whois: asyncwhois.DomainClient, query: str) -> None:
    """No refusal is taken for an unregistered name by either library."""
    answer = service.ask(query)
    async_whois.parse_obj.parse(answer, "dk")
    assert whois.parser.WhoisEntry.load("eksempel.dk", answer).domain_name is None
