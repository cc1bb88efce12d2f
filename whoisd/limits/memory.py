"""Memory that processes share: the file of the ledger, and what a supervisor and its workers count in.

A file, so that rates and bans outlive a restart and `whoisd bans` can reach them. Whatever else has its name is left alone,
and is not even opened where that could do something: a device, a FIFO.
"""

import fcntl
import mmap
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from whoisd.errors import ConfigError
from whoisd.limits.ledger import ENTRIES, ENTRY, HEADER, Ledger, Secret

LEDGER_SIZE: Final = HEADER + ENTRIES * ENTRY
LOCK_PATIENCE: Final = 5.0  # seconds for another server to make the file; it takes milliseconds
_LOOK_AGAIN: Final = 0.02  # seconds
_KINDS: Final = {
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a directory",
}


def anonymous(size: int) -> memoryview:
    """Return so many bytes, zero, that processes forked from this one share with it."""
    return memoryview(mmap.mmap(-1, size))


def open_ledger(path: Path, *, create: bool) -> Ledger:
    """Map the file of the ledger; with `create`, make it when it is missing or empty, and anew when it is spoilt.

    Raises `ConfigError`, which names the key and what to do; for anything that is no ledger too, which is left alone.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path.with_name(f"{path.name}.lock")):
                _see_to(path)
        memory = _map(path)
        if not Ledger.is_valid(memory):
            raise _fault(path, "was not made by this version; no server runs with it")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            raise _fault(
                path,
                "is not there; no server runs with this configuration, or somebody removed the file of one that does, which"
                " makes it anew when it is restarted",
            ) from None
        todo = f"name a file that the server's account may write, on a disk with {LEDGER_SIZE >> 20} MiB to spare"
        if isinstance(error, PermissionError) and not create:
            todo = "run this as root, or as the server's account"
        raise _fault(path, f"{error.strerror}; {todo}") from None
    return Ledger(memory)


def _fault(path: Path, what: str) -> ConfigError:
    return ConfigError(f"limits.file: {path}: {what}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock: two servers that start at once make one file. Raises `ConfigError` when it cannot be had in time."""
    lock = _open(path, os.O_CREAT)
    try:
        gives_up = monotonic() + LOCK_PATIENCE
        while not _try_lock(lock):
            if monotonic() > gives_up:
                raise _fault(
                    path, f"another process has held this lock for {LOCK_PATIENCE:.0f} s; end it, or name another file"
                )
            sleep(_LOOK_AGAIN)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _see_to(path: Path) -> None:
    """Make the file unless it is there and good. A new one takes its name when it is whole; the old stays with its users."""
    if os.path.lexists(path):
        if Ledger.is_valid(_map(path)):
            return
        if not _is_ours(path):
            raise _fault(path, "holds something else, which a start would overwrite; name a file of its own")
    unfinished = path.with_name(f"{path.name}.unfinished")
    if os.path.lexists(unfinished):
        os.close(_open(unfinished))  # no more than a file is thrown away
        unfinished.unlink()
    file = _open(unfinished, os.O_CREAT | os.O_EXCL)
    try:
        os.posix_fallocate(file, 0, LEDGER_SIZE)  # a mapped page for which the disk has no room is a crash
        Ledger.format(_map(unfinished), Secret.of(secrets.token_bytes(16)))
        os.fsync(file)  # before it has its name: after a crash of the machine that would be a file of zeros
    finally:
        os.close(file)
    unfinished.rename(path)


def _is_ours(path: Path) -> bool:
    """Whether a file is empty, or was made as a ledger, of whatever release, and is damaged, cut off or of another form."""
    file = _open(path)
    try:
        head = os.pread(file, HEADER, 0)
    finally:
        os.close(file)
    return not head or Ledger.is_header(head)


def _open(path: Path, flags: int = 0) -> int:
    """Open a file, and nothing but a file. Raises `ConfigError` for what is none, without a wait or an effect on it."""
    if os.path.lexists(path):
        _check_kind(path, path.lstat().st_mode)
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600)
    try:
        _check_kind(path, os.fstat(file).st_mode)  # it may have been put there since
    except ConfigError:
        os.close(file)
        raise
    return file


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "is no file")
        raise _fault(path, f"{kind}, and no file; name a file of its own")


def _map(path: Path) -> memoryview:
    file = _open(path)
    try:
        size = os.fstat(file).st_size
        if size != LEDGER_SIZE:
            return memoryview(b"")
        # Mapped at once, so that a worker's memory does not grow with the sources that it sees.
        return memoryview(mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE))
    finally:
        os.close(file)
