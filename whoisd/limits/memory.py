"""Memory that processes share: the file of the ledger of sources, and what a supervisor and its workers count in.

A file, so that rates and bans outlive a restart and `whoisd bans` can reach them.
"""

import fcntl
import mmap
import os
import secrets
from pathlib import Path
from typing import Final

from whoisd.errors import ConfigError
from whoisd.limits.ledger import ENTRIES, ENTRY, HEADER, Ledger, Secret

LEDGER_SIZE: Final = HEADER + ENTRIES * ENTRY
_OURS: Final = b"whoisd-"  # how the magic of every form begins


def anonymous(size: int) -> memoryview:
    """Return so many bytes, zero, that processes forked from this one share with it."""
    return memoryview(mmap.mmap(-1, size))


def open_ledger(path: Path, *, create: bool) -> Ledger:
    """Map the file of the ledger, made anew with `create` when it is missing, damaged or of another release's form.

    Raises `ConfigError`, which names the key and what to do; for a file that holds something else too, which is left alone.
    """
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            _see_to(path)
        memory = _map(path)
        if not Ledger.is_valid(memory):
            raise ConfigError(f"limits.file: {path}: was not made by this version; no server runs with it")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not create:
            raise ConfigError(f"limits.file: {path}: is not there; no server runs with this configuration") from None
        todo = f"name a file that the server's account may write, on a disk with {LEDGER_SIZE >> 20} MiB to spare"
        if isinstance(error, PermissionError) and not create:
            todo = "run this as root, or as the server's account"
        raise ConfigError(f"limits.file: {path}: {error.strerror}; {todo}") from None
    return Ledger(memory)


def _see_to(path: Path) -> None:
    """Make the file unless it is there and good. A new one takes its name when it is whole; the old stays with its users."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two servers that start at once make one file
        if path.exists():
            if Ledger.is_valid(_map(path)):
                return
            if not _is_ours(path):
                held = "holds something else, which a start would overwrite; name a file of its own"
                raise ConfigError(f"limits.file: {path}: {held}")
        unfinished = path.with_name(f"{path.name}.unfinished")
        unfinished.unlink(missing_ok=True)
        file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, LEDGER_SIZE)  # a mapped page for which the disk has no room is a crash
        finally:
            os.close(file)
        Ledger.format(_map(unfinished), Secret.of(secrets.token_bytes(16)))
        unfinished.rename(path)
    finally:
        os.close(lock)


def _is_ours(path: Path) -> bool:
    """Whether a file holds a ledger of any form, or nothing; zeros are what a crash of the machine can leave of one."""
    with path.open("rb") as file:
        head = file.read(len(_OURS))
    return head == _OURS or not head.strip(b"\0")


def _map(path: Path) -> memoryview:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        if size != LEDGER_SIZE:
            return memoryview(b"")
        # Mapped at once, so that a worker's memory does not grow with the sources that it sees.
        return memoryview(mmap.mmap(file, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE))
    finally:
        os.close(file)
