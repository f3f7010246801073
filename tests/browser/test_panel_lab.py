"""The whole panel in JupyterLab, used as people use it."""

from __future__ import annotations

import re

import pytest
from lab import has_run, open_notebook
from playwright.sync_api import expect

from .conftest import LIMIT_MS, run_below
from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CODE = 'total = sum(p or 0 for p in event.payload["prices"])'
SIZES = {"wide": (1700, 1000), "at 700 pixels": (870, 1000)}
"""The window in which the panel of a notebook is as wide as that, with JupyterLab's sidebars around it."""


def tab(page, name: str) -> None:
    """Open a view of the panel."""
    page.panel.get_by_role("tab", name=name).first.click()


def run_cell(page, code: str):
    """Put code into a new last cell, run it to its end, and come back to the panel."""
    cell = run_below(page, code)
    has_run(cell).wait_for()
    page.panel.first.scroll_into_view_if_needed()
    return cell


def run_pane(page):
    return page.panel.get_by_role("region", name=re.compile(r"^Run #\d+"))


def test_who_never_read_the_docs_finds_what_failed_where_and_on_what_and_fires_it_again(shown):
    panel = shown.panel
    tab(shown, "Workers")
    panel.get_by_role(
        "button", name="1 failing"
    ).click()  # the first of two clicks from the red dot to the line
    panel.get_by_role("heading", name=re.compile(r"^1 of \d handlers is failing$")).wait_for()
    failure = panel.get_by_role("region", name="Failures")
    failure.get_by_text("demo:bridge.on_order").wait_for()  # which handler
    failure.get_by_text("TypeError: unsupported operand").wait_for()
    failure.get_by_role("button", name="cell [3], line 5").click()  # which line: the second
    shown.wait_for_function("document.activeElement.closest('.jp-Cell')?.textContent.includes('total = sum')")
    panel.scroll_into_view_if_needed()
    failure.get_by_role("button", name="Show the event").click()
    run = run_pane(shown)
    run.get_by_role("heading", name="demo.order").wait_for()  # on which event
    inspector = run.get_by_role("region", name="Inspector")
    inspector.get_by_role("tab", name="Error", selected=True).wait_for()
    inspector.get_by_text("total = sum(event.payload").first.wait_for()
    inspector.get_by_role("tab", name="Payload").click()
    inspector.get_by_text('"o2"').wait_for()  # which payload
    inspector.get_by_role("tab", name="Error").click()
    inspector.get_by_role("button", name="Go to cell [3], line 5").click()
    cell = shown.locator(".jp-CodeCell").filter(has_text="%%worker bridge")
    cell.locator(".cm-focused").wait_for()
    cell.locator(".cm-line", has_text="total = sum").click()
    shown.keyboard.press("Home")
    shown.keyboard.press("Shift+End")
    shown.keyboard.insert_text(CODE)
    shown.keyboard.press("Control+Enter")
    shown.locator(".jp-OutputArea-output", has_text="bridge is running, generation 2").wait_for()
    panel.scroll_into_view_if_needed()
    shown.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 1e6")
    inspector.get_by_role("button", name="Go to cell [3], line 5").click()  # the cell has another number now
    shown.wait_for_function("document.querySelector('.jp-WindowedPanel-outer').scrollTop < 300")
    panel.scroll_into_view_if_needed()
    run.get_by_role("button", name="Fire again").click()
    panel.get_by_text(re.compile(r"Fired demo\.order #\d+")).wait_for()
    panel.get_by_role("button", name="Show", exact=True).click()
    run.get_by_role("treegrid").get_by_text("demo.total").first.wait_for()
    run.get_by_text(re.compile("1 call$")).wait_for()
    run.get_by_role("tab", name="Error").wait_for(state="detached")
    tab(shown, "Overview")
    panel.get_by_role("heading", name=re.compile(r"^All \d handlers succeed$")).wait_for()
    expect(failure).to_have_count(0)


