"""`WorkerRunner`: runs one worker's handlers on the current loop: start, swap, stop (contract 2).

`WorkerRunner` owns the life cycle. `dispatch`, `schedules` and `supervision` each start one kind of handler,
and `invoker` runs it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dnworker.core.clock import Clock, RealClock
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Cause, Invocation
from dnworker.core.lifecycle import ALIVE, SHUTDOWN_ERRORS, Lifecycle, WorkerState
from dnworker.core.members import index_of
from dnworker.core.owners import Owner
from dnworker.core.stats import HandlerStats
from dnworker.core.text import valid_text
from dnworker.workers.around import Around
from dnworker.workers.dispatch import Dispatch, EventSource
from dnworker.workers.escapes import Escapes
from dnworker.workers.invoker import HandlerClient, Invoker, said_by
from dnworker.workers.recorders import LoggingRecorder, OnUnhandled, Recorder, log_unhandled
from dnworker.workers.registry import HandlerRegistry, Registered, handlers_of, keys_of, schedules_of
from dnworker.workers.schedules import Schedules
from dnworker.workers.supervision import Supervision

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.workers.last_runs import LastRuns

T = TypeVar("T")

STOP_STEPS = 3
"""Graces that a stop takes at most: of handlers, of shutdown handlers, of these once they are cancelled."""

STOP_GRACE = 5.0
"""Seconds that shutdown handlers get, and that cancelled handlers get to end; the subprocess's grace too."""


class Starting(NamedTuple):
    """A startup handler that runs, and since when, in seconds since 1970."""

    handler: Registered
    since: float


class NotStarted(Exception):
    """A startup handler raised, or was ended; `handler` is that handler, `failure` what it raised.

    `shutdown` has what shutdown handlers raised that ran because of it.
    """

    def __init__(self, handler: Registered | None, failure: BaseException) -> None:
        self.handler = handler
        self.failure = failure
        self.shutdown: list[str] = []
        super().__init__(said_by(failure))


