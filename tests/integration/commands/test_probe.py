"""The probe, against servers that answer, refuse, stall and break off: its verdict, its one line and its exit status."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner
from click.testing import Result as Ran
from peers import Behaviour, Peer, answers, drips, floods, stalls
from support import PATIENCE, Database, Service, environment

import whoisd.commands.probe
import whoisd.commands.probing
from whoisd.answers import notices
from whoisd.commands.probe import ANSWER_LIMIT, LARGEST_NUMBER, QUOTE_LIMIT, Result, Status, probe, probe_command
from whoisd.errors import QueryFault

HEAD: Final = "# Hello 192.0.2.7. Your session has been logged.\n#\n# Too many requests are refused.\n\n"
FOUND: Final = (
    HEAD + "Domain:               eksempel.dk\nStatus:               Active\n\nRegistrant\nName:                 Søren\n"
)
NOT_FOUND: Final = HEAD + notices.NO_ENTRIES
TOO_MANY: Final = notices.too_many_requests(60)
REFUSED: Final = notices.refusal(QueryFault.UNKNOWN_OPTION)

# https://www.monitoring-plugins.org/doc/guidelines.html: 'label'=value[UOM];[warn];[crit];[min];[max]
NUMBER: Final = r"-?[0-9]+(\.[0-9]+)?"
MEASUREMENT: Final = rf"'?[a-z]+'?={NUMBER}(us|ms|s|%|B|KB|MB|TB|c)?(;({NUMBER})?){{0,4}}"
LINE: Final = re.compile(rf"WHOIS (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| {MEASUREMENT}( {MEASUREMENT})*)?")


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def resets(connection: socket.socket) -> None:
    """A part of an answer, and a reset once the client has it."""
    connection.sendall(b"Domain:\r\n")
    time.sleep(0.2)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def resets_at_once(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def ask(target: str, query: str = "eksempel.dk", **limits: Any) -> Result:
    """Probe without limits of time, but for these; whatever comes of it is one line in the guidelines' format."""
    result = probe(target, query, **({"warning": None, "critical": None, "timeout": PATIENCE} | limits))
    assert LINE.fullmatch(result.line())
    return result


def judge(behave: Behaviour, query: str = "eksempel.dk", **limits: Any) -> tuple[Status, str]:
    """The verdict on a server that behaves so; the text without its host, milliseconds as N."""
    with Peer(behave) as peer:
        result = ask(peer.target, query, **limits)
    return result.status, re.sub(r"\b[0-9]+ ms,", "N ms,", result.text.replace(peer.target, "HOST"))


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.1)
        yield int(listener.getsockname()[1])


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Make every name resolve to these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)


# --- answers ---------------------------------------------------------------------------------------------------------


def test_ok() -> None:
    """An answer in time is OK, with the time, the size and the limits as measurements."""
    with Peer(answers("Domain: eksempel.dk\n")) as peer:
        result = ask(peer.target, warning=5000, critical=20000.5)
    assert result.status is Status.OK
    line = r"WHOIS OK - eksempel\.dk answered in ([0-9]+) ms, 21 bytes \| time=([0-9]+)ms;5000;20000\.5;0 size=21B;;;0"
    found = re.fullmatch(line, result.line())
    assert found
    assert found[1] == found[2]


def test_no_limits() -> None:
    """Without limits of time there are none in the measurements."""
    with Peer(answers(FOUND)) as peer:
        assert re.fullmatch(r"time=[0-9]+ms;;;0 size=[0-9]+B;;;0", ask(peer.target).performance)


def test_limits_have_no_exponent() -> None:
    """The guidelines' numbers have digits and a point alone."""
    with Peer(answers(FOUND)) as peer:
        result = ask(peer.target, warning=0.00001, critical=1e6)
    assert ";0.00001;1000000;0 " in result.performance


