"""Records of what cells have registered for a worker; used by everything in `live`, and shown by magics."""

from __future__ import annotations

import inspect
import time
from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from dnworker.core.handlers import HandlerKey, handler_name, numbered
from dnworker.core.schedule import ScheduleSpec
from dnworker.workers import registry
from dnworker.workers.registry import Registered
from dnworker.workers.worker import Worker
from dnworker_jupyter.syntax.cell import Cell


class Handler(msgspec.Struct, frozen=True):
    """One handler as a cell registered it."""

    key: HandlerKey
    function: Any
    source: str
    schedule: ScheduleSpec | None = None
    enclosed: tuple[Any, ...] = ()
    """What its source does not show: the objects that it closes over, and its defaults."""

    @property
    def name(self) -> str:
        """The function's name, which several handlers may have; see `key`."""
        return handler_name(self.function)

    @property
    def declared(self) -> HandlerKey:
        """What its cell declares it as: the key, without the number of one that comes again in its cell.

        A later cell that declares the same takes over.
        """
        return self.key._replace(name=self.name)

    @property
    def code(self) -> tuple[Any, ...]:
        """What must be equal for two handlers to be the same, unchanged."""
        return (self.key, self.source, self.enclosed)


class Registration(msgspec.Struct, frozen=True):
    """What one run of one cell registered for a worker."""

    cell: Cell
    handlers: tuple[Handler, ...]
    seeds: dict[str, Any] = msgspec.field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    """Keys that its cell took out of the state."""
    twice: tuple[str, ...] = ()
    """Names that its cell registered more than once in the same way; all run."""
    shared: bool = False
    left_out: tuple[Handler, ...] = ()
    """Handlers that its cell registers, and that `%worker remove` took out since."""
    at: float = msgspec.field(default_factory=time.time)
    """When it took effect, in seconds since 1970."""

    def without(self, handlers: Collection[Handler]) -> Registration:
        """Return it without some of its handlers; the others are numbered anew, as those of a worker are."""
        if not handlers:
            return self
        kept = [h for h in self.handlers if h not in handlers]
        keys = numbered(h.declared for h in kept)
        left = tuple(replace(h, key=key) for h, key in zip(kept, keys, strict=True))
        return replace(self, handlers=left, left_out=(*self.left_out, *handlers))


class Change(msgspec.Struct, frozen=True):
    """What a commit changed, for the report to the user."""

    added: tuple[Handler, ...]
    changed: tuple[Handler, ...]
    removed: tuple[Handler, ...]
    taken_over: tuple[tuple[Handler, Cell], ...]
    """Handlers of other cells in whose place those of this one run now."""
    restarted: bool
    twice: tuple[str, ...] = ()
    beside: tuple[tuple[Handler, Cell], ...] = ()
    """Handlers of other cells that have the name of a new one, by the same decorator, and run on."""
    failing: tuple[Cell, str, str] | None = None
    """A startup handler that keeps the worker in `error`: its cell, its name with the worker's, and why."""
    is_unchanged: bool = False
    """Whether the cell has registered provably the same as before, so that there is no new generation."""


def handler_records(worker: Worker) -> list[Handler]:
    """Return what a Worker has registered, as records, in the order of their decorators."""
    return [_record(registered) for registered in registry.handlers_of(worker)]


def make_worker(name: str, handlers: Iterable[Handler], state: dict[str, Any] | None = None) -> Worker:
    """Make a Worker that has these handlers registered, with a state of its own or a given one."""
    worker = Worker(name)
    registry.add_handlers(worker, [Registered(h.key, h.function, h.schedule) for h in handlers])
    if state is not None:
        worker.state = state
    return worker


def _record(registered: Registered) -> Handler:
    function = registered.function
    return Handler(registered.key, function, _source(function), registered.schedule, _enclosed(function))


def _enclosed(function: Any) -> tuple[Any, ...]:
    cells = getattr(function, "__closure__", None) or ()
    held = [id(cell.cell_contents) for cell in cells if _is_filled(cell)]
    return (
        *held,
        _shown(getattr(function, "__defaults__", None)),
        _shown(getattr(function, "__kwdefaults__", None)),
    )


def _shown(values: object) -> str:
    """Return values as text; of those that cannot be shown, one that no others have."""
    try:
        return repr(values)
    except Exception:  # the notebook's own code
        return f"<not shown: {id(values)}>"


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  it raises while it is empty
    except ValueError:
        return False
    return True


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)
