"""RDAP answers of every kind are valid by the JSON schemas of ICANN's conformance tool.

The schemas are their authors', and not in this repository: `make schemas` is given a checkout of the tool, which has copies
of IANA's registries beside them. Formats that the tool has code for are written here. What is left out of the schemas has
its reason beside it.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jsonschema_rs
import pytest
from defusedxml import ElementTree
from support import Database, WebService

Json = dict[str, Any]

SCHEMAS: Final = Path("validator/src/main/resources/json-schema")
REGISTRIES: Final = Path("validator/src/test/resources/dataset")

# Of each kind of answer: the schema, the path, and the status.
ANSWERS: Final[Mapping[str, tuple[str, str, int]]] = {
    "shown": ("rdap_domain.json", "domain/punktum.dk", 200),
    "withheld": ("rdap_domain.json", "domain/enkeltmand.dk", 200),
    "protected": ("rdap_domain.json", "domain/beskyttet.dk", 200),
    "national letters": ("rdap_domain.json", "domain/xn--4cabco7dk5a.dk", 200),
    "deactivated": ("rdap_domain.json", "domain/suspenderet.dk", 200),
    "reserved": ("rdap_domain.json", "domain/reserveret.dk", 200),
    "waiting list": ("rdap_domain.json", "domain/waiting-list.dk", 200),
    "name server": ("rdap_nameserver.json", "nameserver/auth01.ns.dk-hostmaster.dk", 200),
    "help": ("rdap_help.json", "help", 200),
    "not found": ("rdap_error.json", "domain/findes-ikke.dk", 404),
    "no name": ("rdap_error.json", "domain/a..dk", 400),
    "no such path": ("rdap_error.json", "entity/PUNKTUM-DK", 404),
}
NAMES: Final = {
    record["name"]: f"rdap_{'nameserver' if record['type'] == 'host' else 'domain'}.json"
    for record in map(json.loads, Path("sql/sandbox.jsonl").read_text().splitlines())
    if record["type"] in {"domain", "host"}
}


# --- the schemas -------------------------------------------------------------------------------------------------------


class Judge:
    """The schemas and the registries in a checkout of the tool."""

    def __init__(self, checkout: Path) -> None:
        self._schemas = checkout / SCHEMAS
        self._registries = checkout / REGISTRIES
        values, media = "rdap-json-values.xml", self._registered("media-types.xml", name="name")
        extensions = self._registered("rdap-extensions.xml")
        self._formats: Mapping[str, Callable[[str], bool]] = {
            "eventAction": self._registered(values, kind="event action"),
            "status": self._registered(values, kind="status"),
            "role": self._registered(values, kind="role"),
            "noticeAndRemark": self._registered(values, kind="notice and remark type"),
            "variantRelation": self._registered(values, kind="domain variant relation"),
            "linkRelations": self._registered("link-relations.xml"),
            "rdapExtensions": lambda text: text == "rdap_level_0" or extensions(text),
            "mediaTypes": lambda text: media(text.partition("/")[2]),
            "hostname-in-uri": lambda text: bool(urlsplit(text).hostname),
            "ipv4-validation": is_address(IPv4Address),
            "ipv6-validation": is_address(IPv6Address),
            "image": bool,
        }

    def validate(self, file: str, answer: Json) -> None:
        """Judge an answer as the tool does: as a whole, its conformance, each property of a jCard, and where notices are."""
        # The schemas know RFC 9083 alone. Our own (tests/rdap.schema.json) judges what RFC 9537 adds.
        answer = {name: value for name, value in answer.items() if name != "redacted"}
        self._validator(self._schema(file)).validate(answer)
        self._validator(self._schema("test_rdap_conformance.json")).validate(answer)
        properties = self._schema("jcard_categories.json")["definitions"]
        for card in members(answer, "vcardArray"):
            for prop in card[1]:
                assert prop[0] in properties
                self._validator(properties[prop[0]] | {"$id": "json-schema:///property.json"}).validate(prop)
        for events in members(answer, "events"):
            assert len({event["eventAction"] for event in events}) == len(events)
        assert len([*members(answer, "notices")]) == ("notices" in answer)

    def _registered(self, file: str, *, kind: str | None = None, name: str = "value") -> Callable[[str], bool]:
        """Whether a value is in a registry of IANA, of this kind where it has several."""
        found: set[str] = set()
        for record in ElementTree.parse(self._registries / file).iter("{http://www.iana.org/assignments}record"):
            cells = {cell.tag.partition("}")[2]: cell.text for cell in record}
            if name in cells and kind in {None, cells.get("type")}:
                found.add(str(cells[name]))
        assert found
        return found.__contains__

    def _schema(self, file: str) -> Json:
        found: Json = json.loads((self._schemas / file).read_text())
        if file == "rdap_secureDNS.json":
            # It asks for the keys of a signed delegation. RFC 9083, 5.3, does not, and the registry's data has none.
            found = {name: value for name, value in found.items() if name != "anyOf"} | {"required": ["delegationSigned"]}
        if file == "jcard.json":
            # A part that names itself would be sought by that name, which is no file's.
            del found["definitions"]["vcardArray"]["$id"]
        return found | {"$id": f"json-schema:///{file}"}

    def _validator(self, schema: Json) -> Any:
        resources = [(f"json-schema:///{path.name}", self._schema(path.name)) for path in self._schemas.glob("*.json")]
        return jsonschema_rs.Draft7Validator(
            schema,
            formats=dict(self._formats),
            validate_formats=True,
            registry=jsonschema_rs.Registry(resources),
        )


def is_address(kind: Callable[[str], object]) -> Callable[[str], bool]:
    def judge(text: str) -> bool:
        try:
            return bool(kind(text))
        except ValueError:
            return False

    return judge


def members(value: object, name: str) -> Iterator[Any]:
    """Every member of this name, at any depth."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from members(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, name)


