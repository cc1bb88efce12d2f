"""What a server is made of: of the lock file only what serving takes, without the tools that build the wheel.

`serving.py FOLDER` prints that of a checkout, by what is installed beside it: all of the lock file.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = "requirements-server.lock"
_PIN: Final = re.compile(r"^(\S+?)==.*(?:\n    --hash=.*)+$", re.MULTILINE)


def serving_lock(source: Path, needs: Mapping[str, list[str]]) -> str:
    """Return the part of a checkout's lock file that its serving takes, hashes included.

    `needs` has what each distribution requires. A requirement for another extra is none; one for another Python or
    another system is kept, as the lock file has its condition too.
    """
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = set(_closure(project["dependencies"], needs))
    pins = {canonicalize_name(pin[1]): pin[0] for pin in _PIN.finditer((source / LOCK).read_text(encoding="utf-8"))}
    return "".join(f"{pin}\n" for name, pin in pins.items() if name in wanted)


def installed_needs() -> dict[str, list[str]]:
    """Return what each distribution that is installed here requires."""
    return {canonicalize_name(found.name): found.requires or [] for found in distributions()}


def _closure(requirements: list[str], needs: Mapping[str, list[str]]) -> Iterator[str]:
    seen: set[str] = set()
    ahead = [Requirement(text) for text in requirements]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        yield name
        ahead += [further for text in needs.get(name, []) if not _of_an_extra(further := Requirement(text))]


def _of_an_extra(requirement: Requirement) -> bool:
    return "extra" in str(requirement.marker or "")


if __name__ == "__main__":
    sys.stdout.write(serving_lock(Path(sys.argv[1]), installed_needs()))
