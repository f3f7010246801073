"""Takes values apart without running any of their code; used where state is shown and compared.

A value is somebody else's object. Its class may have replaced `__repr__`, `__len__`, `__iter__`, `__eq__`,
`__class__` or `__getattribute__`, and its metaclass `__eq__` and `__hash__`. So nothing here calls a method
that such a class may have: classes are told apart by identity, and the methods are those of `dict`, `list`
and so on themselves. Only values of libraries that are told apart by their exact class run code of these.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import pathlib
import re
import sys
import types
import uuid
import zoneinfo
from collections import deque
from itertools import islice
from typing import Any

from dnworker.core.text import shorten, valid_text

LONGEST_TYPE = 100
"""Characters of the name of a class."""

Kind = str
"""What a value is: one of `_KINDS`, or `enum`, `array`, `frame`, `known`, `code`, `object` or `opaque`."""

_KINDS: dict[type, Kind] = {
    type(None): "NoneType",
    bool: "bool",
    int: "int",
    float: "float",
    complex: "complex",
    str: "str",
    bytes: "bytes",
    bytearray: "bytearray",
    dict: "dict",
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    deque: "deque",
}
_BY_ID = {id(kind): name for kind, name in _KINDS.items()}
_CLASSES: dict[Kind, Any] = {name: kind for kind, name in _KINDS.items()}

MAPPING, SEQUENCES, SETS = "dict", ("list", "tuple", "deque"), ("set", "frozenset")
ATOMS = ("NoneType", "bool", "int", "float", "complex", "str", "bytes")

_TEXT_OF_KNOWN: dict[int, Any] = {
    id(kind): kind.__repr__
    for kind in (
        datetime.date,
        datetime.timedelta,
        datetime.timezone,
        decimal.Decimal,
        fractions.Fraction,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        pathlib.WindowsPath,
        pathlib.PureWindowsPath,
        uuid.UUID,
        range,
        re.Pattern,
        zoneinfo.ZoneInfo,
        type(Ellipsis),
    )
}
_TIMED = {id(datetime.datetime): datetime.datetime.__repr__, id(datetime.time): datetime.time.__repr__}
_ZONES = {id(type(None)), id(datetime.timezone), id(zoneinfo.ZoneInfo)}
_CODE = {
    id(kind)
    for kind in (
        types.FunctionType,
        types.BuiltinFunctionType,
        types.MethodType,
        types.ModuleType,
        types.CodeType,
    )
}

_MRO: Any = type.__dict__["__mro__"]
_NAME: Any = type.__dict__["__name__"]
_PARTS: Any = type.__dict__["__dict__"]


def type_name(value: object) -> str:
    """Return the name of a value's class, whatever its metaclass says."""
    cls = type(value)
    return _BY_ID.get(id(cls)) or shorten(valid_text(_NAME.__get__(cls)), LONGEST_TYPE)


def kind_of(value: object) -> Kind:
    """Return what a value is; an instance of a subclass of `dict` or `list` is one, too."""
    cls = type(value)
    found = _BY_ID.get(id(cls))
    if found is not None:
        return found
    if id(cls) in _TEXT_OF_KNOWN or (id(cls) in _TIMED and id(type(value.tzinfo)) in _ZONES):  # type: ignore[attr-defined]  # a datetime or a time
        return "known"
    if id(cls) in _CODE or issubclass(cls, type):
        return "code"
    if _is_of(type(cls), enum.EnumMeta):
        return "enum"
    if array_type(cls) is not None:
        return "array"
    if frame_type(cls) is not None:
        return "frame"
    for base in _MRO.__get__(cls):
        if (found := _BY_ID.get(id(base))) is not None:
            return found
    return "object" if _has_attributes(cls) else "opaque"


def _is_of(cls: type, base: type) -> bool:
    return any(one is base for one in _MRO.__get__(cls))


# -- texts and numbers ---------------------------------------------------------------------------------


def plain(value: Any, kind: Kind, longest: int | None = None) -> Any:
    """Return an atom as one of exactly the class of its kind; text and bytes cut to `longest`."""
    match kind:
        case "str":
            return str.__getitem__(value, slice(longest))
        case "bytes":
            return bytes.__getitem__(value, slice(longest))
        case "int":
            return int.__index__(value)
        case "float":
            return float.__float__(value)
        case "complex":
            return complex.__complex__(value) if sys.version_info >= (3, 11) else value
    return value


def length_of(value: Any, kind: Kind) -> int | None:
    """Return how many items, characters or bytes a value has; None for what has no length."""
    size = getattr(_CLASSES.get(kind), "__len__", None)
    return None if size is None else size(value)


