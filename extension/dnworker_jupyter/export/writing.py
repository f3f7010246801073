"""The one place of the exporter that touches files: all of a plan, or nothing of it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from dnworker.errors import Refused
from dnworker_jupyter.export.plan import Plan

RECORD = ".dnworker-export.json"
"""What was written last, so that files edited by hand since are noticed."""


def write(plan: Plan, directory: Path, *, force: bool = False) -> list[str]:
    """Write the plan's files and return the paths of those that changed.

    Files of an earlier export that this one has no more are removed; files of others are left alone.

    Raises:
        Refused: a file was edited since the last export, or is not ours, and `force` is False; shows the
            difference. Nothing was changed.
        OSError: the disk would not take it. Nothing was changed.
    """
    directory = directory.resolve()
    if directory.exists() and not directory.is_dir():
        raise Refused(f"{directory} is a file; name a directory for the capability")
    written = _read_record(directory)
    if not force:
        _refuse_edited(plan, directory, written)
    fresh = {name: data for name, data in plan.files.items() if _bytes(directory / name) != data}
    gone = [name for name in written if name not in plan.files]
    record = {name: _digest(data) for name, data in plan.files.items()}
    staged = fresh | {RECORD: (json.dumps(record, indent=1) + "\n").encode()}
    directory.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".dnworker-", dir=directory))
    try:
        for name, data in staged.items():
            file = staging / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        for name in staged:  # everything is on the disk; from here on only names change
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(directory / name)
    finally:
        shutil.rmtree(staging)
    for name in gone:
        (directory / name).unlink(missing_ok=True)
    return sorted([*fresh, *gone])


def tree(directory: Path) -> list[str]:
    """Return the directory's files as lines of a tree, without our record."""
    files = sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file() and p.name != RECORD)
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
        differences.append(_difference(name, there, data))
    for name, digest in written.items():
        there = _bytes(directory / name) if name not in plan.files else None
        if there is not None and _digest(there) != digest:
            differences.append(f"{name}: was edited, and the export has it no more")
    if differences:
        shown = "\n".join(differences)
        raise Refused(
            f"{directory} was edited since the last export, or is not one; nothing was written. Take the "
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
