"""`StateWatch`: notes what handlers change in the state of their worker, and keeps states to go back to.

A notebook starts one; `serve` has none. Runs that somebody fired, and the first of what these publish, are
always looked at, the others as long as that takes a small share of the loop's time. Before an event that was
fired the state is kept as a snapshot. A `Fork` gives handlers of one event such a state in place of the live
one.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dnworker.core.errors import NotFound
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.limits import amount
from dnworker.workers.around import Handler
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.shadow import current_shadow
from dnworker.workers.state_changes import LARGEST_STATE, Large
from dnworker.workers.state_snapshots import Snapshots, why_impossible
from dnworker.workers.state_steps import WatchedRun

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.engine import Engine
    from dnworker.workers.worker import Worker

log = logging.getLogger("dnworker.state")

SHARE = 0.02
MOST = 0.05
"""Share of the loop's time for looking at runs that nobody fired, and seconds of it that add up."""

FAMILY = 100
"""Events below one that was fired whose runs are looked at as if they were fired, too."""

LARGE_PAUSE = 30.0
"""Seconds after which a worker whose state was too large is looked at again."""

REMEMBERED = 10_000
RECENT = 50
"""Events and runs whose origin is remembered; runs of one worker by which it is told what ran meanwhile."""

K = TypeVar("K")
V = TypeVar("V")


class _Newest(Generic[K, V]):
    """The newest entries of a dict."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._all: dict[K, V] = {}
        self._order: deque[K] = deque()

    def get(self, key: K) -> V | None:
        return self._all.get(key)

    def add(self, key: K, value: V) -> None:
        """Add an entry, unless the key is there."""
        if key in self._all:
            return
        self._all[key] = value
        self._order.append(key)
        if len(self._order) > self._kept:
            del self._all[self._order.popleft()]

    def clear(self) -> None:
        self._all.clear()
        self._order.clear()


class _Share:
    """Seconds that may be spent: a share of those that pass."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._at = now()
        self._left = MOST

    def has_room(self) -> bool:
        """Return whether something may be spent now."""
        now = self._now()
        self._left = min(MOST, self._left + (now - self._at) * SHARE)
        self._at = now
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """Take so many, which may be more than there are."""
        self._left -= seconds


class Fork:
    """A state that handlers of one worker find in place of the live one, below one event.

    Args:
        label: of the worker, qualified by its capability.
        worker: what `worker` means to its handlers; its state is the fork's.
    """

    def __init__(self, label: str, worker: Worker) -> None:
        self.label = label
        self.worker = worker

    def wrapped(self, handler: Handler) -> Handler:
        """Return what is run in the place of a handler of that worker."""

        async def run(*args: Any) -> Any:
            current_shadow.set(self.worker)  # in the context of its task, and of all that it starts
            return await handler(*args)

        return run


class _Origin:
    """Where an event comes from: somebody fired it, or what led to it; perhaps on a fork."""

    __slots__ = ("fork", "left")

    def __init__(self, fork: Fork | None = None) -> None:
        self.fork = fork
        self.left = FAMILY


class _Watched:
    """What is known of one worker."""

    def __init__(self, managed: InProcessWorker) -> None:
        self.managed = managed
        self.recent: deque[Invocation] = deque(maxlen=RECENT)
        self.known: dict[object, Large] = {}
        """Values of its state that are too large to be compared."""


