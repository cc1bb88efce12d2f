"""A release: which commit may be one, what its notes are, and what of the lock file a server takes."""

from datetime import date
from importlib.metadata import distributions
from pathlib import Path

import pytest
from make_release import Checkout, faults, notes
from packaging.utils import canonicalize_name
from serving import serving_lock

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 26)
GOOD = Checkout(
    "1.2.3",
    "# Changes\n\n## 1.2.3, 2026-11-25\n\n* It is new.\n\n## 1.2.2, 2026-01-01\n\n* Old.\n",
    (),
    ("v1.2.3",),
    ("v1.2.3",),
)


def test_what_can_be_released() -> None:
    """A commit with an annotated tag of its version, that the changelog begins with, can be released."""
    assert list(faults(GOOD, TODAY)) == []


@pytest.mark.parametrize(
    ("checkout", "said"),
    [
        (GOOD._replace(changed=("whoisd/log.py",)), "files differ from the commit (whoisd/log.py): commit or remove them"),
        (
            GOOD._replace(tags=("v1.2.2",)),
            "the commit has no tag v1.2.3: git tag --annotate v1.2.3 --message 'whoisd 1.2.3'",
        ),
        (
            GOOD._replace(annotated=()),
            "the tag v1.2.3 says neither who set it nor when: delete it, and git tag --annotate v1.2.3",
        ),
        (GOOD._replace(changelog="# Changes\n"), "CHANGELOG.md begins with nothing: write what 1.2.3 changes"),
        (GOOD._replace(changelog="## 1.2.2, 2026-01-01\n"), "CHANGELOG.md begins with 1.2.2: write what 1.2.3 changes"),
        (GOOD._replace(changelog="## 1.2.3\n"), "CHANGELOG.md: 1.2.3 has no day such as 2026-11-26"),
        (GOOD._replace(changelog="## 1.2.3, soon\n"), "CHANGELOG.md: 1.2.3 has no day such as 2026-11-26"),
        (GOOD._replace(changelog="## 1.2.3, 2026-11-27\n"), "CHANGELOG.md: 1.2.3 is of 2026-11-27, which is yet to come"),
    ],
)
def test_what_cannot_be_released(checkout: Checkout, said: str) -> None:
    """Whatever is wrong with a commit, its tag or its changelog is said, with what to do."""
    assert list(faults(checkout, TODAY)) == [said]


def test_notes() -> None:
    """The notes of a release are what the changelog says of that version, and of no other."""
    assert notes(GOOD.changelog) == "* It is new.\n"


def test_what_a_server_takes() -> None:
    """A server takes what serving needs, at every depth and with the lock's hashes, and no tool that builds or tests."""
    needs: dict[str, list[str]] = {canonicalize_name(found.name): found.requires or [] for found in distributions()}
    lock = serving_lock(ROOT, needs)
    names = {line.split("==")[0] for line in lock.splitlines() if not line.startswith(" ")}
    assert {"asyncpg", "uvloop", "pydantic-core", "markupsafe", "typing-extensions"} <= names
    assert names.isdisjoint({"hatchling", "mypy", "hatch-mypyc", "setuptools", "pytest"})
    assert lock.count("--hash=sha256:") >= len(names)
    assert all(
        line in (ROOT / "requirements-server.lock").read_text(encoding="utf-8").splitlines() for line in lock.splitlines()
    )
