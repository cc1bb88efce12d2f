"""What clients, as their authors ship them, make of our answers: the ways to ask them, the cases, what must come of each.

Whatever is not in these tables a client must read as the answer has it. The tests walk them (test_clients.py), and
the manual's tables are a print of them (test_manual.py). `clients/ask.py` and `clients/ask.js` do the asking.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from support import Service, fields

from whoisd.answers.notices import PHRASES_FOR_FREE

CLIENTS: Final = Path(__file__).with_name("clients")
LATIN_1, UTF_8 = "iso-8859-1", "utf-8"


class Verdict(StrEnum):
    """What somebody who reads what a client made of an answer knows of the name."""

    REGISTERED = "registered"
    FREE = "not registered"
    TEXT = "the text"
    EMPTY = "a record without a domain"
    ERROR = "an error"


# --- the cases -----------------------------------------------------------------------------------------------------


class Server(StrEnum):
    """Who is asked."""

    SANDBOX = "sandbox"
    LIMITED = "limited"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Case:
    """A name to ask for, a line that makes the answer what it is here for, and what a client may know from it."""

    name: str
    says: str
    verdict: Verdict = Verdict.REGISTERED
    server: Server = Server.SANDBOX


CASES: Final = {
    "active": Case("punktum.dk", "Email:                info@punktum.dk"),
    "active, email withheld": Case("enkeltmand.dk", "Email:                DATA REDACTED"),
    "active, under protection": Case("beskyttet.dk", "Name:                 DATA REDACTED"),
    "with national letters": Case("æøåöäüé.dk", "Domain:               æøåöäüé.dk"),
    "deactivated": Case("suspenderet.dk", "Status:               Deactivated"),
    "reserved": Case("reserveret.dk", "Status:               Reserved"),
    "offered to a waiting list": Case("waiting-list.dk", "Registered:           ***N/A***"),
    "unknown": Case("findes-ikke.dk", "No entries found for the selected source.", Verdict.FREE),
    "no domain name": Case(
        "eksempel_.dk",
        "# This is not a domain name, for a label has a character that .dk names do not have.",
        Verdict.TEXT,
    ),
    "refused for its rate, or a ban": Case(
        "punktum.dk", "WHOIS LIMIT EXCEEDED. Too many requests, try again later.", Verdict.TEXT, Server.LIMITED
    ),
    "database stopped": Case(
        "punktum.dk",
        "WHOIS time limit exceeded. Temporary failure, please try again later.",
        Verdict.TEXT,
        Server.STOPPED,
    ),
}


# --- the clients ---------------------------------------------------------------------------------------------------

Keys = dict[str, list[str]]

LABELS: Final = (
    *("Domain", "DNS", "Registered", "Expires", "Registrar", "Delete date", "Registration period", "VID", "DNSSEC"),
    *("Status", "Handle", "Name", "Address", "Postalcode", "City", "Country", "Phone", "Email", "ID status", "Hostname"),
)
AS_LABELLED: Final[Keys] = {label: [label] for label in LABELS}
PYTHON_WHOIS: Final[Keys] = {
    "domain_name": ["Domain"],
    "creation_date": ["Registered"],
    "expiration_date": ["Expires"],
    "registrar": ["Registrar"],
    "dnssec": ["DNSSEC"],
    "status": ["Status", "ID status"],
    "registrant_handle": ["Handle"],
    "registrant_name": ["Name"],
    "registrant_address": ["Address"],
    "registrant_postal_code": ["Postalcode"],
    "registrant_city": ["City"],
    "registrant_country": ["Country"],
}
ASYNCWHOIS: Final[Keys] = {
    "domain_name": ["Domain"],
    "created": ["Registered"],
    "expires": ["Expires"],
    "registrar": ["Registrar"],
    "dnssec": ["DNSSEC"],
    "status": ["Status", "ID status"],
    "registrant_name": ["Name"],
    "registrant_address": ["Address"],
    "registrant_zipcode": ["Postalcode"],
    "registrant_city": ["City"],
    "registrant_country": ["Country"],
    "name_servers": ["Hostname"],
}
WHOIS_JSON: Final[Keys] = {
    label[0].lower() + label.title().replace(" ", "")[1:]: [label] for label in LABELS if not label.isupper()
} | {"dns": ["DNS"], "vid": ["VID"], "dnssec": ["DNSSEC"]}
WHOISER: Final[Keys] = {
    "Domain Name": ["Domain"],
    "Created Date": ["Registered"],
    "Expiry Date": ["Expires"],
    "Domain Status": ["Status"],
    "Name Server": ["DNS", "Hostname"],
} | {label: [label] for label in LABELS if label not in {"Domain", "DNS", "Registered", "Expires", "Status", "Hostname"}}


@dataclass(frozen=True)
class Way:
    """A client and how it is asked; `keys` has its word for each thing that it reads, and the labels that it finds it at."""

    client: str
    asks: str
    keys: Keys
    handles: bool = True  # whether it asks for the registrant
    charset: str = UTF_8  # of the answer, which the client takes for UTF-8
    withheld: str = "DATA REDACTED"  # what that becomes
    unread: Verdict = Verdict.EMPTY  # what an answer is without a record
    raises: Mapping[str, str] = field(default_factory=dict)  # its error, by case
    head: str = ""  # what only the head of an answer becomes, where a client says nothing else of an unknown name


BAD_DATE: Final = {"offered to a waiting list": "WhoisUnknownDateFormatError"}
NOT_FOUND: Final = {"WhoisDomainNotFoundError", "NotFoundError"}

WAYS: Final = {
    "whois": Way(
        "whois",
        "`whois -h HOST -p PORT -- '--charset=utf-8 --show-handles NAME'`",
        AS_LABELLED,
        unread=Verdict.TEXT,
    ),
    "python-whois": Way(
        "python-whois", "`whois.whois(NAME)`, over its own socket", PYTHON_WHOIS, charset=LATIN_1, raises=BAD_DATE
    ),
    "python-whois by whois": Way(
        "python-whois",
        "`whois.whois(NAME, command=True)`, over the `whois` command",
        PYTHON_WHOIS | {"name_servers": ["Hostname"]},
        raises=BAD_DATE,
    ),
    "asyncwhois": Way("asyncwhois", "`DomainClient().whois(NAME)` and `aio_whois(NAME)`", ASYNCWHOIS, handles=False),
    "asyncwhois with options": Way(
        "asyncwhois",
        "`client.query_obj.run('--charset=utf-8 --show-handles NAME', HOST)`, then `client.parse_obj.parse(…, 'dk')`",
        ASYNCWHOIS,
    ),
    "whois-json": Way(
        "whois-json",
        r"`whoisJson(NAME, {server: {host, port, query: '--charset=utf-8 --show-handles $addr\r\n'}})`",
        WHOIS_JSON,
        head="version",
    ),
    "whoiser": Way(
        "whoiser",
        "`whoiser.domain(NAME, {host, follow: 1})`",
        WHOISER,
        handles=False,
        charset=LATIN_1,
        unread=Verdict.TEXT,
    ),
    "whoiser with options": Way(
        "whoiser",
        "the same with `'--charset=utf-8 --show-handles NAME'`, NAME as an A-label",
        WHOISER,
        withheld="",
        unread=Verdict.TEXT,
    ),
}
REGISTRANT: Final = {"Handle", "Name", "Address", "Postalcode", "City", "Country", "Phone", "Email", "ID status"}
JAVASCRIPT: Final = ("whois-json", "whoiser")
BY_COMMAND: Final = ("whois", "python-whois by whois")
DEBIAN_12_WHOIS: Final = "5.5.17"
PINNED: Final[Mapping[str, str]] = json.loads((CLIENTS / "package.json").read_text())["dependencies"]


def client_version(client: str) -> str:
    """The version that the manual tells of: what the lock files pin, and of the `whois` command Debian 12's."""
    if client == "whois":
        return DEBIAN_12_WHOIS
    if client == "whois-json":
        return f"{PINNED[client]}, on whois {PINNED['whois']}"
    return PINNED.get(client) or version(client)


