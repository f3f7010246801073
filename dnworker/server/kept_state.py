"""The endpoints by which a worker process keeps its state over its end; its token names the worker."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from dnworker.core.errors import Conflict, TooLarge
from dnworker.core.plain_state import LARGEST_STATE
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right
from dnworker.workers.kept_state import load, name_of, restored


class KeptState(msgspec.Struct):
    """The state that the worker had last."""

    state: dict[str, Any]


class NewState(Fields):
    """What is kept from now on."""

    state: dict[str, msgspec.Raw]


class Done(msgspec.Struct):
    """How much is kept."""

    bytes: int


@endpoint("GET", "/api/state", right=Right.PUBLISH, answer=KeptState, errors=(409,))
async def state(call: ApiCall) -> object:
    """Return what is kept of the state of the worker that asks."""
    worker = _worker(call)
    data = await load(call.engine.bus.broker, worker)
    services = call.engine.services
    warn = partial(services.log_line, worker, source="runtime", level="warning")
    return KeptState(restored(data, warn))


@endpoint("PUT", "/api/state", right=Right.PUBLISH, body=NewState, answer=Done, errors=(409, 413, 507))
async def put_state(call: ApiCall) -> object:
    """Keep the state of the worker that asks."""
    data = msgspec.json.encode(call.body.state)
    if len(data) > LARGEST_STATE:
        raise TooLarge(f"the state is {len(data):,} bytes; at most {LARGEST_STATE:,} are kept", code="DN712")
    await call.engine.bus.broker.put(name_of(_worker(call)), data)
    return Done(len(data))


def _worker(call: ApiCall) -> str:
    worker = call.scope.get("worker")
    if worker is None or not call.engine.services.keeps_state_of(call.engine.worker(worker)):
        who = f"worker {worker!r} is none whose state is kept" if worker else "the operator has no state"
        raise Conflict(f"{who}; start it with --keep-state", code="DN712")
    return str(worker)


endpoints = [state, put_state]
