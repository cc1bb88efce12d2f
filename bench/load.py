"""Measures `whoisd load` and `whoisd cvr update`, with a generated registry and a generation of CVR's data about it.

The registry is loaded into an empty database, then a later export that differs a little, then CVR's data is read. While
either runs, clients ask a server for names of the registry; each answer must be the one from before or the one from after.
Then the disclosure report is timed. PostgreSQL flushes to the disk, and has the settings that the manual advises. Prints a
table in Markdown; `make bench-load` takes some minutes with 1.3 million domains.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from registry import domain_name

HERE: Final = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))  # what the tests have of a server and its clients

from support import WHOISD, Service, environment  # noqa: E402 - it is found only now

from whoisd.sandbox.postgres import Cluster, temporary_folder  # noqa: E402 - the same
from whoisd.sandbox.sandbox import DATABASE, prepare  # noqa: E402 - the same

ASKED: Final = 2_000  # names that are asked for, again and again, while a load runs
# What the manual advises; all else is as PostgreSQL comes.
SETTINGS: Final = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
PAUSE: Final = 0.01  # seconds between two questions of a client: two cores are for the load


class Ran(NamedTuple):
    """What a command took: seconds, CPU seconds of its own, and MiB of memory at most."""

    seconds: float
    cpu: float
    peak: float


def run(arguments: Sequence[str | Path], settings: Mapping[str, str]) -> Ran:
    """Run a command to its end, which must be good."""
    began = time.monotonic()
    process = subprocess.Popen(arguments, env=environment(settings), stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit(f"{arguments} ended with {status}")
    return Ran(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Asker(threading.Thread):
    """A client that asks for one name after the other and keeps what it heard of each."""

    def __init__(self, service: Service, names: Sequence[str]) -> None:
        super().__init__()
        self._service = service
        self._names = names
        self.enough = threading.Event()
        self.heard: Counter[tuple[str, str]] = Counter()

    def run(self) -> None:
        """Ask until it is enough."""
        while not self.enough.wait(PAUSE):
            name = random.choice(self._names)
            self.heard[name, ask(self._service, name)] += 1


def ask(service: Service, name: str) -> str:
    """Return the answer for a name and its registrant."""
    return service.ask(f"--charset=utf-8 --show-handles {name}")


def watched(service: Service, names: Sequence[str], command: Sequence[str | Path], settings: Mapping[str, str]) -> str:
    """Run a load while clients ask; return its row of the table."""
    before = {name: ask(service, name) for name in names}
    askers = [Asker(service, names) for _ in range(2)]
    for asker in askers:
        asker.start()
    ran = run(command, settings)
    for asker in askers:
        asker.enough.set()
        asker.join()
    after = {name: ask(service, name) for name in names}
    heard = sum((asker.heard for asker in askers), Counter[tuple[str, str]]())
    wrong = sum(count for (name, said), count in heard.items() if said not in (before[name], after[name]))
    return f"{ran.seconds:.1f} s | {ran.cpu:.1f} s | {ran.peak:.0f} MiB | {heard.total():,} | {wrong}"


def main() -> None:
    """Measure as the command line asks, and print the table."""
    options = argparse.ArgumentParser(description="Measure whoisd load and whoisd cvr update.")
    options.add_argument("--domains", type=int, default=1_300_000)
    options.add_argument("--companies", type=int, default=1_300_000, help="in CVR's data, the registrants' among them")
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    names = [domain_name(number) for number in random.Random(asked.seed).sample(range(asked.domains), ASKED)]
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        files = [folder / "first.jsonl", folder / "later.jsonl"]
        for file, percent in zip(files, ("0", "1"), strict=True):
            make = [sys.executable, str(HERE / "registry.py"), "--domains", str(asked.domains), "--seed", str(asked.seed)]
            run([*make, "--changed", percent, str(file)], {})
        cluster = Cluster(folder / "postgresql", durable=True, settings=SETTINGS)
        stack.callback(cluster.stop)
        cluster.start()
        asyncio.run(prepare(cluster, predefined=False))
        reader, owner = cluster.dsn("whoisd_reader", DATABASE), cluster.dsn("whoisd_owner", DATABASE)
        settings = {"WHOISD_DATABASE__DSN": reader, "WHOISD_DATABASE__OWNER_DSN": owner}
        service = stack.enter_context(Service(reader, {"WHOISD_LOG__LEVEL": "info"}))
        lines = sum(1 for _ in files[0].open("rb"))
        print(
            f"{asked.domains:,} domains in {lines:,} lines, {files[0].stat().st_size / 1e6:.0f} MB; {os.cpu_count()} CPUs\n"
        )
        print("| command | time | CPU | memory | answers | wrong |\n|---|---|---|---|---|---|")
        for what, file in zip(("load into an empty database", "load again, 1 % changed"), files, strict=True):
            print(f"| {what} | {watched(service, names, [WHOISD, 'load', file], settings)} |", flush=True)
        make_cvr = [sys.executable, str(HERE / "cvr.py"), str(files[1]), str(folder), str(asked.companies)]
        # In a process of its own: what this one has had counts as the peak of whatever it starts.
        ours, size, *zips = subprocess.check_output(make_cvr, text=True).split()  # noqa: S603 - ours
        what = f"cvr update, {asked.companies:,} companies in {size} MB, {int(ours):,} of them registrants'"
        update: list[str | Path] = [WHOISD, "cvr", "update", "--max-newly-shown", "1000000", *zips]
        print(f"| {what} | {watched(service, names, update, settings)} |", flush=True)
        report = run([WHOISD, "report", "disclosure"], settings)
        print(f"| report disclosure | {report.seconds:.1f} s | {report.cpu:.1f} s | {report.peak:.0f} MiB | | |")


if __name__ == "__main__":
    main()
