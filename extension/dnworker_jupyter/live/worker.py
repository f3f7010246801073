"""Live registration: what cells register becomes the generations of a worker (design 7)."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.errors import UsageError
from dnworker.core.handlers import DECORATORS, handler_name
from dnworker.core.lifecycle import WorkerState
from dnworker.core.schedule import ScheduleSpec
from dnworker.runtime import LIVE_CAPABILITY
from dnworker.workers import shadow
from dnworker.workers.subprocess_worker import InProcessWorker
from dnworker.workers.worker import Worker
from dnworker_jupyter.live.processes import BridgedWorker, Bridges, LiveTopology, until_connected
from dnworker_jupyter.syntax.options import Options

if TYPE_CHECKING:
    from dnworker.runtime import Runtime
    from dnworker_jupyter.kernel.cells import Cell
    from dnworker_jupyter.live.transactions import Transactions

GENERATIONS_KEPT = 20


@dataclass(frozen=True)
class Handler:
    """One handler as a cell registered it."""

    decorator: str
    what: str
    name: str
    function: Any
    source: str
    schedule: ScheduleSpec | None = None
    enclosed: tuple[Any, ...] = ()
    """What its source does not tell: the objects that it closes over, and its defaults."""

    @property
    def code(self) -> tuple[Any, ...]:
        """What must be equal for two handlers to be the same, unchanged."""
        return (self.decorator, self.what, self.name, self.source, self.enclosed)


@dataclass(frozen=True)
class Registration:
    """What one run of one cell registered for a worker."""

    cell: Cell
    handlers: tuple[Handler, ...]
    seeds: dict[str, Any] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()
    """Keys that its cell took out of the state."""
    twice: tuple[str, ...] = ()
    """Names that its cell registered more than once in the same way; the last counts."""
    shared: bool = False
    at: float = field(default_factory=time.time)
    """When it took effect, in seconds since 1970."""


@dataclass(frozen=True)
class Change:
    """What a commit changed, to be told to the user."""

    added: tuple[Handler, ...]
    changed: tuple[Handler, ...]
    removed: tuple[Handler, ...]
    taken_over: tuple[tuple[Handler, Cell], ...]
    restarted: bool
    twice: tuple[str, ...] = ()


class LiveWorker:
    """A worker made of cells."""

    def __init__(self, name: str, bridges: Bridges) -> None:
        self.name = name
        self.topology: LiveTopology = "in-process"
        self._bridges = bridges
        self.options = Options()
        self.state: dict[str, Any] = {}
        self.generation = 0
        self.registrations: dict[str, Registration] = {}
        self.managed: InProcessWorker | BridgedWorker | None = None
        self._earlier: list[dict[str, Registration]] = []

    def handlers(self) -> Iterator[tuple[Handler, Cell]]:
        """Go through the handlers of the present generation, in the order of their cells."""
        for registration in self.registrations.values():
            for handler in registration.handlers:
                yield handler, registration.cell

    def merge(self, new: Registration) -> tuple[dict[str, Registration], list[tuple[Handler, Cell]]]:
        """Return the registrations with `new` among them, and the handlers it takes over from other cells."""
        names = {handler.name for handler in new.handlers}
        merged: dict[str, Registration] = {}
        taken: list[tuple[Handler, Cell]] = []
        for key, registration in self.registrations.items():
            if key == new.cell.key:
                merged[key] = new  # keeps its place among the cells
                continue
            kept = tuple(h for h in registration.handlers if h.name not in names)
            taken += [(h, registration.cell) for h in registration.handlers if h.name in names]
            if kept or registration.shared:
                merged[key] = replace(registration, handlers=kept)
        merged.setdefault(new.cell.key, new)
        return merged, taken

    async def commit(self, runtime: Runtime, transaction: CellTransaction) -> Change:
        """Make what a cell registered part of the next generation and let it run.

        Raises:
            NotExportable: the worker is a process, and something that the handlers need cannot leave the
                kernel; nothing has changed then.
        """
        new = transaction.registration()
        merged, taken = self.merge(new)
        change = await self._become(runtime, merged, taken, options=transaction.options, written=new)
        return replace(change, twice=new.twice)

    async def drop(self, runtime: Runtime, key: str) -> Change:
        """Let what a cell registered end: it was run again, and registers nothing here any more."""
        kept = {k: r for k, r in self.registrations.items() if k != key}
        return await self._become(runtime, kept, [])

    async def move(self, runtime: Runtime, topology: LiveTopology) -> None:
        """Run in another way from now on: a start with empty state, as a deploy would be.

        Raises:
            NotExportable: something that the handlers need cannot leave the kernel; the worker runs on as
            it was. WorkerFailed: the process did not come up.
        """
        before, self.topology = self.topology, topology
        try:
            await self._run(runtime, restart=True)
        except UsageError:
            self.topology = before
            raise

    def previous(self) -> Callable[[], Worker] | None:
        """Return what makes the Worker of the generation before, as at a start; None without one."""
        if not self._earlier:
            return None
        earlier = self._earlier[-1]
        return lambda: self.make_shadow(earlier)

    def make_shadow(self, registrations: dict[str, Registration] | None = None) -> Worker:
        """Make a Worker with a state of its own, as at a start; by default of the present generation."""
        chosen = self.registrations if registrations is None else registrations
        worker = _make_worker(self.name, [h for r in chosen.values() for h in r.handlers])
        for registration in chosen.values():
            worker.state.update(registration.seeds)
        return worker

    async def rollback(self, runtime: Runtime) -> Change:
        """Bring the previous generation back.

        Raises:
            UsageError: there is none.
        """
        if not self._earlier:
            raise UsageError(f"worker {self.name!r} has no earlier generation to go back to")
        return await self._become(runtime, self._earlier[-1], [], earlier=self._earlier[:-1])

    async def _become(
        self,
        runtime: Runtime,
        registrations: dict[str, Registration],
        taken: list[tuple[Handler, Cell]],
        *,
        earlier: list[dict[str, Registration]] | None = None,
        options: Options | None = None,
        written: Registration | None = None,
    ) -> Change:
        before = [handler for handler, _ in self.handlers()]
        undo = self.registrations, self._earlier, self.options, self.generation, dict(self.state)
        if earlier is not None:
            self._earlier = earlier
        elif self.registrations:
            self._earlier = [*self._earlier, self.registrations][-GENERATIONS_KEPT:]
        gate_changed = self.managed is not None and options is not None and options.when != self.options.when
        self.options = options or self.options
        self.registrations = _keep_unchanged_tasks(registrations, before)
        self.generation += 1
        after = [handler for handler, _ in self.handlers()]
        restart = gate_changed or _life_cycle(before) != _life_cycle(after)
        if written is not None:
            self.state.update(written.seeds)
            for key in written.removed:
                self.state.pop(key, None)
        try:
            await self._run(runtime, restart)
        except UsageError:
            self.registrations, self._earlier, self.options, self.generation, state = undo
            self.state.clear()
            self.state.update(state)
            raise
        old, new = {h.code for h in before}, {h.code for h in after}
        old_names = {(h.decorator, h.what, h.name) for h in before}
        new_names = {(h.decorator, h.what, h.name) for h in after}
        fresh = [h for h in after if h.code not in old]
        return Change(
            added=tuple(h for h in fresh if (h.decorator, h.what, h.name) not in old_names),
            changed=tuple(h for h in fresh if (h.decorator, h.what, h.name) in old_names),
            removed=tuple(h for h in before if (h.decorator, h.what, h.name) not in new_names),
            taken_over=tuple(taken),
            restarted=bool(before) and restart and old != new,
        )

    async def _run(self, runtime: Runtime, restart: bool) -> None:
        if self.topology != "in-process":
            bridged = self._bridges.make(self.name, self.topology, self.options, self.generation)
            self.managed = bridged
            await runtime.capabilities.adopt(bridged)
            if bridged.state is WorkerState.RUNNING:
                await until_connected(bridged)  # running is not yet listening
            return
        if not isinstance(self.managed, InProcessWorker):
            definition = WorkerDefinition(self.name, when=self.options.when)
            home = runtime.capability(LIVE_CAPABILITY)
            self.managed = InProcessWorker(runtime.services, home, definition, self._make_fresh)
            await runtime.capabilities.adopt(self.managed)
            return
        self.managed.definition = WorkerDefinition(self.name, when=self.options.when)
        await self.managed.swap(self._make, self._make_fresh, generation=self.generation, restart=restart)

    def _make_fresh(self) -> Worker:
        """Make the Worker for a start: its state holds only what cells put there at their top level."""
        self.state.clear()
        for registration in self.registrations.values():
            self.state.update(registration.seeds)
        return self._make()

    def _make(self) -> Worker:
        worker = _make_worker(self.name, [handler for handler, _ in self.handlers()])
        worker.state = self.state
        return worker


def _make_worker(name: str, handlers: Iterable[Handler]) -> Worker:
    worker = Worker(name)
    for handler in handlers:
        match handler.decorator:
            case "on_startup":
                worker._startup_handlers.append(handler.function)
            case "on_shutdown":
                worker._shutdown_handlers.append(handler.function)
            case "on_event":
                worker._event_handlers.setdefault(handler.what, []).append(handler.function)
            case "every":
                assert handler.schedule is not None
                worker._every_handlers.append((handler.schedule, handler.function))
            case "task":
                worker._task_handlers.append(handler.function)
    return worker


class CellTransaction:
    """One run of a `%%worker` cell: what it registers takes effect when it succeeds, or not at all."""

    def __init__(
        self,
        live: LiveWorker,
        cell: Cell,
        options: Options,
        *,
        shared: bool = False,
        quiet: bool = False,
        restart: bool = False,
    ) -> None:
        self.live = live
        self.cell = cell
        self.options = options
        self.shared = shared
        self.quiet = quiet
        self.restart = restart
        self.recording = Worker(live.name)
        self._state = _StagedState(live.state)
        self.recording.state = self._state

    def registration(self) -> Registration:
        """Return what the cell registered."""
        found = handlers_of(self.recording)
        handlers = _last_of_each(found)
        kept = {id(handler) for handler in handlers}
        twice = tuple(dict.fromkeys(h.name for h in found if id(h) not in kept))
        state = self.recording.state
        if state is self._state:
            written, removed = self._state.written(), self._state.removed()
        else:  # another dict was put in its place
            written, removed = dict(state), frozenset(self._state.before()) - frozenset(state)
        return Registration(self.cell, tuple(handlers), written, removed, twice, self.shared)


class _StagedState(dict[str, Any]):
    """What `worker.state` is at the top level of a cell: a copy of the live state that notes what is written.

    Only when the cell succeeds does the live state get what was written here.
    """

    def __init__(self, live: dict[str, Any]) -> None:
        super().__init__(live)
        self._before = dict(live)
        self._keys: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        self._keys.add(key)
        super().__setitem__(key, value)

    def before(self) -> dict[str, Any]:
        """Return what there was when the cell began."""
        return self._before

    def removed(self) -> frozenset[str]:
        """Return what was taken out."""
        return frozenset(self._before) - frozenset(self)

    def written(self) -> dict[str, Any]:
        """Return what was set, also where it was set to what it had been."""
        return {
            key: value
            for key, value in self.items()
            if key in self._keys or key not in self._before or self._before[key] is not value
        }


class NoWorker(UsageError, AttributeError):
    """There is no worker that `worker` could mean."""


class CurrentWorker:
    """What `worker` is in a notebook: the worker whose handler is running, else that of the newest cell.

    One name serves all `%%worker` cells: a handler of the first that says `worker.state` finds its own
    state, although a later cell was about another worker. Its decorators in a plain cell register for that.
    """

    def __init__(self, transactions: Transactions) -> None:
        object.__setattr__(self, "_transactions", transactions)

    @property  # type: ignore[misc]  # isinstance(worker, Worker) holds, as in the exported script
    def __class__(self) -> type:
        return Worker

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        return getattr(self._now(registers=name in DECORATORS), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._now(), name, value)

    def __repr__(self) -> str:
        return repr(self._now())

    def __copy__(self) -> CurrentWorker:
        return self

    def __deepcopy__(self, memo: Any) -> CurrentWorker:
        return self

    def _now(self, *, registers: bool = False) -> Worker:
        hidden = shadow.current_shadow.get()
        if hidden is not None:
            return hidden
        transactions: Transactions = object.__getattribute__(self, "_transactions")
        if registers and not transactions.is_recording():
            return transactions.latest_handle()
        return transactions.current_worker()


def wrong_signature(handler: Handler) -> str | None:
    """Say what is wrong with a handler's arguments; None when it can be called as it will be."""
    wanted = ("event", "client") if handler.decorator == "on_event" else ("client",)
    try:
        inspect.signature(handler.function).bind(*wanted)
    except TypeError:
        return f"cannot be called: it must take ({', '.join(wanted)})"
    except ValueError:  # a callable that tells nothing of itself
        return None
    return None


