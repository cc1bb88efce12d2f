"""EPP contact commands, as far as they classify a registrant, and the responses to them (RFC 5730, 5733; extension dkhm).

An EPP server hands on a frame that it has authenticated; what it says of sole proprietorship is the third way to classify,
beside the portal and customer service. Knows no database: a frame becomes a `ContactCommand`, or an `EppError` with the code
of RFC 5730, section 3, that the client is told.

The parser takes no document type, no entity and nothing from elsewhere, and no frame beyond `LARGEST_FRAME`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from xml.etree.ElementTree import Element, ParseError, SubElement, register_namespace, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from whoisd.errors import EppCode, EppError

LARGEST_FRAME: Final = 64 * 1024  # bytes; a contact with every field of RFC 5733 at its longest takes a sixth of it

_EPP: Final = "urn:ietf:params:xml:ns:epp-1.0"
_CONTACT: Final = "urn:ietf:params:xml:ns:contact-1.0"
# The extension has the element since its version 4.5, and a version has a namespace of its own.
_DKHM: Final = re.compile(r"urn:dkhm:params:xml:ns:dkhm-(\d{1,3})\.(\d{1,3})")
_OLDEST_DKHM: Final = (4, 5)
_HANDLE: Final = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)*")  # as in registry files
_TRANSACTION: Final = re.compile(r"[ -~]{3,64}")  # RFC 5730, trIDStringType, as far as it can be kept in the audit trail

register_namespace("", _EPP)


MESSAGES: Final = {
    EppCode.COMPLETED: "Command completed successfully",
    EppCode.PENDING: "Command completed successfully; action pending",
    EppCode.SYNTAX: "Command syntax error",
    EppCode.USE: "Command use error",
    EppCode.PARAMETER_MISSING: "Required parameter missing",
    EppCode.PARAMETER_VALUE: "Parameter value syntax error",
    EppCode.UNIMPLEMENTED_COMMAND: "Unimplemented command",
    EppCode.UNIMPLEMENTED_EXTENSION: "Unimplemented extension",
    EppCode.NOT_AUTHORISED: "Authorization error",
    EppCode.OBJECT_DOES_NOT_EXIST: "Object does not exist",
    EppCode.PARAMETER_POLICY: "Parameter value policy error",
    EppCode.UNIMPLEMENTED_OBJECT: "Unimplemented object service",
    EppCode.FAILED: "Command failed",
}


class Operation(StrEnum):
    """The commands that classify."""

    CREATE = "create"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class ContactCommand:
    """A contact create or update. `sole_proprietorship` is None where an update leaves it out, which leaves it as it is."""

    operation: Operation
    handle: str
    country: str | None
    sole_proprietorship: bool | None
    is_stated: bool  # whether the frame says so itself: a create that leaves it out means false
    transaction: str | None


def parse_frame(frame: bytes) -> ContactCommand:
    """Read a frame. Raises `EppError`, which has the client's transaction identifier as soon as that is known."""
    command = _command(_root(frame))
    transaction = _transaction(command)
    try:
        operation, contact = _operation(command)
        stated = _sole_proprietorship(command)
        return ContactCommand(
            operation=operation,
            handle=_handle(contact),
            country=_country(contact, operation),
            sole_proprietorship=False if stated is None and operation is Operation.CREATE else stated,
            is_stated=stated is not None,
            transaction=transaction,
        )
    except EppError as error:
        raise EppError(error.code, error.why, transaction) from None


def _root(frame: bytes) -> Element:
    if len(frame) > LARGEST_FRAME:
        raise EppError(EppCode.SYNTAX, f"the frame has more than {LARGEST_FRAME} bytes")
    try:
        root: Element = fromstring(frame, forbid_dtd=True)
    except DefusedXmlException:
        raise EppError(EppCode.SYNTAX, "the frame has a document type or an entity, which EPP has not") from None
    except ParseError as error:
        line, column = error.position
        raise EppError(EppCode.SYNTAX, f"the frame is not well-formed XML at line {line}, column {column + 1}") from None
    except (LookupError, ValueError):  # an encoding that there is not, or that takes several bytes a character
        raise EppError(EppCode.SYNTAX, "the frame is in an encoding that is not known; EPP has UTF-8 and UTF-16") from None
    return root


def _command(root: Element) -> Element:
    if root.tag != f"{{{_EPP}}}epp":
        raise EppError(EppCode.SYNTAX, f"the frame is no epp element of {_EPP}")
    if len(root) != 1 or root[0].tag != f"{{{_EPP}}}command":
        raise EppError(EppCode.USE, "the frame holds no command, or more than that")
    return root[0]


def _transaction(command: Element) -> str | None:
    found = [_text(element) for element in command.findall(f"{{{_EPP}}}clTRID")]
    if len(found) > 1:
        raise EppError(EppCode.SYNTAX, "clTRID is given more than once")
    if found and not _TRANSACTION.fullmatch(found[0]):
        raise EppError(EppCode.PARAMETER_VALUE, "clTRID must have 3 to 64 printable ASCII characters")
    return found[0] if found else None


