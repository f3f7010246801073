"""Tells whether a cell has registered provably the same as it did before; used by `LiveWorker`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from dnworker_jupyter.live.records import Handler, Registration

_PLAIN = (type(None), bool, int, float, complex, str, bytes)

PAIRS = 10_000
"""Pairs of values that are compared; where there are more, nothing is proven."""


def is_unchanged(present: Registration, again: Registration, state: Mapping[str, Any]) -> bool:
    """Return whether a registration has provably the handlers of the present one, and sets nothing.

    Its text must be the same, and so must be all that a function holds by itself: code, defaults, what it
    closes over, and its attributes. What a function reads by name it finds in the notebook when it runs, the
    same for both. Objects that have no such proof, such as a list or an instance, count as changed.

    Args:
        present: what the cell registered before.
        again: what it has registered now.
        state: the worker's state now: to set a plain value to what it is sets nothing.
    """
    comparison = Comparison()
    return (
        present.cell.source == again.cell.source
        and (present.shared, present.twice) == (again.shared, again.twice)
        and not again.removed
        and not present.left_out
        and len(present.handlers) == len(again.handlers)
        and all(comparison.handlers(*pair) for pair in zip(present.handlers, again.handlers, strict=True))
        and all(_sets_nothing(key, value, present, state) for key, value in again.seeds.items())
    )


def _sets_nothing(key: str, value: Any, present: Registration, state: Mapping[str, Any]) -> bool:
    return (
        type(value) in _PLAIN
        and key in present.seeds
        and key in state
        and Comparison().values(value, present.seeds[key])
        and Comparison().values(value, state[key])
    )


class Comparison:
    """Compares by what is there, and never by code of the notebook such as `__eq__` or `__repr__`."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        """Pairs that are equal if all others are: a function may close over itself."""
        self._kept: list[object] = []

    def handlers(self, one: Handler, other: Handler) -> bool:
        """Return whether two handlers are provably the same."""
        return (
            (one.key, one.source, one.schedule) == (other.key, other.source, other.schedule)
        ) and self.values(one.function, other.function)

    def values(self, one: object, other: object) -> bool:
        """Return whether two values are provably the same."""
        waiting = [(one, other)]
        while waiting:
            one, other = waiting.pop()
            if one is other or (id(one), id(other)) in self._seen:
                continue
            self._seen.add((id(one), id(other)))
            if type(one) is not type(other) or len(self._seen) > PAIRS:
                return False
            if type(one) in _PLAIN:
                if not _is_same_plain(one, other):
                    return False
            elif isinstance(one, tuple) and type(one) is tuple and isinstance(other, tuple):
                if len(one) != len(other):
                    return False
                waiting += zip(one, other, strict=True)
            elif isinstance(one, types.FunctionType) and isinstance(other, types.FunctionType):
                held, also = _held(one), _held(other)
                if held is None or also is None or one.__code__ != other.__code__:
                    return False
                if one.__globals__ is not other.__globals__:
                    return False
                self._kept.append((held, also))  # an id is one object's only as long as that lives
                waiting.append((held, also))
            else:
                return False
        return True


def _is_same_plain(one: object, other: object) -> bool:
    """Return whether two plain values are the same: 0.0 is not -0.0, and nan is nan."""
    return repr(one) == repr(other) if isinstance(one, float | complex) else one == other


def _held(function: types.FunctionType) -> tuple[Any, ...] | None:
    """Return all that a function holds beside its code; None where that cannot be told."""
    try:
        closed = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:
        return None
    named, attributes = function.__kwdefaults__ or {}, vars(function)
    if any(type(name) is not str for name in (*named, *attributes)):
        return None
    return (
        closed,
        function.__defaults__,
        tuple((name, named[name]) for name in sorted(named)),
        tuple((name, attributes[name]) for name in sorted(attributes)),
    )
