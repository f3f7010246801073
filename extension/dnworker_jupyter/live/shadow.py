"""Makes copies of the notebook's handlers that run apart from the live ones; for checks and test cells."""

from __future__ import annotations

import copy
import functools
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

from dnworker.core.invocation import current_invocation
from dnworker.workers import shadow
from dnworker.workers.registry import Registered, handlers_of, replace_handlers
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.names import bound_globally, names_in

_CONTAINERS = (list, dict, set, bytearray, deque)


def apart(worker: Worker, namespace: Mapping[str, Any]) -> Worker:
    """Make a shadow's handlers find it as `worker`, log nothing in the notebook, and change no name there.

    Functions of cells get a namespace that is a copy, with copies of the containers that they reach. A class
    of a cell is the notebook's own: its methods find the notebook's names.
    """
    copies = _Copies(namespace)

    def wrapped(registered: Registered) -> Any:
        mine = copies.of(registered.function)

        @functools.wraps(registered.function)
        async def run(*args: Any) -> Any:
            shadow.current_shadow.set(worker)
            if (invocation := current_invocation.get()) is not None:
                invocation.muted = True
            return await mine(*args)

        return run

    replace_handlers(worker, wrapped)
    return worker


def reached(worker: Worker, namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of the notebook that handlers reach and may change: containers, and those `global`."""
    copies = _Copies(namespace)
    for registered in handlers_of(worker):
        copies.of(registered.function)
    return sorted(copies.changing)


class _Copies:
    """Copies of functions, whose globals are a copy of the notebook's names."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.changing: set[str] = set()
        self._namespace = namespace
        self._copy: dict[str, Any] = dict(namespace)
        self._made: dict[int, Any] = {}
        self._seen: set[str] = set()

    def of(self, value: Any) -> Any:
        """Return the copy of a function of the notebook, or of a container; anything else as it is."""
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, types.FunctionType) and value.__globals__ is self._namespace:
            return self._function(value)
        if isinstance(value, _CONTAINERS):
            try:
                self._made[id(value)] = copy.deepcopy(value)
            except Exception:  # it holds something that cannot be copied, such as a socket: use it as it is
                self._made[id(value)] = value
            return self._made[id(value)]
        return value

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        cells = function.__closure__
        closure = (
            None if cells is None else tuple(self._made.setdefault(id(c), types.CellType()) for c in cells)
        )
        made = types.FunctionType(
            function.__code__,
            self._copy,
            function.__name__,
            None if function.__defaults__ is None else tuple(map(self.of, function.__defaults__)),
            closure,
        )
        self._made[id(function)] = made  # before the functions that it reaches, which may reach it again
        if function.__kwdefaults__ is not None:
            made.__kwdefaults__ = {key: self.of(value) for key, value in function.__kwdefaults__.items()}
        made.__qualname__, made.__module__, made.__doc__ = (
            function.__qualname__,
            function.__module__,
            function.__doc__,
        )
        made.__dict__.update({key: self.of(value) for key, value in function.__dict__.items()})
        for old, new in zip(cells or (), closure or (), strict=True):
            try:
                new.cell_contents = self.of(old.cell_contents)
            except ValueError:  # it is empty yet
                continue
        for name in names_in(function.__code__):
            if name in self._namespace and name not in self._seen:
                self._seen.add(name)
                value = self._namespace[name]
                self._copy[name] = self.of(value)
                if isinstance(value, _CONTAINERS):
                    self.changing.add(name)
        self.changing |= bound_globally(function.__code__)
        return made