def _operation(command: Element) -> tuple[Operation, Element]:
    """Return which command it is, and its element of RFC 5733."""
    beside = {f"{{{_EPP}}}extension", f"{{{_EPP}}}clTRID"}
    verbs = [element for element in command if element.tag not in beside]
    if len(verbs) != 1:
        raise EppError(EppCode.USE, "the command element holds no command, or more than one")
    try:
        operation = Operation(verbs[0].tag.removeprefix(f"{{{_EPP}}}"))
    except ValueError:
        raise EppError(EppCode.UNIMPLEMENTED_COMMAND, "only contact create and update classify a registrant") from None
    if len(verbs[0]) != 1:
        raise EppError(EppCode.SYNTAX, f"{operation} holds no object, or more than one")
    if verbs[0][0].tag != f"{{{_CONTACT}}}{operation}":
        raise EppError(EppCode.UNIMPLEMENTED_OBJECT, "only contact create and update classify a registrant")
    return operation, verbs[0][0]


def _handle(contact: Element) -> str:
    found = contact.findall(f"{{{_CONTACT}}}id")
    if len(found) != 1:
        raise EppError(EppCode.PARAMETER_MISSING, "contact:id must be given once")
    handle = _text(found[0]).upper()
    if not _HANDLE.fullmatch(handle) or len(handle) > 32 or handle == "AUTO":  # noqa: PLR2004 - as in registry files
        raise EppError(EppCode.PARAMETER_VALUE, "contact:id must be the handle that the registry gave the contact")
    return handle


def _country(contact: Element, operation: Operation) -> str | None:
    where = contact if operation is Operation.CREATE else contact.find(f"{{{_CONTACT}}}chg")
    codes = set() if where is None else {_text(code) for code in _codes(where)}
    if not codes:
        if operation is Operation.CREATE:
            raise EppError(EppCode.PARAMETER_MISSING, "contact:cc is missing")
        return None
    if len(codes) > 1:
        raise EppError(EppCode.PARAMETER_VALUE, "contact:cc is given twice, with different countries")
    (code,) = codes
    if not re.fullmatch("[A-Za-z]{2}", code):
        raise EppError(EppCode.PARAMETER_VALUE, "contact:cc must be two letters")
    return code.upper()


def _codes(where: Element) -> Iterator[Element]:
    return where.iterfind(f"{{{_CONTACT}}}postalInfo/{{{_CONTACT}}}addr/{{{_CONTACT}}}cc")


def _sole_proprietorship(command: Element) -> bool | None:
    """Return what the extension says, or None where it does not say.

    What is spelled otherwise, by its namespace or its place, is refused: passed over it would count as not said.
    """
    extensions = command.findall(f"{{{_EPP}}}extension")
    words = (one for extension in extensions for one in extension.iter())
    found = [one for one in words if one.tag.rpartition("}")[2] == "sole_proprietorship"]
    if not found:
        return None
    if len(extensions) > 1 or len(found) > 1:
        raise EppError(EppCode.SYNTAX, "sole_proprietorship is given more than once")
    version = _DKHM.fullmatch(found[0].tag[1:].partition("}")[0])
    is_old = version is None or (int(version[1]), int(version[2])) < _OLDEST_DKHM
    if is_old or found[0] not in [*extensions[0]]:
        raise EppError(EppCode.UNIMPLEMENTED_EXTENSION, "sole_proprietorship is of the extension dkhm, since version 4.5")
    text = _text(found[0])
    if text not in ("true", "false"):
        raise EppError(EppCode.PARAMETER_VALUE, "sole_proprietorship must be true or false")
    return text == "true"


def _text(element: Element) -> str:
    """Return an element's text as a token, its white space folded; what has elements in it has no text."""
    return " ".join((element.text or "").split()) if not len(element) else ""


def response(code: EppCode, transaction: str | None, server_transaction: str, why: str = "") -> bytes:
    """Return the frame of a response, in UTF-8. `transaction` is the client's identifier, `server_transaction` ours."""
    epp = Element(f"{{{_EPP}}}epp")
    answer = SubElement(epp, f"{{{_EPP}}}response")
    result = SubElement(answer, f"{{{_EPP}}}result", code=str(int(code)))
    SubElement(result, f"{{{_EPP}}}msg").text = f"{MESSAGES[code]}: {why}" if why else MESSAGES[code]
    identifiers = SubElement(answer, f"{{{_EPP}}}trID")
    if transaction is not None:
        SubElement(identifiers, f"{{{_EPP}}}clTRID").text = transaction
    SubElement(identifiers, f"{{{_EPP}}}svTRID").text = server_transaction
    frame: bytes = tostring(epp, encoding="UTF-8", xml_declaration=True)
    return frame + b"\n"
