"""`make deb`: whoisd_VERSION_amd64.deb for Debian 12 and 13, in dist/, of the files that git tracks.

The package has what the lock file has for serving, with its hashes, once for the Python of each of the two releases:
an environment finds the libraries of the Python that runs it, so one package serves both, and an upgrade of Debian too.
Nothing is fetched when it is installed. The serving path is compiled (`make compiled`) for each of the two Pythons that is
on this machine with its headers; for another it is plain Python, and that is said.
"""

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, which
from typing import Final

from click.shell_completion import get_completion_class
from make_release import notes, run
from serving import ROOT, installed_needs, serving_lock

PYTHONS: Final = ("3.11", "3.13")  # of Debian 12 and 13
PLATFORM: Final = "x86_64-manylinux_2_36"  # the older of their C libraries
MAINTAINER: Final = re.compile("^Maintainer: (.*)$", re.MULTILINE)
HOME: Final = "/usr/lib/whoisd"
# An interpreter that its owner built has the folder that it was built for in its own; ours are to name none, nor hold what a
# debugger reads.
LINKING: Final = {"LDSHARED": "cc -shared -Wl,-z,relro,-z,now", "CFLAGS": "-g0"}

CAN_COMPILE: Final = """\
import ensurepip, pathlib, shutil, sysconfig
raise SystemExit(not (pathlib.Path(sysconfig.get_path("include"), "Python.h").exists() and shutil.which("cc")))
"""

# Started by whatever name, it runs the Python beside it; alone (-I): neither the caller's folder nor their environment is
# looked into, and nothing is written beside the libraries (-B).
LAUNCHER: Final = """\
#!/bin/sh
self=$(readlink -f "$0")
exec "${self%/*}/python" -I -B -m whoisd "$@"
"""

# What a unit has differently in the package: where the program is, and an account that stays.
ACCOUNT: Final = "# The account that the package makes: sysusers.d/whoisd.conf.\n"
UNITS: Final[Mapping[str, Mapping[str, str]]] = {
    "whoisd.service": {
        "/opt/whoisd/current/": f"{HOME}/current/",
        "# An account that exists while the server runs. One named whoisd that is there already is taken instead.\n": (
            ACCOUNT
        ),
        "DynamicUser=yes\n": "",
    },
    "whoisd-migrate.service": {
        "/opt/whoisd/current/": f"{HOME}/unpacked/",  # of the version that is about to take over
        "# An account of its own: PostgreSQL": f"{ACCOUNT}# Of its own: PostgreSQL",
        "DynamicUser=yes\n": "",
    },
    "whoisd-heartbeat.service": {
        "/opt/whoisd/current/": f"{HOME}/current/",
        "# An account of its own: PostgreSQL": f"{ACCOUNT}# Of its own: PostgreSQL",
        "DynamicUser=yes\n": "",
    },
    "whoisd-heartbeat.timer": {},
    "whoisd.socket": {},
}


def make(source: Path, into: Path) -> Path:
    """Make the package of a checkout, and return its file. Raises `SystemExit`, which says what is missing or failed."""
    if not which("dpkg-buildpackage") or not which("dh"):
        raise SystemExit("deb: debhelper is not installed: apt-get install debhelper")
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    moment = int(run("git", "log", "-1", "--format=%ct", at=source))
    name = f"whoisd_{project['version']}_amd64.deb"
    with tempfile.TemporaryDirectory(prefix="whoisd-deb-") as folder:
        tree = Path(folder) / f"whoisd-{project['version']}"
        copy_tracked(source, tree)
        make_environment(tree, make_wheels(source, tree, moment), project["version"])
        make_units(tree)
        make_completions(tree)
        write_changelog(tree, project["version"], moment)
        run(
            "dpkg-buildpackage",
            "--build=binary",
            "--unsigned-source",
            "--unsigned-changes",
            at=tree,
            SOURCE_DATE_EPOCH=str(moment),
        )
        into.mkdir(parents=True, exist_ok=True)
        copyfile(Path(folder) / name, into / name)
    return into / name


def copy_tracked(source: Path, tree: Path) -> None:
    """Copy the files that git tracks, as they stand."""
    tree.mkdir(parents=True)
    command = 'git ls-files -z | tar --null --files-from=- --create | tar --extract --no-same-owner --directory="$0"'
    subprocess.run(["sh", "-c", command, tree], cwd=source, check=True)  # noqa: S607 - the shell of whoever types it


