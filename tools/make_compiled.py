"""`make compiled`: the wheel whose serving path is compiled, for the interpreter that runs this. `make_compiled.py FOLDER`.

It is built from a copy of what git tracks, in an environment of its own from the lock file: mypyc leaves what it makes
beside the sources, where a checkout would import it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def faults() -> Iterator[str]:
    """Yield what this machine lacks, each with its remedy; nothing when it can compile."""
    if not shutil.which(os.environ.get("CC", "cc")):
        yield "there is no C compiler: apt-get install gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        yield f"{sys.executable} has no headers to compile with: apt-get install python3-dev"


def copy(source: Path, into: Path) -> None:
    """Copy the files that git tracks, as they stand."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, check=True, capture_output=True, text=True)  # noqa: S607 - git
    for name in listed.stdout.split("\0")[:-1]:
        if (source / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, into / name, follow_symlinks=False)


def build(source: Path, into: Path) -> None:
    """Build the wheel into a folder. Raises `SystemExit` when that fails, after what the tools said of it."""
    with tempfile.TemporaryDirectory(prefix="whoisd-compiled-") as folder:
        work, environment = Path(folder, "source"), Path(folder, "environment")
        copy(source, work)
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement")
        for command in (
            (*pip, work / "requirements-server.lock"),
            ("-m", "hatchling", "build", "--target", "wheel", "--directory", into.absolute()),
        ):
            settings = {**os.environ, "HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}
            if status := subprocess.run([python, *command], cwd=work, env=settings, check=False).returncode:
                raise SystemExit(status)


if __name__ == "__main__":
    if lacking := list(faults()):
        raise SystemExit("\n".join(f"compiled: {fault}" for fault in lacking))
    build(ROOT, Path(sys.argv[1]))
