"""The capabilities of one runtime: those loaded from directories, and those of workers added by hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.loading import forget_helpers
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.capability.registry import Capability
from dnworker.errors import ManifestError, NotFound
from dnworker.manager import ManagedWorker, start_all, stop_all
from dnworker.topologies import SubprocessWorker, path_worker

if TYPE_CHECKING:
    from dnworker.runtime import Runtime

log = logging.getLogger("dnworker.capabilities")


class CapabilityCollection:
    """Finds, loads and reloads capabilities and their workers."""

    def __init__(self, runtime: Runtime, flags: Mapping[str, Mapping[str, bool]]) -> None:
        self.reload_error: str | None = None
        self._runtime = runtime
        self._flags = {name: dict(values) for name, values in flags.items()}
        self._capabilities: dict[str, Capability] = {}

    def all(self) -> list[Capability]:
        """Return every capability, also one that failed to load."""
        return list(self._capabilities.values())

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

    async def adopt(self, managed: ManagedWorker) -> None:
        """Start a worker made for one of these capabilities, in place of any other of its name."""
        workers = self._capabilities[managed.capability].workers
        if (present := workers.get(managed.name)) is not None:
            await present.stop()
        workers[managed.name] = managed
        await managed.start()

    async def remove(self, managed: ManagedWorker) -> None:
        """Stop a worker and forget it."""
        await managed.stop()
        del self._capabilities[managed.capability].workers[managed.name]

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
        await capability.run_checks()
        await start_all([*capability.workers.values()])
        return capability

    async def reload(self) -> int:
        """Stop all workers, read every capability again, start them; returns how many loaded."""
        await stop_all(self.workers())
        self.reload_error = None
        read: dict[str, Capability] = {}
        for capability in self._capabilities.values():  # by the name that the manifest has now
            fresh = capability if capability.live else await self._read_again(capability)
            read[fresh.name] = fresh
        self._capabilities = read
        await start_all(self.workers())
        return sum(c.failure is None for c in self._capabilities.values())

    def _make(self, manifest: CapabilityManifest) -> Capability:
        capability = Capability(manifest, cli_flags=self._flags.get(manifest.name))
        for definition in manifest.workers.values():
            make = SubprocessWorker if definition.command is not None else path_worker
            capability.workers[definition.name] = make(self._runtime, capability, definition)
        return capability

    async def _read_again(self, old: Capability) -> Capability:
        forget_helpers(old.name)
        try:
            fresh = self._make(load_manifest(old.root))
        except ManifestError as exc:
            self.reload_error = "reload_failed"
            log.error("%s", exc)
            return Capability(old.manifest, failure=str(exc))
        await fresh.run_checks()
        return fresh
