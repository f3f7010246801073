"""`Figures`: gives each invocation figures of its own in pyplot, and shows them at its end; used by `output`.

Pyplot has one list of open figures for the whole process, whose last one is the current figure: what handlers
plot would go into a cell's figure, and what they leave open would be shown below the next cell. Here each
invocation has a list of its own. Nothing is imported: it is replaced once somebody else has imported it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation
from dnworker_jupyter.kernel.patching import after_import

log = logging.getLogger("dnworker.figures")

MODULE = "matplotlib._pylab_helpers"
BACKEND = "matplotlib_inline.backend_inline"

Show = Callable[[Any, dict[str, Any] | None], None]
"""Displays a figure with its metadata, on behalf of whoever is current."""


class Figures:
    """The open figures of cells and invocations.

    Args:
        show: displays one figure; called with the invocation as the current one.
    """

    def __init__(self, show: Show) -> None:
        self._show = show
        self._open: dict[str, tuple[Invocation, OrderedDict[Any, Any]]] = {}
        self._lock = threading.RLock()
        self._cells: Any = None

    def install(self) -> Callable[[], None]:
        """Separate figures from now on; returns what ends that."""
        end = after_import(MODULE, self._separate)

        def undo() -> None:
            end()
            module = sys.modules.get(MODULE)
            if module is not None and isinstance(module.Gcf.figs, _Separated):
                module.Gcf.figs = self._cells

        return undo

    def _separate(self, module: ModuleType) -> None:
        if not isinstance(module.Gcf.figs, _Separated):
            self._cells = module.Gcf.figs
            module.Gcf.figs = _Separated(self.current)

    def current(self) -> OrderedDict[Any, Any]:
        """Return the figures of whoever runs here, by their numbers, the current one last."""
        invocation = current_invocation.get()
        if invocation is None:
            cells: OrderedDict[Any, Any] = self._cells
            return cells
        with self._lock:
            return self._open.setdefault(invocation.id, (invocation, OrderedDict()))[1]

    def end(self, invocation: Invocation) -> None:
        """Show what the invocation has left open, then close it; so too what others made after their end."""
        if not self._open:
            return
        with self._lock:
            ended = [one for one, _ in self._open.values() if one is invocation or one.outcome != "running"]
        for one in ended:
            token = current_invocation.set(one)
            try:
                self._end(one)
            finally:
                current_invocation.reset(token)

    def _end(self, invocation: Invocation) -> None:
        backend = sys.modules.get(BACKEND)
        with self._lock:
            found = self._open.get(invocation.id)
        for manager in list(found[1].values()) if found is not None else ():
            figure = manager.canvas.figure
            try:
                self._show(figure, None if backend is None else backend._fetch_figure_metadata(figure))
            except Exception:  # a figure that cannot be drawn must not keep its invocation from ending
                log.exception("a figure of %s could not be shown", invocation.label)
            try:
                sys.modules[MODULE].Gcf.destroy(manager)  # type: ignore[attr-defined]
            except Exception:
                log.exception("a figure of %s could not be closed", invocation.label)
        with self._lock:
            self._open.pop(invocation.id, None)


class _Separated(OrderedDict[Any, Any]):
    """Stands in for pyplot's list of figures, and is that of whoever asks."""

    def __init__(self, current: Callable[[], OrderedDict[Any, Any]]) -> None:
        super().__init__()
        self._current = current

    def __getitem__(self, number: Any) -> Any:
        return self._current()[number]

    def __setitem__(self, number: Any, manager: Any) -> None:
        self._current()[number] = manager

    def __delitem__(self, number: Any) -> None:
        del self._current()[number]

    def __contains__(self, number: object) -> bool:
        return number in self._current()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._current())

    def __reversed__(self) -> Any:
        return reversed(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def __eq__(self, other: object) -> bool:
        return self._current() == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._current())

    def keys(self) -> Any:
        """Return the numbers."""
        return self._current().keys()

    def values(self) -> Any:
        """Return the managers."""
        return self._current().values()

    def items(self) -> Any:
        """Return both."""
        return self._current().items()

    def get(self, number: Any, default: Any = None) -> Any:
        """Return a manager by its number."""
        return self._current().get(number, default)

    def pop(self, *args: Any) -> Any:
        """Take a manager away."""
        return self._current().pop(*args)

    def popitem(self, last: bool = True) -> Any:
        """Take the last manager away, or the first."""
        return self._current().popitem(last)

    def setdefault(self, number: Any, default: Any = None) -> Any:
        """Return a manager, which is set where there is none."""
        return self._current().setdefault(number, default)

    def move_to_end(self, number: Any, last: bool = True) -> None:
        """Make a manager the current one."""
        self._current().move_to_end(number, last)

    def update(self, *args: Any, **fields: Any) -> None:
        """Set managers."""
        self._current().update(*args, **fields)

    def clear(self) -> None:
        """Take all managers away."""
        self._current().clear()

    def copy(self) -> Any:
        """Return a copy."""
        return self._current().copy()
