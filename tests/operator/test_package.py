"""The Debian package, as `make deb` left it in dist/: installed, upgraded, rolled back and purged on Debian 12 and 13.

systemd and dpkg run it all. The versions after it are made of it: other numbers, one more migration, a fault.
"""

import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from debian_system import RELEASES, Debian, blocks, why_not

ROOT: Final = Path(__file__).parents[2]
THIS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
NEXT, STUCK, HANGS = f"{THIS}.1", f"{THIS}.2", f"{THIS}.3"
PACKAGE: Final = ROOT / "dist" / f"whoisd_{THIS}_amd64.deb"
LACKING: Final = why_not() or ("" if PACKAGE.exists() else f"there is no {PACKAGE}: make deb")
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING)

PAGES: Final = [ROOT / "docs" / "install.md", ROOT / "docs" / "operate.md"]
TYPED: Final = blocks("\n".join(page.read_text(encoding="utf-8") for page in PAGES))
CONFIG: Final = "/etc/whoisd/whoisd.toml"
HERE: Final = '[[network]]\nname = "here"\ncidrs = ["127.0.0.0/8", "::1"]\nrate = "unlimited"\n'
KEY: Final = "/etc/whoisd/http.pem"
LISTEN: Final = f'[[http.listen]]\nhost = "127.0.0.1"\nport = 8443\ncertificate = "{KEY}"\n'
MAKE_KEY: Final = f"""
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \\
        -keyout {KEY} -out {KEY}.crt 2>&1
    cat {KEY}.crt >> {KEY}; rm {KEY}.crt; chmod 600 {KEY}"""
ASK: Final = "whois -h 127.0.0.1 punktum.dk"
LOCK: Final = 0x77686F6973  # of whoever migrates
HELD: Final = "SELECT {} FROM pg_locks WHERE locktype = 'advisory' AND granted"

# Clients, eight at a time, each one query after another until the file is there. What none of them may see is an answer that
# is not whole; a client waits for two minutes, which is longer than any upgrade takes, and whois for ever.
LOAD: Final = """\
import pathlib, socket, sys, threading
enough, asked, lost = pathlib.Path("/root/enough"), [], []
def ask():
    while not enough.exists():
        try:
            with socket.create_connection(("127.0.0.1", 43), 120) as client:
                client.sendall(b"punktum.dk\\r\\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError as error:
            answer = repr(error).encode()
        (asked if b"Registered:" in answer and answer.endswith(b"\\r\\n") else lost).append(answer)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
versions = sorted({line.split()[-1].decode() for answer in asked for line in answer.splitlines() if b"# Version:" in line})
print(len(asked), len(lost), *versions)
print(*lost[:3], sep="\\n", file=sys.stderr)
"""


@pytest.fixture(scope="module", params=RELEASES)
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """Where the package was installed as the manual says, and the data of the sandbox was loaded."""
    packages = ("postgresql", "python3", "whois", "curl", "man-db", "bash-completion")
    folder = tmp_path_factory.mktemp(request.param)
    with Debian(folder, packages, bring, release=request.param) as debian:
        debian.type(f"apt-get install --yes {' '.join(packages[2:])}")
        debian.type(TYPED["The Debian package"].replace("*", THIS))
        debian.type("whoisd load /usr/share/whoisd/sql/sandbox.jsonl")
        debian.type(f"tee --append {CONFIG} <<'END'\n{HERE}END\nsystemctl reload whoisd")
        yield debian


# --- the versions ----------------------------------------------------------------------------------------------------


def bring(root: Path) -> None:
    """Put the package into a system, and the versions after it."""
    shutil.copy(PACKAGE, root / "root")
    (root / "root/load.py").write_text(LOAD, encoding="utf-8")
    for version, change in ((NEXT, next_schema), (STUCK, does_not_migrate), (HANGS, does_not_start)):
        repack(root / "root", version, change)
    (root / "root/rebuilt").mkdir()
    repack(root / "root/rebuilt", THIS, does_not_start)


