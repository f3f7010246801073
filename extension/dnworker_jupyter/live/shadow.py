"""Makes copies of the notebook's handlers that run apart from the live ones; for checks and test cells."""

from __future__ import annotations

import dis
import functools
import hashlib
import itertools
import pickle
import random
import sys
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

from dnworker.core.invocation import current_invocation
from dnworker.workers import shadow
from dnworker.workers.registry import Registered, handlers_of, replace_handlers
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.names import bound_globally, names_in

LONG = 1_000
"""Items from which on a container is told apart by a hash."""

_CONTAINERS = (list, dict, set, bytearray, deque)
_CHANGES = frozenset(
    name
    for kind in _CONTAINERS
    for name in dir(kind)
    if not name.startswith("_") and not hasattr(frozenset, name) and not hasattr(tuple, name)
    and name not in ("get", "items", "keys", "values", "fromkeys")
)  # fmt: skip
"""Methods that change a container; of others it is no matter if some change nothing."""
_ATOMIC = {type(None), bool, int, float, complex, str, bytes}
_STATEFUL = (*_CONTAINERS, random.Random, itertools.count, types.SimpleNamespace)


def apart(worker: Worker, namespace: Mapping[str, Any]) -> Worker:
    """Make a shadow's handlers find it as `worker`, log nothing in the notebook, and change no name there."""
    return Copies(namespace).worker(worker)


