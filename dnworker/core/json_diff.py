"""`diff`: the difference of two JSON values as a tree, and `apply`, which makes the one of the other.

The inspector of the panel and traces show it by `json_rows.py`. Lists are aligned: of 400 rows, the one that
changed is found. What takes too long, or has too many differences, is replaced as a whole: a difference
always applies, and is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

Path = tuple[str | int, ...]
"""Keys and places that lead to a part of a value."""


class Bounds(msgspec.Struct, frozen=True):
    """How much is looked for: levels, differences, steps of aligning one list, seconds."""

    depth: int = 60
    changes: int = 400
    steps: int = 60
    seconds: float = 0.05


class Same(msgspec.Struct, frozen=True):
    """Parts that follow each other and are equal in both; `keys` are None in a list."""

    values: list[Any]
    keys: list[str] | None = None


class Changed(msgspec.Struct, frozen=True):
    """A part that is another value; `key` is None in a list, and at the top."""

    left: Any
    right: Any
    key: str | None = None


class Removed(msgspec.Struct, frozen=True):
    """Parts of the left value only, which follow each other."""

    values: list[Any]
    keys: list[str] | None = None


class Added(msgspec.Struct, frozen=True):
    """Parts of the right value only, which follow each other."""

    values: list[Any]
    keys: list[str] | None = None


class Inside(msgspec.Struct, frozen=True):
    """An object or a list, on both sides, that has differences within it."""

    is_list: bool
    parts: list[Part]
    key: str | None = None


Part = Same | Changed | Removed | Added | Inside


class Place(NamedTuple):
    """A difference, and where it is: in the right value, or in the left where it was removed there."""

    path: Path
    part: Changed | Removed | Added


def diff(left: Any, right: Any, bounds: Bounds | None = None) -> Part:
    """Return the difference of two JSON values; `Same` where there is none.

    Numbers differ where their JSON does: `1` is not `1.0`, nor `true`. The order of an object's keys does
    not count.
    """
    return _Differ(bounds or Bounds()).between(left, right, None, 0)


def apply(part: Part, left: Any) -> Any:
    """Return the right value, made of the left one and the difference of the two."""
    match part:
        case Same():
            return left
        case Changed():
            return part.right
        case Inside(is_list=False):
            return _applied_object(part, left)
        case Inside():
            return _applied_list(part, left)
    raise TypeError(f"no difference of two values: {part!r:.100}")


def _applied_object(inside: Inside, left: dict[str, Any]) -> dict[str, Any]:
    made = dict(left)
    for part in inside.parts:
        match part:
            case Removed(keys=keys):
                for key in keys or ():
                    del made[key]
            case Added(values, keys):
                made.update(zip(keys or (), values, strict=True))
            case Changed(key=key) | Inside(key=key) if key is not None:
                made[key] = apply(part, left[key])
    return made


def _applied_list(inside: Inside, left: list[Any]) -> list[Any]:
    made: list[Any] = []
    at = 0
    for part in inside.parts:
        match part:
            case Same(values):
                made += left[at : at + len(values)]
                at += len(values)
            case Removed(values):
                at += len(values)
            case Added(values):
                made += values
            case _:
                made.append(apply(part, left[at]))
                at += 1
    return made


def places(part: Part) -> Iterator[Place]:
    """Go through the differences in order, those within others by their paths."""
    yield from _places(part, ())


def _places(part: Part, path: Path) -> Iterator[Place]:
    match part:
        case Same():
            return
        case Inside(is_list, parts):
            at = 0
            for one in parts:
                yield from _places(one, (*path, at if is_list else _key_of(one)))
                at += _length(one)
        case _:
            yield Place(path, part)


def _key_of(part: Part) -> str:
    if isinstance(part, Changed | Inside):
        return part.key or ""
    return part.keys[0] if part.keys else ""


def _length(part: Part) -> int:
    """Return how many items of the right list a part stands for."""
    match part:
        case Same(values) | Added(values):
            return len(values)
        case Removed():
            return 0
    return 1


# -- how it is found -----------------------------------------------------------------------------------

_encode = msgspec.json.Encoder(order="deterministic").encode

_PAIRS_COMPARED = 1_000
"""Pairs of items of two lists that are compared for how alike they are."""


class _Differ:
    """Finds one difference within bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._left = bounds.changes
        self._deadline = time.perf_counter() + bounds.seconds

    def between(self, left: Any, right: Any, key: str | None, depth: int) -> Part:
        """Return the difference of two parts at one key."""
        if _encode(left) == _encode(right):
            return Same([right], None if key is None else [key])
        return self._of_differing(left, right, key, depth)

    def _of_differing(self, left: Any, right: Any, key: str | None, depth: int) -> Part:
        is_list = type(left) is list
        if type(left) is type(right) and (is_list or type(left) is dict) and not self._is_over(depth):
            parts = (self._in_lists if is_list else self._in_objects)(left, right, depth)
            if any(not isinstance(part, Added | Removed) for part in parts):  # else nothing is in common
                return Inside(is_list, parts, key)
        self._left -= 1
        return Changed(left, right, key)

    def _is_over(self, depth: int) -> bool:
        return depth >= self._bounds.depth or self._left <= 0 or time.perf_counter() > self._deadline

    # -- objects ---------------------------------------------------------------------------------------

    def _in_objects(self, left: dict[str, Any], right: dict[str, Any], depth: int) -> list[Part]:
        parts = _Parts()
        gone = [key for key in left if key not in right]
        if gone:
            parts.add(Removed([left[key] for key in gone], gone))
            self._left -= 1
        for key, value in right.items():
            if key in left:
                parts.add(self.between(left[key], value, key, depth + 1))
            else:
                parts.add(Added([value], [key]))
                self._left -= 1
        return parts.all

    # -- lists -----------------------------------------------------------------------------------------

    def _in_lists(self, left: list[Any], right: list[Any], depth: int) -> list[Part]:
        texts = [*map(_encode, left)], [*map(_encode, right)]
        parts, at, to = _Parts(), 0, 0
        for start, target, length in (*_runs(*texts, self._bounds.steps), (len(left), len(right), 0)):
            self._in_blocks(parts, left[at:start], right[to:target], depth)
            parts.add(Same(right[target : target + length]))
            at, to = start + length, target + length
        return parts.all

    def _in_blocks(self, parts: _Parts, left: list[Any], right: list[Any], depth: int) -> None:
        """Add the difference of two blocks of which no two items are known to be equal."""
        for one, other in self._pairs(left, right):
            if one == other == slice(0, 0):
                continue
            if one.stop - one.start == other.stop - other.start == 1:
                parts.add(self._of_differing(left[one.start], right[other.start], None, depth + 1))
                continue
            parts.add(Removed(left[one]))
            parts.add(Added(right[other]))
            self._left -= 1

    def _pairs(self, left: list[Any], right: list[Any]) -> Iterator[tuple[slice, slice]]:
        """Yield which items of two blocks are compared with each other: pairs, and what has no partner."""
        most = max(0, self._left)
        if len(left) == len(right):
            for n in range(min(most, len(left))):
                yield slice(n, n + 1), slice(n, n + 1)
            if len(left) > most:
                yield slice(most, len(left)), slice(most, len(right))
            return
        at = to = 0
        found = _alike(left, right) if len(left) * len(right) <= _PAIRS_COMPARED else []
        for n, m in found[:most]:
            if n > at or m > to:
                yield from self._apart(at, n, to, m)
            yield slice(n, n + 1), slice(m, m + 1)
            at, to = n + 1, m + 1
        yield from self._apart(at, len(left), to, len(right))

    @staticmethod
    def _apart(at: int, n: int, to: int, m: int) -> Iterator[tuple[slice, slice]]:
        """Yield what has no partner: as removed and added, never as a pair."""
        if n > at:
            yield slice(at, n), slice(0, 0)
        if m > to:
            yield slice(0, 0), slice(to, m)


