"""The wire: whatever a client sends, and however, ends in a documented outcome within its deadline, with its text whole."""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from support import PATIENCE, WHOISD, Database, Service, environment, fields, receive

from whoisd.answers import notices
from whoisd.errors import NameFault, QueryFault
from whoisd.server.poller import MOST_EVENTS
from whoisd.server.sockets import SPARE_DESCRIPTORS

pytestmark = pytest.mark.alone  # clients have two seconds

ENDS_WITH: Final = notices.FOOT.replace("\n", "\r\n").encode()
TLS_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(256)) * 2


def refusal(fault: QueryFault | NameFault) -> bytes:
    return notices.refusal(fault).replace("\n", "\r\n").encode()


# --- one line, however it arrives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b" \r\n", b".\n", b"\r\n\r\n", b"\nmore\r\n"])
def test_line_ends(service: Service, end: bytes) -> None:
    """A line ends in CRLF or a bare LF; what follows it is of no account."""
    answer = service.exchange(b"eksempel.dk" + end)
    assert b"DNS:                  eksempel.dk\r\n" in answer
    assert answer.endswith(ENDS_WITH)


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_end_of_input_ends_the_line(service: Service, end: bytes) -> None:
    """A client that closes its half without a newline gets its answer on the other half."""
    with service.connect() as client:
        client.sendall(b"eksempel.dk" + end)
        client.shutdown(socket.SHUT_WR)
        assert receive(client).endswith(ENDS_WITH)


def test_one_byte_at_a_time(service: Service) -> None:
    """A line may come a byte at a time."""
    with service.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"--show-handles eksempel.dk\r\n":
            client.sendall(bytes([byte]))
            time.sleep(0.002)
        assert b"Email:                kontakt@eksempel.example\r\n" in receive(client)


QUERIES: Final = (b"eksempel.dk\r\n", b"HELP\r\n", b"--no-such-option\r\n", b"x" * 2000 + b"\r\n", b"\x00\r\n")


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("size", "times"), [(100_000, 60), (2_000_000, 10)])
@pytest.mark.parametrize("split", [False, True])
def test_junk_after_the_line(service: Service, query: bytes, size: int, times: int, split: bool) -> None:
    """What follows the line, with it or behind it, 100 KB or more than is read at once, costs no byte of the answer."""
    whole = service.exchange(query)
    for _ in range(times):
        with service.connect() as client, ThreadPoolExecutor(1) as sender:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if split:
                client.sendall(query)
            sent = sender.submit(client.sendall, (b"" if split else query) + b"junk\r\n" * (size // 6))
            time.sleep(0.001)  # the answer waits in the kernel, where a reset would throw it away
            assert receive(client) == whole
            sent.result()


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"eksempel\x00.dk\r\n", QueryFault.NOT_TEXT),
        (b"\x00", QueryFault.NOT_TEXT),
        (b"\x1b[2Jeksempel.dk\r\n", QueryFault.NOT_TEXT),
        (TLS_HELLO, QueryFault.NOT_TEXT),
        (b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00", QueryFault.NOT_TEXT),
        (b"GET / HTTP/1.1\r\nHost: eksempel.dk\r\n\r\n", QueryFault.SEVERAL_NAMES),
        (b"OPTIONS * HTTP/1.0\r\n\r\n", QueryFault.SEVERAL_NAMES),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NameFault.CHARACTER),
        (b"EHLO mail.eksempel.dk\r\n", QueryFault.SEVERAL_NAMES),
        (b"\r\n", QueryFault.NO_NAME),
        (b" \t \n", QueryFault.NO_NAME),
        (b"a" * 1025 + b"\r\n", QueryFault.TOO_LONG),
        (b"a" * 1026, QueryFault.TOO_LONG),
        (b" " * 5000 + b"eksempel.dk\r\n", QueryFault.TOO_LONG),
    ],
)
def test_what_is_no_query(service: Service, sent: bytes, fault: QueryFault | NameFault) -> None:
    """Input that is no query is refused as soon as that is certain, in one comment line that says why."""
    with service.connect() as client:
        begun = time.monotonic()
        client.sendall(sent)
        assert receive(client) == refusal(fault)
        assert time.monotonic() - begun < 1.5  # before the deadline of 2 s


