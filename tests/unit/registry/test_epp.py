"""EPP frames that classify a registrant: what is understood, what is refused with which code, and the responses."""

from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whoisd.errors import EppCode, EppError
from whoisd.registry.epp import LARGEST_FRAME, MESSAGES, ContactCommand, Operation, parse_frame, response

DKHM: Final = "urn:dkhm:params:xml:ns:dkhm-4.5"
CREATE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command>
  <create><contact:create xmlns:contact="urn:ietf:params:xml:ns:contact-1.0">
    <contact:id>BETA-1</contact:id>
    <contact:postalInfo type="loc"><contact:name>QName</contact:name>
      <contact:addr><contact:city>Helsinki</contact:city><contact:cc>FI</contact:cc></contact:addr></contact:postalInfo>
    <contact:email>q@q.example</contact:email><contact:authInfo><contact:pw/></contact:authInfo>
  </contact:create></create>
  <extension><dkhm:sole_proprietorship
    xmlns:dkhm="urn:dkhm:params:xml:ns:dkhm-4.5">true</dkhm:sole_proprietorship></extension>
  <clTRID>ABC-12345</clTRID>
</command></epp>"""
UPDATE: Final = """<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"><command>
  <update><contact:update xmlns:contact="urn:ietf:params:xml:ns:contact-1.0">
    <contact:id> beta-1 </contact:id></contact:update></update>
  <extension><d:sole_proprietorship xmlns:d="urn:dkhm:params:xml:ns:dkhm-4.5"> false
  </d:sole_proprietorship></extension>