def text_of(value: Any, kind: Kind, longest: int = 200) -> str:
    """Return what has no parts as text of at most about `longest` characters; empty where there is none."""
    match kind:
        case "str":
            return quoted(plain(value, kind, longest)) + ("…" if str.__len__(value) > longest else "")
        case "bytes" | "bytearray":
            cls: Any = bytes if kind == "bytes" else bytearray
            return repr(bytes(cls.__getitem__(value, slice(longest)))) + (
                "…" if cls.__len__(value) > longest else ""
            )
        case "int":
            return _number(plain(value, kind))
        case "NoneType" | "bool" | "float" | "complex":
            return repr(plain(value, kind))
        case "enum":
            return shorten(f"{type_name(value)}.{_enum_name(value)}", longest)
        case "known":
            return shorten(valid_text(_known(value)), longest)
        case "array" | "frame":
            return shorten(valid_text(_guarded(_values_of_array, value)), longest) if kind == "array" else ""
        case "code":
            return shorten(_name_of_code(value), longest)
    return ""


def quoted(text: str) -> str:
    """Return text in double quotes, with everything escaped that is not printable."""
    shown = repr(valid_text(text))
    if shown[0] == '"':
        return shown
    return '"' + shown[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def _number(value: int) -> str:
    bits = value.bit_length()
    return repr(value) if bits <= 256 else f"a number of {bits:,} bits"


def _known(value: Any) -> str:
    cls = type(value)
    try:
        made: str = (_TEXT_OF_KNOWN.get(id(cls)) or _TIMED[id(cls)])(value)
    except ValueError:  # a number in it has too many digits
        return ""
    return made


def _enum_name(value: object) -> str:
    name = (_own_dict(value) or {}).get("_name_")
    return valid_text(name[:LONGEST_TYPE]) if type(name) is str else "?"


def _name_of_code(value: Any) -> str:
    if issubclass(type(value), type):
        return f"class {_NAME.__get__(value)}"
    if type(value) is types.MethodType:
        value = value.__func__
    name = getattr(value, "__name__", "") if id(type(value)) in _CODE else ""
    return valid_text(name[:LONGEST_TYPE]) if type(name) is str else ""


# -- parts ---------------------------------------------------------------------------------------------


def pairs_of(value: Any, most: int | None = None) -> list[tuple[Any, Any]]:
    """Return the first pairs of a dict, or of an instance of a subclass; all of them by default."""
    return list(islice(dict.items(value), most))


def items_of(value: Any, kind: Kind, most: int | None = None) -> list[Any]:
    """Return the first items of a list, tuple, deque or set, or of an instance of a subclass."""
    return list(islice(_CLASSES[kind].__iter__(value), most))


def attributes_of(value: object, most: int | None = None) -> list[tuple[Any, Any]]:
    """Return the first attributes that an object holds itself, in its `__dict__` and in slots."""
    found = pairs_of(own, most) if (own := _own_dict(value)) is not None else []
    for cls in reversed(_MRO.__get__(type(value))):
        parts = _PARTS.__get__(cls)
        if "__slots__" not in parts:
            continue
        for name, part in [*parts.items()]:
            if most is not None and len(found) >= most:
                return found
            if type(part) is types.MemberDescriptorType:
                try:
                    found.append((name, part.__get__(value, type(value))))
                except AttributeError:  # not set yet
                    continue
    return found


def _own_dict(value: object) -> dict[Any, Any] | None:
    for cls in _MRO.__get__(type(value)):
        found = _PARTS.__get__(cls).get("__dict__")
        if found is not None:  # a class may have put something else there
            own = found.__get__(value) if type(found) is types.GetSetDescriptorType else None
            return own if type(own) is dict else None
    return None


def _has_attributes(cls: type) -> bool:
    return any(
        "__slots__" in parts or type(parts.get("__dict__")) is types.GetSetDescriptorType
        for parts in map(_PARTS.__get__, _MRO.__get__(cls)[:-1])
    )


# -- arrays and frames ---------------------------------------------------------------------------------


def array_type(cls: type) -> Any:
    """Return numpy's `ndarray` where a class is that; None for every other, and without numpy."""
    numpy = sys.modules.get("numpy")
    found = None if numpy is None else _names_in(numpy).get("ndarray")
    return found if found is not None and cls is found else None


def frame_type(cls: type) -> Any:
    """Return the class where it is pandas' `DataFrame` or `Series`; None for every other."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    parts = _names_in(pandas)
    return next((cls for name in ("DataFrame", "Series") if parts.get(name) is cls), None)


def _names_in(module: Any) -> dict[str, Any]:
    return vars(module) if type(module) is types.ModuleType else {}


def shape_of(value: Any, kind: Kind) -> str:
    """Return shape and type of an array or a frame as text; empty where the library does not say."""
    return _guarded(_shape_of_array if kind == "array" else _shape_of_frame, value)


def _guarded(describe: Any, value: Any) -> str:
    try:
        made: str = describe(value)
    except Exception:  # somebody else's library
        return ""
    return made


def _shape_of_array(value: Any) -> str:
    return f"shape {value.shape}, {value.dtype}, {value.nbytes:,} bytes"


def _values_of_array(value: Any) -> str:
    if value.dtype.kind not in "biufc":
        return ""
    first = value.flat[:6].tolist()
    return f"[{', '.join(map(repr, first))}{', …' if value.size > len(first) else ''}]"


def _shape_of_frame(value: Any) -> str:
    rows, *columns = value.shape
    names = f", {columns[0]:,} columns" if columns else f", {value.dtype}"
    return f"{rows:,} rows{names}"
