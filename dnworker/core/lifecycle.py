"""The seven states of a worker, the steps between them (contract 2.7), and `Lifecycle`, which takes them.

A managed worker and the runner of its present start share one `Lifecycle`: the state is stored once.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dnworker.core.errors import InvalidTransition
from dnworker.core.listeners import Listeners
from dnworker.core.text import valid_text


class WorkerState(enum.StrEnum):
    """A worker is in exactly one of these states."""

    LOADING = "loading"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"
    GATED_OFF = "gated_off"


SHUTDOWN_ERRORS = "shutdown errors: "
"""Begins the error text of a worker that stopped although shutdown handlers raised (contract 2.5)."""

_S = WorkerState
NEXT: dict[WorkerState, frozenset[WorkerState]] = {
    # a worker that is declared and was never started counts as loading
    _S.LOADING: frozenset({_S.STARTING, _S.ERROR, _S.STOPPING, _S.STOPPED, _S.GATED_OFF}),
    _S.STARTING: frozenset({_S.RUNNING, _S.ERROR, _S.STOPPING}),
    _S.RUNNING: frozenset({_S.STOPPING, _S.STOPPED, _S.ERROR}),
    _S.STOPPING: frozenset({_S.STOPPED}),
    _S.STOPPED: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.GATED_OFF}),
    _S.ERROR: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.STOPPED, _S.GATED_OFF}),
    _S.GATED_OFF: frozenset({_S.LOADING, _S.STOPPED}),
}

STATUS = {_S.RUNNING: "ok", _S.ERROR: "error", _S.STOPPED: "stopped", _S.GATED_OFF: "gated_off"}
"""State to component status; a state without an entry leaves the status as it was (contract 2.7)."""

ALIVE = frozenset({_S.STARTING, _S.RUNNING})
"""The states in which handlers may run and the worker may fail."""

TRANSITIONS_KEPT = 12


@dataclass(frozen=True, slots=True)
class Transition:
    """A step that a worker took: into which state, and when, by the time of day."""

    state: WorkerState
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def move(now: WorkerState, to: WorkerState) -> WorkerState:
    """Return the next state.

    Raises:
        InvalidTransition: there is no such step.
    """
    if to not in NEXT[now]:
        raise InvalidTransition(f"a worker cannot go from {now} to {to}")
    return to


class Lifecycle:
    """Where a worker is, how it came there, and what went wrong; the only place that changes its state."""

    def __init__(self) -> None:
        self.transitions: deque[Transition] = deque([Transition(_S.LOADING)], maxlen=TRANSITIONS_KEPT)
        """The newest steps, oldest first; the last one is the state that it is in."""
        self.error: str | None = None
        """Why it is in `error`, or what its shutdown handlers raised."""
        self._listeners: Listeners[[WorkerState, str | None]] = Listeners()

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self.transitions[-1].state

    def to(self, state: WorkerState, error: str | None = None, *, quiet: bool = False) -> None:
        """Take a step, and tell the listeners unless it is `quiet`.

        Raises:
            InvalidTransition: there is no such step; nothing has changed then.
        """
        self.transitions.append(Transition(move(self.state, state)))
        self.error = None if error is None else valid_text(error)
        if not quiet:
            self._listeners.notify(state, self.error)

    def listen(self, listener: Callable[[WorkerState, str | None], object]) -> Callable[[], None]:
        """Call `listener` with each new state and its error text; returns what ends it."""
        return self._listeners.add(listener)