def missing(name: str) -> str:
    """What to do so that a way to ask can be tried, when it cannot."""
    if name in BY_COMMAND and not shutil.which("whois"):
        return "the whois client is not installed: apt-get install whois"
    if WAYS[name].client in JAVASCRIPT and not (shutil.which("node") and (CLIENTS / "node_modules").exists()):
        return "the JavaScript clients are not installed: apt-get install nodejs npm, then make clients"
    return ""


# --- what comes of them --------------------------------------------------------------------------------------------


def outcome(name: str, case: str) -> str:
    """What must come of a case, in a few words: the verdict and, if it is read, what the case is here for."""
    way, (label, _, value), verdict = WAYS[name], CASES[case].says.partition(":"), CASES[case].verdict
    if error := way.raises.get(case):
        return f"`{error}`"
    if verdict is not Verdict.REGISTERED or label not in given(way) or label in unread(way):
        return way.unread if verdict is Verdict.TEXT else verdict
    taken = _taken(value.strip(), way)
    if "\N{REPLACEMENT CHARACTER}" in taken:
        return f"{verdict}, its letters lost"
    return f"{verdict}, `{taken}`" if taken else f"{verdict}, an empty string"


def given(way: Way) -> list[str]:
    """The labels that a client asks for."""
    return [label for label in LABELS if way.handles or label not in REGISTRANT]


