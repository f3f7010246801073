"""`Stage`: a worker, its runner and the states it goes through, for the tests of the runner and its parts."""

from __future__ import annotations

from dnworker import VirtualClock, Worker
from dnworker.core.lifecycle import Lifecycle
from dnworker.events.bus import EventBus
from dnworker.testing import FakeClient
from dnworker.workers.runner import WorkerRunner


class Stage:
    """A worker, its runner, and the states it went through."""

    def __init__(self, **options):
        self.worker = Worker("w")
        self.client = FakeClient()
        self.bus = EventBus()
        self.clock = VirtualClock()
        self.states: list[tuple[str, str | None]] = []
        lifecycle = Lifecycle()
        lifecycle.listen(lambda state, error: self.states.append((str(state), error)))
        self.runner = WorkerRunner(
            self.worker,
            self.client,
            event_source=lambda kinds: self.bus.subscribe(kinds),
            lifecycle=lifecycle,
            qualified_name="cap:w",
            clock=self.clock,
            **options,
        )
