"""The inspector of a run on the page of `dnworker serve`, in a browser: errors, payloads, differences, source."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from lab import running_serve
from playwright.sync_api import expect

from .conftest import clipboard_is, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
MANIFEST = """
schema: 1
name: csvdrop
version: 1.2.0
description: prices
workers:
  importer: {path: importer.py}
"""
IMPORTER = f"""
from dnworker import Worker

worker = Worker(name="importer")


@worker.on_event("csvdrop.rows")
async def on_rows(event, client):
    print("rows of", event.payload["file"])
    await client.publish("orders.count", {{"n": len(event.payload["rows"]), "text": {HOSTILE!r}}})
    for row in event.payload["rows"]:
        price = float(row["price"])


@worker.on_event("chained")
async def on_chained(event, client):
    try:
        {{}}["nothing"]
    except KeyError as exc:
        raise RuntimeError({HOSTILE!r}) from exc
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("inspect")
    root = home / "csvdrop"
    root.mkdir()
    (root / "capability.yaml").write_text(MANIFEST)
    (root / "importer.py").write_text(IMPORTER)
    with running_serve(root, home=home) as started:
        yield started


@pytest.fixture(scope="module")
def publish(served):
    """Publishes an event from outside; returns its id and number."""

    def publish(kind: str, payload: dict) -> dict:
        token = served.token_file.read_text().strip()
        answer = httpx.post(
            f"{served.url}/api/events",
            json={"kind": kind, "payload": payload},
            headers={"Authorization": f"Bearer {token}"},
        )
        answer.raise_for_status()
        return answer.json()

    return publish


def rows(count: int, wrong: int | None = None) -> list[dict[str, str]]:
    return [{"ean": f"40063{n:04}", "price": "12,50" if n == wrong else "12.50"} for n in range(count)]


@pytest.fixture(scope="module")
def events(publish):
    """An event that succeeded, one that failed at its row 317, one with a large payload, one with a cause."""
    return {
        "good": publish("csvdrop.rows", {"file": "a.csv", "rows": rows(400)}),
        "failed": publish("csvdrop.rows", {"file": "a.csv", "rows": rows(400, 317)}),
        "large": publish(
            "large", {"id": 12345678901234567890, "rows": rows(20_000, 19_999), HOSTILE: "\u202eabc"}
        ),
        "chained": publish("chained", {"deep": json.loads("[" * 200 + "]" * 200)}),
    }


@pytest.fixture
def problems(page):
    found: list[str] = []
    page.on("console", lambda one: found.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda exc: found.append(str(exc)))
    return found


@pytest.fixture
def opened(page, served, events, problems):
    """The page with the view of runs."""
    page.set_viewport_size({"width": 1500, "height": 940})
    page.goto(served.ticket_url())
    page.get_by_role("tab", name="Runs").click()
    page.inspector = page.get_by_role("region", name="Inspector")
    yield page
    assert page.evaluate("window.attacked") is None
    assert problems == []


SAYS = {"failed": "could not convert", "chained": "RuntimeError"}


def choose(page, events: dict, name: str):
    """Choose the run of an event, and wait until the inspector shows it."""
    page.get_by_role("listbox", name="Runs").get_by_text(f"#{events[name]['seq']}", exact=True).click()
    if name == "large":
        page.inspector.get_by_role("tree", name=f"Payload of #{events[name]['seq']}").wait_for()
    else:
        page.inspector.get_by_text(SAYS[name]).first.wait_for()
    return page.inspector


def test_a_failure_opens_its_error_with_the_line_and_what_the_good_payload_had(opened, events):
    inspector = choose(opened, events, "failed")
    inspector.get_by_text("ValueError: could not convert string to float: '12,50'").wait_for()
    expect(inspector.get_by_role("tab", name="Error")).to_have_attribute("aria-selected", "true")
    code = inspector.get_by_role("group", name=re.compile("Code at"))
    marked = '12 failed here: price = float(row["price"])'
    wait_until(opened, lambda: " ".join(code.locator(".h").inner_text().split()), marked)
    diff = inspector.get_by_role("group", name=re.compile(r"against #\d+: rows\[317\].price"))
    expect(diff.locator(".add")).to_have_text(re.compile(r'"price": "12\.50" },\s*$'))
    expect(diff.locator(".del")).to_have_text(re.compile(r'"price": "12,50" },\s*$'))
    diff.get_by_role("button", name="317 equal objects").click()
    diff.get_by_text("… 267 more").wait_for()
    expect(diff.get_by_text('{"ean":"400630000","price":"12.50"}')).to_have_count(1)
    inspector.get_by_title(re.compile("Copy .*importer.py, line 12")).first.wait_for()