def test_time_is_of_the_whole_answer() -> None:
    """The time that is judged and measured runs to the end of the answer."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(b"Domain: eksempel.dk\r\n")
        time.sleep(0.3)

    with Peer(behave) as peer:
        result = ask(peer.target, warning=200, critical=60_000)
    found = re.search(r"answered in ([0-9]+) ms", result.text)
    assert found
    assert 300 <= int(found[1]) < 5000
    assert result.status is Status.WARNING


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ({"warning": 100}, (Status.WARNING, "100")),
        ({"critical": 100}, (Status.CRITICAL, "100")),
        ({"warning": 50, "critical": 100}, (Status.CRITICAL, "100")),
        ({"warning": 100, "critical": 100}, (Status.CRITICAL, "100")),
        ({"warning": 100, "critical": 60_000}, (Status.WARNING, "100")),
    ],
)
def test_too_slow(limits: dict[str, Any], verdict: tuple[Status, str]) -> None:
    """An answer that takes as long as a limit or longer has that limit's status, and says which limit that is."""
    status, limit = verdict
    text = f"eksempel.dk answered in N ms, 21 bytes; it must be under {limit} ms"
    assert judge(answers("Domain: eksempel.dk\n", after=0.15), **limits) == (status, text)


def test_limit_belongs_to_the_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes exactly as long as a limit is too slow; and the time that is shown is never rounded up to it."""
    with Peer(answers(FOUND)) as peer:
        monkeypatch.setattr(whoisd.commands.probing.Deadline, "spent", lambda _deadline: 0.5)
        assert ask(peer.target, warning=500).status is Status.WARNING
        monkeypatch.setattr(whoisd.commands.probing.Deadline, "spent", lambda _deadline: 0.4999)
        result = ask(peer.target, warning=500)
    assert (result.status, "in 499 ms" in result.text, "time=499ms" in result.performance) == (Status.OK, True, True)


def test_not_found() -> None:
    """A name that is not there is CRITICAL."""
    assert judge(answers(NOT_FOUND)) == (Status.CRITICAL, "the name is not there: eksempel.dk")


def test_not_found_expected() -> None:
    """That a name is not there may be what is expected."""
    assert judge(answers(NOT_FOUND), expect=["No entries found"])[0] is Status.OK
    assert judge(answers(FOUND), expect=["No entries found"])[0] is Status.CRITICAL


def test_refused_query() -> None:
    """An answer with only comments is UNKNOWN: the fault is the query's, unless it is what is expected."""
    assert judge(answers(REFUSED), "--show") == (Status.UNKNOWN, "the server refuses the query: --show")
    assert judge(answers(REFUSED), "--show", expect=["unknown option"])[0] is Status.OK


@pytest.mark.parametrize("query", ["HELP", "--charset=utf-8 help"])
def test_help(query: str) -> None:
    """HELP is answered with only comments, and that is OK; a single one is a refusal all the same."""
    assert judge(answers(notices.HELP), query)[0] is Status.OK
    assert judge(answers(notices.HELP), "help.dk")[0] is Status.UNKNOWN
    assert judge(answers(REFUSED), query)[0] is Status.UNKNOWN


@pytest.mark.parametrize("limits", [{}, {"expect": ["Too many"]}, {"absent": ["Too many"]}, {"critical": 0.001}])
def test_too_many_requests(limits: dict[str, Any]) -> None:
    """The refusal for rate or ban is UNKNOWN, whatever else is demanded, and says how the probe gets a rate of its own."""
    status, text = judge(answers(TOO_MANY), **limits)
    assert status is Status.UNKNOWN
    assert text.endswith("name the probe's network in a [[network]] of the server's configuration")


@pytest.mark.parametrize("limits", [{}, {"expect": ["Temporary"]}])
def test_temporary_failure(limits: dict[str, Any]) -> None:
    """A server without its data is CRITICAL, whatever is expected."""
    said = "the server answers with a temporary failure: it cannot reach its data"
    assert judge(answers(notices.TEMPORARY_FAILURE), **limits) == (Status.CRITICAL, said)


@pytest.mark.parametrize("notice", [TOO_MANY, notices.TEMPORARY_FAILURE, notices.NO_ENTRIES])
def test_notice_within_a_line(notice: str) -> None:
    """A notice is a line of its own: the same words in a comment or in a value are none."""
    words = notice.partition("\n")[0]
    assert judge(answers(f"# {words}\nName:                 {words}\n"))[0] is Status.OK
    assert judge(answers(f"# {words}\n\n{words}\n"))[0] is not Status.OK


# --- texts -----------------------------------------------------------------------------------------------------------


