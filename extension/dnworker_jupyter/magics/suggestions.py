"""`Suggestions`: kinds to fire, and payloads for them; used by `%fire`, completion and the panel."""

from __future__ import annotations

import difflib
from typing import Any

from dnworker.core.envelope import EventEnvelope
from dnworker.core.lifecycle import WorkerState
from dnworker.core.payloads import skeleton
from dnworker.core.samples import TEMPLATES, template
from dnworker.engine.replay import recorded
from dnworker.runtime import Runtime
from dnworker_jupyter.live.workers import LiveWorkers


class Suggestions:
    """What the handlers and the history of one notebook suggest."""

    def __init__(self, runtime: Runtime, live: LiveWorkers) -> None:
        self._runtime = runtime
        self._live = live
        self._fired_earlier: dict[str, EventEnvelope | None] = {}
        """The newest event of a kind from earlier runs; the journal is asked once for each kind."""

    def kinds_heard(self) -> set[str]:
        """Return the kinds that some handler listens to."""
        keys = [key for worker in self._runtime.workers() for key in worker.stats]
        return {key.trigger for key in keys if key.decorator == "on_event"} | self._live.kinds()

    def kinds(self) -> list[str]:
        """Return the kinds that were fired lately, that handlers listen to, and that the runtime knows."""
        fired = {event.kind for event in self._runtime.history.events(1_000)}
        return sorted(fired | self.kinds_heard() | TEMPLATES.keys())

    def fields(self, kind: str) -> list[str]:
        """Return the fields that a payload of a kind may have."""
        events = reversed(self._runtime.history.events(1_000))
        latest = next((event.payload for event in events if event.kind == kind), {})
        return list(dict.fromkeys([*skeleton(self._live.sources(kind)), *TEMPLATES.get(kind, {}), *latest]))

    async def payload(self, kind: str) -> tuple[dict[str, Any], str]:
        """Return a payload for a kind, and where it is from if that is worth saying.

        A kind of the runtime has a realistic one. Any other has what was fired last, this run or an earlier,
        else what its handlers read.
        """
        if kind in TEMPLATES:
            return template(kind), ""
        before = await self._fired_before(kind)
        if before is not None and before.payload:
            return before.payload, f"as of #{before.seq}"
        read = skeleton(self._live.sources(kind))
        return read, "made of what handlers read" if read else ""

    async def _fired_before(self, kind: str) -> EventEnvelope | None:
        """Return the newest event of a kind."""
        history = self._runtime.history
        newest = next((e for e in reversed(history.events(history.kept)) if e.kind == kind), None)
        if newest is not None:
            return newest
        if kind not in self._fired_earlier:
            found = await recorded(self._runtime, 1, kind=kind)
            self._fired_earlier[kind] = found[0] if found else None
        return self._fired_earlier[kind]

    def why_unheard(self, kind: str) -> str:
        """Say that no handler ran for a kind, and which kind or worker may have been meant."""
        heard = self.kinds_heard()
        if kind in heard:
            return f"no handler ran for {kind}{self._stopped_listeners(kind)}"
        near = difflib.get_close_matches(kind, sorted(heard | TEMPLATES.keys()), n=1)
        hint = f"; did you mean {near[0]}?" if near and near[0] != kind else ""
        others = [w.name for w in self._runtime.workers() if w.topology == "subprocess" and not w.stats]
        elsewhere = f" (what {', '.join(others)} does with it is in %worker logs)" if others else ""
        return f"no handler in this notebook listens to {kind}{hint}{elsewhere}"

    def _stopped_listeners(self, kind: str) -> str:
        """Say which workers listen to a kind and do not run, and the way out."""
        stopped = []
        for worker in self._runtime.workers():
            live = self._live.get(worker.name)
            keys = [*worker.stats, *(h.key for h, _ in (live.handlers() if live is not None else ()))]
            listens = any(key[:2] == ("on_event", kind) for key in keys)
            if listens and worker.state is not WorkerState.RUNNING:
                stopped.append(f"{worker.name} is {worker.state}; %worker restart {worker.name}")
        return f": {'; '.join(stopped)}" if stopped else "; see %worker"
