"""A podman with a storage of its own, and in it a Debian that is made here: no image is fetched, no other podman sees it."""

import json
import os
import resource
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from debian_system import RELEASES

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "localhost/whoisd"
BASE: Final = "localhost/debian:12"
LONGEST: Final = 1200.0  # seconds that a build may take on a machine in use
MOST_PROCESSES: Final = 32768  # podman allows itself no more
NEEDED: Final = ("podman", "runc", "debootstrap", "iptables", "aardvark-dns")
# runc and files alone for cgroups: the others want a systemd, or version 2. Limits are those that we have.
_SETTINGS: Final = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
# Podman 4.3 starts nothing that requires a container which has ended, as the one that migrates has.
_SCRIPT: Final = """\
#!/bin/sh
for it; do shift; case $it in --requires=*) ;; *) set -- "$@" "$it" ;; esac; done
CONTAINERS_CONF={settings} exec {podman} {options} "$@"
"""
_ELSEWHERE: Final = {"iptables": "/usr/sbin/iptables", "aardvark-dns": "/usr/lib/podman/aardvark-dns"}


def why_not() -> str:
    """Why no container can be made here; nothing when it can."""
    if os.geteuid():
        return "not run by root, who alone makes a Debian in a folder"
    missing = [it for it in NEEDED if not (shutil.which(it) or Path(_ELSEWHERE.get(it, "/nowhere")).exists())]
    return f"not installed: apt-get install {' '.join(missing)}" if missing else ""


class Podman(AbstractContextManager["Podman"]):
    """Images and containers in a folder, all gone afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = folder / "podman"  # what a compose tool calls in podman's place
        settings = folder / "containers.conf"
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[1], MOST_PROCESSES)
        settings.write_text(_SETTINGS.format(files=files, processes=processes), encoding="utf-8")
        options = f"--root={folder}/storage --runroot={folder}/run"
        script = _SCRIPT.format(settings=settings, podman=shutil.which("podman"), options=options)
        self.command.write_text(script, encoding="utf-8")
        self.command.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        try:
            self("rm", "--all", "--force", "--time=0")
            self("rmi", "--all", "--force")
            self("volume", "prune", "--force")
        finally:  # its storage is a mount of its own, which would outlive the folder, whatever went wrong
            subprocess.run(["umount", "--quiet", self.folder / "storage/overlay"], check=False)
            shutil.rmtree(self.folder)

    def __call__(self, *arguments: str | Path, fails: bool = False, errors: bool = False) -> str:
        """Run podman, and return what it printed, or on standard error; it must end well, or must not."""
        return self.run(self.command, *arguments, fails=fails, errors=errors)

    def run(
        self,
        *command: str | Path,
        given: bytes | None = None,
        fails: bool = False,
        errors: bool = False,
        at: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Run a command, and return what it printed; it must end well, or must not."""
        ended = subprocess.run(
            command,
            cwd=at,
            env=os.environ | (environment or {}),
            input=given or b"",
            capture_output=True,
            timeout=LONGEST,
            check=False,
        )
        said, wrong = (it.decode("utf-8", "replace") for it in (ended.stdout, ended.stderr))
        assert (ended.returncode != 0) == fails, f"{command} ended with {ended.returncode}:\n{said}{wrong}"
        return wrong if errors else said

    def inspect(self, name: str) -> Any:
        """What podman knows of an image or a container."""
        return json.loads(self("inspect", name))[0]

    def make_base(self) -> None:
        """Make a Debian like that of the registries' image: the essential packages, and apt."""
        root = self.folder / "debian"
        self.run("debootstrap", "--variant=minbase", RELEASES[0], root)
        self.run("sh", "-c", f"tar -C {root} -c . | {self.command} import - {BASE}")
        shutil.rmtree(root)

    def build(self, tag: str, file: Path, context: Path, *options: str | Path) -> None:
        """Build an image of a Containerfile upon our Debian, by the network of this machine."""
        how = ("--network=host", "--isolation=chroot", "--format=docker")  # as it is built where cgroups are not ours
        self("build", *how, "--tag", tag, "--build-arg", f"BASE={BASE}", "--file", file, *options, context)
