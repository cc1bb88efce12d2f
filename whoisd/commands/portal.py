"""The commands on the registrar portal. Each needs `database.owner_dsn`."""

import asyncio
import csv
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Final

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from whoisd.commands.arguments import handle_argument, note_argument, staff_argument
from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.commands.writing import as_writer, give_order
from whoisd.database.audit import this_account
from whoisd.database.connect import Connection
from whoisd.registry.access import GROUP_NAMES, SENTENCES, Operation
from whoisd.registry.affected import Affected, Progress, State, affected, contact, progress
from whoisd.registry.maintenance import Queued, TakeOverOrder
from whoisd.registry.portal import Conversion, convert, may, require_account

LARGEST_TABLE: Final = 500  # rows; a longer one is continued in another, so that memory is bounded

# --- the portal --------------------------------------------------------------------------------------------------


@click.group("portal")
def portal_commands() -> None:
    """Move the registrar portal from roles to groups, and ask what its users may do."""


@portal_commands.command("convert")
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would be changed, and change nothing.")
@command
def convert_users(file: Path | None, *, dry_run: bool) -> None:
    """Move each user who has roles and no group to the group that matches the highest access among the roles.

    All in one transaction, each with a row in the audit trail; again, it changes nothing. See `portal affected` first.
    Needs database.owner_dsn.
    """
    connected = as_owner if dry_run else as_writer
    done = asyncio.run(connected(file, lambda owner: convert(owner, dry_run=dry_run)))
    tell(_report(done, "would be moved" if dry_run else "moved"))


def _report(done: Conversion, moved: str) -> str:
    lines = [f"{GROUP_NAMES[group]}: {_users(number)} {moved}" for group, number in done.moved.items()]
    if not any(done.moved.values()):
        lines = ["There is nothing to convert: every user who has a role has a group."]
    if done.staying:
        verb = "has" if len(done.staying) == 1 else "have"
        lines.append(f"{_users(len(done.staying))} {verb} no role, and no group: {', '.join(done.staying)}")
    return "\n".join(lines)


def _users(number: int) -> str:
    return f"{number} user{'' if number == 1 else 's'}"


@portal_commands.command("take-over")
@config_option
@click.argument("account", callback=handle_argument)
@click.argument("text", metavar="OBJECT")
@command
def take_object_over(file: Path | None, account: str, text: str) -> None:
    """Give the REG handle of ACCOUNT the roles that the account's linked users hold on OBJECT.

    OBJECT is domain:NAME, registrant:HANDLE or host:NAME; where only one can be meant, the name or handle alone. What
    the linked users held is kept as history. Needs database.owner_dsn.
    """
    order = TakeOverOrder(this_account(), account, text)
    done = asyncio.run(give_order(file, order))
    tell(f"{order.object}: {done}" if isinstance(done, Queued) else done)


@portal_commands.command("may")
@config_option
@click.argument("handle", callback=handle_argument)
@click.argument("operation", type=click.Choice([*Operation], case_sensitive=False))
@click.argument("target", metavar="[OBJECT]", required=False)
@command
def may_user(file: Path | None, handle: str, operation: str, target: str | None) -> None:
    """Say whether a user of the portal may do something, and if not why. The exit status is 0 for yes, and 1 for no.

    The answer is that of the table that guards `registrant classify`. HANDLE is the user's. OBJECT is an object for
    portfolio (domain:NAME, registrant:HANDLE or host:NAME; where only one can be meant, the name or handle alone), and the
    REG handle of an account for the two others. Without it the user's own account is meant. A question that cannot be
    answered is no yes either: its exit status is 1 or 2, and standard error says why. Needs database.owner_dsn.
    """
    why = asyncio.run(as_owner(file, lambda owner: may(owner, handle, Operation(operation), target)))
    click.echo(f"no: {SENTENCES[why]} ({why})" if why else "yes")
    sys.exit(bool(why))


# --- who loses what, and whom to contact ------------------------------------------------------------------------------

Rows = AsyncGenerator[Affected]

_NOBODY: Final = "No linked user holds a role that the REG handle of the account does not hold too."
_WHAT_NOW: Final = "`whoisd portal take-over ACCOUNT OBJECT` gives the roles on an object to the REG handle."


