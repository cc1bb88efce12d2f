"""The settings: read once from a TOML file and the environment, checked, frozen, passed down.

A key that is not known stops the start and is named; so is a value that is wrong, with its file or variable. A setting in
the environment is `WHOISD_<SECTION>__<KEY>` and wins over the file; what has several parts is written there as JSON.
No message quotes a value: it may hold a password.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from whoisd.answers.answer import Policy
from whoisd.answers.names import parse_name
from whoisd.answers.notices import PHRASES_FOR_FREE
from whoisd.database.dsn import Dsn, parse_dsn
from whoisd.errors import ConfigError, DsnError, InvalidName
from whoisd.limits.counters import MOST_NAMED
from whoisd.limits.keys import NAT64_LENGTHS, WELL_KNOWN_NAT64, Network
from whoisd.limits.ledger import MOST_WORKERS, Allowance
from whoisd.limits.sources import Named, Quotas

DEFAULT_FILE: Final = Path("/etc/whoisd/whoisd.toml")
ENV_PREFIX: Final = "WHOISD_"
IN_FORCE_FROM: Final = datetime(2025, 11, 3, 14, 0, tzinfo=timezone(timedelta(hours=1)))
DEFAULT_TERMS: Final = """\
The data below is published so that domain names can be used and trusted. You may
look up single names. You may not collect the data in bulk, nor use it for
advertising or to contact people unasked. Queries are limited for each source."""

LEAST_RATE: Final = 0.001
MOST_RATE: Final = 1e6
OTHER_NETWORK: Final = "other"  # what metrics call whatever is in no named network
_KUBERNETES: Final = re.compile(
    "WHOISD(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK: Final = re.compile("WHOISD(_[A-Z0-9_]+)?_PORT")  # which could be a setting's, misspelt, but for its value
_ADDRESS: Final = re.compile("(tcp|udp|sctp)://")
_LISTS: Final = ("listen", "network")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


def _dsn(value: SecretStr) -> SecretStr:
    try:
        dsn = parse_dsn(value.get_secret_value())
    except DsnError as error:
        raise ValueError(str(error)) from None
    for option, file in dsn.files:
        if option != "passfile" and not Path(file).is_file():  # one of passwords may be missing, and need not be used
            raise ValueError(f"{option} names no file that there is")
    return value


def _not_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def _flag(value: object) -> object:
    """Take true and false, and the words for them, which is all that a variable can hold; no number."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def _moment(value: object) -> object:
    """Refuse a number, which would be taken for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and "T" in value.upper()):
        raise ValueError("must be a date and time, as in 2025-11-03T14:00:00+01:00")
    return value


def _rate(value: object) -> object:
    """Take a rate; one check instead of one for each way to write it, so that what is wrong with it is one fault."""
    if value == "unlimited":
        return value
    try:
        rate = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        rate = 0.0
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(f"must be a number from {LEAST_RATE} to {MOST_RATE:.0f}, or 'unlimited'")
    return rate


def _not_empty(value: tuple[object, ...]) -> tuple[object, ...]:
    if not value:
        raise ValueError("must have at least one address")
    return value


def _file(value: Path) -> Path:
    if not value.name or "\0" in str(value):
        raise ValueError("must name a file")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must state its offset from UTC, as in 2025-11-03T14:00:00+01:00")
    return value


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, as that of an answer is: of two zones Python asks both for their offsets at each comparison.

    At the ends of its years no datetime holds it in UTC; there it stays as it is.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment


def canonical_address(value: str) -> str:
    """Return an IPv4 or IPv6 address in its short form. Raises `ValueError` for any other text, a name among them.

    An address of a link (with a zone) is refused, as one would be that is IPv4 written as IPv6: no socket has such a name.
    """
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("must have no zone: clients of one link alone could reach it")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise ValueError("must be written as the IPv4 address that it stands for")
    return str(address)


def _cidr(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a network, as in 192.0.2.0/24 or 2001:db8::/48")  # noqa: TRY004 - pydantic takes a ValueError
    try:
        network = ip_network(value)
    except ValueError as error:
        hint = f": {ip_network(value, strict=False)}" if "host bits" in str(error) else ""
        said = "has bits beyond its prefix; the network is" if hint else "must be a network, as in 192.0.2.0/24"
        raise ValueError(f"{said}{hint}") from None
    if isinstance(network, IPv6Network) and any(network.subnet_of(prefix) for prefix in (_MAPPED, WELL_KNOWN_NAT64)):
        raise ValueError("must be written as IPv4, which its addresses count as")
    return network


def _nat64(value: object) -> object:
    if value == str(WELL_KNOWN_NAT64):
        raise ValueError("is one without being named; leave it out")
    network = _cidr(value)
    if not isinstance(network, IPv6Network):
        raise ValueError("must be an IPv6 network")  # noqa: TRY004 - pydantic takes a ValueError
    if network.prefixlen not in NAT64_LENGTHS:
        raise ValueError(f"must have {', '.join(map(str, NAT64_LENGTHS[:-1]))} or {NAT64_LENGTHS[-1]} bits (RFC 6052)")
    if int(network.network_address) >> 56 & 0xFF:
        raise ValueError("must have zeros in bits 64 to 71 (RFC 6052)")
    return network


def _name(value: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_-]{0,31}", value) or value == OTHER_NETWORK:
        raise ValueError(
            f"must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter, and not {OTHER_NETWORK!r}; it names the network"
            " in logs and metrics"
        )
    return value


def _harmless(value: str) -> str:
    """Refuse a text that would make clients take every answer for an unregistered name, or that is no plain text."""
    for phrase in PHRASES_FOR_FREE:
        if phrase in value.lower():
            raise ValueError(f"must not hold {phrase!r}, which client libraries take for an unregistered name")
    if not value.replace("\n", "").isprintable():
        raise ValueError("must not hold control characters")
    return value


def _one_line(value: str) -> str:
    if "\n" in value:
        raise ValueError("must be one line")
    return _harmless(value)


def _host_name(value: str) -> str:
    try:
        return parse_name(value).ascii
    except InvalidName:
        raise ValueError("must be the name of a host") from None


def _web_url(value: str) -> str:
    """Take where a site is, without a path; return it without a slash at its end."""
    if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?/?", value):
        raise ValueError("must be as in https://rdap.example.dk, in small letters and without a path")
    return value.removesuffix("/")


Cidr = Annotated[Network, BeforeValidator(_cidr)]
Nat64 = Annotated[IPv6Network, BeforeValidator(_nat64)]
Url = Annotated[SecretStr, AfterValidator(_dsn)]
Seconds = Annotated[float, BeforeValidator(_not_boolean), Field(ge=0.01, le=3600, allow_inf_nan=False)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Count = Annotated[int, BeforeValidator(_not_boolean)]
Rate = Annotated[Literal["unlimited"] | float, BeforeValidator(_rate)]
Burst = Annotated[Count, Field(ge=1, le=100_000)]
Connections = Annotated[Count, Field(ge=1, le=1_000_000)]


_WIDEST_TRUSTED: Final = {4: 8, 6: 16}  # bits of the shortest prefix, by version of IP


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Listen(_Section):
    """An address to listen on."""

    host: Annotated[str, AfterValidator(canonical_address)] = Field(description="IPv4 or IPv6 address")
    port: Count = Field(default=43, ge=0, le=65535, description="TCP port; 0 takes one that the system chooses")
    proxy: Flag = Field(default=False, description="whether every connection begins with a PROXY protocol header")
    trusted: tuple[Cidr, ...] = Field(
        default=(), description="with `proxy`, the networks of the balancers: anyone else is refused there"
    )

    @model_validator(mode="after")
    def _trusts_whom_it_must(self) -> Self:
        if self.proxy and not self.trusted:
            raise ValueError("trusted: required with proxy; a header from anyone could carry any address")
        if self.trusted and not self.proxy:
            raise ValueError("trusted: is for a listener with proxy = true")
        _check_trusted(self.trusted)
        return self


def _check_trusted(trusted: Sequence[Network]) -> None:
    for network in trusted:
        if network.prefixlen < _WIDEST_TRUSTED[network.version]:
            raise ValueError(f"trusted: {network} is nearly anyone; name the balancers' own networks")


class HttpListen(_Section):
    """An address of the HTTP server."""

    host: Annotated[str, AfterValidator(canonical_address)] = Field(description="IPv4 or IPv6 address")
    port: Count = Field(default=443, ge=0, le=65535, description="TCP port; 0 takes one that the system chooses")
    certificate: Annotated[Path, AfterValidator(_file)] | None = Field(
        default=None, description="PEM file of the certificate and its chain, for TLS; read again at reload"
    )
    key: Annotated[Path, AfterValidator(_file)] | None = Field(
        default=None, description="PEM file of the certificate's key, where it is not in the same"
    )
    client: Literal["address", "proxy", "x-forwarded-for"] = Field(
        default="address",
        description="where the client's address is from: the connection, or a balancer's PROXY header or X-Forwarded-For",
    )
    trusted: tuple[Cidr, ...] = Field(
        default=(), description="behind a balancer, the networks of the balancers: anyone else is refused there"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.key and not self.certificate:
            raise ValueError("certificate: required with key")
        if self.client == "proxy" and self.certificate:
            raise ValueError("client: a PROXY header comes before TLS; end TLS at the balancer, or pass on X-Forwarded-For")
        if self.client != "address" and not self.trusted:
            raise ValueError(f"trusted: required with client = {self.client}; a header from anyone could carry any address")
        if self.trusted and self.client == "address":
            raise ValueError("trusted: is for a listener behind a balancer; see client")
        _check_trusted(self.trusted)
        return self


class Server(_Section):
    """Workers, and the limits and deadlines of connections."""

    workers: Count | None = Field(
        default=None,
        ge=1,
        le=MOST_WORKERS,
        description="worker processes; without it one for each CPU that affinity and cgroup allow, up to 16",
    )
    read_timeout: Seconds = Field(default=10.0, description="seconds for a client to send its whole line")
    write_timeout: Seconds = Field(
        default=10.0, description="seconds for a client to take its whole answer and close; then the connection is cut"
    )
    grace: Seconds = Field(default=10.0, description="seconds at stop for open connections to end; then they are cut")
    max_connections: Count = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="open connections over all workers; more are refused with the too-many text",
    )


class Limits(_Section):
    """How much one source, and the network around it, may ask."""

    file: Annotated[Path, AfterValidator(_file)] = Field(
        default=Path("/run/whoisd/sources"), description="file of rates and bans, shared by the workers and `whoisd bans`"
    )
    rate: Rate = Field(default=1.0, description="queries a second of a source (IPv4 address, IPv6 /64), or `unlimited`")
    burst: Burst = Field(default=5, description="queries that a source may ask at once before the rate holds it")
    connections: Connections = Field(default=20, description="open connections of a source")
    network_rate: Rate = Field(
        default=10.0, description="queries a second of the network around it (IPv4 /24, IPv6 /48), or `unlimited`"
    )
    network_burst: Burst = Field(default=100, description="queries that such a network may ask at once")
    network_connections: Connections = Field(default=200, description="open connections of such a network")

    nat64: tuple[Nat64, ...] = Field(
        default=(),
        description="prefixes of your own translators (RFC 6052), besides 64:ff9b::/96; an address in one counts as the IPv4"
        " address in it",
    )

    @model_validator(mode="after")
    def _leaves_room_for_neighbours(self) -> Self:
        """Refuse what lets one source, within its own limits, use up what the network around it may ask."""
        for key in ("rate", "burst", "connections"):
            own, around = getattr(self, key), getattr(self, f"network_{key}")
            if around != "unlimited" and (own == "unlimited" or own > around):
                raise ValueError(f"network_{key}: must not be less than {key}, or one source uses up its neighbours' share")
        return self


class NamedNetwork(_Section):
    """Networks that have limits of their own: monitoring, incident teams, registrars."""

    name: Annotated[str, AfterValidator(_name)] = Field(description="what logs and metrics call it")
    cidrs: Annotated[tuple[Cidr, ...], AfterValidator(_not_empty)] = Field(
        description="the networks, IPv4 or IPv6; the narrowest match counts"
    )
    rate: Rate = Field(description="queries a second of each source in it, or `unlimited`")
    burst: Burst = Field(default=5, description="queries that each source in it may ask at once")
    connections: Connections = Field(
        default=100, description="open connections of all of it; room for them is kept free of others"
    )


class Http(_Section):
    """RESTful WHOIS, RDAP and the page: served where there is a listener."""

    listen: tuple[HttpListen, ...] = Field(
        default=(), description="addresses to listen on, each an `[[http.listen]]`; without one nothing is served"
    )
    workers: Count = Field(default=1, ge=1, le=64, description="processes")
    max_connections: Count = Field(
        default=5_000,
        ge=1,
        le=1_000_000,
        description="open connections of a process; in `server.max_connections` they count too",
    )
    idle_timeout: Annotated[Seconds, Field(ge=1)] = Field(
        default=15.0, description="seconds that a connection may be idle between two requests"
    )
    whois_host: Annotated[str, AfterValidator(_host_name)] | None = Field(
        default=None, description="name of the host whose port 43 this is, which RDAP answers give"
    )
    url: Annotated[str, AfterValidator(_web_url)] | None = Field(
        default=None,
        description="where clients find it, as in `https://rdap.example.dk`; for links in RDAP answers",
    )


class Metrics(_Section):
    """Where Prometheus and health checks ask."""

    enabled: Flag = Field(default=True, description="whether /metrics, /livez and /readyz are served")
    host: Annotated[str, AfterValidator(canonical_address)] = Field(default="127.0.0.1", description="address to listen on")
    port: Count = Field(default=9043, ge=0, le=65535, description="TCP port, HTTP; 0 takes one that the system chooses")


class Database(_Section):
    """Where the registry's data is."""

    dsn: Url = Field(description="PostgreSQL URL of the server's role, which reads the two views")
    owner_dsn: Url | None = Field(
        default=None, description="PostgreSQL URL of the owner's role, for the commands that write"
    )
    deadline: Annotated[Seconds, Field(ge=0.1, le=60)] = Field(
        default=1.5, description="seconds for a lookup, waiting included; then the client is told to try again later"
    )
    max_age: Annotated[float, BeforeValidator(_not_boolean), Field(ge=1, le=31_536_000, allow_inf_nan=False)] | None = Field(
        default=None,
        description="seconds beyond which the data is too old for any email to be shown, by the age of `whoisd heartbeat`,"
        " else by a standby's lag; without it none is too old",
    )

    @property
    def tells_age(self) -> bool:
        """Whether each domain has to come with how old the data is."""
        return self.max_age is not None

    @property
    def hosts(self) -> Dsn:
        """Where the server's data is, by host."""
        return parse_dsn(self.dsn.get_secret_value())


