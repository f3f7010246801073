"""What changed between two moments in the state of a worker: pure; `state_watch` takes the moments.

A `Moment` holds every top-level key in a frozen form, which later changes in place do not reach. It refers to
text and numbers and copies none, so its cost goes by the number of parts. No code of the values runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dnworker.core import values
from dnworker.core.masking import MASK, hides
from dnworker.core.text import shorten
from dnworker.core.value_tree import size_text

LARGEST_VALUE = 64_000
"""Bytes of a value that is compared; of a larger one, only type and size are."""

LARGEST_STATE = 1_000_000
"""Bytes of a state that is looked at, about."""

DEEPEST = 60
LONGEST_TEXT = 60
LONGEST_CHANGE = 200
SHOWN_INSIDE = 3
"""Levels of a value that is compared; characters of one value and of one change; changes within one key."""

_PART = 16  # bytes that a part counts, beside text
_MOST_PARTS = LARGEST_VALUE // _PART

Frozen = Any
"""Text, bytes, an int or None as it is; else a `_Thing`."""

_SIZED = {id(kind) for kind in (str, bytes)}
_AS_IT_IS = {*_SIZED, id(int), id(type(None))}


class _Thing(NamedTuple):
    """The frozen form of a value: equal for equal values, by code of ours and of the interpreter alone."""

    kind: str
    type: str
    cls: int
    labels: tuple[Frozen, ...] = ()
    parts: tuple[Frozen, ...] = ()
    own: object = None
    """What tells it apart beside its parts: a number, a text, an identity."""


class _TooLarge(Exception):
    """A value has more parts than are compared."""


class Moment(NamedTuple):
    """A state at one moment."""

    keys: dict[object, Frozen]
    """By the key, or its frozen form where that is no plain text."""
    size: int
    """Its bytes, about."""
    held: list[object]
    """What is told apart by its identity, which is that of one object only while it lives."""


def moment_of(state: object) -> Moment:
    """Return a state as it is now; what is no dict has no keys."""
    found = Moment({}, 0, [])
    if not issubclass(type(state), dict):
        return found
    size = 0
    for key, value in values.pairs_of(state):
        name = key if type(key) is str else _freeze_key(key, found.held)
        frozen, used = freeze(value, found.held)
        found.keys[name] = frozen
        size += used
        if size > LARGEST_STATE:
            break
    return found._replace(size=size)


def _freeze_key(key: object, held: list[object]) -> Frozen:
    frozen, _ = freeze(key, held)
    return frozen if type(frozen) is not str else ("", frozen)


def freeze(value: object, held: list[object]) -> tuple[Frozen, int]:
    """Return the frozen form of a value, and its bytes, about; what has identity alone is put into `held`."""
    freezer = _Freezer(held)
    try:
        frozen = freezer.of(value, 0)
    except _TooLarge:
        size = max(freezer.estimate(), _shallow(value))
        return _large(value), size
    return frozen, LARGEST_VALUE - freezer.left


def _large(value: Any) -> _Thing:
    kind = values.kind_of(value)
    return _Thing("large", values.type_name(value), id(type(value)), own=size_text(value, kind))


def _shallow(value: Any) -> int:
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
            raise _TooLarge

    def of(self, value: Any, depth: int) -> Frozen:
        cls = type(value)
        if id(cls) in _AS_IT_IS:
            self.left -= _PART + (len(value) if id(cls) in _SIZED else 0)
            if self.left < 0:
                raise _TooLarge
            return value
        kind = values.kind_of(value)
        if kind in values.ATOMS or kind == "bytearray":
            return self._atom(value, kind)
        if id(value) in self._above:
            return _Thing("itself", "", len(self._above) - self._above.index(id(value)))
        if depth > DEEPEST:
            raise _TooLarge
        self._above.append(id(value))
        try:
            return self._container(value, kind, depth)
        finally:
            self._above.pop()

    def _atom(self, value: Any, kind: str) -> _Thing:
        length = values.length_of(value, kind) or 0
        self._spend(_PART + length)
        plain = bytes(value) if kind == "bytearray" else values.plain(value, kind)
        if plain != plain:  # nan is nan, here
            plain = repr(plain)
        return _Thing(kind, values.type_name(value), id(type(value)), own=plain)

    def _container(self, value: Any, kind: str, depth: int) -> _Thing:
        name, cls = values.type_name(value), id(type(value))
        match kind:
            case "dict" | "object":
                pairs = self._pairs(value, kind)
                labels = self._parts([key for key, _ in pairs], depth)
                return _Thing(kind, name, cls, labels, self._parts([part for _, part in pairs], depth))
            case "list" | "tuple" | "deque" | "set" | "frozenset":
                self._check(values.length_of(value, kind) or 0)
                return _Thing(kind, name, cls, (), self._parts(values.items_of(value, kind), depth))
            case "known":
                return _Thing(kind, name, cls, own=values.text_of(value, kind, LARGEST_VALUE))
            case "array":
                return self._array(value)
            case "frame":
                return self._frame(value, depth)
        self._held.append(value)
        return _Thing("opaque", name, cls, own=id(value))

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
            raise _TooLarge

    def _parts(self, parts: list[Any], depth: int) -> tuple[Frozen, ...]:
        kinds = set(map(id, map(type, parts)))  # no class is hashed: its metaclass may do something then
        if kinds <= _AS_IT_IS:
            self.left -= _PART * len(parts)
            if not kinds.isdisjoint(_SIZED):
                self.left -= sum(len(part) for part in parts if id(type(part)) in _SIZED)
            if self.left < 0:
                raise _TooLarge
            return tuple(parts)
        found = []
        for number, part in enumerate(parts):
            if depth == 0:
                self._reached = (number, len(parts))
            found.append(self.of(part, depth + 1))
        return tuple(found)

    def _array(self, value: Any) -> _Thing:
        shape = values.shape_of(value, "array")
        if value.dtype.hasobject:
            self._held.append(value)
            return _Thing("opaque", "ndarray", id(type(value)), own=(id(value), shape))
        self._spend(_PART + value.nbytes)
        return _Thing("array", "ndarray", id(type(value)), (shape,), own=value.tobytes())

    def _frame(self, value: Any, depth: int) -> _Thing:
        self._check(value.size + len(value.index))
        shape = values.shape_of(value, "frame")
        parts = [value.index.tolist(), value.to_numpy().tolist()]
        names = value.columns.tolist() if value.ndim == 2 else []
        return _Thing(
            "frame", values.type_name(value), id(type(value)), (shape,), self._parts([names, *parts], depth)
        )


# -- differences ---------------------------------------------------------------------------------------


def is_same(before: Frozen, after: Frozen) -> bool:
    """Return whether two frozen values are equal: dicts and sets in any order, and nan to itself."""
    try:
        if before == after and type(before) is type(after):
            return True
    except RecursionError:
        return False
    if type(before) is not _Thing or type(after) is not _Thing:
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


def _is_same_in_any_order(before: _Thing, after: _Thing) -> bool:
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


def differences(before: Moment, after: Moment) -> dict[object, Difference]:
    """Return which top-level keys differ between two moments, with both values."""
    found: dict[object, Difference] = {}
    for key, old in before.keys.items():
        new = after.keys.get(key, ABSENT)
        if new is not old and (new is ABSENT or not is_same(old, new)):
            found[key] = (old, new)
    for key, new in after.keys.items():
        if key not in before.keys:
            found[key] = (ABSENT, new)
    return found


# -- as text -------------------------------------------------------------------------------------------


def text_of(key: object, before: Frozen, after: Frozen) -> str:
    """Return one change as text: `count 1 -> 2`, `users + "ada"`, `config["host"] "a" -> "b"`."""
    name = shorten(key, LONGEST_TEXT) if type(key) is str else brief(_unkeyed(key))
    if hides(key if type(key) is str else "", _value(after if before is ABSENT else before)):
        return f"{name} {_marks(before, after)}"
    return shorten(_change(name, before, after), LONGEST_CHANGE)


def _unkeyed(key: object) -> Frozen:
    return key[1] if type(key) is tuple else key


def _value(frozen: Frozen) -> object:
    """Return what a frozen value stands for, as far as `hides` asks: None, a bool, a number."""
    return frozen.own if type(frozen) is _Thing and frozen.kind in ("bool", "float") else frozen


def _marks(before: Frozen, after: Frozen) -> str:
    if before is ABSENT:
        return f"= {MASK}"
    return "removed" if after is ABSENT else f"{MASK} -> {MASK}"


def _change(name: str, before: Frozen, after: Frozen) -> str:
    if before is ABSENT:
        return f"{name} = {brief(after)}"
    if after is ABSENT:
        return f"{name} removed"
    inside = _inside(name, before, after)
    if inside:
        return inside
    old, new = brief(before), brief(after)
    if old == new:
        same = "another one of the same size" if _is_large(after) else "another one"
        return f"{name} {new}: {same}"
    return f"{name} {old} -> {new}"


def _is_large(frozen: Frozen) -> bool:
    return type(frozen) is _Thing and frozen.kind == "large"


def _inside(name: str, before: Frozen, after: Frozen) -> str:
    """Return what changed within a container, where that is shorter than all of it; else nothing."""
    if type(before) is not _Thing or type(after) is not _Thing or before.cls != after.cls:
        return ""
    if before.kind != after.kind:
        return ""
    match before.kind:
        case "list" | "tuple" | "deque":
            return _in_sequence(name, before, after)
        case "set" | "frozenset":
            gone, new = set(before.parts) - set(after.parts), set(after.parts) - set(before.parts)
            order = [("-", part) for part in before.parts if part in gone]
            order += [("+", part) for part in after.parts if part in new]
            return _listed(name, order)
        case "dict" | "object":
            return "; ".join(_in_mapping(name, before, after))
    return ""


def _in_sequence(name: str, before: _Thing, after: _Thing) -> str:
    old, new = before.parts, after.parts
    if len(new) > len(old) and all(map(is_same, old, new)):
        return _listed(name, [("+", part) for part in new[len(old) :]])
    if len(new) < len(old) and all(map(is_same, old, new)):
        return _listed(name, [("-", part) for part in old[len(new) :]])
    if len(new) < len(old) and all(map(is_same, old[len(old) - len(new) :], new)):
        return _listed(name, [("-", part) for part in old[: len(old) - len(new)]])
    if len(new) == len(old):
        wrong = [n for n in range(len(new)) if not is_same(old[n], new[n])]
        shown = [_change(f"{name}[{n}]", old[n], new[n]) for n in wrong[:SHOWN_INSIDE]]
        return "; ".join([*shown, *_rest(len(wrong))])
    return f"{name} {_count(len(old))} -> {_count(len(new))}"


def _in_mapping(name: str, before: _Thing, after: _Thing) -> Iterator[str]:
    old = dict(zip(before.labels, before.parts, strict=True))
    new = dict(zip(after.labels, after.parts, strict=True))
    changed = [k for k in (*old, *(k for k in new if k not in old)) if not _is_same_at(k, old, new)]
    for key in changed[:SHOWN_INSIDE]:
        was, is_now = old.get(key, ABSENT), new.get(key, ABSENT)
        inner = f"{name}.{key}" if before.kind == "object" else f"{name}[{brief(key)}]"
        if type(key) is str and hides(key, _value(is_now if was is ABSENT else was)):
            yield f"{inner} {_marks(was, is_now)}"
        else:
            yield _change(inner, was, is_now)
    yield from _rest(len(changed))


def _is_same_at(key: Frozen, old: dict[Frozen, Frozen], new: dict[Frozen, Frozen]) -> bool:
    return key in old and key in new and is_same(old[key], new[key])


def _listed(name: str, changes: list[tuple[str, Frozen]]) -> str:
    shown = [f"{sign} {brief(part)}" for sign, part in changes[:SHOWN_INSIDE]]
    return ", ".join([f"{name} {shown[0]}", *shown[1:], *_rest(len(changes))]) if shown else ""


def _rest(count: int) -> list[str]:
    return [f"and {count - SHOWN_INSIDE:,} more"] if count > SHOWN_INSIDE else []


def _count(number: int) -> str:
    return f"{number:,} item{'' if number == 1 else 's'}"


def brief(frozen: Frozen, longest: int = LONGEST_TEXT) -> str:
    """Return a frozen value as short text."""
    return shorten("".join(_pieces(frozen, longest, 0)), longest)


def _pieces(frozen: Frozen, room: int, depth: int) -> Iterator[str]:
    if type(frozen) is not _Thing:
        yield values.text_of(frozen, values.kind_of(frozen), room)
        return
    match frozen.kind:
        case "list" | "tuple" | "deque" | "set" | "frozenset":
            brackets = {"tuple": "()", "set": "{}"}.get(frozen.type, "[]")
            yield "" if frozen.type in ("list", "tuple", "set") else frozen.type
            yield from _joined(frozen.parts, (), brackets, room, depth)
        case "dict":
            yield "" if frozen.type == "dict" else frozen.type
            yield from _joined(frozen.parts, frozen.labels, "{}", room, depth)
        case "object":
            yield frozen.type
            yield from _joined(frozen.parts, frozen.labels, "()", room, depth)
        case "large":
            yield ", ".join(filter(None, [frozen.type, str(frozen.own)]))
        case "array" | "frame":
            yield f"{frozen.type}, {frozen.labels[0]}"
        case "known":
            yield str(frozen.own)
        case "itself":
            yield "(itself)"
        case "opaque":
            yield f"<{frozen.type}>"
        case "float" | "complex":
            yield str(frozen.own)
        case kind:
            yield values.text_of(frozen.own, "bytes" if kind == "bytearray" else kind, room)


def _joined(
    parts: tuple[Frozen, ...], labels: tuple[Frozen, ...], brackets: str, room: int, depth: int
) -> Iterator[str]:
    yield brackets[0]
    used = 0
    for number, part in enumerate(parts):
        if number:
            yield ", "
        if used > room or depth > SHOWN_INSIDE:
            yield "…"
            break
        label = labels[number] if labels else None
        shown = (
            MASK
            if type(label) is str and hides(label, _value(part))
            else "".join(_pieces(part, room, depth + 1))
        )
        name = (f"{label}=" if brackets == "()" else f"{brief(label)}: ") if labels else ""
        used += len(name) + len(shown) + 2
        yield name + shown
    yield brackets[1]