def repack(into: Path, version: str, change: Callable[[Path], None]) -> None:
    """Make the package of another version, or of another build of one, in which something is changed."""
    tree = into / version
    subprocess.run(["dpkg-deb", "--raw-extract", PACKAGE, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(
        control.read_text(encoding="utf-8").replace(f"Version: {THIS}", f"Version: {version}"), encoding="utf-8"
    )
    (tree / "usr/lib/whoisd/unpacked/BUILD").write_text(f"{version}-repacked\n", encoding="utf-8")
    for metadata in tree.glob("usr/lib/whoisd/unpacked/lib/*/site-packages/whoisd-*.dist-info/METADATA"):
        text = metadata.read_text(encoding="utf-8")
        metadata.write_text(text.replace(f"\nVersion: {THIS}", f"\nVersion: {version}", 1), encoding="utf-8")
    change(tree)
    name = into / f"whoisd_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, name], check=True, capture_output=True)
    shutil.rmtree(tree)


def modules(tree: Path) -> Iterator[Path]:
    """Yield our own modules in a package, of each Python."""
    yield from tree.glob("usr/lib/whoisd/unpacked/lib/*/site-packages/whoisd")


def add_migration(tree: Path, name: str, sql: str) -> None:
    """Add a migration."""
    for folder in modules(tree):
        number = len([*folder.glob("sql/0*.sql")]) + 1
        (folder / "sql" / f"{number:04}_{name}.sql").write_text(sql, encoding="utf-8")


def next_schema(tree: Path) -> None:
    """Have one more migration, and another example of a configuration."""
    with (tree / CONFIG.lstrip("/")).open("a", encoding="utf-8") as example:
        example.write("# of the next version\n")
    add_migration(tree, "next", "COMMENT ON SCHEMA registry IS 'as of the next version'")


def does_not_migrate(tree: Path) -> None:
    """Have a migration that fails."""
    next_schema(tree)
    add_migration(tree, "stuck", "SELECT nothing FROM nowhere")


def does_not_start(tree: Path) -> None:
    """Break the server itself: the configuration is good, a query is answered, and no server comes up."""
    next_schema(tree)
    for folder in modules(tree):
        with (folder / "server" / "supervisor.py").open("a", encoding="utf-8") as module:
            module.write('\nimport sys\nif "serve" in sys.argv:\n    raise SystemExit("this version does not start")\n')


# --- what is typed ---------------------------------------------------------------------------------------------------


@contextmanager
def load(debian: Debian) -> Iterator[list[str]]:
    """Eight clients ask meanwhile and are all answered; afterwards the list has the versions that answered."""
    versions: list[str] = []
    debian.type("rm -f enough")
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(debian.type, "python3 load.py")
        try:
            debian.type(ASK)
            yield versions
            debian.type(ASK)
        finally:
            debian.type("touch enough")
        answered, lost, *seen = asked.result().split()
    assert (int(answered) > 0, lost) == (True, "0"), (answered, lost)
    print(f"{answered} queries answered, {lost} lost")  # noqa: T201 - the figure of the manual
    versions += seen


def as_superuser(sql: str) -> str:
    """The command by which PostgreSQL's superuser asks their database; the space is for whoever puts it into `$(...)`."""
    return f" (cd / && runuser -u postgres -- psql --dbname=whois -tAc {shlex.quote(sql)})"


COUNT: Final = as_superuser("SELECT count(*) FROM registry.domain")


def version(debian: Debian) -> str:
    """The version that answers."""
    found = re.search(r"^# Version: whoisd (.*?)\r?$", debian.type(ASK), re.MULTILINE)
    assert found
    return found[1]


def state(debian: Debian) -> str:
    """What dpkg says of the package."""
    return debian.type("dpkg-query --show --showformat='${db:Status-Status} ${Version}' whoisd")


def upgrade_to(version: str) -> str:
    """The command of the manual."""
    return TYPED["Upgrading the package"].strip().replace("NEW", version)


def refused(debian: Debian, command: str) -> str:
    """What a command says that must fail."""
    return debian.type(f"if {command}; then echo 'it went well'; exit 1; fi")


# --- tests, in the order of a package's life -------------------------------------------------------------------------


def test_serves(debian: Debian) -> None:
    """After the commands of the manual it serves over both versions of IP, now and at every boot."""
    for host in ("127.0.0.1", "::1"):
        assert "info@punktum.dk" in debian.type(f"whois -h {host} -- '--show-handles punktum.dk'")
    assert debian.type("systemctl is-enabled whoisd.service whoisd.socket") == "enabled\nenabled\n"
    compiled = debian.type(
        "find /usr/lib/whoisd/current/lib/$(basename $(readlink -f /usr/bin/python3)) -name '*__mypyc*.so'"
    )
    assert debian.type("whoisd --version") == f"whoisd, version {THIS}, {'compiled' if compiled else 'plain'}\n"


def test_setup_again(debian: Debian) -> None:
    """The database's steps are said, and typed again they leave what is there."""
    said = debian.type("whoisd-setup-database 2>&1")
    for step in ("the roles", "the database whois", "the audit trail"):
        assert re.search(rf"^- {step}.* (is|are) there$", said, re.MULTILINE)
    assert "lets the accounts in" in said
    assert "The database is ready." in said
    assert debian.type(f"grep -c map=whoisd /etc/postgresql/*/main/pg_hba.conf; {COUNT} > /dev/null") == "1\n"


def test_lintian() -> None:
    """Debian's checker finds no error in the package."""
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed: apt-get install lintian")
    found = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error", PACKAGE], capture_output=True, text=True, check=False
    )
    print(found.stdout)  # noqa: T201 - its warnings
    assert (found.returncode, found.stderr) == (0, ""), found.stdout


def test_what_comes_with_it(debian: Debian) -> None:
    """The man pages are found, bash completes commands and options, and nothing is written beside the libraries."""
    debian.type("man --where whoisd whoisd.toml whoisd-setup-database")
    complete = "COMP_WORDS='whoisd {}' COMP_CWORD={} _WHOISD_COMPLETE=bash_complete whoisd"
    assert "plain,migrate" in debian.type(complete.format("mi", 1))
    assert "plain,--config" in debian.type(complete.format("migrate --c", 2))
    debian.type("bash -ic '. /usr/share/bash-completion/completions/whoisd; complete -p whoisd' 2> /dev/null")
    assert debian.type("find /usr/lib/whoisd/unpacked -name __pycache__") == ""


def test_upgrade_with_a_fault_in_the_configuration(debian: Debian) -> None:
    """The new version is tried first: when its check fails the old one serves on, until it is mended.

    The fault is one that a query does not come upon, and root does not: a key that the server's account may not read.
    """
    debian.type(f"cp {CONFIG} before; tee --append {CONFIG} <<'END'\n{LISTEN}END\n{MAKE_KEY}")
    with load(debian) as versions:
        said = refused(debian, upgrade_to(NEXT))
        assert "http.listen.0: certificate or key cannot be used: Permission denied" in said
        assert re.search(rf"{THIS}-\w+ stays in service", said)
        assert state(debian) == f"half-configured {NEXT}"
    assert versions == [THIS]
    debian.type(f"cat before > {CONFIG}; rm {KEY}")


def test_upgrade(debian: Debian) -> None:
    """The next version takes over with its migration, and no query is lost; a change of the configuration file is kept.

    The server's account may read it, whatever root's umask is.
    """
    with load(debian) as versions:
        debian.type("umask 077; dpkg --configure whoisd")
    assert versions == [THIS, NEXT]
    assert debian.type("find /usr/lib/whoisd -not -type l -not -perm -o=r") == ""
    assert (version(debian), state(debian)) == (NEXT, f"installed {NEXT}")
    assert "_next.sql" in debian.type("journalctl --unit=whoisd-migrate --output=cat | grep ^applied")
    assert "here" in debian.type(f"tail --lines=4 {CONFIG}")
    assert debian.type(f"tail --lines=1 {CONFIG}.dpkg-dist") == "# of the next version\n"


@pytest.mark.parametrize(
    ("release", "said"),
    [(STUCK, ('relation "nowhere" does not exist',)), (HANGS, ("this version does not start", "did not start (above)"))],
)
def test_upgrade_that_fails(debian: Debian, release: str, said: Sequence[str]) -> None:
    """A migration that fails, or a server that does not come up, leaves the old version serving, and no query is lost."""
    with load(debian) as versions:
        told = refused(debian, upgrade_to(release))
        assert [text for text in said if text not in told] == []
        assert re.search(rf"{NEXT}-\w+ stays in service", told)
    assert (versions, version(debian)) == ([NEXT], NEXT)
    assert state(debian) == f"half-configured {release}"


def test_roll_back(debian: Debian) -> None:
    """The package of the version before takes over again, over the newer schema, and no query is lost."""
    with load(debian) as versions:
        debian.type(TYPED["Rolling the package back"].replace("OLD", THIS))
    assert versions == [THIS, NEXT]
    assert (version(debian), state(debian)) == (THIS, f"installed {THIS}")


def pid(debian: Debian) -> str:
    """The server's process: another after each start."""
    return debian.type("systemctl show --property=MainPID --value whoisd")


def test_rebuilt_version_that_fails(debian: Debian) -> None:
    """Another build of the version that serves is told from it: when it does not start, the one before is started again."""
    with load(debian) as versions:
        told = refused(debian, upgrade_to(THIS).replace("./", "--reinstall ./rebuilt/"))
        assert "this version does not start" in told
        assert "did not start (above)" in told
        assert re.search(rf"{THIS}-(?!repacked)\w+ stays in service", told)
    assert versions == [THIS]
    debian.type(
        f"dpkg --install --force-confold ./whoisd_{THIS}_amd64.deb"
    )  # apt has a fault: no file name for a second try
    assert (version(debian), state(debian)) == (THIS, f"installed {THIS}")


def test_no_postgresql(debian: Debian) -> None:
    """Without PostgreSQL nothing is set up and nothing upgraded, which is said; the server is left as it is."""
    was = pid(debian)
    debian.type("systemctl stop postgresql")
    try:
        assert "PostgreSQL does not answer" in refused(debian, "whoisd-setup-database")
        assert re.search(rf"{THIS}-\w+ stays in service", refused(debian, upgrade_to(NEXT)))
        assert pid(debian) == was
    finally:
        debian.type("systemctl start postgresql")
    debian.type(TYPED["Rolling the package back"].replace("OLD", THIS))


def test_restart_forbidden(debian: Debian) -> None:
    """What policy-rc.d forbids is left to the operator: the new version is in place, and serves when they restart it."""
    debian.type("printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d")
    try:
        with load(debian) as versions:
            assert "type: systemctl restart whoisd" in debian.type(upgrade_to(NEXT))
        assert versions == [THIS]
    finally:
        debian.type("rm /usr/sbin/policy-rc.d")
    debian.type("systemctl restart whoisd")
    assert version(debian) == NEXT


def test_interrupted(debian: Debian) -> None:
    """A killed upgrade leaves the old version, and goes on when told."""
    debian.type(TYPED["Rolling the package back"].replace("OLD", THIS))
    debian.type(f"dpkg --unpack --force-confold whoisd_{NEXT}_amd64.deb")
    with load(debian) as versions:
        # Whoever migrates waits for the lock that is held here.
        debian.type(f"""
            {as_superuser(f"SELECT pg_advisory_lock({LOCK}), pg_sleep(600)")} > /dev/null 2>&1 &
            until [ "$({as_superuser(HELD.format("count(*)"))})" = 1 ]; do sleep 0.05; done
            setsid dpkg --force-confold --configure whoisd & configures=$!
            until [ "$(systemctl show --property=ActiveState --value whoisd-migrate)" = activating ]; do sleep 0.05; done
            kill -KILL -- -$configures
            {as_superuser(HELD.format("pg_terminate_backend(pid)"))}
            wait""")
        assert state(debian) == f"half-configured {NEXT}"
    assert versions == [THIS]
    with load(debian) as versions:
        debian.type("dpkg --force-confold --configure --pending")
    assert versions == [THIS, NEXT]


def test_no_systemd(debian: Debian) -> None:
    """In a system that is not booted, as an image that is being made, it installs, runs its command, and is removed."""
    debian.type(f"dpkg --unpack --force-confold whoisd_{NEXT}_amd64.deb")  # and never configured: the server runs on
    debian.type(TYPED["Removing the package"])
    alone = "unshare --mount bash -euc 'mount -t tmpfs none /run; {}'"
    debian.type(
        alone.format(f"apt-get install --yes ./whoisd_{THIS}_amd64.deb; whoisd --version; apt-get purge --yes whoisd")
    )
    debian.type(f"apt-get install --yes ./whoisd_{THIS}_amd64.deb && systemctl enable --now whoisd")
    assert version(debian) == THIS


def test_remove_and_purge(debian: Debian) -> None:
    """Removed, it leaves its configuration; purged, nothing but the data; port 43 is closed."""
    rows = debian.type(COUNT)
    debian.type("apt-get remove --yes whoisd")
    assert debian.type(f"ls {CONFIG}; test -e /usr/lib/whoisd || echo gone") == f"{CONFIG}\ngone\n"
    refused(debian, "(exec 3<>/dev/tcp/127.0.0.1/43) 2> /dev/null")
    debian.type(TYPED["Removing the package"])
    left = debian.type("find / -xdev -name '*whoisd*' -not -path '/proc/*' -not -path '/sys/*' -not -path '/root/*'")
    assert [path for path in left.split() if "/var/cache/apt/" not in path] == []
    assert debian.type("getent passwd whoisd whoisd-migrate || echo none") == "none\n"
    assert debian.type(COUNT) == rows
