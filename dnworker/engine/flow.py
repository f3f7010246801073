"""`FlowMeter`: what flows where, as facts for a map: counted events and runs, and what sources say.

The panel's map, `dn.map()` and `runtime.map()` ask it. While the runtime runs it notes every few seconds
where the counters of handlers are; a handler's run costs nothing more for that.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from dnworker.core.lifecycle import WorkerState
from dnworker.core.source_calls import tree_of
from dnworker.events.flow_counts import AT_ONCE as RINGS_AT_ONCE
from dnworker.events.flow_counts import (
    MOST_HANDLED,
    QUARTER,
    PublishedCounts,
    Rings,
    at_once,
    publisher_of,
)
from dnworker.flow.graph import Facts, Flow, WorkerFacts
from dnworker.flow.reading import published_by
from dnworker.flow.scripts import beside, script_of, worker_facts
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.registry import handlers_of

if TYPE_CHECKING:
    from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
    from dnworker.core.handlers import HandlerKey
    from dnworker.core.side_threads import SideThreads
    from dnworker.events.history import History
    from dnworker.workers.managed import ManagedWorker
    from dnworker.workers.registry import HandlerRegistry

LIVE, RECENT = 1.0, 15.0
"""Minutes of the two windows."""

AT_ONCE, FACTS_AT_ONCE = 100, 25
"""Workers whose counters are noted, and whose facts are made, before the loop turns."""

WAITING_COUNTED = 2_000
"""Events that wait for workers, of which kinds are counted."""

READ_KEPT = 2_000
"""Workers of which is kept what their source says."""


class Handled(NamedTuple):
    """A worker and what it handles: a kind, the label of a schedule, or `task` and the like."""

    worker: str
    trigger: str
    is_failed: bool
    """Whether only the runs that failed are meant."""


class FlowMeter:
    """What one runtime's flow map is made of. Call it on the runtime's loop.

    Args:
        workers: returns the workers that there are.
        history: knows which events wait for workers.
        side_threads: parse files.
    """

    def __init__(
        self, workers: Callable[[], list[ManagedWorker]], history: History, side_threads: SideThreads
    ) -> None:
        self._workers, self._history, self._side_threads = workers, history, side_threads
        self.published = PublishedCounts()
        self._published_rings: Rings[tuple[str | None, str]] = Rings()
        self._handled_rings: Rings[Handled] = Rings(most=MOST_HANDLED)
        self._written: dict[str, tuple[object, WorkerFacts]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """Note the counters every few seconds; returns what ends it."""
        self._plan(loop)
        return self._end

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(QUARTER / 2, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._go_on(loop, self._noting())

    def _go_on(self, loop: asyncio.AbstractEventLoop, steps: Iterator[None]) -> None:
        """Take the next step, and the others when the loop has turned; then wait."""
        if self._timer is None:
            return  # ended meanwhile
        for _ in steps:
            self._timer = loop.call_later(0, self._go_on, loop, steps)
            return
        self._plan(loop)

    def _noting(self) -> Iterator[None]:
        """Note what was published, and what the workers have done; yields between small pieces of it."""
        yield from self._note_published()
        yield from self._published_rings.forget_silent(self.published.totals)
        workers = self._workers()
        for start in range(0, len(workers), AT_ONCE):
            for worker in workers[start : start + AT_ONCE]:
                self._handled_rings.note(_handled(worker))
            yield
        names = {worker.qualified_name for worker in workers}
        self._handled_rings.forget(lambda key: key.worker in names)
        for name in [name for name in self._written if name not in names]:
            del self._written[name]

    def _note_published(self) -> Iterator[None]:
        totals = list(self.published.totals.items())
        for start in range(0, len(totals), RINGS_AT_ONCE):
            self._published_rings.note(totals[start : start + RINGS_AT_ONCE])
            yield

    def _end(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # -- facts -----------------------------------------------------------------------------------------

    async def facts(self, minutes: float) -> Facts:
        """Return what is known of all workers, letting the loop turn meanwhile; files are read by a thread.

        Args:
            minutes: of the window that is counted, at most 15; 0 for what is read from source alone.
        """
        await self.read_sources()
        steps = self._collect(minutes)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return cast(Facts, end.value)
            await asyncio.sleep(0)

    async def read_sources(self) -> None:
        """Read the sources that are new, those of some workers each time a thread is asked."""
        unread: list[tuple[ManagedWorker, object]] = []
        workers = self._workers()
        files = [_file_of(worker) for worker in workers]
        stamps = await self._side_threads.run(_stamps, files) if any(files) else [None] * len(files)
        for number, (worker, stamp) in enumerate(zip(workers, stamps, strict=True), 1):
            if (key := self._unread_key(worker, stamp)) is not None:
                unread.append((worker, key))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        for start in range(0, len(unread), FACTS_AT_ONCE):
            some = unread[start : start + FACTS_AT_ONCE]
            found = await self._side_threads.run(_read_all, [_to_read(worker) for worker, _ in some])
            for (worker, key), read in zip(some, found, strict=True):
                self._keep(worker, key, read)

    def heard_by_source(self, worker: str) -> frozenset[str]:
        """Return the kinds that a worker's source listens to, as `read_sources` has found it last."""
        _, read = self._written.get(worker, (None, None))
        return frozenset() if read is None else frozenset(read.hears)

    def facts_now(self, minutes: float) -> Facts:
        """Return the same at once, for who holds the loop anyhow."""
        workers = self._workers()
        for worker, stamp in zip(workers, _stamps([_file_of(one) for one in workers]), strict=True):
            if (key := self._unread_key(worker, stamp)) is not None:
                self._keep(worker, key, _read(*_to_read(worker)))
        return at_once(self._collect(minutes))

    def _keep(self, worker: ManagedWorker, key: object, read: WorkerFacts) -> None:
        self._written.pop(worker.qualified_name, None)
        if len(self._written) >= READ_KEPT:
            del self._written[next(iter(self._written))]
        self._written[worker.qualified_name] = key, read

    def _unread_key(self, worker: ManagedWorker, stamp: Stamp) -> object:
        """Return the key of a worker's source if that is not read yet; None where nothing is to be read."""
        key = self._source_key(worker, stamp)
        return None if self._written.get(worker.qualified_name, (None,))[0] == key else key

    def _source_key(self, worker: ManagedWorker, stamp: Stamp) -> object:
        """Return what tells whether a worker's source is another than it was; None where it has none."""
        if (registry := _registry_of(worker)) is not None:
            return worker.generation, tuple(handler.function for handler in handlers_of(registry))
        definition = worker.definition
        return (definition, stamp) if definition.path or definition.command else None

    def _collect(self, minutes: float) -> Generator[None, None, Facts]:
        """Yield after some workers or counts; returns the facts of all."""
        workers = self._workers()
        for number, worker in enumerate(workers, 1):
            self._handled_rings.note(_handled(worker))
            if number % FACTS_AT_ONCE == 0:
                yield
        yield from self._note_published()
        handled = (yield from self._handled_rings.summing(minutes)) if minutes else {}
        published: dict[str, dict[str, int]] = {}
        counts = (yield from self._published_rings.summing(minutes)) if minutes else {}
        lately = (yield from self._published_rings.summing(RECENT)) if minutes else {}
        for (publisher, kind), seen in lately.items():
            if seen:  # else it was long ago; what was seen lately stays in its place
                kinds = published.setdefault(publisher_of(publisher, kind), {})
                kinds[kind] = kinds.get(kind, 0) + counts.get((publisher, kind), 0)
        waiting = _waiting(self._history) if minutes else {}
        yield
        arrived: dict[str, int] = {}
        for kinds in published.values():
            for kind, count in kinds.items():
                arrived[kind] = arrived.get(kind, 0) + count
        found = []
        for number, worker in enumerate(workers, 1):
            own = published.pop(worker.qualified_name, {})
            found.append(self._facts_of(worker, handled, own, arrived, waiting))
            if number % FACTS_AT_ONCE == 0:
                yield
        sources = {name: kinds for name, kinds in published.items() if ":" not in name}
        passed = self._published_rings.passed(minutes) if minutes else 0.0
        return Facts(found, sources, passed)

    def _facts_of(
        self,
        worker: ManagedWorker,
        handled: Mapping[Handled, int],
        published: dict[str, int],
        arrived: Mapping[str, int],
        waiting: Mapping[str, int],
    ) -> WorkerFacts:
        """Return the facts of one worker; where no runs are reported, what was published counts."""
        name, stats = worker.qualified_name, worker.stats
        read = self._written.get(name, (None, WorkerFacts(name, worker.capability)))[1]
        is_silent = not stats and worker.state is WorkerState.RUNNING

        def flow(trigger: str) -> Flow:
            count = arrived.get(trigger, 0) if is_silent else handled.get(Handled(name, trigger, False), 0)
            return Flow(count, min(count, handled.get(Handled(name, trigger, True), 0)))

        hears = {key.trigger for key in stats if key.decorator == "on_event"} or set(read.hears)
        schedules = {key.trigger for key in stats if key.decorator == "every"} or set(read.schedules)
        p95 = [quantiles.p95 for one in stats.values() if (quantiles := one.quantiles()) is not None]
        return WorkerFacts(
            name,
            worker.capability,
            state=str(worker.state),
            error=worker.error if worker.state is WorkerState.ERROR else None,
            gate=worker.definition.when if worker.state is WorkerState.GATED_OFF else (),
            p95=max(p95, default=None),
            waiting={kind: waiting[kind] for kind in hears if kind in waiting},
            hears={kind: flow(kind) for kind in sorted(hears)},
            schedules={label: flow(label) for label in sorted(schedules)},
            tasks=flow("task"),
            published=published,
            writes=read.writes,
            written=read.written,
            handlers=max(read.handlers, len(stats)),
        )

    def series(self, worker: str | None = None, kind: str | None = None) -> list[tuple[int, int]]:
        """Return calls and failed calls of a worker, or events of a kind, in each quarter of a minute."""
        if worker is None:
            return [(count, 0) for count in self._published_rings.series(lambda key: key[1] == kind)]
        calls = self._handled_rings.series(lambda key: key.worker == worker and not key.is_failed)
        failed = self._handled_rings.series(lambda key: key.worker == worker and key.is_failed)
        return list(zip(calls, failed, strict=True))


