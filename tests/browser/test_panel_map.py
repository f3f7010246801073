"""The flow map in a browser: it is drawn, chosen from by mouse and keyboard, and anybody can use it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from dnworker.flow.busiest import busiest
from dnworker.flow.graph import Flow
from dnworker.flow.maps import make
from tests.browser.scene import show
from tests.unit.flow.graphs import shop, worker

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

SIZES = {"wide": (1500, 900), "medium": (1000, 700), "narrow": (420, 720)}


def scene(facts):
    series = [[8, 0]] * 40 + [[8, 5]] * 20
    drawing = make(facts) | {
        "window": "live",
        "capabilities": ["orders"],
        "hidden": [],
        "selected": {"id": "worker/orders:payment", "seconds": 15, "series": series},
    }
    workers = {"order": [], "changed": []}
    parts = {
        "workers": workers,
        "runtime": {"id": "rt", "url": None, "events": 1},
        "attention": {"prompts": 0},
    }
    rows = busiest(facts, 50)
    return {"parts": parts, "looks": {"map": drawing, "map#rows": rows, "map#busiest": rows}}


@pytest.fixture
def opened(browser):
    context = browser.new_context()

    def open_(facts=None, size="wide", dark=False):
        page = context.new_page()
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        show(page, scene(facts or shop()), dark=dark)
        page.get_by_role("tab", name="Map").click()
        page.locator(".map .flow-list, .map .flowmap .node").first.wait_for()
        return page

    yield open_
    context.close()


def box(page, name):
    return page.locator(f"[data-node='{name}']")


WANTS = """fields => {
  const last = window.model.sent.filter(m => m.type === "look" && m.wanted).at(-1)?.wanted ?? {};
  return Object.entries(fields).every(([name, value]) => JSON.stringify(last[name]) === JSON.stringify(value));
}"""


def wait_for_look(page, **fields):
    """Wait until the panel looks at these."""
    page.wait_for_function(WANTS, arg=fields)


def test_a_box_is_chosen_by_a_click_and_says_what_it_hears_and_publishes(opened):
    page = opened()
    box(page, "worker/orders:payment").click()
    about = page.get_by_role("region", name="Selected")
    about.get_by_text("Hears orders.taken, 2.0/min").wait_for()
    about.get_by_text("Publishes orders.paid, 2.0/min; orders.retry, 2.0/min").wait_for()
    about.get_by_role("img", name="480 calls in 15 minutes, 100 failed").wait_for()
    wait_for_look(page, node="worker/orders:payment")
    about.get_by_role("button", name="Open worker").click()
    expect(page.get_by_role("tab", name="Workers")).to_have_attribute("aria-selected", "true")
    assert page.problems == []


def test_the_keyboard_reaches_every_box(opened):
    page = opened()
    first = page.locator("[data-node][tabindex='0']")
    expect(first).to_have_count(1)
    first.focus()
    seen = set()
    for key in ["ArrowLeft"] * 6 + ["ArrowUp"] * 6 + ["ArrowRight", "ArrowDown"] * 12 + ["ArrowUp"] * 6:
        page.keyboard.press(key)
        seen.add(page.evaluate("document.activeElement.dataset.node"))
    assert {"source/HTTP/orders", "kind/orders.placed", "worker/orders:intake"} <= seen
    box(page, "kind/orders.paid").focus()
    page.keyboard.press("Space")
    page.get_by_role("region", name="Selected").get_by_text("Heard by orders:invoices, 2.0/min").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Select a box to see").wait_for()


def test_a_finding_highlights_what_it_is_about(opened):
    page = opened()
    finding = page.get_by_role("button", name="Cycle “retry”")
    finding.click()
    expect(finding).to_have_attribute("aria-pressed", "true")
    expect(box(page, "worker/orders:invoices")).to_contain_class("dim")
    expect(box(page, "kind/orders.retry")).not_to_contain_class("dim")
    finding.click()
    expect(page.locator(".flowmap .dim")).to_have_count(0)


def test_a_box_is_found_by_a_part_of_its_name(opened):
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("invo")
    page.wait_for_function("document.querySelectorAll('[data-node].dim').length > 0")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Selected").get_by_text("orders:invoices").wait_for()


def test_windows_and_what_is_hidden_are_asked_for(opened):
    page = opened()
    page.get_by_role("radio", name="By code").click()
    page.get_by_role("button", name="Hide noise").click()
    page.get_by_role("menuitem", name="Hide orders").click()
    wait_for_look(page, window="code", hide=["orders"])


def test_a_fold_is_unfolded(opened):
    facts = shop()
    facts.workers += [worker(f"many:w{n}", [f"many.k{n}"]) for n in range(30)]
    page = opened(facts)
    box(page, "fold/many").click()
    page.get_by_role("button", name="Unfold").click()
    wait_for_look(page, open=["many"])


def test_a_narrow_panel_lists_the_busiest_flows(opened):
    page = opened(size="narrow")
    rows = page.get_by_role("list", name="Busiest flows").get_by_role("button")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("intake")
    expect(page.locator(".flowmap")).to_have_count(0)


@pytest.mark.parametrize("width", [420, 399, 320, 240, 180])
def test_each_flow_says_who_hears_it_however_narrow_the_panel_is(opened, width):
    page = opened(size="narrow")
    page.set_viewport_size({"width": width, "height": 720})
    hearers = page.get_by_role("list", name="Busiest flows").locator(".hearers")
    expect(hearers).to_have_count(4)
    page.wait_for_function("(width) => document.querySelector('.dn').clientWidth <= width", arg=width)
    page.wait_for_function("[...document.querySelectorAll('.hearers')].every((one) => one.clientWidth >= 90)")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(opened, size, dark):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(size=size, dark=dark)
    found = Axe().run(page, context=".map").response["violations"]
    assert [
        (v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
    ] == []


def test_no_name_is_markup(opened):
    name = "x.<img src=x onerror=alert(1)>"
    facts = shop()
    facts.workers.append(worker("orders:hostile", {name: Flow(3, 2)}, state="error", error="<b>bold</b>"))
    page = opened(facts)
    box(page, "worker/orders:hostile").click()
    page.get_by_role("region", name="Selected").get_by_text("<b>bold</b>").wait_for()
    expect(page.locator(".map img, .map b")).to_have_count(0)
    assert page.problems == []
