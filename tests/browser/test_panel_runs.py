"""Runs on the page of `dnworker serve`, in a browser: the list, the waterfall, lanes and the sequence diagram."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from lab import running_serve
from playwright.sync_api import expect

from .conftest import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
MANIFEST = """
schema: 1
name: shop
version: 1.2.0
description: a shop
flags:
  beta: {description: the new way, default: false}
workers:
  till: {path: till.py}
  stock: {path: stock.py}
  extra: {path: extra.py, when: [beta]}
"""
TILL = f"""
import asyncio
from dnworker import Worker

worker = Worker(name="till")
go = asyncio.Event()


@worker.on_event("shop.sale")
async def on_sale(event, client):
    for n in range(3):
        await client.publish("shop.item", {{"n": n, "bad": event.payload.get("bad") == n}})
    await client.notify("sold", body={HOSTILE!r})


@worker.on_event("shop.slow")
async def slow(event, client):
    await go.wait()
    go.clear()


@worker.on_event("shop.go")
async def on_go(event, client):
    go.set()
"""
STOCK = """
from dnworker import Worker

worker = Worker(name="stock")


@worker.on_event("shop.item")
async def on_item(event, client):
    if event.payload["bad"]:
        raise ValueError("no such item")
    await client.publish("shop.taken", event.payload)
"""
EXTRA = """
from dnworker import Worker

worker = Worker(name="extra")


@worker.on_event("shop.promo")
async def on_promo(event, client): ...
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    root = home / "shop"
    root.mkdir()
    for name, text in (("capability.yaml", MANIFEST), ("till.py", TILL), ("stock.py", STOCK)):
        (root / name).write_text(text)
    (root / "extra.py").write_text(EXTRA)
    with running_serve(root, home=home) as started:
        yield started


