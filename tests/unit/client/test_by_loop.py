"""One client that several event loops use, one after another and in threads."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from dnworker import Runtime, RuntimeClient
from dnworker.client.http import HttpConnection

LOOPS = 12

left_open = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
"""Of the first loop, which `asyncio.run` closes above an idle connection: the client is not closed there."""


@pytest.fixture
async def runtime():
    """A runtime with a server, which runs on the test's loop."""
    async with Runtime(port=0, token="secret") as runtime:
        yield runtime


async def test_a_thread_that_publishes_by_its_own_loop_fails_no_request_of_the_others(runtime):
    errors: list[BaseException] = []
    async with RuntimeClient(runtime.url, auth_token="secret") as client:

        def publish(n: int) -> None:
            try:
                asyncio.run(client.publish("from.thread", {"n": n}))
            except BaseException as exc:
                errors.append(exc)

        for n in range(LOOPS):
            threads = [threading.Thread(target=publish, args=(n,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
            await asyncio.gather(*(client.publish("from.loop", {"n": n}) for _ in range(3)))
    assert errors == []


@left_open
async def test_a_client_is_used_by_one_asyncio_run_after_another(runtime):
    client = RuntimeClient(runtime.url, auth_token="secret")

    def use() -> list[int]:
        return [asyncio.run(client.publish("from.script", {"n": n}))["seq"] for n in range(LOOPS)]

    seqs = await asyncio.to_thread(use)
    assert seqs == sorted(set(seqs))
    await client.close()
    gc.collect()


async def test_commands_of_another_loop_have_a_socket_of_their_own(runtime):
    async with RuntimeClient(runtime.url, auth_token="secret") as client:
        await client._connection.watch("here")
        await asyncio.wait_for(asyncio.to_thread(asyncio.run, client._connection.watch("there")), 10)
        await client._connection.watch("here-again")
    assert {session.session_id for session in runtime.sessions.list()} >= {"here", "there", "here-again"}


@left_open
async def test_what_belongs_to_loops_that_are_closed_is_let_go(runtime):
    connection = HttpConnection(runtime.url, auth_token="secret")

    def use() -> None:
        for n in range(LOOPS):
            asyncio.run(connection.publish("from.script", {"n": n}, None))

    await asyncio.to_thread(use)
    assert len(connection._open._all) == 1
    await connection.close()
    assert not connection._open._all
    gc.collect()


async def test_a_loop_that_does_not_run_closes_its_connections_when_it_runs_again(runtime):
    connection, paused = HttpConnection(runtime.url, auth_token="secret"), asyncio.new_event_loop()
    await asyncio.to_thread(paused.run_until_complete, connection.publish("from.script", {}, None))
    pool = connection._open._all[paused].sender
    assert pool._open
    await connection.close()

    async def until_closed() -> None:
        while pool._open:
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.to_thread(paused.run_until_complete, until_closed()), 10)
    paused.close()


async def test_a_client_that_was_closed_keeps_connections_again(runtime):
    connection = HttpConnection(runtime.url, auth_token="secret")
    for _ in range(2):
        await connection.publish("from.loop", {}, None)
        assert len(connection._open.here().sender._idle) == 1
        await connection.close()
