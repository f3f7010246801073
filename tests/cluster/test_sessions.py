"""Sessions of runtimes that share a real server: made, run, answered and deleted on any, and taken over."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from dnworker import Runtime, RuntimeClient

broker = pytest.importorskip("dnworker.events.brokers.jetstream.broker")
connecting = pytest.importorskip("dnworker.events.brokers.jetstream.connecting")

_numbers = itertools.count(1)


async def echo(turn):
    turn.say("you said ")
    turn.say(turn.message)


def runtime_of(url, namespace, reply=echo, **options):
    settings = connecting.ServerSettings(servers=(url,), namespace=namespace, max_bytes=100_000_000)
    runtime = Runtime(broker=broker.JetStreamBroker(settings), **{"port": None} | options)
    runtime.agents.default(reply)
    return runtime


@asynccontextmanager
async def runtimes(server, count=2, **options) -> AsyncIterator[list[Runtime]]:
    """Run some runtimes of a namespace that nothing else has."""
    namespace = f"sessions{next(_numbers)}"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(runtime_of(server.url, namespace, **options))
            for _ in range(count)
        ]


async def until(is_true, seconds=30.0):
    ends_at = asyncio.get_running_loop().time() + seconds
    while not is_true():
        assert asyncio.get_running_loop().time() < ends_at, f"it is not so after {seconds:g} s"
        await asyncio.sleep(0.01)


async def test_a_session_is_used_from_every_runtime_over_http(shared_server):
    async with runtimes(shared_server, port=0) as (one, two), AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(RuntimeClient(node.url, auth_token=node.tokens.main))
            for node in (one, two)
        ]
        made = await first.create_session(session_id="s", project="p")
        assert await second.get_session("s") == made
        done = await second.run_turn(session_id="s", message="m0")
        assert done["response_text"] == "you said m0"
        texts = []
        async for event in second.stream_chat(session_id="s", message="m1"):
            if isinstance(event, dict) and event.get("type") == "generationcontent":
                texts.append(event["data"]["content"])
        assert "you said m1".startswith("".join(texts))  # none comes after the end of the turn
        await second.set_session_title("s", "t")
        assert (await first.get_session("s")).title == "t"
        assert len(await second.fetch_session_messages("s")) == 4
        assert one.commands.shared.leases.get("s") is not None
        await second.delete_session("s")
        await until(lambda: one.bus.is_deleted("s") and two.bus.is_deleted("s"))
        assert await first.get_session("s") is None


async def test_turns_that_two_runtimes_start_at_once_have_one_order_and_one_end_each(shared_server):
    async with runtimes(shared_server) as nodes:
        ended = []
        for node in nodes:
            node.bus.tap(lambda e: ended.append(e.turn_id) if e.terminal else None)
        done = await asyncio.gather(
            *(nodes[n % 2].client().run_turn(session_id="s", message=f"m{n}") for n in range(30))
        )
        assert [one["response_text"] for one in done] == [f"you said m{n}" for n in range(30)]
        await until(lambda: len(ended) == 60)
        assert {turn: ended.count(turn) for turn in ended} == dict.fromkeys(ended, 2)
        assert len(await nodes[1].client().fetch_session_messages("s")) == 60


async def test_a_question_is_answered_on_the_other_runtime(shared_server):
    async def ask(turn):
        return await turn.ask("which?", ["red", "blue"])

    async with runtimes(shared_server, reply=ask) as (one, two):
        turn = asyncio.create_task(one.client().run_turn(session_id="s", message="m"))
        await until(lambda: "s" in two.sessions and two.sessions.get("s").prompts)
        request = two.sessions.get("s").prompts[0]["request_id"]
        answer = {"request_id": request, "action": "submit", "answers": [{"selected_labels": ["blue"]}]}
        await two.client()._connection.respond("s", answer)
        assert (await turn)["response_text"] == "blue"


KILLED = """
import asyncio, sys
from tests.cluster.test_sessions import runtime_of

async def forever(turn):
    turn.say("half ")
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with runtime_of(sys.argv[1], sys.argv[2], forever) as runtime:
        for n in range(3):
            events = await runtime.client()._connection.start_turn("s", {"message": f"m{n}"})
            events.close()
        print("started", flush=True)
        while runtime.sessions.get("s").is_here:
            await asyncio.sleep(0.05)
        print("left", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_turns_of_a_runtime_that_is_killed_go_on_in_another(shared_server):
    async with runtimes(shared_server, 1) as (one,):
        namespace = one.bus.broker.settings.namespace
        kinds = []
        one.bus.tap(lambda e: kinds.append((e.kind, e)) if e.session_id == "s" else None)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, shared_server.url, namespace, stdout=asyncio.subprocess.PIPE
        )
        try:
            said = {await process.stdout.readline() for _ in range(2)}
            assert said == {b"begun\n", b"started\n"}
            await until(
                lambda: [
                    e for e in one.bus.kept("s", 0) if e.payload.get("event_type") == "generationcontent"
                ]
            )
            killed_at = asyncio.get_running_loop().time()
        finally:
            process.kill()
            await process.wait()
        await until(lambda: len([e for _, e in kinds if e.terminal]) == 3)
        assert asyncio.get_running_loop().time() - killed_at < 15
        failed, *others = [e for _, e in kinds if e.terminal]
        assert (failed.kind, failed.payload["retryable"]) == ("turn.failed", True)
        assert failed.payload["partial_response"] == "half "
        assert [e.payload["response_text"] for e in others] == ["you said m1", "you said m2"]


async def test_a_runtime_that_stood_still_for_long_leaves_its_turns_to_the_other(shared_server):
    async with runtimes(shared_server, 1) as (one,):
        namespace = one.bus.broker.settings.namespace
        seen = []
        one.bus.tap(lambda e: seen.append(e) if e.session_id == "s" else None)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", KILLED, shared_server.url, namespace),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert {await process.stdout.readline() for _ in range(2)} == {b"begun\n", b"started\n"}
            process.send_signal(signal.SIGSTOP)
            await until(lambda: len([e for e in seen if e.terminal]) == 3)
            process.send_signal(signal.SIGCONT)
            await one.client().run_turn(session_id="s", message="m3")  # while the other wakes
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"left\n"
        finally:
            process.kill()
            await process.communicate()
        ends = [e for e in seen if e.terminal]
        assert [e.kind for e in ends] == ["turn.failed", *["turn.completed"] * 3]
        assert len({e.turn_id for e in ends}) == 4
        began = [e.turn_id for e in seen if e.kind == "turn.started"]
        assert len(set(began)) == len(began) == 4
        assert len(await one.client().fetch_session_messages("s")) == 6


async def test_an_answer_that_is_larger_than_the_server_takes_is_there_on_both(shared_server):
    text = "x" * 2_500_000
    async with runtimes(shared_server, reply=lambda turn: text) as (one, two):
        await one.client().run_turn(session_id="s", message="m")
        assert (await two.client().fetch_session_messages("s"))[-1]["content"] == text


async def test_a_turn_goes_on_while_the_server_is_restarted(server):
    gate = asyncio.Event()

    async def wait(turn):
        await gate.wait()
        return "done"

    async with runtimes(server, reply=wait) as (one, two):
        running = asyncio.create_task(two.client().run_turn(session_id="s", message="m"))
        await until(lambda: "s" in one.sessions and one.sessions.get("s").running)
        server.kill()
        gate.set()
        server.start()
        assert (await asyncio.wait_for(running, 40))["response_text"] == "done"
        assert len(await one.client().fetch_session_messages("s")) == 2
