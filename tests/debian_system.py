"""A Debian of its own: a minimal system in a folder, booted with systemd in its own namespaces, at which commands are typed.

It has a loopback device and no other network: its port 43, its accounts and its services are nobody else's. What
the commands install is fetched before it is booted: Debian's packages lie in apt's cache, and whoever makes the system
brings the rest.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, Self

from support import PATIENCE, end

RELEASES: Final = ("bookworm", "trixie")  # Debian 12 and 13
PYTHON: Final = "3.11"  # of the first
MINIMAL: Final = "ca-certificates,dbus,libpam-systemd,make,systemd-sysv"  # what any machine has, besides the essential
LONGEST: Final = 1800.0  # seconds that a command may take: a machine in use makes a Debian slowly
CHECKOUT: Final = "/root/whoisd"
_WHEELS: Final = "/root/wheels"
_PIP: Final = f"[global]\nno-index = true\nfind-links = {_WHEELS}\ndisable-pip-version-check = true\n"
_BOOT: Final = (
    "systemd-nspawn",
    "--quiet",
    "--register=no",
    "--keep-unit",
    "--private-network",
    "--link-journal=no",
    "--boot",
)
_ENVIRONMENT: Final = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
}


def why_not() -> str:
    """Why this machine has no room for another Debian; nothing when it has."""
    if os.geteuid():
        return "not run by root, who alone may boot a system in a folder"
    for program, package in (("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container")):
        if not shutil.which(program):
            return f"{program} is not installed: apt-get install {package}"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        return "root may not make namespaces here: give the container CAP_SYS_ADMIN"
    return ""


class Debian(AbstractContextManager["Debian"]):
    """The system, which is up while this is entered, and gone afterwards."""

    def __init__(
        self,
        folder: Path,
        packages: Sequence[str],
        bring: Callable[[Path], None],
        *,
        release: str = RELEASES[0],
        at: str = "/root",
    ) -> None:
        """`packages` can be installed in it; `bring` puts what else is needed there before it is booted; typed `at`."""
        self.root = folder / "root"
        self.console = folder / "console"
        self._packages, self._bring, self._release, self._at = packages, bring, release, at

    def __enter__(self) -> Self:
        self.root.mkdir()
        with ExitStack() as undone:
            # In memory: it lives for minutes, and what installs into it waits for the disk all the time.
            _run("mount", "-t", "tmpfs", "-o", "mode=755,size=3g", "debian", self.root)
            undone.callback(_run, "umount", self.root)
            self._prepare()
            with self.console.open("wb") as console:
                self._nspawn = subprocess.Popen(
                    [*_BOOT, f"--directory={self.root}"],
                    env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},  # systemd 257 knows no other
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                )
            undone.callback(end, self._nspawn)
            self._init = self._wait_for_init()
            self.type("systemctl is-system-running --wait || systemctl --failed")
            self._done = undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.close()

    def _prepare(self) -> None:
        """Make the system, fetch what will be installed, and put the rest into it."""
        _run("debootstrap", "--variant=minbase", f"--include={MINIMAL}", self._release, self.root)
        _run("chroot", self.root, "apt-get", "install", "--yes", "--download-only", *self._packages)
        self._bring(self.root)

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _wait_for_init(self) -> int:
        """The process that is systemd in there, once its bus answers."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            for child in children.read_text(encoding="ascii").split():
                if Path(f"/proc/{child}/root/run/systemd/private").exists():
                    return int(child)
            time.sleep(0.05)
        raise AssertionError(f"it did not boot:\n{self.console.read_text(errors='replace')}")

    def type(self, text: str) -> str:
        """What is printed when root pastes this there; its commands must end well."""
        enter = ("nsenter", "--target", str(self._init), "--all", f"--wd={self._inside(self._at)}")
        return _run(*enter, "bash", "-euo", "pipefail", "-c", text, environment=_ENVIRONMENT)


def fetch_wheels(into: Path, checkout: Path, lock: str) -> None:
    """Put the Python packages of a lock file into a folder, for the Python of the first release."""
    fetch = ("download", "--require-hashes", "--only-binary=:all:", "--python-version", PYTHON)
    _run(sys.executable, "-m", "pip", *fetch, "--dest", into, "--requirement", lock, at=checkout)


def bring_checkout(root: Path, checkout: Path, lock: str) -> None:
    """Put a copy of what git tracks into a system, and the Python packages of a lock file, where pip finds them."""
    fetch_wheels(root / _WHEELS.lstrip("/"), checkout, lock)
    (root / "etc/pip.conf").write_text(_PIP, encoding="utf-8")
    (root / CHECKOUT.lstrip("/")).mkdir()
    copy = 'git ls-files -z | tar --null --files-from=- --create | tar --extract --no-same-owner --directory="$0"'
    _run("sh", "-c", copy, root / CHECKOUT.lstrip("/"), at=checkout)


def _run(*command: str | Path, at: Path | None = None, environment: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        command,
        cwd=at,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=LONGEST,
        check=False,
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


def blocks(text: str) -> dict[str, str]:
    """The blocks of commands in a text, the first under each heading."""
    found = re.findall(r"^##+ ([^\n]+)(?:(?!^##).)*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return dict(found)
