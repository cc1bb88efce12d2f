"""Which build of this software runs: plain Python, or with the serving path compiled (docs/architecture.md)."""

from enum import StrEnum
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec


class Build(StrEnum):
    """The two builds; `whoisd --version` and the metric `whoisd_build_info` say which."""

    PLAIN = "plain"
    COMPILED = "compiled"


def build_of(module: str = "whoisd.deadlines") -> Build:
    """Return which build a module is of, without importing it. All that can be compiled is, or nothing."""
    spec = find_spec(module)
    compiled = spec and spec.origin and spec.origin.endswith(tuple(EXTENSION_SUFFIXES))
    return Build.COMPILED if compiled else Build.PLAIN
