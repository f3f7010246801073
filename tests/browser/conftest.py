"""A real JupyterLab in a real Chromium."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))

from lab import launch, open_notebook, run_all, running_lab  # noqa: E402  after the path to it is known


@pytest.fixture(scope="package")  # ended before other tests want the loop
def browser():
    """A headless Chromium; without one, skip, or fail when CI=true."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        try:
            started = launch(playwright)
        except FileNotFoundError as exc:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(exc))
        yield started
        started.close()


@pytest.fixture(scope="package")  # ended before other tests want the loop
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the notebooks."""
    directory = tmp_path_factory.mktemp("lab")
    for notebook in (PROJECT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, directory)
    with running_lab(directory) as started:
        yield started


SIZE = {"width": 1280, "height": 1000}

LIMIT_MS = 120_000
"""What is waited for comes within a second or, on a busy machine, some; after this it hangs."""


ANY = re.compile("")
"""Every value that an attribute can have."""

NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(done))"


def wait_until(page, read: Callable[[], Any], wanted: Any) -> None:
    """Wait until what is read of a page is as wanted, from frame to frame; fail with what is read at the end.

    What `expect` knows, it tells better: this is for what a page has sent, measures or has in its clipboard.
    """
    end = time.monotonic() + LIMIT_MS / 1000
    while (found := read()) != wanted and time.monotonic() < end:
        page.evaluate(NEXT_FRAME)
    assert found == wanted


def clipboard_is(page, wanted: str) -> None:
    """Wait until the clipboard has this text."""
    wait_until(page, lambda: page.evaluate("navigator.clipboard.readText()"), wanted)


@pytest.fixture(scope="package")
def lab_context(browser):
    """What the tabs of JupyterLab share: the cache, so that its megabytes are read and compiled once."""
    context = browser.new_context(viewport=SIZE)
    yield context
    context.close()


@pytest.fixture
def context(browser, request):
    """JupyterLab's tabs share one; elsewhere every test has its own, for cookies hold for every port."""
    if "lab" in request.fixturenames:
        yield request.getfixturevalue("lab_context")
        return
    own = browser.new_context(viewport=SIZE)
    yield own
    own.close()


@pytest.fixture
def page(context):
    """A fresh tab; what the page says goes into the report of a failure."""
    opened = context.new_page()
    opened.set_default_timeout(LIMIT_MS)
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


def run_below(page, code: str):
    """Run code in a new last cell; returns the cell once it has begun, without waiting for its end."""
    last = page.locator(".jp-Notebook .jp-CodeCell").last.element_handle()
    last.query_selector(".jp-InputPrompt").click()  # and not into a panel below
    page.wait_for_function("cell => cell.matches('.jp-mod-commandMode .jp-mod-active')", arg=last)
    page.keyboard.press("b")
    page.wait_for_function("cell => !cell.matches('.jp-mod-active')", arg=last)
    page.locator(".jp-Notebook .jp-CodeCell.jp-mod-active .cm-content").click()
    page.keyboard.insert_text(code)
    cell = page.locator(".jp-Notebook .jp-CodeCell").filter(has_text=code.splitlines()[0]).last
    cell.locator(".cm-focused").wait_for()
    page.keyboard.press("Shift+Enter")
    cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[[*\d]+\]")).wait_for()
    return cell


@pytest.fixture
def begin_cell(tutorial):
    """Puts code into a new last cell, runs it, and returns the cell without waiting for its end."""

    return partial(run_below, tutorial)


CELLS = [
    "%load_ext dnworker",
    """%%capability
name: demo
version: 0.1.0
description: A bridge and what listens to it
flags:
  beta:
    description: try the new way
    default: false
checks:
  - {name: python, command: "exit 0"}""",
    """%%worker bridge
@worker.on_event("demo.order")
async def on_order(event, client):
    print("\\x1b[31morder\\x1b[0m", event.payload["id"], "<b>not bold</b>")
    total = sum(event.payload["prices"])
    await client.publish("demo.total", {"total": total})
@worker.every(minutes=30)
async def tick(client):
    print("tick")""",
    """%%worker beta --when beta
@worker.on_event("demo.total")
async def on_total(event, client):
    print("total", event.payload["total"])""",
    """%%fire demo.order
{"id": "o1", "prices": [1, 2]}""",
    """%%fire demo.order
{"id": "o2", "prices": [1, null]}""",
    "%panel",
]


def write_notebook(path: Path, cells: list[str]) -> None:
    """Write a notebook of code cells."""
    import nbformat

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


@pytest.fixture
def shown(page, lab, request):
    """A notebook with a worker whose handler failed, and the panel below; every cell has run."""
    page.notebook = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / page.notebook, CELLS)
    open_notebook(page, lab, page.notebook)
    run_all(page)
    page.panel = page.locator(".dn")
    page.panel.scroll_into_view_if_needed()
    page.panel.get_by_text("1 gated off", exact=True).wait_for()
    return page


@pytest.fixture
def open_log():
    """Opens the log of a panel as high as it goes; returns it."""

    def open_(panel):
        log = panel.get_by_role("region", name="Log", exact=True)
        log.get_by_role("button", name="Log", exact=True).click()
        log.get_by_role("separator", name="Height of the log").press("End")
        return log

    return open_


@pytest.fixture
def axe():
    """Looks at a part of the page with axe; returns what it finds serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    def look(page, part: str) -> list[str]:
        found = Axe().run(page, context=part).response["violations"]
        return [
            f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
            for rule in found
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    return look
