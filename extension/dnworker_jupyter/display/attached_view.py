"""`AttachedView`: what `%runtime attach` displays: it follows the attachment, and stays once that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.display import display

from dnworker.panel.attached import state_since
from dnworker_jupyter.display.attached import Attached, Choice

if TYPE_CHECKING:
    from dnworker.panel.attached import ShownAttachment
    from dnworker_jupyter.display import attached_widget

TELL_SECONDS = 0.5
"""Seconds between two tellings of new counts; a new state and a new gap are told at once."""


class AttachedView:
    """Both sides of each event: a widget while the attachment lasts, and afterwards what it came to.

    Args:
        attachment: what is shown.
        choice: which rows.
        is_terminal: whether nothing live can be shown; then it is text.
        colours: whether that has colours.
    """

    def __init__(
        self,
        attachment: ShownAttachment,
        choice: Choice,
        *,
        is_terminal: bool = False,
        colours: bool = False,
    ) -> None:
        self.attachment = attachment
        self._still = Attached(attachment, choice, colours=colours)
        self._choice = choice
        self._is_terminal = is_terminal
        self._shown: list[tuple[attached_widget.Attached, Any]] = []
        self._end = attachment.on_change(self._look)

    def __repr__(self) -> str:
        return repr(self._still)

    def _repr_html_(self) -> str:
        return self._still._repr_html_()

    def _ipython_display_(self) -> None:
        if self._is_terminal:
            print(repr(self))  # noqa: T201  the cell's output
            return
        if self.attachment.state == "ended":
            display(self._still)
            return
        from dnworker_jupyter.display.attached_widget import Attached as AttachedWidget  # it takes long

        widget = AttachedWidget(self.attachment, self._choice)
        self._shown.append((widget, display(widget, display_id=True)))

    def _look(self) -> None:
        """Put what it came to in the place of the widgets, once it has ended: that needs no kernel."""
        if self.attachment.state != "ended":
            return
        self._end()
        for widget, handle in self._shown:
            if handle is not None and not widget.is_closed:
                handle.update(self._still)
            widget.close()
        self._shown.clear()


class Telling:
    """Tells views when an attachment has changed, soon but not with each event.

    Args:
        attachment: what changes.
        tell: has every view look again.
        look: has the widgets look again, which costs little.
    """

    def __init__(
        self, attachment: ShownAttachment, tell: Callable[[], object], look: Callable[[], object]
    ) -> None:
        self._attachment = attachment
        self._tell = tell
        self._look = look
        self._timer: asyncio.TimerHandle | None = None
        self._said: tuple[str, str, int] | None = None
        self._end = attachment.on_change(self._change)
        self._change()

    def _change(self) -> None:
        one = self._attachment
        state_since(one)
        said = one.state, one.detail + one.compare_detail, one.gaps_noted
        if said != self._said:
            self._said = said
            self._now()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_SECONDS, self._now)
        if one.state == "ended":
            self._end()

    def _now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell()
        self._look()
