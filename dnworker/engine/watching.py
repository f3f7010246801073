"""Watches the files of capabilities and reloads one when its files change; used by `serve --watch`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import Change, DefaultFilter, awatch

from dnworker.capability.exports import MARKDOWN
from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.capability.mcp_entries import MCP_FILES
from dnworker.capability.reading import is_file

if TYPE_CHECKING:
    from dnworker.engine.engine import Engine

log = logging.getLogger("dnworker.watch")

SETTLE_MS = 300
"""How long files must be still before a reload: editors write in several steps."""


async def watch(engine: Engine, stop: asyncio.Event | None = None) -> None:
    """Watch the runtime's capabilities, and reload what changes, until `stop` is set.

    A change within one capability reloads that one; a capability that comes or goes in a searched directory
    reloads all.
    """
    while stop is None or not stop.is_set():
        watched = _there(engine)
        if not watched:
            return
        with held_open(watched):
            await _follow(engine, watched, stop)


async def _follow(engine: Engine, watched: dict[Path, int], stop: asyncio.Event | None) -> None:
    """Reload what changes, until there are other directories than those that are watched."""
    # Only what a reload reads: a worker may write beside itself, and that must not reload it for ever.
    wanted = Wanted(engine)
    async for changes in awatch(*watched, stop_event=stop, watch_filter=wanted, step=SETTLE_MS):
        names = affected(engine, (Path(path) for _, path in changes))
        for name in [None] if None in names else sorted(n for n in names if n is not None):
            log.info("%s changed on disk; reloading", name or "the set of capabilities")
            try:
                await engine.reload(name)
            except Exception:  # such as a directory that has gone meanwhile; the next change tries again
                log.exception("%s could not be reloaded", name or "the set of capabilities")
        wanted.refresh()
        if watched != _there(engine):
            return  # watch what there is now


@contextmanager
def held_open(directories: Iterable[Path]) -> Iterator[None]:
    """Keep directories open, so that the system gives the number of none that is removed to a new one.

    A file system may number a new directory like one that was just removed. An export that takes its place
    would then look like the directory that is watched, and nobody would watch the export.
    """
    handles = []
    try:
        for directory in directories:
            with suppress(OSError):  # it has just gone; and Windows opens no directories
                handles.append(os.open(directory, os.O_RDONLY))
        yield
    finally:
        for handle in handles:
            os.close(handle)


class Wanted(DefaultFilter):
    """Lets through changes of files that a reload reads: manifests, modules, Markdown, what commands name."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine
        self._named: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Look again at what the manifests name."""
        self._named = {
            os.path.realpath(capability.root / word)
            for capability in self._engine.capabilities.all()
            for worker in capability.manifest.workers.values()
            for word in (worker.command, *worker.args)
            if word is not None and is_file(capability.root / word)
        }

    def __call__(self, change: Change, path: str) -> bool:
        """Return whether a change may matter."""
        if not super().__call__(change, path):
            return False
        name = Path(path).name
        is_read = name.lower().endswith((".py", *MARKDOWN)) or name in (MANIFEST_NAME, *MCP_FILES)
        return is_read or path in self._named


def _there(engine: Engine) -> dict[Path, int]:
    """Return the directories that there are, and which each is: an export puts another in its place."""
    found = [*engine.capabilities.roots, *engine.capabilities.directories]
    return {directory: directory.stat().st_ino for directory in found if directory.is_dir()}


def affected(engine: Engine, paths: Iterable[Path]) -> set[str | None]:
    """Return the names of the capabilities that the paths lie in; None for a path in none of them."""
    roots = {
        capability.root: capability.name for capability in engine.capabilities.all() if not capability.live
    }
    return {next((name for root, name in roots.items() if path.is_relative_to(root)), None) for path in paths}