@pytest.fixture
def publish(served):
    """Publishes an event from outside; returns its number."""

    def publish(kind: str, payload: dict | None = None) -> int:
        token = served.token_file.read_text().strip()
        answer = httpx.post(
            f"{served.url}/api/events",
            json={"kind": kind, "payload": payload or {}},
            headers={"Authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()
        return answer.json()["seq"]

    return publish


@pytest.fixture
def problems(page):
    found: list[str] = []
    page.on("console", lambda one: found.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda exc: found.append(str(exc)))
    return found


@pytest.fixture
def runs(page, served, problems):
    """The view of runs, wide."""
    page.set_viewport_size({"width": 1500, "height": 900})
    page.goto(served.ticket_url())
    page.get_by_role("tab", name="Runs").click()
    page.get_by_role("listbox", name="Runs").or_(page.get_by_text("No runs yet")).first.wait_for()
    return page


def row(page, seq: int):
    return page.get_by_role("option").filter(has_text=f"#{seq}")


def test_a_failed_run_is_a_row_and_opens_at_the_call_that_failed(runs, publish, problems):
    seq = publish("shop.sale", {"order": "ord-1", "bad": 1})
    one = row(runs, seq)
    one.get_by_label("Failed").wait_for()
    expect(one).to_contain_text("ord-1")
    expect(one).to_contain_text("4 calls")
    one.click()
    waterfall = runs.get_by_role("treegrid", name=f"Waterfall of #{seq}")
    selected = waterfall.locator('[role="row"][aria-selected="true"]')
    selected.get_by_text("shop:stock.on_item").wait_for()
    expect(selected.locator(".x.f")).to_have_count(1)
    # Beside its bar where that leaves room.
    expect(selected).to_have_attribute("aria-label", re.compile("failed with ValueError"))
    runs.locator(".phead").get_by_text("1 of 4 calls failed").wait_for()
    expect(waterfall.get_by_text(f"#{seq + 1} to #{seq + 3}")).to_have_count(1)
    assert problems == []


def test_one_event_of_several_in_a_row_is_chosen_by_its_diamond(runs, publish):
    seq = publish("shop.sale", {"bad": 1})
    row(runs, seq).click()
    events = runs.get_by_role("treegrid").get_by_role("row").filter(has_text=f"#{seq + 1} to #{seq + 3}")
    events.locator(".ev").nth(2).click()
    runs.get_by_label("Inspector").get_by_text('"n": 2').first.wait_for()
    expect(events).to_have_attribute("aria-selected", "true")


def test_nothing_that_anybody_says_is_markup(runs, publish, problems):
    seq = publish(HOSTILE, {"note": HOSTILE})
    row(runs, seq).get_by_text("<img src=x").first.wait_for()
    row(runs, seq).click()
    for form in ("Lanes", "Sequence", "Waterfall"):
        runs.get_by_role("radio", name=form).click()
        expect(runs.get_by_role("radio", name=form)).to_have_attribute("aria-checked", "true")
    assert runs.evaluate("window.attacked") is None
    expect(runs.locator(".runs :is(script, img, iframe)")).to_have_count(0)
    assert problems == []


def test_the_selection_survives_another_form_and_keys_move_it(runs, publish):
    seq = publish("shop.sale", {"bad": 0})
    row(runs, seq).click()
    waterfall = runs.get_by_role("treegrid")
    selected = waterfall.locator('[aria-selected="true"]')
    selected.get_by_text("shop:stock.on_item").wait_for()
    waterfall.focus()
    runs.keyboard.press("Home")
    selected.get_by_text("shop.sale").wait_for()
    runs.keyboard.press("ArrowLeft")
    waterfall.locator('[aria-expanded="false"]').wait_for()
    expect(waterfall.locator(".rows > .wr")).to_have_count(1)
    runs.keyboard.press("ArrowRight")
    runs.keyboard.press("ArrowRight")
    selected.get_by_text("shop:till.on_sale").wait_for()
    runs.get_by_role("radio", name="Lanes").click()
    runs.locator('.lanes [aria-pressed="true"][aria-label^="shop:till.on_sale"]').wait_for()
    runs.get_by_role("radio", name="Sequence").click()
    runs.locator(".sequence .arrow.sel").get_by_text("shop.sale").wait_for()
    runs.locator('.sequence .arrow[tabindex="0"]').focus()
    runs.keyboard.press("ArrowDown")
    runs.locator(".sequence .arrow.sel").get_by_text("shop.item").wait_for()
    runs.get_by_role("radio", name="Waterfall").click()
    selected.get_by_text("shop:stock.on_item").wait_for()


def test_a_run_that_goes_on_is_live_in_list_and_waterfall(runs, publish):
    seq = publish("shop.slow")
    row(runs, seq).get_by_label("Running").wait_for()
    row(runs, seq).click()
    runs.locator(".wf .x.on").wait_for()
    publish("shop.go")
    row(runs, seq).get_by_label("Succeeded").wait_for()
    runs.locator(".wf .x:not(.on)").wait_for()
    expect(runs.locator(".wf .x.on")).to_have_count(0)


def test_a_segment_and_tokens_narrow_the_list(runs, publish):
    failed = publish("shop.sale", {"order": "ord-77", "bad": 2})
    fine = publish("shop.sale", {"order": "ord-78"})
    row(runs, fine).wait_for()
    runs.get_by_role("radio", name=re.compile("Failed")).click()
    row(runs, fine).wait_for(state="detached")
    row(runs, failed).wait_for()
    runs.get_by_role("radio", name=re.compile("All")).click()
    field = runs.get_by_role("textbox", name=re.compile("Search runs"))
    field.fill("kind:shop.sale ord-78 ")
    runs.get_by_role("button", name="Remove kind:shop.sale").wait_for()
    row(runs, failed).wait_for(state="detached")
    row(runs, fine).wait_for()
    field.press("Escape")
    row(runs, failed).wait_for()
    field.fill("nothing of this kind")
    runs.get_by_text("No run matches").wait_for()
    runs.get_by_role("button", name="Show all runs").click()
    row(runs, fine).wait_for()


def test_new_rows_wait_while_the_pointer_is_in_the_list(runs, publish):
    first = publish("shop.sale", {"order": "first"})
    row(runs, first).hover()
    newest = runs.get_by_role("option").first
    before = newest.inner_text().split("\n")[0]
    second = publish("shop.sale", {"order": "second"})
    fresh = runs.get_by_role("button", name=re.compile(r"^\d+ new$"))
    fresh.wait_for()
    expect(row(runs, second)).to_have_count(0)
    expect(newest).to_contain_text(before)
    fresh.click()
    row(runs, second).wait_for()
    runs.mouse.move(900, 5)
    third = publish("shop.sale", {"order": "third"})
    runs.evaluate("document.activeElement.blur()")
    row(runs, third).wait_for()


def test_a_paused_list_stands_still_until_it_is_resumed(runs, publish):
    first = publish("shop.sale")
    row(runs, first).wait_for()
    runs.get_by_role("button", name="Pause list").click()
    second = publish("shop.sale")
    runs.get_by_role("button", name=re.compile(r"^\d+ new$")).wait_for()
    expect(row(runs, second)).to_have_count(0)
    runs.get_by_role("button", name="Resume list").click()
    row(runs, second).wait_for()


def test_an_event_that_only_a_gated_worker_hears_says_so(runs, publish):
    seq = publish("shop.promo")
    row(runs, seq).get_by_text("shop:extra is gated off").wait_for()
    row(runs, seq).click()
    runs.locator(".phead").get_by_text("shop:extra is gated off").wait_for()
    runs.get_by_role("radio", name="Sequence").click()
    runs.locator(".sequence").get_by_text("nobody listens").wait_for()


def test_fire_again_fires_the_first_event_and_leads_to_its_run(runs, publish):
    seq = publish("shop.sale", {"order": "again"})
    row(runs, seq).click()
    runs.locator(".phead").get_by_text(f"#{seq}").wait_for()
    runs.get_by_role("button", name="Fire again").click()
    runs.get_by_role("status").get_by_role("button", name="Show").click()
    runs.locator(".phead").get_by_text("shop.sale").wait_for()
    runs.wait_for_function(
        "before => Number(document.querySelector('.phead .t3').textContent.slice(1)) > before", arg=seq
    )


def test_a_run_is_copied_as_mermaid_and_as_svg(runs, publish):
    runs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seq = publish("shop.sale", {"bad": 1})
    row(runs, seq).click()
    runs.locator(".phead").get_by_text(f"#{seq}").wait_for()
    for name, start in (("Copy as Mermaid", "sequenceDiagram"), ("Copy as SVG", "<svg xmlns=")):
        runs.locator(".phead").get_by_role("button", name="More").click()
        runs.get_by_role("menuitem", name=name).click()
        runs.get_by_text(re.compile("^Copied as")).wait_for()
        runs.wait_for_function(
            "start => navigator.clipboard.readText().then((text) => text.startsWith(start))", arg=start
        )
        text = runs.evaluate("navigator.clipboard.readText()")
        assert "shop:stock" in text
        assert "ValueError" in text


def test_a_run_is_copied_as_a_cell_and_saved_as_a_test(runs, publish):
    runs.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seq = publish("shop.sale", {"order": "ord-5", "lines": [1, 2]})
    row(runs, seq).click()
    runs.locator(".phead").get_by_text(f"#{seq}").wait_for()
    runs.get_by_role("button", name="Copy as %fire").click()
    runs.get_by_text("Copied; paste it into a cell").wait_for()
    runs.wait_for_function(
        "navigator.clipboard.readText().then((text) => text.startsWith('%%fire shop.sale\\n'))"
    )
    payload = runs.evaluate("navigator.clipboard.readText()").partition("\n")[2]
    assert json.loads(payload) == {"order": "ord-5", "lines": [1, 2]}
    with runs.expect_download() as download:
        runs.get_by_role("button", name="Save as test").click()
    assert re.fullmatch(r"test_till_\d+\.py", download.value.suggested_filename)
    compile(download.value.path().read_text(), "test", "exec")
    nobody = publish("shop.promo")
    row(runs, nobody).click()
    runs.locator(".phead").get_by_text(f"#{nobody}").wait_for()
    test = runs.get_by_role("button", name="Save as test")
    expect(test).to_have_attribute("aria-disabled", "true")
    expect(test).to_have_attribute("title", "no handler ran, so there is nothing to test")


def test_keys_choose_in_the_list_and_a_slash_goes_to_the_search(runs, publish):
    first = publish("shop.sale", {"order": "older"})
    second = publish("shop.sale", {"order": "newer"})
    row(runs, second).click()
    head = runs.locator(".phead")
    head.get_by_text(f"#{second}").wait_for()
    runs.get_by_role("listbox", name="Runs").focus()
    runs.keyboard.press("j")
    head.get_by_text(f"#{first}").wait_for()
    runs.keyboard.press("k")
    head.get_by_text(f"#{second}").wait_for()
    runs.keyboard.press("/")
    expect(runs.get_by_role("textbox", name=re.compile("^Search runs"))).to_be_focused()


OTHER_TICKS = """(before) => {
    const ticks = [...document.querySelectorAll(".wf .ax .tl span")].map((one) => one.innerText);
    return ticks.length > 0 && ticks.join("\\n") !== before;
}"""


def test_the_axis_zooms_by_wheel_and_keys_pans_and_fits(runs, publish):
    seq = publish("shop.sale", {"bad": 1})
    row(runs, seq).click()
    waterfall = runs.get_by_role("treegrid", name=f"Waterfall of #{seq}")
    waterfall.locator(".x.f").wait_for()

    def ticks() -> list[str]:
        return waterfall.locator(".ax .tl span").all_inner_texts()

    whole = ticks()
    plot = waterfall.locator(".ax .tl").bounding_box()
    runs.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + 60)
    runs.keyboard.down("Control")
    runs.mouse.wheel(0, -600)
    runs.keyboard.up("Control")
    runs.locator(".wf.zoomed").wait_for()
    runs.wait_for_function(OTHER_TICKS, arg="\n".join(whole))
    zoomed = ticks()
    waterfall.focus()
    runs.keyboard.press("Shift+ArrowRight")
    runs.wait_for_function(OTHER_TICKS, arg="\n".join(zoomed))
    runs.get_by_role("button", name="Fit all").click()
    runs.locator(".wf:not(.zoomed)").wait_for()
    wait_until(runs, ticks, whole)
    edge = runs.get_by_role("slider", name="Start of what is shown")
    edge.focus()
    runs.keyboard.press("ArrowRight")
    runs.locator(".wf.zoomed").wait_for()
    waterfall.focus()
    runs.keyboard.press("0")
    runs.locator(".wf:not(.zoomed)").wait_for()


def test_below_760_pixels_a_run_takes_the_place_of_the_list(runs, publish):
    first = publish("shop.sale", {"order": "one"})
    second = publish("shop.sale", {"order": "two"})
    runs.set_viewport_size({"width": 420, "height": 900})
    row(runs, second).click()
    head = runs.locator(".detail-head")
    head.get_by_text(f"#{second}").wait_for()
    expect(runs.get_by_role("tab", name="Overview")).to_be_hidden()
    head.get_by_role("button", name="Next run").click()
    head.get_by_text(f"#{first}").wait_for()
    head.get_by_role("button", name="Previous run").click()
    head.get_by_text(f"#{second}").wait_for()
    head.get_by_role("button", name="Back to runs").click()
    row(runs, first).wait_for()
    runs.wait_for_function("document.documentElement.scrollWidth <= 420")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1000, 1500])
def test_axe_finds_nothing_serious_in_any_form(runs, publish, axe, scheme, width):
    runs.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    seq = publish("shop.sale", {"bad": 1})
    row(runs, seq).click()
    runs.locator(".wf .x.f").wait_for()
    runs.set_viewport_size({"width": width, "height": 900})
    found = axe(runs, ".dn")
    if width > 420:
        for form in ("Lanes", "Sequence"):
            runs.get_by_role("radio", name=form).click()
            expect(runs.get_by_role("radio", name=form)).to_have_attribute("aria-checked", "true")
            found += axe(runs, ".dn")
    assert found == []
