"""`whoisd top`: the figures of a running server, live at a terminal, from its /metrics.

What is drawn is a pure function of two readings and the time between them.
"""

import math
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import click
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from whoisd.commands.terminal import command, config_option
from whoisd.config import load_settings
from whoisd.errors import WhoisdError

WIDTH: Final = 80  # columns, on a terminal of any width
PATIENCE: Final = 5.0  # seconds for a reading
LARGEST: Final = 1 << 20  # bytes of a reading
SLOW: Final = (
    2.0  # seconds, within which 95 % of the queries are to be answered (ICANN's registry agreement, Specification 10)
)

Sample = tuple[str, tuple[tuple[str, str], ...]]


class Reading(NamedTuple):
    """The figures at a moment of the monotonic clock, in seconds."""

    at: float
    values: Mapping[Sample, float]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a name's samples that have these labels; 0 where there is none."""
        return sum(value for value in self.each(name, **labels).values())

    def each(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Return a name's samples that have these labels, by their labels."""
        return {
            key: value
            for (found, key), value in self.values.items()
            if found == name and labels.items() <= dict(key).items()
        }


def reading_of(text: str, at: float) -> Reading:
    """Read Prometheus's text form. Raises `ValueError` for what is not."""
    return Reading(
        at,
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        },
    )


# --- what two readings say -----------------------------------------------------------------------------------------------


def rate(before: Reading, now: Reading, name: str, **labels: str) -> float:
    """Return how much a counter grows a second; one that began anew counts from 0."""
    grown = now.sum(name, **labels) - before.sum(name, **labels)
    return max(grown if grown >= 0 else now.sum(name, **labels), 0.0) / max(now.at - before.at, 1e-3)


def quantile(share: float, before: Reading, now: Reading, name: str) -> float | None:
    """Return the bound of a histogram below which this share of what came between the readings is; None where nothing came.

    Infinity where it lies beyond the largest bound.
    """
    counts = sorted(
        (math.inf if bound == "+Inf" else float(bound), count - before.sum(f"{name}_bucket", le=bound))
        for bound, count in ((dict(key)["le"], count) for key, count in now.each(f"{name}_bucket").items())
    )
    total = counts[-1][1] if counts else 0.0
    if total <= 0:
        return None
    return next(bound for bound, count in counts if count >= share * total)


def screen(before: Reading, now: Reading) -> RenderableType:
    """Return what is drawn: queries by outcome, latency, emails, clients, database and processes."""
    return Group(_head(before, now), Text(), _queries(before, now), Text(), _state(before, now))


def _head(before: Reading, now: Reading) -> RenderableType:
    [build] = now.each("whoisd_build_info") or {(): 0.0}
    version = dict(build).get("version", "?")
    total = rate(before, now, "whoisd_queries_total")
    return Text(f"whoisd {version}   {total:,.1f} queries a second", style="bold")


def _queries(before: Reading, now: Reading) -> Table:
    table = _table("Outcome", "a second", "since start")
    outcomes: dict[str, float] = {}
    for key, count in now.each("whoisd_queries_total").items():
        outcome = dict(key)["outcome"]
        outcomes[outcome] = outcomes.get(outcome, 0.0) + count
    for outcome, count in outcomes.items():
        if count:
            table.add_row(outcome, f"{rate(before, now, 'whoisd_queries_total', outcome=outcome):,.1f}", f"{count:,.0f}")
    if not table.row_count:
        table.add_row("none yet", "", "")
    return table


def _state(before: Reading, now: Reading) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, width=WIDTH)
    for name, text, is_bad in _lines(before, now):
        table.add_row(name, Text(text, style="bold red" if is_bad else ""))
    return table


