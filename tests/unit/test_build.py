"""The two builds: each says which it is, and the compiled one is the same software."""

import ast
import tomllib
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

import whoisd
from whoisd.answers.names import parse_name
from whoisd.build import Build, build_of
from whoisd.errors import InvalidName, whereabouts

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = Path(whoisd.__file__).parent  # the sources lie beside what was made of them
_WHEEL: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]
COMPILED: Final[list[str]] = [
    path.removeprefix("whoisd/").removesuffix(".py") for path in _WHEEL["hooks"]["mypyc"]["include"]
]


def tree_of(module: str) -> ast.Module:
    """The source of a module."""
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def test_build_of_a_module() -> None:
    """A module that is no extension is plain, and one that is has been compiled."""
    assert build_of("whoisd.build") is Build.PLAIN
    assert build_of("orjson.orjson") is Build.COMPILED


@pytest.mark.parametrize("module", COMPILED)
def test_one_build(module: str) -> None:
    """What is listed for the compiler is there, and all of it is compiled or none."""
    assert build_of(f"whoisd.{module.replace('/', '.')}") is build_of()


@pytest.mark.parametrize("module", COMPILED)
def test_every_name_is_there(module: str) -> None:
    """A module has every name that its source defines: mypyc has left some out that it compiled without a word."""
    found = import_module(f"whoisd.{module.replace('/', '.')}")
    assigned = [node for node in tree_of(module).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    names = {
        name.id
        for node in assigned
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    assert [name for name in sorted(names) if not hasattr(found, name)] == []


def test_errors_keep_their_places() -> None:
    """An error is told by the file and line of the source that raised it, compiled or not."""
    lines = (PACKAGE / "answers" / "names.py").read_text(encoding="utf-8").splitlines()
    with pytest.raises(InvalidName) as raised:
        parse_name("-eksempel.dk")
    line = lines.index("        raise InvalidName(NameFault.OUTER_HYPHEN)") + 1
    assert whereabouts(raised.value) == f"InvalidName at names.py:{line}"
    last = traceback.extract_tb(raised.tb)[-1]
    assert last.filename.endswith("whoisd/answers/names.py")
    assert (last.lineno, last.name) == (line, "_parse_label")


# --- what mypyc compiles without a word, and gets wrong ----------------------------------------------------------------


def traps(tree: ast.AST) -> list[str]:
    """What the compiler would get wrong of a source, each with its line."""
    return sorted(
        f"{found.lineno}: {what}"
        for node in ast.walk(tree)
        for judge in (_handlers, _class_defaults, _floats)
        for found, what in judge(node)
    )


def _handlers(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt | ast.excepthandler, str]]:
    """The name of an exception has one type in a function: the second handler fails when it binds another."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        names: set[str] = set()
        for handler in ast.walk(node):
            if isinstance(handler, ast.ExceptHandler) and handler.name:
                if handler.name in names:
                    yield handler, f"a second `as {handler.name}` in {node.name}: give it a name of its own"
                names.add(handler.name)


def _class_defaults(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt | ast.excepthandler, str]]:
    """The default of a ClassVar is lost in a dataclass."""
    if isinstance(node, ast.ClassDef) and any(
        word in ast.unparse(made) for made in node.decorator_list for word in ("dataclass", "frozen")
    ):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and field.value and "ClassVar" in ast.unparse(field.annotation):
                yield field, f"a ClassVar with a default in {node.name}, which is a dataclass: make it a property"


def _floats(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt | ast.excepthandler, str]]:
    """A tuple of floats whose type is inferred may be missing at import."""
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Final" and isinstance(node.value, ast.Tuple):
        values = [value.value for value in node.value.elts if isinstance(value, ast.Constant)]
        if any(isinstance(value, float) for value in values):
            yield node, f"{ast.unparse(node.target)}: say Final[tuple[float, ...]]"


@pytest.mark.parametrize("module", COMPILED)
def test_no_traps(module: str) -> None:
    """No module that is compiled has in it what compiles without a word and is wrong at run time."""
    assert traps(tree_of(module)) == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def f():\n try: g()\n except A as e: h(e)\n except B as e: h(e)", 4),
        ("async def f():\n try: g()\n except A as e:\n  try: g()\n  except B as e: h(e)", 5),
        ("@frozen\nclass A:\n a: int\n b: ClassVar = 1", 4),
        ("@dataclass(slots=True)\nclass A:\n b: ClassVar[int] = 1", 3),
        ("A: Final = (1.0, 2.0)", 1),
    ],
)
def test_traps_are_seen(source: str, line: int) -> None:
    """Each of the traps is found, at its line."""
    assert [found.partition(":")[0] for found in traps(ast.parse(source))] == [str(line)]


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n try: g()\n except A as a: h(a)\n except B as b: h(b)\ndef g():\n try: g()\n except A as a: h(a)",
        "class A:\n b: ClassVar = 1",
        "A: Final[tuple[float, ...]] = (1.0, 2.0)\nB: Final = (1, 2)",
    ],
)
def test_no_trap_is_seen_where_there_is_none(source: str) -> None:
    """What the compiler gets right is not forbidden."""
    assert traps(ast.parse(source)) == []
