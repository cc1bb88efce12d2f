"""Memory that processes share: the ledger's file, made once and whole, kept while it is good, shared by whoever maps it."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import pytest
from support import PATIENCE, environment

from whoisd.errors import ConfigError
from whoisd.limits import memory
from whoisd.limits.keys import SOURCE, Key, Scope, key_of
from whoisd.limits.ledger import ENTRIES, HEADER
from whoisd.limits.memory import LEDGER_SIZE, LOCK_PATIENCE, anonymous, open_ledger

NOW: Final = 1_800_000_000.0
KEY: Final = Key(Scope.SOURCE_4, 0xC0000207)
NOBODY: Final = 65534
FORK: Final = get_context("fork")

# Says that it is up, waits for the word to go, opens the file, bans a source, and says how many bans there are in the end.
OPEN: Final = """
import sys
from pathlib import Path
from whoisd.limits.memory import open_ledger
from whoisd.limits.keys import Key, Scope
print("up", flush=True)
sys.stdin.readline()
ledger = open_ledger(Path(sys.argv[1]), create=True)
ledger.ban(Key(Scope.SOURCE_4, int(sys.argv[2])), 1.8e9)
print("banned", flush=True)
sys.stdin.readline()
print(len([*ledger.bans(1.8e9)]), ledger.secret)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file is to be, in a folder that is yet to be made."""
    return tmp_path / "run" / "whoisd" / "sources"


def fault(file: Path, *, create: bool) -> str:
    """What the file is refused with."""
    with pytest.raises(ConfigError) as refused:
        open_ledger(file, create=create)
    return str(refused.value)


def in_child(act: Callable[[], None]) -> int:
    """The exit code of a forked process that does this."""
    child = FORK.Process(target=act)
    child.start()
    child.join(PATIENCE)
    assert child.exitcode is not None
    return child.exitcode


def test_file_is_made(file: Path) -> None:
    """The file is made with its folders, whole and empty, and nobody but its owner may read or write it."""
    mask = os.umask(0)
    try:
        ledger = open_ledger(file, create=True)
    finally:
        os.umask(mask)
    assert [*ledger.bans(NOW)] == []
    assert file.stat().st_size == LEDGER_SIZE == HEADER + ENTRIES * 32
    assert file.stat().st_blocks * 512 >= LEDGER_SIZE
    assert sorted(path.name for path in file.parent.iterdir()) == ["sources", "sources.lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}


def test_secrets_differ(file: Path) -> None:
    """Each file has a secret of its own."""
    first = open_ledger(file, create=True).secret
    second = open_ledger(file.with_name("another"), create=True).secret
    assert first.factor != second.factor
    assert first.salt != second.salt
    assert first.factor % 2 == second.factor % 2 == 1


@pytest.mark.parametrize("create", [True, False])
def test_file_is_used_again(file: Path, create: bool) -> None:
    """A file that is good is kept, by a server that starts and by a command: bans outlive a restart."""
    before = open_ledger(file, create=True)
    before.ban(KEY, NOW)
    inode = file.stat().st_ino
    after = open_ledger(file, create=create)
    assert after.ban_of(KEY, NOW) == 60
    assert after.secret == before.secret
    assert file.stat().st_ino == inode
    assert after.lift(KEY, NOW)
    assert before.ban_of(KEY, NOW) == 0


def damaged(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"whoisd-0")


def of_another_number_of_entries(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(8)
        opened.write((ENTRIES // 2).to_bytes(8, "little"))


def short(file: Path) -> None:
    os.truncate(file, LEDGER_SIZE - 1)


def long(file: Path) -> None:
    os.truncate(file, LEDGER_SIZE + 32)


def empty(file: Path) -> None:
    os.truncate(file, 0)


SPOILT: Final = [damaged, of_another_number_of_entries, short, long, empty]


@pytest.mark.parametrize("spoil", SPOILT)
def test_spoilt_file_is_made_anew(file: Path, spoil: Callable[[Path], None]) -> None:
    """A server that starts replaces a file that is damaged, short or of another form by a good one, which then stays."""
    open_ledger(file, create=True).ban(KEY, NOW)
    spoil(file)
    ledger = open_ledger(file, create=True)
    assert [*ledger.bans(NOW)] == []
    ledger.ban(KEY, NOW)
    assert open_ledger(file, create=False).ban_of(KEY, NOW) == 60
    assert file.stat().st_size == LEDGER_SIZE


@pytest.mark.parametrize("spoil", SPOILT)
def test_spoilt_file_is_refused(file: Path, spoil: Callable[[Path], None]) -> None:
    """A command refuses such a file, names its key, and leaves it as it is."""
    open_ledger(file, create=True)
    spoil(file)
    before = file.read_bytes()
    assert fault(file, create=False) == f"limits.file: {file}: was not made by this version; no server runs with it"
    assert file.read_bytes() == before


TEXT: Final = b"whoisd-1 is the name of the old server, and these are my notes about it; do not throw them away.\n"


@pytest.mark.parametrize(
    "held",
    [
        b"[database]\n", b"w", b"{}", b"\0whoisd", bytes(6) + b"\1", b"x" * LEDGER_SIZE,
        bytes(7), bytes(7) + b"precious", bytes(LEDGER_SIZE), b"whoisd-", b"whoisd-1", b"whoisd-1" + bytes(56), TEXT,
        TEXT.ljust(LEDGER_SIZE),
    ],
)  # fmt: skip
def test_file_of_something_else_is_left_alone(file: Path, held: bytes) -> None:
    """A server does not start over a file that was never a ledger: what it holds is worth more than a list of bans."""
    file.parent.mkdir(parents=True)
    file.write_bytes(held)
    said = f"limits.file: {file}: holds something else, which a start would overwrite; name a file of its own"
    assert fault(file, create=True) == said
    assert fault(file, create=False) == f"limits.file: {file}: was not made by this version; no server runs with it"
    assert file.read_bytes() == held


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def device(path: Path) -> None:
    """A device node like /dev/null, in a folder of the test's own."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make a device node")


