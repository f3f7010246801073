"""`%clock`: shows and moves the clock of schedules, backoff and sleeps; the kernel's loop runs on."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from dnworker.core.clock import SwitchClock, turn_loop
from dnworker.core.errors import UsageError
from dnworker.core.invocation import Invocation
from dnworker.runtime import Runtime
from dnworker_jupyter.display.tables import Table, until
from dnworker_jupyter.magics.attached import check_not_attached
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.syntax.options import Parser, nearest

VERBS = ("real", "virtual", "advance", "next")
LIMIT = 1_000
"""Wakes after which `advance` stops by default: `every(seconds=0.001)` has 3.6 million in an hour."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|min|[smhdw])")


class ClockOptions(msgspec.Struct, frozen=True):
    """The options of a `%clock` line."""

    words: list[str]
    limit: int


def clock_parser() -> Parser:
    """Return the parser of the `%clock` line."""
    parser = Parser("%clock", "Show or set the clock that schedules, backoff and sleeps go by.")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[virtual | real | advance TIME | next [N]]",
        help="TIME is like 1h30m, 90s, 2d",
    )
    parser.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help=f"stop after N wakes ({LIMIT} by default)"
    )
    return parser


def read_duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `1h30m`, `250ms`, `2d`.

    Raises:
        UsageError: it is none of these.
    """
    try:
        seconds = float(text)
    except ValueError:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise UsageError(
                f"{text!r} is not a length of time; write it like 90s, 1h30m, 250ms or 2d", code="DN212"
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{text!r}: a clock goes forward", code="DN212")
    return seconds


async def run_clock(context: MagicContext, options: ClockOptions) -> object:
    """Run a `%clock` line.

    Raises:
        UsageError: the line is wrong, or the clock is real where it must be virtual.
    """
    runtime = context.runtime
    clock = runtime.clock
    if not isinstance(clock, SwitchClock):
        raise UsageError("this runtime's clock cannot be switched", code="DN212")
    match options.words:
        case []:
            return Clock(runtime)
        case ["virtual"]:
            check_not_attached(context, "%clock virtual", "whose events come in real time")
            clock.be_virtual()
            await turn_loop()
            runtime.look_again()
            return Clock(runtime)
        case ["real"]:
            clock.be_real()
            await turn_loop()  # schedules work their next runs out again
            runtime.look_again()
            return Clock(runtime)
        case ["advance", *parts] if parts:
            return await advance(runtime, clock, read_duration("".join(parts)), options.limit)
        case ["next", *count] if len(count) <= 1:
            times = count[0] if count else "1"
            if not times.isdecimal() or int(times) < 1:
                raise UsageError(f"%clock next {times}: how many? as in: %clock next 3", code="DN212")
            return await next_due(runtime, clock, int(times))
    text = " ".join(options.words)
    hint = "" if options.words[0] in VERBS else nearest(options.words[0], VERBS)
    raise UsageError(f"%clock takes: virtual, real, advance 1h, next [N]; not {text!r}{hint}", code="DN101")


async def advance(runtime: Runtime, clock: SwitchClock, seconds: float, limit: int) -> Runs:
    """Move a virtual clock on; returns what ran.

    Raises:
        UsageError: the clock is real.
    """
    _check_virtual(clock)
    if limit < 1:
        raise UsageError(f"--limit {limit}: at least one", code="DN212")
    end = clock.monotonic() + seconds
    with _Recording(runtime) as recorded:
        woken = await runtime.advance(seconds, limit=limit)
    if not clock.is_virtual:
        return Runs(runtime, recorded.runs, woken, "stopped: a handler made the clock real")
    left = end - clock.monotonic()
    stopped = f"stopped after {limit} wakes, {left:g} s before the end; go on with: %clock advance {left:g}"
    return Runs(runtime, recorded.runs, woken, stopped if left > 1e-6 else None)


async def next_due(runtime: Runtime, clock: SwitchClock, times: int) -> Runs:
    """Move a virtual clock on to what is due next, so many times; returns what ran.

    Raises:
        UsageError: the clock is real.
    """
    _check_virtual(clock)
    with _Recording(runtime) as recorded:
        woken = 0
        for _ in range(times):
            wait = clock.next_wake
            if wait is None:
                return Runs(runtime, recorded.runs, woken, "nothing is waiting for a time to come")
            woken += await runtime.advance(max(0.0, wait))
    return Runs(runtime, recorded.runs, woken, None)


def _check_virtual(clock: SwitchClock) -> None:
    if not clock.is_virtual:
        raise UsageError(
            "the clock is real, and goes by itself; make it virtual first: %clock virtual", code="DN212"
        )


class _Recording:
    """Records the invocations that begin meanwhile, and the clock's time then."""

    def __init__(self, runtime: Runtime) -> None:
        self.runs: list[tuple[datetime, Invocation]] = []
        self._runtime = runtime

    def __enter__(self) -> _Recording:
        self._end = self._runtime.history.listen(self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def _note(self, invocation: Invocation) -> None:
        if invocation.outcome == "running":
            self.runs.append((self._runtime.clock.now(), invocation))


class Clock(Table):
    """The time, and what is due next."""

    def __init__(self, runtime: Runtime) -> None:
        clock = runtime.clock
        due = [(when, worker, key) for worker in runtime.workers() for key, when in worker.next_runs.items()]
        rows = [
            [
                until(clock, when),
                worker.qualified_name,
                key.name,
                f"every {key.trigger}" if key.trigger else "after its crash",
            ]
            for when, worker, key in sorted(due, key=lambda item: item[0])
        ]
        is_virtual = "virtual" if clock.can_advance else "real"
        title = f"the clock is {is_virtual}: {clock.now():%Y-%m-%d %H:%M:%S} UTC"
        super().__init__(["due", "worker", "handler", "schedule"], rows, "nothing is scheduled", title=title)


class Runs(Table):
    """What ran while time moved on."""

    def __init__(
        self, runtime: Runtime, runs: list[tuple[datetime, Invocation]], woken: int, note: str | None
    ) -> None:
        rows = []
        for when, run in runs:
            happened = (
                str(run.error) if run.error is not None else "; ".join(line.text for line in [*run.logs])
            )
            kinds = ", ".join(event.kind for event in run.published)
            rows.append([f"{when:%H:%M:%S}", run.label, run.cause, run.outcome, kinds, happened[:120]])
        headings = ["at", "handler", "because of", "outcome", "published", "output"]
        slept = {0: "nothing was due", 1: "a sleeper woke"}.get(woken, f"{woken} sleepers woke")
        now = f"it is {runtime.clock.now():%Y-%m-%d %H:%M:%S} UTC" + (f"; {note}" if note else "")
        super().__init__(headings, rows, slept, note=now)
        self.runs = [run for _, run in runs]
