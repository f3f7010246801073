"""`Engine`: events, sessions, turns, agents, capabilities and workers as one thing, on one loop.

The server and the panel work on it; `Runtime` is an engine with both, and what users hold.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dnworker._version import __version__
from dnworker.capability.environment import RuntimeAddress
from dnworker.capability.manifest import CapabilityManifest
from dnworker.client.client import RuntimeClient
from dnworker.core.causes import because
from dnworker.core.clock import Clock, RealClock, SwitchClock, VirtualClock
from dnworker.core.envelope import EventEnvelope, check_kind, check_publishable
from dnworker.core.errors import Conflict, Invalid, NotFound
from dnworker.core.files import working_directory
from dnworker.core.handler_error import describe
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.lease_time import lease_clock
from dnworker.core.lifecycle import STATUS, WorkerState
from dnworker.core.limits import Limits
from dnworker.core.listeners import Listeners
from dnworker.core.logs import LogBook
from dnworker.core.models import RuntimeInfo
from dnworker.core.restarts import RestartPolicy, restart_policy
from dnworker.core.retry_policies import Retry, retry_policies
from dnworker.core.samples import (
    DEFAULT_SESSION,
    DEFAULT_TURN,
    TERMINAL_KINDS,
    belongs_to_session,
    belongs_to_turn,
    sample,
)
from dnworker.core.schedule import Catchup
from dnworker.core.side_threads import SideThreads
from dnworker.core.text import is_valid_text
from dnworker.engine import starting, waiting
from dnworker.engine.added_agents import with_added
from dnworker.engine.any_loop import AnyLoop
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.engine.capability import Capability
from dnworker.engine.catalog import Catalog
from dnworker.engine.changes import Changes
from dnworker.engine.cluster import Cluster
from dnworker.engine.dead_letters import DeadLetters
from dnworker.engine.dedupe import Deduped
from dnworker.engine.deliveries import Deliveries
from dnworker.engine.digests import identify
from dnworker.engine.direct import DirectConnection, call_app
from dnworker.engine.drain import Drain
from dnworker.engine.exporting import Exporting
from dnworker.engine.flow import FlowMeter
from dnworker.engine.gaps import Gaps
from dnworker.engine.gates import set_flag
from dnworker.engine.holdings import Holdings
from dnworker.engine.lag import LagSampler
from dnworker.engine.left_events import LeftTold
from dnworker.engine.named_workers import NamedWorkers
from dnworker.engine.node_facts import Facts
from dnworker.engine.node_reloads import NodeReload, NodeReloads
from dnworker.engine.nodes import Nodes
from dnworker.engine.once import OnceKeys
from dnworker.engine.own import Declared
from dnworker.engine.payload_checks import PayloadChecks
from dnworker.engine.placement import Place
from dnworker.engine.progress import Progress
from dnworker.engine.reloads import Reloads
from dnworker.engine.retries import Retries
from dnworker.engine.runtime_log import RuntimeLog
from dnworker.engine.starting import OnWait, Waits
from dnworker.engine.switch import Attached, Switch, SwitchedConnection
from dnworker.engine.tokens import Tokens
from dnworker.engine.totals import Totals
from dnworker.engine.unheard import note_unheard, why_unheard
from dnworker.engine.usage import Usage
from dnworker.engine.versions import Target
from dnworker.engine.worker_log import WorkerLog
from dnworker.events.brokers.base import Broker
from dnworker.events.brokers.event_journal import EventJournal
from dnworker.events.bus import EventBus
from dnworker.events.causes import fired
from dnworker.events.failing import Failing
from dnworker.events.history import History
from dnworker.events.storms import Storm, Storms
from dnworker.mcp_client.servers import McpServers
from dnworker.sessions.agents import Agents
from dnworker.sessions.commands import SessionCommands
from dnworker.sessions.store import SessionStore
from dnworker.sessions.tools import Tools
from dnworker.sessions.turns import Turns
from dnworker.workers.forgotten import noticed
from dnworker.workers.guard import Guard
from dnworker.workers.last_runs import LastRuns
from dnworker.workers.lasting_loop import lasting
from dnworker.workers.log_file import LogFiles
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.services import Changed, Services
from dnworker.workers.silence import why_not_retried
from dnworker.workers.worker import Worker

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dnworker.engine.door import NotebookDoor
    from dnworker.events.trace import Trace

log = logging.getLogger("dnworker.runtime")


class Engine:
    """Runs workers, sessions and turns on the loop it was started on; call it from there only.

    Args:
        token: the bearer token of the API; minted when None.
        runtime_id: what workers see as `DREADNODE_RUNTIME_ID`; minted when None.
        clock: what schedules, backoff and timestamps go by.
        flags: values of flags by capability, as given on a command line.
        capability_dirs: directories that `discover` and every reload look through.
        token_file: holds the token, and wins over `token`; written if it is not there.
        journal: a file in which events, invocations and states are kept.
        limits: how much of the machine it may use.
        restart: whether worker processes that fail are started again: `"no"`, `"on-failure"`, or a policy.
        process_locals: whether errors of worker processes have the values of variables.
        broker: what keeps events; in memory by default. A durable one has a journal, and `journal` is not
            wanted beside it.
        catchup: with a durable broker, whether a schedule whose runs were missed while no runtime was there
            runs `once` at the start of its worker; by default they are counted, `skip`.
        retry: which workers are given events again whose handlers have failed, by their qualified names.
        place: what this runtime is called among those that share its broker, and what it may run.
    """

    started_on = 0.0
    """When it was started, in seconds since 1970; it stays, whatever the clocks do."""
    telemetry: Exporting | None = None
    """What sends telemetry; None where it is off. Set it before the start."""
    door: Callable[[], NotebookDoor] | None = None
    """Returns what agents may do in the notebook that this runs in; None where it is no notebook's."""
    attachment: Attached | None = None
    """What connects its workers to another runtime; `attach.attachment_of` returns it with all it tells."""

    def __init__(
        self,
        *,
        token: str | None = None,
        runtime_id: str | None = None,
        clock: Clock | None = None,
        flags: Mapping[str, Mapping[str, bool]] | None = None,
        capability_dirs: Sequence[Path] = (),
        token_file: Path | None = None,
        journal: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        restart: RestartPolicy | str | None = None,
        process_locals: bool = False,
        broker: Broker | None = None,
        catchup: Catchup = "skip",
        retry: Retry | None = None,
        place: Place | None = None,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.runtime_id = runtime_id or f"rt-{uuid.uuid4().hex[:12]}"
        self.tokens = Tokens(token, file=token_file)
        self.limits, self.progress = limits or Limits(), Progress()
        self.bus = EventBus(self.clock, replay_bytes=self.limits.replay, broker=broker)
        self.history = History(self.limits.history)
        self.storms = self._make_storms()
        self.journal = self._make_journal(journal)
        self.logs, self.log = self._make_logs()
        self._worker_log, self.totals, self.switch = WorkerLog(self.logs), Totals(), Switch()
        self.log_line, self.failing, self.changes = self._worker_log.add, Failing(), Changes()
        self.guard, self.tools, self.side_threads = Guard(), Tools(), SideThreads()
        self.holdings = self._make_holdings(place)
        self.services = self._make_services(restart_policy(restart), process_locals, catchup)
        """What workers of this engine are made with."""
        self.capabilities = CapabilityCollection(self.services, flags or {}, capability_dirs)
        self.reloads = Reloads(self.capabilities, self.progress, self.bus, self.look_again)
        self._left_told, own = LeftTold(self.capabilities, self.log_line), self.capabilities.own
        self.agents = Agents(self.capabilities.agents, self.tools, self.clock, lambda: own.name)
        self.sessions = SessionStore(self.bus, self.clock, self.agents.bind, limit=self.limits.sessions)
        self.turns = Turns(self.bus, self.sessions, self.agents, self.tools, self.history, self.clock)
        self._waits, self._listeners, self.fired = Waits(), Listeners[[]](), Listeners[[EventEnvelope]]()
        self.resources = AsyncExitStack()
        """What a start took; given back at the end of `stop`, the last first."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id, self._is_started, self.started_at = 0, False, 0.0  # seconds, monotonic
        self._connect_parts(retry)

    def _make_storms(self) -> Storms:
        return Storms(
            self.clock,
            self.limits,
            self.history,
            self.bus.release,
            self.bus.let_go,
            comes_again=lambda: self.bus.broker.capabilities.redelivers,
        )

    def _make_logs(self) -> tuple[LogBook, RuntimeLog]:
        limit = self.limits.log
        return LogBook(limit=limit * 3 // 4, clock=self.clock), RuntimeLog(limit // 4)

    def _make_journal(self, path: str | os.PathLike[str] | None) -> EventJournal | None:
        if (kept := self.bus.broker.journal) is not None:
            return kept
        if path is None:
            return None
        from dnworker.events.journal_writer import Journal  # and SQLite

        return Journal(Path(path).absolute(), self.runtime_id, pending_bytes=self.limits.journal)

    def _make_holdings(self, place: Place | None) -> Holdings:
        return Holdings(
            place or Place(),
            broker=lambda: self.bus.broker,
            clock=self.clock,
            workers=self.workers,
            log_line=self.log_line,
            is_changing=lambda: self.reloads.is_busy,
            loaded=lambda: self.capabilities.loaded(),
        )

    def _make_services(
        self, restart: RestartPolicy | None, process_locals: bool, catchup: Catchup
    ) -> Services:
        return Services(
            bus=self.bus,
            history=self.history,
            clock=self.clock,
            limits=self.limits,
            guard=self.guard,
            tokens=self.tokens,
            client=self.client,
            connection=self.connection,
            log_line=self.log_line,
            on_change=self._worker_changed,
            on_unhandled=self.note_unhandled,
            restart=restart,
            process_locals=process_locals,
            why_not_retried=lambda *of: self.retries.why_not_of_process(*of),
            log_files=LogFiles(self.limits.log_file),
            last_runs=LastRuns(lambda: self.bus.broker, self.clock, self.log_line, catchup),
            holding=self.holdings,
            partitions=dict(self.holdings.replicas.partitions),
        )

    def _connect_parts(self, retry: Retry | None) -> None:
        """Let the parts hear of what others do."""
        self.dead_letters = DeadLetters()
        self.gaps = Gaps()
        self.retries = Retries(self.bus, self.history, self.clock, self.dead_letters, retry_policies(retry))
        self._deliveries = Deliveries(self.bus, self.history, self._is_running, self.retries)
        self.bus.watcher = self.history
        self.cluster = Cluster(
            self.holdings.node,
            self.bus,
            self.history,
            self.clock,
            lambda *of: why_unheard(self.workers(), *of),
        )
        self.capabilities.node = lambda: self.holdings.node
        self.mcp = McpServers(self.services, self.capabilities.all, self.look_again)
        self.capabilities.mcp = self.mcp
        self.tools.more = self.mcp.tools
        self._listeners.add(self.mcp.follow)
        self.capabilities.agreed.applied.add(self.look_again)
        self.agents.changed.add(self._release_turns)
        self._listeners.add(self._release_turns)
        self._listeners.add(self.nodes.notify)
        self._listeners.add(self._forget_checks)
        self.holdings.moves = self.nodes
        self.bus.tap(self.history.note_event)
        self.bus.tap(self.flow.published.note_event)
        self.bus.gate = self.storms
        self.bus.refused.add(self.storms.note_refused)
        self.bus.refused.add(self._note_refused)
        self.storms.began.add(self._note_storm)
        self.tokens.on_retired(lambda token: self.once.let_go(token))
        self.capabilities.own.renamed.add(self.sessions.rebind)
        self.capabilities.own.renamed.add(self.services.lives.rename)
        self.capabilities.own.renamed.add(self.retries.rename)
        self.history.listen(self._worker_log.add_failure)
        self.history.series.failed.add(self.failing.note)
        self.retries.tried_again.add(self.failing.note_retried)
        self.retries.tried_again.add(lambda invocation: self.totals.retries.add(invocation.worker))
        self.history.series.failed.add(self.services.lives.note_failure)
        self.history.hints.add(self._worker_log.add_hint)
        if isinstance(self.clock, VirtualClock):
            self.clock.on_sleep = self.history.look_again
        self.logs.listen(lambda line: self.log.add(line.worker, line.text, line.level))

    @cached_property
    def once(self) -> OnceKeys:
        """The keys of `client.once`."""
        return OnceKeys(self.bus, self.clock)

    @cached_property
    def commands(self) -> SessionCommands:
        """What clients want of sessions and turns, on whichever node they run."""
        return SessionCommands(
            self.bus,
            self.sessions,
            self.turns,
            self.agents,
            clock=lease_clock(self.clock),
            holder=f"{self.runtime_id} {uuid.uuid4().hex[:8]}",
            call_api=lambda request: call_app(self.app, request),
        )

    @cached_property
    def drain(self) -> Drain:
        """Lets what runs and waits end before a stop."""
        parts = self.bus, self.history, self.sessions, self.turns, self.progress
        return Drain(*parts, self.workers, self.holdings.leave)

    @cached_property
    def catalog(self) -> Catalog:
        """What agents can be given."""
        return Catalog(self.capabilities, self.tools, self.mcp)

    @cached_property
    def deduped(self) -> Deduped:
        """The keys of `client.publish(dedupe=...)`."""
        return Deduped(self.bus, self.clock)

    @cached_property
    def nodes(self) -> Nodes:
        """This node among those that share its broker."""
        # A clock that people set would have it be dead to the others; only tests have a virtual one.
        clock = RealClock() if isinstance(self.clock, SwitchClock) else self.clock
        url, holdings = lambda: self.url, self.holdings
        versions = holdings.versions.told
        facts = Facts(self.workers, clock, self.history.series.lag, url, holdings.fence, versions)
        return Nodes(lambda: self.bus.broker, clock, facts, name=holdings.node, labels=holdings.labels)

    @cached_property
    def node_reloads(self) -> NodeReloads:
        """Reloads all nodes, and this one where another asks."""
        versions = self.holdings.versions
        return NodeReloads(
            lambda: self.holdings.node,
            lambda: self.bus.broker,
            partial(self.reload, wait=starting.STARTING_LIMIT),
            self.capabilities.all,
            lambda: (worker for target in versions.targets.values() for worker in target.failed),
        )

    @cached_property
    def flow(self) -> FlowMeter:
        """What flows where: who publishes which kind, and who handles it."""
        return FlowMeter(self.workers, self.history, self.side_threads)

    @cached_property
    def between_pages(self) -> dict[str, Any]:
        """What long lists keep from one page to the next, by the list."""
        return {}

    @cached_property
    def payload_checks(self) -> PayloadChecks:
        """Refuses payloads that break what is declared of their kind, of workers that want it."""
        return PayloadChecks(self.workers, self.services.check_payloads)

    def _forget_checks(self) -> None:
        if "payload_checks" in self.__dict__:  # else nothing was published yet
            self.payload_checks.forget()

    @cached_property
    def usage(self) -> Usage:
        """What is used of the limits now; parts that have a budget add a gauge."""
        usage, history, scopes, queues = Usage(self.limits), self.history, self.bus.scopes, self.bus.queues
        usage.add("history", lambda: (history.used, history.dropped.total))
        usage.add("replay", lambda: (scopes.used, scopes.dropped))
        usage.add("held", lambda: (queues.held, queues.held_dropped))
        usage.add("queue", lambda: (queues.used, queues.dropped))
        usage.add("storm_held", lambda: (self.storms.held_bytes, self.storms.dropped))
        usage.add("sessions", lambda: (self.sessions.used, self.sessions.dropped))
        usage.add("log", lambda: (self.logs.used, self.logs.dropped))
        usage.add("log", lambda: (self.log.used, self.log.dropped))
        usage.add("journal", self._journal_use)
        return usage

    def _journal_use(self) -> tuple[float, int] | None:
        """Return the use of the journal that there is now: another broker has another."""
        journal = self.journal
        return None if journal is None else (journal.pending_bytes, journal.lost)

    # -- start and stop --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the loop that runs, listen to the framework's logging, and open the journal.

        Raises:
            JournalError, BrokerError: the journal, or what keeps the events, cannot be written.
        """
        if self.is_started:
            return
        self.capabilities.open()
        self.reloads.open()
        self.drain.reopen()
        self._loop, self._thread_id = asyncio.get_running_loop(), threading.get_ident()
        if isinstance(self.clock, SwitchClock):
            self.clock.bind(self._loop)
        try:
            await self._take(self._loop)
            self.services.last_runs.begin()
            await self.turns.restore()
            self.resources.push_async_callback(self.commands.shared.close)
            await self.commands.shared.open()
            await self._open()
        except BaseException:
            await self.resources.aclose()
            raise
        self._is_started, self.started_at, self.started_on = True, time.monotonic(), time.time()
        self.mcp.open()
        self.progress.reach("ready")
        self.nodes.notify()  # the API has an address by now

    async def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what a start needs; `resources` gives it back, also where it was not taken whole."""
        self.resources.push_async_callback(self.bus.broker.close)
        with ExitStack() as taken:
            taken.callback(self._note_end)
            taken.callback(self._left_told.listen(self.bus.broker))
            self.resources.push_async_callback(self._left_told.close)
            taken.enter_context(self.log.attached())
            taken.enter_context(lasting(loop, self.note_unhandled))
            taken.enter_context(noticed())
            taken.callback(self.flow.start(loop))
            taken.callback(NamedWorkers(self.capabilities, self.progress, self._named).start(loop))
            taken.enter_context(LagSampler(self.history.series.note_lag).running(loop))
            await self.bus.open(self.runtime_id)
            self.resources.push_async_callback(self.nodes.close)  # also where it opens in part only
            await self.nodes.open()
            self.resources.push_async_callback(self.cluster.close)
            await self.cluster.open()
            for capability in self.capabilities.all():
                await identify(capability, self.bus.broker)
            self.resources.push_async_callback(self.capabilities.agreed.close)
            await self.capabilities.agreed.open()
            self.resources.push_async_callback(self.holdings.close)  # where the start fails after this
            await self.holdings.open()
            taken.callback(self.node_reloads.close)
            self.node_reloads.open()
            self.dead_letters.open(self.bus.broker)
            self.resources.push_async_callback(self.dead_letters.close)
            self._deliveries.open()
            taken.callback(self._deliveries.close)
            if self.journal is not None:
                taken.enter_context(self.journal.recording(self.bus, self.history))
            self.resources.callback(taken.pop_all().close)
        if self.telemetry is not None:
            self.resources.push_async_callback(self.telemetry.close, self)  # where the start fails after this
            await self.telemetry.open(self)

    async def _open(self) -> None:
        """Open what a subclass adds, such as a server; called by `start`, before the stage is `ready`."""

    def _named(self) -> dict[str, Iterable[str]]:
        return {
            "retry": self.retries.policies,
            "keep_state": self.services.keep_state,
            "check_payloads": self.services.check_payloads,
            "replicas": self.services.partitions,
        }

    def _note_end(self) -> None:
        self._is_started = False

    def use_broker(self, broker: Broker, journal: Path | None = None, place: Place | None = None) -> None:
        """Have another broker keep the events from the next start on.

        Args:
            broker: one that is not open.
            journal: where a broker that has no journal of its own lets it be written; None for nowhere.
            place: what this node is called among those that share the broker; None for what it was.

        Raises:
            Conflict: the runtime runs.
        """
        if self.is_started:
            raise Conflict("the runtime runs; stop it before something else keeps its events", code="DN815")
        self.bus.use(broker)
        self.journal = self._make_journal(journal)
        if place is not None:
            self.holdings.use(place)
            self.services.partitions.clear()
            self.services.partitions.update(place.partitions)
            self.capabilities.divide()
            self.nodes.be(place.node, place.labels)
            self.cluster.node = place.node

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._is_started

    async def stop(self, *, within: float | None = None) -> bool:
        """Stop all workers in full, then the turns, then what was started; may be called again.

        Args:
            within: seconds after which workers and turns that have not stopped are left behind, and their
                processes killed; None waits for them.

        Returns:
            Whether nothing was left behind.
        """
        bound = waiting.Bound(within)
        if self.attachment is not None:
            await bound.run(self.attachment.detach)
        await bound.run(self.reloads.close)
        async with AsyncExitStack() as steps:  # last in, first out; each runs whatever became of those before
            steps.push_async_callback(self.guard.aclose)
            steps.callback(self.services.log_files.close)
            steps.callback(self.side_threads.close)
            steps.callback(self._kill_what_is_left, bound)
            steps.push_async_callback(self.resources.aclose)  # the runtime's log hears nothing afterwards
            steps.push_async_callback(self._close_telemetry, bound)
            steps.callback(self.storms.close)
            steps.push_async_callback(bound.run, self.commands.shared.close)
            steps.push_async_callback(bound.run, self.mcp.close)
            steps.push_async_callback(bound.run, self.agents.close)
            steps.push_async_callback(bound.run, self.turns.stop)
            steps.push_async_callback(self.holdings.close)  # before the broker is
            steps.push_async_callback(self.commands.shared.end_serving)
            self.holdings.leave()
            with because("The runtime stops"):
                await bound.run(self.capabilities.close)
        return not bound.is_exceeded

    async def _close_telemetry(self, bound: waiting.Bound) -> None:
        if self.telemetry is not None:
            await self.telemetry.close(self, bound.left)

    def _kill_what_is_left(self, bound: waiting.Bound) -> None:
        if bound.is_exceeded:
            self.guard.kill()  # or its end would wait for them

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it was started on.

        Raises:
            RuntimeError: it was not started yet.
        """
        if self._loop is None:
            raise RuntimeError("this runtime was not started yet; `async with Runtime() as runtime` does")
        return self._loop

    @property
    def thread_id(self) -> int:
        """The thread of that loop; 0 before the start."""
        return self._thread_id

    # -- what a `Runtime` adds: a server ---------------------------------------------------------------

    @property
    def url(self) -> str | None:
        """Where the API is; None without a server."""
        return None

    @property
    def app(self) -> ASGIApp:
        """The API as an ASGI application, for clients in this process.

        Raises:
            NotImplementedError: this engine has no API; a `Runtime` has one.
        """
        raise NotImplementedError("an engine by itself has no API; use a Runtime")

    def connection(self, token: str) -> RuntimeAddress:
        """Return what a worker process needs to find this runtime.

        Raises:
            RuntimeError: there is no server to find.
        """
        if self.url is None:
            raise RuntimeError(
                "this runtime has no server for worker processes; start it with Runtime(port=0)"
            )
        return RuntimeAddress(self.url, token, self.runtime_id)

    # -- workers and capabilities ----------------------------------------------------------------------

    async def add(
        self, worker: Worker, *, capability: str | None = None, when: Iterable[str] = ()
    ) -> ManagedWorker:
        """Run a Worker in this process; returns when it is running, or has failed to start.

        Args:
            worker: it, with its name.
            capability: that it belongs to; by default the runtime's own, `notebook` until `declare` names it.
            when: flags, of which one must be on.

        Returns:
            The worker as the runtime manages it: `state`, `error`, `name`, `capability`, `qualified_name`.

        Raises:
            ValueError: it has no name, or one of this name is there already.
            Conflict: a loaded capability runs in its place.

        Examples:
            >>> managed = await runtime.add(worker)
            >>> managed.qualified_name, str(managed.state)
            ('notebook:bridge', 'running')
        """
        with because("Added"):
            return await self.capabilities.add(worker, capability, when)

    async def remove(self, name: str) -> None:
        """Stop a worker that was added, and forget it.

        Args:
            name: of the worker, or `capability:name`.

        Raises:
            NotFound: there is none of this name.

        Examples:
            >>> managed = await runtime.add(worker)
            >>> await runtime.remove("bridge")
            >>> runtime.workers()
            []
        """
        worker = self.worker(name)
        with because("Removed"):
            await self.capabilities.remove(worker)
        self._worker_log.forget(worker.qualified_name)
        self.look_again()

    async def load(self, path: str | os.PathLike[str], *, instead: bool = False) -> Capability:
        """Load a capability from its directory and start its workers.

        Args:
            path: the directory; where it is a link, each reload follows it to where it leads then.
            instead: whether added workers that are the same, by the capability's name or by their own, are
                stopped and set aside until it is unloaded. Else both handle every event.

        Returns:
            The capability: its `name`, `manifest`, `workers` (a dict by name), `flags`, and `failure` (text
            or None).

        Raises:
            ManifestError: the manifest breaks rules, or a capability of this name or directory is loaded
                already.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> [worker.qualified_name for worker in runtime.workers()]
            ['demo:relay']
        """
        place = Path(path).absolute()
        with because("Loaded"):
            capability = await self.reloads.alone(partial(self.capabilities.load, place, instead=instead))
        self.look_again()
        return capability

    async def unload(self, capability: str) -> list[ManagedWorker]:
        """Stop a loaded capability's workers and forget it; its sessions stay.

        Args:
            capability: its name.

        Returns:
            The added workers that were set aside for it, and run again.

        Raises:
            NotFound: there is none of this name.
            Conflict: it holds added workers; they are removed one by one.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> await runtime.unload("demo")
            []
        """

        async def unload() -> list[ManagedWorker]:
            back = await self.capabilities.unload(capability)
            self.reloads.announce(capability)
            return back

        with because("Unloaded"):
            return await self.reloads.alone(unload)

    async def declare(self, manifest: CapabilityManifest | None) -> Declared:
        """Give the capability of added workers its head, or take it back; see `OwnCapability.declare`.

        A caller that is cancelled interrupts the starts that are under way; the head is in effect then.

        Args:
            manifest: what the capability is called and has; None to take it back.

        Returns:
            What has changed.

        Raises:
            Conflict: another capability has the name, or a loaded one runs in its place.
            OSError: its directory cannot be read.
        """

        async def declare() -> Declared:
            own = self.capabilities.own
            declared = await (own.withdraw() if manifest is None else own.declare(manifest))
            if declared.is_news:
                self.reloads.announce(own.name)
            return declared

        try:
            with because("The head of its capability changed"):
                declared = await self.reloads.alone(declare)
        except asyncio.CancelledError:
            self.capabilities.own.interrupt_starts()
            raise
        self.look_again()
        return declared

    async def discover(self) -> list[Capability]:
        """Load what the capability directories hold; one that fails is listed with its error.

        Returns:
            The capabilities that are new.

        Examples:
            >>> async with Runtime(port=None, capability_dirs=[Path(".")]) as own:
            ...     print([capability.name for capability in await own.discover()])
            ['demo']
        """
        with because("Loaded"):
            found = await self.reloads.alone(self.capabilities.discover)
        self.look_again()
        return found

    async def set_flag(self, capability: str, flag: str, value: bool) -> None:
        """Keep a flag's value, and start and stop the workers that it gates: on all nodes of a cluster.

        Args:
            capability: whose manifest declares it.
            flag: its name.
            value: on or off; it is kept in the user's home, and holds after a restart.

        Raises:
            NotFound: there is no such capability, or it has no such flag.
            OSError: it cannot be kept; nothing has changed.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> await runtime.set_flag("demo", "loud", True)
            >>> runtime.info().capabilities[0].flags[0]["effective"]
            True
        """
        with because(f"Flag {flag} is {'on' if value else 'off'}"):
            await set_flag(self.capabilities.get(capability), flag, value, self.capabilities.agreed)
        self.look_again()

    def capability(self, name: str | None = None) -> Capability:
        """Return a capability, by default the own one, which is made at first use.

        Args:
            name: of a loaded capability; None for that of added workers.

        Returns:
            The capability: its `name`, `manifest`, `workers` (a dict by name), `flags`, and `failure` (text
            or None).

        Raises:
            NotFound: there is none of this name.

        Examples:
            >>> runtime.capability().name
            'notebook'
        """
        return self.capabilities.own.get() if name is None else self.capabilities.live(name)

    def workers(self) -> list[ManagedWorker]:
        """Return all declared workers: those that were added, and those of loaded capabilities.

        Returns:
            A list; each has `state`, `error`, `name`, `capability` and `qualified_name`.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> [(worker.name, str(worker.state)) for worker in runtime.workers()]
            [('relay', 'running')]
        """
        return self.capabilities.workers()

    def worker(self, name: str) -> ManagedWorker:
        """Return a worker by name, or by `capability:name`.

        Args:
            name: such as `relay` or `demo:relay`.

        Returns:
            The worker: `state`, `error`, `name`, `capability`, `qualified_name`.

        Raises:
            NotFound: there is none, or several capabilities have one.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> runtime.worker("relay").qualified_name
            'demo:relay'
        """
        return self.capabilities.search(name)

    async def reload(self, capability: str | None = None, *, wait: float = 0.0) -> RuntimeInfo:
        """Stop workers, read their capabilities from disk again, and start them.

        A full reload during a full reload waits for that one; others wait for their turn. It runs in a task
        of its own, so a handler that asks for it may be stopped by it.

        Args:
            capability: the only one to reload; None for all, including those that are new.
            wait: seconds to wait at most until no worker starts any more: a process goes on to start when it
                runs already, and may fail a moment later.

        Returns:
            The new state, as `info` returns it.

        Raises:
            NotFound: there is no such capability.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> info = await runtime.reload("demo")
            >>> info.capabilities[0].version
            '1.0.0'
        """
        await self.reloads.reload(capability)
        if wait > 0:
            await starting.until_started(self, capability, wait)
        return self.info()

    async def reload_nodes(self, capability: str | None = None) -> list[NodeReload]:
        """Reload this node and then all others that share its broker, one after the other.

        After one that fails, the rest is left alone. What fails is in the list, and is not raised.

        Args:
            capability: the only one to reload; None for all.

        Returns:
            One entry for each node, in the order of the reloads.
        """
        if self.nodes.is_open:
            await self.nodes.read()
        rows = self.nodes.rows() if self.nodes.is_open else []
        others = [row.name for row in rows if row.state != "gone" and not row.is_here]
        return await self.node_reloads.reload(others, capability)

    async def make_target(self, capability: str) -> Target:
        """Have all nodes run what this one has loaded of a capability, also where that is an older version.

        Args:
            capability: its name.

        Returns:
            What the nodes are to run.

        Raises:
            Conflict: this runtime shares its broker with nobody.
            NotFound: no capability of this name is loaded here from disk.
            NotStored: the broker cannot be asked.
        """
        if not self.holdings.is_on:
            raise Conflict(
                "this runtime shares its broker with nobody: it runs what it has loaded", code="DN815"
            )
        target = await self.holdings.versions.make_target(capability)
        self.holdings.wake()
        return target

    @property
    def is_reloading(self) -> bool:
        """Whether a reload is under way."""
        return self.reloads.is_running

    def info(self) -> RuntimeInfo:
        """Return what the API shows of the runtime.

        Returns:
            A `RuntimeInfo` with `version`, `runtime_id`, `working_dir`, `capabilities` and `limits` (bytes
            and seconds, and what is used of them). Agents that were added by hand are listed in the
            capability of added workers.

        Examples:
            >>> capability = await runtime.load("demo")
            >>> "demo" in [capability.name for capability in runtime.info().capabilities]
            True
        """
        return RuntimeInfo(
            version=__version__,
            runtime_id=self.runtime_id,
            working_dir=str(working_directory()),
            capabilities=with_added(
                [capability.info() for capability in self.capabilities.all()], self.agents.added()
            ),
            limits=self.usage.read(),
            telemetry=[] if self.telemetry is None else self.telemetry.state(),
            attached_to=None if self.attachment is None else self.attachment.runtime_id,
        )

    # -- events ----------------------------------------------------------------------------------------

    def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        size: int | None = None,
        event_id: str | None = None,
        may_exist: bool = False,
    ) -> EventEnvelope:
        """Publish an event as a worker may, and return at once.

        Args:
            kind: the event's name; the prefixes of the runtime, such as `turn.`, are refused.
            payload: a JSON object as a dict; None for `{}`.
            session_id: of a live session that it belongs to; None for none.
            size: bytes of the payload's JSON, where it was read from JSON just now.
            event_id: of the event, as 32 hexadecimal digits; minted when None.
            may_exist: whether the broker may have an event of this `event_id` already, and keeps that then.

        Returns:
            The event. With a durable broker it is accepted a moment later.

        Raises:
            ReservedKind: the kind belongs to the runtime.
            NotFound: the session is not live.
            Gone: the session was deleted.
            Invalid: the payload is not a JSON object.
            TooLarge: the payload is over the limit.

        Examples:
            >>> event = runtime.publish("demo.greeted", {"name": "Ada"})
            >>> event.kind, event.payload
            ('demo.greeted', {'name': 'Ada'})
        """
        check_publishable(kind)
        if session_id is not None and not self.bus.is_deleted(session_id):
            self.sessions.get(session_id)
        return self.bus.publish(
            kind,
            payload,
            session_id=session_id,
            size=size,
            event_id=event_id,
            may_exist=may_exist,
        )

    async def fire(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        timeout: float | None = 30,
        wait: bool = True,
        only: str | None = None,
        turn_id: str | None = None,
        on_wait: OnWait | None = None,
    ) -> Trace:
        """Publish as the operator, who may use any kind, wait for all that it causes, and return that.

        Args:
            kind: the event's name; those of the runtime, such as `turn.completed`, are allowed.
            payload: a JSON object as a dict; a known kind gets a realistic one when None.
            session_id: made live if it is not; kinds that belong to a session get one when None.
            timeout: seconds to wait for all it causes, None for ever; after it, the trace says so.
            wait: False to return at once, also where a worker's queue is full.
            only: the name of the one worker that gets it; None for all that listen.
            turn_id: its turn; by default what the payload names, for kinds that belong to a turn.
            on_wait: called with what is waited for before the event is published: workers that start.

        Returns:
            A `Trace`: the runs of handlers, their logs and errors, and the events that they published.

        Raises:
            Invalid: the payload is not a JSON object, or another argument makes no sense.
            TooLarge, NotStored: the payload is over the limit; the broker cannot keep it now.
            NotFound: there is no worker of the name `only`.
            UsageError: a handler would wait for itself.

        Examples:
            >>> @worker.on_event("demo.greeted")
            ... async def on_greeted(event, client):
            ...     await client.publish("demo.answered", {"to": event.payload["name"]})
            >>> managed = await runtime.add(worker)
            >>> trace = await runtime.fire("demo.greeted", {"name": "Ada"})
            >>> trace.ok, [event.kind for event in trace.events()]
            (True, ['demo.greeted', 'demo.answered'])
        """
        from dnworker.events.trace import Trace  # a runtime that only serves fires nothing

        await self._check_fired(kind, payload, session_id, timeout)
        owner = None if only is None else self.worker(only).qualified_name
        publish = partial(self._publish_fired, kind, payload, session_id, turn_id, owner)
        if not wait:
            return Trace(await self.bus.accepted(publish()), self.history)
        depth = self._waits.depth_here(kind)
        starting.check_wait(self.workers(), self.history, kind, owner)
        late = await starting.until_listening(self, kind, owner, timeout, on_wait)
        await self.bus.pressure.room_within(timeout, kind, session_id, owner)
        trace = Trace(await self.bus.accepted(publish()), self.history)
        trace.not_listening, trace.notes = late, starting.silent_notes(self.workers(), kind, owner)
        with self._waits.waiting(trace.event.event_id, depth):
            await waiting.until_quiet(trace, self.history, timeout)
        await note_unheard(trace, late, self.workers(), owner, self.cluster.why_unheard)
        return trace

    def _publish_fired(
        self,
        kind: str,
        payload: dict[str, Any] | None,
        session_id: str | None,
        turn_id: str | None,
        only: str | None,
    ) -> EventEnvelope:
        if current_invocation.get() is None:
            self.drain.check_open()
        payload = sample(kind, session_id) if payload is None else payload
        session_id = self._session_of(kind, payload, session_id)
        with fired():
            event = self.bus.publish(
                kind,
                payload,
                session_id=session_id,
                turn_id=_turn_of(kind, payload, turn_id),
                terminal=kind in TERMINAL_KINDS,
                only=only,
            )
        self.fired.notify(event)
        return event

    async def _check_fired(
        self, kind: str, payload: object, session_id: str | None, timeout: float | None
    ) -> None:
        """Check what a notebook may get wrong, and find the session on other nodes."""
        _check_fired(kind, session_id, timeout)
        await self.commands.ensure(self._session_named(kind, payload, session_id))

    def _session_named(self, kind: str, payload: object, session_id: str | None) -> str | None:
        """Return the session of a fired event; None when its kind has none."""
        if session_id is None and belongs_to_session(kind):
            named = payload.get("session_id") if isinstance(payload, dict) else None
            session_id = named if isinstance(named, str) and named else DEFAULT_SESSION
        return session_id

    def _session_of(self, kind: str, payload: object, session_id: str | None) -> str | None:
        """Return the session of a fired event, made live if it is not; None when its kind has none."""
        session_id = self._session_named(kind, payload, session_id)
        if session_id is not None:
            self.sessions.ensure(session_id)
        return session_id

    async def settle(self, timeout: float | None = 5) -> None:
        """Return when no event is queued and no handler but tasks is running.

        Args:
            timeout: seconds to wait; None for ever.

        Raises:
            HandlerFailed: handlers raised since the last call.
            TimeoutError: something still runs when the time is up; names it.
            UsageError: a handler calls it, and would wait for itself.

        Examples:
            >>> event = runtime.publish("demo.greeted", {"name": "Ada"})
            >>> await runtime.settle()
        """
        await waiting.settle(self.history, timeout)

    async def advance(self, seconds: float, *, limit: int | None = None) -> int:
        """Move a virtual clock forward, letting what wakes run to its end.

        Args:
            seconds: how far to go, in virtual seconds; not negative.
            limit: stop after so many wakes, at the time reached by then; None for no bound.

        Returns:
            How many sleepers woke: schedules, waits before retries, `dnworker.sleep`.

        Raises:
            TypeError: the clock is real.
            ValueError: `seconds` is negative.

        Examples:
            >>> @worker.every(cron="0 9 * * *")
            ... async def report(client):
            ...     print("good morning")
            >>> managed = await runtime.add(worker)
            >>> woken = await runtime.advance(2 * 24 * 3600)
            good morning
            good morning
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock) or not clock.can_advance:
            raise TypeError("only a virtual clock can be advanced: Runtime(clock=VirtualClock())")
        step = partial(waiting.settle_step, self.history, clock)
        try:
            return await clock.advance(seconds, step, limit=limit)
        finally:
            self.look_again()

    def client(self, *, worker: str | None = None, capability: str | None = None) -> RuntimeClient:
        """Return a client in this process: a worker's, or the operator's.

        Args:
            worker: whose client it is like; None for the operator.
            capability: that the worker belongs to; the source of its notifications.

        Returns:
            A `RuntimeClient`, which needs no server and no token.

        Examples:
            >>> client = runtime.client()
            >>> answer = await client.publish("demo.greeted", {"name": "Ada"})
        """
        name = f"{capability}:{worker}" if worker is not None else ""
        direct = DirectConnection(self, name)
        own = direct if worker is None else SwitchedConnection(direct, name, self.switch)
        return RuntimeClient.over(
            AnyLoop(own, self),
            server_url=self.url or "",
            notify_source=f"capability.{capability}" if capability else None,
            labels={"worker": [worker]} if worker else None,
            origin="worker" if worker else None,
            fence=self.holdings.fence(f"{capability}:{worker}") if worker is not None else None,
        )

    # -- changes ---------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a worker's state or handlers changed; returns what ends it."""
        return self._listeners.add(listener)

    def look_again(self) -> None:
        """Let those who listen look again, after a change that they do not hear of, such as the clock's."""
        self._listeners.notify()

    def _release_turns(self) -> None:
        """Let turns run that outlived the end of a runtime, unless their agents are about to come."""
        if self.progress.stage == "ready":
            self.turns.release()

    def _worker_changed(self, worker: Changed, *, announce: bool = True, moved: bool = True) -> None:
        """Note a worker's new state; publishes `component.state_changed` where contract 2.7 says so."""
        log.debug("%s is %s", worker.qualified_name, worker.state)
        if self.journal is not None and moved:
            self.journal.note_state(worker.qualified_name, str(worker.state), worker.error)
        if moved and worker.state is WorkerState.ERROR and worker.error and worker.last_handler_error is None:
            first = worker.error.partition("\n")[0]  # the rest is output, which the log has already
            self.log_line(worker.qualified_name, first, source="runtime", level="error")
        self.storms.note_state(worker.qualified_name, is_running=worker.state is WorkerState.RUNNING)
        self._note_health(worker, moved=moved)
        if moved:
            self.totals.note_state(worker)
        self.holdings.wake()
        if worker.state is WorkerState.RUNNING:
            self._warn_of_retries(worker)
        else:
            self.retries.untried.discard(worker.qualified_name)
        if announce and worker.state in STATUS:
            component = worker.component()
            self.bus.publish(
                "component.state_changed",
                {
                    "capability": worker.capability,
                    "name": worker.name,
                    "kind": "worker",
                    "status": component.status,
                    "error": component.error,
                    "detail": component.detail,
                },
            )
        self.look_again()

    def _note_health(self, worker: Changed, *, moved: bool) -> None:
        """Note what the overview shows of a change: the step or generation, and whether the worker fails."""
        name = worker.qualified_name
        if moved and worker.state is WorkerState.STARTING and not worker.starts_again:
            self.failing.forget(name)
        if moved and worker.state is WorkerState.ERROR:
            self.failing.note_exit(name, worker.error or "", worker.generation)
        self.changes.note(worker, gate=worker.component().detail or "")

    def _warn_of_retries(self, worker: Changed) -> None:
        """Say once of a process that its events are not tried again, though they are to be."""
        name = worker.qualified_name
        if name not in self.retries.untried and (why := why_not_retried(worker)) is not None:
            self.retries.untried.add(name)
            self.log_line(name, why, source="runtime", level="warning")

    def _is_running(self, worker: str) -> bool:
        return any(one.qualified_name == worker for one in self.workers() if one.state is WorkerState.RUNNING)

    def _note_refused(self, envelope: EventEnvelope, exc: BaseException) -> None:
        """Note an event that the broker did not accept: whoever does not wait for that must hear of it."""
        self.history.note_loss(envelope.event_id, f"lost for all: {exc}")
        self.totals.note_refused()
        log.error("event %s (%s) was not published: %s", envelope.event_id, envelope.kind, exc)

    def _note_storm(self, storm: Storm, invocation: Invocation) -> None:
        text = self.storms.message(storm)
        self.log_line(invocation.worker, text, source="runtime", level="error", invocation=invocation)
        self.look_again()

    def note_unhandled(
        self, invocation: Invocation, exc: BaseException, source: str = "a task it started"
    ) -> None:
        """Note what came of something that a handler started and nobody awaited: nothing must vanish."""
        error = describe(exc)
        self.history.unhandled(invocation, error, source)
        self.failing.note(invocation, error)
        self._worker_log.add_error(invocation, f"{invocation.handler}: {source} failed:", error)
        try:
            stats = self.worker(invocation.worker).stats
        except NotFound:
            return
        if invocation.key is not None and (counted := stats.get(invocation.key)) is not None:
            counted.failed(invocation, error)


def _check_fired(kind: object, session_id: object, timeout: object) -> None:
    """Check what a notebook may get wrong, before anything is published.

    Raises:
        Invalid: an argument is not what it should be; names it.
    """
    check_kind(kind)
    if session_id is not None and not (
        isinstance(session_id, str) and session_id and is_valid_text(session_id)
    ):
        raise Invalid(
            f"session_id is {session_id!r}; the id of a session is text; leave it out for none", code="DN219"
        )
    if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
        raise Invalid(
            f"timeout is {timeout!r}; seconds to wait are wanted, or None to wait for ever", code="DN219"
        )


def _turn_of(kind: str, payload: object, turn_id: str | None) -> str | None:
    """Return the turn of a fired event: as given, or named by the payload; None where its kind has none."""
    if turn_id is not None or not belongs_to_turn(kind):
        return turn_id
    named = payload.get("turn_id") if isinstance(payload, dict) else None
    return named if isinstance(named, str) and named else DEFAULT_TURN
