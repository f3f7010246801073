"""Compares two descriptions and shows where values differ; used by prove.

What a message shows is made of the descriptions: no `__repr__` is called.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Literal, NamedTuple

from dnworker_jupyter.export.planning.leaks import HIDDEN, may_hold_secret, redacted
from dnworker_jupyter.export.proof.definitions import ANNOTATIONS, SUBCLASSES
from dnworker_jupyter.export.proof.nodes import CUT, MISSING, Description, Node, Ref

LONGEST = 120
"""Characters of a value in a message."""
MOST = 3
"""Differences of one name and aspect that are returned."""

NOTHING = "nothing"

_ORDERED = frozenset({"dict", "defaultdict", "OrderedDict", "mappingproxy"})

Aspect = Literal["value", "annotations", "subclasses"]

Pairs = list[tuple["Way", Ref, Ref]]
"""Places, and what is there in both descriptions."""


class Unequal(NamedTuple):
    """A place in a value where two descriptions differ."""

    where: str
    here: str
    there: str
    aspect: Aspect = "value"


class Unknown(NamedTuple):
    """A place in a value that cannot be compared."""

    where: str
    why: str


class Way:
    """The way from a name to a place within its value; as text it is made when it is shown."""

    __slots__ = ("_above", "_label")

    def __init__(self, label: str, above: Way | None = None) -> None:
        self._label = label
        self._above = above

    def __str__(self) -> str:
        labels, way = [], self
        while way._above is not None:
            labels.append(way._label)
            way = way._above
        text = "".join(reversed(labels))
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 :]}"


class Comparison:
    """Compares the names of two descriptions, one after the other.

    It keeps what it has seen: an object that two names reach in one description must be one in the other.
    """

    def __init__(self, here: Description, there: Description) -> None:
        self._here = here
        self._there = there
        self._seen: set[tuple[int, int]] = set()
        self._twins: dict[int, tuple[int, str, Way]] = {}
        self._back: dict[int, tuple[int, str, Way]] = {}

    def of(self, name: str) -> Iterator[Unequal | Unknown]:
        """Yield up to `MOST` places of each aspect where a name differs, and all that cannot be compared."""
        counts: Counter[Aspect] = Counter()
        for found in self._walk(name):
            if isinstance(found, Unequal):
                counts[found.aspect] += 1
                if counts[found.aspect] > MOST:
                    continue
            yield found

    def _walk(self, name: str) -> Iterator[Unequal | Unknown]:
        start = (self._here.names.get(name, MISSING), self._there.names.get(name, MISSING))
        stack: Pairs = [(Way(name), *start)]
        while stack:
            way, here, there = stack.pop()
            if isinstance(here, int) and isinstance(there, int):
                if (here, there) in self._seen:
                    continue
                self._seen.add((here, there))
                further = yield from self._nodes(name, way, here, there)
                stack += reversed(further)
            elif CUT in (here, there):
                yield Unknown(str(way), "it is too large to compare")
            elif here != there:
                where = str(way)
                if not self._is_same_annotation(where, here, there):
                    yield self._unequal(name, where, here, there)

    def _nodes(self, name: str, way: Way, here: int, there: int) -> Generator[Unequal | Unknown, None, Pairs]:
        """Yield where two nodes differ; returns what is in them to be compared."""
        one, other = self._here.nodes[here], self._there.nodes[there]
        if CUT in (one.kind, other.kind):
            yield Unknown(str(way), "it is too large to compare")
            return []
        if one.kind.startswith("?") and _head(one) == _head(other):
            kind, _, why = one.kind.partition("|")
            yield Unknown(str(way), f"{kind[1:]}: {why}")
            return []
        if one.kind != other.kind or (_is_set(one) and _scalars(one) != _scalars(other)):
            yield self._unequal(name, str(way), here, there)
            return []
        if one.identity:
            yield from self._identity(name, way, here, there)
        return (yield from self._items(name, way, one, other))

    def _identity(self, name: str, way: Way, here: int, there: int) -> Iterator[Unequal]:
        """Yield a difference where an object is the same as another in one description alone."""
        twin, *first = self._twins.setdefault(here, (there, name, way))
        back, *second = self._back.setdefault(there, (here, name, way))
        if twin != there:
            yield Unequal(str(way), f"the object that is {''.join(map(str, first))}", "another object")
        elif back != here:
            yield Unequal(str(way), "another object", f"the object that is {''.join(map(str, second))}")

    def _items(
        self, name: str, way: Way, one: Node, other: Node
    ) -> Generator[Unequal | Unknown, None, Pairs]:
        if [label for label, _ in one.items] == [label for label, _ in other.items]:
            return [
                (Way(label, way), mine, theirs)
                for (label, mine), (_, theirs) in zip(one.items, other.items, strict=True)
            ]
        mine, theirs = dict(one.items), dict(other.items)
        for label in [*mine, *(label for label in theirs if label not in mine)]:
            if label not in mine or label not in theirs:
                where = str(Way(label, way))
                yield self._unequal(name, where, mine.get(label, MISSING), theirs.get(label, MISSING))
        if one.kind.rpartition(":")[2] in _ORDERED and mine.keys() == theirs.keys():
            before, after = (f"in the order {', '.join(items)}"[:LONGEST] for items in (mine, theirs))
            yield Unequal(str(way), before, after)
        return [(Way(label, way), mine[label], theirs[label]) for label in mine if label in theirs]

    def _unequal(self, name: str, where: str, here: Ref, there: Ref) -> Unequal:
        aspect: Aspect = "value"
        if SUBCLASSES in where:
            aspect = "subclasses"
        elif ANNOTATIONS in where and self._is_text(self._here, here) != self._is_text(self._there, there):
            aspect = "annotations"
        if may_hold_secret(f"{name}{where}"):
            return Unequal(where, HIDDEN, HIDDEN, aspect)
        return Unequal(where, show(self._here, here), show(self._there, there), aspect)

    def _is_same_annotation(self, where: str, here: Ref, there: Ref) -> bool:
        """Return whether one side has the text of the annotation that the other side has."""
        sides = [(self._here, here), (self._there, there)]
        sides.sort(key=lambda side: not self._is_text(*side))
        if ANNOTATIONS not in where or self._is_text(*sides[1]) or not isinstance(text := sides[0][1], str):
            return False
        return re.sub(r"\w+\.", "", text.removeprefix("str:")).replace(" ", "") == _annotation(*sides[1])

    @staticmethod
    def _is_text(description: Description, ref: Ref) -> bool:
        return isinstance(ref, str) and ref.startswith("str:")


def _annotation(description: Description, ref: Ref) -> str:
    """Return an annotation as its text would be in code, without spaces and modules."""
    if isinstance(ref, str):
        return _scalar(ref)
    node = description.nodes[ref]
    kind, _, detail = node.kind.partition(":")
    inside = dict(node.items)
    match kind:
        case "external":
            name = detail.rpartition(":")[2].rpartition(".")[2]
            return "None" if name == "NoneType" else name
        case "class":
            return detail.rpartition(".")[2]
        case "tuple":
            return ",".join(_annotation(description, r) for _, r in node.items)
        case "union":
            choices = description.nodes[int(inside[".__args__"])].items
            return "|".join(_annotation(description, r) for _, r in choices)
        case "alias":
            origin, arguments = (_annotation(description, inside[f".__{n}__"]) for n in ("origin", "args"))
            return f"{origin}[{arguments}]"
    return "?"


def _head(node: Node) -> str:
    return node.kind.partition("|")[0]


def _scalars(node: Node) -> tuple[int, list[Ref]]:
    return len(node.items), [ref for _, ref in node.items if isinstance(ref, str)]


def _is_set(node: Node) -> bool:
    return any(label == "{}" for label, _ in node.items[:2])


def show(description: Description, ref: Ref, longest: int = LONGEST) -> str:
    """Return a value as text for a message: shortened, without what is or may be a secret."""
    text = redacted(_shown(description, ref, 3))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _shown(description: Description, ref: Ref, depth: int) -> str:
    if isinstance(ref, str):
        return _scalar(ref)
    node = description.nodes[ref]
    kind, _, detail = node.kind.partition(":")
    if kind.startswith("?"):
        return "…" if node.kind == CUT else _article(kind[1:].partition("|")[0])
    if depth == 0:
        return "…"
    if kind == "external":
        return _scalar(node.kind)
    if kind in _BRACKETS:
        return _container(description, node, kind, depth)
    match kind:
        case "function":
            return f"def {detail}"
        case "code":
            return "other code"
        case "class":
            return f"class {detail}"
        case "instance":
            return f"{detail}({_inside(description, node.items[1:], depth)})"
        case "member":
            return ".".join(
                _shown(description, r, depth - 1).removeprefix("class ") for _, r in node.items[:2]
            )
        case "repr" | "lock" | "named" | "module" | "weakref":
            return detail
    inside = _inside(description, node.items, depth)
    return f"{node.kind}({inside})" if inside else node.kind


_LITERALS = ("list", "tuple", "set", "dict")
_BRACKETS = {
    "list": "[]", "tuple": "()", "set": "{}", "frozenset": "{}", "dict": "{}", "OrderedDict": "{}",
    "defaultdict": "{}", "deque": "[]", "mappingproxy": "{}",
}  # fmt: skip


def _container(description: Description, node: Node, kind: str, depth: int) -> str:
    brackets = _BRACKETS[kind]
    inside = _inside(description, node.items, depth)
    return f"{'' if kind in _LITERALS else kind}{brackets[0]}{inside}{brackets[1]}"


def _inside(description: Description, items: list[tuple[str, Ref]], depth: int) -> str:
    shown = []
    for label, ref in items[:6]:
        text = HIDDEN if may_hold_secret(label) else _shown(description, ref, depth - 1)
        if label.startswith("[") and not label[1:-1].isdigit():
            text = f"{label[1:-1]}: {text}"
        elif label.startswith("."):
            text = f"{label[1:]}={text}"
        elif label.startswith(" "):
            text = label.strip()
        shown.append(text)
    return ", ".join([*shown, "…"] if len(items) > 6 else shown)


def _scalar(text: str) -> str:
    if text == MISSING:
        return NOTHING
    if text == CUT:
        return "…"
    kind, _, value = text.partition(":")
    match kind:
        case "str":
            return repr(value)
        case "external":
            module, _, name = value.partition(":")
            return name if module == "builtins" else f"{module}.{name}"
        case "code" | "data":
            return "other content"
    return text.rpartition(" ")[0].partition("#")[2] if text.startswith(("str#", "bytes#")) else value


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