def test_everything_is_reached_by_keyboard_and_the_notebook_takes_no_key_from_it(shown, open_log):
    cells = shown.locator(".jp-Notebook .jp-Cell").count()
    panel = shown.panel
    panel.get_by_role("tab", name="Overview").focus()
    for key, name in (
        ("ArrowRight", "runs"),
        ("ArrowRight", "workers"),
        ("End", "sessions"),
        ("ArrowRight", "overview"),
        ("ArrowRight", "runs"),
    ):
        shown.keyboard.press(key)
        expect(shown.locator(":focus")).to_have_attribute("data-tab", name)
    panel.get_by_role("listbox", name="Runs").get_by_role("option").nth(1).wait_for()
    panel.get_by_role("listbox", name="Runs").focus()
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Enter")
    run_pane(shown).get_by_role("treegrid").wait_for()
    for key in ("b", "a", "d", "d", "x", "m"):  # in command mode: cells are made, deleted, cut
        shown.keyboard.press(key)
    expect(shown.locator(".jp-Notebook .jp-Cell")).to_have_count(cells)
    log = open_log(panel)
    log.get_by_role("grid", name="Lines of the log").focus()
    shown.keyboard.press("ArrowUp")
    shown.keyboard.press("Enter")
    log.get_by_role("button", name="Show worker").wait_for()
    log.get_by_role("grid", name="Lines of the log").focus()
    shown.keyboard.press("End")
    log.get_by_role("button", name="Pause", exact=True).wait_for()
    for key in ("b", "a", "d", "d", "x", "m"):
        shown.keyboard.press(key)
    expect(shown.locator(".jp-Notebook .jp-Cell")).to_have_count(cells)


def test_shown_twice_and_in_two_browsers_it_is_one_model_that_refills(shown, lab, browser):
    run_cell(shown, "%panel")
    panels = shown.locator(".dn")
    panels.nth(1).wait_for(state="attached")
    expect(panels).to_have_count(2)
    state = "len([w for w in __import__('ipywidgets').Widget.get_manager_state()['state'].values() if 'still' in w.get('state', {})])"
    shown.keyboard.press("Control+s")
    shown.locator(".jp-mod-dirty").first.wait_for(state="detached")
    other = browser.new_page(viewport={"width": 1000, "height": 800})
    other.set_default_timeout(LIMIT_MS)
    open_notebook(other, lab, shown.notebook)
    panel = other.locator(".dn").first
    panel.wait_for(state="attached")
    panel.scroll_into_view_if_needed()
    panel.get_by_text("1 gated off", exact=True).wait_for()
    panel.get_by_role("tab", name="Workers").click()
    panel.get_by_role("tabpanel", name="workers").get_by_text("bridge", exact=True).first.click()
    panel.get_by_role("button", name="Stop", exact=True).click()
    panel.get_by_text("Stopped").first.wait_for()
    panels.first.get_by_text("1 stopped", exact=True).first.wait_for()
    other.close()
    panels.first.scroll_into_view_if_needed()
    panels.nth(1).scroll_into_view_if_needed()
    panels.nth(1).get_by_text("1 stopped", exact=True).first.wait_for()
    shown.reload()
    panels.first.wait_for(state="attached")
    for each in (panels.first, panels.nth(1)):  # the cell below asks once how many there are
        each.scroll_into_view_if_needed()
        each.get_by_text("1 stopped", exact=True).first.wait_for()
    answer = run_cell(shown, f"print('models', {state}, 'views', len(dn.runtime().feed.views) >= 2)")
    answer.get_by_text("models 1 views True").wait_for()


def test_two_panels_of_a_notebook_have_views_keys_and_focus_of_their_own(shown):
    run_cell(shown, "%panel")
    first, second = shown.locator(".dn").first, shown.locator(".dn").nth(1)
    second.scroll_into_view_if_needed()
    second.get_by_role("tab", name="Runs").click()
    second.get_by_role("listbox", name="Runs").get_by_role("option").first.wait_for()
    second.get_by_role("tab", name="Runs").focus()
    shown.keyboard.press("Control+j")
    second.get_by_role("grid", name="Lines of the log").wait_for()
    shown.keyboard.press("Control+k")
    second.get_by_role("dialog", name="Search or run").wait_for()
    shown.keyboard.press("Escape")
    expect(shown.locator(":focus")).to_have_attribute("data-tab", "runs")
    first.scroll_into_view_if_needed()
    first.get_by_role("tab", name="Overview", selected=True).wait_for()
    expect(first.get_by_role("grid", name="Lines of the log")).to_have_count(0)
    first.get_by_role("button", name="Dismiss").first.click()
    first.get_by_role("heading", name=re.compile(r"^All \d handlers succeed$")).wait_for()
    second.scroll_into_view_if_needed()
    second.get_by_role("button", name="1 failing").wait_for(state="detached")


