"""The part `attached` for `parts`: what both sides did with each event, page by page.

attached: {"last": 50, "onlyDifferent": false, "worker": "pricer" or none, "before": a row's key or none}
-> {"rows": [...], "isMore": whether there are older ones, "score": {...}, "gapsShown": [...], ...}, or none
where the runtime is attached to nothing. Rows come newest first; times are ms since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from dnworker.panel.attached import (
    attachment_of,
    gap_to_json,
    head_to_json,
    key_of,
    row_to_json,
    score_to_json,
)

if TYPE_CHECKING:
    from dnworker.panel.attached import ShownAttachment, ShownRow
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

ATTACHED_INTERVAL = 0.5
"""Seconds between two looks."""

ROWS_KEPT = 10_000
"""Rows that an attachment keeps."""

ROWS_SHOWN, WORKERS_SHOWN, GAPS_SHOWN = 200, 100, 20


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
    return head_to_json(attachment) | {
        "rows": shown,
        "isMore": is_more,
        "workers": [{"worker": name} | score_to_json(one) for name, one in by_worker[:WORKERS_SHOWN]],
        "allWorkers": len(by_worker),
        "gapsShown": [gap_to_json(one) for one in attachment.gaps[-GAPS_SHOWN:]],
    }


def _page(attachment: ShownAttachment, wanted: dict[str, Any]) -> tuple[Sequence[ShownRow], bool]:
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
