"""The capabilities of one runtime: found in directories, loaded by path, or holding workers added by hand.

One of them is the runtime's own: added workers belong to it where no other is named. Those of a notebook do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from msgspec.structs import replace

from dnworker.capability.agents import AgentDefinition
from dnworker.capability.components import Components, read_capability, read_components, real_root
from dnworker.capability.discovery import capability_places
from dnworker.capability.flags import is_enabled
from dnworker.capability.manifest import CapabilityManifest, WorkerDefinition
from dnworker.core.errors import Conflict, ManifestError, NotFound
from dnworker.core.invocation import Invocation, read_traceparent
from dnworker.engine.agreed_flags import AgreedFlags
from dnworker.engine.capability import Capability, no_capability, state_file, undeclared, why_unread
from dnworker.engine.digests import identify, loaded_of
from dnworker.engine.gates import follow_agreed
from dnworker.engine.members import check_alone, members_of
from dnworker.engine.own import OwnCapability, relist
from dnworker.engine.succession import LeavesServers, StopsServers, Succession, in_place_of, replacing
from dnworker.engine.versions import Loaded
from dnworker.workers.inprocess_worker import InProcessWorker, path_worker
from dnworker.workers.loading import forget_helpers
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.services import Services
from dnworker.workers.side_by_side import start_all
from dnworker.workers.worker import Worker

log = logging.getLogger("dnworker.capabilities")


class CapabilityCollection:
    """Finds, loads and reloads capabilities and their workers.

    Args:
        services: what their workers run with.
        flags: given on a command line; a change of `given_flags` counts once capabilities are read again.
        directories: that are looked through at `discover` and at every full reload.
    """

    def __init__(
        self, services: Services, flags: Mapping[str, Mapping[str, bool]], directories: Sequence[Path] = ()
    ) -> None:
        self.mcp: StopsServers = LeavesServers()
        """Disconnects from MCP servers while what declares them is read again."""
        self.node: Callable[[], str] = str
        """Returns what this runtime is called among those that share its broker."""
        bus, clock = services.bus, services.clock
        self.agreed = AgreedFlags(lambda: self.node(), lambda: bus.broker, clock, self._follow_agreed)
        """Flags that were set on any node of the cluster."""
        self.reload_error: str | None = None
        self._services = services
        self.given_flags = {name: dict(values) for name, values in flags.items()}
        self._directories = list(directories)
        self._loaded: list[Path] = []
        self._places: dict[Path, Path] = {}
        """By root where it was named, or was found, which may be a link."""
        self._capabilities: dict[str, Capability] = {}
        self.succession = Succession(self._capabilities)
        self._is_closed = False
        self.own = OwnCapability(self._capabilities, self.live, self.given_flags)
        """The capability of workers that are added without naming one."""

    @property
    def roots(self) -> list[Path]:
        """The directories of the capabilities that come from disk."""
        return [c.root for c in self._capabilities.values() if not c.live]

    def place_of(self, root: Path) -> Path:
        """Return where the capability of a root was named: a link may lead elsewhere by now."""
        return self._places.get(root, root)

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
            raise no_capability(name, self._capabilities) from None

    def loaded(self) -> dict[str, Loaded]:
        """Return the versions of what is loaded from disk, where other nodes may have others."""
        return loaded_of(self._capabilities)

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
            self._capabilities[name] = self._new(undeclared(name), live=True)
        return self._capabilities[name]

    def find(self, capability: str, worker: str) -> ManagedWorker:
        """Return a worker by its two names.

        Raises:
            NotFound: there is none.
        """
        home = self._capabilities.get(capability)
        if home is None or worker not in home.workers:
            raise NotFound(f"no worker {capability}:{worker}", code="DN301")
        return home.workers[worker]

    def present(self, worker: ManagedWorker) -> ManagedWorker:
        """Return what runs in the place of a worker by now: mostly itself.

        Raises:
            NotFound: it was removed.
        """
        found = in_place_of(self._capabilities, worker)
        if found is None:
            raise NotFound(f"no worker {worker.qualified_name}; it was removed", code="DN301")
        return found

    def search(self, name: str) -> ManagedWorker:
        """Return a worker by name, or by `capability:name`.

        Raises:
            NotFound: there is none, or several capabilities have one.
        """
        found = [w for w in self.workers() if name in (w.name, w.qualified_name)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(w.qualified_name for w in found)
            raise NotFound(f"several workers are named {name!r}: {names}", code="DN301")
        known = ", ".join(w.name for w in self.workers()) or "none"
        raise NotFound(f"no worker {name!r}; there are: {known}", code="DN301")

    async def add(
        self, worker: Worker, capability: str | None = None, when: Iterable[str] = ()
    ) -> ManagedWorker:
        """Run a Worker in this process and return when it is running, or has failed to start.

        Raises:
            ValueError: it has no name, or one of this name is there already.
            Conflict: a loaded capability runs in its place.
        """
        if worker.name is None:
            raise ValueError("a worker needs a name here: Worker(name='bridge')")
        home = self.own.get() if capability is None else self.live(capability)
        if worker.name in home.workers:
            raise ValueError(f"there is a worker {worker.name!r} in {home.name!r} already; remove it first")
        seeded = dict(worker.state)

        def make() -> Worker:
            worker.state.clear()
            worker.state.update(seeded)
            return worker

        managed = InProcessWorker(self._services, home, WorkerDefinition(worker.name, when=tuple(when)), make)
        await self.adopt(managed)
        return managed

    async def adopt(self, managed: ManagedWorker, *, resume: bool = False, start: bool = True) -> None:
        """Start a worker made for one of these capabilities, in place of any other of its name.

        With `resume` it is started with what it had when it was stopped; without `start` it is listed only.

        Raises:
            Conflict: a loaded capability runs in its place, another took it meanwhile, or the runtime stops.
        """
        self._check_open()
        check_alone(managed, self._services)
        if managed.capability == self.own.name and (instead := self.own.running_instead(managed.name)):
            raise Conflict(
                f"worker {managed.name!r} is set aside: {instead.name!r} of {instead.root} runs in its "
                "place; unload that first",
                code="DN407",
            )
        while (present := self._listed(managed)) not in (None, managed):
            assert present is not None
            async with self.succession.of([present]):
                if self._listed(managed) is present:  # and nobody else has taken its place
                    self._capabilities[managed.capability].workers[managed.name] = managed
        self._check_open()
        self._capabilities[managed.capability].workers[managed.name] = managed
        managed.reinstate()
        if start:
            await (managed.resume() if resume else managed.start())

    def _listed(self, managed: ManagedWorker) -> ManagedWorker | None:
        return self._capabilities[managed.capability].workers.get(managed.name)

    def cause_of(self, worker: str, traceparent: str) -> Invocation | None:
        """Return the invocation in a worker process that a request names as its cause, if it names one."""
        named = read_traceparent(traceparent)
        capability, _, name = worker.partition(":")
        try:
            managed = self.find(capability, name)  # every request of a handler pays for it
        except NotFound:  # removed, and not gone yet
            return None
        return None if named is None else managed.cause_named(*named)

    async def remove(self, managed: ManagedWorker) -> None:
        """Stop a worker and forget it; it may be removed twice at the same time."""
        async with self.succession.of([managed]):
            home = self._capabilities.get(managed.capability)
            if home is not None and home.workers.get(managed.name) is managed:
                del home.workers[managed.name]

    # -- the end ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop all workers, and let none start or be added until `open`."""
        self._is_closed = True
        async with replacing(self.workers(), lambda _: None):
            pass

    def open(self) -> None:
        """Let workers be started again; those that `close` has stopped stay so until somebody does."""
        if self._is_closed:
            self._is_closed = False
            for worker in self.workers():
                worker.reinstate()

    def _check_open(self) -> None:
        if self._is_closed:
            raise Conflict("the runtime is stopping, or has stopped; no worker is started", code="DN302")

    # -- loading and reloading -------------------------------------------------------------------------

    async def load(self, place: Path, *, instead: bool = False) -> Capability:
        """Load a capability from its directory and start its workers.

        Args:
            place: the directory, absolute; it may be a link.
            instead: whether own workers that it doubles are stopped and set aside until it is unloaded.

        Raises:
            ManifestError: the manifest breaks rules, or a capability of this name or directory is loaded
                already. Nothing has changed then.
        """
        root = real_root(place)
        manifest, parts = await asyncio.to_thread(read_capability, root)
        if instead and manifest.name == self.own.name:
            self.own.get()  # it is set aside, and not made while another has its name
        self._check_loadable(manifest, instead=instead)
        capability = await identify(self._make(manifest, parts), self._services.bus.broker)
        await capability.run_checks()
        self._check_loadable(manifest, instead=instead)  # a worker may have been added meanwhile
        async with self.own.set_aside(manifest) if instead else nullcontext():
            forget_helpers(manifest.name)  # which a stopped runtime may have left, of files as they were
            self._capabilities[manifest.name] = capability
            self._loaded.append(root)
            self._places[root] = place
        await start_all([*capability.workers.values()])
        return capability

    def _check_loadable(self, manifest: CapabilityManifest, *, instead: bool) -> None:
        root, name = manifest.root, manifest.name
        present = next((c for c in self._capabilities.values() if not c.live and c.root == root), None)
        present = present or self._capabilities.get(name)
        if instead and self.own.is_same(present):
            return
        if present is None and name in self.own.names:  # which is set aside, and comes back
            present = self.own.get()
        if present is not None:
            where = "of added workers" if present.live else f"from {present.root}"
            raise ManifestError(
                [f"{root}: a capability {present.name!r} is loaded already, {where}"], code="DN403"
            )

    async def unload(self, name: str) -> list[ManagedWorker]:
        """Stop a loaded capability's workers and forget it; a full reload may find its directory again.

        Returns the own workers that were set aside for it, and run again.

        Raises:
            NotFound: there is none of this name.
            Conflict: it holds added workers; they are removed one by one.
        """
        capability = self.get(name)
        if capability.live:
            raise Conflict(f"capability {name!r} holds added workers; remove those instead", code="DN409")
        async with self.succession.of(capability.workers.values()):
            forget_helpers(capability.name)
            del self._capabilities[name]
            self._loaded = [root for root in self._loaded if root != capability.root]
            self._places.pop(capability.root, None)
        return await self.own.bring_back(capability.root)

    async def discover(self) -> list[Capability]:
        """Load what the searched directories hold beside what is loaded; one that fails fails no other."""
        fresh = await self._read_directories({c.root for c in self._capabilities.values() if not c.live})
        self._capabilities.update({capability.name: capability for capability in fresh})
        await self._start(fresh)
        return fresh

    async def reload(self) -> None:
        """Stop all workers, find and read every capability again, start them."""
        async with self.succession.of(self.workers()), self.mcp.stopped():
            self.reload_error = None
            kept = [c for c in self._capabilities.values() if c.live or c.root in self._loaded]
            for capability in self._capabilities.values():
                if capability not in kept:
                    forget_helpers(capability.name)
            relist(self._capabilities, kept)
            for capability in kept:
                await self._put_back(capability)
            self._places = {root: place for root, place in self._places.items() if root in self._loaded}
            for fresh in await self._read_directories(set(self._loaded)):
                self._capabilities[fresh.name] = fresh
        await self._start(self.all())

    async def reload_one(self, name: str) -> None:
        """Do the same with one capability, and leave the others alone.

        Raises:
            NotFound: there is none of this name.
        """
        capability = self.get(name)
        async with self.succession.of(capability.workers.values()), self.mcp.stopped(capability.name):
            self.reload_error = None
            fresh = await self._put_back(capability)
        await self._start([fresh])

    async def _put_back(self, capability: Capability) -> Capability:
        """Read a capability again and list it under its present name, in its place; returns it."""
        if capability.live:
            if capability.is_declared:
                capability.parts = await asyncio.to_thread(read_components, capability.manifest)
            capability.resolve_flags()
            return capability
        fresh = await self._read_again(capability, self._names() - {capability.name})
        listed = self._capabilities
        relist(listed, [fresh if one is capability else one for one in listed.values()])
        if fresh.name != capability.name:
            self.own.renamed.notify(capability.name, fresh.name)
        return fresh

    async def _follow_agreed(self, name: str) -> None:
        if (capability := self._capabilities.get(name)) is not None:
            await follow_agreed(capability)

    def _names(self) -> set[str]:
        """Return the names that are taken: that of an own capability that is set aside is one of them."""
        return {*self._capabilities} | self.own.names

    async def _start(self, capabilities: list[Capability]) -> None:
        await asyncio.gather(*(c.run_checks() for c in capabilities if c.failure is None))
        await start_all([worker for capability in capabilities for worker in capability.workers.values()])

    def _new(
        self, manifest: CapabilityManifest, parts: Components | None = None, *, live: bool = False
    ) -> Capability:
        flags = self.given_flags.get(manifest.name)
        return Capability(manifest, parts, cli_flags=flags, agreed=self.agreed, live=live)

    def _make(self, manifest: CapabilityManifest, parts: Components) -> Capability:
        capability = self._new(manifest, parts)
        for note in manifest.notes:
            log.warning("%s", note)
        for definition in members_of(manifest, self._services):
            capability.workers[definition.name] = self._worker(capability, definition)
        return capability

    def _worker(self, capability: Capability, definition: WorkerDefinition) -> ManagedWorker:
        if definition.command is None:
            return path_worker(self._services, capability, definition)
        from dnworker.workers.subprocess_worker import SubprocessWorker  # only where a worker has a process

        return SubprocessWorker(self._services, capability, definition)

    def divide(self) -> None:
        """List the members that workers are to have by now; nothing of them may run."""
        for capability in self._capabilities.values():
            if capability.live or capability.failure is not None:
                continue
            wanted = {one.name: one for one in members_of(capability.manifest, self._services)}
            capability.workers = {
                name: present
                if (present := capability.workers.get(name)) is not None and present.definition == one
                else self._worker(capability, one)
                for name, one in wanted.items()
            }

    async def _read_again(self, old: Capability, taken: set[str]) -> Capability:
        forget_helpers(old.name)
        root = self._follow(old.root)
        try:
            manifest, parts = await asyncio.to_thread(read_capability, root)
            if manifest.name in taken:
                raise ManifestError(
                    [f"{root}: there is another capability {manifest.name!r} already"], code="DN403"
                )
            return await identify(self._make(manifest, parts), self._services.bus.broker)
        except Exception as exc:  # whatever is wrong with one capability, the others start again
            self.reload_error = "reload_failed"
            return Capability(replace(old.manifest, root=root), failure=why_unread(root, exc))

    def _follow(self, root: Path) -> Path:
        """Return where the directory of a capability is now, and note it: a link may lead elsewhere."""
        place = self._places.get(root)
        if place is None or (now := place.resolve()) == root:
            return root
        self._loaded = [now if one == root else one for one in self._loaded]
        self._places[now] = self._places.pop(root)
        return now

    async def _read_directories(self, known_roots: set[Path]) -> list[Capability]:
        """Read the capabilities of the searched directories; the first of a name wins (contract 4.6)."""
        found: dict[str, Capability] = {}
        for root, place in await asyncio.to_thread(lambda: [*capability_places(self._directories)]):
            if root in known_roots:
                continue
            try:
                made = self._make(*await asyncio.to_thread(read_capability, root))
                capability = await identify(made, self._services.bus.broker)
            except Exception as exc:  # the same
                nameless = CapabilityManifest(root, root.name, "0.0.0", "")
                capability = Capability(nameless, failure=why_unread(root, exc))
            if capability.name in found or capability.name in self._names():
                log.info("%s: a capability %r comes first in the search", root, capability.name)
            elif is_enabled(state_file(), capability.name):
                forget_helpers(capability.name)  # the same
                found[capability.name], self._places[root] = capability, place
        return list(found.values())
