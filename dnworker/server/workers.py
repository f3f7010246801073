"""Worker detail and restart (contract 6.5)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dnworker.server.responses import JSONResponse


async def detail(request: Request) -> Response:
    """Return one worker's detail."""
    runtime = request.app.state.runtime
    return JSONResponse(runtime.worker_detail(**request.path_params))


async def restart(request: Request) -> Response:
    """Restart a worker that is not running."""
    runtime = request.app.state.runtime
    return JSONResponse(await runtime.restart_worker(**request.path_params))


routes = [
    Route("/api/workers/{capability}/{worker}", detail),
    Route("/api/workers/{capability}/{worker}/restart", restart, methods=["POST"]),
]
