"""The settings: where they come from, what is refused and how it is named, and that no password is ever shown."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import reduce
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from whoisd.answers.notices import PHRASES_FOR_FREE
from whoisd.config import HttpListen, Listen, NamedNetwork, Settings, default_file, load_settings
from whoisd.errors import ConfigError

DSN = "postgresql://reader:hunter2@db.example/whois"
GOOD = f"[database]\ndsn = '{DSN}'\n"

# Every setting: its variable, what is written in it, where it ends up, and as what.
VARIABLES: list[tuple[str, str, str, object]] = [
    ("WHOISD_LISTEN", '[{"host": "192.0.2.1", "port": 4343}]', "listen", (Listen(host="192.0.2.1", port=4343),)),
    ("WHOISD_SERVER__WORKERS", "128", "server.workers", 128),
    ("WHOISD_SERVER__READ_TIMEOUT", "2.5", "server.read_timeout", 2.5),
    ("WHOISD_SERVER__WRITE_TIMEOUT", "3", "server.write_timeout", 3.0),
    (
        "WHOISD_HTTP__LISTEN",
        '[{"host": "127.0.0.1", "port": 8080}]',
        "http.listen",
        (HttpListen(host="127.0.0.1", port=8080),),
    ),
    ("WHOISD_HTTP__WORKERS", "3", "http.workers", 3),
    ("WHOISD_HTTP__MAX_CONNECTIONS", "50", "http.max_connections", 50),
    ("WHOISD_HTTP__IDLE_TIMEOUT", "4", "http.idle_timeout", 4.0),
    ("WHOISD_HTTP__WHOIS_HOST", "whois.æøå.dk", "http.whois_host", "whois.xn--5cab8c.dk"),
    ("WHOISD_HTTP__URL", "https://rdap.example.dk/", "http.url", "https://rdap.example.dk"),
    ("WHOISD_SERVER__GRACE", "4", "server.grace", 4.0),
    ("WHOISD_SERVER__MAX_CONNECTIONS", "7", "server.max_connections", 7),
    ("WHOISD_LIMITS__FILE", "/var/lib/whoisd/sources", "limits.file", Path("/var/lib/whoisd/sources")),
    ("WHOISD_LIMITS__RATE", "0.5", "limits.rate", 0.5),
    ("WHOISD_LIMITS__BURST", "9", "limits.burst", 9),
    ("WHOISD_LIMITS__CONNECTIONS", "8", "limits.connections", 8),
    ("WHOISD_LIMITS__NETWORK_RATE", "unlimited", "limits.network_rate", "unlimited"),
    ("WHOISD_LIMITS__NETWORK_BURST", "7", "limits.network_burst", 7),
    ("WHOISD_LIMITS__NETWORK_CONNECTIONS", "60", "limits.network_connections", 60),
    ("WHOISD_LIMITS__NAT64", '["2001:db8:64::/96"]', "limits.nat64", (ip_network("2001:db8:64::/96"),)),
    (
        "WHOISD_NETWORK",
        '[{"name": "cert", "cidrs": ["192.0.2.0/28", "2001:db8::/48"], "rate": "unlimited", "connections": 3}]',
        "network",
        (
            NamedNetwork.model_validate(
                {"name": "cert", "cidrs": ["192.0.2.0/28", "2001:db8::/48"], "rate": "unlimited", "connections": 3}
            ),
        ),
    ),
    ("WHOISD_DATABASE__DSN", DSN, "database.dsn", DSN),
    ("WHOISD_DATABASE__OWNER_DSN", "postgres://owner@/whois", "database.owner_dsn", "postgres://owner@/whois"),
    ("WHOISD_DATABASE__DEADLINE", "0.5", "database.deadline", 0.5),
    ("WHOISD_DATABASE__MAX_AGE", "300", "database.max_age", 300.0),
    (
        "WHOISD_DISCLOSURE__IN_FORCE_FROM",
        "2026-01-01T00:00:00Z",
        "disclosure.in_force_from",
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    ("WHOISD_DISCLOSURE__WITHHELD_EMAIL", "omitted", "disclosure.withheld_email", "omitted"),
    ("WHOISD_DISCLOSURE__VAT", "listed", "disclosure.vat", "listed"),
    ("WHOISD_ANSWER__OPERATOR", "Registret", "answer.operator", "Registret"),
    ("WHOISD_ANSWER__TERMS", "One line.\nAnother.", "answer.terms", "One line.\nAnother."),
    ("WHOISD_ANSWER__NOTICE", "No changes.", "answer.notice", "No changes."),
    ("WHOISD_ANSWER__NOTICE_UNTIL", "2026-11-26T08:00:00Z", "answer.notice_until", datetime(2026, 11, 26, 8, tzinfo=UTC)),
    ("WHOISD_LOG__LEVEL", "debug", "log.level", "debug"),
    ("WHOISD_LOG__FORMAT", "json", "log.format", "json"),
    ("WHOISD_LOG__CLIENT", "hash", "log.client", "hash"),
    ("WHOISD_METRICS__ENABLED", "false", "metrics.enabled", False),
    ("WHOISD_METRICS__ENABLED", "True", "metrics.enabled", True),
    ("WHOISD_METRICS__HOST", "::1", "metrics.host", "::1"),
    ("WHOISD_METRICS__PORT", "0", "metrics.port", 0),
]
SECTIONS = "answer, database, disclosure, http, limits, listen, log, metrics, network, server"


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no default file of this machine takes part."""
    for variable in [name for name in os.environ if name.upper().startswith("WHOISD_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr("whoisd.config.DEFAULT_FILE", tmp_path / "default.toml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its configuration file."""
    return tmp_path / "whoisd.toml"


def faults(file: Path | None) -> list[str]:
    """The lines of the error that these settings are refused with."""
    with pytest.raises(ConfigError) as refused:
        load_settings(file)
    return str(refused.value).splitlines()


def setting(settings: Settings, path: str) -> object:
    value = reduce(getattr, path.split("."), settings)
    return value.get_secret_value() if path.endswith("dsn") else value  # type: ignore[attr-defined]


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from settings_of(section, f"{prefix}{name}.")
        else:
            yield prefix + name


# --- the HTTP server ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("key = 'x.pem'", "certificate: required with key"),
        ("client = 'proxy'", "trusted: required with client = proxy"),
        ("client = 'x-forwarded-for'", "trusted: required with client = x-forwarded-for"),
        ("client = 'proxy'\ntrusted = ['10.0.0.0/8']\ncertificate = 'x.pem'", "client: a PROXY header comes before TLS"),
        ("trusted = ['10.0.0.0/8']", "trusted: is for a listener behind a balancer"),
        ("client = 'x-forwarded-for'\ntrusted = ['0.0.0.0/0']", "trusted: 0.0.0.0/0 is nearly anyone"),
        ("client = 'forwarded'", "client: "),
    ],
)
def test_http_listener(file: Path, keys: str, said: str) -> None:
    """A listener that would believe anybody, or serve without its certificate, is refused."""
    file.write_text(GOOD + f"[[http.listen]]\nhost = '127.0.0.1'\n{keys}\n")
    (fault,) = faults(file)
    assert said in fault


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[listen]]\nhost = '127.0.0.1'\nport = 4343", "listen.1"),
        ("[[listen]]\nhost = '0.0.0.0'\nport = 4343", "listen.1"),
        ("[[http.listen]]\nhost = '127.0.0.1'\nport = 4343", "http.listen.0"),
        ("[metrics]\nhost = '0.0.0.0'\nport = 4343", "metrics"),
    ],
)
def test_addresses_in_the_way(file: Path, text: str, key: str) -> None:
    """Each listener has an address of its own; all addresses of one family are in the way of each of them."""
    file.write_text(GOOD + "[[listen]]\nhost = '127.0.0.1'\nport = 4343\n" + text)
    assert faults(file) == [f"{file}: {key}: port 4343 of this address is taken by listen.0"]


def test_addresses_beside_each_other(file: Path) -> None:
    """One port serves on two addresses, on all of either family, and where the system chooses it."""
    sections = [("127.0.0.1", 4343), ("127.0.0.2", 4343), ("::", 4343), ("::1", 0), ("::1", 0)]
    listen = "".join(f"[[listen]]\nhost = '{host}'\nport = {port}\n" for host, port in sections)
    file.write_text(GOOD + listen + "[metrics]\nhost = '0.0.0.0'\nport = 4344\n")
    assert [(it.host, it.port) for it in load_settings(file).listen] == sections


# --- where settings come from ------------------------------------------------------------------------------------


def test_defaults(file: Path) -> None:
    """Only the DSN must be given; everything else has the default that the manual states."""
    file.write_text(GOOD)
    settings = load_settings(file)
    assert [(listen.host, listen.port) for listen in settings.listen] == [("0.0.0.0", 43), ("::", 43)]  # noqa: S104 - compared
    assert {(listen.proxy, listen.trusted) for listen in settings.listen} == {(False, ())}
    assert settings.server.model_dump() == {
        "workers": None,
        "read_timeout": 10.0,
        "write_timeout": 10.0,
        "grace": 10.0,
        "max_connections": 10_000,
    }
    assert settings.limits.model_dump() == {
        "file": Path("/run/whoisd/sources"),
        "rate": 1.0,
        "burst": 5,
        "connections": 20,
        "network_rate": 10.0,
        "network_burst": 100,
        "network_connections": 200,
        "nat64": (),
    }
    assert settings.network == ()
    assert settings.metrics.model_dump() == {"enabled": True, "host": "127.0.0.1", "port": 9043}
    assert (settings.database.owner_dsn, settings.database.deadline) == (None, 1.5)
    assert settings.database.max_age is None
    assert settings.disclosure.in_force_from == datetime(2025, 11, 3, 13, 0, tzinfo=UTC)
    assert settings.disclosure.withheld_email == "redacted"
    assert settings.disclosure.vat == "form"
    assert settings.answer.operator == "the registry operator"
    assert settings.answer.terms.startswith("The data below is published")
    assert settings.log.model_dump() == {"level": "info", "format": "auto", "client": "address"}


def test_every_setting_has_a_variable() -> None:
    """The table of this file holds every setting that there is."""
    assert sorted(settings_of(Settings)) == sorted({path for _, _, path, _ in VARIABLES})


@pytest.mark.parametrize(("variable", "text", "path", "value"), VARIABLES)
def test_environment(monkeypatch: pytest.MonkeyPatch, variable: str, text: str, path: str, value: object) -> None:
    """Every setting can be given in the environment alone, without a file."""
    monkeypatch.setenv("WHOISD_DATABASE__DSN", DSN)
    monkeypatch.setenv(variable, text)
    assert setting(load_settings(), path) == value


def test_environment_wins(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A setting in the environment wins over the file, whose other settings stay, those of the same section too."""
    file.write_text(GOOD + "[server]\nread_timeout = 5\ngrace = 6\n[log]\nlevel = 'error'\n")
    monkeypatch.setenv("WHOISD_SERVER__READ_TIMEOUT", "7")
    settings = load_settings(file)
    assert (settings.server.read_timeout, settings.server.grace, settings.log.level) == (7.0, 6.0, "error")


def test_listen_in_the_environment_replaces_the_files(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """The addresses in the environment replace those of the file: they are not added to them."""
    file.write_text("[[listen]]\nhost = '192.0.2.1'\n[[listen]]\nhost = '2001:db8::1'\n" + GOOD)
    assert [listen.host for listen in load_settings(file).listen] == ["192.0.2.1", "2001:db8::1"]
    monkeypatch.setenv("WHOISD_LISTEN", '[{"host": "127.0.0.1"}]')
    assert [listen.host for listen in load_settings(file).listen] == ["127.0.0.1"]


def test_section_as_json(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A whole section can be given in the environment as JSON; what it leaves out stays as the file has it."""
    file.write_text(GOOD + "[log]\nlevel = 'error'\n")
    monkeypatch.setenv("WHOISD_LOG", '{"format": "console"}')
    assert load_settings(file).log.model_dump() == {"level": "error", "format": "console", "client": "address"}


def test_default_file(tmp_path: Path) -> None:
    """Where no file is named, the default one is read if it is there."""
    (tmp_path / "default.toml").write_text(GOOD + "[log]\nlevel = 'error'\n")
    assert load_settings().log.level == "error"


def test_file_beyond_ascii(file: Path) -> None:
    """The file is UTF-8, whatever the locale."""
    file.write_bytes((GOOD + "[answer]\noperator = 'Sammenslutningen Æblegrød'\n").encode())
    assert load_settings(file).answer.operator == "Sammenslutningen Æblegrød"


# --- what is refused, and how it is named ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[database]\n", "database.dsn: required; set it there or in the environment as WHOISD_DATABASE__DSN"),
        (GOOD + "dedline = 1\n", "database.dedline: not a setting; docs/configuration.md lists them all"),
        (GOOD + "[sever]\ngrace = 1\n", "sever: not a setting; docs/configuration.md lists them all"),
        ("grace = 1\n" + GOOD, "grace: not a setting; docs/configuration.md lists them all"),
        ("[database]\ndsn = 'mysql://reader:hunter2@db/whois'\n", "database.dsn: must begin with postgresql://"),
        (GOOD + "owner_dsn = 'hunter2'\n", "database.owner_dsn: must begin with postgresql://"),
        (GOOD + "deadline = 0.05\n", "database.deadline: Input should be greater than or equal to 0.1"),
        (GOOD + "deadline = 61\n", "database.deadline: Input should be less than or equal to 60"),
        (GOOD + "max_age = 0\n", "database.max_age: Input should be greater than or equal to 1"),
        (GOOD + "max_age = inf\n", "database.max_age: Input should be less than or equal to 31536000"),
        (GOOD + "max_age = nan\n", "database.max_age: Input should be greater than or equal to 1"),
        (GOOD + "max_age = true\n", "database.max_age: must be a number"),
        (GOOD + "[server]\nread_timeout = 0\n", "server.read_timeout: Input should be greater than or equal to 0.01"),
        (GOOD + "[server]\nread_timeout = inf\n", "server.read_timeout: Input should be less than or equal to 3600"),
        (GOOD + "[server]\nmax_connections = 0\n", "server.max_connections: Input should be greater than or equal to 1"),
        (GOOD + "[log]\nformat = 'xml'\n", "log.format: Input should be 'auto', 'json' or 'console'"),
        (
            GOOD + "[disclosure]\nin_force_from = 2026-01-01T00:00:00\n",
            "disclosure.in_force_from: must state its offset from UTC, as in 2025-11-03T14:00:00+01:00",
        ),
        (GOOD + "[answer]\noperator = ''\n", "answer.operator: String should have at least 1 character"),
        (GOOD + '[answer]\noperator = "A\\nB"\n', "answer.operator: must be one line"),
        (GOOD + '[limits]\nfile = "/tmp/a\\u0000b"\n', "limits.file: must name a file"),
        (GOOD + '[answer]\nterms = "A\\rB"\n', "answer.terms: must not hold control characters"),
        (GOOD + '[answer]\nterms = "A\\u2028B"\n', "answer.terms: must not hold control characters"),
    ],
)
def test_faults_in_the_file(file: Path, text: str, fault: str) -> None:
    """A fault in the file names the file, the key and what is wrong."""
    file.write_text(text)
    assert faults(file) == [f"{file}: {fault}"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (GOOD + "[server]\nread_timeout = 'fast'\n", "server.read_timeout"),
        (GOOD + "[server]\nmax_connections = 1.5\n", "server.max_connections"),
        (GOOD + "[log]\nlevel = 3\n", "log.level"),
        (GOOD + "[disclosure]\nwithheld_email = true\n", "disclosure.withheld_email"),
        (GOOD + "[disclosure]\nvat = 'any'\n", "disclosure.vat"),
        (GOOD + "[answer]\nterms = ['A']\n", "answer.terms"),
        ("[database]\ndsn = 5432\n", "database.dsn"),
        ("log = 'debug'\n" + GOOD, "log"),
        ("listen = '127.0.0.1'\n" + GOOD, "listen"),
        ("listen = []\n" + GOOD, "listen"),
        ("[[listen]]\nhost = 'localhost'\n" + GOOD, "listen.0.host"),
        ("[[listen]]\nhost = '::1'\n[[listen]]\nhost = '::1'\nport = 65536\n" + GOOD, "listen.1.port"),
        ("[[listen]]\nport = 43\n" + GOOD, "listen.0.host"),
    ],
)
def test_wrong_types_in_the_file(file: Path, text: str, key: str) -> None:
    """A value of a wrong type is refused by file and key, also within a list."""
    file.write_text(text)
    assert faults(file)[0].startswith(f"{file}: {key}: ")


@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        ("WHOISD_DATABASE__DEDLINE", "1", "database.dedline: not a setting; docs/configuration.md lists them all"),
        ("WHOISD_SEVER__GRACE", "1", f"not a setting; sections are {SECTIONS}"),
        ("WHOISD_DSN", DSN, f"not a setting; sections are {SECTIONS}"),
        ("WHOISD_DATABASE__DEADLINE", "61", "database.deadline: Input should be less than or equal to 60"),
        ("WHOISD_SERVER__GRACE", "-1", "server.grace: Input should be greater than or equal to 0.01"),
        ("WHOISD_LOG__FORMAT", "xml", "log.format: Input should be 'auto', 'json' or 'console'"),
        ("WHOISD_LIMITS__NAT64", "64:ff9b::/96", "is not JSON; a list in the environment is written as [...]"),
        ("WHOISD_HTTP__LISTEN", "127.0.0.1", "is not JSON; a list in the environment is written as [...]"),
        ("WHOISD_LOG", "debug", 'is not JSON; a whole section in the environment is written as {"key": "value"}'),
        (
            "WHOISD_LISTEN",
            "127.0.0.1",
            'is not JSON; a whole section in the environment is written as [{"host": "127.0.0.1", "port": 4343}]',
        ),
        (
            "WHOISD_DISCLOSURE__IN_FORCE_FROM",
            "2026-01-01T00:00:00",
            "disclosure.in_force_from: must state its offset from UTC, as in 2025-11-03T14:00:00+01:00",
        ),
        ("WHOISD_DATABASE__OWNER_DSN", "hunter2", "database.owner_dsn: must begin with postgresql://"),
        (
            "WHOISD_NETWORK__CIDRS",
            "192.0.2.0/24",
            'is not JSON; a whole section in the environment is written as {"key": "value"}',
        ),
        (
            "WHOISD_LISTEN__TRUSTED",
            "10.0.0.0/8",
            'is not JSON; a whole section in the environment is written as [{"host": "127.0.0.1", "port": 4343}]',
        ),
        ("WHOISD_LOG", "[" * 100_000, 'is not JSON; a whole section in the environment is written as {"key": "value"}'),
    ],
)
def test_faults_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, file: Path, variable: str, text: str, fault: str
) -> None:
    """A fault in the environment names the variable, the key and what is wrong."""
    file.write_text(GOOD)
    monkeypatch.setenv(variable, text)
    assert faults(file) == [f"{variable}: {fault}"]


def test_all_faults_at_once(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """All faults are named at once, each by where it is."""
    file.write_text("[database]\n[log]\nlevel = 'loud'\n")
    monkeypatch.setenv("WHOISD_SERVER__GRACE", "-1")
    assert sorted(fault.split(": ")[:2] for fault in faults(file)) == [
        [str(file), "database.dsn"],
        [str(file), "log.level"],
        ["WHOISD_SERVER__GRACE", "server.grace"],
    ]


def test_unreadable_variables_are_named_alone(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """What is said to be no JSON is what is none; a section beside it that is JSON is not named with it."""
    file.write_text(GOOD)
    monkeypatch.setenv("WHOISD_LOG", '{"level": "debug"}')
    monkeypatch.setenv("WHOISD_SERVER__GRACE", "fast")
    monkeypatch.setenv("WHOISD_METRICS", "off")
    assert [fault.split(":")[0] for fault in faults(file)] == ["WHOISD_METRICS"]


def test_names_add_no_line(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A key or a variable whose name holds line ends, or is no text, is one fault in one line that can be written."""
    file.write_text(GOOD + '"a\\nb\\u001b" = 1\n')
    assert faults(file) == [f"{file}: database.a?b?: not a setting; docs/configuration.md lists them all"]
    monkeypatch.setitem(os.environ, "WHOISD_SERVER__A\nB", "1")
    assert faults(file)[0] == "WHOISD_SERVER__A?B: server.a?b: not a setting; docs/configuration.md lists them all"
    monkeypatch.setitem(os.environ, "WHOISD_A\nB\udcff", "1")
    assert faults(file) == [f"WHOISD_A?B?: not a setting; sections are {SECTIONS}"]


def test_missing_file(file: Path) -> None:
    """A file that is named must be there."""
    assert faults(file) == [f"{file}: cannot be read: No such file or directory"]


def test_no_file_and_no_environment() -> None:
    """With no file and no variable, the database is what is missing."""
    (fault,) = faults(None)
    assert fault.split(": ")[1].startswith("database")
    assert "WHOISD_DATABASE" in fault


def test_syntax_error_gives_the_line(file: Path) -> None:
    """A file that is no TOML is refused with the line of the error."""
    file.write_text(GOOD + "[server]\ngrace = = 1\n")
    (fault,) = faults(file)
    assert fault.startswith(f"{file}: is not TOML: ")
    assert "(at line 4, column" in fault


def test_file_that_is_not_text(file: Path) -> None:
    """A file that is not UTF-8 is refused as such."""
    file.write_bytes(b"[answer]\noperator = '\xe6'\n")
    assert faults(file) == [f"{file}: is not UTF-8 text"]


@pytest.mark.parametrize("key", ["operator", "terms"])
@pytest.mark.parametrize("phrase", PHRASES_FOR_FREE)
def test_texts_that_read_as_free(file: Path, key: str, phrase: str) -> None:
    """Operator and terms hold, in any case, no phrase that clients take for an unregistered name."""
    file.write_text(GOOD + f"[answer]\n{key} = 'Please note: {phrase.title()}, at all.'\n")
    assert faults(file) == [
        f"{file}: answer.{key}: must not hold {phrase!r}, which client libraries take for an unregistered name"
    ]


# --- what is kept secret, and what is kept as it is --------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "dsn = 'mysql://reader:hunter2@db/whois'",
        "dsn = ['postgresql://reader:hunter2@db/whois']",
        f"dsn = '{DSN}'\nowner_dsn = 'owner:hunter2@db/whois'",
        f"dsn = '{DSN}'\ndeadline = 'hunter2'",
        f"dsn = '{DSN}'\npassword = 'hunter2'",
        "dsn = 'postgresql://reader:hunter2@db/whois",
    ],
)
def test_no_fault_quotes_a_value(file: Path, text: str) -> None:
    """No fault in the file quotes a value: it may hold a password."""
    file.write_text(f"[database]\n{text}\n")
    assert "hunter2" not in "\n".join(faults(file))


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WHOISD_DATABASE__DSN", "mysql://reader:hunter2@db/whois"),
        ("WHOISD_DATABASE", '{"dsn": "hunter2"}'),
        ("WHOISD_DATABASE", '{"dsn": "postgresql://reader:hunter2@db/whois"'),
        ("WHOISD_DATABASE", DSN),
        ("WHOISD_DATABASE__PASSWORD", "hunter2"),
        ("WHOISD_DSN", DSN),
    ],
)
def test_no_fault_quotes_a_variable(monkeypatch: pytest.MonkeyPatch, file: Path, variable: str, text: str) -> None:
    """No fault in the environment quotes a value."""
    file.write_text(GOOD)
    monkeypatch.setenv(variable, text)
    assert "hunter2" not in "\n".join(faults(file))


