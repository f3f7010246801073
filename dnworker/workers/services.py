"""The interfaces that a managed worker needs of its runtime (`Services`) and of its capability (`Home`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from dnworker.capability.environment import RuntimeAddress
from dnworker.capability.flags import Flag
from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.client.client import RuntimeClient
from dnworker.core.clock import Clock
from dnworker.core.invocation import Invocation
from dnworker.core.lifecycle import WorkerState
from dnworker.core.limits import Limits
from dnworker.core.members import Partition
from dnworker.core.models import ComponentInfo
from dnworker.core.restarts import RestartPolicy
from dnworker.events.bus import EventBus
from dnworker.events.history import History
from dnworker.workers.around import Around
from dnworker.workers.cgroups import Cgroups
from dnworker.workers.debugging import Debugged
from dnworker.workers.guard import Guard
from dnworker.workers.last_runs import LastRuns
from dnworker.workers.lives import Lives
from dnworker.workers.log_file import LogFiles
from dnworker.workers.nesting import Traces
from dnworker.workers.recorders import OnUnhandled


class Home(Protocol):
    """The capability that a worker belongs to."""

    @property
    def name(self) -> str:
        """Its name, the first part of the worker's qualified name."""

    @property
    def root(self) -> Path:
        """Its directory, absolute."""

    @property
    def manifest(self) -> CapabilityManifest:
        """What it declares."""

    @property
    def flags(self) -> Mapping[str, Flag]:
        """Its flags, as they are resolved now."""


class Changed(Protocol):
    """A worker whose state has changed, as `on_change` is given it."""

    @property
    def name(self) -> str:
        """The key in the manifest."""

    @property
    def capability(self) -> str:
        """The name of the capability that it belongs to."""

    @property
    def qualified_name(self) -> str:
        """`capability:worker`."""

    @property
    def state(self) -> WorkerState:
        """The state that it is in."""

    @property
    def error(self) -> str | None:
        """Why it is in `error`, or what its shutdown handlers raised."""

    @property
    def generation(self) -> int:
        """The version of its handlers."""

    @property
    def starts_again(self) -> bool:
        """Whether its present start is one of the restart policy's."""

    @property
    def last_handler_error(self) -> str | None:
        """What a handler raised last, with its location."""

    def component(self) -> ComponentInfo:
        """Return its health entry."""


class Declared(Protocol):
    """A worker, and what is said of it."""

    @property
    def qualified_name(self) -> str:
        """`capability:worker`."""

    @property
    def definition(self) -> WorkerDefinition:
        """What its manifest or its cells say."""


class OnChange(Protocol):
    """Is notified of a worker's new state, handlers or losses."""

    def __call__(self, worker: Changed, *, announce: bool = True, moved: bool = True) -> None:
        """Note it; `moved` if its state is another; `announce` publishes it where contract 2.7 says so."""


class MakeClient(Protocol):
    """Makes the client that the handlers of a worker in this process get."""

    def __call__(self, *, worker: str, capability: str) -> RuntimeClient:
        """Return a client that acts in the name of the worker."""


class AddLine(Protocol):
    """Adds a line to a worker's log."""

    def __call__(
        self,
        worker: str,
        text: str,
        *,
        source: str = "stdout",
        level: str = "info",
        data: Mapping[str, Any] | None = None,
        invocation: Invocation | None = None,
    ) -> object:
        """Add it, tagged with `invocation`, else with the one that runs here."""


class Holding(Protocol):
    """Says which workers run in this runtime, where several share a broker."""

    async def admit(self, worker: str) -> str | None:
        """Take the lease of a worker that is to start; returns why it may not start here, None if it may."""

    def fence(self, worker: str) -> int | None:
        """Return the number of this runtime's turn with a worker; None where nothing is shared or held."""

    def until(self, worker: str) -> float | None:
        """Return when nothing of it may be left here, by `family.boot_time`; None where it is not held."""

    def holder(self, worker: str) -> str | None:
        """Return the name of the node that holds a worker, as far as is known."""


