"""The corpus of every target: inputs from which fuzzing begins, and those that once broke a property."""

import random
import subprocess
from pathlib import Path

import pytest
from fuzz.run import CORPUS, TARGETS, main, target

FILES = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_corpus(file: Path) -> None:
    """Every input of the corpus keeps the properties of its target, which would try one of its length."""
    module = target(file.parent.name)
    module.check(file.read_bytes())
    assert file.stat().st_size <= module.LONGEST


def test_every_target_has_a_corpus() -> None:
    """Every target has inputs to begin with, and every folder of the corpus is a target's."""
    assert sorted({file.parent.name for file in FILES}) == TARGETS


@pytest.mark.parametrize("name", [name for name in TARGETS if hasattr(target(name), "mutate")])
def test_changes(name: str) -> None:
    """What a target makes of its corpus is something else, and keeps its properties too."""
    chance = random.Random(1)  # noqa: S311 - the same each time
    before = [file.read_bytes() for file in FILES if file.parent.name == name]
    after = [made for data in before for _ in range(3) if (made := target(name).mutate(data, chance)) is not None]
    assert len({*after} - {*before}) > len(before)
    for data in after:
        target(name).check(data)


def test_replay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An input is replayed by the target that its folder names, and the property that it breaks is shown."""
    file = tmp_path / "names" / "crash-1"
    file.parent.mkdir()
    file.write_text("eksempel.dk")
    assert main(["--replay", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: every property holds\n"
    monkeypatch.setattr("fuzz.targets.names.parse_name", {}.__getitem__)
    with pytest.raises(KeyError, match="eksempel"):
        main(["--replay", str(file)])


def test_what_is_found_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run fails when a target does, goes on with the next, and says how to replay what it found."""
    monkeypatch.setattr("fuzz.run.FOUND", tmp_path)
    file = tmp_path / "crashes" / "query" / "crash-1"

    def fuzz(command: list[str], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        assert not check
        if command[-1] == "query":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("eksempel.dk")
        return subprocess.CompletedProcess(command, 77 if command[-1] == "query" else 0)

    monkeypatch.setattr("subprocess.run", fuzz)
    assert main(["names", "proxy"]) == 0
    assert main(["query", "names"]) == 1
    said = capsys.readouterr().out
    assert f"make fuzz-replay FILE={file}\n" in said
    assert said.index("--- query") < said.index("--- names: 60 s", said.index("--- query"))


def test_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that is none is refused, and those that there are are named."""
    with pytest.raises(SystemExit):
        main(["nmaes"])
    assert "nmaes: not among the targets, which are config, names, proxy, query, records" in capsys.readouterr().err
