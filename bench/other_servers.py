"""Measures what an answer costs other WHOIS servers, beside whoisd and the floor, in turns: `make bench-peers`.

uwhoisd (PyPI, Python) asks another server for each answer, which here is the floor; whois42d (Go) answers from files. Each
has data of its own, and is asked for names that it has: what a query costs is compared, and not what is said. Several builds
of whoisd may take part. A peer that cannot be had is named, and left out.
"""

import argparse
import os
import statistics
import subprocess
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from accounting import machine, pin
from cost import (
    HERE,
    IN_EVERY_ANSWER,
    OTHER_CPU,
    SERVER_CPU,
    Bench,
    Subject,
    build,
    build_of,
    floor_of,
    free_port,
    median,
    queries,
    registry,
    running,
    serve_by,
    warm,
    whoisd,
)
from results import Figures

from whoisd.sandbox.postgres import Cluster

UWHOISD: Final = "uwhoisd==0.1.0"
WHOIS42D: Final = "github.com/Mic92/whois42d"
ANSWER: Final = 700  # bytes of a peer's answer: about as many as ours have

UWHOISD_CONFIG: Final = """
[uwhoisd]
iface=127.0.0.1
port={port}
conservative=
[overrides]
dk=127.0.0.1:{behind}
[loggers]
keys=root
[handlers]
keys=file
[formatters]
keys=plain
[logger_root]
level=INFO
handlers=file
[handler_file]
class=FileHandler
formatter=plain
args=("{log}",)
[formatter_plain]
format=%(asctime)s %(message)s
"""


class AbsentError(Exception):
    """A peer that cannot be had; the message says why."""


class Measured(NamedTuple):
    """A server with so many connections: medians, and its ratio to the floor with the extremes."""

    name: str
    connections: int
    figures: Figures
    ratios: Sequence[float]

    def row(self) -> str:
        """Return it as a row of the table."""
        it, ratios = self.figures, self.ratios
        return (
            f"| {self.name} | {self.connections} | {it.rate:,.0f} | {it.cpu:.1f} | {statistics.median(ratios):.2f} |"
            f" {min(ratios):.2f} to {max(ratios):.2f} | {it.p50:.0f} | {it.p99:.0f} |"
        )


HEAD: Final = (
    "| server | connections | requests/s | CPU µs | : floor | | p50 µs | p99 µs |\n|---|--:|--:|--:|--:|---|--:|--:|"
)


