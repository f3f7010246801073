"""The log drawer, on the page of a real `dnworker serve`."""

from __future__ import annotations

import re

import pytest
from lab import running_serve
from playwright.sync_api import expect

from .conftest import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1">'

MANIFEST = """
schema: 1
name: shop
version: 1.0.0
description: a till that prints
workers:
  till: {path: till.py}
  process: {command: python3, args: [process.py]}
"""
TILL = f"""
from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    print({HOSTILE!r}, "\\x1b[31msold\\x1b[0m", event.payload["item"])
    print(f"{{event.payload['item']}} ".ljust(900, "x"))
    if event.payload.get("bad"):
        raise ValueError("no such item")


@worker.on_event("shop.flood")
async def on_flood(event, client):
    for n in range(event.payload["lines"]):
        print(f"flood {{n}}")
"""
PROCESS = """
import sys, time, traceback
print("DEBUG app.db: connected", file=sys.stderr)
try:
    {}["door"]
except KeyError:
    traceback.print_exc()
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop") / "shop"
    root.mkdir()
    for name, text in (("capability.yaml", MANIFEST), ("till.py", TILL), ("process.py", PROCESS)):
        (root / name).write_text(text)
    with running_serve(root, home=tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
def opened(page, served):
    """The page with the log open; `page.lines` has its rows."""
    page.goto(served.ticket_url())
    page.log = page.get_by_role("region", name="Log", exact=True)
    page.log.get_by_text(re.compile(r"\d lines?$")).first.wait_for()
    page.keyboard.press("Control+j")
    page.grid = page.get_by_role("grid", name="Lines of the log")
    page.grid.wait_for()
    page.lines = page.grid.get_by_role("row")
    yield page
    assert page.evaluate("window.attacked") is None


def fire(page, kind: str, payload: str) -> None:
    page.get_by_role("button", name="Fire event").click()
    drawer = page.get_by_role("complementary", name="Fire event")
    drawer.get_by_role("combobox", name="Kind").fill(kind)
    page.keyboard.press("Tab")
    written = drawer.get_by_role("textbox", name="Payload")
    page.wait_for_function(
        "area => area.value !== '{}'", arg=written.element_handle()
    )  # a suggestion, or a draft
    written.fill(payload)
    drawer.get_by_role("button", name=f"Fire {kind}", exact=True).click()
    page.locator(".toast", has_text=f"Fired {kind}").wait_for()
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")


def search(page, text: str, **toggles: bool) -> None:
    field = page.get_by_label("Find in log")
    field.fill(text)
    for name, pressed in toggles.items():
        button = page.get_by_role(
            "button", name={"regex": "Regular expression", "only": "Only matches"}[name]
        )
        if button.get_attribute("aria-pressed") != str(pressed).lower():
            button.click()


def test_the_closed_log_shows_the_last_line_that_is_no_error_and_opens_by_keys(page, served):
    page.goto(served.ticket_url())
    log = page.get_by_role("region", name="Log", exact=True)
    log.get_by_text("shop:process").wait_for()
    expect(log.get_by_role("grid")).to_have_count(0)
    fold = log.get_by_role("button", name="Log", exact=True)
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Control+j")
    log.get_by_role("grid").wait_for()
    page.keyboard.press("Control+j")
    log.get_by_role("grid").wait_for(state="detached")
    fold.click()
    log.get_by_role("grid").wait_for()


def test_a_printed_traceback_is_one_entry_that_opens_by_a_key_and_a_printed_level_is_read(opened):
    error = opened.lines.filter(has_text="KeyError: 'door'")
    error.wait_for()
    expect(opened.lines.filter(has_text="Traceback")).to_have_count(0)
    expect(error).to_contain_text(re.compile(r"\d lines"))
    error.locator(".tx").click()
    opened.grid.focus()
    opened.keyboard.press("Enter")
    error.get_by_text("Traceback (most recent call last):").wait_for()
    error.get_by_role("button", name="Show worker").wait_for()
    opened.keyboard.press("Enter")
    error.get_by_text("Traceback").wait_for(state="detached")
    debug = opened.lines.filter(has_text="DEBUG app.db: connected")
    expect(debug.locator(".mk")).to_have_text("Debug")


def test_a_text_and_a_pattern_are_marked_with_and_without_only_matches(opened):
    fire(opened, "shop.sale", '{"item": "bread"}')
    opened.lines.filter(has_text="bread").first.wait_for()
    for text, regex in (("SOLD BREAD", False), ("s.ld b[r]ead", True)):
        for only in (True, False):
            search(opened, text, regex=regex, only=only)
            opened.log.get_by_text("1 match", exact=True).wait_for()
            line = opened.lines.filter(has_text="bread").first
            line.locator("mark").first.wait_for()
            marks = line.locator("mark")
            wait_until(opened, lambda marks=marks: "".join(marks.all_inner_texts()), "sold bread")
            expect(line).to_contain_text(HOSTILE)
            others = opened.lines.filter(has_text="ready")
            others.first.wait_for(state="detached" if only else "attached")
    search(opened, "s[old")
    opened.get_by_role("alert").filter(has_text="is no regular expression").wait_for()
    search(opened, "", regex=False, only=True)
    opened.log.get_by_text(re.compile(r"^\d+ lines$")).first.wait_for()


def test_who_scrolls_stays_there_and_is_told_of_new_lines(opened):
    opened.grid.focus()
    opened.keyboard.press("Home")
    oldest = opened.grid.locator('[aria-rowindex="1"]').filter(has=opened.locator(".tx"))
    first = oldest.inner_text()
    fire(opened, "shop.sale", '{"item": "milk"}')
    pill = opened.log.get_by_role("button", name="new lines")
    pill.wait_for()
    expect(oldest).to_have_text(first, use_inner_text=True)
    pill.click()
    opened.lines.filter(has_text="x" * 50).last.wait_for()
    pill.wait_for(state="detached")
    opened.get_by_role("button", name="Pause", exact=True).click()
    opened.get_by_role("button", name="Follow the end").click()


WRAPPED = """() => {
    const rows = [...document.querySelectorAll('.log [role="row"]')];
    const boxes = rows.map((row) => row.getBoundingClientRect()).sort((a, b) => a.top - b.top);
    const long = rows.find((row) => row.textContent.includes("egg xxx"));
    return long?.clientHeight > 40 && boxes.every((box, n) => n === 0 || boxes[n - 1].bottom <= box.top + 0.5);
}"""
"""The long line has more than one row on the screen, and no line covers another."""


def test_a_cut_line_opens_whole_and_wrapping_shows_all_of_it_at_once(opened):
    fire(opened, "shop.sale", '{"item": "egg"}')
    long = opened.lines.filter(has_text="egg xxx")  # and not the last of what other tests have printed
    long.get_by_role("button", name="400 more characters").click()
    long.locator("pre").filter(has_text="x" * 896).wait_for()
    long.get_by_role("button", name="Fold").click()
    opened.get_by_role("button", name="Filter by worker and level").click()
    opened.get_by_label("Wrap long lines").check()
    opened.keyboard.press("Escape")
    opened.wait_for_function(WRAPPED)


def test_the_log_is_filtered_by_level_worker_and_source_and_each_filter_can_be_removed(opened):
    opened.get_by_role("button", name="Filter by worker and level").click()
    dialog = opened.get_by_role("dialog", name="Filter the log")
    dialog.get_by_label("Worker").select_option("shop:process")
    dialog.get_by_label("Source").select_option("Standard output")
    dialog.get_by_label("Level").select_option("Errors")
    opened.keyboard.press("Escape")
    opened.log.get_by_text("1 matching line", exact=True).wait_for()
    for text in ("shop:process", "Errors", "Standard output"):
        opened.get_by_role("button", name=f"Remove filter {text}").click()
    opened.log.get_by_text(re.compile(r"^\d[\d,]* lines$")).first.wait_for()


def test_a_line_leads_to_its_run_and_to_its_worker(opened):
    fire(opened, "shop.sale", '{"item": "jam", "bad": true}')
    error = opened.lines.filter(has_text="ValueError: no such item").last
    error.wait_for()
    error.locator(".tx").click()
    opened.grid.focus()
    opened.keyboard.press("r")
    opened.get_by_role("tab", name="Runs", selected=True).wait_for()
    opened.grid.focus()
    opened.keyboard.press("w")
    opened.get_by_role("tab", name="Workers", selected=True).wait_for()


def test_lines_are_copied_and_all_of_them_are_saved(opened):
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened.grid.focus()
    opened.keyboard.press("Home")
    opened.keyboard.press("Shift+ArrowDown")
    opened.keyboard.press("Control+c")
    opened.locator(".toast", has_text="Copied 2 lines").wait_for()
    copied = opened.evaluate("navigator.clipboard.readText()")
    with opened.expect_download() as download:
        opened.get_by_role("button", name="Download").click()
    saved = download.value.path().read_text()
    assert saved.startswith(copied)
    assert "Traceback (most recent call last):" in saved


def test_the_handle_is_moved_by_keys_and_by_hand_and_each_view_keeps_its_height(opened):
    handle = opened.get_by_role("separator", name="Height of the log")
    height = lambda: opened.log.bounding_box()["height"]  # noqa: E731
    before = height()

    def until_high(pixels: float) -> None:
        is_so = "h => Math.abs(document.querySelector('.log').offsetHeight - h) < 2"
        opened.wait_for_function(is_so, arg=pixels)

    handle.focus()
    opened.keyboard.press("ArrowUp")
    opened.wait_for_function("h => document.querySelector('.log').clientHeight > h", arg=before + 10)
    wait_until(opened, lambda: int(handle.get_attribute("aria-valuenow")) - round(height()), 0)
    opened.get_by_role("button", name="Pause", exact=True).wait_for()  # the end is followed as before
    box = handle.bounding_box()
    opened.mouse.move(box["x"] + 300, box["y"] + 4)
    opened.mouse.down()
    opened.mouse.move(box["x"] + 300, box["y"] - 96, steps=4)
    opened.mouse.up()
    until_high(before + 120)
    opened.get_by_role("tab", name="Workers").click()
    until_high(before)
    opened.get_by_role("tab", name="Overview").click()
    until_high(before + 120)
    handle.focus()
    opened.keyboard.press("End")
    opened.wait_for_function("h => document.querySelector('.log').clientHeight > h", arg=before + 130)
    opened.wait_for_function("document.querySelector('.main').clientHeight > 40")
    opened.keyboard.press("Home")
    opened.wait_for_function("h => document.querySelector('.log').offsetHeight < h", arg=before)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1500])
def test_axe_finds_nothing_serious_in_the_log(opened, axe, scheme, width):
    opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened.set_viewport_size({"width": width, "height": 900})
    error = opened.lines.filter(has_text="KeyError: 'door'")
    opened.grid.focus()
    opened.keyboard.press("Home")
    error.first.get_by_role("button", name=re.compile(r"\d lines")).click()
    error.get_by_text("Traceback").wait_for()
    search(opened, "door")
    opened.log.locator("mark").first.wait_for()
    assert axe(opened, ".log") == []
    opened.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    search(opened, "", only=True)


def test_f3_goes_from_match_to_match_in_a_flood_whose_oldest_lines_are_dropped(opened):
    fire(opened, "shop.flood", '{"lines": 60000}')
    opened.lines.filter(has_text="flood 59999").wait_for()
    kept = opened.log.get_by_text("50,000 lines", exact=True)
    kept.wait_for()
    expect(kept).to_have_attribute("title", re.compile("older lines are kept no longer"))
    opened.grid.focus()
    opened.keyboard.press("Home")
    opened.lines.first.filter(has_text=re.compile(r"flood 1\d{4}")).wait_for()
    search(opened, r"flood 5\d000$", regex=True, only=False)
    opened.log.get_by_text("10 matches").wait_for()
    opened.keyboard.press("F3")
    chosen = opened.grid.locator("[aria-selected=true]")
    chosen.filter(has_text="flood 50000").wait_for()
    opened.keyboard.press("F3")
    chosen.filter(has_text="flood 51000").wait_for()
    opened.keyboard.press("Shift+F3")
    opened.keyboard.press("Shift+F3")
    chosen.filter(has_text="flood 59000").wait_for()
