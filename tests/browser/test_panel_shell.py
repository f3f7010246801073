"""The frame of the panel in a real Chromium: the focus, the header, and the search of each view."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .scene import show
from .test_panel_overview import THREE, draw, sent

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PARTS = {
    "workers": {"order": [], "changed": []},
    "runtime": {"id": "r", "url": None, "events": 1},
    "attention": {"prompts": 0, "failing": 12},
}
FOCUSED = "document.activeElement"


def say(page, part: dict[str, object]) -> None:
    """Send an update of the overview."""
    page.evaluate("overview => model.update(model.sent.at(-1).view, { overview })", part)


def without(part: dict[str, object], *ids: int) -> dict[str, object]:
    rows = [row for row in part["failures"]["rows"] if row["id"] not in ids]
    return part | {"failures": {"rows": rows, "all": len(rows), "handlers": len(rows)}}


def test_a_row_that_is_dismissed_gives_the_focus_to_the_one_that_takes_its_place(page):
    ov = draw(page, THREE)
    ov.locator('[data-row="2"]').focus()
    page.keyboard.press("Delete")
    page.wait_for_function("model.sent.some((message) => message.type === 'dismiss')")
    say(page, without(THREE, 2))
    page.wait_for_function(f"{FOCUSED}.dataset.row === '3'")
    say(page, without(THREE, 2, 3))
    page.wait_for_function(f"{FOCUSED}.closest('[data-row]')?.dataset.row === '1'")


def test_a_click_in_the_palette_beside_its_field_leaves_the_focus_in_it(page):
    draw(page, THREE)
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Search or run")
    palette.locator(".ft").click()
    palette.locator(".gh").first.click()
    page.keyboard.type("keys")
    expect(palette.get_by_role("combobox")).to_have_value("keys")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    keys.get_by_text("Only the worker of a line").click()
    page.keyboard.press("Escape")
    keys.wait_for(state="detached")


def test_the_palette_dismisses_a_failure(page):
    draw(page, THREE)
    page.keyboard.press("Control+k")
    page.keyboard.type("charge")
    page.get_by_role("group", name="Failures").get_by_role("option").click()
    page.wait_for_function("model.sent.some((message) => message.type === 'dismiss')")
    assert [one["row"] for one in sent(page, "dismiss")] == [2]


IS_SEEN = """(tab) => {
    const box = tab.getBoundingClientRect();
    return box.left >= 0 && box.right <= innerWidth;
}"""


def test_a_narrow_header_says_how_many_fail_and_shows_the_chosen_tab(page):
    page.set_viewport_size({"width": 420, "height": 700})
    show(page, {"parts": PARTS})
    page.keyboard.press("Control+k")
    page.keyboard.type("go to sessions")
    page.keyboard.press("Enter")
    tab = page.get_by_role("tab", name="Sessions", selected=True)
    tab.wait_for()
    page.wait_for_function(IS_SEEN, arg=tab.element_handle())
    pill = page.get_by_role("button", name="12 failing")
    expect(pill).to_have_text("12")
    page.wait_for_function("document.querySelector('.dn .top').scrollWidth <= 420")
    pill.click()
    tab = page.get_by_role("tab", name="Overview", selected=True)
    tab.wait_for()
    page.wait_for_function(IS_SEEN, arg=tab.element_handle())


AT_ONCE = """new MutationObserver((_, observer) => {
    const tab = document.querySelector('.dn [role="tab"]');
    if (!tab) return;
    observer.disconnect();
    tab.dispatchEvent(new KeyboardEvent("keydown", { ...KEY, bubbles: true }));
}).observe(document, { childList: true, subtree: true });"""
"""Presses a key as soon as there is a panel, before the browser has drawn it."""


@pytest.mark.parametrize(
    ("key", "opens"),
    [
        ('{ key: "f" }', '[aria-label="Fire event"].drawer'),
        ('{ key: "k", ctrlKey: true }', ".pal"),
        ('{ key: "j", ctrlKey: true }', ".log.open"),
    ],
    ids=["F", "Ctrl+K", "Ctrl+J"],
)
def test_a_key_works_as_soon_as_there_is_a_panel(page, key, opens):
    page.add_init_script(AT_ONCE.replace("KEY", key))
    show(page, {"parts": PARTS})
    page.locator(opens).wait_for()


NEXT_KEY = """async () => {
    const key = new KeyboardEvent("keydown", { key: "f", bubbles: true });
    document.querySelector('[role="tab"]').dispatchEvent(key);
    for (let n = 0; n < 50; n += 1) await null;  // what is done before the browser takes anything else, such as a key
    return document.activeElement.getAttribute("aria-label");
}"""
"""Presses F, and returns the label of what the next key goes to, however fast it comes."""


def test_f_leads_to_the_kind_before_the_next_key(page):
    show(page, {"parts": PARTS})
    page.get_by_role("tab", name="Runs").focus()
    assert page.evaluate(NEXT_KEY) == "Kind"


@pytest.mark.parametrize(
    ("view", "label"),
    [("Runs", "Search runs by kind, worker, session or payload text"), ("Map", "Find a worker or kind")],
)
def test_slash_leads_to_the_search_of_the_view(page, view, label):
    show(page, {"parts": PARTS})
    page.get_by_role("tab", name=view).click()
    page.get_by_label(label).wait_for()
    page.keyboard.press("/")
    expect(page.get_by_label(label)).to_be_focused()


def test_slash_opens_the_palette_where_a_view_has_no_search(page):
    draw(page, THREE)
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("/")
    page.get_by_role("dialog", name="Search or run").wait_for()
