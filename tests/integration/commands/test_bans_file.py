"""`whoisd bans` over a server's file: what is listed, what is lifted, and what is said of a wrong source."""

import time
from pathlib import Path
from typing import Final

import pytest
from support import NOWHERE, ended, run_here, run_whoisd

from whoisd.limits.keys import Key, Scope, keys_of
from whoisd.limits.ledger import Allowance
from whoisd.limits.memory import open_ledger

NETWORK_ALLOWANCE: Final = Allowance(1.0, 100)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The file of rates and bans of a server, with no ban in it."""
    path = tmp_path / "sources"
    open_ledger(path, create=True)
    return path


def bans(sources: Path, *arguments: str) -> tuple[int, str, str]:
    """What `whoisd bans` comes to, for the server with this file."""
    settings = {"WHOISD_DATABASE__DSN": NOWHERE, "WHOISD_LIMITS__FILE": str(sources), "WHOISD_LIMITS__NETWORK_RATE": "1"}
    return ended(run_here("bans", *arguments, settings=settings))


def ban(sources: Path, text: str, times: int = 1) -> list[Key]:
    """Ban what is named so, of each scope that it can have, and so often that the last ban has just begun."""
    ledger = open_ledger(sources, create=False)
    for key in (keys := keys_of(text)):
        moments = [time.time() - sum((60, 600, 3600)[number : times - 1]) for number in range(times)]
        for moment in moments:
            ledger.ban(key, moment)
    return keys


def throttle(sources: Path, network: str, queries: int) -> None:
    """Have a network use up its allowance."""
    ledger, now = open_ledger(sources, create=False), time.time()
    for _ in range(queries):
        ledger.charge(keys_of(network)[0], NETWORK_ALLOWANCE, now)


def in_force(sources: Path) -> set[Key]:
    return {ban.key for ban in open_ledger(sources, create=False).bans(time.time())}


def test_no_bans(sources: Path) -> None:
    """Where there is no ban that is what `list` says."""
    assert bans(sources, "list") == (0, "No ban is in force.\n", "")


def test_list_bans(sources: Path) -> None:
    """`list` has a line for each ban in force, the longest first: whom, how many seconds more, and which of its bans.

    The networks that are throttled follow, with the seconds until a query from them is answered again.
    """
    throttle(sources, "192.0.2.0/24", 150)
    throttle(sources, "2001:db8:ffff::/48", 220)
    throttle(sources, "203.0.113.0/24", 50)  # within its burst
    ban(sources, "2001:db8:1:2::", 3)
    ledger = open_ledger(sources, create=False)
    ledger.lift(Key(Scope.NAMED_6, 0x20010DB800010002), time.time())
    ledger.ban(keys_of("198.51.100.7")[0], time.time() - 60)  # over
    ledger.ban(keys_of("198.51.100.8")[0], time.time() - 30)
    status, said, wrong = bans(sources, "list")
    assert (status, wrong) == (0, "")
    lines = [line.split() for line in said.splitlines()]
    assert [(who, unit, number) for who, _, unit, number in lines] == [
        ("2001:db8:1:2::/64", "s", "3"),
        ("198.51.100.8", "s", "1"),
        ("2001:db8:ffff::/48", "s", "throttled"),
        ("192.0.2.0/24", "s", "throttled"),
    ]
    for (_, seconds, _, _), most in zip(lines, (3600, 30, 121, 51), strict=True):
        assert most - 20 < int(seconds) <= most
    assert {line.index(" s  ") for line in said.splitlines()} == {51}


@pytest.mark.parametrize(
    ("banned", "source", "said"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ],
)
def test_lift_ban(sources: Path, banned: str, source: str, said: str) -> None:
    """`lift` ends the bans of a source, in a named network and out of it, and no others."""
    keys = ban(sources, banned, 2)
    others = ban(sources, "203.0.113.7")
    assert bans(sources, "lift", source) == (0, f"lifted: {said}\n" * len(keys), "")
    assert in_force(sources) == {*others}
    assert bans(sources, "lift", source) == (1, "", f"whoisd: {source}: is not banned\n")
    assert open_ledger(sources, create=False).ban(keys[0], time.time()) == 60


def test_lift_one_of_two(sources: Path) -> None:
    """Where only one of what an address can be is banned, `lift` says so of that one."""
    named = Key(Scope.NAMED_4, 0xC0000207)
    open_ledger(sources, create=False).ban(named, time.time())
    assert bans(sources, "lift", "192.0.2.7") == (0, "lifted: 192.0.2.7\n", "")
    assert in_force(sources) == set()


def test_lift_within_a_throttled_network(sources: Path) -> None:
    """A source whose network is throttled may still have to wait: `lift` says so, and what would help, and lifts no more."""
    ban(sources, "192.0.2.7")
    throttle(sources, "192.0.2.0/24", 220)
    hint = "its network is throttled: whoisd bans lift 192.0.2.0/24\n"
    assert bans(sources, "lift", "192.0.2.7") == (0, "lifted: 192.0.2.7\n" * 2, hint)
    assert bans(sources, "lift", "192.0.2.8") == (1, "", f"{hint}whoisd: 192.0.2.8: is not banned\n")
    assert bans(sources, "lift", "192.0.2.0/24") == (0, "lifted: 192.0.2.0/24\n", "")
    assert bans(sources, "list") == (0, "No ban is in force.\n", "")
    assert bans(sources, "lift", "192.0.2.0/24") == (1, "", "whoisd: 192.0.2.0/24: is not throttled\n")


def test_lift_behind_a_translator(sources: Path) -> None:
    """An address in a prefix of the operator's NAT64 is named by the IPv4 address in it."""
    keys = ban(sources, "192.0.2.7")
    settings = {
        "WHOISD_DATABASE__DSN": NOWHERE,
        "WHOISD_LIMITS__FILE": str(sources),
        "WHOISD_LIMITS__NAT64": '["2001:db8:64::/96"]',
    }
    said = ended(run_here("bans", "lift", "2001:db8:64::192.0.2.7", settings=settings))
    assert said == (1, "", "whoisd: 2001:db8:64::192.0.2.7: is counted as 192.0.2.7\n")
    assert in_force(sources) == {*keys}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("nonsense", "is neither an address nor a network"),
        ("192.0.2.7/24", "is neither an address nor a network"),
        ("192.0.0.0/16", "bans are of an IPv4 address or /24, or of an IPv6 /64 or /48"),
        ("::ffff:192.0.2.7", "is counted as 192.0.2.7"),
    ],
)
def test_lift_what_is_no_source(sources: Path, source: str, fault: str) -> None:
    """What names no source is refused with the reason, and no ban is lifted."""
    keys = ban(sources, "192.0.2.7")
    assert bans(sources, "lift", source) == (1, "", f"whoisd: {source}: {fault}\n")
    assert in_force(sources) == {*keys}


