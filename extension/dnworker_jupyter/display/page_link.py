"""`PageLink`: a link that opens the page of the notebook's runtime; `Panels` makes it for `%panel --open`.

The page is opened by a ticket, which works once and for 30 s. It is sent to the front end when somebody
clicks, and so is in no output that a notebook stores.
"""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from collections.abc import Mapping
from html import escape
from typing import Any

import anywidget
from traitlets import Unicode

from dnworker.core.errors import UsageError
from dnworker.core.redirects import redirect_file
from dnworker.engine.tokens import TICKET_SECONDS
from dnworker.panel import assets
from dnworker.runtime import Runtime
from dnworker_jupyter.kernel.loop import KernelLoop

log = logging.getLogger("dnworker.notebook")

REMOTE = (
    "SSH_CONNECTION",
    "SSH_TTY",
    "JUPYTERHUB_USER",
    "COLAB_RELEASE_TAG",
    "CODESPACES",
    "KUBERNETES_SERVICE_HOST",
)
"""Variables of machines whose browser, if they have one, nobody sees."""


def page_address(runtime: Runtime) -> str:
    """Return where the page is; without a ticket it asks for the token.

    Raises:
        UsageError: the runtime has no server.
    """
    if runtime.url is None:
        raise UsageError(
            "this runtime has no server, so it has no page; %panel shows the panel here", code="DN119"
        )
    return f"{runtime.url}/panel"


def page_ticket(runtime: Runtime) -> str:
    """Return an address that opens the page once, within 30 s; a browser sends its fragment to no server.

    Raises:
        UsageError: the runtime has no server.
    """
    return f"{page_address(runtime)}#ticket={runtime.tokens.issue_ticket(runtime.tokens.main)}"


def has_screen(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Return whether a browser that is started here is one that the user sees."""
    if any(environment.get(name) for name in REMOTE):
        return False
    if environment.get("BROWSER") or platform in ("darwin", "win32"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def open_browser(address: str) -> bool:
    """Open an address in the browser of this machine; returns whether one was started. It may take seconds.

    The browser is given a file that leads there: its command line would show the ticket.
    """
    try:
        return webbrowser.open(redirect_file(address).as_uri())
    except (OSError, webbrowser.Error) as exc:
        log.warning("no browser could be opened: %s; the link below the cell opens the page", exc)
        return False


class PageLink(anywidget.AnyWidget):
    """The link, for any number of clicks: each gets a ticket of its own.

    Args:
        runtime: whose page it opens.
        loop: the runtime's.
        opened: whether a browser of this machine shows the page already.
    """

    _esm = assets.page_link()
    url = Unicode("").tag(sync=True)
    text = Unicode("").tag(sync=True)

    def __init__(self, runtime: Runtime, loop: KernelLoop, *, opened: bool) -> None:
        text = (
            "The panel is open in your browser. Open it again" if opened else "Open the panel in the browser"
        )
        super().__init__(url=page_address(runtime), text=text)
        self._runtime = runtime
        self._loop = loop
        self.is_closed = False
        self.on_msg(self._receive)

    def close(self) -> None:
        """Give no more tickets."""
        self.is_closed = True
        super().close()

    def _receive(self, _: Any, content: Any, __: Any) -> None:
        """Take a click; on some kernels this runs on another thread."""
        if isinstance(content, dict) and content.get("type") == "ticket":
            self._loop.post(self._send_ticket)

    def _send_ticket(self) -> None:
        if self.is_closed:
            return
        try:
            self.send({"type": "ticket", "url": page_ticket(self._runtime), "seconds": TICKET_SECONDS})
        except UsageError:  # the runtime was stopped since
            self.send({"type": "refused", "text": "the runtime was stopped; %panel --open makes a new link"})

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Add the address for where no widget can live; the page asks for the token there."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        still = f"{self.text}: {self.url}"
        html = f'<a href="{escape(self.url)}" target="_blank" rel="noopener">{escape(self.text)}</a>'
        return data | {"text/plain": still, "text/html": html}, metadata
