"""`Journals`: which journal belongs to which notebook, also after a rename; for kernels and exports.

Beside a journal `x.db`, `x.json` says where its notebook was last, and by which cells it is known. A file of
the same name with other cells is another notebook; the same cells at another place, gone from where they
were, are the same notebook.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dnworker.capability.reading import read_json
from dnworker.core.files import home_directory, working_directory, write_atomically
from dnworker_jupyter.kernel.location import NotebookLocation
from dnworker_jupyter.kernel.notebook_file import cell_ids

log = logging.getLogger("dnworker.notebook")

VARIABLE = "DNWORKER_JOURNAL"
_OFF = ("off", "0", "false", "no")

CELLS_KEPT = 2_000
"""Ids of cells that are kept of a notebook, beside those of its file when the kernel began."""

FIND_LIMIT = 2.0
"""Seconds that the start of a kernel's runtime waits for disks to say which journal is its."""


class Owner(msgspec.Struct, frozen=True):
    """The notebook of a journal: where it was last, and the ids of its cells; none where they are unknown."""

    journal: Path
    notebook: Path
    cells: frozenset[str]
    seen: float
    """When its record was written, in seconds since 1970."""

    def may_be(self, cells: frozenset[str] | None) -> bool:
        """Return whether a file at its place with these cells is the notebook."""
        return not self.cells or cells is None or not self.cells.isdisjoint(cells)

    def has_become(self, cells: frozenset[str] | None) -> bool:
        """Return whether a file at another place with these cells is the notebook: it has moved there."""
        if not cells or 2 * len(self.cells & cells) < min(len(self.cells), len(cells)):
            return False
        left = cell_ids(self.notebook)
        return bool(self.cells & cells) and (left is None or self.cells.isdisjoint(left))


class Journals:
    """The journals in one directory, and the one that this kernel writes."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or home_directory() / ".dreadnode" / "dnworker" / "journals"
        self._own: Owner | None = None

    def find(self, notebook: Path) -> Path:
        """Return the journal of a notebook, which may not be there yet; nothing is written."""
        return self._find(notebook.absolute(), cell_ids(notebook))

    def first_of(self, subject: Path) -> Path:
        """Return the journal of the first notebook at a place, or of a directory."""
        return self._directory / f"{_name_of(subject)}.db"

    def claim(self, notebook: Path) -> Path:
        """Return the journal of a notebook, and note that it is the notebook's and this kernel's.

        Raises:
            OSError: that cannot be written.
        """
        cells, notebook = cell_ids(notebook), notebook.absolute()
        journal = self._find(notebook, cells)
        if cells is None:  # not saved yet, or not to be read: what was known of it
            cells = next((o.cells for o in self._owners() if o.journal == journal), frozenset())
        self._own = Owner(journal, notebook, cells, 0)
        self._write(self._own)
        return journal

    def note(self, notebook: Path, ran: Collection[str]) -> None:
        """Note where the notebook of this kernel is now, and the ids of cells that ran.

        Raises:
            OSError: that cannot be written.
        """
        own = self._own
        if own is None:
            return
        # Of a file without ids, front ends make up others each time; those of VS Code are addresses.
        has_ids = any(not cell.startswith("text:") for cell in own.cells)
        ids = {cell for cell in ran if ":" not in cell} if has_ids else set()
        cells = own.cells | ids
        kept = cells if len(cells) <= CELLS_KEPT else own.cells
        now = replace(own, notebook=notebook.absolute(), cells=kept)
        if now != own:
            self._write(now)
            self._own = now

    def _find(self, notebook: Path, cells: frozenset[str] | None) -> Path:
        owners = sorted(self._owners(), key=lambda owner: -owner.seen)
        at_home = (o for o in owners if _is_same(o.notebook, notebook) and o.may_be(cells))
        moved = (o for o in owners if not _is_same(o.notebook, notebook) and o.has_become(cells))
        if (found := next(at_home, None) or next(moved, None)) is not None:
            return found.journal
        taken = {owner.journal for owner in owners}
        journal, count = self.first_of(notebook), 2
        while journal in taken:  # by another notebook, which had this name once
            journal, count = journal.with_name(f"{_name_of(notebook)}-{count}.db"), count + 1
        return journal

    def _owners(self) -> Iterator[Owner]:
        with contextlib.suppress(OSError):
            for file in self._directory.glob("*.json"):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    record = read_json(file)
                    cells = frozenset(map(str, record["cells"]))
                    notebook = Path(record["notebook"])
                    yield Owner(file.with_suffix(".db"), notebook, cells, file.stat().st_mtime)

    def _write(self, owner: Owner) -> None:
        record = {"notebook": str(owner.notebook), "cells": sorted(owner.cells)}
        write_atomically(owner.journal.with_suffix(".json"), json.dumps(record))


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one place: a kernel's may go by a link."""
    return one == other or one.resolve() == other.resolve()


def _name_of(subject: Path) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", subject.stem)[:40] or "notebook"
    return f"{stem}-{hashlib.sha256(str(subject.absolute()).encode()).hexdigest()[:8]}"


def named_journal() -> tuple[bool, Path | None]:
    """Return whether `DNWORKER_JOURNAL` decides, and the file that it names; None where it is `off`."""
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() in _OFF:
        return True, None
    return bool(named), Path(named).expanduser() if named else None


def journal_of(notebook: Path) -> Path | None:
    """Return the journal's file of a notebook, by the notebook's own; None where it is `off`."""
    decided, named = named_journal()
    return named if decided else Journals().find(notebook)


def journal_file(location: NotebookLocation) -> Path | None:
    """Return the journal's file as it seems before anything was asked or read: see `locate_journal`.

    `DNWORKER_JOURNAL` names it, or it is one of this notebook's own; None where it is `off`. Where the front
    end does not name the notebook's file, the working directory takes its place.
    """
    decided, named = named_journal()
    return named if decided else Journals().first_of(location.path or working_directory())


async def locate_journal(location: NotebookLocation, journals: Journals) -> Path | None:
    """Return the journal's file of this kernel's notebook and claim it; None where another place is named."""
    if named_journal()[0]:
        return None
    notebook = await location.fresh()
    if notebook is None:
        return None
    try:
        return await asyncio.wait_for(asyncio.to_thread(journals.claim, notebook), FIND_LIMIT)
    except (OSError, TimeoutError) as exc:  # the runtime starts all the same; it will say what is wrong
        log.warning("the journal of %s could not be found: %s", notebook, str(exc) or "the disk is slow")
        return None
