"""`Telemetry` sends spans, metrics and lines of logs of one runtime; `Runtime` makes it where it is on."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dnworker._version import __version__
from dnworker.core.models import TelemetryUse
from dnworker.engine.measuring import measure
from dnworker.telemetry.exporter import Exporter
from dnworker.telemetry.recorder import Recorder
from dnworker.telemetry.records import Measured
from dnworker.telemetry.sampler import Sampler
from dnworker.telemetry.settings import TelemetrySettings
from dnworker.telemetry.users import Nesting

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.telemetry")

FLUSH_SECONDS, FLUSH_WHILE_FAILING = 2.0, 0.3
"""Seconds that a stop waits for the collector at most; less where it takes nothing anyway."""

_MEASURE_SECONDS = 1.0

_all: weakref.WeakSet[Telemetry] = weakref.WeakSet()


class Telemetry:
    """Hears of everything in a runtime, and has a thread that sends what is sampled.

    Args:
        settings: where it goes, and how much of it.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        self.settings = settings
        self._exporter: Exporter | None = None
        self._sampler = Sampler(settings.sampling)
        self._recorder: Recorder | None = None
        self._nesting: Nesting | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._undo: list[Callable[[], object]] = []
        self._past: dict[str, TelemetryUse] = {}

    async def open(self, engine: Engine) -> None:
        """Hear of an engine from now on; called by its start."""
        self._exporter = exporter = Exporter(self.settings, _resource(engine, self.settings.resource))
        self._sampler = Sampler(self.settings.sampling)
        self._recorder = recorder = Recorder(self._sampler, exporter.spans, exporter.lines)
        if "traces" in exporter.senders:
            nesting = Nesting(recorder.context_of, self._take_users, self.settings.sampling.ratio)
            recorder.nest = lambda: self._undo.append(nesting.open(engine.services.around))
            self._nesting = nesting
            traces = engine.services.traces
            traces.of_event, traces.ratio = recorder.traceparent_of, self.settings.sampling.ratio
            self._undo = [
                engine.bus.tap(recorder.note_event),
                engine.history.listen(recorder.note_invocation),
            ]
        if "logs" in exporter.senders:
            self._undo.append(engine.logs.listen(recorder.note_line))
        if "metrics" in exporter.senders:
            self._measuring = asyncio.create_task(self._measure(engine, exporter), name="dnworker telemetry")
        exporter.start()
        _all.add(self)

    async def close(self, engine: Engine, within: float | None = None) -> None:
        """Send what waits, within the bounds of a stop, and leave nothing; harmless when it is closed.

        Args:
            engine: the one that it hears of.
            within: seconds that are left; None for no bound but ours.
        """
        exporter, self._exporter = self._exporter, None
        if exporter is None:
            return
        seconds = FLUSH_WHILE_FAILING if exporter.is_failing else FLUSH_SECONDS
        seconds = seconds if within is None else min(seconds, max(0.05, within))
        for undo in self._undo:
            undo()
        self._undo = []
        engine.services.traces.of_event = engine.services.traces.ratio = None
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait({self._measuring})
            if not exporter.is_failing:
                await _put_measure(engine, exporter, min(seconds / 2, _MEASURE_SECONDS))
        if self._nesting is not None:
            self._nesting.close()
        await exporter.close(seconds)
        self._past = {use.signal: use for use in self._use(exporter)}
        if self._recorder is not None:
            self._recorder.forget()
        if exporter.is_alive:
            log.warning("telemetry did not end in time; its thread ends with the process")
        _all.discard(self)

    def state(self) -> list[TelemetryUse]:
        """Return how each signal does: what was sent and dropped, and since when it fails."""
        exporter = self._exporter
        return list(self._past.values()) if exporter is None else self._use(exporter)

    def _use(self, exporter: Exporter) -> list[TelemetryUse]:
        found = []
        for signal, sender in exporter.senders.items():
            state, queues = (
                sender.state,
                {
                    "traces": (exporter.spans, exporter.users),
                    "metrics": (exporter.measures,),
                    "logs": (exporter.lines,),
                }[signal],
            )
            found.append(
                TelemetryUse(
                    signal=signal,
                    endpoint=state.endpoint,
                    sent=state.sent,
                    dropped=state.dropped
                    + sum(queue.dropped for queue in queues)
                    + (exporter.pieces_dropped if signal == "traces" else 0),
                    limited=self._sampler.dropped if signal == "traces" else 0,
                    waiting=sum(map(len, queues)),
                    failing_since=state.failing_since,
                    failure=state.failure,
                )
            )
        return found

    def _take_users(self, span: Any) -> None:
        if (exporter := self._exporter) is not None and self._sampler.goes_on():
            exporter.users.append(span)

    async def _measure(self, engine: Engine, exporter: Exporter) -> None:
        """Measure the runtime again and again."""
        while True:
            await asyncio.sleep(self.settings.metric_seconds)
            await _put_measure(engine, exporter, 10.0)

    def leave(self) -> None:
        """Hear no more in a fork, whose parent has the thread."""
        for undo in self._undo:
            undo()
        self._undo, self._exporter = [], None


async def _put_measure(engine: Engine, exporter: Exporter, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            measured = await measure(engine)
    except TimeoutError:
        log.info("the runtime could not be measured within %g s", within)
        return
    except Exception:  # a broker of somebody else's; the next time it may go well
        log.exception("the runtime could not be measured")
        return
    exporter.measures.append(Measured(measured, time.monotonic_ns()))


def _resource(engine: Engine, given: Mapping[str, str]) -> dict[str, str]:
    return {
        "service.name": "dnworker",
        "service.version": __version__,
        "service.instance.id": engine.runtime_id,
        "host.name": platform.node(),
        "process.pid": str(os.getpid()),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "telemetry.sdk.name": "dnworker",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
        **({} if engine.history.node is None else {"dnworker.node": engine.history.node}),
        **given,
    }


def _leave_all() -> None:
    for one in list(_all):
        one.leave()
    _all.clear()


os.register_at_fork(after_in_child=_leave_all)
