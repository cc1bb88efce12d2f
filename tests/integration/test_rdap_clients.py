"""The RDAP clients that people use, as their authors ship them, read our answers right.

Each of six ways is asked for each case; what it makes of the answer is reduced to the same few values, which must be those
of the case. Libraries ask in processes of their own: `clients/ask_rdap.py` and `clients/ask_rdap.mjs`.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from client_matrix import CLIENTS, missing
from support import Database, WebService

SHOWN: Final = "info@punktum.dk"
ABUSE: Final = "misbrug@registrator.example"


@dataclass(frozen=True)
class Reading:
    """What somebody who reads what a client made of an answer knows: of the name, and of whose it is."""

    verdict: str  # registered, free, or throttled
    name: str | None = None
    registrant: str | None = None
    email: str | None = None
    expires: str | None = None  # the day in Copenhagen, or what a client makes of that moment in UTC


# Of each case: the name that is asked for, whether the server has had too many queries, and what must come of it.
CASES: Final[Mapping[str, tuple[str, bool, Reading]]] = {
    "shown": ("punktum.dk", False, Reading("registered", "punktum.dk", "Punktum dk A/S", SHOWN, "2027-03-31")),
    "withheld": (
        "enkeltmand.dk",
        False,
        Reading("registered", "enkeltmand.dk", "Malermester Egon Enkelt", None, "2027-03-31"),
    ),
    "protected": ("beskyttet.dk", False, Reading("registered", "beskyttet.dk", None, None, "2027-03-31")),
    "national letters": (
        "xn--4cabco7dk5a.dk",
        False,
        Reading(
            "registered", "xn--4cabco7dk5a.dk", "Foreningen for danske bogstaver", "post@bogstaver.example", "2027-06-30"
        ),
    ),
    "waiting list": ("waiting-list.dk", False, Reading("registered", "waiting-list.dk")),
    "not found": ("findes-ikke.dk", False, Reading("free")),
    "throttled": ("punktum.dk", True, Reading("throttled")),
}


# --- what each makes of an answer --------------------------------------------------------------------------------------


def by_whoisit(made: Any) -> Reading:
    registrant = made["entities"].get("registrant", [{}])[0]
    return Reading("registered", made["name"], registrant.get("name"), registrant.get("email"), made["expiration_date"])


def by_whodap(made: Any) -> Reading:
    """What whodap replaces by `REDACTED FOR PRIVACY` is withheld: it has read `redacted`."""
    values = [made["domain_name"], made["registrant_name"], made["registrant_email"], made["expires_date"]]
    return Reading("registered", *(None if value == "REDACTED FOR PRIVACY" else value for value in values))


def by_asyncwhois(made: Any) -> Reading:
    return by_whodap(made | {"expires_date": made["expires"]})


def by_node_rdap(made: Any) -> Reading:
    """node-rdap hands the object on; this reads it as its users do."""
    cards = [entity["vcardArray"][1] for entity in made["entities"] if "registrant" in entity["roles"]]
    card = {prop[0]: prop[3] for prop in cards[0]} if cards else {}
    days = {event["eventAction"]: event["eventDate"] for event in made["events"]}
    return Reading("registered", made["ldhName"], card.get("fn"), card.get("email"), days.get("expiration"))


def by_rdapper(made: Any) -> Reading:
    if not made["isRegistered"]:
        return Reading("free")
    contact: dict[str, Any] = next((it for it in made.get("contacts", []) if it["type"] == "registrant"), {})
    name, email = contact.get("name"), contact.get("email")
    return Reading("registered", made["punycodeName"], name, email, made.get("expirationDate"))


@dataclass(frozen=True)
class Way:
    """A client: how its record is read, what its errors say of a name that is not there and of a refusal, who runs it."""

    read: Callable[[Any], Reading]
    free: str = ""
    throttled: str = ""
    scripted: bool = False
    in_utc: bool = False


WAYS: Final[Mapping[str, Way]] = {
    "whoisit": Way(by_whoisit, "ResourceDoesNotExist", "RateLimitedError"),
    "whodap": Way(by_whodap, "NotFoundError", "RateLimitError"),
    "asyncwhois": Way(by_asyncwhois, "NotFoundError", "RateLimitError"),
    "asyncwhois, asyncio": Way(by_asyncwhois, "NotFoundError", "RateLimitError"),
    "node-rdap": Way(by_node_rdap, "status 404", "status 429", scripted=True),
    "rdapper": Way(by_rdapper, "", "RDAP 429 rate limited (Retry-After: ", scripted=True, in_utc=True),
}


def reading(way: Way, made: Any) -> Reading:
    """What a client made, in these terms; an error that is neither of the two is no reading."""
    if "error" in made:
        said = {"free": way.free, "throttled": way.throttled}
        return Reading(next(verdict for verdict, words in said.items() if words and words in made["error"]))
    found = way.read(made)
    day = (found.expires or "")[:10] or None
    return Reading(found.verdict, found.name, found.registrant or None, found.email or None, day)


def expected(way: Way, case: str) -> Reading:
    """What must come of a case. The moment at which a day begins in Copenhagen is in the day before it in UTC."""
    read = CASES[case][2]
    if not (way.in_utc and read.expires):
        return read
    day = {"2027-03-31": "2027-03-30", "2027-06-30": "2027-06-29"}[read.expires]
    return Reading(read.verdict, read.name, read.registrant, read.email, day)


# --- asking ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(sandbox_database: Database) -> Iterator[Mapping[tuple[str, str], Any]]:
    """What each client that can be tried here made of each case."""
    patient = {"WHOISD_SERVER__READ_TIMEOUT": "60", "WHOISD_DATABASE__DEADLINE": "20"}
    limited = patient | {"WHOISD_LIMITS__RATE": "0.001", "WHOISD_LIMITS__BURST": "1"}
    with ExitStack() as stack:
        servers = [WebService(sandbox_database.reader, settings) for settings in (patient, limited)]
        for server in servers:
            stack.enter_context(server)
        servers[True].get("/rdap/help")
        answers: dict[tuple[str, str], Any] = {}
        for command, scripted in (([sys.executable, "ask_rdap.py"], False), (["node", "ask_rdap.mjs"], True)):
            if not (scripted and missing("whoiser")):
                answers |= ask_all(command, [name for name, way in WAYS.items() if way.scripted is scripted], servers)
        yield answers


def ask_all(command: list[str], names: list[str], servers: list[WebService]) -> dict[tuple[str, str], Any]:
    pairs = [(name, case) for name in names for case in CASES]
    calls = [
        {"way": name, "url": f"http://127.0.0.1:{servers[refused].http_port}/rdap/", "name": asked}
        for name, (asked, refused, _) in ((name, CASES[case]) for name, case in pairs)
    ]
    ended = subprocess.run(
        [*command, json.dumps(calls)], cwd=CLIENTS, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return dict(zip(pairs, json.loads(ended.stdout), strict=True))


def made_by(made: Mapping[tuple[str, str], Any], way: str, case: str) -> Any:
    if WAYS[way].scripted and (reason := missing("whoiser")):
        pytest.skip(reason)
    return made[way, case]


# --- what must hold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_reading(made: Mapping[tuple[str, str], Any], way: str, case: str) -> None:
    """Each client reads each answer as it is: a name that is not there as free, and no refusal and no withheld value so."""
    assert reading(WAYS[way], made_by(made, way, case)) == expected(WAYS[way], case)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_withheld_is_read(made: Mapping[tuple[str, str], Any], way: str) -> None:
    """Whatever a client hands on, nothing withheld is in it."""
    said = json.dumps([made_by(made, way, case) for case in ("withheld", "protected")], ensure_ascii=False)
    for value in ("egon@", "Berit", "Hemmelig", "Ingensteder", "berit@", "00445566", "ENKELT-DK", "BESKYTTET-DK"):
        assert value not in said


def test_reason_that_is_read(made: Mapping[tuple[str, str], Any]) -> None:
    """A client that knows `redacted` hands on which field is withheld, and why."""
    said = made_by(made, "rdapper", "withheld")
    assert said["contacts"][0]["redactedFields"] == ["email"]
    assert said["redactions"][-1]["name"] == "Registrant Email"
    assert said["redactions"][-1]["reason"].startswith("sole_proprietorship: ")
    assert made_by(made, "whoisit", "withheld")["redacted"] == ["Registry Registrant ID", "Registrant Email"]


@pytest.mark.parametrize("way", ["whoisit", "whodap"])
def test_whom_to_write_to(made: Mapping[tuple[str, str], Any], way: str) -> None:
    """Who meets a withheld email finds the registrar's address for abuse."""
    said = made_by(made, way, "withheld")
    assert (said["abuse_email"] if way == "whodap" else said["entities"]["abuse"][0]["email"]) == ABUSE
