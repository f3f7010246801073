"""Writes a plan to its directory, all of it or nothing, and reads the last one; for export.py and check."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME
from dnworker.core.errors import UsageError
from dnworker.project.record import BLOCK, RECORD, WORKERS, digest, make_record
from dnworker_jupyter.export.disk.atomic import STAGING, put_in_place, recover, remove, sweep, sync
from dnworker_jupyter.export.disk.in_place import replace_files
from dnworker_jupyter.export.planning.manifest import around_workers
from dnworker_jupyter.export.planning.plan import Plan
from dnworker_jupyter.export.planning.readme import README, block_in

_PARTS = (WORKERS, BLOCK)


def write(plan: Plan, directory: Path, *, force: bool = False) -> list[str]:
    """Put the plan's files in place and return the paths of those that changed.

    All of it takes effect in one step: a crash leaves the old directory or the new one. Files that only an
    earlier export has are removed; files that no export wrote stay. In the directory that this runs in, files
    are replaced one by one, and after a crash the same export completes the rest.

    Raises:
        UsageError: a file was edited since the last export or written by somebody else, and `force` is False;
            or a path leads through a link. Shows the difference. Nothing was changed.
        OSError: the disk refuses a write. Nothing was changed.
    """
    directory = directory.resolve()
    recover(directory)
    ensure_writable(plan, directory, force=force)
    changes = _changes(plan, directory)
    if not changes.paths and _bytes(directory / RECORD) == changes.files[RECORD]:
        return []
    if directory.exists() and Path.cwd().is_relative_to(directory):
        _write_in_place(directory, changes, plan.executable)
        return changes.paths
    directory.parent.mkdir(parents=True, exist_ok=True)
    sweep(directory)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}{STAGING}", dir=directory.parent))
    try:
        _fill(staging, directory, changes, plan.executable)
        old = put_in_place(staging, directory)
        sync(directory.parent)
    except BaseException:
        remove(staging)
        raise
    if old is not None:
        os.utime(old)
        _bring_along(old, directory, leave=changes.ours)
        remove(old)
    return changes.paths


@dataclass(frozen=True)
class _Changes:
    """What an export changes in its directory."""

    files: dict[str, bytes]
    """All files that it has, its record among them."""
    paths: list[str]
    """The files that it adds, changes or removes, without its record."""

    @property
    def ours(self) -> set[str]:
        """The paths that are the export's, those of files that it removes among them."""
        return {*self.files, *self.paths}


def _changes(plan: Plan, directory: Path) -> _Changes:
    fresh = {name for name, data in plan.files.items() if _bytes(directory / name) != data}
    fresh |= {name for name in plan.executable if not os.access(directory / name, os.X_OK)}
    gone = {
        name for name in _read_record(directory) if name not in plan.files and name not in (*_PARTS, README)
    }
    block = _block(plan.files[README]) if README in plan.files else None
    record = make_record(plan.files, _workers(plan.files[MANIFEST_NAME]), block)
    files = plan.files | {RECORD: record}
    return _Changes(files, sorted(fresh | gone))


def _fill(staging: Path, directory: Path, changes: _Changes, executable: Collection[str]) -> None:
    """Put into the new directory what it is to hold: files of others, and those of the export."""
    if directory.exists():
        _take_over(directory, staging, leave=changes.ours)
        shutil.copystat(directory, staging)
        os.utime(staging)  # with the old time another export would remove it as left behind
    else:
        staging.chmod(0o777 & ~_umask())
    for name, data in changes.files.items():
        _write_whole(staging / name, data, is_program=name in executable)
    sync(staging)


def _write_in_place(directory: Path, changes: _Changes, executable: Collection[str]) -> None:
    def put(place: Path, name: str) -> bool:
        if name in changes.files:
            _write_whole(place / name, changes.files[name], is_program=name in executable)
        return name in changes.files

    replace_files(directory, [*changes.paths, RECORD], put)


def ensure_writable(plan: Plan, directory: Path, *, force: bool = False) -> None:
    """Raise what `write` would raise; callers ask before anything that takes long.

    Raises:
        UsageError: see `write`.
    """
    directory = directory.resolve()
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file; name a directory for the capability", code="DN505")
    _ensure_no_links(plan, directory)
    if not force:
        _ensure_not_edited(plan, directory, _read_record(directory))


