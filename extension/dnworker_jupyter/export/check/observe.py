"""Runs workers in a runtime of their own and fires events at them; used on both sides of a check.

Not observed: what a handler does without its client and without printing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.core.envelope import EventEnvelope, decode
from dnworker.core.errors import Conflict
from dnworker.core.lifecycle import WorkerState
from dnworker.sessions.policies import resolve_policy
from dnworker.workers.side_by_side import stop_all
from dnworker_jupyter.export.check.record import (
    EVENTS_LIMIT,
    Answer,
    CheckRun,
    Recorder,
    SessionFacts,
    WorkerStart,
)
from dnworker_jupyter.export.check.turns import Person, Script, answer_again, answer_by_script
from dnworker_jupyter.export.planning.types import OnProgress

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

EVENT_SECONDS = 30.0
"""Seconds that everything an event causes may take."""

START_SECONDS = 120.0
"""Seconds until the workers must be up; imports are slow."""

SETTLE_SECONDS = 0.3
"""Seconds for tasks to do something in."""

LINGER_SECONDS = 0.05
"""Seconds for what handlers left running, at the end."""

NUMBERS = 100
"""The numbers of events begin anywhere below: they are no property of a handler."""

LATE_SECONDS = 1.0
"""Seconds for what was caused without naming its cause, such as a turn over a socket of the SDK's client."""

OVERFLOW_SECONDS = 2.0
"""Seconds for an event that has caused very many others to end all the same."""

TASK_EFFECTS = 3
"""Effects of a task that are waited for, as far as the other side had them."""


class Scene(msgspec.Struct):
    """What is done to the workers, the same on both sides."""

    workers: list[str] = []
    """Which workers are made of handlers."""
    events: list[str] = []
    """The events to fire, as JSON texts."""
    sessions: list[SessionFacts] = []
    limits: list[float] = []
    """Seconds for each event and all that it causes."""
    settle: float = SETTLE_SECONDS
    """Seconds for tasks, after the last event."""
    expected: dict[str, int] = {}
    """How many effects of each task the other side had."""
    answers: list[Answer] | None = None
    """What agents answer; None where the notebook's scripts do."""

    def envelopes(self) -> list[EventEnvelope]:
        """Return the events to fire."""
        return [decode(text.encode()) for text in self.events]


Start = Callable[["Runtime"], Awaitable[None]]
"""Starts the workers in a runtime, and returns when they are up or have failed to be."""


async def observe(
    runtime: Runtime,
    scene: Scene,
    start: Start,
    on_progress: OnProgress,
    script: Script | None = None,
    *,
    before_stop: Callable[[], list[str]] = list,
) -> CheckRun:
    """Start workers, fire the events one after the other, stop the workers, and return what they did.

    Args:
        runtime: started, without workers.
        scene: what is done to them.
        start: starts them.
        on_progress: called with each step.
        script: who answers turns; None where the scene has the answers.
        before_stop: called while the workers still run; returns errors that nobody awaited.
    """
    recorder = Recorder(runtime, scene.workers)
    answers = _prepare(runtime, recorder, scene, script)
    began = time.monotonic()
    with contextlib.closing(Person(runtime)) as person:
        await start(runtime)
        states = {w.name: WorkerStart(str(w.state), w.error) for w in runtime.workers()}
        await _run_schedules(runtime, scene.workers)
        waited, endless = await _fire_all(runtime, recorder, scene, on_progress)
        if not endless:
            await _settle(recorder, scene)
        recorder.freeze()
        recorder.unhandled = before_stop()
        running = recorder.result()
        on_progress("stopping the workers", 0, 1)
        await stop_all(runtime.workers())
    return msgspec.structs.replace(
        (result := recorder.result()),
        runs=_with_end(running, result),
        answers=answers,
        prompts=person.answered,
        endless=endless,
        fired=len(waited),
        waited=waited,
        starts=states,
        seconds=time.monotonic() - began,
    )


def _prepare(runtime: Runtime, recorder: Recorder, scene: Scene, script: Script | None) -> list[Answer]:
    """Make the sessions, and let turns be answered; returns the list that takes the answers to be known."""
    for _ in range(random.randrange(NUMBERS)):  # noqa: S311  no secret
        runtime.bus.publish("transport.check", {})
    for facts in scene.sessions:
        _make_session(runtime, facts)
    if scene.answers is not None:
        return answer_again(runtime, recorder, scene.answers)
    answers: list[Answer] = []
    answer_by_script(runtime, recorder, script or Script(), answers)
    return answers