def test_expect() -> None:
    """Every text that is expected must be there; the first that is missing is named."""
    assert judge(answers(FOUND), expect=["Domain:", "Active\n\nRegistrant"])[0] is Status.OK
    assert judge(answers(FOUND), expect=["Domain:", "Reserved", "Expires:"]) == (
        Status.CRITICAL,
        'the answer to eksempel.dk lacks "Reserved"',
    )


def test_absent() -> None:
    """No text that must be absent may be there; the first that is there is named, before any that is missing."""
    assert judge(answers(FOUND), absent=["Deactivated"])[0] is Status.OK
    assert judge(answers(FOUND), absent=["Deactivated", "Active"], expect=["Reserved"]) == (
        Status.CRITICAL,
        'the answer to eksempel.dk has "Active", which must not be there',
    )


def test_texts_are_exact() -> None:
    """Texts are compared letter by letter: in their case, and as no pattern."""
    assert judge(answers(FOUND), expect=["active"])[0] is Status.CRITICAL
    assert judge(answers(FOUND), expect=["A.tive"])[0] is Status.CRITICAL
    assert judge(answers(FOUND), absent=["active", ".*"])[0] is Status.OK


@pytest.mark.parametrize("text", ["Active\n", "Active\r\n"])
def test_line_ends_are_plain(text: str) -> None:
    """A line end in a text is found where the answer has CRLF."""
    assert judge(answers(FOUND), expect=[text])[0] is Status.OK
    assert judge(answers(FOUND), absent=[text])[0] is Status.CRITICAL


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1"])
def test_charset(charset: str) -> None:
    """Letters are found in an answer in UTF-8, and in one in ISO 8859-1."""
    assert judge(answers(FOUND, charset=charset), expect=["Søren"])[0] is Status.OK


def test_texts_before_time() -> None:
    """A wrong answer is CRITICAL however slow, and a slow one is not wrong for it."""
    slow = answers(FOUND, after=0.1)
    assert judge(slow, expect=["Reserved"], warning=1)[0] is Status.CRITICAL
    assert judge(slow, expect=["Active"], warning=1)[0] is Status.WARNING


# --- no answer -------------------------------------------------------------------------------------------------------


def test_refused_connection() -> None:
    """A port that nobody listens on is CRITICAL, without measurements: a refusal is fast."""
    port = closed_port()
    assert ask(f"127.0.0.1:{port}") == Result(Status.CRITICAL, f"127.0.0.1:{port}: connection refused")


@pytest.mark.parametrize("host", ["findes-ikke.invalid", "a..dk", "a" * 64 + ".dk"])
def test_unknown_host(host: str) -> None:
    """A host that does not resolve, or that no resolver takes, is CRITICAL."""
    result = ask(host)
    assert result.status is Status.CRITICAL
    assert result.text.startswith(f"{host}: the name cannot be resolved: ")


def test_closed_without_an_answer() -> None:
    """A connection that closes without an answer, or with nothing but line ends, is CRITICAL."""
    for nothing in (b"", b"\r\n\r\n"):
        assert judge(answers(nothing)) == (Status.CRITICAL, "HOST: closed without an answer")


def test_reset() -> None:
    """A reset is CRITICAL, and says after how many bytes, however well they read."""
    assert judge(resets, expect=["Domain:"]) == (Status.CRITICAL, "HOST: reset after 9 bytes")
    assert judge(resets_at_once) == (Status.CRITICAL, "HOST: reset after 0 bytes")


@pytest.mark.parametrize("behave", [drips, stalls])
def test_deadline(behave: Behaviour) -> None:
    """One deadline covers the whole answer: bytes that drip do not put it off, and a part of an answer is none."""
    begun = time.monotonic()
    status, text = judge(behave, timeout=0.5, expect=["#"])
    assert 0.5 <= time.monotonic() - begun < 4
    assert status is Status.CRITICAL
    assert re.fullmatch(r"HOST: no whole answer within 0\.5 s, only [1-9][0-9]* bytes", text)


