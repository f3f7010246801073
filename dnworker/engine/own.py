"""`OwnCapability`: the capability of workers that are added to a runtime; those of a notebook are.

`capabilities` has it; `gates` are its workers' flags. A loaded capability may run in its place for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from dnworker.capability.components import Components, read_components
from dnworker.capability.manifest import CapabilityManifest
from dnworker.core.errors import Conflict
from dnworker.core.lifecycle import WorkerState
from dnworker.core.listeners import Listeners
from dnworker.core.models import ComponentInfo
from dnworker.engine.capability import LIVE_CAPABILITY, Capability, undeclared
from dnworker.engine.checks import run_checks
from dnworker.engine.gates import follow_gates, note_undeclared
from dnworker.engine.succession import in_place_of, replacing
from dnworker.workers.managed import ManagedWorker
from dnworker.workers.side_by_side import start_all


class Declared(msgspec.Struct, frozen=True):
    """What a head has changed when it was declared."""

    name: str
    former: str
    """The name before; the same where it did not change."""
    is_news: bool
    """Whether something that others know of is another now."""
    restarted: tuple[ManagedWorker, ...] = ()
    """The workers that were stopped, and started under the new name."""


class Replacement(msgspec.Struct, frozen=True):
    """Own workers that are set aside, because a loaded capability runs in their place."""

    workers: tuple[ManagedWorker, ...]
    started: tuple[ManagedWorker, ...]
    """Those to start again when it is unloaded."""
    is_whole: bool
    """Whether it has the name of the own capability, which is set aside as a whole."""


class OwnCapability:
    """The capability that added workers belong to where they name no other.

    Args:
        listed: the capabilities of the runtime by name, this one among them unless it is set aside.
        make: returns the listed capability of a name; makes one that holds added workers where there is none.
        flags: given on a command line, by capability.
    """

    def __init__(
        self,
        listed: dict[str, Capability],
        make: Callable[[str], Capability],
        flags: Mapping[str, Mapping[str, bool]],
    ) -> None:
        self.renamed: Listeners[[str, str]] = Listeners()
        """Called with the old and the new name."""
        self._listed = listed
        self._make = make
        self._flags = flags
        self._capability: Capability | None = None
        self._replacements: dict[Path, Replacement] = {}
        self._starts: list[asyncio.Task[None]] = []
        """By the directory of the loaded capability: its name may change."""

    @property
    def name(self) -> str:
        """Its name: `notebook` until `declare` gives it another."""
        return LIVE_CAPABILITY if self._capability is None else self._capability.name

    @property
    def names(self) -> set[str]:
        """The names that it keeps from others: its own, also while it is set aside; none until it is made."""
        return set() if self._capability is None else {self._capability.name}

    def get(self) -> Capability:
        """Return it; it is made at its first use.

        Raises:
            Conflict: a loaded capability has its name.
        """
        if self._capability is None:
            home = self._make(LIVE_CAPABILITY)
            if not home.live:
                raise Conflict(
                    f"added workers belong to {LIVE_CAPABILITY!r}, which is loaded from {home.root}; "
                    "name another: capability='added'",
                    code="DN403",
                )
            self._capability = home
        return self._capability

    @property
    def head(self) -> CapabilityManifest | None:
        """What `declare` said of it; None until it does."""
        own = self._capability
        return own.manifest if own is not None and own.is_declared else None

    def __contains__(self, managed: ManagedWorker) -> bool:
        """Return whether a worker belongs to it, or did until it was removed."""
        return self._is_listed and managed.capability == self.name

    def is_same(self, capability: Capability | None) -> bool:
        """Return whether it is this capability."""
        return capability is not None and capability is self._capability

    async def declare(self, manifest: CapabilityManifest) -> Declared:
        """Give the own capability its head: name, version, flags, checks, and the components beside it.

        Under another name its workers are stopped in full and started again with empty state, as a reload
        of a renamed manifest does; its sessions go on. Under the same name workers run on, and those start
        and stop whose gate has opened or closed. One that waits for a flag that is no longer declared is in
        `error` (contract 4.3).

        Raises:
            Conflict: another capability has the name, or the own one is set aside. Nothing has changed then.
            OSError: the directory cannot be read. Nothing has changed then.
        """
        own = self.get()
        self._check_name(own, manifest.name)
        parts = await asyncio.to_thread(read_components, manifest)
        checks = await run_checks(manifest.checks, manifest.root)
        self._check_name(own, manifest.name)
        return await self._become(own, manifest, parts, checks)

    async def withdraw(self) -> Declared:
        """Take the head back: it is called `notebook` again, and declares nothing.

        Raises:
            Conflict: another capability has that name, or the own one is set aside. Nothing has changed then.
        """
        own = self.get()
        self._check_name(own, LIVE_CAPABILITY)
        return await self._become(own, undeclared(LIVE_CAPABILITY), Components(), [], is_declared=False)

    async def _become(
        self,
        own: Capability,
        manifest: CapabilityManifest,
        parts: Components,
        checks: Sequence[ComponentInfo],
        *,
        is_declared: bool = True,
    ) -> Declared:
        former, was_known = own.name, own.is_declared or bool(own.workers)
        moving = tuple(own.workers.values()) if manifest.name != former else ()
        async with replacing(moving, self._in_place_of):
            cli_flags = self._flags.get(manifest.name, {})
            is_changed = own.declare(manifest, parts, cli_flags=cli_flags, is_declared=is_declared)
            own.checks = list(checks)
            if manifest.name != former:
                relist(self._listed, self._listed.values())
                self.renamed.notify(former, own.name)
        mended = note_undeclared(own)
        async with replacing([worker for worker in mended if worker not in moving], self._in_place_of):
            pass
        await self._start([*mended, *(worker for worker in moving if worker not in mended)])
        await follow_gates(own)
        return Declared(own.name, former, is_changed and was_known, moving)

    async def _start(self, workers: Iterable[ManagedWorker]) -> None:
        """Start workers side by side; `interrupt_starts` ends those that have not come up."""
        self._starts = [asyncio.create_task(start_all([worker])) for worker in workers]
        for result in await asyncio.gather(*self._starts, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def interrupt_starts(self) -> None:
        """Let the workers that a head starts, and that have not come up, go to `error`."""
        for start in self._starts:
            start.cancel()

    def doubled_by(self, manifest: CapabilityManifest) -> list[ManagedWorker]:
        """Return the own workers that would handle every event beside a loaded one that is the same worker.

        They are those of its names, and all where it has the name of the own capability.
        """
        if self._capability is None or not self._is_listed:
            return []
        is_same = manifest.name == self._capability.name
        return [w for w in self._capability.workers.values() if is_same or w.name in manifest.workers]

    def running_instead(self, worker: str | None = None) -> Capability | None:
        """Return the loaded capability that runs in place of an own worker, or of the own capability."""
        for root, replacement in self._replacements.items():
            if replacement.is_whole or worker in {one.name for one in replacement.workers}:
                return next((c for c in self._listed.values() if not c.live and c.root == root), None)
        return None

    @property
    def is_set_aside(self) -> bool:
        """Whether a loaded capability has its name, and runs in its place."""
        return self._capability is not None and not self._is_listed

    @property
    def _is_listed(self) -> bool:
        return self._capability is not None and self._listed.get(self._capability.name) is self._capability

    def _check_name(self, own: Capability, name: str) -> None:
        """Check that the own capability may have a name."""
        if self.is_set_aside and (instead := self.running_instead()):
            raise Conflict(
                f"capability {own.name!r} is set aside: {instead.name!r} of {instead.root} runs in its "
                "place; unload that first",
                code="DN407",
            )
        present = self._listed.get(name, own)
        if present is not own:
            where = "it holds added workers" if present.live else f"it is loaded from {present.root}"
            raise Conflict(
                f"there is a capability {name!r} already: {where}; unload it, or use another name",
                code="DN403",
            )

    @asynccontextmanager
    async def set_aside(self, manifest: CapabilityManifest) -> AsyncIterator[None]:
        """Stop the own workers that a capability runs in place of, and unlist them; the body lists it."""
        workers, is_whole = tuple(self.doubled_by(manifest)), manifest.name == self.name
        if not workers and not is_whole:
            yield
            return
        own = self.get()
        started = tuple(w for w in workers if w.state is not WorkerState.STOPPED)
        async with replacing(workers, self._in_place_of):
            for worker in workers:
                own.workers.pop(worker.name, None)  # it may have been removed meanwhile
            if is_whole:
                del self._listed[own.name]
            self._replacements[manifest.root] = Replacement(workers, started, is_whole)
            yield

    def _in_place_of(self, worker: ManagedWorker) -> ManagedWorker | None:
        """Return what runs in the place of an own worker: a loaded one, where that replaces it."""
        if (instead := self.running_instead(worker.name)) is not None:
            return instead.workers.get(worker.name)
        return in_place_of(self._listed, worker)

    async def bring_back(self, root: Path) -> list[ManagedWorker]:
        """List what the capability of a directory replaced again, and start what ran; returns that."""
        replacement = self._replacements.pop(root, None)
        if replacement is None:
            return []
        own = self.get()
        if replacement.is_whole:
            self._listed[own.name] = own
        own.workers = {worker.name: worker for worker in replacement.workers} | own.workers
        for worker in replacement.workers:
            worker.reinstate()
        note_undeclared(own)
        await start_all(replacement.started)
        return list(replacement.started)


def relist(listed: dict[str, Capability], capabilities: Iterable[Capability]) -> None:
    """List capabilities, and no others, under the names that they have now."""
    fresh = {capability.name: capability for capability in capabilities}
    listed.clear()
    listed.update(fresh)
