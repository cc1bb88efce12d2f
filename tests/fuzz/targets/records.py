"""A line of a registry file to a record, and what the published JSON Schema says of the same line."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs
import orjson

from whoisd.answers.notices import FAULTS
from whoisd.registry.checking import Chunk
from whoisd.registry.checking import check as check_lines
from whoisd.registry.files import Line
from whoisd.registry.records import RECORDS, SCHEMA, Record, doubts, parse_record

LONGEST: Final = 4096


def _sentences(value: Any) -> Iterator[str]:
    """Every `must` of the schema."""
    if isinstance(value, dict):
        yield from (f"must {said}" for key, said in value.items() if key == "must" and isinstance(said, str))
        for inner in value.values():
            yield from _sentences(inner)


def _constants(value: Any) -> Iterator[str]:
    """Every value that the schema names."""
    if isinstance(value, dict):
        yield from (str(it) for it in [*value.get("enum", ()), *filter(None, [value.get("const")])])
        for inner in value.values():
            yield from _constants(inner)


_FIELDS: Final = {"type", *(name for record in RECORDS.values() for name in record._fields)}
_NO_FIELD: Final = {
    "not UTF-8 text",
    "not a JSON object",
    "a field is given twice",
    "begins with a byte order mark, which JSON does not have: write the file without one",
}
_WITHOUT_A_SCHEMA: Final = {
    "required",
    "not a field of this record",
    "required unless the domain is offered to a waiting list",
    "only a registrant with country DK is locked to CVR",
    "only for kind individual",
    "names a host twice",
    "an active domain has 2 to 7",
    "must not be given for a domain that is offered to a waiting list",
    "must not be before registered",
    "must not be true with country DK, where CVR decides",
    "must not hold the sentence that clients take for an unregistered name",
    "must be a CVR number, with the right check digit, of a registrant that is locked to CVR",
    "must be registrar, registrant, host, domain, staff, portal_user or object_role",
    "must have at least two labels",
    "must be one label and .dk",
}
# All that is ever said of a field: that is how no value can be quoted.
_SAID: Final = {*_sentences(SCHEMA), *FAULTS.values(), *_WITHOUT_A_SCHEMA}
_DOUBTS: Final = {
    "country: is none that ISO 3166-1 assigns, with which the email is withheld",
    "vat_number: is no valid number of the registrant's country",
}
_PLACE: Final = re.compile(r"(\?|[a-z_]{1,30}|[0-9]{1,3})(\.[0-9]+)?")
_VALIDATOR: Final = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)

WORDS: Final = (
    *(f'"{name}":'.encode() for name in sorted(_FIELDS)),
    *(f'"{value}"'.encode() for value in sorted({*_constants(SCHEMA)})),
    *(b'"EKSEMPEL-DK"', b'"eksempel.dk"', b'"2026-01-31"', b'"DK"', b'"SE"', b'"99000019"', b"null", b"true", b"[]", b"{}"),
    *(b"domain:", b"registrant:", b"host:", b"no entries found for the selected source.", b"\\u0000", b"1e400", b"60.0"),
)  # fmt: skip

_VALUES: Final[tuple[Any, ...]] = (
    *({*_constants(SCHEMA)} - {"None"}),
    *("EKSEMPEL-DK", "eksempel.dk", "NS1.æøå.dk.", "ns2.example", "2020-01-31", "2027-01-31", "DK", "SE", "x@x.dk", " "),
    *("99000019", "SE556012579001", "DE136695976", "domain:ÆØÅ.dk", "registrant:A-1", "host:ns.dk", "a\u0085", "\u2028"),
    *(["ns1.eksempel.dk", "NS.xn--5cab8c.dk"], ["proxy"], ["A", "€"], [], {}, 1, 2, 10, 60.0, -1, 2**31, True, False, None),
)  # fmt: skip


def mutate(data: bytes, chance: random.Random) -> bytes | None:
    """Give a field of the record another value, or take it away; None where there is no record."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    kind = RECORDS.get(str(fields.get("type")))
    name = chance.choice(kind._fields if kind and chance.random() < 0.9 else sorted(_FIELDS))
    if chance.random() < 0.2:
        fields.pop(name, None)
    else:
        fields[name] = chance.choice(_VALUES)
    return json.dumps(fields, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")


def check(data: bytes) -> None:
    """A line is a record that makes itself again, or is refused by field and rule; the schema refuses no more than that."""
    line = data.replace(b"\n", b"")
    try:
        record = parse_record(line)
    except ValueError as error:
        assert type(error) is ValueError  # a kind of its own, of a library's, has a text that quotes the line
        _check_fault(str(error))
        assert check_lines([Line(0, 1, line)]) == Chunk({}, [((0, 1), str(error))], [])
        return
    _VALIDATOR.validate(orjson.loads(line))
    json.loads(line, object_pairs_hook=_each_once)
    _check_record(record)
    assert {*doubts(record)} <= _DOUBTS


def _check_fault(said: str) -> None:
    """A fault is one line, and names a field of ours and a rule, in words of ours."""
    if said in _NO_FIELD:
        return
    for fault in said.split("; "):
        place, _, what = fault.partition(": ")
        match = _PLACE.fullmatch(place)
        assert match, said
        assert what in _SAID, said
        assert match[1] in _FIELDS or what == "not a field of this record", said


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    assert len(pairs) == len({name for name, _ in pairs})


def _check_record(record: Record) -> None:
    """What is loaded is what PostgreSQL can hold, has no control character, and is a record of the same when written out."""
    fields = record._asdict()
    for name, value in fields.items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                assert text.encode()
                assert not re.search("[\0-\x1f\x7f-\x9f\u2028\u2029]", text), name
                assert text.strip(), name
    kind = next(kind for kind, made in RECORDS.items() if type(record) is made)
    given = {name: value for name, value in fields.items() if value is not None}  # None: the record does not say
    again = parse_record(orjson.dumps({"type": kind} | given))
    assert {name: _plain(value) for name, value in again._asdict().items()} == {
        name: _plain(value) for name, value in fields.items()
    }


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
