"""Counts the user instructions that a query costs a worker, by valgrind's callgrind: what a busy machine cannot blur.

The server runs under valgrind and is asked a fixed number of queries, after as many that are not counted. What the kernel
does is not in the figure, and what waits for memory does not show: it tells one version from another, and no more.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from cost import HERE, IN_EVERY_ANSWER, Bench, Subject, build, queries, registry, whoisd

VALGRIND: Final = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--log-file=/dev/null")
TOTALS: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)


def control(pid: int, *options: str) -> None:
    """Tell a process under callgrind to do something."""
    subprocess.run(["callgrind_control", *options, str(pid)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - ours


def count(bench: Bench, subject: Subject, worker: int, connections: int) -> float:
    """Ask, and return how many instructions a query took the worker."""
    bench.load(subject, connections, bench.requests)  # what is made once is made now
    control(worker, "--instr=on")
    bench.load(subject, connections, bench.requests)
    control(worker, "--instr=off")
    control(worker, "--dump")
    (dump,) = bench.folder.glob(f"callgrind.{worker}.*")
    totals = TOTALS.search(dump.read_text(encoding="latin-1"))
    if not totals:
        sys.exit(f"{dump}: callgrind has written no totals")
    return int(totals[1]) / bench.requests


def main() -> None:
    """Count as the command line asks."""
    options = argparse.ArgumentParser(description="Count the user instructions of a query, by callgrind.")
    options.add_argument("pythons", type=Path, nargs="*", default=[sys.executable], metavar="PYTHON", help="with whoisd")
    options.add_argument("--data", type=Path, default=HERE.parent / ".bench", help="folder of the registries")
    options.add_argument("--domains", type=int, default=10_000)
    options.add_argument("--connections", type=int, nargs="+", default=(64, 1))
    options.add_argument("--requests", type=int, default=2_000)
    asked = options.parse_args()
    asked.data.mkdir(mode=0o711, exist_ok=True)
    folder = asked.data.absolute()
    bench = Bench(folder, build(folder, "floor"), build(folder, "whoisload"), asked.requests, 1)
    lines = folder / f"{asked.domains}.queries"
    lines.write_text("\n".join(queries(asked.domains, seed=1)) + "\n", encoding="utf-8")
    os.environ["PYTHONHASHSEED"] = "1"  # where things lie in dictionaries is chance too
    os.environ["WHOISD_DATABASE__DEADLINE"] = "10"  # seconds: under valgrind all takes fifty times as long
    with registry(folder, asked.domains) as cluster:
        for python in asked.pythons:
            for connections in asked.connections:
                command = (*VALGRIND, f"--callgrind-out-file={folder}/callgrind.%p", python, HERE / "alone.py")
                with whoisd(folder, asked.domains, cluster, command) as (port, worker):
                    figure = count(bench, Subject(port, [], lines, IN_EVERY_ANSWER), worker, connections)
                print(f"{python}, {connections} connections: {figure:,.0f} instructions a query", flush=True)


if __name__ == "__main__":
    main()