def test_longest_line(service: Service) -> None:
    """A line of exactly 1,024 bytes is a query."""
    query = b" " * (1024 - len(b"eksempel.dk")) + b"eksempel.dk"
    assert service.exchange(query + b"\r\n").endswith(ENDS_WITH)
    assert service.exchange(b" " + query + b"\n") == refusal(QueryFault.TOO_LONG)


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_silent_client(service: Service) -> None:
    """A client that says nothing is told so at the deadline, and not before."""
    with service.connect() as client:
        begun = time.monotonic()
        assert receive(client) == b"# No whole query came within 2 seconds.\r\n"
        assert 1.8 < time.monotonic() - begun < 3


def test_dripping_client(service: Service) -> None:
    """One deadline covers the whole line: a byte now and then does not put it off."""
    with service.connect() as client:
        begun = time.monotonic()
        for _ in range(4):
            client.sendall(b"e")
            time.sleep(0.45)
        assert receive(client) == b"# No whole query came within 2 seconds.\r\n"
        assert time.monotonic() - begun < 3


def test_queries_that_came_while_the_worker_was_held_up(sandbox_database: Database) -> None:
    """A query that came in time is answered, however late the worker gets to read it; half a line is still none."""
    network = {"name": "tests", "cidrs": ["127.0.0.0/8"], "rate": "unlimited", "connections": 1000}
    settings = {
        "WHOISD_SERVER__READ_TIMEOUT": "2",
        "WHOISD_SERVER__WORKERS": "1",
        "WHOISD_NETWORK": json.dumps([network]),
    }
    with Service(sandbox_database.reader, settings) as service, ExitStack() as clients:
        waiting = [clients.enter_context(service.connect()) for _ in range(2 * MOST_EVENTS)]  # more than one turn takes
        service.wait_for_figure(len(waiting), "whoisd_connections_open")
        worker = service.pids()["worker 1"]
        os.kill(worker, signal.SIGSTOP)
        try:
            for client in waiting[1:]:
                client.sendall(b"help\r\n")
            waiting[0].sendall(b"hel")
            time.sleep(2.5)
        finally:
            os.kill(worker, signal.SIGCONT)
        answers = [receive(client) for client in waiting]
    late = notices.read_timeout(2.0).replace("\n", "\r\n").encode()
    assert [answer == late for answer in answers] == [True, *[False] * (len(waiting) - 1)]
    assert len({*answers}) == 2  # the help, and the refusal


def test_nothing_at_all(service: Service) -> None:
    """A client that ends its input without a byte is told what is missing."""
    with service.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert receive(client) == refusal(QueryFault.NO_NAME)


def test_client_that_does_not_close(sandbox_database: Database) -> None:
    """A client that reads its answer and stays is cut at the write deadline."""
    with Service(sandbox_database.reader, {"WHOISD_SERVER__WRITE_TIMEOUT": "1"}) as service, service.connect() as client:
        client.sendall(b"eksempel.dk\r\n")
        assert receive(client).endswith(ENDS_WITH)
        time.sleep(0.5)
        assert not service.events("query")
        time.sleep(0.7)
        assert service.wait_for_event("query")["outcome"] == "found"


def test_client_that_never_stops_sending(service: Service) -> None:
    """A client that sends for ever is cut at the write deadline, its answer long delivered."""
    with service.connect() as client:
        client.sendall(b"eksempel.dk\r\n")
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(receive(client)))
        reader.start()
        begun = time.monotonic()
        with suppress(ConnectionResetError, BrokenPipeError):
            while time.monotonic() - begun < PATIENCE:
                client.send(b"x" * 65536)
        assert 1.5 < time.monotonic() - begun < 4
        reader.join()
    assert received[0].endswith(ENDS_WITH)


# --- one event for each connection ------------------------------------------------------------------------------------


