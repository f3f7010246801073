"""The drawer in which an event is written and fired, on the page of a real `dnworker serve`."""

from __future__ import annotations

import re

import pytest
from lab import running_serve
from playwright.sync_api import expect

from .conftest import clipboard_is

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
    print("sold", event.payload["item"], event.payload["price"])


@worker.on_event("shop.large")
async def on_large(event, client):
    print("large", event.payload["n"])
"""
BIG = "123456789012345678901234567890"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop") / "shop"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "till.py").write_text(TILL)
    with running_serve(root, home=tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
def opened(page, served):
    """The page with the drawer open by its key."""
    page.goto(served.ticket_url())
    page.get_by_role("status").filter(has_text="Live").wait_for(state="attached")
    page.keyboard.press("f")
    page.drawer = page.get_by_role("complementary", name="Fire event")
    page.kind = page.drawer.get_by_role("combobox", name="Kind")
    page.payload = page.drawer.get_by_role("textbox", name="Payload")
    page.kind.wait_for()
    return page


def until(page, script: str, text: str) -> None:
    """Wait until the payload is so."""
    page.wait_for_function(f"([area, text]) => {script}", arg=[page.payload.element_handle(), text])


def choose(page, kind: str, key: str) -> None:
    """Write a kind, and wait until the payload that it brings is there."""
    page.kind.fill(kind)
    page.kind.press("Tab")
    until(page, "area.value.includes(text)", f'"{key}"')


def test_a_kind_is_completed_brings_a_payload_and_is_fired_by_keys_alone(opened):
    opened.keyboard.type("sale")
    option = opened.drawer.get_by_role("option", name="shop.sale")
    option.wait_for()
    expect(option).to_contain_text("shop:till")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    until(opened, "area.value.includes(text)", '"item"')
    expect(opened.kind).to_have_value("shop.sale")
    opened.keyboard.press("Control+Enter")
    toast = opened.locator(".toast", has_text="Fired shop.sale #")
    toast.wait_for()
    toast.get_by_role("button", name="Show").click()
    opened.get_by_role("tab", name="Runs", selected=True).wait_for()


def test_the_place_of_an_error_is_marked_while_it_is_written_and_nothing_is_fired(opened):
    choose(opened, "shop.sale", "price")
    opened.payload.fill('{\n  "item": True\n}')
    problem = opened.drawer.get_by_role("button", name=re.compile("Line 2, column 11: True is no value"))
    problem.wait_for()
    expect(opened.drawer.locator(".gutter .bad")).to_have_text("2")
    expect(opened.payload).to_have_attribute("aria-invalid", "true")
    opened.drawer.get_by_role("button", name="Fire shop.sale", exact=True).click()
    expect(opened.payload).to_have_js_property("selectionStart", 12)
    expect(opened.locator(".toast", has_text="Fired")).to_have_count(0)
    opened.payload.fill("[1]")
    opened.drawer.get_by_text("a payload is an object").wait_for()
    opened.kind.fill("")
    opened.payload.fill("{}")
    opened.drawer.get_by_role("button", name="Fire event", exact=True).click()
    opened.drawer.get_by_role("alert").filter(has_text="needs a kind").wait_for()
    opened.kind.fill("shop.sale")
    opened.drawer.get_by_role("combobox", name="Worker").fill("nobody")
    opened.keyboard.press("Control+Enter")
    opened.drawer.get_by_role("alert").filter(has_text="no worker nobody").wait_for()


def test_keys_make_pairs_indents_and_offers_and_the_browser_undoes_each(opened):
    choose(opened, "shop.sale", "price")
    opened.payload.focus()
    opened.keyboard.press("Control+a")
    opened.keyboard.type("{")
    expect(opened.payload).to_have_value(re.compile(r"^\{"))
    opened.keyboard.press("Control+a")
    opened.keyboard.press("Delete")
    opened.keyboard.type("{\n")
    expect(opened.payload).to_have_value("{\n  \n}")
    opened.keyboard.type('"pr')
    opened.drawer.get_by_role("option", name="price").wait_for()
    opened.keyboard.press("Enter")
    expect(opened.payload).to_have_value('{\n  "price": "price"\n}')
    opened.keyboard.press("Control+z")
    expect(opened.payload).to_have_value('{\n  "pr"\n}')
    opened.payload.fill('{"a": [1]}')
    opened.drawer.get_by_role("button", name="Format").click()
    formatted = '{\n  "a": [\n    1\n  ]\n}'
    until(opened, "area.value === text", formatted)
    opened.payload.focus()
    opened.keyboard.press("Control+Home")
    opened.keyboard.press("Tab")
    expect(opened.payload).to_have_value(f"  {formatted}")
    opened.keyboard.press("Shift+Tab")
    expect(opened.payload).to_have_value(formatted)
    opened.keyboard.press("Escape")
    opened.keyboard.press("Tab")
    expect(opened.payload).not_to_be_focused()
    expect(opened.payload).to_have_value(formatted)


def test_what_was_typed_is_there_again_after_the_drawer_was_closed(opened):
    choose(opened, "shop.sale", "price")
    opened.payload.fill('{"item": "typed"}')
    opened.kind.focus()
    opened.keyboard.press("Escape")
    opened.drawer.wait_for(state="detached")
    opened.get_by_role("button", name="Fire event").click()
    opened.kind.focus()
    opened.keyboard.press("Escape")
    opened.drawer.wait_for(state="detached")
    opened.get_by_role("tab", name="Overview").focus()
    opened.keyboard.press("f")  # from within the panel, too
    opened.drawer.wait_for()
    expect(opened.payload).to_have_value('{"item": "typed"}')
    expect(opened.kind).to_have_value("shop.sale")


def test_what_was_fired_is_picked_edited_and_fired_again_with_its_numbers_as_they_were(opened):
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(opened, "shop.large", "n")
    opened.payload.fill(f'{{"n": {BIG}}}')
    opened.drawer.get_by_role("button", name="Copy as %fire").click()
    opened.locator(".toast", has_text="Copied as a cell").wait_for()
    clipboard_is(opened, f"%fire shop.large n={BIG}")
    opened.drawer.get_by_role("button", name="Fire shop.large", exact=True).click()
    opened.locator(".toast", has_text="Fired shop.large").wait_for()
    opened.keyboard.press("Control+j")
    opened.get_by_role("row").filter(has_text=f"large {BIG}").first.wait_for()
    opened.payload.fill("{}")
    opened.drawer.get_by_role("button", name=re.compile(rf"shop.large .*{BIG}")).first.click()
    until(opened, "area.value.includes(text)", BIG)
    opened.drawer.get_by_role("button", name="Fire shop.large again").first.click()
    opened.get_by_role("row").filter(has_text=f"large {BIG}").nth(1).wait_for()


def test_a_payload_of_a_megabyte_can_be_typed_into_and_what_is_too_large_to_fire_is_said(opened):
    choose(opened, "shop.large", "n")
    opened.payload.fill('{"n": 1, "text": "' + "x" * 1_000_000 + '"}')
    opened.payload.press("Control+Home")
    opened.payload.press("ArrowRight")
    opened.keyboard.insert_text('"more": 2, ')
    until(opened, "area.value.startsWith(text)", '{"more": 2, ')
    opened.keyboard.press("Control+Enter")
    opened.locator(".toast.failed", has_text="Fire shop.large: ").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1500])
def test_axe_finds_nothing_serious_in_the_drawer(opened, axe, scheme, width):
    opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened.set_viewport_size({"width": width, "height": 900})
    opened.kind.fill("shop")
    opened.drawer.get_by_role("option").first.wait_for()
    found = axe(opened, ".drawer")
    choose(opened, "shop.sale", "price")
    opened.payload.fill('{"item": }')
    opened.drawer.get_by_text("Line 1, column 10").wait_for()
    assert found + axe(opened, ".drawer") == []
    opened.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    opened.drawer.get_by_role("button", name="Fire shop.sale", exact=True).scroll_into_view_if_needed()
