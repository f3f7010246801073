"""`TracedError`: an error somewhere in a trace."""

from __future__ import annotations

from dnworker.core.handler_error import HandlerError


class TracedError(HandlerError, frozen=True):
    """An error somewhere in a trace, and which handler of which event raised it."""

    worker: str = ""
    """The worker's name, qualified by its capability."""
    handler: str = ""
    """The handler's function name."""
    seq: int = 0
    """The number of the event that it handled."""
    is_unhandled: bool = False
    """Whether a task that it started raised it, which nobody awaited."""

    @property
    def label(self) -> str:
        """Worker, handler and event, such as `bridge.on_turn #12`."""
        return f"{self.worker}.{self.handler} #{self.seq}"
