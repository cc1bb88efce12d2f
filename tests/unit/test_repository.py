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
pytestmark = pytest.mark.plain  # they read the sources


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


def test_functions_and_classes_are_short() -> None:
    """No function is longer than 40 lines, and no class longer than 200, so that each is read at a glance."""
    found = {
        node.name
        for file in sorted((ROOT / "whoisd").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (node.end_lineno or 0) - node.lineno + 1 > (200 if isinstance(node, ast.ClassDef) else 40)
        and not is_list_of_fields(node)
    }
    assert found == set()


def is_list_of_fields(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether this is the constructor of a value, which gives each field its argument and does nothing else."""
    takes_fields = [f"self.{it.arg} = {it.arg}" for it in node.args.args[1:]] if isinstance(node, ast.FunctionDef) else []
    return node.name == "__init__" and [ast.unparse(it) for it in node.body] == takes_fields


# Modules without a test file of their name, and where they are tested instead.
TESTED_ELSEWHERE = {
    "answers/page.py": "unit/answers/test_web.py: one decision in every protocol",
    "answers/rdap.py": "unit/answers/test_web.py: one decision in every protocol",
    "answers/rest.py": "unit/answers/test_web.py: one decision in every protocol",
    "answers/model.py": "values without behaviour, of which all tests make use",
    "commands/arguments.py": "integration/registry/test_classification.py: what is no handle, no name and no evidence",
    "commands/portal.py": "integration/registry/test_portal.py and test_affected.py type its commands",
    "commands/probing.py": "integration/commands/test_probe.py and test_probe_rdap.py: what comes of each question",
    "commands/maintenance.py": "integration/registry/test_maintenance.py types its commands",
    "commands/registrant.py": "integration/registry/test_classification.py and test_by_epp.py type its commands",
    "commands/sandbox.py": "integration/sandbox/test_sandbox.py",
    "commands/terminal.py": "integration/commands/test_cli.py: what all commands have in common",
    "commands/vat.py": "integration/registry/test_vat_update.py types its command",
    "commands/writing.py": "integration/registry/test_maintenance.py: what comes before a write",
    "database/maintenance.py": "integration/registry/test_maintenance.py: who may write when",
    "database/owner.py": "integration/commands/test_load.py: who may not, and what cannot be reached",
    "registry/census.py": "integration/commands/test_report.py",
    "registry/cvr/staging.py": "integration/registry/cvr/test_update.py: what lies between the files and the tables",
    "registry/files.py": "integration/registry/test_loader.py: files that are cut off, piped, compressed",
    "registry/staging.py": "integration/registry/test_loader.py: what lies between the files and the tables",
    "sandbox/postgres.py": "integration/sandbox/test_sandbox.py, and every test that has a database",
    "server/asgi.py": "integration/server/test_http.py and test_metrics.py: all that is served over HTTP",
    "server/children.py": "integration/server/test_supervisor.py",
    "server/delivery.py": "integration/server/test_connection.py and test_worker.py: answers whole and cut off",
    "server/events.py": "integration/server/test_supervisor.py: what it waits for",
    "server/http/asker.py": "integration/server/test_http.py: X-Forwarded-For, PROXY",
    "server/http/exchanges.py": "integration/server/test_http.py: one query is one query, pipelining, keep-alive",
    "server/http/connection.py": "integration/server/test_http.py: what odd, slow and silent clients meet",
    "server/http/context.py": "integration/server/test_http.py: its log and figures",
    "server/http/process.py": "integration/server/test_http.py: reload, stop, kill, sockets of systemd",
    "server/states.py": "values that a connection goes through: integration/server/test_connection.py",
}


def test_tests_mirror_the_packages() -> None:
    """Each module has its tests at the same place, under unit or integration; where they are elsewhere, it is said where."""
    modules = {str(path.relative_to(ROOT / "whoisd")) for path in (ROOT / "whoisd").rglob("[!_]*.py")}
    tested = {
        str(path.relative_to(ROOT / "tests" / kind).with_name(path.name.removeprefix("test_")))
        for kind in ("unit", "integration", "property")
        for path in (ROOT / "tests" / kind).rglob("test_*.py")
    }
    assert modules - tested == set(TESTED_ELSEWHERE)


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
