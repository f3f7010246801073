"""`Attached`: what an attachment shows, as a widget that follows it; `%runtime attach` displays it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traitlets import Bool, Int, Unicode

from dnworker.panel.attached import mode_of
from dnworker.panel.attached_part import ROWS_SHOWN
from dnworker_jupyter.display.attached import Choice, attached_html, attached_text
from dnworker_jupyter.display.live_widget import LiveWidget

if TYPE_CHECKING:
    from dnworker.panel.attached import ShownAttachment


class Attached(LiveWidget):
    """Both sides of each event, and the score; `value` is how many differ.

    Args:
        attachment: what is shown.
        choice: which rows; the front end pages through more of them.
    """

    VALUE = "different"
    interval = 0.25
    has_mark = False  # it has one of its own

    url = Unicode("").tag(sync=True)
    mode = Unicode("").tag(sync=True)
    state = Unicode("").tag(sync=True)
    worker = Unicode(None, allow_none=True).tag(sync=True)
    last = Int(0).tag(sync=True)
    only_different = Bool(False).tag(sync=True)
    same = Int(0).tag(sync=True)
    different = Int(0).tag(sync=True)
    pending = Int(0).tag(sync=True)
    unknown = Int(0).tag(sync=True)
    received = Int(0).tag(sync=True)

    def __init__(self, attachment: ShownAttachment, choice: Choice) -> None:
        self._attachment = attachment
        self._choice = choice
        super().__init__(
            url=attachment.url,
            mode=mode_of(attachment),
            worker=choice.worker,
            last=min(choice.last, ROWS_SHOWN),
            only_different=choice.only_different,
        )

    def _look(self) -> None:
        attachment = self._attachment
        score = attachment.score
        self.same, self.different = score.same, score.different
        self.pending, self.unknown = score.pending, score.unknown
        self.received = attachment.received
        self.state = attachment.state

    def _chosen(self) -> Choice:
        return self._choice._replace(only_different=self.only_different)

    def _text(self) -> str:
        return attached_text(self._attachment, self._chosen())

    def _html(self) -> str:
        return attached_html(self._attachment, self._chosen())
