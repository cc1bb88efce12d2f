"""CVR's files: which they are, and the records in them, one after the other. Knows nothing of what a record says.

A file of Datafordeleren's is a zip with one JSON array. System-til-system documents are JSON, one value a line or one in the
file, plain or gzip, named or standard input (`-`). What is in a file is never held whole: a record has a limit, and so has
what a zip may grow to.
"""

import gzip
import io
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Protocol
from zipfile import BadZipFile, ZipFile, ZipInfo

import ijson
import orjson

from whoisd.errors import LoadError
from whoisd.registry.cvr.datafordeler import NAMES, REQUIRED, Download, Entity, download

STANDARD_INPUT: Final = Path("-")
LONGEST_ROW: Final = 1 << 18  # bytes; a row of Datafordeleren's has no more than some 2,000
LONGEST_DOCUMENT: Final = 1 << 22  # bytes; of a company with a long history it has some 500,000
MOST_GROWTH: Final = 100  # times the size of the zip; CVR's files grow to some 30 times

_CHUNK: Final = 1 << 16
_BUFFER: Final = 1 << 20
_ZIP: Final = b"PK"
_GZIP: Final = b"\x1f\x8b"
_ENCRYPTED: Final = 1  # the bit of a zip's flags
# With what an answer to a search begins, whose companies are in its `hits.hits`.
_ANSWER: Final = frozenset({"took", "timed_out", "_shards", "hits", "_scroll_id", "pit_id", "terminated_early"})


@dataclass(frozen=True, slots=True)
class CvrFile:
    """A file by its path; `download` is what it is at Datafordeleren, or None for documents."""

    path: Path
    download: Download | None


