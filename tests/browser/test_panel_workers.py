"""The view of the workers, used by keys and pointer: scenes that are written down, a real runtime, a notebook."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lab import has_run, open_notebook, run_all, running_serve
from playwright.sync_api import expect

from .conftest import CELLS, wait_until, write_notebook
from .scene import NOW_MS, show

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = "<img src=x onerror='window.attacked=1'>"


def row(name: str, **fields: Any) -> dict[str, Any]:
    """Return a worker as the kernel sends it."""
    return {
        "name": name,
        "state": "running",
        "topology": "in-process",
        "inProcess": True,
        "generation": 1,
        "restarts": 0,
        "error": None,
        "gate": {},
        "disabled": {"start": "it is running"},
    } | fields


def failing(name: str, failed: int, **fields: Any) -> dict[str, Any]:
    return row(name, failing=1, spark={"end": NOW_MS // 1000, "calls": [52], "failed": [failed]}, **fields)


WORKERS = [
    row("calm:one", nextRun=NOW_MS + 180_000),
    row("calm:two", state="gated_off", gate={"mail": False}, disabled={"start": "gated off; turn on mail"}),
    row("calm:three", topology="subprocess (uv)", backlog=188, inFlight=3, p95=38.2),
    failing("csvdrop:importer", 41, topology="subprocess (python3)", generation=7),
    row("csvdrop:parser", state="stopped", disabled={"stop": "it is stopped"}),
]


def detail(worker: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return what the drawer of a worker is sent."""
    handler = {
        "key": ["on_event", "csvdrop.rows", "on_rows"],
        "calls": 2104,
        "errors": 41,
        "warnings": 0,
        "failing": True,
        "inFlight": 0,
        "missed": 0,
        "quantiles": [19.4, 38.2, 96.0],
        "nextRun": None,
        "origin": "cell [9]",
        "stale": None,
        "error": {
            "text": "ValueError: no price",
            "location": "cell [9], line 14",
            "source": "x",
            "event": "e1",
        },
        "runs": [],
    }
    schedule = handler | {
        "key": ["every", "10m", "sweep"],
        "errors": 0,
        "missed": 2,
        "error": None,
        "nextRun": NOW_MS + 180_500,
        "runs": [[NOW_MS - 60_000, 88.0, "ok"], [NOW_MS - 30_000, 1020.0, "error"]],
    }
    return (
        worker
        | {
            "since": NOW_MS - 300_000,
            "process": {"pid": 4182, "command": "python importer.py", "restartIn": None},
            "silent": None,
            "handlers": [handler, schedule],
            "allHandlers": 2,
            "failure": {
                "handler": "on_rows",
                "calls": 52,
                "failed": 41,
                "generation": 7,
                "text": "ValueError: no price",
                "place": "cell [9], line 14",
                "event": "e1",
                "seq": 4812,
            },
            "log": [{"number": 1, "at": NOW_MS, "level": "info", "event": None, "text": HOSTILE}],
        }
        | fields
    )


def life(worker: str) -> dict[str, Any]:
    steps = [("loading", 300, "Cell [9] ran again: generation 7"), ("starting", 299.9, None)]
    steps += [("running", 299.6, "Started in 410 ms")]
    return {
        "worker": worker,
        "steps": [{"state": s, "at": NOW_MS - ago * 1000, "reason": why} for s, ago, why in steps],
        "failures": [[NOW_MS - 60_000, 3]],
        "failureStep": 15_000,
        "generations": [
            {"number": n, "at": NOW_MS - (8 - n) * 300_000, "why": f"Cell [9] ran ({n})"} for n in (5, 6, 7)
        ],
        "present": 7,
        "previous": 6,
        "env": [["API_KEY", "***", "declared"], ["URL", "${URL}", "declared"]],
    }


