"""A runtime, workers on it, and a view that looks at them."""

from __future__ import annotations

import asyncio

import pytest

from dnworker import Runtime, Worker
from dnworker.panel import (
    capability_part,
    overview_part,
    palette_part,
    run_part,
    runs_part,
    session_parts,
    state_part,
    tail_part,
    worker_changes,
    worker_parts,
)
from dnworker.panel import feed as feeds

from .screen import Screen


@pytest.fixture(autouse=True)
def without_delays(monkeypatch):
    monkeypatch.setattr(feeds, "INTERVAL", 0.0)
    monkeypatch.setattr(worker_changes, "STATS_INTERVAL", 0.0)
    monkeypatch.setattr(state_part, "STATE_INTERVAL", 0.0)
    monkeypatch.setattr(worker_parts, "WORKER_INTERVAL", 0.0)
    monkeypatch.setattr(worker_parts, "LIFE_INTERVAL", 0.0)
    monkeypatch.setattr(worker_parts, "CODE_INTERVAL", 0.0)
    monkeypatch.setattr(overview_part, "OVERVIEW_INTERVAL", 0.0)
    monkeypatch.setattr(runs_part, "INTERVAL", 0.0)
    monkeypatch.setattr(run_part, "INTERVAL", 0.0)
    monkeypatch.setattr(capability_part, "CAPABILITY_INTERVAL", 0.0)
    monkeypatch.setattr(palette_part, "PALETTE_INTERVAL", 0.0)
    monkeypatch.setattr(session_parts, "SESSIONS_INTERVAL", 0.0)
    monkeypatch.setattr(tail_part, "TAIL_INTERVAL", 0.0)
    monkeypatch.setattr(runs_part, "INTERVAL", 0.0)
    monkeypatch.setattr(run_part, "INTERVAL", 0.0)
    monkeypatch.setattr(overview_part, "OVERVIEW_INTERVAL", 0.0)


@pytest.fixture
async def runtime():
    async with Runtime(port=None) as started:
        yield started


@pytest.fixture
async def bridge(runtime):
    """A worker with a handler that fails on what it does not like, and a schedule."""
    worker = Worker("bridge")

    @worker.on_event("demo.ping")
    async def on_ping(event, client):
        if event.payload.get("bad"):
            raise ValueError("bad ping")
        await client.publish("demo.pong", {"n": event.payload.get("n")})

    @worker.every(minutes=5)
    async def tick(client):
        runtime.log_line("notebook:bridge", "ticked")

    return await runtime.add(worker)


@pytest.fixture
async def go(runtime):
    """An event that lets the handler of `demo.slow` end, by an error if the payload says so."""
    go = asyncio.Event()
    worker = Worker("slow")

    @worker.on_event("demo.slow")
    async def slow(event, client):
        await go.wait()
        if event.payload.get("fails"):
            raise ValueError("at last")

    await runtime.add(worker)
    return go


@pytest.fixture
async def screen(runtime):
    return Screen(runtime)
