"""The files of systemd/: the units are clean, the server runs under what they forbid, the example names every setting.

systemd itself does not run here. `tests/confine.py` puts a command under the restrictions of the unit file; this module
plays what systemd does beside it: it holds the sockets, takes the notifications, and sends the signals.
"""

import ctypes.util
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, get_args, get_origin

import pytest
from confine import check, read_unit
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from support import PATIENCE, WHOISD, Database, end, receive

from whoisd.config import Settings, load_settings
from whoisd.server.fleet import CUT_AFTER
from whoisd.server.sockets import BACKLOG, SPARE_DESCRIPTORS

ROOT: Final = Path(__file__).parents[3]
UNITS: Final = ROOT / "systemd"
SERVICES: Final = ("whoisd.service", "whoisd-migrate.service", "whoisd-heartbeat.service")
EXAMPLE: Final = UNITS / "whoisd.toml"
LAUNCHER: Final = ROOT / "tests" / "confine.py"
PROGRAM: Final = "/opt/whoisd/current/bin/whoisd"  # of the units; it is not installed here


def why_not() -> str:
    """Why the restrictions cannot be applied on this machine, if so."""
    if sys.platform != "linux":
        return "a Linux machine is needed"
    if os.geteuid():
        return "not run by root, who alone may make namespaces and drop privileges"
    if not shutil.which("systemd-analyze"):
        return "systemd-analyze is not installed: apt-get install systemd"
    if not ctypes.util.find_library("seccomp"):
        return "libseccomp is not installed: apt-get install libseccomp2"
    if subprocess.run(["unshare", "--mount", "--user", "true"], capture_output=True, check=False).returncode:
        return "root may not make namespaces here: give the container CAP_SYS_ADMIN"
    return ""


WHY_NOT: Final = why_not()
confined_only = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
analyzed_only = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed: apt-get install systemd"
)


@pytest.fixture
def least(tmp_path: Path) -> Settings:
    """The settings of a configuration that says what is required, and no more."""
    return load(tmp_path, '[database]\ndsn = "postgresql://whoisd_reader@/whois?host=/run/postgresql"\n')


def load(folder: Path, text: str) -> Settings:
    file = folder / "load.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


# --- the units -------------------------------------------------------------------------------------------------------


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