def _waiting(history: History) -> dict[str, int]:
    """Return how often events wait for a worker, by kind."""
    found: dict[str, int] = {}
    for event_id, times in history.undelivered(WAITING_COUNTED).items():
        if (event := history.event(event_id)) is not None:
            found[event.kind] = found.get(event.kind, 0) + times
    return found


def _handled(worker: ManagedWorker) -> list[tuple[Handled, int]]:
    """Return the totals of a worker: ended and failed runs of each thing that it handles."""
    totals: dict[Handled, int] = {}
    name = worker.qualified_name
    for key, stats in worker.stats.items():
        trigger = key.trigger or key.decorator
        for is_failed, count in ((False, stats.calls - stats.in_flight), (True, stats.errors)):
            one = Handled(name, trigger, is_failed)
            totals[one] = totals.get(one, 0) + count
    return list(totals.items())


Stamp = tuple[int, int] | None
"""When a file was written, in ns, and its bytes; None where there is none."""


def _registry_of(worker: ManagedWorker) -> HandlerRegistry | None:
    """Return what has the functions of a worker that runs in this process; None of others."""
    return worker.worker if isinstance(worker, InProcessWorker) else None


def _file_of(worker: ManagedWorker) -> tuple[CapabilityManifest, WorkerDefinition] | None:
    """Return what names the file that a worker's source is read from; None where that is not a file."""
    definition = worker.definition
    if _registry_of(worker) is not None or not (definition.path or definition.command):
        return None
    return worker.home.manifest, definition