def test_deadline_of_sending() -> None:
    """A server that does not read the query is given up at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end = threading.Timer(PATIENCE, listener.close)  # which resets: a deadline that fails is no test that hangs
        end.start()
        begun = time.monotonic()
        result = ask(f"127.0.0.1:{listener.getsockname()[1]}", "x" * 2**23, timeout=1)
        assert 1 <= time.monotonic() - begun < 4
    assert result.status is Status.CRITICAL
    assert result.text.endswith("no whole answer within 1 s, only 0 bytes")
    end.cancel()


def test_deadline_of_connecting() -> None:
    """A server that takes no connection is given up at the deadline."""
    with black_hole() as port:
        begun = time.monotonic()
        result = ask(f"127.0.0.1:{port}", timeout=0.5)
        assert 0.4 < time.monotonic() - begun < 4
    assert result == Result(Status.CRITICAL, f"127.0.0.1:{port}: no connection in time")


def test_deadline_of_resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that does not answer is given up at the deadline."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: released.wait(PATIENCE) and [])
    begun = time.monotonic()
    result = ask("whois.example", timeout=0.5)
    assert 0.5 <= time.monotonic() - begun < 4
    released.set()
    assert result == Result(Status.CRITICAL, "whois.example: the name was not resolved within 0.5 s")


def test_endless_answer() -> None:
    """An answer without end is CRITICAL long before the deadline, and does not fill the memory."""
    begun = time.monotonic()
    assert judge(floods) == (Status.CRITICAL, f"HOST: the answer is longer than {ANSWER_LIMIT} bytes")
    assert time.monotonic() - begun < PATIENCE / 2


def test_longest_answer() -> None:
    """An answer of exactly the limit is whole, and a byte more is too long."""
    longest = b"Domain:\r\n".ljust(ANSWER_LIMIT, b"x")
    assert judge(answers(longest)) == (Status.OK, f"eksempel.dk answered in N ms, {ANSWER_LIMIT} bytes")
    assert judge(answers(longest + b"x"))[0] is Status.CRITICAL


# --- addresses -------------------------------------------------------------------------------------------------------


def test_default_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a port it is 43."""
    asked: list[object] = []

    def getaddrinfo(*arguments: object, **_options: object) -> object:
        asked.append(arguments)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    targets = ("whois.example", "192.0.2.7", "2001:db8::1", "[2001:db8::1]", "whois.example:4343", "[2001:db8::1]:4343")
    for target in (*targets, "whois.æøå.dk", "fe80::1%eth0"):
        ask(target)
    assert asked == [
        (b"whois.example", 43),
        (b"192.0.2.7", 43),
        (b"2001:db8::1", 43),
        (b"2001:db8::1", 43),
        (b"whois.example", 4343),
        (b"2001:db8::1", 4343),
        (b"whois.xn--5cab8c.dk", 43),
        (b"fe80::1%eth0", 43),
    ]


@needs_ipv6
def test_ipv6() -> None:
    """A server is asked over IPv6 as over IPv4."""
    with Peer(answers(FOUND), host="::1") as peer:
        assert ask(f"[::1]:{peer.port}").status is Status.OK
        assert ask(f"127.0.0.1:{peer.port}").status is Status.CRITICAL


@needs_ipv6
def test_ipv6_then_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose IPv6 address refuses is asked at its IPv4 address."""
    with Peer(answers(FOUND)) as peer:
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("::1", peer.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", peer.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
        assert ask("whois.example").status is Status.OK


def test_name() -> None:
    """A name is resolved by the system."""
    with Peer(answers(FOUND)) as peer:
        assert ask(f"localhost:{peer.port}").status is Status.OK


def test_addresses_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address that connects is asked, and none behind it, whatever its answer."""
    with Peer(answers(NOT_FOUND)) as first, Peer(answers(FOUND)) as second:
        addresses = (closed_port(), first.port, second.port)
        resolve_to(monkeypatch, *(("127.0.0.1", port) for port in addresses))
        assert ask("whois.example").text == "the name is not there: eksempel.dk"
    assert (len(first.lines), len(second.lines)) == (1, 0)


def test_address_that_swallows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that never answers leaves time for the one behind it."""
    with black_hole() as port, Peer(answers(FOUND)) as peer:
        resolve_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", peer.port))
        result = ask("whois.example", timeout=2)
    assert result.status is Status.OK
    assert re.search(r"answered in 1[0-9]{3} ms", result.text)  # half of what there was


def test_no_address_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no address connects, each fault is said once."""
    with black_hole() as port:
        resolve_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.1", closed_port()), ("127.0.0.1", closed_port()))
        result = ask("whois.example", timeout=0.5)
    assert result == Result(Status.CRITICAL, "whois.example: no connection in time, connection refused")


