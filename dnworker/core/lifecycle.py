"""The seven states of a worker, and the only steps between them (contract 2.7)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dnworker.core.errors import InvalidTransition


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
    _S.LOADING: frozenset({_S.STARTING, _S.ERROR, _S.STOPPING, _S.STOPPED}),
    _S.STARTING: frozenset({_S.RUNNING, _S.ERROR, _S.STOPPING}),
    _S.RUNNING: frozenset({_S.STOPPING, _S.STOPPED, _S.ERROR}),
    _S.STOPPING: frozenset({_S.STOPPED}),
    _S.STOPPED: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.GATED_OFF}),
    _S.ERROR: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.STOPPED, _S.GATED_OFF}),
    _S.GATED_OFF: frozenset({_S.LOADING, _S.STOPPED}),
}

STATUS = {_S.RUNNING: "ok", _S.ERROR: "error", _S.STOPPED: "stopped", _S.GATED_OFF: "gated_off"}
"""State to component status; a state without an entry leaves the status as it was (contract 2.7)."""


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
