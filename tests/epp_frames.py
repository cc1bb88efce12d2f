"""EPP contact frames for tests, as an EPP server hands them on, and their answers taken apart.

They are in the form of the published schemas: `make schemas` holds that.
"""

from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

EPP: Final = "urn:ietf:params:xml:ns:epp-1.0"
DKHM: Final = "urn:dkhm:params:xml:ns:dkhm-4.5"
TRANSACTION: Final = "ABC-12345"
_POSTAL: Final = """<contact:postalInfo type="loc"><contact:name>QName</contact:name><contact:addr>
  <contact:street>QStreet 1</contact:street><contact:city>Helsinki</contact:city><contact:cc>{}</contact:cc>
</contact:addr></contact:postalInfo>"""
_CREATE: Final = """<create><contact:create xmlns:contact="urn:ietf:params:xml:ns:contact-1.0">
<contact:id>{handle}</contact:id>
{postal}<contact:email>QPrimary@qmail.example</contact:email><contact:authInfo><contact:pw>QSecret</contact:pw>
</contact:authInfo></contact:create></create>"""
_UPDATE: Final = """<update><contact:update xmlns:contact="urn:ietf:params:xml:ns:contact-1.0">
<contact:id>{handle}</contact:id>
{change}</contact:update></update>"""
_FRAME: Final = """<?xml version="1.0" encoding="UTF-8"?>
<epp xmlns="{epp}"><command>
{verb}
{extension}
{transaction}
</command></epp>
"""


def create(handle: str, said: str | None = None, *, country: str = "FI", transaction: str | None = TRANSACTION) -> bytes:
    """A create; `said` is the text of sole_proprietorship, which None leaves out."""
    return _frame(_CREATE.format(handle=handle, postal=_POSTAL.format(country)), said, transaction)


def update(
    handle: str, said: str | None = None, *, country: str | None = None, transaction: str | None = TRANSACTION
) -> bytes:
    """An update, which says the country only where it is given."""
    change = f"<contact:chg>{_POSTAL.format(country)}</contact:chg>" if country else ""
    return _frame(_UPDATE.format(handle=handle, change=change), said, transaction)


def _frame(verb: str, said: str | None, transaction: str | None) -> bytes:
    element = f'<dkhm:sole_proprietorship xmlns:dkhm="{DKHM}">{said}</dkhm:sole_proprietorship>'
    extension = f"<extension>{element}</extension>" if said is not None else ""
    identifier = f"<clTRID>{transaction}</clTRID>" if transaction else ""
    return _FRAME.format(epp=EPP, verb=verb, extension=extension, transaction=identifier).encode()


class Answer(NamedTuple):
    """What a response says."""

    code: int
    message: str
    transaction: str | None
    server_transaction: str


def read_answer(frame: str | bytes) -> Answer:
    """Take a response apart, of which there is one and nothing else."""
    root = ET.fromstring(frame)  # noqa: S314 - ours
    names = {"e": EPP}
    assert root.tag == f"{{{EPP}}}epp"
    [result] = root.findall("e:response/e:result", names)
    found = {one: root.findtext(f"e:response/e:trID/e:{one}", namespaces=names) for one in ("clTRID", "svTRID")}
    message = result.findtext("e:msg", namespaces=names)
    assert message
    assert found["svTRID"]
    return Answer(int(result.attrib["code"]), message, found["clTRID"], found["svTRID"])
