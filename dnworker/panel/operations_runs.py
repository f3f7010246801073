"""Executes the requests of the view of runs; `feed` imports it, so that `operations` knows them."""

from __future__ import annotations

from dnworker.core.envelope import has_payload
from dnworker.core.errors import NotFound
from dnworker.events.sequence import mermaid, source_name
from dnworker.events.spans import Span, iter_spans
from dnworker.panel import messages
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import Answer, operation
from dnworker.panel.pace import Pace
from dnworker.panel.run_part import ROWS_SHOWN
from dnworker.panel.runs_part import OLDER_AT_ONCE, RunsFollower
from dnworker.panel.serialize import payload_to_json
from dnworker.panel.view import View


@operation(messages.Older)
async def _older(request: messages.Older, view: View, model: PanelModel) -> Answer:
    await view.room()
    follower = view.follower("runs")
    rows = follower.older(request.before, OLDER_AT_ONCE) if isinstance(follower, RunsFollower) else []
    return {"rows": rows}


@operation(messages.Diagram)
async def _diagram(request: messages.Diagram, view: View, model: PanelModel) -> Answer:
    history, pace = model.engine.history, Pace()
    root = history.event(model.runs.root_of(request.event))
    if root is None:
        raise NotFound("this event is kept no longer; fire it again", code="DN209")
    spans: list[Span] = []
    for span in iter_spans(root, history, ROWS_SHOWN):
        if span is not None:
            spans.append(span)
        await pace.rest()
    return {"text": mermaid(spans, source_name(root, history))}


@operation(messages.EventPayload)
async def _payload(request: messages.EventPayload, view: View, model: PanelModel) -> Answer:
    event = model.engine.history.event(request.event)
    if event is None:
        raise NotFound("this event is kept no longer; %replay finds it in the journal", code="DN209")
    if not has_payload(event):
        raise NotFound(
            f"the payload of #{event.seq} is kept no longer; %replay finds it in the journal", code="DN209"
        )
    await view.room()
    return payload_to_json(event)
