"""Runs one worker's handlers on the current loop: start, dispatch, schedules, tasks, stop (contract 2)."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dnworker.core.clock import Clock, RealClock, current_clock
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey, handler_name
from dnworker.core.invocation import (
    Cause,
    Invocation,
    current_invocation,
    describe,
    feeds_handlers,
)
from dnworker.core.lifecycle import SHUTDOWN_ERRORS, WorkerState, move
from dnworker.core.schedule import STABLE_AFTER, Backoff, ScheduleSpec
from dnworker.core.stats import HandlerStats
from dnworker.core.text import valid_text
from dnworker.workers.worker import Worker

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope

log = logging.getLogger("dnworker.runner")

STOP_GRACE = 5.0
"""Seconds that shutdown handlers get, and that cancelled handlers get to end; the subprocess's grace too."""

DISPATCH_BATCH = 64
"""Events of a burst that are handed to handlers before the loop turns."""

CLOCK_ROUNDING = timedelta(milliseconds=10)
"""How much too early a clock may wake who sleeps until a time of day."""

ALL_TASKS_CRASHED = "All tasks crashed"

EventSource = Callable[[frozenset[str]], AsyncIterator["EventEnvelope"]]
StateListener = Callable[[WorkerState, str | None], None]


class HandlerClient(Protocol):
    """What the runner itself needs of a client; handlers get the whole object."""

    def session_group(
        self, title: str, *, kind: str, worker: str | None, metadata: dict[str, Any]
    ) -> AbstractAsyncContextManager[object]:
        """Group the sessions that the body creates."""
        ...


class Recorder(Protocol):
    """Told of every invocation. `History` is one; a worker process has one that logs."""

    def begin(self, invocation: Invocation) -> None:
        """Note that it is under way."""

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Note how it ended."""

    def delivered(self, envelope: EventEnvelope) -> None:
        """Note that all invocations of the event have begun."""


class LoggingRecorder:
    """Logs what handlers raise; for workers that run as a process of their own."""

    def begin(self, invocation: Invocation) -> None:
        """Nothing to do."""

    def end(
        self, invocation: Invocation, exc: BaseException | None = None, *, cancelled: bool = False
    ) -> None:
        """Log a failure with the user's frames."""
        invocation.end("error" if exc else "cancelled" if cancelled else "ok", describe(exc) if exc else None)
        log_failure(invocation)

    def delivered(self, envelope: EventEnvelope) -> None:
        """Nothing to do."""


def log_failure(invocation: Invocation) -> None:
    """Log what a handler raised, if it did."""
    if invocation.error is not None:
        lines = "\n".join(invocation.error.lines())
        log.error("%s (%s) failed:\n%s", invocation.label, invocation.cause, lines)


@dataclass(slots=True, frozen=True)
class _Bound:
    """An event handler with all that its invocations have in common."""

    handler: Any
    name: str
    key: HandlerKey
    title: str
    task_name: str


@dataclass(slots=True, eq=False)
class _Supervised:
    """One `@worker.task` and how its restarts stand."""

    handler: Any
    backoff: Backoff = field(default_factory=Backoff)
    running_since: float | None = None

    def is_exhausted(self, now: float) -> bool:
        stable = self.running_since is not None and now - self.running_since >= STABLE_AFTER
        return self.backoff.exhausted and not stable


