"""`dn.widgets`: parts of the panel as ipywidgets, to compose pages of a notebook with.

    state = dn.widgets.WorkerState("bridge")
    ipywidgets.HBox([state, dn.widgets.LogTail("bridge")])
    state.observe(lambda change: print(change.new), names="state")

Each follows the runtime until `close()`; its traits change on the kernel's loop, also where no page shows it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from html import escape
from itertools import islice
from typing import Any, Literal, get_args

import msgspec
from traitlets import Bool, Float, Int, List, Unicode

from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import NotFound, UsageError
from dnworker.core.logs import LogLine
from dnworker.core.series import STEP, bucket_of
from dnworker.events.trace import Trace
from dnworker.panel.log_rows import plain_text
from dnworker_jupyter.display.live_widget import LONGEST_TEXT, LiveWidget, moved
from dnworker_jupyter.display.printed import Room
from dnworker_jupyter.display.tables import workers_table
from dnworker_jupyter.display.trace_html import trace_html
from dnworker_jupyter.display.widget_hub import active_hub

__all__ = ["Chart", "FireForm", "FlowMap", "LogTail", "Waterfall", "WorkerState", "close_all"]

MOST_LINES = 200
MOST_FLOWS = 200
BARS = " ▁▂▃▄▅▆▇█"
RATE_BUCKETS = 4
"""Buckets, a minute, that the number of a chart is of."""


def close_all() -> None:
    """Close every widget of this notebook."""
    active_hub().close()


class WorkerState(LiveWidget):
    """The state of one worker, and how its handlers do; `value` is the state.

    Raises:
        UsageError: there is no such worker.
    """

    VALUE = "state"

    worker = Unicode("").tag(sync=True)
    state = Unicode("").tag(sync=True)
    error = Unicode(None, allow_none=True).tag(sync=True)
    calls = Int(0).tag(sync=True)
    errors = Int(0).tag(sync=True)
    warnings = Int(0).tag(sync=True)
    in_flight = Int(0).tag(sync=True)
    failing = List(Unicode()).tag(sync=True)
    generation = Int(0).tag(sync=True)
    restarts = Int(0).tag(sync=True)
    topology = Unicode("").tag(sync=True)

    def __init__(self, worker: str) -> None:
        super().__init__(worker=self._named(worker).qualified_name)

    def rename(self, former: str, name: str) -> None:
        """Follow a capability that has another name now."""
        self.worker = moved(self.worker, former, name)

    def _look(self) -> None:
        try:
            worker = self._runtime.worker(self.worker)
        except NotFound:
            self.state = "removed"
            return
        stats = worker.stats
        error = worker.error or worker.losses or worker.last_handler_error
        self.calls = sum(one.calls for one in stats.values())
        self.errors = sum(one.errors for one in stats.values())
        self.warnings = sum(one.warnings for one in stats.values())
        self.in_flight = sum(one.in_flight for one in stats.values())
        self.failing = [key.name for key, one in stats.items() if one.is_failing]
        self.generation, self.restarts = worker.generation, worker.restarts
        self.topology = worker.topology_label
        self.error = None if error is None else error[:LONGEST_TEXT]
        self.state = str(worker.state)

    def _text(self) -> str:
        failed = f", {self.errors:,} failed" if self.errors else ""
        busy = f", {self.in_flight:,} in flight" if self.in_flight else ""
        error = f"\n  {self.error}" if self.error else ""
        return f"{self.worker}: {self.state}, {self.calls:,} calls{failed}{busy}{error}"


class LogTail(LiveWidget):
    """The newest lines of one worker, or of all; `value` is the last one.

    Args:
        worker: its name; None for all.
        lines: how many are shown, up to 200.

    Raises:
        UsageError: there is no such worker.
    """

    VALUE = "last"

    worker = Unicode(None, allow_none=True).tag(sync=True)
    lines = Int(10, min=1, max=MOST_LINES).tag(sync=True)
    last = Unicode("").tag(sync=True)
    level = Unicode("").tag(sync=True)
    error = Unicode(None, allow_none=True).tag(sync=True)
    number = Int(0).tag(sync=True)

    def __init__(self, worker: str | None = None, *, lines: int = 10) -> None:
        if not 1 <= lines <= MOST_LINES:
            raise UsageError(f"a LogTail shows 1 to {MOST_LINES} lines, not {lines}", code="DN119")
        name = None if worker is None else self._named(worker).qualified_name
        self._tail: deque[LogLine] = deque(maxlen=MOST_LINES)
        super().__init__(worker=name, lines=lines)
        # Now that new lines are noted, those before: a line that is in both is shown once.
        self._tail = deque([*self._runtime.logs.tail(MOST_LINES, name), *self._tail], MOST_LINES)
        self._look()

    def rename(self, former: str, name: str) -> None:
        """Follow a capability that has another name now."""
        if self.worker is not None:
            self.worker = moved(self.worker, former, name)

    def note_line(self, line: LogLine) -> None:
        """Keep a line of this worker."""
        if self.worker is None or line.worker == self.worker:
            self._tail.append(line)

    def _look(self) -> None:
        lines = self._shown()
        if not lines:
            return
        failed = [line for line in lines if line.level in ("error", "critical")]
        self.error = plain_text(failed[-1].text)[:LONGEST_TEXT] if failed else None
        self.level, self.number = lines[-1].level, lines[-1].number
        self.last = plain_text(lines[-1].text)[:LONGEST_TEXT]

    def _shown(self) -> list[LogLine]:
        """Return the lines as they are now: the end of a print may have come later."""
        numbers = [*dict.fromkeys(line.number for line in [*self._tail])]
        found: list[LogLine] = self._runtime.logs.pick(numbers[-self.lines :])
        return found

    def _text(self) -> str:
        shown = [
            f"{line.timestamp.astimezone():%H:%M:%S} {'' if self.worker else f'{line.worker}  '}"
            f"{plain_text(line.text)[:LONGEST_TEXT]}"
            for line in self._shown()
        ]
        return "\n".join(shown) or f"{self.worker or 'the log'}: nothing logged yet"


class Waterfall(LiveWidget):
    """One run, from its event on, as it goes on; `value` is the event that was selected in it.

    Args:
        trace: what `fire` returned, an event, its id, or its number such as `#12`.

    Raises:
        UsageError: no such event is kept.
    """

    VALUE = "selected_event"
    interval = 0.5

    event = Unicode("").tag(sync=True)
    seq = Int(0).tag(sync=True)
    kind = Unicode("").tag(sync=True)
    outcome = Unicode("").tag(sync=True)
    running = Bool(False).tag(sync=True)
    calls = Int(0).tag(sync=True)
    errors = Int(0).tag(sync=True)
    error = Unicode(None, allow_none=True).tag(sync=True)
    selected_event = Unicode(None, allow_none=True).tag(sync=True)
    selected_call = Int(None, allow_none=True).tag(sync=True)

    def __init__(self, trace: Trace | EventEnvelope | str) -> None:
        event = _event_of(trace)
        self._revision: object = None
        super().__init__(event=event.event_id, seq=event.seq, kind=event.kind)

    def _look(self) -> None:
        found = self._runtime.history.event(self.event)
        if found is None:
            self.outcome, self.running = "gone", False
            return
        trace = Trace(found, self._runtime.history)
        errors = trace.errors
        self.calls, self.errors = len(trace.runs()), len(errors)
        self.error = f"{errors[0].label}: {errors[0].summary}"[:LONGEST_TEXT] if errors else None
        self.running = trace.is_under_way
        self.outcome = trace.outcome

    def _trace(self) -> Trace | None:
        found = self._runtime.history.event(self.event)
        return None if found is None else Trace(found, self._runtime.history)

    def _text(self) -> str:
        trace = self._trace()
        return f"#{self.seq} {self.kind} is kept no longer" if trace is None else str(trace)

    def _html(self) -> str:
        trace = self._trace()
        return super()._html() if trace is None else trace_html(trace, Room(has_below=False))


class FlowMap(LiveWidget):
    """Which kind goes to which worker; `value` is the node that was selected in it."""

    VALUE = "selected"

    selected = Unicode(None, allow_none=True).tag(sync=True)
    workers = Int(0).tag(sync=True)
    failing = List(Unicode()).tag(sync=True)
    errors = Int(0).tag(sync=True)
    flows = List().tag(sync=True)
    """`[kind, worker, handler, calls, errors]` of each handler that listens, the first 200."""

    def __init__(self) -> None:
        super().__init__()

    def _look(self) -> None:
        workers = self._runtime.workers()
        self.workers = len(workers)
        self.failing = [
            one.qualified_name
            for one in workers
            if str(one.state) == "error" or any(stats.is_failing for stats in one.stats.values())
        ]
        self.errors = len(self.failing)
        self.flows = [*islice(self._flows(), MOST_FLOWS)]

    def _flows(self) -> Iterator[list[Any]]:
        for worker in self._runtime.workers():
            for key, stats in worker.stats.items():
                if key.decorator == "on_event":
                    yield [key.trigger, worker.qualified_name, key.name, stats.calls, stats.errors]

    def _text(self) -> str:
        lines = [f"{kind} -> {worker}.{handler}" for kind, worker, handler, *_ in self._flows()]
        return "\n".join(lines) or "no worker listens to anything yet"

    def _html(self) -> str:
        return f"<pre>{escape(self._text())}</pre>{workers_table(self._runtime.workers())._repr_html_()}"


Metric = Literal["throughput", "errors", "duration", "lag"]
UNITS: dict[str, str] = {"throughput": "calls/s", "errors": "%", "duration": "ms p95", "lag": "ms p99"}


class Chart(LiveWidget):
    """One figure of the last 15 minutes; `value` is the newest number, `values` has one for each 15 s.

    Args:
        metric: `throughput` in calls a second, `errors` in percent of calls, `duration` (p95) in ms, or `lag`
            of the loop (p99) in ms.
        worker: the only one whose calls are counted, for `throughput` and `errors`; None for all.

    Raises:
        UsageError: there is no such metric or worker.
    """

    VALUE = "current"
    is_timed = True
    interval = 1.0

    metric = Unicode("throughput").tag(sync=True)
    worker = Unicode(None, allow_none=True).tag(sync=True)
    unit = Unicode("").tag(sync=True)
    current = Float(None, allow_none=True).tag(sync=True)
    values = List(Float(allow_none=True)).tag(sync=True)
    calls = Int(0).tag(sync=True)
    errors = Int(0).tag(sync=True)
    selected = List(Float()).tag(sync=True)
    """From when to when the chart was brushed, in ms since 1970; empty for nothing."""

    def __init__(self, metric: str = "throughput", worker: str | None = None) -> None:
        if metric not in get_args(Metric):
            raise UsageError(f"no chart {metric!r}; there are {', '.join(get_args(Metric))}", code="DN119")
        if worker is not None and metric in ("duration", "lag"):
            raise UsageError(f"the chart {metric!r} is of all workers; leave the worker out", code="DN119")
        name = None if worker is None else self._named(worker).qualified_name
        super().__init__(metric=metric, worker=name, unit=UNITS[metric])

    def rename(self, former: str, name: str) -> None:
        """Follow a capability that has another name now."""
        if self.worker is not None:
            self.worker = moved(self.worker, former, name)

    def _look(self) -> None:
        series, now = self._runtime.history.series, time.monotonic()
        counts = series.whole.counts(now) if self.worker is None else series.of_worker(self.worker, now)
        self.calls, self.errors = sum(n for n, _ in counts), sum(n for _, n in counts)
        match self.metric:
            case "throughput":
                # The last bucket is under way: its rate is that of the seconds that have passed of it.
                passed = max(1.0, now - bucket_of(now) * STEP)
                self.values = [*(one.calls / STEP for one in counts[:-1]), counts[-1].calls / passed]
                seconds = (RATE_BUCKETS - 1) * STEP + passed
                self.current = sum(one.calls for one in counts[-RATE_BUCKETS:]) / seconds
            case "errors":
                self.values = [_share(one.calls, one.failed) for one in counts]
                some = counts[-RATE_BUCKETS:]
                self.current = _share(sum(one.calls for one in some), sum(one.failed for one in some))
            case "duration":
                spreads = series.quantiles(now)
                self.values = [None if one is None else one.p95 * 1000 for one in spreads]
                lately = series.spread(range(bucket_of(now) - RATE_BUCKETS + 1, bucket_of(now) + 1))
                self.current = None if lately is None else lately.p95 * 1000
            case _:
                lags = [None if one is None else one * 1000 for one in series.lag(now)]
                self.values = lags
                self.current = max((one for one in lags[-RATE_BUCKETS:] if one is not None), default=None)

    def _text(self) -> str:
        of = f" of {self.worker}" if self.worker is not None else ""
        now = "nothing yet" if self.current is None else f"{self.current:.3g} {self.unit}"
        return f"{self.metric}{of}: {now}  {bars(self.values)}"


def _share(calls: int, failed: int) -> float | None:
    return None if not calls else 100.0 * failed / calls


def bars(values: list[float | None]) -> str:
    """Return numbers as bars of text; those that are missing are blank."""
    most = max((one for one in values if one), default=0.0)
    if not most:
        return ""
    last = len(BARS) - 1
    return "".join(BARS[0 if not one else max(1, round(one / most * last))] for one in values)


class FireForm(LiveWidget):
    """A form that fires events of one kind; `value` is the id of the event that it fired last.

    Args:
        kind: of the events.
        payload: to begin with; left out, the runtime proposes one.
        session: the session that they are of.
        worker: the only one that gets them.

    Raises:
        UsageError: there is no such worker, or the payload cannot be JSON.
    """

    VALUE = "event"

    kind = Unicode("").tag(sync=True)
    payload = Unicode("").tag(sync=True)
    session = Unicode(None, allow_none=True).tag(sync=True)
    worker = Unicode(None, allow_none=True).tag(sync=True)
    event = Unicode(None, allow_none=True).tag(sync=True)
    seq = Int(None, allow_none=True).tag(sync=True)
    outcome = Unicode("").tag(sync=True)
    error = Unicode(None, allow_none=True).tag(sync=True)
    calls = Int(0).tag(sync=True)
    errors = Int(0).tag(sync=True)

    def __init__(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session: str | None = None,
        worker: str | None = None,
    ) -> None:
        name = None if worker is None else self._named(worker).qualified_name
        try:
            text = "" if payload is None else as_text(payload)
        except (TypeError, msgspec.MsgspecError, RecursionError) as exc:
            raise UsageError(f"the payload of a FireForm must be JSON: {exc}", code="DN204") from None
        super().__init__(kind=kind, payload=text, session=session, worker=name)
        if payload is None:
            self._hub.begin(self._propose)

    async def fire(self) -> Trace:
        """Fire the event, and wait until all that it caused has ended.

        Raises:
            UsageError: the payload is no JSON object.
        """
        try:
            payload = msgspec.json.decode(self.payload or "{}", type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise UsageError(f"the payload is no JSON object: {exc}", code="DN204") from None
        fire = self._hub.fire if self._hub.fire is not None else self._fire
        trace: Trace = await fire(self.kind, payload, session_id=self.session, only=self.worker)
        self.event = trace.event.event_id
        self._look()
        return trace

    async def _fire(self, kind: str, payload: dict[str, Any], **fields: Any) -> Any:
        return await self._hub.loop.enter(lambda: self._runtime.fire(kind, payload, **fields))

    async def _propose(self) -> None:
        if self._hub.suggest is None:
            return
        payload, _ = await self._hub.suggest(self.kind)
        if not self.payload and not self.is_closed:
            self.payload = as_text(payload)

    def _look(self) -> None:
        event = None if self.event is None else self._runtime.history.event(self.event)
        if event is None:
            return
        trace = Trace(event, self._runtime.history)
        errors = trace.errors
        self.seq, self.calls, self.errors = event.seq, len(trace.runs()), len(errors)
        self.error = f"{errors[0].label}: {errors[0].summary}"[:LONGEST_TEXT] if errors else None
        self.outcome = trace.outcome

    def _text(self) -> str:
        fired = "" if self.seq is None else f"\nfired #{self.seq}: {self.outcome}"
        return f"%%fire {self.kind}\n{self.payload or '{}'}{fired}"


def as_text(payload: dict[str, Any]) -> str:
    """Return a payload as JSON to edit."""
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()


def _event_of(trace: Trace | EventEnvelope | str) -> EventEnvelope:
    if isinstance(trace, Trace):
        return trace.event
    if isinstance(trace, EventEnvelope):
        return trace
    history = active_hub().runtime.history
    found = history.event(trace)
    if found is None and trace.lstrip("#").isdigit():
        number = int(trace.lstrip("#"))
        found = next((one for one in history.events(history.kept) if one.seq == number), None)
    if found is None:
        raise UsageError(f"no event {trace!r} is kept; %events shows those that are", code="DN209")
    return found
