"""What is shown of an attachment: its mark, its rows and its score as JSON; the panel and notebooks use it.

The mark is the field `attached` of the part `runtime`, which every view is sent: it is in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from weakref import WeakKeyDictionary

from dnworker.core.text import shorten
from dnworker.panel.serialize import millis

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.engine.engine import Engine

LINES_SHOWN = 40
"""Lines of one side of a row."""

LONGEST = 400
"""Characters of a line."""


class ShownGap(Protocol):
    """Events of the other runtime that were missed; see `attach.facts.Gap`."""

    @property
    def after_seq(self) -> int: ...
    @property
    def before_seq(self) -> int | None: ...
    @property
    def at(self) -> datetime: ...
    @property
    def detail(self) -> str: ...


class ShownScore(Protocol):
    """How many events were compared, by verdict; see `attach.facts.Score`."""

    same: int
    different: int
    pending: int
    unknown: int

    @property
    def by_worker(self) -> Mapping[str, ShownScore]: ...


class ShownRow(Protocol):
    """One event for one worker, on both sides; see `attach.facts.ComparedEvent`."""

    @property
    def event(self) -> EventEnvelope: ...
    @property
    def local_event_id(self) -> str: ...
    @property
    def worker(self) -> str: ...
    @property
    def deployed(self) -> Sequence[str] | None: ...
    @property
    def notebook(self) -> Sequence[str]: ...
    @property
    def verdict(self) -> str: ...
    @property
    def why(self) -> str: ...


class ShownAttachment(Protocol):
    """What connects the runtime to another one; see `attach.attachment.Attachment`."""

    @property
    def url(self) -> str: ...
    @property
    def is_live(self) -> bool: ...
    @property
    def kind_of_runtime(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def compare_detail(self) -> str: ...
    @property
    def received(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def gaps(self) -> Sequence[ShownGap]: ...
    @property
    def gaps_noted(self) -> int: ...
    @property
    def score(self) -> ShownScore: ...

    def rows(
        self, last: int = 50, *, only_different: bool = False, worker: str | None = None
    ) -> Sequence[ShownRow]:
        """Return the newest rows, the oldest first."""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when something has changed; returns what ends it."""

    def compare_with(self, counterparts: Mapping[str, str]) -> None:
        """Compare workers here with deployed ones of other names from now on."""

    async def detach(self) -> None:
        """Follow no more, and restore all clients."""


class Since(NamedTuple):
    """A state, when it was first seen, and when any of this attachment was."""

    state: str
    at: datetime
    began: datetime


_since: WeakKeyDictionary[ShownAttachment, Since] = WeakKeyDictionary()


def attachment_of(engine: Engine) -> ShownAttachment | None:
    """Return what a runtime is attached to now."""
    return cast("ShownAttachment | None", engine.attachment)


def state_since(attachment: ShownAttachment) -> datetime:
    """Return since when an attachment is in its state, as far as anybody has looked."""
    known = _since.get(attachment)
    if known is None or known.state != attachment.state:
        now = datetime.now().astimezone()
        known = _since[attachment] = Since(attachment.state, now, now if known is None else known.began)
    return known.at


def attached_since(attachment: ShownAttachment) -> datetime:
    """Return when an attachment was first looked at: when it was made, in a notebook."""
    state_since(attachment)
    return _since[attachment].began


def mode_of(attachment: ShownAttachment) -> str:
    """Return `live` or `shadow`."""
    return "live" if attachment.is_live else "shadow"


def mark_to_json(engine: Engine) -> dict[str, Any] | None:
    """Return what every view says of an attachment; None where there is none."""
    attachment = attachment_of(engine)
    return None if attachment is None else head_to_json(attachment)


def key_of(row: ShownRow) -> str:
    """Return what names a row: the event as the other runtime has it, and the worker."""
    return f"{row.event.event_id} {row.worker}"


def row_to_json(row: ShownRow) -> dict[str, Any]:
    """Return one row, with its texts cut."""
    return {
        "key": key_of(row),
        "seq": row.event.seq,
        "kind": shorten(row.event.kind, LONGEST),
        "at": millis(row.event.timestamp),
        "event": row.local_event_id,
        "worker": row.worker,
        "deployed": None if row.deployed is None else lines_of(row.deployed),
        "notebook": lines_of(row.notebook),
        "verdict": row.verdict,
        "why": shorten(row.why, LONGEST),
    }


def lines_of(lines: Sequence[str]) -> list[str]:
    """Return the lines of one side, as many and as long as are shown."""
    shown = [shorten(line, LONGEST) for line in lines[:LINES_SHOWN]]
    left = len(lines) - len(shown)
    return [*shown, f"and {left:,} more"] if left else shown


def score_to_json(score: ShownScore) -> dict[str, int]:
    """Return the counts of a score."""
    return {
        "same": score.same,
        "different": score.different,
        "pending": score.pending,
        "unknown": score.unknown,
    }


def head_to_json(attachment: ShownAttachment) -> dict[str, Any]:
    """Return what is said of an attachment in short."""
    gaps = attachment.gaps
    return {
        "url": attachment.url,
        "mode": mode_of(attachment),
        "runtime": attachment.kind_of_runtime,
        "state": attachment.state,
        "detail": shorten(attachment.detail, LONGEST),
        "since": millis(state_since(attachment)),
        "received": attachment.received,
        "skipped": attachment.skipped,
        "score": score_to_json(attachment.score),
        "gaps": attachment.gaps_noted,
        "trouble": shorten(attachment.compare_detail, LONGEST),
        "waiting": attachment.waiting,
        "gap": gap_to_json(gaps[-1]) if gaps else None,
    }


def gap_to_json(gap: ShownGap) -> dict[str, Any]:
    """Return a gap, with the numbers of the events around it."""
    return {
        "after": gap.after_seq,
        "until": gap.before_seq,
        "at": millis(gap.at),
        "detail": shorten(gap.detail, LONGEST),
    }
