"""The lines of registry files: plain or gzip, named or standard input (`-`). Knows nothing of what a line says.

Lines are read one by one, so that a file of any size takes the same memory, and a line has a limit.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from whoisd.errors import LoadError

LONGEST_LINE: Final = 65_536  # bytes; a record has no more than some 6,000
STANDARD_INPUT: Final = Path("-")
_BUFFER: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


class Line(NamedTuple):
    """A line with its place: which of the files, from 0, and its number there, from 1. None stands for one too long."""

    file: int
    number: int
    text: bytes | None


class RegistryFiles:
    """Registry files to be read once, one after the other; `read` is how many of their bytes were read so far."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if paths.count(STANDARD_INPUT) > 1:
            raise LoadError(["-: standard input can be read only once"])
        if STANDARD_INPUT in paths and sys.stdin is None:
            raise LoadError(["-: there is no standard input"])
        self.paths = paths
        self.read = 0

    def size(self) -> int | None:
        """Return how many bytes there are to be read; None when a file does not tell."""
        if STANDARD_INPUT in self.paths or not all(path.is_file() for path in self.paths):
            return None
        return sum(path.stat().st_size for path in self.paths)

    def lines(self) -> Generator[Line]:
        """Return the lines that are not blank. Raises `LoadError` for a file that cannot be read to its end."""
        for number, path in enumerate(self.paths):
            try:
                yield from self._lines_of(number, path)
            except gzip.BadGzipFile:
                raise LoadError([f"{path}: is no gzip file, or a damaged one"]) from None
            except zlib.error:
                raise LoadError([f"{path}: is a damaged gzip file"]) from None
            except EOFError:
                raise LoadError([f"{path}: is cut off: the end of the gzip file is missing"]) from None
            except OSError as error:
                raise LoadError([f"{path}: cannot be read: {error.strerror}"]) from None

    def _lines_of(self, file: int, path: Path) -> Iterator[Line]:
        with _open(path) as opened:
            counted = io.BufferedReader(_Counted(opened, self), _BUFFER)
            zipped = counted.peek(len(_GZIP)).startswith(_GZIP)
            source = io.BufferedReader(gzip.GzipFile(fileobj=counted), _BUFFER) if zipped else counted
            number = 0
            while text := source.readline(LONGEST_LINE + 1):
                number += 1
                if len(text) > LONGEST_LINE and not text.endswith(b"\n"):
                    yield Line(file, number, None)
                    while not text.endswith(b"\n") and (text := source.readline(_BUFFER)):
                        pass
                elif not text.isspace():
                    yield Line(file, number, text)


def _open(path: Path) -> BinaryIO:
    if path == STANDARD_INPUT:
        # Not sys.stdin, which a thread that waits for it would keep Python from closing at its end.
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return path.open("rb")


class _Counted(io.RawIOBase):
    """A file whose bytes are counted as they are read."""

    def __init__(self, file: BinaryIO, files: RegistryFiles) -> None:
        self._file = file
        self._files = files

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._files.read += len(data)
        return len(data)
