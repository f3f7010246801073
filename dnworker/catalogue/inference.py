"""`infer`: a JSON Schema of recorded payloads, by genson; imported when somebody asks for one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dnworker.catalogue.fields import DEEPEST, ITEMS_LOOKED_AT, MOST_KEYS
from dnworker.core.extras import extra_needed


class Inferred:
    """The schema of some payloads, and what was left out of it."""

    def __init__(self, schema: dict[str, Any] | None, note: str = "") -> None:
        self.schema = schema
        self.note = note


def infer(payloads: Iterable[dict[str, Any]]) -> Inferred:
    """Return the schema that fits some payloads, as far as they are looked at; None for no payload."""
    with extra_needed("a schema of recorded payloads"):
        from genson import SchemaBuilder

    builder, cut, count = SchemaBuilder(schema_uri=None), _Cut(), 0
    builder.add_schema({"type": "object", "properties": {}})
    for payload in payloads:
        builder.add_object(cut.of(payload))
        count += 1
    if not count:
        return Inferred(None)
    schema: dict[str, Any] = builder.to_schema()
    return Inferred(schema, cut.note)


class _Cut:
    """Cuts payloads to what a schema of bounded size can be made of."""

    def __init__(self) -> None:
        self.note = ""

    def of(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return ""  # a schema says that it is text, and no more
        if not isinstance(value, dict | list):
            return value
        if depth == DEEPEST:
            self.note = f"what is nested deeper than {DEEPEST} levels is left out"
            return type(value)()
        if isinstance(value, list):
            return [self.of(item, depth + 1) for item in value[:ITEMS_LOOKED_AT]]
        if len(value) > MOST_KEYS:
            self.note = f"objects with over {MOST_KEYS} keys are shown with the first {ITEMS_LOOKED_AT}"
            some = zip(value.items(), range(ITEMS_LOOKED_AT), strict=False)
            return {key: self.of(inner, depth + 1) for (key, inner), _ in some}
        return {key: self.of(inner, depth + 1) for key, inner in value.items()}
