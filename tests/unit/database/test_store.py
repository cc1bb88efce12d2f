"""Which rows are taken for the names that were asked for. All else of the store is tested with a database."""

from typing import Any

import pytest

from whoisd.database.store import _by_name
from whoisd.errors import ContractError


def rows(*names: str) -> Any:
    return [{"name": name} for name in names]


def test_rows_by_name() -> None:
    """Each row is found by its name; a name without a row has none."""
    found: Any = _by_name(rows("a.dk"), {"a.dk": [], "b.dk": []})
    assert found == {"a.dk": {"name": "a.dk"}}


@pytest.mark.parametrize("names", [("A.DK",), ("a.dk", "b.dk"), ("a.dk ",)])
def test_other_spelling(names: tuple[str, ...]) -> None:
    """A row under a name that nobody asked for breaks the contract, and is not taken for "no such name"."""
    with pytest.raises(ContractError, match="another spelling"):
        _by_name(rows(*names), {"a.dk": []})


def test_several_rows() -> None:
    """Two rows for one name break the contract: which of them holds is not settled."""
    with pytest.raises(ContractError, match="several rows"):
        _by_name(rows("a.dk", "a.dk"), {"a.dk": []})
