"""Buttons, traces and the same notebook in Notebook 7, by hand as far as a program can."""

from __future__ import annotations

import re

import nbformat
import pytest
from lab import has_run, run_all, until_connected

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


HOLD = """
import pathlib, time
while not pathlib.Path("go-on").exists():
    time.sleep(0.05)
""".strip()


def test_a_button_pressed_while_a_cell_holds_the_kernel_says_so_and_works_afterwards(
    tutorial, lab, begin_cell
):
    panel = tutorial.locator(".dnw-panel")
    card = panel.locator('[data-worker="quickstart:bridge"]')
    card.get_by_text("● running").wait_for()
    busy = begin_cell(HOLD)
    card.get_by_text("paused by cell [").wait_for()
    card.get_by_role("button", name="stop quickstart:bridge", exact=True).click()
    panel.get_by_role("status").get_by_text("queued: kernel is busy").wait_for()
    (lab.directory / "go-on").touch()
    has_run(busy).wait_for()
    card.get_by_text("○ stopped").wait_for()
    assert card.get_by_text("paused by").count() == 0
    panel.get_by_role("status").filter(has_text=re.compile("^$")).wait_for(state="attached")


def test_a_click_on_an_event_shows_its_trace_with_bars(tutorial):
    panel = tutorial.locator(".dnw-panel")
    panel.get_by_role("tab", name="Events").click()
    panel.get_by_role("option", name=re.compile("turn.completed")).first.click()
    trace = panel.locator(".dnw-trace").filter(visible=True)
    trace.get_by_text("✓ quickstart:bridge.count").wait_for()
    assert trace.get_by_text("wrote 14 tokens").count() == 1


def test_a_trace_in_a_cell_is_a_tree_without_script(tutorial):
    fired = tutorial.locator(".jp-CodeCell").filter(has_text="%fire turn.completed turn_id=t1").first
    tree = fired.get_by_role("tree")
    assert "turn t1 took 147 ms" in tree.inner_text()
    assert tree.locator("script").count() == 0


def test_the_tutorial_runs_in_notebook_7(page, lab):
    name = "notebook-7.ipynb"
    notebook = nbformat.read(lab.directory / "01-quickstart.ipynb", 4)
    for cell in notebook.cells:  # a count that is stored would look like one of now
        cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
    nbformat.write(notebook, lab.directory / name)
    page.goto(f"{lab.url}/notebooks/{name}?token={lab.token}")
    until_connected(page, lab, name)
    run_all(page)
    page.locator(".dnw-panel").first.scroll_into_view_if_needed()  # what nobody sees is sent nothing
    page.locator(".dnw-panel").get_by_text("● running").first.wait_for()
    text = page.locator(".jp-Notebook").inner_text()
    assert "wrote 14 tokens" in text
    assert "Traceback" not in text
