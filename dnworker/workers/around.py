"""`Around`: what is put around every run of a handler in this process; debugging and inspection use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from dnworker.core.invocation import Invocation

Handler = Callable[..., Awaitable[Any]]
"""What runs a handler: it is called with the handler's arguments, and what it returns is awaited."""

Wrap = Callable[[Invocation, Handler], Handler]
"""Returns what is run in the place of a handler, for one invocation; the handler itself where nothing is."""


class Around:
    """The wraps of one runtime, by which parts of it look at the handlers of its in-process workers.

    A wrap is called on the loop, in the context of the handler, before the handler begins. It must not raise;
    what the handler raises must pass through it, and so must a cancellation.
    """

    def __init__(self) -> None:
        self._wraps: tuple[Wrap, ...] = ()

    def add(self, wrap: Wrap) -> Callable[[], None]:
        """Put `wrap` around every handler that begins from now on, outside of those before it.

        Returns:
            the function that takes it away; it may be called again.
        """
        self._wraps = (*self._wraps, wrap)

        def remove() -> None:
            self._wraps = tuple(one for one in self._wraps if one is not wrap)

        return remove

    def wrapped(self, invocation: Invocation, handler: Handler) -> Handler:
        """Return what is to run in the place of `handler`; every event pays for this call."""
        for wrap in self._wraps:
            handler = wrap(invocation, handler)
        return handler