def block_device(path: Path) -> None:
    """The node of a block device that no driver serves."""
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(240, 99))
    except PermissionError:
        pytest.skip("only root may make a device node")


def link_to(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """A symbolic link to such a thing."""

    def make_link(path: Path) -> None:
        make(path.with_name("target"))
        path.symlink_to(path.with_name("target"))

    make_link.__name__ = f"link_to_{make.__name__}"
    return make_link


def text(path: Path) -> None:
    path.write_bytes(TEXT)


def nothing(path: Path) -> None:
    """Where the link leads there is nothing."""


NO_FILES: Final[dict[Callable[[Path], None], str]] = {
    fifo: "is a FIFO",
    bound: "is a socket",
    device: "is a device",
    block_device: "is a device",
    folder: "is a directory",
    **dict.fromkeys(map(link_to, (fifo, device, folder, text, nothing)), "is a symbolic link"),
}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("suffix", ["", ".lock", ".unfinished"])
@pytest.mark.parametrize(("make", "kind"), NO_FILES.items(), ids=[make.__name__ for make in NO_FILES])
def test_what_is_no_file_is_left_alone(
    file: Path, make: Callable[[Path], None], kind: str, suffix: str, create: bool
) -> None:
    """A device, FIFO, socket, link or folder is refused at once and by its kind, not opened, and there as it was before.

    So it is where it has the name of the lock, or of the file while it is made.
    """
    file.parent.mkdir(parents=True)
    path = file.with_name(f"{file.name}{suffix}")
    make(path)
    before = path.lstat()
    if suffix and not create:
        return  # a command makes neither
    begin = time.monotonic()
    assert fault(file, create=create) == f"limits.file: {path}: {kind}, and no file; name a file of its own"
    assert time.monotonic() - begin < LOCK_PATIENCE
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev, after.st_atime_ns) == (
        before.st_ino, before.st_mode, before.st_rdev, before.st_atime_ns
    )  # fmt: skip


