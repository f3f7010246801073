"""The one place of the exporter that touches files: all of a plan, or nothing of it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.errors import UsageError
from dnworker_jupyter.export.disk.atomic import STAGING, put_in_place, recover, remove, sweep, sync
from dnworker_jupyter.export.planning.files import RECORD
from dnworker_jupyter.export.planning.manifest import around_workers
from dnworker_jupyter.export.planning.plan import Plan

WORKERS = f"{MANIFEST_NAME}#workers"
"""The part of the manifest that is the export's, where its head is kept as it is."""


def write(plan: Plan, directory: Path, *, force: bool = False) -> list[str]:
    """Put the plan's files in place and return the paths of those that changed.

    All of it takes effect in one step: a crash leaves the old directory or the new one. Files of an earlier
    export that this one has no more are removed; files of others are left alone.

    Raises:
        UsageError: a file was edited since the last export, is not ours, or is reached through a link, and
            `force` is False or of no help; shows the difference. Nothing was changed.
        OSError: the disk would not take it. Nothing was changed.
    """
    directory = directory.resolve()
    recover(directory)
    refuse(plan, directory, force=force)
    written = _read_record(directory)
    fresh = {name: data for name, data in plan.files.items() if _bytes(directory / name) != data}
    fresh |= {n: plan.files[n] for n in plan.executable if not os.access(directory / n, os.X_OK)}
    gone = [name for name in written if name not in plan.files and name != WORKERS]
    record = {name: _digest(data) for name, data in plan.files.items()}
    record[WORKERS] = _workers_digest(plan.files[MANIFEST_NAME])
    ours = plan.files | {RECORD: (json.dumps(record, indent=1) + "\n").encode()}
    if not fresh and not gone and _bytes(directory / RECORD) == ours[RECORD]:
        return []
    directory.parent.mkdir(parents=True, exist_ok=True)
    sweep(directory)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}{STAGING}", dir=directory.parent))
    try:
        if directory.exists():
            _take_over(directory, staging, leave={*ours, *gone})
            shutil.copystat(directory, staging)
            os.utime(staging)  # by its age another export would take it for left behind
        else:
            staging.chmod(0o777 & ~_umask())
        for name, data in ours.items():
            _write_whole(staging / name, data, is_program=name in plan.executable)
        sync(staging)
        old = put_in_place(staging, directory)
        sync(directory.parent)
    except BaseException:
        remove(staging)
        raise
    if old is not None:
        os.utime(old)
        _bring_along(old, directory, leave={*ours, *gone})
        remove(old)
    return sorted([*fresh, *gone])


def refuse(plan: Plan, directory: Path, *, force: bool = False) -> None:
    """Refuse what `write` would refuse, before anything that takes long.

    Raises:
        UsageError: a file was edited since the last export, is not ours, or is reached through a link.
    """
    directory = directory.resolve()
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file; name a directory for the capability")
    if Path.cwd().is_relative_to(directory):
        raise UsageError(
            f"{directory} is the directory that this runs in, which an export would put another in the place "
            "of; nothing was written. Name one of its own, such as out/demo"
        )
    _refuse_links(plan, directory)
    if not force:
        _refuse_edited(plan, directory, _read_record(directory))


