"""Reads JSON Schemas: which fields a schema names, with their types, and where two of them disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dnworker.catalogue.fields import EVERY_ITEM, Path, shown_path, shown_types, type_of
from dnworker.core.declared import resolved
from dnworker.core.text import shorten

DEEPEST, MOST_FIELDS, MOST_DISAGREEMENTS = 6, 500, 50
LONGEST_DESCRIPTION = 300

_TYPES = {"integer": "number"}


class SchemaField(msgspec.Struct):
    """One field that a schema names."""

    types: frozenset[str]
    """JSON types, whole numbers as numbers; empty where it may be anything."""
    is_required: bool
    description: str = ""


def fields_of(schema: Mapping[str, Any]) -> dict[Path, SchemaField]:
    """Return the fields of a schema by their paths, those of recursive types to a bounded depth."""
    found: dict[Path, SchemaField] = {}
    waiting: list[tuple[Path, dict[str, Any]]] = [((), resolved(dict(schema), schema))]
    while waiting and len(found) < MOST_FIELDS:
        path, above = waiting.pop(0)
        required = above.get("required")
        required = required if isinstance(required, list) else []
        for name, inner in _below(above, schema):
            below = (*path, name)
            if len(found) >= MOST_FIELDS:
                break
            variants = [*_variants(inner, schema)]
            known = found.get(below)
            types = types_of(inner, schema) | (known.types if known is not None else frozenset())
            text = next((str(one["description"]) for one in (inner, *variants) if "description" in one), "")
            is_required = name in required and name != EVERY_ITEM
            found[below] = SchemaField(types, is_required, shorten(text, LONGEST_DESCRIPTION))
            if len(below) < DEEPEST:
                waiting += [(below, one) for one in variants]
    return found


def _below(above: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in (above, *_variants(above, root)):
        properties = one.get("properties")
        if isinstance(properties, dict):
            yield from ((str(k), v) for k, v in properties.items() if isinstance(v, dict))
        if isinstance(one.get("items"), dict):
            yield EVERY_ITEM, one["items"]


def _variants(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield what a schema may be: itself resolved, or the members of its unions."""
    schema = resolved(schema, root)
    members = [one for word in ("anyOf", "oneOf", "allOf") for one in schema.get(word) or ()]
    if not members or depth > 3:
        yield schema
        return
    for member in members[:20]:
        yield from _variants(member, root, depth + 1)


def types_of(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema allows; none where it allows all."""
    found = set[str]()
    for one in _variants(schema, root):
        named = one.get("type")
        if named is None and "const" in one:
            found.add(type_of(one["const"]))
        elif named is None and isinstance(one.get("enum"), list):
            found |= {type_of(value) for value in one["enum"]}
        elif named is None:
            return frozenset()
        else:
            found |= {_TYPES.get(str(n), str(n)) for n in (named if isinstance(named, list) else [named])}
    return frozenset(found)


def optional_in(schema: Mapping[str, Any]) -> set[Path]:
    """Return the fields that a schema says may lack."""
    return {path for path, field in fields_of(schema).items() if not field.is_required}


def disagreements(declared: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return where schemas of one kind name types of a field that exclude each other.

    Args:
        declared: who declares it, and the schema.
    """
    fields = [(who, fields_of(schema)) for who, schema in declared]
    found = dict[str, None]()
    for number, (who, own) in enumerate(fields):
        for other, others in fields[number + 1 :]:
            for path in own.keys() & others.keys():
                mine, theirs = own[path].types, others[path].types
                if mine and theirs and not mine & theirs:
                    text = f"`{shown_path(path)}` is {shown_types(mine)} for {who}"
                    found[f"{text} and {shown_types(theirs)} for {other}"] = None
                    if len(found) >= MOST_DISAGREEMENTS:
                        return sorted(found)
    return sorted(found)
