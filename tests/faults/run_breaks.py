"""Breaks the server in one place at a time, and sees whether the tests that are to notice do, and for the right reason.

    python -m faults.run_breaks [WORD ...]     all of breaks.toml, or those that have one of these in their sentence or tests

Each break is made in a copy of the tree, and the tests that it names are run there, by this Python. A test must fail in its
own body or in what a fixture checks behind it, saying what the break says that it will; one that passes, is skipped, cannot
begin, does not end, or fails in other words is a bad test or a bad break. Where a break means that a test hangs it says so,
in the words of `witness.HANGS`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from faults.witness import LONGEST

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
TABLE: Final = HERE / "breaks.toml"
_OPTIONS: Final = ("-q", "--tb=short", "-p", "no:cacheprovider", "-p", "faults.witness")
_SPARE: Final = 120  # seconds beyond what the tests of a break may take, for what stands around them
_BYE: Final = 60  # seconds for a run that was cut off to stop what it has started

Ended = Mapping[str, str]  # how a part of a test ended: see the witness


@dataclass(frozen=True)
class Break:
    """What is broken, in a sentence; where, and by what text for which; and what each test says that must fail with it."""

    what: str
    file: str
    old: str
    new: str
    fails: dict[str, str]

    def has(self, word: str) -> bool:
        """Whether it is meant by this."""
        return any(word in text for text in (self.what, self.file, *self.fails))


def breaks() -> list[Break]:
    """The table."""
    return [Break(**one) for one in tomllib.loads(TABLE.read_text(encoding="utf-8"))["breaks"]]


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m faults.run_breaks")
    parser.add_argument("words", nargs="*")
    words = parser.parse_args(arguments).words
    chosen = [it for it in breaks() if not words or any(map(it.has, words))]
    if not chosen:
        parser.error(f"no break has {' or '.join(words)} in its sentence, file or tests")
    # A shell that starts this in the background has it ignored, and so would a load that is interrupted in a test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    wrong = [fault for it in chosen for fault in _try(it)]
    tests = sum(len(it.fails) for it in chosen)
    print(f"{len(chosen)} breaks, {tests - len(wrong)} of {tests} tests failed as they must, {_since(begun)}")
    print("\n".join(f"  {fault}" for fault in wrong), end="\n" * bool(wrong))
    return int(bool(wrong))


def _since(begun: float) -> str:
    return f"{time.monotonic() - begun:.0f} s"


def _try(it: Break) -> list[str]:
    """Break it, run its tests, and say which of them did not fail as they must, and how they ended."""
    begun = time.monotonic()
    print(f"{it.what} ({it.file})", flush=True)
    ended = run(it)
    wrong = []
    for test, says in it.fails.items():
        fault = judge(test, says, ended)
        print(f"  {test}: {fault or f'fails: {_error_in(test, ended)}'}", flush=True)
        if fault:
            wrong.append(f"{test} {fault.splitlines()[0]}: {it.what}")
    print(f"  {_since(begun)}", flush=True)
    return wrong


def run(it: Break) -> list[Ended]:
    """Make a break in a copy, and run there what must fail with it; give what the witness wrote down."""
    with tempfile.TemporaryDirectory(prefix="whoisd-breaks-") as folder:
        copy = Path(folder)
        _copy_to(copy)
        _apply(it, copy)
        return _run([*it.fails], copy)


def _copy_to(copy: Path) -> None:
    """Copy what git knows of, as it is here now."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, listed.decode().split("\0")):
        if os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)


def _apply(it: Break, copy: Path) -> None:
    text = (copy / it.file).read_text(encoding="utf-8")
    assert text.count(it.old) == 1, f"{it.file} has {text.count(it.old)} times, not once: {it.old}"
    (copy / it.file).write_text(text.replace(it.old, it.new), encoding="utf-8")


def _run(tests: Sequence[str], copy: Path) -> list[Ended]:
    written = copy / "ended"
    # Before what the installation has on the path, which is this tree here; the witness looks that it is so.
    paths = {"PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")]), "PYTEST_ADDOPTS": ""}
    names = [_path(test) for test in tests]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *_OPTIONS, "--ended", written, *names],
        cwd=copy,
        env=os.environ | paths,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LONGEST * len(tests) + _SPARE)
    except subprocess.TimeoutExpired:
        said = b"the run did not end"
    finally:
        _end(process)
    if not written.exists():
        print(said.decode(errors="replace"))
        return []
    return [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run that goes on: as by Ctrl-C, so that it stops what it has started."""
    with suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_BYE)
            os.killpg(process.pid, signal.SIGKILL)


def _path(test: str) -> str:
    """Where a test is: in this folder, or where its folders among the tests say."""
    return f"tests/{test}" if "/" in test.partition("::")[0] else f"tests/faults/{test}"


def judge(test: str, says: str, ended: Sequence[Ended]) -> str:
    """Say how a test ended otherwise than it must, in any of its parameters or in the one that it is named with."""
    tests: dict[str, list[Ended]] = {}
    for it in _of(test, ended):
        tests.setdefault(it["test"], []).append(it)
    return "; ".join(filter(None, (_judge(says, phases) for phases in tests.values()))) if tests else "is not there"


def _of(test: str, ended: Sequence[Ended]) -> list[Ended]:
    """What was written down of a test, in all its parameters if it is named with none."""
    name = _path(test)
    return [it for it in ended if name in {it["test"], it["test"].partition("[")[0]}]


def _judge(says: str, phases: Sequence[Ended]) -> str:
    text = "".join(it["text"] for it in phases if it["outcome"] == "failed")
    if any(it["when"] == "setup" and it["outcome"] != "passed" for it in phases):
        return f"does not begin\n{text}"
    if not text:
        return "passes" if any(it["when"] == "call" and it["outcome"] == "passed" for it in phases) else "does not end"
    return "" if says in text else f"fails without a word of {says!r}\n{text}"


def _error_in(test: str, ended: Sequence[Ended]) -> str:
    """The first line of what a test says that fails."""
    lines = [line for it in _of(test, ended) for line in it["text"].splitlines() if line.startswith("E ")]
    return lines[0].removeprefix("E").strip() if lines else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
