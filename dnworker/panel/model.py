"""What all views of one runtime share: which events changed, what was fired, what gates a worker.

`feed` notes what changed; `view` and `operations` read it.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from dnworker.panel import failure_rows, serialize
from dnworker.panel.attached import mark_to_json
from dnworker.panel.comparing import Comparisons
from dnworker.panel.epoch import Epoch
from dnworker.panel.run_index import RunIndex
from dnworker.panel.worker_rows import row_to_json

if TYPE_CHECKING:
    from dnworker.engine.dead_letters import DeadLetter
    from dnworker.engine.engine import Engine
    from dnworker.events.failing import Failure
    from dnworker.panel.actions import Actions
    from dnworker.workers.managed import ManagedWorker

FIRED_KEPT = 30

WORKERS_REMEMBERED = 10_000
"""Workers of which is remembered when they did something; others are looked at less often."""

KINDS_INTERVAL = 5.0
"""Seconds after which kinds are looked up again although no worker has changed."""


class PanelModel:
    """What the panel shows, as far as it is the same for every view.

    Args:
        engine: what is shown.
        actions: what can be done beside.
    """

    def __init__(self, engine: Engine, actions: Actions) -> None:
        self.engine = engine
        self.actions = actions
        self.fired: deque[dict[str, Any]] = deque(maxlen=FIRED_KEPT)
        """What was fired from the panel, newest first."""
        self.dropped: dict[tuple[str, str], DeadLetter] = {}
        """Dead letters that were dropped last, by worker and id of the event: they can be put back."""
        self.comparisons = Comparisons(engine.side_threads)
        self.runs = RunIndex(engine)
        """The runs, while some view looks at them."""
        # What changed of workers, their states and handlers, and when each has done something, in seconds.
        self.workers_revision = 0
        self._busy: OrderedDict[str, float] = OrderedDict()
        self._kinds: tuple[int, float, list[str]] = (-1, 0.0, [])
        self.epoch = Epoch()
        # What fails now by worker, and when that was looked up: two revisions and a second.
        self._failing: dict[str, set[str]] = {}
        self._failing_at = (-1, -1, -1)

    # -- what changed ----------------------------------------------------------------------------------

    def note_change(self, event_id: str) -> None:
        """Remember that an event is new, or that what it caused has changed."""
        self.runs.note(event_id)

    def note_workers(self) -> None:
        """Remember that the state or the handlers of some worker have changed."""
        self.workers_revision += 1

    def note_busy(self, worker: str) -> None:
        """Remember that a worker does something now."""
        busy = self._busy
        busy[worker] = time.monotonic()
        busy.move_to_end(worker)
        if len(busy) > WORKERS_REMEMBERED:
            busy.popitem(last=False)

    def busy_since(self, moment: float) -> set[str]:
        """Return the workers that have done something since then, in seconds of the monotonic clock."""
        return set(takewhile(lambda name: self._busy[name] >= moment, reversed(self._busy)))

    def kinds(self) -> list[str]:
        """Return the kinds that can be expected to do something, in order; looked up when they may be new."""
        revision, at, found = self._kinds
        now = time.monotonic()
        if revision != self.workers_revision or now - at >= KINDS_INTERVAL:
            found = sorted(self.actions.kinds())
            self._kinds = self.workers_revision, now, found
        return found

    def forget_changes(self) -> None:
        """Remember no change: nobody looks, and whoever looks next gets everything."""
        self.runs.forget()
        self._busy.clear()
        self.note_workers()

    def note_fired(self, entry: dict[str, Any], at: float) -> None:
        """Remember what the panel fired, and when in ms since 1970; the same again moves to the top."""
        same = next((one for one in self.fired if entry.items() <= one.items()), None)
        if same is not None:
            self.fired.remove(same)
        self.fired.appendleft(entry | {"at": at})

    # -- what is shown ---------------------------------------------------------------------------------

    def runtime_to_json(self) -> dict[str, Any]:
        """Return what is shown of the runtime itself."""
        engine = self.engine
        named = [one.name for one in engine.capabilities.all() if not one.live]
        shared: dict[str, Any] = {"node": engine.nodes.name} if engine.nodes.is_open else {}
        if (attached := mark_to_json(engine)) is not None:
            shared["attached"] = attached
        return shared | {
            "id": engine.runtime_id,
            "name": named[0] if len(named) == 1 else "dnworker",
            "url": engine.url,
            "events": engine.bus.latest_seq,
        }

    def gate(self, worker: ManagedWorker) -> dict[str, bool]:
        """Return the flags that gate a worker, with their values."""
        return serialize.gate_of(worker, self.engine.capability(worker.capability))

    def worker_to_json(self, worker: ManagedWorker) -> dict[str, Any]:
        """Return a worker as views show it."""
        row = row_to_json(
            worker,
            self.gate(worker),
            series=self.engine.history.series.of_worker(worker.qualified_name),
            is_failing=worker.qualified_name in self._look_who_fails(),
            why_no_rollback=self.actions.why_no_rollback(worker),
            now=serialize.Now.read(),
        )
        if (mark := self.actions.agent_mark(worker)) is not None:
            row["agent"] = {"by": mark.by, "change": mark.change, "outside": mark.is_outside}
        storm = self.storm_of(worker)
        return row if storm is None else row | {"storm": storm}

    def storm_of(self, worker: ManagedWorker) -> dict[str, Any] | None:
        """Return the newest event storm that a worker takes part in, and how many events of it are held."""
        storms = self.engine.storms
        for storm in reversed(storms.storms):
            if worker.qualified_name in storm.workers:
                return {"text": storms.message(storm), "held": storm.held, "event": storm.root}
        return None

    def failing_now(self) -> list[Failure]:
        """Return what fails now."""
        return failure_rows.failing_now(self.engine, {w.qualified_name: w for w in self.engine.workers()})

    def attention(self) -> dict[str, Any]:
        """Return how many prompts wait for a person, in whatever session, and how many handlers fail now."""
        return {
            "prompts": self.engine.turns.open_prompts(),
            "failing": sum(map(len, self._look_who_fails().values())),
        }

    def _look_who_fails(self) -> dict[str, set[str]]:
        """Return which handlers fail now by worker; looked up once a second, and when they may be others."""
        if not len(self.engine.failing):
            return {}
        when = self.engine.failing.revision, self.workers_revision, int(time.monotonic())
        if self._failing_at != when:
            self._failing = {}
            for one in self.failing_now():
                self._failing.setdefault(one.worker, set()).add(one.handler)
            self._failing_at = (self.engine.failing.revision, *when[1:])
        return self._failing
