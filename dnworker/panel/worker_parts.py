"""The parts of a worker's drawer: `worker` (what changes all the time), `life` and `code`, for `parts`.

Only what somebody looks at is made. Each is bounded: at most so many handlers, steps, lines.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import NotFound
from dnworker.core.lifecycle import WorkerState
from dnworker.core.masking import MASK
from dnworker.panel import serialize
from dnworker.panel.code_diff import diff_of, plain
from dnworker.panel.serialize import Now, millis
from dnworker.workers.lives import FAILURE_STEP
from dnworker.workers.silence import why_not_retried, why_silent
from dnworker.workers.subprocess_worker import SubprocessWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dnworker.core.logs import LogLine
    from dnworker.core.stats import HandlerStats
    from dnworker.panel.model import PanelModel
    from dnworker.panel.pace import Pace
    from dnworker.workers.managed import ManagedWorker

WORKER_INTERVAL = 0.5
LIFE_INTERVAL = 1.0
CODE_INTERVAL = 2.0
"""Seconds between two looks."""

HANDLERS_SHOWN = 200
LINES_SHOWN = 8
CHUNK, LINES_SEARCHED = 2_000, 20_000
"""Lines of the log that are looked at before the loop turns, and in all, for the newest of one worker."""

VARIABLES_SHOWN = 200
LONGEST_VALUE = 200

_REFERENCES = re.compile(r"(?:[\s:/.,@-]|\$\{[A-Za-z_][A-Za-z0-9_]*\})+")
"""A value of the manifest that names variables, and holds nothing that could be a secret itself."""

Part = dict[str, Any]


def _found(model: PanelModel, wanted: Part) -> ManagedWorker | None:
    try:
        return model.engine.worker(str(wanted.get("worker")))
    except NotFound:
        return None


# -- what changes all the time -------------------------------------------------------------------------


async def read_worker(model: PanelModel, wanted: Part, pace: Pace) -> Part:
    """Return a worker's row with its handlers, what fails, its process, and the end of its log."""
    worker = _found(model, wanted)
    if worker is None:
        return {"name": wanted.get("worker"), "gone": True}
    row = model.worker_to_json(worker)
    await pace.rest()
    handlers = await _handlers(model, worker, pace)
    return row | {
        "since": millis(worker.transitions[-1].at),
        "process": _process(worker),
        "silent": why_silent(worker),
        "notRetried": why_not_retried(worker),
        "handlers": handlers,
        "allHandlers": len(worker.stats),
        "failure": failure_of(model, worker),
        "log": await _tail(model, worker, pace),
    }


async def _handlers(model: PanelModel, worker: ManagedWorker, pace: Pace) -> list[Part]:
    origins, stale = model.actions.origins(worker), model.actions.stale(worker)
    next_runs, now, found = worker.next_runs, Now.read(), []
    for key, stats in list(worker.stats.items())[:HANDLERS_SHOWN]:
        one = serialize.handler_to_json(key, stats, next_runs.get(key), origins.get(key), stale.get(key))
        found.append(one | {"runs": _runs(stats, now)})
        await pace.rest()
    return found


def _runs(stats: HandlerStats, now: Now) -> list[list[Any]]:
    """Return the latest runs of a schedule, oldest first: when each began, how long it took, its outcome."""
    to_epoch = now.since_epoch - now.monotonic
    return [
        [round((began + to_epoch) * 1000), None if took is None else round(took * 1000, 3), outcome]
        for began, took, outcome in stats.runs or ()
    ]


def _process(worker: ManagedWorker) -> Part | None:
    if not isinstance(worker, SubprocessWorker):
        return None
    process = worker.detail()["process"]
    runs = worker.state in (WorkerState.RUNNING, WorkerState.STARTING, WorkerState.STOPPING)
    words = [process["command"] or "", *process["args"]]
    return {
        "pid": process["pid"] if runs else None,
        "command": " ".join(words)[:LONGEST_VALUE],
        "restartIn": None if (due := process["restart_in"]) is None else round(due * 1000),
    }


