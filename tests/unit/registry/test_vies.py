"""One recorded answer of VIES: what is read of it, what is no answer, and what is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whoisd.registry.vies import COUNTRIES, Answer, Failure, parse_answer

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
REST: dict[str, Any] = {
    "countryCode": "DE",
    "vatNumber": "136695976",
    "requestDate": "2026-05-19T12:25:12.544Z",
    "valid": True,
    "requestIdentifier": "WAPIAAAAW1234567",
    "name": "Hemmelig GmbH",
    "address": "Hemmelig Straße 1",
    "traderNameMatch": "NOT_PROCESSED",
}
BY_GET: dict[str, Any] = {
    "countryCode": "DE",
    "isValid": True,
    "requestDate": "2026-05-19T12:25:12.544Z",
    "userError": "VALID",
    "name": "---",
    "address": "---",
    "requestIdentifier": "",
    "originalVatNumber": "136695976",
    "vatNumber": "136695976",
    "viesApproximate": {"name": "---", "matchName": 3},
}
SOAP: dict[str, Any] = {
    "countryCode": "DE",
    "vatNumber": "136695976",
    "requestDate": "2026-05-19+02:00",
    "valid": True,
    "name": "---",
    "address": "---",
}


def parsed(answer: object) -> Answer | Failure:
    return parse_answer(json.dumps(answer).encode() + b"\n", NOW)


def fault(answer: object) -> str:
    with pytest.raises(ValueError, match=r": |not a JSON") as caught:
        parsed(answer)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (REST, Answer("DE136695976", True, datetime(2026, 5, 19, 12, 25, 12, 544000, UTC), "WAPIAAAAW1234567")),
        (BY_GET, Answer("DE136695976", True, datetime(2026, 5, 19, 12, 25, 12, 544000, UTC), None)),
        (SOAP, Answer("DE136695976", True, datetime(2026, 5, 18, 22, tzinfo=UTC), None)),
        (
            BY_GET | {"isValid": False, "userError": "INVALID"},
            Answer("DE136695976", False, datetime(2026, 5, 19, 12, 25, 12, 544000, UTC), None),
        ),
    ],
)
def test_answers(answer: dict[str, Any], expected: Answer) -> None:
    """Answers of REST, by either of its ways, and of SOAP are read; names and addresses are not."""
    assert parsed(answer) == expected


@pytest.mark.parametrize(
    ("text", "listed", "unlisted"),
    [
        ("2026-05-19T12:25:12Z", "2026-05-19T12:25:12", "2026-05-19T12:25:12"),
        ("2026-05-19T12:25:12.5+02:00", "2026-05-19T10:25:12.500000", "2026-05-19T10:25:12.500000"),
        ("2026-05-19T12:25:12", "2026-05-19T10:25:12", "2026-05-19T11:25:12"),
        ("2026-05-19Z", "2026-05-19T00:00:00", "2026-05-19T23:59:59.999999"),
        ("2026-05-19+02:00", "2026-05-18T22:00:00", "2026-05-19T21:59:59.999999"),
        ("2026-05-19", "2026-05-18T22:00:00", "2026-05-19T22:59:59.999999"),
        ("2026-06-01", "2026-05-31T22:00:00", "2026-06-01T22:59:59.999999"),
        ("2026-06-01T13:00:00Z", "2026-06-01T13:00:00", "2026-06-01T13:00:00"),
    ],
)
def test_moment(text: str, listed: str, unlisted: str) -> None:
    """Where an answer leaves its moment open, the one that withholds is as late as it can be, and the other as early."""
    for valid, expected in ((True, listed), (False, unlisted)):
        answer = parsed(REST | {"requestDate": text, "valid": valid})
        assert isinstance(answer, Answer)
        assert answer.asked_at.replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        ("SE", "556036079301", "SE556036079301"),
        ("SE", "5560360793", "SE556036079301"),
        ("EL", "94259216", "EL094259216"),
        ("BE", "403019261", "BE0403019261"),
        ("NL", "4495445B01", "NL004495445B01"),
        ("FR", "40 303 265 045", "FR40303265045"),
        ("IE", "8z49289f", "IE8Z49289F"),
        ("IE", "1F23456+*", "IE1F23456+*"),
        ("XI", "366303068", "XI366303068"),
    ],
)
def test_number(code: str, number: str, expected: str) -> None:
    """A number is kept by VIES's code, without marks, and with what people leave out of it."""
    answer = parsed(REST | {"countryCode": code, "vatNumber": number})
    assert isinstance(answer, Answer)
    assert answer.number == expected


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"actionSucceed": False, "errorWrappers": [{"error": "MS_UNAVAILABLE"}]}, "MS_UNAVAILABLE"),
    (
        {"actionSucceed": False, "errorWrappers": [{"error": "MS_MAX_CONCURRENT_REQ", "message": "x"}]},
        "MS_MAX_CONCURRENT_REQ",
    ),
    ({"actionSucceed": False}, "OTHER"),
    ({"actionSucceed": False, "errorWrappers": []}, "OTHER"),
    ({"errorWrappers": ["TIMEOUT"]}, "OTHER"),
    ({"errorWrappers": [{"error": "DE136695976"}]}, "OTHER"),
    ({"faultcode": "env:Server", "faultstring": "SERVICE_UNAVAILABLE"}, "SERVICE_UNAVAILABLE"),
    ({"faultstring": "INVALID_INPUT"}, "INVALID_INPUT"),
    (BY_GET | {"isValid": False, "userError": "MS_UNAVAILABLE"}, "MS_UNAVAILABLE"),
    (BY_GET | {"isValid": True, "userError": "TIMEOUT"}, "TIMEOUT"),
    (BY_GET | {"isValid": False, "userError": "hemmelig"}, "OTHER"),
    (REST | {"actionSucceed": False}, "OTHER"),
]


