"""Finds the values that names of an export begin with; for the notebook's side of a check."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnworker.workers.loading import PREFIX, forget_helpers, load_worker

if TYPE_CHECKING:
    from dnworker.capability.manifest import CapabilityManifest

log = logging.getLogger("dnworker.check")


def values_of(manifest: CapabilityManifest, names: Collection[str]) -> dict[str, Any]:
    """Return what the scripts of an export give these names, executed in this process.

    Of a script that cannot be executed here, there are none.
    """
    found: dict[str, Any] = {}
    if not names:
        return found
    capability = f"{manifest.name}-at-its-start"  # nothing of a loaded one is replaced
    try:
        for name, worker in manifest.workers.items():
            file = worker.path or next((manifest.root / a for a in worker.args if a.endswith(".py")), None)
            if file is not None and file.is_file():
                _load(manifest, capability, name, file)
        prefix = f"{PREFIX}.{capability.replace('-', '_')}."
        for module in [module for key, module in sys.modules.items() if key.startswith(prefix)]:
            found |= {name: vars(module)[name] for name in names if name in vars(module)}
    finally:
        forget_helpers(capability)
    return found


def _load(manifest: CapabilityManifest, capability: str, name: str, file: Path) -> None:
    """Execute a script, as far as it goes."""
    try:
        load_worker(manifest.root, capability, name, file)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # whatever the module raises; even SystemExit must not end the kernel
        log.debug("%s could not be executed here: %r", file, exc)
