"""What views ask for, done; `feed` calls `execute`, which returns the fields of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from dnworker.core.errors import NotFound, UsageError
from dnworker.core.models import iso
from dnworker.engine.replay import find
from dnworker.events import cases
from dnworker.events.trace import Trace
from dnworker.panel import messages, serialize
from dnworker.panel.budget import size_of
from dnworker.panel.log_rows import LogWindow, plain_text
from dnworker.sessions.prompts import Response

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine
    from dnworker.engine.engine import Engine
    from dnworker.panel.event_rows import EventFilter
    from dnworker.panel.model import PanelModel
    from dnworker.panel.view import View

LINES_AT_ONCE = 500
ANSWER_BYTES = 200_000
"""What one answer may hold of lines; the view asks for the rest."""

FIRED_LENGTH = 20_000
"""Characters of a payload that are kept to be fired again from the list of what was fired."""

Answer = dict[str, Any] | None
T = TypeVar("T")


async def execute(request: messages.Request, view: View, model: PanelModel) -> Answer:
    """Do what a view asks for.

    Raises:
        DnworkerError: it cannot be done; says why.
    """
    engine, actions = model.engine, model.actions
    match request:
        case messages.Log(filter=wanted):
            view.filter_log(wanted)
        case messages.Lines():
            return await _lines(request, view)
        case messages.Line(number=number):
            return _line(number, engine)
        case messages.Events(filter=wanted, before=before):
            return await _events(wanted, before, view)
        case messages.Control():
            return await _control(request, model)
        case messages.Run(worker=name, key=key):
            worker = engine.worker(name)
            worker.run_schedule(serialize.key_of(worker, key))
        case messages.Suggest(kind=kind):
            payload, source = await actions.suggest(kind)
            return {"payload": as_json(payload), "source": source}
        case messages.Fire():
            return await _fire(request, model)
        case messages.Replay(event=event):
            return await _replay(event, engine)
        case messages.Copy():
            return await _copy(request, model)
        case messages.Locate(number=number):
            return {"cell": actions.cell_id(number)}
        case messages.Flag(capability=capability, flag=flag, value=value):
            await engine.set_flag(capability, flag, value)
        case messages.Checks(capability=capability):
            await engine.capabilities.get(capability).run_checks()
        case messages.Export(path=path, target=target, topology=topology, force=force):
            return await actions.export(path, target=target, topology=topology, force=force)
        case messages.Respond():
            _respond(request, engine)
        case messages.Cancel(session=session, turn=turn):
            await engine.turns.cancel(session, turn)
    return None


async def _lines(request: messages.Lines, view: View) -> Answer:
    await view.room()
    window: LogWindow = view.window
    lines = window.lines(request.position, min(request.count, LINES_AT_ONCE))
    if request.whole:
        texts = list(_up_to(ANSWER_BYTES, (as_text(line) for _, line in lines), len))
        reached = lines[len(texts) - 1][0] + 1 if texts else None
        return {"window": window.id, "text": "".join(texts), "next": reached}
    found = (serialize.line_to_json(at, line) for at, line in lines)
    return {"window": window.id, "lines": list(_up_to(ANSWER_BYTES, found, size_of))}


def _line(number: int, engine: Engine) -> Answer:
    found = engine.logs.pick([number])
    if not found:
        raise NotFound(f"line {number} is kept no longer")
    return {"line": serialize.line_to_json(0, found[0], whole=True)}


async def _events(wanted: EventFilter, before: int | None, view: View) -> Answer:
    if wanted != view.events:
        view.filter_events(wanted)
    return None if before is None else {"rows": await view.older(before)}


async def _control(request: messages.Control, model: PanelModel) -> Answer:
    worker = model.engine.worker(request.worker)
    match request.verb:
        case "stop":
            await worker.stop()
        case "rollback":
            await model.actions.roll_back(worker)
        case verb:
            await worker.restart(force=verb == "restart")
    worker = model.engine.worker(request.worker)
    return {"state": str(worker.state), "error": worker.error}


async def _fire(request: messages.Fire, model: PanelModel) -> Answer:
    if not request.kind.strip():
        raise UsageError("an event needs a kind, such as turn.completed")
    try:
        payload = msgspec.json.decode(request.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise UsageError(f"the payload is no JSON object: {exc}") from None
    kind = request.kind.strip()
    trace = await model.engine.fire(
        kind, payload, session_id=request.session or None, only=request.worker, wait=False
    )
    kept = request.payload if len(request.payload) <= FIRED_LENGTH else None
    entry = {"kind": kind, "payload": kept, "session": request.session, "worker": request.worker}
    model.note_fired(entry, time.time() * 1000)
    return _fired(trace)


async def _replay(recorded: str, engine: Engine) -> Answer:
    event = await find(engine, recorded)
    trace = await engine.fire(
        event.kind, event.payload, session_id=event.session_id, turn_id=event.turn_id, wait=False
    )
    return _fired(trace)


def as_json(payload: dict[str, Any]) -> str:
    """Return a payload as text to edit."""
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()


def _up_to(limit: int, items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Go through the first items, as many as fit into a size; the first one comes whatever its size."""
    total = 0
    for item in items:
        total += size(item)
        if total > limit and total > size(item):
            return
        yield item


def as_text(line: LogLine) -> str:
    """Return a line as in a file, without colours."""
    return f"{iso(line.timestamp)} {line.level:<7} {line.worker}  {plain_text(line.text)}\n"


def _fired(trace: Trace) -> Answer:
    return {"event": trace.event.event_id, "seq": trace.event.seq}


async def _copy(request: messages.Copy, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    if request.form == "fire":
        return {"text": cases.as_cell(event.kind, event.payload, event.session_id), "file": None}
    trace = Trace(event, model.engine.history)
    workers = list(dict.fromkeys(run.worker for run in trace.invocations))
    name = request.worker or (workers[0] if workers else None)
    if name is None:
        raise UsageError(f"no handler ran for #{event.seq}, so there is nothing to test")
    worker = model.engine.worker(name)
    case = cases.case_of(trace, worker.name)
    if request.form == "test-cell":
        return {"text": cases.as_test_cell(case, worker.name), "file": None}
    text = cases.as_module([case], worker.name, model.actions.script_of(worker))
    return {"text": text, "file": f"test_{worker.name.replace('-', '_')}_{event.seq}.py"}


def _respond(request: messages.Respond, engine: Engine) -> None:
    action = None
    if request.decision is None:
        action = "submit" if request.answers is not None else "cancel"
    engine.turns.respond(
        request.session,
        Response(
            request_id=request.request,
            action=action,  # type: ignore[arg-type]  # one of the two literals
            answers=request.answers,
            decision=request.decision,
        ),
    )
