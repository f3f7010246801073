"""What changed between two moments in the state of a worker: pure; `state_watch` takes the moments.

A `Moment` holds every top-level key in a form that later changes in place do not reach: what is made of
nothing but builtins as a pickle, which is fast and tells that something is the same; all else frozen, as a
tree of `Thing`s, and so is what has changed. No code of the values runs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from dnworker.core import values
from dnworker.workers.state_frozen import (
    ABSENT,
    LARGEST_VALUE,
    Difference,
    Frozen,
    Thing,
    TooLarge,
    freeze,
    is_same,
    large_thing,
    opaque_thing,
    shallow_size,
)

LARGEST_STATE = 1_000_000
"""Bytes of a state that is looked at, about."""

LOOKS = 100
KNOWN = 200
"""Looks at a value that was too large after which it is looked at anew, and such values that are known."""


class _Packed(NamedTuple):
    """A value of nothing but builtins, as a pickle."""

    data: bytes

    def frozen(self) -> Frozen:
        """Return it frozen, as it was then."""
        frozen, _ = freeze(pickle.loads(self.data), [])  # noqa: S301  of builtins alone, made here
        return frozen


class _NotPlain(Exception):
    """Something in a value is no builtin."""


class _Packer(pickle.Pickler):
    """Pickles builtins, by code of the interpreter alone."""

    def reducer_override(self, value: Any) -> Any:
        """Refuse what is no builtin: it would be asked how to pickle itself."""
        raise _NotPlain


class _Room:
    """A file for so much of a pickle as is compared."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._left = LARGEST_VALUE

    def write(self, data: Any) -> int:
        """Take a part of the pickle."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge
        self.parts.append(bytes(data))
        return len(data)


class Large(NamedTuple):
    """A value that was found too large, and what it was taken for."""

    identity: int
    frozen: Thing
    size: int
    looks: int
    """After how many looks it is looked at anew: what is in it may have become smaller."""


class Moment(NamedTuple):
    """A state at one moment."""

    keys: dict[object, Frozen | _Packed]
    """By the key, or its frozen form where that is no plain text."""
    size: int
    """Its bytes, about."""
    held: list[object]
    """What is told apart by its identity, which is that of one object only while it lives."""


def moment_of(
    state: object,
    known: dict[object, Large] | None = None,
    is_opaque: Callable[[object, object], bool] = lambda key, value: False,
) -> Moment:
    """Return a state as it is now; what is no dict has no keys.

    Args:
        state: it.
        known: which values are too large, as far as that is known from looks before; is kept up to date.
        is_opaque: returns whether a value, by its key, is told apart by its identity alone, such as a
            connection, of which nobody wants to read what is within it.
    """
    known = {} if known is None else known
    if len(known) > KNOWN:
        known.clear()
    found = Moment({}, 0, [])
    if not issubclass(type(state), dict):
        return found
    size = 0
    for key, value in values.pairs_of(state):
        name = key if type(key) is str else _freeze_key(key, found.held)
        if is_opaque(key, value):
            found.keys[name] = opaque_thing(value, found.held)
            continue
        found.keys[name], used = _taken(name, value, found.held, known)
        size += used
        if size > LARGEST_STATE:
            break
    return found._replace(size=size)


def _taken(
    name: object, value: object, held: list[object], known: dict[object, Large]
) -> tuple[Frozen | _Packed, int]:
    """Return a value in the form that is kept of it, and its bytes, about."""
    before = known.pop(name, None)
    is_same_one = before is not None and before.identity == id(value) and before.looks > 0
    if before is not None and is_same_one and before.frozen == large_thing(value):
        known[name] = before._replace(looks=before.looks - 1)
        return before.frozen, before.size
    room = _Room()
    try:
        if shallow_size(value) > LARGEST_VALUE:
            raise TooLarge
        _Packer(room, protocol=5).dump(value)
        data = b"".join(room.parts)
        return _Packed(data), len(data)
    except (TooLarge, _NotPlain, RecursionError, UnicodeEncodeError):
        frozen, size = freeze(value, held)
    if type(frozen) is Thing and frozen.kind == "large":
        known[name] = Large(id(value), frozen, size, LOOKS)
    return frozen, size


def _freeze_key(key: object, held: list[object]) -> Frozen:
    frozen, _ = freeze(key, held)
    return frozen if type(frozen) is not str else ("", frozen)


def differences(before: Moment, after: Moment) -> dict[object, Difference]:
    """Return which top-level keys differ between two moments, with both values."""
    found: dict[object, Difference] = {}
    for key, old in before.keys.items():
        new = after.keys.get(key, ABSENT)
        if new is old or (type(old) is _Packed and old == new):
            continue
        was, is_now = _unpacked(old), _unpacked(new)
        is_folded = type(old) is type(new) is _Packed and _is_large(was) and _is_large(is_now)
        if is_now is ABSENT or is_folded or not is_same(was, is_now):
            found[key] = (was, is_now)
    for key, new in after.keys.items():
        if key not in before.keys:
            found[key] = (ABSENT, _unpacked(new))
    return found


def _is_large(frozen: Frozen) -> bool:
    """Return whether a value is too large to be compared: as a pickle it may be small, with shared parts."""
    return type(frozen) is Thing and frozen.kind == "large"


def _unpacked(taken: Any) -> Frozen:
    return taken.frozen() if type(taken) is _Packed else taken
