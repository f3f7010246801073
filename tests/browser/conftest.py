"""A real JupyterLab in a real Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

from lab import launch, open_notebook, run_all, running_lab  # noqa: E402  after the path to it is known


@pytest.fixture(scope="module")  # ended before other tests want the loop
def browser():
    """A headless Chromium; without one, skip, or fail when CI=true."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        try:
            started = launch(playwright)
        except FileNotFoundError as exc:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(exc))
        yield started
        started.close()


@pytest.fixture(scope="module")  # ended before other tests want the loop
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the notebooks."""
    directory = tmp_path_factory.mktemp("lab")
    for notebook in (PROJECT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, directory)
    with running_lab(directory) as started:
        yield started


@pytest.fixture
def page(browser):
    """A fresh tab; what the page says goes into the report of a failure."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    opened.on("console", lambda message: print("console:", message.text))
    yield opened
    opened.close()


@pytest.fixture
def tutorial(page, lab, request):
    """The tutorial with every cell run, in a file and kernel of its own."""
    page.notebook = f"{request.node.name}.ipynb"
    shutil.copy(lab.directory / "01-quickstart.ipynb", lab.directory / page.notebook)
    open_notebook(page, lab, page.notebook)
    run_all(page)
    return page


@pytest.fixture
def begin_cell(tutorial):
    """Puts code into a new last cell, runs it, and returns the cell without waiting for its end."""

    def begin(code: str):
        tutorial.locator(".jp-Notebook .jp-CodeCell").last.click()
        tutorial.keyboard.press("Escape")
        tutorial.keyboard.press("b")
        tutorial.keyboard.press("Enter")
        tutorial.keyboard.insert_text(code)
        tutorial.keyboard.press("Shift+Enter")
        return tutorial.locator(".jp-Notebook .jp-CodeCell").filter(has_text=code.splitlines()[0]).last

    return begin