# --- the query and the line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["eksempel.dk", "--charset=utf-8 --show-handles punktum.dk", "æøåöäüé.dk", " a  b "])
def test_query_is_sent_as_it_is(query: str) -> None:
    """The query goes out as it was given, in UTF-8 with CRLF, and nothing else does."""
    with Peer(answers(FOUND)) as peer:
        ask(peer.target, query)
    assert peer.lines == [query.encode() + b"\r\n"]


@pytest.mark.parametrize(
    ("target", "query", "limits", "text"),
    [
        ("127.0.0.1:0", "a.dk", {}, '"127.0.0.1:0" is no HOST, HOST:PORT or [IPV6]:PORT'),
        *(
            (target, "a.dk", {}, f'"{target}" is no HOST, HOST:PORT or [IPV6]:PORT')
            for target in (
                "",
                ":43",
                "a:",
                "a:65536",
                "a:b",
                "a:٣",
                "a:-1",
                "a b",
                "a:b:c",
                "[a]:43",
                "[::1]43",
                "::1]",
                "-:1:",
            )
        ),
        ("a\n", "a.dk", {}, '"a\n" is no HOST, HOST:PORT or [IPV6]:PORT'),
        ("a\0b", "a.dk", {}, '"a\0b" is no HOST, HOST:PORT or [IPV6]:PORT'),
        ("a\udce6.dk", "a.dk", {}, '"a\udce6.dk" is no HOST, HOST:PORT or [IPV6]:PORT'),
        *(("a", query, {}, "there is no name to ask for") for query in ("", " ")),
        *(
            ("a", query, {}, "the query must be one line of UTF-8 text")
            for query in ("a\r\nb", "a\n", "a\rb", "a\0b", "a\tb", "\x1b[2J", "a\x7f", "a\x85b", "\udce6.dk")
        ),
        *(
            ("a", "a.dk", limits, "a text to look for must be UTF-8, and not empty")
            for limits in ({"expect": ["a", ""]}, {"absent": [""]}, {"expect": ["\udce6"]}, {"absent": ["\udce6"]})
        ),
        *(
            ("a", "a.dk", {option: number}, f"--{option} must be more than 0, and at most {LARGEST_NUMBER}")
            for option in ("warning", "critical", "timeout")
            for number in (0, -1, float("nan"), float("inf"), -float("inf"), LARGEST_NUMBER + 1)
        ),
        ("a", "a.dk", {"warning": 2.5, "critical": 2}, "--warning must not be more than --critical"),
    ],
)
def test_wrong_use(monkeypatch: pytest.MonkeyPatch, target: str, query: str, limits: dict[str, Any], text: str) -> None:
    """A wrong use is UNKNOWN and says what is wrong, before anything is resolved or sent."""
    monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
    assert ask(target, query, **limits) == Result(Status.UNKNOWN, text)


def test_largest_numbers() -> None:
    """The largest numbers that are taken are no trouble to the system."""
    with Peer(answers(FOUND)) as peer:
        numbers: dict[str, Any] = {"warning": LARGEST_NUMBER, "critical": LARGEST_NUMBER, "timeout": LARGEST_NUMBER}
        assert ask(peer.target, **numbers).status is Status.OK


def test_line_cannot_be_forged() -> None:
    """No line end, bar or other sign that is not seen gets from the command line into the output."""
    forged = "a | time=0ms\nWHOIS OK\r\x1b[2J\u2028\u202e\udce6ø"
    line = Result(Status.CRITICAL, forged, "size=1B").line()
    assert line == "WHOIS CRITICAL - a ? time=0ms?WHOIS OK??[2J???ø | size=1B"
    with Peer(answers(FOUND)) as peer:
        assert ask(peer.target, "a|b").line().startswith("WHOIS OK - a?b answered in ")
        assert '"x?y?z"' in ask(peer.target, expect=["x|y\nz"]).line()
    assert '"a?b c"' in ask("a|b c").line()


