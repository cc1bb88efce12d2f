"""Measures what an answer over HTTP costs beside a static answer of uvicorn, and what HTTP's clients cost port 43.

As in `cost.py`: all take turns in one run, CPU time is the kernel's, and what PostgreSQL used counts. bench/README.md says
how to read it.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from accounting import cpu_seconds, family, pin
from cost import (
    CONFIG,
    HERE,
    IN_EVERY_ANSWER,
    OTHER_CPU,
    SERVER_CPU,
    Bench,
    Subject,
    build,
    free_port,
    median,
    queries,
    registry,
    running,
    serve_by,
)
from results import Figures

from whoisd.sandbox.sandbox import DATABASE

FLOOR: Final = "uvicorn, static"
PATHS: Final = {"REST": "/query/", "RDAP": "/rdap/"}
CONNECTIONS: Final = 64
WHOIS_CONNECTIONS: Final = 4
IDLE, SLOW = 5_000, 200

HTTP_CONFIG: Final = """
[[http.listen]]
host = "127.0.0.1"
port = {port}

[http]
max_connections = 10000
"""


@dataclass
class WebSubject:
    """A server of HTTP: its port, the processes whose CPU counts, and the paths that it is asked for."""

    port: int
    groups: Sequence[list[int]]
    paths: Path


def paths_of(protocol: str, names: Sequence[str]) -> str:
    """Return the path of each name."""

    def kind(name: str) -> str:
        is_domain = name.count(".") == 1 and name.endswith(".dk")
        return "" if protocol == "REST" else "domain/" if is_domain else "nameserver/"

    return "\n".join(f"{PATHS[protocol]}{kind(name)}{quote(name)}" for name in names)


def ask(subject: WebSubject, requests: int) -> dict[str, float]:
    """Ask so many times; return what the generator says. Anything but answers ends the run."""
    arguments = ["ask", str(subject.port), str(subject.paths), str(CONNECTIONS), str(requests)]
    process = subprocess.Popen([sys.executable, HERE / "webload.py", *arguments], stdout=subprocess.PIPE)  # noqa: S603 - ours
    pin([process.pid], OTHER_CPU)
    found: dict[str, float] = json.loads(process.communicate()[0])
    if found["done"] != requests or found["misses"]:
        sys.exit(f"not every request was answered: {found}")
    return found


def measure(subject: WebSubject, requests: int) -> Figures:
    """Ask, and return the figures."""
    before = [cpu_seconds(group) for group in subject.groups]
    found = ask(subject, requests)
    used = [(cpu_seconds(group) - was) / requests * 1e6 for group, was in zip(subject.groups, before, strict=True)]
    process, postgres = [*used, 0.0][:2]
    return Figures(requests / found["seconds"], process, postgres, found["p50"], found["p90"], found["p99"])


def busiest(processes: Sequence[int], work: Callable[[], object]) -> int:
    """Return which of these processes does most of some work."""
    before = {pid: cpu_seconds([pid]) for pid in processes}
    work()
    return max(processes, key=lambda pid: cpu_seconds([pid]) - before[pid])


@contextmanager
def server(bench: Bench, domains: int) -> Iterator[tuple[dict[str, WebSubject], Subject]]:
    """Run a server over a registry, warm, each process on its CPU; give what HTTP and what port 43 is asked."""
    lines = queries(domains, seed=1)
    names = [line.removeprefix("--show-handles ") for line in lines]
    folder, port, http_port = bench.folder, free_port(), free_port()
    for protocol in PATHS:
        (folder / f"{protocol}.paths").write_text(paths_of(protocol, names), encoding="utf-8")
    asked, config = folder / "web.queries", folder / "web.toml"
    asked.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with registry(folder, domains) as cluster:
        text = CONFIG.format(
            port=port, dsn=cluster.dsn("whoisd_reader", DATABASE), sources=folder / "web.sources", workers=1
        )
        text = text.replace("workers = 1", "workers = 1\nmax_connections = 20000").replace("6000", "15000")
        config.write_text(text + HTTP_CONFIG.format(port=http_port), encoding="utf-8")
        with running([*bench.serve, config], port, folder / "web.log") as supervisor:
            children = family(supervisor)[1:]
            whois = Subject(port, [], asked, IN_EVERY_ANSWER)
            worker = busiest(children, lambda: bench.load(whois, 64, 20_000))
            process = busiest(children, lambda: ask(WebSubject(http_port, [], folder / "REST.paths"), 20_000))
            whois.groups = [[worker]]
            postgres = family(cluster.pid)
            pin(family(supervisor), SERVER_CPU)
            pin(postgres, OTHER_CPU)
            subjects = {it: WebSubject(http_port, [[process], postgres], folder / f"{it}.paths") for it in PATHS}
            yield subjects, whois


@contextmanager
def floor(bench: Bench, size: int, paths: Path) -> Iterator[WebSubject]:
    """Run the floor on the interpreter that serves, with answers of so many bytes."""
    folder, port = bench.folder, free_port()
    with running(
        [Path(bench.serve[0]).with_name("python"), HERE / "webfloor.py", str(port), str(size)], port, folder / "webfloor.log"
    ) as pid:
        pin(family(pid), SERVER_CPU)
        yield WebSubject(port, [[pid]], paths)


@contextmanager
def crowd(port: int) -> Iterator[None]:
    """Run clients that only get in the way."""
    arguments = ["crowd", str(port), str(IDLE), str(SLOW)]
    process = subprocess.Popen([sys.executable, HERE / "webload.py", *arguments], stdout=subprocess.PIPE)  # noqa: S603 - ours
    pin([process.pid], OTHER_CPU)
    try:
        assert process.stdout  # noqa: S101 - a pipe
        if process.stdout.readline() != b"there\n":
            sys.exit("the crowd did not come")
        yield
    finally:
        process.terminate()
        process.wait()


def costs(bench: Bench, subjects: dict[str, WebSubject]) -> None:
    """Print what an answer costs, each protocol beside the floor, in turns."""
    for protocol, subject in subjects.items():
        size = int(ask(subject, 5_000)["bytes"] / 5_000)
        with floor(bench, size, subject.paths) as static:
            ask(static, 5_000)
            rounds = [(measure(static, bench.requests), measure(subject, bench.requests)) for _ in range(bench.rounds)]
        ratios = [here.cpu / there.worker for there, here in rounds]
        for what, figures in ((FLOOR, [it for it, _ in rounds]), (protocol, [it for _, it in rounds])):
            rate, process, postgres, p50, _, p99 = (statistics.median(column) for column in zip(*figures, strict=True))
            print(f"| {what}, {size} bytes | {rate:,.0f} | {process:.0f} | {postgres:.0f} | {p50:.0f} | {p99:.0f} |")
        print(f"{protocol}: {statistics.median(ratios):.2f} floors ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def neighbours(bench: Bench, whois: Subject, port: int) -> None:
    """Print port 43's p99 without and with a crowd at HTTP, in turns."""
    ratios = []
    for _ in range(bench.rounds):
        alone = bench.load(whois, WHOIS_CONNECTIONS, bench.requests)["p99"]
        with crowd(port):
            beside = bench.load(whois, WHOIS_CONNECTIONS, bench.requests)["p99"]
        ratios.append(beside / alone)
        print(f"port 43, p99: {alone:.0f} us alone, {beside:.0f} us beside the crowd", flush=True)
    print(f"beside the crowd: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")


