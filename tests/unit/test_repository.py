"""The repository keeps its own rules."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

ROOT = Path(__file__).parents[2]


def test_every_test_says_its_rule() -> None:
    """The docstring of every test is the rule that it holds."""
    silent = [
        f"{file.name}: {node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_ignored_check_has_its_reason() -> None:
    """Each check that a line is exempt from, or the project is, has its reason beside it."""
    lines = [
        f"{file.name}: {line.strip()}"
        for file in sorted(ROOT.glob("whoisd/**/*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if "# noqa" in line and " - " not in line.partition("# noqa")[2]
    ]
    assert lines == []
    ignores = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("ignore = [")[2].partition("\n]")[0]
    assert [line for line in ignores.splitlines() if line.strip() and "#" not in line] == []


MUTMUT = "libcst linkify-it-py mdit-py-plugins mutmut pyyaml pyyaml-ft setproctitle textual"


@pytest.mark.parametrize(
    ("name", "besides"),
    [
        ("requirements-server.lock", ""),
        ("tests/fuzz/requirements.lock", "atheris"),
        ("tests/mutation/requirements.lock", MUTMUT),
    ],
)
def test_lock_files_agree(name: str, besides: str) -> None:
    """What a server is installed from, what is fuzzed, what is mutated: all is what is tested, by version and hash."""
    tested = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^\S.*(?:\n    --hash.*)+$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert pins
    assert [pin.split("==")[0] for pin in pins if f"{pin}\n" not in tested] == besides.split()


def test_lock_file_of_the_javascript_clients() -> None:
    """The JavaScript clients are locked with hashes and without addresses, so that any registry serves them unchanged."""
    packages = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
    assert packages.pop("")["dependencies"] == wanted
    assert [name for name, package in packages.items() if "resolved" in package or "integrity" not in package] == []
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


@pytest.mark.parametrize(("options", "said"), [([], "1 skipped in"), (["--no-skips"], "1 failed in")])
def test_skips_can_be_forbidden(tmp_path: Path, options: list[str], said: str) -> None:
    """With --no-skips, as in CI, a test that is skipped fails, and says for want of what; without, it is skipped."""
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('no such thing here')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-p", "conftest", *options, tmp_path],
        env=environment({"PYTHONPATH": str(ROOT / "tests"), "PYTEST_ADDOPTS": ""}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said in ended.stdout
    assert "no such thing here" in ended.stdout
    assert (ended.returncode == 0) == (not options)