# --- what must hold ----------------------------------------------------------------------------------------------------


SETTINGS: Final = {
    "WHOISD_HTTP__URL": "https://rdap.example.dk",
    "WHOISD_HTTP__WHOIS_HOST": "whois.example.dk",
    "WHOISD_SERVER__READ_TIMEOUT": "60",
    "WHOISD_DATABASE__DEADLINE": "20",
}


@pytest.fixture(scope="module")
def judge(request: pytest.FixtureRequest) -> Judge:
    """Whoever judges."""
    folder: Path | None = request.config.getoption("--rdap-schemas")
    if folder is None:
        pytest.skip("needs --rdap-schemas FOLDER, a checkout of icann/rdap-conformance-tool")
    return Judge(folder)


@pytest.fixture(scope="module")
def web(judge: Judge, sandbox_database: Database) -> Iterator[WebService]:  # noqa: ARG001 - none is started in vain
    """A server whose answers have links and the host of port 43."""
    with WebService(sandbox_database.reader, SETTINGS) as web:
        yield web


@pytest.mark.parametrize("kind", ANSWERS)
def test_kinds(judge: Judge, web: WebService, kind: str) -> None:
    """Each kind of answer is valid."""
    file, path, status = ANSWERS[kind]
    got, headers, body = web.get(f"/rdap/{path}")
    assert (got, headers["content-type"]) == (status, "application/rdap+json")
    judge.validate(file, json.loads(body))


def test_every_name(judge: Judge, web: WebService) -> None:
    """The answer for each domain and host of the sandbox is valid."""
    for name, file in NAMES.items():
        kind = file.removeprefix("rdap_").removesuffix(".json")
        status, _, body = web.get(f"/rdap/{kind}/{quote(name)}")
        assert status == 200
        judge.validate(file, json.loads(body))


def test_throttled(judge: Judge, sandbox_database: Database) -> None:
    """A refusal for too many queries is valid."""
    with WebService(
        sandbox_database.reader, SETTINGS | {"WHOISD_LIMITS__RATE": "0.001", "WHOISD_LIMITS__BURST": "1"}
    ) as web:
        web.get("/rdap/help")
        status, _, body = web.get("/rdap/domain/punktum.dk")
        assert status == 429
        judge.validate("rdap_error.json", json.loads(body))


def test_no_request(judge: Judge, web: WebService) -> None:
    """What is said to a method that is none of RDAP's, and to a request with a body, is valid."""
    for method, length, expected in (("DELETE", "0", 405), ("GET", "1000", 413)):
        status, _, body = web.get("/rdap/domain/punktum.dk", method=method, Content_Length=length)
        assert status == expected
        judge.validate("rdap_error.json", json.loads(body))


def test_failed(judge: Judge, database: Database) -> None:
    """What is said when the data cannot be had is valid."""
    with WebService(database.reader, SETTINGS) as web:
        asyncio.run(database.execute("ALTER VIEW whois.domain RENAME TO gone"))
        status, _, body = web.get("/rdap/domain/punktum.dk")
        assert status == 503
        judge.validate("rdap_error.json", json.loads(body))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": ["happy"]},
        {"ldhName": None},
        {"unknown": 1},
        {"rdapConformance": []},
        {"port43": 43},
        {"secureDNS": {}},
        {"events": [{"eventAction": "renaming", "eventDate": "2026-01-01T00:00:00Z"}]},
        {
            "entities": [
                {"objectClassName": "entity", "roles": ["registrant"], "vcardArray": ["vcard", [["fn", {}, "text"]]]}
            ]
        },
    ],
)
def test_schemas_judge(judge: Judge, web: WebService, changes: Json) -> None:
    """An answer that is not as it must be is seen."""
    answer = json.loads(web.get("/rdap/domain/punktum.dk")[2])
    with pytest.raises(jsonschema_rs.ValidationError):
        judge.validate("rdap_domain.json", answer | changes)
