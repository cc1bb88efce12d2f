"""`whoisd query`: the server's answer without the network."""

import json
import re
import subprocess
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from support import NOWHERE, WHOISD, Database, Service, WebService, environment, run_query


@pytest.fixture(scope="module")
def web(sandbox_database: Database) -> Iterator[WebService]:
    """The server with its HTTP listener over the predefined data."""
    with WebService(sandbox_database.reader) as web:
        yield web


@pytest.mark.parametrize(
    "words",
    [
        [b"eksempel.dk"],
        [b"--show-handles", b"punktum.dk"],
        [b"--show-handles punktum.dk"],
        [b"--charset=utf-8", b"--show-handles", "æøåöäüé.dk".encode()],
        ["æøåöäüé.dk".encode("iso-8859-1")],
        [b"--show-handles", b"lodz.dk"],
        [b"ns1.eksempel.dk"],
        [b"findes-ikke.dk"],
        [b"HELP"],
    ],
)
def test_query_prints_what_the_server_answers(sandbox_database: Database, service: Service, words: list[bytes]) -> None:
    """`query` prints, byte for byte, what the server answers a client of this machine."""
    ran = run_query(sandbox_database.reader, *words)
    assert ran.returncode == 0
    assert ran.stdout == service.exchange(b" ".join(words) + b"\r\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([b"--show", b"eksempel.dk"], b"# The query has an unknown option. Send HELP to read which there are.\r\n"),
        ([b"eksempel..dk"], b"# This is not a domain name, for a label is empty.\r\n"),
    ],
)
def test_query_that_is_refused(sandbox_database: Database, words: list[bytes], text: bytes) -> None:
    """A query that is refused prints the refusal and exits with 1."""
    ran = run_query(sandbox_database.reader, *words)
    assert (ran.returncode, ran.stdout) == (1, text)
    assert json.loads(ran.stderr)["event"] == "query.refused"


def test_query_says_why_an_email_is_withheld(sandbox_database: Database) -> None:
    """The reason why an email is shown or withheld is on standard error, where the answer is not."""
    ran = run_query(sandbox_database.reader, b"--show-handles", b"enkeltmand.dk")
    event = json.loads(ran.stderr.splitlines()[-1])
    assert (event["event"], event["email"]) == ("query.answered", "sole_proprietorship")
    assert b"egon@" not in ran.stdout + ran.stderr


def test_query_without_the_database() -> None:
    """Where the database does not answer, `query` prints what a client would get, exits with 1 and logs no password."""
    ran = run_query(NOWHERE, b"eksempel.dk")
    assert (ran.returncode, ran.stdout) == (1, b"WHOIS time limit exceeded. Temporary failure, please try again later.\r\n")
    assert json.loads(ran.stderr.splitlines()[-1])["fault"] == "FileNotFoundError: No such file or directory"
    assert b"Traceback" not in ran.stderr
    assert b"hunter2" not in ran.stderr


# What RDAP is asked for a name that stands behind it.
DOMAIN, HOST = "/rdap/domain/", "/rdap/nameserver/"


def run_as(dsn: str, protocol: str, name: bytes) -> subprocess.CompletedProcess[bytes]:
    settings = environment({"WHOISD_DATABASE__DSN": dsn})
    return subprocess.run(
        [WHOISD, "query", "--as", protocol, "--", name], env=settings, capture_output=True, timeout=60, check=False
    )


def without_moment(payload: bytes) -> bytes:
    """An answer of RDAP without the moment at which it was made."""
    return re.sub(rb'"last update of RDAP database","eventDate":"[^"]+"', b"", payload)


@pytest.mark.parametrize(
    ("protocol", "name", "path"),
    [
        ("rest", "enkeltmand.dk", "/query/"),
        ("rest", "NS1.eksempel.dk.", "/query/"),
        ("rest", "æøåöäüé.dk", "/query/"),
        ("rest", "findes-ikke.dk", "/query/"),
        ("rdap", "enkeltmand.dk", DOMAIN),
        ("rdap", "Punktum.DK.", DOMAIN),
        ("rdap", "ÆØÅöäüé.dk", DOMAIN),
        ("rdap", "findes-ikke.dk", DOMAIN),
        ("rdap", "ns1.eksempel.dk", HOST),
        ("rdap", "ns1.eksempel.dk.", HOST),
        ("rdap", "example.com", HOST),
    ],
)
def test_query_of_another_protocol(sandbox_database: Database, web: WebService, protocol: str, name: str, path: str) -> None:
    """`query --as` prints the body that the server sends for the same name, whichever kind of name it is."""
    ran = run_as(sandbox_database.reader, protocol, name.encode())
    _, _, body = web.get(path + quote(name))
    assert (ran.returncode, without_moment(ran.stdout)) == (0, without_moment(body))
    assert json.loads(ran.stderr.splitlines()[-1])["protocol"] == protocol
    assert b"egon@" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(("protocol", "key"), [("rest", "status"), ("rdap", "errorCode")])
@pytest.mark.parametrize("name", [b"a..dk", b"\xe6.dk", b"a/b.dk", b"a b.dk", b"a?b.dk"])
def test_query_of_another_protocol_that_is_refused(sandbox_database: Database, protocol: str, key: str, name: bytes) -> None:
    """What is no name is refused in the form of the protocol, and the command exits with 1."""
    ran = run_as(sandbox_database.reader, protocol, name)
    assert (ran.returncode, json.loads(ran.stdout)[key]) == (1, 400)


@pytest.mark.parametrize(("protocol", "key"), [("rest", "status"), ("rdap", "errorCode")])
def test_query_of_another_protocol_without_the_database(protocol: str, key: str) -> None:
    """Where the database does not answer, the answer says to try again, and the command exits with 1."""
    ran = run_as(NOWHERE, protocol, b"eksempel.dk")
    assert (ran.returncode, json.loads(ran.stdout)[key]) == (1, 503)
    assert b"hunter2" not in ran.stdout + ran.stderr
