"""Executes the requests of the panel's front end, one function each, and returns the fields of the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from dnworker.core.causes import because
from dnworker.core.errors import NotFound, UsageError
from dnworker.core.models import iso
from dnworker.engine.replay import find
from dnworker.events import cases
from dnworker.events.trace import Trace, debug_command
from dnworker.panel import failure_rows, messages, serialize
from dnworker.panel.budget import size_of
from dnworker.panel.log_rows import LogWindow, plain_text
from dnworker.panel.model import PanelModel
from dnworker.panel.view import View
from dnworker.sessions.prompts import Response

if TYPE_CHECKING:
    from dnworker.core.logs import LogLine

LINES_AT_ONCE = 500
ANSWER_BYTES = 200_000
"""What one answer may hold of lines; the view asks for the rest."""

FIRED_LENGTH = 20_000
"""Characters of a payload that are kept to be fired again from the list of what was fired."""

Answer = dict[str, Any] | None
T = TypeVar("T")
R = TypeVar("R", bound=messages.Request)
Operation = Callable[[R, View, PanelModel], Awaitable[Answer]]

OPERATIONS: dict[type[messages.Request], Operation[Any]] = {}
"""What is done for each type of request."""


async def execute(request: messages.Request, view: View, model: PanelModel) -> Answer:
    """Do what a view asks for.

    Raises:
        DnworkerError: it cannot be done; says why.
    """
    return await OPERATIONS[type(request)](request, view, model)


def operation(type_: type[R]) -> Callable[[Operation[R]], Operation[R]]:
    """Register what is done for a type of request."""

    def register(function: Operation[R]) -> Operation[R]:
        OPERATIONS[type_] = function
        return function

    return register


@operation(messages.Ping)
async def _ping(request: messages.Ping, view: View, model: PanelModel) -> Answer:
    return None


# -- log and timeline ----------------------------------------------------------------------------------


@operation(messages.Log)
async def _log(request: messages.Log, view: View, model: PanelModel) -> Answer:
    view.filter_log(request.filter)
    return None


@operation(messages.Lines)
async def _lines(request: messages.Lines, view: View, model: PanelModel) -> Answer:
    await view.room()
    window: LogWindow = view.window
    lines = window.lines(request.position, min(request.count, LINES_AT_ONCE))
    if request.whole:
        texts = list(_up_to(ANSWER_BYTES, (as_text(line) for _, line in lines), len))
        reached = lines[len(texts) - 1][0] + 1 if texts else None
        return {"window": window.id, "text": "".join(texts), "next": reached}
    found = (serialize.line_to_json(at, line) for at, line in lines)
    return {"window": window.id, "lines": list(_up_to(ANSWER_BYTES, found, size_of))}


@operation(messages.Line)
async def _line(request: messages.Line, view: View, model: PanelModel) -> Answer:
    found = model.engine.logs.pick([request.number])
    if not found:
        raise NotFound(f"line {request.number} is kept no longer")
    return {"line": serialize.line_to_json(0, found[0], whole=True)}


@operation(messages.Events)
async def _events(request: messages.Events, view: View, model: PanelModel) -> Answer:
    if request.filter != view.events:
        view.filter_events(request.filter)
    return None if request.before is None else {"rows": await view.older(request.before)}


# -- workers and capabilities --------------------------------------------------------------------------


@operation(messages.Control)
async def _control(request: messages.Control, view: View, model: PanelModel) -> Answer:
    worker = model.engine.worker(request.worker)
    before = worker.generation
    with because(_BY_HAND.get(request.verb, "")):
        match request.verb:
            case "stop":
                await worker.stop()
            case "rollback":
                await model.actions.roll_back(worker, request.generation)
            case "resume":
                model.engine.storms.resume(worker.qualified_name)
                model.engine.look_again()
            case verb:
                await worker.restart(force=verb == "restart")
    worker = model.engine.worker(request.worker)
    generations = {"before": before, "generation": worker.generation}
    return {"state": str(worker.state), "error": worker.error} | generations


_BY_HAND = {"start": "Started by hand", "stop": "Stopped by hand", "restart": "Restart by hand"}
"""Why a worker is started and stopped, by what was asked for; the others say so themselves."""


@operation(messages.Remove)
async def _remove_handler(request: messages.Remove, view: View, model: PanelModel) -> Answer:
    worker = model.engine.worker(request.worker)
    await model.actions.remove_handler(worker, serialize.key_of(worker, request.key))
    return None


@operation(messages.Run)
async def _run(request: messages.Run, view: View, model: PanelModel) -> Answer:
    worker = model.engine.worker(request.worker)
    worker.run_schedule(serialize.key_of(worker, request.key))
    return None


@operation(messages.Dismiss)
async def _dismiss(request: messages.Dismiss, view: View, model: PanelModel) -> Answer:
    for group in failure_rows.grouped(model.failing_now()):
        if group[0].number == request.row:
            model.engine.failing.drop(group)
            return {"count": len(group)}
    raise NotFound("it does not fail any more")


@operation(messages.Flag)
async def _flag(request: messages.Flag, view: View, model: PanelModel) -> Answer:
    await model.engine.set_flag(request.capability, request.flag, request.value)
    return None


@operation(messages.Checks)
async def _checks(request: messages.Checks, view: View, model: PanelModel) -> Answer:
    await model.engine.capabilities.get(request.capability).run_checks()
    return None


@operation(messages.Export)
async def _export(request: messages.Export, view: View, model: PanelModel) -> Answer:
    return await model.actions.export(
        request.path, target=request.target, topology=request.topology, force=request.force
    )


@operation(messages.Locate)
async def _locate(request: messages.Locate, view: View, model: PanelModel) -> Answer:
    cell = model.actions.cell_now(request.number)
    return {"cell": cell.id, "newest": cell.number, "note": cell.note}


# -- events --------------------------------------------------------------------------------------------


@operation(messages.Suggest)
async def _suggest(request: messages.Suggest, view: View, model: PanelModel) -> Answer:
    payload, source = await model.actions.suggest(request.kind)
    return {"payload": as_json(payload), "source": source}


@operation(messages.Fire)
async def _fire(request: messages.Fire, view: View, model: PanelModel) -> Answer:
    kind = request.kind.strip()
    if not kind:
        raise UsageError("an event needs a kind, such as turn.completed")
    try:
        payload = msgspec.json.decode(request.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise UsageError(f"the payload is no JSON object: {exc}") from None
    trace = await model.engine.fire(
        kind, payload, session_id=request.session or None, only=request.worker, wait=False
    )
    kept = request.payload if len(request.payload) <= FIRED_LENGTH else None
    entry = {"kind": kind, "payload": kept, "session": request.session, "worker": request.worker}
    model.note_fired(entry, time.time() * 1000)
    return _fired(trace)


@operation(messages.Replay)
async def _replay(request: messages.Replay, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    trace = await model.engine.fire(
        event.kind, event.payload, session_id=event.session_id, turn_id=event.turn_id, wait=False
    )
    return _fired(trace)


@operation(messages.Copy)
async def _copy(request: messages.Copy, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    if request.form == "fire":
        return {"text": cases.as_cell(event.kind, event.payload, event.session_id), "file": None}
    trace = Trace(event, model.engine.history)
    if request.form == "debug":
        if all(run.exception is None for run in trace.invocations):
            raise UsageError(
                f"what #{event.seq} made fail is not kept any more; fire it again, and debug that"
            )
        return {"text": debug_command(event), "file": None}
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


# -- sessions ------------------------------------------------------------------------------------------


@operation(messages.Respond)
async def _respond(request: messages.Respond, view: View, model: PanelModel) -> Answer:
    action: Literal["submit", "cancel"] | None = None
    if request.decision is None:
        action = "submit" if request.answers is not None else "cancel"
    response = Response(
        request_id=request.request, action=action, answers=request.answers, decision=request.decision
    )
    model.engine.turns.respond(request.session, response)
    return None


@operation(messages.Cancel)
async def _cancel(request: messages.Cancel, view: View, model: PanelModel) -> Answer:
    await model.engine.turns.cancel(request.session, request.turn)
    return None


# -- texts ---------------------------------------------------------------------------------------------


def as_json(payload: dict[str, Any]) -> str:
    """Return a payload as text to edit."""
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()


def as_text(line: LogLine) -> str:
    """Return a line as in a file, without colours."""
    return f"{iso(line.timestamp)} {line.level:<7} {line.worker}  {plain_text(line.text)}\n"


def _fired(trace: Trace) -> Answer:
    return {"event": trace.event.event_id, "seq": trace.event.seq, "kind": trace.event.kind}


def _up_to(limit: int, items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Go through the first items, as many as fit into a size; the first one comes whatever its size."""
    total = 0
    for item in items:
        total += size(item)
        if total > limit and total > size(item):
            return
        yield item