def test_every_connection_leaves_one_event(sandbox_database: Database) -> None:
    """Each connection ends in one event, whose outcome is the one that the manual lists for it."""
    with Service(sandbox_database.reader, {"WHOISD_SERVER__READ_TIMEOUT": "0.5"}) as service:
        service.ask("eksempel.dk")
        service.ask("findes-ikke.dk")
        service.ask("help")
        service.ask("a b")
        with service.connect() as client:
            receive(client)
        with service.connect() as client:
            client.shutdown(socket.SHUT_WR)
            receive(client)
        with service.connect() as client:
            client.sendall(b"eksempel.dk")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
        service.wait_for_event("query", 7)
        found = sorted((event["event"], event["outcome"]) for event in service.events("query"))
    assert found == [
        ("query.abandoned", "client_gone"),
        ("query.answered", "found"),
        ("query.answered", "help"),
        ("query.answered", "not_found"),
        ("query.missing", "no_query"),
        ("query.missing", "read_timeout"),
        ("query.refused", "bad_query"),
    ]


def test_event_of_an_answer(own_service: Service) -> None:
    """The event of an answer says who asked for what, why the email was shown or withheld, and what it cost."""
    answer = own_service.exchange(b"--show-handles enkeltmand.dk\r\n")
    event = own_service.wait_for_event("query.answered")
    assert event["client"] == "127.0.0.1"
    assert (event["kind"], event["email"], event["bytes"]) == ("domain", "sole_proprietorship", len(answer))
    assert 0 < event["ms"] < 2000


def test_log_holds_no_registrant_values(database: Database) -> None:
    """No value of any registrant is in the log, shown or withheld, at its most talkative level."""
    with Service(database.reader) as service:
        shown = service.ask("--show-handles punktum.dk")
        for name in ("beskyttet.dk", "enkeltmand.dk", "privatperson.dk", "lodz.dk"):
            service.ask(f"--show-handles {name}")
        service.wait_for_event("query.answered", 5)
        log = service.log()
    assert "info@punktum.dk" in shown
    for value in ("info@", "Punktum dk A/S", "restads", "33646060", "berit", "Berit", "egon", "preben", "urzad"):
        assert value not in log


# --- limits and the end ------------------------------------------------------------------------------------------------


def test_too_many_connections(sandbox_database: Database) -> None:
    """A connection beyond the limit is refused in full, at once, and those within it are served."""
    with Service(sandbox_database.reader, {"WHOISD_SERVER__MAX_CONNECTIONS": "3"}) as service:
        held = [service.connect() for _ in range(3)]
        for client in held:
            client.sendall(b"e")  # one that says nothing would give way
        time.sleep(0.2)
        with service.connect() as client:
            client.sendall(b"eksempel.dk\r\n" * 1000)
            assert receive(client) == notices.too_many_requests(5).replace("\n", "\r\n").encode()
        held[0].sendall(b"ksempel.dk\r\n")
        assert receive(held[0]).endswith(ENDS_WITH)
        for client in held:
            client.close()
        service.wait_for_event("query.refused")


@pytest.mark.parametrize(("seconds", "whole"), [(2.5, True), (10, False)])
def test_refused_client_that_keeps_sending(sandbox_database: Database, seconds: float, *, whole: bool) -> None:
    """A client that was refused at the door is not reset while it sends, but for longer than any client may take."""
    settings = {
        "WHOISD_SERVER__MAX_CONNECTIONS": "1",
        "WHOISD_SERVER__WORKERS": "1",
        "WHOISD_SERVER__WRITE_TIMEOUT": "4",
        "WHOISD_SERVER__READ_TIMEOUT": "60",
    }
    with Service(sandbox_database.reader, settings) as service, service.connect() as holder, ExitStack() as stack:
        holder.sendall(b"x")
        service.wait_for_figure(1, "whoisd_connections_open")
        client = stack.enter_context(service.connect())
        client.sendall(b"eksempel.dk\r\n")
        sent, until = True, time.monotonic() + seconds
        while sent and time.monotonic() < until:
            time.sleep(0.1)
            try:
                client.sendall(b"x")
            except OSError:
                sent = False
        assert sent is whole
        if whole:
            assert receive(client) == notices.too_many_requests(5).replace("\n", "\r\n").encode()
        else:
            assert 4 < seconds - (until - time.monotonic()) < 7