def test_settings_show_no_password(file: Path) -> None:
    """Settings that are printed, by whatever way, show neither DSN."""
    file.write_text(GOOD + "owner_dsn = 'postgresql://owner:hunter3@db.example/whois'\n")
    settings = load_settings(file)
    for shown in (repr(settings), str(settings), repr(settings.database), settings.model_dump_json()):
        assert "hunter" not in shown
        assert "db.example" not in shown


def test_settings_are_frozen(file: Path) -> None:
    """Settings do not change once they are read."""
    file.write_text(GOOD)
    settings = load_settings(file)
    for section, key in (
        (settings, "log"), (settings.server, "grace"), (settings.listen[0], "port"), (settings.limits, "rate")
    ):  # fmt: skip
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, 1)


# --- what is easily mistaken -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://owner:hunter2#x@db/whois",
        "postgresql://owner:hun/ter2@db/whois",
        "postgresql://h:port/db",
        "postgres://[::1",
    ],
)
@pytest.mark.parametrize("key", ["dsn", "owner_dsn"])
def test_urls_that_are_none(file: Path, key: str, dsn: str) -> None:
    """A database URL that cannot be one, as with an unescaped password, is refused before anybody connects by it."""
    file.write_text(f"[database]\n{key} = '{dsn}'\n" + ("" if key == "dsn" else f"dsn = '{DSN}'\n"))
    assert faults(file) == [f"{file}: database.{key}: is not a URL; what is special in a password is percent-encoded"]


