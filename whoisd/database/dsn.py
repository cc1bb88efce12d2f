"""A PostgreSQL URL that may name several hosts, taken apart into a URL for each, in the order in which to try them.

Knows the form and the options (PostgreSQL's documentation, "Connection URIs" and "Parameter Key Words"); connects to
nothing. An option is understood, or changes nothing and is left out, or is refused by its name: asyncpg hands any that it
does not know to the server, which then lets nobody in.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

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

# Options that asyncpg understands, or that PostgreSQL takes as they are; with the values of those that have few.
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_UNDERSTOOD: Final[dict[str, tuple[str, ...]]] = {
    "host": (), "port": (), "dbname": (), "user": (), "password": (), "passfile": (),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslcert": (), "sslkey": (), "sslpassword": (), "sslrootcert": (), "sslcrl": (),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS, "ssl_max_protocol_version": _TLS_VERSIONS,
    "application_name": (), "options": (), "target_session_attrs": tuple(SessionTarget),
}  # fmt: skip
# Options whose values here say what is so in any case.
_SO_ANYWAY: Final = {
    "channel_binding": ("prefer", "disable"),
    "client_encoding": ("auto", "UTF8", "utf8", "UTF-8", "utf-8"),
    "gssencmode": ("prefer", "disable"),
    "keepalives": ("1",),
    "load_balance_hosts": ("disable",),
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
_KEEPALIVES: Final = "is not for this: keepalives are always on"
_REFUSED: Final = {
    "connect_timeout": "is not for this: database.deadline bounds a lookup, connecting included",
    "database": "is spelled dbname",
    "fallback_application_name": "is not supported; application_name is",
    "hostaddr": "is not supported; name the address as the host",
    "keepalives_idle": _KEEPALIVES,
    "keepalives_interval": _KEEPALIVES,
    "keepalives_count": _KEEPALIVES,
    "tcp_user_timeout": _KEEPALIVES,
    "service": "is not supported; write host, user and database into the URL",
    "servicefile": "is not supported; write host, user and database into the URL",
} | dict.fromkeys(
    (
        "gsslib", "krbsrvname", "gssdelegation", "max_protocol_version", "min_protocol_version", "replication",
        "require_auth", "requirepeer", "requiressl", "scram_client_key", "scram_server_key",
        "sslcertmode", "sslcrldir", "sslkeylogfile",
    ),
    "is not supported; leave it out",
)  # fmt: skip
_FILES: Final = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a database is: a URL for each host, in order of preference, and which of them will do."""

    hosts: tuple[str, ...]
    target: SessionTarget
    files: tuple[tuple[str, str], ...] = ()  # that connecting needs, each with the option that names it

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
    except ValueError:
        raise DsnError(_NO_URL) from None
    if url.fragment or "\0" in unquote(text):  # what follows a "#" would be dropped without a word
        raise DsnError(_NO_URL)
    options = _options(url.query)
    target = SessionTarget(options.pop("target_session_attrs", SessionTarget.ANY))
    account, at, named = url.netloc.rpartition("@")
    if "@" in account:  # asyncpg takes the first for the end of the account
        raise DsnError(_NO_URL)
    if named:
        netlocs = [f"{account}{at}{host}" for host in named.split(",")]
        if not all(map(_is_host, netlocs)):
            raise DsnError(_NO_URL)
        hosts = [(netloc, options) for netloc in netlocs]
    else:
        hosts = [(url.netloc, choice) for choice in _choices(options)]
    head = f"{url.scheme}://"
    urls = [head + netloc + urlunsplit(("", "", url.path, urlencode(it, quote_via=quote), "")) for netloc, it in hosts]
    return Dsn(tuple(urls), target, tuple((name, options[name]) for name in _FILES if options.get(name)))


def _options(query: str) -> dict[str, str]:
    """Return the options that say something, each checked. A plus is a plus (RFC 3986), as libpq has it."""
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals:
            raise DsnError(_NO_URL)
        name, value = unquote(name), unquote(value)
        if fault := _fault(name, value):
            raise DsnError(fault)
        if name not in _SO_ANYWAY:
            options[name] = value
    if options.get("sslnegotiation") == "direct" and options.get("sslmode", "prefer") in ("disable", "allow", "prefer"):
        raise DsnError("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    return options


def _fault(name: str, value: str) -> str:
    """Return what is wrong with an option. Quotes none that is not known: it may be part of a password."""
    if name in _REFUSED:
        return f"{name} {_REFUSED[name]}"
    values = _UNDERSTOOD.get(name, _SO_ANYWAY.get(name))
    if values is None:
        return f"has an option that is none of {', '.join(_UNDERSTOOD)}"
    if values and value not in values:
        return f"{name} must be one of {', '.join(values)}"
    if name == "port" and not all(not port or _is_port(port) for port in value.split(",")):
        return "port must be a number from 1 to 65535"
    return ""


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= 65535  # noqa: PLR2004 - TCP's highest port


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
