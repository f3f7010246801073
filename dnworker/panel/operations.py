"""Executes the requests of the panel's front end, one function each, and returns the fields of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from dnworker.core.causes import because
from dnworker.core.errors import NotFound, UsageError
from dnworker.engine.replay import find
from dnworker.events import cases
from dnworker.events.trace import Trace, debug_command
from dnworker.panel import failure_rows, messages, serialize
from dnworker.panel.model import PanelModel
from dnworker.panel.view import View
from dnworker.sessions.prompts import Response

Answer = dict[str, Any] | None
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


# -- timeline ---------------------------------------------------------------------------------------


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
            case "undo":
                await model.actions.undo_change(request.change)
            case "resume":
                model.engine.storms.resume(worker.qualified_name)
                model.engine.look_again()
            case verb:
                await worker.restart(force=verb == "restart")
    if request.verb == "undo" and not any(w.qualified_name == request.worker for w in model.engine.workers()):
        return {"state": "removed", "error": None, "before": before, "generation": 0}
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
            model.engine.failing.dismiss(group, request.row)
            return {"count": len(group)}
    raise NotFound("it does not fail any more", code="DN915")


@operation(messages.Restore)
async def _restore(request: messages.Restore, view: View, model: PanelModel) -> Answer:
    restored = model.engine.failing.restore(request.row)
    still = [failure for failure in restored if failure in model.failing_now()]
    if not still:
        raise NotFound("it does not fail any more", code="DN915")
    return {"count": len(still)}


@operation(messages.Flag)
async def _flag(request: messages.Flag, view: View, model: PanelModel) -> Answer:
    await model.engine.set_flag(request.capability, request.flag, request.value)
    return None


@operation(messages.Checks)
async def _checks(request: messages.Checks, view: View, model: PanelModel) -> Answer:
    await model.engine.capabilities.get(request.capability).run_checks()
    return None


@operation(messages.Reconnect)
async def _reconnect(request: messages.Reconnect, view: View, model: PanelModel) -> Answer:
    detail = await model.engine.mcp.reconnect(request.capability, request.server)
    return {"status": detail["status"]}


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


@operation(messages.Replay)
async def _replay(request: messages.Replay, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    trace = await model.engine.fire(
        event.kind, event.payload, session_id=event.session_id, turn_id=event.turn_id, wait=False
    )
    return fired(trace)


@operation(messages.Copy)
async def _copy(request: messages.Copy, view: View, model: PanelModel) -> Answer:
    event = await find(model.engine, request.event)
    if request.form == "fire":
        return {"text": cases.as_cell(event.kind, event.payload, event.session_id), "file": None}
    trace = Trace(event, model.engine.history)
    if request.form == "debug":
        if all(run.exception is None for run in trace.invocations):
            raise UsageError(
                f"what #{event.seq} made fail is not kept any more; fire it again, and debug that",
                code="DN209",
            )
        return {"text": debug_command(event), "file": None}
    workers = list(dict.fromkeys(run.worker for run in trace.invocations))
    name = request.worker or (workers[0] if workers else None)
    if name is None:
        raise UsageError(f"no handler ran for #{event.seq}, so there is nothing to test", code="DN117")
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
    await model.engine.commands.respond(request.session, response)
    return None


@operation(messages.Cancel)
async def _cancel(request: messages.Cancel, view: View, model: PanelModel) -> Answer:
    await model.engine.commands.cancel(request.session, request.turn)
    return None


# -- texts ---------------------------------------------------------------------------------------------


def fired(trace: Trace) -> Answer:
    """Return what is told of an event that was fired."""
    return {"event": trace.event.event_id, "seq": trace.event.seq, "kind": trace.event.kind}
