"""Describes values of types that are known by name, without importing what has them; used by describe."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from dnworker_jupyter.export.proof.definitions import SUBCLASSES
from dnworker_jupyter.export.proof.nodes import (
    CUT,
    FLAT,
    MOST_ITEMS,
    TOO_LARGE,
    Node,
    Ref,
    Unreadable,
    Walk,
    external,
    full_name,
    mro_of,
    type_name,
)

Filler = Callable[[Walk, Any], Node]

_ENDS = "it is used up by reading"
_RUNS = "it belongs to this process"

# Types, or bases of types, whose values say nothing that another process could have
_UNCOMPARABLE: dict[str, str] = {
    **dict.fromkeys(
        ("builtins.generator", "builtins.coroutine", "builtins.async_generator"),
        _ENDS,
    ),
    **dict.fromkeys(
        ("_io.FileIO", "_io.TextIOWrapper", "_io.BufferedReader", "_io.BufferedWriter", "_io.BufferedRandom",
         "socket.socket", "_socket.socket", "threading.Thread", "_asyncio.Future", "_asyncio.Task",
         "asyncio.futures.Future", "builtins.frame", "builtins.traceback", "asyncio.events.AbstractEventLoop",
         "concurrent.futures._base.Executor", "concurrent.futures._base.Future", "subprocess.Popen",
         "ssl.SSLContext", "_thread._local", "mmap.mmap", "select.epoll", "contextvars.Context"),
        _RUNS,
    ),
}  # fmt: skip

_WORKERS = frozenset(
    {
        "dnworker.workers.registry.HandlerRegistry",
        "dnworker_jupyter.live.handles.CurrentWorker",
        "dreadnode.capabilities.worker.Worker",
    }
)
"""Workers have their handlers compared by themselves, and their state is that of a run."""

_OF_SYS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__", "path", "argv", "modules",
           "meta_path", "path_hooks", "path_importer_cache", "warnoptions")  # fmt: skip

_SHOWN_BY_REPR = frozenset(
    {
        "builtins.range", "datetime.date", "datetime.timedelta", "datetime.timezone",
        "decimal.Decimal", "fractions.Fraction", "uuid.UUID", "pathlib.PosixPath", "pathlib.WindowsPath",
        "pathlib.PurePosixPath", "pathlib.PureWindowsPath", "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "pathlib._local.PurePosixPath", "pathlib._local.PureWindowsPath", "zoneinfo.ZoneInfo",
        "ipaddress.IPv4Address", "ipaddress.IPv6Address", "ipaddress.IPv4Network", "ipaddress.IPv6Network",
    }
)  # fmt: skip
"""Types whose text is the whole value; their `__repr__` is not the notebook's."""


def known_node(walk: Walk, value: Any) -> Node | None:
    """Return the node of a value whose type, or a base of it, is known by name; else None."""
    cls = type(value)
    name = full_name(cls)
    if name in _SHOWN_BY_REPR:
        return Node(f"repr:{value!r}")
    if name in _BY_NAME:
        return _BY_NAME[name](walk, value)
    if (place := walk.places.get(id(value))) is not None:
        return place
    for base in mro_of(cls):
        base_name = full_name(base)
        if base_name in _UNCOMPARABLE:
            raise Unreadable(_UNCOMPARABLE[base_name])
        if base_name in _WORKERS:
            return Node("worker")
        if base is logging.Logger:
            return Node(f"logger:{value.name}:{value.level}")
    if name.startswith(("builtins.", "itertools.")) and any("__next__" in vars(b) for b in mro_of(cls)[:-1]):
        raise Unreadable(_ENDS)
    return None


def places() -> dict[int, Node]:
    """Return what every process has in the same place, with a content of its own, by its identity."""
    found = {id(sys.__dict__[n]): external("sys", n) for n in _OF_SYS if sys.__dict__.get(n) is not None}
    return {**found, id(os.environ): external("os", "environ")}


