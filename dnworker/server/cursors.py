"""The endpoints that show how far workers are with the events that the broker keeps, and change that."""

from __future__ import annotations

import msgspec

from dnworker.events.brokers.base import CursorInfo
from dnworker.server.api import ApiCall, Fields, endpoint


class Cursors(msgspec.Struct):
    """How far each worker is, those that are gone among them."""

    broker: str
    file: str | None
    """That events are kept in; None for memory."""
    latest_seq: int
    cursors: list[CursorInfo]


class Reset(Fields):
    """The `seq` after which the worker begins again; -1 for what comes from now on."""

    start: int


class Done(msgspec.Struct):
    """The worker whose cursor was changed."""

    worker: str


@endpoint("GET", "/api/cursors", answer=Cursors)
async def cursors(call: ApiCall) -> object:
    """Tell how far each worker is."""
    bus = call.engine.bus
    journal = bus.broker.journal
    file = None if journal is None else str(journal.path)
    return Cursors(bus.broker.name, file, bus.latest_seq, await bus.broker.cursors())


@endpoint("POST", "/api/cursors/{worker}/reset", body=Reset, answer=Done, errors=(404, 409))
async def reset(call: ApiCall) -> object:
    """Let a worker that does not run begin elsewhere."""
    await call.engine.bus.broker.reset(call.path["worker"], call.body.start)
    return Done(call.path["worker"])


@endpoint("DELETE", "/api/cursors/{worker}", answer=Done, errors=(404, 409))
async def drop(call: ApiCall) -> object:
    """Forget a worker that is not there any more, with what waits for it."""
    await call.engine.bus.broker.drop(call.path["worker"])
    return Done(call.path["worker"])


endpoints = [cursors, reset, drop]
