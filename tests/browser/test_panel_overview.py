"""The overview and the liveness of the panel: written down, on the page of a server, and in a notebook."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest
from lab import open_notebook, run_all, running_serve
from playwright.sync_api import expect

from .conftest import ANY, run_below, write_notebook
from .scene import NOW_MS, show
from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1">'
MINUTE = 60_000
STEP = 15_000


def failure(number: int, worker: str, handler: str, error: str, **fields: Any) -> dict[str, Any]:
    """Return a row of what fails, as the part has it."""
    return {
        "id": number,
        "exit": False,
        "worker": worker,
        "handler": handler,
        "handlers": [{"worker": worker, "handler": handler, "failed": 4}],
        "count": 1,
        "error": error,
        "location": "cell [3], line 5",
        "line": 5,
        "source": 'total = event.payload["price"] * 2',
        "event": f"event-{number}",
        "failed": 41,
        "calls": 52,
        "spark": [0] * 15 + [1, 2, 3, 4, 5],
        "first": NOW_MS - 5 * MINUTE,
        "last": NOW_MS - 9_000,
        "since": None,
        **fields,
    }


ROWS = [
    failure(
        1,
        "csvdrop:importer",
        "on_rows",
        f"ValueError: {HOSTILE}",
        since={"worker": "csvdrop:importer", "n": 7, "at": NOW_MS - 5 * MINUTE},
    ),
    failure(2, "orders:payment", "charge", "TimeoutError: no answer", failed=6, calls=1_904),
    failure(
        3,
        "gateway:relay",
        "process",
        "exited with code 1",
        exit=True,
        failed=1,
        calls=1,
        event=None,
        location=None,
    ),
]


def overview(rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Return the part, of a runtime that does 20 calls a second."""
    due = {"worker": "gateway:http", "key": ["every", "30s", "heartbeat"], "name": "heartbeat"}
    return {
        "cells": True,
        "handlers": 128,
        "workers": {"running": 46, "starting": 1, "gated_off": 2, "error": 1},
        "inFlight": 37,
        "backlog": 212,
        "calls": 18_000,
        "failed": 48,
        "since": NOW_MS - 102 * 60 * MINUTE,
        "series": {
            "recent": {"p50": 9.4, "p95": 48.2},
            "step": STEP,
            "end": NOW_MS + 7_500,
            "calls": [300] * 59 + [150],
            "failed": [0] * 40 + [3] * 20,
            "p50": [9.4] * 60,
            "p95": [30.0] * 40 + [52.0] * 20,
            "lag": [2.0] * 59 + [3.1],
        },
        "marks": [{"at": NOW_MS - 5 * MINUTE, "worker": "csvdrop:importer", "n": 7}] if rows else [],
        "failures": {"rows": rows, "all": len(rows), "handlers": len(rows)},
        "due": {
            "rows": [
                {
                    **due,
                    "when": NOW_MS + 12_000,
                    "every": 30.0,
                    "cron": None,
                    "why": None,
                    "whyNotNow": None,
                },
                {
                    **due,
                    "name": "nightly",
                    "when": None,
                    "every": None,
                    "cron": "0 4 * * *",
                    "why": "it is stopped",
                    "whyNotNow": "it is stopped",
                },
            ],
            "all": 2,
        },
        "changed": [
            {
                "at": NOW_MS,
                "worker": "a:b",
                "state": "running",
                "generation": 7,
                "text": f"{HOSTILE} ran again",
            }
        ],
        "span": None,
        **fields,
    }


WELL = overview([])
ONE = overview(ROWS[:1])
THREE = overview(ROWS)
STORM = overview([failure(9, "a:b", "work", "ConnectionError: refused", count=29), *ROWS[:2]])
EMPTY = overview([], workers={}, handlers=0)


def draw(page, part: dict[str, Any], *, dead: dict[str, Any] | None = None, **fields: Any):
    """Show the overview, with the parts that are always sent; `dead` answers what is asked of dead letters."""
    parts = {
        "workers": {"order": [], "changed": []},
        "runtime": {"id": "r", "url": None, "events": 1},
        "attention": {"prompts": 0, "failing": part["failures"]["handlers"]},
    }
    answers = {"replay": {"event": "new", "seq": 5, "kind": "shop.sale"}, "dead": dead}
    show(page, {"parts": parts, "looks": {"overview": part}, "answers": answers}, **fields)
    page.locator(".ov .verdict, .ov .empty").first.wait_for()
    return page.locator(".ov")


