"""Acting on the panel: palette, keys, toasts, capabilities, sessions; written down, and in a real JupyterLab."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lab import open_notebook, run_all
from playwright.sync_api import expect

from .conftest import ANY, run_below, wait_until, write_notebook
from .scene import NOW_MS, show
from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1">'
LONG = "עברית 🦀 " + "w" * 200


def worker(name: str, state: str = "running", **fields: Any) -> dict[str, Any]:
    """Return a worker as the panel is sent it."""
    known = {"name": name, "state": state, "topology": "python", "generation": 7, "errors": 0, "gate": {}}
    return {
        **known,
        "inProcess": False,
        "restarts": 0,
        "error": None,
        "handlers": [],
        "disabled": {},
        **fields,
    }


WORKERS = [
    worker("csvdrop:importer", errors=41, failing=1, previous=6, disabled={"start": "it is running"}),
    worker("orders:shipping", "stopped", disabled={"stop": "it is stopped", "restart": "it is stopped"}),
    worker(f"orders:{LONG}", disabled={"rollback": "this is its first generation"}, generation=1),
]
PALETTE = {
    "kinds": ["csvdrop.imported", "orders.placed", HOSTILE],
    "fired": [["csvdrop.imported", NOW_MS - 125_000]],
    "handlers": [["orders:refunds", "impound"]],
    "failing": [["csvdrop:importer", "on_rows", "importer.py:41", "e1"]],
    "runs": [["e1", 5, "csvdrop.rows", NOW_MS - 9_000, "error"]],
    "count": 212,
    "sessions": [["s1", "Refund for order 1881", 1]],
    "flags": [["acme", "mail", False, None, ["report"], []]],
    "checks": ["acme"],
    "cells": [],
}
FLAG = {
    "default": False,
    "source": "default",
    "fixed": None,
    "gates": ["report"],
    "starts": ["report"],
    "stops": [],
}
SERVER = {
    "status": "ok", "transport": "stdio", "error": None, "output": None, "detail": None, "tools": [], "toolCount": 0,
    "whyNot": None,
}  # fmt: skip
CAPABILITIES = {
    "all": [
        {
            "name": "acme",
            "version": "2.4.0",
            "description": f"What runs at night {HOSTILE}",
            "root": None,
            "failure": None,
            "flags": [
                {**FLAG, "name": "mail", "description": "Send the report", "value": False},
                {
                    **FLAG,
                    "name": "fixed",
                    "description": LONG,
                    "value": True,
                    "fixed": "set on the command line",
                },
            ],
            "checks": [
                {"name": "python", "command": "python3 --version", "status": "ok", "error": None},
                {"name": "redis", "command": LONG, "status": "error", "error": f"refused {HOSTILE}\n" * 20},
            ],
            "servers": [
                {**SERVER, "name": "files", "tools": ["read", LONG], "toolCount": 70},
                {
                    **SERVER,
                    "name": "gone",
                    "status": "error",
                    "error": f"it exited {HOSTILE}",
                    "output": LONG,
                },
                {
                    **SERVER,
                    "name": "web",
                    "status": "needs_auth",
                    "detail": "Sign in at https://example.org/in?a=b",
                },
            ],
            "facts": [["Author", "Ada <ada@example.org>"]],
            "notes": ["capability.yaml:3: a key stands twice"],
        },
        {
            "name": "broken",
            "version": "",
            "description": "",
            "root": "/srv/broken",
            "failure": "capability.yaml:13:18: two workers have the same file",
            "flags": [],
            "checks": [],
            "facts": [],
            "notes": [],
        },
    ],
    "more": 3,
    "whyNoExport": None,
}
BRIEF = {
    "id": "s1",
    "title": "Refund for order 1881",
    "agent": "desk",
    "phase": "awaiting_permission",
    "messages": 2,
    "turns": 1,
    "waiting": 1,
    "prompts": 2,
    "updated": "2026-11-26T14:31:00Z",
}
QUESTION = {"kind": "choice", "prompt": "Which card?", "header": "Refund", "multiple": False, "custom": True}
SESSION = BRIEF | {
    "model": "m",
    "tokens": 2_180,
    "cost": 0.0123,
    "earlier": 4,
    "history": [
        {"role": "user", "content": HOSTILE, "cut": 0, "tool": None, "at": "2026-11-26T14:30:12Z"},
        {"role": "tool", "content": LONG * 9, "cut": 7, "tool": "orders__get", "at": "2026-11-26T14:30:15Z"},
    ],
    "underWay": [{"id": "t1", "agent": "desk", "message": "Do it", "active": True}],
    "openPrompts": [
        {
            "request_id": "r1",
            "questions": [],
            "tool_approval": {"tool_name": "pay", "text": '{"n": 1}', "cut": 0, "reason": "It moves money"},
        },
        {
            "request_id": "r2",
            "tool_approval": None,
            "questions": [
                QUESTION
                | {"options": [{"label": "Visa", "description": ""}, {"label": "Cash", "description": "no"}]}
            ],
        },
    ],
}
OTHER = BRIEF | {"id": "s2", "title": None, "phase": "idle", "prompts": 0, "waiting": 0}
SCENE = {
    "parts": {
        "workers": {"order": [one["name"] for one in WORKERS], "changed": WORKERS},
        "runtime": {"id": "rt", "url": None, "events": 12, "name": "acme"},
        "attention": {"prompts": 2},
        "clock": {"virtual": False, "now": None},
        "paused": None,
    },
    "looks": {
        "palette": PALETTE,
        "capabilities": CAPABILITIES,
        "sessions": {"newest": [OTHER, BRIEF], "all": 5},
        "session": {"id": "s1", "detail": SESSION},
    },
    "answers": {
        "control": {"state": "stopped", "error": None},
        "suggest": {"payload": '{"id": 1}', "source": "last"},
        "fire": {"event": "e9", "seq": 41},
        "export": {"text": "1 thing cannot be exported", "problems": [{"location": None, "text": HOSTILE}]},
    },
}


@pytest.fixture
def scene(page):
    page.emulate_media(reduced_motion="reduce")
    show(page, SCENE)
    return page


def sent(page, type_: str) -> list[dict[str, Any]]:
    """Return what the panel has sent of a type, without what only the way to the kernel needs."""
    found = page.evaluate("type => window.model.sent.filter(message => message.type === type)", type_)
    return [{k: v for k, v in one.items() if k not in ("view", "id", "type")} for one in found]


def search(page, text: str):
    """Open the palette and type; returns it."""
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Search or run")
    palette.get_by_role("combobox").fill(text)
    return palette


def test_the_palette_finds_by_a_few_letters_and_enter_opens(scene):
    palette = search(scene, "impo")
    palette.get_by_role("option", name="Roll back to generation 6").wait_for()
    groups = palette.get_by_role("group")
    for n, name in enumerate(("Workers", "Actions on csvdrop:importer", "Events")):
        expect(groups.nth(n)).to_have_attribute("aria-label", name)
    first = palette.get_by_role("option").first
    expect(first).to_have_attribute("aria-selected", "true")
    expect(first.locator("b")).to_have_text("impo")
    chosen = first.get_attribute("id")
    expect(palette.get_by_role("combobox")).to_have_attribute("aria-activedescendant", chosen)
    scene.keyboard.press("ArrowUp")
    expect(palette.get_by_role("option").last).to_have_attribute("aria-selected", "true")
    scene.keyboard.press("ArrowDown")
    scene.keyboard.press("Enter")
    palette.wait_for(state="detached")
    expect(scene.get_by_role("tab", name="Workers")).to_have_attribute("aria-selected", "true")


def test_a_command_is_taken_back_by_the_toast(scene):
    palette = search(scene, "> stop importer")
    palette.get_by_role("option", name="Stop csvdrop:importer").wait_for()
    scene.keyboard.press("Enter")
    scene.get_by_text("importer is stopped").wait_for()
    scene.get_by_role("button", name="Undo").click()
    scene.wait_for_function("window.model.sent.filter(one => one.type === 'control').length === 2")
    assert sent(scene, "control") == [
        {"verb": "stop", "worker": "csvdrop:importer"},
        {"verb": "start", "worker": "csvdrop:importer"},
    ]


def test_an_event_is_fired_in_the_background_and_the_palette_stays(scene):
    palette = search(scene, "placed")
    palette.get_by_role("option", name="Fire orders.placed").wait_for()
    scene.keyboard.press("Control+Enter")
    scene.get_by_text("Fired orders.placed #41").wait_for()
    expect(palette).to_be_visible()
    assert sent(scene, "fire") == [{"kind": "orders.placed", "payload": '{"id": 1}'}]


def test_what_does_not_apply_says_why_and_does_nothing(scene):
    palette = search(scene, "> start shipping")
    option = palette.get_by_role("option", name="Start orders:shipping")
    expect(option).not_to_have_attribute("aria-disabled", ANY)
    search_again = palette.get_by_role("combobox")
    search_again.fill("> zzzz")
    palette.get_by_text("Nothing is called “> zzzz”").wait_for()
    scene.keyboard.press("Enter")
    expect(palette).to_be_visible()
    scene.keyboard.press("Escape")
    palette.wait_for(state="detached")
    assert sent(scene, "control") == []


def test_focus_returns_to_where_it_was_when_the_palette_closes(scene):
    scene.get_by_role("tab", name="Sessions").click()
    search(scene, "x")
    scene.keyboard.press("Escape")
    expect(scene.locator(":focus")).to_have_attribute("data-tab", "sessions")
    scene.keyboard.press("Control+k")
    scene.get_by_role("dialog").wait_for()
    scene.keyboard.press("Control+k")
    expect(scene.get_by_role("dialog")).to_have_count(0)


def test_slash_searches_in_the_view_and_a_question_mark_shows_the_keys(scene):
    scene.get_by_role("tab", name="Sessions").click()
    scene.get_by_label("Filter sessions").wait_for()
    scene.keyboard.press("/")
    expect(scene.get_by_label("Filter sessions")).to_be_focused()
    scene.keyboard.type("re?/")
    expect(scene.get_by_label("Filter sessions")).to_have_value("re?/")
    scene.get_by_role("tab", name="Sessions").focus()
    scene.keyboard.press("?")
    keys = scene.get_by_role("dialog", name="Keys")
    keys.get_by_text("Search in this view").wait_for()
    scene.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    expect(scene.locator(":focus")).to_have_attribute("data-tab", "sessions")


def test_the_menu_is_worked_by_keys(scene):
    scene.get_by_role("button", name="More").press("Enter")
    scene.keyboard.press("End")
    scene.keyboard.press("Enter")
    scene.get_by_role("dialog", name="Keys").wait_for()


def test_a_switch_says_what_it_starts_before_it_is_thrown_and_the_toast_throws_it_back(scene):
    scene.get_by_role("tab", name="Capability").click()
    switch = scene.get_by_role("switch", name="Flag mail")
    described = switch.get_attribute("aria-describedby")
    expect(scene.locator(f"[id='{described}']")).to_have_text("Turning it on starts report")
    fixed = scene.get_by_role("switch", name="Flag fixed")
    expect(fixed).to_have_attribute("title", "set on the command line")
    fixed.press("Space")
    switch.press("Space")
    scene.get_by_text("mail is on: started report").wait_for()
    scene.get_by_role("button", name="Undo").click()
    scene.wait_for_function("window.model.sent.filter(one => one.type === 'flag').length === 2")
    assert sent(scene, "flag") == [
        {"capability": "acme", "flag": "mail", "value": True},
        {"capability": "acme", "flag": "mail", "value": False},
    ]


def test_checks_show_their_output_and_a_capability_that_failed_says_why(scene):
    scene.get_by_role("tab", name="Capability").click()
    expect(scene.get_by_label("Output of redis")).to_contain_text("refused")
    scene.get_by_role("button", name="Run the checks of acme").click()
    scene.get_by_text("The checks of acme have run").wait_for()
    scene.get_by_role("option", name="broken").click()
    alert = scene.get_by_role("alert").filter(has_text="It could not be loaded")
    expect(alert).to_contain_text("two workers have the same file")
    scene.get_by_text("3 more capabilities").wait_for()


def test_servers_of_mcp_show_their_tools_or_why_there_are_none_and_are_connected_again(scene):
    scene.get_by_role("tab", name="Capability").click()
    servers = scene.get_by_role("region", name="MCP servers")
    servers.get_by_text("70 tools: read").wait_for()
    expect(servers).to_contain_text("it exited")
    expect(servers.get_by_role("link", name="Sign in")).to_have_attribute(
        "href", "https://example.org/in?a=b"
    )
    servers.get_by_role("button", name="Reconnect gone").click()
    wait_until(scene, lambda: sent(scene, "reconnect"), [{"capability": "acme", "server": "gone"}])


def test_an_export_wants_a_directory_and_keeps_what_was_typed(scene):
    scene.get_by_role("tab", name="Capability").click()
    path = scene.get_by_label("Directory to export to")
    path.fill(" ")
    scene.get_by_role("button", name="Export", exact=True).click()
    scene.get_by_text("Name a directory, such as out/demo").wait_for()
    path.fill("out/demo")
    scene.get_by_role("radio", name="dnworker").click()
    scene.get_by_label("Overwrite what was edited by hand").check()
    path.press("Enter")
    scene.get_by_text("1 thing cannot be exported").wait_for()
    assert sent(scene, "export") == [
        {"path": "out/demo", "target": "dnworker", "topology": "uv", "force": True}
    ]
    scene.get_by_role("tab", name="Sessions").click()
    scene.get_by_role("tab", name="Capability").click()
    expect(scene.get_by_label("Directory to export to")).to_have_value("out/demo")
    scene.get_by_text("1 thing cannot be exported").wait_for()


def test_a_session_that_asks_is_shown_first_and_its_prompts_are_on_top(scene):
    scene.get_by_role("tab", name=re.compile("Sessions")).click()
    leave = scene.get_by_role("region", name="Leave to call pay")
    leave.get_by_text("It moves money").wait_for()
    leave.get_by_role("button", name="Allow", exact=True).click()
    question = scene.get_by_role("region", name="Question")
    question.get_by_role("button", name="Answer", exact=True).click()
    question.get_by_text("Each question wants an answer").wait_for()
    question.get_by_label("Cash").check()
    question.get_by_label("Which card?").press("Enter")
    scene.get_by_role("button", name="Cancel the turn Do it").click()
    scene.wait_for_function("window.model.sent.filter(one => one.type === 'cancel').length === 1")
    assert sent(scene, "respond") == [
        {"session": "s1", "request": "r1", "decision": "allow"},
        {"session": "s1", "request": "r2", "answers": [{"selected_labels": ["Cash"]}]},
    ]
    assert sent(scene, "cancel") == [{"session": "s1", "turn": "t1"}]


def test_what_was_picked_stays_when_the_session_is_sent_again(scene):
    scene.get_by_role("tab", name=re.compile("Sessions")).click()
    question = scene.get_by_role("region", name="Question")
    question.get_by_label("Visa").check()
    question.get_by_label("Which card?").fill("another")
    again = dict(SESSION, history=[*SESSION["history"], SESSION["history"][0]])
    scene.evaluate(
        "detail => { const view = window.model.sent[0].view;"
        " window.model.update(view, { session: { id: 's1', detail } }) }",
        again,
    )
    scene.wait_for_function("document.querySelectorAll('.said').length === 3")
    expect(question.get_by_label("Visa")).to_be_checked()
    expect(question.get_by_label("Which card?")).to_have_value("another")
    expect(question.get_by_label("Which card?")).to_be_focused()


def test_on_a_narrow_panel_there_is_a_list_and_then_the_session_with_a_way_back(page):
    page.set_viewport_size({"width": 420, "height": 800})
    show(page, SCENE)
    page.get_by_role("tab", name=re.compile("Sessions")).click()
    page.get_by_role("option").filter(has_text="Refund").click()
    page.get_by_role("region", name="Leave to call pay").wait_for()
    page.get_by_role("button", name="Back to the list").click()
    page.get_by_role("listbox", name="Sessions").wait_for()
    page.get_by_role("tab", name="Capability").click()
    page.get_by_role("combobox", name="Capability").select_option("broken")
    page.get_by_text("It could not be loaded").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 900, 1500])
def test_axe_finds_nothing_serious(page, axe, scheme, width):
    page.emulate_media(reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    show(page, SCENE, dark=scheme == "dark")
    found = []
    for name in ("Capability", "Sessions"):
        page.get_by_role("tab", name=re.compile(name)).click()
        page.get_by_role("tab", name=re.compile(name), selected=True).wait_for()
        found += [f"{name}: {problem}" for problem in axe(page, ".dn")]
        assert too_wide(page, page.locator(".dn")) == [], name
    search(page, "o")
    page.get_by_role("option").first.wait_for()
    found += [f"palette: {problem}" for problem in axe(page, ".pal")]
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    found += [f"keys: {problem}" for problem in axe(page, ".pal")]
    assert found == []
    assert page.evaluate("window.attacked") is None
    expect(page.locator(".dn img")).to_have_count(0)


# -- in JupyterLab ---------------------------------------------------------------------------------------

CELLS = [
    "%load_ext dnworker",
    """%%worker bridge
