"""Requests of the list of dead letters; `feed` registers them."""

from __future__ import annotations

from dnworker.core.errors import NotFound
from dnworker.engine.redelivery import redeliver
from dnworker.panel import messages
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import Answer, operation
from dnworker.panel.serialize import payload_to_json
from dnworker.panel.view import View

UNDO_KEPT = 20
"""Dead letters that were dropped last, and can be put back."""


@operation(messages.Dead)
async def _dead(request: messages.Dead, view: View, model: PanelModel) -> Answer:
    letters, key = model.engine.dead_letters, (request.worker, request.event)
    if request.verb == "restore":
        letter = model.dropped.pop(key, None)
        if letter is None:
            raise NotFound("what was dropped before that is not kept any more", code="DN319")
        await letters.put_back(letter)
        return None
    await letters.ready()
    one = letters.find(request.event, request.worker)
    if request.verb == "retry":
        event = await redeliver(model.engine, one)
        return {"event": event.event_id, "seq": event.seq, "kind": event.kind}
    letter = await letters.read(one)
    if request.verb == "payload":
        await view.room()
        return payload_to_json(letter.event)
    await letters.drop(one)
    model.dropped[key] = letter
    if len(model.dropped) > UNDO_KEPT:
        del model.dropped[next(iter(model.dropped))]
    return None
