"""`make release`: from a tagged commit the sdist and the wheel, what is in them, and the checksums of all, in dist/VERSION.

It says what is wrong with the tag, the changelog or the checkout, all of it, before it makes anything. The packages are
built twice, from two copies of the commit, and must be the same bytes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

from serving import LOCK, ROOT, installed_needs, serving_lock

SUMS: Final = "SHA256SUMS"


class Checkout(NamedTuple):
    """What decides whether a commit can be released."""

    version: str  # of pyproject.toml
    changelog: str
    changed: tuple[str, ...]  # files that differ from the commit, or that git does not know
    tags: tuple[str, ...]  # of the commit
    annotated: tuple[str, ...]  # those of them that have an author and a date of their own


# --- deciding --------------------------------------------------------------------------------------------------------


def faults(checkout: Checkout, today: date) -> Iterator[str]:
    """Yield what keeps a commit from being released, each with its remedy; nothing when it can be."""
    tag = f"v{checkout.version}"
    if checkout.changed:
        yield f"files differ from the commit ({', '.join(checkout.changed[:3])}): commit or remove them"
    if tag not in checkout.tags:
        yield f"the commit has no tag {tag}: git tag --annotate {tag} --message 'whoisd {checkout.version}'"
    elif tag not in checkout.annotated:
        yield f"the tag {tag} says neither who set it nor when: delete it, and git tag --annotate {tag}"
    yield from _faults_of_changelog(checkout, today)


def _faults_of_changelog(checkout: Checkout, today: date) -> Iterator[str]:
    head = re.search(r"^## (\S+?)(?:, (.*))?$", checkout.changelog, re.MULTILINE)
    if head is None or head[1] != checkout.version:
        yield f"CHANGELOG.md begins with {head[1] if head else 'nothing'}: write what {checkout.version} changes"
        return
    try:
        day = date.fromisoformat(head[2] or "")
    except ValueError:
        yield f"CHANGELOG.md: {checkout.version} has no day such as {today}"
        return
    if day > today:
        yield f"CHANGELOG.md: {checkout.version} is of {day}, which is yet to come"


def notes(changelog: str) -> str:
    """Return what the changelog says of its newest version, without the heading."""
    return re.split(r"^## .*$", changelog, flags=re.MULTILINE)[1].strip() + "\n"


# --- doing -----------------------------------------------------------------------------------------------------------


def look(source: Path) -> Checkout:
    """Look at a checkout of git's."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tags = run("git", "tag", "--points-at", "HEAD", "--format=%(refname:short) %(objecttype)", at=source).splitlines()
    return Checkout(
        version=project["version"],
        changelog=(source / "CHANGELOG.md").read_text(encoding="utf-8"),
        changed=tuple(line[3:] for line in run("git", "status", "--porcelain", at=source).splitlines()),
        tags=tuple(tag.split()[0] for tag in tags),
        annotated=tuple(tag.split()[0] for tag in tags if tag.endswith(" tag")),
    )


def run(*command: str | Path, at: Path, **settings: str) -> str:
    """Return what a command prints. Raises `SystemExit`, with what it said, when it fails."""
    environment = {**os.environ, **settings}
    ended = subprocess.run(command, cwd=at, env=environment, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{command[0]} {command[1]} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def build(source: Path, into: Path) -> dict[str, str]:
    """Build the packages of the commit, and return their checksums by name."""
    moment = run("git", "log", "-1", "--format=%ct", at=source).strip()
    with tempfile.TemporaryDirectory(prefix="whoisd-release-") as folder:
        copy = Path(folder)
        run("git", "archive", "--output", copy / "commit.tar", "--prefix=commit/", "HEAD", at=source)
        with tarfile.open(copy / "commit.tar") as archive:
            archive.extractall(copy, filter="data")
        command = (sys.executable, "-m", "hatchling", "build", "-d", into)
        run(*command, at=copy / "commit", SOURCE_DATE_EPOCH=moment)
    return sums(into)


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def write_bill(source: Path, file: Path) -> None:
    """Write what is in it: a CycloneDX bill of whoisd and all that serving takes, with versions and hashes."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lock:
        lock.write(serving_lock(source, installed_needs()))
        lock.flush()
        command = (sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible")
        run(*command, "--pyproject", "pyproject.toml", "--output-file", file, lock.name, at=source)


def release(source: Path, into: Path) -> None:
    """Make the release of a checkout, in a folder that is new. Raises `SystemExit`, which says what is wrong."""
    checkout = look(source)
    if found := list(faults(checkout, date.today())):  # noqa: DTZ011 - the day of whoever releases
        raise SystemExit("\n".join(f"release: {fault}" for fault in found))
    shutil.rmtree(into, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="whoisd-release-") as again:
        if build(source, into) != build(source, Path(again)):
            raise SystemExit("release: two builds of one commit differ: make release-check finds where")
    write_bill(source, into / f"whoisd-{checkout.version}.cdx.json")
    shutil.copyfile(source / LOCK, into / LOCK)
    (into / "NOTES.md").write_text(notes(checkout.changelog), encoding="utf-8")
    listed = "".join(f"{digest}  {name}\n" for name, digest in sums(into).items())
    (into / SUMS).write_text(listed, encoding="utf-8")
    sys.stdout.write(f"{into}:\n{listed}check with: sha256sum --check {SUMS}\n")


if __name__ == "__main__":
    os.umask(0o022)
    release(ROOT, ROOT / "dist" / look(ROOT).version)
