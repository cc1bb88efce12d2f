"""The changes that make mutants of a module: mutmut's, and those that a table of rules, a pattern and a template call for.

mutmut itself changes what is inside of functions alone, and of those with a decorator nothing. Here the rules are a table
and the limits are constants, so its changes are made to whole modules, one at a time.

Not changed are what no test is to tell: docstrings, annotations, decorators (they say how a class is kept in memory, or that
a result is remembered), `__slots__`, imports, and the names that values are bound to.
"""

import ast
import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import libcst as cst
from mutation.run import without_comments
from mutmut.mutation.mutators import mutation_operators

_SWAPPED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A module with one change: the function or class that it is in, the lines before and after, and the whole text."""

    where: str
    line: str
    change: str
    text: str


def mutants_of(source: str, values: Mapping[str, Any]) -> Iterator[Mutant]:
    """Make every mutant of a module, whose names have these values. Those that mean the same are made once."""
    tree = cst.parse_module(source)
    seen = {_meaning(source, values)}
    for node, where in _walk(tree, ""):
        for changed in _changes(node, values):
            text = tree.deep_replace(node, changed).code
            meaning = _meaning(text, values)
            if meaning and meaning not in seen:
                seen.add(meaning)
                yield Mutant(where, *_difference(source, text), text)


def _walk(node: Any, where: str) -> Iterator[tuple[Any, str]]:
    """Every node that may be changed, with the name of what it is in."""
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom) or _is_docstring(node):
        return
    if isinstance(node, cst.AssignTarget) and isinstance(node.target, cst.Name | cst.Tuple):
        return
    if isinstance(node, cst.Assign) and node.targets[0].target.deep_equals(cst.Name("__slots__")):
        return
    yield node, where
    if isinstance(node, cst.FunctionDef | cst.ClassDef):
        where = f"{where}.{node.name.value}".lstrip(".")
    for child in node.children:
        yield from _walk(child, where)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString)


def _changes(node: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """What a node may become."""
    for kind, change in (*mutation_operators, *_OPERATORS):
        if isinstance(node, kind):
            yield from change(node)
    if isinstance(node, cst.Name):
        yield from _others_of_its_kind(node, values)
    if isinstance(node, cst.Attribute):
        yield from _next_member(node, values)


def _meaning(text: str, values: Mapping[str, Any]) -> str:
    """What the compiler makes of a text; nothing where it is no program. A name for None is None."""
    nothing = "|".join(name for name, value in values.items() if value is None and name.isupper()) or "None"
    try:
        return ast.dump(ast.parse(re.sub(rf"\b({nothing})\b(?! *[:=])", "None", text)))
    except SyntaxError:
        return ""


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, from the first to the last, as one line each."""
    old, new = before.splitlines(), after.splitlines()
    first = _alike(old, new)
    last = _alike(old[first:][::-1], new[first:][::-1])
    return without_comments(old[first : len(old) - last]), without_comments(new[first : len(new) - last])


def _alike(one: list[str], other: list[str]) -> int:
    """With how many lines alike both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


# --- what mutmut does not change ---------------------------------------------------------------------------------------


def _negated(node: Any) -> Iterator[Any]:
    """A condition is turned round."""
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


def _dropped(node: Any) -> Iterator[Any]:
    """A statement that does something is not there."""
    (statement,) = node.body
    binds = isinstance(statement, cst.Assign) and isinstance(statement.targets[0].target, cst.Name | cst.Tuple)
    acts = isinstance(statement, cst.Assign | cst.AugAssign | cst.Expr | cst.Raise | cst.Return)
    if acts and not binds and not _is_docstring(statement):
        yield node.with_changes(body=[cst.Pass()])


def _without_one(node: Any) -> Iterator[Any]:
    """A row is missing in a table."""
    for position in range(len(node.elements)):
        yield node.with_changes(elements=[*node.elements[:position], *node.elements[position + 1 :]])


def _less(node: Any) -> Iterator[Any]:
    """A number is smaller by one; mutmut makes it larger."""
    less = repr(abs(node.evaluated_value - 1))
    yield node.with_changes(value=less) if node.evaluated_value >= 1 else cst.UnaryOperation(cst.Minus(), cst.Integer("1"))


def _pattern_without_one(node: Any) -> Iterator[Any]:
    """A character is missing in a regular expression."""
    if not node.func.deep_equals(cst.Attribute(cst.Name("re"), cst.Name("compile"))):
        return
    for literal in _literals(node.args[0].value):
        start, end = (len(literal.prefix) + 1, -1) if isinstance(literal, cst.SimpleString) else (0, None)
        characters = re.findall(r"\\x..|\\u....|\\.|\{\{|\}\}|.", literal.value[start:end])
        for position in range(len(characters)):
            rest = "".join([*characters[:position], *characters[position + 1 :]])
            value = f'{literal.prefix}"{rest}"' if start else rest
            yield node.deep_replace(literal, literal.with_changes(value=value))


def _literals(node: Any) -> Iterator[Any]:
    """The texts of which a string is made, but for what is put into it."""
    if isinstance(node, cst.SimpleString | cst.FormattedStringText):
        yield node
    elif not isinstance(node, cst.FormattedStringExpression):
        for child in node.children:
            yield from _literals(child)


def _template_changed(node: Any) -> Iterator[Any]:
    """A template has other words."""
    if node.value.strip():
        yield node.with_changes(value="XX" + node.value)


def _swapped(node: Any) -> Iterator[Any]:
    """A function is the opposite one."""
    if node.value in _SWAPPED:
        yield node.with_changes(value=_SWAPPED[node.value])


def _others_of_its_kind(node: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """A constant is another one of the same kind: YES is NO, SOURCE is NETWORK."""
    if node.value.isupper() and node.value in values:
        kind = _kind(values[node.value])
        others = [name for name, value in values.items() if name.isupper() and kind and _kind(value) == kind]
        yield from (node.with_changes(value=name) for name in others if name != node.value)


def _kind(value: object) -> object:
    if isinstance(value, dict):
        return frozenset(map(type, value.values())) if all(isinstance(one, enum.Enum) for one in value.values()) else None
    return type(value) if isinstance(value, enum.Enum | bool) else None


def _next_member(node: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """A member of an enumeration is the next one."""
    members = values.get(node.value.value) if isinstance(node.value, cst.Name) else None
    if isinstance(members, enum.EnumMeta) and node.attr.value in members.__members__:
        names = list(members.__members__)
        yield node.with_changes(attr=cst.Name(names[(names.index(node.attr.value) + 1) % len(names)]))


_OPERATORS: Final[tuple[tuple[Any, Any], ...]] = (
    (cst.If | cst.While | cst.CompIf, _negated),
    (cst.SimpleStatementLine, _dropped),
    (cst.Tuple | cst.List | cst.Set | cst.Dict, _without_one),
    (cst.Integer | cst.Float, _less),
    (cst.Call, _pattern_without_one),
    (cst.FormattedStringText, _template_changed),
    (cst.Name, _swapped),
)
