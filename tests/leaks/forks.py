"""whoisd's commands, each a process of its own, forked from one that has imported them: that takes longer than most of them.

Run as a program it takes an order, a line of JSON on standard input, and says the exit status when the command has ended.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

from support import environment


class Ran(NamedTuple):
    """How a command ended, and what it wrote on standard output and standard error."""

    status: int
    said: bytes
    wrong: bytes


class Commands(AbstractContextManager["Commands"]):
    """Runs commands one after the other."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        # What follows is found as the tests are.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment({"PYTHONPATH": paths}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._folder.cleanup()
        assert self._process.returncode == 0

    def start(self, *arguments: str | Path, settings: Mapping[str, str], stdin: bytes = b"") -> None:
        """Begin a command; `wait` is for its end, before which no other may begin."""
        Path(self._folder.name, "0").write_bytes(stdin)
        order = {"arguments": [*map(str, arguments)], "environment": environment(settings), "folder": self._folder.name}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def wait(self) -> Ran:
        assert self._process.stdout
        status = int(self._process.stdout.readline())
        said, wrong = (Path(self._folder.name, name).read_bytes() for name in "12")
        return Ran(status, said, wrong)

    def run(self, *arguments: str | Path, settings: Mapping[str, str], stdin: bytes = b"") -> Ran:
        """Run a command to its end."""
        self.start(*arguments, settings=settings, stdin=stdin)
        return self.wait()


def _become(order: Mapping[str, Any]) -> NoReturn:
    """Be a command, and end as one does, but for taking the modules apart: that would be most of what it costs."""
    from whoisd.commands.cli import main  # noqa: PLC0415 - which the program has done before it forks

    for number, flags in enumerate((os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2)):
        os.dup2(os.open(f"{order['folder']}/{number}", flags), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["whoisd", *order["arguments"]]
    status: object = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - whatever it is, Python prints it
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 0)


def _serve() -> None:
    import whoisd.commands.cli  # noqa: F401, PLC0415 - so that the forked have it

    while line := sys.stdin.readline():
        if pid := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201 - this is what it is for
        else:
            _become(json.loads(line))


if __name__ == "__main__":
    _serve()