def run(*command: str | Path, at: Path | None = None, **settings: str) -> None:
    """Run a command that makes a peer. Raises `AbsentError`, with the last line that it said, when it fails."""
    try:
        ended = subprocess.run(command, cwd=at, env={**os.environ, **settings}, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    except FileNotFoundError:
        raise AbsentError(f"there is no {command[0]}") from None
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or [f"status {ended.returncode}"]
        raise AbsentError(f"{Path(command[0]).name}: {said[-1]}")


# --- the servers -------------------------------------------------------------------------------------------------------


@contextmanager
def ours(bench: Bench, python: Path, cluster: Cluster, domains: int) -> Iterator[Subject]:
    """Run the whoisd of an interpreter over a registry."""
    folder = bench.folder / f"whoisd-{abs(hash(python))}"
    folder.mkdir(exist_ok=True)
    asked = bench.folder / f"{domains}.queries"
    asked.write_text("\n".join(queries(domains, seed=1)) + "\n", encoding="utf-8")
    with whoisd(folder, domains, cluster, serve_by(python)) as (port, supervisor):
        subject, _ = warm(bench, Subject(port, [], asked, IN_EVERY_ANSWER), supervisor, cluster, 10 * bench.requests)
        yield subject


@contextmanager
def uwhoisd(bench: Bench, domains: int) -> Iterator[Subject]:
    """Run uwhoisd, and behind it the floor, both of which count. Raises `AbsentError`."""
    folder = bench.folder / "uwhoisd"
    if not (folder / "bin" / "uwhoisd").exists():
        venv.create(folder, with_pip=True)
        run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", UWHOISD)
    asked = bench.folder / "uwhoisd.queries"
    asked.write_text("".join(f"navn-{number}.dk\n" for number in range(domains)), encoding="utf-8")
    port, config = free_port(), bench.folder / "uwhoisd.ini"
    with floor_of(bench, ANSWER, asked) as behind:
        settings = UWHOISD_CONFIG.format(port=port, behind=behind.port, log=bench.folder / "uwhoisd.answers")
        config.write_text(settings, encoding="utf-8")
        with running([folder / "bin" / "uwhoisd", config], port, bench.folder / "uwhoisd.log") as pid:
            pin([pid], SERVER_CPU)
            pin(behind.groups[0], OTHER_CPU)
            yield Subject(port, [[pid], behind.groups[0]], asked)


@contextmanager
def whois42d(bench: Bench, domains: int, source: str) -> Iterator[Subject]:
    """Run whois42d over a file for each name. `source` is what git can clone. Raises `AbsentError`."""
    go = bench.folder / "go"
    code, program, data = go / "src" / WHOIS42D, go / "whois42d", bench.folder / "dn42"
    if not program.exists():
        if not code.exists():
            run("git", "clone", "--quiet", "--depth=1", source, code)
        settings = {"GOPATH": str(go), "GO111MODULE": "off", "GOCACHE": str(go / "cache")}
        run("go", "build", "-o", program, at=code, **settings)
    files = data / "data" / "dns"
    names = [f"navn-{number}.dn42" for number in range(domains)]
    if not files.exists():
        files.mkdir(parents=True)
        for name in names:
            (files / name).write_text(f"domain:             {name}\n".ljust(ANSWER - 100, "x") + "\n", encoding="utf-8")
    asked = bench.folder / "whois42d.queries"
    asked.write_text("\n".join(names) + "\n", encoding="utf-8")
    port = free_port()
    # It prints each query: its log, which goes to a file as ours does.
    line = f"exec {program} -address 127.0.0.1 -port {port} -registry {data} >{bench.folder}/whois42d.answers"
    with running(["env", "GOMAXPROCS=1", "sh", "-c", line], port, bench.folder / "whois42d.log") as pid:
        pin([pid], SERVER_CPU)
        yield Subject(port, [[pid]], asked, "% This is the dn42 whois query service.")


# --- measuring ---------------------------------------------------------------------------------------------------------


def in_turn(bench: Bench, floor: Subject, servers: Mapping[str, Subject], connections: int) -> Iterator[Measured]:
    """Measure the floor and the servers in turn, round by round."""
    found: dict[str, list[Figures]] = {name: [] for name in ("floor", *servers)}
    for _ in range(bench.rounds):
        for name, subject in (("floor", floor), *servers.items()):
            found[name].append(bench.measure(subject, connections))
    for name, figures in found.items():
        ratios = [here.cpu / there.cpu for here, there in zip(figures, found["floor"], strict=True)]
        yield Measured(name, connections, median(figures), ratios)


def main() -> None:
    """Measure as the command line asks."""
    options = argparse.ArgumentParser(
        description="Measure what an answer costs whoisd, other servers and the floor, in turns."
    )
    options.add_argument("pythons", type=Path, nargs="*", metavar="PYTHON", help="an interpreter with a whoisd")
    options.add_argument("--data", type=Path, default=HERE.parent / ".bench", help="folder of data and peers")
    options.add_argument("--domains", type=int, default=10_000)
    options.add_argument("--connections", type=int, nargs="+", default=(64, 4, 1))
    options.add_argument("--requests", type=int, default=1_500, help="of one measurement (default: 1,500)")
    options.add_argument("--rounds", type=int, default=10, help="measurements of each, in turn (default: 10)")
    options.add_argument("--whois42d", default=f"https://{WHOIS42D}", metavar="SOURCE", help="what git clones whois42d from")
    asked = options.parse_args()
    asked.data.mkdir(mode=0o711, exist_ok=True)
    folder, domains = asked.data.absolute(), asked.domains
    bench = Bench(folder, build(folder, "floor"), build(folder, "whoisload"), asked.requests, asked.rounds)
    with ExitStack() as stack:
        cluster = stack.enter_context(registry(folder, domains))
        servers = {build_of(python): stack.enter_context(ours(bench, python, cluster, domains)) for python in asked.pythons}
        peers: dict[str, AbstractContextManager[Subject]] = {
            "whois42d": whois42d(bench, domains, asked.whois42d),
            UWHOISD: uwhoisd(bench, domains),
        }
        for name, peer in peers.items():
            try:
                servers[name] = stack.enter_context(peer)
            except AbsentError as why:
                print(f"{name} cannot be had here: {why}", flush=True)
        floor = stack.enter_context(floor_of(bench, ANSWER, folder / f"{domains}.queries"))
        print(
            f"{machine()}; {asked.rounds} rounds of {asked.requests:,} requests, {domains:,} domains\n\n{HEAD}", flush=True
        )
        for connections in asked.connections:
            for measured in in_turn(bench, floor, servers, connections):
                print(measured.row(), flush=True)


if __name__ == "__main__":
    main()
