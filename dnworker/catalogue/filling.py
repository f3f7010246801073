"""`payload_of`: a payload that a schema allows, to be changed and fired: constants, and guesses by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnworker.core.declared import resolved
from dnworker.core.payloads import guess_value

DEEPEST, MOST_VALUES = 12, 300
DEEPEST_LIST = 4
"""Levels to which lists have an item; deeper ones are empty, which ends types that name themselves."""

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}
_WORDS_OF_UNIONS = ("anyOf", "oneOf", "allOf")


def payload_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload with the fields of a schema, of a bounded size, whatever the schema says."""
    found = _Filling(schema).value(dict(schema), "", 0)
    return found if isinstance(found, dict) else {}


class _Filling:
    """Makes one payload, as far as there is room."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._room = MOST_VALUES

    def value(self, schema: Any, name: str, depth: int) -> Any:
        self._room -= 1
        schema = resolved(schema, self._root)
        if self._room < 0 or depth > DEEPEST:
            return None
        if (given := _given(schema)) is not None:
            return given[0]
        for word in _WORDS_OF_UNIONS:
            members = schema.get(word)
            if isinstance(members, list) and members:
                several = (self.value(one, name, depth + 1) for one in members[:10])
                return next((one for one in several if one is not None), None)
        named = schema.get("type")
        named = named[0] if isinstance(named, list) and named else named
        if named == "object" or isinstance(schema.get("properties"), dict):
            return self._object(schema, depth)
        if named == "array":
            items = schema.get("items")
            is_shown = depth < DEEPEST_LIST and isinstance(items, dict)
            return [self.value(items, name.removesuffix("s"), depth + 1)] if is_shown else []
        return _plain(schema, named, name)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        needed = required if isinstance(required, list) else []
        made = {}
        for name, inner in properties.items() if isinstance(properties, dict) else ():
            if self._room > 0 and (name in needed or depth == 0):
                made[str(name)] = self.value(inner, str(name), depth + 1)
        return made


def _given(schema: Mapping[str, Any]) -> tuple[Any] | None:
    """Return a value that the schema itself names; None where it names none."""
    for word in ("const", "default"):
        if word in schema:
            return (schema[word],)
    for word in ("examples", "enum"):
        if isinstance(schema.get(word), list) and schema[word]:
            return (schema[word][0],)
    return None


def _plain(schema: Mapping[str, Any], named: Any, name: str) -> Any:
    match named:
        case "null":
            return None
        case "boolean":
            return False
        case "integer":
            return int(_number(schema))
        case "number":
            return float(_number(schema))
    guess = guess_value(name)
    if named != "string":
        return guess
    return _FORMATS.get(str(schema.get("format"))) or (guess if isinstance(guess, str) else "")


def _number(schema: Mapping[str, Any]) -> float:
    """Return a number within the bounds of a schema, 1 where it may be."""
    number: float = 1
    for word, by in (("minimum", 0), ("exclusiveMinimum", 1)):
        if isinstance(schema.get(word), int | float):
            number = max(number, schema[word] + by)
    for word, by in (("maximum", 0), ("exclusiveMaximum", 1)):
        if isinstance(schema.get(word), int | float):
            number = min(number, schema[word] - by)
    return number