def test_the_tabs_have_counts_and_show_output_log_source_and_state(opened, events):
    inspector = choose(opened, events, "failed")
    inspector.get_by_role("tab", name="Output 1").click()
    expect(inspector.get_by_role("listitem")).to_contain_text("orders.count")
    inspector.get_by_role("tab", name="Log 1").click()
    inspector.get_by_text("rows of a.csv").wait_for()
    opened.keyboard.press("ArrowRight")
    source = inspector.get_by_role("group", name="Source of on_rows")
    expect(source.locator(".h")).to_have_text(re.compile(r'price = float\(row\["price"\]\)\s*$'))
    expect(source).to_contain_text('@worker.on_event("csvdrop.rows")')
    opened.keyboard.press("End")
    inspector.get_by_text("No change of its worker's state was seen").wait_for()


def test_a_large_payload_comes_whole_with_exact_numbers_and_is_searched(opened, events):
    inspector = choose(opened, events, "large")
    tree = inspector.get_by_role("tree", name=re.compile("Payload of"))
    tree.wait_for()
    expect(tree).to_contain_text("12345678901234567890")
    wait_until(opened, lambda: tree.get_by_role("treeitem").count() < 20, True)
    field = inspector.get_by_label("Search the payload")
    field.fill("12,50")
    inspector.get_by_text("1 of 1", exact=True).wait_for()
    expect(tree.locator(".at")).to_have_text(re.compile(r'^\s*"price": "12,50"'))
    inspector.get_by_text("rows[19999].price").wait_for()
    # Of 20,000 rows, those that can be seen.
    wait_until(opened, lambda: tree.get_by_role("treeitem").count() < 300, True)


def test_a_tree_is_used_by_keys_alone(opened, events):
    opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
    inspector = choose(opened, events, "failed")
    inspector.get_by_role("tab", name="Payload").click()
    tree = inspector.get_by_role("tree")
    tree.focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight"):
        opened.keyboard.press(key)
    expect(tree.locator(".at")).to_have_text(re.compile(r"^\s*0:"))
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("p")
    opened.get_by_text("Copied rows[0].ean").wait_for()
    clipboard_is(opened, "rows[0].ean")
    opened.keyboard.press("c")
    clipboard_is(opened, "400630000")
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("ArrowLeft")
    expect(tree.locator(".at")).to_have_attribute("aria-expanded", "false")


def test_two_events_are_compared_by_choosing_the_other(opened, events):
    inspector = choose(opened, events, "failed")
    inspector.get_by_role("tab", name="Payload").click()
    inspector.get_by_role("button", name="Compare with…").click()
    offered = inspector.get_by_role("group", name="Events of csvdrop.rows")
    offered.get_by_text(f"#{events['good']['seq']}", exact=True).wait_for()
    opened.keyboard.type(str(events["good"]["seq"]))
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    compared = inspector.get_by_role("region", name="Comparison")
    compared.get_by_text("differs at rows[317].price").wait_for()
    expect(compared.locator(".add")).to_have_count(1)
    compared.get_by_role("button", name="End the comparison").click()
    compared.wait_for(state="detached")


def test_a_chain_of_exceptions_stands_in_the_order_of_pythons_tracebacks(opened, events):
    inspector = choose(opened, events, "chained")
    inspector.get_by_text("The exception above caused this one:").wait_for()
    inspector.get_by_text(HOSTILE).first.wait_for()
    text = inspector.inner_text()
    assert text.index("KeyError: 'nothing'") < text.index("The exception above caused this one:")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_inspector(opened, events, axe, scheme):
    opened.emulate_media(color_scheme=scheme)
    inspector = choose(opened, events, "failed")
    inspector.get_by_role("tab", name="Error").wait_for()
    found = []
    for name in ("Error", "Payload", "Output", "Log", "Source", "State"):
        inspector.get_by_role("tab", name=name).click()
        inspector.get_by_role("tab", name=name, selected=True).wait_for()
        found += [f"{name}: {problem}" for problem in axe(opened, ".inspect")]
    assert found == []


def test_a_narrow_panel_has_the_code_below_the_error_and_a_link_to_its_place(opened, events):
    choose(opened, events, "failed")
    opened.set_viewport_size({"width": 420, "height": 800})
    opened.inspector.get_by_title(re.compile("Copy .*importer.py, line 12")).last.wait_for()
    opened.inspector.get_by_text(", which succeeded").wait_for()
    opened.wait_for_function("document.querySelector('.dn').scrollWidth <= 420")
