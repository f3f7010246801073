"""What an attachment looks like: red in every view where it is live, calm in shadow, both sides in a cell's output."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from lab import open_notebook, run_all
from playwright.sync_api import expect

from dnworker import Runtime, Worker
from dnworker.attach.attaching import attach

from .conftest import run_below, write_notebook
from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TOKEN = "s3cret-of-the-deployed"
RED = "rgb(179, 22, 31)"
DEPLOYED_AT_10 = 30


class Deployed:
    """A runtime with a worker that sets prices, and one that is attached to it, on a thread of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._open = AsyncExitStack()

    def start(self) -> None:
        self._thread.start()
        self.do(self._start())

    async def _start(self) -> None:
        self.remote = await self._open.enter_async_context(Runtime(port=0, token=TOKEN))
        await self.remote.add(self._pricer(0))
        self.own = await self._open.enter_async_context(Runtime(port=0, token="own"))
        await self.own.add(self._pricer(1))

    def _pricer(self, discount: int) -> Worker:
        worker = Worker("pricer")

        @worker.on_event("order.placed")
        async def on_placed(event, client):
            total = event.payload["qty"] * 3
            less = discount if event.payload["qty"] >= 10 else 0
            await client.publish("order.priced", {"total": total - less})

        return worker

    def place(self, *quantities: int) -> None:
        for qty in quantities:
            self.do(self.remote.fire("order.placed", {"qty": qty}))

    def attach(self, *, live: bool) -> None:
        async def begin():
            self.attachment = await attach(self.own, self.remote.url, token=TOKEN, live=live)
            async with asyncio.timeout(60):
                while self.attachment.state != "following":
                    await asyncio.sleep(0.01)

        self.do(begin())

    def do(self, coro: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(60)

    def address(self) -> str:
        headers = {"Authorization": "Bearer own"}
        answer = httpx.post(f"{self.own.url}/api/ws/ticket", headers=headers, trust_env=False)
        return f"{self.own.url}/panel#ticket={answer.json()['ticket']}"

    def close(self) -> None:
        try:
            self.do(self._open.aclose())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(60)
            self.loop.close()


@pytest.fixture
def deployed():
    made = Deployed()
    made.start()
    yield made
    made.close()


@pytest.fixture
def notebook(page, lab, request, deployed):
    """A notebook with the changed worker; `page.attach` attaches it."""
    page.notebook = f"{request.node.name}.ipynb"
    (lab.directory / "deployed.token").write_text(TOKEN)
    (lab.directory / "deployed.token").chmod(0o600)
    cells = [
        "%load_ext dnworker",
        """%%worker pricer --quiet
@worker.on_event("order.placed")
async def on_placed(event, client):
    total = event.payload["qty"] * 3 - (event.payload["qty"] >= 10)
    await client.publish("order.priced", {"total": total})""",
    ]
    write_notebook(lab.directory / page.notebook, cells)
    open_notebook(page, lab, page.notebook)
    run_all(page)
    page.attach = lambda options="": run_below(
        page, f"%runtime attach {deployed.remote.url} --token-file deployed.token {options}"
    )
    return page


def background(locator) -> str:
    return locator.evaluate("(node) => getComputedStyle(node).backgroundColor")


@pytest.mark.parametrize("width", [1280, 700, 360])
def test_live_is_red_in_every_view_of_the_page_at_every_width_and_goes_with_the_attachment(
    page, deployed, axe, width
):
    deployed.attach(live=True)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(deployed.address())
    band = page.get_by_role("alert", name="attached")
    for view in ("Overview", "Runs", "Workers", "Map", "Capability", "Sessions"):
        page.get_by_role("tab", name=view).click()
        expect(band).to_contain_text("LIVE")
        expect(band).to_contain_text(deployed.remote.url)
        assert background(band) == RED
    assert too_wide(page, page.locator(".dn")) == []
    assert axe(page, ".attached") == []
    deployed.do(deployed.attachment.detach())
    expect(band).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_shadow_is_marked_calmly_with_its_score(page, deployed, axe, scheme):
    deployed.attach(live=False)
    page.emulate_media(color_scheme=scheme)
    page.goto(deployed.address())
    band = page.get_by_role("note", name="attached")
    expect(band).to_contain_text("nothing compared yet")
    deployed.place(1, 20)
    expect(band).to_contain_text("1 different, 1 same")
    assert background(band) != RED
    assert axe(page, ".attached") == []


def test_both_sides_are_seen_as_they_come_page_by_page_and_stay_when_it_has_ended(notebook, deployed, axe):
    cell = notebook.attach("--last 3")
    shown = cell.get_by_role("region", name="Attached")
    shown.get_by_text("nothing compared yet").first.wait_for()
    deployed.place(1, 20, 2, 30)
    shown.get_by_text("2 different, 2 same").first.wait_for()
    rows = shown.get_by_role("listitem")
    expect(rows).to_have_count(3)
    newest = rows.first
    expect(newest.locator(".deployed .alone")).to_contain_text('"total": 90')
    expect(newest.locator(".notebook .alone")).to_contain_text('"total": 89')
    shown.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(1)
    shown.get_by_role("button", name="Newer").click()
    shown.get_by_label("only different").check()
    expect(rows).to_have_count(2)
    assert axe(notebook, ".wattached") == []
    run_below(notebook, "%runtime detach")
    still = cell.locator(".jp-RenderedHTMLCommon", has_text="2 different, 2 same")
    still.wait_for()
    expect(still).to_contain_text('"total": 89')


def test_live_is_red_in_widgets_traces_status_and_the_panel_of_a_notebook(notebook, deployed):
    attached = notebook.attach("--live")
    expect(attached.get_by_role("alert", name="attached")).to_contain_text("LIVE")
    for code in ("dn.widgets.WorkerState('pricer')", "%panel"):
        band = run_below(notebook, code).get_by_role("alert", name="attached")
        expect(band).to_contain_text("LIVE")
        assert background(band) == RED
    for code in ("%fire order.placed qty=1", "%runtime status", "%worker"):
        mark = run_below(notebook, code).get_by_role("note", name="live").first
        expect(mark).to_contain_text(re.compile("LIVE at http"))
        assert background(mark) == RED
