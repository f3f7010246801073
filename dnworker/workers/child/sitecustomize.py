"""Runs first in worker processes: makes imports that work in-process work there too.

The runtime puts this directory first on `PYTHONPATH` of worker processes. It uses the standard library only,
does nothing where there is nothing to do, and then lets any other `sitecustomize` of that Python have its
turn.

- A worker file may import its siblings both ways, `from .helper import x` and `import helper` (contract
  11.10): the script gets a package, which relative imports need.
- `dreadnode.capabilities.worker` is dnworker's where the real package is not installed.
- What is printed is in the log line by line, not when a buffer is full.
- A client of the real package gets no event twice when its socket broke (`once.py`).
- With `DNWORKER_DEBUG`, which debugging sets, debuggers can attach (`debug.py`).
- With `DNWORKER_OBSERVE=1` a worker of the real package reports as ours do (`observe.py`).
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import Loader

# Every worker process pays for what is imported here: not pathlib, which importlib.abc imports too.
# ruff: noqa: PTH100, PTH118, PTH119, PTH120, PTH113, PTH206

HERE = os.path.dirname(os.path.abspath(__file__))


def directories(root: str, script: str) -> list[str]:
    """Return the directories from the capability's root down to the script's; none when it is elsewhere."""
    below = os.path.relpath(os.path.dirname(script), root)
    if below.startswith(os.pardir):
        return []
    found = [root]
    for part in [] if below == os.curdir else below.split(os.sep):
        found.append(os.path.join(found[-1], part))
    return found


def give_package(script: str) -> None:
    """Make the directories of a worker's script packages, and the script a module of the innermost."""
    root = os.environ.get("CAPABILITY_ROOT")
    if not root or not os.path.isfile(script):
        return
    name = ""
    for directory in directories(os.path.realpath(root), os.path.realpath(script)):
        step = os.path.basename(directory).replace("-", "_")
        name = f"{name}.{step}" if name else "dnworker_capability"
        package = types.ModuleType(name)
        package.__path__ = [directory]
        package.__package__ = name
        package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        package.__spec__.submodule_search_locations = [directory]
        sys.modules[name] = package
    if name:
        sys.modules["__main__"].__package__ = name


class Fallback:
    """Asked last: installs dnworker's aliases when `dreadnode` is imported and not installed."""

    def find_spec(
        self, fullname: str, path: object, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Make `dreadnode`, or say why that cannot be."""
        if fullname != "dreadnode":
            return None
        sys.meta_path.remove(self)
        try:
            # Nothing else of dnworker: that of this environment may be another version than the runtime's.
            from dnworker import compat

            importlib.import_module("msgspec")  # proves that what dnworker itself needs is there
        except ImportError as exc:
            raise ModuleNotFoundError(
                f"neither dreadnode nor dnworker can be imported by {sys.executable} ({exc}); "
                "install one of them there, or let the worker run under `uv run`",
                name="dreadnode",
            ) from exc
        compat.install()
        return importlib.util.find_spec(fullname)


class WhenImported:
    """Waits for a module, and changes it right after it was executed.

    What fails in that is said on the worker's log, and harms nothing else.

    Args:
        name: of the module.
        change: called with it.
    """

    def __init__(self, name: str, change: Callable[[types.ModuleType], None]) -> None:
        self._name = name
        self._change = change
        self._is_busy = False
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: object, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the real module, and have it changed once it is executed."""
        if fullname != self._name or self._is_busy:
            return None
        self._is_busy = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_busy = False
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None  # asked again at the next attempt
        sys.meta_path.remove(self)
        spec.loader = ThenChange(spec.loader, self._change)  # type: ignore[assignment]  # has all that is called
        return spec


class ThenChange:
    """Loads a module by its real loader, which may be that of others too, and changes it then."""

    def __init__(self, loader: Loader, change: Callable[[types.ModuleType], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """Have the real loader make the module."""
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute the module, which names its real loader from now on."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            self._change(module)
        except Exception as exc:
            say_unobserved(exc)


def say_unobserved(exc: Exception, word: str | None = None, pipe: str | None = None) -> None:
    """Say on the worker's log why the SDK is left as it is, if an output of this process leads there.

    Args:
        exc: what keeps it from being observed.
        word: that the runtime knows reports by; that of the environment, if it is still there.
        pipe: the device and the number of the file that leads to the runtime, likewise.
    """
    try:
        why = f"{exc}" if type(exc).__name__ == "Unobservable" else f"{type(exc).__name__}: {exc}"
        word = word or os.environ.get("DNWORKER_REPORTS", "")
        pipe = pipe or os.environ.get("DNWORKER_OUTPUT")
        file = next(one for one in (1, 2) if pipe in (None, identity(one)))
        text = "".join(c if c.isprintable() and c not in '"\\' else " " for c in why[:1000])
        report = f'{{"is":"notice","text":"{text}","is_over":true}}'
        os.write(file, f"\x1b_dnworker:{word}:{report}\x1b\\".encode("utf-8", "replace"))
    except Exception:  # noqa: S110  there is nowhere to say it
        pass


def identity(file: int) -> str:
    """Return what tells one file from another, as the runtime writes it; empty where it is no file."""
    try:
        found = os.fstat(file)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def print_line_by_line() -> None:
    """Let a pipe get each line when it ends, as a terminal would."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a process may have no stdout
        reconfigure(line_buffering=True)


def beside(name: str) -> types.ModuleType:
    """Return the module of that name beside this one; nothing of the script's finds it by its name."""
    spec = importlib.util.spec_from_file_location(f"_dnworker_{name}", os.path.join(HERE, f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def observe() -> None:
    """Have the first Worker of the SDK that runs here report; a child of multiprocessing is left alone."""
    if "--multiprocessing-fork" not in sys.argv:
        WhenImported(
            "dreadnode.capabilities.worker",
            lambda module: beside("observe").install(module, beside, say_unobserved),
        )


def forget_directory() -> None:
    """Let no import of the script find a file of this directory; its own children get it by `PYTHONPATH`."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != HERE]


def next_sitecustomize() -> None:
    """Execute the `sitecustomize` that this one hides, if there is one."""
    others = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


print_line_by_line()
give_package(next(iter(sys.argv), ""))
sys.meta_path.append(Fallback())
beside("once").install(WhenImported)
if os.environ.get("DNWORKER_OBSERVE") == "1" and "DNWORKER_REPORTS" in os.environ:
    observe()
forget_directory()
next_sitecustomize()
if "DNWORKER_DEBUG" in os.environ:  # last: it may wait, and what came before is part of the script's start
    beside("debug").listen()
