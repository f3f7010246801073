"""The panel's page: who may look, and what a page may do."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from http.cookies import SimpleCookie

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dnworker import Runtime
from dnworker.panel import assets
from dnworker.server import page


@pytest.fixture
async def served(tmp_path):
    async with Runtime(token="the-token", token_file=tmp_path / "token") as runtime:
        yield runtime


@pytest.fixture
async def browser(served):
    async with httpx.AsyncClient(base_url=served.url) as client:
        yield client


def home(browser):
    """The path of the browser's session, from its cookie."""
    return next((cookie.path for cookie in browser.cookies.jar), "/panel/none")


def socket(served, browser, **headers):
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    address = served.url.replace("http", "ws") + home(browser) + "/ws"
    return connect(address, origin=served.url, additional_headers={"Cookie": cookies, **headers}, proxy=None)


async def snapshot(link):
    await link.send(json.dumps({"type": "hello", "view": "v", "parts": ["log"]}))
    return json.loads(await link.recv())


async def test_the_page_and_its_files_need_no_token_and_forbid_everything_from_elsewhere(browser):
    for path, kind in (
        ("/panel", "text/html"),
        ("/panel/panel.js", "text/javascript"),
        ("/panel/panel.css", "text/css"),
        ("/panel/page.js", "text/javascript"),
        ("/panel/try", "text/html"),
        ("/panel/try.css", "text/css"),
        ("/panel/try.js", "text/javascript"),
    ):
        answer = await browser.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert (await browser.get("/")).headers["location"] == "panel"


async def test_the_files_are_joined_on_a_thread_while_the_loop_turns(browser, monkeypatch):
    threads, real = [], assets.module
    monkeypatch.setattr(assets, "module", lambda: threads.append(threading.get_ident()) or real())
    assert (await browser.get("/panel/panel.js")).status_code == 200
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("name", ["page.html", "try.html"])
def test_the_page_has_no_inline_script_or_style_and_nothing_from_outside(name):
    html = (assets.STATIC / name).read_text()
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|<style", html)
    ours = "".join(file.read_text() for file in assets.STATIC.rglob("*.js") if file.parent.name != "vendor")
    every = html + ours + assets.style()
    assert set(re.findall(r"https?://[\w.]+", assets.module())) <= {"http://www.w3.org"}
    assert set(re.findall(r"https?://[\w.]+", every)) <= {"http://www.w3.org"}  # the name of SVG
    assert not re.search(
        r"innerHTML|dangerouslySetInnerHTML|insertAdjacentHTML|outerHTML|document\.write|eval\(|@import|url\(",
        every,
    )


async def test_a_token_is_exchanged_for_a_cookie_that_no_script_and_no_other_site_can_use(served, browser):
    assert (await browser.get("/panel/none/session")).json() == {"ok": False}
    answer = await browser.post("/panel/session", json={"token": "the-token"})
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (cookie["httponly"], cookie["samesite"]) == (True, "strict")
    assert "the-token" not in answer.headers["set-cookie"]
    assert answer.json() == {"ok": True, "path": cookie["path"]}
    assert (await browser.get(f"{cookie['path']}/session")).json() == {"ok": True}


async def test_the_cookie_is_sent_to_no_path_that_another_port_of_the_host_can_guess(served, browser):
    paths = []
    for _ in range(2):
        answer = await browser.post("/panel/session", json={"token": "the-token"})
        paths.append(answer.json()["path"])
        assert re.fullmatch(r"/panel/[\w-]{43}", paths[-1])
    assert paths[0] != paths[1]
    ((name, value),) = {(c.name, c.value) for c in browser.cookies.jar if c.path == paths[0]}
    async with httpx.AsyncClient() as other:
        sent = {"Cookie": f"{name}={value}"}
        for path, opens in ((paths[0], True), (paths[1], False), ("/panel/x", False)):
            answer = await other.get(f"{served.url}{path}/session", headers=sent)
            assert answer.json() == {"ok": opens}
    for public in ("/", "/panel", "/panel/page.js", "/api/health", "/openapi.json"):
        shown = (await browser.get(public)).text
        assert not any(path in shown for path in paths)


async def test_the_cookie_opens_the_panel_and_nothing_of_the_api(served, browser):
    await browser.post("/panel/session", json={"token": "the-token"})
    assert (await browser.get("/api/runtime/info")).status_code == 401
    async with socket(served, browser) as link:
        told = await snapshot(link)
    assert told["runtime"]["id"] == served.runtime_id


@pytest.mark.parametrize(
    "given", [{"token": "wrong"}, {"token": None}, {}, {"token": ["the-token"]}, {"ticket": "none"}]
)
async def test_a_wrong_token_gets_no_cookie(browser, given):
    answer = await browser.post("/panel/session", json=given)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_a_workers_token_opens_no_panel(served, browser):
    answer = await browser.post("/panel/session", json={"token": served.tokens.mint("cap:w")})
    assert answer.status_code == 401


async def test_a_ticket_opens_the_panel_once(served, browser):
    ticket = served.tokens.issue_ticket("the-token")
    assert (await browser.post("/panel/session", json={"ticket": ticket})).status_code == 200
    again = await browser.post("/panel/session", json={"ticket": ticket})
    assert (again.status_code, "was used" in again.json()["detail"]) == (401, True)


