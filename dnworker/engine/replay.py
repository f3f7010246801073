"""Selects recorded events, edits them and fires them again, at a pace and to one worker if wanted."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import EventEnvelope, has_payload, is_noise
from dnworker.core.errors import JournalError, UsageError
from dnworker.core.samples import in_session
from dnworker.core.time_limits import time_limit
from dnworker.events.journal import SHORTEST_ID, JournalReader

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine
    from dnworker.events.trace import Trace

Edit = tuple[str, Any]
"""A field of the payload, with dots between the steps, and its new value."""


async def recorded(
    engine: Engine, last: int, *, kind: str | None = None, everything: bool = False, whole: bool = True
) -> list[EventEnvelope]:
    """Return the newest `last` events that came from outside, oldest first; of `kind`, all events of it.

    With `everything` it is all events, those that handlers and the runtime itself published among them.

    They come from the journal, those of earlier runs among them, else from the memory of this run. Where
    they need not all be there (`whole` is False), those whose payload memory has dropped are left out.

    Raises:
        UsageError: all must be there, and memory has dropped the payloads of some.
    """
    from_outside = kind is None and not everything
    if (reader := await _reader(engine)) is not None:
        with reader:
            return await asyncio.to_thread(reader.events, last, kind=kind, from_outside=from_outside)
    caused = (
        {e.event_id for i in engine.history.invocations() for e in i.published} if from_outside else set()
    )
    found = [
        e
        for e in engine.history.events(engine.history.kept)
        if kind in (None, e.kind) and not (from_outside and (is_noise(e.kind) or e.event_id in caused))
    ]
    found = found[-last:] if last else []
    if not whole:
        return [event for event in found if has_payload(event)]
    if lost := sum(not has_payload(event) for event in found):
        raise UsageError(
            f"of the last {len(found):,} events, {lost:,} have lost their payloads: memory did not keep "
            f"them; ask for fewer; {_WAY_OUT}",
            code="DN209",
        )
    return found


_WAY_OUT = "a runtime with a journal keeps them (--journal FILE), or raise the limit: --limit history=256MB"


async def find(engine: Engine, name: str) -> EventEnvelope:
    """Return an event by its id, the beginning of its id, or `#seq`.

    Raises:
        UsageError: there is none, or memory has not kept its payload; says what can be named.
    """
    emptied = None
    for envelope in reversed(engine.history.events(engine.history.kept)):
        if name == f"#{envelope.seq}" or (len(name) >= SHORTEST_ID and envelope.event_id.startswith(name)):
            if has_payload(envelope):
                return envelope
            emptied = envelope
            break
    if (reader := await _reader(engine)) is not None:
        with reader:
            found = await asyncio.to_thread(reader.find, name)
        if found is not None:
            return found
    if emptied is not None:
        raise UsageError(f"the payload of #{emptied.seq} is not kept any more; {_WAY_OUT}", code="DN209")
    raise UsageError(
        f"there is no event {name!r}; name one by #seq or by its id, as %events shows them, "
        "several as: last 5, or a file of %events save",
        code="DN209",
    )


async def _reader(engine: Engine) -> JournalReader | None:
    journal = engine.journal
    if journal is None or journal.failure is not None or not await asyncio.to_thread(journal.flush):
        return None
    try:
        return JournalReader(journal.path)
    except JournalError:  # the failure was reported already; memory has the events of this run
        return None


def edited(payload: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """Return a copy of a payload with fields changed; a number names the place in a list.

    Raises:
        UsageError: a step leads into something that has no fields.
    """
    changed = copy.deepcopy(payload)
    for path, value in edits:
        *above, last = path.split(".")
        node: Any = changed
        for step in above:
            node = _into(node, step, path)
        if isinstance(node, dict):
            node[last] = value
        elif isinstance(node, list) and last.isdecimal() and int(last) < len(node):
            node[int(last)] = value
        else:
            raise UsageError(
                f"--edit {path}: {last!r} is no field there; the payload is {payload!r:.200}", code="DN210"
            )
    return changed


def _into(node: Any, step: str, path: str) -> Any:
    if isinstance(node, dict):
        return node.setdefault(step, {})
    if isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        return node[int(step)]
    raise UsageError(f"--edit {path}: there is nothing at {step!r}", code="DN210")


async def replay(
    engine: Engine,
    events: Sequence[EventEnvelope],
    *,
    edits: Sequence[Edit] = (),
    speed: float | None = None,
    only: str | None = None,
    session_id: str | None = None,
    timeout: float | None = 30,
) -> list[Trace]:
    """Fire events again, in their order, and return their traces.

    Args:
        engine: whose workers get them, as new events.
        events: what was recorded.
        edits: changes to every payload.
        speed: 1 for the pace at which they came, 2 for twice that; None to fire each when all that the one
            before caused has ended.
        only: the one worker that gets them.
        session_id: in place of the recorded one; a payload that names the recorded one names this instead.
        timeout: seconds to wait for what each causes.

    Raises:
        UsageError: an edit does not fit a payload; nothing is fired then.
        NotFound: there is no worker of the name `only`.
    """
    payloads = [edited(_moved(event, session_id), edits) for event in events]
    traces: list[Trace] = []
    for number, (event, payload) in enumerate(zip(events, payloads, strict=True)):
        if speed is not None and number:
            await pause(engine, _gap(events[number - 1], event) / speed)
        trace = await engine.fire(
            event.kind,
            payload,
            session_id=session_id or event.session_id,
            turn_id=event.turn_id,
            timeout=timeout,
            wait=speed is None,
            only=only,
        )
        trace.replayed = event
        traces.append(trace)
    if speed is not None:
        await wait_quiet(engine, traces, timeout)
    return traces


def _moved(event: EventEnvelope, session_id: str | None) -> dict[str, Any]:
    """Return an event's payload, in another session; fields that name any other session stay."""
    own = event.session_id
    is_own = own is not None and event.payload.get("session_id") == own
    return in_session(event.payload, session_id) if is_own else event.payload


def _gap(before: EventEnvelope, event: EventEnvelope) -> float:
    """Return the seconds between two events; 0 where the second has the earlier time."""
    return max(0.0, (event.timestamp - before.timestamp).total_seconds())


async def wait_quiet(engine: Engine, traces: Sequence[Trace], timeout: float | None) -> None:
    """Wait for all that was caused, up to `timeout` seconds; traces that go on say so."""
    try:
        async with time_limit(timeout):
            for trace in traces:
                await engine.history.wait_quiet(trace.event.event_id)
    except TimeoutError:
        for trace in traces:
            trace.timed_out = not engine.history.is_quiet(trace.event.event_id)


async def pause(engine: Engine, seconds: float) -> None:
    """Let `seconds` pass: of the day, or of the virtual clock, which is advanced."""
    if engine.clock.can_advance:
        await engine.advance(seconds)
    else:
        await asyncio.sleep(seconds)
