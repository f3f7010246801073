"""What magics say and refuse while the notebook is attached to another runtime; they load nothing for it."""

from __future__ import annotations

from dnworker.core.errors import UsageError
from dnworker.panel.attached import attachment_of
from dnworker_jupyter.display.attached import Marked, mark, mark_of, summary
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.display.traces import has_colours
from dnworker_jupyter.magics.context import MagicContext


def check_not_attached(context: MagicContext, what: str, why: str) -> None:
    """Refuse what does not go with the events of another runtime.

    Raises:
        UsageError: the notebook is attached.
    """
    if (attachment := attachment_of(context.runtime)) is not None:
        raise UsageError(
            f"{what}: this notebook is attached to {attachment.url}, {why}; first: %runtime detach",
            code="DN946",
        )


def mark_here(context: MagicContext) -> Marked | None:
    """Return the line over what a magic shows of the runtime; None where that is attached to nothing."""
    if attachment_of(context.runtime) is None:
        return None
    return mark(context.runtime, colours=has_colours(context.shell))


def check_agent_may_fire(context: MagicContext) -> None:
    """Refuse to run handlers for a coding agent whose clients are another runtime's: people decide on that.

    Raises:
        UsageError: the notebook is attached, live.
    """
    attachment = attachment_of(context.runtime)
    if attachment is not None and attachment.is_live:
        raise UsageError(
            f"this notebook is attached live to {attachment.url}: what handlers do is done there, so agents "
            "fire nothing meanwhile; a person detaches it: %runtime detach",
            code="DN946",
        )


def tell_fired(context: MagicContext) -> None:
    """Say, where the notebook is attached, what becomes of an event that a cell fires."""
    attachment = attachment_of(context.runtime)
    if attachment is None:
        return
    print(f"fired here alone, and not at {attachment.url}")  # noqa: T201  the cell's output


def with_mark(context: MagicContext, text: str) -> Note | Marked:
    """Return a text to be displayed, below the mark and the score of the attachment where there is one."""
    attachment = attachment_of(context.runtime)
    if attachment is None:
        return Note(text)
    lines = [text, *summary(attachment)]
    return Marked(
        mark_of(attachment),
        "\n".join(lines),
        is_live=attachment.is_live,
        colours=has_colours(context.shell),
    )
