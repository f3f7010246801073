"""`InProcessWorker`: a managed worker whose handlers run on the runtime's own loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from dnworker.capability.flags import gate_is_open
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.causes import cause
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.owners import Owner, current_owner
from dnworker.core.stats import HandlerStats
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.workers.escapes import import_of
from dnworker.workers.invoker import HandlerClient
from dnworker.workers.kept_state import KeepingRecorder, KeptRuns
from dnworker.workers.loading import LoadError, load_worker
from dnworker.workers.losses import Losses
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.recorders import log_unhandled
from dnworker.workers.registry import HandlerRegistry, handlers_of
from dnworker.workers.runner import NotStarted, Starting, WorkerRunner, to_its_end
from dnworker.workers.services import Home, Services


class Generation(msgspec.Struct, frozen=True):
    """One version of a worker's handlers, and of what is declared of it."""

    number: int
    definition: WorkerDefinition
    make: Callable[[], HandlerRegistry]
    """Gives the handlers for a start: with the state of one."""
    make_now: Callable[[], HandlerRegistry]
    """Gives them with the state as it is."""
    begun: Callable[[], object] = lambda: None
    """Called when it becomes the present one, before any of its events is handled."""


class InProcessWorker(ManagedWorker[WorkerRunner]):
    """A worker whose handlers run on the runtime's own loop.

    Args:
        services: the parts of the runtime that it uses.
        home: the capability that it belongs to.
        definition: what the manifest says of it.
        make: gives its handlers at every start, fresh or kept.
    """

    topology = "in-process"

    def __init__(
        self,
        services: Services,
        home: Home,
        definition: WorkerDefinition,
        make: Callable[[], HandlerRegistry],
    ) -> None:
        super().__init__(services, home, definition)
        self._generation = Generation(1, definition, make, make)
        self._losses = Losses(services.history, self.qualified_name, self._tell_loss)
        self._next: WorkerRunner | None = None
        """Runs a generation that is to come, until it has taken over."""
        self._is_warming = False
        self._left: list[WorkerRunner] = []
        """Those that were stopped, and of which handlers ran on."""
        self._goes_on = False  # whether the next start has the state of now
        self._kept = KeptRuns(lambda: services.bus.broker, self.qualified_name, self._warn_of_state)

    @property
    def losses(self) -> str | None:
        """How many events waited for its handlers when it failed, since it was loaded."""
        return self._losses.text

    def _lose(self, envelope: EventEnvelope) -> None:
        if self._services.bus.broker.consumer(self.qualified_name) is not None:
            return  # which keeps it for the next start
        self._losses.note(envelope.event_id, "the worker failed before it had handled them")

    def note_left(self, left: LeftEvents) -> None:
        """Note what waits of a kind that it names no more, or is let go; or that it names it again."""
        self._losses.note_left(left)
        self._services.on_change(self, announce=False, moved=False)

    def _tell_loss(self, text: str, *, is_first: bool) -> None:
        """Log that events were lost; the change of state that follows announces it."""
        self._services.log_line(self.qualified_name, text, source="runtime", level="error")
        self._services.on_change(self, announce=False, moved=False)

    def _warn_of_state(self, text: str) -> None:
        self._services.log_line(self.qualified_name, text, source="runtime", level="warning")

    @property
    def worker(self) -> HandlerRegistry | None:
        """The handlers that run, or ran last."""
        return self._runner.worker if self._runner is not None else None

    @property
    def client(self) -> HandlerClient | None:
        """What its handlers are given; None before the first start."""
        return self._runner.client if self._runner is not None else None

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return self._generation.number

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start."""
        return self._runner.stats if self._runner is not None else {}

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the runtime's clock."""
        if self._runner is None or self.state is not WorkerState.RUNNING:
            return {}
        return self._runner.next_runs

    @property
    def last_handler_error(self) -> str | None:
        """What a handler raised last, or else something that the module has started, with its location."""
        error = self._runner.escapes.last_of_import if self._runner is not None else None
        return super().last_handler_error or (f"last handler error: import: {error}" if error else None)

    def end_invocation(self, invocation: Invocation) -> bool:
        """Cancel a handler that runs; False where no handler of this worker has the invocation."""
        runners = (self._runner, self._next)
        return any(runner is not None and runner.end_invocation(invocation) for runner in runners)

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now.

        Raises:
            Conflict: the worker is not running, or has no such schedule.
        """
        if self._runner is None:
            raise Conflict(f"worker {self.qualified_name!r}: it is {self.state}", code="DN313")
        self._runner.run_schedule(key)

    # -- generations -----------------------------------------------------------------------------------

    @property
    def starting(self) -> Starting | None:
        """The startup handler that runs, also of a generation that is to come; for any thread."""
        runner = self._next or self._runner
        return runner.starting if runner is not None else None

    @property
    def startup_failure(self) -> NotStarted | None:
        """Which startup handler ended the last start, and what it raised; None where none did."""
        return self._runner.startup_failure if self._runner is not None else None

    def worker_of(self, generation: int) -> HandlerRegistry | None:
        """Return the handlers of a generation that is to come, if it is that one; else those that run."""
        if self._next is not None and self._next.generation == generation:
            return self._next.worker
        return self.worker

    def begin_with(self, generation: Generation) -> None:
        """Take a generation's handlers and definition from the next start on."""
        self._generation, self.definition = generation, generation.definition
        generation.begun()

    async def swap(self, new: Generation) -> None:
        """Run another generation from now on: swapped in while the worker runs, else by a start.

        Raises:
            Retired: the worker was replaced or removed.
        """
        async with self._access.turn():
            if self.state is not WorkerState.RUNNING or self._runner is None:
                await self._stop()
                self.begin_with(new)
                await self._start_unless_stopped()
                return
            self.begin_with(new)
            self._lifecycle.note(cause())
            kept, recorder = self._kept.of(self._runner), None
            if self._is_kept(new) and kept is None:
                self._kept.add(self._runner, kept := self._kept.make())
                recorder = KeepingRecorder(self._services.history, kept.note)
            await self._runner.swap(new.make_now(), generation=new.number, recorder=recorder)
            if kept is not None:
                kept.note() if self._is_kept(new) else kept.drop()
            self._services.on_change(self, announce=False, moved=False)

    async def follow(self, new: Generation) -> None:
        """Run another generation once it has started; the present one runs until then.

        Its startup handlers run while the present generation handles events. Where they succeed it takes over
        what is queued, and the present one stops with all that it has under way. With a closed gate it does
        not start, and the present one stops. A worker that does not run is started.

        Raises:
            NotStarted: a startup handler raised, or somebody stopped the worker meanwhile. The shutdown
                handlers of the new generation have run; nobody touched the present one.
            Retired: the worker was replaced or removed.
            CancelledError: the caller was cancelled; likewise, unless the present one had begun to stop: then
                the new one runs.
        """
        async with self._access.turn():
            beside = self._runner if self.state is WorkerState.RUNNING else None
            if beside is None or not gate_is_open(new.definition.when, self._home.flags):
                await to_its_end(self._stop_for(new))
                await self._start_unless_stopped()
                return
            if (now := self._kept.of(beside)) is not None:
                await now.flush()
            await self._before_start()
            runner = self._next = self._runner_of(new, new.make)
            if (kept := self._kept.of(runner)) is not None:
                kept.hold()
            try:
                await self._warm_up(runner, beside)
                await to_its_end(self._switch(runner, new))
            finally:
                self._next = None

    async def follow_after_stop(self, new: Generation) -> None:
        """Run another generation from a start on; the present one is stopped before its startup handlers run.

        Raises:
            NotStarted: a startup handler raised. The present generation was started again, with its state, if
                it ran before; `state` and `error` say how it is.
            Retired: the worker was replaced or removed.
            CancelledError: the caller was cancelled; likewise.
        """
        async with self._access.turn():
            before, did_run = self._generation, self.state is WorkerState.RUNNING
            try:
                await self._stop()
                self.begin_with(new)
                await self._start_unless_stopped()
            except asyncio.CancelledError:
                if did_run:
                    await to_its_end(self._go_back_to(before))
                raise
            if did_run and self.state is WorkerState.ERROR:
                failure = self.startup_failure
                raised = await to_its_end(self._go_back_to(before))
                raise failure or NotStarted(None, RuntimeError(raised))

    async def resume(self) -> None:
        """Start it with the state that it has; one that runs is left alone.

        Raises:
            Retired: it was replaced or removed.
        """
        async with self._access.turn():
            self._goes_on = True
            self._generation.begun()
            try:
                await self._start_unless_stopped()
            finally:
                self._goes_on = False

    async def withdraw(self, before: Generation, state: WorkerState, error: str | None) -> None:
        """Take back a generation that did not start: have the one before again, in the state that it was in.

        Args:
            before: the generation that there was.
            state: what it was in; one that ran is started again, with its state.
            error: why it was in `error`.

        Raises:
            Retired: the worker was replaced or removed.
        """
        async with self._access.turn():
            if state is WorkerState.RUNNING:
                await self._go_back_to(before)
                return
            await self._stop()
            self.begin_with(before)
            self._runner, self.is_stopped = None, state is WorkerState.STOPPED  # nothing of it ran now
            if state is WorkerState.GATED_OFF:
                self._gate_off()
            elif state is WorkerState.STANDBY:
                self._be_standby(self.why_standby or "another node holds it")
            elif state is WorkerState.ERROR:
                self._lifecycle.to(WorkerState.LOADING, quiet=True)
                self._lifecycle.to(WorkerState.ERROR, error)
            self._services.on_change(self, announce=False)

    async def prepare(self, new: Generation) -> bool:
        """Take a generation for the next start, where the worker does not run; returns whether that is so.

        Raises:
            Retired: the worker was replaced or removed.
        """
        async with self._access.turn():
            if self.state is not WorkerState.STOPPED:
                return False
            self.begin_with(new)
            self._services.on_change(self, announce=False)
            return True

    async def _before_start(self) -> None:
        await self._kept.load(anew=self.begins_anew)
        self.begins_anew = False

    def _let_go(self) -> None:
        self._losses.flush()

    def _is_kept(self, generation: Generation) -> bool:
        return generation.definition.keep_state or self.qualified_name in self._services.keep_state

    @property
    def is_running_on(self) -> bool:
        """Whether a handler runs on that ignores its cancellation."""
        return any(runner.in_flight for runner in self._left)

    async def _stop(self) -> None:
        kept, runner = self._kept.of(self._runner), self._runner
        await super()._stop()
        self._left = [one for one in {*self._left, runner} if one is not None and one.in_flight]
        if kept is not None:
            await kept.close()

    async def _stop_for(self, new: Generation) -> None:
        await self._stop()
        self.begin_with(new)

    async def _warm_up(self, runner: WorkerRunner, beside: WorkerRunner) -> None:
        self._is_warming = True
        try:
            await runner.warm_up(beside)
        except BaseException:
            await to_its_end(runner.discard())
            raise
        finally:
            self._is_warming = False

    async def _switch(self, runner: WorkerRunner, new: Generation) -> None:
        """Let a runner that is warm take over from the present one."""
        if self.state is WorkerState.RUNNING and self._runner is not None:
            runner.take_over(self._runner)
            await self._kept.hand_over(self._runner, runner)
        await self._stop()
        self._lifecycle.to(WorkerState.LOADING)
        self.begin_with(new)
        self._runner = runner
        if (kept := self._kept.of(runner)) is not None:
            kept.go_on()
        await runner.start()

    async def _go_back_to(self, before: Generation) -> str | None:
        """Start a generation again, with its state; returns why the one in its place did not start."""
        why = self.error
        await self._stop()
        self.begin_with(before)
        self._goes_on = True
        try:
            await self._start_unless_stopped()
        finally:
            self._goes_on = False
        return why

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        handlers = None if self.worker is None else _counts(self.worker)
        return super().detail() | {"handlers": handlers}

    @property
    def _is_starting(self) -> bool:
        return self._is_warming or super()._is_starting

    async def _interrupt_start(self) -> None:
        if self._is_warming and self._next is not None:
            await self._next.discard()
        elif self._runner is not None:
            await self._runner.stop()

    @property
    def waiting(self) -> int:
        """How many events are queued for its handlers."""
        return 0 if self._runner is None else self._runner.waiting

    @property
    def owed(self) -> int:
        """How many events wait for its handlers."""
        return self.waiting

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind wait for its handlers, those that are tried again later too."""
        kinds = Counter() if self._runner is None else self._runner.waiting_kinds()
        consumer = self._services.bus.broker.consumer(self.qualified_name)
        return kinds + (Counter() if consumer is None else consumer.later())

    def hold(self, *, events: bool) -> None:
        """Let no schedule be due any more, and with `events` take no further event; what runs goes on."""
        if self._runner is not None:
            self._runner.hold(events=events)

    def _make_runner(self) -> WorkerRunner:
        generation = self._generation
        if (path := self.definition.path) is not None:
            self._services.lives.note_code(self.life, path, cause())
        return self._runner_of(generation, generation.make_now if self._goes_on else generation.make)

    def _runner_of(self, generation: Generation, make: Callable[[], HandlerRegistry]) -> WorkerRunner:
        services, registry = self._services, self._imported(make)
        kept = self._kept.make() if self._is_kept(generation) else None
        if kept is not None and make is generation.make:
            self._kept.restore(registry.state)
        runner = WorkerRunner(
            registry,
            services.client(worker=self.name, capability=self.capability),
            event_source=lambda kinds: services.bus.broker.subscribe(
                self.qualified_name, kinds, watcher=services.history
            ),
            lifecycle=self._lifecycle,
            qualified_name=self.qualified_name,
            clock=services.clock,
            recorder=services.history if kept is None else KeepingRecorder(services.history, kept.note),
            generation=generation.number,
            on_unhandled=services.on_unhandled,
            around=services.around,
            on_lost=self._lose,
            last_runs=services.last_runs,
        )
        if services.bus.broker.knows(self.qualified_name):
            runner.listen_to_none()
        if kept is not None:
            self._kept.add(runner, kept)
        return runner.as_member(self.name)

    def _imported(self, make: Callable[[], HandlerRegistry]) -> HandlerRegistry:
        """Return the handlers; what their module starts when it is executed has this worker as its owner."""
        token = current_owner.set(Owner(self.qualified_name, self._escaped, is_importing=True))
        try:
            return make()
        finally:
            current_owner.reset(token)

    def _escaped(self, exc: BaseException, source: str, invocation: Invocation | None) -> None:
        """Take what was raised by something that the module has started: the present start answers for it."""
        if self._runner is not None:
            self._runner.escapes.take(exc, source, invocation)
        else:
            log_unhandled(invocation or import_of(self.qualified_name), exc, source)


def _counts(registry: HandlerRegistry) -> dict[str, Any]:
    """Return how many handlers there are of each kind (contract 6.5)."""
    keys = [handler.key for handler in handlers_of(registry)]
    count = Counter(key.decorator for key in keys)
    return {
        "startup": count["on_startup"],
        "shutdown": count["on_shutdown"],
        "event_kinds": list(dict.fromkeys(key.trigger for key in keys if key.decorator == "on_event")),
        "schedules": count["every"],
        "tasks": count["task"],
    }


def path_worker(services: Services, home: Home, definition: WorkerDefinition) -> InProcessWorker:
    """Make the worker of a `path:` entry; its file is executed afresh at every start."""

    def make() -> HandlerRegistry:
        if definition.path is None:
            raise LoadError(f"worker {definition.name!r} has no path to load it from")
        return load_worker(home.root, home.name, definition.name, definition.path)

    return InProcessWorker(services, home, definition, make)