def _with_end(running: CheckRun, stopped: CheckRun) -> list[Any]:
    """Return the runs as they were before the stop, and those of the shutdown."""
    return [*running.runs, *(run for run in stopped.runs if run.root == "shutdown")]


def _make_session(runtime: Runtime, facts: SessionFacts) -> None:
    session = runtime.sessions.ensure(facts.session_id)
    session.agent, session.model = facts.agent, facts.model
    session.messages.extend(facts.messages)
    if facts.policy is not None:
        with contextlib.suppress(ValueError):
            session.policy = resolve_policy(facts.policy)


async def _run_schedules(runtime: Runtime, workers: Collection[str]) -> None:
    """Run every schedule of the workers of this process once: few are due while a check runs."""
    for worker in runtime.workers():
        if worker.name not in workers or worker.state is not WorkerState.RUNNING:
            continue
        for key in [key for key in worker.stats if key.decorator == "every"]:
            with contextlib.suppress(Conflict):  # a process runs them by itself, see workers/child/observe.py
                worker.run_schedule(key)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EVENT_SECONDS):
            await runtime.history.wait_idle()


async def _fire_all(
    runtime: Runtime, recorder: Recorder, scene: Scene, on_progress: OnProgress
) -> tuple[list[float], list[int]]:
    """Fire the events; returns how long each was waited for, and those that caused others without end."""
    waited: list[float] = []
    endless: list[int] = []
    events = scene.envelopes()
    for number, event in enumerate(events):
        on_progress(f"firing {event.kind}", number, len(events))
        began = time.monotonic()
        recorder.begin_event(number)
        trace = await runtime.fire(
            event.kind,
            dict(event.payload),
            session_id=event.session_id,
            turn_id=event.turn_id,
            wait=False,
        )
        recorder.fire(trace.event.event_id, number)
        limit = scene.limits[number] if number < len(scene.limits) else EVENT_SECONDS
        if await _is_endless(runtime, recorder, trace.event.event_id, limit):
            endless.append(number)
        waited.append(time.monotonic() - began)
        if endless:
            break
    return waited, endless


async def _is_endless(runtime: Runtime, recorder: Recorder, event_id: str, limit: float) -> bool:
    """Return when an event is done with, or its time is up; True if it goes on causing others."""
    quiet = asyncio.create_task(runtime.history.wait_quiet(event_id), name="check waits")
    flood = asyncio.create_task(recorder.overflow.wait(), name="check counts")
    try:
        await asyncio.wait({quiet, flood}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if flood.done() and not quiet.done():
            await asyncio.wait({quiet}, timeout=OVERFLOW_SECONDS)
        if quiet.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LATE_SECONDS, limit)):
                    await runtime.history.wait_idle()
            return False
        # A side may be too slow to come to the limit in its time.
        return recorder.count > EVENTS_LIMIT // 10
    finally:
        quiet.cancel()
        flood.cancel()


async def _settle(recorder: Recorder, scene: Scene) -> None:
    """Give tasks some time: at least until they did as much as on the other side, if they ever do."""
    if not recorder.has_tasks() and not scene.expected:
        # What a handler left running has its time, too, and more of it where the sides seem to differ.
        await asyncio.sleep(scene.settle if scene.settle > SETTLE_SECONDS else LINGER_SECONDS)
        return
    await asyncio.sleep(scene.settle)
    deadline = time.monotonic() + 10 * scene.settle
    # Nothing signals that a task did something: what it does is events, lines and errors.
    while time.monotonic() < deadline and not _has(recorder, scene.expected):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


def _has(recorder: Recorder, expected: dict[str, int]) -> bool:
    found = task_effects(recorder.result())
    return all(found.get(who, 0) >= min(count, TASK_EFFECTS) for who, count in expected.items())


def task_effects(run: CheckRun) -> dict[str, int]:
    """Return how many effects each task had, and each handler that tasks caused to run."""
    found: dict[str, int] = {}
    for one in run.runs:
        if one.root == "task" and one.effects:
            found[one.who] = found.get(one.who, 0) + len(one.effects)
    return found
