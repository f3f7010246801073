"""Writes a deployment's directory, new or over the former one: whole or not at all, and never over edits."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dnworker.capability.reading import UnreadableFile, read_bytes, shown
from dnworker.core.errors import UsageError
from dnworker.deploy.files import PROGRAMS

RECORD = "deployment.json"
"""What makes a directory a deployment: its target and name, and the hashes of what was written."""

_LONGEST_RECORD = 1_000_000


@dataclass
class Changes:
    """What became of each file."""

    is_new: bool
    """Whether there was no deployment before."""
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Files that somebody has edited, and that dnworker would write as before."""
    before: str | None = None
    """The release before."""


@dataclass(frozen=True)
class _Record:
    target: str
    name: str
    release: str
    sums: Mapping[str, str]


def check_directory(directory: Path, *, force: bool) -> None:
    """Check that a deployment can be written to a directory.

    Raises:
        UsageError: its parent is missing, or it has something that is no deployment.
    """
    if not directory.absolute().parent.is_dir():
        raise UsageError(
            f"{directory}: there is no directory {directory.parent}; make it first", code="DN936"
        )
    if os.path.lexists(directory) and not directory.is_dir():
        raise UsageError(f"{directory} is no directory; name another", code="DN936")
    if not force and directory.is_dir() and any(directory.iterdir()) and _read(directory) is None:
        raise UsageError(
            f"{directory} is not empty, and no deployment of dnworker; name another directory, or "
            "write into it with --force",
            code="DN936",
        )


def write_deployment(
    directory: Path, files: Mapping[str, bytes], *, target: str, name: str, release: str, force: bool = False
) -> Changes:
    """Write all files of a deployment, or none.

    What somebody has edited since stays, if dnworker would write the same as before.

    Args:
        directory: new, empty, or a deployment of before.
        files: their bytes by path.
        target: what the deployment is for, such as systemd.
        name: of the service.
        release: of the capabilities.
        force: whether files are replaced that somebody has edited, or that are not ours.

    Raises:
        UsageError: something else is there, or the disk refuses; nothing was written.
    """
    check_directory(directory, force=force)
    former = _read(directory)
    if former is not None and (former.target, former.name) != (target, name) and not force:
        raise UsageError(
            f"{directory} deploys {former.name} by {former.target}, not {name} by {target}; name another "
            "directory, or write over it with --force",
            code="DN936",
        )
    try:
        changes = _compare(directory, files, former, force=force)
        sums = {path: _digest(data) for path, data in sorted(files.items())}
        record = {"target": target, "name": name, "release": release, "files": sums}
        written = {path: files[path] for path in (*changes.added, *changes.changed)}
        written[RECORD] = (json.dumps(record, indent=2) + "\n").encode()
        _replace(directory, written, changes.removed)
    except OSError as exc:
        raise UsageError(
            f"{exc.filename or directory}: {exc.strerror or exc}; nothing was written", code="DN936"
        ) from exc
    return changes


def _read(directory: Path) -> _Record | None:
    """Return the record of a deployment; None where there is none that can be read."""
    try:
        found = json.loads(read_bytes(directory / RECORD, _LONGEST_RECORD))
        sums = dict(found["files"])
        texts = [found["target"], found["name"], found["release"], *sums, *sums.values()]
    except (UnreadableFile, ValueError, LookupError, TypeError, RecursionError):
        return None
    if not all(isinstance(text, str) for text in texts) or any(map(_leads_out, sums)):
        return None
    return _Record(found["target"], found["name"], found["release"], sums)


def _leads_out(path: str) -> bool:
    return not path or path.startswith("/") or bool({"", ".", ".."} & set(path.split("/"))) or "\0" in path


def _compare(directory: Path, files: Mapping[str, bytes], former: _Record | None, *, force: bool) -> Changes:
    """Return what is to be done, and refuse to write over what others have written."""
    changes = Changes(is_new=former is None, before=former.release if former else None)
    sums = former.sums if former else {}
    edited = []
    for path, data in sorted(files.items()):
        there = _digest_of(directory, path)
        is_ours = there is not None and there == sums.get(path)
        if there is None:
            changes.added.append(path)
        elif there == _digest(data):
            continue
        elif is_ours or force:
            changes.changed.append(path)
        elif sums.get(path) == _digest(data):
            changes.kept.append(path)
        else:
            edited.append(path)
    if edited:
        raise UsageError(
            f"{directory}: {', '.join(edited)} {'was' if len(edited) == 1 else 'were'} edited, and would be "
            "written anew; put the edits aside, or write over them with --force",
            code="DN936",
        )
    for path in sorted(set(sums) - set(files)):
        if (there := _digest_of(directory, path)) is not None:
            (changes.removed if there == sums[path] or force else changes.kept).append(path)
    return changes


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _digest_of(directory: Path, path: str) -> str | None:
    """Return the hash of a file of the directory; None where there is none."""
    at = directory
    for part in PurePosixPath(path).parts[:-1]:
        at /= part
        if at.is_symlink():
            raise UsageError(f"{shown(str(at))} is a link, and leads elsewhere; move it away", code="DN936")
    file = directory / path
    if not os.path.lexists(file):
        return None
    if file.is_symlink() or not file.is_file():
        raise UsageError(f"{shown(str(file))} is no regular file; move it away", code="DN936")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace(directory: Path, files: Mapping[str, bytes], removed: list[str]) -> None:
    """Write files beside their places first, then move all of them there; on an error, all is as it was."""
    is_made = not directory.exists()
    if is_made:
        directory.mkdir()
    try:
        stage = Path(tempfile.mkdtemp(prefix=".dnworker-", dir=directory))
        try:
            for path, data in files.items():
                _write(stage / "new" / path, data)
            _move(directory, stage, [*files], removed)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except BaseException:
        if is_made:
            with suppress(OSError):
                directory.rmdir()
        raise


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    mask = os.umask(0)
    os.umask(mask)
    file.chmod((0o777 if file.name in PROGRAMS else 0o666) & ~mask)


def _move(directory: Path, stage: Path, paths: list[str], removed: list[str]) -> None:
    undo: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for path in [*removed, *paths]:
            place, aside = directory / path, stage / "old" / path
            if place.exists():
                aside.parent.mkdir(parents=True, exist_ok=True)
                place.rename(aside)
                undo.append((aside, place))
            if path in removed:
                continue
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True)
                made.append(place.parent)
            (stage / "new" / path).rename(place)
            undo.append((place, stage / "new" / path))
    except BaseException:
        for there, back in reversed(undo):
            there.rename(back)
        for one in reversed(made):
            with suppress(OSError):
                one.rmdir()
        raise
