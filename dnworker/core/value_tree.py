"""`tree_of`: a value as a tree of keys, types, sizes and short values, bounded in all directions.

The magics and the panel show the state of a worker by it. No code of the values runs; see `values.py`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from dnworker.core import values
from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import shorten

LONGEST_KEY = 100
LONGEST_VALUE = 200
"""Characters of a key and of a value that are shown."""


class Bounds(msgspec.Struct, frozen=True):
    """How much of a value is shown: levels, parts of one thing, parts of all, bytes of text, seconds."""

    depth: int = 6
    width: int = 50
    nodes: int = 1_000
    size: int = 100_000
    seconds: float = 0.1


class Node(msgspec.Struct, omit_defaults=True):
    """One part of a tree: its key, its type, and its size or its value.

    `more` counts the parts that are not shown, -1 where nobody has counted them.
    """

    key: str
    type: str
    size: str = ""
    value: str = ""
    children: list[Node] = []
    more: int = 0

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Yield the tree as lines of text, each part below what it is a part of."""
        indent = "  " * depth
        rest = "  ".join(filter(None, [self.type, self.size, self.value]))
        yield f"{indent}{self.key}  {rest}".rstrip()
        for child in self.children:
            yield from child.lines(depth + 1)
        if self.more:
            yield f"{indent}  {self.rest}"

    @property
    def rest(self) -> str:
        """How many parts are not shown, as text."""
        return f"… {self.more:,} more" if self.more > 0 else "…"


class _Waiting(msgspec.Struct):
    """A node whose parts are to be added, with the value and what it is within."""

    node: Node
    value: Any
    kind: values.Kind
    above: tuple[int, ...]


def tree_of(value: object, key: str = "", bounds: Bounds | None = None) -> Node:
    """Return a value as a tree; parts near the top come first where the bounds do not allow all."""
    bounds = bounds or Bounds()
    deadline = time.perf_counter() + bounds.seconds
    root, kind = _node(key, value)
    waiting = deque([_Waiting(root, value, kind, ())])
    nodes, size = 1, _bytes_of(root)
    while waiting:
        one = waiting.popleft()
        count = _count_of(one.value, one.kind)
        if count == 0:
            continue
        is_over = nodes >= bounds.nodes or size >= bounds.size or time.perf_counter() > deadline
        if is_over or len(one.above) >= bounds.depth:
            one.node.more = count
            continue
        width = min(bounds.width if one.above else 4 * bounds.width, bounds.nodes - nodes)
        above = (*one.above, id(one.value))
        for label, part in _parts_of(one.value, one.kind, width):
            child, part_kind = _node(label, part, is_in=above)
            one.node.children.append(child)
            nodes += 1
            size += _bytes_of(child)
            if child.value != MASK and id(part) not in above:
                waiting.append(_Waiting(child, part, part_kind, above))
        one.node.more = max(0, count - len(one.node.children))
    return root


def _node(key: str, value: Any, is_in: tuple[int, ...] = ()) -> tuple[Node, values.Kind]:
    kind = values.kind_of(value)
    node = Node(key, values.type_name(value))
    if hides(key.strip('"'), value):
        node.value = MASK
    elif id(value) in is_in:
        node.value = "(it is within itself)"
    else:
        node.size = size_text(value, kind)
        node.value = values.text_of(value, kind, LONGEST_VALUE)
    return node, kind


def hides(name: str, value: object) -> bool:
    """Return whether a value of this name is not shown; a number of tokens is no secret, nor is None."""
    kind = type(value)
    if kind is type(None) or kind is bool:
        return False
    if (kind is int or kind is float) and name.lower().endswith("tokens"):
        return False
    return is_secret(name)


def size_text(value: Any, kind: values.Kind) -> str:
    """Return how large a value is, as text; empty for what has no size worth a word."""
    if kind in ("array", "frame"):
        return values.shape_of(value, kind)
    length = values.length_of(value, kind)
    if length is None:
        return ""
    match kind:
        case "str":
            return f"{length:,} characters" if length > LONGEST_VALUE else ""
        case "bytes" | "bytearray":
            return f"{length:,} bytes"
    return f"{length:,} item{'' if length == 1 else 's'}"


def _count_of(value: Any, kind: values.Kind) -> int:
    """Return how many parts a value has to show; of an object, what it has in its first attributes."""
    if kind == values.MAPPING or kind in values.SEQUENCES or kind in values.SETS:
        return values.length_of(value, kind) or 0
    return len(values.attributes_of(value, 1_000)) if kind == "object" else 0


def _parts_of(value: Any, kind: values.Kind, most: int) -> Iterator[tuple[str, Any]]:
    if kind == values.MAPPING:
        for key, part in values.pairs_of(value, most):
            yield label_of(key), part
    elif kind == "object":
        for name, part in values.attributes_of(value, most):
            yield (shorten(name, LONGEST_KEY) if type(name) is str else label_of(name)), part
    else:
        for number, part in enumerate(values.items_of(value, kind, most)):
            yield ("·" if kind in values.SETS else f"[{number}]"), part


def label_of(key: object) -> str:
    """Return the key of a dict as text."""
    kind = values.kind_of(key)
    if kind in ("list", "tuple", "frozenset"):
        some = [label_of(part) for part in values.items_of(key, kind, 4)]
        length = values.length_of(key, kind) or 0
        inner = ", ".join([*some, *(["…"] if length > len(some) else [])])
        return shorten(f"({inner})", LONGEST_KEY)
    text = values.text_of(key, kind, LONGEST_KEY)
    return text or f"<{values.type_name(key)}>"


def _bytes_of(node: Node) -> int:
    return 40 + len(node.key) + len(node.type) + len(node.size) + len(node.value)
