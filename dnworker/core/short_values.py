"""Short text for the value of a variable, by the rules of Python alone; errors show locals by it.

A value is somebody's object: only the exact types of Python's own are looked into, and no method of any other
class is called, for one that does not return could not be interrupted.
"""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from dnworker.core.envelope import EventEnvelope, bytes_of_payload
from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import valid_text

LONGEST_VALUE = 200
"""Characters of a value's text."""

ITEMS_SHOWN = 8
DEPTH = 4
_DIGITS = 60  # of an integer
_DECIMAL_BYTES = 400
_PAYLOAD_BYTES = 100_000  # of an event: a larger one is not parsed for this
_NAME = 60  # characters of the name of a class, function or module

_CLASS_NAME: Any = type.__dict__["__name__"]
_FUNCTION_NAME: Any = types.FunctionType.__dict__["__name__"]

_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}

_SMALL: tuple[type, ...] = (
    bool,
    float,
    complex,
    type(None),
    type(...),
    type(NotImplemented),
    dt.date,
    dt.timedelta,
    uuid.UUID,
    range,
)
"""Types whose `repr` is short and runs no other code, however the object was made."""

_PATHS: tuple[type, ...] = (
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    pathlib.WindowsPath,
    pathlib.PureWindowsPath,
)


def short_value(value: object, name: str = "") -> str:
    """Return a value as text of at most 200 characters; one whose name is that of a secret is masked."""
    if is_secret(name) and value is not None:
        return MASK
    try:
        return _cut(valid_text(_Shortener().text(value, DEPTH)))
    except Exception as exc:  # a container that another thread changes meanwhile
        return f"<{type_text(value)}: {_CLASS_NAME.__get__(type(exc))}>"


def type_text(value: object) -> str:
    """Return the name of a value's class, whatever its metaclass says."""
    name: str = _CLASS_NAME.__get__(type(value))
    return valid_text(name[:_NAME])


def is_code(value: object) -> bool:
    """Return whether a value is a function, class or module, and not data."""
    return issubclass(type(value), types.FunctionType | types.BuiltinFunctionType | types.ModuleType | type)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


class _Shortener:
    """Makes text of one value; what is longer than what is shown is not even looked at."""

    def __init__(self) -> None:
        self._left = LONGEST_VALUE

    def text(self, value: object, depth: int) -> str:
        made = self._made(value, depth)
        self._left -= len(made)
        return made

    def _made(self, value: object, depth: int) -> str:
        kind = type(value)
        if kind in _LEAVES:
            return _LEAVES[kind](value)
        if kind in _BRACKETS:
            return self._items(value, depth)
        if kind is dict:
            return self._mapping(value, depth)  # type: ignore[arg-type]  # its exact type was looked at
        if kind is EventEnvelope:
            return self._event(value, depth)  # type: ignore[arg-type]  # likewise
        return _opaque(value)

    def _items(self, value: Any, depth: int) -> str:
        opening, closing = _BRACKETS[type(value)]
        if depth == 0:
            return f"{opening}...{closing}" if value else f"{opening}{closing}"
        shown = self._first(value, lambda item: self.text(item, depth - 1), len(value))
        comma = "," if type(value) is tuple and len(value) == 1 else ""
        if not value and type(value) is set:
            return "set()"
        return f"{opening}{shown}{comma}{closing}"

    def _mapping(self, value: dict[Any, Any], depth: int) -> str:
        if depth == 0:
            return "{...}" if value else "{}"

        def pair(item: tuple[Any, Any]) -> str:
            key, held = item
            name = key if type(key) is str else ""
            text = (
                MASK if is_secret(name[:LONGEST_VALUE]) and held is not None else self.text(held, depth - 1)
            )
            return f"{self.text(key, depth - 1)}: {text}"

        return f"{{{self._first(value.items(), pair, len(value))}}}"

    def _event(self, event: EventEnvelope, depth: int) -> str:
        is_small = bytes_of_payload(event) <= _PAYLOAD_BYTES
        payload = self.text(event.payload, max(0, depth - 1)) if is_small else "{...}"
        return f"<event #{event.seq} {event.kind} {payload}>"

    def _first(self, items: Iterable[Any], text_of: Callable[[Any], str], count: int) -> str:
        shown = []
        for item in islice(items, ITEMS_SHOWN):
            if self._left <= 0:
                break
            shown.append(text_of(item))
        more = count - len(shown)
        return ", ".join([*shown, *([f"... {more:,} more"] if more else [])])


def _of_integer(value: Any) -> str:
    bits = value.bit_length()
    return repr(value) if bits <= 3 * _DIGITS else f"<int of {bits:,} bits>"


def _of_decimal(value: Any) -> str:
    return repr(value) if decimal.Decimal.__sizeof__(value) < _DECIMAL_BYTES else "<Decimal>"


def _of_text(value: Any) -> str:
    count = len(value)
    if count <= LONGEST_VALUE - 2:
        return repr(value)
    return f"{value[: LONGEST_VALUE // 2]!r}... {count:,} {'characters' if type(value) is str else 'bytes'}"


def _of_bytearray(value: Any) -> str:
    return f"bytearray({_of_text(bytes(value[:LONGEST_VALUE]))}) of {len(value):,} bytes"


def _of_function(value: Any) -> str:
    return f"<function {valid_text(_FUNCTION_NAME.__get__(value)[:_NAME])}>"


def _of_class(value: Any) -> str:
    return f"<class {valid_text(_CLASS_NAME.__get__(value)[:_NAME])}>"


def _of_module(value: Any) -> str:
    name = types.ModuleType.__getattribute__(value, "__dict__").get("__name__")
    return f"<module {valid_text(name[:_NAME])}>" if type(name) is str else "<module>"


def _of_time(value: Any) -> str:
    if type(value.tzinfo) in (type(None), dt.timezone):
        return repr(value)
    return f"{value.replace(tzinfo=None)!r} of a time zone"  # which may be anybody's object


def _opaque(value: object) -> str:
    """Return the name of a class, and for one derived of a container how much it holds."""
    kind = type(value)
    if issubclass(kind, type):
        return _of_class(value)
    for base in (list, tuple, dict, set, frozenset, deque, str, bytes):
        if issubclass(kind, base):
            return f"<{type_text(value)} of {base.__len__(value):,}>"  # type: ignore[arg-type]  # it is one
    return f"<{type_text(value)}>"


_LEAVES: dict[type, Callable[[Any], str]] = {
    **dict.fromkeys(_SMALL, repr),
    **dict.fromkeys(_PATHS, lambda path: repr(str(path))),
    int: _of_integer,
    str: _of_text,
    bytes: _of_text,
    bytearray: _of_bytearray,
    dt.datetime: _of_time,
    dt.time: _of_time,
    decimal.Decimal: _of_decimal,
    types.FunctionType: _of_function,
    types.ModuleType: _of_module,
    type: _of_class,
}
