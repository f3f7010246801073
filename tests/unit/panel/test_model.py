"""What all views of the panel share: which events changed, and what was fired."""

from __future__ import annotations

import asyncio

import pytest

from dnworker.panel.actions import Actions
from dnworker.panel.model import PanelModel
from dnworker.sessions.prompts import HumanPrompt, PendingPrompt


@pytest.fixture
def model(runtime):
    return PanelModel(runtime, Actions(runtime))


@pytest.fixture
def publish(runtime, model):
    """Publishes an event and notes it; returns its id."""

    def publish(kind: str) -> str:
        event_id = runtime.publish(kind, {}).event_id
        model.note_change(event_id)
        return event_id

    return publish


async def test_what_was_fired_again_moves_to_the_top(model):
    for at, kind in enumerate(("a", "b", "a")):
        model.note_fired({"kind": kind}, at)
    assert [*model.fired] == [{"kind": "a", "at": 2}, {"kind": "b", "at": 1}]


async def test_the_prompts_of_all_sessions_wait_for_a_person(runtime, model):
    for name in ("s1", "s2", "s3"):
        runtime.sessions.create(name)
    assert model.attention() == {"prompts": 0, "failing": 0}
    for name, count in (("s1", 1), ("s2", 2)):
        prompts = [HumanPrompt() for _ in range(count)]
        pending = {
            p.request_id: PendingPrompt(p, asyncio.get_running_loop().create_future()) for p in prompts
        }
        runtime.turns.queue(runtime.sessions.get(name)).prompts.update(pending)
    assert model.attention() == {"prompts": 3, "failing": 0}


async def test_the_runtime_is_shown_with_its_address_and_its_newest_event(runtime, model, publish):
    publish("demo.a")
    assert model.runtime_to_json() == {
        "id": runtime.runtime_id,
        "name": "dnworker",
        "url": None,
        "events": runtime.bus.latest_seq,
    }
