"""The results of `make bench` as Markdown and SVG: data in, files out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pygal
from accounting import machine


class Figures(NamedTuple):
    """Of one server under one load: requests a second, CPU in microseconds a request, latency in microseconds."""

    rate: float
    worker: float
    postgres: float
    p50: float
    p90: float
    p99: float

    @property
    def cpu(self) -> float:
        """Worker and PostgreSQL together."""
        return self.worker + self.postgres


class Row(NamedTuple):
    """Floor and server at a size of registry and a number of connections; medians, and the extremes of the ratio."""

    domains: int
    connections: int
    floor: Figures
    server: Figures
    least: float
    most: float

    @property
    def ratio(self) -> float:
        """What worker and PostgreSQL cost together, in floors."""
        return self.server.cpu / self.floor.worker


class Soak(NamedTuple):
    """A worker's resident memory before and after so many queries, in MiB."""

    requests: int
    before: float
    after: float


class Idle(NamedTuple):
    """A worker's resident memory before and with so many idle connections, in MiB."""

    connections: int
    before: float
    after: float


COLUMNS = (
    "domains | connections | | requests/s | worker µs | PostgreSQL µs | together µs | worker : floor | together : floor |"
    " p50 µs | p90 µs | p99 µs"
)


def table(rows: Sequence[Row]) -> str:
    """Return the table, two lines for each measurement."""
    count = COLUMNS.count("|") + 1
    lines = [f"| {COLUMNS} |", "|" + "---|" * 3 + "--:|" * (count - 3)]
    for row in rows:
        here = f"{row.domains:,} | {row.connections}"
        floor, server = row.floor, row.server
        lines.append(
            f"| {here} | floor | {floor.rate:,.0f} | {floor.worker:.1f} | | {floor.worker:.1f} | 1 | 1 |"
            f" {floor.p50:.0f} | {floor.p90:.0f} | {floor.p99:.0f} |"
        )
        lines.append(
            f"| {here} | whoisd | {server.rate:,.0f} | {server.worker:.1f} | {server.postgres:.1f} | {server.cpu:.1f} |"
            f" {server.worker / floor.worker:.2f} | {row.ratio:.2f} ({row.least:.2f} to {row.most:.2f}) |"
            f" {server.p50:.0f} ({server.p50 / floor.p50:.1f}) | {server.p90:.0f} ({server.p90 / floor.p90:.1f}) |"
            f" {server.p99:.0f} ({server.p99 / floor.p99:.1f}) |"
        )
    return "\n".join(lines) + "\n"


def text_of(rows: Sequence[Row], memory: tuple[Soak, Idle] | None, build: str) -> str:
    """Return the whole text of the results."""
    text = (
        f"# What an answer costs\n\n{build}, {datetime.now(UTC):%Y-%m-%d}. {machine()}.\n"
        "CPU time is the kernel's accounting, for one request; in brackets the extremes, or the ratio to the floor.\n\n"
    )
    text += table(rows)
    if memory:
        soak, idle = memory
        text += (
            f"\nResident memory of the worker: {soak.before:.1f} MiB after the warm-up, {soak.after:.1f} MiB after"
            f" {soak.requests:,} queries more, and {idle.after:.1f} MiB with {idle.connections:,} idle connections on top"
            f" (it was {idle.before:.1f} MiB before them).\n"
        )
    return text


def plot(title: str, axis: str, points: Sequence[tuple[str, Row]]) -> bytes:
    """Return a picture of the cost, stacked, with the floor beside it."""
    chart = pygal.StackedBar(
        title=title, x_title=axis, y_title="µs of CPU a request", style=pygal.style.CleanStyle, width=640, height=400,
        js=(), legend_at_bottom=True,
    )  # fmt: skip
    chart.x_labels = [label for label, _ in points]
    chart.add("the kernel's part (the floor)", [round(row.floor.worker, 1) for _, row in points])
    chart.add("the worker's own", [round(row.server.worker - row.floor.worker, 1) for _, row in points])
    chart.add("PostgreSQL", [round(row.server.postgres, 1) for _, row in points])
    return bytes(chart.render(disable_xml_declaration=True).encode())


def write(rows: Sequence[Row], memory: tuple[Soak, Idle] | None, build: str, folder: Path | None) -> None:
    """Print the results, and write them and their plots to a folder if there is one."""
    text = text_of(rows, memory, build)
    print(f"\n{text}")
    if not folder:
        return
    folder.mkdir(exist_ok=True)
    largest = max(row.domains for row in rows)
    by_size = [(f"{row.domains:,}", row) for row in rows if row.connections == 64]
    by_connections = [(str(row.connections), row) for row in rows if row.domains == largest]
    (folder / "cost.md").write_text(f"{text}\n![cost by size](size.svg)\n\n![cost by connections](connections.svg)\n")
    (folder / "size.svg").write_bytes(plot("Cost against the size of the registry", "domains", by_size))
    (folder / "connections.svg").write_bytes(plot("Cost against connections", "connections", by_connections))
