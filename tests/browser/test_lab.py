"""The tutorial, run by hand as far as a program can: in JupyterLab, in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab import has_run
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_tutorial_runs_from_top_to_bottom_and_exports(tutorial, lab, open_log):
    expect(tutorial.locator(".jp-Notebook")).not_to_contain_text("Traceback")
    outputs = tutorial.locator(".jp-OutputArea-output")
    panel = tutorial.locator(".dn")
    open_log(panel).get_by_text("turn t1 took 147 ms").first.wait_for()
    expect(outputs.filter(has_text="turn t1 took 147 ms")).to_have_count(2)  # the trace and the panel
    newest = outputs.filter(has_text="wrote 14 tokens", has_not=panel).first
    expect(newest).not_to_contain_text("took")
    script = Path(lab.directory / "out" / "quickstart" / "workers" / "bridge.py").read_text()
    assert "wrote {tokens} tokens" in script


def test_the_panel_shows_workers_and_log_and_drives_them(tutorial, open_log):
    panel = tutorial.locator(".dn")
    panel.get_by_role("tab", name="Workers").click()
    row = panel.get_by_role("row").filter(has_text="bridge")
    row.click()
    drawer = panel.get_by_role("complementary", name="quickstart:bridge")
    drawer.get_by_role("img", name="running", exact=True).wait_for()
    handlers = drawer.get_by_role("region", name="Handlers")
    handlers.get_by_role("row").filter(has_text="turn.completed").filter(has_text="count").wait_for()
    expect(drawer.get_by_role("button", name="Start", exact=True)).to_have_count(0)
    drawer.get_by_role("button", name="Stop", exact=True).click()
    row.get_by_text("Stopped").wait_for()
    drawer.get_by_role("button", name="Start", exact=True).wait_for()
    expect(drawer.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    log = open_log(panel)
    log.get_by_role("row").filter(has_text="disconnected").first.wait_for()
    line = log.get_by_text("turn t1 took 147 ms")
    line.first.wait_for()
    expect(line).to_have_count(1)
    drawer.get_by_role("button", name="Start", exact=True).click()
    row.get_by_text("Stopped").wait_for(state="detached")
    drawer.get_by_role("img", name="running", exact=True).wait_for()


def test_what_a_handler_says_is_text_in_the_panel(tutorial, begin_cell, open_log):
    tutorial.evaluate("window.attacked = false")
    has_run(
        begin_cell(
            "%%worker rude\n@worker.on_event('rude')\nasync def say(e, c):\n"
            "    print('<img src=x onerror=\"window.attacked = true\">')"
        )
    ).wait_for()
    has_run(begin_cell("%fire rude")).wait_for()
    panel = tutorial.locator(".dn")
    panel.scroll_into_view_if_needed()
    open_log(panel).get_by_role("row").get_by_text("<img src=x").first.wait_for()
    panel.get_by_role("tab", name="Runs").click()
    panel.get_by_role("option").filter(has_text="rude").click()
    run = panel.get_by_role("region", name=re.compile(r"Run #\d+"))
    run.get_by_role("treegrid").get_by_role("row").filter(has_text="say").click()
    run.get_by_role("tab", name="Log").click()
    run.get_by_text("<img src=x").first.wait_for()
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
