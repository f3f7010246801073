"""The part `attached` for `parts`: what the runtime is attached to, and what both did, side by side.

attached: {"last": 50, "onlyDifferent": false, "worker": "pricer" or none, "before": a row's key or none}
-> {"rows": [...], "isMore": whether there are older ones, "score": {...}, "gaps": [...], ...}, or none where
the runtime is attached to nothing. Rows come newest first; times are ms since 1970. The short form of it is
the field `attached` of the part `runtime`, which every view is sent: it is marked in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from dnworker.core.text import shorten
from dnworker.panel.serialize import millis

if TYPE_CHECKING:
    from dnworker.attach.attachment import Attachment
    from dnworker.attach.facts import ComparedEvent, Gap, Score, State
    from dnworker.engine.engine import Engine
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

ATTACHED_INTERVAL = 0.5
"""Seconds between two looks."""

ROWS_KEPT = 10_000
"""Rows that an attachment keeps."""

ROWS_SHOWN, WORKERS_SHOWN, GAPS_SHOWN = 200, 100, 20
LINES_SHOWN = 40
"""Lines of one side of a row."""

LONGEST = 400
"""Characters of a line."""


class Since(NamedTuple):
    """A state, when it was first seen, and when any of this attachment was."""

    state: State
    at: datetime
    began: datetime


_since: WeakKeyDictionary[Attachment, Since] = WeakKeyDictionary()


def attachment_of(engine: Engine) -> Attachment | None:
    """Return what a runtime is attached to now."""
    return cast("Attachment | None", engine.attachment)


def state_since(attachment: Attachment) -> datetime:
    """Return since when an attachment is in its state, as far as anybody has looked."""
    known = _since.get(attachment)
    if known is None or known.state != attachment.state:
        now = datetime.now().astimezone()
        known = _since[attachment] = Since(attachment.state, now, now if known is None else known.began)
    return known.at


def attached_since(attachment: Attachment) -> datetime:
    """Return when an attachment was first looked at: when it was made, in a notebook."""
    state_since(attachment)
    return _since[attachment].began


def mode_of(attachment: Attachment) -> str:
    """Return `live` or `shadow`."""
    return "live" if attachment.is_live else "shadow"


def mark_to_json(engine: Engine) -> dict[str, Any] | None:
    """Return what every view says of an attachment; None where there is none."""
    attachment = attachment_of(engine)
    return None if attachment is None else _head(attachment)


async def attached_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any] | None:
    """Return the newest rows, or those before a row; None where the runtime is attached to nothing."""
    attachment = attachment_of(model.engine)
    if attachment is None:
        return None
    rows, is_more = _page(attachment, wanted)
    await pace.rest()
    shown = []
    for row in rows:
        shown.append(row_to_json(row))
        await pace.rest()
    by_worker = sorted(attachment.score.by_worker.items())
    return _head(attachment) | {
        "rows": shown,
        "isMore": is_more,
        "workers": [{"worker": name} | score_to_json(one) for name, one in by_worker[:WORKERS_SHOWN]],
        "allWorkers": len(by_worker),
        "gapsShown": [_gap(one) for one in attachment.gaps[-GAPS_SHOWN:]],
    }


def _page(attachment: Attachment, wanted: dict[str, Any]) -> tuple[Sequence[ComparedEvent], bool]:
    """Return the rows of one page, the newest first, and whether there are older ones."""
    last = wanted.get("last")
    size = min(last, ROWS_SHOWN) if isinstance(last, int) and last > 0 else ROWS_SHOWN
    worker, before = wanted.get("worker"), wanted.get("before")
    some = ROWS_KEPT if before else size + 1
    rows = attachment.rows(
        some,
        only_different=wanted.get("onlyDifferent") is True,
        worker=worker if isinstance(worker, str) else None,
    )
    newest_first = iter(reversed(rows))
    if before and not any(key_of(row) == before for row in newest_first):
        newest_first = iter(())  # it is kept no longer, and so is what was before it
    page = [*islice(newest_first, size + 1)]
    return page[:size], len(page) > size


def key_of(row: ComparedEvent) -> str:
    """Return what names a row: the event as the other runtime has it, and the worker."""
    return f"{row.event.event_id} {row.worker}"


def row_to_json(row: ComparedEvent) -> dict[str, Any]:
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


def score_to_json(score: Score) -> dict[str, int]:
    """Return the counts of a score."""
    return {
        "same": score.same,
        "different": score.different,
        "pending": score.pending,
        "unknown": score.unknown,
    }


def _head(attachment: Attachment) -> dict[str, Any]:
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
        "gap": _gap(gaps[-1]) if gaps else None,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "after": gap.after_seq,
        "until": gap.before_seq,
        "at": millis(gap.at),
        "detail": shorten(gap.detail, LONGEST),
    }
