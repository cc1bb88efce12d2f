"""The table of breaks by which the tests of faults are seen to fail, and how `make breaks` judges them."""

import ast
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from faults.run_breaks import HERE, ROOT, Break, Ended, breaks, judge, main, run
from faults.witness import HANGS

BREAKS: Final = breaks()
QUICK: Final = "test_limits.py::test_excess_that_two_workers_see"  # needs no server


def every_test(files: Iterable[Path], root: Path) -> set[str]:
    """Every test of some files, by its path below a folder."""
    return {
        f"{file.relative_to(root)}::{node.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_test_is_named() -> None:
    """For each test of faults there is a break with which it must fail, and each break names tests that there are."""
    named = {test.partition("[")[0] for it in BREAKS for test in it.fails}
    elsewhere = {test for test in named if "/" in test.partition("::")[0]}
    assert named - elsewhere == every_test(HERE.glob("test_*.py"), HERE)
    tests = ROOT / "tests"
    assert elsewhere <= every_test((tests / test.partition("::")[0] for test in elsewhere), tests)


@pytest.mark.plain
@pytest.mark.parametrize("it", BREAKS, ids=lambda it: it.what)
def test_break(it: Break) -> None:
    """What a break changes is in its file just once; it says what it breaks, and the tests what they must say."""
    assert (ROOT / it.file).read_text(encoding="utf-8").count(it.old) == 1
    assert it.new != it.old
    assert it.what
    assert it.fails
    assert all(it.fails.values())


def ended(*phases: tuple[str, str, str], name: str = "test_x.py::test_it") -> list[Ended]:
    return [
        {"test": f"tests/faults/{name}", "when": when, "outcome": outcome, "text": text} for when, outcome, text in phases
    ]


SET_UP: Final = ("setup", "passed", "")
TORN_DOWN: Final = ("teardown", "passed", "")
FAILED: Final = ("call", "failed", "assert 1 == 2")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        (ended(SET_UP, FAILED, TORN_DOWN), ""),
        (ended(SET_UP, ("call", "passed", ""), ("teardown", "failed", "assert 1 == 2")), ""),
        (ended(SET_UP, ("call", "passed", ""), TORN_DOWN), "passes"),
        (ended(SET_UP, ("call", "skipped", "not here"), TORN_DOWN), "does not end"),
        (ended(SET_UP), "does not end"),
        (ended(("setup", "skipped", "not here"), TORN_DOWN), "does not begin"),
        (ended(("setup", "failed", "assert 1 == 2"), TORN_DOWN), "does not begin"),
        (ended(SET_UP, ("call", "failed", HANGS), TORN_DOWN), "fails without a word of"),
        (ended(SET_UP, FAILED, TORN_DOWN, name="test_x.py::test_other"), "is not there"),
        (ended(SET_UP, FAILED, name="test_x.py::test_it[4]") + ended(SET_UP, name="test_x.py::test_it[6]"), "does not end"),
        ([], "is not there"),
    ],
)
def test_judge(written: list[Ended], fault: str) -> None:
    """A test fails as it must when it says so, with every parameter; any other end is a fault, and is told."""
    said = judge("test_x.py::test_it", "assert 1 == 2", written)
    assert said.startswith(fault)
    assert bool(said) == bool(fault)


def test_judge_one_parameter() -> None:
    """Where a test is named with one of its parameters the others are not looked at."""
    written = ended(SET_UP, FAILED, name="test_x.py::test_it[4]") + ended(SET_UP, name="test_x.py::test_it[6]")
    assert judge("test_x.py::test_it[4]", "assert 1 == 2", written) == ""
    assert judge("test_x.py::test_it[6]", "assert 1 == 2", written) == "does not end"


@pytest.mark.plain  # it copies the checkout
def test_run() -> None:
    """A test is run against a copy with its change, in which it fails; in a copy without one it passes."""
    it = next(it for it in BREAKS if [*it.fails] == [QUICK])
    assert judge(QUICK, it.fails[QUICK], run(it)) == ""
    assert judge(QUICK, it.fails[QUICK], run(replace(it, new=it.old))) == "passes"


def test_unknown_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A word that no break has is refused."""
    with pytest.raises(SystemExit):
        main(["no such thing"])
    assert "no break has no such thing in its sentence, file or tests" in capsys.readouterr().err
