"""From a red line to the wrong variable, and a stop in a cell: in JupyterLab, in a browser."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from lab import has_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CELL = (
    "%%worker stopping\n@worker.on_event('stop.here')\nasync def on_stop(e, c):\n    x = 41\n    breakpoint()\n"
    "    x += 1\n@worker.on_event('fail.here')\nasync def on_fail(e, c):\n    wrong = 'this one'\n    1 / 0"
)


def answer(page, cell, text):
    """Type an answer into the input field of a cell."""
    field = cell.locator("input.jp-Stdin-input").last
    field.wait_for()
    asked = field.element_handle()
    field.fill(text)
    field.press("Enter")
    asked.wait_for_element_state("hidden")  # else the next answer may be written into this field


def test_a_breakpoint_asks_in_the_cell_and_a_failure_is_one_click_from_its_frame(tutorial, begin_cell):
    has_run(begin_cell(CELL)).wait_for()
    stopped = begin_cell("%fire stop.here")
    stopped.locator(".jp-Stdin-prompt", has_text="ipdb>").last.wait_for()
    panel = tutorial.locator(".dn")
    panel.scroll_into_view_if_needed()
    panel.get_by_text(
        re.compile(r"Kernel busy since .*, cell \[\d+\]: .*on_stop is in the debugger\.")
    ).wait_for()
    answer(tutorial, stopped, "p x")
    stopped.locator(".jp-OutputArea-output", has_text="41").first.wait_for()
    if (where := os.environ.get("DNWORKER_SCREENSHOTS")) is not None:
        stopped.scroll_into_view_if_needed()
        tutorial.screenshot(path=str(Path(where) / "debugger.png"))
    answer(tutorial, stopped, "q")
    stopped.get_by_text("on_stop was ended in the debugger").first.wait_for()

    failed = begin_cell("%fire fail.here")
    failed.get_by_text("opens the frame that raised").first.wait_for()
    panel.scroll_into_view_if_needed()
    panel.get_by_role("region", name="Failures").get_by_role("button", name="Debug this event").click()
    panel.get_by_text("Inserted %debug #").wait_for()
    written = tutorial.locator(".jp-InputArea-editor").filter(has_text=re.compile(r"^%debug #\d+$"))
    opened = tutorial.locator(".jp-Notebook .jp-CodeCell").filter(has=written)
    opened.locator(".cm-content").click()
    tutorial.keyboard.press("Shift+Enter")
    answer(tutorial, opened, "p wrong")
    opened.locator(".jp-OutputArea-output", has_text="'this one'").first.wait_for()
    answer(tutorial, opened, "q")
    has_run(opened).wait_for()