def sent(page, type_: str) -> list[dict[str, Any]]:
    return page.evaluate("type => window.model.sent.filter((message) => message.type === type)", type_)


def test_the_first_sentence_says_what_is_wrong_since_when_and_what_fails_beside(page):
    page.set_viewport_size({"width": 1500, "height": 940})
    ov = draw(page, THREE)
    ov.get_by_role("heading", name="3 of 128 handlers are failing").wait_for()
    ov.get_by_text("Most since generation 7 of csvdrop:importer at").wait_for()
    ov.get_by_text("Also payment.charge, and relay exited.").wait_for()
    ov.get_by_role("img", name="46 running, 1 starting, 2 gated off, 1 in error").wait_for()
    ov.get_by_text("Generation 7, <img src=x").wait_for()
    expect(ov.locator("img")).to_have_count(0)
    assert page.evaluate("window.attacked") is None


def test_a_brush_in_one_chart_selects_in_all_and_leads_to_its_runs(page):
    page.set_viewport_size({"width": 1500, "height": 940})
    ov = draw(page, THREE)
    plot = ov.locator(".plot").first.bounding_box()
    x = [plot["x"] + plot["width"] * share for share in (0.5, 0.6, 0.7)]
    page.mouse.move(x[0], plot["y"] + 20)
    page.mouse.down()
    for one in x[1:]:
        page.mouse.move(one, plot["y"] + 20)
    page.mouse.up()
    ov.locator(".brush").nth(3).wait_for()
    ov.locator(".selected").get_by_text("calls").wait_for()
    last = "window.model.sent.filter((one) => one.type === 'look').at(-1).wanted"
    page.wait_for_function(f"{last}?.since")
    wanted = page.evaluate(last)
    assert (wanted["until"] - wanted["since"]) % STEP == 0
    page.keyboard.press("Escape")
    ov.locator(".brush").first.wait_for(state="detached")
    chart = ov.get_by_role("img", name=re.compile("^Error rate, last 15 minutes: 1.1 % of calls"))
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function(f"until => {last}?.until === until", arg=THREE["series"]["end"])
    ov.get_by_role("status").get_by_text("1,350 calls, 15 failed").wait_for()
    ov.get_by_role("button", name="Show these runs").click()
    page.get_by_role("tab", name="Runs", selected=True).wait_for()


def test_a_row_is_opened_debugged_fired_again_and_dismissed_by_keys(page):
    page.set_viewport_size({"width": 1000, "height": 560})
    ov = draw(page, THREE)
    row = ov.locator('[data-row="1"]')
    row.focus()
    page.keyboard.press("f")
    page.get_by_text("Fired shop.sale #5").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("Delete")
    page.wait_for_function("window.model.sent.some((message) => message.type === 'dismiss')")
    assert [one["event"] for one in sent(page, "replay")] == ["event-1"]
    assert [(one["event"], one["form"]) for one in sent(page, "copy")] == [("event-1", "debug")]
    assert [one["row"] for one in sent(page, "dismiss")] == [1]
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Restored: ").wait_for()
    assert [one["row"] for one in sent(page, "restore")] == [1]
    row.focus()
    page.keyboard.press("ArrowDown")
    expect(ov.locator('[data-row="2"]')).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Runs", selected=True).wait_for()


def test_a_dead_letter_is_fired_again_edited_dropped_and_put_back(page):
    page.set_viewport_size({"width": 1000, "height": 560})
    row = {
        "id": "dead-1",
        "worker": "shop:bridge",
        "seq": 7,
        "kind": "shop.sale",
        "session": None,
        "handlers": ["charge"],
        "error": f"ConnectionError: {HOSTILE}",
        "attempts": 6,
        "why": "exhausted",
        "at": NOW_MS - MINUTE,
    }
    answer = {"event": "new", "seq": 9, "kind": "shop.sale", "payload": '{"price": 5}', "cut": 0}
    ov = draw(page, overview([], dead={"rows": [row], "all": 3}), dead=answer)
    letters = ov.get_by_role("region", name="Dead letters")
    letters.get_by_text("6 attempts").wait_for()
    letters.get_by_text("and 2 older ones").wait_for()
    letters.get_by_role("button", name="Fire again").click()
    page.get_by_text("Fired shop.sale #9 for shop:bridge").wait_for()
    letters.get_by_role("button", name="Drop").click()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("window.model.sent.some((one) => one.verb === 'restore')")
    letters.get_by_role("button", name="Edit and fire").click()
    page.locator(".dn").get_by_text('"price"').first.wait_for()
    verbs = [(one["verb"], one["event"], one["worker"]) for one in sent(page, "dead")]
    assert verbs == [(verb, "dead-1", "shop:bridge") for verb in ("retry", "drop", "restore", "payload")]
    assert page.evaluate("window.attacked") is None


