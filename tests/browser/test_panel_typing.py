"""What people type into the fields that search, on the page of a real `dnworker serve`: no key is lost."""

from __future__ import annotations

import re

import httpx
import pytest
from lab import running_serve
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MANIFEST = """
schema: 1
name: shop
version: 1.0.0
description: a till
workers:
  till: {path: till.py}
"""
TILL = """
from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    if event.payload.get("bad"):
        raise ValueError("no such item")
"""
SCRIPT = """(field, script) => {
    const PAUSE = 150;  // as in the fields; of two timers of one length, the first one that was set comes first
    const type = (text) => {
        field.value = text;
        field.dispatchEvent(new InputEvent("input", { bubbles: true }));
    };
    const press = (text) =>
        [...document.querySelectorAll("button")].find((one) => one.textContent.startsWith(text)).click();
    const wait = (milliseconds = PAUSE) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    return eval(`(async () => { ${script}; return field.value; })()`);
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop") / "shop"
    root.mkdir()
    for name, text in (("capability.yaml", MANIFEST), ("till.py", TILL)):
        (root / name).write_text(text)
    with running_serve(root, home=tmp_path_factory.mktemp("home")) as started:
        headers = {"Authorization": f"Bearer {started.token_file.read_text().strip()}"}
        for payload in ({"order": "ord-1"}, {"order": "ord-2", "bad": True}):
            sent = {"kind": "shop.sale", "payload": payload}
            httpx.post(f"{started.url}/api/events", json=sent, headers=headers).raise_for_status()
        yield started


@pytest.fixture
def runs(page, served):
    """The field above the list of two runs, of which the second one failed."""
    page.set_viewport_size({"width": 1500, "height": 900})
    page.goto(served.ticket_url())
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("option").nth(1).wait_for()
    return page.get_by_role("textbox", name=re.compile("Search runs"))


@pytest.fixture
def log(page, served):
    """The field of the log."""
    page.goto(served.ticket_url())
    page.get_by_text(re.compile(r"\d lines?$")).first.wait_for()
    page.keyboard.press("Control+j")
    return page.get_by_label("Find in log")


@pytest.mark.parametrize("name", ["runs", "log"])
def test_a_letter_that_comes_as_the_search_begins_stays(name, request):
    field = request.getfixturevalue(name)
    assert field.evaluate(SCRIPT, "type('a'); await wait(); type('ab'); await wait(60)") == "ab"


def test_a_segment_and_a_token_of_the_same_moment_both_hold(page, runs):
    rows = page.get_by_role("option")
    page.get_by_role("radio", name=re.compile("Failed")).click()
    rows.filter(has_text="ord-1").wait_for(state="detached")
    runs.evaluate(SCRIPT, "press('All'); type('kind:shop.sale ord-1 ')")
    rows.filter(has_text="ord-1").wait_for()
    expect(page.get_by_role("radio", name=re.compile("^All"))).to_have_attribute("aria-checked", "true")


def test_a_search_that_others_end_does_not_come_back(page, runs):
    runs.fill("nothing of this kind")
    page.get_by_text("No run matches").wait_for()
    script = "type('nothing at all'); press('Show all runs'); await wait(); await wait(0)"
    assert runs.evaluate(SCRIPT, script) == ""
    page.get_by_role("option").nth(1).wait_for()


def test_a_search_that_others_end_before_it_is_told_does_not_come_back(page, runs):
    runs.evaluate(SCRIPT, "type('kind:no.such ')")  # a token: the text that was told stays empty
    page.get_by_text("No run matches").wait_for()
    script = "type('nothing at all'); press('Show all runs'); await wait(); await wait(0)"
    assert runs.evaluate(SCRIPT, script) == ""
    page.get_by_role("option").nth(1).wait_for()
