"""The view "Nodes" on the page of a runtime that shares its broker with two others, in a browser."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from dnworker import Runtime, Worker
from dnworker.core.clock import RealClock
from dnworker.engine import node_registration, node_sightings, nodes
from dnworker.engine.node_records import Held
from dnworker.testing import SharedBroker, SharedStore

from .width import too_wide

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WORKERS = {"north": ("bridge", "intake"), "south": ("ledger", "mail"), "west": ("images",)}
LABELS = {"north": ["eu"], "south": ["eu", "disk"], "west": ["gpu"]}


class Holding:
    """A test double of what decides which workers a node holds."""

    def __init__(self, *held: Held) -> None:
        self.all = [*held]

    def held(self) -> list[Held]:
        return list(self.all)


class Cluster:
    """Three runtimes on a loop and a thread of their own; `north` has the page."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.runtimes: dict[str, Runtime] = {}
        self.holdings: dict[str, Holding] = {}
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._open = AsyncExitStack()

    def start(self) -> None:
        self._thread.start()
        self.do(self._start())

    async def _start(self) -> None:
        store = SharedStore(RealClock())
        for name, workers in WORKERS.items():
            runtime = Runtime(
                port=0, token="s3cret", broker=SharedBroker(store), node=name, labels=LABELS[name]
            )
            self.holdings[name] = runtime.nodes.holdings = Holding()
            self.runtimes[name] = await self._open.enter_async_context(runtime)
            for fence, worker in enumerate(workers, start=3):
                await self.run(name, worker, fence)

    async def run(self, name: str, worker: str, fence: int, **more: Any) -> None:
        runtime = self.runtimes[name]
        await runtime.add(Worker(worker))
        self.holdings[name].all.append(Held(f"notebook:{worker}", fence, **more))
        await runtime.nodes.look()

    async def kill(self, name: str) -> None:
        """Say nothing more of a node, as where it is killed."""
        for task in self.runtimes[name].nodes._tasks:
            task.cancel()
        self.runtimes[name].nodes._tasks = []

    def do(self, coro: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(60)

    def address(self) -> str:
        url = self.runtimes["north"].url
        headers = {"Authorization": "Bearer s3cret"}
        answer = httpx.post(f"{url}/api/ws/ticket", headers=headers, trust_env=False)
        return f"{url}/panel#ticket={answer.json()['ticket']}"

    def close(self) -> None:
        try:
            self.do(self._open.aclose())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(60)
            self.loop.close()


@pytest.fixture
def cluster(monkeypatch):
    for module in (node_registration, nodes):
        monkeypatch.setattr(module, "BEAT", 0.3)
    for module in (node_registration, node_sightings):
        monkeypatch.setattr(module, "LIFETIME", 2.0)
    made = Cluster()
    made.start()
    yield made
    made.close()


@pytest.fixture
def shown(page, cluster):
    page.goto(cluster.address())
    page.get_by_role("tab", name="Nodes").click()
    page.get_by_role("heading", name="All 3 nodes are up").wait_for()
    return page


def test_nodes_what_they_hold_and_a_failover_are_seen_as_they_happen(shown, cluster):
    table = shown.get_by_role("table", name="Nodes")
    expect(table.get_by_role("row")).to_have_count(4)
    held = shown.get_by_role("table", name="Held workers")
    expect(held.get_by_role("row", name="notebook:images")).to_contain_text("west")
    cluster.do(cluster.kill("west"))
    shown.get_by_role("heading", name="2 nodes up, west is gone").wait_for()
    expect(table.get_by_role("row", name="west")).to_contain_text("gone since")
    cluster.do(cluster.run("south", "images", 4, before="west", is_failover=True))
    timeline = shown.get_by_role("region", name="Timeline", exact=True)
    expect(timeline.get_by_role("listitem").first).to_contain_text(
        "notebook:images failed over from west to south"
    )
    expect(held.get_by_role("row", name="notebook:images")).to_contain_text("south")


def test_a_node_is_chosen_by_keys_and_its_workers_are_shown_alone(shown):
    held = shown.get_by_role("region", name="Held workers")
    expect(held.get_by_role("row")).to_have_count(6)
    shown.get_by_role("button", name="north").focus()
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("Enter")
    expect(shown.get_by_role("button", name="south")).to_have_attribute("aria-pressed", "true")
    expect(held.get_by_role("row")).to_have_count(3)
    expect(held).to_contain_text("of south")
    shown.keyboard.press("Escape")
    expect(held.get_by_role("row")).to_have_count(6)


def test_a_worker_that_is_held_here_leads_to_the_view_of_workers(shown):
    shown.get_by_role("button", name="notebook:bridge").click()
    shown.get_by_role("complementary", name="notebook:bridge").wait_for()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 900, 420])
def test_axe_finds_nothing_and_nothing_is_cut_off(shown, cluster, axe, width, dark):
    shown.emulate_media(color_scheme="dark" if dark else "light")
    shown.set_viewport_size({"width": width, "height": 800})
    cluster.do(cluster.kill("west"))
    shown.get_by_role("heading", name="2 nodes up, west is gone").wait_for()
    assert axe(shown, ".dn") == []
    view = shown.locator(".dn .nodes")
    assert too_wide(shown, view) == []


def test_a_runtime_that_shares_nothing_has_no_view_of_nodes(browser, cluster):
    async def alone() -> Runtime:
        runtime = Runtime(port=0, token="s3cret")
        await cluster._open.enter_async_context(runtime)
        return runtime

    cluster.runtimes["north"] = cluster.do(alone())
    context = browser.new_context()
    page = context.new_page()
    page.goto(cluster.address())
    page.locator('.live[data-state="live"]').wait_for(state="attached")
    page.get_by_role("tab", name="Sessions").wait_for()
    expect(page.get_by_role("tab", name="Nodes")).to_have_count(0)
    context.close()
