"""The settings: read once from a TOML file and the environment, checked, frozen, passed down.

A key that is not known stops the start and is named; so is a value that is wrong, with its file or variable. A setting in
the environment is `WHOISD_<SECTION>__<KEY>` and wins over the file; what has several parts is written there as JSON.
No message quotes a value: it may hold a password.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from whoisd.errors import ConfigError
from whoisd.notices import PHRASES_FOR_FREE

DEFAULT_FILE: Final = Path("/etc/whoisd/whoisd.toml")
ENV_PREFIX: Final = "WHOISD_"
IN_FORCE_FROM: Final = datetime(2025, 11, 3, 14, 0, tzinfo=timezone(timedelta(hours=1)))
DEFAULT_TERMS: Final = """\
The data below is published so that domain names can be used and trusted. You may
look up single names. You may not collect the data in bulk, nor use it for
advertising or to contact people unasked. Queries are limited for each source."""


def _dsn(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    try:
        _ = urlsplit(text).hostname, urlsplit(text).port
    except ValueError:
        raise ValueError("is not a URL; what is special in a password is percent-encoded") from None
    return value


def _not_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic takes a ValueError
    return value


def _moment(value: object) -> object:
    """Refuse a number, which would be taken for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and "T" in value.upper()):
        raise ValueError("must be a date and time, as in 2025-11-03T14:00:00+01:00")
    return value


def _not_empty(value: tuple[object, ...]) -> tuple[object, ...]:
    if not value:
        raise ValueError("must have at least one address")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("must state its offset from UTC, as in 2025-11-03T14:00:00+01:00")
    return value


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None


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


Dsn = Annotated[SecretStr, AfterValidator(_dsn)]
Seconds = Annotated[float, BeforeValidator(_not_boolean), Field(gt=0, le=3600, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_not_boolean)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Listen(_Section):
    """An address to listen on."""

    host: Annotated[str, AfterValidator(_address)] = Field(description="IPv4 or IPv6 address")
    port: Count = Field(default=43, ge=0, le=65535, description="TCP port; 0 takes one that the system chooses")


class Server(_Section):
    """Limits and deadlines of connections."""

    read_timeout: Seconds = Field(default=10.0, description="seconds for a client to send its whole line")
    write_timeout: Seconds = Field(
        default=10.0, description="seconds for a client to take its whole answer and close; then the connection is cut"
    )
    grace: Seconds = Field(default=10.0, description="seconds at stop for open connections to end; then they are cut")
    max_connections: Count = Field(
        default=10_000, ge=1, le=1_000_000, description="open connections; more are refused with the too-many text"
    )


class Database(_Section):
    """Where the registry's data is."""

    dsn: Dsn = Field(description="PostgreSQL URL of the server's role, which reads the two views")
    owner_dsn: Dsn | None = Field(default=None, description="PostgreSQL URL of the owner's role, for `migrate` and `load`")
    deadline: Annotated[Seconds, Field(ge=0.1, le=60)] = Field(
        default=1.5, description="seconds for a lookup, waiting included; then the client is told to try again later"
    )


class Disclosure(_Section):
    """What the operator may decide about the email rules."""

    in_force_from: Annotated[datetime, BeforeValidator(_moment), AfterValidator(_aware)] = Field(
        default=IN_FORCE_FROM, description="moment from which emails may be public; before it every email is withheld"
    )
    withheld_email: Literal["redacted", "omitted"] = Field(
        default="redacted", description="print `Email: DATA REDACTED` for a withheld email, or leave the line out"
    )


class Answers(_Section):
    """What the operator says in every answer."""

    operator: Annotated[str, AfterValidator(_one_line)] = Field(
        default="the registry operator", min_length=1, max_length=200, description="name in the copyright line"
    )
    terms: Annotated[str, AfterValidator(_harmless)] = Field(
        default=DEFAULT_TERMS, max_length=4000, description="terms of use; each line becomes a comment line"
    )


class Log(_Section):
    """How the log is written, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level to log")
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`json` a line, `console` for people; `auto`: console on a terminal, else json"
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
    database: Database
    disclosure: Disclosure = Disclosure()
    answer: Answers = Answers()
    log: Log = Log()

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


def load_settings(file: Path | None = None) -> Settings:
    """Read and check the settings of a file and the environment.

    Without a file the default one is read if it is there. Raises `ConfigError`, a line for each fault.
    """
    path = file or DEFAULT_FILE
    values = _read(path) if file or path.exists() else {}
    _check_variables()
    try:
        return Settings(**({"database": {}} | values))  # so that what is missing is its key, not the section
    except SettingsError:
        raise ConfigError(_unreadable_variables()) from None
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(path, dict(fault)) for fault in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def _check_variables() -> None:
    """Refuse a variable that bears our prefix and names no section: a misspelt setting would be no setting."""
    faults = [
        f"{name}: not a setting; sections are {', '.join(sorted(Settings.model_fields))}"
        for name in sorted(os.environ)
        if name.upper().startswith(ENV_PREFIX)
        and name[len(ENV_PREFIX) :].split("__")[0].lower() not in Settings.model_fields
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _unreadable_variables() -> str:
    names = [f"{ENV_PREFIX}{section.upper()}" for section in Settings.model_fields]
    found = ", ".join(name for name in os.environ if name.upper() in names)
    example = '[{"host": "127.0.0.1", "port": 4343}]' if found.upper() == "WHOISD_LISTEN" else '{"key": "value"}'
    return f"{found}: is not JSON; a whole section in the environment is written as {example}"


def _fault(path: Path, fault: Mapping[str, Any]) -> str:
    """Write one fault as `origin: key: what is wrong`, without the value."""
    place = [str(part) for part in fault["loc"]]
    missing = fault["type"] == "missing"
    what = {
        "extra_forbidden": "not a setting; the README lists them all",
        "tuple_type": "must be a list; a section of it is written with two brackets, [[listen]]",
        "missing": f"required; set it there or in the environment as {_variable(place)}",
    }.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    return f"{_origin(path, place, missing=missing)}: {'.'.join(place)}: {what}"


def _variable(place: Sequence[str]) -> str:
    return ENV_PREFIX + "__".join(place).upper()


def _origin(path: Path, place: list[str], *, missing: bool) -> str:
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
    return str(path)


def _holds(values: Any, place: Sequence[str]) -> bool:
    for part in place:
        if isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict) and part in values:
            values = values[part]
        else:
            return False
    return bool(place)
