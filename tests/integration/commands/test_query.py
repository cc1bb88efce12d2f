"""`whoisd query`: the server's answer without the network."""

import json

import pytest
from support import NOWHERE, Database, Service, run_query


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