@worker.on_event("demo.order")
async def on_order(event, client):
    print("order", event.payload["id"], "<b>not bold</b>")
    total = sum(event.payload["prices"])
    await client.publish("demo.total", {"total": total})""",
    """trace = await dn.fire("demo.order", {"id": "o2", "prices": [1, None]})
import ipywidgets
g = dn.widgets
form = g.FireForm("demo.order", {"id": "o3", "prices": [4]})
run = g.Waterfall(trace)
chart = g.Chart("throughput")
first = ipywidgets.HBox([g.WorkerState("bridge"), g.LogTail("bridge")])
ipywidgets.VBox([first, ipywidgets.HBox([chart, form]), g.FlowMap(), run])""",
    "%panel --dock right",
]


@pytest.fixture
def composed(page, lab, request):
    """A notebook with the widgets, and the panel docked beside it; every cell has run."""
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / name, CELLS)
    open_notebook(page, lab, name)
    run_all(page)
    page.locator(".dn.widget").nth(5).wait_for()
    return page


FILLS_THE_SIDE = """() => {
    const side = document.querySelector(".jupyterlab-sidecar");
    return side.querySelector(".dn").clientHeight > side.clientHeight - 40;
}"""


def test_widgets_and_the_docked_panel_live_in_jupyterlab(composed, axe):
    page = composed
    state = page.get_by_role("region", name="WorkerState")
    state.get_by_text("1 error", exact=True).wait_for()
    page.get_by_role("region", name="LogTail").get_by_text("order o2 <b>not bold</b>").wait_for()

    # What is done in one widget shows in the others, and in Python.
    page.get_by_role("region", name="FireForm").get_by_role("button", name="Fire").click()
    page.get_by_role("region", name="LogTail").get_by_text("order o3 <b>not bold</b>").wait_for()
    page.get_by_role("region", name="FireForm").get_by_text(re.compile(r"Fired #\d+: 1 call")).wait_for()
    page.get_by_role("region", name="Waterfall").get_by_role("row").filter(has_text="on_order").click()
    page.get_by_role("region", name="Chart").get_by_role("img").press("ArrowLeft")
    page.get_by_role("region", name="FlowMap").get_by_role("button", name="bridge").click()
    cell = run_below(page, "print(form.seq, run.selected_event == trace.event.event_id, len(chart.selected))")
    cell.get_by_text(re.compile(r"\d+ True 2")).wait_for()

    # They share one view of one channel, and the panel is docked over all of the side's height.
    views = run_below(page, "print('views', [len(v.looks) for v in dn.runtime().feed.views if v.looks])")
    views.get_by_text(re.compile(r"^views \[\d+, \d+\]\s*$")).wait_for()
    docked = page.locator(".jupyterlab-sidecar .dn")
    docked.get_by_role("tab", name="Overview").wait_for()
    page.wait_for_function(FILLS_THE_SIDE)

    # Keys that are meant for the panel do not reach the notebook, nor its shortcuts the panel.
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    docked.get_by_role("tab", name="Overview").focus()
    for key in ("b", "d", "d", "x", "?", "Escape", "/", "Escape"):
        page.keyboard.press(key)
    page.keyboard.press("Control+k")
    docked.get_by_role("combobox").fill("restart bridge")
    page.keyboard.press("Escape")
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(cells)

    assert axe(page, ".dn.widget") == []


ACTING = [
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
    """%%worker beta --when beta
