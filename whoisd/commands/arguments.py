"""Arguments that commands on registrants and on the portal share: handles, people, and lines of text that are kept."""

import re
from typing import Any, Final

import click

from whoisd.answers.response import UNPRINTABLE
from whoisd.registry.records import SCHEMA

LONGEST_EVIDENCE: Final = 1000  # characters

_HANDLE: Final = SCHEMA["$defs"]["handle"]
_STAFF: Final = SCHEMA["$defs"]["staff"]["properties"]["name"]


def _fits(text: str, form: dict[str, Any]) -> bool:
    return re.fullmatch(form["pattern"], text) is not None and len(text) <= form["maxLength"]


def handle_argument(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Take a handle in any case; without an option there is none."""
    if value is not None and not _fits(value.upper(), _HANDLE):
        raise click.BadParameter(f"must {_HANDLE['must']}")
    return value and value.upper()


def who_argument(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Take somebody as the audit trail names them, staff:NAME or user:HANDLE; of a user, the handle alone will do."""
    kind, _, name = value.rpartition(":")
    if kind == "staff" and _fits(name, _STAFF):
        return value
    if kind in ("", "user") and _fits(name.upper(), _HANDLE):
        return f"user:{name.upper()}"
    raise click.BadParameter("must be staff:NAME, or the handle of a user of the registrar portal")


def staff_argument(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take one of the registry's staff as the audit trail names them."""
    if not value.startswith("staff:"):
        raise click.BadParameter("must be staff:NAME")
    return who_argument(context, parameter, value)


def note_argument(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Take a note that is kept: one line that can be printed as it is."""
    if (text := line_of(value)) is None:
        raise click.BadParameter(LINE)
    return text


def evidence_argument(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Take what a decision rests on: one line that can be printed as it is."""
    if value is None:
        return None
    if (text := line_of(value)) is None:
        raise click.BadParameter(f"{LINE}; say which document was seen, and where it is kept")
    return text


LINE: Final = f"must be one line, not blank, of at most {LONGEST_EVIDENCE} characters, none of them a control character"


def line_of(value: str) -> str | None:
    """Return a text as it is kept, or None for one that is no `LINE`."""
    text = value.strip()
    return text if text and len(text) <= LONGEST_EVIDENCE and not UNPRINTABLE.search(text) else None
