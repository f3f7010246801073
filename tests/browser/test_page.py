"""The page of `dnworker serve`, in a browser."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lab import running_serve
from playwright.sync_api import expect

from tests.browser.prefix_proxy import behind

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'

MANIFEST = f"""
schema: 1
name: shop
version: 1.2.0
description: {HOSTILE!r}
flags:
  beta:
    description: {HOSTILE!r}
    default: false
workers:
  till: {{path: till.py}}
  extra: {{path: extra.py, when: [beta]}}
"""
TILL = f"""
from dnworker import Worker

worker = Worker(name="till")


@worker.on_event("shop.sale")
async def on_sale(event, client):
    print({HOSTILE!r}, "\\x1b]8;;javascript:window.attacked=1\\x07sold\\x1b]8;;\\x07")
    if event.payload["price"] < 0:
        raise ValueError({HOSTILE!r})
    await client.publish("shop.<b>sold</b>", {{"html": {HOSTILE!r}}})
"""
EXTRA = "from dnworker import Worker\nworker = Worker(name='extra')\n"


@pytest.fixture
def shop(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    for name, text in (("capability.yaml", MANIFEST), ("till.py", TILL), ("extra.py", EXTRA)):
        (root / name).write_text(text)
    return root


@pytest.fixture
def served(shop, tmp_path):
    with running_serve(shop, home=tmp_path) as started:
        yield started


@pytest.fixture
def problems(page):
    """What the browser complains about: scripts that fail, and what the policy forbids."""
    found: list[str] = []
    page.on(
        "console",
        lambda message: found.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda exc: found.append(str(exc)))
    return found


@pytest.fixture
def opened(page, served, problems):
    """The page, opened as `dnworker panel` does."""
    page.goto(served.ticket_url())
    page.panel = page.locator(".dn")
    page.panel.get_by_text("1 running", exact=True).wait_for()
    return page


def fire(page, payload: str, kind: str = "shop.sale"):
    """Fire an event from the drawer, and show its run; returns that."""
    page.panel.get_by_role("button", name=re.compile("^Fire( event)?$")).click()
    drawer = page.panel.get_by_role("complementary", name="Fire event")
    drawer.get_by_role("combobox", name="Kind").fill(kind)
    page.keyboard.press("Tab")
    written = drawer.get_by_role("textbox", name="Payload")
    page.wait_for_function(
        "area => area.value !== '{}'", arg=written.element_handle()
    )  # a suggestion, or a draft
    written.fill(payload)
    drawer.get_by_role("button", name=f"Fire {kind}", exact=True).click()
    page.panel.get_by_text(re.compile(rf"Fired {re.escape(kind)} #\d+")).wait_for()
    page.panel.get_by_role("button", name="Show", exact=True).click()
    drawer.get_by_role("button", name="Close (Esc)").click()
    return page.panel.get_by_role("region", name=re.compile(r"^Run #\d+"))


def test_the_ticket_is_gone_from_the_address_and_opens_nothing_twice(opened, served, browser, problems):
    assert opened.url == f"{served.url}/panel"
    (cookie,) = opened.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert opened.evaluate("document.cookie") == ""
    assert opened.evaluate("localStorage.length + sessionStorage.length") == 0
    opened.reload()
    opened.panel.get_by_text("1 running", exact=True).wait_for()
    assert problems == []


def test_another_port_of_the_host_never_gets_the_cookie(opened):
    received: list[tuple[str, str | None]] = []

    class Neighbour(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append((self.path, self.headers["Cookie"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = opened.context.new_page()
        for path in ("/", "/panel", "/panel/session", "/panel/ws", "/panel/x/ws"):
            tab.goto(f"http://127.0.0.1:{server.server_port}{path}")
        server.shutdown()
    assert {path for path, _ in received} >= {"/", "/panel", "/panel/session", "/panel/ws"}
    assert {cookie for _, cookie in received} == {None}


def test_the_token_can_be_given_by_hand(page, served):
    page.goto(f"{served.url}/panel")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_text("that is not the runtime's token").wait_for()
    page.get_by_label("Token").fill(served.token_file.read_text().strip())
    page.keyboard.press("Enter")
    page.locator(".dn").get_by_text("1 running", exact=True).wait_for()


def test_the_panel_opens_and_acts_behind_a_proxy_that_takes_a_prefix_off(page, served, problems):
    with behind("/team/dnworker", served.url) as (url, proxy):
        page.goto(served.ticket_url().replace(served.url, url))
        page.panel = page.locator(".dn")
        page.panel.get_by_text("1 running", exact=True).wait_for()
        assert page.url == f"{url}/panel"
        (cookie,) = page.context.cookies()
        assert cookie["path"].startswith("/team/dnworker/panel/")
        fire(page, '{"price": 2}').wait_for()
        page.reload()
        page.panel.get_by_text("1 running", exact=True).wait_for()
        page.goto(f"{url}/")  # leads to the panel
        page.wait_for_url(f"{url}/panel")
        page.goto(f"{url}/panel/try")
        page.get_by_text("POST /api/events", exact=True).wait_for()
        assert proxy.strays == []
    assert problems == []


def test_a_session_is_told_to_tabs_of_the_same_runtime_alone(page, served):
    with behind("/one", served.url) as (url, _):
        page.goto(served.ticket_url().replace(served.url, url))
        page.locator(".dn").get_by_text("1 running", exact=True).wait_for()
        heard = page.context.new_page()
        heard.goto(f"{url}/panel")  # another tab of the same runtime is told where the session is
        heard.locator(".dn").get_by_text("1 running", exact=True).wait_for()
        heard.evaluate(
            """() => new Promise((done) => {
              const [own, other] = ["one", "two"].map((name) => new BroadcastChannel(`dnworker-panel/${name}`));
              window.told = [];
              other.addEventListener("message", (event) => window.told.push(event.data));
              let tabs = 2;  // each answers on its own channel, and would have answered on the other one before
              own.addEventListener("message", ({ data }) => {
                if (data.type === "home") tabs -= 1;
                if (!tabs) done();
              });
              other.postMessage({ type: "asks" });
              own.postMessage({ type: "asks" });
            })"""
        )
        assert heard.evaluate("window.told") == []


def test_nothing_that_anybody_says_is_markup(opened, problems, open_log):
    run = fire(opened, '{"price": 3, "note": "<b>x</b>"}')
    run.get_by_text("shop.<b>sold</b>").first.wait_for()
    run = fire(opened, '{"price": -1}')
    run.get_by_text("ValueError: <img src=x").first.wait_for()
    panel = opened.panel
    for name in ("Overview", "Runs", "Workers", "Map", "Capability"):
        panel.get_by_role("tab", name=name).click()
        view = panel.get_by_role("tabpanel", name=name.lower())
        if name == "Workers":
            view.get_by_role("row").filter(has_text="till").first.click()
        said = "shop.<b>sold</b>" if name == "Map" else "<img src=x"
        view.get_by_text(said).filter(visible=True).first.wait_for()
    log = open_log(panel)
    log.get_by_role("row").filter(has_text="<img src=x").first.locator(".tx").click()
    log.get_by_role("grid").press("Enter")
    log.locator(".whole").get_by_text("<img src=x").first.wait_for()
    assert opened.evaluate("window.attacked") is None
    expect(panel.locator(":is(script, iframe, a, img)")).to_have_count(0)
    expect(panel.locator("b:not(:empty)")).to_have_count(0)
    assert problems == []


def test_what_only_a_notebook_can_do_says_so(opened):
    fire(opened, '{"price": -1}').get_by_role("tab", name="Error").wait_for()
    opened.panel.get_by_role("tab", name="Overview").click()
    debug = opened.panel.get_by_role("button", name="Debug this event")
    expect(debug).to_have_attribute("aria-disabled", "true")
    expect(debug).to_have_attribute("title", re.compile("There is no notebook here"))


def test_a_flag_starts_the_worker_that_it_gates(opened):
    opened.panel.get_by_role("tab", name="Workers").click()
    extra = opened.panel.get_by_role("row").filter(has_text="extra")
    extra.get_by_text("Gated by beta").wait_for()
    opened.panel.get_by_role("tab", name="Capability").click()
    opened.panel.get_by_role("switch", name="Flag beta").press("Space")
    opened.panel.get_by_role("tab", name="Workers").click()
    extra.get_by_text("Gated by beta").wait_for(state="detached")
    extra.click()
    opened.panel.get_by_role("complementary", name="shop:extra").get_by_role(
        "img", name="running", exact=True
    ).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1500])
def test_axe_finds_nothing_serious_on_the_page(opened, axe, scheme, width):
    opened.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened.set_viewport_size({"width": width, "height": 900})
    found = axe(opened, "body")
    fire(opened, '{"price": -1}').get_by_role("tab", name="Error").wait_for()
    found += axe(opened, "body")
    assert found == []
    opened.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


# -- the view "Events" ---------------------------------------------------------------------------------


@pytest.fixture
def events(opened):
    """The view, once a sale was fired."""
    fire(opened, '{"price": 2}').wait_for()
    opened.panel.get_by_role("tab", name="Events").click()
    return opened.panel.get_by_role("region", name="Events", exact=True)


def test_a_kind_shows_who_hears_it_its_fields_and_examples_and_can_be_tried(opened, events, problems):
    events.get_by_role("option", name="shop.sale").click()
    entry = events.get_by_role("article", name="Kind shop.sale")
    expect(entry.get_by_role("region", name="Fields").get_by_role("row", name="price")).to_contain_text(
        "a number"
    )
    expect(entry.get_by_label("Payload of #").first).to_contain_text('"price": 2')
    entry.get_by_role("button", name="Try it").click()
    drawer = opened.panel.get_by_role("complementary", name="Fire event")
    expect(drawer.get_by_role("combobox", name="Kind")).to_have_value("shop.sale")
    assert problems == []


def test_typing_finds_kinds_and_arrows_choose_them(opened, events):
    events.get_by_label("Filter kinds").wait_for()
    opened.keyboard.press("/")
    opened.keyboard.type("SESSION")
    rows = events.get_by_role("option")
    expect(rows.first).to_contain_text("session.created")
    expect(events.get_by_role("option", name="shop.sale")).to_have_count(0)
    rows.first.click()
    opened.keyboard.press("ArrowDown")
    expect(events.get_by_role("article", name="Kind session.deleted")).to_be_visible()


def test_on_a_narrow_panel_a_kind_takes_the_place_of_the_list_until_escape(opened, events):
    events.get_by_role("article").wait_for()
    opened.set_viewport_size({"width": 420, "height": 800})
    events.get_by_role("button", name="Back to the kinds").click()
    events.get_by_role("option", name="shop.sale").click()
    expect(events.get_by_role("article", name="Kind shop.sale")).to_be_visible()
    expect(events.get_by_role("option")).to_have_count(0)
    events.get_by_role("button", name="Back to the kinds").press("Escape")
    expect(events.get_by_role("option", name="shop.sale")).to_be_visible()