def _take_over(directory: Path, staging: Path, leave: set[str]) -> None:
    """Link everything of others into the new directory; symbolic links stay symbolic links."""

    def link(source: str, target: str) -> str:
        if os.path.relpath(target, staging).replace(os.sep, "/") not in leave:
            try:
                os.link(source, target, follow_symlinks=False)
            except OSError:  # a file system without hard links
                shutil.copy2(source, target, follow_symlinks=False)
        return target

    shutil.copytree(directory, staging, symlinks=True, copy_function=link, dirs_exist_ok=True)
    for name in leave:  # directories that only held files that are removed
        for parent in (staging / name).parents:
            if parent == staging or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def _bring_along(old: Path, directory: Path, leave: set[str]) -> None:
    """Move what others wrote to the old directory while the new one was made; nothing is lost."""
    for parent, directories, names in os.walk(old):
        for name in [*names, *directories]:
            file = Path(parent, name)
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
    """Return whether a file was written after the new directory got its link or copy."""
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


def _ensure_no_links(plan: Plan, directory: Path) -> None:
    """Raise if a path leads through a link: its target may be somebody else's."""
    for name in [*plan.files, RECORD]:
        file = directory / name
        for path in [file, *file.parents][: len(Path(name).parts)]:
            if path.is_symlink():
                raise UsageError(
                    f"{path} is a link to {path.readlink()}, and an export writes only into its directory; "
                    "nothing was written. Remove the link, or export to another directory",
                    code="DN505",
                )


def read_export(directory: Path) -> dict[str, bytes]:
    """Return the files of the last export into a directory, as they are now.

    Raises:
        UsageError: there is none.
    """
    directory = directory.resolve()
    recover(directory)
    written = _read_record(directory)
    found = {name: _bytes(directory / name) for name in written if name not in _PARTS}
    if found.get(MANIFEST_NAME) is None:
        raise UsageError(
            f"there is no export in {directory} to compare with; %capability export makes one", code="DN506"
        )
    return {name: data for name, data in found.items() if data is not None}


def tree(directory: Path) -> list[str]:
    """Return the files of a directory as lines of a tree, without hidden ones."""
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


def _ensure_not_edited(plan: Plan, directory: Path, written: dict[str, str]) -> None:
    differences = []
    for name, data in plan.files.items():
        there = _bytes(directory / name)
        if there is None or there == data or digest(there) == written.get(name):
            continue
        if name == MANIFEST_NAME and plan.keeps_head and written.get(WORKERS) == digest(_workers(there)):
            continue  # only text was edited that is kept
        if name == README and BLOCK in written and written[BLOCK] == digest(_block(there)):
            continue
        differences.append(_difference(name, there, data))
    for name, recorded in written.items():
        if name in (*_PARTS, README):
            continue
        there = _bytes(directory / name) if name not in plan.files else None
        if there is not None and digest(there) != recorded:
            differences.append(f"{name}: was edited, and the export has it no more")
    if differences and not written:
        shown = "\n".join(differences)
        raise UsageError(
            f"{directory} holds files that no export wrote, and this one would write over; nothing was "
            f"written. Export elsewhere, or write over them with --force: what else is there stays\n{shown}",
            code="DN503",
        )
    if differences:
        shown = "\n".join(differences)
        raise UsageError(
            f"{directory} was edited since the last export; nothing was written. Take the "
            f"edits into the notebook, export to another directory, or write over them with --force\n{shown}",
            code="DN504",
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
    # The record may come with somebody's repository: paths that lead out of the directory are ignored.
    inside = [name for name in record if (directory / str(name)).resolve().is_relative_to(directory)]
    return {name: str(record[name]) for name in inside}


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise UsageError(
            f"{file} is a directory, where an export has a file; move it away", code="DN505"
        ) from None


def _workers(manifest: bytes) -> bytes:
    return around_workers(manifest.decode(errors="replace"))[1].encode()


def _block(readme: bytes) -> bytes:
    return (block_in(readme.decode(errors="replace")) or "").encode()
