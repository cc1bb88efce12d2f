"""The words for what can end or go wrong: the outcomes of a connection, the faults of a query, the error tree.

    WhoisdError
    ├── InvalidName        a text that is no domain name                  the client is told which rule it breaks
    ├── QueryError         a query that cannot be understood              the client is told which rule it breaks
    ├── StoreError         the data cannot be had now                     the client is told to try again later
    ├── ContractError      a view does not keep its contract              the client is told to try again later
    ├── ProxyError         what a balancer sent is no PROXY header        the client is told, the log says why
    ├── DsnError           a text is no PostgreSQL URL                    the operator is told why, within a ConfigError
    ├── SourceError        a text names no source                         the operator is told what does
    ├── ConfigError        the configuration is wrong                     the operator is told file, key and fault
    ├── MigrationError     the database cannot be brought up to date      the operator is told which file and why
    ├── LoadError          a registry file has faults                     the operator is told file, line and field
    ├── EppError           an EPP frame that is not carried out           the EPP client is told code and fault
    ├── ReportError        a file is no report to compare with            the operator is told file, key and fault
    ├── AccessError        somebody may not do what they ask for          the operator is told the reason
    ├── RegistrantError    a registrant is not there, or not so to treat  the operator is told why, and what can be done
    ├── MaintenanceError   a maintenance window, or what it left         the operator is told until when, and why
    ├── PortalError        an account or object is not to be had          the operator is told why, and what can be done
    └── SandboxError       the sandbox cannot start                       the user is told what to do

A message in this tree is written by us for its reader. The text of any other exception never leaves the process:
it may quote a row of the database (`whereabouts` says where it was raised, and no more).
"""

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """How a connection ended; each ends in exactly one. docs/monitor.md has a row for each, with what to do."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    HELP = "help"
    BAD_QUERY = "bad_query"
    NO_QUERY = "no_query"
    READ_TIMEOUT = "read_timeout"
    RATE_EXCEEDED = "rate_exceeded"
    BANNED = "banned"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    UNTRUSTED_PROXY = "untrusted_proxy"
    BAD_PROXY_HEADER = "bad_proxy_header"
    TEMPORARY_FAILURE = "temporary_failure"
    INTERNAL_ERROR = "internal_error"
    WRITE_TIMEOUT = "write_timeout"
    CLIENT_GONE = "client_gone"


class NameFault(StrEnum):
    """Which rule for names a text breaks."""

    EMPTY_LABEL = "empty_label"
    LONG_LABEL = "long_label"
    LONG_NAME = "long_name"
    OUTER_HYPHEN = "outer_hyphen"
    RESERVED_HYPHENS = "reserved_hyphens"
    CHARACTER = "character"
    A_LABEL = "a_label"


class QueryFault(StrEnum):
    """Which rule for queries a line breaks."""

    TOO_LONG = "too_long"
    NOT_TEXT = "not_text"
    NO_NAME = "no_name"
    SEVERAL_NAMES = "several_names"
    UNKNOWN_OPTION = "unknown_option"
    UNKNOWN_CHARSET = "unknown_charset"
    TWO_CHARSETS = "two_charsets"


class RequestFault(StrEnum):
    """Why an HTTP request cannot be taken, before its name is looked at."""

    METHOD = "method"
    NOT_ACCEPTABLE = "not_acceptable"
    NO_SUCH_PATH = "no_such_path"
    BODY = "body"
    TOO_LARGE = "too_large"
    NOT_HTTP = "not_http"
    NOT_ASCII = "not_ascii"
    HOST = "host"


class ProxyFault(StrEnum):
    """Why what a balancer sent is no PROXY header."""

    NOT_PROXY = "not_proxy"
    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    INCOMPLETE = "incomplete"


class WhoisdError(Exception):
    """Root of all errors that this software raises for a reader."""


class InvalidName(WhoisdError):  # noqa: N818 - the fault is the name
    """A text that is no domain name; `fault` says why."""

    def __init__(self, fault: NameFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class QueryError(WhoisdError):
    """A query that cannot be understood; `fault` says why, and `notices.FAULTS` tells the client."""

    def __init__(self, fault: QueryFault | NameFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class ProxyError(WhoisdError):
    """A PROXY header that cannot be read; `fault` says why, for the log: it is the balancer that is at fault."""

    def __init__(self, fault: ProxyFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class DsnError(WhoisdError):
    """A text that is no PostgreSQL URL; the message says why and never quotes it, for it may hold a password."""


class SourceError(WhoisdError):
    """A text that names no source; the message says what does."""


class StoreError(WhoisdError):
    """The data cannot be had now. `cause` names the fault for the log: a word of ours or an exception's type."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class ContractError(WhoisdError):
    """A view does not keep its contract with the server; the message, which is ours, says how."""


