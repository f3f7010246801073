"""Lets `from dreadnode.capabilities.worker import Worker` find dnworker where the SDK is not installed.

A worker file written for the SDK runs unchanged. Where the real package is installed it is left
alone: nothing is patched or shadowed. A `Runtime` and the notebook install this by themselves.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ALIASES: dict[str, dict[str, str]] = {
    "dreadnode": {},
    "dreadnode.capabilities": {"Worker": "dnworker.workers.worker"},
    "dreadnode.capabilities.worker": {
        "EventEnvelope": "dnworker.core.envelope",
        "RuntimeClient": "dnworker.client.client",
        "ScheduleSpec": "dnworker.core.schedule",
        "TurnCancelledError": "dnworker.core.errors",
        "TurnFailedError": "dnworker.core.errors",
        "Worker": "dnworker.workers.worker",
    },
}


class _AliasFinder(MetaPathFinder, Loader):
    """Makes the modules above out of ours, when nothing else can make them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _ALIASES:
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        names = _ALIASES[module.__name__]
        for name, home in names.items():
            setattr(module, name, getattr(importlib.import_module(home), name))
        module.__all__ = sorted(names)  # type: ignore[attr-defined]


_finder = _AliasFinder()


def install() -> bool:
    """Make `dreadnode.capabilities.worker` importable; may be called again.

    Returns:
        Whether imports get dnworker's classes: False where the real package is installed.

    Examples:
        >>> compat.install()
        True
        >>> from dreadnode.capabilities.worker import Worker as Theirs
        >>> Theirs is Worker
        True
    """
    if _finder in sys.meta_path:
        return True
    if "dreadnode" in sys.modules or importlib.util.find_spec("dreadnode") is not None:
        return False
    sys.meta_path.append(_finder)
    return True


def uninstall() -> None:
    """Take the aliases out again, and forget the modules that were made from them.

    Examples:
        >>> compat.uninstall()
        >>> import dreadnode
        Traceback (most recent call last):
        ModuleNotFoundError: No module named 'dreadnode'
    """
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        for name in _ALIASES:
            sys.modules.pop(name, None)
