"""The state of a worker on the panel: sent while it is shown, when it has changed, and within bounds."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from dnworker import Worker
from dnworker.panel import state_part
from dnworker.panel.state_part import state_to_json


@pytest.fixture
async def counter(runtime):
    worker = Worker("counter")
    worker.state.update(count=1, api_key="sk-hidden")
    await runtime.add(worker)
    return worker


def value_of(tree, key):
    return next(child["value"] for child in tree["children"] if child["key"] == key)


async def test_a_state_is_sent_when_it_is_asked_for_and_again_when_it_changes(runtime, counter, screen):
    snapshot = await screen.open()
    assert "state" not in snapshot
    screen.say("look", part="state", wanted={"worker": "notebook:counter"})
    shown = await screen.part("state")
    assert value_of(shown["tree"], '"count"') == "1"
    assert "sk-hidden" not in str(shown)
    counter.state["count"] = 2  # nothing tells of it
    shown = await screen.part("state")
    assert value_of(shown["tree"], '"count"') == "2"


async def test_nothing_is_sent_while_nothing_changes_nor_after_it_is_closed(runtime, counter, screen):
    await screen.open(looks={"state": {"worker": "notebook:counter"}})
    for _ in range(20):
        await asyncio.sleep(0)
    screen.messages.clear()
    runtime.log_line("w", "said")
    await asyncio.sleep(0.05)
    assert [m for m in screen.messages if "state" in m] == []
    screen.say("look", part="state", wanted=None)
    counter.state["count"] = 3
    await screen.ask("ping")
    await asyncio.sleep(0.05)
    assert [m for m in screen.messages if "state" in m] == []


async def test_a_hidden_view_looks_at_no_state(runtime, counter, screen, monkeypatch):
    looks = []
    monkeypatch.setattr(state_part, "state_to_json", lambda *args: looks.append(args) or {"worker": args[1]})
    await screen.open(looks={"state": {"worker": "notebook:counter"}})
    assert looks
    screen.say("visibility", visible=False)
    await asyncio.sleep(0)
    assert runtime.feed._next_look is None
    looks.clear()
    counter.state["count"] = 3
    await asyncio.sleep(0.05)
    assert looks == []


async def test_a_state_that_is_not_here_says_why(runtime, screen):
    await screen.open()
    screen.say("look", part="state", wanted={"worker": "notebook:nobody"})
    shown = await screen.part("state")
    assert shown["tree"] is None
    assert "no worker 'notebook:nobody'" in shown["why"]


async def test_a_state_is_sent_within_bounds(runtime, counter):
    counter.state["wide"] = {n: dict.fromkeys(range(100), "x" * 10_000) for n in range(1_000)}
    counter.state["all"] = counter.state
    assert len(msgspec.json.encode(state_to_json(runtime, "counter"))) < 100_000


async def test_a_state_that_is_no_dict_says_so(runtime, counter):
    counter.state = None
    assert "has put a NoneType there" in state_to_json(runtime, "counter")["why"]
