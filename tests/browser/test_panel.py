"""The panel in JupyterLab, used as people use it."""

from __future__ import annotations

import re

import pytest
from lab import has_run, open_notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def tab(page, name):
    """Open a tab of the panel."""
    page.panel.get_by_role("tab", name=re.compile(name)).click()
    return page.panel.get_by_role("tabpanel", name=re.compile(name))


def run_cell(page, code: str):
    """Put code into a new last cell, run it to its end, and come back to the panel."""
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    cell = page.locator(".jp-Notebook .jp-CodeCell").filter(has_text=code.splitlines()[0]).last
    has_run(cell).wait_for()
    page.panel.first.scroll_into_view_if_needed()
    return cell


def test_who_never_read_the_docs_finds_what_failed_where_and_on_what_and_fires_it_again(shown):
    panel = shown.panel
    alert = panel.get_by_role("group", name="what failed")
    alert.get_by_text("demo:bridge.on_order failed: TypeError").wait_for()  # which handler
    alert.get_by_text("cell [3], line 5").wait_for()  # which line
    alert.get_by_role("button", name="show the event that made on_order fail").click()
    events = panel.get_by_role("tabpanel", name="Events")
    events.get_by_text(re.compile(r"#\d+ demo.order")).first.wait_for()  # on which event
    assert '"id": "o2"' in events.locator(".dnw-payload").inner_text()  # which payload
    trace = events.locator(".dnw-trace")
    assert "total = sum(event.payload" in trace.inner_text()
    trace.get_by_role("button", name="go to cell [3], line 5").click()
    cell = shown.locator(".jp-CodeCell.dnw-found")
    cell.wait_for()
    cell.locator(".cm-line", has_text="total = sum").click()
    shown.keyboard.press("Home")
    shown.keyboard.press("Shift+End")
    shown.keyboard.insert_text('total = sum(p or 0 for p in event.payload["prices"])')
    shown.keyboard.press("Control+Enter")
    shown.locator(".jp-OutputArea-output", has_text="bridge is running, generation 2").wait_for()
    panel.scroll_into_view_if_needed()
    shown.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 1e6")
    trace.get_by_role("button", name="go to cell [3], line 5").click()  # the cell has another number now
    shown.wait_for_function("document.querySelector('.jp-WindowedPanel-outer').scrollTop < 300")
    panel.scroll_into_view_if_needed()
    events.get_by_role("button", name="fire again").click()
    events.locator(".dnw-head", has_text="✓ ok").wait_for()
    assert "demo.total" in events.locator(".dnw-trace").inner_text()
    alert.wait_for(state="hidden")


def test_a_question_of_an_agent_is_answered_in_the_panel(shown):
    run_cell(
        shown,
        "%%agent painter\nasync def reply(turn):\n    colour = await turn.ask('which colour?', ['red', 'blue'])\n    return f'painted {colour}'",
    )
    run_cell(
        shown,
        "client = dn.runtime().client()\nsession = await client.create_session(agent='painter')\n"
        "import asyncio\nturn = asyncio.create_task(client.run_turn(session_id=session.session_id, message='paint it'))\n",
    )
    shown.panel.get_by_role("tab", name="Sessions ?1").click()
    sessions = shown.panel.get_by_role("tabpanel", name=re.compile("Sessions"))
    question = sessions.get_by_role("region", name="question")
    question.get_by_role("button", name="answer", exact=True).click()
    question.get_by_text("each question wants an answer").wait_for()
    question.get_by_label("blue").check()
    question.get_by_role("button", name="answer", exact=True).click()
    sessions.get_by_text("painted blue").wait_for()


