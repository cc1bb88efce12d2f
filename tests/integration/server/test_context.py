"""Who has a place: a connection that is served has one, one that has only to close has none, and a silent one gives way."""

import json
import socket
from collections import Counter
from contextlib import ExitStack
from typing import Final

import pytest
from support import Database, Service, receive, until

from whoisd.answers import notices

QUERY: Final = b"eksempel.dk\r\n"
ENDS_WITH: Final = notices.FOOT.replace("\n", "\r\n").encode()
REFUSED: Final = notices.too_many_requests(5).replace("\n", "\r\n").encode()
SETTINGS: Final = {"WHOISD_SERVER__WORKERS": "1", "WHOISD_SERVER__READ_TIMEOUT": "60", "WHOISD_SERVER__WRITE_TIMEOUT": "60"}


def asked(service: Service, source: str = "") -> socket.socket:
    """A client that has its whole answer and does not close."""
    client = service.connect(source)
    client.sendall(QUERY)
    assert receive(client).endswith(ENDS_WITH)
    return client


@pytest.mark.parametrize("limit", ["WHOISD_LIMITS__CONNECTIONS", "WHOISD_SERVER__MAX_CONNECTIONS"])
def test_answered_connections_count_no_more(sandbox_database: Database, limit: str) -> None:
    """A client that has its answer whole and does not close is not counted, and may ask again and again."""
    with Service(sandbox_database.reader, SETTINGS | {limit: "1"}) as service, ExitStack() as held:
        for _ in range(20):
            held.enter_context(asked(service))
        assert service.figures().sum("whoisd_connections_open") == 20


def test_unsent_answers_count(sandbox_database: Database) -> None:
    """A client that has asked for nothing yet is counted, and so is one more of the same source refused in full."""
    settings = SETTINGS | {"WHOISD_LIMITS__CONNECTIONS": "2"}
    with Service(sandbox_database.reader, settings) as service, service.connect() as first, service.connect() as second:
        service.wait_for_figure(2, "whoisd_connections_open")
        assert service.exchange(QUERY) == REFUSED
        for client in (first, second):
            client.sendall(QUERY)
            assert receive(client).endswith(ENDS_WITH)


def test_oldest_silent_connection_gives_way(sandbox_database: Database) -> None:
    """When all places are taken the oldest client that has sent nothing is refused in full, for one who comes.

    Whoever has sent a byte keeps its place, and so does a named network; when none is silent it is the newcomer that is
    refused.
    """
    probes = [{"name": "probes", "cidrs": ["127.5.0.0/16"], "rate": "unlimited", "connections": 2}]
    settings = SETTINGS | {"WHOISD_SERVER__MAX_CONNECTIONS": "5", "WHOISD_NETWORK": json.dumps(probes)}
    with Service(sandbox_database.reader, settings) as service, ExitStack() as held:

        def connect(source: str, sent: bytes = b"") -> socket.socket:
            client = held.enter_context(service.connect(source))
            client.sendall(sent)
            return client

        probe = connect("127.5.0.1")
        begun = connect("127.6.0.1", b"eks")
        first, second = connect("127.6.0.2"), connect("127.6.0.3")
        service.wait_for_figure(4, "whoisd_connections_open")
        for gone in (first, second):
            assert connect("127.7.0.1", b"e")
            assert receive(gone) == REFUSED
            gone.close()
        assert service.exchange(QUERY, "127.8.0.1") == REFUSED
        begun.sendall(b"empel.dk\r\n")
        assert receive(begun).endswith(ENDS_WITH)
        assert service.exchange(QUERY, "127.8.0.1").endswith(ENDS_WITH)
        probe.sendall(QUERY)
        assert receive(probe).endswith(ENDS_WITH)
        until(lambda: len(service.events("query.refused")) == 3)
        refused = Counter(event["client"] for event in service.events("query.refused"))
        assert refused == {"127.6.0.2": 1, "127.6.0.3": 1, "127.8.0.1": 1}
        assert {event["fault"] for event in service.events("query.refused")} == {"all_connections"}
