"""Finds the notebook's extension by entry points; `%load_ext dnworker` and the command line use it.

The framework names no extension: what is installed says where its parts are.
"""

from __future__ import annotations

from importlib.metadata import EntryPoints, PackageNotFoundError, distribution, entry_points
from typing import Any

GROUP = "dnworker.notebook"
"""The group of entry points of the parts: `extension`, `export`, `import`, `notebook-file` and `progress`."""


def load_part(name: str) -> Any:
    """Import a part of the notebook's extension, and return its module.

    Raises:
        ImportError: it is not installed, or needs something that is not; the message says what to install.
    """
    found = _found(name)
    if not found:
        raise ImportError(
            "no notebook extension is installed, or it was installed for an older dnworker; "
            "install it with: pip install 'dnworker[jupyter]'"
        )
    try:
        return next(iter(found)).load()
    except ModuleNotFoundError as exc:
        raise ImportError(
            f"the notebook extension needs {exc.name}; install it with: pip install 'dnworker[jupyter]'"
        ) from exc


def _found(name: str) -> EntryPoints:
    """Look in our own package first: to read what all others have takes longer than the rest of a load."""
    try:
        own = distribution("dnworker").entry_points.select(group=GROUP, name=name)
    except PackageNotFoundError:  # the source is on the path, and another package has the extension
        own = EntryPoints()
    return own or entry_points(group=GROUP, name=name)
