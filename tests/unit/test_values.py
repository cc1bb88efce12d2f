"""What answers are made of: values that nobody changes."""

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from whoisd.answers.answer import Answer, Lookup
from whoisd.answers.disclosure import PublicDomain, PublicRegistrant, Reason, Withheld
from whoisd.answers.model import Domain, Host, Registrant, Registrar
from whoisd.answers.names import DomainName
from whoisd.answers.query import DomainQuery, HelpQuery, HostQuery
from whoisd.server.states import Closing, Header, Reading

ROOT = Path(__file__).parents[2]


@pytest.mark.plain
@pytest.mark.parametrize(
    ("module", "change", "refusal"),
    [
        ("names import DomainName", "DomainName('a.dk', 'a.dk').ascii = 'b.dk'", 'Cannot assign to final attribute "ascii"'),
        ("page import Section", "Section('', ()).title = 'x'", 'Property "title" defined in "Section" is read-only'),
    ],
)
def test_nobody_changes_a_value(tmp_path: Path, module: str, change: str, refusal: str) -> None:
    """Mypy refuses to set a field of a value: as it is not frozen at run time, that is what it is frozen by."""
    changes = tmp_path / "changes.py"
    changes.write_text(f"from whoisd.answers.{module}\n{change}\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(changes)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False).stdout
    assert f"{changes}:2: error: {refusal}  [misc]" in said


def test_values_are_what_they_hold() -> None:
    """Two values that hold the same are equal and hash alike, and neither takes a field that it does not have."""
    assert Withheld(Reason.NOT_ASKED) == Withheld(Reason.NOT_ASKED) != Withheld(Reason.DEACTIVATED)
    assert len({DomainName("a.dk", "a.dk"), DomainName("a.dk", "a.dk"), DomainName("b.dk", "b.dk")}) == 2
    assert not hasattr(DomainName("a.dk", "a.dk"), "__dict__")


@pytest.mark.plain
@pytest.mark.parametrize(
    "made",
    [
        *(Answer, Closing, Domain, DomainName, DomainQuery, Header, HelpQuery, Host, HostQuery, Lookup, PublicDomain),
        *(PublicRegistrant, Reading, Registrant, Registrar, Withheld),
    ],
)
def test_a_constructor_that_is_written_out_gives_each_field_its_own_argument(made: type) -> None:
    """The parameters are the fields, in their order, so that no value comes to stand in another's place."""
    names = [field.name for field in fields(made)]
    assert [*inspect.signature(made).parameters] == names
    value = made(*names)
    assert [getattr(value, name) for name in names] == names
