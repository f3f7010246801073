"""`describe`: what values are, as data that another process can compare; used by prove and child.

Nothing of the values is trusted: `__eq__`, `__repr__`, `__hash__`, `__getattr__` and properties of classes of
the notebook are never called, attributes are read past them, and what cannot be read is said to be so.
"""

from __future__ import annotations

import copyreg
import functools
import marshal
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from dnworker_jupyter.export.proof.definitions import class_node, code_node, function_node
from dnworker_jupyter.export.proof.known import known_node, places
from dnworker_jupyter.export.proof.nodes import (
    CUT,
    FLAT,
    MISSING,
    MOST_ITEMS,
    SCALARS,
    TOO_LARGE,
    Description,
    Node,
    Ref,
    Unreadable,
    Walk,
    is_found_as,
    members_of,
    module_of,
    mro_of,
    type_name,
)

SECONDS = 1.0
MOST_NODES = 200_000
MOST_BYTES = 256 * 1024 * 1024

_REDUCERS = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs_ex__", "__getnewargs__")


def describe(
    namespace: Mapping[str, Any],
    names: Iterable[str],
    own_modules: Collection[str],
    *,
    imported: Mapping[str, tuple[str, str]] | None = None,
    also: Mapping[str, Any] | None = None,
    seconds: float = SECONDS,
) -> Description:
    """Return what the values of some names are; it raises nothing, whatever they are.

    Args:
        namespace: has the values.
        names: in the order in which they are described; one without a value is described as missing.
        own_modules: the modules whose functions and classes are the notebook's: they are described by what
            they consist of, others by their names.
        imported: names that an import binds to an attribute of a module, by module and attribute: while the
            module has this very object there, it is described by that place.
        also: more values, by names that need not be identifiers.
        seconds: after which the rest is left out.
    """

    def current(qualname: str) -> Any:
        places = [namespace, *(vars(sys.modules[m]) for m in own_modules if m in sys.modules)]
        return next((place[qualname] for place in places if qualname in place), None)

    walk = Walk(
        _fill, own_modules, current, places(), seconds=seconds, most_nodes=MOST_NODES, most_bytes=MOST_BYTES
    )
    found: dict[str, Ref] = {}
    for name in names:
        place = (imported or {}).get(name)
        if name not in namespace:
            found[name] = MISSING
        elif place is not None and _is_attribute(namespace[name], *place):
            found[name] = f"external:{place[0]}:{place[1]}"
        else:
            found[name] = walk.ref(namespace[name])
    found |= {name: walk.ref(value) for name, value in (also or {}).items()}
    walk.run()
    _sort_sets(walk.nodes)
    return Description(found, walk.nodes)


def _is_attribute(value: Any, module: str, name: str) -> bool:
    found = sys.modules.get(module)
    return found is not None and found.__dict__.get(name, Ellipsis) is value


def _fill(walk: Walk, value: Any) -> Node:
    """Return the node of a value that is no scalar."""
    cls = type(value)
    if cls in _CONTENTS:
        if (place := walk.places.get(id(value))) is not None:
            return place
        items = _CONTENTS[cls](walk, value)
        if cls is OrderedDict:  # the only one that has attributes
            items += _state(walk, value, mro_of(cls))
        return Node(type_name(cls), cls is not tuple and cls is not frozenset, items)
    if cls is FunctionType:
        return function_node(walk, value)
    if cls is CodeType:
        return code_node(walk, value)
    if type in mro_of(cls):
        return class_node(walk, value)
    return known_node(walk, value) or (
        _member_node(walk, value) if Enum in mro_of(cls) else _instance_node(walk, value)
    )


def _bounded(value: Any, length: Any) -> None:
    if length(value) > MOST_ITEMS:
        raise Unreadable(TOO_LARGE)


def _is_flat(values: Collection[Any]) -> bool:
    return len(values) > FLAT and set(map(type, values)) <= SCALARS


