"""The list of mutants that no test can kill, and how a mutant is judged."""

import ast
from pathlib import Path
from typing import Final

import pytest
from mutation.run import MODULES, known, main, without_comments
from support import said_by

import whoisd

PLACES = [(module, *place, reason) for module in MODULES for place, reason in known(module).items()]


@pytest.mark.parametrize(("module", "where", "line", "change", "reason"), PLACES)
def test_equivalent(module: str, where: str, line: str, change: str, reason: str) -> None:
    """What is listed is a line of the function or class that it names, as it is now, changed; and there is a reason."""
    source = (Path(whoisd.__path__[0]) / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    for name in filter(None, where.split(".")):
        (found,) = (node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == name)
        source = ast.get_source_segment(source, found) or ""
    assert line in without_comments(source.splitlines())
    assert change != line
    assert len(reason) > 20


_JUDGE: Final = """
import conftest
from pathlib import Path
from typing import Final
from mutation.run import forget, survives
text = Path(conftest.__file__).parents[1].joinpath("whoisd", "answers", "response.py").read_text()
forget()
print(survives("answers.response", text, 60))
print(survives("answers.response", text.replace("DATA REDACTED", "DATA REDUCTED"), 60))
print(survives("answers.response", text + "1 / 0", 60))
print(survives("answers.response", text + "while True: pass", 0.2))
"""


def test_what_is_killed() -> None:
    """A module as it is survives; one that fails a test, that cannot be imported or that does not end is killed."""
    assert said_by(_JUDGE, PYTHONPATH=str(Path(__file__).parents[1])).split() == ["True", "False", "False", "False"]


def test_unknown_module(capsys: pytest.CaptureFixture[str]) -> None:
    """A module that is none of those is refused, and they are named."""
    with pytest.raises(SystemExit):
        main(["sauces"])
    assert f"sauces: not among the modules, which are {', '.join(MODULES)}" in capsys.readouterr().err
