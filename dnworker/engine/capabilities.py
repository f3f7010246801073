"""The capabilities of one runtime: found in directories, loaded by path, or holding workers added by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dnworker.capability.agents import AgentDefinition
from dnworker.capability.discovery import capability_roots
from dnworker.capability.flags import gate_is_open, is_enabled
from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition, load_manifest
from dnworker.core.errors import ManifestError, NotFound
from dnworker.core.invocation import Invocation, read_traceparent
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability, state_file
from dnworker.workers.inprocess_worker import InProcessWorker, path_worker
from dnworker.workers.loading import forget_helpers
from dnworker.workers.managed import ManagedWorker, start_all, stop_all
from dnworker.workers.services import Services
from dnworker.workers.subprocess_worker import SubprocessWorker
from dnworker.workers.worker import Worker

log = logging.getLogger("dnworker.capabilities")


class CapabilityCollection:
    """Finds, loads and reloads capabilities and their workers.

    Args:
        services: what their workers run with.
        flags: given on a command line.
        directories: that are looked through at `discover` and at every full reload.
    """

    def __init__(
        self, services: Services, flags: Mapping[str, Mapping[str, bool]], directories: Sequence[Path] = ()
    ) -> None:
        self.reload_error: str | None = None
        self._services = services
        self._flags = {name: dict(values) for name, values in flags.items()}
        self._directories = list(directories)
        self._loaded: list[Path] = []
        self._capabilities: dict[str, Capability] = {}

    @property
    def roots(self) -> list[Path]:
        """The directories of the capabilities that come from disk."""
        return [c.root for c in self._capabilities.values() if not c.live]

    @property
    def directories(self) -> list[Path]:
        """The directories that are looked through."""
        return list(self._directories)

    def all(self) -> list[Capability]:
        """Return every capability, also one that failed to load."""
        return list(self._capabilities.values())

    def get(self, name: str) -> Capability:
        """Return a capability.

        Raises:
            NotFound: there is none of this name.
        """
        try:
            return self._capabilities[name]
        except KeyError:
            known = ", ".join(self._capabilities) or "none"
            raise NotFound(f"no capability {name!r}; there are: {known}") from None

    def agents(self) -> dict[str, list[AgentDefinition]]:
        """Return the agents that every capability declares."""
        return {name: capability.parts.agents for name, capability in self._capabilities.items()}

    def workers(self) -> list[ManagedWorker]:
        """Return the workers of all capabilities."""
        return [
            worker for capability in self._capabilities.values() for worker in capability.workers.values()
        ]

    def live(self, name: str) -> Capability:
        """Return a capability; one that holds added workers is made at its first use."""
        if name not in self._capabilities:
            manifest = CapabilityManifest(Path.cwd(), name, "0.1.0", "Workers added to the running process")
            self._capabilities[name] = Capability(manifest, cli_flags=self._flags.get(name), live=True)
        return self._capabilities[name]

    def find(self, capability: str, worker: str) -> ManagedWorker:
        """Return a worker by its two names.

        Raises:
            NotFound: there is none.
        """
        home = self._capabilities.get(capability)
        if home is None or worker not in home.workers:
            raise NotFound(f"no worker {capability}:{worker}")
        return home.workers[worker]

    def search(self, name: str) -> ManagedWorker:
        """Return a worker by name, or by `capability:name`.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        found = [w for w in self.workers() if name in (w.name, w.qualified_name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(
                f"several workers are named {name!r}: {', '.join(w.qualified_name for w in found)}"
            )
        known = ", ".join(w.name for w in self.workers()) or "none"
        raise NotFound(f"no worker {name!r}; there are: {known}")

    async def add(self, worker: Worker, capability: str, when: Iterable[str] = ()) -> ManagedWorker:
        """Run a Worker in this process and return when it is running, or has failed to start.

        Raises:
            ValueError: it has no name, or one of this name is there already.
        """
        if worker.name is None:
            raise ValueError("a worker needs a name here: Worker(name='bridge')")
        home = self.live(capability)
        if worker.name in home.workers:
            raise ValueError(f"there is a worker {worker.name!r} in {capability!r} already; remove it first")
        seeded = dict(worker.state)

        def make() -> Worker:
            worker.state.clear()
            worker.state.update(seeded)
            return worker

        managed = InProcessWorker(self._services, home, WorkerDefinition(worker.name, when=tuple(when)), make)
        await self.adopt(managed)
        return managed

    async def adopt(self, managed: ManagedWorker, *, resume: bool = False) -> None:
        """Start a worker made for one of these capabilities, in place of any other of its name.

        With `resume` it is started with what it had when it was stopped.
        """
        workers = self._capabilities[managed.capability].workers
        if (present := workers.get(managed.name)) is not None:
            await present.stop()
        workers[managed.name] = managed
        await (managed.resume() if resume else managed.start())

    def cause_of(self, worker: str, traceparent: str) -> Invocation | None:
        """Return the invocation in a worker process that a request names as its cause, if it names one."""
        named = read_traceparent(traceparent)
        try:
            managed = self.search(worker)
        except NotFound:  # removed, and not gone yet
            return None
        if named is None or not isinstance(managed, SubprocessWorker):
            return None
        return managed.remote.cause(*named)

    async def remove(self, managed: ManagedWorker) -> None:
        """Stop a worker and forget it."""
        await managed.stop()
        del self._capabilities[managed.capability].workers[managed.name]

    # -- loading and reloading -------------------------------------------------------------------------

    async def load(self, root: Path) -> Capability:
        """Load a capability from its directory and start its workers.

        Raises:
            ManifestError: the manifest breaks rules, or a capability of this name is loaded already.
        """
        manifest = load_manifest(root)
        if manifest.name in self._capabilities:
            where = self._capabilities[manifest.name].root
            raise ManifestError([f"{root}: a capability {manifest.name!r} is loaded already, from {where}"])
        capability = self._make(manifest)
        self._capabilities[manifest.name] = capability
        self._loaded.append(root)
        await capability.run_checks()
        await start_all([*capability.workers.values()])
        return capability

    async def discover(self) -> list[Capability]:
        """Load what the searched directories hold beside what is loaded; one that fails fails no other."""
        fresh = self._read_directories({c.root for c in self._capabilities.values()}, self._capabilities)
        self._capabilities.update({capability.name: capability for capability in fresh})
        await self._start(fresh)
        return fresh

    async def reload(self) -> int:
        """Stop all workers, find and read every capability again, start them; returns how many loaded."""
        await stop_all(self.workers())
        self.reload_error = None
        read: dict[str, Capability] = {}
        for capability in self._capabilities.values():  # by the name that the manifest has now
            if capability.live or capability.root in self._loaded:
                fresh = capability if capability.live else self._read_again(capability)
                read[fresh.name] = fresh
            else:
                forget_helpers(capability.name)
        for fresh in self._read_directories(set(self._loaded), read):
            read[fresh.name] = fresh
        self._capabilities = read
        for capability in read.values():
            if capability.live:
                capability.resolve_flags()
        await self._start(list(read.values()))
        return sum(c.failure is None for c in self._capabilities.values())

    async def reload_one(self, name: str) -> int:
        """Do the same with one capability, and leave the others alone.

        Raises:
            NotFound: there is none of this name.
        """
        capability = self.get(name)
        await stop_all([*capability.workers.values()])
        self.reload_error = None
        if capability.live:
            capability.resolve_flags()
            fresh = capability
        else:
            fresh = self._read_again(capability)
        self._capabilities = {
            (fresh.name if one is capability else key): (fresh if one is capability else one)
            for key, one in self._capabilities.items()
        }
        await self._start([fresh])
        return sum(c.failure is None for c in self._capabilities.values())

    async def set_flag(self, name: str, flag: str, value: bool) -> None:
        """Keep a flag's value for this user, and start and stop what it gates.

        Raises:
            NotFound: there is no such capability, or it has no such flag.
            OSError: it cannot be kept.
        """
        capability = self.get(name)
        if flag not in capability.flags:
            known = ", ".join(capability.flags) or "none"
            raise NotFound(f"capability {name!r} has no flag {flag!r}; it has: {known}")
        capability.set_flag(flag, value)
        changed = []
        for worker in capability.workers.values():
            is_open = gate_is_open(worker.definition.when, capability.flags)
            if is_open and worker.state is WorkerState.GATED_OFF:
                changed.append(worker.start())
            elif not is_open and worker.state is not WorkerState.GATED_OFF:
                changed.append(worker.close_gate())
        await asyncio.gather(*changed)

    async def _start(self, capabilities: list[Capability]) -> None:
        await asyncio.gather(*(c.run_checks() for c in capabilities if c.failure is None))
        await start_all([worker for capability in capabilities for worker in capability.workers.values()])

    def _make(self, manifest: CapabilityManifest) -> Capability:
        capability = Capability(manifest, cli_flags=self._flags.get(manifest.name))
        for definition in manifest.workers.values():
            make = SubprocessWorker if definition.command is not None else path_worker
            capability.workers[definition.name] = make(self._services, capability, definition)
        return capability

    def _read_again(self, old: Capability) -> Capability:
        forget_helpers(old.name)
        try:
            return self._make(load_manifest(old.root))
        except Exception as exc:  # whatever is wrong with one capability, the others start again
            self.reload_error = "reload_failed"
            return Capability(old.manifest, failure=_why_not(old.root, exc))

    def _read_directories(self, known_roots: set[Path], known: Mapping[str, Capability]) -> list[Capability]:
        """Read the capabilities of the searched directories; the first of a name wins (contract 4.6)."""
        found: dict[str, Capability] = {}
        for root in capability_roots(self._directories):
            if root in known_roots:
                continue
            try:
                capability = self._make(load_manifest(root))
            except Exception as exc:  # the same
                nameless = CapabilityManifest(root, root.name, "0.0.0", "")
                capability = Capability(nameless, failure=_why_not(root, exc))
            if capability.name in found or capability.name in known:
                log.info("%s: a capability %r comes first in the search", root, capability.name)
            elif is_enabled(state_file(), capability.name):
                found[capability.name] = capability
        return list(found.values())


def _why_not(root: Path, exc: Exception) -> str:
    """Log why a capability could not be read, and return it."""
    if isinstance(exc, ManifestError):
        log.error("%s", exc)
        return str(exc)
    log.exception("%s could not be read", root)
    return f"{root} could not be read: {type(exc).__name__}: {exc}"
