"""The endpoints `/api/ready`, `/api/health`, `/api/runtime` and `/api/reload` (contract 6.2, 6.3)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.responses import Response

from dnworker.client.event_stream import NO_GROUPS
from dnworker.core.lifecycle import WorkerState
from dnworker.core.models import RuntimeInfo
from dnworker.server.api import ApiCall, Fields, endpoint
from dnworker.server.responses import JSONResponse
from dnworker.server.rights import Right
from dnworker.workers.managed import ManagedWorker

API_VERSION = "1.0.0"

BROKER_FAILED = "broker_failed"
"""The `detail` while what keeps the events can accept none; logs, `dnworker nodes` and the panel say why."""

WORKERS_NOT_READY, STOPPING = "workers_not_ready", "stopping"
"""The `detail` of a probe that asks for workers, and while the runtime stops."""


class ReloadReport(msgspec.Struct):
    """How the last reload went; times are seconds since the start."""

    active: bool = False
    started_sec: float | None = None
    finished_sec: float | None = None
    error: str | None = None


class Report(msgspec.Struct, kw_only=True):
    """How far the runtime is."""

    status: Literal["ok", "degraded", "starting", "stopping", "waiting"] = "ok"
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
    workers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Those asked for by name that are not ready, and why: `starting`, `error`, `down` or `unknown`."""


class ReadyQuery(Fields):
    """Whose readiness counts, too: workers by name, or `all`."""

    workers: list[Annotated[str, Meta(max_length=300)]] = []


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


@endpoint("GET", "/api/ready", right=None, query=ReadyQuery, answer=Report, errors=(503,))
def ready(call: ApiCall) -> Response:
    """Answer whether capabilities are loaded and workers were started.

    A runtime whose broker has failed is ready all the same: clients of workers would give up otherwise. With
    `workers=CAPABILITY:WORKER` that worker must run, here or on another node; with `workers=all` none may
    start or be in error. A runtime that stops is not ready, and says in `Retry-After` when it is gone.
    """
    report = _report(call)
    if report.stage == "stopping":
        report.status, report.detail = "stopping", STOPPING
        return JSONResponse(report, 503, {"Retry-After": str(call.engine.drain.retry_after)})
    if report.stage != "ready":
        report.status = "starting"
        return JSONResponse(report, 503)
    return _with_workers(report, call.engine.workers(), call.query.workers)


def _with_workers(report: Report, workers: list[ManagedWorker], asked: list[str]) -> Response:
    """Return what a probe hears of workers: no names but those that it has said, and no text of an error."""
    named = [name for name in asked if name != "all"]
    if named:
        states = {one.qualified_name: why_not_ready(one) for one in workers}
        report.workers = {name: why for name in named if (why := states.get(name, "unknown")) is not None}
    is_waiting = bool(report.workers) or ("all" in asked and any(map(_holds_back, workers)))
    if is_waiting:
        report.status, report.detail = "waiting", WORKERS_NOT_READY
    return JSONResponse(report, 503 if is_waiting else 200, {NO_GROUPS: "1"})


def why_not_ready(worker: ManagedWorker) -> str | None:
    """Return why a worker is not ready, in a word; None where it is, or another node has it."""
    if worker.state is WorkerState.ERROR:
        return "error"
    if worker.is_starting:
        return "starting"
    return None if worker.state in (WorkerState.RUNNING, WorkerState.STANDBY) else "down"


def _holds_back(worker: ManagedWorker) -> bool:
    """Return whether a worker that nobody has named is in error or starts."""
    return why_not_ready(worker) in ("error", "starting")


@endpoint("GET", "/api/runtime", right=Right.RUNTIME, answer=RuntimeInfo)
def info(call: ApiCall) -> object:
    """Tell what the runtime has and how it stands."""
    return call.engine.info()


@endpoint("POST", "/api/reload", right=Right.RELOAD, query=ReloadQuery, answer=RuntimeInfo, errors=(404,))
async def reload(call: ApiCall) -> object:
    """Read one capability or all from disk again, with a full stop and start of their workers."""
    return await call.engine.reload(call.query.capability, wait=call.query.wait)


endpoints = [health, ready, info, reload]
