"""Runs of a kernel that is written down, in a browser: more rows than anybody sees, names of any length."""

from __future__ import annotations

import pytest

from .scene import NOW_MS, show

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


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
    assert waterfall.get_attribute("aria-rowcount") == "2000"
    assert waterfall.locator(".rows > .wr").count() < 80
    waterfall.focus()
    page.keyboard.press("End")
    waterfall.locator('[aria-selected="true"]').get_by_text("#999").wait_for()
    for form in ("Lanes", "Sequence", "Waterfall"):
        page.get_by_role("radio", name=form).click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1500
    assert problems == []
