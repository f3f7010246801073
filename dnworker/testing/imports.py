"""`CapabilityImports`: lets tests import the modules of their capability; used by the pytest plugin.

`from workers.bridge import worker` works in a test below a directory with a `capability.yaml`, whatever
pytest's root directory and import mode are. Where several capabilities are tested in one run, each has its
own `workers`.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

MANIFEST = "capability.yaml"


@cache
def root_of(path: Path) -> Path | None:
    """Return the capability's directory that a file or directory is in; None when it is in none."""
    return next((above for above in (path, *path.parents) if (above / MANIFEST).is_file()), None)


class CapabilityImports:
    """Keeps `sys.path` and `sys.modules` as tests of one capability at a time want them."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._added: list[str] = []
        self._set_aside: dict[Path, dict[str, ModuleType]] = {}

    def enter(self, path: Path) -> bool:
        """Let modules of the capability that `path` is in be imported; returns whether it is in one."""
        root = root_of(path)
        if root == self._root:
            return root is not None
        self.leave()
        if root is None:
            return False
        from dnworker import compat

        compat.install()
        self._root = root
        self._add(root, 0)
        if (root / "workers").is_dir():  # last: a script finds what lies beside it, and hides nothing else
            self._add(root / "workers", len(sys.path))
        sys.modules.update(self._set_aside.pop(root, {}))
        importlib.invalidate_caches()
        return True

    def leave(self) -> None:
        """Take out again what `enter` added, and set modules aside that were imported from there."""
        if self._root is None:
            return
        for entry in self._added:
            if entry in sys.path:
                sys.path.remove(entry)
        tops = {name for name in [*sys.modules] if "." not in name and self._is_ours(name)}
        ours = {name: module for name, module in [*sys.modules.items()] if name.partition(".")[0] in tops}
        for name in ours:
            del sys.modules[name]
        self._set_aside[self._root] = ours
        self._root, self._added = None, []

    def _add(self, directory: Path, position: int) -> None:
        entry = str(directory)
        if entry not in sys.path:  # what others put there stays when we leave
            sys.path.insert(position, entry)
            self._added.append(entry)

    def _is_ours(self, name: str) -> bool:
        """Return whether a top-level module was found in the capability."""
        module, root = sys.modules[name], self._root
        file = getattr(module, "__file__", None)
        try:
            found = [Path(file)] if file else [Path(entry) for entry in getattr(module, "__path__", ())]
        except (KeyError, TypeError):  # a namespace package whose parent is gone
            return False
        homes = {one.parent.parent if one.name == "__init__.py" else one.parent for one in found}
        return root is not None and bool(homes & {root, root / "workers"})
