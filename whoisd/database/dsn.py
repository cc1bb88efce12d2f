"""A PostgreSQL URL that may name several hosts, taken apart into a URL for each, in the order in which to try them.

Knows the form (PostgreSQL's documentation, "Connection URIs"); connects to nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from whoisd.errors import DsnError

_SCHEMES: Final = ("postgresql", "postgres")
_NO_URL: Final = "is not a URL; what is special in a password is percent-encoded"


class SessionTarget(StrEnum):
    """Which servers are wanted, as `target_session_attrs` says it."""

    ANY = "any"
    STANDBY = "standby"
    PREFER_STANDBY = "prefer-standby"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    READ_WRITE = "read-write"


# How much a server is wanted, 0 most, by whether it is a standby; one that is not here is not taken.
_RANKS: Final = {
    SessionTarget.ANY: {True: 0, False: 0},
    SessionTarget.STANDBY: {True: 0},
    SessionTarget.READ_ONLY: {True: 0},
    SessionTarget.PREFER_STANDBY: {True: 0, False: 1},
    SessionTarget.PRIMARY: {False: 0},
    SessionTarget.READ_WRITE: {False: 0},
}


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a database is: a URL for each host, in order of preference, and which of them will do."""

    hosts: tuple[str, ...]
    target: SessionTarget

    def rank(self, *, standby: bool) -> int | None:
        """Return how much a server is wanted, 0 most; None when it will not do."""
        return _RANKS[self.target].get(standby)


def is_standby(settings: object) -> bool:
    """Whether a server is a standby, by the settings that it reports. One that does not say is taken for a primary."""
    return bool(getattr(settings, "in_hot_standby", "off") == "on")


def parse_dsn(text: str) -> Dsn:
    """Take a URL apart. Raises `DsnError`."""
    if not text.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        raise DsnError("must begin with postgresql://")
    try:
        url = urlsplit(text)
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True)) if url.query else {}
    except ValueError:
        raise DsnError(_NO_URL) from None
    if url.fragment:  # what follows a "#" would be dropped without a word
        raise DsnError(_NO_URL)
    try:
        target = SessionTarget(options.pop("target_session_attrs", SessionTarget.ANY))
    except ValueError:
        raise DsnError(f"target_session_attrs must be one of {', '.join(SessionTarget)}") from None
    account, at, named = url.netloc.rpartition("@")
    if named:
        netlocs = [f"{account}{at}{host}" for host in named.split(",")]
        if not all(map(_is_host, netlocs)):
            raise DsnError(_NO_URL)
        hosts = [(netloc, options) for netloc in netlocs]
    else:
        hosts = [(url.netloc, choice) for choice in _choices(options)]
    head = f"{url.scheme}://"
    return Dsn(tuple(head + netloc + urlunsplit(("", "", url.path, urlencode(it), "")) for netloc, it in hosts), target)


def _choices(options: dict[str, str]) -> list[dict[str, str]]:
    """Return the options of each host where hosts are named by options, each with its port."""
    if "host" not in options:
        return [options]
    hosts, ports = options["host"].split(","), options.get("port", "").split(",")
    if len(ports) not in {1, len(hosts)}:
        raise DsnError("must have one port, or one for each host")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    rest = {name: value for name, value in options.items() if name != "port"}  # an empty one of several is the default one
    return [rest | {"host": host} | ({"port": port} if port else {}) for host, port in zip(hosts, ports, strict=True)]


def _is_host(netloc: str) -> bool:
    try:
        parts = urlsplit(f"//{netloc}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