def test_a_lock_that_is_held(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another process does not give back is named after some seconds; nothing is made or replaced."""
    monkeypatch.setattr(memory, "LOCK_PATIENCE", 0.3)
    file.parent.mkdir(parents=True)
    with file.with_name("sources.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        begin = time.monotonic()
        said = fault(file, create=True)
    assert 0.3 <= time.monotonic() - begin < 3
    assert said == (f"limits.file: {file}.lock: another process has held this lock for 0 s; end it, or name another file")
    assert not file.exists()
    assert [*open_ledger(file, create=True).bans(NOW)] == []


def test_no_crash_leaves_zeros(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file is on the disk before it has its name: a crash of the machine can leave none that a start would refuse."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, file.exists())))
    open_ledger(file, create=True)
    assert synced == [(file.stat().st_ino, False)]


def test_who_has_the_old_file_keeps_it(file: Path) -> None:
    """A file that is replaced stays whole for whoever has it open: it is a new one that takes its name."""
    first = open_ledger(file, create=True)
    first.ban(KEY, NOW)
    damaged(file)
    second = open_ledger(file, create=True)
    assert (first.ban_of(KEY, NOW), second.ban_of(KEY, NOW)) == (60, 0)


def test_missing_file_is_refused(file: Path) -> None:
    """A command makes no file and no folder: where there is none it says that no server runs so."""
    said = (
        f"limits.file: {file}: is not there; no server runs with this configuration, or somebody removed the file of one"
        " that does, which makes it anew when it is restarted"
    )
    assert fault(file, create=False) == said
    assert not file.parent.parent.exists()
    file.parent.mkdir(parents=True)
    assert fault(file, create=False) == said
    assert [*file.parent.iterdir()] == []


def test_what_a_start_left_unfinished_is_no_hindrance(file: Path) -> None:
    """A file that a server could not finish, as for want of room, is thrown away by the next that starts."""
    file.parent.mkdir(parents=True)
    unfinished = file.with_name("sources.unfinished")
    unfinished.write_bytes(b"x" * (LEDGER_SIZE + 9))
    unfinished.chmod(0o644)
    assert [*open_ledger(file, create=True).bans(NOW)] == []
    assert not unfinished.exists()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


WHAT_TO_DO: Final = "name a file that the server's account may write, on a disk with 4 MiB to spare"


@pytest.mark.parametrize("create", [True, False])
def test_where_nothing_can_be_written(file: Path, create: bool) -> None:
    """Where the file cannot be had the fault names the key, the file, the system's reason, and what to do."""
    file.mkdir(parents=True)
    assert fault(file, create=create) == f"limits.file: {file}: is a directory, and no file; name a file of its own"
    below = file.parent / "file" / "sources"
    below.parent.write_text("")
    said = {True: "File exists", False: "Not a directory"}[create]
    assert fault(below, create=create) == f"limits.file: {below}: {said}; {WHAT_TO_DO}"


def test_where_no_folder_can_be_made() -> None:
    """A server that can make no folder is not told that no server runs."""
    file = Path("/proc/whoisd/sources")
    assert fault(file, create=True) == f"limits.file: {file}: No such file or directory; {WHAT_TO_DO}"


@pytest.mark.parametrize("there", [True, False])
def test_without_permission(file: Path, there: bool) -> None:
    """An account that may not write the folder, or the file, is told so with the key."""
    file.parent.mkdir(parents=True)
    if there:
        open_ledger(file, create=True)
    file.parent.chmod(0o500)

    def look() -> None:
        if os.getuid() == 0:  # may do everything
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        for create in (True, False) if there else (True,):
            what = WHAT_TO_DO if create else "run this as root, or as the server's account"
            assert fault(file, create=create) == f"limits.file: {file}: Permission denied; {what}"

    try:
        if os.getuid() != 0 and there:
            file.chmod(0o400)
        assert in_child(look) == 0
    finally:
        file.parent.chmod(0o700)


def test_processes_that_start_at_once_have_one_file(file: Path) -> None:
    """Servers that start at the same moment make one file between them, and each sees what the others ban."""
    count = 6
    command = [sys.executable, "-c", OPEN, str(file)]
    starting = [
        subprocess.Popen(
            [*command, str(number)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        for word in ("up\n", "banned\n"):
            for process in starting:
                assert process.stdout
                assert process.stdout.readline() == word
            for process in starting:
                assert process.stdin
                process.stdin.write("\n")
                process.stdin.flush()
        said = [process.communicate(timeout=PATIENCE) for process in starting]
    finally:
        for process in starting:
            process.kill()
            process.wait()
    assert {errors for _, errors in said} == {""}
    assert {text for text, _ in said} == {f"{count} {open_ledger(file, create=False).secret}\n"}
    assert sorted(path.name for path in file.parent.iterdir()) == ["sources", "sources.lock"]


def test_a_start_waits_for_one_that_makes_the_file(file: Path) -> None:
    """While another server has the lock the file is neither made nor replaced, and it is used once that is done."""
    open_ledger(file, create=True)
    damaged(file)
    holder = subprocess.Popen(
        ["flock", "--exclusive", f"{file}.lock", "sh", "-c", "echo locked; read word"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin
    assert holder.stdout
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"locked\n"
        opened = threading.Thread(target=open_ledger, args=(file,), kwargs={"create": True})
        opened.start()
        opened.join(0.2)
        assert opened.is_alive()
        assert file.read_bytes()[:8] == b"whoisd-0"
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        opened.join(PATIENCE)
        assert not opened.is_alive()
    assert [*open_ledger(file, create=False).bans(NOW)] == []


def test_forked_processes_share_the_ledger(file: Path) -> None:
    """What a worker writes is what the others and the supervisor read, without a word between them."""
    ledger = open_ledger(file, create=True)
    addresses = [ip_address("192.0.2.1") + number for number in range(4)]

    def work(number: int) -> None:
        ledger.ban(key_of(addresses[number], SOURCE), NOW)

    for number in range(4):
        assert in_child(partial(work, number)) == 0
    assert {ban.key for ban in ledger.bans(NOW)} == {key_of(address, SOURCE) for address in addresses}
    assert len([*open_ledger(file, create=False).bans(NOW)]) == 4


def test_forked_processes_share_what_they_count_in() -> None:
    """Anonymous memory is zero, of the size that was asked for, and shared with forked processes."""
    shared = anonymous(1000)
    assert bytes(shared) == bytes(1000)

    def work() -> None:
        shared[999] = 7

    assert in_child(work) == 0
    assert shared[999] == 7


def test_the_file_is_in_memory_at_once(file: Path) -> None:
    """All of the ledger is in memory from the beginning, so that no worker grows with the sources that it sees."""
    ledger = open_ledger(file, create=True)
    mapped = Path("/proc/self/smaps").read_text().split(f"{file}\n")[1:]
    sizes = [int(part.split("Rss:")[1].split()[0]) for part in mapped]
    assert sizes[-1] * 1024 >= LEDGER_SIZE
    assert ledger.ban_of(KEY, NOW) == 0
