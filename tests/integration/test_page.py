"""The page in a real browser: Debian's Chromium, driven by `clients/look.mjs`, which has axe-core judge each view.

`make screenshots` has it keep a picture of each view too.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest
from client_matrix import CLIENTS, missing
from support import Database, WebService, once


class Scene(NamedTuple):
    """What is looked at: a name, in a language, and what must be there to read and with which status."""

    asked: str | None
    language: str
    status: int
    says: tuple[str, ...]
    lacks: tuple[str, ...] = ()


SCENES: Final = {
    "form": Scene(None, "en", 200, ("Look a .dk name up", "Domain or name server host")),
    "form-danish": Scene(None, "da", 200, ("Slå et .dk-navn op",)),
    "shown": Scene("punktum.dk", "en", 200, ("info@punktum.dk", "Punktum dk A/S")),
    "withheld": Scene(
        "enkeltmand.dk",
        "en",
        200,
        ("DATA REDACTED", "sole proprietorship", "misbrug@registrator.example"),
        ("egon@",),
    ),
    "withheld-danish": Scene("enkeltmand.dk", "da", 200, ("DATA REDACTED", "enkeltmandsvirksomhed"), ("egon@",)),
    "protected": Scene("beskyttet.dk", "en", 200, ("name and address protection",), ("Berit", "Hemmelig", "berit@")),
    "idn": Scene("æøåöäüé.dk", "da", 200, ("æøåöäüé.dk", "xn--4cabco7dk5a.dk", "Ærøskøbing")),
    "host": Scene("auth01.ns.dk-hostmaster.dk", "en", 200, ("Being spooled",)),
    "waiting-list": Scene("waiting-list.dk", "en", 200, ("Offered to waiting list",)),
    "not-found": Scene("findes-ikke.dk", "en", 404, ("There is no such name", "No entries found")),
    "no-name": Scene("-.dk", "da", 400, ("Navnet kan ikke slås op",)),
    "throttled": Scene("punktum.dk", "en", 429, ("Too many requests", "Ask again in"), ("no such name", "No entries found")),
    "throttled-danish": Scene("punktum.dk", "da", 429, ("For mange forespørgsler",), ("findes ikke",)),
}
OF_THE_STATUS: Final = (
    "Failed to load resource: the server responded with a status of 4"  # all that may be said of an answer
)
PAPER: Final = {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 23, 27)"}


@pytest.fixture(scope="module")
def seen(sandbox_database: Database, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the browser saw of each scene, and of a name that was typed."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("the browser is not installed: apt-get install chromium")
    if reason := missing("whoiser"):
        pytest.skip(reason)
    folder = request.config.getoption("--screenshots")
    return json.loads(once(tmp_path_factory, "page.json", lambda: look(sandbox_database, chromium, folder)))


def look(database: Database, chromium: str, folder: str | None) -> str:
    """Have the browser look at each scene, and keep pictures in a folder; what it saw, as JSON."""
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    limited = {"WHOISD_LIMITS__RATE": "0.001", "WHOISD_LIMITS__BURST": "1"}
    with WebService(database.reader) as web, WebService(database.reader, limited) as throttled:
        throttled.get("/rdap/help")
        ports = {429: throttled.http_port}
        scenes = [
            {
                "name": name,
                "language": scene.language,
                "url": f"http://127.0.0.1:{ports.get(scene.status, web.http_port)}/"
                + (f"?name={quote(scene.asked)}" if scene.asked else ""),
            }
            for name, scene in SCENES.items()
        ]
        form = f"http://127.0.0.1:{web.http_port}/"
        task = {"chromium": chromium, "scenes": scenes, "form": form, "text": "æøåöäüé.dk"}
        if folder:
            task["folder"] = str(Path(folder).absolute())
        ended = subprocess.run(
            ["node", "look.mjs", json.dumps(task)], cwd=CLIENTS, capture_output=True, text=True, timeout=400, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture
def views(seen: Any, request: pytest.FixtureRequest) -> list[Any]:
    """What was seen of one scene: each width and scheme."""
    return [view for view in seen["views"] if view["name"] == request.param]


@pytest.mark.parametrize("views", SCENES, indirect=True)
def test_scene(views: list[Any]) -> None:
    """The page says what is so, in the reader's language, and nothing that is withheld."""
    scene = SCENES[views[0]["name"]]
    for view in views:
        assert (view["status"], view["language"]) == (scene.status, scene.language)
        assert [words for words in scene.says if words not in view["text"]] == []
        assert [words for words in scene.lacks if words in view["text"]] == []


@pytest.mark.parametrize("views", SCENES, indirect=True)
def test_everybody_can_use_it(views: list[Any]) -> None:
    """axe-core finds nothing, and nothing that it could not decide, wide and narrow, light and dark."""
    assert {(view["width"], view["colorScheme"]) for view in views} == {
        (1280, "light"),
        (1280, "dark"),
        (320, "light"),
        (320, "dark"),
    }
    assert [found for view in views for found in (*view["violations"], *view["incomplete"])] == []
    assert {view["colorScheme"]: view["paper"] for view in views} == PAPER


@pytest.mark.parametrize("views", SCENES, indirect=True)
def test_it_fits(views: list[Any]) -> None:
    """At 320 px nothing has to be scrolled sideways (WCAG 1.4.10)."""
    assert {view["overflow"] for view in views} == {0}


@pytest.mark.parametrize("views", SCENES, indirect=True)
def test_nothing_of_others(views: list[Any]) -> None:
    """A view is one request, without a script, and the browser has nothing against it, such as its policy broken."""
    for view in views:
        assert [url for url in view["requests"] if not url.startswith("data:")] == view["requests"][:1]
        assert view["scripts"] == 0
        assert [said for said in view["complaints"] if not said.startswith(OF_THE_STATUS)] == []


def test_a_name_is_typed(seen: Any) -> None:
    """The form takes a name with national letters from the keyboard alone, with scripts forbidden."""
    typed = seen["typed"]
    assert typed["url"].endswith("?name=%C3%A6%C3%B8%C3%A5%C3%B6%C3%A4%C3%BC%C3%A9.dk")
    assert "æøåöäüé.dk" in typed["heading"]
    assert "xn--4cabco7dk5a.dk" in typed["said"]
    assert typed["focused"][:4] == ["INPUT", "BUTTON", "A", "A"]
