"""What an attachment tells: gaps, compared events and their score; the notebook and the panel show them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from dnworker.core.envelope import EventEnvelope

State = Literal["connecting", "following", "lost", "ended"]
Verdict = Literal["same", "different", "pending", "unknown"]
RuntimeKind = Literal["dnworker", "reference"]


@dataclass(frozen=True)
class Gap:
    """Events of the other runtime that were missed, and cannot be had any more."""

    after_seq: int
    """The last event before them; 0 where that runtime was started anew."""
    before_seq: int | None
    """The first event after them; None where none has come yet."""
    at: datetime
    """When it was noticed, by the clock of this runtime."""
    detail: str
    """One line: why they cannot be had."""


@dataclass
class Score:
    """How many events were compared, by verdict; counts run on, also beyond the rows that are kept."""

    same: int = 0
    different: int = 0
    pending: int = 0
    unknown: int = 0
    by_worker: dict[str, Score] = field(default_factory=dict)
    """The same by the notebook's workers; empty in these."""

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.same + self.different + self.pending + self.unknown


@dataclass
class ComparedEvent:
    """One event for one worker of the notebook: what the deployed worker did, and what the notebook's did."""

    event: EventEnvelope
    """As the other runtime has it: its seq, id and time."""
    local_event_id: str
    """The copy on the bus of this runtime: traces and the panel show that one."""
    worker: str
    """The qualified name of the worker here."""
    deployed: list[str] | None = None
    """Lines such as `publishes order.flagged {"id": 1}`; None where the other runtime does not say."""
    notebook: list[str] = field(default_factory=list)
    """Lines in the same form."""
    verdict: Verdict = "pending"
    why: str = ""
    """One line; why it is so, or what it waits for."""
