"""The image, for all tests here: built once, as `make container` builds it, on a Debian that is made here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.storage import IMAGE, ROOT, Podman
from debian_system import fetch_wheels


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Where the image has been built, without a package index: Python's packages lie in a folder."""
    folder = tmp_path_factory.mktemp("podman")
    with Podman(folder) as podman:
        podman.make_base()
        build(podman, folder)
        yield podman


def build(podman: Podman, folder: Path) -> None:
    """Build the image as `make container` does, with a folder in the place of the package index."""
    wheels, configuration = folder / "wheels", folder / "pip.conf"
    fetch_wheels(wheels, ROOT, "requirements-server.lock")
    configuration.write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
    brought = (f"--volume={wheels}:/wheels:ro", f"--volume={configuration}:/etc/pip.conf:ro")
    podman.build(IMAGE, ROOT / "container/Containerfile", ROOT, *brought)
    shutil.rmtree(wheels)