</command></epp>"""
NO_NAMESPACE: Final = '<extension><sole_proprietorship xmlns="">true</sole_proprietorship></extension>'
EXTENSION: Final = CREATE[CREATE.index("<extension>") : CREATE.index("</extension>") + 12]
CC: Final = "<contact:cc>FI</contact:cc>"


def changed(old: str, new: str, frame: str = CREATE) -> str:
    assert old in frame
    return frame.replace(old, new)


def command(**changes: Any) -> ContactCommand:
    fields: dict[str, Any] = {"country": "FI", "sole_proprietorship": True, "is_stated": True, "transaction": "ABC-12345"}
    return ContactCommand(operation=Operation.CREATE, handle="BETA-1", **(fields | changes))


UPDATED: Final = ContactCommand(
    Operation.UPDATE, "BETA-1", None, sole_proprietorship=False, is_stated=True, transaction=None
)


@pytest.mark.parametrize(
    ("frame", "understood"),
    [
        (CREATE, command()),
        (changed(">true<", "> \n true <"), command()),
        (changed(">true<", ">false<"), command(sole_proprietorship=False)),
        (changed(DKHM, "urn:dkhm:params:xml:ns:dkhm-5.0"), command()),
        (changed(EXTENSION, ""), command(sole_proprietorship=False, is_stated=False)),
        (changed("<clTRID>ABC-12345</clTRID>", ""), command(transaction=None)),
        (changed(">FI<", ">dk<"), command(country="DK")),
        (
            UPDATE,
            ContactCommand(Operation.UPDATE, "BETA-1", None, sole_proprietorship=False, is_stated=True, transaction=None),
        ),
    ],
)
def test_frame_is_understood(frame: str, understood: ContactCommand) -> None:
    """Create and update say of which contact, and whether it is a sole proprietorship; left out at create it is none."""
    assert parse_frame(frame.encode()) == understood


def test_update_that_does_not_say() -> None:
    """An update that leaves it out leaves it as it is."""
    frame = UPDATE[: UPDATE.index("<extension>")] + UPDATE[UPDATE.index("</extension>") + 12 :]
    assert parse_frame(frame.encode()).sole_proprietorship is None


@pytest.mark.parametrize("encoding", ["UTF-16", "ISO-8859-1"])
def test_encodings(encoding: str) -> None:
    """A frame may be in any encoding that the parser has and the frame names."""
    assert parse_frame(changed("UTF-8", encoding).encode(encoding)) == command()


BOMB: Final = '<!DOCTYPE epp [<!ENTITY a "QQQQQQQQ"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE: Final = '<!DOCTYPE epp [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", EppCode.SYNTAX),
        ("QName", EppCode.SYNTAX),
        (CREATE[:-3], EppCode.SYNTAX),
        (changed("?>", "?>" + BOMB), EppCode.SYNTAX),
        (changed("?>", "?>" + OUTSIDE), EppCode.SYNTAX),
        (changed("?>", "?><!DOCTYPE epp>"), EppCode.SYNTAX),
        (changed("UTF-8", "UTF-9"), EppCode.SYNTAX),
        (changed("UTF-8", "UTF-16"), EppCode.SYNTAX),
        (changed(">ABC-12345<", f">{'A' * LARGEST_FRAME}<"), EppCode.SYNTAX),
        (changed("epp-1.0", "epp-2.0"), EppCode.SYNTAX),
        (changed("command>", "hello>"), EppCode.USE),
        ('<epp xmlns="urn:ietf:params:xml:ns:epp-1.0"/>', EppCode.USE),
        (changed("<create>", "<delete/><create>"), EppCode.USE),
        (changed("create>", "info>").replace("contact:info>", "contact:create>"), EppCode.UNIMPLEMENTED_COMMAND),
        (changed("contact-1.0", "domain-1.0"), EppCode.UNIMPLEMENTED_OBJECT),
        (changed("<create>", "<create><QName/>"), EppCode.SYNTAX),
        (changed("<contact:id>BETA-1</contact:id>", ""), EppCode.PARAMETER_MISSING),
        (changed("BETA-1", "auto"), EppCode.PARAMETER_VALUE),
        (changed("BETA-1", "QName's"), EppCode.PARAMETER_VALUE),
        (changed("BETA-1", "Q" * 33), EppCode.PARAMETER_VALUE),
        (changed("BETA-1", "<QName/>"), EppCode.PARAMETER_VALUE),
        (changed(CC, ""), EppCode.PARAMETER_MISSING),
        (changed(CC, "<contact:cc>FIN</contact:cc>"), EppCode.PARAMETER_VALUE),
        (changed(CC, CC + "<contact:cc>SE</contact:cc>"), EppCode.PARAMETER_VALUE),
        (changed(">true<", ">yes<"), EppCode.PARAMETER_VALUE),
        (changed(">true<", ">TRUE<"), EppCode.PARAMETER_VALUE),
        (changed(">true<", "><"), EppCode.PARAMETER_VALUE),
        (changed(EXTENSION, EXTENSION * 2), EppCode.SYNTAX),
        (changed(DKHM, "urn:dkhm:params:xml:ns:dkhm-4.4"), EppCode.UNIMPLEMENTED_EXTENSION),
        (changed(DKHM, "urn:q:params:xml:ns:dkhm-4.5"), EppCode.UNIMPLEMENTED_EXTENSION),
        (changed(EXTENSION, NO_NAMESPACE), EppCode.UNIMPLEMENTED_EXTENSION),
        (
            changed(EXTENSION, EXTENSION.replace("<extension>", "<extension><q>").replace("</ext", "</q></ext")),
            EppCode.UNIMPLEMENTED_EXTENSION,
        ),
        (changed("<clTRID>", "<clTRID>QQ1</clTRID><clTRID>"), EppCode.SYNTAX),
        (changed("ABC-12345", "Q"), EppCode.PARAMETER_VALUE),
        (changed("ABC-12345", "Q\u00e6\u00f8\u00e5"), EppCode.PARAMETER_VALUE),
    ],
)
def test_frame_is_refused(frame: str, code: EppCode) -> None:
    """A frame that is not right is refused with the code of RFC 5730, in words that quote nothing of it."""
    with pytest.raises(EppError) as caught:
        parse_frame(frame.encode())
    assert caught.value.code is code
    assert "Q" not in caught.value.why


def test_refusal_has_the_transaction() -> None:
    """The client's transaction identifier is known also of a command that is refused."""
    with pytest.raises(EppError) as caught:
        parse_frame(changed(">true<", ">yes<").encode())
    assert caught.value.transaction == "ABC-12345"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(CREATE)), st.integers(0, 30))
def test_any_bytes_are_understood_or_refused(sent: bytes, at: int, cut: int) -> None:
    """Whatever is put into a frame, it is understood or refused."""
    frame = CREATE.encode()
    for data in (sent, frame[:at] + sent + frame[at + cut :]):
        try:
            assert isinstance(parse_frame(data), ContactCommand)
        except EppError as error:
            assert error.code in MESSAGES


@pytest.mark.parametrize("code", EppCode)
def test_response(code: EppCode) -> None:
    """A response has the code, its message with the reason, and both transaction identifiers."""
    root = ET.fromstring(response(code, "A<&B", "whoisd-1", "so <it> is"))  # noqa: S314 - ours
    names = {"e": "urn:ietf:params:xml:ns:epp-1.0"}
    [result] = root.findall("e:response/e:result", names)
    assert result.get("code") == str(int(code))
    assert result.findtext("e:msg", namespaces=names) == f"{MESSAGES[code]}: so <it> is"
    assert [root.findtext(f"e:response/e:trID/e:{one}", namespaces=names) for one in ("clTRID", "svTRID")] == [
        "A<&B",
        "whoisd-1",
    ]
    assert b"clTRID" not in response(code, None, "whoisd-1")
