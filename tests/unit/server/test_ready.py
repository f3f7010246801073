"""`/api/ready` and `/api/health` as probes use them: without a token, with HEAD, and about workers."""

from __future__ import annotations

import httpx
import pytest

from dnworker import Runtime, Worker
from dnworker.core.clock import VirtualClock


def broken(name="broken"):
    worker = Worker(name)

    @worker.on_startup
    async def start(client):
        raise OSError("a secret path")

    return worker


@pytest.fixture
async def served():
    async with Runtime(port=0, clock=VirtualClock()) as runtime:
        await runtime.add(Worker("fine"), capability="demo")
        await runtime.add(broken(), capability="demo")
        await runtime.add(Worker("gated"), capability="demo", when=["later"])
        async with httpx.AsyncClient(base_url=runtime.url, trust_env=False) as client:
            yield runtime, client


async def test_a_worker_in_error_counts_only_where_it_is_asked_for(served):
    _, client = served
    plain, every = await client.get("/api/ready"), await client.get("/api/ready?workers=all")
    assert (plain.status_code, plain.json()["status"], "workers" in plain.json()) == (200, "ok", False)
    assert (every.status_code, every.json()["status"], every.json()["stage"]) == (503, "waiting", "ready")
    assert "broken" not in every.text
    named = await client.get("/api/ready?workers=demo:broken&workers=demo:fine&workers=demo:gated&workers=x")
    assert named.status_code == 503
    assert named.json()["workers"] == {"demo:broken": "error", "demo:gated": "down", "x": "unknown"}
    assert "secret" not in every.text + named.text
    assert (await client.get("/api/ready?workers=demo:fine")).status_code == 200


async def test_all_are_ready_once_the_one_in_error_is_gone(served):
    runtime, client = served
    await runtime.remove("broken")
    assert (await client.get("/api/ready?workers=all")).status_code == 200


@pytest.mark.parametrize("path", ["/api/ready", "/api/health", "/api/ready?workers=all"])
async def test_head_answers_as_get_without_a_body(served, path):
    _, client = served
    head, get = await client.head(path), await client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_a_name_that_is_too_long_is_refused(served):
    _, client = served
    assert (await client.get("/api/ready", params={"workers": "x" * 301})).status_code == 422


async def test_a_runtime_that_is_started_again_after_a_drain_is_ready_and_takes_events():
    runtime = Runtime(port=0)
    await runtime.start()
    runtime.drain.announce(3)
    await runtime.drain.work_off(1, lambda text: None)
    async with httpx.AsyncClient(
        base_url=runtime.url, headers={"Authorization": f"Bearer {runtime.tokens.main}"}, trust_env=False
    ) as client:
        assert (await client.get("/api/ready")).status_code == 503
        refused = await client.post("/api/events", json={"kind": "demo.go"})
        assert (refused.status_code, refused.headers["dnworker-code"]) == (503, "DN931")
    await runtime.stop()
    async with (
        runtime,
        httpx.AsyncClient(
            base_url=runtime.url, headers={"Authorization": f"Bearer {runtime.tokens.main}"}, trust_env=False
        ) as client,
    ):
        assert (await client.get("/api/ready")).status_code == 200
        assert (await client.post("/api/events", json={"kind": "demo.go"})).status_code == 200