def reached(worker: Worker, namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of the notebook that handlers reach and may change: containers, and those `global`."""
    copies = Copies(namespace)
    for registered in handlers_of(worker):
        copies.of(registered.function)
    return sorted(copies.changing)


class Copies:
    """Copies of the notebook's functions, whose globals are a copy of the notebook's names.

    What functions of cells reach is copied with them: containers, objects of the notebook's own classes, and
    functions, each once, so that two names of one object are two names of one copy. A class of a cell is
    copied where it is a plain one. What cannot be copied, such as a socket, is the notebook's own.

    Args:
        namespace: the names of the notebook.
        instead: values in place of the notebook's, by name.
        ends_lines: whether what a handler prints last ends its line, so that it counts as printed.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        instead: Mapping[str, Any] | None = None,
        *,
        ends_lines: bool = False,
    ) -> None:
        self._ends_lines = ends_lines
        self.changing: set[str] = set()
        """The names that functions reach and may change: containers, objects, and those `global`."""
        self.written: set[str] = set()
        """Of these the names that functions visibly change, such as by `append`."""
        self._namespace = namespace
        self._instead = dict(instead or {})
        self._copy: dict[str, Any] = dict(namespace) | self._instead
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []  # an id is one object's only as long as that lives
        self._seen: set[str] = set()
        self._before: dict[str, str | None] = {}

    def worker(self, worker: Worker) -> Worker:
        """Make a shadow's handlers find it as `worker`, log nothing, and change no name of the notebook."""

        def wrapped(registered: Registered) -> Any:
            mine = self.of(registered.function)

            @functools.wraps(registered.function)
            async def run(*args: Any) -> Any:
                shadow.current_shadow.set(worker)
                if (invocation := current_invocation.get()) is not None:
                    invocation.muted = True
                try:
                    return await mine(*args)
                finally:
                    if self._ends_lines:
                        _end_line()

            return run

        replace_handlers(worker, wrapped)
        for key, value in worker.state.items():
            worker.state[key] = self.of(value)
        return worker

    def note_start(self) -> None:
        """Note the values that names have now, for `changed`."""
        self._before = {name: _state_of(self._copy.get(name)) for name in self.changing}

    def changed(self) -> list[str]:
        """Return the names that handlers change: by what they say, or by what became of the values."""
        return sorted(
            name
            for name, before in self._before.items()
            if name in self.written or before is None or _state_of(self._copy.get(name)) != before
        )

    def of(self, value: Any) -> Any:
        """Return the copy of something of the notebook; anything else as it is."""
        if id(value) in self._made:
            return self._made[id(value)]
        made = self._make(value)
        if made is not value:
            self._keep(value, made)
        return made

    def _keep(self, value: Any, made: Any) -> None:
        self._made[id(value)] = made
        self._kept.append(value)

    def _make(self, value: Any) -> Any:
        match value:
            case types.FunctionType() if "anew" in vars(value):  # under a rule of dnworker.patterns
                return vars(value)["anew"](self.of(vars(value)["__wrapped__"]))
            case types.FunctionType():
                return self._function(value) if value.__globals__ is self._namespace else value
            case types.MethodType():
                function, owner = self.of(value.__func__), self.of(value.__self__)
                same = function is value.__func__ and owner is value.__self__
                return value if same else types.MethodType(function, owner)
            case functools.partial():
                return self._partial(value)
            case functools._lru_cache_wrapper():
                function = self.of(value.__wrapped__)
                same = function is value.__wrapped__
                return value if same else functools.lru_cache(**value.cache_parameters())(function)
            case type():
                return self._class(value) if self._is_plain(value) else value
            case tuple() | frozenset() if type(value) in (tuple, frozenset):
                items = [self.of(item) for item in value]
                return value if all(map(_is, items, value)) else type(value)(items)
        if isinstance(value, _STATEFUL) or self._is_ours(type(value)):
            return self._object(value)
        return value

    # -- objects ---------------------------------------------------------------------------------------

    def _is_ours(self, kind: type) -> bool:
        """Return whether a class is of a cell, so that its objects may be copied."""
        return kind.__module__ == self._namespace.get("__name__", "__main__") and not hasattr(kind, "__del__")

    def _object(self, value: Any) -> Any:
        kind = type(value)
        made: Any
        if kind in (list, dict, set) and _is_flat(value):
            return value.copy()  # a long table must not take long
        if kind is list:
            made = []
            self._keep(value, made)
            made.extend(map(self.of, value))
        elif kind is dict:
            made = {}
            self._keep(value, made)
            made.update((self.of(key), self.of(item)) for key, item in [*value.items()])
        elif kind is set:
            made = {self.of(item) for item in value}
        else:
            try:
                made = self._rebuilt(value)
            except Exception:  # it holds something that cannot be copied, such as a socket: use it as it is
                self._made.pop(id(value), None)
                return value
        return made

    def _rebuilt(self, value: Any) -> Any:
        """Return a copy of an object by what it would be pickled as; see `object.__reduce_ex__`."""
        make, args, *rest = value.__reduce_ex__(4)
        state, items, pairs, set_state = (*rest, None, None, None, None)[:4]
        made = make(*map(self.of, args))
        self._keep(value, made)
        if state is not None:
            copied = self.of(state)
            if set_state is not None:
                set_state(made, copied)
            elif hasattr(made, "__setstate__"):
                made.__setstate__(copied)
            else:
                plain, slots = copied if isinstance(copied, tuple) and len(copied) == 2 else (copied, None)
                if plain:
                    made.__dict__.update(plain)
                for name, item in (slots or {}).items():
                    object.__setattr__(made, name, item)
        for item in items or ():
            made.append(self.of(item))
        for key, item in pairs or ():
            made[self.of(key)] = self.of(item)
        return made

    def _partial(self, value: functools.partial[Any]) -> Any:
        function, args = self.of(value.func), [self.of(arg) for arg in value.args]
        words = {key: self.of(item) for key, item in value.keywords.items()}
        same = function is value.func and all(map(_is, args, value.args))
        same = same and all(words[key] is item for key, item in value.keywords.items())
        return value if same else functools.partial(function, *args, **words)

    # -- classes and functions -------------------------------------------------------------------------

    def _is_plain(self, kind: type) -> bool:
        """Return whether a class of a cell can be made once more from its parts."""
        return (
            type(kind) is type
            and self._is_ours(kind)
            and not issubclass(kind, BaseException)
            and not any("__init_subclass__" in vars(base) for base in kind.__mro__[:-1])
            and not any("__slots__" in vars(base) for base in kind.__mro__[:-1])
        )

    def _class(self, kind: type) -> Any:
        """Return a copy of a class whose methods find the copies of the notebook's names."""
        parts = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        made = type(kind.__name__, tuple(map(self.of, kind.__bases__)), parts)
        self._keep(kind, made)
        for name, part in parts.items():
            match part:
                case staticmethod() | classmethod():
                    new: Any = type(part)(self.of(part.__func__))
                case property():
                    new = property(self.of(part.fget), self.of(part.fset), self.of(part.fdel), part.__doc__)
                case types.FunctionType() | list() | dict() | set():
                    new = self.of(part)
                case _:
                    continue
            setattr(made, name, new)
        return made

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        cells = function.__closure__
        closure = None if cells is None else tuple(map(self._cell, cells))
        made = types.FunctionType(function.__code__, self._copy, function.__name__, None, closure)
        self._keep(function, made)  # before what it reaches, which may reach it again
        if function.__defaults__ is not None:
            made.__defaults__ = tuple(map(self.of, function.__defaults__))
        if function.__kwdefaults__ is not None:
            made.__kwdefaults__ = {key: self.of(value) for key, value in function.__kwdefaults__.items()}
        made.__qualname__, made.__module__, made.__doc__ = (
            function.__qualname__,
            function.__module__,
            function.__doc__,
        )
        made.__annotations__ = function.__annotations__
        made.__dict__.update({key: self.of(value) for key, value in function.__dict__.items()})
        for old, new in zip(cells or (), closure or (), strict=True):
            try:
                new.cell_contents = self.of(old.cell_contents)
            except ValueError:  # it is empty yet
                continue
        for name in names_in(function.__code__):
            if name in self._copy and name not in self._seen:
                self._reach(name)
        self.changing |= bound_globally(function.__code__)
        self.written |= _written(function.__code__) & self.changing
        return made

    def _cell(self, cell: types.CellType) -> types.CellType:
        if id(cell) not in self._made:
            self._keep(cell, types.CellType())
        made: types.CellType = self._made[id(cell)]
        return made

    def _reach(self, name: str) -> None:
        """Copy what a name of the notebook stands for, unless it has a value in its place."""
        self._seen.add(name)
        value = self._copy[name]
        if name not in self._instead:
            self._copy[name] = self.of(value)
        if isinstance(value, _STATEFUL) or (self._is_ours(type(value)) and not isinstance(value, type)):
            self.changing.add(name)