class WorkerRunner:
    """Owns every task of one in-process worker.

    `start` and `stop` never raise for what handlers do: look at `state` and `error`.

    Args:
        worker: whose handlers run.
        client: handed to every handler.
        event_source: called once with the kinds; gives the async iterator of envelopes.
        on_state_change: called with each new state and its error text.
        qualified_name: `capability:worker`, for session groups and traces.
        clock: schedules, backoff and task ages.
        recorder: told of every invocation.
        grace: seconds for shutdown handlers, and for cancelled ones to end.
    """

    def __init__(
        self,
        worker: Worker,
        client: HandlerClient,
        *,
        event_source: EventSource,
        on_state_change: StateListener | None = None,
        qualified_name: str | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        grace: float = STOP_GRACE,
    ) -> None:
        self.worker = worker
        self.generation = 1
        self.stats: dict[HandlerKey, HandlerStats] = {}
        self._due: dict[HandlerKey, datetime | float] = {}
        self.state = WorkerState.LOADING
        self.error: str | None = None
        self._client = client
        self._event_source = event_source
        self._on_state_change = on_state_change
        self._label = qualified_name or worker.name or "worker"
        self._clock = clock or RealClock()
        self._recorder = recorder or LoggingRecorder()
        self._grace = grace
        self._events: AsyncIterator[EventEnvelope] | None = None
        self._startup: asyncio.Task[str | None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._dispatch: asyncio.Task[None] | None = None
        self._schedules: dict[HandlerKey, asyncio.Task[None]] = {}
        self._supervisors: dict[HandlerKey, tuple[_Supervised, asyncio.Task[None]]] = {}
        self._in_flight: dict[asyncio.Task[Any], Invocation] = {}
        self._bound: dict[str, tuple[_Bound, ...]] = {}
        self._context = contextvars.Context()  # of all our tasks: it knows the clock, and nothing else
        self._context.run(current_clock.set, self._clock)
        self._released = asyncio.Event()  # set once startup is over: events may be handled

    # -- start and stop --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run the startup handlers, then let events, schedules and tasks run.

        The subscription is made first, so that no event is missed; events wait until startup is over
        (contract 14.3). The first startup handler that raises ends it, in state `error`.
        """
        self._move(WorkerState.STARTING)
        self._count_handlers()
        if self.worker._event_handlers:
            self._events = self._event_source(frozenset(self.worker._event_handlers))
            self._begin_dispatch()
        self._startup = self._spawn(self._run_startup(), "startup")
        try:
            await asyncio.wait({self._startup})
        except asyncio.CancelledError:
            await self._give_up("startup was interrupted")
            raise
        if self.state is not WorkerState.STARTING:
            return  # stop() came in between, or the event stream failed
        failure = "startup was cancelled" if self._startup.cancelled() else self._startup.result()
        if failure:
            await self._give_up(failure)
            return
        for key in _schedules_of(self.worker):
            self._start_schedule(key)
        for key, handler in _tasks_of(self.worker).items():
            self._start_task(key, handler)
        self._move(WorkerState.RUNNING)
        self._released.set()

    async def stop(self) -> None:
        """Cancel what runs, then run the shutdown handlers, last registered first.

        May be called in any state, and by several: all wait for the same stop, which goes on when one of
        them is interrupted. A handler that ignores its cancellation is left behind after the grace.
        """
        if self.state is WorkerState.STOPPED:
            return
        if self._stopping is None:
            self._stopping = self._spawn(self._stop(), "stop")
        await asyncio.shield(self._stopping)

    async def _give_up(self, why: str) -> None:
        """End what startup has begun, and go to `error`."""
        await self._cancel_all()
        await self._close_events()
        if self.state is WorkerState.STARTING:
            self._move(WorkerState.ERROR, why)

    async def _stop(self) -> None:
        self._move(WorkerState.STOPPING)
        await self._cancel_all()
        await self._close_events()
        failures = await self._run_shutdown()
        self._move(WorkerState.STOPPED, SHUTDOWN_ERRORS + "; ".join(failures) if failures else None)

    async def swap(self, worker: Worker) -> None:
        """Replace the handlers of a running worker by those of `worker`, as its next generation.

        Invocations under way finish on the code they started with. A schedule of the same name and rhythm
        keeps its timer; a task whose function is the same object goes on undisturbed, and any other is
        cancelled and started anew. Startup handlers do not run.
        """
        old, self.worker = self.worker, worker
        self.generation += 1
        self._count_handlers()
        self._retarget(frozenset(worker._event_handlers))
        schedules = _schedules_of(worker)
        for key in [key for key in self._schedules if key not in schedules]:
            self._schedules.pop(key).cancel()
        new_tasks, old_tasks = _tasks_of(worker), _tasks_of(old)
        ending = [
            self._supervisors.pop(key)[1]
            for key in [*self._supervisors]
            if new_tasks.get(key) != old_tasks.get(key)
        ]
        self._due = {key: due for key, due in self._due.items() if key in schedules or key in new_tasks}
        await self._end(ending)
        for key in schedules:
            if key not in self._schedules:
                self._start_schedule(key)
        for key, handler in new_tasks.items():
            if key not in self._supervisors:
                self._start_task(key, handler)

    # -- events ----------------------------------------------------------------------------------------

    def _begin_dispatch(self) -> None:
        if self._events is not None:
            self._dispatch = self._spawn(self._dispatch_events(self._events), "events")

    async def _dispatch_events(self, events: AsyncIterator[EventEnvelope]) -> None:
        why = "ended"
        taken = 0
        feeds_handlers.set(True)
        take = getattr(events, "take", None)  # a subscription of the bus gives what is queued at once
        try:
            async for envelope in events:
                try:
                    await self._released.wait()
                    self._start_invocations(envelope)
                finally:  # also when startup fails while this event waits for it
                    self._recorder.delivered(envelope)
                taken += 1
                if take is not None and taken % DISPATCH_BATCH:
                    while (more := take()) is not None:
                        self._start_invocations(more)
                        self._recorder.delivered(more)
                        taken += 1
                        if taken % DISPATCH_BATCH == 0:
                            break
                if taken % DISPATCH_BATCH == 0:  # let handlers run while a burst is handed out
                    await asyncio.sleep(0)
        except Exception as exc:
            why = f"failed: {exc}"
        # A worker without its events would be running but deaf (contract 13.5).
        if self.state in (WorkerState.STARTING, WorkerState.RUNNING):
            self._fail(f"the event stream {why}")

    def _start_invocations(self, envelope: EventEnvelope) -> None:
        """Start one task for every handler of the event's kind; the cost of this is the cost of an event."""
        args = (envelope, self._client)
        for bound in self._bound.get(envelope.kind, ()):
            invocation = Invocation(
                self._label, bound.name, "event", envelope, self.generation, key=bound.key
            )
            self._recorder.begin(invocation)
            run = self._run(bound.handler, args, invocation, bound.key, bound.title)
            self._in_flight[self._spawn(run, bound.task_name)] = invocation

    def _retarget(self, kinds: frozenset[str]) -> None:
        if self._events is None:
            if kinds:
                self._events = self._event_source(kinds)
                self._begin_dispatch()
            return
        retarget = getattr(self._events, "retarget", None)
        if retarget is None:
            raise TypeError(f"{type(self._events).__name__} cannot change its kinds; restart the worker")
        retarget(kinds)

    # -- schedules and tasks ---------------------------------------------------------------------------

    def _start_schedule(self, key: HandlerKey) -> None:
        self._schedules[key] = self._spawn(self._keep_schedule(key), f"schedule {key[2]}")

    async def _keep_schedule(self, key: HandlerKey) -> None:
        title = f"{self.worker.name} scheduled run"
        while True:
            spec, _ = _schedules_of(self.worker)[key]
            if not await self._wait_for_tick(key, spec):
                continue
            _, handler = _schedules_of(self.worker)[key]  # a swap changes the code, not the rhythm
            await self._run_scheduled(key, handler, title)

    async def _wait_for_tick(self, key: HandlerKey, spec: ScheduleSpec) -> bool:
        """Wait for the next run and count those that were missed; False when the clock was set anew."""
        clock = self._clock
        if spec.interval_seconds is None:
            begun = clock.now()
            last = self._due.get(key)
            if isinstance(last, datetime):
                if timedelta() < last - begun < CLOCK_ROUNDING:
                    begun = last  # or the same tick would come twice
                else:  # it woke late, or the run before took its time
                    self._note_missed(key, spec.ticks_between(last, begun))
            due = self._due[key] = spec.next_run(begun)
            if not await clock.sleep_until(due):
                self._due.pop(key, None)
                return False
            return True
        started = clock.monotonic()
        self._due[key] = started + spec.interval_seconds
        await clock.sleep(spec.interval_seconds)
        self._note_missed(key, int((clock.monotonic() - started) / spec.interval_seconds + 1e-9) - 1)
        return True

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the time of day."""
        now, elapsed = self._clock.now(), self._clock.monotonic()
        return {
            key: due if isinstance(due, datetime) else now + timedelta(seconds=max(0.0, due - elapsed))
            for key, due in self._due.items()
        }

    def _note_missed(self, key: HandlerKey, count: int) -> None:
        if count > 0 and key in self.stats:
            self.stats[key].missed += count

    async def _run_scheduled(self, key: HandlerKey, handler: Any, title: str) -> None:
        """Run a schedule's handler once, in a task of its own.

        When the schedule changes, the run under way finishes all the same.
        """
        await asyncio.wait({self._begin_scheduled(key, handler, title)})

    def _begin_scheduled(self, key: HandlerKey, handler: Any, title: str) -> asyncio.Task[Any]:
        invocation = self._new_invocation(handler, "schedule", key)
        run = self._run(handler, (self._client,), invocation, key, title)
        task = self._spawn(run, invocation.label)
        self._in_flight[task] = invocation
        return task

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now; its rhythm goes on as it was.

        Raises:
            Conflict: the worker is not running, or has no such schedule.
        """
        found = _schedules_of(self.worker).get(key)
        if found is None or self.state is not WorkerState.RUNNING:
            why = f"it is {self.state}" if found is not None else f"it has no schedule {key[2]!r}"
            raise Conflict(f"worker {self._label!r}: {why}")
        self._begin_scheduled(key, found[1], f"{self.worker.name} scheduled run")

    def _start_task(self, key: HandlerKey, handler: Any) -> None:
        supervised = _Supervised(handler)
        self._supervisors[key] = supervised, self._spawn(self._supervise(key, supervised), f"task {key[2]}")

    async def _supervise(self, key: HandlerKey, supervised: _Supervised) -> None:
        while self.state in (WorkerState.STARTING, WorkerState.RUNNING):
            started = supervised.running_since = self._clock.monotonic()
            self._due.pop(key, None)
            invocation = self._new_invocation(supervised.handler, "task", key)
            await self._run(supervised.handler, (self._client,), invocation, key, None)
            supervised.running_since = None
            if key not in self._supervisors or self._supervisors[key][0] is not supervised:
                return  # replaced while it swallowed its cancellation
            now = self._clock.monotonic()
            delay = supervised.backoff.ended(now - started)
            if all(other.is_exhausted(now) for other, _ in self._supervisors.values()):
                self._fail(ALL_TASKS_CRASHED)
                return
            self._due[key] = now + delay
            await self._clock.sleep(delay)

    @property
    def _groups_sessions(self) -> bool:
        """Whether grouping can have an effect; in-process it has none, and must cost nothing."""
        return bool(getattr(self._client, "groups_sessions", True))

    # -- one invocation --------------------------------------------------------------------------------

    def _new_invocation(self, handler: Any, cause: Cause, key: HandlerKey) -> Invocation:
        invocation = Invocation(
            self._label, handler_name(handler), cause, generation=self.generation, key=key
        )
        self._recorder.begin(invocation)
        return invocation

    async def _run(
        self, handler: Any, args: tuple[Any, ...], invocation: Invocation, key: HandlerKey, title: str | None
    ) -> BaseException | None:
        """Run a handler to its end and return what it raised; only a cancellation passes through."""
        stats = self.stats.get(key) or HandlerStats()  # none for a handler that a swap took away
        stats.began()
        token = current_invocation.set(invocation)
        failure: BaseException | None = None
        cancelled = True
        try:
            if title is None or not self._groups_sessions:
                await handler(*args)
            else:
                metadata = {"worker": self._label}
                async with self._client.session_group(
                    title, kind="worker_run", worker=self.worker.name, metadata=metadata
                ):
                    await handler(*args)
            cancelled = False
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as exc:  # a SystemExit in a handler must not end the kernel
            failure = exc
            cancelled = False
        finally:
            current_invocation.reset(token)
            self._in_flight.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # there is one
            self._recorder.end(invocation, failure, cancelled=cancelled)
            stats.ended(invocation)
        return failure

    async def _run_startup(self) -> str | None:
        for handler in self.worker._startup_handlers:
            key = HandlerKey("on_startup", "", handler_name(handler))
            invocation = self._new_invocation(handler, "startup", key)
            title = f"{self.worker.name} startup"
            if (failure := await self._run(handler, (self._client,), invocation, key, title)) is not None:
                return valid_text(str(failure)) or type(failure).__name__
        return None

    async def _run_shutdown(self) -> list[str]:
        failures: list[str] = []

        async def run_all() -> None:
            for handler in reversed(self.worker._shutdown_handlers):
                key = HandlerKey("on_shutdown", "", handler_name(handler))
                invocation = self._new_invocation(handler, "shutdown", key)
                title = f"{self.worker.name} shutdown"
                failure = await self._run(handler, (self._client,), invocation, key, title)
                if failure is not None:
                    name = getattr(handler, "__qualname__", invocation.handler)
                    failures.append(valid_text(f"{name}: {failure}"))

        if not self.worker._shutdown_handlers:
            return failures
        task = self._spawn(run_all(), "shutdown")
        await asyncio.wait({task}, timeout=self._grace)
        if not task.done():
            failures.append(f"a shutdown handler took longer than {self._grace:g} s and was cancelled")
            await self._end([task])
        return failures

    def _count_handlers(self) -> None:
        """Have stats for exactly the handlers there are; those that stay keep theirs."""
        self._bound = {
            kind: tuple(self._bind(kind, handler) for handler in handlers)
            for kind, handlers in self.worker._event_handlers.items()
        }
        self.stats = {key: self.stats.get(key) or HandlerStats() for key in keys_of(self.worker)}

    def _bind(self, kind: str, handler: Any) -> _Bound:
        name = handler_name(handler)
        title = f"{self.worker.name} {kind}"
        return _Bound(
            handler, name, HandlerKey("on_event", kind, name), title, f"{self._label} {self._label}.{name}"
        )

    # -- tasks of our own ------------------------------------------------------------------------------

    def _spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        # A context of our own: what the cell or request that started us carried must not leak into handlers.
        return asyncio.create_task(coro, name=f"{self._label} {name}", context=self._context.copy())

    def _running_tasks(self) -> list[asyncio.Task[Any]]:
        own = [self._startup, self._dispatch, *self._schedules.values(), *self._in_flight]
        own += [task for _, task in self._supervisors.values()]
        return [task for task in own if task is not None]

    async def _cancel_all(self) -> None:
        tasks = self._running_tasks()
        self._schedules.clear()
        self._due.clear()
        self._supervisors.clear()
        in_flight = dict(self._in_flight)
        await self._end(tasks)
        for task, invocation in in_flight.items():
            if task.done() and self._in_flight.pop(task, None) is not None:  # cancelled before its first step
                self._recorder.end(invocation, cancelled=True)
        self._dispatch = None

    async def _end(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Cancel tasks and wait for them, within the grace."""
        pending = {task for task in tasks if not task.done() and task is not asyncio.current_task()}
        for task in pending:
            task.cancel()
        if not pending:
            return
        _, stubborn = await asyncio.wait(pending, timeout=self._grace)
        for task in stubborn:
            log.warning(
                "%s did not end within %g s of being cancelled; left behind", task.get_name(), self._grace
            )

    async def _close_events(self) -> None:
        events, self._events = self._events, None
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()

    def _fail(self, text: str) -> None:
        """Go to `error` and let nothing run on; the owner's stop() still runs the shutdown handlers."""
        for task in self._running_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        close = getattr(self._events, "close", None)
        if close is not None:  # nobody reads it any more, and events must not wait for nobody
            close()
        self._move(WorkerState.ERROR, text)

    def _move(self, to: WorkerState, error: str | None = None) -> None:
        self.state = move(self.state, to)
        self.error = error
        if self._on_state_change is not None:
            self._on_state_change(to, error)


def keys_of(worker: Worker) -> list[HandlerKey]:
    """Return the identity of every handler, in the order in which people think of them."""
    keys: list[HandlerKey] = [HandlerKey("on_startup", "", handler_name(h)) for h in worker._startup_handlers]
    keys += [
        HandlerKey("on_event", k, handler_name(h)) for k, hs in worker._event_handlers.items() for h in hs
    ]
    keys += [*_schedules_of(worker), *_tasks_of(worker)]
    keys += [HandlerKey("on_shutdown", "", handler_name(h)) for h in worker._shutdown_handlers]
    return list(dict.fromkeys(keys))


def _schedules_of(worker: Worker) -> dict[HandlerKey, tuple[ScheduleSpec, Any]]:
    return _numbered(
        (HandlerKey("every", spec.label, handler_name(h)), (spec, h)) for spec, h in worker._every_handlers
    )


def _tasks_of(worker: Worker) -> dict[HandlerKey, Any]:
    return _numbered((HandlerKey("task", "", handler_name(h)), h) for h in worker._task_handlers)


def _numbered(pairs: Any) -> dict[HandlerKey, Any]:
    """Make a dict of the pairs; a key that comes again gets a number, so that no handler is lost."""
    found: dict[HandlerKey, Any] = {}
    for (decorator, what, name), value in pairs:
        key, count = HandlerKey(decorator, what, name), 2
        while key in found:
            key, count = HandlerKey(decorator, what, f"{name}#{count}"), count + 1
        found[key] = value
    return found
