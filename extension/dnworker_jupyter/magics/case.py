"""`%%worker NAME --test` and `%events test`: a cell with an event and what the worker should do with it."""

from __future__ import annotations

from dnworker.core.clock import VirtualClock
from dnworker.core.envelope import EventEnvelope
from dnworker.core.errors import UsageError
from dnworker.engine.copies import places_of
from dnworker.engine.replay import find
from dnworker.events.cases import Case, as_test_cell, case_of
from dnworker.events.journal import SHORTEST_ID
from dnworker.events.trace import Trace
from dnworker.runtime import Runtime
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.live.shadow import apart
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import nearest


async def run_case(context: MagicContext, name: str, body: str) -> Note:
    """Fire the event at a fresh start of the worker, in a runtime of its own, as the exported test does.

    Raises:
        UsageError: there is no such worker, the body is no test, or the worker does something else.
    """
    from dnworker_jupyter.export.slicing.cases import read_case

    case = read_case(body)
    live = context.live.get(name)
    if live is None:
        known = context.live.names()
        raise UsageError(
            f"there is no worker {name!r} made of cells to test; there are: {', '.join(known) or 'none'}"
            f"{nearest(name, known)}",
            code="DN113",
        )
    async with Runtime(port=None, clock=VirtualClock(), telemetry=False) as runtime:
        await runtime.add(apart(live.make_shadow(), context.names))
        trace = await runtime.fire(case.event, dict(case.payload), session_id=case.session, only=name)
        if (problem := _problem(case, trace)) is not None:
            raise UsageError(f"test of worker {name!r}: {problem}\n{trace}", code="DN118")
    does = f" and publishes {', '.join(case.publishes)}" if case.publishes else ""
    return Note(f"{name} passes: it takes {case.event}{does}; the export has this in tests/")


def _problem(case: Case, trace: Trace) -> str | None:
    """Return what is not as it should be."""
    if not trace.invocations:
        return f"no handler listens to {case.event}"
    if trace.timed_out:
        return f"{case.event} is not done with in time"
    if not trace.ok:
        return f"{case.event} fails"
    published = [below.event.kind for run in trace.invocations for below in run.events]
    if case.publishes is not None and published != case.publishes:
        return f"{case.event} should publish {case.publishes}, and publishes {published}"
    return None


async def _tried(context: MagicContext, event: EventEnvelope, worker: str | None) -> Trace | None:
    """Return what fresh starts of the workers do with an event of another runtime; None for others.

    No handler here got it: it is fired in a runtime of its own, as the test will do.
    """
    if event.event_id not in await places_of(context.runtime, [event]):
        return None
    async with Runtime(port=None, clock=VirtualClock()) as runtime:
        for live in context.live:
            if worker in (None, live.name):
                await runtime.add(apart(live.make_shadow(), context.names))
        return await runtime.fire(event.kind, dict(event.payload), session_id=event.session_id)


async def offer_case(context: MagicContext, event: str, worker: str | None) -> Note:
    """Put a cell below that keeps a recorded event as a test.

    Raises:
        UsageError: there is no such event, no handler ran for it, or `worker` did nothing with it.
    """
    found = await find(
        context.runtime, f"#{event}" if event.isdecimal() and len(event) < SHORTEST_ID else event
    )
    trace = Trace(found, context.runtime.history)
    if not trace.invocations:
        trace = await _tried(context, found, worker) or trace
    names = list(dict.fromkeys(run.worker.rpartition(":")[2] for run in trace.invocations))
    if not names:
        raise UsageError(
            f"no handler of this run took #{found.seq}, so there is nothing to test; fire it again, or add a "
            f"handler of {found.kind} first",
            code="DN117",
        )
    if worker is not None and worker not in names:
        raise UsageError(
            f"worker {worker!r} did nothing with #{found.seq}; {', '.join(names)} did", code="DN117"
        )
    name = worker or names[0]
    if name not in context.live:
        raise UsageError(
            f"worker {name!r} is not made of cells with handlers, so no cell can test it", code="DN113"
        )
    context.shell.set_next_input(as_test_cell(case_of(trace, name), name))
    return Note("the test is in the cell below; run it, and the export has it in tests/")