class Disclosure(_Section):
    """What the operator may decide about the email rules."""

    in_force_from: Annotated[datetime, BeforeValidator(_moment), AfterValidator(_aware)] = Field(
        default=IN_FORCE_FROM, description="moment from which emails may be public; before it every email is withheld"
    )
    withheld_email: Literal["redacted", "omitted"] = Field(
        default="redacted", description="print `Email: DATA REDACTED` for a withheld email, or leave the line out"
    )
    vat: Literal["form", "listed"] = Field(
        default="form",
        description="VAT numbers that publish: those of the right form that VIES does not deny, or only those that it lists",
    )


class Answers(_Section):
    """What the operator says in every answer."""

    operator: Annotated[str, AfterValidator(_one_line)] = Field(
        default="the registry operator", min_length=1, max_length=200, description="name in the copyright line"
    )
    terms: Annotated[str, AfterValidator(_harmless)] = Field(
        default=DEFAULT_TERMS, max_length=4000, description="terms of use; each line becomes a comment line"
    )
    notice: Annotated[str, AfterValidator(_one_line)] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="line at the head of answers on port 43 for a time, such as that of a maintenance window",
    )
    notice_until: Annotated[datetime, BeforeValidator(_moment), AfterValidator(_aware)] | None = Field(
        default=None,
        description="moment from which answers have the notice no more; without it they have it until it is taken out",
    )


