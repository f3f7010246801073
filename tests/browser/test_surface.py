"""Buttons, traces and the same notebook in Notebook 7, by hand as far as a program can."""

from __future__ import annotations

import re

import nbformat
import pytest
from lab import has_run, run_all, until_connected
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


HOLD = """
import pathlib, time
while not pathlib.Path("go-on").exists():
    time.sleep(0.05)
""".strip()


def test_a_button_pressed_while_a_cell_holds_the_kernel_says_so_and_works_afterwards(
    tutorial, lab, begin_cell
):
    panel = tutorial.locator(".dn")
    panel.get_by_role("tab", name="Workers").click()
    row = panel.get_by_role("row").filter(has_text="bridge")
    row.click()
    drawer = panel.get_by_role("complementary", name="quickstart:bridge")
    drawer.get_by_role("region", name="Handlers").wait_for()
    busy = begin_cell(HOLD)
    panel.scroll_into_view_if_needed()  # the front end lays out what can be seen
    row.get_by_text("Paused by cell [").wait_for()
    drawer.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_text(re.compile(r"^Stop bridge: waits (in line|for cell)")).wait_for()
    panel.get_by_text(
        re.compile(r"Kernel busy since .*, cell \[\d+\](, line \d)? is running\..* wait in line")
    ).wait_for()
    (lab.directory / "go-on").touch()
    has_run(busy).wait_for()
    row.get_by_text("Stopped").wait_for()
    expect(row.get_by_text("Paused by")).to_have_count(0)
    panel.get_by_text("bridge is stopped").wait_for()
    panel.get_by_text("Kernel busy since").wait_for(state="detached")


def test_a_click_on_an_event_shows_its_run_with_bars_and_what_was_printed(tutorial):
    panel = tutorial.locator(".dn")
    panel.get_by_role("tab", name="Runs").click()
    panel.get_by_role("option").filter(has_text="turn.completed").first.click()
    run = panel.get_by_role("region", name=re.compile(r"Run #\d+"))
    call = run.get_by_role("treegrid").get_by_role("row").filter(has_text="count").first
    call.locator(".bar, svg, i").first.wait_for()
    call.click()
    run.get_by_role("tab", name="Log").click()
    run.get_by_text("wrote 14 tokens").wait_for()
    expect(run.get_by_text("wrote 14 tokens")).to_have_count(1)


def test_a_trace_in_a_cell_shows_what_was_printed_without_script(tutorial):
    fired = tutorial.locator(".jp-CodeCell").filter(has_text="%fire turn.completed turn_id=t1").first
    fired.scroll_into_view_if_needed()  # JupyterLab draws only what can be seen
    trace = fired.get_by_role("group", name="trace")
    trace.get_by_text("turn t1 took 147 ms").first.wait_for()
    expect(trace.locator("script")).to_have_count(0)


def test_the_tutorial_runs_in_notebook_7(page, lab):
    name = "notebook-7.ipynb"
    notebook = nbformat.read(lab.directory / "01-quickstart.ipynb", 4)
    for cell in notebook.cells:  # a count that is stored would look like one of now
        cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
    nbformat.write(notebook, lab.directory / name)
    page.goto(f"{lab.url}/notebooks/{name}?token={lab.token}")
    until_connected(page, lab, name)
    run_all(page)
    panel = page.locator(".dn")
    panel.scroll_into_view_if_needed()  # what nobody sees is sent nothing
    panel.get_by_text("1 running", exact=True).wait_for()
    panel.get_by_role("tab", name="Workers").click()
    panel.get_by_role("row").filter(has_text="bridge").click()
    panel.get_by_role("complementary", name="quickstart:bridge").get_by_text(
        "turn.completed"
    ).first.wait_for()
    expect(page.locator(".jp-Notebook")).to_contain_text("wrote 14 tokens")
    expect(page.locator(".jp-Notebook")).not_to_contain_text("Traceback")
