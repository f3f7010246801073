"""`fill`: makes a kind's entry of what was gathered; on a thread, as types and payloads are the users'."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from dnworker.catalogue.drift import drift
from dnworker.catalogue.entries import (
    Example,
    FieldRow,
    KindEntry,
    KindRow,
    Listener,
    Publisher,
    SchemaSource,
)
from dnworker.catalogue.examples import example_of
from dnworker.catalogue.fields import Observed, Path, Recorded, observe, shown_path, shown_types
from dnworker.catalogue.inference import infer
from dnworker.catalogue.schemas import SchemaField, disagreements, fields_of, optional_in
from dnworker.core.declared import DeclaredPayload
from dnworker.core.event_kinds import KINDS, schema_of

EXAMPLES = 3
MOST_FIELDS = 300
"""Rows of fields."""


class ListenerFacts(NamedTuple):
    """A handler that listens to the kind, and what it declares."""

    worker: str
    handler: str
    declared: DeclaredPayload | None


class Gathered(NamedTuple):
    """What the engine knows of a kind."""

    row: KindRow
    publishers: list[Publisher]
    reads: dict[str, Any]
    suggestion: dict[str, Any]
    suggestion_source: str
    now: datetime
    notes: list[str]


def fill(gathered: Gathered, listeners: Sequence[ListenerFacts], events: Sequence[Recorded]) -> KindEntry:
    """Return the entry of a kind."""
    row = gathered.row
    heard_by = [_listener(one) for one in listeners]
    known = {one.worker for one in heard_by}
    heard_by += [Listener(worker=name) for name in row.listeners if name not in known]
    declared = [(f"{one.worker}.{one.handler}", one.schema) for one in heard_by if one.schema is not None]
    inferred = infer(event.payload for event in events)
    observed = observe(events)
    schema, source = effective_schema(row.kind, declared, inferred.schema, gathered.reads)
    is_sure = source in ("runtime", "declared")
    optional = optional_in(schema) if schema is not None and is_sure else set()
    notes = [*gathered.notes, *([inferred.note] if inferred.note else [])]
    if observed.is_cut:
        notes.append(f"the first {len(observed.fields):,} fields are followed, and there are more")
    return KindEntry(
        **{name: getattr(row, name) for name in KindRow.__struct_fields__},
        schema=schema,
        schema_source=source,
        published_by=sorted(gathered.publishers, key=lambda one: (-one.lately, one.name)),
        heard_by=heard_by,
        disagreements=disagreements(declared),
        inferred=inferred.schema,
        looked_at=len(events),
        fields=_field_rows(schema if is_sure else None, observed),
        drift=drift(observed, optional, gathered.now),
        reads=gathered.reads,
        examples=[
            Example(seq=one.seq, event_id=one.event_id, at=one.at, payload=example_of(one.payload))
            for one in reversed(events[-EXAMPLES:])
        ],
        suggestion=gathered.suggestion,
        suggestion_source=gathered.suggestion_source,
        notes=notes,
    )


def _listener(one: ListenerFacts) -> Listener:
    if (declared := one.declared) is None:
        return Listener(worker=one.worker, handler=one.handler)
    return Listener(
        worker=one.worker,
        handler=one.handler,
        type=declared.type,
        schema=declared.schema,
        note=declared.note,
        refuses=declared.refuses,
    )


def effective_schema(
    kind: str,
    declared: Sequence[tuple[str, dict[str, Any]]],
    inferred: dict[str, Any] | None,
    reads: dict[str, Any],
) -> tuple[dict[str, Any] | None, SchemaSource]:
    """Return the schema that is to be shown, and where it is from."""
    if kind in KINDS:
        return schema_of(kind), "runtime"
    if declared:
        different = {msgspec.json.encode(schema, order="sorted"): schema for _, schema in declared}
        if len(different) == 1:
            return declared[0][1], "declared"
        return _any_of([*different.values()]), "declared"
    if inferred is not None:
        return inferred, "inferred"
    if reads:
        return infer([reads]).schema, "reads"
    return None, "unknown"


def _any_of(schemas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema that is met by what meets one of several; their definitions are kept apart."""
    definitions: dict[str, Any] = {}
    members = []
    for number, schema in enumerate(schemas, 1):
        own = schema.get("$defs", {})
        members.append(_renamed({k: v for k, v in schema.items() if k != "$defs"}, number))
        definitions |= {f"{name}_{number}": _renamed(inner, number) for name, inner in own.items()}
    return {"anyOf": members, **({"$defs": definitions} if definitions else {})}


def _renamed(schema: Any, number: int) -> Any:
    """Return a schema whose references to definitions name those of one of several schemas."""
    if isinstance(schema, list):
        return [_renamed(one, number) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{value}_{number}"
        if key == "$ref" and isinstance(value, str) and value.startswith("#/$defs/")
        else _renamed(value, number)
        for key, value in schema.items()
    }


def _field_rows(schema: dict[str, Any] | None, observed: Observed) -> list[FieldRow]:
    """Return the fields of a schema, then those that recorded payloads have beside them."""
    named: dict[Path, SchemaField] = {} if schema is None else fields_of(schema)
    rows = []
    for path in [*named, *sorted(observed.fields.keys() - named.keys())][:MOST_FIELDS]:
        field, seen = named.get(path), observed.fields.get(path)
        rows.append(
            FieldRow(
                path=shown_path(path),
                declared="" if field is None else shown_types(field.types) if field.types else "anything",
                is_required=observed.always(path) if field is None else field.is_required,
                description="" if field is None else field.description,
                seen="" if seen is None else shown_types(seen.all_types),
                present=0 if seen is None else len(seen.present),
            )
        )
    return rows