def test_what_cannot_be_done_says_why_and_a_process_is_started_again(page):
    ov = draw(page, THREE)
    relay = ov.locator('[data-row="3"]')
    debug = relay.get_by_role("button", name="Debug this event")
    expect(debug).to_have_attribute("aria-disabled", "true")
    expect(debug).to_have_attribute("title", "No event caused it")
    relay.get_by_role("button", name="Start again").click()
    page.wait_for_function("window.model.sent.some((message) => message.verb === 'restart')")


def test_one_failure_shows_its_line_at_once_and_many_of_a_cause_are_one_row(page):
    ov = draw(page, ONE)
    ov.get_by_text('total = event.payload["price"] * 2').wait_for()
    expect(ov.get_by_text("Failing now")).to_have_count(0)
    ov = draw(page, STORM)
    ov.get_by_text("One cause for 29 of them: ConnectionError: refused, since").wait_for()
    ov.locator(".fl").first.get_by_text("29 handlers").wait_for()


def test_where_nothing_fails_there_is_no_red_and_where_nothing_is_there_is_a_snippet(page):
    ov = draw(page, WELL)
    ov.get_by_role("heading", name="All 128 handlers succeed").wait_for()
    expect(ov.get_by_role("region", name="Failures")).to_have_count(0)
    ov = draw(page, EMPTY)
    ov.get_by_role("heading", name="No workers yet").wait_for()
    ov.get_by_role("button", name="Copy").wait_for()
    ov = draw(page, EMPTY | {"cells": False})
    ov.get_by_text("dnworker serve ./my-capability").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 420, 900, 1500])
def test_axe_finds_nothing_serious_on_the_overview(page, axe, scheme, width):
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    found = []
    long = [failure(n, f"capability:{'w' * 200}", "h" * 200, "עברית 🦀 " + "e" * 280) for n in range(1, 51)]
    for part in (THREE, ONE, WELL, EMPTY, overview(long)):
        ov = draw(page, part, dark=scheme == "dark")
        if (chart := ov.locator(".ch").first).count():
            chart.press("ArrowLeft")
        found += axe(page, ".dn")
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        assert too_wide(page, ov) == []
    assert found == []


# -- the page of a server --------------------------------------------------------------------------------

MANIFEST = """
schema: 1
name: shop
version: 1.0.0
description: a till
workers:
  till: {path: till.py}
"""
TILL = """
import time
from pathlib import Path

from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    print(event.payload["price"] * event.payload["count"])


@worker.every(minutes=30)
async def close(client): ...


@worker.every(seconds=1)
async def first(client):
    if not worker.state.get("sold"):
        worker.state["sold"] = 1
        await client.publish("shop.sale", {"price": 3, "count": None})


@worker.every(seconds=1)
async def block(client):
    if (wish := Path(__file__).with_name("block")).exists():
        wish.unlink()
        time.sleep(5)
"""


@pytest.fixture
def shop(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "till.py").write_text(TILL)
    return root


LOSE_SOCKET = """() => new Promise((done) => {
    const { link } = document.getElementById("panel").dnwPanel;
    const before = link.model.socket;
    before.close();
    const timer = setInterval(() => {
        if (link.model.socket === before || !link.isOpen) return;
        clearInterval(timer);
        done();
    }, 20);
})"""
"""Closes the socket of the page, and returns when it has another one."""


def badge(page, state: str):
    return page.locator(f'.live[data-state="{state}"]')


