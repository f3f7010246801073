"""The states of a worker, the steps between them (contract 2.7), and `Lifecycle`, which takes them.

The contract has seven; `standby` is beside them, for a worker that another node of a cluster holds.

A managed worker and the runner of its present start share one `Lifecycle`: the state is stored once.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from dnworker.core.errors import InvalidTransition
from dnworker.core.listeners import Listeners
from dnworker.core.text import valid_text


class WorkerState(enum.StrEnum):
    """The state of a worker, which is in exactly one of these; each equals its text.

    Attributes:
        LOADING: declared, and not started yet; its script is being read.
        STARTING: its startup handlers run.
        RUNNING: it gets events, and its schedules and tasks run.
        STOPPING: its shutdown handlers run.
        STOPPED: somebody stopped it.
        ERROR: it failed to start, or its process ended.
        GATED_OFF: none of the flags of its `when` is on.
        STANDBY: another node of the cluster runs it.

    Examples:
        >>> managed = await runtime.add(worker)
        >>> managed.state is WorkerState.RUNNING, managed.state == "running"
        (True, True)
    """

    LOADING = "loading"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR = "error"
    GATED_OFF = "gated_off"
    STANDBY = "standby"


SHUTDOWN_ERRORS = "shutdown errors: "
"""Begins the error text of a worker that stopped although shutdown handlers raised (contract 2.5)."""

_S = WorkerState
NEXT: dict[WorkerState, frozenset[WorkerState]] = {
    # a worker that is declared and was never started counts as loading
    _S.LOADING: frozenset({_S.STARTING, _S.ERROR, _S.STOPPING, _S.STOPPED, _S.GATED_OFF, _S.STANDBY}),
    _S.STARTING: frozenset({_S.RUNNING, _S.ERROR, _S.STOPPING}),
    _S.RUNNING: frozenset({_S.STOPPING, _S.STOPPED, _S.ERROR}),
    _S.STOPPING: frozenset({_S.STOPPED}),
    _S.STOPPED: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.GATED_OFF, _S.STANDBY}),
    _S.ERROR: frozenset({_S.LOADING, _S.STARTING, _S.STOPPING, _S.STOPPED, _S.GATED_OFF, _S.STANDBY}),
    _S.GATED_OFF: frozenset({_S.LOADING, _S.STOPPED, _S.STANDBY}),
    _S.STANDBY: frozenset({_S.LOADING, _S.STOPPED, _S.GATED_OFF, _S.ERROR}),
}

STATUS = {_S.RUNNING: "ok", _S.ERROR: "error", _S.STOPPED: "stopped", _S.GATED_OFF: "gated_off"}
"""State to component status; a state without an entry leaves the status as it was (contract 2.7)."""

ALIVE = frozenset({_S.STARTING, _S.RUNNING})
"""The states in which handlers may run and the worker may fail."""

TRANSITIONS_KEPT = 12
RECORD_KEPT = 200
"""Steps that are kept of all runs of one worker."""

LONGEST_REASON = 200


class Transition(msgspec.Struct, frozen=True):
    """A step that a worker took: into which state, when by the time of day, and why where that is known."""

    state: WorkerState
    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    reason: str | None = None


def move(now: WorkerState, to: WorkerState) -> WorkerState:
    """Return the next state.

    Raises:
        InvalidTransition: there is no such step.
    """
    if to not in NEXT[now]:
        raise InvalidTransition(f"a worker cannot go from {now} to {to}")
    return to


class Lifecycle:
    """Where a worker is, how it came there, and what went wrong; the only place that changes its state.

    Args:
        record: gets every step; it may have those of other lifecycles of the same worker, from before.
    """

    def __init__(self, record: deque[Transition] | None = None) -> None:
        self.transitions: deque[Transition] = deque([Transition(_S.LOADING)], maxlen=TRANSITIONS_KEPT)
        """The newest steps, oldest first; the last one is the state that it is in."""
        self.error: str | None = None
        """Why it is in `error`, or what its shutdown handlers raised."""
        self.cause: str | None = None
        """Why it is started or stopped at present."""
        self._record: deque[Transition] = deque(maxlen=RECORD_KEPT) if record is None else record
        self._listeners: Listeners[[WorkerState, str | None]] = Listeners()

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self.transitions[-1].state

    def begin(self) -> None:
        """Note that its first start begins: it was in `loading` before, and nobody had started it."""
        self.transitions[-1] = Transition(self.state, reason=self.cause)
        self._record.append(self.transitions[-1])

    def note(self, reason: str | None) -> None:
        """Note what happened without a step, such as another generation of its handlers."""
        self._record.append(Transition(self.state, reason=reason))

    def to(
        self,
        state: WorkerState,
        error: str | None = None,
        *,
        quiet: bool = False,
        reason: str | None = None,
    ) -> None:
        """Take a step, and tell the listeners unless it is `quiet`.

        Args:
            state: the next state.
            error: what went wrong.
            quiet: whether nobody is told.
            reason: why; else what is known of it: the error, how long the start took, who asked.

        Raises:
            InvalidTransition: there is no such step; nothing has changed then.
        """
        text = None if error is None else valid_text(error)
        now = datetime.now(UTC)
        step = Transition(move(self.state, state), now, reason or self._reason(state, text, now))
        self.transitions.append(step)
        self._record.append(step)
        self.error = text
        if not quiet:
            self._listeners.notify(state, self.error)

    def listen(self, listener: Callable[[WorkerState, str | None], object]) -> Callable[[], None]:
        """Call `listener` with each new state and its error text; returns what ends it."""
        return self._listeners.add(listener)

    def _reason(self, state: WorkerState, error: str | None, now: datetime) -> str | None:
        if error is not None:
            first = error.partition("\n")[0][:LONGEST_REASON]
            return first[:1].upper() + first[1:]
        if state is _S.RUNNING:
            begun = next((one.at for one in reversed(self.transitions) if one.state is _S.LOADING), now)
            return f"Started in {_short((now - begun).total_seconds())}"
        return None if state is _S.STARTING else self.cause


def _short(seconds: float) -> str:
    """Return a duration as people write it: `410 ms`, `3.2 s`."""
    return f"{max(0.0, seconds) * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s"
