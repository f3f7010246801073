"""An attachment that follows nothing: tests say what comes of it."""

from __future__ import annotations

from dnworker.attach.facts import ComparedEvent, Gap, Score
from dnworker.core.envelope import EventEnvelope
from dnworker.core.listeners import Listeners

URL = "http://127.0.0.1:8787"


class FakeAttachment:
    """What the notebook and the panel read of an attachment; `change` tells them."""

    def __init__(self, *, live: bool = False, url: str = URL) -> None:
        self.url = url
        self.is_live = live
        self.kind_of_runtime = "dnworker"
        self.state, self.detail = "following", ""
        self.received = self.skipped = self.waiting = 0
        self.compare_detail = ""
        self.gaps: list[Gap] = []
        self.compared: list[ComparedEvent] = []
        self.engine = None
        self.counterparts: dict[str, str] = {}
        self.changed: Listeners[[]] = Listeners()

    @property
    def gaps_noted(self) -> int:
        return len(self.gaps)

    @property
    def score(self) -> Score:
        score = Score()
        for row in self.compared:
            one = score.by_worker.setdefault(row.worker, Score())
            for counts in (score, one):
                setattr(counts, row.verdict, getattr(counts, row.verdict) + 1)
        return score

    def rows(self, last=50, *, only_different=False, worker=None):
        found = [
            row
            for row in self.compared
            if worker in (None, row.worker) and (not only_different or row.verdict == "different")
        ]
        return found[-last:]

    def compare_with(self, counterparts):
        self.counterparts.update(counterparts)

    def on_change(self, callback):
        return self.changed.add(callback)

    async def detach(self) -> None:
        self.change(state="ended")
        if self.engine is not None:
            self.engine.attachment = None

    def change(self, **fields) -> None:
        """Set fields, and tell who listens."""
        for name, value in fields.items():
            setattr(self, name, value)
        self.changed.notify()

    def compare(
        self, seq, verdict="same", worker="notebook:pricer", deployed=(), notebook=(), why=""
    ) -> None:
        """Add a row, and tell who listens."""
        event = EventEnvelope(kind="order.placed", seq=seq, payload={"n": seq})
        known = None if deployed is None else [*deployed]
        row = ComparedEvent(event, f"local-{seq}", worker, known, [*notebook], verdict, why)
        self.compared.append(row)
        self.change(received=self.received + 1)
