"""Nothing personal that the rules withhold leaves the process: a token in every field, and all that is said is heard."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import idna
import pytest
from leaks.ear import Ear
from leaks.forks import Commands
from leaks.hunt import Hunt
from leaks.registry import Field, Registry, one_fact_off, plant
from leaks.search import Search
from support import Database


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Registrants who differ in one fact each from those whose emails are public."""
    return plant(one_fact_off())


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as commands:
        yield commands


# --- the search itself -----------------------------------------------------------------------------------------------


def in_answer(text: str) -> bytes:
    return f"Address:              {text}\r\n".encode("iso-8859-1")


DISGUISES: Final[dict[str, Callable[[str], bytes]]] = {
    "as it is": str.encode,
    "in ISO 8859-1": in_answer,
    "in capitals": lambda text: text.upper().encode(),
    "in capitals, in ISO 8859-1": lambda text: text.upper().encode("iso-8859-1"),
    "as a name": lambda text: f"{text.capitalize()}sen".encode(),
    "as an A-label": lambda text: b"DNS: " + idna.encode(f"{text}.dk"),
    "as an A-label in capitals": lambda text: idna.encode(f"{text}.dk").upper(),
    "in a URL": lambda text: quote(f"/{text}").encode(),
    "in a URL in ISO 8859-1": lambda text: quote(text, encoding="iso-8859-1").encode(),
    "in JSON": lambda text: json.dumps({"fault": text}).encode(),
    "as repr": lambda text: ascii([text]).encode(),
    "as repr of bytes": lambda text: repr(text.encode()).encode(),
    "as repr of bytes, in JSON": lambda text: json.dumps(repr(text.encode("iso-8859-1"))).encode(),
    "as repr of repr of repr": lambda text: ascii(ascii(ascii(text))).encode(),
    "in UTF-8 that was taken for ISO 8859-1": lambda text: text.encode().decode("iso-8859-1").encode(),
    "in base64": lambda text: b64encode(text.encode()),
    "in base64, behind one byte": lambda text: b64encode(b"x" + text.encode() + b"xy"),
    "in base64, behind two bytes": lambda text: b64encode(b"xy" + text.upper().encode() + b"x"),
    "in base64 of ISO 8859-1": lambda text: b64encode(f"<{text}>".encode("iso-8859-1")),
    "in hexadecimal": lambda text: text.encode().hex().upper().encode(),
    "in UTF-16": lambda text: text.encode("utf-16"),
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("token", ["hjkzrtwqpxcv", "gsqwmrbgåvqn", "28472064", "522402075794"])
def test_found_in_every_disguise(disguise: Callable[[str], bytes], token: str) -> None:
    """A token is found whatever it is dressed as, and no other is."""
    found = Search([token, "qqwwrrttzzpp"]).find(b"it reads: " + disguise(token) + b", and so on")
    assert found == {token}


def test_no_false_alarm() -> None:
    """A number within a longer one is none, nor are two letters within a word, nor a text that lacks the last letter."""
    search = Search(["28472064", "TV", "hjkzrtwqpxcv"])
    assert search.find(b"128472064 284720641 tvist atv hjkzrtwqpxc \xc3\xa6tv tv\xe6 \0tv\0") == set()
    assert search.find(b"a28472064: TV\r\n") == {"28472064", "TV"}


def test_every_token_is_planted(registry: Registry) -> None:
    """Every token is in the record of its registrant, found by the search, in each personal field that records have."""
    search = Search(registry.fields)
    for person in registry.people + registry.spare:
        assert search.find(b"".join(person.lines())) == {*person.tokens, *person.domains.values()}
    planted = {where for person in registry.people for where in person.tokens.values()}
    assert planted | {Field.DOMAIN} == {*Field}
    assert len({*registry.fields}) == len(registry.fields)


# --- the hunt --------------------------------------------------------------------------------------------------------


def test_nothing_leaks(registry: Registry, commands: Commands, empty_database: Database, tmp_path: Path) -> None:
    """Whatever is asked, ordered, refused or broken, all that is told of a registrant is what the rules make public."""
    hunt = Hunt(Ear(registry), commands, empty_database, tmp_path)
    hunt.load()
    with hunt.talk() as talk:
        hunt.ask(talk)
        hunt.trouble(talk, hunt.people[0], orders_of_each=1)
        hunt.disturb(talk, 0.5)
        hunt.ask_before_the_rules(talk)
        hunt.hurry(talk)
    hunt.order(4)
    hunt.write()
    hunt.judge()