CODE = {
    "worker": "csvdrop:importer",
    "from": 6,
    "to": 7,
    "why": None,
    "sections": [
        {
            "name": "cell [9]",
            "why": None,
            "cut": 0,
            "lines": [[" ", "for row in rows:"], ["-", "    old(row)"], ["+", f"    new({HOSTILE!r})"]],
        }
    ],
}
STATE = {
    "worker": "csvdrop:importer",
    "why": None,
    "tree": {
        "key": "",
        "type": "dict",
        "children": [
            {
                "key": "users",
                "type": "dict",
                "size": "1 item",
                "children": [{"key": HOSTILE, "type": "str", "value": "'x'"}],
            },
            {"key": "count", "type": "int", "value": "400"},
        ],
    },
}


def parts(workers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "workers": {"order": [one["name"] for one in workers], "changed": workers},
        "runtime": {"id": "rt", "url": None, "events": 1, "name": "acme-ops"},
        "attention": {"prompts": 0},
        "clock": {"virtual": False, "now": None},
        "paused": None,
    }


def scene(workers: list[dict[str, Any]] = WORKERS, **answers: Any) -> dict[str, Any]:
    importer = next((one for one in workers if one["name"] == "csvdrop:importer"), WORKERS[3])
    looks = {"worker": detail(importer), "life": life("csvdrop:importer"), "code": CODE, "state": STATE}
    return {"parts": parts(workers), "looks": looks, "answers": answers}


