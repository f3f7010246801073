"""The endpoints `/api/ready`, `/api/health`, `/api/runtime` and `/api/reload` (contract 6.2, 6.3)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from dnworker.core.models import RuntimeInfo
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.responses import JSONResponse
from dnworker.server.rights import Right

API_VERSION = "1.0.0"

BROKER_FAILED = "broker_failed"
"""The `detail` while what keeps the events can accept none; logs, `dnworker nodes` and the panel say why."""


class ReloadReport(msgspec.Struct):
    """How the last reload went; times are seconds since the start."""

    active: bool = False
    started_sec: float | None = None
    finished_sec: float | None = None
    error: str | None = None


class Report(msgspec.Struct, kw_only=True):
    """How far the runtime is."""

    status: Literal["ok", "degraded", "starting"] = "ok"
    version: str = API_VERSION
    stage: str
    detail: str | None = None
    elapsed_sec: float
    timings: dict[str, float]
    durations: dict[str, float] = {}
    timing_anchor: str = "process"
    step: str | None = None
    step_index: int | None = None
    step_total: int | None = None
    item: str | None = None
    reload: ReloadReport


class ReloadQuery(Fields):
    """What to reload: one capability, or all; and seconds to wait until no worker starts any more."""

    capability: str | None = None
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


def _report(call: ApiCall) -> Report:
    """Return how far it is, without the text of a failure: it may name a file, and anybody may ask."""
    progress, is_degraded = call.engine.progress, call.engine.bus.broker.failure is not None
    return Report(
        status="degraded" if is_degraded else "ok",
        stage=progress.stage,
        detail=progress.detail or (BROKER_FAILED if is_degraded else None),
        elapsed_sec=progress.elapsed,
        timings=dict(progress.timings),
        reload=ReloadReport(
            call.engine.reloads.is_running,
            progress.reload_started,
            progress.reload_finished,
            call.engine.capabilities.reload_error,
        ),
    )


@endpoint("GET", "/api/health", right=None, answer=Report)
def health(call: ApiCall) -> object:
    """Answer that the runtime is there; `degraded` while its broker can accept no event."""
    return _report(call)


@endpoint("GET", "/api/ready", right=None, answer=Report, errors=(503,))
def ready(call: ApiCall) -> Response:
    """Answer whether capabilities are loaded and workers were started.

    A runtime whose broker has failed is ready all the same: clients of workers would give up otherwise.
    """
    report = _report(call)
    if report.stage == "ready":
        return JSONResponse(report)
    report.status = "starting"
    return JSONResponse(report, 503)


@endpoint("GET", "/api/runtime", right=Right.RUNTIME, answer=RuntimeInfo)
def info(call: ApiCall) -> object:
    """Tell what the runtime has and how it stands."""
    return call.engine.info()


@endpoint("POST", "/api/reload", right=Right.RELOAD, query=ReloadQuery, answer=RuntimeInfo, errors=(404,))
async def reload(call: ApiCall) -> object:
    """Read one capability or all from disk again, with a full stop and start of their workers."""
    return await call.engine.reload(call.query.capability, wait=call.query.wait)


endpoints = [health, ready, info, reload]
