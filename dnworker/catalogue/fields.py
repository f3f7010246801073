"""`observe`: the fields of recorded payloads with their types over time; `drift` and the catalogue read it.

All is bounded: payloads are hostile. An object with very many keys counts as a map, whose keys are one path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

DEEPEST = 8
MOST_KEYS = 200
"""Keys of one object; one with more is a map, and its values count as those of one field, `*`."""
ITEMS_LOOKED_AT = 20
"""Values of a list or of a map that are looked at."""
MOST_PATHS = 1_000
"""Fields of one kind that are followed."""
LONGEST_KEY = 100

Path = tuple[str, ...]
Types = frozenset[str]

EVERY_ITEM, EVERY_KEY = "[]", "*"

WORDS = {
    "null": "null",
    "boolean": "a boolean",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "an object",
}


class Recorded(NamedTuple):
    """One recorded event: its number, id and time, and its payload."""

    seq: int
    event_id: str
    at: datetime
    payload: dict[str, Any]


class FieldHistory:
    """One field over the recorded events: which types it had in which of them; not where it was null."""

    def __init__(self) -> None:
        self.types: list[tuple[int, Types]] = []
        """The position of an event, and the types that the field had in it."""
        self.was_null = False
        self.present: list[int] = []
        """The positions of the events that have the field, also where it is null."""

    @property
    def all_types(self) -> Types:
        """Every type that the field had."""
        found = frozenset[str]().union(*(types for _, types in self.types))
        return found | {"null"} if self.was_null else found


class Observed:
    """Recorded events of one kind, oldest first, and what their fields were."""

    def __init__(self, events: Sequence[Recorded]) -> None:
        self.events = events
        self.fields: dict[Path, FieldHistory] = {}
        self.is_cut = False
        """Whether there are more fields than are followed."""

    def always(self, path: Path) -> bool:
        """Return whether every event that has the object around a field has the field."""
        above = self.fields.get(path[:-1])
        around = len(self.events) if len(path) == 1 else 0 if above is None else len(above.present)
        return len(self.fields[path].present) >= around

    def note(self, position: int, path: Path, types: Types) -> bool:
        """Note the types of a field in an event; returns whether it is followed."""
        field = self.fields.get(path)
        if field is None:
            if len(self.fields) >= MOST_PATHS:
                self.is_cut = True
                return False
            field = self.fields[path] = FieldHistory()
        if not field.present or field.present[-1] != position:
            field.present.append(position)
        if "null" in types:
            field.was_null = True
            types -= {"null"}
        if not types:
            return True
        if field.types and field.types[-1][0] == position:
            field.types[-1] = position, field.types[-1][1] | types
        else:
            field.types.append((position, types))
        return True


def observe(events: Iterable[Recorded]) -> Observed:
    """Return what the fields of recorded events, oldest first, were."""
    observed = Observed([*events])
    for position, event in enumerate(observed.events):
        _walk(observed, position, event.payload)
    return observed


def _walk(observed: Observed, position: int, payload: dict[str, Any]) -> None:
    waiting: list[tuple[Path, Any]] = [((), payload)]
    while waiting:
        path, value = waiting.pop()
        for step, inner in _inner(value):
            below = (*path, step)
            is_followed = observed.note(position, below, frozenset({type_of(inner)}))
            if is_followed and isinstance(inner, dict | list) and len(below) < DEEPEST:
                waiting.append((below, inner))


def _inner(value: dict[str, Any] | list[Any]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, list):
        return ((EVERY_ITEM, item) for item in value[:ITEMS_LOOKED_AT])
    if len(value) > MOST_KEYS:
        values = (inner for inner, _ in zip(value.values(), range(ITEMS_LOOKED_AT), strict=False))
        return ((EVERY_KEY, inner) for inner in values)
    return ((key[:LONGEST_KEY], inner) for key, inner in value.items())


def type_of(value: Any) -> str:
    """Return the JSON type of a value; whole numbers are numbers."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def shown_path(path: Path) -> str:
    """Return a path as people read it: `order.items[].amount`."""
    text = ""
    for step in path:
        if step == EVERY_ITEM:
            text += EVERY_ITEM
        elif step == EVERY_KEY or (step.isidentifier() and step.isascii()):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def shown_types(types: Iterable[str]) -> str:
    """Return types in words: `a number or text`."""
    order = [*WORDS]
    return " or ".join(WORDS[one] for one in sorted(types, key=order.index)) or "null"
