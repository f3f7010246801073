"""Requests of the drawer in which an event is written and fired; `feed` registers them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from dnworker.core.errors import NotFound, UsageError, code_of, with_code
from dnworker.events import cases
from dnworker.panel import messages
from dnworker.panel.model import PanelModel
from dnworker.panel.operations import Answer, fired, operation
from dnworker.panel.view import View

FIRED_LENGTH = 20_000
"""Characters of a payload that are kept to be fired again from the list of what was fired."""


@operation(messages.Suggest)
async def _suggest(request: messages.Suggest, view: View, model: PanelModel) -> Answer:
    payload, source = await model.actions.suggest(request.kind)
    reads = model.actions.reads(request.kind)
    return {"payload": _as_json(payload), "source": source, "reads": _as_json(reads)}


@operation(messages.Draft)
async def _draft(request: messages.Draft, view: View, model: PanelModel) -> Answer:
    kind, payload = _checked(request, model)
    text = cases.as_cell(kind, payload, request.session)
    if request.worker:
        first, newline, body = text.partition("\n")
        text = f"{first} --worker {request.worker}{newline}{body}"
    return {"text": text}


@operation(messages.Fire)
async def _fire(request: messages.Fire, view: View, model: PanelModel) -> Answer:
    try:
        kind, payload = _checked(request, model)
    except FieldError as exc:
        return {"problem": {"field": exc.field, "text": with_code(exc)}}
    trace = await model.engine.fire(
        kind, payload, session_id=request.session or None, only=request.worker, wait=False
    )
    kept = request.payload if len(request.payload) <= FIRED_LENGTH else None
    entry = {"kind": kind, "payload": kept, "session": request.session, "worker": request.worker}
    model.note_fired(entry, time.time() * 1000)
    return fired(trace)


class FieldError(UsageError):
    """What is wrong with one field of what would be fired."""

    def __init__(self, field: str, text: str, *, code: str) -> None:
        super().__init__(text, code=code)
        self.field = field


def _checked(request: messages.Draft | messages.Fire, model: PanelModel) -> tuple[str, dict[str, Any]]:
    """Return the kind and the payload.

    Raises:
        FieldError: a field is wrong.
    """
    kind = request.kind.strip()
    if not kind:
        raise FieldError("kind", "an event needs a kind, such as turn.completed", code="DN201")
    try:
        payload = msgspec.json.decode(request.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise FieldError("payload", f"the payload is no JSON object: {exc}", code="DN204") from None
    if request.worker is not None:
        try:
            model.engine.worker(request.worker)
        except NotFound as exc:
            raise FieldError("worker", str(exc), code=code_of(exc) or "DN301") from None
    return kind, payload


def _as_json(payload: dict[str, Any]) -> str:
    """Return a payload as text to edit."""
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()
