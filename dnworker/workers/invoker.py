"""`Invoker`: runs each handler as a task, and counts what is in flight; a part of the runner."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cached_property
from types import CoroutineType, FrameType
from typing import Any, Protocol

from dnworker.core.clock import Clock, current_clock
from dnworker.core.handler_error import BASE_TRACEBACK, describe, says_something
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Cause, Invocation, current_invocation
from dnworker.core.owners import Owner, current_owner
from dnworker.core.stats import HandlerStats
from dnworker.core.text import kind_of
from dnworker.core.time_limits import time_limit
from dnworker.workers.around import Around
from dnworker.workers.recorders import Recorder
from dnworker.workers.tasks import EndedByUser, HandlerTask, KeeperTask, explain_cancellation

log = logging.getLogger("dnworker.runner")

ENDED_ALONE = "ended alone"
"""What the cancellation of one handler says; `dnworker.patterns` tells a stop of its worker from it."""


class HandlerClient(Protocol):
    """What the runner itself needs of a client; handlers get the whole object."""

    def session_group(
        self, title: str, *, kind: str, worker: str | None, metadata: dict[str, Any]
    ) -> AbstractAsyncContextManager[object]:
        """Group the sessions that the body creates."""
        ...


class Invoker:
    """Runs the handlers of one worker.

    Args:
        client: handed to every handler.
        name: of the worker, for session groups.
        label: `capability:worker`, for traces and the names of tasks.
        clock: what handlers find as the current one.
        recorder: notified of each invocation.
        grace: seconds that cancelled tasks get to end.
        generation: the version of the handlers.
        owner: whose code the handlers are, and all that they start.
        around: what is put around every run of a handler.
    """

    def __init__(
        self,
        client: HandlerClient,
        *,
        name: str | None,
        label: str,
        clock: Clock,
        recorder: Recorder,
        grace: float,
        generation: int,
        owner: Owner,
        around: Around | None = None,
    ) -> None:
        self.client = client
        self.name = name
        self.label = label
        self.recorder = recorder
        self.grace = grace
        self.generation = generation
        self.stats: dict[HandlerKey, HandlerStats] = {}
        """How each handler has done; those of handlers that a swap took away are dropped."""
        self.in_flight: dict[asyncio.Task[Any], Invocation] = {}
        """What was launched and has not ended."""
        self._owner = owner
        self._around = around or Around()
        self._told: set[tuple[HandlerKey | None, str]] = set()
        """What each handler does in vain was told once, until its code changes."""
        self._limits: set[asyncio.Timeout] = set()
        """Those within which somebody waits for the end of tasks now."""
        self._ending: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        """The tasks that the runtime itself has cancelled."""
        self._context = contextvars.Context()  # of all our tasks: it knows clock and owner, and nothing else
        self._context.run(current_clock.set, clock)
        self._context.run(current_owner.set, owner)

    def count(self, keys: Iterable[HandlerKey]) -> None:
        """Have stats for exactly these handlers; those that stay keep theirs."""
        self.stats = {key: self.stats.get(key) or HandlerStats() for key in keys}
        for stats in self.stats.values():
            stats.note_generation()
        self._told.clear()

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task of the worker that runs no handler itself: only the runtime can cancel it."""
        # A context of our own: what the cell or request that started us carried must not leak into handlers.
        return KeeperTask(coro, loop=self._loop, name=f"{self.label} {name}", context=self._context.copy())

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop on which everything here runs; to ask asyncio for it costs a system call each time."""
        return asyncio.get_running_loop()

    def begin(self, cause: Cause, key: HandlerKey) -> Invocation:
        """Return a new invocation that no event caused; it is recorded as begun."""
        invocation = Invocation(self.label, key.name, cause, generation=self.generation, key=key)
        self.recorder.begin(invocation)
        return invocation

    def launch(
        self,
        invocation: Invocation,
        handler: Any,
        args: tuple[Any, ...],
        key: HandlerKey,
        title: str | None,
        task_name: str,
    ) -> asyncio.Task[Any]:
        """Start a handler whose invocation has begun, as a task that is in flight until it ends."""
        run = self.run(handler, args, invocation, key, title)
        # Not by create_task(): a task factory that some handler has set is not for the others.
        task = HandlerTask(run, loop=self._loop, name=task_name, context=self._context.copy())
        task.owner = self._owner
        self.in_flight[task] = invocation
        return task

    async def run_apart(
        self, handler: Any, args: tuple[Any, ...], invocation: Invocation, key: HandlerKey, title: str | None
    ) -> BaseException | None:
        """Run a handler in a task of its own, and return what it raised; the caller goes on whatever that is.

        When the caller is cancelled, the handler is; who waits for that has it from `in_flight`.
        """
        task = self.launch(invocation, handler, args, key, title, f"{self.label} {invocation.label}")
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            self.cancel(task)
            raise
        if not task.cancelled():
            failure: BaseException | None = task.result()
            return failure
        # A debugger ended it, or it was cancelled in its last step, when nothing could be raised in it.
        if invocation.outcome in ("ok", "warning"):
            return None
        return RuntimeError(str(invocation.error or _why_cancelled(task)))

    async def run(
        self, handler: Any, args: tuple[Any, ...], invocation: Invocation, key: HandlerKey, title: str | None
    ) -> BaseException | None:
        """Run a handler to its end and return what it raised; only our own cancellation passes through.

        A CancelledError that comes from elsewhere counts as a failure, with a text that explains it. With a
        title, the sessions that it creates are grouped under it.
        """
        stats = self.stats.get(key) or HandlerStats()  # none for a handler that a swap took away
        stats.began()
        token = current_invocation.set(invocation)
        failure: BaseException | None = None
        cancelled = True
        try:
            run = self._around.wrapped(invocation, handler)
            if title is None or not getattr(self.client, "groups_sessions", True):
                returned = await run(*args)
            else:
                about: Any = {"kind": "worker_run", "worker": self.name, "metadata": {"worker": self.label}}
                async with self.client.session_group(title, **about):
                    returned = await run(*args)
            cancelled = False
            if returned is not None:
                self._note_returned(invocation, returned)
                returned = None  # a coroutine, which is told of as it is dropped
        except BaseException as exc:  # a SystemExit in a handler must not end the kernel
            if self._is_ended_by(exc):
                raise
            failure = explain_cancellation(exc)
            _cut_earlier_runs(failure, invocation)
            cancelled = False
            self._note_way_out(invocation, exc, handler)
        finally:
            current_invocation.reset(token)
            self.in_flight.pop(asyncio.current_task(self._loop), None)  # type: ignore[arg-type]  # None is no key
            try:
                self.recorder.end(invocation, failure, cancelled=cancelled)
            except BaseException:  # who is notified writes to streams that workers may have replaced
                log.exception("the end of %s could not be noted everywhere", invocation.label)
            stats.ended(invocation)
        try:
            return failure
        finally:
            # Its traceback has this frame: in a circle, it and a large message would wait for a collection.
            failure = None

    def hint_once(self, invocation: Invocation, topic: str, text: str) -> None:
        """Tell of something that a handler does in vain, once a handler and topic."""
        if (invocation.key, topic) in self._told:
            return
        self._told.add((invocation.key, topic))
        self.hint(invocation, text)

    def hint(self, invocation: Invocation, text: str) -> None:
        """Tell of something that is odd with a run, and no failure."""
        try:
            self.recorder.hint(invocation, text)
        except Exception:  # who is notified writes to streams that workers may have replaced
            log.exception("%s: %s", invocation.label, text)

    def _note_returned(self, invocation: Invocation, returned: object) -> None:
        """Tell that nobody gets what a handler returns; of a coroutine, it is told that nobody awaits it."""
        if type(returned) is CoroutineType:
            return
        text = f"{invocation.handler} returned {kind_of(returned)}, and nobody gets it"
        self.hint_once(invocation, "returns", f"{text}; publish it: await client.publish(...)")

    def _note_way_out(self, invocation: Invocation, exc: BaseException, handler: Any) -> None:
        """Note how a common mistake is put right."""
        from dnworker.workers.hints import way_out  # not before something fails

        try:
            warning = way_out(exc, handler, invocation)
            if warning is not None and all(warning.place != known.place for known in invocation.warnings):
                invocation.note_warning(warning)
        except Exception:  # what failed is somebody else's object, and is an error without it as well
            log.exception("no way out could be looked for in %s", invocation.label)

    def _is_ended_by(self, exc: BaseException) -> bool:
        """Return whether an exception of a handler is the end that we ask of it, and not its own doing."""
        kind, task = type(exc), asyncio.current_task(self._loop)
        if issubclass(kind, asyncio.CancelledError):
            return task is not None and (task in self._ending or issubclass(kind, EndedByUser))
        # A coroutine that is closed gets a GeneratorExit, and that is not in a step of its task.
        return issubclass(kind, GeneratorExit) and (task is None or task not in self.in_flight)

    def cancel(self, task: asyncio.Task[Any], message: str | None = None) -> None:
        """Cancel a task of the worker for good: only what is cancelled here ends by a cancellation."""
        self._ending.add(task)
        task.cancel(message)

    def end_invocation(self, invocation: Invocation) -> bool:
        """Cancel the handler of an invocation for good; False where it is not in flight here."""
        tasks = [task for task, one in self.in_flight.items() if one is invocation]
        for task in tasks:
            self.cancel(task, ENDED_ALONE)
        return bool(tasks)

    async def end(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel tasks and wait for them, within the grace; one that does not end is left behind."""
        pending = {task for task in tasks if not task.done() and task is not asyncio.current_task()}
        for task in pending:
            self.cancel(task)
        if not pending:
            return
        with suppress(TimeoutError):
            async with self.within_grace():
                await asyncio.wait(pending)
        for task in pending:
            if task.done():
                continue
            log.warning(
                "%s did not end within %g s of being cancelled; left behind", task.get_name(), self.grace
            )

    @asynccontextmanager
    async def within_grace(self) -> AsyncIterator[None]:
        """Limit the body to the grace; `hurry` may make that shorter meanwhile.

        Raises:
            TimeoutError: the time was up before the body ended.
        """
        async with time_limit(self.grace) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    def hurry(self, grace: float) -> None:
        """Have a shorter grace from now on, also where somebody waits for the end of tasks already."""
        self.grace = min(self.grace, grace)
        end = asyncio.get_running_loop().time() + grace
        for limit in self._limits:
            if (when := limit.when()) is not None and when > end:
                with suppress(RuntimeError):  # its time is up already
                    limit.reschedule(end)

    def note_never_run(self, launched: dict[asyncio.Task[Any], Invocation]) -> None:
        """Record as cancelled what was ended before its first step."""
        for task, invocation in launched.items():
            if task.done() and self.in_flight.pop(task, None) is not None:
                self.recorder.end(invocation, cancelled=True)


