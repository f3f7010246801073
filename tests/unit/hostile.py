"""Values whose classes have replaced everything that a class can replace by what must not run."""

from __future__ import annotations

import datetime
from typing import Any


def never(*args: Any, **kwargs: Any) -> Any:
    """Stand in for every method."""
    raise AssertionError("code of the value ran")


def hostile_object() -> Any:
    """Return an object with one attribute, `held`."""

    class Hostile:
        def __init__(self) -> None:
            object.__setattr__(self, "held", 1)

        __repr__ = __str__ = __len__ = __iter__ = __eq__ = __hash__ = __bool__ = __format__ = never
        __getattribute__ = __getattr__ = __reduce__ = __reduce_ex__ = __sizeof__ = __dir__ = never
        __class__ = property(never)  # type: ignore[assignment]

    return Hostile()


def hostile_values() -> list[Any]:
    """Return one of each kind: pytest must not get hold of them, so tests name them by number."""

    class Meta(type):
        __eq__ = __hash__ = __repr__ = __instancecheck__ = __subclasscheck__ = never  # type: ignore[assignment]
        __getattribute__ = never

    class FakeDict:
        @property
        def __dict__(self) -> Any:
            return never()

    class Zone(datetime.tzinfo):
        __repr__ = utcoffset = never  # type: ignore[assignment]

    names = ("__repr__", "__len__", "__iter__", "__getitem__", "__eq__", "items", "__index__", "__float__")
    bad = dict.fromkeys(names, never)
    bases = (dict, list, tuple, str, int, float, bytes, set)
    made: list[Any] = [hostile_object(), Meta("Odd", (), {"x": 1})()]
    made += [type(f"Bad{base.__name__}", (base,), bad)() for base in bases]
    return [*made, FakeDict(), datetime.datetime(2026, 1, 1, tzinfo=Zone())]


NUMBERS = range(len(hostile_values()))
