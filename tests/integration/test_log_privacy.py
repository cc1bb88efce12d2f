"""What the log calls a client: its address, a hash of its network, or nothing; and one event for each connection."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from typing import Any, Final

import asyncpg
import pytest
from support import PATIENCE, Database, Service, receive, v1, v2

# Clients are of 127.66.n.0/24, balancers of 127.67.0.0/16, and what headers say is of 203.0.113.0/24.
ADDRESS: Final = re.compile(r"127\.6[67]|203\.0\.113|7f42|cb00:?71|2001:db8")
LISTEN: Final = [
    {"host": "127.0.0.1", "port": 0},
    {"host": "127.0.0.1", "port": 0, "proxy": True, "trusted": ["127.67.0.0/16"]},
]
SETTINGS: Final = {
    "WHOISD_LISTEN": json.dumps(LISTEN),
    "WHOISD_LIMITS__RATE": "0.001",
    "WHOISD_LIMITS__BURST": "2",
    "WHOISD_SERVER__READ_TIMEOUT": "0.5",
    "WHOISD_NETWORK": json.dumps([{"name": "probes", "cidrs": ["127.66.9.0/24"], "rate": "unlimited"}]),
}


def exchange(service: Service, source: str, sent: bytes, *, proxied: bool = False) -> None:
    port = service.events("server.listening")[proxied]["port"]
    with socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0)) as client:
        client.sendall(sent)
        receive(client)


def cause_everything(service: Service, shut: Callable[[], None]) -> int:
    """Bring about whatever is logged of connections; return how many there were."""
    query = b"eksempel.dk\r\n"
    asked = [("127.66.1.1", query)] * 4  # the third and fourth are refused
    asked += [("127.66.2.1", b"a b\r\n"), ("127.66.2.2", b"findes-ikke.dk\r\n"), ("127.66.9.1", query), ("127.66.2.3", b"")]
    for source, sent in asked:
        exchange(service, source, sent)
    proxied = [
        ("127.67.0.1", v1("203.0.113.7") + query),
        ("127.67.0.1", v2(IPv4Address("203.0.113.8")) + b"x" * 2000),
        ("127.67.0.1", v1("2001:db8::7", "::1") + query),
        ("127.67.0.2", v1("203.0.113.9")[:-1] + b"x\r\n"),
        ("127.66.3.1", v1("203.0.113.10") + query),
    ]
    for source, sent in proxied:
        exchange(service, source, sent, proxied=True)
    with service.connect("127.66.4.1") as gone:
        gone.sendall(b"eksempel")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closing resets
    service.connect("127.66.4.2").close()
    shut()
    exchange(service, "127.66.5.1", query)
    exchange(service, "127.66.5.2", query)
    return len(asked) + len(proxied) + 4


def shut(database: Database) -> None:
    """Let nobody into the database, and end who is in."""

    async def change() -> None:
        superuser = await asyncpg.connect(database.cluster.dsn("postgres", "postgres"))
        await superuser.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
        await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database.name)
        await superuser.close()

    asyncio.run(change())


@pytest.mark.parametrize("form", ["address", "hash", "none"])
def test_what_the_log_calls_a_client(database: Database, form: str) -> None:
    """With `hash` and `none` no address is in any line, whatever happens; each connection leaves exactly one event."""
    with Service(database.reader, SETTINGS | {"WHOISD_LOG__CLIENT": form}) as service:
        connections = cause_everything(service, lambda: shut(database))
        service.wait_for_figure(connections, "whoisd_queries_total")
        service.wait_for_event("query", connections)
        os.kill(service.pids()["worker 1"], signal.SIGKILL)
        service.wait_for_event("process.died")
    events = service.events("query")
    assert len(events) == connections
    assert {event["outcome"] for event in events} == {
        *("found", "not_found", "bad_query", "rate_exceeded", "banned", "read_timeout", "no_query", "client_gone"),
        *("untrusted_proxy", "bad_proxy_header", "temporary_failure"),
    }
    assert [event["name"] for event in events if event.get("network") == "probes"] == ["eksempel.dk"]
    if form == "address":
        clients = {event["client"] for event in events if "client" in event}  # of one that is gone it can be gone too
        assert clients >= {"127.66.1.1", "127.66.2.3", "127.66.3.1", "127.66.5.2", "127.67.0.2"}
        assert clients >= {"203.0.113.7", "203.0.113.8", "2001:db8::7"}
        assert not {"203.0.113.9", "203.0.113.10"} & clients
    else:
        assert ADDRESS.findall(without_hashes(service.log())) == []
        known = [event for event in events if event["outcome"] != "client_gone"]  # whose address can be gone too
        assert all(("client" in event) == (form == "hash") for event in known)
        assert all(re.fullmatch("[0-9a-f]{16}", event.get("client", "0" * 16)) for event in events)


def without_hashes(log: str) -> str:
    """A log without what it calls its clients: a hash may have four digits of an address by chance."""
    return re.sub('"client":"[0-9a-f]{16}"', "", log)


def hashes(service: Service, queries: dict[str, str]) -> dict[str, set[str]]:
    """What the log calls the clients that ask for these names, by name; each asks often enough to meet every worker."""
    seen = len(service.events("query"))
    with ThreadPoolExecutor(8) as clients:
        [*clients.map(lambda pair: service.ask(*pair), [*queries.items()] * 20)]
    service.wait_for_event("query", seen + 20 * len(queries))
    found: dict[str, set[str]] = {}
    for event in service.events("query")[seen:]:
        found.setdefault(event["name"], set()).add(event["client"])
    return found


def test_hash_is_the_networks(sandbox_database: Database) -> None:
    """All clients of a network have one hash, on every worker and after a reload; other networks, and servers, others."""
    queries = {"a.dk": "127.66.1.1", "b.dk": "127.66.1.254", "c.dk": "127.66.2.1"}
    settings = {"WHOISD_LOG__CLIENT": "hash", "WHOISD_SERVER__WORKERS": "3"}
    seen: list[dict[str, set[str]]] = []
    for _ in range(2):
        with Service(sandbox_database.reader, settings) as service:
            first = hashes(service, queries)
            assert all(len(names) == 1 for names in first.values())
            assert first["a.dk"] == first["b.dk"] != first["c.dk"]
            service.process.send_signal(signal.SIGHUP)
            service.wait_for_event("server.ready", 2)
            assert hashes(service, queries) == first
            assert ADDRESS.findall(without_hashes(service.log())) == []
            seen.append(first)
    assert not set[str]().union(*seen[0].values()) & set[str]().union(*seen[1].values())


@pytest.mark.parametrize("proxied", [False, True])
def test_client_that_is_gone_before_it_is_accepted(sandbox_database: Database, proxied: bool) -> None:
    """A connection that was reset while it waited is `client_gone`, of whom it was."""
    with Service(sandbox_database.reader, SETTINGS) as service:
        workers = [pid for name, pid in service.pids().items() if name != "observer"]
        port = service.events("server.listening")[proxied]["port"]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), PATIENCE, ("127.67.0.1", 0)) as client:
                client.sendall(b"eksempel.dk\r\n")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        service.wait_for_event("query", 5)
        said = [(event["outcome"], event.get("client")) for event in service.events("query")]
        assert said == [("client_gone", "127.67.0.1")] * 5
        service.wait_for_figure(0, "whoisd_connections_open")


def facts(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in {"timestamp", "ms", "client"}}


def test_the_rest_of_the_event_is_the_same(sandbox_database: Database) -> None:
    """Whatever the client is called, the event says the same of the query."""
    said = []
    for form in ("address", "none"):
        with Service(sandbox_database.reader, {"WHOISD_LOG__CLIENT": form}) as service:
            service.ask("--show-handles enkeltmand.dk", "127.66.1.1")
            said.append(facts(service.wait_for_event("query")))
    assert said[0] == said[1]
    assert said[0].keys() == {"event", "level", "outcome", "protocol", "kind", "name", "email", "bytes"}
