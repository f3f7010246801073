"""A live attachment: the clients of workers are the other runtime's."""

from __future__ import annotations

import asyncio

from dnworker import Worker

from .rig import Proxy, attached, listener, until


async def test_what_a_live_worker_publishes_is_there_and_comes_back_once(here, there):
    worker, heard = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        answer = await client.publish("order.flagged", {"id": event.payload["id"]})
        heard.append(("published", answer["seq"]))

    @worker.on_event("order.flagged")
    async def on_flagged(event, client) -> None:
        heard.append(("came back", event.payload["id"]))

    await here.add(worker)
    async with attached(here, there, live=True) as attachment:
        assert attachment.is_live
        there.publish("order.placed", {"id": 1})
        await until(lambda: len(heard) == 2)
        there.publish("order.placed", {"id": 2})
        await until(lambda: len(heard) == 4)
    flagged = [event for event in there.history.events() if event.kind == "order.flagged"]
    assert [event.payload for event in flagged] == [{"id": 1}, {"id": 2}]
    assert sorted(heard) == sorted(
        [("published", flagged[0].seq), ("came back", 1), ("published", flagged[1].seq), ("came back", 2)]
    )
    assert (attachment.rows(), attachment.score.total) == ([], 0)


async def test_sessions_turns_and_once_are_those_of_the_other_runtime(here, there):
    there.agents.register("echo", lambda turn: f"You said: {turn.message}")
    worker, done = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        await client.create_session(session_id="ticket-7", agent="echo")
        end = await client.run_turn(session_id="ticket-7", message="hello")
        for _ in range(2):
            async with client.once("order/1") as first:
                done.append(first)
        done.append(end["response_text"])

    await here.add(worker)
    async with attached(here, there, live=True):
        there.publish("order.placed", {})
        await until(lambda: len(done) == 3)
    assert done == [True, False, "You said: hello"]
    assert [one.session_id for one in await there.client().list_sessions()] == ["ticket-7"]
    assert [one.session_id for one in await here.client().list_sessions()] == []


async def test_loops_go_on_there_and_each_event_is_handled_once(here, there):
    worker, got = Worker("bridge"), []

    @worker.on_event("ping")
    async def on_ping(event, client) -> None:
        got.append(event.payload["n"])
        if event.payload["n"] < 20:
            await client.publish("ping", {"n": event.payload["n"] + 1})

    await here.add(worker)
    async with attached(here, there, live=True):
        there.publish("ping", {"n": 0})
        await until(lambda: len(got) >= 21)
    assert got == [*range(21)]


async def test_a_live_publish_that_cannot_be_sent_is_raised_by_its_handler(here, there):
    worker, raised = Worker("bridge"), []

    @worker.on_event("order.placed")
    async def on_placed(event, client) -> None:
        await event_gate.wait()
        try:
            await client.publish("order.flagged", {})
        except Exception as exc:
            raised.append(type(exc).__name__)

    event_gate = asyncio.Event()
    await here.add(worker)
    async with Proxy(there.url) as proxy, attached(here, there, url=proxy.url, live=True) as attachment:
        there.publish("order.placed", {})
        await until(lambda: attachment.waiting)
        proxy.is_closed = True
        proxy.cut()
        event_gate.set()
        await until(lambda: raised)
    assert raised
    assert "order.flagged" not in [event.kind for event in there.history.events()]


async def test_after_a_live_attachment_workers_publish_here_again(here, there):
    worker, got = listener()
    await here.add(worker)
    client = here.client(worker="bridge", capability="notebook")
    async with attached(here, there, live=True):
        await client.publish("order.one", {})
    await client.publish("order.two", {})
    assert "order.one" in [event.kind for event in there.history.events()]
    assert "order.one" not in [event.kind for event in here.history.events()]
    assert "order.two" in [event.kind for event in here.history.events()]