def make_wheels(source: Path, tree: Path, moment: int) -> dict[str, Path]:
    """Make our own wheel for each Python: compiled where it can be, else the plain one."""
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tree / "wheel",
        at=tree,
        SOURCE_DATE_EPOCH=str(moment),
    )
    (plain,) = (tree / "wheel").iterdir()

    def wheel(python: str) -> Path:
        into = tree / f"wheel{python}"
        for interpreter in interpreters(python):
            compiled = (interpreter, source / "tools" / "make_compiled.py", into)
            run(*compiled, at=source, SOURCE_DATE_EPOCH=str(moment), **LINKING)
            return next(into.iterdir())
        sys.stderr.write(f"deb: plain for Python {python}: it is not here with its headers and a C compiler\n")
        return plain

    with ThreadPoolExecutor() as threads:
        return dict(zip(PYTHONS, threads.map(wheel, PYTHONS), strict=True))


def interpreters(python: str) -> Iterator[Path]:
    """Yield the interpreters of a version on this machine that can compile: the system's, and those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = which(f"python{python}")
    for candidate in (*([Path(found)] if found else []), *sorted(pyenv.glob(f"versions/{python}.*/bin/python"))):
        if not subprocess.run([candidate, "-c", CAN_COMPILE], capture_output=True, check=False).returncode:
            yield candidate


def make_environment(tree: Path, wheels: Mapping[str, Path], version: str) -> None:
    """Make the environment: the system's Python, the libraries for each that it may be, and the command."""
    environment = tree / "environment"
    (tree / "serving.lock").write_text(serving_lock(tree, installed_needs()), encoding="utf-8")
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--only-binary=:all:", "--link-mode=copy")
    for python, wheel in wheels.items():
        of = ("--python-version", python, "--python-platform", PLATFORM)
        to = ("--target", environment / "lib" / f"python{python}" / "site-packages")
        run(*uv, *of, *to, "--no-deps", "--require-hashes", "--requirement", "serving.lock", at=tree)
        run(*uv, *of, *to, "--no-deps", wheel, at=tree)
        tidy(to[1])
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    (environment / "bin" / "whoisd").write_text(LAUNCHER, encoding="utf-8")
    (environment / "bin" / "whoisd").chmod(0o755)
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8")
    (environment / "BUILD").write_text(f"{version}-{digest(environment)}\n", encoding="utf-8")


def digest(folder: Path) -> str:
    """Return eight digits that tell a folder from another by what its files hold."""
    told = sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        held = file.read_bytes()
        told.update(f"{file.relative_to(folder)}\0{len(held)}\0".encode() + held)
    return told.hexdigest()[:8]


def tidy(packages: Path) -> None:
    """Take away what no server wants: other commands, uv's own notes, the man pages that lie elsewhere."""
    for name in ("bin", "share"):
        run("rm", "-rf", packages / name, at=packages)
    for note in (
        *packages.glob(".lock"),
        *packages.glob("*.dist-info/uv_cache.json"),
        *packages.glob("*.dist-info/direct_url.json"),
    ):
        note.unlink()


def make_units(tree: Path) -> None:
    """Write the units as the package has them."""
    (tree / "units").mkdir()
    for name, changes in UNITS.items():
        text = (tree / "systemd" / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            if old not in text:
                raise SystemExit(f"deb: systemd/{name} has no {old!r} any more: mend UNITS in tools/make_deb.py")
            text = text.replace(old, new)
        (tree / "units" / name).write_text(text, encoding="utf-8")


def make_completions(tree: Path) -> None:
    """Write what completes the command's words in bash, zsh and fish."""
    (tree / "completions").mkdir()
    for shell, name in (("bash", "whoisd"), ("zsh", "_whoisd"), ("fish", "whoisd.fish")):
        completion = get_completion_class(shell)
        if completion is None:
            raise SystemExit(f"deb: click has no completion for {shell}")
        script = completion.source_template % completion(None, {}, "whoisd", "_WHOISD_COMPLETE").source_vars()  # type: ignore[arg-type]
        (tree / "completions" / name).write_text(script, encoding="utf-8")


def write_changelog(tree: Path, version: str, moment: int) -> None:
    """Write Debian's changelog: what the project's says of this version."""
    maintainer = MAINTAINER.search((tree / "debian" / "control").read_text(encoding="utf-8"))
    said = notes((tree / "CHANGELOG.md").read_text(encoding="utf-8"))
    day = format_datetime(datetime.fromtimestamp(moment, UTC))
    entries = re.split(r"^\* ", said, flags=re.MULTILINE)[1:]
    lines = "".join(textwrap.fill(entry, 78, initial_indent="  * ", subsequent_indent="    ") + "\n" for entry in entries)
    text = f"whoisd ({version}) stable; urgency=medium\n\n{lines}\n -- {maintainer[1] if maintainer else ''}  {day}\n"
    (tree / "debian" / "changelog").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(f"{make(ROOT, ROOT / 'dist')}\n")