def test_everything_is_reached_by_keyboard_and_the_notebook_takes_no_key_from_it(shown):
    cells = shown.locator(".jp-Notebook .jp-Cell").count()
    panel = shown.panel
    panel.get_by_role("tab", name=re.compile("Workers")).focus()
    for key, name in (
        ("ArrowRight", "Events"),
        ("ArrowRight", "Fire"),
        ("End", "Sessions"),
        ("ArrowRight", "Workers"),
        ("ArrowRight", "Events"),
    ):
        shown.keyboard.press(key)
        assert shown.evaluate("document.activeElement.textContent").startswith(name)
    panel.locator(".dnw-events .dnw-list-row").nth(1).wait_for()
    panel.get_by_label("events", exact=True).focus()
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Enter")
    panel.get_by_role("tabpanel", name="Events").locator(".dnw-trace").wait_for()
    for key in ("b", "a", "d", "d", "x", "m"):  # in command mode: cells are made, deleted, cut
        shown.keyboard.press(key)
    assert shown.locator(".jp-Notebook .jp-Cell").count() == cells
    panel.get_by_label("lines of the log").focus()
    shown.keyboard.press("ArrowUp")
    shown.keyboard.press("Enter")
    panel.get_by_role("button", name="close the line").wait_for()
    panel.get_by_label("lines of the log").focus()
    shown.keyboard.press("End")
    panel.get_by_role("button", name="pause").wait_for()


def test_shown_twice_and_in_two_browsers_it_is_one_model_that_refills(shown, lab, browser):
    run_cell(shown, "%panel")
    shown.locator(".dnw-panel").nth(1).wait_for(state="attached")
    assert shown.locator(".dnw-panel").count() == 2
    state = "len([w for w in __import__('ipywidgets').Widget.get_manager_state()['state'].values() if 'still' in w.get('state', {})])"
    shown.keyboard.press("Control+s")
    shown.locator(".jp-mod-dirty").first.wait_for(state="detached")
    other = browser.new_page(viewport={"width": 1000, "height": 800})
    open_notebook(other, lab, shown.notebook)
    panel = other.locator(".dnw-panel").first
    panel.wait_for(state="attached", timeout=60_000)
    panel.scroll_into_view_if_needed()
    panel.get_by_text("1 gated_off").wait_for()
    panel.get_by_role("button", name="stop demo:bridge", exact=True).click()
    panel.get_by_text("○ stopped").wait_for()
    shown.locator(".dnw-panel").first.get_by_text("○ stopped").wait_for()
    other.close()
    shown.reload()
    shown.locator(".dnw-panel").first.wait_for(state="attached", timeout=60_000)
    shown.locator(".dnw-panel").first.scroll_into_view_if_needed()
    shown.locator(".dnw-panel").first.get_by_text("○ stopped").wait_for()
    answer = run_cell(shown, f"print('models', {state}, 'views', len(dn.runtime().feed.views) >= 2)")
    answer.get_by_text("models 1 views True").wait_for()


def test_a_panel_out_of_sight_costs_nothing_and_comes_back_up_to_date(shown):
    answer = run_cell(shown, "print('listens', dn.runtime().feed.is_listening)")
    answer.get_by_text("listens True").wait_for()
    shown.locator(".jp-Notebook .jp-CodeCell").first.scroll_into_view_if_needed()
    shown.evaluate("document.querySelector('.jp-WindowedPanel-outer, .jp-Notebook').scrollTop = 0")
    shown.set_viewport_size({"width": 1280, "height": 320})
    shown.wait_for_function("!document.querySelector('.dnw-panel').parentElement.dnwPanel.visible")
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
    shown.panel.get_by_role("log").get_by_text("unseen").wait_for()


FLOOD = """
import asyncio
%%worker flood
@worker.on_event("flood")
async def flood(event, client):
    for n in range(120):
        for m in range(500): print(f"line {n * 500 + m}")
        await asyncio.sleep(0.05)
""".strip().partition("\n")[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(shown, axe, theme):
    # As themes do: the switch of the front end loads files, and takes its time.
    shown.evaluate("light => document.body.dataset.jpThemeLight = String(light)", theme == "light")
    found = []
    for name in ("Workers", "Events", "Fire", "Capability", "Sessions"):
        pane = tab(shown, name)
        if name == "Events":
            pane.locator(".dnw-event").first.click()
            pane.locator(".dnw-trace").wait_for()
        found += [f"{name}: {problem}" for problem in axe(shown, ".dnw-panel")]
    assert found == []
