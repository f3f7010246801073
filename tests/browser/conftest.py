"""A real JupyterLab in a real Chromium."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

from lab import launch, running_lab  # noqa: E402  after the path to it is known


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
