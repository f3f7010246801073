"""Executes the request of the map's view; `feed` imports it, so that `operations` knows it."""

from __future__ import annotations

from dnworker.panel import map_part, messages
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import Answer, operation
from dnworker.panel.pace import Pace
from dnworker.panel.view import View


@operation(messages.MapText)
async def _map_text(request: messages.MapText, view: View, model: PanelModel) -> Answer:
    await view.room()
    return {"text": await map_part.text(model, request.wanted, request.form, Pace())}
