"""Checks the lines of registry files in processes of their own, while the loader's hands the records on to PostgreSQL.

To check a line takes as long as all the rest of a load, and one CPU for it leaves the others idle. The loader's process
reads the files, deals their lines out, and takes the answers in the order of the lines. When it ends, so do the others.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import cycle, islice
from multiprocessing.connection import Connection, Pipe
from typing import Final, NamedTuple, NoReturn

from whoisd.errors import WhoisdError, whereabouts
from whoisd.registry.files import LONGEST_LINE, Line, RegistryFiles
from whoisd.registry.records import RECORDS, Record, doubts, parse_record
from whoisd.registry.staging import Place, Row

CHUNK: Final = 5_000  # lines that are dealt out together
MOST_PROCESSES: Final = 2  # more would wait for PostgreSQL

_KILLED: Final = "a process that checks lines was killed; nothing was changed"
_KINDS: Final = {record: kind for kind, record in RECORDS.items()}


class Chunk(NamedTuple):
    """What some lines hold: rows by kind, each followed by its place; faults; and doubts."""

    rows: dict[str, list[Row]]
    faults: list[tuple[Place, str]]
    doubts: list[tuple[Place, str]]


def check(lines: Sequence[Line]) -> Chunk:
    """Check some lines."""
    chunk = Chunk({}, [], [])
    for file, number, text in lines:
        try:
            if text is None:
                raise ValueError(f"longer than {LONGEST_LINE:,} bytes")  # noqa: TRY301 - a fault like any other of a line
            record: Record = parse_record(text)
        except ValueError as error:
            chunk.faults.append(((file, number), str(error)))
            continue
        chunk.rows.setdefault(_KINDS[type(record)], []).append((*record, file, number))
        chunk.doubts.extend(((file, number), doubt) for doubt in doubts(record))
    return chunk


@contextmanager
def parsing(files: RegistryFiles) -> Iterator[Callable[[], Chunk | None]]:
    """Give what returns the next chunk of the files each time, in their order, and None at the end.

    That call blocks. It raises `LoadError` for a file that cannot be read to its end.
    """
    pipes: list[Connection] = []
    pids: list[int] = []
    chunks = _deal(files, pipes)
    try:
        for _ in range(min(MOST_PROCESSES, os.cpu_count() or 1)):
            ours, theirs = Pipe()
            pipes.append(ours)
            pids.append(_fork(theirs, pipes))
            theirs.close()
        yield lambda: next(chunks, None)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        with suppress(ValueError):  # a thread that is still in it: what it waits for has ended just now, and so will it
            chunks.close()
        for pipe in pipes:
            pipe.close()


def _deal(files: RegistryFiles, pipes: Sequence[Connection]) -> Generator[Chunk]:
    """Send a chunk of lines to each process in turn. One that has not answered yet is asked nothing else."""
    asked: deque[Connection] = deque()
    with closing(files.lines()) as lines:
        for pipe in cycle(pipes):
            if pipe in asked:
                yield _receive(asked.popleft())
            if not (some := list(islice(lines, CHUNK))):
                break
            _send(pipe, some)
            asked.append(pipe)
        while asked:
            yield _receive(asked.popleft())


def _send(pipe: Connection, lines: Sequence[Line]) -> None:
    try:
        pipe.send(lines)
    except OSError:
        raise WhoisdError(_KILLED) from None


def _receive(pipe: Connection) -> Chunk:
    try:
        said = pipe.recv()
    except (EOFError, OSError):
        raise WhoisdError(_KILLED) from None
    if isinstance(said, WhoisdError):
        raise said
    chunk: Chunk = said
    return chunk


def _fork(theirs: Connection, ours: Sequence[Connection]) -> int:
    pid = os.fork()
    if not pid:
        for pipe in ours:  # while anybody holds the loader's ends, nobody sees that it is gone
            pipe.close()
        _serve(theirs)
    return pid


def _serve(pipe: Connection) -> NoReturn:
    """Be a process that checks lines, until nobody asks any more."""
    with suppress(EOFError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the loader, which ends this one
        while True:
            pipe.send(_answer(pipe.recv()))
    os._exit(0)


def _answer(lines: Sequence[Line]) -> Chunk | WhoisdError:
    try:
        return check(lines)
    except Exception as error:  # noqa: BLE001 - its own text may quote a line
        return WhoisdError(f"a fault of whoisd's own, please report it: {whereabouts(error)}")
