"""What views ask for, done: each command returns the fields of its answer."""

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
from dnworker.panel.log_rows import LogWindow, plain_text
from dnworker.panel.view import size_of
from dnworker.sessions.prompts import Response

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.core.logs import LogLine
    from dnworker.engine.engine import Engine
    from dnworker.panel.feed import Feed
    from dnworker.panel.view import View

LINES_AT_ONCE = 500
ANSWER_BYTES = 200_000
"""What one answer may hold of lines; the view asks for the rest."""

FIRED_LENGTH = 20_000
"""Characters of a payload that are kept to be fired again from the list of what was fired."""

Answer = dict[str, Any] | None
T = TypeVar("T")


async def execute(asked: messages.Asked, view: View, feed: Feed) -> Answer:
    """Do what a view asks for.

    Raises:
        DnworkerError: it cannot be done; says why.
    """
    match asked:
        case messages.Log() | messages.Lines() | messages.Line() | messages.Events():
            return await _look(asked, view, feed.runtime)
        case messages.Drive():
            return await _drive(asked, feed)
        case messages.Run(worker=name, key=key):
            worker = feed.runtime.worker(name)
            worker.run_schedule(serialize.key_of(worker, key))
        case messages.Suggest(kind=kind):
            payload, whence = await feed.actions.suggest(kind)
            return {"payload": as_json(payload), "whence": whence}
        case messages.Fire():
            return await _fire(asked, feed)
        case messages.Replay(event=event):
            return await _again(await find(feed.runtime, event), feed.runtime)
        case messages.Copy():
            return await _copy(asked, feed)
        case messages.Locate(number=number):
            return {"cell": feed.actions.cell_id(number)}
        case messages.Flag(capability=capability, flag=flag, value=value):
            await feed.runtime.set_flag(capability, flag, value)
        case messages.Checks(capability=capability):
            await feed.runtime.capabilities.get(capability).run_checks()
        case messages.Export(path=path, target=target, topology=topology, force=force):
            return await feed.actions.export(path, target=target, topology=topology, force=force)
        case messages.Respond():
            _respond(asked, feed.runtime)
        case messages.Cancel(session=session, turn=turn):
            await feed.runtime.turns.cancel(session, turn)
    return None


async def _look(asked: messages.Asked, view: View, runtime: Engine) -> Answer:
    match asked:
        case messages.Log(filter=wanted):
            view.filter_log(wanted)
        case messages.Lines(place=place, count=count, whole=whole):
            await view.room()
            window: LogWindow = view.window
            lines = window.lines(place, min(count, LINES_AT_ONCE))
            if whole:
                texts = list(_up_to(ANSWER_BYTES, (as_text(line) for _, line in lines), len))
                reached = lines[len(texts) - 1][0] + 1 if texts else None
                return {"window": window.id, "text": "".join(texts), "next": reached}
            drawn = (serialize.line_to_json(at, line) for at, line in lines)
            return {"window": window.id, "lines": list(_up_to(ANSWER_BYTES, drawn, size_of))}
        case messages.Line(number=number):
            found = runtime.logs.pick([number])
            if not found:
                raise NotFound(f"line {number} is kept no longer")
            return {"line": serialize.line_to_json(0, found[0], whole=True)}
        case messages.Events(filter=wanted, before=before):
            if wanted != view.events:
                view.filter_events(wanted)
            if before is not None:
                return {"rows": await view.older(before)}
    return None


async def _drive(asked: messages.Drive, feed: Feed) -> Answer:
    worker = feed.runtime.worker(asked.worker)
    match asked.verb:
        case "stop":
            await worker.stop()
        case "rollback":
            await feed.actions.roll_back(worker)
        case verb:
            await worker.restart(force=verb == "restart")
    worker = feed.runtime.worker(asked.worker)
    return {"state": str(worker.state), "error": worker.error}


async def _fire(asked: messages.Fire, feed: Feed) -> Answer:
    if not asked.kind.strip():
        raise UsageError("an event needs a kind, such as turn.completed")
    try:
        payload = msgspec.json.decode(asked.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise UsageError(f"the payload is no JSON object: {exc}") from None
    kind = asked.kind.strip()
    trace = await feed.runtime.fire(
        kind, payload, session_id=asked.session or None, only=asked.worker, wait=False
    )
    kept = asked.payload if len(asked.payload) <= FIRED_LENGTH else None
    entry = {"kind": kind, "payload": kept, "session": asked.session, "worker": asked.worker}
    same = next((one for one in feed.fired if entry.items() <= one.items()), None)
    if same is not None:
        feed.fired.remove(same)
    feed.fired.appendleft(entry | {"at": time.time() * 1000})
    return _fired(trace)


async def _again(event: EventEnvelope, runtime: Engine) -> Answer:
    trace = await runtime.fire(
        event.kind, event.payload, session_id=event.session_id, turn_id=event.turn_id, wait=False
    )
    return _fired(trace)


def as_json(payload: dict[str, Any]) -> str:
    """Return a payload as text to edit."""
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()


def _up_to(limit: int, items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Go through items until they are over a size; the first comes whatever its size."""
    total = 0
    for item in items:
        total += size(item)
        if total > limit and total > size(item):
            return
        yield item


def as_text(line: LogLine) -> str:
    """Return a line as it stands in a file, without colours."""
    return f"{iso(line.timestamp)} {line.level:<7} {line.worker}  {plain_text(line.text)}\n"


def _fired(trace: Trace) -> Answer:
    return {"event": trace.event.event_id, "seq": trace.event.seq}


async def _copy(asked: messages.Copy, feed: Feed) -> Answer:
    event = await find(feed.runtime, asked.event)
    if asked.form == "fire":
        return {"text": cases.as_cell(event.kind, event.payload, event.session_id), "file": None}
    trace = Trace(event, feed.runtime.history)
    workers = list(dict.fromkeys(run.worker for run in trace.invocations))
    name = asked.worker or (workers[0] if workers else None)
    if name is None:
        raise UsageError(f"no handler ran for #{event.seq}, so there is nothing to test")
    worker = feed.runtime.worker(name)
    case = cases.case_of(trace, worker.name)
    if asked.form == "test-cell":
        return {"text": cases.as_test_cell(case, worker.name), "file": None}
    text = cases.as_module([case], worker.name, feed.actions.script_of(worker))
    return {"text": text, "file": f"test_{worker.name.replace('-', '_')}_{event.seq}.py"}


def _respond(asked: messages.Respond, runtime: Engine) -> None:
    action = None
    if asked.decision is None:
        action = "submit" if asked.answers is not None else "cancel"
    runtime.turns.respond(
        asked.session,
        Response(
            request_id=asked.request,
            action=action,  # type: ignore[arg-type]  # one of the two literals
            answers=asked.answers,
            decision=asked.decision,
        ),
    )