def _lines(before: Reading, now: Reading) -> Iterator[tuple[str, str, bool]]:
    """Yield the lines below: a name, its figures, and whether they call for somebody."""
    duration = "whoisd_query_duration_seconds"
    p50, p95 = (quantile(share, before, now, duration) for share in (0.5, 0.95))
    yield "Latency", f"50 %: {_milliseconds(p50)}   95 %: {_milliseconds(p95)}", (p95 or 0) > SLOW
    batches = now.sum("whoisd_batch_names_count") - before.sum("whoisd_batch_names_count")
    names = now.sum("whoisd_batch_names_sum") - before.sum("whoisd_batch_names_sum")
    yield "Names a batch", f"{names / batches:.1f}" if batches > 0 else "-", False
    shown, withheld = (rate(before, now, "whoisd_emails_total", email=email) for email in ("shown", "withheld"))
    yield "Emails", f"shown: {shown:,.1f} a second   withheld: {withheld:,.1f} a second", False
    yield "Connections", f"{now.sum('whoisd_connections_open'):,.0f} open", False
    sources, networks = (now.sum("whoisd_bans_in_force", scope=scope) for scope in ("source", "network"))
    refused = rate(before, now, "whoisd_refusals_total")
    yield "Limits", f"{refused:,.1f} refusals a second   bans: {sources:,.0f} sources, {networks:,.0f} networks", False
    yield "Database", *_database(now)
    workers, restarts = now.sum("whoisd_workers"), now.sum("whoisd_restarts_total")
    yield "Workers", f"{workers:,.0f} accept   {restarts:,.0f} restarts", not workers
    lost = now.sum("whoisd_log_lines_lost_total")
    if lost:
        yield "Log", f"{lost:,.0f} lines lost", True
    if not now.sum("whoisd_config_last_reload_successful"):
        yield "Configuration", "the last reload failed; the one before is in force", True


def _database(now: Reading) -> tuple[str, bool]:
    if not now.sum("whoisd_database_up"):
        return "does not answer", True
    age = now.sum("whoisd_data_age_seconds")
    if math.isnan(age):
        return "answers; the age of its data is not known", True
    return f"answers; its data is {age:,.0f} s old" if age else "answers", False


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return "over 2,000 ms" if math.isinf(seconds) else f"at most {seconds * 1000:,g} ms"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, width=WIDTH, header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table


# --- the command -----------------------------------------------------------------------------------------------------


@click.command("top")
@config_option
@click.option("--url", metavar="URL", help="Where the metrics are.  [default: as configured]")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between readings."
)
@click.option("--once", is_flag=True, help="Print one screen and end; as without a terminal.")
@command
def top_command(file: Path | None, url: str | None, interval: float, *, once: bool) -> None:
    """Show the figures of the running server, live, until Ctrl-C.

    NO_COLOR=1 draws without colour.
    """
    where = url or _configured(file)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    before = _read(where)
    time.sleep(interval)
    now = _read(where)
    if once or not console.is_terminal:
        console.print(screen(before, now))
        return
    with Live(screen(before, now), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            time.sleep(interval)
            try:
                before, now = now, _read(where)
                live.update(screen(before, now))
            except WhoisdError as error:  # it may be restarting
                live.update(Text(str(error), style="bold red"))


def _configured(file: Path | None) -> str:
    metrics = load_settings(file).metrics
    if not metrics.enabled:
        raise WhoisdError("metrics.enabled is false: this server tells no figures")
    host = f"[{metrics.host}]" if ":" in metrics.host else metrics.host
    return f"http://{host}:{metrics.port}/metrics"


def _read(url: str) -> Reading:
    """Read the figures. Raises `WhoisdError` where there are none."""
    if not url.startswith(("http://", "https://")):
        raise WhoisdError(f"{url}: must be an address that begins with http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:  # noqa: S310 - the two schemes alone
            text: str = answer.read(LARGEST).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise WhoisdError(f"{url}: gives no metrics: {getattr(reason, 'strerror', None) or type(reason).__name__}") from None
    try:
        reading = reading_of(text, time.monotonic())
    except ValueError:
        raise WhoisdError(f"{url}: what is there is no metrics of Prometheus's form") from None
    if not reading.each("whoisd_build_info"):
        raise WhoisdError(f"{url}: has metrics, but none of whoisd's")
    return reading