class Log(_Section):
    """How the log is written, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level to log")
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`json` a line, `console` for people; `auto`: console on a terminal, else json"
    )
    client: Literal["address", "hash", "none"] = Field(
        default="address",
        description="what a line says of the client: its address, a hash of its network whose key changes daily, or nothing",
    )


class Settings(BaseSettings):
    """Every setting, checked. Made by `load_settings`."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    listen: Annotated[tuple[Listen, ...], AfterValidator(_not_empty)] = (
        Listen(host="0.0.0.0"),  # noqa: S104 - a WHOIS server serves the world
        Listen(host="::"),
    )
    server: Server = Server()
    http: Http = Http()
    limits: Limits = Limits()
    network: Annotated[tuple[NamedNetwork, ...], Field(max_length=MOST_NAMED)] = ()
    database: Database
    disclosure: Disclosure = Disclosure()
    answer: Answers = Answers()
    log: Log = Log()
    metrics: Metrics = Metrics()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _check_addresses(self)
        _check_networks(self.network, self.server.max_connections)
        _check_translated(self)
        return self

    @property
    def policy(self) -> Policy:
        """The part that answers depend on."""
        return Policy(
            in_force_from=_in_utc(self.disclosure.in_force_from),
            vat_listed_only=self.disclosure.vat == "listed",
            omit_withheld_email=self.disclosure.withheld_email == "omitted",
            operator=self.answer.operator,
            terms=self.answer.terms,
            version=f"whoisd {version('whoisd')}",
            whois_host=self.http.whois_host,
            rdap_url=f"{self.http.url}/rdap/" if self.http.url else None,
            max_age=self.database.max_age,
            notice=self.answer.notice or "",
            notice_until=self.answer.notice_until,
        )

    def quotas(self, numbers: Mapping[str, int]) -> Quotas:
        """Return what clients are held to; `numbers` are those of the named networks, by their names."""
        limits = self.limits
        return Quotas(
            source=_allowance(limits.rate, limits.burst),
            source_connections=limits.connections,
            network=_allowance(limits.network_rate, limits.network_burst),
            network_connections=limits.network_connections,
            connections=self.server.max_connections,
            named=tuple(
                Named(numbers[it.name], it.name, it.cidrs, _allowance(it.rate, it.burst), it.connections)
                for it in self.network
            ),
            nat64=limits.nat64,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the hook's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which comes as the initial values."""
        return env_settings, init_settings


def _allowance(rate: float | str, burst: int) -> Allowance:
    return Allowance(math.inf if isinstance(rate, str) else rate, burst)


_ANY: Final = ("0.0.0.0", "::")  # noqa: S104 - how a configuration names all addresses


def _check_addresses(settings: "Settings") -> None:
    """Refuse an address that what is configured before it has taken; a port that the system chooses is free."""
    listening = [(f"listen.{number}", it.host, it.port) for number, it in enumerate(settings.listen)]
    listening += [(f"http.listen.{number}", it.host, it.port) for number, it in enumerate(settings.http.listen)]
    if settings.metrics.enabled:
        listening.append(("metrics", settings.metrics.host, settings.metrics.port))
    for number, (key, host, port) in enumerate(listening):
        for before, other, taken in listening[:number]:
            overlaps = host == other or ((":" in host) is (":" in other) and (host in _ANY or other in _ANY))
            if port and port == taken and overlaps:
                raise ValueError(f"{key}: port {port} of this address is taken by {before}")


def _check_networks(networks: Sequence[NamedNetwork], most: int) -> None:
    owner: dict[Network, str] = {}
    for number, network in enumerate(networks):
        if network.name in owner.values():
            raise ValueError(f"network.{number}.name: is the name of one before it")
        for cidr in network.cidrs:
            if cidr in owner:
                raise ValueError(f"network.{number}.cidrs: {cidr} is given twice; which limits it has must be settled")
            if not cidr.prefixlen:
                raise ValueError(f"network.{number}.cidrs: {cidr} is everyone; [limits] are for everyone")
            owner[cidr] = network.name
    kept = sum(network.connections for network in networks)
    if kept >= most:
        raise ValueError(
            f"network: connections add up to {kept}, which leaves others no room in server.max_connections ({most})"
        )


def _check_translated(settings: Settings) -> None:
    """Refuse a network that no client is in, for its addresses count as IPv4."""
    named = [(f"network.{number}.cidrs", cidr) for number, it in enumerate(settings.network) for cidr in it.cidrs]
    trusted = [(f"listen.{number}.trusted", cidr) for number, it in enumerate(settings.listen) for cidr in it.trusted]
    for place, cidr in named + trusted:
        if isinstance(cidr, IPv6Network) and any(cidr.subnet_of(prefix) for prefix in settings.limits.nat64):
            raise ValueError(f"{place}: {cidr} is in limits.nat64, so write it as IPv4, which its addresses count as")


def default_file() -> Path | None:
    """Return the file that is read when none is named; None when it is not there."""
    return DEFAULT_FILE if os.path.lexists(DEFAULT_FILE) else None


def load_settings(file: Path | None = None) -> Settings:
    """Read and check the settings of a file, which must be there when it is named, and the environment.

    Raises `ConfigError`, a line for each fault.
    """
    found = file or default_file()
    path, values = (str(found), _read(found)) if found else (f"{DEFAULT_FILE}, which is not there", {})
    _check_variables()
    try:
        return Settings(**({"database": {}} | values))  # so that what is missing is its key, not the section
    except (SettingsError, RecursionError):  # the second of lists too deep
        raise ConfigError(_unreadable_variables()) from None
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(path, dict(fault)) for fault in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise ConfigError(f"{path}: begins with a byte order mark (BOM), which TOML has not: save it without one")
        return tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    except (ValueError, RecursionError):  # tomllib's own limits, which it does not name
        raise ConfigError(f"{path}: has a number too long, or lists too deep") from None


def _check_variables() -> None:
    """Refuse a variable that bears our prefix and names no section: a misspelt setting would be no setting."""
    faults = [
        f"{_printable(name)}: not a setting; sections are {', '.join(sorted(Settings.model_fields))}"
        for name in sorted(os.environ)
        if name.upper().startswith(ENV_PREFIX)
        and not _is_of_kubernetes(name, os.environ[name])
        and name[len(ENV_PREFIX) :].split("__")[0].lower() not in Settings.model_fields
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Whether a variable is one that Kubernetes sets in each container for a service whose name begins with whoisd.

    Its documentation, "Service", "Environment variables": NAME_SERVICE_HOST, NAME_SERVICE_PORT, and those of Docker's links.
    """
    return bool(_KUBERNETES.fullmatch(name) or (_LINK.fullmatch(name) and _ADDRESS.match(value)))


def _is_list(section: str, key: str) -> bool:
    """Whether a setting of a section is a list."""
    model: Any = Settings.model_fields[section].annotation
    field = model.model_fields.get(key)
    return field is not None and get_origin(field.annotation) is tuple


def _unreadable_variables() -> str:
    """Name the variables that are to be JSON and are not: of a section, of a part of one that is a list, or of a list."""
    sections = {f"{ENV_PREFIX}{section.upper()}": section for section in Settings.model_fields}
    found = {
        name: section
        for name in os.environ
        if (section := sections.get(name.upper().split("__")[0]))
        and (name.upper() in sections or section in _LISTS or _is_list(section, name.lower().split("__")[1]))
        and not _is_json(os.environ[name])
    }
    if not {*found.values()} & {*_LISTS} and not any(name.upper() in sections for name in found):
        return f"{_printable(', '.join(found))}: is not JSON; a list in the environment is written as [...]"
    example = '[{"host": "127.0.0.1", "port": 4343}]' if {*found.values()} == {"listen"} else '{"key": "value"}'
    return f"{_printable(', '.join(found))}: is not JSON; a whole section in the environment is written as {example}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _fault(path: str, fault: Mapping[str, Any]) -> str:
    """Write one fault as `origin: key: what is wrong`, without the value."""
    place = [str(part) for part in fault["loc"]]
    said = fault["msg"].removeprefix("Value error, ")
    if not place:  # a fault between sections: its message names the key
        key, _, said = said.partition(": ")
        place = key.split(".")
    missing = fault["type"] == "missing"
    how = "" if place[0] in _LISTS else f"; set it there or in the environment as {_variable(place)}"
    what = {
        "extra_forbidden": "not a setting; docs/configuration.md lists them all",
        "tuple_type": f"must be a list; a section of it is written with two brackets, [[{place[0]}]]"
        if len(place) == 1
        else "must be a list",
        "missing": f"required{how}",
    }.get(fault["type"], said)
    return f"{_printable(_origin(path, place, missing=missing))}: {_printable('.'.join(place))}: {what}"


def _printable(name: str) -> str:
    """Write a name that may be anything so that it adds no line to a fault, and can be written at all."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _variable(place: Sequence[str]) -> str:
    return ENV_PREFIX + "__".join(place).upper()


def _origin(path: str, place: list[str], *, missing: bool) -> str:
    """Name where a value comes from: a variable that gives it, wholly or as part of its JSON, else the file."""
    variables = {name.upper(): name for name in os.environ}
    wanted = _variable(place)
    for upper, name in variables.items():
        if upper == wanted or upper.startswith(f"{wanted}__"):
            return name
    for depth in range(len(place) - 1, 0, -1):
        name = variables.get(_variable(place[:depth]), "")
        rest = place[depth : len(place) - missing]
        if name and os.environ[name].lstrip().startswith(("{", "[")) and _holds(json.loads(os.environ[name]), rest):
            return name
    return path


def _holds(values: Any, place: Sequence[str]) -> bool:
    for part in place:
        if isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            return False
    return bool(place)
