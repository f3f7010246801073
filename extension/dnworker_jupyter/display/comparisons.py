"""Shows what two generations did with the same events as a coloured diff; used by `loading`."""

from __future__ import annotations

from html import escape

from dnworker.workers.shadow import Comparison
from dnworker_jupyter.display.html import LINE, SANS, SHEET, block, block_row, coloured

LINES_SHOWN = 2_000
"""Lines of a comparison that are stored in the notebook."""

_KINDS = {"-": "bad", "+": "ok", " ": ""}
_CODES = {"-": "\x1b[31m", "+": "\x1b[32m"}
_RESET = "\x1b[0m"


def comparison_html(found: Comparison) -> str:
    """Return a comparison as HTML: of each event that differs, the lines; those from before are red."""
    events, differing = len(found.before) - 2, found.differing
    count = sum(1 for _, old, _ in differing if old.event is not None)
    before, after = map(escape, found.labels)
    if not differing:
        body = [
            f"<div>{coloured('✓', 'ok')} {events} events: no difference between {before} and {after}</div>"
        ]
    else:
        head = f"{coloured(f'- {before}', 'bad')} {coloured(f'+ {after}', 'ok')}"
        body = [f"<div><b>{count} of {events} events differ</b> {head}</div>"]
    left = LINES_SHOWN
    for (title, _, _), lines in zip(differing, found.diffs, strict=True):
        rows = [
            block_row(line[0], escape(line[2:], quote=False), _KINDS[line[0]])
            for line in lines[: max(0, left)]
        ]
        body.append(f"<div style='padding-top:8px'>{escape(title)}</div>{block(rows)}")
        left -= len(lines)
        if left < 0:
            body.append(
                f"<div>{-left:,} more lines of this event are not stored; print the comparison for all</div>"
            )
            break
    style = f"{SANS};border:{LINE};border-radius:6px;padding:8px 16px;margin:2px 0"
    return (
        f"{SHEET}<div class='dnt' style='{style}' role='group' aria-label='comparison'>{''.join(body)}</div>"
    )


def comparison_text(found: Comparison) -> str:
    """Return a comparison as text in the colours of terminals."""
    return "\n".join(
        f"{_CODES[line[0]]}{line}{_RESET}" if line[:1] in _CODES else line for line in found.lines()
    )