@pytest.mark.parametrize("arguments", [["list"], ["lift", "192.0.2.7"]])
def test_bans_without_a_server(tmp_path: Path, arguments: list[str]) -> None:
    """Where no server has made its file, or it is another's, the fault names file and key; none is made or changed."""
    missing = tmp_path / "run" / "sources"
    status, printed, wrong = bans(missing, *arguments)
    assert (status, printed) == (2, "")
    assert wrong.startswith(f"whoisd: limits.file: {missing}: is not there; no server runs with this configuration, or ")
    assert [*tmp_path.iterdir()] == []
    foreign = tmp_path / "sources"
    foreign.write_text("not ours")
    said = f"whoisd: limits.file: {foreign}: was not made by this version; no server runs with it\n"
    assert bans(foreign, *arguments) == (2, "", said)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["not ours"]


def test_bans_by_a_configuration_file(tmp_path: Path, sources: Path) -> None:
    """`bans` takes the file of the server whose configuration is named."""
    ban(sources, "192.0.2.7")
    config = tmp_path / "whoisd.toml"
    config.write_text(f"[database]\ndsn = '{NOWHERE}'\n[limits]\nfile = '{sources}'\n")
    status, said, wrong = ended(run_whoisd("bans", "list", "--config", config))
    assert (status, said.split()[0], wrong) == (0, "192.0.2.7", "")
