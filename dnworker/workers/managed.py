"""`ManagedWorker`: starts, stops and restarts one declared worker (contract 2.7, 3.6, 4.8).

It is the lifecycle; `inprocess_worker` and `subprocess_worker` make the runner.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import Counter, deque
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol

from dnworker.capability.flags import gate_is_open
from dnworker.capability.manifest import WorkerDefinition
from dnworker.core.causes import cause
from dnworker.core.declared import DeclaredPayload
from dnworker.core.errors import Conflict
from dnworker.core.handlers import HandlerKey
from dnworker.core.invocation import Invocation, current_invocation
from dnworker.core.lifecycle import ALIVE, STATUS, Lifecycle, Transition, WorkerState
from dnworker.core.members import index_of
from dnworker.core.models import ComponentInfo
from dnworker.core.stats import HandlerStats
from dnworker.events.brokers.left_events import LeftEvents
from dnworker.workers.access import Access, GaveWay, Retired
from dnworker.workers.loading import why_not_loaded
from dnworker.workers.services import Home, Services

log = logging.getLogger("dnworker.workers")


class Runner(Protocol):
    """Runs the handlers or the process of one start, and takes the steps of its lifecycle."""

    async def start(self) -> None:
        """Run; a failure is state `error`, never an exception."""

    async def stop(self) -> None:
        """End what runs; harmless in any state."""

    def hurry(self, seconds: float) -> None:
        """Let a stop that follows take so many seconds at most."""


if TYPE_CHECKING:
    from typing_extensions import TypeVar  # whose default lets others write `ManagedWorker` alone

    R = TypeVar("R", bound=Runner, default=Any)
else:
    from typing import TypeVar

    R = TypeVar("R", bound=Runner)


class ManagedWorker(Generic[R]):
    """One declared worker, where it is in its lifecycle, and the runner of its present start.

    Args:
        services: the parts of the runtime that it uses.
        home: the capability that it belongs to.
        definition: what the manifest says of it.
    """

    topology, starts_again = "", False  # the latter: by the restart policy, at the present start

    def __init__(self, services: Services, home: Home, definition: WorkerDefinition) -> None:
        self.definition = definition
        self.restarts = 0
        self._services = services
        self._home = home
        self.life = services.lives.of(self.qualified_name)
        """What is kept of it over restarts and reloads."""
        self._lifecycle = Lifecycle(self.life.transitions)
        self._lifecycle.listen(self._moved)
        self._runner: R | None = None
        self._access: Access[ManagedWorker] = Access(self)
        self._own_restarts: set[asyncio.Task[bool]] = set()
        """Those that its own handlers asked for."""
        self.begins_anew = False  # whether its next start forgets a state that is kept
        self.is_stopped = False
        """Whether somebody has stopped it since it was made, started or retired."""
        self.why_standby: str | None = None
        """Why it stands by here, such as which node holds it; None where it does not."""

    def __repr__(self) -> str:
        return f"<worker {self.qualified_name}: {self.state}, {self.topology or 'no topology'}>"

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""
        return self._lifecycle.state

    @property
    def error(self) -> str | None:
        """Why it is in `error`, or what its shutdown handlers raised."""
        return self._lifecycle.error

    @property
    def is_running_on(self) -> bool:
        """Whether something of it runs on, though it was stopped: a handler that ignores its cancellation."""
        return False

    def cause_named(self, event_id: str, invocation_id: str) -> Invocation | None:
        """Return the invocation in its process that a request names as its cause."""
        return None

    def hears_silently(self, kind: str) -> bool:
        """Return whether it gets events of a kind, and nobody knows what it does with them."""
        return False

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing of it runs, and nobody starts or stops it at the moment."""
        moving = (WorkerState.STARTING, WorkerState.RUNNING, WorkerState.STOPPING)
        return self.state not in moving and not self._access.is_taken and not self.is_running_on

    @property
    def losses(self) -> str | None:
        """How many events it has not got, and why; None while there are none."""
        return None

    def note_left(self, left: LeftEvents) -> None:
        """Note what waits of a kind that it names no more, or is let go; or that it names it again."""

    @property
    def transitions(self) -> deque[Transition]:
        """The newest steps that it took, oldest first."""
        return self._lifecycle.transitions

    @property
    def name(self) -> str:
        """The key in the manifest."""
        return self.definition.name

    @property
    def capability(self) -> str:
        """The name of the capability it belongs to."""
        return self._home.name

    @property
    def home(self) -> Home:
        """The capability it belongs to."""
        return self._home

    @property
    def qualified_name(self) -> str:
        """`capability:worker`."""
        return f"{self.capability}:{self.name}"

    @property
    def topology_label(self) -> str:
        """What people call how it runs."""
        one = self.definition
        member = f", member {index_of(one.name) + 1} of {one.members}" if one.members > 1 else ""
        return f"{self.topology}{member}{', state is kept' if self._services.keeps_state_of(self) else ''}"

    @property
    def generation(self) -> int:
        """The version of its handlers."""
        return 1

    @property
    def is_starting(self) -> bool:
        """Whether it will handle events, and does not yet."""
        return self.state in (WorkerState.LOADING, WorkerState.STARTING)

    @property
    def has_settled(self) -> bool:
        """Whether its start is over, one way or the other."""
        return not self.is_starting

    @property
    def expected_within(self) -> float | None:
        """Seconds after which it counts as starting no longer, should nothing happen; None if for ever."""
        return None

    @property
    def owed(self) -> int:
        """How many events wait for its handlers, and will be handled where it is given the time."""
        return 0

    def owed_kinds(self) -> Counter[str]:
        """Return how many events of each kind wait for its handlers, those that are tried again later too."""
        return Counter()

    def hold(self, *, events: bool) -> None:
        """Let no schedule be due any more, and with `events` take no further event; what runs goes on."""

    def may_hear(self, kind: str) -> bool:
        """Return whether it listens to a kind, as far as is known; while nothing is known, it may."""
        return not self.stats or any(key[:2] == ("on_event", kind) for key in self.stats)

    @property
    def stats(self) -> dict[HandlerKey, HandlerStats]:
        """How each handler has done since the last start."""
        return {}

    @property
    def declared(self) -> list[DeclaredPayload]:
        """What event handlers of a process declare of payloads, where the process reports it."""
        return []

    @property
    def next_runs(self) -> dict[HandlerKey, datetime]:
        """When each schedule runs next, and each task that crashed, by the runtime's clock."""
        return {}

    def run_schedule(self, key: HandlerKey) -> None:
        """Begin a run of a schedule's handler now.

        Raises:
            Conflict: its schedules are not kept here.
        """
        raise Conflict(
            f"worker {self.qualified_name!r} keeps its schedules in a process of its own", code="DN315"
        )

    async def start(self) -> None:
        """Evaluate the gate, load and start; a failure is state `error`, never an exception.

        A start gives way to a stop that somebody asks for meanwhile.

        Raises:
            Retired: it was replaced or removed.
        """
        async with self._access.turn():
            await self._start_unless_stopped()

    async def start_with_others(self) -> None:
        """Start as part of a load or reload; one that somebody has stopped since that began stays stopped.

        Raises:
            Retired: it was replaced or removed.
        """
        async with self._access.turn():
            if not self.is_stopped:
                await self._start_unless_stopped()

    async def resume(self) -> None:
        """Start with what it had when it was stopped, where it can keep that."""
        await self.start()

    async def stop(self) -> None:
        """Stop through the full sequence; harmless in any state.

        Where it is being replaced, what comes in its place is stopped too.
        """
        self.is_stopped = True
        await self.halt()
        if self._access.is_retired and (successor := await self._access.successor()) is not None:
            await successor.stop()

    async def follow_gate(self) -> None:
        """Start or stop as its gate is by now; with a closed gate the state is `gated_off`.

        Raises:
            Retired: it was replaced or removed.
        """
        if not self._gate_is_open and self._is_starting:
            await self._interrupt_start()
        async with self._access.turn():
            if self._gate_is_open and self.state is WorkerState.GATED_OFF:
                await self._start_unless_stopped()
            elif not self._gate_is_open and self.state is not WorkerState.GATED_OFF:
                await self._stop()
                self._gate_off()
                self._services.on_change(self, announce=False)

    # -- with other nodes ------------------------------------------------------------------------------

    async def take_up(self) -> None:
        """Start it if it stands by, and its lease can be had.

        Raises:
            Retired: it was replaced or removed.
        """
        async with self._access.turn():
            if self.state is WorkerState.STANDBY:
                await self._start_unless_stopped()

    async def stand_by(self, why: str, *, within: float | None = None) -> None:
        """Stop it, because another node is to hold it; one that is down stays so.

        Args:
            why: it stands by, as text.
            within: seconds in which its handlers must have ended; None gives them the usual grace.
        """
        self.hurry(within)
        if self._is_starting:
            await self._interrupt_start()
        async with self._access.stopping():
            self.hurry(within)
            if self.state in (WorkerState.STOPPED, WorkerState.GATED_OFF):
                return
            await self._stop()
            self._be_standby(why)

    def note_standby(self, why: str) -> None:
        """Say why it stands by, where that is another reason by now."""
        if self.state is WorkerState.STANDBY and why != self.why_standby:
            self.why_standby = why
            self._services.on_change(self, announce=False, moved=False)

    def bound_by(self, until: float) -> None:
        """Take note of when another node may run it, by `hold.boot_time`: nothing of it may run then."""

    def _be_standby(self, why: str) -> None:
        self._runner = None
        if self.state is WorkerState.STANDBY:
            self.note_standby(why)
            return
        self.why_standby = why
        self._services.last_runs.leave(self.qualified_name)
        self._lifecycle.to(WorkerState.STANDBY, quiet=True, reason=f"Standby: {why}")
        self._services.on_change(self, announce=False)

    def hurry(self, within: float | None) -> None:
        """Let a stop that is under way, or follows, take so many seconds at most; None changes nothing."""
        if within is not None and self._runner is not None:
            self._runner.hurry(within)

    async def restart(self, *, force: bool = False) -> bool:
        """Start again; a running worker is left alone unless `force`. Returns whether it was restarted.

        One that is being replaced, as by a reload, is started anew by that: what is in its place is started
        if it does not run then. A handler of the worker may ask for it, and is stopped by it.

        Raises:
            Conflict: its gate is closed, it was removed, it was stopped meanwhile, another node holds it, or
                its own startup or shutdown handler asks.
        """
        invocation = current_invocation.get()
        if invocation is None or invocation.worker != self.qualified_name:
            return await self._restart(force)
        if self.state is not WorkerState.RUNNING:
            raise Conflict(
                f"worker {self.qualified_name!r} cannot restart itself while it is {self.state}", code="DN313"
            )
        restart = asyncio.create_task(
            self._restart(force), name=f"{self.qualified_name} restart", context=contextvars.Context()
        )
        self._own_restarts.add(restart)
        restart.add_done_callback(self._note_own_restart)
        return await asyncio.shield(restart)

    def _note_own_restart(self, restart: asyncio.Task[bool]) -> None:
        self._own_restarts.discard(restart)
        if not restart.cancelled() and (failure := restart.exception()) is not None:
            log.warning("%s: the restart that it asked for failed: %s", self.qualified_name, failure)

    async def _restart(self, force: bool) -> bool:
        if force and self._is_starting:
            await self._interrupt_start()
        try:
            async with self._access.turn():
                self._check_gate()
                if self.state is WorkerState.RUNNING and not force:
                    return False
                await self._stop()
                self._access.give_way()
                self.restarts += 1
                await self._start()
                self._check_held()
                return True
        except GaveWay:
            if not self._access.is_retired:
                raise Conflict(
                    f"worker {self.qualified_name!r} was stopped while it was to restart", code="DN313"
                ) from None
            successor = await self._access.successor()
        except Retired as exc:
            successor = exc.successor
        if successor is None:
            raise Retired(self.qualified_name, None)
        await successor._restart(False)
        return True

    # -- replacing it ----------------------------------------------------------------------------------

    def retire(self) -> None:
        """Let nobody start it any more, not even who waits to do so already, until `settle`.

        `settle` must follow, once the list of workers is as it is to be. It goes on until `halt` stops it.
        """
        self._access.retire()
        self.is_stopped = False

    def settle(self, listed: ManagedWorker | None) -> None:
        """Say what is in its place by now, after `retire`: itself, another, or nothing."""
        self._access.settle(listed)

    def reinstate(self) -> None:
        """Let it be started again after it was retired, and is back in its place."""
        self._access.reinstate()

    async def halt(self) -> None:
        """Stop it, and nothing that comes in its place; a start that waits for its turn gives way."""
        if self._is_starting:
            await self._interrupt_start()
        async with self._access.stopping():
            await self._stop()

    def component(self) -> ComponentInfo:
        """Return its health entry."""
        if self.state is WorkerState.GATED_OFF:
            return ComponentInfo(
                kind="worker",
                name=self.name,
                status="gated_off",
                detail=f"Requires flag: {', '.join(self.definition.when)}",
                qualified_name=self.qualified_name,
                capability=self.capability,
                when=list(self.definition.when),
            )
        if self.state is WorkerState.STANDBY:
            return ComponentInfo(kind="worker", name=self.name, status="standby", detail=self.why_standby)
        return ComponentInfo(
            kind="worker",
            name=self.name,
            status=STATUS.get(self.state, "stopped"),
            error=self.error,
            detail="; ".join(filter(None, (self.losses, self.last_handler_error))) or None,
        )

    @property
    def last_handler_error(self) -> str | None:
        """What a handler raised last, with its location; the worker itself may run on (contract 11.11)."""
        errors = [(key, f.last_error) for key, f in self.stats.items() if f.last_error is not None]
        return f"last handler error: {errors[-1][0].name}: {errors[-1][1]}" if errors else None

    def detail(self) -> dict[str, Any]:
        """Return the detail of contract 6.5."""
        fence, more = self._services.holding.fence(self.qualified_name), dict[str, Any]()
        if self._services.keeps_state_of(self):
            more["keeps_state"] = True
        if self.definition.members > 1:
            more |= {"member": index_of(self.name), "members": self.definition.members}
        if self.state is WorkerState.STANDBY:
            more |= {
                "standby": self.why_standby,
                "holder": self._services.holding.holder(self.qualified_name),
            }
        if fence is not None:
            more["fence"] = fence
        return {
            "name": self.name,
            "qualified_name": self.qualified_name,
            "capability": self.capability,
            "state": str(self.state),
            "error": self.error,
            "when": list(self.definition.when),
            "kind": "inprocess",
            "handlers": None,
        } | more

    # -- for the topologies ----------------------------------------------------------------------------

    def _make_runner(self) -> R:
        """Return what runs the worker from a start on; called in state `loading`, may raise anything."""
        raise NotImplementedError

    @property
    def waiting(self) -> int:
        """How many events are queued for it."""
        return 0

    @property
    def _is_starting(self) -> bool:
        """Whether a start is under way, which holds the lock."""
        return self.state is WorkerState.STARTING

    async def _interrupt_start(self) -> None:
        """End a start that may hang; `stop` calls it while the start holds the lock."""

    def _let_go(self) -> None:
        """Let go of what the start took; called when the worker has stopped or failed, maybe twice."""

    # -- the lifecycle ---------------------------------------------------------------------------------

    async def _start_unless_stopped(self) -> None:
        try:
            await self._start()
        except GaveWay:
            log.debug("%s: somebody stops it; it is not started", self.qualified_name)

    async def _start(self) -> None:
        """Start it, unless it runs; the lock is held.

        Raises:
            GaveWay: somebody waits to stop it.
        """
        if self.state in ALIVE:
            return  # somebody else has started it meanwhile
        self._lifecycle.cause = cause()
        if self.state is WorkerState.STOPPING:
            await self._stop()  # it goes on stopping, though whoever asked for that has been interrupted
        self._access.give_way()
        self.is_stopped = False
        if self.definition.problem is None and not self._gate_is_open:
            self._gate_off()
            self._services.on_change(self, announce=False, moved=False)
            return
        if self.definition.problem is None:
            if (why := await self._services.holding.admit(self.qualified_name)) is not None:
                self._be_standby(why)
                return
            if not await self._is_prepared():
                return
            self._access.give_way()  # or a stop that was asked for meanwhile would wait for the whole start
        self.why_standby = None
        if self.state is not WorkerState.LOADING:
            self._lifecycle.to(WorkerState.LOADING)
        else:
            self._lifecycle.begin()
        self._services.lives.keep(self.qualified_name, self.life)
        self._runner = None
        if self.definition.problem is not None:
            self._lifecycle.to(WorkerState.ERROR, self.definition.problem)
            return
        try:
            runner = self._make_runner()
        except BaseException as exc:  # the user's module: it may even say sys.exit(), or be cancelled
            self._lifecycle.to(WorkerState.ERROR, why_not_loaded(exc))
            return
        if (why := await self._services.holding.admit(self.qualified_name)) is not None:
            self._be_standby(why)  # the import took longer than its lease lasts
            return
        self._runner = runner
        await runner.start()

    async def _is_prepared(self) -> bool:
        """Read what the start needs; False where it stands by, because that cannot be read.

        It may have a lease by now: it must not be down as if nobody had started it, or it runs nowhere.
        """
        is_shared = self._services.holding.fence(self.qualified_name) is not None
        try:
            await self._before_start()
        except asyncio.CancelledError:
            self.is_stopped = is_shared and self.state is WorkerState.STOPPED
            raise
        except Exception as exc:
            if not is_shared:
                raise
            log.warning("%s does not start: %s", self.qualified_name, exc)
            self._be_standby(f"what it needs to start cannot be read: {exc}")
            return False
        return True

    async def _before_start(self) -> None:
        """Read what the start needs, once it is known that it takes place here."""

    async def _stop(self) -> None:
        self._lifecycle.cause = cause()
        if self._runner is not None:
            await self._runner.stop()
        elif self.state is WorkerState.ERROR:
            self._lifecycle.to(WorkerState.STOPPED)
        elif self.state in (WorkerState.LOADING, WorkerState.STANDBY):  # it was never started
            self._lifecycle.to(WorkerState.STOPPED, quiet=True)
            self._services.on_change(self, announce=False, moved=False)
        self._let_go()

    def _gate_off(self) -> None:
        """Be gated off; health says so without an event (contract 2.7)."""
        if self.state is not WorkerState.GATED_OFF:
            is_off = f"Flag {' or '.join(self.definition.when)} is off"
            self._lifecycle.to(WorkerState.GATED_OFF, quiet=True, reason=is_off)
        self._runner = None

    def _moved(self, state: WorkerState, error: str | None) -> None:
        """Notify the runtime of a step."""
        if state in (WorkerState.STOPPED, WorkerState.ERROR):
            self._let_go()
        self._services.on_change(self)

    @property
    def _gate_is_open(self) -> bool:
        return gate_is_open(self.definition.when, self._home.flags)

    def _check_held(self) -> None:
        """Raise Conflict where it stands by after a start."""
        if self.state is WorkerState.STANDBY:
            raise Conflict(
                f"worker {self.qualified_name!r} does not start on this node: {self.why_standby}; "
                "restart it on the node that holds it",
                code="DN812",
            )

    def _check_gate(self) -> None:
        if self._gate_is_open:
            return
        flags = list(self.definition.when)
        raise Conflict(
            {
                "reason": "gated_off",
                "message": f"worker {self.qualified_name!r} is gated off; turn on one of: {', '.join(flags)}",
                "when": flags,
            },
            code="DN314",
        )