@worker.on_event("demo.total")
async def on_total(event, client):
    print("total", event.payload["total"])""",
    "stream = open('/dev/null', 'w')",
    "%%worker bad\n@worker.on_event('x')\nasync def on_x(event, client): stream.write('x')",
    "%%agent painter\nasync def reply(turn):\n"
    "    return f\"painted {await turn.ask('which colour?', ['red', 'blue'])}\"",
    "import asyncio\nclient = dn.runtime().client()\nsession = await client.create_session(agent='painter')\n"
    "turn = asyncio.create_task(client.run_turn(session_id=session.session_id, message='paint it'))",
    "made = dn.widgets.WorkerState('bad'), dn.widgets.FlowMap()\nimport ipywidgets\nipywidgets.HBox(made)",
    "%panel",
]


@pytest.fixture
def dark(page, lab):
    """JupyterLab in its dark theme, until the test ends."""

    def set_theme(name: str) -> None:
        setting = f"{lab.url}/lab/api/settings/@jupyterlab/apputils-extension:themes?token={lab.token}"
        answer = page.request.put(setting, data={"raw": f'{{"theme": "{name}"}}'})
        assert answer.ok, answer.text()

    set_theme("JupyterLab Dark")
    yield page
    set_theme("JupyterLab Light")


def test_flags_checks_export_and_questions_work_in_the_dark_theme_of_jupyterlab(dark, lab, axe, request):
    page = dark
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / name, ACTING)
    open_notebook(page, lab, name)
    run_all(page)
    panel = page.locator(".dn.in-notebook")
    panel.get_by_role("tab", name="Capability").click()
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")

    switch = panel.get_by_role("switch", name="Flag beta")
    panel.get_by_text("Turning it on starts beta").wait_for()
    switch.click()
    panel.get_by_text("beta is on: started beta").wait_for()
    panel.get_by_role("button", name="Undo").click()
    panel.get_by_text("beta is off: stopped beta").wait_for()
    panel.locator("[role=switch][aria-checked=false]").wait_for()
    panel.get_by_role("button", name="Run the checks of demo").click()
    panel.get_by_text("Succeeded", exact=True).wait_for()
    found = axe(page, ".dn")

    panel.get_by_role("button", name="Export", exact=True).click()
    panel.get_by_role("button", name=re.compile(r"Go to cell \[\d+\], line 3")).click()
    failed = page.locator(".jp-CodeCell").filter(has_text="stream.write")
    expect(failed.locator(".cm-content")).to_be_in_viewport()

    panel.get_by_role("tab", name=re.compile("Sessions ?1")).click()
    question = panel.get_by_role("region", name="Question")
    question.get_by_label("blue").check()
    found += axe(page, ".dn")
    question.get_by_role("button", name="Answer", exact=True).click()
    panel.get_by_text("painted blue").wait_for()
    assert found == []


def test_the_link_of_the_page_opens_it_without_asking_for_the_token(page, lab, context, request):
    name = f"{request.node.name}.ipynb"
    write_notebook(lab.directory / name, ["%load_ext dnworker", "%panel --open"])
    open_notebook(page, lab, name)
    run_all(page)
    with context.expect_page() as opening:
        page.get_by_role("link", name="Open the panel in the browser").click()
    opened = opening.value
    opened.get_by_role("tab", name="Overview").wait_for()
    assert opened.url.endswith("/panel")
    opened.close()
    page.keyboard.press("Control+s")
    page.wait_for_function("!document.querySelector('.jp-mod-dirty')")
    assert "ticket=" not in (lab.directory / name).read_text()
