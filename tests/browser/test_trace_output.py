"""A stored trace in a real JupyterLab: in a notebook that it does not trust, and on a page that takes styles out."""

from __future__ import annotations

import asyncio
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from lab import running_lab
from playwright.sync_api import expect

from dnworker import Runtime, Worker
from dnworker_jupyter.display.trace_html import trace_html

from .conftest import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


async def stored() -> str:
    """Return the HTML of a trace in which a call waited, ran and failed."""
    worker = Worker("importer")

    @worker.on_event("dropped")
    async def on_drop(event, client):
        for price in ("12.50", "12,50"):
            await client.publish("row", {"ean": "40", "price": price})

    @worker.on_event("row")
    async def on_row(event, client):
        print("a row")
        await asyncio.sleep(0.02)
        float(event.payload["price"])

    async with Runtime(port=None) as runtime:
        await runtime.add(worker)
        return trace_html(await runtime.fire("dropped", {}))


@pytest.fixture(scope="module")
def html():
    with ThreadPoolExecutor(1) as pool:  # the browser has the loop of this thread
        return pool.submit(asyncio.run, stored()).result()


@pytest.fixture(scope="module")
def untrusted(html, tmp_path_factory):
    """The address of a notebook that JupyterLab does not trust, with the trace as its output."""
    directory = tmp_path_factory.mktemp("untrusted")
    output = nbformat.v4.new_output("display_data", data={"text/html": html, "text/plain": "trace"})
    cell = nbformat.v4.new_code_cell("%fire dropped", execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), directory / "stored.ipynb")
    with running_lab(directory) as lab:
        yield lab.notebook_url("stored.ipynb")
    shutil.rmtree(directory, ignore_errors=True)


def boxes(trace) -> list[tuple[float, float, str]]:
    """Return where the bars are that are drawn, how wide, and their colour."""
    return trace.evaluate(
        """(root) => [...root.querySelectorAll("td:nth-child(2) span")]
          .filter((one) => !one.textContent && one.getBoundingClientRect().width)
          .map((one) => { const box = one.getBoundingClientRect();
            return [box.left, box.width, getComputedStyle(one).backgroundColor]; })"""
    )


COLOURS = {"rgb(217, 58, 66)", "rgb(111, 134, 232)"}
"""Of bars of a call that failed, and of one that waited."""
NO_WIDER = "(trace) => trace.offsetWidth <= trace.closest('.jp-OutputArea-output').offsetWidth"


def test_a_notebook_that_is_not_trusted_keeps_the_bars_colours_and_details(page, untrusted):
    page.goto(untrusted)
    trace = page.locator(".jp-RenderedHTML .dnt")
    trace.wait_for()
    expect(trace.locator("style")).to_have_count(0)  # it was sanitised
    wait_until(page, lambda: COLOURS - {colour for _, width, colour in boxes(trace) if width > 10}, set())
    failed = trace.locator("tbody tr").filter(
        has_text=re.compile(r"notebook:importer\.on_row.*ValueError.*ms", re.S)
    )
    failed.first.wait_for()
    expect(trace.locator("details[open]")).to_have_count(1)
    expect(trace.get_by_text('"12,50"')).to_be_visible()
    page.wait_for_function(NO_WIDER, arg=trace.element_handle())


def test_a_page_without_styles_shows_the_same_as_text(page, html, tmp_path: Path):
    bare = re.sub(r" (style|class)='[^']*'", "", re.sub(r"<style>.*?</style>", "", html))
    file = tmp_path / "bare.html"
    file.write_text(f"<meta charset=utf-8>{bare}", encoding="utf-8")
    page.goto(file.as_uri())
    text = page.locator("body").inner_text()
    assert "1 of 3 calls failed" in text
    assert re.search(r"◆ error notebook:importer\.on_row\s+ValueError\s+[\d.]+ ms", text)
    assert re.search(r"\d+  →\s+float\(event\.payload", text)