class HoldsAll:
    """The holding of a runtime that shares its broker with nobody: every worker runs here."""

    async def admit(self, worker: str) -> str | None:
        """Return None: it may start."""
        return None

    def fence(self, worker: str) -> int | None:
        """Return None: turns are not numbered."""
        return None

    def until(self, worker: str) -> float | None:
        """Return None: it is held for ever."""
        return None

    def holder(self, worker: str) -> str | None:
        """Return None: there is no other node."""
        return None


class WorkerTokens(Protocol):
    """Gives each run of a worker process a token of its own."""

    def mint(self, worker: str) -> str:
        """Return a fresh token for one run."""

    def revoke(self, token: str) -> None:
        """Accept this token no longer."""


class Observation(msgspec.Struct):
    """Whether worker processes that start from now on are observed, where they run the reference's SDK."""

    is_on: bool = True


class Services(msgspec.Struct, frozen=True):
    """The parts of a runtime that its workers use; an engine makes one for all its workers."""

    bus: EventBus
    """Where events come from."""
    history: History
    """Records every invocation."""
    clock: Clock
    """What schedules and backoff go by."""
    limits: Limits
    """How much of the machine workers may use."""
    guard: Guard
    """Ends worker processes if this process dies."""
    tokens: WorkerTokens
    client: MakeClient
    connection: Callable[[str], RuntimeAddress]
    """Returns where a worker process with this token finds the runtime."""
    log_line: AddLine
    on_change: OnChange
    on_unhandled: OnUnhandled
    """Notes what something that a handler started has raised, and nobody caught."""
    log_files: LogFiles
    """The files of what worker processes print."""
    last_runs: LastRuns
    """Remembers when schedules ran."""
    why_not_retried: Callable[[str, str | None], str | None] = lambda *_: None
    """Returns why a worker that is a process is given nothing again, though it is to be."""
    holding: Holding = msgspec.field(default_factory=HoldsAll)
    """Says which workers run here."""
    lives: Lives = msgspec.field(default_factory=Lives)
    """What is kept of each worker over restarts and reloads."""
    around: Around = msgspec.field(default_factory=Around)
    """What is put around the handlers of workers in this process."""
    traces: Traces = msgspec.field(default_factory=Traces)
    """What worker processes are told of traces that are sent."""
    process_locals: bool = False
    """Whether errors of worker processes have the values of variables."""
    observation: Observation = msgspec.field(default_factory=Observation)
    """Whether worker processes that run the reference's SDK are made to report."""
    debugged: Debugged = msgspec.field(default_factory=Debugged)
    """Which worker processes start with debugpy."""
    restart: RestartPolicy | None = None
    """Whether worker processes that fail are started again; None if not."""
    keep_state: set[str] = msgspec.field(default_factory=set)
    """The qualified names of workers whose state outlives them; cells say it of others."""
    check_payloads: set[str] = msgspec.field(default_factory=set)
    """The qualified names of workers that publish only what meets the declared types; cells say it, too."""
    partitions: dict[str, Partition] = msgspec.field(default_factory=dict)
    """How workers of several members are divided, by their qualified names."""
    cgroups: Cgroups = msgspec.field(default_factory=Cgroups)
    """Make a cgroup for each run of a worker process, where that is possible."""

    def use(
        self, *, is_observed: bool, keep_state: Iterable[str], check_payloads: Iterable[str] = ()
    ) -> None:
        """Observe processes of the SDK or not; keep the states of these workers, check payloads of these."""
        self.observation.is_on = is_observed
        self.keep_state.update(keep_state)
        self.check_payloads.update(check_payloads)

    def keeps_state_of(self, worker: Declared) -> bool:
        """Return whether a state is written after each invocation, and restored at the next start."""
        return worker.definition.keep_state or worker.qualified_name in self.keep_state
