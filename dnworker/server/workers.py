"""The endpoints that show and restart one worker (contract 6.5)."""

from __future__ import annotations

from dnworker.core.causes import because
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.rights import Right, demand, is_limited


@endpoint("GET", "/api/workers/{capability}/{worker}", right=Right.OWN_DETAIL, errors=(404,))
def detail(call: ApiCall) -> object:
    """Return one worker's state, handlers and process."""
    if not _is_own(call):
        demand(call.scope, Right.DETAILS, call.engine.tokens)
    return call.engine.capabilities.find(**call.path).detail()


class RestartQuery(Fields):
    """Whether a running worker is restarted, too."""

    force: bool = False


@endpoint(
    "POST",
    "/api/workers/{capability}/{worker}/restart",
    right=Right.RESTART,
    query=RestartQuery,
    errors=(404, 409),
)
async def restart(call: ApiCall) -> object:
    """Start a worker again that is not running; a running one is left alone."""
    worker = call.engine.capabilities.find(**call.path)
    by = call.scope.get("worker")
    with because(f"{by} asked for a restart" if by else "Restart by the API"):
        restarted = await worker.restart(force=call.query.force)
    present = call.engine.capabilities.present(worker)  # a reload may have replaced it meanwhile
    detail = present.detail() | {"restarted": restarted}
    if not _is_own(call) and is_limited(call.scope, call.engine.tokens):
        detail.pop("process", None)  # a peer may restart it, and not read its output
    return detail


def _is_own(call: ApiCall) -> bool:
    return call.scope.get("worker") == f"{call.path['capability']}:{call.path['worker']}"


endpoints = [detail, restart]
