"""Executes what the inspector requests: a large payload, and two events compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import has_payload
from dnworker.engine.replay import find
from dnworker.events.last_good import LOOKED_AT
from dnworker.panel import messages
from dnworker.panel.call_part import event_to_json
from dnworker.panel.operations import Answer, operation
from dnworker.panel.outcomes import outcome_of
from dnworker.panel.payload_text import piece_of, short_payload

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.panel.model import PanelModel
    from dnworker.panel.view import View

ALIKE_SHOWN = 30
"""Events of one kind that are offered to be compared with."""


@operation(messages.Payload)
async def _payload(request: messages.Payload, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    await view.room()
    return await piece_of(event, max(0, request.start), model.engine.side_threads)


@operation(messages.Alike)
async def _alike(request: messages.Alike, view: View, model: PanelModel) -> Answer:
    event, history = await find(model.engine, request.event), model.engine.history
    found = []
    for one in reversed(history.events(LOOKED_AT)):
        if one.kind == event.kind and one.event_id != event.event_id and has_payload(one):
            outcome = outcome_of(history.invocations_of(one.event_id))
            found.append(event_to_json(one) | {"outcome": outcome, "text": short_payload(one)})
            if len(found) == ALIKE_SHOWN:
                break
    return {"events": found}


@operation(messages.Compare)
async def _compare(request: messages.Compare, view: View, model: PanelModel) -> Answer:
    left = await find(model.engine, request.left)
    right = await find(model.engine, request.right)
    found = await model.comparisons.of(left, right)
    sides = {"left": _side(left, model), "right": _side(right, model)}
    return {**sides, **found}


def _side(event: EventEnvelope, model: PanelModel) -> dict[str, Any]:
    outcome = outcome_of(model.engine.history.invocations_of(event.event_id))
    return event_to_json(event) | {"outcome": outcome}
