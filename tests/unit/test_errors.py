"""The error tree, and what may be told of an exception that is not ours."""

import pytest

from whoisd.errors import (
    ConfigError,
    InvalidName,
    LoadError,
    MigrationError,
    NameFault,
    QueryError,
    QueryFault,
    SandboxError,
    StoreError,
    WhoisdError,
    cause_of,
    whereabouts,
)

PERSONAL = "Jens Hansen, jens@eksempel.example"


def _fail(error: Exception) -> None:
    raise error


def _fail_below(error: Exception) -> None:
    _fail(error)


LINE_OF_RAISE = _fail.__code__.co_firstlineno + 1


def _raised(error: Exception) -> Exception:
    try:
        _fail_below(error)
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is looked at
        return caught
    raise AssertionError


def test_whereabouts_names_type_file_and_line() -> None:
    """An exception is told by its type, the bare name of the file and the line that raised it, the innermost one."""
    assert whereabouts(_raised(ValueError(PERSONAL))) == f"ValueError at test_errors.py:{LINE_OF_RAISE}"


def test_whereabouts_without_traceback_is_the_type() -> None:
    """An exception that was never raised is told by its type alone."""
    assert whereabouts(ValueError(PERSONAL)) == "ValueError"


@pytest.mark.parametrize(
    "error", [ValueError(PERSONAL), KeyError(PERSONAL), OSError(2, PERSONAL, PERSONAL), StoreError(PERSONAL)]
)
def test_whereabouts_holds_nothing_of_the_text(error: Exception) -> None:
    """No word of an exception's own text, notes or cause is in its whereabouts."""
    error.add_note(PERSONAL)
    error.__cause__ = ValueError(PERSONAL)
    told = whereabouts(_raised(error))
    assert "Jens" not in told
    assert "eksempel" not in told


@pytest.mark.parametrize(
    "error_type", [InvalidName, QueryError, StoreError, ConfigError, MigrationError, LoadError, SandboxError]
)
def test_errors_have_one_root(error_type: type[Exception]) -> None:
    """Every error that is raised for a reader is a WhoisdError."""
    assert issubclass(error_type, WhoisdError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InvalidName(NameFault.LONG_LABEL), "long_label"),
        (QueryError(QueryFault.NOT_TEXT), "not_text"),
        (QueryError(NameFault.A_LABEL), "a_label"),
        (StoreError("timeout"), "timeout"),
        (
            LoadError(["a.jsonl:1: name: missing", "a.jsonl:2: vid: no truth"]),
            "a.jsonl:1: name: missing\na.jsonl:2: vid: no truth",
        ),
    ],
)
def test_error_reads_as_its_fault(error: WhoisdError, text: str) -> None:
    """The text of an error of ours is its fault in our words, one line for each fault."""
    assert str(error) == text


def test_name_faults_and_query_faults_have_words_of_their_own() -> None:
    """No fault of a query shares its word with a fault of a name: a word in a log means one thing."""
    assert {fault.value for fault in NameFault}.isdisjoint(fault.value for fault in QueryFault)


def test_cause_names_the_file() -> None:
    """What cannot be read is named by its path: a home that is not ours to read, say, in which libpq's files would be."""
    error = PermissionError(13, "Permission denied", "/root/.postgresql/postgresql.key")
    assert cause_of(error) == "PermissionError: Permission denied: /root/.postgresql/postgresql.key"
    assert cause_of(ConnectionRefusedError(111, "Connection refused")) == "ConnectionRefusedError: Connection refused"
