"""The processes that check lines: what they give, in which order, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import PATIENCE, environment

from whoisd.errors import LoadError, WhoisdError
from whoisd.registry.checking import CHUNK, MOST_PROCESSES, check, parsing
from whoisd.registry.files import Line, RegistryFiles
from whoisd.registry.records import HostRecord


def host(number: int) -> bytes:
    return json.dumps({"type": "host", "name": f"ns{number}.eksempel.dk"}).encode() + b"\n"


def children() -> set[int]:
    """The processes that are ours now."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_what_is_in_some_lines() -> None:
    """Some lines are rows by kind, each followed by its place, and faults and doubts with theirs."""
    doubtful = {"type": "registrant", "handle": "A", "kind": "company", "name": "A", "country": "SE", "email": "a@a.example"}
    lines = [host(1), b"{", json.dumps(doubtful | {"vat_number": "SE1"}).encode(), None]
    chunk = check([Line(3, number, text) for number, text in enumerate(lines, start=7)])
    assert chunk.rows["host"] == [(*HostRecord("ns1.eksempel.dk"), 3, 7)]
    assert [row[-2:] for row in chunk.rows["registrant"]] == [(3, 9)]
    assert chunk.faults == [((3, 8), "not a JSON object"), ((3, 10), "longer than 65,536 bytes")]
    assert chunk.doubts == [((3, 9), "vat_number: is no valid number of the registrant's country")]


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, CHUNK * 7 + 3])
def test_order(tmp_path: Path, count: int) -> None:
    """However many lines there are, every one is answered for, in their order, and the processes end."""
    before = children()
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(map(host, range(count))))
    with parsing(RegistryFiles([file])) as take:
        assert len(children() - before) == min(MOST_PROCESSES, os.cpu_count() or 1)
        found: list[str] = []
        while chunk := take():
            found += [row[0] for row in chunk.rows["host"]]
    assert found == [f"ns{number}.eksempel.dk" for number in range(count)]
    assert children() == before


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that cannot be read ends the parsing with its fault, and the processes with it."""
    before = children()
    with parsing(RegistryFiles([tmp_path / "missing"])) as take, pytest.raises(LoadError, match="No such file"):
        take()
    assert children() == before


def test_process_that_is_killed(tmp_path: Path) -> None:
    """A process that is killed is an error, and no line that is passed over."""
    before = children()
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(map(host, range(CHUNK * 9))))
    with parsing(RegistryFiles([file])) as take:
        take()
        os.kill(max(children() - before), signal.SIGKILL)
        with pytest.raises(WhoisdError, match="a process that checks lines was killed; nothing was changed"):
            sum(1 for _ in iter(take, None))


_LOADER = """
import sys, time
from pathlib import Path
from whoisd.registry.files import RegistryFiles
from whoisd.registry.checking import parsing
with parsing(RegistryFiles([Path(sys.argv[1])])) as take:
    take()
    print("taken", flush=True)
    time.sleep(60)
"""


def test_they_end_with_the_loader(tmp_path: Path) -> None:
    """When the loader is killed, the processes that check lines for it end too."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(map(host, range(CHUNK * 9))))
    with subprocess.Popen([sys.executable, "-c", _LOADER, file], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        assert process.stdout.readline() == b"taken\n"
        pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert pids
        process.kill()
    deadline = time.monotonic() + PATIENCE
    while [
        pid for pid in pids if Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
