"""Makes workers of the reference's SDK report what handlers do, as ours do (`dnworker.workers.reports`).

For the check of an export: with `DNWORKER_OBSERVE` in its environment, `sitecustomize` installs this before
the script begins. Nothing of the script or of the SDK is changed on disk; the registries that are wrapped
have the names and shapes of contract 1.2. It uses the standard library only: the environment is not ours.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

VARIABLE = "DNWORKER_OBSERVE"
MODULE = "dreadnode.capabilities.worker"
_REPORTS = "DNWORKER_REPORTS"
_RUN_SCHEDULES = "DNWORKER_RUN_SCHEDULES"
_NOT_THEIRS = ("dreadnode", "asyncio", "observe", "importlib", "_dnworker_observe")

_running: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("observed", default=None)
"""The ids of the event and of the invocation that run here."""


def wrap(worker_class: Any) -> None:
    """Have every Worker of this class report from its run on."""
    run_until = worker_class._run_until

    @functools.wraps(run_until)
    async def observed(worker: Any, *args: Any, **kwargs: Any) -> Any:
        word = os.environ.pop(_REPORTS, None)
        if word:
            Observer(worker, word)
            _name_causes()
        return await run_until(worker, *args, **kwargs)

    worker_class._run_until = observed


class Observer:
    """Wraps the handlers of one Worker."""

    def __init__(self, worker: Any, word: str) -> None:
        self._word = word
        self._stream = sys.stdout
        self._newest = 0
        self._counts = {kind: len(found) for kind, found in worker._event_handlers.items()}
        self._begun: dict[str, int] = {}
        keys: dict[tuple[str, str, str], None] = {}

        def taken(decorator: str, trigger: str, handler: Any) -> Any:
            key, count = (decorator, trigger, handler.__name__), 2
            while key in keys:  # as our runner counts them
                key, count = (decorator, trigger, f"{handler.__name__}#{count}"), count + 1
            keys[key] = None
            return self._reporting(handler, key)

        worker._startup_handlers[:] = [taken("on_startup", "", h) for h in worker._startup_handlers]
        worker._startup_handlers.append(self._run_schedules)
        for kind, found in worker._event_handlers.items():
            found[:] = [taken("on_event", kind, h) for h in found]
        worker._every_handlers[:] = [(s, taken("every", _label(s), h)) for s, h in worker._every_handlers]
        worker._task_handlers[:] = [taken("task", "", h) for h in worker._task_handlers]
        worker._shutdown_handlers[:] = [taken("on_shutdown", "", h) for h in worker._shutdown_handlers]
        runs_schedules = bool(os.environ.pop(_RUN_SCHEDULES, None))
        self._schedules = [handler for _, handler in worker._every_handlers] if runs_schedules else []
        self._scheduled: set[asyncio.Task[Any]] = set()
        self._tell({"is": "hello", "handlers": [list(key) for key in keys], "observed": True})

    async def _run_schedules(self, client: Any) -> None:
        """Begin a run of every schedule's handler: few are due while a check runs."""
        for handler in self._schedules:
            task = asyncio.create_task(handler(client))
            self._scheduled.add(task)
            task.add_done_callback(self._end_scheduled)

    def _end_scheduled(self, task: asyncio.Task[Any]) -> None:
        self._scheduled.discard(task)
        if not task.cancelled():
            task.exception()  # it is reported already

    def _reporting(self, handler: Any, key: tuple[str, str, str]) -> Any:
        causes = {
            "on_startup": "startup",
            "on_shutdown": "shutdown",
            "on_event": "event",
            "every": "schedule",
        }
        cause = causes.get(key[0], "task")

        @functools.wraps(handler)
        async def reporting(*args: Any) -> Any:
            event = args[0] if key[0] == "on_event" else None
            event_id = getattr(event, "event_id", None)
            mine = self._new_id()
            _running.set((event_id or mine * 2, mine))  # as our own invocations name their cause
            self._tell({"is": "begin", "id": mine, "key": list(key), "cause": cause, "event_id": event_id})
            if event_id is not None:
                self._count(event_id, key[1])
            started = time.monotonic()
            outcome, error = "ok", None
            try:
                return await handler(*args)
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            except BaseException as exc:
                outcome, error = "error", _described(exc)
                raise
            finally:
                took = time.monotonic() - started
                self._tell({"is": "end", "id": mine, "outcome": outcome, "duration": took, "error": error})

        return reporting

    def _count(self, event_id: str, kind: str) -> None:
        """Tell when the last handler of an event has begun."""
        begun = self._begun.pop(event_id, 0) + 1
        if begun >= self._counts.get(kind, 1):
            self._tell({"is": "delivered", "event_id": event_id})
        else:
            self._begun[event_id] = begun

    def _new_id(self) -> str:
        """Return 16 hexadecimal digits that rise."""
        self._newest = max(time.time_ns(), self._newest + 1)
        return f"{self._newest:016x}"

    def _tell(self, report: dict[str, Any]) -> None:
        self._stream.write(f"\x1b_dnworker:{self._word}:{json.dumps(report)}\x1b\\")
        self._stream.flush()


def _label(schedule: Any) -> str:
    """Return what stands behind `every`, as our own schedules say it."""
    if schedule.interval_seconds is not None:
        return f"{schedule.interval_seconds:g}s"
    return f"cron {schedule.cron_expr}"


def _described(exc: BaseException) -> dict[str, Any]:
    frames = [
        {"place": f"{frame.f_code.co_filename}, line {line}", "function": frame.f_code.co_name, "source": ""}
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _NOT_THEIRS
    ]
    return {"type": type(exc).__name__, "message": str(exc), "frames": frames[-20:]}


def _name_causes() -> None:
    """Have requests say which event they answer (W3C Trace Context), as our own client has them."""
    try:
        import httpx
    except ImportError:
        return
    send = httpx.AsyncClient.send
    url = os.environ.get("DREADNODE_RUNTIME_URL", "")

    @functools.wraps(send)
    async def naming(client: Any, request: Any, **kwargs: Any) -> Any:
        running = _running.get()
        if running is not None and url and str(request.url).startswith(url):
            request.headers["traceparent"] = f"00-{running[0]}-{running[1]}-01"
        return await send(client, request, **kwargs)

    setattr(httpx.AsyncClient, "send", naming)  # noqa: B010  mypy would have the exact signature


def install(when_imported: Callable[[str, Callable[[Any], None]], object]) -> None:
    """Wait for the SDK's worker module, and wrap its Worker when it comes."""
    when_imported(MODULE, lambda module: wrap(module.Worker))