def test_line_is_short() -> None:
    """A long text of the command line does not push the measurements out of what a monitoring system keeps."""
    with Peer(answers(FOUND)) as peer:
        line = ask(peer.target, "q" * 500, expect=["x" * 5000]).line()
    assert "x" * QUOTE_LIMIT + "..." in line
    assert len(line) < 4 * QUOTE_LIMIT
    assert len(ask("h" * 500 + ".invalid").line()) < 4 * QUOTE_LIMIT


@pytest.mark.parametrize("answer", [FOUND, NOT_FOUND, TOO_MANY, REFUSED, notices.TEMPORARY_FAILURE])
def test_answer_is_not_quoted(answer: str) -> None:
    """Nothing of the answer is in the line but what was asked for or expected: it may be personal."""
    personal = "Name:                 Berit | berit@beskyttet.example\n"
    for limits in ({}, {"expect": ["x"]}, {"absent": ["Name:"]}, {"warning": 0.001}, {"critical": 0.001}):
        with Peer(answers(answer + personal)) as peer:
            line = ask(peer.target, **limits).line()
        assert "erit" not in line
        assert "Søren" not in line


# --- the command -----------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Ran:
    """Run the command as one of a group, as `whoisd probe` is; it prints to standard output alone."""
    group = click.Group("whoisd", commands=[probe_command])
    ran = CliRunner().invoke(group, ["probe", *arguments])
    assert isinstance(ran.exception, SystemExit | None)
    assert ran.stderr == ""
    return ran


@pytest.mark.parametrize(
    ("behave", "options", "status", "name"),
    [
        (answers(FOUND), [], 0, "OK"),
        (answers(FOUND, after=0.1), ["--warning", "1", "--critical", "60000"], 1, "WARNING"),
        (answers(FOUND, after=0.1), ["--critical", "1"], 2, "CRITICAL"),
        (answers(FOUND), ["--expect", "Active", "--expect", "Reserved"], 2, "CRITICAL"),
        (answers(FOUND), ["--absent", "Reserved", "--absent", "Active"], 2, "CRITICAL"),
        (answers(NOT_FOUND), [], 2, "CRITICAL"),
        (answers(NOT_FOUND), ["--expect", "No entries found"], 0, "OK"),
        (stalls, ["--timeout", "0.3"], 2, "CRITICAL"),
        (answers(TOO_MANY), [], 3, "UNKNOWN"),
        (answers(REFUSED), [], 3, "UNKNOWN"),
    ],
)
def test_exit_status(behave: Behaviour, options: list[str], status: int, name: str) -> None:
    """The exit status is that of the verdict, which is one line of standard output."""
    with Peer(behave) as peer:
        ran = run(*options, peer.target, "eksempel.dk")
    assert ran.exit_code == status
    assert ran.stdout.startswith(f"WHOIS {name} - ")
    assert LINE.fullmatch(ran.stdout.removesuffix("\n"))


@pytest.mark.parametrize(
    "arguments", [("--", "--show-handles", "punktum.dk"), ("--", "--show-handles punktum.dk"), ("punktum.dk",)]
)
def test_words_are_one_query(arguments: tuple[str, ...]) -> None:
    """The words behind the host are the query; behind `--` they may be options of it."""
    with Peer(answers(FOUND)) as peer:
        assert run(peer.target, *arguments).exit_code == 0
    assert peer.lines == [" ".join(arguments).removeprefix("-- ").encode() + b"\r\n"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["127.0.0.1"],
        ["--bogus", "127.0.0.1", "a.dk"],
        ["--timeout"],
        ["--warning", "soon", "127.0.0.1", "a.dk"],
        ["--warning", "-5", "127.0.0.1", "a.dk"],
        ["--critical", "nan", "127.0.0.1", "a.dk"],
        ["--warning", "2", "--critical", "1", "127.0.0.1", "a.dk"],
        ["--expect", "", "127.0.0.1", "a.dk"],
        ["127.0.0.1:http", "a.dk"],
        ["127.0.0.1", "a\nb"],
        ["127.0.0.1", "--a|\nb"],
    ],
)
def test_wrong_command_line(arguments: list[str]) -> None:
    """A wrong command line is UNKNOWN, in one line: 2, the status of a wrong command line elsewhere, means CRITICAL here."""
    ran = run(*arguments)
    assert (ran.exit_code, ran.stdout.count("\n")) == (3, 1)
    assert ran.stdout.startswith("WHOIS UNKNOWN - ")
    assert LINE.fullmatch(ran.stdout.removesuffix("\n"))