class CvrFiles:
    """The files of one update, in the order in which they are to be read; `read` is how many bytes of the one that is.

    Raises `LoadError` for files that do not belong together.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if paths.count(STANDARD_INPUT) > 1:
            raise LoadError(["-: standard input can be read only once"])
        if STANDARD_INPUT in paths and sys.stdin is None:
            raise LoadError(["-: there is no standard input"])
        files = [CvrFile(path, _identify(path)) for path in paths]
        downloads = [file.download for file in files if file.download]
        if downloads and (faults := _mixed(downloads, len(files))):
            raise LoadError(faults)
        order = [*Entity]
        self.files = sorted(files, key=lambda file: order.index(file.download.entity) if file.download else 0)
        self.generation = downloads[0].generation if downloads else None  # None of documents
        self.read = 0

    def rows(self, file: CvrFile) -> Generator[Any]:
        """Return the rows of a zip. Raises `LoadError` where it cannot be read to its end."""
        self.read = 0
        with _telling(file.path), _member(file.path) as (opened, _):
            first = opened.read(_CHUNK)
            if not first.lstrip().startswith(b"["):  # there are no rows in what is no list, and none would be missed
                raise LoadError([f"{file.path}: has no JSON list in it, as CVR's files have"])
            yield from _elements(file.path, _Counted(_Joined(first, opened.read), self, LONGEST_ROW), "item")

    def documents(self, file: CvrFile) -> Generator[Any]:
        """Return the JSON values of a file of documents, of which each is a company or an answer to a search.

        Raises `LoadError` where it cannot be read to its end.
        """
        self.read = 0
        with _telling(file.path), _open(file.path) as opened:
            source = _buffered(_Raw(opened))
            if source.peek(len(_GZIP)).startswith(_GZIP):
                source = _buffered(gzip.GzipFile(fileobj=source))
            yield from _values(file.path, source, self)

    def size(self, file: CvrFile) -> int | None:
        """Return how many bytes of a file there are to be read; None where that is not told."""
        if file.download is None:
            return None
        with _telling(file.path), _member(file.path) as (_, member):
            return member.file_size


# --- which files there are -------------------------------------------------------------------------------------------


def _identify(path: Path) -> Download | None:
    """Return what a zip is of by its name, or by the name of what is in it."""
    if path == STANDARD_INPUT:
        return None
    try:
        with _telling(path), path.open("rb") as opened:
            if not opened.read(len(_ZIP)).startswith(_ZIP):
                if download(path.name):
                    raise LoadError([f"{path}: is no zip file, as a file of that name is: give it as it was downloaded"])
                return None
        with _telling(path), _member(path) as (_, member):
            names = [found for found in (download(path.name), download(Path(member.filename).name)) if found]
    except ValueError as error:
        raise LoadError([f"{path}: {error}"]) from None
    if not names:
        raise LoadError([f"{path}: has no name as CVR's files have: CVR_V2_Virksomhed_TotalDownload_json_Current_345.zip"])
    if len(set(names)) > 1:
        raise LoadError([f"{path}: has another file in it than its name says: download it again"])
    return names[0]


def _mixed(found: Sequence[Download], files: int) -> list[str]:
    """Return what speaks against reading these files together."""
    if len(found) < files:
        return ["files of Datafordeleren's and documents are not read together: give one or the other"]
    faults = []
    for what, kinds in (
        ("generation", {str(each.generation) for each in found}),
        ("kind", {each.history for each in found}),
    ):
        if len(kinds) > 1:
            faults.append(f"{what}: the files are of several, {', '.join(sorted(kinds))}: give those of one")
    counts = Counter(each.entity for each in found)
    faults += [
        f"{entity}: {count} files of this entity are given: give one" for entity, count in counts.items() if count > 1
    ]
    if missing := [entity for entity in REQUIRED if entity not in counts]:
        faults.append(f"{', '.join(missing)}: required, and not given; of {NAMES} the last two may be left out")
    return faults


# --- zip and text ------------------------------------------------------------------------------------------------------


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell of a file that cannot be read; the exceptions' own texts may quote it."""
    try:
        yield
    except BadZipFile:
        raise LoadError([f"{path}: is a zip file that is cut off or damaged: download it again"]) from None
    except gzip.BadGzipFile:
        raise LoadError([f"{path}: is no gzip file, or a damaged one"]) from None
    except zlib.error:
        raise LoadError([f"{path}: is damaged: download it again"]) from None
    except EOFError:
        raise LoadError([f"{path}: is cut off: its end is missing; download it again"]) from None
    except NotImplementedError:
        raise LoadError([f"{path}: is compressed in a way that is not read; CVR's files are not"]) from None
    except OSError as error:
        raise LoadError([f"{path}: cannot be read: {error.strerror}"]) from None


@contextmanager
def _member(path: Path) -> Iterator[tuple[IO[bytes], ZipInfo]]:
    """Open the one file in a zip."""
    with ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise LoadError([f"{path}: has {len(members)} files in it, and CVR's have one"])
        (member,) = members
        if member.flag_bits & _ENCRYPTED:
            raise LoadError([f"{path}: is encrypted, and CVR's files are not"])
        if member.file_size > MOST_GROWTH * max(path.stat().st_size, _CHUNK):
            raise LoadError([f"{path}: grows to more than {MOST_GROWTH} times its size, and CVR's files do not"])
        with archive.open(member) as opened:
            yield opened, member


def _buffered(raw: Any) -> io.BufferedReader:
    return io.BufferedReader(raw, _BUFFER)


def _open(path: Path) -> BinaryIO:
    if path == STANDARD_INPUT:
        # Not sys.stdin, which a thread that waits for it would keep Python from closing at its end.
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return path.open("rb")


