"""The endpoints that show and restart one worker (contract 6.5)."""

from __future__ import annotations

from dnworker.server.api import ApiCall, Fields, endpoint


@endpoint("GET", "/api/workers/{capability}/{worker}", errors=(404,))
def detail(call: ApiCall) -> object:
    """Return one worker's state, handlers and process."""
    return call.engine.capabilities.find(**call.path).detail()


class RestartQuery(Fields):
    """Whether a running worker is restarted, too."""

    force: bool = False


@endpoint("POST", "/api/workers/{capability}/{worker}/restart", query=RestartQuery, errors=(404, 409))
async def restart(call: ApiCall) -> object:
    """Start a worker again that is not running; a running one is left alone."""
    worker = call.engine.capabilities.find(**call.path)
    restarted = await worker.restart(force=call.query.force)
    present = call.engine.capabilities.present(worker)  # a reload may have replaced it meanwhile
    return present.detail() | {"restarted": restarted}


endpoints = [detail, restart]
