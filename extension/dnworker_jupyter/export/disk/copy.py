"""Copies a capability's directory to where a check runs it; used by check."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

from dnworker.core.errors import UsageError


async def copy_capability(directory: Path, to: Path) -> None:
    """Copy a directory: its files and links, but no sockets, pipes or devices; cancelling this ends the copy.

    Raises:
        UsageError: a file cannot be read or written.
    """
    stop = threading.Event()
    copying = asyncio.ensure_future(asyncio.to_thread(_copy, directory, to, stop))
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({copying})
        copying.exception()  # the error of a copy that was stopped is expected
        raise


def _copy(directory: Path, to: Path, stop: threading.Event) -> None:
    def copy(source: str, target: str) -> str:
        if stop.is_set():
            raise InterruptedError("it was interrupted")
        return str(shutil.copy2(source, target, follow_symlinks=False))

    try:
        shutil.copytree(directory, to, symlinks=True, ignore=_special_files, copy_function=copy)
        _mend_links(directory, to)
    except (shutil.Error, OSError) as exc:
        first = exc.args[0][0][2] if isinstance(exc, shutil.Error) else exc
        raise UsageError(
            f"{directory} could not be copied for the check: {first}; nothing was written", code="DN505"
        ) from exc


def _special_files(directory: str, names: list[str]) -> list[str]:
    """Return what is neither a file, a directory nor a link."""
    found = [Path(directory, name) for name in names]
    return [f.name for f in found if not (f.is_symlink() or f.is_file() or f.is_dir())]


def _mend_links(directory: Path, to: Path) -> None:
    """Make relative links out of the directory lead to the same file from its copy."""
    for link in [path for path in to.rglob("*") if path.is_symlink()]:
        original = directory / link.relative_to(to)
        leads_out = not original.resolve().is_relative_to(directory.resolve())
        if leads_out and not original.readlink().is_absolute():
            link.unlink()
            link.symlink_to(original.resolve())