class _Parts:
    """Parts in order, with equal ones that follow each other joined."""

    def __init__(self) -> None:
        self.all: list[Part] = []

    def add(self, part: Part) -> None:
        if isinstance(part, Same | Removed | Added):
            if not part.values:
                return
            last = self.all[-1] if self.all else None
            if last is not None and type(last) is type(part):
                last.values.extend(part.values)
                if part.keys is not None:
                    last.keys.extend(part.keys)  # type: ignore[union-attr]  # likewise
                return
        self.all.append(part)


def _runs(left: list[bytes], right: list[bytes], steps: int) -> Iterator[tuple[int, int, int]]:
    """Yield the runs of equal items of two lists, in order: where each begins, and its length."""
    least = min(len(left), len(right))
    first = 0
    while first < least and left[first] == right[first]:
        first += 1
    last = 0
    while last < least - first and left[-1 - last] == right[-1 - last]:
        last += 1
    if first:
        yield 0, 0, first
    middle = left[first : len(left) - last], right[first : len(right) - last]
    for at, to, length in _snakes(*middle, steps):
        yield at + first, to + first, length
    if last:
        yield len(left) - last, len(right) - last, last


def _snakes(left: list[bytes], right: list[bytes], steps: int) -> list[tuple[int, int, int]]:
    """Return the runs of a shortest edit script, by Myers; none where that takes over `steps` steps.

    Where there is none within them, items that are unlike all others of their list hold the two together.
    """
    if not left or not right:
        return []
    ends, traces = {1: 0}, []
    for step in range(min(steps, len(left) + len(right)) + 1):
        traces.append(dict(ends))
        for lane in range(-step, step + 1, 2):
            is_down = lane == -step or (lane != step and ends[lane - 1] < ends[lane + 1])
            at = ends[lane + 1] if is_down else ends[lane - 1] + 1
            while at < len(left) and at - lane < len(right) and left[at] == right[at - lane]:
                at += 1
            ends[lane] = at
            if at >= len(left) and at - lane >= len(right):
                return _walked_back(traces, len(left), len(right))
    return _landmarks(left, right)


