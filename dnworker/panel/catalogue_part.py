"""The part `catalogue` for `parts`: the kinds of events, and all that is known of the chosen one.

catalogue: {"text": "order", "kind": "order.placed" or none} -> {"rows": [row], "all": 31, "notes": [...],
    "entry": {...} or none, "missing": "why there is no such kind" or none}
row: {"kind", "isRuntimes", "publishers": 2, "listeners": 1, "kept": 12, "last": milliseconds or none}
Texts of schemas and payloads come as JSON text: a browser would round their numbers.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from dnworker.catalogue.entries import FieldRow, KindEntry, KindRow, Moment
from dnworker.core.errors import NotFound
from dnworker.core.text import clip

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace

CATALOGUE_INTERVAL = 3.0
"""Seconds between two looks at the catalogue."""

KINDS_SHOWN = 500
FIELDS_SHOWN = 200
EXAMPLES_SHOWN = 3
LONGEST_KIND = 512
LONGEST_TEXT = 16_000
"""Characters of a schema or a payload."""


async def catalogue_to_json(model: PanelModel, wanted: dict[str, Any], pace: Pace) -> dict[str, Any]:
    """Return the kinds that a text finds, and the chosen one; see the fields of the dictionary."""
    from dnworker.engine.event_catalogue import EventCatalogue  # not before the view is open

    catalogue = EventCatalogue(model.engine)
    text = str(wanted.get("text") or "")[:LONGEST_KIND]
    found = await catalogue.rows(limit=KINDS_SHOWN, text=text)
    entry, missing = None, None
    if isinstance(kind := wanted.get("kind"), str):
        try:
            entry = entry_to_json(await catalogue.entry(kind[:LONGEST_KIND]))
        except NotFound as exc:
            missing = str(exc)
    return {
        "rows": [_row(one) for one in sorted(found.kinds, key=lambda one: one.is_runtimes)],
        "all": found.total,
        "notes": found.notes,
        "entry": entry,
        "missing": missing,
    }


def entry_to_json(entry: KindEntry) -> dict[str, Any]:
    """Return all that is known of a kind as the view shows it."""
    return _row(entry) | {
        "when": entry.when,
        "first": _moment(entry.first_seen),
        "newest": _moment(entry.last_seen),
        "source": entry.schema_source,
        "schema": _text(entry.schema),
        "publishedBy": [
            {"name": one.name, "lately": one.lately, "isWritten": one.is_written}
            for one in entry.published_by
        ],
        "heardBy": [
            {
                "worker": one.worker,
                "handler": one.handler,
                "type": one.type,
                "note": one.note,
                "refuses": one.refuses,
            }
            for one in entry.heard_by
        ],
        "disagreements": entry.disagreements,
        "fields": [_field(one) for one in entry.fields[:FIELDS_SHOWN]],
        "moreFields": max(0, len(entry.fields) - FIELDS_SHOWN),
        "lookedAt": entry.looked_at,
        "drift": [{"text": one.text, "event": one.event_id, "seq": one.seq} for one in entry.drift],
        "examples": [
            {"event": one.event_id, "seq": one.seq, "at": _milliseconds(one.at), "text": _text(one.payload)}
            for one in entry.examples[:EXAMPLES_SHOWN]
        ],
        "notes": entry.notes,
    }


def _row(row: KindRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "isRuntimes": row.is_runtimes,
        "publishers": len(row.publishers),
        "listeners": len(row.listeners),
        "kept": row.kept,
        "last": None if row.last_seen is None else _milliseconds(row.last_seen.at),
    }


def _field(field: FieldRow) -> dict[str, Any]:
    return {
        "path": field.path,
        "declared": field.declared,
        "isRequired": field.is_required,
        "about": field.description,
        "seen": field.seen,
        "present": field.present,
    }


def _moment(moment: Moment | None) -> dict[str, Any] | None:
    if moment is None:
        return None
    return {"seq": moment.seq, "event": moment.event_id, "at": _milliseconds(moment.at)}


def _milliseconds(at: datetime) -> float:
    return at.timestamp() * 1_000


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return clip(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), LONGEST_TEXT)
