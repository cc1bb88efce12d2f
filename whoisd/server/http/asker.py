"""Who asks on an HTTP connection, by their own address or by what a trusted balancer says, and why they may not."""

from collections.abc import Sequence
from time import time

from whoisd.config import HttpListen
from whoisd.limits.sources import Client, Refusal, Sources
from whoisd.server.http.forwarded import client_of
from whoisd.server.proxy import HeaderBuffer


class Asker:
    """Who asks on a connection, and why they may not."""

    def __init__(self, sources: Sources, listen: HttpListen, peer: str) -> None:
        self._sources = sources
        self._listen = listen
        self._counted = False
        self._peer = sources.peer(peer)
        self._header: HeaderBuffer | None = None
        self.client = self._peer
        self.refused: Refusal | None = None

    @property
    def is_known(self) -> bool:
        """Whether no PROXY header has to come before it is clear who asks."""
        return self._header is None

    def begin(self) -> bool:
        """Identify who connects, or wait for a header; return whether this peer may connect to the listener at all."""
        if self._listen.client == "address":
            self._identify(self._peer)
        elif not any(self._peer.address in network for network in self._listen.trusted):
            return False
        elif self._listen.client == "proxy":
            self._header = HeaderBuffer()
        return True

    def take_header(self, data: bytes) -> bytes:
        """Read the PROXY header of a balancer; return what stands behind it. Raises `ProxyError`."""
        header = self._header.feed(data) if self._header else None
        if not header:
            return b""
        self._header = None
        self._identify(self._sources.client(header.client) if header.client else self._peer)
        return header.rest

    def _identify(self, client: Client) -> None:
        """Take a client for the one who asks; one that may not is told so in answer to its request."""
        self.client = client
        self.refused = self._sources.connect(client, time())
        self._counted = self.refused is None

    def leave(self) -> None:
        """Count the connection out."""
        if self._counted:
            self._sources.disconnect(self.client)

    def of_request(self, forwarded: Sequence[bytes]) -> tuple[Client, Refusal | None]:
        """Return who makes a request with these X-Forwarded-For, and why it may not; `done_with` is for its end."""
        if self.refused or self._listen.client != "x-forwarded-for":
            return self.client, self.refused
        values = [value.decode("latin-1") for value in forwarded]
        client = self._sources.client(client_of(values, self._peer.address, self._listen.trusted))
        return client, self._sources.connect(client, time())

    def done_with(self, client: Client, refused: Refusal | None) -> None:
        """Count a request out that a balancer passed on."""
        if self._listen.client == "x-forwarded-for" and not refused and not self.refused:
            self._sources.disconnect(client)
