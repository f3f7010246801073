"""Describes functions and classes: the notebook's by content, others by name; used by describe."""

from __future__ import annotations

import sys
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

from dnworker_jupyter.export.proof.nodes import (
    Node,
    Ref,
    Walk,
    bases_of,
    external,
    full_name,
    is_found_as,
    members_of,
    module_of,
    qualname_of,
    type_name,
)

SUBCLASSES = ".__subclasses__()"
"""The label of the names of a class's subclasses."""
ANNOTATIONS = ".__annotations__"
"""The label of annotations."""

# Flags that change what code does: arguments, generators, coroutines, `generator_stop`
_FLAGS = 0x0002 | 0x0004 | 0x0008 | 0x0020 | 0x0080 | 0x0100 | 0x0200 | 0x800000

_LAZY_ANNOTATIONS = sys.version_info >= (3, 14)

_HEAP = 1 << 9
"""The flag of types that are made at run time."""

_MADE_BY_PYTHON = frozenset(
    {
        "__dict__", "__weakref__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__",
        "__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__",
        "_abc_impl", "__abstractmethods__", "_value2member_map_", "__signature__", "__msgspec_cache__",
    }
)  # fmt: skip
"""Members of a class that are described otherwise, or vary between two runs, as what msgspec remembers."""

# As `planning/carried.py` has them, which imports more than a process has that executes scripts.
_RULES, _CARRIED = "dnworker.patterns", "dnworker_patterns"

_OF_PYDANTIC = frozenset({"__pydantic_fields__", "__pydantic_decorators__", "__pydantic_private__"})
"""The members that pydantic keeps and that say what the class is; the others are made of them."""


def function_node(walk: Walk, function: Any) -> Node:
    """Return a function of the notebook by its code and what it holds, another by its name."""
    module = function.__module__
    if module not in walk.own and is_found_as(function, module, function.__qualname__):
        return external(_RULES if _is_of_rules(module) else module, function.__qualname__)
    attributes = dict(function.__dict__)
    if "rule_key" in attributes and _is_of_rules(function.__globals__["__name__"]):
        return _rule_node(walk, attributes)
    if _is_singledispatch(function):
        return _singledispatch_node(walk, function)
    code = function.__code__
    items: list[tuple[str, Ref]] = [(".__code__", walk.ref(code))]
    items += [(".__name__", walk.ref(function.__name__)), (".__doc__", walk.ref(function.__doc__))]
    items += walk.refs(".__defaults__", function.__defaults__ or ())
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        items.append((f".__kwdefaults__[{name!r}]", walk.ref(value)))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        items.append((f".__closure__[{name!r}]", walk.ref(cell)))
    items += _annotations(walk, function)
    items += [(f".{name}", walk.ref(value)) for name, value in sorted(attributes.items())]
    return Node(f"function:{code.co_name}({', '.join(_parameters(code))})", bool(attributes), items)


def code_node(walk: Walk, code: CodeType) -> Node:
    """Return code without file names and line numbers; what differs in a way that people see comes first."""
    items = [(f".co_consts[{n}]", walk.ref(value)) for n, value in enumerate(code.co_consts)]
    for attribute in ("co_names", "co_varnames", "co_freevars", "co_cellvars"):
        items.append((f".{attribute}", walk.scalar(" ".join(getattr(code, attribute)))))
    table: bytes = getattr(code, "co_exceptiontable", b"")
    items.append((".co_code", f"code:{walk.digest(code.co_code)}"))
    items.append((".co_exceptiontable", f"code:{walk.digest(table)}"))
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
    return Node(f"code:{code.co_name}:{' '.join(map(str, counts))}", False, items)


def _parameters(code: CodeType) -> list[str]:
    count = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[: count + bool(code.co_flags & 4) + bool(code.co_flags & 8)])
    if code.co_flags & 8:
        names[-1] = f"**{names[-1]}"
    if code.co_flags & 4:
        names[count] = f"*{names[count]}"
    return names


