"""Which files of a capability are read to load it, and what is in them; `watching` compares looks at them."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dnworker.capability.exports import agent_files, exports, python_files, skill_directories
from dnworker.capability.manifest import MANIFEST_NAME, WorkerDefinition
from dnworker.capability.mcp_entries import MCP_FILES
from dnworker.capability.skills import SKILL_FILE
from dnworker.events.companions import COMPANIONS
from dnworker.workers.loading import PREFIX

if TYPE_CHECKING:
    from dnworker.engine.capability import Capability

Look = Mapping[Path, bytes]
"""The files that are there, each with a digest of what is in it."""

LARGE = 4_000_000
"""Bytes of a file above which its size and times stand for what is in it."""

UNSURE = 2.0
"""Seconds for which the times of a file do not tell whether it was written again."""

_NOT_SOURCES = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
_LEFTOVERS = ("~", ".pyc", ".pyo", ".swp", ".swx", ".tmp")


def files_read(capability: Capability, place: Path, *, every_file: bool) -> set[Path]:
    """Return the files that loading a capability reads: its manifest, what that names, `.py` beside these.

    Args:
        capability: it, as it was loaded.
        place: where its directory is now; the files are named by it.
        every_file: whether all files in it are returned instead.
    """
    if every_file:
        return set(_all_files(place))
    found = {place / MANIFEST_NAME, *(place / name for name in MCP_FILES)}
    homes = {place}
    for worker in capability.manifest.workers.values():
        for file in _named(worker, capability.root, place):
            found.add(file)
            if file.suffix == ".py":
                homes.update(home for home in (file.parent, *file.parents) if home.is_relative_to(place))
    for home in homes:
        found.update(_modules(home))
    found.update(place / file for file in _component_files(capability, place))
    return found


def modules_of(capability: Capability, place: Path) -> set[Path]:
    """Return the files of the modules that a capability's workers have imported from its directory."""
    prefix = f"{PREFIX}.{capability.name.replace('-', '_')}."
    files = [
        getattr(module, "__file__", None)
        for name, module in [*sys.modules.items()]
        if name.startswith(prefix)
    ]
    return {
        place / Path(file).relative_to(capability.root)
        for file in files
        if file is not None and Path(file).is_relative_to(capability.root)
    }


def _named(worker: WorkerDefinition, root: Path, place: Path) -> Iterator[Path]:
    """Yield the files of a capability that a worker's entry names, also as a module by `-m`."""
    words = [str(worker.path)] if worker.path is not None else [worker.command or "", *worker.args]
    for before, word in zip(["", *words], words, strict=False):
        if not word or "\0" in word:
            continue
        file = Path(word)
        if file.is_absolute():
            if not file.is_relative_to(root):
                continue
            file = file.relative_to(root)
        yield place / file
        if before == "-m":
            module = place.joinpath(*word.split("."))
            yield from (module.with_name(f"{module.name}.py"), module / "__main__.py")


def _modules(directory: Path) -> Iterator[Path]:
    """Yield the modules in a directory, and those in the packages in it."""
    for entry in _entries(directory):
        if entry.name.endswith(".py"):
            yield Path(entry.path)
        elif _is_directory(entry) and (package := Path(entry.path) / "__init__.py").is_file():
            yield from _modules(package.parent)


def _component_files(capability: Capability, place: Path) -> Iterator[Path]:
    """Yield the files of agents, skills, tools, hooks and policies, by what the manifest lists."""
    root, raw = place.resolve(), capability.manifest.raw
    for key in ("agents", "skills", "tools", "hooks", "policies"):
        listed = raw.get(key)
        try:
            found = exports(root, listed if isinstance(listed, list) else None, key)
            if key == "agents":
                files = [file for export in found for file in agent_files(export)]
            elif key == "skills":
                files = [d / SKILL_FILE for export in found for d in skill_directories(export)]
            else:
                files = python_files(found)
        except (OSError, AttributeError):  # it is being written, or lists what is no text
            continue
        yield from (file.relative_to(root) for file in files if file.is_relative_to(root))


def _all_files(directory: Path) -> Iterator[Path]:
    """Yield all files, but for databases in use: to read one ends the locks that SQLite has on it here."""
    entries = _entries(directory)
    in_use = {entry.name.removesuffix("-wal") for entry in entries if entry.name.endswith("-wal")}
    for entry in entries:
        if _is_directory(entry):
            yield from _all_files(Path(entry.path))
        elif entry.name not in in_use and not entry.name.endswith((*_LEFTOVERS, *COMPANIONS)):
            yield Path(entry.path)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    """Return what is in a directory but hidden things and what no editor writes."""
    try:
        with os.scandir(directory) as found:
            return [e for e in found if not e.name.startswith((".", "#")) and e.name not in _NOT_SOURCES]
    except OSError:  # it has just gone, or may not be read
        return []


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory; a link may lead in a circle."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


class Looks:
    """Looks at files, and reads only those that may be others than the last time."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], bytes, bool]] = {}
        self._present: set[Path] = set()

    def look(self, files: Iterable[Path]) -> Look:
        """Return those of the files that are there, each with a digest."""
        found = {}
        for file in files:
            digest = self._digest(file)
            if digest is not None:
                found[file] = digest
                self._present.add(file)
        return found

    def forget_others(self) -> None:
        """Forget the files that no look found since the last call."""
        self._known = {file: known for file, known in self._known.items() if file in self._present}
        self._present.clear()

    def _digest(self, file: Path) -> bytes | None:
        try:
            now = file.stat()
            if not stat.S_ISREG(now.st_mode):
                return None  # a pipe would be waited for
            state = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
            known = self._known.get(file)
            if known is not None and known[0] == state and known[2]:
                return known[1]
            content = repr(state).encode() if now.st_size > LARGE else file.read_bytes()
        except OSError:
            return None
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self._known[file] = state, digest, time.time() - now.st_mtime > UNSURE
        return digest


def changed_files(before: Look, now: Look) -> set[Path]:
    """Return the files that came, went, or have other content."""
    return {file for file in before.keys() | now.keys() if before.get(file) != now.get(file)}
