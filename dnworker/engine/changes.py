"""`Changes`: the newest steps and generations of workers with their text; the panel's overview shows them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from dnworker.core.lifecycle import WorkerState
from dnworker.core.text import shorten
from dnworker.workers.services import Changed

KEPT = 200
WORKERS_REMEMBERED = 10_000
LONGEST_TEXT = 200


class WorkerChange(msgspec.Struct):
    """A step of a worker, or a new generation of it (`is_generation`)."""

    worker: str
    state: WorkerState
    generation: int
    is_generation: bool
    text: str
    """What is to be said beside the state or the number; empty for nothing."""
    monotonic: float = msgspec.field(default_factory=time.monotonic)
    """When, in seconds of the monotonic clock."""


class Changes:
    """Notes what has changed of workers, the newest at the end."""

    def __init__(self) -> None:
        self.all: deque[WorkerChange] = deque(maxlen=KEPT)
        self.describe: Callable[[str], str | None] = lambda worker: None
        """Returns what made the present generation of a worker, such as `cell [9] ran again`."""
        self._known: OrderedDict[str, tuple[WorkerState, int]] = OrderedDict()

    def note(self, worker: Changed, *, gate: str = "") -> None:
        """Note a worker as it is now, if that is news; `gate` names the flags that keep it from running."""
        name, state, generation = worker.qualified_name, worker.state, worker.generation
        before = self._known.get(name)
        if before == (state, generation):
            return
        self._known[name] = state, generation
        self._known.move_to_end(name)
        if len(self._known) > WORKERS_REMEMBERED:
            self._known.popitem(last=False)
        if before is not None and generation > before[1]:
            text = self.describe(name) or ""
            self.all.append(WorkerChange(name, state, generation, True, shorten(text, LONGEST_TEXT)))
            if state is before[0]:
                return
        self._note_state(name, state, generation, _why(worker, gate))

    def _note_state(self, name: str, state: WorkerState, generation: int, text: str) -> None:
        """Note a step; those of one start, or of one stop, are one."""
        newest = next((one for one in reversed(self.all) if one.worker == name), None)
        if newest is not None and not newest.is_generation and newest.state in _LEADS_TO.get(state, ()):
            self.all.remove(newest)
        elif newest is not None and newest.is_generation and state in _OF_A_START:
            newest.state = state
            return
        self.all.append(WorkerChange(name, state, generation, False, shorten(text, LONGEST_TEXT)))


_S = WorkerState
_OF_A_START = frozenset({_S.LOADING, _S.STARTING, _S.RUNNING})
_LEADS_TO = {
    _S.STARTING: (_S.LOADING, _S.STOPPED, _S.STOPPING),
    _S.RUNNING: (_S.LOADING, _S.STARTING),
    _S.STOPPED: (_S.STOPPING,),
    _S.GATED_OFF: (_S.STOPPING, _S.STOPPED),
    _S.ERROR: (_S.LOADING, _S.STARTING),
    _S.LOADING: (_S.STOPPED, _S.STOPPING),
}


def _why(worker: Changed, gate: str) -> str:
    if worker.state is WorkerState.GATED_OFF:
        return gate
    return (worker.error or "").partition("\n")[0]
