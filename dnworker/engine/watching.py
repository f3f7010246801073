"""Watches the files of capabilities and reloads one when its files change; used by `serve --watch`.

It looks at the files themselves, at intervals, and compares them with what they were when they were loaded.
So it makes no difference how a file came to be another: written, renamed, exchanged with its directory, or
behind a link that leads elsewhere now; nor which file system it is on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.discovery import capability_roots
from dnworker.engine.watched_files import Look, Looks, changed_files, files_read, modules_of

if TYPE_CHECKING:
    from dnworker.engine.capability import Capability
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.watch")

INTERVAL = 0.4
"""Seconds between two looks; files must be still for as long: editors write in several steps."""

GONE_FOR = 1.5
"""Seconds that files must be gone before that counts: a deployment may remove a directory first."""

SHARE = 0.05
LONGEST_INTERVAL = 5.0
"""The share of the processor that looks may take: where they take long there are fewer."""

ITS_OWN = 2.0
"""Seconds after a reload within which a change was probably made by the worker itself."""

CALM = 15.0
"""Seconds without a change after which nothing is held against a capability."""

QUICK_RELOADS = 5
"""Reloads that may follow each other within `CALM` before they are delayed."""

LONGEST_DELAY = 60.0


@dataclass
class Watched:
    """One capability: how its files were when it was loaded, and how its reloads go."""

    loaded: Look
    seen: Look
    since: float
    """When its files were first seen as they are now."""
    loaded_at: float
    imported: set[Path]
    """The modules that it had imported then."""
    own_changes: int = 0
    """How often in a row it changed right after it was loaded."""
    reloads: int = 0
    """How often in a row it was reloaded without a calm."""
    announced: Look | None = None
    """The change for which a delay was announced."""

    @property
    def due(self) -> float:
        """When its present change may be acted on: one of its own is put off ever longer."""
        is_own = self.since - self.loaded_at <= ITS_OWN
        steps = max(self.own_changes if is_own else 0, self.reloads - QUICK_RELOADS)
        return self.loaded_at + (min(LONGEST_DELAY, 2.0**steps) if steps > 0 else 0.0)

    def note_reload(self, now: float) -> None:
        """Note that its present change was acted on."""
        between = self.since - self.loaded_at
        self.own_changes = self.own_changes + 1 if between <= ITS_OWN else 0
        self.reloads = self.reloads + 1 if between <= CALM else 1
        self.loaded_at = now


async def watch(engine: Engine, stop: asyncio.Event | None = None, *, every_file: bool = False) -> None:
    """Watch the runtime's capabilities, and reload what changes, until `stop` is set or the task cancelled.

    A change within one capability reloads that one; a capability that comes or goes in a searched directory
    reloads all.

    Args:
        engine: whose capabilities.
        stop: ends it.
        every_file: whether every file of a capability counts, and not only what is read to load it.
    """
    watcher = Watcher(engine, every_file=every_file)
    while stop is None or not stop.is_set():
        try:
            await watcher.look()
        except Exception:  # such as a directory that may not be read; the next look may succeed
            log.exception("the files of capabilities could not be looked at")
        await asyncio.sleep(min(max(INTERVAL, watcher.took / SHARE), LONGEST_INTERVAL))


class Watcher:
    """Compares what is on disk with what is loaded, one look at a time.

    Args:
        engine: whose capabilities.
        every_file: whether every file counts.
        clock: seconds, for the delays.
    """

    def __init__(
        self, engine: Engine, *, every_file: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.took = 0.0
        """Seconds that the last look at files took."""
        self._engine = engine
        self._every_file = every_file
        self._clock = clock
        self._looks = Looks()
        self._watched: dict[Path, Watched] = {}
        self._roots: frozenset[Path] = frozenset()
        self._new_roots: frozenset[Path] | None = None
        self._is_first = True

    async def look(self) -> None:
        """Look once, and reload what has changed and is still."""
        roots = await asyncio.to_thread(self._found)
        if self._is_first:
            self._roots, self._is_first = roots, False
        if roots != self._roots and roots == self._new_roots:  # it was so the last time too: it is still
            self._roots, self._new_roots = roots, None
            log.info("the set of capabilities changed on disk; reloading all")
            await self._reload(None, "the set of capabilities")
            for key in self._watched:
                await self._note_reload(key)
        else:
            self._new_roots = roots if roots != self._roots else None
        present = [c for c in self._engine.capabilities.all() if not c.live]
        looks = await asyncio.to_thread(self._look_at, present)
        for capability in present:
            await self._compare(capability, looks[capability.root])
        now_present = {self._key(c) for c in self._engine.capabilities.all() if not c.live}
        for key in self._watched.keys() - now_present:
            del self._watched[key]

    def _found(self) -> frozenset[Path]:
        return frozenset(capability_roots(self._engine.capabilities.directories))

    def _look_at(self, capabilities: list[Capability]) -> Mapping[Path, Look]:
        """Look at the files of capabilities, on a thread."""
        began = time.thread_time()
        found = {capability.root: self._look_at_one(capability) for capability in capabilities}
        self.took = time.thread_time() - began
        self._looks.forget_others()
        return found

    def _look_at_one(self, capability: Capability) -> Look:
        place = self._key(capability)
        watched = self._watched.get(place)
        files = files_read(capability, place, every_file=self._every_file)
        return self._looks.look(files if watched is None else files | watched.imported)

    def _key(self, capability: Capability) -> Path:
        return self._engine.capabilities.place_of(capability.root)

    async def _compare(self, capability: Capability, look: Look) -> None:
        now = self._clock()
        watched = self._watched.get(self._key(capability))
        if watched is None:
            imported = modules_of(capability, self._key(capability))
            look = {**self._looks.look(imported), **look}
            self._watched[self._key(capability)] = Watched(look, look, now, now, imported)
            return
        if look != watched.seen:
            watched.seen, watched.since = look, now
            return  # it may not be still
        changed = changed_files(watched.loaded, look)
        if not changed:
            if now - watched.loaded_at > CALM:
                watched.own_changes = watched.reloads = 0
        elif any(file not in look for file in changed) and now - watched.since < GONE_FOR:
            pass  # it may come back
        elif watched.due > now:
            self._announce(capability.name, watched, changed, watched.due - now)
        else:
            await self._reload_changed(capability, watched, changed)

    def _announce(self, name: str, watched: Watched, changed: set[Path], left: float) -> None:
        """Say, once a change, that it waits."""
        if watched.announced == watched.seen:
            return
        watched.announced = watched.seen
        files = ", ".join(sorted(file.name for file in changed)[:3])
        log.warning(
            "%s changes again right after each reload (%s); the next reload waits %.0f s", name, files, left
        )

    async def _reload_changed(self, capability: Capability, watched: Watched, changed: set[Path]) -> None:
        files = ", ".join(sorted(file.name for file in changed)[:3])
        log.info("%s changed on disk (%s); reloading", capability.name, files)
        key = self._key(capability)
        await self._reload(capability.name, capability.name)
        await self._note_reload(key)

    async def _note_reload(self, key: Path) -> None:
        """Note what a capability was loaded from: how its files were before the reload."""
        watched = self._watched[key]
        fresh = next((c for c in self._engine.capabilities.all() if not c.live and self._key(c) == key), None)
        if fresh is None:
            return
        watched.imported = modules_of(fresh, key)
        after = await asyncio.to_thread(self._look_at_one, fresh)
        # What changed during the reload is to be seen; what is looked at for the first time is not news.
        watched.loaded = {file: watched.seen.get(file, digest) for file, digest in after.items()}
        watched.seen, now = after, self._clock()
        watched.note_reload(now)
        watched.since = now

    async def _reload(self, name: str | None, subject: str) -> None:
        try:
            await self._engine.reload(name)
        except Exception:  # such as a directory that has gone meanwhile; the next change tries again
            log.exception("%s could not be reloaded", subject)
