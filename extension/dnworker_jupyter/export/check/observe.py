"""What workers did with events, as plain data: two sides of a check do the same, or are told apart."""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dnworker.core.envelope import EventEnvelope, is_reserved
from dnworker_jupyter.export.planning.types import OnProgress

if TYPE_CHECKING:
    from dnworker.events.trace import Trace
    from dnworker.runtime import Runtime
    from dnworker.sessions.turn import Turn

Did = tuple[str, str, Any]
"""Who, such as `bridge.on_turn`; what it did; and with what, as JSON has it."""

Observation = list[Did]
"""All that was done with one event."""

EVENT_SECONDS = 30.0
"""Seconds that everything an event causes may take."""

SETTLE_SECONDS = 0.3
"""Seconds in which a task that fails at once has failed, where no event is waited for."""

VARIES = {"(varies)": None}
"""Stands for what is another value each time."""

STILL = "is still running when its time is up"

THE_EVENT = "the event"
"""Stands for who did something where that is nobody's doing."""

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


async def stand_in(turn: Turn) -> str:
    """Answer the turns that handlers start, the same on both sides."""
    return f"(a stand-in answers {len(turn.message)} characters)"


@dataclass(frozen=True)
class Seen:
    """What workers did: with each event, and aside, which tasks and schedules failed."""

    events: list[Observation]
    aside: Observation


async def observe(
    runtime: Runtime,
    events: Sequence[EventEnvelope],
    on_progress: OnProgress,
    *,
    timeout: float = EVENT_SECONDS,
) -> Seen:
    """Fire events one after the other, and return what workers did with each, and aside.

    What is not seen: what a handler does without its client, and what the turns that it starts cause.
    """
    runtime.agents.default(stand_in)
    seen = []
    for number, event in enumerate(events):
        on_progress(f"firing {event.kind}", number, len(events))
        trace = await runtime.fire(
            event.kind,
            dict(event.payload),
            session_id=event.session_id,
            turn_id=event.turn_id,
            timeout=timeout,
        )
        found = [*_did(trace)]
        if trace.timed_out and not any(what == STILL for _, what, _ in found):
            found.append((THE_EVENT, f"is not done with after {timeout:g} s", None))
        seen.append(sorted(found, key=lambda did: did[0]))  # of each handler in its order
    if not events:
        await asyncio.sleep(SETTLE_SECONDS)
    return Seen(seen, [*_failing(runtime)])


def _failing(runtime: Runtime) -> Iterator[Did]:
    for worker in runtime.workers():
        for (decorator, what, name), stats in worker.stats.items():
            if decorator in ("task", "every", "on_shutdown") and (error := stats.last_error) is not None:
                who = f"{worker.name}.{name}"
                yield (
                    who,
                    f"raises {error.type}, as {decorator} {what}".rstrip(),
                    _ADDRESS.sub("0x...", error.message),
                )


def _did(trace: Trace) -> Iterator[Did]:
    waiting = [trace]
    while waiting:
        for run in waiting.pop().invocations:
            who = f"{run.worker.rpartition(':')[2]}.{run.handler}"
            for error in (*([run.error] if run.error else []), *run.unhandled):
                yield who, f"raises {error.type}", _ADDRESS.sub("0x...", error.message)
            if run.outcome == "running":
                yield who, STILL, None
            if run.outcome == "cancelled":
                yield who, "is cancelled", None
            for below in run.events:
                waiting.append(below)
                event = below.event
                if event.kind == "notify":
                    # A client in-process says by itself whose it is, in a process not (contract 1.4).
                    own = ("", f"capability.{run.worker.partition(':')[0]}")
                    told = {k: v for k, v in event.payload.items() if k != "source" or v not in own}
                    yield who, "notifies", told
                elif not is_reserved(event.kind):
                    yield who, f"publishes {event.kind}", event.payload


# -- comparing -----------------------------------------------------------------------------------------


def blend(one: Any, other: Any) -> Any:
    """Return what two runs of the same code have in common; `VARIES` stands where they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: blend(one[key], other[key]) if key in one and key in other else VARIES
            for key in {**one, **other}
        }
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [blend(a, b) for a, b in zip(one, other, strict=True)]
    return one if one == other and type(one) is type(other) else VARIES


def agrees(pattern: Any, value: Any) -> bool:
    """Tell whether a value is what `blend` says it is."""
    if pattern == VARIES:
        return True
    if isinstance(pattern, dict) and isinstance(value, dict):
        required = {key for key, part in pattern.items() if part != VARIES}
        return required <= value.keys() <= pattern.keys() and all(
            agrees(pattern[key], part) for key, part in value.items()
        )
    if isinstance(pattern, list) and isinstance(value, list):
        return len(pattern) == len(value) and all(map(agrees, pattern, value))
    return bool(pattern == value) and type(pattern) is type(value)


def blended(first: Observation, second: Observation) -> Observation | None:
    """Return what two runs of the notebook did with an event; None where even the steps differ."""
    if [did[:2] for did in first] != [did[:2] for did in second]:
        return None
    return [(who, what, blend(a, b)) for (who, what, a), (_, _, b) in zip(first, second, strict=True)]


def differences(notebook: Observation, export: Observation) -> list[str]:
    """Return how the export differs from the notebook: `-` for what only that did, `+` for what only this."""
    left = [*export]
    missing = []
    for did in notebook:
        found = next((d for d in left if d[:2] == did[:2] and agrees(did[2], d[2])), None)
        if found is None:
            missing.append(did)
        else:
            left.remove(found)
    old, new = [shown(did) for did in missing], [shown(did) for did in left]
    return [line.rstrip() for line in difflib.ndiff(old, new) if not line.startswith("? ")]


def shown(did: Did) -> str:
    """Return one thing that was done as a line of text."""
    who, what, value = did
    if value is None:
        return f"{who} {what}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace(json.dumps(VARIES), "(varies)")
    return f"{who} {what}{':' if isinstance(value, str) else ''} {text}"
