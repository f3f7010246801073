"""`Description`: what values are, as data that two processes can compare; `describe` makes it by a `Walk`.

The standard library alone: the child that executes planned files loads this folder without dnworker.
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple

Ref = str | int
"""A value: the text of a scalar, or the number of a node."""

CUT = "?cut"
"""Stands for what was left out because the bounds were reached."""
MISSING = "!missing"
"""Stands for a name that has no value."""

LONGEST_TEXT = 200
"""Characters of a text that are kept; of a longer one it is the beginning and a hash."""
FLAT = 200
"""A list, tuple or dict of more scalars than this is kept as a hash."""

MOST_ITEMS = 1_000_000
"""A container of more items than this is not compared."""
TOO_LARGE = "it is too large to compare"

SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented)})

mro_of = type.__dict__["__mro__"].__get__
members_of = type.__dict__["__dict__"].__get__
bases_of = type.__dict__["__bases__"].__get__
# Each is asked of `type` itself: a metaclass of the notebook may answer anything.
_module_of = type.__dict__["__module__"].__get__
_qualname_of = type.__dict__["__qualname__"].__get__
_name_of = type.__dict__["__name__"].__get__


class Unreadable(Exception):
    """A value cannot be compared; the text says why."""


class Node(NamedTuple):
    """One value that is no scalar."""

    kind: str
    """What it is: values of two kinds are different. Begins with `?` where it cannot be compared."""
    identity: bool = False
    """Whether others can see that it is the same object, as of a list."""
    items: list[tuple[str, Ref]] = []
    """What it consists of, each with the text that leads there, such as `[0]` or `.name`."""


@dataclass
class Description:
    """The values of some names."""

    names: dict[str, Ref] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can write."""
        return {"names": self.names, "nodes": self.nodes}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Description:
        """Return what `to_plain` returned, also after a way through JSON."""
        nodes = [Node(kind, identity, [(a, b) for a, b in items]) for kind, identity, items in plain["nodes"]]
        return cls(plain["names"], nodes)


class Walk:
    """Describes values breadth first, so that one large value does not take the place of the others.

    Args:
        fill: makes the node of one value; may raise anything.
        own: names of the modules whose functions and classes are described, not named.
        namespace: where the notebook's names are looked up.
        places: by identity, nodes of objects that have the same place in every process.
        seconds: for the whole.
        most_nodes: how many values that are no scalars are described.
        most_bytes: how many bytes of texts and arrays are hashed.
    """

    def __init__(
        self,
        fill: Callable[[Walk, Any], Node],
        own: Collection[str],
        namespace: Callable[[str], Any],
        places: Mapping[int, Node],
        *,
        seconds: float,
        most_nodes: int,
        most_bytes: int,
    ) -> None:
        self.own = frozenset(own)
        self.namespace = namespace
        self.places = places
        self.nodes: list[Node] = []
        self._fill = fill
        self._deadline = monotonic() + seconds
        self._most_nodes = most_nodes
        self._bytes_left = most_bytes
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []
        """What has a number: an object that is gone could give its identity to another."""
        self._waiting: deque[int] = deque()

    def ref(self, value: Any) -> Ref:
        """Return a scalar as text; anything else as the number of a node, which is filled by `run`."""
        if type(value) in SCALARS:
            return self.scalar(value)
        number = self._numbers.get(id(value))
        if number is not None:
            return number
        if len(self.nodes) >= self._most_nodes:
            return CUT
        number = self._numbers[id(value)] = len(self.nodes)
        self.nodes.append(Node(CUT))
        self._kept.append(value)
        self._waiting.append(number)
        return number

    def refs(self, label: str, values: Any) -> list[tuple[str, Ref]]:
        """Return the values of a sequence with labels such as `[0]`."""
        return [(f"{label}[{n}]", self.ref(value)) for n, value in enumerate(values)]

    def run(self) -> None:
        """Fill the nodes until none is left, or the time is over."""
        while self._waiting and monotonic() < self._deadline:
            number = self._waiting.popleft()
            value = self._kept[number]
            try:
                self.nodes[number] = self._fill(self, value)
            except Unreadable as exc:
                self.nodes[number] = uncomparable(value, str(exc))
            except Exception as exc:  # whatever a property, a reducer or a C type raises
                self.nodes[number] = uncomparable(value, f"{type(exc).__name__} when it is read")

    def scalar(self, value: Any) -> str:
        """Return a value of `SCALARS` as text."""
        kind = type(value)
        if kind is str:
            if len(value) <= LONGEST_TEXT:
                return f"str:{value}"
            digest = self.digest(value.encode(errors="surrogatepass")) if self.has_room(len(value)) else None
            return f"str#{value[:60]}… ({len(value):,} characters) {digest}" if digest else CUT
        if kind is bytes and len(value) > LONGEST_TEXT:
            digest = self.digest(value)
            return f"bytes#{value[:20]!r}… ({len(value):,} bytes) {digest}" if digest else CUT
        if kind is int and value.bit_length() > 4000:
            return f"int:{value:#x}"  # as decimal digits Python refuses it
        return f"{kind.__name__}:{value!r}"

    def digest(self, data: Any) -> str | None:
        """Return a hash of bytes; None where there were too many already."""
        if not self.has_room(len(data)):
            return None
        self._bytes_left -= len(data)
        return hashlib.blake2b(data, digest_size=12).hexdigest()

    def has_room(self, size: int) -> bool:
        """Return whether so many bytes may be hashed; asked before they are copied."""
        return size <= self._bytes_left


def uncomparable(value: Any, why: str) -> Node:
    """Return the node of a value of which only the type can be compared."""
    return Node(f"?{type_name(type(value))}|{why}")


def module_of(cls: type) -> str:
    """Return the module that a class says it is of."""
    try:
        module = _module_of(cls)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def qualname_of(cls: type) -> str:
    """Return a class's qualified name."""
    return str(_qualname_of(cls))


def type_name(cls: type) -> str:
    """Return a class's name as messages have it."""
    return str(_name_of(cls))


def full_name(cls: type) -> str:
    """Return module and qualified name of a class."""
    return f"{module_of(cls)}.{qualname_of(cls)}"


def is_found_as(value: Any, module: Any, qualname: Any) -> bool:
    """Return whether an imported module has just this object by that name."""
    if type(module) is not str or type(qualname) is not str:
        return False
    found: Any = sys.modules.get(module)
    if found is None:
        return False
    for part in qualname.split("."):
        names = members_of(found) if isinstance(found, type) else getattr(found, "__dict__", {})
        if part not in names:
            return False
        found = names[part]
    return found is value


def external(module: str, name: str) -> Node:
    """Return the node of something that an imported module has by that name."""
    return Node(f"external:{module}:{name}")