def _pattern(walk: Walk, value: Any) -> Node:
    return Node("pattern", False, [(".pattern", walk.ref(value.pattern)), (".flags", walk.ref(value.flags))])


def _lock(walk: Walk, value: Any) -> Node:
    held = "held" if repr(value).startswith("<locked") else "free"
    return Node(f"lock:{type_name(type(value))} {held}", True)


def _named(walk: Walk, value: Any) -> Node:
    return Node(
        f"named:{type_name(type(value))} {value.__name__ if hasattr(value, '__name__') else value.name}"
    )


def _module(walk: Walk, value: Any) -> Node:
    name = value.__dict__.get("__name__")
    return Node("module:of the notebook" if name in walk.own else f"module:{name}")


def _attributes(kind: str, *names: str, identity: bool = False) -> Filler:
    """Return a filler for values that consist of these attributes."""

    def fill(walk: Walk, value: Any) -> Node:
        return Node(kind, identity, [(f".{name}", walk.ref(getattr(value, name))) for name in names])

    return fill


def _cell(walk: Walk, value: Any) -> Node:
    try:
        return Node("cell", True, [("", walk.ref(value.cell_contents))])
    except ValueError:
        return Node("cell:empty", True)


def _builtin(walk: Walk, value: Any) -> Node:
    """Return a function of C: by its name, or as a method of the value that it is bound to."""
    owner = value.__self__
    if owner is None or type(owner) is type(sys):
        return external(str(value.__module__), value.__qualname__)
    return Node(f"method:{value.__name__}", False, [(".__self__", walk.ref(owner))])


def _descriptor(walk: Walk, value: Any) -> Node:
    return external(full_name(value.__objclass__), value.__name__)


def _cached(walk: Walk, value: Any) -> Node:
    """Return a function behind `lru_cache`; what is in the cache says only what was called."""
    attributes = dict(value.__dict__)
    parameters = attributes.pop("cache_parameters")()
    left_out = ("__module__", "__name__", "__qualname__")  # as those of the function within
    items = [(f".{name}", walk.ref(item)) for name, item in attributes.items() if name not in left_out]
    return Node(f"lru_cache:{parameters!r}", True, items)


def _weak(walk: Walk, value: Any) -> Node:
    return Node(f"weakref:{type_name(type(value))}", False, [("()", walk.ref(value()))])


def _weak_set(walk: Walk, value: Any) -> Node:
    return Node("WeakSet", True, [("{}", walk.ref(item)) for item in value])


def _proxy(walk: Walk, value: Any) -> Node:
    raise Unreadable("a weak proxy hides what it stands for")


def _mapping_proxy(walk: Walk, value: Any) -> Node:
    return Node("mappingproxy", True, [("", walk.ref(value | {}))])


def _type_variable(walk: Walk, value: Any) -> Node:
    names = (
        "__bound__",
        "__constraints__",
        "__covariant__",
        "__default__",
        "__contravariant__",
        "__infer_variance__",
    )
    items: list[tuple[str, Ref]] = [
        (f".{n}", walk.ref(getattr(value, n))) for n in names if hasattr(value, n)
    ]
    return Node(f"{type_name(type(value))}:{value.__name__}", True, items)


def _array(walk: Walk, value: Any) -> Node:
    """Return numpy's array: its data as a hash; objects one by one."""
    head = f"array:{value.dtype.str if value.dtype.names is None else value.dtype.descr} {value.shape}"
    head += "" if value.flags.writeable else " read-only"
    items: list[tuple[str, Ref]] = []
    if value.size > MOST_ITEMS and value.dtype.hasobject:
        raise Unreadable(TOO_LARGE)
    if value.dtype.hasobject or value.size <= FLAT:
        items += walk.refs("", value.ravel().tolist())
    else:
        digest = walk.digest(value.tobytes()) if walk.has_room(value.nbytes) else None
        items.append((" data", f"data:{digest}" if digest else CUT))
    if type(value.base) is type(value):
        items.append((".base", walk.ref(value.base)))
    return Node(head, True, items)


