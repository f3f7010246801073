"""Looks at the directories that dnworker writes to, at files of tokens and at room on the disk."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dnworker.core.files import home_directory
from dnworker.doctor.findings import Finding, ok, problem, warning

LITTLE_ROOM, NO_ROOM = 1024**3, 100 * 1024**2
"""Bytes of a disk below which there is a warning, and a problem."""

TOKEN_VARIABLE = "DREADNODE_RUNTIME_TOKEN_FILE"  # noqa: S105  a name


def state_directory() -> Path:
    """Return where dnworker keeps its files."""
    return home_directory() / ".dreadnode" / "dnworker"


def directories(state: Path | None = None) -> Iterator[Finding]:
    """Look at whether files can be kept, and whether others could change them."""
    state = state or state_directory()
    nearest = _nearest(state)
    if not nearest.is_dir():
        yield problem(
            "home", f"{nearest} is no directory", "move it out of the way, or set HOME to another one"
        )
        return
    if not os.access(nearest, os.W_OK | os.X_OK):
        text = f"{nearest} cannot be written: journals, logs and the list of runtimes are kept there"
        yield problem("home", text, f"make it writable: chmod u+rwx {nearest}; or set HOME to another one")
        return
    open_ones = [one for one in (state.parent, state) if one.is_dir() and _may_change(one)]
    for one in open_ones:
        text = f"others may write to {one}, and so replace tokens"
        yield problem("home", text, f"chmod go-w {one}")
    if not open_ones:
        yield ok("home", f"{state} is writable" if state.is_dir() else f"{state} is made when it is needed")


def _may_change(directory: Path) -> bool:
    return bool(directory.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _nearest(path: Path) -> Path:
    """Return a path, or the nearest above it that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def token_files(state: Path | None = None, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at who may read the files of tokens; nothing in them is read."""
    state = state or state_directory()
    named = environ.get(TOKEN_VARIABLE)
    files = [*sorted(state.glob("*.token")), *([Path(named)] if named else [])]
    wrong = 0
    for file in files:
        try:
            mode = file.stat().st_mode
        except OSError as exc:
            if named and file == Path(named):
                wrong += 1
                text = f"{file}, which {TOKEN_VARIABLE} names, cannot be read: {exc.strerror}"
                yield problem("tokens", text, "name the file that the runtime wrote, or unset the variable")
            continue  # one of a runtime that ends in this moment
        if mode & 0o077:
            wrong += 1
            text = f"others may read or change {file} (mode {stat.S_IMODE(mode):04o})"
            yield problem("tokens", text, f"chmod 600 {file}; then start the runtime again with a new token")
        elif not os.access(file, os.R_OK):
            wrong += 1
            yield problem("tokens", f"{file} belongs to somebody else", f"give it to this user: chown {file}")
    if not wrong:
        count = f"{len(files)} file{'s' * (len(files) != 1)}, which only you can read" if files else "no file"
        yield ok("tokens", count)


def room(places: list[Path] | None = None) -> Iterator[Finding]:
    """Look at how much fits on the disks, of the home directory and of temporary files."""
    places = places or [state_directory(), Path(tempfile.gettempdir())]
    seen: set[int] = set()
    for place in places:
        nearest = _nearest(place)
        device = nearest.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        free, entries = shutil.disk_usage(nearest).free, os.statvfs(nearest)
        text = f"{free / 1024**3:.1f} GiB free at {nearest}"
        if free < NO_ROOM:
            yield problem("disk", text, "make room: what workers publish cannot be kept on a full disk")
        elif entries.f_files and entries.f_favail == 0:
            yield problem("disk", f"no file can be made at {nearest}: it has no inode left", "remove files")
        elif free < LITTLE_ROOM:
            yield warning("disk", text, "make room, or bound the journal by --limit")
        else:
            yield ok("disk", text)


def temporary(directory: str | None = None) -> Iterator[Finding]:
    """Look at whether temporary files can be made; `directory` stands for the usual one."""
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as exc:
        text = f"no temporary file can be made: {exc.strerror or exc}"
        yield problem("temporary", text, "set TMPDIR to a directory that can be written")
    else:
        yield ok("temporary", f"{directory or tempfile.gettempdir()} is writable")
