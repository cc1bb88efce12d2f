"""EPP frames that tests send, and every answer, by the schemas that RFC 5730, RFC 5733 and the registry publish.

The schemas are their authors', and not in this repository: `make schemas` is given a folder that has them.
"""

from itertools import product
from pathlib import Path
from typing import Final

import pytest
from epp_frames import create, update
from lxml import etree

from whoisd.errors import EppCode, EppError
from whoisd.registry.epp import parse_frame, response

PUBLISHED: Final = {
    "urn:ietf:params:xml:ns:epp-1.0": "epp-1.0.xsd",
    "urn:ietf:params:xml:ns:contact-1.0": "contact-1.0.xsd",
    "urn:dkhm:params:xml:ns:dkhm-4.5": "dkhm-4.5.xsd",
}
SAID: Final = (None, "true", "false", " \n true ")
FRAMES: Final = [
    *(create("BETA-1", said, transaction=transaction) for said, transaction in product(SAID, (None, "ABC-12345"))),
    *(update("BETA-1", said, country=country) for said, country in product(SAID, (None, "DK"))),
]


@pytest.fixture(scope="module")
def schema(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> etree.XMLSchema:
    """All that is published, as one schema."""
    folder: Path | None = request.config.getoption("--schemas")
    if folder is None:
        pytest.skip("needs --schemas FOLDER, a checkout of Punktum-dk/epp-xsd-files")
    imports = "".join(
        f'<import namespace="{namespace}" schemaLocation="{(folder / file).resolve()}"/>'
        for namespace, file in PUBLISHED.items()
    )
    together = tmp_path_factory.mktemp("schema") / "all.xsd"
    together.write_text(f'<schema xmlns="http://www.w3.org/2001/XMLSchema">{imports}</schema>')
    return etree.XMLSchema(etree.parse(together))


def is_valid(schema: etree.XMLSchema, frame: bytes) -> bool:
    """Whether a frame is as the schemas have it."""
    return bool(schema.validate(etree.fromstring(frame)))


@pytest.mark.parametrize("frame", FRAMES)
def test_frames(schema: etree.XMLSchema, frame: bytes) -> None:
    """The frames that tests send are as clients send them, and all of them are understood."""
    assert is_valid(schema, frame), schema.error_log
    assert parse_frame(frame).handle == "BETA-1"


@pytest.mark.parametrize(
    "frame",
    [
        *(create("BETA-1", said) for said in ("TRUE", "yes", "1", "", "tr ue")),
        create("BETA-1", "true", transaction="A"),
        create("BETA-1", "true", country="FIN"),
        create("BETA-1", "true").replace(b"dkhm-4.5", b"dkhm-4.4"),
        update("BETA-1", "true").replace(b"<contact:id>BETA-1</contact:id>", b""),
    ],
)
def test_what_is_not_valid_is_refused(schema: etree.XMLSchema, frame: bytes) -> None:
    """What the schemas do not have, as far as it is about a classification, is refused."""
    assert not is_valid(schema, frame)
    with pytest.raises(EppError):
        parse_frame(frame)


@pytest.mark.parametrize("transaction", [None, "ABC-12345", "<&>'\""])
@pytest.mark.parametrize("code", EppCode)
def test_answers(schema: etree.XMLSchema, code: EppCode, transaction: str | None) -> None:
    """Every answer is as the schemas have it, with and without a reason and the client's identifier."""
    for why in ("", "BETA-1: is Danish: <CVR> decides & nobody by hand"):
        answer = response(code, transaction, "whoisd-c0ffee00-0000-4000-8000-000000000000", why)
        assert is_valid(schema, answer), schema.error_log
