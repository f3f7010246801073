"""A payload as one short line, for the list of runs; names that say secret hide their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import bytes_of_payload, has_payload
from dnworker.core.masking import MASK, is_secret
from dnworker.core.text import shorten, valid_text
from dnworker.events.spans import said_by

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope

FIELDS_SHOWN = 3
LONGEST_FIELD = 48
LONGEST_SUMMARY = 120
LARGEST_READ = 20_000
"""Bytes of a payload that is parsed for this."""


def summary_of(event: EventEnvelope) -> str:
    """Return the first fields of a payload as a line; empty where there is nothing to say."""
    if not has_payload(event):
        return "the payload is not kept any more"
    if (size := bytes_of_payload(event)) > LARGEST_READ:
        return f"{size / 1000:,.0f} kB"
    if said := said_by(event):
        return shorten(said, LONGEST_SUMMARY)
    return shorten(", ".join(_first_fields(event.payload)), LONGEST_SUMMARY)


def _first_fields(payload: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for key, value in payload.items():
        if (text := _field(str(key), value)) and len(found) < FIELDS_SHOWN:
            found.append(text)
    return found


def _field(key: str, value: object) -> str:
    """Return one field: texts alone, other values with their name; empty for what says nothing."""
    name = shorten(" ".join(key.replace("_", " ").split()), LONGEST_FIELD)
    if is_secret(key):
        return f"{name} {MASK}"
    match value:
        case str():
            return shorten(valid_text(" ".join(value.split())), LONGEST_FIELD)
        case True:
            return name
        case False | None:
            return ""
        case int() | float():
            return f"{name} {value}"
        case list():
            return f"{len(value):,} {name.removesuffix('s') if len(value) == 1 else name}"
        case dict():
            return f"{name} {{{len(value)}}}" if value else ""
    return ""
