"""The panel in JupyterLab, used as people use it."""

from __future__ import annotations

import json
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


def test_the_workers_are_drawn_with_their_lifecycle_stats_and_gates(shown):
    bridge = shown.panel.locator('[data-worker="demo:bridge"]')
    machine = bridge.get_by_role("img", name=re.compile("state machine: running"))
    assert "loading, starting, running" in machine.get_attribute("aria-label")
    assert machine.locator("text").all_text_contents() == [
        "loading",
        "starting",
        "running",
        "stopping",
        "stopped",
        "error",
        "gated off",
    ]
    assert machine.locator("line.dnw-taken").count() == 2
    row = bridge.get_by_role("row", name=re.compile("on_order"))
    assert "on_event demo.order" in row.first.inner_text()
    assert "✗ 1" in row.first.inner_text()
    assert bridge.get_by_text(re.compile(r"in (29|30) min")).count() == 1
    beta = shown.panel.locator('[data-worker="demo:beta"]')
    assert "beta off" in beta.inner_text()
    start = beta.get_by_role("button", name="start demo:beta", exact=True)
    assert start.get_attribute("aria-disabled") == "true"
    assert start.get_attribute("title") == "gated off; turn on beta"
    bridge.get_by_role("button", name="run tick of demo:bridge now").click()
    shown.panel.get_by_role("log").get_by_text("tick", exact=True).wait_for()


def test_a_worker_is_rolled_back_to_the_generation_before(shown):
    bridge = shown.panel.locator('[data-worker="demo:bridge"]')
    back = bridge.get_by_role("button", name="roll back demo:bridge")
    assert back.get_attribute("title") == "this is its first generation"
    run_cell(shown, "%%worker bridge\n@worker.on_event('demo.more')\nasync def on_more(event, client): pass")
    bridge.get_by_text("generation 2").wait_for()
    back.click()
    bridge.get_by_text("generation 3").wait_for()
    assert "on_more" not in bridge.inner_text()


def test_the_log_is_searched_paused_and_leads_to_the_event(shown):
    panel = shown.panel
    log = panel.get_by_role("log")
    line = log.get_by_role("option").filter(has_text="o1").first
    assert line.locator(".dnw-fg-red").inner_text() == "order"
    assert "<b>not bold</b>" in line.inner_text()
    panel.get_by_label("find in the log").fill("ORDER o")
    panel.get_by_text("2 matching lines").wait_for()
    assert log.locator("mark").first.inner_text() == "order o"
    panel.get_by_label("regex").check()
    panel.get_by_label("find in the log").fill("o[2")
    panel.get_by_text("is no regular expression").wait_for()
    panel.get_by_label("find in the log").fill("r.* o[2]")
    panel.get_by_text("1 matching line", exact=True).wait_for()
    log.get_by_role("option").first.click()
    panel.get_by_role("button", name="show the event of this line").click()
    panel.get_by_role("tabpanel", name="Events").locator(".dnw-trace").get_by_text("o2").wait_for()
    panel.get_by_label("find in the log").fill("")
    panel.get_by_text(re.compile(r"^\d+ lines$")).wait_for()
    panel.get_by_role("button", name="pause").click()
    panel.get_by_role("button", name="▶ follow").wait_for()
    with shown.expect_download() as download:
        panel.get_by_role("button", name="download the log").click()
    text = download.value.path().read_text()
    assert re.search(r"Z info +demo:bridge  order o1 <b>not bold</b>\n", text)


def test_an_event_is_fired_from_the_panel_with_help(shown):
    fire = tab(shown, "Fire")
    kind = fire.get_by_label("kind to fire")
    kind.fill("demo.order")
    kind.press("Tab")
    payload = fire.get_by_label("payload")
    shown.wait_for_function("area => area.value.includes('prices')", arg=payload.element_handle())
    payload.fill('{"id": "o3",\n "prices": [1, True]}')
    fire.get_by_text("payload, line 2, column 16: True is no JSON value; write true").wait_for()
    payload.fill('{"id": "o3", "prices": [4]}')
    payload.press("Control+Enter")
    fire.locator(".dnw-trace").get_by_text("order o3").wait_for()
    fire.locator(".dnw-history").get_by_role("button", name=re.compile("demo.order")).click()
    assert '"o3"' in payload.input_value()
    assert shown.locator("datalist option[value='demo.total']").count() >= 1