def _take_over(directory: Path, staging: Path, leave: set[str]) -> None:
    """Have everything of others in the new directory too: the same files by another name, links as links."""

    def link(source: str, target: str) -> str:
        if os.path.relpath(target, staging).replace(os.sep, "/") not in leave:
            try:
                os.link(source, target, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(source, target, follow_symlinks=False)
        return target

    shutil.copytree(directory, staging, symlinks=True, copy_function=link, dirs_exist_ok=True)
    for name in leave:  # a directory that held nothing but files that went is no use to anybody
        for parent in (staging / name).parents:
            if parent == staging or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _bring_along(old: Path, directory: Path, leave: set[str]) -> None:
    """Move what others made in the old directory while the new one was made; nothing of theirs is removed."""
    for place, directories, names in os.walk(old):
        for name in [*names, *directories]:
            file = Path(place, name)
            inside = file.relative_to(old)
            target = directory / inside
            if inside.as_posix() in leave:
                continue
            if file.is_dir() and not file.is_symlink():
                if not any(path.startswith(f"{inside.as_posix()}/") for path in leave):
                    target.mkdir(parents=True, exist_ok=True)
            elif not os.path.lexists(target) or _is_newer(file, target):
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def _is_newer(file: Path, target: Path) -> bool:
    """Tell whether a file was written anew since the new directory got it."""
    old, new = file.lstat(), target.lstat()
    return old.st_ino != new.st_ino and (old.st_mtime_ns, old.st_size) != (new.st_mtime_ns, new.st_size)


def _write_whole(file: Path, data: bytes, *, is_program: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    if is_program:
        file.chmod(0o777 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refuse_links(plan: Plan, directory: Path) -> None:
    """Refuse to write through a link: what it leads to is somebody else's."""
    for name in [*plan.files, RECORD]:
        file = directory / name
        for place in [file, *file.parents][: len(Path(name).parts)]:
            if place.is_symlink():
                raise UsageError(
                    f"{place} is a link to {place.readlink()}, and an export writes only into its directory; "
                    "nothing was written. Remove the link, or export to another directory"
                )


def read_export(directory: Path) -> dict[str, bytes]:
    """Return the files of the last export into a directory, as they are now.

    Raises:
        UsageError: there is none.
    """
    directory = directory.resolve()
    recover(directory)
    written = _read_record(directory)
    found = {name: _bytes(directory / name) for name in written if name != WORKERS}
    if found.get(MANIFEST_NAME) is None:
        raise UsageError(f"there is no export in {directory} to compare with; %capability export makes one")
    return {name: data for name, data in found.items() if data is not None}


def tree(directory: Path) -> list[str]:
    """Return the directory's files as lines of a tree, without our record."""
    found = (p.relative_to(directory) for p in directory.rglob("*") if p.is_file())
    files = sorted(
        p for p in found if not any(part.startswith(".") or part == "__pycache__" for part in p.parts)
    )
    lines = [f"{directory.name}/"]
    shown: set[Path] = set()
    for file in files:
        for parent in [*reversed(file.parents)][1:]:
            if parent not in shown:
                shown.add(parent)
                lines.append(f"{'  ' * len(parent.parts)}{parent.name}/")
        lines.append(f"{'  ' * len(file.parts)}{file.name}")
    return lines


def _refuse_edited(plan: Plan, directory: Path, written: dict[str, str]) -> None:
    differences = []
    for name, data in plan.files.items():
        there = _bytes(directory / name)
        if there is None or there == data or _digest(there) == written.get(name):
            continue
        if name == MANIFEST_NAME and plan.keeps_head and written.get(WORKERS) == _workers_digest(there):
            continue  # what was edited is kept
        differences.append(_difference(name, there, data))
    for name, digest in written.items():
        if name == WORKERS:
            continue
        there = _bytes(directory / name) if name not in plan.files else None
        if there is not None and _digest(there) != digest:
            differences.append(f"{name}: was edited, and the export has it no more")
    if differences and not written:
        shown = "\n".join(differences)
        raise UsageError(
            f"{directory} holds files that no export wrote, and this one would write over; nothing was "
            f"written. Export elsewhere, or write over them with --force: what else is there stays\n{shown}"
        )
    if differences:
        shown = "\n".join(differences)
        raise UsageError(
            f"{directory} was edited since the last export; nothing was written. Take the "
            f"edits into the notebook, export to another directory, or write over them with --force\n{shown}"
        )


def _difference(name: str, there: bytes, ours: bytes) -> str:
    try:
        old, new = there.decode().splitlines(), ours.decode().splitlines()
    except UnicodeDecodeError:
        return f"{name}: the bytes differ"
    return "\n".join(difflib.unified_diff(old, new, f"{name} (there)", f"{name} (export)", lineterm="", n=1))


def _read_record(directory: Path) -> dict[str, str]:
    try:
        record = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    # The record may have come with somebody's repository: it names nothing outside the directory.
    inside = [name for name in record if (directory / str(name)).resolve().is_relative_to(directory)]
    return {name: str(record[name]) for name in inside}


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise UsageError(f"{file} is a directory, where an export has a file; move it away") from None


def _workers_digest(manifest: bytes) -> str:
    return _digest(around_workers(manifest.decode(errors="replace"))[1].encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