def failure_of(model: PanelModel, worker: ManagedWorker) -> Part | None:
    """Return what fails: how many calls of which handler since when, and the event that it failed on last."""
    failing = [(key, stats) for key, stats in worker.stats.items() if stats.is_failing]
    if not failing:
        return None
    key, stats = max(failing, key=lambda one: one[1].errors - one[1].before[1])
    error = stats.last_error
    event = stats.last_failed_event and model.engine.history.event(stats.last_failed_event)
    return {
        "handler": key.name,
        "calls": max(0, stats.calls - stats.before[0] - stats.in_flight),
        "failed": stats.errors - stats.before[1],
        "generation": worker.generation if worker.generation > 1 else None,
        "text": None if error is None else error.summary[: serialize.LONGEST_TEXT],
        "place": None if error is None else error.place[: serialize.LONGEST_ORIGIN],
        "event": event.event_id if event else None,
        "seq": event.seq if event else None,
    }


async def _tail(model: PanelModel, worker: ManagedWorker, pace: Pace) -> list[Part]:
    """Return the worker's newest lines, of the newest lines of all workers that may be looked through."""
    logs, name = model.engine.logs, worker.qualified_name
    found: list[LogLine] = []
    end = logs.end
    for start in range(end - CHUNK, max(logs.first, end - LINES_SEARCHED) - CHUNK, -CHUNK):
        first = max(start, logs.first)
        lines = [one for one in logs.lines(first, start + CHUNK - first) if one.worker == name]
        found[:0] = lines[-(LINES_SHOWN - len(found)) :]
        if len(found) >= LINES_SHOWN:
            break
        await pace.rest()
    return [
        {
            "number": one.number,
            "at": millis(one.timestamp),
            "level": one.level,
            "event": one.event_id,
            "text": one.text[: serialize.LONGEST_LINE],
        }
        for one in found
    ]


# -- its life ------------------------------------------------------------------------------------------


async def read_life(model: PanelModel, wanted: Part, pace: Pace) -> Part:
    """Return a worker's steps with their reasons, its failed calls by time, generations and environment."""
    worker = _found(model, wanted)
    if worker is None:
        return {"worker": wanted.get("worker"), "gone": True}
    life = worker.life
    steps = [
        {"state": str(one.state), "at": millis(one.at), "reason": one.reason} for one in life.transitions
    ]
    if not steps:  # it was never started
        steps = [{"state": str(worker.state), "at": millis(worker.transitions[-1].at), "reason": None}]
    await pace.rest()
    generations = model.actions.generations(worker)
    return {
        "worker": worker.qualified_name,
        "steps": steps,
        "failures": [[step * FAILURE_STEP * 1000, count] for step, count in life.failures],
        "failureStep": FAILURE_STEP * 1000,
        "generations": [
            {"number": one.number, "at": round(one.at * 1000), "why": one.why[:LONGEST_VALUE]}
            for one in generations
        ],
        "present": generations[-1].number if generations else worker.generation,
        "previous": model.actions.previous(worker),
        "env": list(_environment(worker)),
    }


def _environment(worker: ManagedWorker) -> Iterator[list[str]]:
    """Go through the variables that a process is given: name, value, source. No value may be a secret."""
    if not isinstance(worker, SubprocessWorker):
        return
    for name, value, source in islice(worker.variables(), VARIABLES_SHOWN):
        is_shown = source == "flag" or (source == "declared" and _REFERENCES.fullmatch(value) is not None)
        yield [name[:LONGEST_VALUE], value[:LONGEST_VALUE] if is_shown else MASK, source]


# -- its code ------------------------------------------------------------------------------------------


async def read_code(model: PanelModel, wanted: Part, pace: Pace) -> Part:
    """Return the code of one generation, `to`, or what changed to it since another, `from`."""
    worker = _found(model, wanted)
    before, after = wanted.get("from"), wanted.get("to")
    answer: Part = {"worker": wanted.get("worker"), "from": before, "to": after, "sections": [], "why": None}
    if worker is None:
        return answer | {"why": "the worker is gone"}
    kept = {one.number: one for one in model.actions.generations(worker)}
    if after not in kept or (before is not None and before not in kept):
        return answer | {"why": "this generation is not kept any more"}
    old, new = None if before is None else kept[before].sections, kept[after].sections
    side = model.engine.side_threads
    made = await side.run(plain, new) if old is None else await side.run(diff_of, old, new)
    return answer | made