class _Raw(io.RawIOBase):
    """A file as what Python's buffers read from."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Counted:
    """What a parser reads from: its last piece begins and ends at a byte, and a record that is too long ends it."""

    def __init__(self, file: _Source, files: "CvrFiles", longest: int) -> None:
        self._file = file
        self._files = files
        self.longest = longest
        self._since = 0  # bytes since the last record ended
        self.begins = self.position = 0

    def read(self, size: int) -> bytes:
        if self._since > self.longest + _CHUNK:
            raise _TooLong
        data = self._file.read(min(size, _CHUNK))
        self.begins = self.position
        self.position += len(data)
        self._since += len(data)
        self._files.read += len(data)
        return data

    def end_record(self) -> None:
        """Note that a record has ended."""
        self._since = 0


class _TooLong(Exception):  # noqa: N818 - no error that anybody sees
    """A record is longer than any of its kind."""


# --- JSON ----------------------------------------------------------------------------------------------------------------


def _elements(path: Path, source: _Counted, prefix: str, place: str = "") -> Iterator[Any]:
    """Return what is at a place in a JSON value, one after the other: `item` is each element of a list."""
    number = 0
    try:
        # To a float a whole number has 64 bits, and one with more is a fault; else one of 4,301 digits ends the process.
        for element in ijson.items(source, prefix, buf_size=_CHUNK, use_float=True):
            number += 1
            source.end_record()
            yield element
    except _TooLong:
        raise LoadError(
            [f"{path}: {place}after record {number}: a record is longer than {source.longest:,} bytes"]
        ) from None
    except (ijson.JSONError, ArithmeticError, ValueError):  # whose texts quote the file
        where = f"{place}after record {number}, at byte {source.begins:,} to {source.position:,}"
        raise LoadError([f"{path}: {where}: is not the JSON that it should be, or is cut off"]) from None


def _values(path: Path, source: io.BufferedReader, files: "CvrFiles") -> Iterator[Any]:
    """Return the values of a file of JSON lines or of one JSON value; of a list, or of a long answer, what is in it."""
    first = source.readline(LONGEST_DOCUMENT)
    while first.isspace():
        first = source.readline(LONGEST_DOCUMENT)
    if first.endswith(b"\n") and _parsed(first) is None:  # the beginning of a value over several lines
        first += source.read(_CHUNK)
        yield from _within(path, first, _Counted(_Joined(first, source.read), files, LONGEST_DOCUMENT))
        return
    number = 1
    while first:
        if not first.isspace():
            yield from _of_line(path, number, first, source, files)
        first = source.readline(LONGEST_DOCUMENT)
        number += 1


def _of_line(path: Path, number: int, first: bytes, source: io.BufferedReader, files: "CvrFiles") -> Iterator[Any]:
    files.read += len(first)
    place = f"line {number}: "
    if not first.endswith(b"\n") and len(first) == LONGEST_DOCUMENT:
        rest = _Joined(first, _Line(source).read)
        yield from _within(path, first, _Counted(rest, files, LONGEST_DOCUMENT), place)
        return
    value = _parsed(first)
    if value is None:
        raise LoadError([f"{path}: {place}is not JSON, or is cut off"])
    yield from value if isinstance(value, list) else [value]


def _within(path: Path, first: bytes, source: _Counted, place: str = "") -> Iterator[Any]:
    """Return what a value of any length holds, by its beginning: a list, an answer to a search, or a document."""
    begins = first.lstrip()
    if begins.startswith(b"["):
        return _elements(path, source, "item", place)
    key = re.match(rb'\{\s*"([^"]*)"', begins)
    if key and key[1].decode("ascii", "replace") in _ANSWER:
        return _elements(path, source, "hits.hits.item", place)
    return _elements(path, source, "", place)


def _parsed(line: bytes) -> Any:
    """Return the JSON value of a line, or None where it is none, as of `null`."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


class _Joined:
    """What was read already, and then the rest."""

    def __init__(self, first: bytes, read: Callable[[int], bytes]) -> None:
        self._first = first
        self._read = read

    def read(self, size: int) -> bytes:
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        return self._read(size)


class _Line:
    """The rest of a line, as a file of its own."""

    def __init__(self, source: io.BufferedReader) -> None:
        self._source = source
        self._ended = False

    def read(self, size: int) -> bytes:
        data = b"" if self._ended else self._source.readline(size)
        self._ended = self._ended or data.endswith(b"\n")
        return data
