"""`Schedules`: runs `@worker.every` handlers when they are due; a part of the runner."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dnworker.core.clock import Clock
from dnworker.core.handlers import HandlerKey
from dnworker.core.schedule import ScheduleSpec
from dnworker.workers.invoker import Invoker
from dnworker.workers.registry import HandlerRegistry, Registered, schedules_of

if TYPE_CHECKING:
    from dnworker.workers.last_runs import LastRuns

CLOCK_ROUNDING = timedelta(milliseconds=10)
"""How much too early a clock may wake who sleeps until a time of day."""


class Schedules:
    """Runs each schedule's handler when it is due, one run after the other."""

    is_on = True
    """Whether they are due here; else they run only when somebody asks for it."""

    def __init__(self, invoker: Invoker, clock: Clock, last_runs: LastRuns | None) -> None:
        self._invoker = invoker
        self._clock = clock
        self._last_runs = last_runs
        self._handlers: dict[HandlerKey, Registered] = {}
        self._timers: dict[HandlerKey, asyncio.Task[None]] = {}
        self.due: dict[HandlerKey, datetime | float] = {}
        """When each runs next: a time of day of cron text, monotonic seconds of an interval."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The timers."""
        return [*self._timers.values()]

    def bind(self, registry: HandlerRegistry) -> None:
        """Keep the schedules of these handlers; one of the same name and rhythm keeps its timer."""
        self._handlers = schedules_of(registry)
        for key in [key for key in self._timers if key not in self._handlers]:
            self._invoker.cancel(self._timers.pop(key))
        self.due = {key: due for key, due in self.due.items() if key in self._handlers}

    def start(self) -> None:
        """Start the timers that do not run yet."""
        for key in self._handlers if self.is_on else ():
            if key not in self._timers:
                self._timers[key] = self._invoker.spawn(self._keep(key), f"schedule {key.name}")

    def clear(self) -> None:
        """Forget the timers; whoever stops them took them from `tasks` before."""
        self._timers.clear()
        self.due.clear()

    def begin(self, key: HandlerKey) -> asyncio.Task[Any] | None:
        """Begin a run now, in a task of its own; the rhythm goes on as it was. None without such a schedule.

        When the schedule changes, the run under way finishes all the same.
        """
        found = self._handlers.get(key)  # as it is now: a swap changes the code, not the rhythm
        if found is None:
            return None
        invoker = self._invoker
        invocation = invoker.begin("schedule", key)
        title, task_name = f"{invoker.name} scheduled run", f"{invoker.label} {invocation.label}"
        return invoker.launch(invocation, found.function, (invoker.client,), key, title, task_name)

    async def _keep(self, key: HandlerKey) -> None:
        await self._make_up(key)
        while (found := self._handlers.get(key)) is not None and found.schedule is not None:
            if not await self._wait_for_tick(key, found.schedule):
                continue
            if not await self._may_run(key):
                continue
            if (running := self.begin(key)) is not None:
                await asyncio.wait({running})

    async def _may_run(self, key: HandlerKey) -> bool:
        """Note that a schedule runs; False for a tick that another node has run."""
        if self._last_runs is None:
            return True
        due = self.due.get(key)
        if isinstance(due, datetime):
            return await self._last_runs.claim(self._invoker.label, key, due)
        self._last_runs.note(self._invoker.label, key, self._clock.now())
        return True

    async def _make_up(self, key: HandlerKey) -> None:
        """Count the runs that were missed while no runtime was there; make up for one where it is wanted."""
        found = self._handlers.get(key)
        if self._last_runs is None or found is None or found.schedule is None:
            return
        label = self._invoker.label
        missed = await self._last_runs.missed(label, key, found.schedule)
        if missed is None:
            return
        count = missed.times
        if self._last_runs.makes_up and (running := self.begin(key)) is not None:
            self._last_runs.tell_made_up(label, key.name, missed)
            self._note_missed(key, count - 1)
            await asyncio.wait({running})
        else:
            self._note_missed(key, count)

    async def _wait_for_tick(self, key: HandlerKey, spec: ScheduleSpec) -> bool:
        """Wait for the next run and count those that were missed; False when the clock was set anew."""
        clock = self._clock
        if spec.interval_seconds is None:
            begun = clock.now()
            last = self.due.get(key)
            if isinstance(last, datetime):
                if timedelta() < last - begun < CLOCK_ROUNDING:
                    begun = last  # or the same tick would come twice
                else:  # it woke late, or the run before took its time
                    self._note_missed(key, spec.ticks_between(last, begun))
            due = self.due[key] = spec.next_run(begun)
            if not await clock.sleep_until(due):
                self.due.pop(key, None)
                return False
            return True
        started = clock.monotonic()
        self.due[key] = started + spec.interval_seconds
        await clock.sleep(spec.interval_seconds)
        self._note_missed(key, int((clock.monotonic() - started) / spec.interval_seconds + 1e-9) - 1)
        return True

    def _note_missed(self, key: HandlerKey, count: int) -> None:
        if count > 0 and (stats := self._invoker.stats.get(key)) is not None:
            stats.missed += count