def _is_flat(value: Any) -> bool:
    """Return whether nothing in a container can change."""
    inner = value.values() if isinstance(value, dict) else ()
    return _ATOMIC.issuperset(map(type, value)) and _ATOMIC.issuperset(map(type, inner))


def _is(one: Any, other: Any) -> bool:
    return one is other


def _end_line() -> None:
    """End what a handler printed without the end of a line: nobody else tells its log that it is over."""
    try:
        sys.stdout.write("\n")
    except (OSError, ValueError):  # it is closed
        return


def _state_of(value: Any) -> str | None:
    """Return a value as text, to see whether it changes; None where it has no such form."""
    try:
        return repr(_plain(value, set()))
    except Exception:  # whatever its own code raises
        return None


def _plain(value: Any, above: set[int]) -> Any:
    """Return what a value is made of, without objects whose repr says nothing of their state."""
    if type(value) in _ATOMIC:
        return value
    if type(value) in (list, dict) and len(value) > LONG and _is_flat(value):
        return [type(value).__name__, hashlib.sha256(pickle.dumps(value)).digest()]
    if id(value) in above:
        return "(itself)"
    inner = above | {id(value)}
    if isinstance(value, dict):
        return [type(value).__name__, [(_plain(k, inner), _plain(v, inner)) for k, v in value.items()]]
    if isinstance(value, set | frozenset):
        return [type(value).__name__, sorted(repr(_plain(item, inner)) for item in value)]
    if isinstance(value, list | tuple | deque):
        return [type(value).__name__, [_plain(item, inner) for item in value]]
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, types.FunctionType | type | types.ModuleType):
        return value.__name__
    if hasattr(value, "__dict__"):
        return [type(value).__qualname__, _plain(vars(value), inner)]
    return repr(value)


def _written(code: types.CodeType) -> set[str]:
    """Return the globals that code changes in place by a method of containers or an assignment to a part."""
    found, line = bound_globally(code), set[str]()
    before: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if instruction.starts_line:
            line = set()
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            line.add(str(instruction.argval))
        elif instruction.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR"):
            found |= line
        elif instruction.opname in ("LOAD_METHOD", "LOAD_ATTR") and instruction.argval in _CHANGES:
            found |= {str(before.argval)} if before is not None else set()
        if instruction.opname not in ("CACHE", "PUSH_NULL", "PRECALL"):
            before = instruction
    return found.union(*(_written(c) for c in code.co_consts if isinstance(c, types.CodeType)))