@pytest.mark.parametrize("moment", ["12", "2025", "0.5", "'12'", "'1762174800'", "2025-11-03"])
def test_moment_is_no_number(file: Path, moment: str) -> None:
    """The moment of entry into force is never taken for seconds since 1970, nor for a day of no time and place."""
    file.write_text(f"{GOOD}[disclosure]\nin_force_from = {moment}\n")
    [fault] = faults(file)
    assert fault == f"{file}: disclosure.in_force_from: must be a date and time, as in 2025-11-03T14:00:00+01:00"


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_moment_at_the_end_of_time(file: Path, moment: str) -> None:
    """A moment whose time in UTC is in no year of ours is one nevertheless: what `check` calls good must start."""
    file.write_text(f"{GOOD}[disclosure]\nin_force_from = {moment}\n")
    policy = load_settings(file).policy
    in_force = policy.conditions(datetime(2026, 11, 25, tzinfo=UTC), fresh=True).in_force
    assert in_force is moment.startswith("0001")


@pytest.mark.parametrize(("key", "value"), [("read_timeout", "true"), ("max_connections", "true"), ("read_timeout", "nan")])
def test_numbers_are_numbers(file: Path, key: str, value: str) -> None:
    """A boolean is no number, and neither is nan."""
    file.write_text(f"{GOOD}[server]\n{key} = {value}\n")
    [fault] = faults(file)
    assert fault.startswith(f"{file}: server.{key}: ")