OUT_OF_SIGHT = """
(node) => new Promise((done) => {
  // The panel looks by an observer that was made before: it is told before this one.
  const observer = new IntersectionObserver((all) => {
    if (all.at(-1).isIntersecting) return;
    observer.disconnect();
    done();
  });
  observer.observe(node);
})
"""


def test_a_panel_out_of_sight_costs_nothing_and_comes_back_up_to_date(shown):
    answer = run_cell(shown, "print('listens', dn.runtime().feed.is_listening)")
    answer.get_by_text("listens True").wait_for()
    shown.locator(".jp-Notebook .jp-CodeCell").first.scroll_into_view_if_needed()
    shown.evaluate("document.querySelector('.jp-WindowedPanel-outer, .jp-Notebook').scrollTop = 0")
    shown.set_viewport_size({"width": 1280, "height": 320})
    shown.panel.evaluate(OUT_OF_SIGHT)
    shown.locator(".jp-Notebook .jp-CodeCell").first.click()
    shown.keyboard.press("Enter")
    shown.keyboard.press("Control+End")
    shown.keyboard.insert_text(
        "\nimport asyncio\nwhile dn.runtime().feed.is_listening: await asyncio.sleep(0.01)\n"
        "print('listens', False); dn.runtime().log_line('w', 'unseen')"
    )
    shown.keyboard.press("Control+Enter")
    shown.locator(".jp-OutputArea-output", has_text="listens False").wait_for()
    shown.set_viewport_size({"width": 1280, "height": 1000})
    shown.panel.scroll_into_view_if_needed()
    shown.panel.get_by_role("region", name="Log", exact=True).get_by_text("unseen").wait_for()


def look_at(page, name: str) -> None:
    """Open a view, and what is behind its first row."""
    tab(page, name)
    if name == "Runs":
        page.panel.get_by_role("option").filter(has_text="demo.order").first.click()
        run_pane(page).get_by_role("region", name="Inspector").get_by_role("tab").first.wait_for()
    if name == "Workers":
        page.panel.get_by_role("tabpanel", name="workers").get_by_text("bridge", exact=True).first.click()
        page.panel.get_by_role("region", name="Handlers").wait_for()
    if name == "Map":
        drawn = page.panel.get_by_role("tabpanel", name="map").get_by_text("bridge").filter(visible=True)
        drawn.first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(shown, axe, theme, size, open_log):
    # As themes do: the switch of the front end loads files, and takes its time.
    shown.evaluate("light => document.body.dataset.jpThemeLight = String(light)", theme == "light")
    width, height = SIZES[size]
    shown.set_viewport_size({"width": width, "height": height})
    if size != "wide":
        # Less, where a side area is open; the front end lays itself out a moment later.
        shown.wait_for_function("document.querySelector('.dn').clientWidth < 760")
    found = []
    for name in ("Overview", "Runs", "Workers", "Map", "Capability", "Sessions"):
        look_at(shown, name)
        found += [f"{name}: {problem}" for problem in axe(shown, ".dn")]
        assert too_wide(shown, shown.panel) == [], name
        if size != "wide" and name in ("Runs", "Workers"):
            shown.panel.get_by_role("button", name=re.compile("^Back")).first.click()
    open_log(shown.panel)
    shown.panel.get_by_role("button", name=re.compile("^Fire")).first.click()
    shown.panel.get_by_role("complementary", name="Fire event").wait_for()
    found += [f"Log and Fire: {problem}" for problem in axe(shown, ".dn")]
    assert found == []