class ConfigError(WhoisdError):
    """The configuration is wrong; one line for each fault, each with file or variable, key and what to do."""


class MigrationError(WhoisdError):
    """The database's schema cannot be brought up to date; nothing of the failing migration is applied."""


class LoadError(WhoisdError):
    """Registry files that cannot be loaded; nothing of them is. `faults` are lines of the form file:line: field: fault."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class AccessError(WhoisdError):
    """Somebody may not do what they ask for; the message says who and what, and ends in the stable reason."""


class RegistrantFault(StrEnum):
    """Why a registrant cannot be shown or classified."""

    NO_SUCH = "no_such"
    DANISH = "danish"
    PROTECTED = "protected"
    NOTHING_TO_WITHDRAW = "nothing_to_withdraw"
    BUSY = "busy"


class RegistrantError(WhoisdError):
    """A registrant that is not there, or that cannot be classified so; nothing of it is changed. `fault` says why."""

    def __init__(self, fault: RegistrantFault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class PortalError(WhoisdError):
    """An account or object that is not at the registrar portal, or not to be taken over; nothing is changed."""


class MaintenanceError(WhoisdError):
    """Nothing may be written now, or a window not begun so; the message says until when and why.

    `is_queue` is whether the window keeps orders about one object, `is_over` whether one is over whose orders come first.
    """

    def __init__(self, text: str, *, is_queue: bool = False, is_over: bool = False) -> None:
        super().__init__(text)
        self.is_queue = is_queue
        self.is_over = is_over


class EppCode(IntEnum):
    """The result codes of RFC 5730, section 3, that an EPP client may be told here."""

    COMPLETED = 1000
    PENDING = 1001
    SYNTAX = 2001
    USE = 2002
    PARAMETER_MISSING = 2003
    PARAMETER_VALUE = 2005
    UNIMPLEMENTED_COMMAND = 2101
    UNIMPLEMENTED_EXTENSION = 2103
    NOT_AUTHORISED = 2201
    OBJECT_DOES_NOT_EXIST = 2303
    PARAMETER_POLICY = 2306
    UNIMPLEMENTED_OBJECT = 2307
    FAILED = 2400


class EppError(WhoisdError):
    """An EPP command that is not carried out; the message says why, and quotes no value of the frame.

    `transaction` is the client's identifier (clTRID), where the frame had got as far.
    """

    def __init__(self, code: EppCode, why: str, transaction: str | None = None) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
        self.transaction = transaction


class ReportError(WhoisdError):
    """A file is no report to compare with; one line for each fault, each with file, key and what is wrong."""


class SandboxError(WhoisdError):
    """The sandbox cannot start or go on; the message says what to do."""


def cause_of(error: BaseException) -> str:
    """Name what went wrong with the database for an operator: type, SQLSTATE, or the system's own words; never a row."""
    if isinstance(error, WhoisdError):
        return str(error)
    said = getattr(error, "sqlstate", None) or getattr(error, "strerror", None)
    if not said:
        return whereabouts(error)
    file = getattr(error, "filename", None)  # such as ~/.postgresql/postgresql.key in a home that is not ours to read
    return f"{type(error).__name__}: {said}: {file}" if file else f"{type(error).__name__}: {said}"


def whereabouts(error: BaseException) -> str:
    """Name an exception's type and the line that raised it, for a log: never its text, which may quote personal data."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    if frame is None:
        return type(error).__name__
    return f"{type(error).__name__} at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