def test_variable_is_blamed_where_it_wins(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A wrong variable is named even when the file gives the key too, and rightly."""
    file.write_text(f"{GOOD}[log]\nlevel = 'info'\n")
    monkeypatch.setenv("WHOISD_LOG__LEVEL", "loud")
    monkeypatch.setenv("WHOISD_DATABASE", '{"dsn": "x"}')
    monkeypatch.setenv("WHOISD_SERVER__GRACE__X", "1")
    assert sorted(fault.split(": ")[0] for fault in faults(file)) == [
        "WHOISD_DATABASE",
        "WHOISD_LOG__LEVEL",
        "WHOISD_SERVER__GRACE__X",
    ]


def test_unknown_variable_in_any_case(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """A misspelt variable is named in whatever case it is written."""
    file.write_text(GOOD)
    monkeypatch.setenv("whoisd_databse__dsn", "x")
    [fault] = faults(file)
    assert fault.startswith("whoisd_databse__dsn: not a setting")


def test_missing_dsn_names_key_and_variable(tmp_path: Path) -> None:
    """Where nothing is configured, what is asked for is the key and the variable, and the file said not to be there."""
    said = "database.dsn: required; set it there or in the environment as WHOISD_DATABASE__DSN"
    assert faults(None) == [f"{tmp_path / 'default.toml'}, which is not there: {said}"]


def test_what_is_missing_in_a_list_has_no_variable(file: Path) -> None:
    """A key that is missing in a section of a list is not asked for in a variable: there is none for a part of a list."""
    file.write_text(f"{GOOD}\n[[network]]\nname = 'cert'\ncidrs = ['192.0.2.0/28']\nconnections = 5\n")
    assert faults(file) == [f"{file}: network.0.rate: required"]


@pytest.mark.parametrize(
    ("listen", "fault"),
    [
        ("[[listen]]\nhost = 'localhost'\n", "listen.0.host: must be an IPv4 or IPv6 address"),
        ("listen = []\n", "listen: must have at least one address"),
    ],
)
def test_listen(file: Path, listen: str, fault: str) -> None:
    """A wrong address to listen on is one fault, and so is none at all."""
    file.write_text(listen + GOOD)
    assert faults(file) == [f"{file}: {fault}"]


# --- limits, named networks, balancers and metrics -------------------------------------------------------------------

CERT = "[[network]]\nname = 'cert'\ncidrs = ['192.0.2.0/28']\nrate = 5\n"
PROXY = "[[listen]]\nhost = '192.0.2.1'\nproxy = true\ntrusted = ['10.0.0.0/8', '2001:db8::1']\n"
A_NAME = (
    "must be 1 to 32 of a-z, 0-9, _ and -, beginning with a letter, and not 'other'; it names the network"
    " in logs and metrics"
)
SEVERAL = "must be a list; a section of it is written with two brackets"
HOST_BITS = "has bits beyond its prefix; the network is"
A_RATE = "must be a number from 0.001 to 1000000, or 'unlimited'"


def many(count: int) -> str:
    """So many named networks."""
    return "".join(
        f"[[network]]\nname = 'n{it}'\ncidrs = ['10.0.{it}.0/24']\nrate = 1\nconnections = 1\n" for it in range(count)
    )


def test_named_network(file: Path) -> None:
    """A named network needs a name, networks and a rate; burst and connections have defaults."""
    file.write_text(GOOD + CERT)
    assert [network.model_dump() for network in load_settings(file).network] == [
        {"name": "cert", "cidrs": (ip_network("192.0.2.0/28"),), "rate": 5.0, "burst": 5, "connections": 100}
    ]


def test_listener_for_balancers(file: Path) -> None:
    """A listener for balancers knows their networks; a single address is one too."""
    file.write_text(GOOD + PROXY)
    (listen,) = load_settings(file).listen
    assert (listen.proxy, listen.trusted) == (True, (ip_network("10.0.0.0/8"), ip_network("2001:db8::1/128")))


@pytest.mark.parametrize(("rate", "value"), [("0.001", 0.001), ("1000000", 1e6), ("2", 2.0), ("'unlimited'", "unlimited")])
def test_rates(file: Path, rate: str, value: float | str) -> None:
    """A rate is a number, from one in a thousand seconds to a million a second, or unlimited."""
    file.write_text(f"{GOOD}[limits]\nrate = {rate}\nnetwork_rate = {rate}\n" + CERT.replace("rate = 5", f"rate = {rate}"))
    settings = load_settings(file)
    assert [settings.limits.rate, settings.limits.network_rate, settings.network[0].rate] == [value] * 3


@pytest.mark.parametrize(
    "rate", ["0", "0.0009", "-1", "1000001", "inf", "nan", "true", "'fast'", "'Unlimited'", "''", "[1]"]
)
def test_rates_that_are_none(file: Path, rate: str) -> None:
    """What is no rate is one fault, which says what one is: a misspelt limit is never no limit."""
    file.write_text(f"{GOOD}[limits]\nrate = {rate}\n" + CERT.replace("rate = 5", f"rate = {rate}"))
    assert faults(file) == [f"{file}: limits.rate: {A_RATE}", f"{file}: network.0.rate: {A_RATE}"]


@pytest.mark.parametrize("key", ["burst", "connections", "network_burst", "network_connections"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("0", "Input should be greater than or equal to 1"),
        ("1000001", "Input should be less than or equal to"),
        ("true", "must be a number"),
        ("1.5", "Input should be a valid integer"),
        ("'unlimited'", "Input should be a valid integer"),
    ],
)
def test_counts_in_limits(file: Path, key: str, value: str, fault: str) -> None:
    """How many at once is a whole number from one up, of queries and of connections."""
    file.write_text(f"{GOOD}[limits]\n{key} = {value}\n")
    [said] = faults(file)
    assert said.startswith(f"{file}: limits.{key}: {fault}")


@pytest.mark.parametrize(("key", "most"), [("burst", 100_000), ("connections", 1_000_000)])
def test_most_in_limits(file: Path, key: str, most: int) -> None:
    """The most that can be had at once is taken, and one more is not."""
    file.write_text(f"{GOOD}[limits]\n{key} = {most}\nnetwork_{key} = {most}\n")
    assert getattr(load_settings(file).limits, f"network_{key}") == most
    file.write_text(f"{GOOD}[limits]\n{key} = {most + 1}\n")
    assert faults(file) == [f"{file}: limits.{key}: Input should be less than or equal to {most}"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limits]\nfile = ''\n", "limits.file: must name a file"),
        ("[limits]\nfile = '/'\n", "limits.file: must name a file"),
        ("[server]\nworkers = 0\n", "server.workers: Input should be greater than or equal to 1"),
        ("[server]\nworkers = 129\n", "server.workers: Input should be less than or equal to 128"),
        ("[server]\nworkers = true\n", "server.workers: must be a number"),
        ("[log]\nclient = 'ip'\n", "log.client: Input should be 'address', 'hash' or 'none'"),
        ("[metrics]\nenabled = 1\n", "metrics.enabled: must be true or false"),
        ("[metrics]\nhost = 'localhost'\n", "metrics.host: must be an IPv4 or IPv6 address"),
        ("[metrics]\nport = 65536\n", "metrics.port: Input should be less than or equal to 65535"),
        ("[metrics]\nport = -1\n", "metrics.port: Input should be greater than or equal to 0"),
        (CERT.replace("cert", "Cert"), f"network.0.name: {A_NAME}"),
        (CERT.replace("cert", ""), f"network.0.name: {A_NAME}"),
        (CERT.replace("cert", "1st"), f"network.0.name: {A_NAME}"),
        (CERT.replace("cert", "a" * 33), f"network.0.name: {A_NAME}"),
        (CERT.replace("'cert'", '"cert\\n"'), f"network.0.name: {A_NAME}"),
        (CERT.replace("cert", "other"), f"network.0.name: {A_NAME}"),
        (CERT.replace("'192.0.2.0/28'", ""), "network.0.cidrs: must have at least one address"),
        (CERT.replace("/28", "/33"), "network.0.cidrs.0: must be a network, as in 192.0.2.0/24"),
        (CERT.replace("2.0/28", "2.7/28"), f"network.0.cidrs.0: {HOST_BITS}: 192.0.2.0/28"),
        (CERT.replace("'192.0.2.0/28'", "7"), "network.0.cidrs.0: must be a network, as in 192.0.2.0/24 or 2001:db8::/48"),
        (
            CERT.replace("192.0.2.0/28", "::ffff:192.0.2.0/124"),
            "network.0.cidrs.0: must be written as IPv4, which its addresses count as",
        ),
        (CERT.replace("['192.0.2.0/28']", "'192.0.2.0/28'"), "network.0.cidrs: must be a list"),
        (CERT + "colour = 'red'\n", "network.0.colour: not a setting; docs/configuration.md lists them all"),
        (CERT + "burst = 0\n", "network.0.burst: Input should be greater than or equal to 1"),
        (CERT + "connections = 0\n", "network.0.connections: Input should be greater than or equal to 1"),
        (CERT.replace("[[network]]", "[network]"), f"network: {SEVERAL}, [[network]]"),
        (CERT + CERT.replace(".2.", ".3."), "network.1.name: is the name of one before it"),
        (
            CERT + CERT.replace("cert", "nmc"),
            "network.1.cidrs: 192.0.2.0/28 is given twice; which limits it has must be settled",
        ),
        (
            CERT + "connections = 10000\n",
            "network: connections add up to 10000, which leaves others no room in server.max_connections (10000)",
        ),
        (
            many(9) + "[server]\nmax_connections = 9\n",
            "network: connections add up to 9, which leaves others no room in server.max_connections (9)",
        ),
        (many(65), "network: Tuple should have at most 64 items after validation, not 65"),
        (
            PROXY.replace("trusted", "# "),
            "listen.0: trusted: required with proxy; a header from anyone could carry any address",
        ),
        (PROXY.replace("proxy = true", "proxy = false"), "listen.0: trusted: is for a listener with proxy = true"),
        (PROXY.replace("proxy = true", "proxy = 1"), "listen.0.proxy: must be true or false"),
        (PROXY.replace("10.0.0.0/8", "10.0.0.1/8"), f"listen.0.trusted.0: {HOST_BITS}: 10.0.0.0/8"),
    ],
)  # fmt: skip
def test_faults_in_what_is_limited(file: Path, text: str, fault: str) -> None:
    """A fault in the limits, the named networks or the listeners is one line with its key."""
    file.write_text(GOOD + text)
    assert faults(file) == [f"{file}: {fault}"]


def test_as_many_networks_as_there_can_be(file: Path) -> None:
    """There are so many named networks at most, and they may have all connections but one."""
    file.write_text(GOOD + many(64) + "[server]\nmax_connections = 65\n")
    assert len(load_settings(file).network) == 64


def test_network_without_a_rate(file: Path) -> None:
    """A named network states its rate: none is never unlimited."""
    file.write_text(GOOD + CERT.replace("rate = 5", ""))
    [fault] = faults(file)
    assert fault.startswith(f"{file}: network.0.rate: required")


def test_two_that_listen_anywhere(file: Path) -> None:
    """Port 0 is another port each time, and one address may have several ports."""
    listen = "[[listen]]\nhost = '::1'\nport = {}\n"
    file.write_text(GOOD + "".join(map(listen.format, (0, 0, 43, 44))))
    assert len(load_settings(file).listen) == 4


@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        ("WHOISD_LIMITS__RATE", "fast", f"limits.rate: {A_RATE}"),
        ("WHOISD_LIMITS__RATE", "nan", f"limits.rate: {A_RATE}"),
        ("WHOISD_LIMITS__RTE", "1", "limits.rte: not a setting; docs/configuration.md lists them all"),
        ("WHOISD_SERVER__WORKERS", "0", "server.workers: Input should be greater than or equal to 1"),
        (
            "WHOISD_NETWORK",
            '[{"name": "a", "cidrs": ["192.0.2.0/24"], "rate": 1}, {"name": "a", "cidrs": ["192.0.3.0/24"], "rate": 1}]',
            "network.1.name: is the name of one before it",
        ),
        ("WHOISD_LISTEN", '[{"host": "::1"}, {"host": "0:0::1"}]', "listen.1: port 43 of this address is taken by listen.0"),
        (
            "WHOISD_LISTEN",
            '[{"host": "::1", "proxy": true}]',
            "listen.0: trusted: required with proxy; a header from anyone could carry any address",
        ),
    ],
)
def test_faults_in_variables_of_what_is_limited(
    monkeypatch: pytest.MonkeyPatch, file: Path, variable: str, text: str, fault: str
) -> None:
    """A fault in the limits, networks or listeners that the environment gives names the variable and the key."""
    file.write_text(GOOD)
    monkeypatch.setenv(variable, text)
    assert faults(file) == [f"{variable}: {fault}"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limits]\nrate = 20\n", "network_rate: must not be less than rate"),
        ("[limits]\nrate = 'unlimited'\n", "network_rate: must not be less than rate"),
        ("[limits]\nburst = 101\n", "network_burst: must not be less than burst"),
        ("[limits]\nconnections = 201\n", "network_connections: must not be less than connections"),
        ("[[listen]]\nhost = '::1'\nproxy = true\ntrusted = ['0.0.0.0/0']\n", "trusted: 0.0.0.0/0 is nearly anyone"),
        ("[[listen]]\nhost = '::1'\nproxy = true\ntrusted = ['::/15']\n", "trusted: ::/15 is nearly anyone"),
        ("[[network]]\nname = 'all'\ncidrs = ['::/0']\nrate = 1\n", "network.0.cidrs: ::/0 is everyone"),
        (f"[[network]]\nname = 'all'\ncidrs = ['::1']\nrate = 1{'0' * 400}\n", "network.0.rate: must be a number from"),
        (f"[limits]\nburst = {'9' * 5000}\n", "has a number too long, or lists too deep"),
        (f"x = {'[' * 3000}\n", "has a number too long, or lists too deep"),
    ],
)
def test_what_would_switch_a_guard_off(file: Path, text: str, fault: str) -> None:
    """A setting that makes a limit none, or that only a broken file holds, is refused in words."""
    file.write_text(f"{text}\n{GOOD}")
    (said,) = faults(file)
    assert str(file) in said
    assert fault in said


def test_default_file_that_cannot_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default file that is there counts, though it leads nowhere; one that is not there is none."""
    monkeypatch.setattr("whoisd.config.DEFAULT_FILE", file)
    assert default_file() is None
    file.symlink_to(file.with_name("gone.toml"))
    assert default_file() == file
    assert faults(None) == [f"{file}: cannot be read: No such file or directory"]


@pytest.mark.parametrize(
    "prefix", ["2001:db8::/32", "2001:db8::/40", "2001:db8::/48", "2001:db8::/56", "2001:db8::/64", "2001:db8::/96"]
)
def test_nat64(file: Path, prefix: str) -> None:
    """Prefixes of the operator's own translators have one of the lengths that RFC 6052 admits."""
    file.write_text(f"{GOOD}[limits]\nnat64 = ['{prefix}', '64:ff9b:1::/48']\n")
    settings = load_settings(file)
    assert settings.limits.nat64 == (ip_network(prefix), ip_network("64:ff9b:1::/48"))
    assert settings.quotas({}).nat64 == settings.limits.nat64


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("['2001:db8::/33']", "limits.nat64.0: must have 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"),
        ("['2001:db8::/128']", "limits.nat64.0: must have 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"),
        ("['2001:db8::/32', '::/0']", "limits.nat64.1: must have 32, 40, 48, 56, 64 or 96 bits (RFC 6052)"),
        ("['2001:db8:0:0:100::/96']", "limits.nat64.0: must have zeros in bits 64 to 71 (RFC 6052)"),
        ("['192.0.2.0/24']", "limits.nat64.0: must be an IPv6 network"),
        ("['2001:db8::1/96']", f"limits.nat64.0: {HOST_BITS}: 2001:db8::/96"),
        ("[7]", "limits.nat64.0: must be a network, as in 192.0.2.0/24 or 2001:db8::/48"),
        ("['64:ff9b::/96']", "limits.nat64.0: is one without being named; leave it out"),
        ("['::ffff:0:0/96']", "limits.nat64.0: must be written as IPv4, which its addresses count as"),
    ],
)
def test_no_nat64(file: Path, value: str, fault: str) -> None:
    """Any other prefix is refused by its place, with what is wrong."""
    file.write_text(f"{GOOD}[limits]\nnat64 = {value}\n")
    assert faults(file) == [f"{file}: {fault}"]


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("[[network]]\nname = 'a'\nrate = 1\ncidrs = ['2001:db8:64::/112']\n", "network.0.cidrs: 2001:db8:64::/112"),
        (
            "[[listen]]\nhost = '::'\nproxy = true\ntrusted = ['10.0.0.0/8', '2001:db8:64::1/128']\n",
            "listen.0.trusted: 2001:db8:64::1/128",
        ),
    ],
)
def test_a_network_in_which_no_client_is(file: Path, section: str, fault: str) -> None:
    """A network within a prefix of NAT64 matches nobody, for they count as IPv4: it is refused, and named."""
    file.write_text(f"{GOOD}[limits]\nnat64 = ['2001:db8:64::/96']\n{section}")
    assert faults(file) == [f"{file}: {fault} is in limits.nat64, so write it as IPv4, which its addresses count as"]
    file.write_text(f"{GOOD}{section}")
    load_settings(file)


