"""`%fire`: the payload of an event, the event itself, what goes wrong on purpose, and what it caused."""

from __future__ import annotations

import asyncio
import difflib
import json
import time
from typing import TYPE_CHECKING, Any

from dnworker.core.errors import ApiError, Invalid, NotFound, UsageError
from dnworker.core.lifecycle import WorkerState
from dnworker.core.payloads import skeleton
from dnworker.core.samples import TEMPLATES, template
from dnworker.engine.replay import pause, recorded, wait_quiet
from dnworker.events.faults import Delivery, FaultInjector, FaultPlan, read_chaos
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.syntax.options import read_body, read_payload

if TYPE_CHECKING:
    from dnworker.core.envelope import EventEnvelope
    from dnworker.events.trace import Trace
    from dnworker_jupyter.notebook import Notebook


async def fire(book: Notebook, options: Any, body: str | None) -> object:
    """Fire as the line of `%fire`, and the body of `%%fire`, say.

    Raises:
        UsageError: the line is wrong, or the payload is.
    """
    if options.kind is None:
        raise UsageError("%fire needs a kind, as in: %fire turn.completed turn_id=t1")
    if options.times < 1:
        raise UsageError(f"--times {options.times}: fire at least once")
    if options.rate is not None and options.rate <= 0:
        raise UsageError(f"--rate {options.rate:g}: more than none a second is wanted")
    if options.template:
        payload, _ = await suggest(book, options.kind)
        return Note(f"%%fire {options.kind}\n{json.dumps(payload, indent=2)}")
    chaos = None if options.chaos is None else read_chaos(options.chaos)
    if body is not None and options.payload:
        said = " ".join(options.payload)
        raise UsageError(
            f"%%fire {options.kind}: the payload is the body; put {said!r} there, or fire with %fire"
        )
    given = read_payload(options.payload, book.shell.user_ns) if body is None else read_body(body)
    if given is None:
        given, whence = await suggest(book, options.kind)
        if whence:
            print(f"payload: {whence}: {_short(given)}; %fire {options.kind} --template gives it to edit")  # noqa: T201
    deliveries = [Delivery(n, 0.0) for n in range(options.times)]
    if chaos is None:
        traces = await _deliver(book, options, given, deliveries, together=False)
    else:
        traces = await _deliver_in_chaos(book, options, given, chaos)
    return _told(book, options, traces)


async def suggest(book: Notebook, kind: str) -> tuple[dict[str, Any], str]:
    """Return a payload for a kind, and where it is from if that is worth saying.

    A kind of the runtime has a realistic one. Any other has what was fired last, this run or an earlier,
    else what its handlers read.
    """
    if kind in TEMPLATES:
        return template(kind), ""
    before = await _fired_before(book, kind)
    if before is not None and before.payload:
        return before.payload, f"as of #{before.seq}"
    sources = [
        handler.source
        for live in book.live.values()
        for handler, _ in live.handlers()
        if handler.decorator == "on_event" and handler.what == kind
    ]
    read = skeleton(sources)
    return read, "made of what handlers read" if read else ""


async def _fired_before(book: Notebook, kind: str) -> EventEnvelope | None:
    """Return the newest event of a kind; of earlier runs, the journal is asked once."""
    history = book.runtime.history
    newest = next((e for e in reversed(history.events(history.kept)) if e.kind == kind), None)
    if newest is not None:
        return newest
    if kind not in book.fired_earlier:
        found = await recorded(book.runtime, 1, kind=kind)
        book.fired_earlier[kind] = found[0] if found else None
    return book.fired_earlier[kind]