def _flat(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    digest = walk.digest(
        marshal.dumps(value, 2)
    )  # from version 3 on it shows which items are the same object
    return [(f" ({len(value):,} items)", f"data:{digest}" if digest else CUT)]


def _sequence(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    base: Any = list if isinstance_of(value, list) else tuple
    _bounded(value, base.__len__)
    plain = [*base.__iter__(value)]
    return _flat(walk, plain) if _is_flat(plain) else walk.refs("", plain)


def _mapping(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    _bounded(value, dict.__len__)
    ordered = isinstance_of(value, OrderedDict)
    pairs = [*OrderedDict.items(value)] if ordered else [*dict.items(value)]
    if len(pairs) > FLAT and _is_flat([x for pair in pairs for x in pair]):
        return _flat(walk, [x for pair in pairs for x in pair])
    items: list[tuple[str, Ref]] = []
    for number, (key, item) in enumerate(pairs):
        if type(key) in SCALARS:
            text = walk.scalar(key)
            items.append((f"[{text[4:]!r}]" if text.startswith("str:") else f"[{text}]", walk.ref(item)))
        else:
            items += [(f" key {number}", walk.ref(key)), (f"[key {number}]", walk.ref(item))]
    return items


def _default(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    factory = defaultdict.__dict__["default_factory"].__get__(value)
    return [(".default_factory", walk.ref(factory)), *_mapping(walk, value)]


def _set(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    base: Any = set if isinstance_of(value, set) else frozenset
    _bounded(value, base.__len__)
    return [("{}", walk.ref(item)) for item in base.__iter__(value)]


def _deque(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    _bounded(value, deque.__len__)
    longest = deque.__dict__["maxlen"].__get__(value)
    return [(".maxlen", walk.ref(longest)), *walk.refs("", [*deque.__iter__(value)])]


def _scalar_of(base: Any, method: str) -> Any:
    convert = getattr(base, method)
    return lambda walk, value: [("", walk.scalar(convert(value)))]


def _exception(walk: Walk, value: Any) -> list[tuple[str, Ref]]:
    return [(".args", walk.ref(BaseException.__dict__["args"].__get__(value)))]


_CONTENTS: dict[type, Any] = {
    list: _sequence,
    tuple: _sequence,
    defaultdict: _default,  # before dict: the first base that a class has counts
    dict: _mapping,
    OrderedDict: _mapping,
    set: _set,
    frozenset: _set,
    deque: _deque,
    bytearray: lambda walk, value: [("", walk.scalar(bytes(memoryview(value))))],
}
"""Builtin containers, and how their content is read."""

_BASES: dict[type, Any] = {
    **_CONTENTS,
    str: _scalar_of(str, "__str__"),
    int: _scalar_of(int, "__int__"),
    float: _scalar_of(float, "__float__"),
    complex: _scalar_of(complex, "__complex__"),
    bytes: _scalar_of(bytes, "__bytes__"),
    BaseException: _exception,
}
"""Builtin types that classes derive from, and how what they hold is read."""


def isinstance_of(value: Any, base: type) -> bool:
    """Return whether a value is of a class, whatever its `__class__` says."""
    return base in mro_of(type(value))


def _member_node(walk: Walk, value: Any) -> Node:
    """Return a member of an Enum: by its class, name and value."""
    state = _dict_of(value, mro_of(type(value))) or {}
    items = [("", walk.ref(type(value)))]
    items += [(f".{n}", walk.ref(state[n])) for n in ("_name_", "_value_") if n in state]
    return Node("member", False, items)


def _instance_node(walk: Walk, value: Any) -> Node:
    """Return an instance by its class and its state: what its base holds, its attributes and its slots."""
    cls, mro = type(value), mro_of(type(value))
    base = next((b for b in mro if b in _BASES), None)
    items: list[tuple[str, Ref]] = [(" class", walk.ref(cls))]
    if base is None and (reduced := _reduced(walk, value, cls, mro)) is not None:
        return Node(f"instance:{type_name(cls)}", True, items + reduced)
    if base is None and _has_hidden_state(cls):
        raise Unreadable("it has a state that Python code cannot read")
    if base is not None:
        items += _BASES[base](walk, value)
    items += _state(walk, value, mro)
    return Node(f"instance:{type_name(cls)}", True, items)


def _reduced(walk: Walk, value: Any, cls: type, mro: Any) -> list[tuple[str, Ref]] | None:
    """Return what an imported class says that a value consists of; the notebook's classes are not asked."""
    definers = [next(b for b in (*mro, object) if b is object or name in members_of(b)) for name in _REDUCERS]
    registered = next((function for one, function in copyreg.dispatch_table.items() if one is cls), None)
    is_own = any(module_of(b) in walk.own for b in definers)
    if is_own or (registered is None and all(b is object for b in definers)):
        return None
    try:
        reduced = registered(value) if registered else cls.__reduce_ex__(value, 4)  # type: ignore[call-arg, arg-type]
    except Exception:  # it may refuse, as objects do that hold something open
        return None
    if type(reduced) is str:
        return [("", _by_name(cls, value, reduced))]
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        return None
    call, args, state, listed, pairs = (*reduced, None, None, None)[:5]
    items = [(".__reduce__()", walk.ref(call)), *walk.refs("", args)]
    if type(state) is dict:
        items += [(f".{k}", walk.ref(v)) for k, v in state.items() if not _names_own_module(walk, k, v)]
    elif state is not None:
        items.append((" state", walk.ref(state)))
    items += walk.refs(" items", listed or ())
    return items + walk.refs(" entries", pairs or ())


def _by_name(cls: type, value: Any, name: str) -> str:
    """Return where an imported module has this value."""
    of_value = getattr(
        value, "__module__", None
    )  # of an imported type, whose attributes are not the notebook's
    for module in (of_value, module_of(cls), module_of(cls).partition(".")[0], "typing"):
        if is_found_as(value, module, name):
            return f"external:{module}:{name}"
    raise Unreadable("it was made at run time, and only its name is known")


def _dict_of(value: Any, mro: Any) -> dict[str, Any] | None:
    """Return the attributes of an instance, past whatever its class makes of `__dict__`."""
    for base in mro:
        found = members_of(base).get("__dict__")
        if found is None:
            continue
        if type(found) is not GetSetDescriptorType:
            raise Unreadable("its class has a __dict__ of its own")
        state = found.__get__(value)
        return state if isinstance_of(state, dict) else None
    return None


_OF_PYDANTIC = frozenset({"cls_ref", "core_schema", "validator", "serializer", "ns_resolver"})
"""What pydantic's own objects make of their type, with addresses and the names of a whole module in it."""


def _state(walk: Walk, value: Any, mro: Any) -> list[tuple[str, Ref]]:
    items: list[tuple[str, Ref]] = []
    of_asyncio = any(module_of(b) in ("asyncio.locks", "asyncio.queues") for b in mro)
    of_pydantic = module_of(mro[0]).startswith("pydantic.")
    for name, item in dict.items(_dict_of(value, mro) or {}):
        if type(name) is not str or _is_computed(name, mro) or _names_own_module(walk, name, item):
            continue
        if of_asyncio and (name == "_loop" or (type(item) is deque and not item) or item is None):
            continue  # what is bound on the first wait, and nobody who waits
        if of_pydantic and name in _OF_PYDANTIC:
            continue
        items.append((f".{name}", walk.ref(item)))
    for base in mro:
        for name, member in members_of(base).items():
            if of_pydantic and name in _OF_PYDANTIC:
                continue
            if type(member) is not MemberDescriptorType or (
                name[:2] == "__" and "__slots__" not in members_of(base)
            ):
                continue
            try:
                items.append((f".{name}", walk.ref(member.__get__(value))))
            except AttributeError:
                continue  # a slot without a value
    return items


def _names_own_module(walk: Walk, name: Any, item: Any) -> bool:
    """Return whether an attribute is the name of a module of the notebook, which differs here and there."""
    return type(name) is str and name == "__module__" and type(item) is str and item in walk.own


def _is_computed(name: str, mro: Any) -> bool:
    """Return whether an attribute is what a `cached_property` has computed from the others."""
    member = next((members_of(b)[name] for b in mro if name in members_of(b)), None)
    return type(member) is functools.cached_property


def _has_hidden_state(cls: type) -> bool:
    """Return whether instances hold more than attributes and slots, as those of C types do."""
    while cls is not object:
        base = cls.__base__ or object
        pointers = sum(type(m) is MemberDescriptorType for m in members_of(cls).values())
        pointers += cls.__dictoffset__ > 0 and base.__dictoffset__ <= 0
        pointers += cls.__weakrefoffset__ > 0 and base.__weakrefoffset__ <= 0
        word = 8 if sys.maxsize > 2**32 else 4
        if cls.__itemsize__ != base.__itemsize__ or cls.__basicsize__ > base.__basicsize__ + word * pointers:
            return True
        cls = base
    return False


def _sort_sets(nodes: list[Node]) -> None:
    """Give the items of sets an order that does not depend on hashes."""
    known: dict[tuple[int, int], str] = {}

    def text(ref: Ref, depth: int) -> str:
        if isinstance(ref, str):
            return ref
        if (ref, depth) not in known:
            node = nodes[ref]
            inner = [f"{label}={text(item, depth - 1)}" for label, item in node.items] if depth else []
            if _holds_set(node):
                inner.sort()
            known[ref, depth] = "\n".join([node.kind, *inner])
        return known[ref, depth]

    for number, node in enumerate(nodes):
        if _holds_set(node):
            nodes[number] = node._replace(
                items=sorted(node.items, key=lambda item: (item[0], text(item[1], 5)))
            )


def _holds_set(node: Node) -> bool:
    return any(label == "{}" for label, _ in node.items[:2])  # an instance's class may come first