def handlers_of(worker: Worker) -> list[Handler]:
    """Return what a Worker has registered, as records."""
    found = [_record("on_startup", "", f) for f in worker._startup_handlers]
    found += [_record("on_event", kind, f) for kind, fs in worker._event_handlers.items() for f in fs]
    found += [_record("every", spec.label, f, spec) for spec, f in worker._every_handlers]
    found += [_record("task", "", f) for f in worker._task_handlers]
    found += [_record("on_shutdown", "", f) for f in worker._shutdown_handlers]
    return found


def _record(decorator: str, what: str, function: Any, schedule: ScheduleSpec | None = None) -> Handler:
    source, enclosed = _source(function), _enclosed(function)
    return Handler(decorator, what, handler_name(function), function, source, schedule, enclosed)


def _enclosed(function: Any) -> tuple[Any, ...]:
    cells = getattr(function, "__closure__", None) or ()
    held = [id(cell.cell_contents) for cell in cells if _is_filled(cell)]
    return (
        *held,
        repr(getattr(function, "__defaults__", None)),
        repr(getattr(function, "__kwdefaults__", None)),
    )


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  it raises while it is empty
    except ValueError:
        return False
    return True


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return repr((code.co_code, code.co_consts, code.co_names)) if code else repr(function)


def _last_of_each(handlers: list[Handler]) -> list[Handler]:
    """Within one cell too, a handler defined again replaces the first."""
    return list({(h.decorator, h.what, h.name): h for h in handlers}.values())


def _life_cycle(handlers: list[Handler]) -> list[tuple[Any, ...]]:
    return [h.code for h in handlers if h.decorator in ("on_startup", "on_shutdown")]


def _keep_unchanged_tasks(
    registrations: dict[str, Registration], before: list[Handler]
) -> dict[str, Registration]:
    """Keep the running function of a task whose source did not change, so that it is left alone."""
    running = {h.code: h for h in before if h.decorator == "task"}
    return {
        key: replace(r, handlers=tuple(running.get(h.code, h) for h in r.handlers))
        for key, r in registrations.items()
    }
