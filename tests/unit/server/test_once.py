"""The endpoints behind `client.once` and `publish(dedupe=...)`: who a token names, waiting, refusals."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import RuntimeClient
from dnworker.server import once


@pytest.fixture
async def connect(served):
    """Returns a client over HTTP that has a token of the worker that is named, or the operator's."""
    clients = []

    def make(worker=None, token=None):
        token = token or (served.tokens.main if worker is None else served.tokens.mint(worker))
        clients.append(client := RuntimeClient(served.url, auth_token=token))
        return client

    yield make
    for client in clients:
        await client.close()


async def do(client, key, done):
    async with client.once(key) as first:
        if first:
            done.append(key)


async def test_the_token_names_the_worker_whose_key_it_is(served, connect):
    done = []
    await do(connect("demo:bridge"), "a", done)
    await do(connect("demo:bridge"), "a", done)
    await do(served.client(worker="bridge", capability="demo"), "a", done)
    assert done == ["a"]
    await do(connect("demo:relay"), "a", done)
    await do(connect(), "a", done)
    assert done == ["a", "a", "a"]


async def test_a_process_that_is_gone_leaves_the_body_to_the_next(served, connect):
    token = served.tokens.mint("demo:bridge")
    gone, inside, done = connect(token=token), asyncio.Event(), []

    async def hangs():
        async with gone.once("a"):
            inside.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hangs())
    await inside.wait()
    waiting = asyncio.create_task(do(connect("demo:bridge"), "a", done))
    served.tokens.revoke(token)
    await waiting
    assert done == ["a"]
    hanging.cancel()
    await asyncio.wait({hanging})


async def test_who_gives_up_waiting_does_not_get_the_body(served, connect):
    first, second, done = connect("demo:bridge"), connect("demo:bridge"), []
    async with first.once("a"):
        waiting = asyncio.create_task(do(second, "a", done))
        while not _waiters(served, "demo:bridge", "a"):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        while _waiters(served, "demo:bridge", "a"):
            await asyncio.sleep(0)
    await do(second, "a", done)
    assert done == []


def _waiters(served, worker, key):
    return len(served.once._by_key[worker, key].ended._waiters)


async def test_an_event_of_a_key_is_published_once_over_http_too(served, connect, http):
    heard = served.bus.subscribe(["demo.paid"])
    client = connect("demo:bridge")
    first = await client.publish("demo.paid", {"n": 1}, dedupe="a")
    assert await client.publish("demo.paid", {"n": 2}, dedupe="a") == first | {"duplicate": True}
    assert await served.client(worker="bridge", capability="demo").publish(
        "demo.paid", dedupe="a"
    ) == first | {"duplicate": True}
    assert len(heard) == 1
    answer = await http.post("/api/events", json={"kind": "demo.paid"})
    assert answer.json().keys() == {"event_id", "seq"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/once", {"key": "", "claim": "1"}, 422),
        ("/api/once", {"key": "a", "claim": ""}, 422),
        ("/api/once", {"key": "a"}, 422),
        ("/api/once/none/end", {"done": True}, 404),
        ("/api/events", {"kind": "demo.paid", "dedupe": ""}, 422),
    ],
)
async def test_what_makes_no_sense_is_refused(http, path, body, status):
    assert (await http.post(path, json=body)).status_code == status


async def test_a_worker_that_may_only_what_a_worker_needs_may_do_things_once(served, connect):
    served.tokens.worker_scope = "worker"
    done = []
    await do(connect("demo:bridge"), "a", done)
    assert done == ["a"]


async def test_a_runtime_that_has_neither_is_told_of_once_and_the_bodies_run(caplog):
    def answer(request):
        if request.url.path == "/api/events":
            return httpx.Response(200, json={"event_id": "e", "seq": 1})
        status = 200 if request.url.path == "/api/ready" else 404
        return httpx.Response(status, json={"detail": "Not Found"})

    client = RuntimeClient("http://there", auth_token="t", transport=httpx.MockTransport(answer))
    done = []
    for _ in range(2):
        await do(client, "a", done)
        await client.publish("demo.paid", dedupe="a")
    assert done == ["a", "a"]
    assert [r.getMessage() for r in caplog.records if r.name == "dnworker.client"] == [
        "the runtime at http://there does not know client.once(...): the body of the same key runs again",
        "the runtime at http://there does not know client.publish(dedupe=...): an event of the same key is "
        "published again",
    ]
    await client.close()


async def test_a_client_asks_again_while_another_is_in_the_body_for_longer_than_a_request_waits(
    served, connect, monkeypatch
):
    monkeypatch.setattr(once, "WAIT_SECONDS", 0.0)
    first, second, done, asked = connect("demo:bridge"), connect("demo:bridge"), [], asyncio.Event()
    request, answers = second.connection.request, []

    async def counted(*args, **options):
        answers.append(answer := await request(*args, **options))
        if len(answers) == 3:
            asked.set()
        return answer

    monkeypatch.setattr(second.connection, "request", counted)
    async with first.once("a"):
        waiting = asyncio.create_task(do(second, "a", done))
        await asked.wait()
    await waiting
    assert done == []
    assert answers[0] == {"first": None}
    assert answers[-1] == {"first": False}
