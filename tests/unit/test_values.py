"""What answers are made of: values that nobody changes."""

import subprocess
import sys
from pathlib import Path

import pytest

from whoisd.answers.disclosure import Reason, Withheld
from whoisd.answers.names import DomainName

ROOT = Path(__file__).parents[2]


@pytest.mark.plain
def test_nobody_changes_a_value(tmp_path: Path) -> None:
    """Mypy refuses to set a field of a value: as it is not frozen at run time, that is what it is frozen by."""
    changes = tmp_path / "changes.py"
    changes.write_text(
        "from whoisd.answers.names import DomainName\n"
        "name = DomainName('eksempel.dk', 'eksempel.dk')\n"
        "name.ascii = 'punktum.dk'\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(changes)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False).stdout
    assert f'{changes}:3: error: Property "ascii" defined in "DomainName" is read-only  [misc]' in said


def test_values_are_what_they_hold() -> None:
    """Two values that hold the same are equal and hash alike, and neither takes a field that it does not have."""
    assert Withheld(Reason.NOT_ASKED) == Withheld(Reason.NOT_ASKED) != Withheld(Reason.DEACTIVATED)
    assert len({DomainName("a.dk", "a.dk"), DomainName("a.dk", "a.dk"), DomainName("b.dk", "b.dk")}) == 2
    assert not hasattr(DomainName("a.dk", "a.dk"), "__dict__")