def open_view(
    page, what: dict[str, Any], width: int = 1500, *, dark: bool = False, height: int = 900
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    show(page, what, dark=dark)
    page.get_by_role("tab", name="Workers").click()
    page.get_by_role("region", name="Workers").wait_for()


def update(page, **found: Any) -> None:
    """Have the kernel send parts."""
    page.evaluate("found => window.model.update(window.model.sent[0].view, found)", found)


def names(page) -> list[str]:
    """Return what stands in the first column, from top to bottom."""
    found = page.evaluate(
        """() => [...document.querySelectorAll(".w-body [role=row]")]
          .map((one) => [one.getBoundingClientRect().y, one.querySelector("bdi").innerText])"""
    )
    return [text for _, text in sorted(found)]


def names_are(page, wanted: list[str]) -> None:
    """Wait until these stand there: rows are drawn, and moved, in a later frame."""
    wait_until(page, lambda: names(page), wanted)


def sent(page, type_: str) -> list[dict[str, Any]]:
    return page.evaluate("type => window.model.sent.filter((one) => one.type === type)", type_)


def test_groups_that_fail_come_first_and_each_row_says_how_the_worker_does(page):
    open_view(page, scene())
    names_are(page, ["csvdrop", "importer", "parser", "calm", "one", "two", "three"])
    importer = page.get_by_role("row", name="importer")
    wait_until(page, lambda: " ".join(importer.inner_text().split()), "importer Python 52/min 41")
    expect(importer.get_by_role("img", name="52 calls in 15 minutes, 41 failed")).to_have_count(1)
    expect(page.get_by_role("row", name="two")).to_contain_text("Gated by mail")
    expect(page.get_by_role("row", name="three").locator(".c-backlog.warn")).to_have_text("188")
    expect(page.get_by_role("row", name="one").locator(".c-next")).to_have_text("3 min")
    expect(page.locator(".w-body [role=row]").first).to_have_js_property("offsetHeight", 28)
    expect(importer).to_have_js_property("offsetHeight", 32)


def test_the_list_is_used_by_keys_alone_and_the_drawer_gives_the_focus_back(page):
    open_view(page, scene())
    grid = page.get_by_role("grid", name="Workers")
    page.get_by_role("tab", name="Workers").press("/")
    field = page.get_by_label("Filter 5 workers")
    field.type("importer")
    names_are(page, ["csvdrop", "importer"])
    field.press("Escape")
    wait_until(page, lambda: len(names(page)), 7)
    field.press("ArrowDown")
    grid.press("ArrowLeft")  # folds the group of the first row
    names_are(page, ["csvdrop", "calm", "one", "two", "three"])
    grid.press("ArrowRight")
    grid.press("j")
    chosen = page.locator("[data-id='w csvdrop:importer']")
    expect(grid).to_have_attribute("aria-activedescendant", chosen.get_attribute("id"))
    grid.press("Enter")
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    drawer.get_by_role("button", name="Restart").focus()
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")
    page.wait_for_function("document.activeElement.getAttribute('role') === 'grid'")
    grid.press("Enter")
    drawer.wait_for()
    grid.press("Escape")
    drawer.wait_for(state="detached")
    grid.press("ArrowLeft")  # from a worker to its group, which folds
    names_are(page, ["csvdrop", "calm", "one", "two", "three"])


def test_the_order_stands_still_under_the_pointer_and_the_focus_and_moves_on_after(page):
    open_view(page, scene())
    page.get_by_role("row", name="three").hover()
    worse = failing("calm:two", 52)
    update(
        page,
        workers={
            "order": [*[one["name"] for one in WORKERS], "calm:new"],
            "changed": [worse, row("calm:new")],
        },
    )
    page.get_by_role("row", name="new").wait_for()
    names_are(page, ["csvdrop", "importer", "parser", "calm", "one", "two", "three", "new"])
    page.get_by_role("tab", name="Workers").hover()
    page.wait_for_function("document.querySelector('.w-body [role=row] bdi').textContent === 'calm'")
    page.get_by_role("grid", name="Workers").focus()
    update(page, workers={"order": [one["name"] for one in WORKERS], "changed": WORKERS})
    page.get_by_role("row", name="new").wait_for(state="detached")
    wait_until(page, lambda: names(page)[:1], ["calm"])


def test_segments_columns_and_groups_choose_and_sort(page):
    open_view(page, scene())
    choice = page.get_by_role("radiogroup", name="Which workers")
    wait_until(page, lambda: " ".join(choice.inner_text().split()), "All 5 Failing 1 Running 3 Off 2")
    choice.get_by_role("radio", name="Off 2").click()
    names_are(page, ["calm", "two", "csvdrop", "parser"])
    choice.get_by_role("radio", name="All 5").click()
    page.get_by_role("button", name="By capability").click()
    page.get_by_role("columnheader", name="Backlog").get_by_role("button").press("Enter")
    wait_until(page, lambda: names(page)[:1], ["calm:three"])
    expect(page.get_by_role("columnheader", name="Backlog")).to_have_attribute("aria-sort", "descending")


def test_the_drawer_says_what_fails_since_when_and_why_it_runs(page):
    open_view(page, scene())
    page.get_by_role("row", name="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    expect(drawer).to_have_js_property("offsetWidth", 596)
    drawer.get_by_text("Running for 5 min, Python process 4182, generation 7, no restarts").wait_for()
    drawer.get_by_text("41 of 52 calls of on_rows failed since generation 7").wait_for()
    picture = drawer.get_by_role("img", name=re.compile("Lifecycle over the last 30 minutes: running now"))
    states = ["Loading", "Starting", "Running", "Stopping", "Stopped", "Error", "Gated off"]
    wait_until(page, lambda: picture.locator("text").all_text_contents()[:7], states)
    expect(picture.locator(".w-tick")).to_have_count(1)
    why = drawer.get_by_role("list", name="Why, the newest first").get_by_role("listitem")
    expect(why).to_have_text(
        [re.compile(r"Started in 410 ms\s*$"), re.compile(r"Cell \[9\] ran again: generation 7\s*$")]
    )
    drawer.get_by_role("button", name="Show the state machine").click()
    machine = drawer.get_by_role("img", name=re.compile("State machine: running"))
    expect(machine.locator("line.taken")).to_have_count(2)
    drawer.get_by_role("button", name="sweep").click()
    expect(drawer).to_contain_text("2 missed")
    runs = drawer.get_by_role("list", name="Last runs").get_by_role("listitem")
    wait_until(
        page,
        lambda: [" ".join(one.split()[1:]) for one in runs.all_inner_texts()],
        ["Failed 1.02 s 30 s ago", "Succeeded 88.0 ms 1 min ago"],
    )
    drawer.get_by_role("button", name="Run now").click()
    wait_until(page, lambda: [one["key"] for one in sent(page, "run")], [["every", "10m", "sweep"]])
    expect(drawer.locator(".w-env div", has_text="API_KEY")).to_have_text("API_KEY•••capability.yaml")
    drawer.get_by_role("button", name="Show run #4812").click()
    expect(page.get_by_role("tab", name="Runs")).to_have_attribute("aria-selected", "true")


def test_a_rollback_can_be_undone_and_goes_to_any_generation(page):
    open_view(page, scene(control={"state": "running", "error": None, "before": 7, "generation": 8}))
    page.get_by_role("row", name="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    code = drawer.get_by_role("group", name="Code of cell [9]")
    expect(code.locator(".del")).to_have_text(re.compile(r"old\(row\)\s*$"))
    drawer.get_by_role("button", name="Roll back to 6").click()
    page.get_by_role("status").get_by_text("importer has the handlers of generation 6 again").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("window.model.sent.filter((one) => one.type === 'control').length === 2")
    assert [one["generation"] for one in sent(page, "control")] == [6, 7]
    drawer.get_by_role("radio", name="5", exact=True).click()
    page.wait_for_function("window.model.sent.at(-1).wanted?.to === 5")
    drawer.get_by_role("button", name="Roll back to 5").click()
    page.wait_for_function("window.model.sent.filter((one) => one.type === 'control').length === 3")
    assert sent(page, "control")[-1]["generation"] == 5


def test_what_cannot_be_done_says_why_and_does_nothing(page):
    what = scene()
    what["looks"]["worker"] = detail(WORKERS[3], disabled={"stop": "it is stopping", "rollback": "a reason"})
    open_view(page, what)
    page.get_by_role("row", name="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    for name, why in (("Stop", "it is stopping"), ("Roll back to 6", "a reason")):
        button = drawer.get_by_role("button", name=name, disabled=True)
        button.and_(page.locator(f'[title="{why}"]')).click(force=True)
    drawer.get_by_role("button", name="Show the state machine").click()
    drawer.get_by_role("img", name=re.compile("State machine")).wait_for()  # so the clicks were taken, too
    assert sent(page, "control") == []


def test_a_worker_that_reports_nothing_is_said_to_run_without_reporting(page):
    what = scene()
    what["looks"]["worker"] = detail(
        WORKERS[3],
        silent="node reports nothing",
        handlers=[],
        allHandlers=0,
        failure=None,
        topology="subprocess (node)",
    )
    open_view(page, what)
    page.get_by_role("row", name="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    drawer.get_by_text("It runs without reporting").wait_for()
    expect(drawer).to_contain_text("Node process 4182, generation 7, no restarts, runs without reporting")
    expect(drawer).to_contain_text(
        "It runs without reporting: node reports nothing. Its events and its output are known"
    )


def test_a_worker_that_is_removed_while_its_drawer_is_open_leaves_a_sentence_and_the_list(page):
    open_view(page, scene())
    page.get_by_role("row", name="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    drawer.get_by_text("41 of 52 calls").wait_for()
    left = [one["name"] for one in WORKERS if one["name"] != "csvdrop:importer"]
    gone = {"name": "csvdrop:importer", "gone": True}
    update(
        page, workers={"order": left, "changed": []}, worker=gone, life={"worker": gone["name"], "gone": True}
    )
    drawer.get_by_text("This worker is gone").wait_for()
    drawer.get_by_role("button", name="Close").click()
    names_are(page, ["calm", "one", "two", "three", "csvdrop", "parser"])


def test_the_state_unfolds_stays_so_and_says_by_how_much_a_number_changed(page):
    open_view(page, scene())
    page.get_by_role("row", name="importer").click()
    state = page.get_by_role("region", name="State")
    state.get_by_role("button", name="users").click()
    state.get_by_text(HOSTILE).wait_for()
    users, count = STATE["tree"]["children"]
    update(page, state=STATE | {"tree": STATE["tree"] | {"children": [users, count | {"value": "450"}]}})
    state.get_by_text("+50, now").wait_for()
    expect(state.get_by_text(HOSTILE)).to_be_visible()


def test_nothing_that_anybody_says_is_markup_and_names_of_any_length_stay_in_their_place(page):
    long, rtl = f"cap:{'w' * 200}", "مرحبا:عامل"
    workers = [*WORKERS, row(long), row(rtl), row(f"{HOSTILE}:🦊", state="error", error=HOSTILE, failing=1)]
    open_view(page, scene(workers), 1000)
    page.get_by_role("row", name="importer").click()
    page.get_by_role("complementary").get_by_text(HOSTILE).first.wait_for()
    assert page.evaluate("window.attacked") is None
    expect(page.locator(".dn :is(img:not([role]), script)")).to_have_count(0)
    page.wait_for_function(
        "document.querySelector('.w-list').scrollWidth <= document.querySelector('.w-list').clientWidth"
    )


def test_a_thousand_workers_are_drawn_as_the_rows_that_can_be_seen(page):
    spark = {"end": NOW_MS // 1000, "calls": [5] * 60}
    many = [row(f"c{n // 50}:w{n}", spark=spark, p95=3.2, calls=300) for n in range(1000)]
    open_view(page, scene(many))
    grid = page.get_by_role("grid", name="Workers")
    expect(grid).to_have_attribute("aria-rowcount", "1021")
    page.wait_for_function("(n => n > 0 && n < 60)(document.querySelectorAll('.w-body [role=row]').length)")
    grid.focus()
    grid.press("End")
    page.get_by_role("row", name="w999").wait_for()
    page.evaluate(
        """() => {
          window.touched = new Set();
          new MutationObserver((all) => {
            for (const one of all) {
              const node = one.target.nodeType === 1 ? one.target : one.target.parentElement;
              window.touched.add(node.closest("[data-id]")?.dataset.id ?? "other");
            }
          }).observe(document.querySelector(".w-body"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    changed = [one | {"p95": 77.0} for one in (many[0], many[998])]
    update(page, workers={"order": [one["name"] for one in many], "changed": changed})
    page.get_by_text("77.0 ms").wait_for()
    assert page.evaluate("[...window.touched]") == ["w c19:w998"]


def test_a_narrow_panel_is_a_list_then_one_worker_with_the_way_back(page):
    open_view(page, scene(), 420, height=800)
    page.get_by_role("option").filter(has_text="importer").click()
    drawer = page.get_by_role("complementary", name="csvdrop:importer")
    drawer.get_by_text("41 of 52 calls").wait_for()
    expect(drawer).to_have_js_property("offsetWidth", 420)
    drawer.get_by_role("button", name="Next").click()
    page.get_by_role("complementary", name="csvdrop:parser").wait_for()
    page.get_by_role("button", name="Back").click()
    page.get_by_role("option").filter(has_text="parser").wait_for()
    page.wait_for_function("document.documentElement.scrollWidth <= 420")


def test_without_workers_it_says_how_there_come_to_be_some(page):
    open_view(page, scene([]))
    page.get_by_text("No workers yet").wait_for()
    expect(page.get_by_role("radiogroup", name="Which workers")).to_have_count(0)


@pytest.mark.parametrize(("width", "dark"), [(1500, False), (1500, True), (1000, False), (420, False)])
def test_axe_finds_nothing_serious_in_the_list_and_the_drawer(page, axe, width, dark):
    open_view(page, scene(), width, dark=dark)
    found = axe(page, ".w-view")
    page.locator("[role=row], [role=option]").filter(has_text="importer").first.click()
    page.get_by_role("button", name="sweep").click()
    page.get_by_role("button", name="Show the state machine").click()
    assert found + axe(page, ".w-view") == []


# -- a real runtime ----------------------------------------------------------------------------------------

TILL = """
from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    worker.state["sold"] = worker.state.get("sold", 0) + 1
    if event.payload["price"] < 0:
        raise ValueError("below zero")
"""


def test_the_page_of_serve_shows_real_calls_a_restart_by_hand_and_what_changed_in_the_file(page, tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    (root / "capability.yaml").write_text(
        "schema: 1\nname: shop\nversion: 1.0.0\ndescription: d\nworkers:\n  till: {path: till.py}\n"
    )
    (root / "till.py").write_text(TILL)
    with running_serve(root, home=tmp_path) as served:
        page.set_viewport_size({"width": 1500, "height": 900})
        page.goto(served.ticket_url())
        page.get_by_role("tab", name="Workers").click()
        page.get_by_role("row", name="till").click()
        drawer = page.get_by_role("complementary", name="shop:till")
        drawer.get_by_text("Started in").wait_for()
        for price in (3, -1):
            page.evaluate(
                """price => {
                  const { link } = document.getElementById("panel").dnwPanel;
                  return link.request("fire", { type: "fire", kind: "shop.sale", payload: JSON.stringify({ price }) });
                }""",
                price,
            )
        drawer.get_by_text(re.compile(r"1 of 2 calls of on_sale failed since it started")).wait_for()
        expect(drawer.get_by_role("region", name="Newest lines")).to_contain_text("below zero")
        drawer.get_by_role("region", name="State").get_by_text("2", exact=True).wait_for()
        (root / "till.py").write_text(TILL.replace("below zero", "less than nothing"))
        drawer.get_by_role("button", name="Restart").click()
        page.get_by_role("status").get_by_text("till is running again").wait_for()
        drawer.get_by_text("Restart by hand").wait_for()
        added = drawer.get_by_role("group", name="Code of till.py").locator(".add")
        expect(added).to_contain_text("less than nothing")


def test_in_a_notebook_a_worker_is_rolled_back_and_forth_and_a_panel_shows_it_alone(page, lab):
    second = "%%worker bridge\n@worker.on_event('demo.more')\nasync def on_more(event, client): pass"
    write_notebook(lab.directory / "workers.ipynb", [*CELLS[:-1], second, "%panel bridge"])
    open_notebook(page, lab, "workers.ipynb")
    run_all(page)
    panel = page.locator(".dn")
    panel.scroll_into_view_if_needed()
    drawer = panel.get_by_role("complementary", name="demo:bridge")
    drawer.get_by_text(re.compile("generation 2, no restarts, from")).wait_for()
    expect(panel.get_by_role("grid")).to_have_count(0)
    expect(drawer.get_by_role("button", name="Close")).to_have_count(0)
    drawer.get_by_text(re.compile(r"Cell \[7\] ran: generation 2")).wait_for()
    drawer.get_by_role("region", name="Generations").locator(".add", has_text="on_more").wait_for()
    drawer.get_by_role("button", name="Roll back to 1").click()
    drawer.get_by_text("generation 3, no restarts").wait_for()
    expect(drawer.get_by_role("button", name="on_more")).to_have_count(0)
    panel.get_by_role("button", name="Undo").click()
    drawer.get_by_text("generation 4, no restarts").wait_for()
    drawer.get_by_role("button", name="on_more").wait_for()
    drawer.get_by_role("button", name="on_order").click()
    drawer.get_by_role("button", name="Go to cell [3], line 5").click()
    page.wait_for_function("document.activeElement.closest('.jp-Cell')?.textContent.includes('total = sum')")
    has_run(page.locator(".jp-CodeCell").first).wait_for()
