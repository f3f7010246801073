"""`Figures`: gives each invocation figures of its own in pyplot, and shows them at its end; used by `output`.

Pyplot has one list of open figures for the whole process, whose last one is the current figure: what handlers
plot would go into a cell's figure, and what they leave open would be shown below the next cell. Here each
invocation has a list of its own. Nothing is imported: it is replaced once somebody else has imported it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

from dnworker.core.invocation import Invocation, current_invocation

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
        if (module := sys.modules.get(MODULE)) is not None:
            self._separate(module)
        finder = _AfterImport(MODULE, self._separate)
        sys.meta_path.insert(0, finder)

        def undo() -> None:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
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


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function with a module once it has been imported."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find one module as the finders behind this one do, and have it loaded by ours."""
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
                spec.loader = _Loader(spec.loader, self._then)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Loads a module as another loader does, and then calls a function with it."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Make the module."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Execute it."""
        self._loader.exec_module(module)
        self._then(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
