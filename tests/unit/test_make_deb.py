"""The Debian package, as far as it is decided before anything is built; `make debian` tries the rest."""

import shutil
import subprocess
from pathlib import Path

import pytest
from make_deb import HOME, UNITS, digest, interpreters, make_units, write_changelog

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.plain  # it reads the sources


def tree(folder: Path) -> Path:
    """Copy what the package's files are made of."""
    for name in ("systemd", "debian"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    return folder


def test_units(tmp_path: Path) -> None:
    """Every unit is in the package, runs the package's program, and has the package's account."""
    make_units(tree(tmp_path))
    assert {file.name for file in (ROOT / "systemd").iterdir()} - {"whoisd.toml"} == set(UNITS)
    for name in UNITS:
        unit = (tmp_path / "units" / name).read_text(encoding="utf-8")
        assert ("/opt/" in unit, "DynamicUser" in unit, "exists while" in unit) == (False, False, False)
        assert unit.count("bin/whoisd ") == unit.count(f"={HOME}/current/bin/whoisd ") + unit.count(
            f"={HOME}/unpacked/bin/whoisd "
        )
    assert f"{HOME}/unpacked/" in (tmp_path / "units" / "whoisd-migrate.service").read_text(encoding="utf-8")


def test_unit_that_changed(tmp_path: Path) -> None:
    """A unit that has not what the package changes is no unit of the package: it is said, and nothing is built."""
    unit = tree(tmp_path) / "systemd" / "whoisd.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("DynamicUser=yes", "DynamicUser=true"), encoding="utf-8")
    with pytest.raises(SystemExit, match="mend UNITS"):
        make_units(tmp_path)


@pytest.mark.skipif(not shutil.which("dpkg-parsechangelog"), reason="no dpkg-dev: apt-get install dpkg-dev")
def test_changelog(tmp_path: Path) -> None:
    """Debian's changelog has every entry of the newest version, in lines of Debian's length."""
    write_changelog(tree(tmp_path), "1.2.3", 1_700_000_000)
    text = (tmp_path / "debian" / "changelog").read_text(encoding="utf-8")
    assert max(len(line) for line in text.splitlines() if line.startswith("  ")) <= 80
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert text.count("\n  * ") == newest.count("\n* ")
    parsed = subprocess.run(
        ["dpkg-parsechangelog", "--all", f"--file={tmp_path}/debian/changelog"], capture_output=True, text=True, check=True
    )
    assert ("Version: 1.2.3" in parsed.stdout, parsed.stderr) == (True, "")


@pytest.mark.parametrize("script", ["whoisd-setup-database", "whoisd.postinst", "whoisd.postrm", "whoisd.prerm"])
def test_scripts(script: str) -> None:
    """The package's scripts are ones that a POSIX shell understands, and end at the first failure."""
    file = ROOT / "debian" / script
    checked = subprocess.run(["sh", "-n", file], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "\nset -e" in file.read_text(encoding="utf-8")


def test_digest(tmp_path: Path) -> None:
    """Two builds of one version are told apart by what their files hold and how they are called, by nothing else."""
    (tmp_path / "a").write_text("one", encoding="utf-8")
    was = digest(tmp_path)
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    assert digest(tmp_path) == was
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = digest(tmp_path)
    (tmp_path / "b").write_text("two", encoding="utf-8")
    assert len({was, renamed, digest(tmp_path)}) == 3


def test_no_interpreter() -> None:
    """Where an interpreter is not on the machine there is none to compile for."""
    assert list(interpreters("3.1")) == []