def test_ipv6(sandbox_database: Database) -> None:
    """The server listens on IPv6 too, and greets its clients with the address in full."""
    with Service(sandbox_database.reader, host="::1") as service:
        assert service.ask("eksempel.dk").startswith("# Hello 0000:0000:0000:0000:0000:0000:0000:0001. ")
        assert service.wait_for_event("query.answered")["client"] == "::1"


def test_port_in_use(service: Service) -> None:
    """An address that cannot be had stops the start and is named."""
    settings = {
        "WHOISD_DATABASE__DSN": "postgresql://nobody@/nothing",
        "WHOISD_LISTEN": json.dumps([{"host": "127.0.0.1", "port": service.port}]),
    }
    ended = subprocess.run([WHOISD, "serve"], env=environment(settings), capture_output=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode() == (
        f"whoisd: listen.0: cannot listen on 127.0.0.1 port {service.port}: Address already in use; choose another port\n"
    )


def test_stop_lets_open_connections_end(sandbox_database: Database) -> None:
    """At SIGTERM no new connection is accepted, and one that is open still gets its answer."""
    with Service(sandbox_database.reader) as service, service.connect() as client:
        client.sendall(b"--show-handles ")
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            service.connect()
        client.sendall(b"punktum.dk\r\n")
        assert fields(receive(client).decode("iso-8859-1"))["Email"] == ["info@punktum.dk"]
        client.close()
        assert service.process.wait(PATIENCE) == 0


def test_stop_cuts_what_outstays_the_grace(sandbox_database: Database) -> None:
    """A connection that does not end within the grace period is cut, and the server ends."""
    with Service(sandbox_database.reader, {"WHOISD_SERVER__GRACE": "0.5"}) as service, service.connect():
        time.sleep(0.2)
        begun = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0
        assert 0.3 < time.monotonic() - begun < 3


async def test_stop_tells_who_waits_for_the_database(database: Database) -> None:
    """Whoever still waits for the database when the grace is over is told to try again later, in full."""
    settings = {"WHOISD_SERVER__GRACE": "0.5", "WHOISD_DATABASE__DEADLINE": "20"}
    locker = await asyncpg.connect(database.owner)
    try:
        with Service(database.reader, settings) as service, service.connect() as client:
            await locker.execute("BEGIN; LOCK TABLE registry.domain")
            client.sendall(b"eksempel.dk\r\n")
            await asyncio.sleep(0.2)
            service.process.send_signal(signal.SIGTERM)
            assert receive(client) == notices.TEMPORARY_FAILURE.replace("\n", "\r\n").encode()
            assert service.process.wait(PATIENCE) == 0
            [ended] = service.events("query")
            assert (ended["event"], ended["fault"]) == ("query.failed", "stopping")
    finally:
        locker.terminate()


@pytest.mark.parametrize("clients", [20, 200])
def test_stop_answers_who_had_connected(sandbox_database: Database, clients: int) -> None:
    """Whoever had connected before SIGTERM is answered, those that the server had not yet accepted too."""
    with Service(sandbox_database.reader) as service:
        whole = service.exchange(b"eksempel.dk\r\n")
        service.process.send_signal(signal.SIGSTOP)  # so that they wait in the kernel
        connected = [service.connect() for _ in range(clients)]
        for client in connected:
            client.sendall(b"eksempel.dk\r\n")
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        for client in connected:
            with client:
                assert receive(client) == whole
        assert service.process.wait(PATIENCE) == 0


def test_refused_in_full_when_descriptors_run_short(sandbox_database: Database) -> None:
    """With few open files allowed the server serves fewer, and has descriptors left to refuse the others in full."""
    limit: list[str | Path] = ["/bin/sh", "-c", 'ulimit -n 200; exec "$0" serve', WHOISD]
    settings = {"WHOISD_DATABASE__DSN": sandbox_database.reader, "WHOISD_LISTEN": '[{"host": "127.0.0.1", "port": 0}]'}
    with subprocess.Popen(limit, env=environment(settings), stderr=subprocess.PIPE) as process:
        assert process.stderr
        events = map(json.loads, process.stderr)
        room = next(event["max_connections"] for event in events if event["event"] == "server.limited")
        port = next(event["port"] for event in events if event["event"] == "server.listening")
        held = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) for _ in range(room)]
        time.sleep(0.2)
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                client.sendall(b"eksempel.dk\r\n")
                assert receive(client) == notices.too_many_requests(5).replace("\n", "\r\n").encode()
        for client in held:
            client.close()
        process.terminate()
        process.stderr.read()
    assert room == (200 - 64) * 4 // 5


