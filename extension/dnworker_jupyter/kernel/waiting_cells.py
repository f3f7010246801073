"""`WaitingCells`: which cells wait for handlers; a debugger stops a handler in the cell that waits for it.

A cell waits from the begin of a magic such as `%fire` to its end. Handlers belong to it by the events that it
fires: an event published by a handler belongs to whoever waits for the event of that handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import msgspec

from dnworker.core.envelope import EventEnvelope
from dnworker.core.invocation import Cause, Invocation, current_invocation
from dnworker.engine.engine import Engine
from dnworker_jupyter.kernel.cells import CellBook
from dnworker_jupyter.kernel.loop import KernelLoop
from dnworker_jupyter.kernel.patching import replace

T = TypeVar("T")

STARTS: frozenset[Cause] = frozenset({"startup"})
"""What a cell waits for that fires events: workers may have to start first."""

LIFE: frozenset[Cause] = frozenset({"startup", "shutdown"})
"""What a cell waits for that starts, replaces or stops a worker."""

EVENTS: frozenset[Cause] = frozenset({"startup", "event", "turn", "schedule"})
"""What `dn.settle()` waits for, whoever published the events."""

ALL: frozenset[Cause] = EVENTS | {"shutdown", "task"}
"""What a cell waits for that moves the clock."""

LONGEST_CHAIN = 1_000
"""Events above an invocation that are followed."""


class Request(msgspec.Struct, frozen=True):
    """The request of a front end that a cell runs for, as ipykernel keeps it; `ident` says who answers."""

    ident: Any
    message: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of the message."""
        return str(self.message.get("header", {}).get("msg_id", ""))

    @property
    def has_input(self) -> bool:
        """Whether who sent it gives standard input: nbclient and papermill do not."""
        return bool(self.message.get("content", {}).get("allow_stdin"))


class WaitingCell:
    """One cell while it waits.

    Args:
        label: names it, such as `cell [12]`.
        request: what it runs for; None in a terminal.
        takes: the causes of the invocations that are its, beside those that its events cause.
        steps: whether each of its handlers stops at its first line.
    """

    def __init__(self, label: str, request: Request | None, takes: frozenset[Cause], *, steps: bool) -> None:
        self.label = label
        self.request = request
        self.takes = takes
        self.steps = steps
        self.context = copy_context()
        """The cell's own: what is written there goes to the cell."""
        self.loop = asyncio.get_running_loop()
        """Runs the cell's wait."""
        self.fired: set[str] = set()
        """The ids of the events that it has fired."""
        self.is_waiting = True


_here: ContextVar[WaitingCell | None] = ContextVar("dnworker_waiting_cell", default=None)
"""The cell that waits here: what is published here is its event."""


class WaitingCells:
    """The cells of one notebook that wait now, the newest last."""

    starts, events, everything = STARTS, EVENTS, ALL

    def __init__(self, engine: Engine, loop: KernelLoop, cells: CellBook, kernel: Any) -> None:
        self._engine = engine
        self._loop = loop
        self._cells = cells
        self._kernel = kernel
        self._waiting: list[WaitingCell] = []
        self._open: set[str] = set()
        self.on_steps: Callable[[], Callable[[], None]] = lambda: lambda: None
        """Called when a cell waits whose handlers stop at their first line; returns what ends that."""

    def install(self) -> Callable[[], None]:
        """Follow which requests are under way; returns what ends it."""
        if not hasattr(self._kernel, "do_execute"):
            return lambda: None
        return replace(self._kernel, "do_execute", self._noting)

    def _noting(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        async def do_execute(*args: Any, **fields: Any) -> Any:
            request = self.request()
            number = "" if request is None else request.id
            self._open.add(number)
            try:
                return await execute(*args, **fields)
            finally:
                self._open.discard(number)

        return do_execute

    def request(self) -> Request | None:
        """Return the request that runs here; None in a terminal."""
        if not hasattr(self._kernel, "get_parent"):  # a terminal, or a shell that nobody sends requests
            return None
        message = self._kernel.get_parent("shell")
        return Request(self._kernel._parent_ident["shell"], message if isinstance(message, dict) else {})

    async def during(
        self, takes: frozenset[Cause], make: Callable[[], Coroutine[Any, Any, T]], *, steps: bool = False
    ) -> T:
        """Run what `make` gives, on the runtime's loop, for the cell that runs here; returns its result."""
        if current_invocation.get() is not None:  # a handler that waits: who waits for it is who counts
            return await self._loop.enter(make)
        cell = self._here(takes, steps=steps)

        async def run() -> T:
            with self._noting_events(cell):
                return await make()

        with self.waiting(cell):
            return await self._loop.enter(run)

    def for_workers(self) -> AbstractContextManager[None]:
        """Note, while the body runs, that the cell which runs here waits for starts and stops of workers."""
        return self.waiting(self._here(LIFE, steps=False))

    def _here(self, takes: frozenset[Cause], *, steps: bool) -> WaitingCell:
        running = self._cells.now
        label = "a cell" if running is None else running.peek().label
        return WaitingCell(label, self.request(), takes, steps=steps)

    @contextmanager
    def waiting(self, cell: WaitingCell) -> Iterator[None]:
        """Note that a cell waits while the body runs."""
        self._waiting.append(cell)
        end_steps = self.on_steps() if cell.steps else None
        try:
            yield
        finally:
            cell.is_waiting = False
            if end_steps is not None:
                end_steps()
            with suppress(ValueError):
                self._waiting.remove(cell)

    @contextmanager
    def _noting_events(self, cell: WaitingCell) -> Iterator[None]:
        """Note the events that are published here, on the runtime's loop."""

        def note(envelope: EventEnvelope) -> None:
            if _here.get() is cell and current_invocation.get() is None:
                cell.fired.add(envelope.event_id)

        token, end = _here.set(cell), self._engine.bus.tap(note)
        try:
            yield
        finally:
            end()
            _here.reset(token)

    # -- whose a handler is ----------------------------------------------------------------------------

    def of(self, invocation: Invocation) -> WaitingCell | None:
        """Return the cell that waits for an invocation, the newest of several; None where none does."""
        waiting = [cell for cell in reversed([*self._waiting]) if cell.is_waiting]
        if not waiting:
            return None
        events, root = self._above(invocation)
        for cell in waiting:
            if cell.fired & events:
                return cell
        return next((cell for cell in waiting if root.cause in cell.takes), None)

    def is_open(self, cell: WaitingCell) -> bool:
        """Return whether the front end of a cell still listens for its questions."""
        return cell.request is None or cell.request.id in self._open

    def _above(self, invocation: Invocation) -> tuple[set[str], Invocation]:
        """Return the ids of the events above an invocation, and the first of the invocations above it."""
        publishers: dict[str, Invocation] | None = None
        events: set[str] = set()
        for _ in range(LONGEST_CHAIN):
            event = invocation.event
            if event is None or event.event_id in events:
                break
            events.add(event.event_id)
            if publishers is None:
                publishers = {e.event_id: i for i in self._engine.history.invocations() for e in i.published}
            above = publishers.get(event.event_id)
            if above is None:
                break
            invocation = above
        return events, invocation


def write_in(cell: WaitingCell, function: Callable[..., T], *args: Any) -> T:
    """Call something as if the cell called it: what it writes goes there."""
    return cell.context.copy().run(_outside_handlers, function, *args)


def _outside_handlers(function: Callable[..., T], *args: Any) -> T:
    current_invocation.set(None)
    return function(*args)
