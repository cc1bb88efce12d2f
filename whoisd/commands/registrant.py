"""The commands on registrants: to see one without their data, and to classify one abroad. They need `database.owner_dsn`."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import click

from whoisd.commands.arguments import evidence_argument, handle_argument, who_argument
from whoisd.commands.terminal import as_owner, command, config_option, tell
from whoisd.commands.writing import give_order
from whoisd.config import load_settings
from whoisd.errors import EppCode, EppError, MaintenanceError, WhoisdError
from whoisd.registry.classification import Decision, show
from whoisd.registry.epp import LARGEST_FRAME, parse_frame, response
from whoisd.registry.files import STANDARD_INPUT
from whoisd.registry.maintenance import ClassifyOrder, EppOrder, Queued


@click.group("registrant")
def registrant_commands() -> None:
    """See a registrant without their data, and classify one abroad by hand."""


@registrant_commands.command("show")
@config_option
@click.argument("handle", callback=handle_argument)
@command
def show_registrant(file: Path | None, handle: str) -> None:
    """Say what is shown of a registrant and why, what was decided by hand, and who manages their domains.

    Prints no value of the registrant, and of one under name and address protection nothing but that. Needs
    database.owner_dsn.
    """
    settings, now = load_settings(file), datetime.now(UTC)
    in_force_from, conditions = settings.disclosure.in_force_from, settings.policy.conditions(now, fresh=True)
    shown = as_owner(file, lambda owner: show(owner, handle, now=now, in_force_from=in_force_from, conditions=conditions))
    click.echo(asyncio.run(shown), nl=False)


# --- classify ----------------------------------------------------------------------------------------------------


@registrant_commands.command("classify")
@config_option
@click.argument("handle", callback=handle_argument, required=False)
@click.option(
    "--sole-proprietorship", "decision", type=click.Choice([*Decision], case_sensitive=False),
    help="Whether it is one; withdraw: nobody has decided any more, and what the registry files say counts again.",
)  # fmt: skip
@click.option(
    "--evidence",
    callback=evidence_argument,
    metavar="TEXT",
    help="What the decision rests on, in one line; it is kept.",
)
@click.option(
    "--by", "who", required=True, callback=who_argument, metavar="WHO",
    help="Who decides: staff:NAME, or the handle of a user of the registrar portal.",
)  # fmt: skip
@click.option(
    "--epp", "frame", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), metavar="FRAME",
    help="Carry out an EPP contact create or update instead, of a file or - for standard input; it says which registrant.",
)  # fmt: skip
@click.pass_context
@command
def classify_registrant(  # noqa: PLR0913 - click's
    context: click.Context,
    *,
    file: Path | None,
    handle: str | None,
    decision: str | None,
    evidence: str | None,
    who: str,
    frame: Path | None,
) -> None:
    """Decide by hand whether a registrant abroad is a sole proprietorship; it is in the very next answer.

    Of Danish registrants CVR decides, and they are refused. The registry's staff may decide, who have seen documentation.
    Users in Administration or Portfolio management of an account that manages a domain of the registrant may say yes, and
    take back what their account said. Every decision is kept in the audit trail, and no load undoes one, nor does it the
    removal of the registrant.

    With --epp no other argument is given but --by. Standard output has an EPP response, whatever becomes of the command;
    the exit status is 0 where its code is of success. Needs database.owner_dsn.
    """
    if frame is None:
        handle, decision, evidence = (_required(context, name) for name in ("handle", "decision", "evidence"))
        _classify(file, handle, Decision(decision), evidence, who)
        return
    if handle or decision or evidence:
        raise click.UsageError("--epp FRAME says which registrant and what is decided: give --by besides, and nothing else")
    if not who.startswith("user:"):
        raise click.UsageError("--epp is for a registrar's users: staff decide by --sole-proprietorship and --evidence")
    sys.exit(_classify_by_epp(file, frame, who))


def _required(context: click.Context, name: str) -> str:
    """Return what was given for a parameter without which nothing is decided by hand."""
    value: str | None = context.params[name]
    if value is None:
        raise click.MissingParameter(ctx=context, param=next(one for one in context.command.params if one.name == name))
    return value


def _classify(file: Path | None, handle: str, decision: Decision, evidence: str, who: str) -> None:
    done = asyncio.run(give_order(file, ClassifyOrder(who, handle, decision, evidence)))
    tell(f"{handle}: {done}" if isinstance(done, Queued) else done)


# --- by EPP ------------------------------------------------------------------------------------------------------

FAILURE: Final = 1  # the exit status of a command that EPP is told not to be done


def _classify_by_epp(file: Path | None, frame: Path, who: str) -> int:
    """Carry a frame out, and answer it whatever happens: a fault that is not the frame's is told besides, by `command`."""
    code, transaction, why = EppCode.FAILED, None, ""
    server_transaction = f"whoisd-{uuid4()}"
    try:
        asked = parse_frame(_read(frame))
        transaction = asked.transaction
        done = asyncio.run(give_order(file, EppOrder(who, server_transaction, asked)))
        code, why = EppCode.PENDING if isinstance(done, Queued) else EppCode.COMPLETED, str(done)
    except EppError as error:
        code, transaction, why = error.code, error.transaction, error.why
    except MaintenanceError as error:
        why = str(error)
    finally:
        tell(response(code, transaction, server_transaction, why).removesuffix(b"\n"))
    return 0 if code in (EppCode.COMPLETED, EppCode.PENDING) else FAILURE


def _read(frame: Path) -> bytes:
    """Return a frame; of one that is too large as much as shows it."""
    is_standard = frame == STANDARD_INPUT
    if is_standard and sys.stdin is None:
        raise WhoisdError("-: there is no standard input")
    try:
        with open(sys.stdin.fileno() if is_standard else frame, "rb", closefd=not is_standard) as opened:
            return opened.read(LARGEST_FRAME + 1)
    except OSError as error:
        raise WhoisdError(f"{frame}: cannot be read: {error.strerror}") from None