class StateWatch:
    """Looks at the states of an engine's in-process workers, from `start` to `stop`; on the engine's loop."""

    def __init__(self, engine: Engine) -> None:
        self.snapshots = Snapshots()
        self._engine = engine
        # by event and by run: where they come from
        self._events: _Newest[str, _Origin] = _Newest(REMEMBERED)
        self._runs: _Newest[int, _Origin] = _Newest(REMEMBERED)
        self._forking: contextvars.ContextVar[Fork | None] = contextvars.ContextVar(
            "dnworker_fork", default=None
        )
        # by the worker's name, which stays when its capability is renamed
        self._off: set[str] = set()
        self._large: dict[str, float] = {}
        self._paused: set[str] = set()
        self._watched: dict[str, _Watched | None] = {}
        self._share = _Share()
        self._undo: list[Callable[[], object]] = []

    def start(self) -> None:
        """Look from now on; harmless when it does."""
        if self._undo:
            return
        engine = self._engine
        # It takes long the first time, and no event is to wait for it.
        threading.Thread(target=why_impossible, name="dnworker import", daemon=True).start()
        self._undo = [
            engine.services.around.add(self._wrap),
            engine.bus.tap(self._note_event),
            engine.fired.add(self._note_fired),
            engine.listen(self._watched.clear),
        ]

    def pause(self) -> None:
        """Look no more until the next start, and keep what is kept; harmless when it does not look."""
        for undo in self._undo:
            undo()
        self._undo = []

    def stop(self) -> None:
        """Look no more, and let go what is kept; harmless when it does not."""
        self.pause()
        self.snapshots.forget()
        self._watched.clear()
        self._events.clear()
        self._runs.clear()

    # -- what users decide -----------------------------------------------------------------------------

    def switch(self, name: str, *, on: bool) -> None:
        """Note what the handlers of a worker change from now on, or do not."""
        self._large.pop(name, None)
        self._paused.discard(name)
        if on:
            self._off.discard(name)
        else:
            self._off.add(name)

    def why_off(self, name: str) -> str | None:
        """Return why changes of a worker are not noted now; None where they are."""
        if name in self._off:
            return f"switched off; %worker state {name} --changes on switches it on"
        if name in self._large:
            return f"its state is over {amount(LARGEST_STATE, 'state')}"
        return None

    @contextmanager
    def on_fork(self, fork: Fork) -> Iterator[None]:
        """Let handlers of events that the body publishes, and of what these cause, run on a fork's state."""
        token = self._forking.set(fork)
        try:
            yield
        finally:
            self._forking.reset(token)

    # -- what happens ----------------------------------------------------------------------------------

    def _note_event(self, event: EventEnvelope) -> None:
        """Note where an event comes from; every event pays for it."""
        invocation = current_invocation.get()
        if (fork := self._forking.get()) is not None:
            self._events.add(event.event_id, _Origin(fork))
            return
        origin = None if invocation is None else self._runs.get(invocation.number)
        if origin is not None and (origin.fork is not None or origin.left > 0):
            origin.left -= 1
            self._events.add(event.event_id, origin)

    def _note_fired(self, event: EventEnvelope) -> None:
        self._events.add(event.event_id, _Origin())

    def _wrap(self, invocation: Invocation, handler: Handler) -> Handler:
        """Return what is run in the place of a handler; every run of one pays for it."""
        try:
            return self._wrapped(invocation, handler)
        except Exception:  # what looks must not be why a handler fails
            log.exception("the state of %s is not looked at for this run", invocation.worker)
            return handler

    def _wrapped(self, invocation: Invocation, handler: Handler) -> Handler:
        event = invocation.event
        origin = self._events.get(event.event_id) if event is not None else None
        watched = self._watched_of(invocation.worker)
        if watched is None:
            return handler
        watched.recent.append(invocation)
        fork = None
        if origin is not None and event is not None:
            self._runs.add(invocation.number, origin)
            if origin.fork is not None and origin.fork.label == invocation.worker:
                fork = origin.fork
                handler = fork.wrapped(handler)
            else:
                self._keep_snapshot(watched, invocation, event)
        name = watched.managed.name
        if name in self._off or self._is_large(name):
            return handler
        if origin is None and not self._has_room(invocation.worker, name):
            return handler
        return self._run(watched, invocation, fork, is_fired=origin is not None).wrapped(handler)

    def _watched_of(self, label: str) -> _Watched | None:
        if label not in self._watched:
            try:
                managed = self._engine.worker(label)
            except NotFound:
                managed = None
            is_here = isinstance(managed, InProcessWorker)
            self._watched[label] = _Watched(managed) if is_here else None  # type: ignore[arg-type]  # it is one
        return self._watched[label]

    def _run(
        self, watched: _Watched, invocation: Invocation, fork: Fork | None, *, is_fired: bool
    ) -> WatchedRun:
        label, name = invocation.worker, watched.managed.name

        def state() -> object:
            registry = watched.managed.worker_of(invocation.generation) if fork is None else fork.worker
            return None if registry is None else registry.state

        return WatchedRun(
            invocation,
            state,
            may_look=(lambda: True) if is_fired else (lambda: self._has_room(label, name)),
            spent=(lambda seconds: None) if is_fired else self._share.spend,
            too_large=lambda: self._note_large(label, name),
            meanwhile=lambda since: _ran_since(watched.recent, since, invocation),
            known=watched.known if fork is None else None,
            is_opaque=partial(self.snapshots.leaves_out, label),
        )

    # -- bounds ----------------------------------------------------------------------------------------

    def _has_room(self, label: str, name: str) -> bool:
        """Return whether a run that nobody fired may be looked at; that it may not is said once."""
        if self._share.has_room():
            return True
        if name not in self._paused:
            self._paused.add(name)
            self._say(
                label,
                f"state: more events come than can be looked at in {SHARE:.0%} of the time: what some of "
                "their handlers change is not noted; those that a cell fires are always looked at",
            )
        return False

    def _is_large(self, name: str) -> bool:
        since = self._large.get(name)
        return since is not None and time.monotonic() - since < LARGE_PAUSE

    def _note_large(self, label: str, name: str) -> None:
        if name not in self._large:
            self._say(
                label,
                f"state: it is over {amount(LARGEST_STATE, 'state')}, so what handlers change in it is not "
                f"noted; %worker state {name} shows it",
            )
        self._large[name] = time.monotonic()

    def _keep_snapshot(self, watched: _Watched, invocation: Invocation, event: EventEnvelope) -> None:
        if self.snapshots.has(event.event_id, invocation.worker):
            return
        registry = watched.managed.worker_of(invocation.generation)
        if registry is None:
            return
        taken = self.snapshots.take(invocation.worker, event, invocation.generation, registry.state)
        for text in taken:
            self._say(invocation.worker, text)

    def _say(self, label: str, text: str) -> None:
        self._engine.log_line(label, text, source="runtime", level="warning")


def _ran_since(recent: deque[Invocation], since: float, but: Invocation) -> str:
    """Return which other runs of a worker were under way since a moment, as `#13, tick`."""
    names = [
        f"#{one.event.seq}" if one.event is not None else one.handler
        for one in recent
        if one is not but and (one.duration is None or one.started_at + one.duration > since)
    ]
    return ", ".join(dict.fromkeys(names))
