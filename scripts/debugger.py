"""JupyterLab's debugger in a browser: a stop in a handler; for its test and the picture of the docs."""

from __future__ import annotations

from lab import has_run
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as NotInTime

CELLS = [
    "%load_ext dnworker",
    """%%worker bridge
@worker.on_event("turn.completed")
async def on_turn(event, client):
    tokens = event.payload["output_tokens"]
    took = event.payload["duration_ms"] / 1000
    rate = tokens / took
    await client.notify(title=f"{rate:.0f} tokens a second")""",
    "%fire turn.completed duration_ms=700 output_tokens=210",
]
LINE = 6
"""Of the worker's cell, where the handler stops."""


def turn_on(page: Page) -> None:
    """Click the bug icon, and wait until cells have a gutter for breakpoints: the debugger is attached."""
    button = page.locator(".jp-DebuggerBugButton").first
    gutter = page.locator(".jp-Notebook .jp-CodeCell .cm-breakpoint-gutter").first
    for _ in range(3):
        button.click()
        try:
            gutter.wait_for(timeout=60_000)
        except NotInTime:
            continue  # JupyterLab lets a click go that comes while it attaches to a kernel that starts
        return
    gutter.wait_for(timeout=60_000)


def at_the_stop(page: Page) -> None:
    """Set a breakpoint in the gutter, run all cells, and wait until the handler has stopped."""
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    gutter = cells.nth(1).locator(".cm-breakpoint-gutter .cm-gutterElement")
    gutter.nth(LINE).click()  # the first element is a spacer without height
    gutter.nth(LINE).locator(".cm-breakpoint-icon").wait_for()
    cells.first.click()
    for number in range(2):
        page.keyboard.press("Shift+Enter")
        has_run(cells.nth(number)).wait_for()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-DebuggerCallstack").get_by_text("on_turn").first.wait_for()
    variables = page.locator(".jp-DebuggerVariables")
    page.locator("select", has_text="Globals").select_option("Locals")
    variables.get_by_text("tokens").first.wait_for()


def go_on(page: Page) -> None:
    """Let the handler run on."""
    page.keyboard.press("F9")