@analyzed_only
def test_units_are_clean(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the units; another program stands in for the one they start."""
    for unit in (*UNITS.glob("whoisd*.s*"), *UNITS.glob("whoisd*.timer")):
        (tmp_path / unit.name).write_text(unit.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"))
    units = sorted(tmp_path.iterdir())
    assert [unit.name for unit in units] == [
        "whoisd-heartbeat.service",
        "whoisd-heartbeat.timer",
        "whoisd-migrate.service",
        "whoisd.service",
        "whoisd.socket",
    ]
    ran = analyze("verify", "--recursive-errors=no", *units)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@analyzed_only
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(unit: str) -> None:
    """`systemd-analyze security` rates the exposure of both services 1.3 or better."""
    ran = analyze("security", "--offline=true", "--no-pager", UNITS / unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", ran.stdout)
    assert found, ran.stderr
    assert float(found[1]) <= 1.3


@pytest.mark.parametrize("unit", SERVICES)
def test_directives_are_known(unit: str) -> None:
    """Every directive of the services is applied in these tests, or is named in `confine` with the reason why not."""
    check(read_unit(UNITS / unit))


def test_services_forbid_the_same() -> None:
    """The migration and the heartbeat are under the same restrictions as the server."""
    server, *others = (read_unit(UNITS / unit) for unit in SERVICES)
    restrict = re.compile(
        "Protect|Private|Restrict(?!art)|SystemCall|Capab|Ambient|NoNew|ReadOnly|Memory|Lock|Remove|Keyr|Dev"
    )
    restrictions = {name: values for name, values in server.items() if restrict.match(name)}
    for other in others:
        assert {name: values for name, values in other.items() if restrict.match(name)} == restrictions


def test_socket_is_what_the_server_would_open(least: Settings) -> None:
    """The addresses of whoisd.socket are the default ones, by which the server knows what it is given; so is the queue."""
    socket_unit = read_unit(UNITS / "whoisd.socket", "Socket")
    hosts = [f"[{listen.host}]" if ":" in listen.host else listen.host for listen in least.listen]
    assert socket_unit["ListenStream"] == [f"{host}:{listen.port}" for host, listen in zip(hosts, least.listen, strict=True)]
    assert socket_unit["BindIPv6Only"] == ["ipv6-only"]
    assert socket_unit["Backlog"] == [str(BACKLOG)]


def test_runtime_directory(least: Settings) -> None:
    """The file of rates and bans lies in the folder that systemd makes for it, and keeps."""
    server = read_unit(UNITS / "whoisd.service")
    assert [str(least.limits.file.parent)] == [f"/run/{name}" for name in server["RuntimeDirectory"]]
    assert server["RuntimeDirectoryPreserve"] == ["yes"]


def test_room_for_connections(least: Settings) -> None:
    """The limit on open files leaves room for the default number of connections, and for the 50,000 of the example."""
    room = (int(read_unit(UNITS / "whoisd.service")["LimitNOFILE"][0]) - SPARE_DESCRIPTORS) * 4 // 5
    assert room > 50_000 > least.server.max_connections


def test_time_to_stop(least: Settings) -> None:
    """Systemd waits longer than the server takes to stop: its grace, and what it cuts off after that."""
    patience = int(read_unit(UNITS / "whoisd.service")["TimeoutStopSec"][0])
    assert patience >= 20 + 2 * CUT_AFTER > least.server.grace + 2 * CUT_AFTER  # the 20 s of the example


# --- the example of a configuration ------------------------------------------------------------------------------------

DEFAULT: Final = re.compile(r"^#(?! |$)", re.MULTILINE)  # what makes a line a setting at its default
SAMPLE: Final = re.compile(r"^# (?=\[\[|[a-z_]+ = )", re.MULTILINE)  # or an example of what has no default


def example() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


def sections() -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Each section of the settings, with its keys."""
    for section, info in Settings.model_fields.items():
        model: Any = info.annotation
        while get_origin(model):
            model = get_args(model)[0]
        assert issubclass(model, BaseModel)
        yield section, model.model_fields


def keys_of(values: Any) -> set[str]:
    """The keys that a section gives; of a repeated one, those that every one of them gives."""
    return set.intersection(*map(set, values)) if isinstance(values, list) else set(values)


def test_example_is_good(least: Settings) -> None:
    """The example is a good configuration as it is, and changes nothing but where the database is."""
    given = load_settings(EXAMPLE)
    assert given.database.owner_dsn
    assert given.model_copy(update={"database": least.database}) == least


def test_example_states_the_defaults(tmp_path: Path) -> None:
    """With every default uncommented the example means the same, and every setting that has a default is there."""
    text = DEFAULT.sub("", example())
    assert load(tmp_path, text) == load_settings(EXAMPLE)
    given = tomllib.loads(text)
    for section, fields in sections():
        if section != "network":  # has none by default
            defaults = {name for name, field in fields.items() if field.default is not None} - {"listen"}  # none of HTTP's
            assert keys_of(given[section]) - {"owner_dsn"} == defaults


def test_example_names_every_setting(tmp_path: Path) -> None:
    """With all uncommented the example is good, every setting is in it, and no other."""
    text = SAMPLE.sub("", DEFAULT.sub("", example()))
    settings = load(tmp_path, text)
    given = tomllib.loads(text)
    assert {section: keys_of(values) for section, values in given.items()} == {
        section: set(fields) for section, fields in sections()
    }
    for network in settings.network:
        fields = type(network).model_fields
        assert all(field.is_required() or getattr(network, name) == field.default for name, field in fields.items())


def test_example_explains_every_setting() -> None:
    """Above every setting, or the group that it is in, stands a line that says what it is."""
    before = ""
    for line in example().splitlines():
        if re.match(r"#? ?[a-z_]+ = ", line):
            assert before, line
        before = "" if re.match(r"#? ?\[[a-z]+\]$|$", line) else line


# --- a service under the restrictions of its unit --------------------------------------------------------------------


class Confined(AbstractContextManager["Confined"]):
    """A command under the restrictions of whoisd.service, with systemd's part played by us."""

    sockets: Sequence[socket.socket] = ()

    def __init__(self, folder: Path, database: Database, *command: str | Path, refuse: str = "errno") -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.account = database.cluster.directory.stat().st_uid  # may go where the database's socket is
        self.runtime = folder / "run"
        self.runtime.mkdir(exist_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified: list[str] = []
        self._command = [str(part) for part in command]
        self._see = [sys.prefix, sys.base_prefix, str(ROOT), str(folder), str(database.cluster.directory)]
        self._refuse = refuse

    def __enter__(self) -> Self:
        path = self.folder / "notify"
        path.unlink(missing_ok=True)
        self._notify.bind(str(path))
        path.chmod(0o777)
        self._notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._notify.settimeout(PATIENCE)
        numbers = [each.fileno() for each in self.sockets]
        settings = {
            "unit": str(UNITS / "whoisd.service"),
            "command": self._command,
            "account": self.account,
            "runtime": str(self.runtime),
            "see": self._see,
            "environment": {"NOTIFY_SOCKET": str(path), "PYTHONWARNINGS": "error"},
            "sockets": numbers,
            "refuse": self._refuse,
        }
        with (self.folder / "stdout").open("ab") as stdout, (self.folder / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, LAUNCHER, json.dumps(settings)], stdout=stdout, stderr=stderr, pass_fds=numbers
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._notify.close()
        end(self.process)

    def log(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def wait_for(self, notification: str) -> None:
        """Wait until the main process says this to systemd; what others say does not count (NotifyAccess=main)."""
        deadline = time.monotonic() + PATIENCE
        while notification not in self._notified:
            assert time.monotonic() < deadline, f"no {notification} in {self._notified}; the log:\n{self.log()}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}; the log:\n{self.log()}"
            try:
                message, ancillary, *_ = self._notify.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                continue  # the deadline has passed too, and its message has the log
            assert struct.unpack("3i", ancillary[0][2])[0] == self.process.pid
            self._notified += message.decode().splitlines()
        del self._notified[: self._notified.index(notification) + 1]

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        return self.process.wait(PATIENCE)


class Server(Confined):
    """`whoisd serve` under the restrictions of whoisd.service, with listening sockets that outlive it."""

    def __init__(self, folder: Path, database: Database, sockets: Sequence[socket.socket], *, refuse: str = "errno") -> None:
        self.config = folder / "whoisd.toml"
        program, *arguments = read_unit(UNITS / "whoisd.service")["ExecStart"][0].split()
        assert program == PROGRAM
        super().__init__(folder, database, WHOISD, *arguments, "--config", self.config, refuse=refuse)
        self.sockets = sockets
        self.dsn = database.reader
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.metrics = free.getsockname()[1]

    def __enter__(self) -> Self:
        self.configure("Registeret")
        super().__enter__()
        try:
            self.wait_for("READY=1")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def configure(self, operator: str) -> None:
        addresses = [each.getsockname() for each in self.sockets]
        listen = "".join(f'[[listen]]\nhost = "{address[0]}"\nport = {address[1]}\n' for address in addresses)
        self.config.write_text(
            f'{listen}[server]\nworkers = 2\n[limits]\nrate = "unlimited"\nnetwork_rate = "unlimited"\n'
            f'[database]\ndsn = "{self.dsn}"\n[answer]\noperator = "{operator}"\n[metrics]\nport = {self.metrics}\n',
            encoding="utf-8",
        )

    def ask(self, query: str, number: int = 0) -> str:
        """Ask over one of the sockets."""
        with self.connect(query, number) as client:
            return receive(client).decode("iso-8859-1")

    def connect(self, query: str, number: int = 0) -> socket.socket:
        client = socket.create_connection(self.sockets[number].getsockname()[:2], timeout=PATIENCE)
        client.sendall(f"{query}\r\n".encode())
        return client

    def processes(self) -> list[int]:
        """The main process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [self.process.pid, *map(int, children.split())]


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """What whoisd.socket holds: a listening socket for each version of IP."""
    with (
        socket.create_server(("127.0.0.1", 0)) as ipv4,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as ipv6,
    ):
        yield [ipv4, ipv6]


@pytest.fixture
def server(tmp_path: Path, sandbox_database: Database, sockets: list[socket.socket]) -> Iterator[Server]:
    """The server under the restrictions of its unit."""
    with Server(tmp_path, sandbox_database, sockets) as server:
        yield server


def status_of(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@confined_only
def test_serves(server: Server) -> None:
    """Under its restrictions the server answers over both sockets, from the database, and tells how it does."""
    for number in range(2):
        assert "Registered:           1998-01-19" in server.ask("punktum.dk", number)
    server.wait_for("WATCHDOG=1")
    for path, expected in {"metrics": b"whoisd_", "livez": b"alive", "readyz": b"ready"}.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics}/{path}", timeout=PATIENCE) as answer:
            assert expected in answer.read()
    ledger = (server.runtime / "sources").stat()
    assert (ledger.st_uid, stat.S_IMODE(ledger.st_mode)) == (server.account, 0o600)
    assert stat.S_IMODE(server.runtime.stat().st_mode) == 0o700


@confined_only
def test_no_process_has_privileges(server: Server) -> None:
    """The supervisor, the workers and the observer run unprivileged, filtered, and in namespaces of their own."""
    processes = server.processes()
    assert len(processes) == 4
    for process in processes:
        status = status_of(process)
        assert {*status["Uid"].split(), *status["Gid"].split()} == {str(server.account)}
        assert status["Groups"] == ""
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"], status["Umask"]) == ("1", "2", "0077")
        for kind in ("mnt", "user", "ipc", "uts"):
            assert Path(f"/proc/{process}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()


@confined_only
def test_reload(server: Server) -> None:
    """SIGHUP brings an edited configuration into force, and systemd is told when."""
    server.configure("Det nye register")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for("RELOADING=1")
    server.wait_for("READY=1")
    assert "Det nye register" in server.ask("punktum.dk")


@confined_only
def test_restart_loses_no_client(server: Server, sandbox_database: Database) -> None:
    """SIGTERM ends the server; who connects meanwhile is answered by the next one, which knows the sources still."""
    ledger = (server.runtime / "sources").stat().st_ino
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("STOPPING=1")
    assert server.wait() == 0
    waiting = server.connect("punktum.dk")
    with Server(server.folder, sandbox_database, server.sockets), waiting:
        assert "Registered:" in receive(waiting).decode("iso-8859-1")
    assert (server.runtime / "sources").stat().st_ino == ledger


@confined_only
def test_needs_nothing_that_is_refused(tmp_path: Path, sandbox_database: Database, sockets: list[socket.socket]) -> None:
    """Where a system call that the filter refuses kills, the server lives: it starts, answers, reloads and stops."""
    with Server(tmp_path, sandbox_database, sockets, refuse="kill") as server:
        assert "Registered:" in server.ask("punktum.dk")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("RELOADING=1")
        server.wait_for("READY=1")
        assert "Registered:" in server.ask("punktum.dk")
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "worker.died" not in server.log()


# What each of these meets under the restrictions of the unit. A name in capitals is an errno; else it is what is returned.
ATTEMPTS: Final = {
    "open('/etc/whoisd-was-here', 'w')": "EROFS",
    "open('/run/whoisd-was-here', 'w')": "EROFS",
    "open('/dev/shm/whoisd-was-here', 'w')": "EROFS",
    "open('/run/whoisd/file', 'w').write('x')": 1,
    "open('/tmp/whoisd-was-here', 'w').write('x')": 1,
    "stat.S_IMODE(os.stat('/run/whoisd/file').st_mode)": 0o600,
    "os.listdir('/home')": "EACCES",
    "os.path.exists('/proc/1')": False,
    "os.path.exists('/proc/meminfo')": False,
    "os.path.exists('/dev/kmsg')": False,
    "resource.getrlimit(resource.RLIMIT_CORE)": [0, 0],
    "os.setuid(0)": "EPERM",
    "os.chown('/run/whoisd/file', 0, 0)": "EPERM",
    "os.chmod('/run/whoisd/file', 0o4755)": "EPERM",
    "os.kill(1, 0)": "EPERM",
    "os.sched_setaffinity(0, {0})": "EPERM",
    "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))": "EPERM",
    "socket.create_server(('127.0.0.1', 43))": "EACCES",
    "socket.socket(socket.AF_NETLINK)": "EAFNOSUPPORT",
    "socket.socket(socket.AF_PACKET)": "EAFNOSUPPORT",
    "socket.sethostname('x')": "EPERM",
    "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)": "EPERM",
    "call('unshare', 0x10000000)": "EPERM",
    "call('mount', b'x', b'/tmp', b'tmpfs', 0, None)": "EPERM",
    "call('personality', 0x0008)": "EPERM",
    "call('adjtimex', None)": "EPERM",
    "call('klogctl', 3, None, 0)": "EPERM",
    "call('ptrace', 0, 0, None, None)": "EPERM",
    "call('syscall', 250, 0, 0, 0, 0, 0)": "EPERM",
}
PROBE: Final = """
import ctypes, errno, json, mmap, os, resource, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
def attempt(text):
    try:
        return eval(text)
    except OSError as error:
        return errno.errorcode[error.errno]
print(json.dumps({text: attempt(text) for text in json.loads(sys.argv[1])}))
"""


@confined_only
def test_restrictions_hold(tmp_path: Path, sandbox_database: Database) -> None:
    """What the unit forbids is refused in these tests, so that they prove something."""
    with Confined(
        tmp_path, sandbox_database, sys.executable, "-W", "ignore", "-c", PROBE, json.dumps(list(ATTEMPTS))
    ) as probe:
        assert probe.wait() == 0, probe.log()
    assert json.loads((tmp_path / "stdout").read_text(encoding="utf-8")) == ATTEMPTS
    assert not Path("/tmp/whoisd-was-here").exists()  # noqa: S108 - the very folder