@portal_commands.command("affected")
@config_option
@click.option("--account", callback=handle_argument, metavar="REG", help="Only this account.")
@click.option(
    "--progress", "is_progress", is_flag=True,
    help="One line for each account: its contact, its state, how many objects are left, and the last note.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["table", "csv"]), default="table", show_default=True, help="How to print it."
)
@command
def list_affected(file: Path | None, account: str | None, form: str, *, is_progress: bool) -> None:
    """List what linked users lose, for each account: their objects, and the roles that its REG handle does not hold.

    With each account stand its email and phone, and how far it is: not contacted, contacted, or, with --progress,
    corrected. That is worked out from the roles; see `portal contacted`. Needs database.owner_dsn.
    """
    print_it = _progress if is_progress else _affected
    asyncio.run(as_owner(file, lambda owner: print_it(owner, account, form)))


@portal_commands.command("contacted")
@config_option
@click.argument("account", callback=handle_argument)
@click.option("--by", "who", required=True, callback=staff_argument, metavar="WHO", help="Who did: staff:NAME.")
@click.option(
    "--note", required=True, callback=note_argument, metavar="TEXT", help="What was said, in one line; it is kept."
)
@command
def account_contacted(file: Path | None, account: str, who: str, note: str) -> None:
    """Write down that staff contacted ACCOUNT about what its linked users lose.

    It stands in the audit trail, and `portal affected` shows it. Needs database.owner_dsn.
    """
    done = asyncio.run(as_writer(file, lambda owner: contact(owner, account, who=who, note=note)))
    tell(f"{account}: {done.state}; {_objects(done.objects_left)} left to take over")


def _objects(number: int) -> str:
    return f"{number} object{'' if number == 1 else 's'}"


async def _affected(connection: Connection, account: str | None, form: str) -> None:
    if account:
        await require_account(connection, account)
    with _reader_may_go():
        async with aclosing(affected(connection, account)) as rows:
            found = await (_print_csv(rows) if form == "csv" else _print_tables(rows))
        if not found:
            click.echo(_NOBODY, err=form == "csv")


async def _progress(connection: Connection, account: str | None, form: str) -> None:
    if account:
        await require_account(connection, account)
    accounts = await progress(connection, account)
    with _reader_may_go():
        if form == "csv":
            with _csv_writer() as write:
                write(Progress._fields)
                for one in accounts:
                    write([*one[:6], one.contacted and one.contacted.isoformat(), *one[7:]])
        elif accounts:
            _print_progress(accounts)
        if not accounts:
            click.echo(_NOBODY, err=form == "csv")


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """Take it for no fault that whoever reads has enough, as `head` has; Python would say so once more at its end."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _csv_writer() -> Iterator[Callable[[Iterable[object]], object]]:
    """Write rows to standard output as CSV, in UTF-8 whatever the terminal has."""
    with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as output:
        writer = csv.writer(output, lineterminator="\n")
        yield lambda row: writer.writerow(map(_cell, row))


async def _print_csv(rows: Rows) -> bool:
    """Write the rows as CSV, with a heading; return whether there were any."""
    found = False
    with _csv_writer() as write:
        write(Affected._fields)
        async for row in rows:
            write([*row[:4], " ".join(row.roles), *row[5:]])
            found = True
    return found


def _cell(value: object) -> str:
    """Return a value, which may be a text of others, as a spreadsheet takes it for text, and not for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _console() -> Console:
    # To a file or pipe the lines are as long as they are: an object that is broken in two is of no use to anybody.
    return Console(width=None if sys.stdout.isatty() else 1000, markup=False, emoji=False, highlight=False)


async def _print_tables(rows: Rows) -> bool:
    """Print a table for each account; return whether there were any."""
    console = _console()
    account, table = "", Table()
    async for row in rows:
        if row.account != account or table.row_count == LARGEST_TABLE:
            if account:
                console.print(table)
            head = (row.account, row.account_name, row.email, row.phone, row.state)
            console.print("  ".join(filter(None, head)), soft_wrap=True)
            account, table = row.account, _table("User", "Object", "Roles")
        table.add_row(row.user, row.object, ", ".join(row.roles))
    if account:
        console.print(table)
        console.print(_WHAT_NOW, soft_wrap=True)
    return bool(account)


def _print_progress(accounts: Sequence[Progress]) -> None:
    """Print a table of the accounts, and how many of them are how far."""
    table = _table("Account", "Name", "Email", "Phone", "State", "Left", "Contacted", "By", "Note")
    for one in accounts:
        contacted = f"{one.contacted:%Y-%m-%d %H:%M:%S} UTC" if one.contacted else None
        table.add_row(*one[:5], str(one.objects_left), contacted, one.by, one.note)
    console = _console()
    console.print(table)
    states = [one.state for one in accounts]
    console.print(", ".join(f"{states.count(state)} {state}" for state in State), soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
