"""`%fire` and `%%fire`: fires an event, with faults where they are wanted, and shows what it caused."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

import msgspec

from dnworker.core.errors import ApiError, Invalid, NotFound, UsageError, code_of
from dnworker.core.text import shorten
from dnworker.engine.replay import pause, wait_quiet
from dnworker.engine.suggest import A_TEMPLATE
from dnworker.events.faults import Delivery, FaultInjector, FaultPlan, read_chaos
from dnworker.events.trace import Trace
from dnworker.runtime import Runtime
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.attached import tell_fired
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.virtual_wait import WAY_OUT, VirtualWait, sleeping
from dnworker_jupyter.syntax.options import Parser, read_body, read_payload

LONGEST_SHOWN = 80
"""Characters of a suggested payload that are shown."""


class FireOptions(msgspec.Struct, frozen=True):
    """The options of a `%fire` line."""

    kind: str
    """Empty where the line has none."""
    payload: list[str]
    session: str | None
    worker: str | None
    times: int
    rate: float | None
    timeout: float
    no_wait: bool
    template: bool
    chaos: str | None
    debug: bool


@functools.cache
def fire_parser(*, is_cell: bool = False) -> Parser:
    """Return the parser of the `%fire` line."""
    parser = Parser("%%fire" if is_cell else "%fire", "Fire an event and show what it caused.")
    parser.add_argument("kind", nargs="?", default="", help="the event's kind, such as turn.completed")
    parser.add_argument("payload", nargs="*", metavar="key=value", help="fields of the payload")
    parser.add_argument("--session", metavar="ID", help="publish in this session")
    parser.add_argument("--worker", metavar="NAME", help="only this worker gets it")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="fire N times")
    parser.add_argument("--rate", type=float, metavar="R", help="at most R a second")
    parser.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="wait at most S seconds, 30 by default"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait for what it causes")
    parser.add_argument("--debug", action="store_true", help="stop at the first line of each handler")
    parser.add_argument("--template", action="store_true", help="fire nothing; show a payload to edit")
    parser.add_argument(
        "--chaos",
        metavar="WORDS",
        help="faults on purpose: seed=7,duplicate=0.2,delay=0.1,reorder,fail=client.publish:3",
    )
    return parser


async def run_fire(context: MagicContext, options: FireOptions, body: str | None) -> object:
    """Run a `%fire` line, or a `%%fire` cell with its body.

    Raises:
        UsageError: the line is wrong, or the payload is.
    """
    if not options.kind:
        raise UsageError("%fire needs a kind, as in: %fire turn.completed turn_id=t1", code="DN201")
    _check(options)
    if options.template:
        payload, _ = await context.suggestions.suggest(options.kind, options.session)
        return Note(f"%%fire {options.kind}\n{json.dumps(payload, indent=2)}")
    if options.debug:
        check_debug(context, options.kind, options.worker)
    faults = None if options.chaos is None else read_chaos(options.chaos)
    waits = VirtualWait(context.runtime)
    payload = await _payload(context, options, body)
    tell_fired(context)
    fire = functools.partial(_fire, context.runtime, options, payload, waits)
    if faults is None:
        deliveries = [Delivery(n, 0.0) for n in range(options.times)]
        traces = await _deliver(context.runtime, options, fire, deliveries, waits, together=False)
    else:
        traces = await _deliver_with_faults(context.runtime, options, fire, waits, faults)
    return _report(context, options, traces, waits)


def _check(options: FireOptions) -> None:
    if options.times < 1:
        raise UsageError(f"--times {options.times}: fire at least once", code="DN101")
    if options.rate is not None and not 0 < options.rate < math.inf:
        raise UsageError(
            f"--rate {options.rate:g}: more than none a second is wanted, as in --rate 10", code="DN101"
        )
    if options.debug and options.no_wait:
        raise UsageError("--debug stops in the cell that waits; leave --no-wait out", code="DN103")
    check_wait(options.timeout, options.session)


def check_wait(timeout: float, session: str | None) -> None:
    """Check options that `%fire` and `%replay` share.

    Raises:
        UsageError: one makes no sense.
    """
    if not 0 <= timeout < math.inf:
        raise UsageError(
            f"--timeout {timeout:g}: seconds to wait are wanted, as in --timeout 60", code="DN219"
        )
    if session == "":
        raise UsageError("--session needs the id of a session; leave it out for none", code="DN219")


def check_debug(context: MagicContext, kind: str, only: str | None) -> None:
    """Say of which workers `--debug` cannot stop the handlers.

    Raises:
        UsageError: nobody could answer the debugger.
    """
    if (why := context.debugging.post_mortem.why_no_input()) is not None:
        raise UsageError(f"--debug: {why}", code="DN120")
    for worker in context.runtime.workers():
        is_wanted = only in (None, worker.name, worker.qualified_name) and worker.may_hear(kind)
        if is_wanted and worker.topology != "in-process":
            live = context.live.running(worker)
            topology = "" if live is None else live.topology
            way = f"; %worker topology {worker.name} {topology} --debug lets an editor attach to it"
            print(  # noqa: T201  this is the cell's output
                f"{worker.name} runs as a process, which a cell cannot enter{way if topology else ''}"
            )


async def _payload(context: MagicContext, options: FireOptions, body: str | None) -> dict[str, Any]:
    """Return the payload of the line or the body; where neither has one, a suggested one, which is shown."""
    if body is not None and options.payload:
        words = " ".join(options.payload)
        raise UsageError(
            f"%%fire {options.kind}: the payload is the body; put {words!r} there, or fire with %fire",
            code="DN205",
        )
    given = read_payload(options.payload, context.names) if body is None else read_body(body)
    if given is not None:
        return given
    payload, source = await context.suggestions.suggest(options.kind, options.session)
    if source and source != A_TEMPLATE:
        shown = shorten(json.dumps(payload), LONGEST_SHOWN)
        edit = f"%fire {options.kind} --template gives it to edit"
        print(f"payload: {source}: {shown}; {edit}")  # noqa: T201
    return payload


async def _fire(
    runtime: Runtime, options: FireOptions, payload: dict[str, Any], waits: VirtualWait, *, wait: bool
) -> Trace:
    try:
        async with waits.telling() if wait else nullcontext():
            return await runtime.fire(
                options.kind,
                payload,
                session_id=options.session,
                timeout=options.timeout,
                wait=wait,
                only=options.worker,
                on_wait=print,
            )
    except NotFound as exc:
        raise UsageError(f"%fire --worker: {exc}", code=code_of(exc) or "DN301") from None
    except (Invalid, ApiError) as exc:
        raise UsageError(f"%fire {options.kind}: {exc}", code=code_of(exc) or "DN201") from None


async def _deliver(
    runtime: Runtime,
    options: FireOptions,
    fire: Callable[..., Coroutine[Any, Any, Trace]],
    deliveries: list[Delivery],
    waits: VirtualWait,
    *,
    together: bool,
) -> list[Trace]:
    """Fire each delivery; `together`: without waiting for what the one before causes.

    Once one was waited for in vain, as it sleeps on a virtual clock, the others are not: they would, too.
    """
    traces: list[Trace] = []
    is_stuck = False
    due = time.monotonic()
    for number, delivery in enumerate(deliveries):
        if options.rate and number:
            due = next_due(due, time.monotonic(), 1 / options.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if delivery.delay:
            await pause(runtime, delivery.delay)
        traces.append(await fire(wait=not (options.no_wait or together or is_stuck)))
        if traces[-1].timed_out and number < len(deliveries) - 1 and (names := waits.sleepers()):
            is_stuck = True
            print(f"{sleeping(names)}: the other {len(deliveries) - 1 - number:,} are fired without a wait")  # noqa: T201
    if is_stuck:
        await waits.settle()
    if together and not options.no_wait:
        await wait_quiet(runtime, traces, options.timeout)
    return traces


def next_due(due: float, now: float, step: float) -> float:
    """Return when the next of a series may fire, `step` seconds after the one that was due at `due`.

    A little lateness is made up for; what a busy kernel held up is not, or it would come as a burst.
    """
    return due + step if now - due < 2 * step else now


async def _deliver_with_faults(
    runtime: Runtime,
    options: FireOptions,
    fire: Callable[..., Coroutine[Any, Any, Trace]],
    waits: VirtualWait,
    faults: FaultPlan,
) -> list[Trace]:
    deliveries = faults.deliveries(options.times)
    injector = FaultInjector(faults)
    in_process = [worker for worker in runtime.workers() if isinstance(worker, InProcessWorker)]
    clients = [worker.client for worker in in_process if worker.client is not None]
    print(faults.describe(deliveries))  # noqa: T201
    if faults.faults and options.no_wait:
        raise UsageError("--chaos fail=... ends with the cell; leave --no-wait out", code="DN213")
    with injector.at_work(clients):
        traces = await _deliver(runtime, options, fire, deliveries, waits, together=True)
    for failed in injector.failed:
        print(f"chaos: failed {failed}")  # noqa: T201
    return traces


def _report(context: MagicContext, options: FireOptions, traces: list[Trace], waits: VirtualWait) -> Trace:
    """Print how it went, and return the trace to show: one that is not ok if there is one, else the last."""
    by_outcome: dict[str, list[Trace]] = {"ok": [], "not ok": [], "under way": []}
    for trace in traces:
        by_outcome[trace.outcome].append(trace)
    shown = [*by_outcome["ok"], *by_outcome["under way"], *by_outcome["not ok"]][-1]
    if len(traces) > 1:
        always = ("ok", "not ok") if not options.no_wait else ()
        counts = [f"{len(some)} {word}" for word, some in by_outcome.items() if some or word in always]
        print(f"fired {len(traces)} times: {', '.join(counts)}")  # noqa: T201
    if options.no_wait:
        if shown.is_under_way:
            print(f"#{shown.event.seq} is under way; %events and the panel show what comes of it")  # noqa: T201
    elif shown.is_under_way and (names := waits.sleepers()):
        print(f"what is under way waits for {sleeping(names)}; {WAY_OUT}")  # noqa: T201
    elif not shown.invocations and not shown.is_under_way and not shown.not_listening:
        print(context.suggestions.why_unheard(options.kind))  # noqa: T201
    return shown