def test_a_page_tells_live_busy_and_gone_and_comes_back(page, shop, tmp_path):
    with running_serve(shop, home=tmp_path) as served:
        page.goto(served.ticket_url())
        badge(page, "live").wait_for()
        page.get_by_role("heading", name="1 of 4 handlers is failing").wait_for()
        page.get_by_text("TypeError: unsupported operand").first.wait_for()
        (shop / "block").touch()
        badge(page, "busy").wait_for()  # a schedule holds the loop for 5 s
        page.get_by_text(re.compile(r"Busy since \d\d:\d\d:\d\d\. .*wait in line\.")).wait_for()
        badge(page, "live").wait_for()
        page.evaluate(LOSE_SOCKET)
        page.get_by_role("button", name="Fire again").click()
        page.get_by_text(re.compile(r"Fired shop\.sale #\d+")).wait_for()
        page.get_by_text("2 of 2").wait_for()
        fire = page.get_by_role("button", name="Fire event")
        expect(fire).not_to_have_attribute("aria-disabled", ANY)
        served.process.kill()
        badge(page, "gone").wait_for()
        page.get_by_role("heading", name=re.compile(r"4 handlers, as of \d\d:\d\d:\d\d")).wait_for()
        expect(fire).to_have_attribute("aria-disabled", "true")
        expect(fire).to_have_attribute("title", re.compile("The runtime is gone"))
        again = page.get_by_role("button", name="Fire again")
        expect(again).to_have_attribute("title", re.compile("The runtime is gone"))
        due = page.get_by_role("region", name="Due next")
        expect(due).to_contain_text(re.compile(r"\d\d:\d\d:\d\d"))
        expect(page.locator(".dn")).not_to_contain_text("kernel", ignore_case=True, use_inner_text=True)
        served.process.wait()
        page.get_by_role("button", name="Connect again").click()  # nobody is there yet
        badge(page, "gone").wait_for()
        port = int(served.url.rpartition(":")[2])
        with running_serve(shop, home=tmp_path, port=port) as second:
            page.get_by_text("the session is over; give the token again").wait_for()
            page.get_by_label("token").fill(second.token_file.read_text().strip())
            page.keyboard.press("Enter")
            badge(page, "live").wait_for()


# -- a notebook ------------------------------------------------------------------------------------------

CELLS = [
    "%load_ext dnworker",
    """%%worker bridge
@worker.on_event("demo.order")
async def on_order(event, client):
    return sum(event.payload["prices"])""",
    """%%fire demo.order
{"prices": [1, null]}""",
    "import os, time; print('pid', os.getpid())",
    "%panel",
]


@pytest.fixture
def notebook(page, lab, request):
    """A notebook with a failed handler and the panel, every cell run; `pid` is its kernel's."""
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / name, CELLS)
    open_notebook(page, lab, name)
    run_all(page)
    page.panel = page.locator(".jp-Notebook .dn")
    page.panel.scroll_into_view_if_needed()
    page.panel.get_by_role("heading", name="The handler is failing").wait_for()
    said = page.locator(".jp-OutputArea").filter(has_text=re.compile(r"pid \d+")).first.inner_text()
    page.pid = int(re.search(r"pid (\d+)", said)[1])
    return page


def begin_below(page, code: str) -> None:
    """Begin code in a new last cell, and show the panel again."""
    cell = run_below(page, code)
    cell.locator(".jp-InputPrompt", has_text="[*]").wait_for()
    page.panel.scroll_into_view_if_needed()


def test_a_panel_tells_a_busy_kernel_interrupts_it_and_tells_a_killed_one(notebook):
    panel = notebook.panel
    badge(notebook, "live").wait_for()
    panel.get_by_role("button", name="Debug this event").click()
    notebook.locator(".jp-CodeCell").filter(has_text=re.compile(r"%debug #\d+")).first.wait_for()
    panel.scroll_into_view_if_needed()
    begin_below(notebook, "time.sleep(60)")
    badge(notebook, "busy").wait_for()
    panel.get_by_text(re.compile("Kernel busy since")).wait_for()
    panel.get_by_role("button", name="Interrupt").click()
    badge(notebook, "live").wait_for()
    os.kill(notebook.pid, signal.SIGKILL)
    badge(notebook, "gone").wait_for()
    fire = panel.get_by_role("button", name="Fire event")
    expect(fire).to_have_attribute("title", re.compile("The kernel is gone"))
    panel.get_by_text(re.compile(r"No word from the kernel since \d\d:\d\d:\d\d")).wait_for()
    notebook.locator(".jp-Dialog").get_by_role("button", name="Ok").click()  # the kernel appears to have died
    panel.get_by_role("button", name="Connect again").click()
    panel.get_by_text("Nobody answers; run %panel again").wait_for()
    badge(notebook, "gone").wait_for()


def test_a_panel_without_workers_inserts_the_first_one_as_a_cell(page, lab, request):
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / name, [CELLS[0], CELLS[-1]])
    open_notebook(page, lab, name)
    run_all(page)
    page.locator(".jp-Notebook .dn").get_by_role("button", name="Insert as cell").click()
    page.locator(".jp-CodeCell").filter(has_text="%%worker bridge").first.wait_for()
