"""`Attachment`: a runtime that gets the events of another one; made by `attaching.attach`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dnworker.attach.facts import ComparedEvent, Gap, RuntimeKind, Score, State
from dnworker.core.listeners import Listeners

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine


class Attachment:
    """Follows another runtime; what it does is read here, and `detach` ends it.

    One at a time per engine. Call it from the loop of the engine.
    """

    def __init__(self, url: str, kind_of_runtime: RuntimeKind, *, is_live: bool) -> None:
        self.url = url
        self.is_live = is_live
        self.kind_of_runtime: RuntimeKind = kind_of_runtime
        self.state: State = "connecting"
        self.detail = ""
        self.received = 0
        self.skipped = 0
        self.gaps: list[Gap] = []
        self._changed = Listeners[[]]()

    @property
    def score(self) -> Score:
        """How many events were compared, by verdict; all zero where the attachment is live."""
        return Score()

    def rows(
        self, last: int = 50, *, only_different: bool = False, worker: str | None = None
    ) -> list[ComparedEvent]:
        """Return the newest compared events, the oldest first.

        Args:
            last: how many at most.
            only_different: leave out what is the same, pending or unknown.
            worker: qualified or plain name of a worker here; None for all.
        """
        return []

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` on the loop when something here has changed; returns what ends it."""
        return self._changed.add(callback)

    async def detach(self) -> None:
        """Follow no more, wait for the handlers that run for it (bounded), and restore all clients."""
        self.state = "ended"


def attachment_of(engine: Engine) -> Attachment | None:
    """Return what an engine is attached to now."""
    attached = engine.attachment
    return attached if isinstance(attached, Attachment) else None
