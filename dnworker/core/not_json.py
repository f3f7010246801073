"""Says which field of a payload JSON has no form for, and how the value gets one; `envelope` asks.

Nothing of a strange value is called: what it is, its class and the modules of that tell. Packages such as
numpy and pandas are known by name and not imported.
"""

from __future__ import annotations

import math
from typing import Any

from dnworker.core.text import is_valid_text, kind_of

DEEPEST = 200

LONGEST_KEY = 80

_WAYS = {
    ("numpy", "ndarray"): "{}.tolist()",
    ("numpy", "generic"): "{}.item()",
    ("pandas", "DataFrame"): '{}.to_dict("records")',
    ("pandas", "Series"): "{}.tolist()",
    ("pandas", "Index"): "{}.tolist()",
    ("pandas", "NaTType"): "None",
    ("pandas", "NAType"): "None",
    ("pandas", "Timedelta"): "{}.total_seconds()",
    ("datetime", "date"): "{}.isoformat()",
    ("datetime", "time"): "{}.isoformat()",
    ("datetime", "timedelta"): "{}.total_seconds()",
    ("decimal", "Decimal"): "str({})",
    ("fractions", "Fraction"): "float({})",
    ("uuid", "UUID"): "str({})",
    ("pathlib", "PurePath"): "str({})",
    ("enum", "Enum"): "{}.value",
    ("builtins", "set"): "sorted({})",
    ("builtins", "frozenset"): "sorted({})",
    ("builtins", "bytes"): "{}.decode()",
    ("builtins", "bytearray"): "{}.decode()",
    ("builtins", "coroutine"): "await {}",
    ("builtins", "generator"): "list({})",
    ("builtins", "dict_keys"): "list({})",
    ("builtins", "dict_values"): "list({})",
    ("builtins", "map"): "list({})",
    ("builtins", "range"): "list({})",
    ("builtins", "BaseException"): "str({})",
    ("torch", "Tensor"): "{}.tolist()",
    ("pydantic", "BaseModel"): '{}.model_dump(mode="json")',
    ("dnworker", "EventEnvelope"): "{}.payload",
}
"""How a value gets a form in JSON, by the package and the class of it or of what it derives from."""

_OF_WHOLE = {
    ("pandas", "Series"): "{}.to_dict()",
    ("pandas", "DataFrame"): '{{"rows": {}.to_dict("records")}}',
}
"""Likewise, of a whole payload, which is an object."""


def why_not_json(payload: object, name: str = "payload") -> str | None:
    """Name the first field of a payload that JSON has no form for; None where there is none."""
    return _why(payload, name, 0, {})


def way_to_json(value: object, *, as_payload: bool = False) -> str:
    """Return `; use ...` for a value that there is a way for, else nothing."""
    kind = type(value)
    for base in type.__dict__["__mro__"].__get__(kind):
        module, name = type.__dict__["__module__"].__get__(base), type.__dict__["__name__"].__get__(base)
        package = module.partition(".")[0] if type(module) is str else ""
        way = (_OF_WHOLE.get((package, name)) if as_payload else None) or _WAYS.get((package, name))
        if way is not None:
            return f"; use {way.format('value')}" if way != "None" else "; use None"
        if "__dataclass_fields__" in type.__dict__["__dict__"].__get__(base):
            return "; use dataclasses.asdict(value)"
    if as_payload and kind is str:
        return "; use json.loads(value) if that is JSON"
    return '; name it: {"items": [...]}' if as_payload and kind in (list, tuple) else ""


def _why(value: Any, path: str, depth: int, above: dict[int, str]) -> str | None:
    if id(value) in above:
        return f"{path} is {above[id(value)]} again: a circle, which JSON has no form for"
    if depth > DEEPEST:
        return f"{path[:40]}... is nested deeper than {DEEPEST} levels"
    match value:
        case str():
            return None if is_valid_text(value) else f"{path} has a lone surrogate, which is not text"
        case bool() | None | int():
            return None
        case float():
            if math.isfinite(value):
                return None
            return f"{path} is {value}, which JSON has no form for; use None"
        case dict():
            pairs = [(f"{path}.{key}"[: len(path) + LONGEST_KEY], item) for key, item in value.items()]
            bad = next((k for k in value if not isinstance(k, str | int | float | bool | None)), None)
            if bad is not None:
                return f"{path} has the key {bad!r:.80}; JSON keys are text"
        case list() | tuple():
            pairs = [(f"{path}[{n}]", item) for n, item in enumerate(value)]
        case _:
            return f"{path} is {kind_of(value)}, which JSON has no form for{way_to_json(value)}"
    inner = {**above, id(value): path}
    return next((why for p, v in pairs if (why := _why(v, p, depth + 1, inner)) is not None), None)