class WorkerRunner:
    """Owns every task of one in-process worker.

    `start` and `stop` never raise for what handlers do: look at `state` and `error`.

    Args:
        worker: whose handlers run.
        client: handed to every handler.
        event_source: called once with the kinds; gives the async iterator of envelopes.
        lifecycle: takes the steps of this run; must be in `loading` when `start` is called.
        qualified_name: `capability:worker`, for session groups and traces.
        clock: schedules, backoff and task ages.
        recorder: notified of each invocation.
        grace: seconds for shutdown handlers, and for cancelled ones to end.
        generation: the version of the handlers.
        on_unhandled: called on the loop with what was raised outside of the handlers by something that one
            of them started, which the third argument names; by default it is logged.
        around: what is put around every run of a handler.
        on_lost: told of each event that was queued when the worker failed.
        last_runs: remembers when schedules ran; None where nothing does.
    """

    def __init__(
        self,
        worker: HandlerRegistry,
        client: HandlerClient,
        *,
        event_source: EventSource,
        lifecycle: Lifecycle | None = None,
        qualified_name: str | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
        grace: float = STOP_GRACE,
        generation: int = 1,
        on_unhandled: OnUnhandled = log_unhandled,
        around: Around | None = None,
        on_lost: Callable[[EventEnvelope], object] | None = None,
        last_runs: LastRuns | None = None,
    ) -> None:
        self.worker, self.client = worker, client
        self.lifecycle, self._on_lost = lifecycle or Lifecycle(), on_lost
        self._label, self._clock = qualified_name or worker.name or "worker", clock or RealClock()
        self.escapes = Escapes(self._label, on_unhandled, self._ended_itself)
        self._invoker = Invoker(
            client,
            name=worker.name,
            label=self._label,
            clock=self._clock,
            recorder=recorder or LoggingRecorder(),
            grace=grace,
            generation=generation,
            owner=Owner(self._label, self.escapes.take, self._hint, self._function_of),
            around=around,
        )
        self._released = asyncio.Event()  # set once startup is over: events may be handled
        self._dispatch = Dispatch(self._invoker, event_source, self._released, self._events_ended)
        self._schedules = Schedules(self._invoker, self._clock, last_runs)
        self._supervision = Supervision(self._invoker, self._clock, self.lifecycle, self._fail)
        self.starting: Starting | None = None
        """The startup handler that runs; may be read on any thread."""
        self.startup_failure: NotStarted | None = None
        self._is_warm = self._is_in_charge = False  # in charge, from `start` to `stop`, it makes the state
        self._beside: WorkerRunner | None = None
        self._begun: list[Invocation] = []  # of startup handlers
        self._startup: asyncio.Task[NotStarted | None] | None = None
        self._discarding: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self.lifecycle.state

    @property
    def error(self) -> str | None:
        """Why it is in `error`, or what its shutdown handlers raised."""
        return self.lifecycle.error

    @property
    def generation(self) -> int:
        """The version of the handlers that invocations begin with."""
        return self._invoker.generation

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the start."""
        return self._invoker.stats

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the time of day."""
        now, elapsed = self._clock.now(), self._clock.monotonic()
        return {
            key: due if isinstance(due, datetime) else now + timedelta(seconds=max(0.0, due - elapsed))
            for key, due in (self._schedules.due | self._supervision.due).items()
        }

    @property
    def waiting(self) -> int:
        """How many events wait for handlers."""
        return self._dispatch.waiting

    def _hint(self, invocation: Invocation, text: str) -> None:
        self.escapes.tell(partial(self._invoker.recorder.hint, invocation, text))

    def _function_of(self, invocation: Invocation) -> Any:
        return next((h.function for h in handlers_of(self.worker) if h.key == invocation.key), None)

    def as_member(self, name: str) -> WorkerRunner:
        """Return it as that of a member of a worker: schedules and tasks run on the first only."""
        self._schedules.is_on = self._supervision.is_on = index_of(name) == 0
        return self

    # -- start and stop --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run the startup handlers, then let events, schedules and tasks run.

        The subscription is made first, so that no event is missed; events wait until startup is over
        (contract 14.3). The first startup handler that raises ends it, in state `error`. After `warm_up` they
        do not run again.
        """
        self.escapes.begin()
        self.lifecycle.to(WorkerState.STARTING)
        self._is_in_charge = True
        self._bind_events()
        if self.escapes.why_ended is not None:
            await self._give_up(self.escapes.why_ended)
            return
        if not self._is_warm:
            self._startup = self._invoker.spawn(self._run_startup(), "startup")
            try:
                await asyncio.wait({self._startup})
            except asyncio.CancelledError:
                await self._give_up("startup was interrupted")
                raise
            if self.state is not WorkerState.STARTING:
                return  # stop() came in between, or the event stream failed
            if self._startup.cancelled():
                await self._give_up("startup was cancelled")
                return
            if (failure := self._startup.result()) is not None:
                await self._give_up(str(failure))
                return
        self._schedules.bind(self.worker)
        self._supervision.bind(self.worker)
        self._schedules.start()
        self._supervision.start()
        self.lifecycle.to(WorkerState.RUNNING)
        self._released.set()

    # -- in the place of another -----------------------------------------------------------------------

    async def warm_up(self, beside: WorkerRunner) -> None:
        """Run the startup handlers and nothing else, while another runner has the worker still.

        That one does not handle what these handlers publish: it is kept for `start`, as at any start. The
        lifecycle takes no step. Where it raises, `discard` must follow, and `start` must not.

        Raises:
            NotStarted: a handler raised, or `discard` ended it.
        """
        self.escapes.begin()
        self._invoker.count(keys_of(self.worker))
        self._dispatch.bind(self.worker)
        self._beside = beside
        beside._dispatch.divert(self._dispatch.kinds, self._has_published)
        self._startup = self._invoker.spawn(self._run_startup(), "startup")
        await asyncio.wait({self._startup})
        if self.escapes.why_ended is not None:
            raise NotStarted(None, RuntimeError(self.escapes.why_ended))
        if self._startup.cancelled():
            raise NotStarted(None, asyncio.CancelledError("the worker was stopped"))
        if (failure := self._startup.result()) is not None:
            raise failure
        self._is_warm = True

    async def discard(self) -> None:
        """End what `warm_up` has begun: cancel it, then run the shutdown handlers; once, whoever asks."""
        if self._discarding is None:
            self._discarding = self._invoker.spawn(self._discard(), "discard")
        await asyncio.shield(self._discarding)

    def _has_published(self, envelope: EventEnvelope) -> bool:
        name = envelope.event_id
        return any(name == published.event_id for one in self._begun for published in one.published)

    async def _discard(self) -> None:
        await self._cancel_all()
        if self._beside is not None and self._beside.state is WorkerState.RUNNING:
            self._beside._dispatch.end_diversion()
        raised = await self._run_shutdown()
        if self.startup_failure is not None:
            self.startup_failure.shutdown = raised

    def take_over(self, before: WorkerRunner) -> None:
        """Take the subscription of one that runs, with what is queued; events wait until `start` is over.

        The other one begins nothing for an event any more; what it has under way goes on until its `stop`.
        """
        self._dispatch.take_over(before._dispatch)
        self._dispatch.bind(self.worker)
        self._dispatch.listen()

    def listen_to_none(self) -> None:
        """Subscribe also where there are no event handlers: there were some, for which events may wait."""
        self._dispatch.listens_to_none = True

    async def stop(self) -> None:
        """Cancel what runs, then run the shutdown handlers, last registered first.

        May be called in any state, and by several: all wait for the same stop, which goes on when one of
        them is interrupted. A handler that ignores its cancellation is left behind after the grace.
        """
        if self.state is WorkerState.STOPPED:
            return
        if self._stopping is None:
            self._stopping = self._invoker.spawn(self._stop(), "stop")
        await asyncio.shield(self._stopping)

    def hurry(self, seconds: float) -> None:
        """Let a stop, also one that is under way, take so many seconds at most."""
        self._invoker.hurry(seconds / STOP_STEPS)

    def hold(self, *, events: bool) -> None:
        """Let no schedule be due any more, and with `events` take no further event; what runs goes on."""
        for task in self._schedules.tasks:
            self._invoker.cancel(task)
        self._schedules.clear()
        if events and self._dispatch.task is not None:
            self._invoker.cancel(self._dispatch.task)

    def waiting_kinds(self) -> Counter[str]:
        """Return how many events of each kind wait for handlers."""
        return Counter(envelope.kind for envelope in self._dispatch.look_at_waiting())

    @property
    def in_flight(self) -> bool:
        """Whether a handler runs; after `stop`, that is one which ignores its cancellation."""
        return any(not task.done() for task in self._invoker.in_flight)

    async def swap(
        self, worker: HandlerRegistry, *, generation: int | None = None, recorder: Recorder | None = None
    ) -> None:
        """Replace the handlers of a running worker by those of `worker`, as its next generation.

        Invocations under way finish on the code they started with. A schedule of the same name and rhythm
        keeps its timer; a task whose function is the same object goes on undisturbed, and any other is
        cancelled and started anew. Startup handlers do not run.

        Raises:
            TypeError: the event source cannot change its kinds.
        """
        self.worker, self._invoker.recorder = worker, recorder or self._invoker.recorder
        self._invoker.generation = self.generation + 1 if generation is None else generation
        self._bind_events()
        self._schedules.bind(worker)
        await self._invoker.end(self._supervision.bind(worker))
        self._schedules.start()
        self._supervision.start()

    def run_schedules(self, keys: Container[HandlerKey] | None = None) -> None:
        """Begin a run of these schedules' handlers now, None for all; not unless the worker is running."""
        for key in schedules_of(self.worker) if self.state is WorkerState.RUNNING else ():
            if keys is None or key in keys:
                self._schedules.begin(key)

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now; its rhythm goes on as it was.

        Raises:
            Conflict: the worker is not running, or has no such schedule.
        """
        if key not in schedules_of(self.worker):
            raise Conflict(f"worker {self._label!r}: it has no schedule {key.name!r}", code="DN315")
        if self.state is not WorkerState.RUNNING:
            raise Conflict(f"worker {self._label!r}: it is {self.state}", code="DN313")
        self._schedules.begin(key)

    def end_invocation(self, invocation: Invocation) -> bool:
        """Cancel a handler that runs; False where it is none of this run."""
        return self._invoker.end_invocation(invocation)

    def _bind_events(self) -> None:
        """Count and dispatch to the handlers that there are now."""
        self._invoker.count(keys_of(self.worker))
        self._dispatch.bind(self.worker)
        self._dispatch.listen()

    async def _give_up(self, why: str) -> None:
        """End what startup has begun, and go to `error`."""
        await self._cancel_all()
        if self.state is WorkerState.STARTING:
            self._lose_queued()
        await self._dispatch.aclose()
        if self.state is WorkerState.STARTING:
            self.lifecycle.to(WorkerState.ERROR, why)

    async def _stop(self) -> None:
        self._is_in_charge = False
        self.lifecycle.to(WorkerState.STOPPING)
        await self._cancel_all()
        await self._dispatch.aclose()
        failures = await self._run_shutdown()
        self.lifecycle.to(WorkerState.STOPPED, SHUTDOWN_ERRORS + "; ".join(failures) if failures else None)

    def _events_ended(self, why: str) -> None:
        # A worker without its events would be running but deaf (contract 13.5).
        self._fail(f"the event stream {why}")

    def _fail(self, text: str) -> None:
        """Go to `error` and let nothing run on; the owner's stop() still runs the shutdown handlers."""
        if self.state not in ALIVE:
            return
        for task in self._running_tasks():
            # Not the one that runs here, unless it is a handler, in which something has ended itself.
            if task is not asyncio.current_task() or task in self._invoker.in_flight:
                self._invoker.cancel(task)
        for task in self._invoker.in_flight:
            task.add_done_callback(self._note_ended)
        self._lose_queued()
        self._dispatch.close_nowait()  # or events would wait for nobody
        self.lifecycle.to(WorkerState.ERROR, text)

    def _lose_queued(self) -> None:
        """Tell of the events that wait for handlers: nobody has asked for this end."""
        if self._on_lost is not None:
            for envelope in self._dispatch.take_waiting():
                self._on_lost(envelope)

    def _ended_itself(self, text: str) -> None:
        """Take that code of the worker raised what would end a program; after the stop it changes nothing."""
        if self._is_in_charge:
            self._fail(text)
            return
        if self._startup is not None:
            self._invoker.cancel(self._startup)  # it warms up, and must not take over

    def _note_ended(self, task: asyncio.Task[Any]) -> None:
        if (invocation := self._invoker.in_flight.get(task)) is not None:
            self._invoker.note_never_run({task: invocation})

    # -- startup and shutdown handlers -----------------------------------------------------------------

    async def _run_startup(self) -> NotStarted | None:
        try:
            for handler in self._handlers("on_startup"):
                self.starting = Starting(handler, time.time())
                failure = await self._run_once(handler, "startup")
                if failure is not None:
                    self.startup_failure = NotStarted(handler, failure)
                    return self.startup_failure
            return None
        finally:
            self.starting = None

    async def _run_shutdown(self) -> list[str]:
        """Run the shutdown handlers within the grace, and return what went wrong."""
        handlers = self._handlers("on_shutdown")
        failures: list[str] = []

        async def run_all() -> None:
            for handler in reversed(handlers):
                failure = await self._run_once(handler, "shutdown")
                if failure is not None:
                    name = getattr(handler.function, "__qualname__", handler.key.name)
                    failures.append(valid_text(f"{name}: {said_by(failure)}"))

        if not handlers:
            return failures
        before = {*self._invoker.in_flight}
        task = self._invoker.spawn(run_all(), "shutdown")
        with suppress(TimeoutError):
            async with self._invoker.within_grace():
                await asyncio.wait({task})
        if not task.done():
            grace = self._invoker.grace
            failures.append(f"a shutdown handler took longer than {grace:g} s and was cancelled")
            await self._invoker.end([task, *(self._invoker.in_flight.keys() - before)])
        return failures

    def _handlers(self, decorator: str) -> Sequence[Registered]:
        return [handler for handler in handlers_of(self.worker) if handler.key.decorator == decorator]

    async def _run_once(self, handler: Registered, cause: Cause) -> BaseException | None:
        invocation = self._invoker.begin(cause, handler.key)
        if cause == "startup":
            self._begun.append(invocation)
        title = f"{self.worker.name} {cause}"
        return await self._invoker.run_apart(handler.function, (self.client,), invocation, handler.key, title)

    # -- tasks of our own ------------------------------------------------------------------------------

    def _running_tasks(self) -> list[asyncio.Task[Any]]:
        own = [self._startup, self._dispatch.task, *self._schedules.tasks, *self._invoker.in_flight]
        own += self._supervision.tasks
        return [task for task in own if task is not None]

    async def _cancel_all(self) -> None:
        tasks, launched = self._running_tasks(), dict(self._invoker.in_flight)
        self._schedules.clear()
        self._supervision.clear()
        await self._invoker.end(tasks)
        self._invoker.note_never_run(launched)
        self._dispatch.task = None


async def to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, even if the caller is cancelled meanwhile: that is raised after."""
    task = asyncio.create_task(coroutine)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
