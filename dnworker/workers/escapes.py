"""`Escapes`: takes what code of a worker raises where no handler catches it; a part of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dnworker.core.handler_error import HandlerError, describe
from dnworker.core.invocation import Invocation
from dnworker.core.owners import ends_programs
from dnworker.workers.recorders import OnUnhandled, log_unhandled


class Escapes:
    """Makes it an error of the handler that started what raised.

    Args:
        label: `capability:worker`.
        on_unhandled: notes each, on the loop.
        on_exit: called on the loop with the reason when it is an exception that would end a program.
    """

    def __init__(self, label: str, on_unhandled: OnUnhandled, on_exit: Callable[[str], None]) -> None:
        self.last_of_import: HandlerError | None = None
        """The last one of something that the worker's module has started, which no handler answers for."""
        self.why_ended: str | None = None
        """The reason that `on_exit` was given."""
        self._label = label
        self._on_unhandled = on_unhandled
        self._on_exit = on_exit
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Note the loop that runs: it is where each is noted from now on."""
        self._loop = asyncio.get_running_loop()

    def take(self, exc: BaseException, source: str, invocation: Invocation | None = None) -> None:
        """Take, on any thread, what `source` raised; with no invocation, the module has started it."""
        loop = self._loop
        if loop is None or loop.is_closed():
            log_unhandled(invocation or import_of(self._label), exc, source)
        elif asyncio._get_running_loop() is loop:
            self._take(exc, source, invocation)
        else:
            loop.call_soon_threadsafe(self._take, exc, source, invocation)

    def tell(self, note: Callable[[], object]) -> None:
        """Call `note` on the loop, from any thread; not at all once the loop is closed."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if asyncio._get_running_loop() is loop:
            note()
        else:
            loop.call_soon_threadsafe(note)

    def _take(self, exc: BaseException, source: str, invocation: Invocation | None) -> None:
        error = describe(exc)
        if invocation is None:
            self.last_of_import = error
        try:
            self._on_unhandled(invocation or import_of(self._label), exc, source)
        finally:
            if ends_programs(exc):
                self.why_ended = f"{source} ended itself: {error}"
                self._on_exit(self.why_ended)


def import_of(label: str) -> Invocation:
    """Return what stands for the import of a worker's module, where no handler has started something."""
    return Invocation(label, "import", "startup")
