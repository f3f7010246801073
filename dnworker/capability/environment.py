"""Builds the environment of a worker process, layer by layer (contract 3.2, 4.4); for `subprocess_worker`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class UnsetVariable(ValueError):
    """A `${VAR}` without a default names a variable that is not set."""


class RuntimeAddress(msgspec.Struct, frozen=True):
    """Where a worker process finds its runtime; the three variables nothing may override."""

    url: str
    token: str
    runtime_id: str

    def variables(self) -> dict[str, str]:
        """Return the three variables."""
        return {
            "DREADNODE_RUNTIME_URL": self.url,
            "DREADNODE_RUNTIME_TOKEN": self.token,
            "DREADNODE_RUNTIME_ID": self.runtime_id,
        }


def interpolate(text: str, environ: Mapping[str, str], location: str) -> str:
    """Replace `${NAME}` and `${NAME:-default}`; `$NAME` stays as it is.

    Raises:
        UnsetVariable: a variable without a default is not set; the message names it and `location`.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in environ:
            return environ[name]
        if default is not None:
            return str(default)
        raise UnsetVariable(
            f"{location}: ${{{name}}} is not set; set {name} in the runtime's environment, "
            f"or give a default: ${{{name}:-value}}"
        )

    # Only up to the last brace, as what is never closed would be searched anew from each "${".
    end = text.rfind("}") + 1
    return _REFERENCE.sub(value, text[:end]) + text[end:]


def worker_environment(
    *,
    inherited: Mapping[str, str],
    root: Path,
    capability: str,
    version: str,
    worker: str,
    flags: Mapping[str, str],
    declared: Mapping[str, str],
    connection: RuntimeAddress,
    path_entries: tuple[str, ...] = (),
    child_hook: Path | None = None,
) -> dict[str, str]:
    """Compose the environment of a worker process; later layers win.

    The order: inherited, capability root and worker context, flags, the manifest's `env`, the connection.
    The reference adds its worker context last, over the manifest's `env`; the seed has only the connection
    win over it (contract 11.7). `child_hook` is the directory of a `sitecustomize` for Python workers.
    What is beyond the contract's layers is listed in docs/reference/environment.md, and a test compares.
    """
    environment = dict(inherited)
    environment.pop("SANDBOX_AUTH_TOKEN", None)  # a legacy name of the token; ours is the one that counts
    environment.pop("DREADNODE_RUNTIME_TOKEN_FILE", None)
    if path_entries:
        environment["PATH"] = with_entries(environment.get("PATH", os.defpath), path_entries, root)
    org = inherited.get("DREADNODE_ORG") or inherited.get("DREADNODE_ORGANIZATION")
    environment.update(
        CAPABILITY_ROOT=str(root),
        DREADNODE_SESSION_ORIGIN="worker",
        DREADNODE_WORKER_NAME=worker,
        DREADNODE_CAPABILITY_NAME=capability,
        DREADNODE_CAPABILITY_LABEL=f"{org}/{capability}" if org and "/" not in capability else capability,
        DREADNODE_CAPABILITY_VERSION=version,
    )
    environment.update(flags)
    environment.update(declared)
    environment.update(connection.variables())
    # Last, as it only adds: what Python workers need to import siblings, and dnworker in the SDK's place.
    if child_hook is not None:
        entries = [str(child_hook), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    return environment


def with_entries(path: str, entries: tuple[str, ...], root: Path) -> str:
    """Return a PATH with the directories of `dependencies.path`: `~` and variables replaced, below `root`."""
    expanded = (Path(os.path.expandvars(entry.strip())).expanduser() for entry in entries if entry.strip())
    return os.pathsep.join([path, *(str(root / entry) for entry in expanded)])
