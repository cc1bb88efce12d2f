"""Write the Grafana dashboard from the table of metrics: python monitoring/dashboard.py > monitoring/grafana.json.

A panel names a metric of those that a server collects: a dashboard of one that is not there cannot be made.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from whoisd.server.metrics import Board, BoardCollector, Findings

_SUFFIXES: Final = {"counter": "_total", "histogram": "_bucket"}


class Panel(NamedTuple):
    """A graph: its title, its unit as Grafana has it, the metric, and the query, in which `{}` is the metric."""

    title: str
    unit: str
    metric: str
    query: str
    legend: str


_BY: Final = 'sum by ({0}) (rate({{}}{{{{instance=~"$instance"}}}}[$__rate_interval]))'
PANELS: Final = (
    Panel("Queries by outcome", "reqps", "whoisd_queries", _BY.format("outcome"), "{{outcome}}"),
    Panel(
        "Duration, 50, 95 and 99 %",
        "s",
        "whoisd_query_duration_seconds",
        'histogram_quantile({quantile}, sum by (le) (rate({}{{instance=~"$instance"}}[$__rate_interval])))',
        "{quantile}",
    ),
    Panel("Emails shown and withheld", "reqps", "whoisd_emails", _BY.format("email, reason"), "{{email}}, {{reason}}"),
    Panel("Refusals by named network", "reqps", "whoisd_refusals", _BY.format("network"), "{{network}}"),
    Panel("Bans that began", "short", "whoisd_bans", _BY.format("scope"), "{{scope}}"),
    Panel(
        "Queries refused for a network's rate",
        "reqps",
        "whoisd_throttled",
        'sum by (instance) (rate({}{{instance=~"$instance"}}[$__rate_interval]))',
        "{{instance}}",
    ),
    Panel("Bans in force", "short", "whoisd_bans_in_force", '{}{{instance=~"$instance"}}', "{{instance}} {{scope}}"),
    Panel("Open connections", "short", "whoisd_connections_open", '{}{{instance=~"$instance"}}', "{{instance}}"),
    Panel("Workers that accept", "short", "whoisd_workers", '{}{{instance=~"$instance"}}', "{{instance}}"),
    Panel(
        "Names looked up together, 50, 95 and 99 %",
        "short",
        "whoisd_batch_names",
        'histogram_quantile({quantile}, sum by (le) (rate({}{{instance=~"$instance"}}[$__rate_interval])))',
        "{quantile}",
    ),
    Panel("Database answers", "bool_yes_no", "whoisd_database_up", '{}{{instance=~"$instance"}}', "{{instance}}"),
    Panel("Age of the data", "s", "whoisd_data_age_seconds", '{}{{instance=~"$instance"}}', "{{instance}}"),
    Panel("Processes that were replaced", "short", "whoisd_restarts", _BY.format("instance"), "{{instance}}"),
    Panel("Lines of the log that were lost", "short", "whoisd_log_lines_lost", _BY.format("instance"), "{{instance}}"),
)
_QUANTILES: Final = ("0.5", "0.95", "0.99")


def names() -> dict[str, str]:
    """Return the metrics of a server: the name of each and of its samples."""
    board = Board(memoryview(bytearray(Board.size(1))), 1)
    collected = BoardCollector(board, Findings(0, {}, 0.0, {}, cvr_age=0.0, maintenance=0.0)).collect()
    return {metric.name: metric.name + _SUFFIXES.get(metric.type, "") for metric in collected}


def dashboard() -> dict[str, Any]:
    """Return the dashboard, as Grafana imports it. Raises `KeyError` for a metric that is not there."""
    known = names()
    return {
        "title": "whoisd",
        "uid": "whoisd",
        "tags": ["whois"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _instance(known["whoisd_workers"])]},
        "panels": [_panel(number, panel, known[panel.metric]) for number, panel in enumerate(PANELS)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _instance(metric: str) -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Server",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "query": f"label_values({metric}, instance)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }


def _panel(number: int, panel: Panel, metric: str) -> dict[str, Any]:
    row, column = divmod(number, 2)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "$datasource"},
        "gridPos": {"h": 8, "w": 12, "x": 12 * column, "y": 8 * row},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": list(_targets(panel, metric)),
    }


def _targets(panel: Panel, metric: str) -> Iterator[dict[str, str]]:
    quantiles = _QUANTILES if "{quantile}" in panel.query else ("",)
    for letter, quantile in zip("ABC", quantiles, strict=False):
        query = panel.query.format(metric, quantile=quantile)
        yield {"refId": letter, "expr": query, "legendFormat": quantile or panel.legend}


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
