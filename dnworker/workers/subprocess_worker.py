"""`SubprocessWorker`: a managed worker that is a process of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dnworker.capability.environment import RuntimeAddress, interpolate, worker_environment
from dnworker.capability.flags import flag_variables
from dnworker.capability.manifest import WorkerDefinition
from dnworker.client.client import FENCE
from dnworker.client.event_stream import TRACES_VARIABLE
from dnworker.core.causes import because, cause
from dnworker.core.declared import DeclaredPayload
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import ALIVE, WorkerState
from dnworker.core.members import index_of
from dnworker.core.models import ComponentInfo
from dnworker.core.stats import HandlerStats
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.events.fed_queue import queue_of
from dnworker.events.streams import StreamReader
from dnworker.events.worker_queue import WorkerQueue
from dnworker.workers import debugging, kept_state, reports, silence
from dnworker.workers.access import GaveWay, Retired
from dnworker.workers.debugging import ProcessDebug
from dnworker.workers.lives import SOURCES
from dnworker.workers.losses import Losses
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.process_restarts import ProcessRestarts
from dnworker.workers.process_schedules import ProcessSchedules
from dnworker.workers.remote import RemoteInvocations
from dnworker.workers.runner import to_its_end
from dnworker.workers.services import Home, Services
from dnworker.workers.standalone import MEMBER
from dnworker.workers.subprocess_runner import SubprocessWorkerRunner
from dnworker.workers.tasks import keep

log = logging.getLogger("dnworker.workers")

CHILD_HOOK = Path(__file__).parent / "child"
"""Holds the `sitecustomize` of worker processes; see there."""

UV_LIMIT = 60.0
"""Seconds in which `uv run` is expected to connect: it may have to make an environment first."""

PYTHON_LIMIT = 20.0
"""Seconds in which a process of Python is expected to connect; more than `fire` waits: its trace tells."""

PROGRAM_LIMIT = 2.0
"""Seconds in which any other program is expected to connect, if it ever does."""

_OF_THE_PROCESS = (reports.Hello, reports.Notice)
"""Reports by which a process says what it runs, or that it says no more; all others are of one run."""

HELLO_LIMIT = 1.0
"""Seconds after its connection in which a process that reports has said so: its output may be read later."""


class SubprocessWorker(ManagedWorker[SubprocessWorkerRunner]):
    """A worker that is a process of its own."""

    topology = "subprocess"

    def __init__(self, services: Services, home: Home, definition: WorkerDefinition) -> None:
        super().__init__(services, home, definition)
        self.remote = RemoteInvocations(services.history, self.qualified_name)
        self.connected = asyncio.Event()
        self._spawned_at = 0.0
        self._token: str | None = None
        self._queue: WorkerQueue | None = None
        self._losses = Losses(services.history, self.qualified_name, self._tell_loss)
        self._schedules = ProcessSchedules(services.last_runs, self.qualified_name)
        self._is_asked_to_end = False
        self.starts_again = False
        self._is_observed = False
        self._notices = 0
        self._debug: ProcessDebug | None = None
        self._connected_at = 0.0
        self._looks_again: asyncio.TimerHandle | None = None
        self._restarts = ProcessRestarts(
            services.restart, services.clock, self._start_again, self.qualified_name
        )

    @property
    def error(self) -> str | None:
        """Why it is in `error`, and whether it is started again; or what its shutdown handlers raised."""
        error, note = super().error, self._restarts.note
        if error is None or note is None:
            return error
        first, newline, output = error.partition("\n")
        return f"{first}; {note}{newline}{output}"

    def component(self) -> ComponentInfo:
        """Return its health entry, which says when a process that failed starts again, and what it lost."""
        component = super().component()
        if (detail := self._restarts.detail) is None:
            return component
        return msgspec.structs.replace(component, detail="; ".join(filter(None, (detail, self.losses))))

    @property
    def restart_due(self) -> tuple[float, int] | None:
        """In how many seconds it is started again, and the number of that restart; None if it is not."""
        due_in = self._restarts.due_in
        return None if due_in is None else (due_in, self.restarts + 1)

    @property
    def losses(self) -> str | None:
        """How many events it has not got since it was loaded, and why."""
        return self._losses.text

    @property
    def why_not_retried(self) -> str | None:
        """Why its events are not tried again, though they are to be."""
        return self._services.why_not_retried(self.qualified_name, self.why_silent)

    @property
    def is_starting(self) -> bool:
        """Whether it is expected to listen to events, and does not yet."""
        if self.state is not WorkerState.RUNNING:
            return super().is_starting
        if self.connected.is_set():
            return False
        if self.remote.reports:
            return any(key.decorator == "on_event" for key in self.stats)
        return self._patience_left > 0

    @property
    def has_settled(self) -> bool:
        """Whether it listens, and each startup handler that it reports has run; one that raised ends it."""
        if self.is_starting or self.state is not WorkerState.RUNNING:
            return not self.is_starting
        startup = [stats for key, stats in self.stats.items() if key.decorator == "on_startup"]
        return all(one.calls > one.in_flight and not one.errors for one in startup)

    @property
    def expected_within(self) -> float | None:
        """Seconds for which a program that says nothing is expected to connect; None where it is known."""
        unknown = self.state is WorkerState.RUNNING and not self.remote.reports
        return max(0.0, self._patience_left) if unknown and not self.connected.is_set() else None

    @property
    def why_silent(self) -> str | None:
        """Why nobody knows what its handlers do, while it runs; None where it reports, or may yet say so."""
        if self.state is not WorkerState.RUNNING or self.remote.reports:
            return None
        if self.remote.why_silent is None and self._may_report_yet:
            return None
        return self.remote.why_silent or silence.reason(self.definition, is_observed=self._is_observed)

    def cause_named(self, event_id: str, invocation_id: str) -> Invocation | None:
        """Return the invocation in its process that a request names as its cause; None if it has none."""
        return self.remote.cause(event_id, invocation_id)

    def hears_silently(self, kind: str) -> bool:
        """Return whether it gets events of a kind, and nobody knows what it does with them."""
        silent = self.state is WorkerState.RUNNING and not self.remote.reports
        return silent and self._queue is not None and self._queue.hears(kind)

    @property
    def kinds(self) -> frozenset[str] | None:
        """The kinds that its process listens to, as far as it has said; None for all."""
        return frozenset() if self._queue is None else self._queue.kinds

    @property
    def _may_report_yet(self) -> bool:
        if self.connected.is_set():
            return time.monotonic() < self._connected_at + HELLO_LIMIT
        return self._patience_left > 0

    @property
    def _patience_left(self) -> float:
        program = Path(self.definition.command or "").name
        python = PYTHON_LIMIT if program.startswith("python") else PROGRAM_LIMIT
        limit = UV_LIMIT if program.startswith("uv") else python
        return self._spawned_at + limit - time.monotonic()

    @property
    def waiting(self) -> int:
        """How many events wait for the process, or are not known to have arrived."""
        return 0 if self._queue is None else self._queue.waiting

    @property
    def owed(self) -> int:
        """How many events wait for the process, or have not been handled as far as it reports that."""
        return self.owed_kinds().total() if self.connected.is_set() else 0

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind it has not handled, those that are tried again later too."""
        if self._queue is None:
            return Counter()
        if not self.connected.is_set():  # what is kept for it is of all kinds
            return Counter({kind: n for kind, n in self._queue.held_kinds().items() if kind in self._heard()})
        consumer = self._services.bus.broker.consumer(self.qualified_name)
        return self._queue.owed_kinds() + (Counter() if consumer is None else consumer.later())

    def hold(self, *, events: bool) -> None:
        """With `events` give the process no further event; its schedules are its own until it is to end."""
        if events and self._queue is not None and self._queue.feed is not None:
            self._queue.feed.hold()

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start, where the process reports it."""
        return self.remote.stats

    @property
    def declared(self) -> list[DeclaredPayload]:
        """What its event handlers declare of payloads, where the process reports it."""
        return self.remote.declared

    @property
    def _root(self) -> Path:
        """The directory that the process runs in."""
        return self._home.root

    @property
    def topology_label(self) -> str:
        """The program's name, as in `subprocess (uv)`, and where a debugger can attach."""
        where = "" if self.debug is None else f", {self.debug.where}"
        kept = ", state is kept" if self._services.keeps_state_of(self) else ""
        return f"subprocess ({Path(self.definition.command or '').name}){where}{kept}"

    @property
    def debug(self) -> ProcessDebug | None:
        """How the process that runs now can be debugged; None where it cannot."""
        return self._debug if self.state in ALIVE else None

    @property
    def script(self) -> str | None:
        """The file of Python that it runs; None where its arguments name none."""
        args = (interpolate(one, os.environ, self.qualified_name) for one in self.definition.args)
        file = self._file_among(args)
        return None if file is None else str(file)

    def _file_among(self, args: Iterable[str]) -> Path | None:
        files = [path for path in (self._root / one for one in args) if path.is_file()]
        return min(files, key=lambda path: path.suffix != ".py") if files else None

    def _note_code(self, args: Iterable[str]) -> None:
        """Note the text of the source that it runs from now on, as a version of its code.

        Other files among its arguments may hold secrets, and so may those outside of the capability.
        """
        root = self._root.resolve()
        files = [path for one in args if (path := (root / one).resolve()).suffix in SOURCES]
        file = next((path for path in files if path.is_relative_to(root) and path.is_file()), None)
        if file is not None:
            self._services.lives.note_code(self.life, file, cause())

    def how_to_attach(self) -> str | None:
        """Return how a debugger attaches to the process that runs now, as text; None where none can."""
        if self.debug is None:
            return None
        return debugging.how_to_attach(self.name, self.debug, self._root, self.script)

    async def open_stream(
        self,
        kinds: list[str],
        *,
        name: str | None = None,
        after_seq: int | None = None,
        feeds_handlers: bool = False,
        is_explicit: bool = False,
    ) -> StreamReader | None:
        """Return a reader of a stream of the process, as `WorkerQueue.open`; None when it does not run.

        The first of its kinds begins with what was published since the spawn. `fire` waits for what goes to
        handlers. A broker that redelivers keeps that; of a process that reports nothing, all that it gets.
        """
        if self._queue is not None and name is None:
            await self._queue.forget_dead(kinds or None)
        if self._queue is None:
            return None
        feeds_handlers = feeds_handlers or self.remote.is_fed_by(kinds)
        watcher = self.remote.stream if feeds_handlers else lambda: None
        if feeds_handlers or is_explicit or not self.remote.reports:
            reader = self._queue.open_kept(kinds or None, name, after_seq, watcher, is_explicit=is_explicit)
        else:
            reader = self._queue.open(kinds or None, name, after_seq, watcher)
        if not self.connected.is_set():
            self.connected.set()
            self._connected_at = time.monotonic()
            self._look_again(HELLO_LIMIT)
            self._services.on_change(self, announce=False, moved=False)
        return reader

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        runner = self._runner
        process: dict[str, Any] = {
            "command": self.definition.command,
            "args": list(self.definition.args),
            "pid": runner.pid if runner else None,
            "log_path": str(self._services.log_files.path_of(self.capability, self.name)),
            "recent_output": runner.recent_output if runner else [],
            "restarts": self.restarts,
            "restart_in": self._restarts.due_in,
        }
        if self.debug is not None:
            process["debug"] = {"host": debugging.HOST, "port": self.debug.port, "wait": self.debug.wait}
        detail = super().detail() | {"kind": "subprocess", "process": process}
        if self._queue is not None and (how := self._queue.acknowledges) is not None:
            detail |= {"acknowledges": how}
        if (why := self.why_not_retried) is not None:
            detail |= {"retries": "none", "why_not_retried": why}
        if (why := self.why_silent) is not None:
            detail |= {"reporting": "none", "why_not_reporting": why}
        return detail | ({"events_lost": self._losses.to_json()} if self._losses.count else {})

    def _make_runner(self) -> SubprocessWorkerRunner:
        definition, services = self.definition, self._services
        name, environ, where = self.qualified_name, dict(os.environ), f"worker {self.qualified_name!r}"
        self._token = services.tokens.mint(name)
        self._spawned_at, word = time.monotonic(), reports.new_word()
        self.connected.clear()
        self._queue = queue_of(
            services.bus,
            name,
            services.limits,
            self._losses.note,
            spawn=partial(keep, context=contextvars.Context()),
            heard=self._heard,
            watcher=lambda: services.history if self.remote.reports else None,
        )
        self.remote = RemoteInvocations(services.history, name, self.generation, self._queue.feed)
        self._is_asked_to_end, self._notices = False, 0
        self._look_again(self._patience_left)
        command = interpolate(definition.command or "", environ, f"{where}, command")
        args = [interpolate(a, environ, f"{where}, args[{n}]") for n, a in enumerate(definition.args)]
        self._note_code(args)
        env = self._reporting(self._environment(environ, self._token, where), word)
        for variable in (debugging.VARIABLE, FENCE, MEMBER, TRACES_VARIABLE):  # of a runtime within a worker
            env.pop(variable, None)
        env |= self._own_variables()
        self._debug = services.debugged.of(name)
        if self._debug is not None:
            args = debugging.with_debugpy(command, args, who=where)
            env[debugging.VARIABLE] = self._debug.variable()
            services.log_line(name, self._debug.where, source="runtime")
        return SubprocessWorkerRunner(
            command,
            args,
            env=env,
            cwd=self._root,
            log_file=services.log_files.of(self.capability, self.name),
            lifecycle=self._lifecycle,
            on_line=self._take_line,
            on_report=self._take_report,
            report_word=word,
            qualified_name=self.qualified_name,
            guard=services.guard,
            cgroups=services.cgroups,
            until=services.holding.until(name),
        )

    def _own_variables(self) -> dict[str, str]:
        index = index_of(self.name)
        member = {MEMBER: self.qualified_name} if self.definition.members > 1 else {}
        made_up = self._schedules.variables() if index == 0 else {}
        made_up |= self._services.traces.variables()
        return made_up | member | self._kept_state_variable() | self._fence_variable()

    def _fence_variable(self) -> dict[str, str]:
        fence = self._services.holding.fence(self.qualified_name)
        return {} if fence is None else {FENCE: str(fence)}

    def _kept_state_variable(self) -> dict[str, str]:
        return {kept_state.VARIABLE: "1"} if self._services.keeps_state_of(self) else {}

    def _heard(self) -> set[str]:
        """Return the kinds of its handlers, as far as it has said."""
        return {key.trigger for key in self.stats if key.decorator == "on_event"}

    def _reporting(self, variables: dict[str, str], word: str) -> dict[str, str]:
        """Return the environment with what a process that reports goes by."""
        has_locals = self._services.process_locals and variables.get(reports.LOCALS) != "0"
        self._is_observed = self._services.observation.is_on and variables.get(reports.OBSERVE) != "0"
        return variables | {
            reports.VARIABLE: word,
            reports.LOCALS: "1" if has_locals else "0",
            reports.OBSERVE: "1" if self._is_observed else "0",
        }

    def _look_again(self, seconds: float) -> None:
        """Notify the runtime when it is known that the process does not report."""
        if self._looks_again is not None:
            self._looks_again.cancel()
        loop = asyncio.get_running_loop()
        self._looks_again = loop.call_later(max(0.0, seconds) + 0.05, self._note_silence)

    def _note_silence(self) -> None:
        self._looks_again = None
        if self.why_silent is not None:
            self._services.on_change(self, announce=False, moved=False)

    def _environment(self, environ: dict[str, str], token: str, where: str) -> dict[str, str]:
        """Return the environment of the process; an error about a variable begins with `where`."""
        home, declared = self._home, self.definition.env
        return worker_environment(
            inherited=environ,
            root=self._root,
            capability=home.name,
            version=home.manifest.version,
            worker=self.name,
            flags=flag_variables(home.name, home.flags),
            declared={
                key: interpolate(value, environ, f"{where}, env {key}") for key, value in declared.items()
            },
            connection=self._services.connection(token),
            path_entries=home.manifest.path_entries,
            child_hook=CHILD_HOOK,
        )

    def variables(self) -> Iterator[tuple[str, str, str]]:
        """Go through what its process is given beside what it inherits: name, value, and where that is from.

        Sources are `declared` (as the manifest has it), `flag` and `runtime`, whose values are left out.
        """
        yield from ((name, value, "declared") for name, value in self.definition.env.items())
        flags = flag_variables(self._home.name, self._home.flags)
        yield from ((name, value, "flag") for name, value in flags.items())
        yield from ((name, "", "runtime") for name in RuntimeAddress("", "", "").variables())

    def _take_report(self, report: reports.Report) -> None:
        self.remote.take(report)
        self._schedules.take(report, self.stats)
        if not isinstance(report, _OF_THE_PROCESS):
            return
        if isinstance(report, reports.Hello) and report.observed and self._services.keeps_state_of(self):
            text = "worker.state is not kept: the process runs the reference's SDK, which cannot"
            self._services.log_line(self.qualified_name, text, source="runtime", level="warning")
        if isinstance(report, reports.Notice):
            self._notices += 1
            if self._notices > silence.NOTICES_TOLD:
                return
            text = silence.told(report)
            self._services.log_line(self.qualified_name, text, source="runtime", level="warning")
        self._services.on_change(self, announce=False, moved=False)

    def _take_line(self, text: str, says: reports.Says) -> None:
        if not says.is_logged:
            cause = self.remote.named(says.id)
            self._services.log_line(
                self.qualified_name, text, source=says.source, level=says.level, invocation=cause
            )

    def note_left(self, left: LeftEvents) -> None:
        """Note what waits of a kind that it names no more, or is let go; or that it names it again."""
        self._losses.note_left(left)
        self._services.on_change(self, announce=False, moved=False)

    def _tell_loss(self, text: str, *, is_first: bool) -> None:
        """Log that events were lost; the first time since the load it is announced, too."""
        self._services.log_line(self.qualified_name, text, source="runtime", level="error")
        announce = is_first and self.state is WorkerState.RUNNING
        self._services.on_change(self, announce=announce, moved=False)

    # -- restarts of a process that failed ---------------------------------------------------------------

    async def _start(self) -> None:
        """Start it because somebody asks for it: restarts are counted anew."""
        self._restarts.reset()
        await to_its_end(super()._start())  # a spawn that is interrupted would leave a process and its pipe

    async def _before_start(self) -> None:
        if self.begins_anew:
            await kept_state.forget(self._services.bus.broker, self.qualified_name)
        self.begins_anew = False
        await self._schedules.look()

    def bound_by(self, until: float) -> None:
        """Have the process killed at `until`, also while this runtime stands still."""
        if self._runner is not None:
            self._runner.bound(until)

    async def _stop(self) -> None:
        was_waiting = self._restarts.cancel()
        await super()._stop()
        if was_waiting:
            self._services.on_change(self, announce=False, moved=False)

    def _moved(self, state: WorkerState, error: str | None) -> None:
        if state is WorkerState.STOPPING:
            self._is_asked_to_end = True
            if self._queue is not None and self._queue.feed is not None:
                self._queue.feed.hold()
        elif state is WorkerState.RUNNING:
            self._restarts.began()
        elif state is WorkerState.ERROR and (self.starts_again or self._did_run):
            self._restarts.failed()
        super()._moved(state, error)

    @property
    def _did_run(self) -> bool:
        """Whether it was running before the present state."""
        return self.transitions[-2].state is WorkerState.RUNNING

    async def _start_again(self) -> None:
        """Start it after it failed and the wait is over; what fails then is a failure like any other."""
        try:
            why = self._restarts.why
            async with self._access.turn():
                self._restarts.cancel()  # the wait is over, and this is its task
                with because(why):
                    await super()._stop()
                self._access.give_way()
                self.restarts += 1
                self.starts_again = True
                try:
                    with because(why):
                        await to_its_end(super()._start())
                finally:
                    self.starts_again = False
        except (GaveWay, Retired):
            log.debug("%s: somebody stops or replaces it; it is not started again", self.qualified_name)

    def _let_go(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:  # before `remote`, which knows what was handled
            why = None if self._is_asked_to_end else "the process ended before it had handled them"
            queue.close(why, *self.remote.left())
            self._losses.flush()
        self.remote.close()
        if self._looks_again is not None:
            self._looks_again.cancel()
        if self._token is not None:
            self._services.tokens.revoke(self._token)
            self._token = None
