"""`document`: the catalogue as an AsyncAPI 3.0 document: channels are kinds, operations are of workers.

Schemas become those of AsyncAPI, which are of JSON Schema draft 7: definitions are components, and keywords
that it has not are left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dnworker.catalogue.entries import KindEntry

VERSION = "3.0.0"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}")
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9_.\-]+")

_SCHEMAS = ("properties", "patternProperties")
"""Keywords with schemas by name."""

_SCHEMA = ("additionalProperties", "contains", "propertyNames", "not", "if", "then", "else")
_LISTS = ("anyOf", "oneOf", "allOf")
_TEXTS = ("title", "description", "format", "pattern", "contentEncoding", "contentMediaType")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_FLAGS = ("uniqueItems", "readOnly", "deprecated")
_LIST_VALUES = ("enum", "examples", "required")
_VALUES = ("const", "default")
_TYPES = {"null", "boolean", "integer", "number", "string", "array", "object"}

DEEPEST = 60


def document(
    entries: Sequence[KindEntry], *, title: str, version: str, url: str | None = None, description: str = ""
) -> dict[str, Any]:
    """Return the document of some kinds.

    Args:
        entries: what is known of each.
        title: what it is called.
        version: of what it describes.
        url: where the runtime is; None for capabilities on disk, which have no server.
        description: a text for people.
    """
    names = _names(entry.kind for entry in entries)
    components: dict[str, Any] = {"messages": {}, "schemas": {}}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for entry in entries:
        name = names[entry.kind]
        components["messages"][name] = _message(entry, name, components["schemas"])
        channels[name] = _channel(entry, name)
        for worker in sorted({one.name for one in entry.published_by if ":" in one.name}):
            _add_operation(operations, worker, "send", entry.kind, name)
        for worker in sorted({one.worker for one in entry.heard_by}):
            _add_operation(operations, worker, "receive", entry.kind, name)
    return {
        "asyncapi": VERSION,
        "info": {"title": title, "version": version, **({"description": description} if description else {})},
        "defaultContentType": "application/json",
        **({"servers": {"runtime": _server(url)}} if url is not None else {}),
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _names(kinds: Iterable[str]) -> dict[str, str]:
    """Return a name for each kind that may stand in a document's references: the kind, where it may."""
    found: dict[str, str] = {}
    for kind in kinds:
        name = kind
        if not _NAME.fullmatch(kind):
            digest = hashlib.sha256(kind.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            name = f"{_NOT_OF_NAMES.sub('-', kind)[:80].strip('-.') or 'kind'}-{digest}"
        found[kind] = name
    return found


def _channel(entry: KindEntry, name: str) -> dict[str, Any]:
    # Braces in an address are parameters: such a kind has none, and is named beside it.
    address = None if "{" in entry.kind or "}" in entry.kind else entry.kind
    return {
        "address": address,
        "messages": {"event": {"$ref": f"#/components/messages/{name}"}},
        **({"description": entry.when} if entry.when else {}),
        **({"x-dnworker-kind": entry.kind} if address is None else {}),
    }


def _message(entry: KindEntry, name: str, schemas: dict[str, Any]) -> dict[str, Any]:
    schemas[name] = _Converted(entry.schema or {"type": "object"}, name, schemas).schema
    notes = [*entry.disagreements, *(one.text for one in entry.drift)]
    return {
        "name": entry.kind,
        "payload": {"$ref": f"#/components/schemas/{name}"},
        **({"description": "; ".join(notes)} if notes else {}),
        "x-dnworker-schema": entry.schema_source,
    }


def _add_operation(operations: dict[str, Any], worker: str, action: str, kind: str, name: str) -> None:
    verb = "publishes" if action == "send" else "handles"
    key = f"{_NOT_OF_NAMES.sub('.', worker)}-{action}-{name}"
    operations[key] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": f"{worker} {verb} {kind}",
        "messages": [{"$ref": f"#/channels/{name}/messages/event"}],
        "tags": [{"name": worker}],
    }


def _server(url: str) -> dict[str, Any]:
    scheme, _, rest = url.partition("://")
    if not rest:  # the path of a socket
        return {"host": "localhost", "protocol": "unix", "description": url}
    host, _, path = rest.partition("/")
    host = host.rpartition("@")[2]  # no password stands in a document
    return {"host": host, "protocol": scheme, **({"pathname": f"/{path}"} if path else {})}


class _Converted:
    """A JSON Schema as AsyncAPI has it; its definitions are added to the components."""

    def __init__(self, schema: dict[str, Any], name: str, components: dict[str, Any]) -> None:
        definitions: dict[Any, Any] = {}
        for word in ("definitions", "$defs"):
            found = schema.get(word)
            definitions |= found if isinstance(found, dict) else {}
        self._names = {one: f"{name}.{two}" for one, two in _names(map(str, definitions)).items()}
        for one, inner in definitions.items():
            made = self._of(inner)
            if isinstance(made, bool):  # of components, only objects are schemas
                made = {} if made else {"not": {}}
            components[self._names[str(one)]] = made
        self.schema = self._of(schema)

    def _of(self, schema: Any, depth: int = 0) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or depth > DEEPEST:
            return {}
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        made: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _SCHEMAS and isinstance(value, dict):
                made[key] = {str(name): self._of(inner, depth + 1) for name, inner in value.items()}
            elif key in _SCHEMA:
                made[key] = self._of(value, depth + 1)
            elif key in _LISTS and isinstance(value, list) and value:
                made[key] = [self._of(inner, depth + 1) for inner in value]
            elif _is_plain(key, value):
                made[key] = value
        self._add_items(schema, made, depth)
        return made

    def _add_items(self, schema: dict[str, Any], made: dict[str, Any], depth: int) -> None:
        """Add what a list holds: the items of a tuple go by another keyword in draft 7."""
        items, first = schema.get("items"), schema.get("prefixItems")
        if isinstance(first, list) and first:
            made["items"] = [self._of(inner, depth + 1) for inner in first]
            if items is not None:
                made["additionalItems"] = self._of(items, depth + 1)
        elif isinstance(items, list) and items:
            made["items"] = [self._of(inner, depth + 1) for inner in items]
        elif isinstance(items, dict | bool):
            made["items"] = self._of(items, depth + 1)

    def _reference(self, reference: Any) -> dict[str, Any]:
        name = str(reference).rpartition("/")[2].replace("~1", "/").replace("~0", "~")
        if name not in self._names:
            return {}  # it leads elsewhere: the payload may have anything there
        return {"$ref": f"#/components/schemas/{self._names[name]}"}


def _is_plain(key: str, value: Any) -> bool:
    """Return whether a keyword is one of draft 7 without schemas inside, with a value that it may have."""
    if isinstance(value, list) and not _is_distinct(value):
        return False
    if key == "type":
        named = value if isinstance(value, list) else [value]
        return bool(named) and all(isinstance(one, str) and one in _TYPES for one in named)
    if key in _TEXTS:
        return isinstance(value, str)
    if key in _FLAGS:
        return isinstance(value, bool)
    if key in _NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if key in _COUNTS:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if key == "required":
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return key in _VALUES or (key in _LIST_VALUES and isinstance(value, list) and bool(value))


def _is_distinct(values: list[Any]) -> bool:
    """Return whether no value of a list is there twice, as draft 7 wants of `enum` and `required`."""
    return len({json.dumps(value, sort_keys=True, default=str) for value in values}) == len(values)