async def _deliver(
    book: Notebook, options: Any, payload: dict[str, Any], deliveries: list[Delivery], *, together: bool
) -> list[Trace]:
    """Fire each delivery; `together`: without waiting for what the one before causes."""
    runtime = book.runtime
    traces: list[Trace] = []
    started = time.monotonic()
    for number, delivery in enumerate(deliveries):
        if options.rate and number:
            await asyncio.sleep(max(0.0, started + number / options.rate - time.monotonic()))
        if delivery.delay:
            await pause(runtime, delivery.delay)
        try:
            traces.append(
                await runtime.fire(
                    options.kind,
                    payload,
                    session_id=options.session,
                    timeout=options.timeout,
                    wait=not (options.no_wait or together),
                    only=options.worker,
                )
            )
        except NotFound as exc:
            raise UsageError(f"%fire --worker: {exc}") from None
        except (Invalid, ApiError) as exc:
            raise UsageError(f"%fire {options.kind}: {exc}") from None
    if together and not options.no_wait:
        await wait_quiet(runtime, traces, options.timeout)
    return traces


async def _deliver_in_chaos(
    book: Notebook, options: Any, payload: dict[str, Any], chaos: FaultPlan
) -> list[Trace]:
    deliveries = chaos.deliveries(options.times)
    saboteur = FaultInjector(chaos)
    clients = [
        worker.client
        for worker in book.runtime.workers()
        if isinstance(worker, InProcessWorker) and worker.client is not None
    ]
    print(chaos.describe(deliveries))  # noqa: T201
    if chaos.faults and options.no_wait:
        raise UsageError("--chaos fail=... ends with the cell; leave --no-wait out")
    with saboteur.at_work(clients):
        traces = await _deliver(book, options, payload, deliveries, together=True)
    for failed in saboteur.failed:
        print(f"chaos: failed {failed}")  # noqa: T201
    return traces


def _told(book: Notebook, options: Any, traces: list[Trace]) -> Trace:
    """Say how it went, and return the trace to show: the last, or the last that is not well."""
    failed = [trace for trace in traces if not trace.ok and not options.no_wait]
    shown = failed[-1] if failed else traces[-1]
    if len(traces) > 1:
        print(f"fired {len(traces)} times: {len(traces) - len(failed)} ok, {len(failed)} not ok")  # noqa: T201
    if shown.timed_out and book.runtime.clock.can_advance:
        print("the clock is virtual: what sleeps on it waits for %clock advance")  # noqa: T201
    if not shown.invocations and not options.no_wait:
        print(nobody(book, options.kind))  # noqa: T201
    return shown


def nobody(book: Notebook, kind: str) -> str:
    """Say that no handler ran, and which kind may have been meant."""
    heard = kinds_heard(book)
    if kind in heard:
        return f"no handler ran for {kind}{_asleep(book, kind)}"
    near = difflib.get_close_matches(kind, sorted(heard | TEMPLATES.keys()), n=1)
    hint = f"; did you mean {near[0]}?" if near and near[0] != kind else ""
    others = [w.name for w in book.runtime.workers() if w.topology == "subprocess" and not w.stats]
    elsewhere = f" (what {', '.join(others)} does with it is in %worker logs)" if others else ""
    return f"no handler in this notebook listens to {kind}{hint}{elsewhere}"


def _asleep(book: Notebook, kind: str) -> str:
    """Say which workers listen to a kind and do not run, and the way out."""
    named = []
    for worker in book.runtime.workers():
        listens = any(key[:2] == ("on_event", kind) for key in worker.stats)
        live = book.live.get(worker.name)
        listens = listens or (live is not None and any(h.what == kind for h, _ in live.handlers()))
        if listens and worker.state is not WorkerState.RUNNING:
            named.append(f"{worker.name} is {worker.state}; %worker restart {worker.name}")
    return f": {'; '.join(named)}" if named else "; see %worker"


def kinds_heard(book: Notebook) -> set[str]:
    """Return the kinds that some handler listens to."""
    heard = {key[1] for w in book.runtime.workers() for key in w.stats if key[0] == "on_event"}
    for live in book.live.values():
        heard |= {h.what for h, _ in live.handlers() if h.decorator == "on_event"}
    return heard


def _short(payload: dict[str, Any]) -> str:
    text = json.dumps(payload)
    return text if len(text) <= 80 else f"{text[:80]}..."