def _cut_earlier_runs(exc: BaseException, invocation: Invocation) -> None:
    """Take from an exception what it keeps of earlier runs of the handler, which have raised the same object.

    Each raise of an object adds to its traceback, and with the frames goes whatever they hold: without end.
    """
    before, one = None, BASE_TRACEBACK.__get__(exc)
    running = sys._getframe(1)  # reading the variables of a frame makes a copy that lives as long as it
    while one is not None:
        run = None if one.tb_frame is running else invocation_run_by(one.tb_frame)
        if before is not None and run is not None and run is not invocation and run.label == invocation.label:
            before.tb_next = None
            return
        before, one = one, one.tb_next


def _why_cancelled(task: asyncio.Task[Any]) -> str:
    try:
        task.result()
    except EndedByUser as exc:
        return f"it was {exc}"
    except asyncio.CancelledError:
        pass
    return "it was cancelled"


def invocation_run_by(frame: FrameType) -> Invocation | None:
    """Return the invocation that this frame runs, if it is one of `Invoker.run`; the watchdog asks."""
    if frame.f_code is not Invoker.run.__code__:
        return None
    found = frame.f_locals.get("invocation")
    return found if isinstance(found, Invocation) else None


def said_by(failure: BaseException) -> str:
    """Return what an exception says (contract 2.1); with its place where that alone tells nothing."""
    error = describe(failure)
    is_plain = issubclass(type(failure), Exception) or not error.frames
    return error.message if error.message and is_plain and says_something(failure) else str(error)
