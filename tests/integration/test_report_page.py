"""The page of the disclosure report in a real browser, opened from a file as its reader does, and printed.

Driven by `clients/look.mjs`, which has axe-core judge each view; `make screenshots` keeps a picture of each.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from client_matrix import CLIENTS, missing
from support import Database, ended, run_whoisd

# What a reader must find there, by the language.
SAYS: Final = {
    "en": (
        "Whose email WHOIS shows",
        "Of 31 registrants the email of 9 is shown",
        "Changes since",
        "from 0 to 6, 6 more than before",
    ),
    "da": (
        "Hvis e-mailadresse WHOIS viser",
        "Af 31 registranter vises e-mailadressen for 9",
        "Ændringer siden",
        "fra 0 til 6, 6 flere end før",
    ),
}
BEFORE: Final = "2025-11-03T13:59:59+01:00"  # when the rules were not in force, and nothing was shown


@pytest.fixture(scope="module")
def seen(sandbox_database: Database, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the browser saw of the page in each language, with the changes since the rules were not in force."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("the browser is not installed: apt-get install chromium")
    if reason := missing("whoiser"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("report")
    earlier = folder / "before.json"
    earlier.write_text(printed(sandbox_database, "--format", "json", "--at", BEFORE), encoding="utf-8")
    scenes = []
    for language in SAYS:
        file = folder / f"{language}.html"
        text = printed(sandbox_database, "--format", "html", "--language", language, "--changes-from", earlier)
        file.write_text(text, encoding="utf-8")
        scenes.append({"name": f"report-{language}", "language": language, "url": file.as_uri()})
    task = {"chromium": chromium, "scenes": scenes}
    if pictures := request.config.getoption("--screenshots"):
        Path(pictures).mkdir(parents=True, exist_ok=True)
        task["folder"] = str(Path(pictures).absolute())
    looked = subprocess.run(
        ["node", "look.mjs", json.dumps(task)], cwd=CLIENTS, capture_output=True, text=True, timeout=400, check=False
    )
    assert looked.returncode == 0, looked.stderr
    return json.loads(looked.stdout)


def printed(database: Database, *arguments: str | Path) -> str:
    status, said, wrong = ended(
        run_whoisd("report", "disclosure", *arguments, settings={"WHOISD_DATABASE__DSN": database.reader})
    )
    assert (status, wrong) == (0, "")
    return said


def test_says(seen: Any) -> None:
    """Each view has the figures, the changes and the words in its language; narrow and dark as wide and light."""
    assert len(seen["views"]) == 4 * len(SAYS)
    for view in seen["views"]:
        assert [words for words in SAYS[view["language"]] if words not in view["text"]] == []


def test_everybody_can_use_it(seen: Any) -> None:
    """axe-core finds nothing, and nothing that it could not decide, wide and narrow, light and dark."""
    assert [found for view in seen["views"] for found in (*view["violations"], *view["incomplete"])] == []


def test_it_fits(seen: Any) -> None:
    """At 320 px nothing has to be scrolled sideways (WCAG 1.4.10), and on paper nothing is cut off."""
    assert {view["overflow"] for view in (*seen["views"], *seen["prints"])} == {0}


def test_nothing_of_others(seen: Any) -> None:
    """The file is all that is loaded, there is no script, and nothing on the page breaks its own policy."""
    for view in seen["views"]:
        assert [url for url in view["requests"] if not url.startswith("data:")] == view["requests"][:1]
        assert (view["scripts"], view["complaints"]) == (0, [])


def test_print(seen: Any) -> None:
    """From a browser that is set to dark it is printed black on white, with bars that are there without backgrounds."""
    for view in seen["prints"]:
        assert (view["paper"], view["ink"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
        assert {*view["fills"]} == {"rgb(255, 255, 255)", "rgb(0, 0, 0)", "rgb(64, 64, 64)"}
        assert view["pages"] >= 1