def test_help_of_the_command() -> None:
    """`--help` says how to ask, and is UNKNOWN by the guidelines: a check that asks for it checks nothing."""
    ran = run("--help")
    assert ran.exit_code == 3
    for word in ("--warning", "--critical", "--expect", "--absent", "--timeout", "HOST[:PORT] NAME..."):
        assert word in ran.stdout


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (
            RuntimeError("berit@beskyttet.example"),
            "a fault of whoisd's own, please report it: RuntimeError at test_probe.py:",
        ),
    ],
)
def test_no_traceback(monkeypatch: pytest.MonkeyPatch, error: BaseException, text: str) -> None:
    """A fault that nobody foresaw is UNKNOWN, told by type and place: Python's own status for it, 1, means WARNING."""

    def fail(*_arguments: object, **_options: object) -> Result:
        raise error

    monkeypatch.setattr(whoisd.commands.probe, "probe", fail)
    ran = run("127.0.0.1", "a.dk")
    assert ran.exit_code == 3
    assert ran.stdout.startswith(f"WHOIS UNKNOWN - {text}")
    assert "berit" not in ran.stdout


def run_process(program: str, *arguments: str | bytes, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment(variables), capture_output=True, timeout=60, check=False
    )


COMMAND: Final = "from whoisd.commands.probe import probe_command; probe_command()"


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_process(encoding: str) -> None:
    """The line goes out in UTF-8, whatever the locale's encoding lacks."""
    with Peer(answers("Domain:\n")) as peer:
        ran = run_process(COMMAND, peer.target, "łódź.dk", PYTHONIOENCODING=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.startswith("WHOIS OK - łódź.dk answered in ".encode())


def test_process_with_a_name_that_is_not_utf_8() -> None:
    """A name in another encoding cannot be sent as UTF-8, and is a wrong use."""
    ran = run_process(COMMAND, "127.0.0.1", os.fsencode("æ.dk").decode().encode("iso-8859-1"))
    assert (ran.returncode, ran.stdout) == (3, b"WHOIS UNKNOWN - the query must be one line of UTF-8 text\n")


def test_process_ends_while_the_resolver_hangs() -> None:
    """A resolver that hangs does not hold up the end of the process."""
    hang = f"import socket, time; socket.getaddrinfo = lambda *a, **k: time.sleep(50); {COMMAND}"
    begun = time.monotonic()
    ran = run_process(hang, "--timeout", "0.3", "whois.example", "a.dk")
    assert time.monotonic() - begun < PATIENCE
    line = b"WHOIS CRITICAL - whois.example: the name was not resolved within 0.3 s\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, line, b"")


# --- our own server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "limits", "status"),
    [
        ("eksempel.dk", {"expect": ["DNS:                  eksempel.dk\n"]}, Status.OK),
        ("--show-handles punktum.dk", {"expect": ["\nCity:                 København S\n"]}, Status.OK),
        ("æøåöäüé.dk", {"expect": ["Domain:               æøåöäüé.dk\n"]}, Status.OK),
        (
            "--show-handles enkeltmand.dk",
            {"expect": ["Email:                DATA REDACTED\n"], "absent": ["egon@"]},
            Status.OK,
        ),
        ("HELP", {}, Status.OK),
        ("findes-ikke.dk", {}, Status.CRITICAL),
        ("findes-ikke.dk", {"expect": ["No entries found"]}, Status.OK),
        ("--show eksempel.dk", {}, Status.UNKNOWN),
    ],
)
def test_our_server(service: Service, query: str, limits: dict[str, Any], status: Status) -> None:
    """What our server says is judged as what it is."""
    assert ask(f"{service.host}:{service.port}", query, **limits).status is status


def test_our_server_without_its_data(sandbox_database: Database) -> None:
    """Our server without its database is CRITICAL."""
    dsn = sandbox_database.reader.replace(sandbox_database.name, "no_such_database")
    with Service(dsn) as service:
        result = ask(f"{service.host}:{service.port}")
    assert (result.status, "temporary failure" in result.text) == (Status.CRITICAL, True)
