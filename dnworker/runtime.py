"""`Runtime`: one bus, its workers, its sessions and its server, on the loop it was started on."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dnworker import __version__, compat
from dnworker.bus import EventBus
from dnworker.capability.collection import CapabilityCollection
from dnworker.capability.environment import Connection
from dnworker.capability.manifest import WorkerDefinition
from dnworker.capability.registry import Capability
from dnworker.client.client import RuntimeClient
from dnworker.client.direct import DirectConnection
from dnworker.clock import Clock, RealClock, VirtualClock, turn_loop
from dnworker.events import EventEnvelope, check_publishable
from dnworker.guard import Guard
from dnworker.history import History
from dnworker.invocation import Invocation
from dnworker.invocation import current as current_invocation
from dnworker.lifecycle import STATUS, WorkerState
from dnworker.logs import LogBook
from dnworker.manager import ManagedWorker, stop_all
from dnworker.models import RuntimeInfo
from dnworker.sessions.store import SessionStore
from dnworker.templates import DEFAULT_SESSION, TERMINAL_KINDS, belongs_to_session, template
from dnworker.tokens import Tokens
from dnworker.topologies import InProcessWorker
from dnworker.trace import Trace
from dnworker.worker import Worker

if TYPE_CHECKING:
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
    ) -> None:
        self.clock: Clock = clock or RealClock()
        self.runtime_id = runtime_id or f"rt-{uuid.uuid4().hex[:12]}"
        self.tokens = Tokens(token)
        self.bus = EventBus(self.clock)
        self.history = History()
        self.logs = LogBook()
        self.sessions = SessionStore(self.bus, self.clock)
        self.guard = Guard()
        self.server: EmbeddedServer | None = None
        self._host, self._port = host, port
        self._collection = CapabilityCollection(self, flags or {})
        self._listeners: list[Callable[[], None]] = []
        self._reload: asyncio.Task[RuntimeInfo] | None = None
        self._started = False
        self.bus.tap(self.history.note_event)
        self.history.listen(self._log_failure)

    # -- start and stop --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, if there is a port; returns when the API answers.

        Raises:
            AddressInUse: an OSError: the port is in use; the message says so and what to do.
        """
        if self._started:
            return
        compat.install()
        if self._port is not None:
            from dnworker.server.embedded import EmbeddedServer

            self.server = EmbeddedServer(self, self._host, self._port)
            try:
                await self.server.start()
            except BaseException:
                self.server = None
                raise
        self._started = True

    async def stop(self) -> None:
        """Stop all workers in full, then the server; may be called again."""
        if self._reload is not None:
            self._reload.cancel()
            await asyncio.wait({self._reload})
        await stop_all(self.workers())
        if self.server is not None:
            await self.server.stop()
            self.server = None
        self.guard.close()
        self._started = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def is_started(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._started

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
        await self._collection.adopt(managed)

    async def remove(self, name: str) -> None:
        """Stop a worker and forget it.

        Raises:
            NotFound: there is none of this name.
        """
        await self._collection.remove(self.worker(name))
        self._tell()

    async def load(self, path: str | os.PathLike[str]) -> Capability:
        """Load a capability from its directory and start its workers.

        Raises:
            ManifestError: the manifest breaks rules, or a capability of this name is loaded already.
        """
        capability = await self._collection.load(Path(path).resolve())
        self._tell()
        return capability

    def capability(self, name: str = LIVE_CAPABILITY) -> Capability:
        """Return a capability; one that holds added workers is made at its first use."""
        return self._collection.live(name)

    def workers(self) -> list[ManagedWorker]:
        """Return all declared workers."""
        return self._collection.workers()

    def worker(self, name: str) -> ManagedWorker:
        """Return a worker by name, or by `capability:name`.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        return self._collection.search(name)

    def worker_detail(self, capability: str, worker: str) -> dict[str, Any]:
        """Return the detail of contract 6.5.

        Raises:
            NotFound: there is no such worker.
        """
        return self._collection.find(capability, worker).detail()

    async def restart_worker(self, capability: str, worker: str) -> dict[str, Any]:
        """Restart a worker that is not running, and return its detail and whether it was restarted.

        Raises:
            NotFound: there is no such worker.
            Conflict: its gate is closed.
        """
        managed = self._collection.find(capability, worker)
        restarted = await managed.restart()
        return managed.detail() | {"restarted": restarted}

    async def reload(self) -> RuntimeInfo:
        """Stop all workers, read every capability from disk again, start them (contract 4.8).

        A call during a reload waits for that one. It runs in a task of its own, so a handler that asks
        for it may be stopped by it.
        """
        if self._reload is None or self._reload.done():
            self._reload = asyncio.create_task(self._do_reload(), name="dnworker reload")
        return await asyncio.shield(self._reload)

    @property
    def reload_error(self) -> str | None:
        """`reload_failed` when a manifest could not be read again (contract 6.2)."""
        return self._collection.reload_error

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
            capabilities=[capability.info() for capability in self._collection.all()],
        )

    # -- events ----------------------------------------------------------------------------------------

    def publish(
        self, kind: str, payload: dict[str, Any] | None = None, *, session_id: str | None = None
    ) -> EventEnvelope:
        """Publish as a worker may.

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
        return self.bus.publish(kind, payload, session_id=session_id)

    async def fire(
        self,
        kind: str,
        payload: dict[str, Any] | None = None,
        *,
        session_id: str | None = None,
        timeout: float | None = 30,
        wait: bool = True,
    ) -> Trace:
        """Publish as the operator, who may use any kind, and return what it caused.

        Args:
            kind: the event's name.
            payload: a known kind gets a realistic one when None.
            session_id: made live if it is not; kinds that belong to a session get one when None.
            timeout: seconds to wait for everything it causes; None for ever. When it is over, the trace
                tells so and shows what there is.
            wait: False to return at once.

        Raises:
            Invalid: the payload is not a JSON object.
            TooLarge: the payload is over the limit.
        """
        payload = template(kind) if payload is None else payload
        if session_id is None and belongs_to_session(kind):
            named = payload.get("session_id") if isinstance(payload, dict) else None
            session_id = named if isinstance(named, str) and named else DEFAULT_SESSION
        if session_id is not None:
            self.sessions.ensure(session_id)
        turn_id = payload.get("turn_id") if isinstance(payload, dict) and kind.startswith("turn.") else None
        envelope = self.bus.publish(
            kind,
            payload,
            session_id=session_id,
            turn_id=turn_id if isinstance(turn_id, str) else None,
            terminal=kind in TERMINAL_KINDS,
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
            raise TimeoutError(
                f"still running after {timeout:g} s: {', '.join(running) or 'queued events'}"
            ) from None
        self.history.raise_failures()

    async def advance(self, seconds: float) -> int:
        """Move a virtual clock forward, letting what wakes run to its end; returns how many woke.

        Raises:
            TypeError: the clock is real.
        """
        if not isinstance(self.clock, VirtualClock):
            raise TypeError("only a virtual clock can be advanced: Runtime(clock=VirtualClock())")
        return await self.clock.advance(seconds, self._settle_step)

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

    def worker_changed(self, worker: ManagedWorker, *, announce: bool = True) -> None:
        """Note a worker's new state; publishes `component.state_changed` where contract 2.7 says so."""
        log.debug("%s is %s", worker.qualified_name, worker.state)
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

    def log_line(self, worker: str, text: str, *, source: str = "stdout", level: str = "info") -> None:
        """Add a line to a worker's log, tagged with the invocation that runs here, if one does."""
        invocation = current_invocation.get()
        event = invocation.event if invocation is not None else None
        line = self.logs.add(
            worker,
            text,
            source=source,
            level=level,
            invocation_id=invocation.id if invocation else None,
            event_id=event.event_id if event else None,
        )
        if invocation is not None:
            invocation.logs.append(line)

    def _log_failure(self, invocation: Invocation) -> None:
        if invocation.error is None:
            return
        event = invocation.event.event_id if invocation.event else None
        for line in [f"{invocation.handler} failed ({invocation.cause}):", *invocation.error.lines()]:
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

    async def _do_reload(self) -> RuntimeInfo:
        count = await self._collection.reload()
        self.bus.publish("capabilities.reloaded", {"capability_count": count})
        self._tell()
        return self.info()

    async def _settle_step(self) -> None:
        await turn_loop()
        try:
            async with asyncio.timeout(VIRTUAL_STEP_LIMIT):
                await self.history.wait_idle()
        except TimeoutError:
            log.warning("handlers are still running after %g real seconds; time moves on", VIRTUAL_STEP_LIMIT)
        await turn_loop()
