"""`CellTransaction`: what one run of a cell registers for a worker; `Draft`: for all; see `Transactions`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from dnworker.workers.registry import Registered
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.records import Registration, handler_records
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Options


class Draft(msgspec.Struct):
    """What the running cell has registered so far."""

    handlers_before: dict[int, tuple[Registered, ...]] = msgspec.field(default_factory=dict)
    """The Workers that were there when it began, by identity, and which handlers they had."""
    transactions: dict[str, CellTransaction] = msgspec.field(default_factory=dict)
    """By the worker's name."""
    variables: dict[str, dict[str, str | None]] = msgspec.field(default_factory=dict)
    """By the worker's name, the variables that were set for it, with what they were before."""
    commit: Callable[[], Coroutine[Any, Any, str]] | None = None
    """What ends the cell instead of a registration, and returns its output."""
    is_closed: bool = False
    committing: asyncio.Task[Any] | None = None
    """What lets it take effect, while that lasts."""
    is_left: bool = False
    """Whether the cell was interrupted meanwhile, and does not wait for it any more."""


class CellTransaction:
    """One run of a `%%worker` cell: what it registers takes effect when it succeeds, or not at all."""

    def __init__(
        self,
        live: LiveWorker,
        cell: Cell,
        options: Options,
        *,
        shared: bool = False,
        quiet: bool = False,
        restart: bool = False,
    ) -> None:
        self.live = live
        self.cell = cell
        self.options = options
        self.shared = shared
        self.quiet = quiet
        self.restart = restart
        self.recording = Worker(live.name)
        self._state = _StagedState(live.state)
        self.recording.state = self._state

    def registration(self) -> Registration:
        """Return what the cell registered."""
        handlers = handler_records(self.recording)
        twice = tuple(dict.fromkeys(h.name for h in handlers if h.key != h.declared and h.name != "_"))
        state = self.recording.state
        if state is self._state:
            written, removed = self._state.written(), self._state.removed()
        else:  # another dict was put in its place
            written, removed = dict(state), frozenset(self._state.before()) - frozenset(state)
        return Registration(self.cell, tuple(handlers), written, removed, twice, self.shared)


class _StagedState(dict[str, Any]):
    """What `worker.state` is at the top level of a cell: a copy of the live state that notes what is written.

    Only when the cell succeeds does the live state get what was written here.
    """

    def __init__(self, live: dict[str, Any]) -> None:
        super().__init__(live)
        self._before = dict(live)
        self._keys: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys.add(key)
        super().__setitem__(key, value)

    def before(self) -> dict[str, Any]:
        """Return what there was when the cell began."""
        return self._before

    def removed(self) -> frozenset[str]:
        """Return what was taken out."""
        return frozenset(self._before) - frozenset(self)

    def written(self) -> dict[str, Any]:
        """Return what was set, also where it was set to what it had been."""
        return {
            key: value
            for key, value in self.items()
            if key in self._keys or key not in self._before or self._before[key] is not value
        }
