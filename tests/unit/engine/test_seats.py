"""What stands where nodes say what they hold, whoever wrote it, spoils nothing but itself."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec
import pytest

from dnworker.core.lifecycle import WorkerState
from dnworker.engine.placement import SEAT_BYTES, Seat, read_seat
from tests.unit.engine.test_holdings import Cluster

RUNNING, STANDBY = WorkerState.RUNNING, WorkerState.STANDBY


@pytest.fixture
async def cluster():
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


def written(holder: str = "x/1", **of) -> bytes:
    return msgspec.json.encode(Seat(node="x", holder=holder, **of))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b'{"node": "x", "holder": "x/1", "labels": ' + b"[" * 100_000,
        b'{"node": "x", "holder": "x/1", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"node": "x", "holder": "x/1", "holds": {"w": 1' + b"0" * 5_000 + b"}}",
        written(labels=["\x1b[2J"]),
        written(requires={"demo:w": ["a b"]}),
        written(wants=["w" * SEAT_BYTES]),
    ],
    ids=["empty", "bytes", "open", "deep", "number", "label", "requirement", "long"],
)
async def test_what_is_no_seat_spoils_nothing_else(cluster, data):
    assert read_seat(data) is None
    await cluster.store.put("seat.x/1", data)
    await cluster.join("a", "bridge")
    b = await cluster.join("b", "bridge")
    assert cluster.states() == {"a": RUNNING, "b": STANDBY}
    await cluster.nodes["a"].stop()
    await cluster.settle()
    assert b.worker("bridge").state is RUNNING


async def test_a_seat_under_the_key_of_another_does_not_count(cluster):
    await cluster.store.put("seat.y/1", written(holds={"demo:bridge": 99}), seconds=1000)
    a = await cluster.join("a", "bridge")
    assert a.worker("bridge").state is RUNNING


async def test_a_seat_that_never_ends_counts_only_as_long_as_it_is_written_again(cluster):
    await cluster.store.put("seat.x/1", written(holds={"demo:bridge": 99}))
    a = await cluster.join("a", "bridge")
    assert a.worker("bridge").why_standby == "node x holds it"
    for _ in range(10):
        await cluster.clock.advance(3)
        await cluster.store.put("seat.x/1", written(holds={"demo:bridge": 99}))
    assert a.worker("bridge").state is STANDBY
    await cluster.clock.advance(15)
    assert a.worker("bridge").state is RUNNING
