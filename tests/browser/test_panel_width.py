"""The panel at every width, with every view: nothing in it is wider than it, whatever it says."""

from __future__ import annotations

import pytest

from . import scenes
from .scene import show
from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WIDTHS = (1300, 1199, 760, 759, 700, 420, 320, 240, 206, 180)
VIEWS = ("overview", "runs", "workers", "map", "capability", "sessions")
SAYS = """(state) => {
  store.beat = store.heard = () => {};  // which would say what is so
  const since = Date.now() - 3_723_000;
  store.liveness.value = { state, since, by: "cell [14]: notebook:a_worker_with_a_long_name.on_an_event_of_it" };
}"""


DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until the panel was told of its width, and has drawn itself for it."""


def resize(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(DRAWN)


@pytest.mark.parametrize(
    ("name", "state"), [("overview", "busy"), ("runs", "gone"), ("workers", "live")], ids=lambda one: one
)
def test_nothing_is_wider_than_the_panel_in_any_view_at_any_width(page, name, state):
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    show(page, getattr(scenes, name)())
    panel = page.locator(".dn")
    page.evaluate(SAYS, state)
    for view in VIEWS:
        page.evaluate("view => store.go(view)", view)
        for width in (*WIDTHS, *reversed(WIDTHS)):
            resize(page, width)
            assert too_wide(page, panel) == [], f"{view} at {width}"


@pytest.mark.parametrize("state", ["busy", "gone"])
def test_what_the_header_says_of_the_kernel_is_seen_in_a_panel_of_420_pixels(page, state):
    page.set_viewport_size({"width": 420, "height": 900})
    show(page, scenes.overview())
    page.evaluate(SAYS, state)
    said = page.locator(f".dn .top .live[data-state={state}] > [aria-hidden]")
    said.wait_for()
    page.wait_for_function("(node) => node.scrollWidth <= node.clientWidth", arg=said.element_handle())


def test_the_card_of_a_row_is_no_wider_than_a_panel_that_becomes_narrower(page):
    page.set_viewport_size({"width": 900, "height": 900})
    show(page, scenes.runs())
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("option").first.click()
    row = page.get_by_role("treegrid").locator("[role=row]:not(.ax)").nth(2)
    box = row.bounding_box()  # in a panel of 900 px
    page.mouse.move(680, box["y"] + 10)
    card = page.locator(".hovercard")
    card.wait_for()
    # As where a side area opens by a key: the pointer stays where it is, over the page.
    page.evaluate("document.querySelector('#panel').style.width = '700px'")
    page.evaluate(DRAWN)
    assert too_wide(page, page.locator(".dn")) == []
