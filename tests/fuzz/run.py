"""Runs the targets, guided by coverage (atheris, which is libFuzzer for Python), or replays inputs without it.

    python -m fuzz.run [--seconds N] [TARGET ...]     each target in a process of its own; all of them by default
    python -m fuzz.run --replay FILE ...              files of corpus/ or of the crashes: the folder names the target

A target is a module of targets/: `check(data)` raises for input that breaks a property, `WORDS` are what inputs are made
of, and `LONGEST` is the length of the longest that is worth trying. Where changed bytes seldom make sense, `mutate` changes
what they mean. Its corpus is the folder of its name in corpus/.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
FOUND: Final = Path(".fuzz")  # what a run finds: crashes, and inputs that reach new code, which the next run begins with
TARGETS: Final = sorted(file.stem for file in (HERE / "targets").glob("*.py"))

_INSTRUMENTED: Final = ["whoisd", "idna", "tomllib", "ipaddress"]
_SLOW: Final = 10  # seconds that one input may take
_MEANT: Final = 0.6  # share of changes that a target makes itself, where it can


def target(name: str) -> Any:
    """The module of a target."""
    return import_module(f"fuzz.targets.{name}")


def main(arguments: Sequence[str]) -> int:
    """Carry out a command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of chance; 0 takes another each time")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("what", nargs="*", default=TARGETS)
    given = parser.parse_args(arguments)
    if given.replay:
        return _replay([Path(file) for file in given.what])
    if unknown := {*given.what} - {*TARGETS}:
        parser.error(f"{', '.join(unknown)}: not among the targets, which are {', '.join(TARGETS)}")
    if given.inside:
        _fuzz(given.what[0], given.seconds, given.seed)
    return _fuzz_all(given.what, given.seconds, given.seed)


def _replay(files: Sequence[Path]) -> int:
    for file in files:
        target(file.resolve().parent.name).check(file.read_bytes())
        print(f"{file}: every property holds")
    return 0


def _fuzz_all(names: Sequence[str], seconds: int, seed: int) -> int:
    """Fuzz one target after the other, each to its end, and say how to replay what was found."""
    failed, known = False, {*FOUND.glob("crashes/*/*")}
    for name in names:
        print(f"--- {name}: {seconds} s", flush=True)
        command = [sys.executable, "-m", "fuzz.run", "--inside", "--seconds", str(seconds), "--seed", str(seed), name]
        failed |= bool(subprocess.run(command, check=False).returncode)
    for file in sorted({*FOUND.glob("crashes/*/*")} - known):
        print(f"{file} breaks a property. To see which: make fuzz-replay FILE={file}")
        print(f"Once that is mended, keep it: mv {file} {CORPUS.relative_to(Path.cwd())}/{file.parent.name}/")
    return failed


def _fuzz(name: str, seconds: int, seed: int) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    try:
        import atheris  # noqa: PLC0415 - replaying does not need it, and not every platform has it
    except ImportError:
        sys.exit("atheris is not installed: make fuzz installs it on x86-64 Linux for CPython before 3.14")
    atheris.enabled_hooks.add("str")  # and not RegEx, whose proxy for a pattern lacks half of its methods (atheris 3.0.0)
    with atheris.instrument_imports(include=_INSTRUMENTED):
        module = target(name)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - no secret
        made = module.mutate(data, chance) if chance.random() < _MEANT else None
        found: bytes = atheris.Mutate(data, most) if made is None else made[:most]
        return found

    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.writelines('"' + "".join(map("\\x{:02x}".format, word)) + '"\n' for word in module.WORDS)
        words.flush()
        command = [sys.argv[0], f"-seed={seed}", f"-max_total_time={seconds}", f"-max_len={module.LONGEST}"]
        command += [f"-dict={words.name}", f"-timeout={_SLOW}", "-print_final_stats=1", *_folders(name)]
        atheris.Setup(command, module.check, **({"custom_mutator": mutate} if hasattr(module, "mutate") else {}))
        atheris.Fuzz()


def _folders(name: str) -> list[str]:
    """The arguments that say where crashes go, where what reaches new code goes, and where else to begin."""
    crashes, grown = (FOUND / kind / name for kind in ("crashes", "corpus"))
    for folder in (crashes, grown):
        folder.mkdir(parents=True, exist_ok=True)
    return [f"-artifact_prefix={crashes}/", str(grown), str(CORPUS / name)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