@pytest.mark.parametrize(("answer", "error"), FAILURES)
def test_failures(answer: dict[str, Any], error: str) -> None:
    """A failure is no answer, whatever else it says; its word is kept where it is one."""
    assert parsed(answer) == Failure(error)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([REST], "not a JSON object"),
        ({name: value for name, value in REST.items() if name != "valid"}, "valid: required"),
        (REST | {"valid": "true"}, "valid: must be true or false"),
        (REST | {"valid": None}, "valid: must be true or false"),
        (REST | {"valid": 1}, "valid: must be true or false"),
        (REST | {"isValid": False}, "valid, isValid: contradict each other"),
        (BY_GET | {"userError": "INVALID"}, "isValid, userError: contradict each other"),
        (BY_GET | {"userError": 3}, "userError: must be a text"),
        ({name: value for name, value in BY_GET.items() if name != "countryCode"}, "countryCode: "),
        (REST | {"countryCode": "GR"}, "countryCode: "),
        (REST | {"countryCode": "GB"}, "countryCode: "),
        (REST | {"countryCode": ["DE"]}, "countryCode: "),
        (REST | {"vatNumber": ""}, "vatNumber: "),
        (REST | {"vatNumber": 136695976}, "vatNumber: "),
        (REST | {"vatNumber": "136695976\u0131"}, "vatNumber: "),
        (REST | {"vatNumber": "136695976 Hemmelig GmbH"}, "vatNumber: "),
        (REST | {"requestDate": None}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "19.05.2026"}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "2026-02-30"}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "0000-01-01"}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "0001-01-01"}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "9999-12-31"}, "requestDate: "),
        (REST | {"requestDate": 1716121512}, "requestDate: must be a date or a time"),
        (REST | {"requestDate": "1992-12-31"}, "requestDate: must not be before 1993"),
        (REST | {"requestDate": "2026-06-01T13:00:01Z"}, "requestDate: is in the future"),
        (REST | {"requestDate": "2026-06-02", "valid": False}, "requestDate: is in the future"),
        (REST | {"requestIdentifier": "x\ny"}, "requestIdentifier: "),
        (REST | {"requestIdentifier": 7}, "requestIdentifier: "),
    ],
)
def test_faults(answer: object, expected: str) -> None:
    """What is neither an answer nor a failure is a fault, told by its field and without its value."""
    said = fault(answer)
    assert said.startswith(expected)
    assert "emmelig" not in said
    assert "136695976" not in said


def test_field_given_twice() -> None:
    """An answer that says a thing twice contradicts itself."""
    line = json.dumps(REST)[:-1] + ', "valid": false}'
    with pytest.raises(ValueError, match="a field is given twice"):
        parse_answer(line.encode(), NOW)


@given(
    st.dictionaries(
        st.sampled_from([*REST, *BY_GET, "actionSucceed", "errorWrappers", "faultstring"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.text(max_size=12),
            st.integers(),
            st.lists(st.text(), max_size=2),
            st.sampled_from([*REST.values(), *sorted(COUNTRIES)]),
        ),
    )
)
def test_whatever_is_given(fields: dict[str, Any]) -> None:
    """Nothing but an answer, a failure or a fault comes of a line, and no value is listed but by `true`."""
    try:
        said = parsed(fields)
    except ValueError as error:
        assert ": " in str(error)
        return
    if isinstance(said, Answer):
        assert said.valid is (fields["valid"] if "valid" in fields else fields["isValid"])
