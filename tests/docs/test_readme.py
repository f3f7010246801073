"""The README fits on a screen, and what its badges say is so."""

from __future__ import annotations

import re
import tomllib

import pytest

from .page import blocks_of
from .pages import PROJECT
from .running import PageRun

README = PROJECT / "README.md"
FACTS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
SCREEN = 60


def badge(name: str) -> str:
    """Return what a badge says."""
    svg = (PROJECT / "docs" / "images" / "badges" / f"{name}.svg").read_text(encoding="utf-8")
    return re.findall("<title>(.*)</title>", svg)[0]


def test_it_fits_on_a_screen():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= SCREEN


@pytest.mark.kernel
@pytest.mark.slow
def test_its_cells_run(tmp_path):
    with PageRun(tmp_path) as run:
        for block in blocks_of(README):
            if block.language == "python":
                run.run(block)
        assert run.cells > 0


def test_its_badges_are_true():
    assert badge("python") == f"python: {FACTS['project']['requires-python'].removeprefix('>=')} or later"
    assert badge("license") == f"license: {FACTS['project']['license']}"
    assert badge("typed") == "types: strict"
    assert badge("binder") == "binder: try it"
    repository = FACTS["project"]["urls"]["Source"].removeprefix("https://github.com/")
    assert f"(https://mybinder.org/v2/gh/{repository}/main)" in README.read_text(encoding="utf-8")
    assert FACTS["tool"]["mypy"]["strict"] is True


def test_its_commands_are_those_of_the_makefile():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make ([\w-]+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