def _stamps(files: Iterable[tuple[CapabilityManifest, WorkerDefinition] | None]) -> list[Stamp]:
    """Return when the files of workers were written; on a thread, as disks may be slow."""
    return [None if one is None else _stamp(*one) for one in files]


def _stamp(manifest: CapabilityManifest, definition: WorkerDefinition) -> Stamp:
    try:
        file = script_of(manifest, definition)
        found = None if file is None else file.stat()
    except (OSError, ValueError):
        return None  # the file is gone: nothing is known of it
    return None if found is None else (found.st_mtime_ns, found.st_size)


ToRead = tuple[str, str, "CapabilityManifest", "WorkerDefinition", list[Any]]
"""What `_read` takes."""


def _to_read(worker: ManagedWorker) -> ToRead:
    registry = _registry_of(worker)
    handlers = [] if registry is None else [(one.key, one.function) for one in handlers_of(registry)]
    return worker.qualified_name, worker.capability, worker.home.manifest, worker.definition, handlers


def _read_all(sources: Sequence[ToRead]) -> list[WorkerFacts]:
    return [_read(*source) for source in sources]


def _read(
    name: str,
    capability: str,
    manifest: CapabilityManifest,
    definition: WorkerDefinition,
    handlers: Sequence[tuple[HandlerKey, Any]],
) -> WorkerFacts:
    """Return what the source of a worker says; on a thread, as files are parsed."""
    if not handlers:
        return worker_facts(manifest, definition)
    writes: set[str] = set()
    for _, function in handlers:
        try:
            writes |= _writes_of(function)
        except (RecursionError, ValueError):  # it wraps itself, or is nested too deep
            continue
    hears = {key.trigger: Flow() for key, _ in handlers if key.decorator == "on_event"}
    schedules = {key.trigger: Flow() for key, _ in handlers if key.decorator == "every"}
    return WorkerFacts(
        name,
        capability,
        hears=hears,
        schedules=schedules,
        writes=frozenset(writes),
        written=frozenset({*hears, *schedules}),
        handlers=len(handlers),
    )


def _writes_of(function: Any) -> frozenset[str]:
    """Return the kinds that a handler's source publishes; none where its source is not known.

    Raises:
        ValueError: it wraps itself.
        RecursionError: its source is nested too deep.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or (tree := tree_of(code.co_filename)) is None:
        return frozenset()
    return published_by(tree, code.co_firstlineno, _beside(code.co_filename, tree))


def _beside(file: str, tree: ast.Module) -> dict[str, ast.Module]:
    path = Path(file)
    return beside(path, tree) if path.is_file() else {}
