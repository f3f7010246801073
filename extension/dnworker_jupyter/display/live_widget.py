"""`LiveWidget`: what the widgets of `dn.widgets` have in common: traits, still forms, the way to the page.

A widget is an ipywidget whose traits follow the runtime. In the front end it draws one component of the
panel; all widgets share one channel (`feed`) and one module, so that ten of them cost what one does.
"""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

import anywidget
from ipywidgets import ValueWidget, Widget, widget_serialization
from traitlets import Any as AnyTrait
from traitlets import Instance, Unicode

from dnworker.core.errors import NotFound, UsageError, code_of
from dnworker.panel import assets
from dnworker_jupyter.display.attached import mark
from dnworker_jupyter.display.widget_hub import active_hub

if TYPE_CHECKING:
    from dnworker.workers.managed import ManagedWorker

LONGEST_TEXT = 2_000
"""Characters of an error, of a line of the log, or of a payload in a trait."""

SHARE = 10
"""How many times as long as a look takes a widget waits for the next."""


class LiveWidget(anywidget.AnyWidget, ValueWidget):
    """A widget that follows the runtime until it is closed; `value` is the one trait that matters most.

    `link`, `observe` and `interact` take it, as they take any ipywidget.

    Raises:
        UsageError: the extension is not loaded, or too many widgets are open.
    """

    _esm = assets.stub()
    VALUE: ClassVar[str] = ""
    """The trait that `value` repeats."""

    is_timed = False
    """Whether it changes although nothing happens."""

    is_closed = True
    """Whether it follows the runtime no longer, or not yet."""

    has_mark = True
    """Whether its still forms get the mark of a notebook that is attached to another runtime."""

    interval = 0.0
    """Seconds between two looks, where it looks less often than others."""

    shows = Unicode("").tag(sync=True)
    feed = Instance(Widget, allow_none=True).tag(sync=True, **widget_serialization)
    version = Unicode("").tag(sync=True)
    still = Unicode("").tag(sync=True)
    description = Unicode("").tag(sync=True)
    value = AnyTrait(None, allow_none=True).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._hub = active_hub()
        self._not_before = 0.0
        super().__init__(shows=type(self).__name__, feed=self._hub.feed, version=assets.version(), **traits)
        self.on_msg(self._receive)
        self.observe(self._repeat, names=self.VALUE)
        self._look()
        self._repeat()
        try:
            self._hub.add(self)
        except UsageError:
            super().close()
            raise
        self.is_closed = False

    # -- the life of it --------------------------------------------------------------------------------

    def close(self) -> None:
        """Follow the runtime no longer, and vanish from the page; may be called again."""
        if not self.is_closed:
            self.is_closed = True
            self._hub.remove(self)
            super().close()

    def refresh(self) -> None:
        """Take over what the runtime is like now; all that changed goes to the front end as one message."""
        now = time.monotonic()
        if self.is_closed:
            return
        if now < self._not_before:
            self._hub.notify()
            return
        with self.hold_sync():
            self._look()
        self._not_before = now + max(self.interval, SHARE * (time.monotonic() - now))

    def rename(self, former: str, name: str) -> None:
        """Follow a capability that has another name now."""

    def _look(self) -> None:
        """Set the traits to what the runtime is like now."""
        raise NotImplementedError

    def _repeat(self, _: Any = None) -> None:
        self.value = getattr(self, self.VALUE)

    # -- the runtime -----------------------------------------------------------------------------------

    @property
    def _runtime(self) -> Any:
        return self._hub.runtime

    def _named(self, name: str) -> ManagedWorker:
        """Return the worker of a name.

        Raises:
            UsageError: there is none.
        """
        try:
            found: ManagedWorker = active_hub().runtime.worker(name)
        except NotFound as exc:
            raise UsageError(str(exc), code=code_of(exc) or "DN301") from None
        return found

    # -- the front end ---------------------------------------------------------------------------------

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Send the module to a page that has not loaded it; on some kernels this runs on another thread."""
        if isinstance(content, dict) and content.get("type") == "module":
            self.send(
                {
                    "type": "module",
                    "version": assets.version(),
                    "text": assets.module(),
                    "style": assets.style(),
                }
            )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add still forms for where no widget can live: a terminal, GitHub, nbviewer."""
        line = mark(self._runtime) if self.has_mark else None
        text, html = self._text(), self._html()
        if line is not None:
            text, html = f"{line!r}\n{text}", line._repr_html_() + html
        self.still = text[:LONGEST_TEXT]
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return data | {"text/plain": text, "text/html": html}, metadata

    def __repr__(self) -> str:
        return self._text()

    def _text(self) -> str:
        """Return what it shows, as text."""
        raise NotImplementedError

    def _html(self) -> str:
        """Return what it shows as HTML without script; all that anybody says is escaped in it."""
        return f"<pre>{escape(self._text())}</pre>"


def moved(name: str, former: str, new: str) -> str:
    """Return the name of a worker after its capability got another one."""
    return new + name.removeprefix(former) if name.startswith(f"{former}:") else name
