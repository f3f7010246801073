"""`/api/ready`, `/api/health`, `/api/runtime` and `/api/reload` (contract 6.2, 6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dnworker.server.responses import JSONResponse

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

API_VERSION = "1.0.0"


def _report(runtime: Runtime) -> dict[str, object]:
    assert runtime.server is not None
    return {
        "status": "ok",
        "version": API_VERSION,
        "stage": "ready",
        "detail": None,
        "elapsed_sec": runtime.server.uptime,
        "timings": {},
        "durations": {},
        "timing_anchor": "process",
        "step": None,
        "step_index": None,
        "step_total": None,
        "item": None,
        "reload": {
            "active": runtime.is_reloading,
            "started_sec": None,
            "finished_sec": None,
            "error": runtime.reload_error,
        },
    }


async def report(request: Request) -> Response:
    """Say that the runtime is there; the server listens only once it is."""
    return JSONResponse(_report(request.app.state.runtime))


async def info(request: Request) -> Response:
    """Return what the runtime tells about itself."""
    return JSONResponse(request.app.state.runtime.info())


async def reload(request: Request) -> Response:
    """Reload all capabilities and return the new state."""
    return JSONResponse(await request.app.state.runtime.reload())


routes = [
    Route("/api/health", report),
    Route("/api/ready", report),
    Route("/api/runtime", info),
    Route("/api/reload", reload, methods=["POST"]),
]