@pytest.mark.parametrize(("body", "status"), [(b"{", 422), (b"[1]", 422), (b"x" * 20_000, 413)])
async def test_what_is_no_json_is_no_login(browser, body, status):
    answer = await browser.post("/panel/session", data={"token": "the-token"})
    assert answer.status_code == 415
    answer = await browser.post("/panel/session", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status


async def test_cookies_of_others_hide_ours_not(served, browser):
    await browser.post("/panel/session", json={"token": "the-token"})
    ((name, value),) = browser.cookies.items()
    odd = f'flag; prefs={{"a":1}}; {name}={value}; other'
    async with httpx.AsyncClient() as other:
        answer = await other.get(f"{served.url}{home(browser)}/session", headers={"Cookie": odd})
    assert answer.json() == {"ok": True}


async def test_a_page_of_another_site_is_refused(served, browser):
    headers = {"Origin": "http://evil.example"}
    assert (
        await browser.post("/panel/session", json={"token": "the-token"}, headers=headers)
    ).status_code == 403
    await browser.post("/panel/session", json={"token": "the-token"})
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with pytest.raises(InvalidStatus):
        async with connect(
            served.url.replace("http", "ws") + home(browser) + "/ws",
            origin="http://evil.example",
            additional_headers={"Cookie": cookies},
            proxy=None,
        ):
            pass


async def test_a_socket_without_a_session_is_refused(served, browser):
    with pytest.raises(InvalidStatus):
        async with socket(served, browser):
            pass


async def test_a_session_ends_with_the_token_it_was_opened_with(served, browser, tmp_path):
    await browser.post("/panel/session", json={"token": "the-token"})
    async with socket(served, browser) as link:
        await snapshot(link)
        (tmp_path / "token").write_text("another-token\n")  # and nobody asks for anything
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await link.recv()
    assert closed.value.rcvd.code == 4402
    assert (await browser.get(f"{home(browser)}/session")).json() == {"ok": False}


async def test_a_browser_that_reads_nothing_is_cut_off_and_may_come_back(served, browser, monkeypatch):
    monkeypatch.setattr(page, "UNSENT_KEPT", 1)
    await browser.post("/panel/session", json={"token": "the-token"})
    async with socket(served, browser) as link:
        for n in range(50):
            await link.send(json.dumps({"type": "hello", "view": f"v{n}"}))
            await link.send(
                json.dumps({"type": "suggest", "view": f"v{n}", "id": 1, "kind": "turn.completed"})
            )
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await link.recv()
    assert closed.value.rcvd.code == 1013
    assert not served.feed.views
    async with socket(served, browser) as link:
        assert (await snapshot(link))["type"] == "snapshot"


async def test_what_is_no_message_ends_the_socket_and_nothing_else(served, browser):
    await browser.post("/panel/session", json={"token": "the-token"})
    for said in ("{", b"\x00\x01"):
        async with socket(served, browser) as link:
            await link.send(said)
            with pytest.raises(ConnectionClosed):
                await link.recv()
    async with socket(served, browser) as link:
        assert (await snapshot(link))["type"] == "snapshot"


async def test_a_closed_page_leaves_no_view(served, browser):
    await browser.post("/panel/session", json={"token": "the-token"})
    async with socket(served, browser) as link:
        await snapshot(link)
        assert len(served.feed.views) == 1
    async with asyncio.timeout(60):
        while served.feed.views:
            await asyncio.sleep(0)
    assert not served.feed.is_listening


async def test_two_runtimes_of_one_machine_have_cookies_of_two_names(served, browser):
    async with Runtime(token="other") as other, httpx.AsyncClient(base_url=other.url) as second:
        await browser.post("/panel/session", json={"token": "the-token"})
        await second.post("/panel/session", json={"token": "other"})
    assert set(browser.cookies) != set(second.cookies)


# -- behind a proxy that takes a prefix off ---------------------------------------------------------------


async def test_no_link_of_the_page_and_no_redirect_leaves_the_prefix_of_a_proxy(browser):
    for path in ("/panel", "/panel/try"):
        text = (await browser.get(path)).text
        assert re.findall(r"(?:href|src)=\"(?!data:)([^\"]*)\"", text)
        assert not re.findall(r"(?:href|src)=\"(/[^\"]*)\"", text)
    for path in ("/panel/page.js", "/panel/try.js"):
        text = (await browser.get(path)).text
        assert not re.findall(r"fetch\(\s*[\"'`]/", text)
    answer = await browser.get("/")
    assert answer.headers["location"] == "panel"


@pytest.mark.parametrize("base", ["", "/dnworker", "/user/ada%20b/proxy/8787"])
async def test_the_cookie_is_of_the_path_that_the_browser_sees(browser, base):
    answer = await browser.post("/panel/session", json={"token": "the-token", "base": base})
    path = answer.json()["path"]
    assert re.fullmatch(re.escape(base) + r"/panel/[\w-]{20,}", path)
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert cookie["path"] == path
    stripped = path.removeprefix(base)
    own = {"Cookie": f"{cookie.key}={cookie.value}"}
    assert (await browser.get(f"{stripped}/session", headers=own)).json() == {"ok": True}


@pytest.mark.parametrize(
    "base",
    ["dnworker", "/a; Domain=evil", "/a\r\nSet-Cookie: x=1", "//evil", "/..", "/a/./b", "/" + "a" * 500, 1],
)
async def test_what_is_no_path_of_a_proxy_gets_no_session(browser, base):
    answer = await browser.post("/panel/session", json={"token": "the-token", "base": base})
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers
