"""What event handlers of a worker declare of payloads: reported by processes, checked as events come."""

from __future__ import annotations

import msgspec

from dnworker.core.declared import DeclaredPayload, declared_by, describe_declared
from dnworker.workers.registry import HandlerRegistry, handlers_of

MOST_BYTES = 300_000
"""Bytes of schemas in one report; handlers beyond are named with their types only."""


def declared_payloads(registry: HandlerRegistry) -> list[DeclaredPayload]:
    """Return what the handlers of a worker declare, with schemas as far as a report has room for them."""
    found, room = list[DeclaredPayload](), MOST_BYTES
    for key, function, _ in handlers_of(registry):
        if key.decorator != "on_event" or (declared := declared_by(function)) is None:
            continue
        one = describe_declared(key.trigger, key.name, declared)
        room -= len(msgspec.json.encode(one))
        if room < 0:
            note = "the types of this worker take too much room for all to be reported"
            one = msgspec.structs.replace(one, schema=None, note=note)
        found.append(one)
    return found
