"""Sessions of a cluster: each runs on one node, and every node answers for all."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from dnworker.core.errors import CommandError, NotStored
from dnworker.panel.session_parts import one_to_json
from dnworker.sessions import deltas, keeper
from dnworker.sessions.peers import Answer, encode_answer
from dnworker.sessions.turn_events import _once_id

from .cluster import HANGS, Cluster, echo, start_turn


@pytest.fixture
async def cluster(monkeypatch):
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.01)
    made = Cluster()
    yield made
    await made.stop()


@pytest.fixture
async def nodes(cluster):
    return await cluster.join(), await cluster.join()


# -- facts ---------------------------------------------------------------------------------------------


async def test_a_session_made_on_one_node_is_found_on_the_other_at_once(nodes):
    one, two = nodes
    made = await one.client().create_session(session_id="s", project="p", labels={"a": ["b"]}, policy="guard")
    assert await two.client().get_session("s") == made
    assert [s.session_id for s in await two.client().list_sessions()] == ["s"]


async def test_a_session_is_changed_from_any_node(cluster, nodes):
    one, two = nodes
    await one.client().create_session(session_id="s")
    await two.client().set_session_title("s", "a title")
    await two.client().set_session_policy("s", {"name": "headless", "max_steps": 3})
    assert (await one.client().get_session("s")).title == "a title"
    assert one.sessions.get("s").policy.max_steps == 3
    assert cluster.owner() is one
    assert await two.client().get_session("s") == await one.client().get_session("s")


async def test_errors_of_another_node_are_those_of_this_one(nodes):
    one, two = nodes
    one.agents.register("a", echo)
    one.agents.register("b", echo)
    two.agents.register("a", echo)
    two.agents.register("b", echo)
    await one.client().create_session(session_id="s", agent="a")
    refused = []
    for node in nodes:
        with pytest.raises(httpx.HTTPStatusError) as conflict:
            await node.client().create_session(session_id="s", agent="b")
        with pytest.raises(httpx.HTTPStatusError) as missing:
            await node.client().set_session_title("none", "x")
        with pytest.raises(CommandError) as idle:
            await node.client()._connection.cancel_turn("s", {"turn_id": "turn_0"})
        with pytest.raises(httpx.HTTPStatusError) as policy:
            await node.client().set_session_policy("s", "nonsense")
        refused.append([*map(str, (conflict.value, missing.value, idle.value, policy.value))])
    # Here a code is more exact: what crosses a socket has the one of a refusal.
    texts = [[re.sub(r" \(DN\d+\)$", "", text) for text in some] for some in refused]
    assert texts[0] == texts[1]


async def test_messages_are_read_from_any_node(nodes):
    one, two = nodes
    for n in range(3):
        await one.client().run_turn(session_id="s", message=f"m{n}")
    read = await two.client().fetch_session_messages("s")
    assert read == await one.client().fetch_session_messages("s")
    assert [m["content"] for m in read][-1] == "you said m2"
    assert (await two.client().get_session("s")).preview == "m0"
    assert len(await two.client().fetch_rewind_candidates("s")) == 3


async def test_a_late_holder_writes_over_no_message_of_the_node_that_took_over(cluster, nodes):
    one, two = nodes
    await one.client().run_turn(session_id="s", message="a")
    late = one.sessions.keeper._desks["s"]._messages
    one.bus.broker.cut_off()
    starting = asyncio.create_task(start_turn(two, "b"))
    await cluster.until(starting.done, seconds=30)
    await cluster.ended(starting.result())
    await two.bus.broker.put(late.key(late.end), b'[{"role":"user","content":"late"}]')
    three = await cluster.join()
    for node in (two, three):
        read = await node.client().fetch_session_messages("s")
        assert [m["content"] for m in read] == ["a", "you said a", "b", "you said b"]
    two.bus.broker.cut_off()
    starting = asyncio.create_task(start_turn(three, "c"))
    await cluster.until(starting.done, seconds=30)
    await cluster.ended(starting.result())
    read = await three.client().fetch_session_messages("s")
    assert [m["content"] for m in read] == ["a", "you said a", "b", "you said b", "c", "you said c"]


async def test_a_deleted_session_is_gone_everywhere(cluster, nodes):
    one, two = nodes
    await one.client().create_session(session_id="s")
    await two.client().delete_session("s")
    await cluster.until(lambda: two.bus.is_deleted("s"))
    for node in nodes:
        assert "s" not in node.sessions
        assert await node.client().get_session("s") is None
        with pytest.raises(httpx.HTTPStatusError, match="was deleted"):
            await node.client().publish("k", session_id="s")


async def test_a_deleted_session_that_is_made_again_lives_on_all_nodes(cluster, nodes):
    one, two = nodes
    await one.client().create_session(session_id="s", project="first")
    await one.client().delete_session("s")
    await one.client().create_session(session_id="s", project="second")
    assert (await two.client().get_session("s")).project == "second"
    await cluster.until(lambda: cluster.owner() is None, seconds=10)
    await two.client().delete_session("s")
    await cluster.until(lambda: one.bus.is_deleted("s"))
    await one.client().publish("k")
    await two.client().create_session(session_id="s", project="third")
    assert (await one.client().get_session("s")).project == "third"
    await cluster.until(lambda: not one.bus.is_deleted("s"))
    await one.client().publish("k", session_id="s")


async def test_a_node_that_was_cut_off_does_not_bring_a_deleted_session_back(cluster, nodes):
    one, two = nodes
    await one.client().run_turn(session_id="s", message="m")
    one.bus.broker.cut_off()
    one.sessions.touch(one.sessions.get("s"))  # it has something to write
    await cluster.until(lambda: cluster.owner() is None, seconds=11)
    await cluster.clock.advance(5)
    await two.client().delete_session("s")
    one.bus.broker.heal()
    await cluster.until(lambda: one.bus.is_deleted("s"), seconds=1)
    await cluster.clock.advance(10)
    assert "s" not in one.sessions
    assert await one.bus.broker.keys("sessions/") == []


async def test_a_node_that_joins_knows_all_sessions(cluster):
    one = await cluster.join()
    for n in range(5):
        await one.client().create_session(session_id=f"s{n}")
    await one.client().delete_session("s0")
    two = await cluster.join()
    assert {s.session_id for s in two.sessions.list()} == {"s1", "s2", "s3", "s4"}
    assert two.bus.is_deleted("s0")


# -- turns ---------------------------------------------------------------------------------------------


async def test_a_turn_started_on_another_node_runs_where_the_session_is(cluster, nodes):
    one, two = nodes
    one.agents.default(lambda turn: "of one")
    two.agents.default(lambda turn: "of two")
    await one.client().create_session(session_id="s")
    done = await two.client().run_turn(session_id="s", message="m")
    assert done["response_text"] == "of one"
    assert cluster.owner() is one


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_start_that_is_requested_again_starts_one_turn(cluster, nodes, monkeypatch, has_ended):
    one, two = nodes
    await one.client().create_session(session_id="s")
    request, asked = two.bus.broker.messages.request, []

    async def answered_by_a_late_holder_first(subject, data, seconds):
        answer = await request(subject, data, seconds)
        asked.append(data)
        if len(asked) > 1:
            return answer
        if has_ended:
            await cluster.until(lambda: [e for e in cluster.events() if e.terminal])
        return encode_answer(Answer(is_elsewhere=True))

    monkeypatch.setattr(two.bus.broker.messages, "request", answered_by_a_late_holder_first)
    started = asyncio.create_task(start_turn(two))
    await cluster.until(started.done, seconds=5)
    await cluster.ended(started.result())
    await cluster.until(lambda: not one.turns.queue(one.sessions.get("s")).turns)
    assert len(asked) == 2
    assert [e.turn_id for e in cluster.events() if e.kind == "turn.accepted"] == [started.result()]
    assert len(await two.commands.shared.messages("s")) == 2


async def test_turns_of_two_nodes_at_the_same_instant_have_one_order(cluster, nodes):
    started = await asyncio.gather(*(start_turn(nodes[n % 2], f"m{n}") for n in range(20)))
    ends = [await cluster.ended(turn_id) for turn_id in started]
    assert {end.kind for end in ends} == {"turn.completed"}
    began = [e.turn_id for e in cluster.events() if e.kind == "turn.started"]
    assert sorted(began) == sorted(started)
    said = [m["content"] for m in await nodes[1].client().fetch_session_messages("s") if m["role"] == "user"]
    assert said == [f"m{started.index(turn_id)}" for turn_id in began]
    assert len([e for e in cluster.events() if e.kind == "session.created"]) == 1
    assert len(await nodes[0].client().fetch_session_messages("s")) == 40


async def test_a_hundred_queued_turns_run_in_order(cluster, nodes):
    one, two = nodes
    gate = asyncio.Event()

    async def wait(turn):
        await gate.wait()
        return turn.message

    one.agents.default(wait)
    await one.client().create_session(session_id="s")
    started = [await start_turn(two, str(n)) for n in range(100)]
    gate.set()
    ends = [await cluster.ended(turn_id) for turn_id in started]
    assert [end.payload["response_text"] for end in ends] == [str(n) for n in range(100)]


async def test_a_turn_is_cancelled_from_another_node(cluster, nodes):
    one, two = nodes

    async def forever(turn):
        await asyncio.Event().wait()

    one.agents.default(forever)
    turns = [await start_turn(one, "m") for _ in range(3)]
    assert await two.client()._connection.cancel_turn("s", {"turn_id": turns[1]}) == "cancelled"
    assert await two.client()._connection.cancel_turn("s", {"drop_queued": True}) == "cancelled"
    assert [(await cluster.ended(turn)).kind for turn in turns] == ["turn.cancelled"] * 3
    assert await two.client()._connection.cancel_turn("s", {}) == "idle"


async def test_prompts_are_answered_on_another_node(cluster, nodes):
    one, two = nodes

    async def ask(turn):
        return await turn.ask("which?", ["red", "blue"])

    one.agents.default(ask)
    turn_id = await start_turn(one)
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "prompt.required"])
    (prompt,) = [e for e in cluster.events() if e.kind == "prompt.required"]
    await cluster.until(lambda: two.sessions.get("s").prompts)
    request = prompt.payload["raw_event"]["data"]["request_id"]
    doing = await two.client()._connection.request("GET", "/api/sessions/status")
    assert doing["sessions"]["s"]["turn_phase"] == "awaiting_input"
    snapshot = await two.commands.snapshot("s")
    assert [one["request_id"] for one in snapshot["pending_prompts"]] == [request]
    await two.client()._connection.respond(
        "s", {"request_id": request, "action": "submit", "answers": [{"selected_labels": ["blue"]}]}
    )
    assert (await cluster.ended(turn_id)).payload["response_text"] == "blue"
    with pytest.raises(CommandError, match="answered already"):
        await two.client()._connection.respond("s", {"request_id": request, "action": "cancel"})


async def test_a_permission_is_given_on_another_node(cluster, nodes):
    one, two = nodes

    async def look(turn):
        return await turn.call_tool("look", result="seen")

    one.agents.default(look)
    await one.client().create_session(session_id="s", policy="guard")
    turn_id = await start_turn(two)
    await cluster.until(lambda: two.sessions.get("s").prompts)
    request = two.sessions.get("s").prompts[0]["request_id"]
    await two.client()._connection.respond("s", {"request_id": request, "decision": "allow_session"})
    assert (await cluster.ended(turn_id)).payload["response_text"] == "seen"
    assert one.sessions.get("s").allowed_tools == {"look"}


async def test_a_session_that_does_nothing_is_given_back_and_runs_where_it_is_used(cluster, nodes):
    one, two = nodes
    await one.client().run_turn(session_id="s", message="m0")
    assert cluster.owner() is one
    await cluster.until(lambda: cluster.owner() is None, seconds=10)
    assert not one.sessions.get("s").is_here
    assert one.sessions.get("s").messages == []
    done = await two.client().run_turn(session_id="s", message="m1")
    assert done["response_text"] == "you said m1"
    assert cluster.owner() is two
    assert len(await one.client().fetch_session_messages("s")) == 4


async def test_a_delete_and_a_start_at_the_same_instant_leave_no_turn_without_an_end(cluster, nodes):
    one, two = nodes
    for _ in range(5):
        await one.client().create_session(session_id="s")
        results = await asyncio.gather(
            start_turn(one), two.client().delete_session("s"), start_turn(two), return_exceptions=True
        )
        for turn_id in (results[0], results[2]):
            if isinstance(turn_id, str):
                await cluster.ended(turn_id)
            else:
                assert isinstance(turn_id, CommandError)


# -- the end of a node ---------------------------------------------------------------------------------


async def test_the_turn_of_a_node_that_dies_fails_as_retryable_and_its_queue_goes_on(cluster, nodes):
    one, two = nodes
    began = asyncio.Event()

    async def forever(turn):
        turn.say("half")
        began.set()
        await asyncio.Event().wait()

    one.agents.default(forever)
    first, second, third = [await start_turn(one, m) for m in ("a", "b", "c")]
    await began.wait()
    one.bus.broker.cut_off()
    failed = await cluster.ended(first, seconds=20)
    assert failed.kind == "turn.failed"
    assert failed.payload["retryable"] is True
    assert failed.payload["error"]["type"] == "TurnInterrupted"
    assert (await cluster.ended(second)).payload["response_text"] == "you said b"
    assert (await cluster.ended(third)).payload["response_text"] == "you said c"
    assert cluster.clock.monotonic() <= 14
    one.bus.broker.heal()
    await cluster.until(lambda: not one.turns._running)
    assert [len(cluster.ends(turn)) for turn in (first, second, third)] == [1, 1, 1]
    read = await one.client().fetch_session_messages("s")
    assert [m["content"] for m in read] == ["b", "you said b", "c", "you said c"]


async def test_a_client_of_the_node_that_was_cut_off_hears_the_end_of_its_turn(cluster, nodes):
    one, two = nodes

    async def forever(turn):
        await asyncio.Event().wait()

    one.agents.default(forever)
    waiting = asyncio.create_task(one.client().run_turn(session_id="s", message="m"))
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "turn.started"])
    one.bus.broker.cut_off()
    await cluster.until(lambda: [e for e in cluster.events() if e.terminal], seconds=20)
    one.bus.broker.heal()
    with pytest.raises(Exception, match="the runtime ended") as failed:
        await waiting
    assert failed.value.retryable is True


async def test_a_node_that_stops_in_order_hands_its_queue_over_at_once(cluster, nodes):
    one, two = nodes

    async def forever(turn):
        await asyncio.Event().wait()

    one.agents.default(forever)
    first, second = await start_turn(one, "a"), await start_turn(one, "b")
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "turn.started"])
    await one.stop()
    assert (await cluster.ended(first)).kind == "turn.cancelled"
    assert (await cluster.ended(second)).payload["response_text"] == "you said b"
    assert cluster.clock.monotonic() == 0


async def test_a_turn_that_another_node_has_ended_does_not_begin(cluster, nodes):
    one, two = nodes
    gate, ran = asyncio.Event(), []

    async def gated(turn):
        ran.append(turn.message)
        for n in range(600):  # more than is kept of a session
            turn.say(f"{n} ")
        await gate.wait()

    one.agents.default(gated)
    first, second, third = [await start_turn(one, text) for text in "abc"]
    await cluster.until(lambda: ran)
    name = _once_id(second, terminal=True)
    two.bus.publish("turn.failed", {}, session_id="s", turn_id=second, terminal=True, event_id=name)
    await cluster.until(lambda: cluster.ends(second))
    gate.set()
    for turn_id in (first, second, third):
        await cluster.ended(turn_id)
    assert ran == ["a", "c"]
    assert [e.kind for e in cluster.events(turn_id=second)] == ["turn.accepted", "turn.failed"]


async def test_turns_are_taken_over_by_a_node_that_has_their_agent(cluster):
    one, two, three = [await cluster.join(None) for _ in range(3)]
    for node in (one, three):
        node.agents.register("a", echo)
    one.agents.register("a", lambda turn: asyncio.Event().wait())
    await one.client().create_session(session_id="s", agent="a")
    first, second = await start_turn(one, "a"), await start_turn(one, "b")
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "turn.started"])
    one.bus.broker.cut_off()
    await cluster.ended(first, seconds=20)  # by whichever node has the session first
    await cluster.ended(second, seconds=20)
    assert cluster.owner() in (None, three)


async def test_a_slow_take_over_does_not_cost_a_node_its_own_sessions(cluster, nodes):
    one, two = nodes
    gate, stuck = asyncio.Event(), asyncio.Event()

    async def forever(turn):
        await asyncio.Event().wait()

    for node in nodes:
        node.agents.default(forever)
    await start_turn(one, session_id="s")
    mine = await start_turn(two, session_id="mine")
    await cluster.until(lambda: len([e for e in cluster.store.events if e.kind == "turn.started"]) == 2)
    get = two.bus.broker.get

    async def slow(key):
        if key == "sessions/s" and one.bus.broker.is_cut_off:
            stuck.set()
            await gate.wait()
        return await get(key)

    two.bus.broker.get = slow
    one.bus.broker.cut_off()
    await cluster.until(stuck.is_set, seconds=15)
    await cluster.until(lambda: cluster.clock.monotonic() >= 30, seconds=35)
    assert cluster.owner("mine") is two
    assert cluster.ends(mine) == []
    gate.set()


async def test_a_lease_that_runs_out_is_dropped_though_the_broker_does_not_answer(cluster, nodes):
    one, two = nodes
    await one.client().create_session(session_id="s")
    began = asyncio.Event()

    async def forever(turn):
        began.set()
        await asyncio.Event().wait()

    one.agents.default(forever)
    turn_id = await start_turn(one)
    await began.wait()
    never = asyncio.get_running_loop().create_future()
    one.bus.broker.renew = lambda *_: asyncio.shield(never)
    assert (await cluster.ended(turn_id, seconds=8)).kind == "turn.failed"
    never.cancel()


async def test_a_session_taken_over_without_its_agent_is_given_back_to_a_node_that_has_it(cluster):
    one, two = await cluster.join(None), await cluster.join(None)
    one.agents.register("a", lambda turn: asyncio.Event().wait())
    await one.client().create_session(session_id="s", agent="a")
    first, second = await start_turn(one, "a"), await start_turn(one, "b")
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "turn.started"])
    one.bus.broker.cut_off()
    await cluster.clock.advance(11)
    await two.client().set_session_title("s", "t")
    three = await cluster.join(None)
    three.agents.register("a", echo)
    assert (await cluster.ended(second, seconds=10)).payload["response_text"] == "you said b"
    assert (await cluster.ended(first)).kind == "turn.failed"


async def test_a_turn_that_ran_on_a_dead_node_has_an_end_though_no_node_has_its_agent(cluster):
    one, two = await cluster.join(None), await cluster.join(None)
    one.agents.register("a", lambda turn: asyncio.Event().wait())
    await one.client().create_session(session_id="s", agent="a")
    turn_id = await start_turn(one)
    await cluster.until(lambda: two.sessions.get("s").running == turn_id)
    one.bus.broker.cut_off()
    failed = await cluster.ended(turn_id, seconds=15)
    assert failed.payload["retryable"] is True
    await cluster.until(lambda: cluster.owner() is None, seconds=5)
    assert two.commands.shared.leases.all() == []


async def test_a_command_waits_until_the_lease_of_a_dead_node_has_run_out(cluster, nodes):
    one, two = nodes
    await one.client().create_session(session_id="s")
    one.bus.broker.cut_off()
    titled = asyncio.create_task(two.client().set_session_title("s", "t"))
    await cluster.until(titled.done, seconds=15)
    titled.result()
    one.bus.broker.heal()
    assert (await one.client().get_session("s")).title == "t"
    assert cluster.owner() is two


async def test_a_node_that_is_cut_off_refuses_and_says_why(cluster, nodes):
    one, two = nodes
    await two.client().create_session(session_id="s")
    await cluster.until(lambda: "s" in one.sessions)
    one.bus.broker.cut_off()
    with pytest.raises(CommandError, match="cut off"):
        await start_turn(one)
    with pytest.raises(httpx.HTTPStatusError, match="507"):
        await one.client().create_session(session_id="other")
    assert (await one.client().get_session("s")).session_id == "s"


async def test_a_turn_that_is_answered_while_the_node_is_cut_off_ends_when_it_is_back(cluster, nodes):
    one, two = nodes
    gate = asyncio.Event()

    async def wait(turn):
        await gate.wait()
        return "done"

    one.agents.default(wait)
    turn_id = await start_turn(one)
    await cluster.until(lambda: [e for e in cluster.events() if e.kind == "turn.started"])
    one.bus.broker.cut_off()
    gate.set()
    await cluster.until(lambda: one.turns.queue(one.sessions.get("s")).active.has_answer)
    one.bus.broker.heal()
    assert (await cluster.ended(turn_id)).payload["response_text"] == "done"
    assert len(await two.client().fetch_session_messages("s")) == 2


async def test_the_end_of_a_turn_that_the_broker_did_not_take_is_published_again(cluster, nodes, monkeypatch):
    one, two = nodes
    publish, refused = one.bus.broker.publish, []

    def refuse_ends(envelope, *args, **named):
        if not envelope.terminal or len(refused) == 3:
            return publish(envelope, *args, **named)
        refused.append(envelope)
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(NotStored("not now"))
        return failed

    monkeypatch.setattr(one.bus.broker, "publish", refuse_ends)
    turn_id = await start_turn(one)
    assert (await cluster.ended(turn_id)).payload["response_text"] == "you said hello"
    assert len({event.event_id for event in refused}) == 1
    assert len(await two.client().fetch_session_messages("s")) == 2


# -- pieces of answers ---------------------------------------------------------------------------------


async def pieces(turn):
    for n in range(20):
        turn.say(f"{n} ")
        await asyncio.sleep(0)
        if n == 9:
            await turn.call_tool("look", result="seen")


async def test_pieces_of_an_answer_come_to_every_node_in_order_and_are_not_stored(cluster, nodes):
    one, two = nodes
    one.agents.default(pieces)
    await one.client().create_session(session_id="s")
    seen = [node.bus.subscribe(session_id="s") for node in nodes]
    done = await two.client().run_turn(session_id="s", message="m")
    assert done["response_text"] == "".join(f"{n} " for n in range(10, 20))
    heard = []
    for subscription in seen:
        events = []
        while (event := subscription.take()) is not None:
            events.append(event)
        types = [e.payload.get("event_type", e.kind) for e in events]
        heard.append(types)
        texts = [e.payload["raw_event"]["data"]["content"] for e in events if said(e)]
        assert texts == [f"{n} " for n in range(20)]
        assert types.index("generationstart") < types.index("generationcontent")
        assert types.index("toolstart") == types.index("generationcontent") + 10
        assert types[-1] == "turn.completed"
        assert [e.seq for e in events] == sorted(e.seq for e in events)
    assert heard[0] == heard[1]
    assert not [e for e in cluster.events() if said(e)]
    assert [e for e in cluster.events() if e.payload.get("event_type") == "toolstart"]


def said(event):
    return event.payload.get("event_type") == "generationcontent"


async def test_a_client_of_another_node_streams_the_answer(nodes):
    one, two = nodes
    one.agents.default(pieces)
    await one.client().create_session(session_id="s")
    texts = []
    async for event in two.client().stream_chat(session_id="s", message="m"):
        if isinstance(event, dict) and event.get("type") == "generationcontent":
            texts.append(event["data"]["content"])
    assert texts == [f"{n} " for n in range(20)]


async def test_the_pieces_that_were_heard_of_a_turn_are_in_its_failure(cluster, nodes):
    one, two = nodes

    async def forever(turn):
        turn.say("half ")
        turn.say("of it")
        await asyncio.Event().wait()

    one.agents.default(forever)
    turn_id = await start_turn(one)
    await cluster.until(lambda: [e for e in two.bus.kept("s", None) if said(e)])
    await asyncio.sleep(0)
    one.bus.broker.cut_off()
    assert (await cluster.ended(turn_id, seconds=20)).payload["partial_response"] == "half of it"


async def test_a_node_that_joins_in_the_middle_of_an_answer_passes_its_pieces_on(cluster, monkeypatch):
    monkeypatch.setattr(deltas, "WAIT", 0.01)
    gate = asyncio.Event()

    async def late(turn):
        turn.say("a")
        await gate.wait()
        turn.say("b")
        await asyncio.Event().wait()

    one = await cluster.join(late)
    await start_turn(one)
    await cluster.until(lambda: [e for e in one.bus.kept("s", None) if said(e)])
    two = await cluster.join()
    subscription = two.bus.subscribe(session_id="s")
    gate.set()
    event = await asyncio.wait_for(anext(aiter(subscription)), HANGS)
    assert event.payload["raw_event"]["data"]["content"] == "b"


# -- bounds --------------------------------------------------------------------------------------------


async def test_an_answer_that_is_larger_than_a_value_is_kept_in_parts(cluster, nodes):
    one, two = nodes
    text = "é" * 800_000
    one.agents.default(lambda turn: text)
    await one.client().run_turn(session_id="s", message="m")
    assert max(len(entry.value) for entry in await one.bus.broker.entries("")) < 1_000_000
    assert (await two.client().fetch_session_messages("s"))[-1]["content"] == text
    await cluster.until(lambda: cluster.owner() is None, seconds=10)
    await two.client().rewind_session("s", from_seq=1)
    await two.client().run_turn(session_id="s", message="n")
    assert await one.bus.broker.keys("sessions.parts/") == []
    said = [m["content"] for m in await one.client().fetch_session_messages("s")]
    assert said == ["m", "n", "you said n"]


async def test_a_request_that_is_too_large_for_another_node_is_refused(nodes):
    one, two = nodes
    await one.client().create_session(session_id="s")
    with pytest.raises(CommandError, match="gets at most 1,000,000"):
        await start_turn(two, "x" * 1_000_000)


async def test_a_start_that_fails_leaves_nothing_behind(cluster, monkeypatch):
    runtime = await cluster.join()
    await runtime.stop()

    async def fail():
        raise OSError("no")

    monkeypatch.setattr(runtime, "_open", fail)
    with pytest.raises(OSError, match="no"):
        await runtime.start()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not names & {"session leases", "sessions of other nodes"}


# -- the panel -----------------------------------------------------------------------------------------


async def test_the_panel_shows_what_a_session_of_another_node_says_and_asks(cluster, nodes):
    one, two = nodes

    async def ask(turn):
        return turn.message if turn.message == "m" else await turn.ask("which?", ["red", "blue"])

    one.agents.default(ask)
    await one.client().run_turn(session_id="s", message="m")
    await start_turn(one, "n")
    await cluster.until(lambda: two.sessions.get("s").prompts)
    mine, theirs = [(await one_to_json(node, "s"))["detail"] for node in nodes]
    assert {**mine, "underWay": [], "agent": None} == {**theirs, "underWay": [], "agent": None}
    assert [m["content"] for m in theirs["history"]] == ["m", "m"]
    assert two.turns.open_prompts() == one.turns.open_prompts() == 1


async def test_a_piece_that_an_event_overtakes_comes_behind_it_and_none_after_the_end(
    cluster, nodes, monkeypatch
):
    one, two = nodes
    gate, late, messages = asyncio.Event(), [], two.bus.broker.messages
    hear = messages.hear
    monkeypatch.setattr(messages, "hear", lambda *m: late.append(m) if "deltas" in m[0] else hear(*m))

    async def gated(turn):
        turn.say("a")
        await turn.call_tool("look", result="seen")
        await gate.wait()
        turn.say("b")

    one.agents.default(gated)
    turn_id = await start_turn(one)
    await cluster.until(lambda: [e for e in two.bus.kept("s", 0) if e.payload.get("event_type") == "toolend"])
    hear(*late.pop())
    gate.set()
    await cluster.ended(turn_id)
    await cluster.until(lambda: late and [e for e in two.bus.kept("s", 0) if e.terminal])
    hear(*late.pop())
    texts = [e.payload["raw_event"]["data"]["content"] for e in two.bus.kept("s", 0) if said(e)]
    assert texts == ["a"]
