"""Carries out what EPP says of sole proprietorship: by the access rules, precedence and audit of `classification`.

A user of a registrar speaks for the account alone. `true` is the account's yes; `false` takes that yes back, and is no
decision that it is none: that is staff's, who see documentation. A command that does not say changes nothing.
"""

from collections.abc import Mapping
from typing import Final

from whoisd.answers.disclosure import Conditions
from whoisd.database.connect import Connection
from whoisd.errors import AccessError, EppCode, EppError, RegistrantError, RegistrantFault
from whoisd.registry.access import Denial, refuse
from whoisd.registry.classification import (
    Decision,
    Standing,
    authorise,
    deciding,
    refuse_decision,
    standing_of,
    undecidable,
    write,
)
from whoisd.registry.epp import ContactCommand

CODES: Final[Mapping[RegistrantFault, EppCode]] = {
    RegistrantFault.NO_SUCH: EppCode.OBJECT_DOES_NOT_EXIST,
    RegistrantFault.DANISH: EppCode.PARAMETER_POLICY,
    RegistrantFault.PROTECTED: EppCode.PARAMETER_POLICY,
    RegistrantFault.NOTHING_TO_WITHDRAW: EppCode.PARAMETER_POLICY,
    RegistrantFault.BUSY: EppCode.FAILED,
}

STILL_COUNTS: Final = "the account's word is taken back; by others' it still counts as a sole proprietorship"


async def carry_out(
    connection: Connection, command: ContactCommand, *, who: str, server_transaction: str, conditions: Conditions
) -> str:
    """Carry a command out for user:HANDLE, and return what is to be said besides its being done, which mostly is nothing.

    Raises `EppError`, and then nothing is changed; `WhoisdError` when the database goes away. What changes nothing leaves no
    row in the audit trail.
    """
    handle = command.handle
    try:
        async with deciding(connection, handle):
            before = await standing_of(connection, handle, conditions)
            account = await authorise(connection, who, handle)
            decision = _decision(command, before, who, account)
            if decision is None:
                return ""
            after = await write(
                connection,
                handle,
                decision,
                account,
                who=who,
                evidence=_evidence(command, server_transaction),
                before=before,
                conditions=conditions,
            )
            return STILL_COUNTS if decision is Decision.WITHDRAW and after.counts else ""
    except AccessError as error:
        raise EppError(EppCode.NOT_AUTHORISED, str(error), command.transaction) from None
    except RegistrantError as error:
        raise EppError(CODES[error.fault], str(error), command.transaction) from None


def _decision(command: ContactCommand, standing: Standing, who: str, account: str) -> Decision | None:
    """Return what the account decides by the command, or None where that is so already, or nothing is said of it."""
    if not command.is_stated:
        return None
    if fault := undecidable(standing) or (RegistrantFault.DANISH if command.country == "DK" else None):
        raise refuse_decision(command.handle, fault)
    is_theirs = account in standing.decisions  # an account has no other decision than yes
    if command.sole_proprietorship:
        return None if is_theirs else Decision.YES
    if is_theirs:
        return Decision.WITHDRAW
    if standing.counts:
        raise refuse(who, f"classify {command.handle}", Denial.NOT_THEIRS)
    return None


def _evidence(command: ContactCommand, server_transaction: str) -> str:
    said = "true" if command.sole_proprietorship else "false"
    client = f"clTRID {command.transaction}, " if command.transaction else ""
    return f"EPP contact {command.operation}, sole_proprietorship {said}, {client}svTRID {server_transaction}"