def _annotations(walk: Walk, holder: Any) -> list[tuple[str, Ref]]:
    """Return the annotations of a function or class; those that Python has not computed yet stay so."""
    found: Any
    if isinstance(holder, type):
        members = members_of(holder)
        annotate = type.__dict__["__annotate__"].__get__(holder) if _LAZY_ANNOTATIONS else None
        found = members.get("__annotations__", {})
    else:
        annotate = holder.__annotate__ if _LAZY_ANNOTATIONS else None
        found = {} if annotate is not None else holder.__annotations__
    if annotate is not None:
        return [(f"{ANNOTATIONS}.__annotate__", walk.ref(annotate))]
    if type(found) is not dict:
        return [(ANNOTATIONS, walk.ref(found))]
    return [(f"{ANNOTATIONS}[{name!r}]", walk.ref(value)) for name, value in found.items()]


def _is_of_rules(module: str) -> bool:
    """Return whether a module is of `dnworker.patterns`, or the one that a script carries in its place."""
    return module == _CARRIED or module.startswith(f"{_RULES}.")


def _rule_node(walk: Walk, attributes: dict[str, Any]) -> Node:
    """Return a handler under a rule by the rule and what is below it; what waits for it is of one run."""
    items = [(f".{name}", walk.ref(attributes[name])) for name in ("rules", "rule_key", "__wrapped__")]
    return Node("rule", True, items)


def _is_singledispatch(function: Any) -> bool:
    has = function.__dict__
    return function.__code__.co_filename == sys.modules["functools"].__file__ and "registry" in has


def _singledispatch_node(walk: Walk, function: Any) -> Node:
    """Return the function by what is registered; its cache says only what was called."""
    items = [(".__wrapped__", walk.ref(function.__dict__["__wrapped__"]))]
    for cls, implementation in function.__dict__["registry"].items():
        items += [(f".registry[{type_name(cls)}]", walk.ref(implementation))]
        items += [(f".registry keys: {type_name(cls)}", walk.ref(cls))]
    return Node("singledispatch", True, sorted(items, key=lambda item: item[0]))


def class_node(walk: Walk, cls: type) -> Node:
    """Return a class of the notebook by bases, members, annotations and subclasses, another by its name."""
    module, qualname = module_of(cls), qualname_of(cls)
    if module not in walk.own and (is_found_as(cls, module, qualname) or not _is_made_of_python(cls)):
        return external(module, qualname)
    members = members_of(cls)
    items = walk.refs(".__bases__", bases_of(cls))
    if type(cls) is not type:
        items.append((".__class__", walk.ref(type(cls))))
    items += _annotations(walk, cls)
    for name in sorted(n for n in members if type(n) is str):
        if name not in _MADE_BY_PYTHON and not _is_left_out(name, members[name]):
            items.append((f".{name}", walk.ref(members[name])))
    if "_abc_impl" in members:
        items.append((" registered by .register()", walk.scalar(_registered(walk, cls))))
    items.append((SUBCLASSES, walk.scalar(_subclasses(walk, cls))))
    return Node(f"class:{qualname}", True, items)


def _is_left_out(name: str, member: Any) -> bool:
    if name.startswith("__pydantic_") and name not in _OF_PYDANTIC:
        return True
    if name.startswith("_sa_") or name == "__mapper__":
        return True  # SQLAlchemy's, made of the class's table and attributes
    return type(member) in (MemberDescriptorType, GetSetDescriptorType)


def _is_made_of_python(cls: type) -> bool:
    """Return whether a class that cannot be found by its name consists of something that can be described."""
    if not cls.__flags__ & _HEAP:
        return False
    return "<locals>" in qualname_of(cls) or any(type(m) is FunctionType for m in members_of(cls).values())


def _subclasses(walk: Walk, cls: type) -> str:
    """Return the names of the notebook's direct subclasses, but of those that were defined again."""
    found: list[type] = type.__subclasses__(cls)
    own = [(qualname_of(one), one) for one in found if module_of(one) in walk.own]
    return " ".join(sorted({name for name, one in own if walk.namespace(name) is one}))


def _registered(walk: Walk, cls: type) -> str:
    import _abc  # type: ignore[import-not-found]

    registry = _abc._get_dump(cls)[0]
    found = [one for ref in registry if (one := ref()) is not None]
    return " ".join(sorted(qualname_of(o) if module_of(o) in walk.own else full_name(o) for o in found))
