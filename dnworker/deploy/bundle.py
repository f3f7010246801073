"""`Bundle`: the capabilities of a deployment, packed, and what running them takes."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnworker.archive.locks import scripts_to_lock
from dnworker.archive.packing import pack
from dnworker.archive.paths import path_problem
from dnworker.archive.verifying import verify
from dnworker.capability.manifest import AUTHORITATIVE, CapabilityManifest, load_manifest
from dnworker.capability.reading import shown
from dnworker.core.errors import UsageError

PROVIDED = frozenset({"python", "python3", "uv", "uvx", "dnworker", "sh"})
"""Programs that every deployment has."""

GIVEN = frozenset({*AUTHORITATIVE, "HOME", "PATH", "TMPDIR", "USER"})
"""Variables that a deployment or the runtime sets."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-)?")


@dataclass(frozen=True)
class Program:
    """A program that a worker runs, and that a deployment does not bring."""

    worker: str
    """Such as `shop:relay`."""
    name: str


@dataclass(frozen=True)
class Bundle:
    """Capabilities as they are deployed.

    Attributes:
        archive: the bytes of an archive as `dnworker pack` makes it.
        release: names these capabilities, such as `0.1.0-1a2b3c4d5e6f`: the same for the same files.
        capabilities: name and version of each, sorted.
        scripts: paths in the archive of scripts for which uv makes environments (PEP 723), sorted.
        requirements: packages that manifests want in the runtime's own environment, sorted.
        variables: names that manifests take from the environment, each with whether it must be set.
        programs: what workers run that a deployment does not bring.
    """

    archive: bytes
    release: str
    capabilities: tuple[tuple[str, str], ...]
    scripts: tuple[str, ...]
    requirements: tuple[str, ...]
    variables: dict[str, bool]
    programs: tuple[Program, ...]


def unpack(archive: Path, to: Path) -> Path:
    """Verify an archive, and write its files below a directory; returns the directory.

    Raises:
        UsageError: it is not as `dnworker pack` writes it.
        OSError: it cannot be read, or its files not written.
    """
    found = verify(archive)
    if not found.ok:
        more = f" (and {len(found.problems) - 1:,} more)" if len(found.problems) > 1 else ""
        raise UsageError(
            f"{archive} is not as it was packed: {found.problems[0]}{more}; get it again", code="DN937"
        )
    with tarfile.open(archive, "r:gz") as packed:
        for info in packed:
            source = packed.extractfile(info) if info.isreg() else None
            if source is None or path_problem(info.name) is not None:
                raise UsageError(f"{archive} has changed while it was read; deploy again", code="DN937")
            target = to / info.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            target.chmod(0o755 if info.mode & 0o100 else 0o644)
    return to


def bundle_of(
    roots: Sequence[Path],
    work: Path,
    *,
    locks: bool = False,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Pack capabilities, and read what running them takes.

    Args:
        roots: their directories.
        work: an empty directory for what is temporary.
        locks: whether uv locks what their scripts require.
        on_progress: called with what is done next, as a sentence's part.

    Raises:
        ManifestError: a manifest breaks a rule.
        UsageError: something cannot be packed.
        OSError: a file cannot be read or written.
    """
    file = work / "capabilities.tar.gz"
    packed = pack(roots, file, locks=locks, on_progress=on_progress)
    manifests = sorted((load_manifest(root) for root in roots), key=lambda one: one.name)
    digest = packed.list_digest[:12]
    return Bundle(
        archive=file.read_bytes(),
        release=f"{manifests[0].version}-{digest}" if len(manifests) == 1 else digest,
        capabilities=tuple((one.name, one.version) for one in manifests),
        scripts=tuple(script for one in manifests for script in _scripts(one, packed.files)),
        requirements=tuple(sorted({entry for one in manifests for entry in _requirements(one)})),
        variables=dict(sorted(_variables(manifests).items())),
        programs=tuple(program for one in manifests for program in _programs(one)),
    )


def _scripts(manifest: CapabilityManifest, files: Sequence[str]) -> Iterator[str]:
    own = [f.removeprefix(f"{manifest.name}/") for f in files if f.startswith(f"{manifest.name}/")]
    named = {argument for worker in manifest.workers.values() for argument in worker.args}
    for script in scripts_to_lock(manifest.root, own, manifest):
        if named & {script, f"./{script}", str(manifest.root / script)}:  # a worker runs it
            yield f"{manifest.name}/{script}"


def _requirements(manifest: CapabilityManifest) -> Iterator[str]:
    entries = (manifest.raw.get("dependencies") or {}).get("python") or ()
    for entry in entries:
        if not entry.isprintable() or not re.match(r"[A-Za-z0-9]", entry):
            raise UsageError(
                f"{manifest.root}: dependencies.python has {shown(entry, 80)!r}, which names no package",
                code="DN937",
            )
        yield entry.strip()


def _variables(manifests: Sequence[CapabilityManifest]) -> dict[str, bool]:
    """Return the variables that are taken from the environment, each with whether it must be set."""
    found: dict[str, bool] = {}
    for manifest in manifests:
        for worker in manifest.workers.values():
            for text in (worker.command or "", *worker.args, *worker.env.values()):
                for name, default in _VARIABLE.findall(text):
                    found[name] = found.get(name, False) or not default
        for secret in manifest.raw.get("secrets") or ():
            name = secret["name"]
            found[name] = found.get(name, False) or secret.get("required") is True
    return {name: required for name, required in found.items() if name not in GIVEN}


def _programs(manifest: CapabilityManifest) -> Iterator[Program]:
    for worker in manifest.workers.values():
        command = worker.command
        if command is None or command in PROVIDED or "${" in command:
            continue
        if not command.startswith("/") and "/" in command:
            continue  # a file of the capability
        if command.startswith(f"{manifest.root}/"):
            continue
        yield Program(f"{manifest.name}:{worker.name}", command)