@pytest.mark.parametrize("host", ["fe80::1%eth0", "::ffff:192.0.2.1", "::ffff:c000:201"])
def test_addresses_that_no_socket_has(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with a zone, and an IPv4 one written as IPv6, are refused before a socket would be."""
    monkeypatch.setenv("WHOISD_DATABASE__DSN", "postgresql://whoisd_reader@/whois")
    monkeypatch.setenv("WHOISD_LISTEN", json.dumps([{"host": host, "port": 43}]))
    with pytest.raises(ConfigError, match=r"must (have no zone|be written as the IPv4 address)"):
        load_settings()


@pytest.mark.parametrize("service", ["WHOISD", "WHOISD_METRICS", "WHOISD_SERVER", "WHOISD_2"])
def test_variables_of_kubernetes(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kubernetes sets for a service whose name begins with whoisd stops no start, whatever its ports are called."""
    monkeypatch.setenv("WHOISD_DATABASE__DSN", "postgresql://whoisd_reader@/whois")
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "43",
        "SERVICE_PORT_WHOIS": "43",
        "SERVICE_PORT_WHOIS_TLS": "4343",
        "PORT": "tcp://10.0.0.1:43",
        "PORT_43_TCP": "tcp://10.0.0.1:43",
        "PORT_43_TCP_PROTO": "tcp",
        "PORT_43_TCP_PORT": "43",
        "PORT_43_TCP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    assert load_settings().server.read_timeout == 10


@pytest.mark.parametrize("name", ["WHOISD_PORT", "WHOISD_LISTEN_PORT", "WHOISD_SERVICES_HOST", "WHOISD_PORT_43_TCPX"])
def test_misspelt_variables_are_none_of_kubernetes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is named though it looks like a variable of Kubernetes."""
    monkeypatch.setenv("WHOISD_DATABASE__DSN", "postgresql://whoisd_reader@/whois")
    monkeypatch.setenv(name, "4343")
    with pytest.raises(ConfigError, match=f"{name}: not a setting"):
        load_settings()


def test_byte_order_mark(tmp_path: Path) -> None:
    """A file that begins with a byte order mark is refused by that name, and not as a fault of its first line."""
    file = tmp_path / "whoisd.toml"
    file.write_bytes(b"\xef\xbb\xbf[database]\ndsn = 'postgresql://whoisd_reader@/whois'\n")
    with pytest.raises(ConfigError, match=r"begins with a byte order mark \(BOM\)"):
        load_settings(file)
