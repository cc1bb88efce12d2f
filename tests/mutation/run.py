"""Changes a module in one place at a time, and sees whether the tests that are meant for it notice.

    python -m mutation.run [MODULE ...]     all of MODULES by default

Each mutant has a process of its own, forked from one that has imported what the tests need; the mutated text is in no file.
It is killed when a test fails, when it cannot be imported, or when it takes far longer than the module itself. One that
survives must be in equivalent.toml, with the reason why no test can kill it; and what is there must survive.
"""

import argparse
import contextlib
import gc
import importlib
import os
import re
import resource
import signal
import sys
import time
import tomllib
from collections.abc import Sequence
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Final

import pytest
from hypothesis import Phase, settings

HERE: Final = Path(__file__).parent
KNOWN: Final = HERE / "equivalent.toml"
# The modules, and the tests that are meant for each; no database, and no walk over all combinations of facts.
MODULES: Final = {
    "answers.disclosure": (
        "unit/test_manual.py::test_rules",
        "unit/answers/test_disclosure.py",
        "unit/answers/test_explain.py",
    ),
    "answers.vat": ("unit/answers/test_vat.py", "unit/test_manual.py::test_rules"),
    "answers.response": ("unit/answers/test_response.py", "property/test_response.py"),
    "limits.keys": ("unit/limits/test_keys.py",),
    "limits.ledger": ("unit/limits/test_ledger.py", "property/test_sources.py"),
    "limits.counters": ("unit/limits/test_counters.py", "unit/limits/test_sources.py"),
    "limits.sources": ("unit/limits/test_sources.py", "property/test_sources.py"),
}
_OPTIONS: Final = ("-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "--tb=no", "-k", "not all_combinations")
_WALKS: Final = ("test_table_shows_nothing", "test_every_rule_decides")  # take seconds, and so come last
_PATIENCE: Final = 5  # times the seconds of processor that the module's own run takes
_MEMORY: Final = 4 << 30  # bytes that a mutant may take
_OURS: Final = ("whoisd", "conftest", "support", "portal_data", "limits_data")  # imported anew for each mutant

Place = tuple[str, str, str]  # of a mutant: the function or class it is in, the line, and what the line becomes


def known(module: str) -> dict[Place, str]:
    """The mutants that no test can kill, and why."""
    listed = tomllib.loads(KNOWN.read_text(encoding="utf-8")).get(module, [])
    return {(one["where"], one["line"], change): one["reason"] for one in listed for change in one["changes"]}


def without_comments(lines: Sequence[str]) -> str:
    """Lines of a module as one."""
    return " ".join(re.sub(r"(^|  )# .*", "", line).strip() for line in lines).strip()


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mutation.run")
    parser.add_argument("modules", nargs="*", default=[*MODULES])
    given = parser.parse_args(arguments)
    if unknown := {*given.modules} - {*MODULES}:
        parser.error(f"{', '.join(sorted(unknown))}: not among the modules, which are {', '.join(MODULES)}")
    settings.register_profile("mutants", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    importlib.import_module("conftest")
    gc.freeze()  # what all mutants share is nobody's garbage
    return max([_run(module) for module in given.modules])


def _run(module: str) -> int:
    """Judge every mutant of a module, and say what survives."""
    from mutation.changes import mutants_of  # noqa: PLC0415 - only this needs mutmut

    name = f"whoisd.{module}"
    values = vars(importlib.import_module(name))
    source = Path(str(values["__file__"])).read_text(encoding="utf-8")
    forget()
    begin = time.process_time(), time.monotonic()
    if not survives(module, source, 0):
        sys.exit(f"{module}: its tests fail without any change")
    limit = _PATIENCE * (time.monotonic() - begin[1])
    equivalent, made, survivors = known(module), 0, list[Place]()
    for mutant in mutants_of(source, values):
        made += 1
        if survives(module, mutant.text, limit):
            place = (mutant.where, mutant.line, mutant.change)
            survivors.append(place)
            if place not in equivalent:
                print(f"{module}, {mutant.where or 'module'}: survives\n  - {mutant.line}\n  + {mutant.change}", flush=True)
    gone = [place for place in equivalent if place not in survivors]
    for where, line, change in gone:
        print(f"{module}, {where or 'module'}: listed as equivalent, and is killed or not made\n  - {line}\n  + {change}")
    new = [place for place in survivors if place not in equivalent]
    print(
        f"{module}: {made} mutants, {made - len(survivors)} killed, {len(survivors) - len(new)} known to be equivalent, "
        f"{len(new)} survive, in {time.monotonic() - begin[1]:.0f} s",
        flush=True,
    )
    return int(bool(new or gone))


def forget() -> None:
    """Let what is ours be imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        del sys.modules[name]


def survives(module: str, text: str, limit: float) -> bool:
    """Whether the tests pass with this text as the module, in a process of its own, within so many seconds of processor."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = _test(module, text, limit)
        os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def _test(module: str, text: str, limit: float) -> int:
    signal.setitimer(signal.ITIMER_PROF, limit)  # ends the process; of processor, so that a busy machine changes nothing
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    spec = find_spec(f"whoisd.{module}")
    assert spec
    mutated = module_from_spec(spec)
    sys.modules[spec.name] = mutated
    exec(compile(text, str(spec.origin), "exec"), vars(mutated))  # noqa: S102 - the module's own text but for the change
    package, _, last = spec.name.rpartition(".")
    setattr(sys.modules[package], last, mutated)
    tests = [str(HERE.parent / file) for file in MODULES[module]]
    return int(pytest.main([*_OPTIONS, *tests], plugins=[_WalksLast()]))


class _WalksLast:
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.name.startswith(_WALKS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
