"""`Runtime`: one bus, its workers, its sessions and its server, on the loop it was started on."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dnworker import __version__, compat
from dnworker.capability.components import Skill
from dnworker.capability.environment import Connection
from dnworker.capability.manifest import WorkerDefinition
from dnworker.client.client import RuntimeClient
from dnworker.core.clock import Clock, RealClock, SwitchClock, VirtualClock, turn_loop
from dnworker.core.envelope import EventEnvelope, check_publishable
from dnworker.core.errors import Conflict, HandlerFailed, NotFound
from dnworker.core.invocation import HandlerError, Invocation, current_invocation, describe, read_traceparent
from dnworker.core.lifecycle import STATUS, WorkerState
from dnworker.core.logs import LogBook, LogLine
from dnworker.core.models import RuntimeInfo, ToolInfo
from dnworker.core.samples import DEFAULT_SESSION, TERMINAL_KINDS, belongs_to_session, template
from dnworker.core.text import valid_text
from dnworker.engine.capabilities import CapabilityCollection
from dnworker.engine.capability import Capability
from dnworker.engine.direct import DirectConnection
from dnworker.engine.runtime_log import RuntimeLog
from dnworker.engine.startup import Progress
from dnworker.engine.tokens import Tokens
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.events.journal_writer import Journal
from dnworker.events.trace import Trace
from dnworker.sessions.agents import Agents
from dnworker.sessions.store import SessionStore
from dnworker.sessions.tools import Tools
from dnworker.sessions.turns import Turns
from dnworker.workers.guard import Guard
from dnworker.workers.managed import ManagedWorker, stop_all
from dnworker.workers.subprocess_worker import InProcessWorker, SubprocessWorker
from dnworker.workers.worker import Worker

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dnworker.panel.actions import Actions
    from dnworker.panel.feed import Feed
    from dnworker.server.embedded import EmbeddedServer

log = logging.getLogger("dnworker.runtime")

LIVE_CAPABILITY = "notebook"
"""The capability of workers that were added rather than loaded from a directory."""

VIRTUAL_STEP_LIMIT = 10.0
"""Real seconds that `advance` waits for handlers after each wake."""


class Runtime:
    """Runs workers in this process, and a server for those that run elsewhere.

    Use it as `async with Runtime(port=0) as runtime:`. Everything happens on the loop it was started on;
    call it from there only.

    Args:
        port: of the server; 0 picks a free one, None starts no server.
        host: where the server listens; loopback unless told otherwise.
        token: the bearer token of the API; minted when None.
        runtime_id: what workers see as `DREADNODE_RUNTIME_ID`; minted when None.
        clock: what schedules, backoff and timestamps go by.
        flags: values of flags by capability, as given on a command line.
        capability_dirs: directories that `discover` and every reload look through.
        token_file: holds the token, and wins over `token`; written if it is not there.
        journal: a file in which events, invocations and states are kept.
    """

    def __init__(
        self,
        *,
        port: int | None = 0,
        host: str = "127.0.0.1",
        token: str | None = None,
        runtime_id: str | None = None,
        clock: Clock | None = None,
        flags: Mapping[str, Mapping[str, bool]] | None = None,
        capability_dirs: Sequence[Path] = (),
        token_file: Path | None = None,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.runtime_id = runtime_id or f"rt-{uuid.uuid4().hex[:12]}"
        self.tokens = Tokens(token, file=token_file)
        self.progress = Progress()
        self.bus = EventBus(self.clock)
        self.history = History()
        self.logs = LogBook()
        self.log = RuntimeLog()
        self.guard = Guard()
        self.server: EmbeddedServer | None = None
        self.capabilities = CapabilityCollection(self, flags or {}, capability_dirs)
        self.tools = Tools()
        self.agents = Agents(self.capabilities.agents, self.tools, self.clock)
        self.sessions = SessionStore(self.bus, self.clock, self.agents.bind)
        self.turns = Turns(self.bus, self.sessions, self.agents, self.tools, self.history, self.clock)
        self.journal = None if journal is None else Journal(Path(journal), self.runtime_id)
        self.actions: Actions | None = None
        self._feed: Feed | None = None
        self._place: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._host, self._port = host, port
        self._resources = AsyncExitStack()
        self._listeners: list[Callable[[], None]] = []
        self._reload: asyncio.Task[RuntimeInfo] | None = None
        self._reloading: str | None = None
        self._started = False
        self.bus.tap(self.history.note_event)
        self.history.listen(self._log_failure)
        if isinstance(self.clock, VirtualClock):
            self.clock.on_sleep = self.history.look_again
        self.logs.listen(lambda line: self.log.add(line.worker, line.text, line.level))

    # -- start and stop --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, if there is a port; returns when the API answers.

        Raises:
            AddressInUse: an OSError: the port is in use; the message says so and what to do.
        """
        if self._started:
            return
        compat.install()
        self._place = asyncio.get_running_loop(), threading.get_ident()
        if isinstance(self.clock, SwitchClock):
            self.clock.bind(self._place[0])
        self._resources.enter_context(self.log.attached())
        if self.journal is not None:
            self._resources.enter_context(self.journal.recording(self.bus, self.history))
        if self._port is not None:
            from dnworker.server.embedded import EmbeddedServer

            self.server = EmbeddedServer(self, self._host, self._port)
            try:
                await self.server.start()
                self.tokens.write()
            except BaseException:
                self.server = None
                await self._resources.aclose()
                raise
        self._started = True
        self.progress.reach("ready")
        if self._feed is not None:
            self._feed.resume()

    async def stop(self) -> None:
        """Stop all workers in full, then the server; may be called again."""
        if self._reload is not None:
            self._reload.cancel()
            await asyncio.wait({self._reload})
        async with AsyncExitStack() as steps:  # last in, first out; each runs whatever became of those before
            steps.callback(setattr, self, "_started", False)
            steps.push_async_callback(self._resources.aclose)
            steps.callback(self.guard.close)
            steps.callback(self._close_feed)
            steps.push_async_callback(self._stop_server)
            steps.push_async_callback(self.turns.stop)
            await stop_all(self.workers())

    async def _stop_server(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            await server.stop()

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._started

    @cached_property
    def app(self) -> ASGIApp:
        """The API as an ASGI application without a gatekeeper, for callers in this process."""
        from dnworker.server.app import make_app

        return make_app(self, bind_host=None)

    @property
    def place(self) -> tuple[asyncio.AbstractEventLoop, int]:
        """The loop that it was started on, and that loop's thread.

        Raises:
            RuntimeError: it was not started yet.
        """
        if self._place is None:
            raise RuntimeError("this runtime was not started yet; `async with Runtime() as runtime` does")
        return self._place

    @property
    def feed(self) -> Feed:
        """The source of every view of the panel; what they can do beside is set by `actions`."""
        if self._feed is None:
            from dnworker.panel.actions import Actions
            from dnworker.panel.feed import Feed

            self._feed = Feed(self, self.actions or Actions(self))
        return self._feed

    @property
    def url(self) -> str | None:
        """Where the API is, or None without a server."""
        return self.server.url if self.server is not None else None

    def connection(self, token: str) -> Connection:
        """Return what a worker process needs to find this runtime.

        Raises:
            RuntimeError: there is no server to find.
        """
        if self.url is None:
            raise RuntimeError(
                "this runtime has no server for worker processes; start it with Runtime(port=0)"
            )
        return Connection(self.url, token, self.runtime_id)

    # -- workers and capabilities ----------------------------------------------------------------------

    async def add(
        self, worker: Worker, *, capability: str = LIVE_CAPABILITY, when: Iterable[str] = ()
    ) -> ManagedWorker:
        """Run a Worker in this process and return when it is running, or has failed to start.

        Raises:
            ValueError: it has no name, or one of this name is there already.
        """
        if worker.name is None:
            raise ValueError("a worker needs a name here: Worker(name='bridge')")
        home = self.capability(capability)
        if worker.name in home.workers:
            raise ValueError(f"there is a worker {worker.name!r} in {capability!r} already; remove it first")
        seeded = dict(worker.state)

        def make() -> Worker:
            worker.state.clear()
            worker.state.update(seeded)
            return worker

        managed = InProcessWorker(self, home, WorkerDefinition(worker.name, when=tuple(when)), make)
        await self.adopt(managed)
        return managed

    async def adopt(self, managed: ManagedWorker) -> None:
        """Start a worker made for one of our capabilities, in place of any other of its name."""
        await self.capabilities.adopt(managed)

    async def remove(self, name: str) -> None:
        """Stop a worker and forget it.

        Raises:
            NotFound: there is none of this name.
        """
        await self.capabilities.remove(self.worker(name))
        self._tell()

    async def load(self, path: str | os.PathLike[str]) -> Capability:
        """Load a capability from its directory and start its workers.

        Raises:
            ManifestError: the manifest breaks rules, or a capability of this name is loaded already.
        """
        capability = await self.capabilities.load(Path(path).resolve())
        self._tell()
        return capability

    async def discover(self) -> list[Capability]:
        """Load what the capability directories hold; one that fails is listed with its error."""
        found = await self.capabilities.discover()
        self._tell()
        return found

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Answer `/api/ready` with 503 until what is loaded inside has started (contract 4.8)."""
        self.progress.reach("connecting")
        yield
        self.progress.reach("ready")

    async def set_flag(self, capability: str, flag: str, value: bool) -> None:
        """Keep a flag's value for this user, and start and stop the workers that it gates.

        Raises:
            NotFound: there is no such capability, or it has no such flag.
        """
        await self.capabilities.set_flag(capability, flag, value)
        self._tell()

    def capability(self, name: str = LIVE_CAPABILITY) -> Capability:
        """Return a capability; one that holds added workers is made at its first use."""
        return self.capabilities.live(name)

    def workers(self) -> list[ManagedWorker]:
        """Return all declared workers."""
        return self.capabilities.workers()

    def worker(self, name: str) -> ManagedWorker:
        """Return a worker by name, or by `capability:name`.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        return self.capabilities.search(name)

    def worker_detail(self, capability: str, worker: str) -> dict[str, Any]:
        """Return the detail of contract 6.5.

        Raises:
            NotFound: there is no such worker.
        """
        return self.capabilities.find(capability, worker).detail()

    async def restart_worker(self, capability: str, worker: str, *, force: bool = False) -> dict[str, Any]:
        """Restart a worker that is not running, and return its detail and whether it was restarted.

        With `force` a running one, too.

        Raises:
            NotFound: there is no such worker.
            Conflict: its gate is closed.
        """
        managed = self.capabilities.find(capability, worker)
        restarted = await managed.restart(force=force)
        return managed.detail() | {"restarted": restarted}

    async def reload(self, capability: str | None = None) -> RuntimeInfo:
        """Stop workers, read their capabilities from disk again, start them (contract 4.8).

        A full reload during a full reload waits for that one; others wait for their turn. It runs in a task
        of its own, so a handler that asks for it may be stopped by it.

        Args:
            capability: the only one to reload; None for all, including those that are new.

        Raises:
            NotFound: there is no such capability.
        """
        if capability is not None:
            self.capabilities.get(capability)
        running, scope = self._reload, self._reloading
        if running is not None and not running.done():
            if scope == capability:
                return await asyncio.shield(running)
            await asyncio.wait({running})
            return await self.reload(capability)
        self._reloading = capability
        self._reload = asyncio.create_task(self._do_reload(capability), name="dnworker reload")
        return await asyncio.shield(self._reload)

    @property
    def reload_error(self) -> str | None:
        """`reload_failed` when a manifest could not be read again (contract 6.2)."""
        return self.capabilities.reload_error

    @property
    def is_reloading(self) -> bool:
        """Whether a reload is under way."""
        return self._reload is not None and not self._reload.done()

    def info(self) -> RuntimeInfo:
        """Return what the runtime tells about itself."""
        return RuntimeInfo(
            version=__version__,
            runtime_id=self.runtime_id,
            working_dir=str(Path.cwd()),
            capabilities=[capability.info() for capability in self.capabilities.all()],
        )

    def tool_infos(self) -> list[ToolInfo]:
        """Return the tools that agents may call."""
        return [
            ToolInfo(
                name=tool.name,
                wire_name=tool.name,
                source="python",
                description=tool.description,
                capability=LIVE_CAPABILITY,
                parameters_schema=tool.schema,
            )
            for tool in self.tools.all()
        ]

    def skills(self) -> list[Skill]:
        """Return the skills of all capabilities, by their qualified id."""
        found = [skill for capability in self.capabilities.all() for skill in capability.parts.skills]
        return sorted(found, key=lambda skill: skill.qualified_id)

    def skill(self, name: str) -> Skill:
        """Return a skill by its name or qualified id.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        found = [s for s in self.skills() if name in (s.name, s.qualified_id)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(s.qualified_id for s in found or self.skills()) or "none"
        raise NotFound(
            f"{'several skills are' if found else 'no skill is'} named {name!r}; there are: {known}"
        )

    def mcp_detail(self, capability: str, server: str) -> dict[str, Any]:
        """Return an MCP server's detail (contract 6.3).

        Raises:
            NotFound: no capability declares it.
        """
        home = next((c for c in self.capabilities.all() if c.name == capability), None)
        if home is None or server not in home.parts.mcp:
            raise NotFound(f"no MCP server {capability}:{server}")
        return home.parts.mcp[server].detail(home.flags)

    def mcp_reconnect(self, capability: str, server: str) -> dict[str, Any]:
        """Return an MCP server's detail, refusing a gated one; this runtime connects none.

        Raises:
            NotFound: no capability declares it.
            Conflict: its gate is closed.
        """
        detail = self.mcp_detail(capability, server)
        if detail["status"] == "gated_off":
            when = list(self.capabilities.get(capability).parts.mcp[server].when)
            message = f"MCP server {capability}:{server} is gated off; turn on one of: {', '.join(when)}"
            raise Conflict({"reason": "gated_off", "message": message, "when": when})
        return detail

    # -- events ----------------------------------------------------------------------------------------

    def publish(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        size: int | None = None,
    ) -> EventEnvelope:
        """Publish as a worker may; `size` as in `EventBus.publish`.

        Raises:
            ReservedKind: the kind belongs to the runtime.
            NotFound: the session is not live.
            Gone: the session was deleted.
            Invalid: the payload is not a JSON object.
            TooLarge: the payload is over the limit.
        """
        check_publishable(kind)
        if session_id is not None and not self.bus.is_deleted(session_id):
            self.sessions.get(session_id)
        return self.bus.publish(kind, payload, session_id=session_id, size=size)

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
    ) -> Trace:
        """Publish as the operator, who may use any kind, and return what it caused.

        Args:
            kind: the event's name.
            payload: a known kind gets a realistic one when None.
            session_id: made live if it is not; kinds that belong to a session get one when None.
            timeout: seconds to wait for everything it causes; None for ever. When it is over, the trace
                tells so and shows what there is.
            wait: False to return at once.
            only: the name of the one worker that gets it; None for all that listen.
            turn_id: its turn; by default what the payload of a `turn.` event names.

        Raises:
            Invalid: the payload is not a JSON object.
            TooLarge: the payload is over the limit.
            NotFound: there is no worker of the name `only`.
        """
        owner = None if only is None else self.worker(only).qualified_name
        payload = template(kind) if payload is None else payload
        if session_id is None and belongs_to_session(kind):
            named = payload.get("session_id") if isinstance(payload, dict) else None
            session_id = named if isinstance(named, str) and named else DEFAULT_SESSION
        if session_id is not None:
            self.sessions.ensure(session_id)
        if turn_id is None and isinstance(payload, dict) and kind.startswith("turn."):
            turn_id = payload.get("turn_id")
        envelope = self.bus.publish(
            kind,
            payload,
            session_id=session_id,
            turn_id=turn_id if isinstance(turn_id, str) else None,
            terminal=kind in TERMINAL_KINDS,
            only=owner,
        )
        trace = Trace(envelope, self.history)
        if wait:
            try:
                async with asyncio.timeout(timeout):
                    await self.history.wait_quiet(envelope.event_id)
            except TimeoutError:
                trace.timed_out = True
        return trace

    async def settle(self, timeout: float | None = 5) -> None:
        """Return when no event is queued and no handler but tasks is running.

        Raises:
            HandlerFailed: handlers raised since the last call.
            TimeoutError: something still runs when the time is up; names it.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.history.wait_idle()
        except TimeoutError:
            running = [
                i.label for i in self.history.invocations() if i.outcome == "running" and i.cause != "task"
            ]
            text = f"still running after {timeout:g} s: {', '.join(running) or 'queued events'}"
            try:
                self.history.raise_failures()
            except HandlerFailed as failed:
                text += f"; and {failed}"
            raise TimeoutError(text) from None
        self.history.raise_failures()

    async def advance(self, seconds: float, *, limit: int | None = None) -> int:
        """Move a virtual clock forward, letting what wakes run to its end; returns how many woke.

        Args:
            seconds: how far to go.
            limit: stop after so many wakes, at the time reached by then.

        Raises:
            TypeError: the clock is real.
        """
        clock = self.clock
        if not isinstance(clock, VirtualClock) or not clock.can_advance:
            raise TypeError("only a virtual clock can be advanced: Runtime(clock=VirtualClock())")
        try:
            return await clock.advance(seconds, self._settle_step, limit=limit)
        finally:
            self.look_again()

    def client(self, *, worker: str | None = None, capability: str | None = None) -> RuntimeClient:
        """Return an in-process client, of a worker or of the operator."""
        return RuntimeClient.over(
            DirectConnection(self),
            server_url=self.url or "",
            notify_source=f"capability.{capability}" if capability else None,
            labels={"worker": [worker]} if worker else None,
            origin="worker" if worker else None,
        )

    # -- what the parts tell each other ----------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a worker's state or handlers changed; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def look_again(self) -> None:
        """Let those who listen look again: something changed that nobody told, such as the clock."""
        self._tell()

    def worker_changed(self, worker: ManagedWorker, *, announce: bool = True) -> None:
        """Note a worker's new state; publishes `component.state_changed` where contract 2.7 says so."""
        log.debug("%s is %s", worker.qualified_name, worker.state)
        if self.journal is not None:
            self.journal.note_state(worker.qualified_name, str(worker.state), worker.error)
        if worker.state is WorkerState.ERROR and worker.error and worker.last_handler_error is None:
            first = worker.error.partition("\n")[0]  # the rest is output, which the log has already
            self.log_line(worker.qualified_name, first, source="runtime", level="error")
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
        self._tell()

    def log_line(
        self,
        worker: str,
        text: str,
        *,
        source: str = "stdout",
        level: str = "info",
        data: Mapping[str, Any] | None = None,
        invocation: Invocation | None = None,
    ) -> None:
        """Add a line to a worker's log, tagged with `invocation`, else with the one that runs here."""
        invocation = invocation or current_invocation.get()
        if invocation is not None and invocation.muted:
            invocation.note_log(LogLine(0, worker, source, valid_text(text), level, invocation.id, data=data))
            return
        event = invocation.event if invocation is not None else None
        line = self.logs.add(
            worker,
            text,
            source=source,
            level=level,
            invocation_id=invocation.id if invocation else None,
            event_id=event.event_id if event else None,
            data=data,
        )
        if invocation is not None:
            invocation.note_log(line)

    def cause_of(self, worker: str, traceparent: str) -> Invocation | None:
        """Return the invocation in a worker process that a request names as its cause, if it names one."""
        named = read_traceparent(traceparent)
        try:
            managed = self.worker(worker)
        except NotFound:  # removed, and not gone yet
            return None
        if named is None or not isinstance(managed, SubprocessWorker):
            return None
        return managed.remote.cause(*named)

    def note_unhandled(
        self, invocation: Invocation, exc: BaseException, what: str = "a task it started"
    ) -> None:
        """Note what came of something that a handler started and nobody awaited: nothing must vanish."""
        error = describe(exc)
        self.history.unhandled(invocation, error, what)
        self._log_error(invocation, f"{invocation.handler}: {what} failed:", error)
        try:
            stats = self.worker(invocation.worker).stats
        except NotFound:
            return
        if invocation.key is not None and (counted := stats.get(invocation.key)) is not None:
            counted.failed(invocation, error)

    def _log_failure(self, invocation: Invocation) -> None:
        if invocation.error is not None:
            title = f"{invocation.handler} failed ({invocation.cause}):"
            self._log_error(invocation, title, invocation.error)

    def _log_error(self, invocation: Invocation, title: str, error: HandlerError) -> None:
        event = invocation.event.event_id if invocation.event else None
        for line in [title, *error.lines()]:
            self.logs.add(
                invocation.worker,
                line,
                source="runtime",
                level="error",
                invocation_id=invocation.id,
                event_id=event,
            )

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    async def _do_reload(self, capability: str | None) -> RuntimeInfo:
        self.progress.reload_begins()
        told: dict[str, Any] = {} if capability is None else {"capability": capability}
        try:
            if capability is None:
                count = await self.capabilities.reload()
            else:
                count = await self.capabilities.reload_one(capability)
        finally:
            self.progress.reload_ends()
        self.bus.publish("capabilities.reloaded", {"capability_count": count, **told})
        self._tell()
        return self.info()

    async def _settle_step(self) -> None:
        await turn_loop()
        try:
            async with asyncio.timeout(VIRTUAL_STEP_LIMIT):
                asleep = self.clock.asleep if isinstance(self.clock, VirtualClock) else ()
                await self.history.wait_idle(asleep)
        except TimeoutError:
            log.warning("handlers are still running after %g real seconds; time moves on", VIRTUAL_STEP_LIMIT)
        await turn_loop()