def test_an_event_is_copied_as_a_cell_and_saved_as_a_test(shown):
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    events = tab(shown, "Events")
    events.get_by_role("option", name=re.compile("demo.order")).last.click()
    events.get_by_role("button", name="copy as %fire").click()
    shown.panel.get_by_text("copied: %%fire demo.order").wait_for()
    assert json.loads(shown.evaluate("navigator.clipboard.readText()").partition("\n")[2]) == {
        "id": "o1",
        "prices": [1, 2],
    }
    events.get_by_role("button", name="copy as test cell").click()
    shown.panel.get_by_text("copied: %%worker bridge --test; paste it into a cell").wait_for()
    case = json.loads(shown.evaluate("navigator.clipboard.readText()").partition("\n")[2])
    assert (case["event"], case["payload"]) == ("demo.order", {"id": "o1", "prices": [1, 2]})
    with shown.expect_download() as download:
        events.get_by_role("button", name="save as test").click()
    assert re.fullmatch(r"test_bridge_\d+\.py", download.value.suggested_filename)
    compile(download.value.path().read_text(), "test", "exec")


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


def test_the_panel_of_one_worker_shows_it_alone_and_the_other_goes_on(shown):
    run_cell(shown, "%panel beta")
    both = shown.locator(".dnw-panel")
    both.nth(1).get_by_text("demo:beta").first.wait_for()
    assert both.nth(1).locator("[data-worker]").count() == 1
    assert both.nth(0).locator("[data-worker]").count() == 2


def test_a_panel_whose_kernel_is_gone_says_so(shown):
    link = "document.querySelector('.dnw-panel').parentElement.dnwPanel.link"
    shown.evaluate(f"Object.defineProperty({link}, 'silence', {{ get: () => 41_000, configurable: true }})")
    shown.panel.get_by_text("no word from the kernel for 41 s").wait_for()
    shown.evaluate(f"delete {link}.silence")
    shown.panel.get_by_text("no word from the kernel").wait_for(state="hidden")


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


def test_a_flood_of_lines_is_followed_and_what_is_kept_can_be_scrolled_to(shown):
    run_cell(shown, "import asyncio")
    run_cell(shown, FLOOD)
    run_cell(shown, "_ = await dn.fire('flood', {}, wait=False)")
    log = shown.panel.get_by_role("log")
    log.get_by_text("line 59999", exact=True).wait_for(timeout=60_000)
    shown.panel.get_by_text(re.compile(r"50,000 lines · 10,\d\d\d older ones dropped")).wait_for()
    shown.panel.get_by_label("lines of the log").focus()
    shown.keyboard.press("Home")
    first = log.get_by_role("option").first.locator(".dnw-text")
    first.get_by_text(re.compile(r"line 10\d\d\d")).wait_for()
    assert first.inner_text() == shown.evaluate(
        "document.querySelector('.dnw-log .dnw-list-row .dnw-text').textContent"
    )
    shown.panel.get_by_label("find in the log").fill("line 3141")
    shown.panel.get_by_text("10 matching lines").wait_for()
    log.get_by_text("line 31415", exact=True).wait_for()


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


def test_the_state_of_a_worker_is_a_tree_that_refreshes_while_it_is_looked_at(shown, axe):
    run_cell(
        shown,
        "%%worker bridge\nworker.state.update(count=1, users={'ada': {'age': 36}}, api_key='sk-hidden',\n"
        "                    text='<img src=x onerror=alert(1)>')\n"
        "@worker.on_event('demo.count')\nasync def on_count(event, client):\n    worker.state['count'] += 1",
    )
    bridge = shown.panel.locator('[data-worker="demo:bridge"]')
    bridge.get_by_role("button", name="state of demo:bridge").click()
    state = bridge.get_by_role("region", name="state of demo:bridge")
    state.get_by_text('"count"').wait_for()
    assert "sk-hidden" not in state.inner_text()
    assert "<img src=x onerror=alert(1)>" in state.inner_text()
    assert state.locator("img").count() == 0
    ada = state.locator("summary", has_text='"ada"')
    assert not state.get_by_text('"age"').is_visible()
    ada.click()
    state.get_by_text('"age"').wait_for()
    run_cell(shown, "%fire demo.count")
    count = state.locator("li", has_text='"count"').first
    count.get_by_text("2", exact=True).wait_for()
    assert state.get_by_text('"age"').is_visible()  # what was unfolded stays so
    run_cell(shown, "dn.worker('bridge').state['count'] = 99")  # nobody tells of this
    count.get_by_text("99", exact=True).wait_for()
    assert axe(shown, ".dnw-state-view") == []
    tab(shown, "Events")
    tab(shown, "Workers")
    run_cell(shown, "dn.worker('bridge').state['count'] = 100")
    count.get_by_text("100", exact=True).wait_for()
    bridge.get_by_role("button", name="state of demo:bridge").click()
    state.wait_for(state="hidden")
    events = tab(shown, "Events")
    events.get_by_text("demo.count").first.click()
    events.get_by_text("state: count 1 -> 2").wait_for()
