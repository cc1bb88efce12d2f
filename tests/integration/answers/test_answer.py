"""Whole answers, byte for byte: one file for each kind of answer and refusal, in both charsets.

`pytest --rewrite` writes them anew; a difference is read before it is committed.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
import structlog
from support import Database

from whoisd.answers import notices
from whoisd.answers.answer import Policy, answer
from whoisd.answers.wire import Charset, encode
from whoisd.config import DEFAULT_TERMS, IN_FORCE_FROM
from whoisd.database.dsn import parse_dsn
from whoisd.database.store import Store

GOLDEN: Final = Path(__file__).parents[2] / "golden"
CLIENT: Final = ip_address("192.0.2.7")
NOW: Final = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
POLICY: Final = Policy(
    in_force_from=IN_FORCE_FROM,
    vat_listed_only=False,
    omit_withheld_email=False,
    operator="the registry operator",
    terms=DEFAULT_TERMS,
    version="whoisd 1.2.3",
)

# Each is asked as it stands, and once more with --charset=utf-8 before it.
IN_BOTH_CHARSETS: Final = {
    "domain": "eksempel.dk",
    "domain_idn": "xn--4cabco7dk5a.dk",
    "domain_sharp_s": "xn--strae-oqa.dk",
    "domain_deactivated": "suspenderet.dk",
    "domain_waiting_list": "waiting-list.dk",
    "registrant_shown": "--show-handles punktum.dk",
    "registrant_secondary_email": "--show-handles eksempel.dk",
    "registrant_withheld": "--show-handles enkeltmand.dk",
    "registrant_protected": "--show-handles beskyttet.dk",
    "registrant_deactivated": "--show-handles suspenderet.dk",
    "registrant_id_not_confirmed": "--show-handles xn--ubekrftet-k3a.dk",
    "registrant_reserved": "--show-handles reserveret.dk",
    "registrant_waiting_list": "--show-handles waiting-list.dk",
    "registrant_beyond_latin_1": "--show-handles lodz.dk",
    "registrant_local_part_not_ascii": "--show-handles xn--smrrebrd-64af.dk",
    "registrant_sharp_s": "--show-handles xn--strae-oqa.dk",
    "host_glue": "auth01.ns.dk-hostmaster.dk",
    "host_no_glue": "ns1.example.net",
    "not_found_domain": "findes-ikke.dk",
    "not_found_host": "www.eksempel.dk",
    "not_found_other_tld": "example.com",
    "not_found_handle": "PUNKTUM-DK",
    "help": "HELP",
}

FAULTS: Final = {
    "fault_too_long": b"a" * 1025,
    "fault_not_text": b"eksempel\x00.dk",
    "fault_not_utf_8": b"--charset=utf-8 \xe6.dk",
    "fault_no_name": b"",
    "fault_several_names": b"eksempel.dk punktum.dk",
    "fault_unknown_option": b"--show-all eksempel.dk",
    "fault_unknown_charset": b"--charset=koi8-r eksempel.dk",
    "fault_two_charsets": b"--charset=utf-8 --charset=latin1 eksempel.dk",
    "fault_empty_label": b"eksempel..dk",
    "fault_long_label": b"a" * 64 + b".dk",
    "fault_long_name": b".".join([b"a" * 60] * 5),
    "fault_outer_hyphen": b"eksempel-.dk",
    "fault_reserved_hyphens": b"ab--cd.dk",
    "fault_character": b"eks_empel.dk",
    "fault_a_label": b"xn--zzzzzzzz9999.dk",
}


@pytest.fixture
async def store(sandbox_database: Database) -> AsyncIterator[Store]:
    store = Store(parse_dsn(sandbox_database.reader), 1.5, structlog.get_logger())
    yield store
    await store.close()


@pytest.fixture
def write(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))


def check(name: str, payload: bytes, *, write: bool) -> None:
    file = GOLDEN / f"{name}.txt"
    if write:
        file.write_bytes(payload)
    expected = file.read_bytes()
    assert payload.splitlines() == expected.splitlines(), (
        f"{name}: if this is meant, pytest --rewrite, and read the difference"
    )
    assert payload == expected


async def ask(line: bytes, store: Store, policy: Policy = POLICY, client: str = "192.0.2.7", now: datetime = NOW) -> bytes:
    return (await answer(line, ip_address(client).exploded, store.find, policy, now)).payload


@pytest.mark.parametrize("name", IN_BOTH_CHARSETS)
async def test_answer(name: str, store: Store, write: bool) -> None:
    """Every kind of answer is what its file holds, in ISO 8859-1 by default and in UTF-8 when asked."""
    query = IN_BOTH_CHARSETS[name].encode()
    check(f"{name}.latin-1", await ask(query, store), write=write)
    check(f"{name}.utf-8", await ask(b"--charset=utf-8 " + query, store), write=write)


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(name: str, store: Store, write: bool) -> None:
    """Every query that cannot be understood gets the one comment line that says what is wrong."""
    check(name, await ask(FAULTS[name], store), write=write)


async def test_email_line_left_out(store: Store, write: bool) -> None:
    """When the operator chooses so, a withheld email has no line, and a shown one has."""
    policy = replace(POLICY, omit_withheld_email=True)
    check("registrant_withheld_omitted.latin-1", await ask(b"--show-handles enkeltmand.dk", store, policy), write=write)
    assert b"Email:                info@punktum.dk\r\n" in await ask(b"--show-handles punktum.dk", store, policy)


async def test_ipv6_client(store: Store, write: bool) -> None:
    """A client's IPv6 address is written out in full."""
    check("client_ipv6.latin-1", await ask(b"eksempel.dk", store, client="2001:db8::1"), write=write)


async def test_before_entry_into_force(store: Store, write: bool) -> None:
    """One microsecond before the rules are in force the email is withheld; at the moment itself it is shown."""
    query = b"--show-handles punktum.dk"
    check(
        "registrant_not_in_force.latin-1",
        await ask(query, store, now=IN_FORCE_FROM - timedelta(microseconds=1)),
        write=write,
    )
    assert b"Email:                info@punktum.dk\r\n" in await ask(query, store, now=IN_FORCE_FROM)


def test_refusals(write: bool) -> None:
    """The refusals that are no answer to a line: rate, database, deadline."""
    for name, text in {
        "refusal_too_many_requests": notices.too_many_requests(60),
        "refusal_temporary_failure": notices.TEMPORARY_FAILURE,
        "refusal_read_timeout": notices.read_timeout(10),
    }.items():
        check(name, encode(text, Charset.LATIN_1), write=write)


def test_no_file_is_left_over() -> None:
    """Every golden file is checked by a test of this module."""
    names = {f"{name}.{charset}" for name in IN_BOTH_CHARSETS for charset in ("latin-1", "utf-8")} | set(FAULTS)
    names |= {"registrant_withheld_omitted.latin-1", "client_ipv6.latin-1", "registrant_not_in_force.latin-1"}
    names |= {"refusal_too_many_requests", "refusal_temporary_failure", "refusal_read_timeout"}
    assert {file.stem for file in GOLDEN.glob("*.txt")} == names
