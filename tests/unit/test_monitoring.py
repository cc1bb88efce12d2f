"""What watches a server names only metrics that there are, and each alert is tested and explained."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from dashboard import names

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "monitoring"


def found(pattern: str, file: str) -> list[Any]:
    return re.findall(pattern, (FOLDER / file).read_text(encoding="utf-8"), re.MULTILINE)


ALERTS: Final = found(r"^ +- alert: (\w+)$", "alerts.yml")
TESTS: Final = found(r"^  - name: (\w+) (fires|is quiet)$", "alerts_test.yml")


def samples() -> set[str]:
    """The names of a server's samples, as Prometheus has them."""
    histograms = {name.removesuffix("_bucket") for name in names().values() if name.endswith("_bucket")}
    return {*names().values(), *(f"{name}_count" for name in histograms)}


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml", "grafana.json"])
def test_metrics_are_there(file: str) -> None:
    """Every metric that is watched is one of a server's."""
    named = {*found(r"\bwhoisd_\w+(?=[{\s)\[])", file)}
    assert named
    assert named - samples() == set()


def test_dashboard_is_made_of_the_table() -> None:
    """The dashboard is what its program makes of the metrics of today."""
    made = subprocess.run([sys.executable, FOLDER / "dashboard.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (FOLDER / "grafana.json").read_text(encoding="utf-8")
    panels = json.loads(made.stdout)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10


def test_every_alert_is_tested() -> None:
    """Each alert has a case in which it fires and one in which it is quiet."""
    assert Counter(name for name, case in TESTS if case == "fires").keys() == {*ALERTS}
    assert Counter(name for name, case in TESTS if case == "is quiet").keys() == {*ALERTS}


def test_every_alert_has_a_runbook() -> None:
    """Each alert points to a heading of its own name in the manual, and no heading is of an alert that is gone."""
    assert found(r"runbook: (\S+)", "alerts.yml") == [f"docs/monitor.md#{alert.lower()}" for alert in ALERTS]
    manual = (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (Whoisd\w+)$", manual, re.MULTILINE) == ALERTS


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool(arguments: tuple[str, ...]) -> None:
    """Prometheus's own tool finds the rules good, and that each alert fires when it should and only then."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    ended = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
