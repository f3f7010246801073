"""Executes what the inspector requests: a large payload, and two events compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnworker.engine.replay import find
from dnworker.panel import messages
from dnworker.panel.call_part import event_to_json
from dnworker.panel.operations import Answer, operation
from dnworker.panel.payload_text import piece_of

if TYPE_CHECKING:
    from dnworker.panel.model import PanelModel
    from dnworker.panel.view import View


@operation(messages.Payload)
async def _payload(request: messages.Payload, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    await view.room()
    return await piece_of(event, max(0, request.start))


@operation(messages.Compare)
async def _compare(request: messages.Compare, view: View, model: PanelModel) -> Answer:
    left = await find(model.engine, request.left)
    right = await find(model.engine, request.right)
    found = await model.comparisons.of(left, right)
    return {"left": event_to_json(left), "right": event_to_json(right), **found}
