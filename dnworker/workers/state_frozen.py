"""The frozen form of values, which later changes in place do not reach, and whether two are equal.

It refers to text and numbers and copies none, so its cost goes by the number of parts, of which it takes so
many. No code of the values runs. `state_changes` makes it of states, `state_text` makes text of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dnworker.core import values
from dnworker.core.value_tree import size_text

LARGEST_VALUE = 64_000
"""Bytes of a value that is compared; of a larger one, only type and size are."""

DEEPEST = 60
"""Levels of a value that is compared."""

_PART = 16  # bytes that a part counts, beside text
_MOST_PARTS = LARGEST_VALUE // _PART

Frozen = Any
"""Text, bytes, an int or None as it is; else a `Thing`."""

_SIZED = {id(kind) for kind in (str, bytes)}
_AS_IT_IS = {*_SIZED, id(int), id(type(None))}


class Thing(NamedTuple):
    """The frozen form of a value: equal for equal values, by code of ours and of the interpreter alone."""

    kind: str
    type: str
    cls: int
    labels: tuple[Frozen, ...] = ()
    parts: tuple[Frozen, ...] = ()
    own: object = None
    """What tells it apart beside its parts: a number, a text, an identity."""


class TooLarge(Exception):
    """A value has more parts than are compared."""


def freeze(value: object, held: list[object]) -> tuple[Frozen, int]:
    """Return the frozen form of a value, and its bytes, about; what has identity alone is put into `held`."""
    freezer = _Freezer(held)
    try:
        frozen = freezer.of(value, 0)
    except TooLarge:
        size = max(freezer.estimate(), shallow_size(value))
        return large_thing(value), size
    return frozen, LARGEST_VALUE - freezer.left


def large_thing(value: Any) -> Thing:
    """Return what stands for a value that is too large: its type and size."""
    kind = values.kind_of(value)
    return Thing("large", values.type_name(value), id(type(value)), own=size_text(value, kind))


def opaque_thing(value: object, held: list[object]) -> Thing:
    """Return what stands for a value that has identity alone; it is put into `held`."""
    held.append(value)
    return Thing("opaque", values.type_name(value), id(type(value)), own=id(value))


def shallow_size(value: Any) -> int:
    """Return the bytes of a value, about, by how many parts or characters it has."""
    kind = values.kind_of(value)
    if kind == "array":
        return int(value.nbytes)
    length = values.length_of(value, kind) or 0
    return length if kind in ("str", "bytes", "bytearray") else _PART * length


class _Freezer:
    """Freezes one value, up to so many bytes."""

    def __init__(self, held: list[object]) -> None:
        self.left = LARGEST_VALUE
        self._held = held
        self._above: list[int] = []
        self._reached: tuple[int, int] = (1, 1)
        """Of the value itself: how many of its parts were frozen, and how many it has."""

    def estimate(self) -> int:
        """Return the bytes of a value that was too large, by what of it was frozen."""
        done, count = self._reached
        return LARGEST_VALUE * count // max(1, done)

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLarge

    def of(self, value: Any, depth: int) -> Frozen:
        cls = type(value)
        if id(cls) in _AS_IT_IS:
            self.left -= _PART + (len(value) if id(cls) in _SIZED else 0)
            if self.left < 0:
                raise TooLarge
            return value
        kind = values.kind_of(value)
        if kind in values.ATOMS or kind == "bytearray":
            return self._atom(value, kind)
        if id(value) in self._above:
            return Thing("itself", "", len(self._above) - self._above.index(id(value)))
        if depth > DEEPEST:
            raise TooLarge
        self._above.append(id(value))
        try:
            return self._container(value, kind, depth)
        finally:
            self._above.pop()

    def _atom(self, value: Any, kind: str) -> Thing:
        length = values.length_of(value, kind) or 0
        self._spend(_PART + length)
        plain = bytes(value) if kind == "bytearray" else values.plain(value, kind)
        if plain != plain:  # nan is nan, here
            plain = repr(plain)
        return Thing(kind, values.type_name(value), id(type(value)), own=plain)

    def _container(self, value: Any, kind: str, depth: int) -> Thing:
        name, cls = values.type_name(value), id(type(value))
        match kind:
            case "dict" | "object":
                pairs = self._pairs(value, kind)
                labels = self._parts([key for key, _ in pairs], depth)
                return Thing(kind, name, cls, labels, self._parts([part for _, part in pairs], depth))
            case "list" | "tuple" | "deque" | "set" | "frozenset":
                self._check(values.length_of(value, kind) or 0)
                return Thing(kind, name, cls, (), self._parts(values.items_of(value, kind), depth))
            case "known":
                return Thing(kind, name, cls, own=values.text_of(value, kind, LARGEST_VALUE))
            case "array":
                return self._array(value)
            case "frame":
                return self._frame(value, depth)
        return opaque_thing(value, self._held)

    def _pairs(self, value: Any, kind: str) -> list[tuple[Any, Any]]:
        if kind == "dict":
            self._check(2 * (values.length_of(value, kind) or 0))
            return values.pairs_of(value)
        found = values.attributes_of(value, _MOST_PARTS)
        self._check(2 * len(found))
        return found

    def _check(self, count: int) -> None:
        """Refuse what has so many parts that it cannot be within the bounds, before it is copied."""
        if count * _PART > self.left:
            raise TooLarge

    def _parts(self, parts: list[Any], depth: int) -> tuple[Frozen, ...]:
        kinds = set(map(id, map(type, parts)))  # no class is hashed: its metaclass may do something then
        if kinds <= _AS_IT_IS:
            self.left -= _PART * len(parts)
            if not kinds.isdisjoint(_SIZED):
                self.left -= sum(len(part) for part in parts if id(type(part)) in _SIZED)
            if self.left < 0:
                raise TooLarge
            return tuple(parts)
        found = []
        for number, part in enumerate(parts):
            if depth == 0:
                self._reached = (number, len(parts))
            found.append(self.of(part, depth + 1))
        return tuple(found)

    def _array(self, value: Any) -> Thing:
        shape = values.shape_of(value, "array")
        if value.dtype.hasobject:
            self._held.append(value)
            return Thing("opaque", "ndarray", id(type(value)), own=(id(value), shape))
        self._spend(_PART + value.nbytes)
        return Thing("array", "ndarray", id(type(value)), (shape,), own=value.tobytes())

    def _frame(self, value: Any, depth: int) -> Thing:
        self._check(value.size + len(value.index))
        shape = values.shape_of(value, "frame")
        parts = [value.index.tolist(), value.to_numpy().tolist()]
        names = value.columns.tolist() if value.ndim == 2 else []
        return Thing(
            "frame", values.type_name(value), id(type(value)), (shape,), self._parts([names, *parts], depth)
        )


def is_same(before: Frozen, after: Frozen) -> bool:
    """Return whether two frozen values are equal: dicts and sets in any order, and nan to itself."""
    try:
        if before == after and type(before) is type(after):
            return True
    except RecursionError:
        return False
    if type(before) is not Thing or type(after) is not Thing:
        return False
    if (before.kind, before.cls, len(before.parts)) != (after.kind, after.cls, len(after.parts)):
        return False
    if before.kind in ("dict", "set", "frozenset"):
        return _is_same_in_any_order(before, after)
    return (
        before.own == after.own
        and all(map(is_same, before.labels, after.labels))
        and all(map(is_same, before.parts, after.parts))
    )


def _is_same_in_any_order(before: Thing, after: Thing) -> bool:
    if before.kind != "dict":
        return set(before.parts) == set(after.parts)
    found = dict(zip(after.labels, after.parts, strict=True))
    return all(
        label in found and is_same(part, found[label])
        for label, part in zip(before.labels, before.parts, strict=True)
    )


class _Absent:
    """Stands for a key that is not there."""


ABSENT = _Absent()
Difference = tuple[Frozen, Frozen]
"""A value before and after; `ABSENT` where there was none, or is none any more."""
