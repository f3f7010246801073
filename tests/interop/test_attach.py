"""A notebook's worker attached to the real SDK's runtime: its events come, and nothing is changed there."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from dnworker import Runtime, TurnFailedError, Worker
from dnworker.attach.attaching import attach

from ..unit.attach.rig import Proxy, settled, until
from .environment import LIMIT, reference_python
from .test_reference import reference_runtime

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

DEPLOYED = """
from dreadnode.capabilities.worker import Worker

worker = Worker(name="bridge")

@worker.on_event("interop.order")
async def on_order(event, client):
    if event.payload["amount"] > 100:
        await client.publish("interop.flagged", {"id": event.payload["id"], "limit": event.payload["limit"]})
"""

MANIFEST = """schema: 1
name: shop
version: "0.1.0"
description: Flags orders.
workers:
  bridge: {path: workers/bridge.py}
"""


@pytest.fixture(scope="module")
def sdk():
    """The interpreter of the reference's environment."""
    return reference_python()


@pytest.fixture
async def deployed(sdk, tmp_path, unused_tcp_port):
    """A client of ours at a real runtime that runs the worker."""
    directory = tmp_path / "capabilities" / "shop"
    (directory / "workers").mkdir(parents=True)
    (directory / "capability.yaml").write_text(MANIFEST)
    (directory / "workers" / "bridge.py").write_text(DEPLOYED)
    async with reference_runtime(sdk, tmp_path, directory.parent, unused_tcp_port) as client:
        yield client


def bridge(limit: int = 100) -> Worker:
    worker = Worker("bridge")

    @worker.on_event("interop.order")
    async def on_order(event, client) -> None:
        if event.payload["amount"] > limit:
            fields = {"id": event.payload["id"], "limit": 1}
            await client.publish("interop.flagged", fields, session_id=None)

    return worker


async def publish(client, number: int, amount: int, *, limit: int = 1, session_id: str | None = None) -> None:
    """Publish an order, and begin anew where the reference has closed an idle connection."""
    for _ in range(3):
        try:
            payload = {"id": number, "amount": amount, "limit": limit}
            await client.publish("interop.order", payload, session_id=session_id)
            return
        except httpx.RemoteProtocolError:
            continue


async def test_a_shadow_at_the_real_runtime_compares_resumes_and_changes_nothing(deployed, monkeypatch):
    monkeypatch.setattr("dnworker.attach.matching.WINDOW", 3.0)
    got = []
    worker = bridge()
    worker.on_event("interop.order")(_noting(got))
    session = await deployed.create_session(session_id="tickets")
    async with Runtime(port=None) as here, Proxy(deployed.server_url) as proxy:
        await here.add(worker)
        attachment = await attach(here, proxy.url, token="interop-token")
        async with asyncio.timeout(LIMIT):
            await until(lambda: attachment.state == "following")
            assert attachment.kind_of_runtime == "reference"
            await publish(deployed, 0, 500)
            await until(lambda: len(got) == 1)
            await until(lambda: "interop.flagged" in (attachment._follower.kinds or ()))
            await asyncio.sleep(1.1)
            await publish(deployed, 1, 50)
            await publish(deployed, 2, 500)
            await publish(deployed, 3, 500, limit=2)
            await until(lambda: len(got) == 4)
            await settled(attachment)
            assert [row.verdict for row in attachment.rows()][1:] == ["unknown", "same", "different"]
            assert attachment.rows()[-1].why == "interop.flagged: limit is 1, and 2 there"
            await publish(deployed, 4, 50, session_id=session.session_id)
            await until(lambda: len(got) == 5)
            proxy.is_closed = True
            proxy.cut()
            await until(lambda: attachment.state == "lost")
            await publish(deployed, 5, 50, session_id=session.session_id)
            await publish(deployed, 6, 50)
            proxy.is_closed = False
            await until(lambda: attachment.state == "following")
            await until(lambda: len(got) == 6)
            await publish(deployed, 7, 50)
            await until(lambda: len(got) == 7)
        await attachment.detach()
    assert [event.payload["id"] for event in got] == [0, 1, 2, 3, 4, 5, 7]
    assert len(attachment.gaps) == 1
    assert {line.partition(" ")[0] for line in proxy.requests} == {"GET"}
    assert [one.session_id for one in await deployed.list_sessions()] == ["tickets"]


def _noting(got):
    async def note(event, client) -> None:
        got.append(event)

    return note


async def test_a_live_worker_publishes_and_starts_turns_at_the_real_runtime(deployed):
    worker, done = Worker("clerk"), []

    @worker.on_event("interop.order")
    async def on_order(event, client) -> None:
        await client.publish("interop.noted", {"id": event.payload["id"]})
        try:
            await client.run_turn(session_id="tickets", message="look at it", model="nobody/nothing")
        except TurnFailedError as exc:
            done.append(exc.turn_id)

    @worker.on_event("turn.failed")
    async def on_failed(event, client) -> None:
        done.append(event.turn_id)

    @worker.on_event("interop.noted")
    async def on_noted(event, client) -> None:
        done.append(event.payload)

    async with Runtime(port=None) as here:
        await here.add(worker)
        attachment = await attach(here, deployed.server_url, token="interop-token", live=True)
        async with asyncio.timeout(LIMIT):
            await until(lambda: attachment.state == "following")
            await publish(deployed, 1, 5)
            await until(lambda: len(done) == 3, 120)
        await attachment.detach()
    assert {"id": 1} in done
    turns = [one for one in done if isinstance(one, str)]
    assert turns == [turns[0]] * 2
    assert "tickets" in [one.session_id for one in await deployed.list_sessions()]
