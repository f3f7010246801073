"""`pack`: makes one archive of capabilities, with the locks of their scripts and a list of all hashes."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnworker.archive.contents import contents_of, copy_contents
from dnworker.archive.locks import LOCK, lock, scripts_to_lock
from dnworker.archive.paths import LIST, MOST_BYTES, MOST_FILES, clashes
from dnworker.archive.sums import digest_of, render
from dnworker.archive.tar import LATEST, TIME, write_archive
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError

SUFFIXES = (".tar.gz", ".tgz")


@dataclass
class Packed:
    """What was packed."""

    file: Path
    files: list[str] = field(default_factory=list)
    """The paths in the archive, without the list."""
    locked: list[str] = field(default_factory=list)
    """The scripts that have a lock."""
    left_out: list[str] = field(default_factory=list)
    """What lies in the directories, and is not in the archive."""
    list_digest: str = ""
    """The SHA-256 of the list: two archives with the same one have the same files."""


def pack(
    roots: Sequence[Path],
    output: Path,
    *,
    locks: bool = True,
    on_progress: Callable[[str], None] = lambda _: None,
    environ: Mapping[str, str] | None = None,
) -> Packed:
    """Write one archive of capabilities, each in a directory of its name; nothing half written stays.

    Args:
        roots: the directories of the capabilities.
        output: the archive's file; one that is there is replaced.
        locks: whether uv locks what scripts require.
        on_progress: called with what is done next, as a sentence's part.
        environ: has `SOURCE_DATE_EPOCH`, if need be; None for the process's environment.

    Raises:
        ManifestError: a manifest breaks a rule.
        UsageError: something cannot be packed.
        OSError: a file cannot be read or written.
    """
    time = _time(os.environ if environ is None else environ)
    _check_output(output)
    manifests = _manifests(roots)
    packed = Packed(output)
    with tempfile.TemporaryDirectory(prefix="dnworker-pack-") as temporary:
        stage = Path(temporary).resolve()
        left = MOST_BYTES
        for name, manifest in sorted(manifests.items()):
            on_progress(f"packing {name}")
            left = _stage(packed, name, manifest, stage, left)
            if locks:
                _lock(packed, name, manifest, stage, on_progress)
        on_progress(f"writing {output}")
        _write(packed, stage, time)
    return packed


def _time(environ: Mapping[str, str]) -> int:
    text = environ.get("SOURCE_DATE_EPOCH", "").strip()
    if not text:
        return TIME
    if not re.fullmatch(r"[0-9]{1,11}", text) or int(text) > LATEST:
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {shown(text, 60)!r}; seconds since 1970 are wanted, or leave it out",
            code="DN518",
        )
    return int(text)


def _check_output(output: Path) -> None:
    if not output.name.endswith(SUFFIXES):
        raise UsageError(
            f"{output}: an archive is a .tar.gz; name it {output.name or 'demo'}.tar.gz", code="DN518"
        )
    if output.is_dir():
        raise UsageError(
            f"{output} is a directory; name a file, such as {output / 'demo.tar.gz'}", code="DN518"
        )
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: there is no directory {output.parent}; make it first", code="DN518")


def _manifests(roots: Sequence[Path]) -> dict[str, CapabilityManifest]:
    found: dict[str, CapabilityManifest] = {}
    for root in roots:
        manifest = load_manifest(root)
        for worker in manifest.workers.values():
            if worker.problem is not None:
                raise UsageError(f"{root}: {worker.problem}; nothing was written", code="DN519")
        if manifest.name in found:
            other = found[manifest.name].root
            raise UsageError(
                f"{root} and {other} are both named {manifest.name!r}; an archive holds each name once",
                code="DN519",
            )
        found[manifest.name] = manifest
    return found


def _stage(packed: Packed, name: str, manifest: CapabilityManifest, stage: Path, left: int) -> int:
    """Copy the files of a capability to where they are packed from; returns the bytes that are left."""
    contents = contents_of(manifest.root, Path(os.path.realpath(packed.file)))
    packed.left_out += [f"{name}/{path}" for path in contents.left_out]
    packed.files += [f"{name}/{path}" for path in contents.files]
    if len(packed.files) > MOST_FILES:
        raise UsageError(
            f"the capabilities have more than {MOST_FILES:,} files; pack fewer at once", code="DN516"
        )
    return copy_contents(contents, stage / name, left)


def _lock(
    packed: Packed,
    name: str,
    manifest: CapabilityManifest,
    stage: Path,
    on_progress: Callable[[str], None],
) -> None:
    own = [path.removeprefix(f"{name}/") for path in packed.files if path.startswith(f"{name}/")]
    staged = load_manifest(stage / name)
    for script in scripts_to_lock(stage / name, own, staged):
        on_progress(f"waiting for uv to lock {name}/{script}")
        made = lock(stage / name / script, f"{manifest.root / script}")
        made.chmod(0o644)
        packed.locked.append(f"{name}/{script}")
        packed.files = sorted({*packed.files, f"{name}/{script}{LOCK}"})


def _write(packed: Packed, stage: Path, time: int) -> None:
    packed.files.sort()
    for problem in clashes([LIST, *packed.files]):
        raise UsageError(f"{problem}; rename one, as not every system can unpack both", code="DN516")
    sums = {}
    for path in packed.files:
        with (stage / path).open("rb") as stream:
            sums[path] = digest_of(stream)
    (stage / LIST).write_bytes(render(sums))
    (stage / LIST).chmod(0o644)
    with (stage / LIST).open("rb") as stream:
        packed.list_digest = digest_of(stream)
    _replace(packed.file, stage, [LIST, *packed.files], time)


def _replace(output: Path, stage: Path, paths: Sequence[str], time: int) -> None:
    """Write the archive beside its place, and rename it there once it is on the disk."""
    handle, name = tempfile.mkstemp(
        dir=output.absolute().parent, prefix=f".{output.name[:100]}.", suffix=".tmp"
    )
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            write_archive(stream, stage, paths, time=time)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        fresh.chmod(0o666 & ~mask)
        fresh.replace(output)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
