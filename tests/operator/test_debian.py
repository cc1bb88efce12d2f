"""The manual's way to install, operate, upgrade and roll back, typed as it stands there, at a Debian that was just made.

The units are the repository's, and it is systemd that runs them.
"""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from debian_system import CHECKOUT, Debian, blocks, bring_checkout, why_not

pytestmark = pytest.mark.skipif(bool(WHY_NOT := why_not()), reason=WHY_NOT)

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "docs" / "install.md", ROOT / "docs" / "operate.md"]
TYPED: Final = blocks("\n".join(page.read_text(encoding="utf-8") for page in PAGES))
CONFIG: Final = "/etc/whoisd/whoisd.toml"
VERSION: Final = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
assert VERSION
THIS, NEXT = VERSION[1], f"{VERSION[1]}.1"
STEPS: Final = ("1. Packages", "2. The program", "3. The database", "4. The configuration and the units", "5. Start")
RELOAD: Final = TYPED["After editing the configuration"]
MIGRATED: Final = "journalctl --unit=whoisd-migrate --output=cat"
ASK: Final = "whois -h 127.0.0.1 punktum.dk"
# The tests are one source, and ask more than one may.
HERE: Final = '[[network]]\nname = "here"\ncidrs = ["127.0.0.0/8", "::1"]\nrate = "unlimited"\n'


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """Where the manual was followed from the first step to the last, and the data of the sandbox was loaded."""
    packages = [word for word in TYPED["1. Packages"].split()[2:] if not word.startswith("-")]
    bring = partial(bring_checkout, checkout=ROOT, lock="requirements-server.lock")
    with Debian(tmp_path_factory.mktemp("debian"), packages, bring, at=CHECKOUT) as debian:
        for step in STEPS:
            debian.type(TYPED[step])
        debian.type("whoisd load sql/sandbox.jsonl")
        debian.type(f"tee --append {CONFIG} <<'END'\n{HERE}END\n{RELOAD}")
        yield debian


def test_serves(debian: Debian) -> None:
    """After the last step it serves on port 43 over both versions of IP, and so it does at every boot."""
    for host in ("127.0.0.1", "::1"):
        assert "info@punktum.dk" in debian.type(f"whois -h {host} -- '--show-handles punktum.dk'")
    assert debian.type("systemctl is-enabled whoisd.service whoisd.socket") == "enabled\nenabled\n"


def test_is_looked_at(debian: Debian) -> None:
    """Every way of the manual to look at the server tells that it is well."""
    looked = debian.type(TYPED["Looking at it"])
    for well in ("active (running)", '"event":"server.ready"', "No ban is in force.", "WHOIS OK", "\nready"):
        assert well in looked


def test_reload(debian: Debian) -> None:
    """A good configuration comes into force; one with a fault fails the reload, and the one before it stays in force."""
    debian.type(f"cp {CONFIG} /root/before")
    try:
        debian.type(f"""sed -i 's/^#operator = .*/operator = "Det nye register"/' {CONFIG}; {RELOAD}""")
        debian.type(f"until {ASK} | grep -q 'Det nye register'; do sleep 0.05; done")
        with pytest.raises(AssertionError, match=r"reload whoisd.* ended with 1"):
            debian.type(f"echo 'prot = 43' >> {CONFIG}; {RELOAD}")
        assert "network.0.prot" in debian.type("journalctl --unit=whoisd --output=cat | grep config.rejected")
        assert "Det nye register" in debian.type(ASK)
    finally:
        debian.type(f"cat /root/before > {CONFIG}; {RELOAD}")


def version(debian: Debian) -> str:
    """The version that answers."""
    found = re.search(r"^# Version: whoisd (.*?)\r?$", debian.type(ASK), re.MULTILINE)
    assert found
    return found[1]


def release(debian: Debian, version: str, name: str, migration: str) -> None:
    """Make the checkout one of another version, with one more migration, and follow the second step in it."""
    debian.type(f"""sed -i 's/^version = .*/version = "{version}"/' pyproject.toml
        echo "{migration}" > sql/$(printf %04d $(($(ls sql/0*.sql | wc -l) + 1)))_{name}.sql""")
    debian.type(TYPED["2. The program"])


@contextmanager
def asking(debian: Debian) -> Iterator[None]:
    """A client asks one query after another meanwhile, and each is answered."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.1):
            assert "Registered:" in debian.type(ASK)

    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask)
        try:
            yield
        finally:
            enough.set()
        asked.result()


def test_upgrade_and_roll_back(debian: Debian) -> None:
    """The next version takes over, with its migration, and gives back again; every query meanwhile is answered."""
    with asking(debian):
        release(debian, NEXT, "next", "COMMENT ON SCHEMA registry IS 'as of the next version'")
        assert version(debian) == THIS
        debian.type(TYPED["Upgrading"])
        assert version(debian) == NEXT
        assert "_next.sql" in debian.type(f"{MIGRATED} | grep ^applied")
        debian.type(TYPED["Rolling back"].replace("0.1.0", THIS))
        assert version(debian) == THIS


TRAIL: Final = "cd / && runuser -u postgres -- psql --dbname=whois -tc 'SELECT count(*), max(id) FROM audit.entry'"
FORGED: Final = "cd / && runuser -u postgres -- psql --dbname=whois -c 'DELETE FROM audit.entry' 2>&1 || true"


def test_backup_and_restore(debian: Debian) -> None:
    """What was saved is there again after the database was lost: answers, and an audit trail that is only added to."""
    debian.type(TYPED["Backup"])
    written = debian.type(TRAIL)
    debian.type("systemctl stop whoisd.socket whoisd; cd / && runuser -u postgres -- dropdb whois")
    debian.type(TYPED["Restoring"])
    debian.type("systemctl start whoisd")
    assert "info@punktum.dk" in debian.type("whois -h 127.0.0.1 -- '--show-handles punktum.dk'")
    assert debian.type(TRAIL) == written
    debian.type("whoisd load sql/sandbox.jsonl")
    assert debian.type(TRAIL) != written
    assert "never changed" in debian.type(FORGED)


def test_no_way_to_a_version_that_does_not_run(debian: Debian) -> None:
    """A migration that fails stops the upgrade, and a version that is not there the roll-back: the server goes on."""
    was = version(debian)
    with asking(debian):
        release(debian, f"{NEXT}.1", "fails", "SELECT nothing FROM nowhere")
        for way in ("Upgrading", "Rolling back"):
            debian.type(f"set +e\n{TYPED[way]}true")  # as pasted into a shell, which goes on after a failure
            assert version(debian) == was
    assert 'relation "nowhere" does not exist' in debian.type(MIGRATED)
    assert debian.type("readlink /opt/whoisd/current") == f"{NEXT}.1\n"