@contextmanager
def asking(subject: WebSubject) -> Iterator[None]:
    """Ask over HTTP all the time, as much as is answered."""
    arguments = ["ask", str(subject.port), str(subject.paths), str(CONNECTIONS), str(1 << 30)]
    process = subprocess.Popen([sys.executable, HERE / "webload.py", *arguments], stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    pin([process.pid], OTHER_CPU)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def beside_rdap(bench: Bench, whois: Subject, rdap: WebSubject) -> None:
    """Print what port 43 takes without and with RDAP under way, in turns."""
    rounds = []
    for _ in range(bench.rounds):
        alone = bench.measure(whois, WHOIS_CONNECTIONS)
        with asking(rdap):
            rounds.append((alone, bench.measure(whois, WHOIS_CONNECTIONS)))
    for what, figures in (("alone", [it for it, _ in rounds]), ("beside RDAP", [it for _, it in rounds])):
        it = median(figures)
        print(
            f"port 43 {what}: {it.rate:,.0f} requests/s, worker {it.worker:.0f} us, p50 {it.p50:.0f} us, p99 {it.p99:.0f} us"
        )


def main() -> None:
    """Measure as the command line asks, and print the results."""
    options = argparse.ArgumentParser(
        description="Measure what HTTP costs, against a static answer, and what it costs port 43."
    )
    options.add_argument(
        "--data", type=Path, default=HERE.parent / ".bench", help="folder of the registry (default: .bench)"
    )
    options.add_argument("--domains", type=int, default=100_000)
    options.add_argument("--requests", type=int, default=20_000, help="of one measurement (default: 20,000)")
    options.add_argument("--rounds", type=int, default=5, help="measurements of each, in turn (default: 5)")
    options.add_argument("--python", type=Path, default=Path(sys.executable), help="whose whoisd is measured (this one)")
    asked = options.parse_args()
    asked.data.mkdir(mode=0o711, exist_ok=True)
    folder = asked.data.absolute()
    generator = build(folder, "whoisload")
    bench = Bench(folder, folder, generator, asked.requests, asked.rounds, serve_by(asked.python))
    with ExitStack() as stack:
        subjects, whois = stack.enter_context(server(bench, asked.domains))
        beside_rdap(bench, whois, subjects["RDAP"])
        costs(bench, subjects)
        neighbours(bench, whois, subjects["REST"].port)


if __name__ == "__main__":
    main()