def _table(walk: Walk, value: Any) -> Node:
    """Return a table of SQLAlchemy: its own text has the columns, and no counter of this process."""
    return Node(f"repr:{re.sub(' at 0x[0-9a-f]+', '', repr(value))}", True)


def _metadata(walk: Walk, value: Any) -> Node:
    """Return a collection of SQLAlchemy's tables: which it has depends on the classes that are defined."""
    return Node("metadata", True, [(f".tables{SUBCLASSES}", walk.scalar(" ".join(sorted(value.tables))))])


def _mapped(walk: Walk, value: Any) -> Node:
    return Node(f"mapped:{value.key}")


def _array_array(walk: Walk, value: Any) -> Node:
    digest = walk.digest(value.tobytes())
    return Node(
        f"array:{value.typecode} {len(value)}", True, [(" data", f"data:{digest}" if digest else CUT)]
    )


def _memory(walk: Walk, value: Any) -> Node:
    digest = walk.digest(value.tobytes()) if walk.has_room(value.nbytes) else None
    return Node(
        f"memory:{value.format} {value.shape}", True, [(" data", f"data:{digest}" if digest else CUT)]
    )


def _counter(walk: Walk, value: Any) -> Node:
    return Node(f"repr:{value!r}", True)


_BY_NAME: dict[str, Filler] = {
    "re.Pattern": _pattern,
    "_regex.Pattern": _pattern,
    "_thread.lock": _lock,
    "_thread.RLock": _lock,
    "builtins.module": _module,
    "builtins.cell": _cell,
    "builtins.slice": _attributes("slice", "start", "stop", "step"),
    "builtins.property": _attributes("property", "fget", "fset", "fdel", "__doc__"),
    "builtins.classmethod": _attributes("classmethod", "__func__"),
    "builtins.staticmethod": _attributes("staticmethod", "__func__"),
    "builtins.method": _attributes("method", "__func__", "__self__"),
    "builtins.builtin_function_or_method": _builtin,
    "builtins.method-wrapper": _attributes("method-wrapper", "__self__", "__name__"),
    "builtins.wrapper_descriptor": _descriptor,
    "builtins.method_descriptor": _descriptor,
    "builtins.classmethod_descriptor": _descriptor,
    "builtins.getset_descriptor": _descriptor,
    "builtins.member_descriptor": _descriptor,
    "builtins.mappingproxy": _mapping_proxy,
    "builtins.memoryview": _memory,
    "functools._lru_cache_wrapper": _cached,
    "contextvars.ContextVar": _named,
    "_contextvars.ContextVar": _named,
    "weakref.ReferenceType": _weak,
    "weakref.KeyedRef": _weak,
    "_weakrefset.WeakSet": _weak_set,
    "weakref.ProxyType": _proxy,
    "weakref.CallableProxyType": _proxy,
    "types.UnionType": _attributes("union", "__args__"),
    "types.GenericAlias": _attributes("alias", "__origin__", "__args__"),
    "typing.Union": _attributes("union", "__args__"),
    "typing.TypeVar": _type_variable,
    "typing.ParamSpec": _type_variable,
    "typing.TypeVarTuple": _type_variable,
    "typing.NewType": _attributes("NewType", "__name__", "__supertype__", identity=True),
    "typing.TypeAliasType": _attributes("type alias", "__name__", "__value__", identity=True),
    "array.array": _array_array,
    "itertools.count": _counter,
    "numpy.ndarray": _array,
    "sqlalchemy.sql.schema.Table": _table,
    "sqlalchemy.sql.schema.MetaData": _metadata,
    "sqlalchemy.orm.decl_api.registry": lambda walk, value: Node("registry", True),
    "sqlalchemy.orm.attributes.InstrumentedAttribute": _mapped,
}
