"""Records what workers do with events as plain data, and compares two runs; used on both sides of a check."""

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

Effect = tuple[str, str, Any]
"""One thing that a handler did: who, such as `bridge.on_turn`; the action; its value, as JSON has it."""

EVENT_SECONDS = 30.0
"""Seconds that everything an event causes may take."""

SETTLE_SECONDS = 0.3
"""Seconds for tasks to fail in, where there is no event to wait for."""

VARIES = {"(varies)": None}
"""Stands for a value that differs between two runs of the same code."""

STILL = "is still running when its time is up"

THE_EVENT = "the event"
"""Stands for the handler in an effect that is not of a handler."""

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


async def stand_in(turn: Turn) -> str:
    """Answer the turns that handlers start, the same on both sides."""
    return f"(a stand-in answers {len(turn.message)} characters)"


@dataclass(frozen=True)
class CheckRun:
    """What workers did with each event, and which tasks and schedules failed in the background."""

    events: list[list[Effect]]
    background: list[Effect]


async def observe(
    runtime: Runtime,
    events: Sequence[EventEnvelope],
    on_progress: OnProgress,
    *,
    timeout: float = EVENT_SECONDS,
) -> CheckRun:
    """Fire events one after the other, and return what workers did.

    Not observed: what a handler does without its client, and what the turns that it starts cause.
    """
    runtime.agents.default(stand_in)
    effects = []
    for number, event in enumerate(events):
        on_progress(f"firing {event.kind}", number, len(events))
        trace = await runtime.fire(
            event.kind,
            dict(event.payload),
            session_id=event.session_id,
            turn_id=event.turn_id,
            timeout=timeout,
        )
        found = [*_effects(trace)]
        if trace.timed_out and not any(action == STILL for _, action, _ in found):
            found.append((THE_EVENT, f"is not done with after {timeout:g} s", None))
        found.sort(key=lambda effect: effect[0])  # stable: effects of one handler keep their order
        effects.append(found)
    if not events:
        await asyncio.sleep(SETTLE_SECONDS)
    return CheckRun(effects, [*_failures(runtime)])


def _failures(runtime: Runtime) -> Iterator[Effect]:
    for worker in runtime.workers():
        for key, stats in worker.stats.items():
            if key.decorator in ("task", "every", "on_shutdown") and (error := stats.last_error) is not None:
                action = f"raises {error.type}, as {key.decorator} {key.trigger}".rstrip()
                yield f"{worker.name}.{key.name}", action, _ADDRESS.sub("0x...", error.message)


def _effects(trace: Trace) -> Iterator[Effect]:
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
                    # Only an in-process client names its capability as the source (contract 1.4).
                    own = ("", f"capability.{run.worker.partition(':')[0]}")
                    payload = {k: v for k, v in event.payload.items() if k != "source" or v not in own}
                    yield who, "notifies", payload
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
    """Return whether a value is what `blend` says it is."""
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


def blended(first: Sequence[Effect], second: Sequence[Effect]) -> list[Effect] | None:
    """Return what two runs of the notebook did with an event; None where even the steps differ."""
    if [effect[:2] for effect in first] != [effect[:2] for effect in second]:
        return None
    return [(who, action, blend(a, b)) for (who, action, a), (_, _, b) in zip(first, second, strict=True)]


def differences(notebook: Sequence[Effect], export: Sequence[Effect]) -> list[str]:
    """Return how the export differs: `-` before what only the notebook did, `+` before what only it did."""
    left = [*export]
    missing = []
    for effect in notebook:
        found = next((e for e in left if e[:2] == effect[:2] and agrees(effect[2], e[2])), None)
        if found is None:
            missing.append(effect)
        else:
            left.remove(found)
    old, new = [shown(effect) for effect in missing], [shown(effect) for effect in left]
    return [line.rstrip() for line in difflib.ndiff(old, new) if not line.startswith("? ")]


def shown(effect: Effect) -> str:
    """Return an effect as a line of text."""
    who, action, value = effect
    if value is None:
        return f"{who} {action}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace(json.dumps(VARIES), "(varies)")
    return f"{who} {action}{':' if isinstance(value, str) else ''} {text}"