def test_worker_that_runs_out_of_descriptors(sandbox_database: Database) -> None:
    """Who comes while a worker has no descriptor left waits in the queue, and is answered when it has; the log says so."""
    with Service(sandbox_database.reader, {"WHOISD_SERVER__WORKERS": "1"}) as service:
        worker = service.pids()["worker 1"]
        service.ask("HELP")
        _, hard = limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        least = max(int(each.name) for each in Path(f"/proc/{worker}/fd").iterdir()) + 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (least, hard))
        holes = least - len(list(Path(f"/proc/{worker}/fd").iterdir()))
        with ExitStack() as stack:
            for _ in range(holes + 1):  # the connection that asked for HELP may have been counted, and gone since
                stack.enter_context(service.connect())
            late = stack.enter_context(service.connect())
            late.sendall(b"HELP\r\n")
            service.wait_for_event("server.exhausted")
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
            assert receive(late).startswith(b"# How to ask")
        assert {event["because"] for event in service.events("server.exhausted")} == {"Too many open files"}


def test_no_room_for_any_connection() -> None:
    """Where the limit on open files leaves no room, the server says so instead of refusing everybody."""
    limit: list[str | Path] = ["/bin/sh", "-c", 'ulimit -n 64; exec "$0" serve', WHOISD]
    settings = {"WHOISD_DATABASE__DSN": "postgresql://x@/x", "WHOISD_LISTEN": '[{"host": "127.0.0.1", "port": 0}]'}
    ended = subprocess.run(limit, env=environment(settings), capture_output=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert ended.stderr == b"whoisd: the limit on open files (RLIMIT_NOFILE) is 64: raise it to 128 or more\n"


def test_no_room_for_any_but_named_networks(sandbox_database: Database, tmp_path: Path) -> None:
    """Where the limit on open files leaves room for the named networks alone, the server says so; one more is for others."""
    limit: list[str | Path] = ["/bin/sh", "-c", 'ulimit -n 1024; exec "$0" serve', WHOISD]
    room = (1024 - SPARE_DESCRIPTORS) * 4 // 5
    network = {"name": "probes", "cidrs": ["192.0.2.0/24"], "rate": 1, "connections": room}
    settings = {
        "WHOISD_DATABASE__DSN": sandbox_database.reader,
        "WHOISD_LISTEN": '[{"host": "127.0.0.1", "port": 0}]',
        "WHOISD_METRICS__PORT": "0",
        "WHOISD_LIMITS__FILE": str(tmp_path / "sources"),
        "WHOISD_NETWORK": json.dumps([network]),
    }
    ended = subprocess.run(limit, env=environment(settings), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert f"whoisd: network: connections add up to {room}, which leaves others no room in the {room} that" in ended.stderr
    service = Service(sandbox_database.reader, {"WHOISD_NETWORK": json.dumps([network | {"connections": room - 1}])})
    service.command = limit
    with service:
        assert service.exchange(b"eksempel.dk\r\n").endswith(ENDS_WITH)


def test_many_clients_at_once(service: Service) -> None:
    """3,000 queries by 32 clients at once: each gets the answer to its own question."""
    names = ["eksempel.dk", "punktum.dk", "enkeltmand.dk", "findes-ikke.dk", "auth01.ns.dk-hostmaster.dk", "HELP"]
    expected = {name: service.ask(name) for name in names}
    with ThreadPoolExecutor(32) as clients:
        answers = clients.map(lambda number: (names[number % 6], service.ask(names[number % 6])), range(3000))
        assert all(answer == expected[name] for name, answer in answers)


def test_memory_and_descriptors_return(service: Service) -> None:
    """After a thousand connections of every kind the process holds no more descriptors than before."""

    def descriptors() -> int:
        return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))

    before = descriptors()
    for number in range(1000):
        service.exchange([b"eksempel.dk\n", b"x y\n", b"\x00", b"findes-ikke.dk\n"][number % 4])
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert descriptors() <= before
