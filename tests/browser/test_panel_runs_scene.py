"""Runs of a kernel that is written down, in a browser: more rows than anybody sees, names of any length."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import ANY
from .scene import NOW_MS, show

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TYPE = """(field, text) => {
  field.focus();
  for (let end = 1; end <= text.length; end++) {
    field.value = text.slice(0, end);
    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  }
}"""
"""Types without any pause, however busy the machine is."""


@pytest.fixture
def problems(page):
    found: list[str] = []
    page.on("console", lambda one: found.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda exc: found.append(str(exc)))
    return found


def call(n: int, parent: str, depth: int) -> dict:
    return {
        "id": f"c{n}",
        "type": "call",
        "depth": depth,
        "parent": parent,
        "worker": f"w:{'x' * 200}" if n == 1 else f"w:{n % 7}",
        "handler": "on_event",
        "outcome": "error" if n % 50 == 7 else "ok",
        "error": "ValueError",
        "seq": n,
        "published": n / 10,
        "started": n / 10 + 0.01,
        "ended": n / 10 + 0.05,
        "ran": 0.04,
        "generation": 1,
    }


def event(n: int, parent: str | None, depth: int) -> dict:
    found = {"id": f"e{n}", "type": "event", "depth": depth, "parent": parent, "kind": "deep.chain"}
    return found | {"seq": n, "last": n, "marks": [{"id": f"e{n}", "seq": n, "at": n / 10}], "heard": True}


def test_a_run_of_two_thousand_rows_draws_those_that_can_be_seen(page, problems):
    """Also of depth 200: names stay on the page."""
    rows = [event(0, None, 0)]
    for n in range(1, 1_000):
        depth = min(2 * n, 400)
        rows += [call(n, rows[-1]["id"], depth - 1), event(n, f"c{n}", depth)]
    one = {
        "id": "e0",
        "seq": 1,
        "kind": "deep.chain",
        "text": "x" * 120,
        "session": None,
        "outcome": "failed",
    }
    one |= {
        "events": 1000,
        "calls": 999,
        "failed": 20,
        "duration": 100.0,
        "at": NOW_MS,
        "mini": [],
        "why": None,
    }
    runs = {"rows": [one], "gone": [], "whole": True, "filter": {}}
    runs["counts"] = {"all": 1, "failed": 1, "running": 0, "unheard": 0}
    run = {
        "event": "e0",
        "root": "e0",
        "seq": 1,
        "kind": "deep.chain",
        "at": NOW_MS,
        "session": None,
        "turn": None,
    }
    run |= {"source": "HTTP", "row": one, "running": False, "cells": False, "rows": rows}
    page.set_viewport_size({"width": 1500, "height": 900})
    parts = {"workers": {"order": [], "changed": []}, "runtime": {"id": "r", "events": 1}}
    show(page, {"parts": parts, "looks": {"runs": runs, "run": run}})
    page.get_by_role("tab", name="Runs").click()
    waterfall = page.get_by_role("treegrid")
    waterfall.locator(".x.f").first.wait_for()
    expect(waterfall).to_have_attribute("aria-rowcount", "2000")
    page.wait_for_function("document.querySelectorAll('.rows > .wr').length < 80")
    waterfall.focus()
    page.keyboard.press("End")
    waterfall.locator('[aria-selected="true"]').get_by_text("#999").wait_for()
    for form in ("Lanes", "Sequence", "Waterfall"):
        page.get_by_role("radio", name=form).click()
    page.wait_for_function("document.documentElement.scrollWidth <= 1500")
    assert problems == []


WORKERS = {"workers": {"order": [], "changed": []}, "runtime": {"id": "r", "events": 1}}


def row_of(number: int, **fields: object) -> dict:
    found = {"id": f"e{number}", "seq": number, "kind": f"kind.{number}", "text": "", "session": None}
    found |= {"outcome": "ok", "events": 3, "calls": 1, "failed": 0, "duration": 100.0, "at": NOW_MS}
    return found | {"mini": [], "why": None} | fields


def small_scene() -> dict:
    """Three runs, of which the middle one, `e5`, is sent when any event of it is looked at."""
    rows = [row_of(9), row_of(5), row_of(1)]
    counts = {"all": 3, "failed": 0, "running": 0, "unheard": 0}
    run = {"event": "e6", "root": "e5", "seq": 5, "kind": "kind.5", "at": NOW_MS, "session": None}
    run |= {"turn": None, "source": "HTTP", "row": rows[1], "running": False, "cells": False}
    run["rows"] = [event(5, None, 0), call(5, "e5", 1), event(6, "c5", 2)]
    runs = {"rows": rows, "gone": [], "whole": True, "filter": {"order": "newest"}, "counts": counts}
    return {"parts": WORKERS, "looks": {"runs": runs, "run": run}, "answers": {"maptext": {"text": "x"}}}


def go(page, view: str, params: dict) -> None:
    page.evaluate("([view, params]) => store.go(view, params)", [view, params])


def looks_at(page, part: str) -> list:
    return page.evaluate("part => window.model.sent.filter(m => m.type === 'look' && m.part === part)", part)


def test_a_run_with_a_dead_letter_says_so_and_drops_it(page, problems):
    page.set_viewport_size({"width": 1500, "height": 900})
    scene = small_scene()
    letter = {"id": "e5", "worker": "shop:bridge", "seq": 5, "kind": "kind.5", "session": None, "attempts": 6}
    letter |= {"handlers": ["charge"], "error": "OSError: no", "why": "exhausted", "at": NOW_MS}
    scene["looks"]["run"]["dead"] = {"rows": [letter], "all": 1}
    scene["looks"]["runs"]["rows"][1]["dead"] = 1
    show(page, scene | {"answers": {"dead": {}}})
    go(page, "runs", {"event": "e6"})
    page.locator(".run").get_by_text("3 events, 1 call, 1 dead letter").wait_for()
    letters = page.get_by_role("region", name="Dead letters")
    letters.get_by_text("6 attempts").wait_for()
    for name in ("Fire again", "Debug this event", "Edit and fire"):
        letters.get_by_role("button", name=name).wait_for()
    letters.get_by_role("button", name="Drop").click()
    page.get_by_text("Dropped kind.5 #5").wait_for()
    assert problems == []


def test_a_link_to_a_later_event_of_a_run_selects_its_row_and_knows_the_runs_beside(page, problems):
    page.set_viewport_size({"width": 1500, "height": 900})
    show(page, small_scene())
    go(page, "runs", {"event": "e6"})
    page.locator(".run.sel").get_by_text("kind.5").wait_for()
    page.set_viewport_size({"width": 420, "height": 900})
    previous = page.get_by_role("button", name="Previous run")
    previous.wait_for()
    expect(previous).not_to_have_attribute("aria-disabled", ANY)
    assert not problems


def test_below_760_pixels_a_run_has_the_focus_on_the_way_back_and_escape_takes_it(page, problems):
    page.set_viewport_size({"width": 420, "height": 900})
    scene = small_scene()
    scene["looks"]["run"]["event"] = "e5"
    show(page, scene)
    go(page, "runs", {})
    page.locator(".run").get_by_text("kind.5").click()
    page.get_by_role("treegrid").wait_for()
    page.locator('[aria-label="Back to runs"]:focus').wait_for()
    page.keyboard.press("Escape")
    page.locator('[role="listbox"][aria-label="Runs"]:focus').wait_for()
    assert not problems


def test_what_is_typed_is_asked_for_once_people_pause_and_kept_when_the_segment_changes(page):
    page.set_viewport_size({"width": 1500, "height": 900})
    show(page, small_scene())
    go(page, "runs", {})
    page.locator(".run").first.wait_for()
    before = len(looks_at(page, "runs"))
    page.get_by_label("Search runs by").evaluate(TYPE, "orders")
    page.wait_for_function(
        "() => window.model.sent.some(m => m.part === 'runs' && m.wanted?.filter?.words?.[0] === 'orders')"
    )
    asked = [one["wanted"]["filter"].get("words") for one in looks_at(page, "runs")[before:] if one["wanted"]]
    assert asked == [["orders"]]
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search runs by")).to_have_value("")


def test_a_suggestion_that_comes_late_leaves_the_focus_where_people_went(page, problems):
    page.set_viewport_size({"width": 1500, "height": 900})
    scene = small_scene()
    scene["answers"]["suggest"] = {"payload": '{"n": 1}', "reads": "{}", "source": "made up"}
    show(page, scene)
    page.evaluate(
        """() => {
          const send = window.model.send.bind(window.model);
          window.late = [];
          window.model.send = (m) => (m.type === "suggest" ? window.late.push(() => send(m)) : send(m));
          store.openFire({ kind: "orders.placed" });
        }"""
    )
    worker = page.get_by_role("combobox", name="Worker")
    worker.focus()
    page.wait_for_function("() => window.late.length > 0")
    page.evaluate("() => window.late.forEach((go) => go())")
    page.wait_for_function("() => document.querySelector('.fire textarea').value.includes('1')")
    page.locator('[role="combobox"][aria-label="Worker"]:focus').wait_for()
    assert not problems