def merged(way: Way) -> dict[str, list[str]]:
    """What a client is given at several labels and takes for one thing."""
    return {key: labels for key, labels in way.keys.items() if len(labels) > 1 and set(labels) <= set(given(way))}


def unread(way: Way) -> list[str]:
    """What it is given and does not read."""
    read = {label for labels in way.keys.values() for label in labels}
    return [label for label in given(way) if label not in read]


@dataclass(frozen=True)
class Reading:
    """What a client made of an answer: the verdict, and its fields by its own words, several values joined by a space."""

    verdict: Verdict
    fields: Mapping[str, str]


def expected(name: str, case: str, answer: str) -> Reading:
    """What must come of this answer."""
    way = WAYS[name]
    if error := way.raises.get(case):
        return Reading(Verdict.ERROR, {"error": error})
    lines = fields(answer)
    found = {key: [value for label in labels for value in lines.get(label, [])] for key, labels in way.keys.items()}
    verdict = CASES[case].verdict
    return Reading(
        way.unread if verdict is Verdict.TEXT else verdict,
        {key: " ".join(_taken(value, way) for value in values) for key, values in found.items() if values},
    )


def _taken(value: str, way: Way) -> str:
    """A value as the client takes it: as UTF-8, whatever it is in."""
    return way.withheld if value == "DATA REDACTED" else value.encode(way.charset).decode(UTF_8, "replace")


def reading(name: str, made: Mapping[str, Any]) -> Reading:
    """What a client made, in these terms."""
    way = WAYS[name]
    if "error" in made:
        return Reading(Verdict.FREE, {}) if made["error"] in NOT_FOUND else Reading(Verdict.ERROR, {"error": made["error"]})
    text = "\n".join(made.get("text", ()))
    record = fields(text) if way.client == "whois" else made
    values = {key: record[key] for key in way.keys if record.get(key) not in (None, [])}
    return Reading(
        _verdict(way, record, text),
        {key: value if isinstance(value, str) else " ".join(value) for key, value in values.items()},
    )


def _verdict(way: Way, record: Mapping[str, Any], text: str) -> Verdict:
    """Whether a record has a domain; where it has none, what else the client hands on may say that the name is free."""
    if any(record.get(key) for key, labels in way.keys.items() if labels == ["Domain"]):
        return Verdict.REGISTERED
    if way.head in record or any(phrase in text.lower() for phrase in PHRASES_FOR_FREE):
        return Verdict.FREE
    return Verdict.TEXT if text else Verdict.EMPTY


def ask_all(names: Iterable[str], servers: Mapping[Server, Service]) -> dict[tuple[str, str], Reading]:
    """What is made of every case in each of these ways, asked in one process for each language."""
    readings: dict[tuple[str, str], Reading] = {}
    for command, scripted in (([sys.executable, "ask.py"], False), (["node", "ask.js"], True)):
        pairs = [(name, case) for name in names if (WAYS[name].client in JAVASCRIPT) is scripted for case in CASES]
        made = _ask(command, [_call(name, CASES[case], servers) for name, case in pairs]) if pairs else []
        readings |= {pair: reading(pair[0], result) for pair, result in zip(pairs, made, strict=True)}
    return readings


def _call(name: str, case: Case, servers: Mapping[Server, Service]) -> dict[str, str | int]:
    server = servers[case.server]
    return {"way": name, "host": server.host, "port": server.port, "name": case.name}


def _ask(command: Sequence[str], calls: Sequence[Mapping[str, str | int]]) -> list[Any]:
    """What one process says of all of its calls."""
    ended = subprocess.run(
        [*command, json.dumps(calls)], cwd=CLIENTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    made: list[Any] = json.loads(ended.stdout)
    return made
