"""What the drawer asks for in which an event is written and fired."""

from __future__ import annotations

import json

import pytest

from dnworker import Worker


async def test_an_event_is_fired_and_remembered_once(runtime, bridge, screen):
    await screen.open()
    for _ in range(2):
        answer = await screen.ask("fire", kind=" demo.ping ", payload='{"n": 1}')
    assert runtime.history.event(answer["event"]).kind == "demo.ping"
    screen.say("look", part="fire", wanted={})
    fire = await screen.part("fire")
    assert [(one["kind"], one["payload"]) for one in fire["history"]] == [("demo.ping", '{"n": 1}')]


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"kind": " "}, "kind", "an event needs a kind"),
        ({"payload": "{"}, "payload", "no JSON object"),
        ({"payload": "[1]"}, "payload", "no JSON object"),
        ({"payload": "[" * 100_000}, "payload", "no JSON object"),
        ({"worker": "nobody"}, "worker", "no worker 'nobody'"),
    ],
)
async def test_what_is_wrong_is_told_with_its_field_and_nothing_is_fired(
    runtime, screen, fields, field, says
):
    await screen.open()
    answer = await screen.ask("fire", **({"kind": "a.b", "payload": "{}"} | fields))
    assert answer["problem"]["field"] == field
    assert says in answer["problem"]["text"]
    assert not runtime.feed.model.fired


async def test_a_number_that_a_browser_would_round_arrives_as_it_is_written(runtime, screen):
    await screen.open()
    answer = await screen.ask("fire", kind="a.b", payload='{"n": 123456789012345678901234567890}')
    assert runtime.history.event(answer["event"]).payload == {"n": 123456789012345678901234567890}


async def test_the_kinds_are_told_with_those_who_listen_and_these_come_first(runtime, bridge, screen):
    async def on_many(event, client):
        pass

    for n in range(4):
        worker = Worker(f"w{n}")
        worker.on_event("demo.many")(on_many)
        await runtime.add(worker)
    await screen.open(looks={"fire": {}})
    screen.say("look", part="fire", wanted={})
    kinds = (await screen.part("fire"))["kinds"]
    assert kinds[0] == {
        "kind": "demo.many",
        "workers": ["notebook:w0", "notebook:w1", "notebook:w2"],
        "count": 4,
    }
    assert {"kind": "turn.completed", "workers": [], "count": 0} in kinds
    assert kinds.index(next(one for one in kinds if one["kind"] == "demo.ping")) < 2


async def test_a_suggestion_has_what_handlers_read(runtime, bridge, screen):
    await runtime.fire("demo.ping", {"n": 7, "more": True})
    await screen.open()
    answer = await screen.ask("suggest", kind="demo.ping")
    assert json.loads(answer["payload"]) == {"n": 7, "more": True}
    assert json.loads(answer["reads"]).keys() == {"bad", "n"}


async def test_what_would_be_fired_is_copied_as_a_cell(runtime, bridge, screen):
    await screen.open()
    draft = await screen.ask("draft", kind="demo.ping", payload='{"n": 1}', worker="bridge", session="s1")
    assert draft["text"] == "%fire demo.ping n=1 --session s1 --worker bridge"
    nested = await screen.ask("draft", kind="demo.ping", payload='{"n": [1]}', worker="bridge")
    assert nested["text"].startswith("%%fire demo.ping --worker bridge\n{")
    assert (await screen.ask("draft", kind="demo.ping", payload="{"))["type"] == "failed"
