"""`state_of`: the state of a worker as it is now, where it can be read; magics and the panel show it."""

from __future__ import annotations

from typing import Any

from dnworker.core.errors import Conflict
from dnworker.core.values import type_name
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker


def state_of(worker: ManagedWorker) -> dict[Any, Any]:
    """Return the state of a worker itself, not a copy.

    Raises:
        Conflict: it is in another process, there is none yet, or the worker has put something else there.
    """
    if not isinstance(worker, InProcessWorker):
        raise Conflict(
            f"{worker.name} runs as a {worker.topology_label}: its state is in that process, and is not read "
            "from here; print what you want to see in a handler, or run it in-process",
            code="DN710",
        )
    registry = worker.worker
    if registry is None:
        raise Conflict(
            f"{worker.name} is {worker.state}, and has no state yet; it has one once it has started",
            code="DN710",
        )
    state: object = registry.state
    if not issubclass(type(state), dict):
        raise Conflict(
            f"the state of {worker.name} is no dict any more: a handler has put a {type_name(state)} there; "
            "write worker.state['name'] = ..., and not worker.state = ...",
            code="DN710",
        )
    return state  # type: ignore[return-value]  # checked without isinstance(), which asks the object
