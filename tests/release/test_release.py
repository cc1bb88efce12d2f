"""What is released: the packages are the same bytes each time, and the wheel that came of the sdist works by itself."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest
from support import Database, environment

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, settings: dict[str, str] | None = None) -> str:
    """What a command says on standard output."""
    ended = subprocess.run(
        command, cwd=cwd, env=environment(settings), capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def copy(folder: Path, mode: int) -> Path:
    """The files that git tracks, as they stand here, with other times, and other permissions for all but the owner."""
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name, follow_symlinks=False)
            if not (folder / name).is_symlink():
                (folder / name).chmod(mode)
    return folder


def build(source: Path, into: Path, *kinds: str) -> dict[str, str]:
    """The hashes of the packages that were built, by their names."""
    moment = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    options = [word for kind in kinds for word in ("-t", kind)]
    run(sys.executable, "-m", "hatchling", "build", "-d", into, *options, cwd=source, settings={"SOURCE_DATE_EPOCH": moment})
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in into.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and in a folder the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("release")
    built = [build(copy(folder / f"copy{mode:o}", mode), folder / f"{mode:o}", "sdist", "wheel") for mode in (0o644, 0o600)]
    assert built[0] == built[1]
    assert len(built[0]) == 2
    sdist = next((folder / "644").glob("*.tar.gz"))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    wheel = build(next((folder / "sdist").iterdir()), folder / "wheel", "wheel")
    assert wheel.items() <= built[0].items()
    return folder


def test_same_bytes(packages: Path) -> None:
    """Two builds from two copies are the same to the byte, and so is the wheel of the sdist to that of the checkout."""
    for path in sorted((packages / "644").iterdir()):
        sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


def test_wheel_by_itself(packages: Path, empty_database: Database, tmp_path: Path) -> None:
    """Installed into an empty environment with what the server's lock file has, it migrates, loads and answers."""
    venv.create(tmp_path / "environment", with_pip=True)
    programs = tmp_path / "environment" / "bin"
    (wheel,) = (packages / "wheel").iterdir()
    for what in (("--require-hashes", "-r", "requirements-server.lock"), ("--no-deps", str(wheel))):
        run(programs / "pip", "install", "--quiet", *what, cwd=ROOT, settings={"PYTHONWARNINGS": "ignore"})  # pip's own
    whoisd = programs / "whoisd"
    settings = {"WHOISD_DATABASE__DSN": empty_database.reader, "WHOISD_DATABASE__OWNER_DSN": empty_database.owner}
    assert "0001_registry.sql" in run(whoisd, "migrate", cwd=tmp_path, settings=settings)
    run(whoisd, "load", ROOT / "sql" / "sandbox.jsonl", cwd=tmp_path, settings=settings)
    said = run(whoisd, "query", "--", "--charset=utf-8 --show-handles punktum.dk", cwd=tmp_path, settings=settings)
    assert "info@punktum.dk" in said
    for page in ("man8/whoisd.8", "man5/whoisd.toml.5"):
        assert (tmp_path / "environment" / "share" / "man" / page).is_file()


def test_release(tmp_path: Path) -> None:
    """Of a commit that is tagged one command makes the release, the same bytes each time; of another none."""
    clone = tmp_path / "clone"
    clone.mkdir()
    copy(clone, 0o644)
    author = ("-c", "user.name=whoisd", "-c", "user.email=whoisd@example.dk")
    for words in (("init", "--quiet"), ("add", "--all"), (*author, "commit", "--quiet", "--message", "release")):
        run("git", *words, cwd=clone)
    command = (sys.executable, "tools/make_release.py")
    refused = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, "has no tag v" in refused.stderr) == (1, True)
    assert not (clone / "dist").exists()
    version = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    run("git", *author, "tag", "--annotate", f"v{version}", "--message", "release", cwd=clone)
    first, second = (
        run(*command, cwd=clone, settings={"PYTHONWARNINGS": "ignore"}) for _ in range(2)
    )  # cyclonedx-bom's own
    assert first == second
    made = clone / "dist" / version
    assert "FAILED" not in run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=made)
    names = {"NOTES.md", "SHA256SUMS", "requirements-server.lock", f"whoisd-{version}.cdx.json"}
    assert {path.name for path in made.iterdir()} == names | {
        f"whoisd-{version}.tar.gz",
        f"whoisd-{version}-py3-none-any.whl",
    }
    bill = json.loads((made / f"whoisd-{version}.cdx.json").read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["version"]) == ("CycloneDX", version)
    assert {"asyncpg", "uvloop"} <= {component["name"] for component in bill["components"]}
