"""The tutorial, run by hand as far as a program can: in JupyterLab, in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lab import has_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_the_tutorial_runs_from_top_to_bottom_and_exports(tutorial, lab):
    text = tutorial.locator(".jp-Notebook").inner_text()
    assert "Traceback" not in text
    outputs = tutorial.locator(".jp-OutputArea-output")
    assert outputs.filter(has_text="turn t1 took 147 ms").count() == 2  # the trace and the panel
    newest = outputs.filter(has_text="wrote 14 tokens", has_not=tutorial.locator(".dnw-panel")).first
    assert "took" not in newest.inner_text()
    script = Path(lab.directory / "out" / "quickstart" / "workers" / "bridge.py").read_text()
    assert "wrote {tokens} tokens" in script


def test_the_panel_shows_workers_and_log_and_drives_them(tutorial):
    panel = tutorial.locator(".dnw-panel")
    card = panel.locator('[data-worker="quickstart:bridge"]')
    card.get_by_text("● running").wait_for()
    assert "on_event turn.completed" in card.inner_text()
    line = panel.get_by_role("log").get_by_text("turn t1 took 147 ms")
    line.first.wait_for()
    assert line.count() == 1
    assert card.get_by_role("button", name="start quickstart:bridge", exact=True).is_disabled()
    card.get_by_role("button", name="stop quickstart:bridge", exact=True).click()
    card.get_by_text("○ stopped").wait_for()
    panel.get_by_role("log").get_by_text("disconnected").first.wait_for()
    card.get_by_role("button", name="start quickstart:bridge", exact=True).click()
    card.get_by_text("● running").wait_for()


def test_what_a_handler_says_is_text_in_the_panel(tutorial, begin_cell):
    tutorial.evaluate("window.attacked = false")
    has_run(
        begin_cell(
            "%%worker rude\n@worker.on_event('rude')\nasync def say(e, c):\n"
            "    print('<img src=x onerror=\"window.attacked = true\">')"
        )
    ).wait_for()
    has_run(begin_cell("%fire rude")).wait_for()
    tutorial.locator(".dnw-log").scroll_into_view_if_needed()
    tutorial.locator(".dnw-log").get_by_text("<img src=x").first.wait_for()
    assert tutorial.evaluate("window.attacked") is False


def test_a_saved_notebook_holds_no_widget_state(tutorial, lab):
    tutorial.keyboard.press("Control+s")
    tutorial.locator(".jp-mod-dirty").first.wait_for(state="detached")
    saved = json.loads((lab.directory / tutorial.notebook).read_text())
    assert "widgets" not in saved["metadata"]
    panels = [
        o
        for c in saved["cells"]
        for o in c.get("outputs", [])
        if "widget-view" in json.dumps(o.get("data", {}))
    ]
    assert all("text/html" in o["data"] for o in panels)