def _walked_back(traces: list[dict[int, int]], at: int, to: int) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for step in range(len(traces) - 1, -1, -1):
        ends, lane = traces[step], at - to
        is_down = lane == -step or (lane != step and ends[lane - 1] < ends[lane + 1])
        before = lane + 1 if is_down else lane - 1
        start = ends[before] if step else 0
        begin = start if is_down or not step else start + 1
        if at > begin:
            found.append((begin, begin - lane, at - begin))
        at, to = start, start - before
    return found[::-1]


def _landmarks(left: list[bytes], right: list[bytes]) -> list[tuple[int, int, int]]:
    """Return items that are once in each list and in the same order in both, as runs of one."""
    places_right = _unique(right)
    found: list[tuple[int, int, int]] = []
    for item, at in _unique(left).items():
        to = places_right.get(item)
        if to is not None and (not found or to > found[-1][1]):
            found.append((at, to, 1))
    return found


def _unique(items: list[bytes]) -> dict[bytes, int]:
    first: dict[bytes, int] = {}
    again: set[bytes] = set()
    for at, item in enumerate(items):
        if item in first:
            again.add(item)
        first[item] = at
    return {item: at for item, at in first.items() if item not in again}


def _alike(left: list[Any], right: list[Any]) -> list[tuple[int, int]]:
    """Return pairs of items that are most alike, in order: the heaviest way through both blocks."""
    members = [*map(_members, left)], [*map(_members, right)]
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for n in range(len(left) - 1, -1, -1):
        for m in range(len(right) - 1, -1, -1):
            pair = _likeness(members[0][n], members[1][m]) + best[n + 1][m + 1]
            best[n][m] = max(best[n + 1][m], best[n][m + 1], pair)
    pairs, n, m = [], 0, 0
    while n < len(left) and m < len(right):
        likeness = _likeness(members[0][n], members[1][m])
        if likeness and best[n][m] == likeness + best[n + 1][m + 1]:
            pairs.append((n, m))
            n, m = n + 1, m + 1
        elif best[n][m] == best[n + 1][m]:
            n += 1
        else:
            m += 1
    return pairs


def _members(item: Any) -> set[bytes]:
    """Return what an item can have in common with another: its members, or its items."""
    if type(item) is dict:
        return {_encode([key, value]) for key, value in item.items()}
    return {*map(_encode, item)} if type(item) is list else set()


def _likeness(one: set[bytes], other: set[bytes]) -> float:
    return len(one & other) / max(len(one), len(other)) if one and other else 0.0
