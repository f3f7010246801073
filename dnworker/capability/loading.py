"""Executes the module of a `path:` worker and finds the one Worker in it (contract 4.7)."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

from dnworker.worker import Worker

_PREFIX = "dreadnode.capabilities.worker"


class LoadError(ValueError):
    """The module holds no Worker that could be run under this name."""


def load_worker(root: Path, capability: str, name: str, file: Path) -> Worker:
    """Execute `file` afresh and return its Worker, named by the manifest's key.

    Raises:
        OSError: the file cannot be read.
        LoadError: there is none or more than one Worker, or it has another name.
        BaseException: whatever the module raises; even SystemExit must not end the runtime, so the caller
            catches all (contract 13 no. 2).
    """
    parts = [capability, *file.relative_to(root).parts[:-1], file.stem]
    qualified = ".".join([_PREFIX, *(part.replace("-", "_") for part in parts)])
    _make_packages(root, capability, file)
    source = file.read_bytes()
    module = types.ModuleType(qualified)
    module.__file__ = str(file)
    module.__package__ = qualified.rpartition(".")[0]
    module.__spec__ = importlib.machinery.ModuleSpec(qualified, None, origin=str(file))
    sys.modules[qualified] = module
    exec(compile(source, str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102  that is the job
    return _the_worker(module, name, file)


def forget_helpers(capability: str) -> None:
    """Drop a capability's cached modules, so that the next load reads them from disk again."""
    prefix = f"{_PREFIX}.{capability.replace('-', '_')}"
    for name in [n for n in sys.modules if n == prefix or n.startswith(prefix + ".")]:
        del sys.modules[name]


def _the_worker(module: types.ModuleType, name: str, file: Path) -> Worker:
    # By identity: two names for one Worker are one Worker (contract 13 no. 13).
    found = {id(v): v for v in vars(module).values() if isinstance(v, Worker)}
    if not found:
        raise LoadError(
            f"{file}: no Worker at module level; write worker = Worker(name={name!r}) [CAP-WRK-002]"
        )
    if len(found) > 1:
        raise LoadError(
            f"{file}: {len(found)} Workers at module level; one file holds one worker [CAP-WRK-002]"
        )
    (worker,) = found.values()
    if worker.name is None:
        worker.name = name
    elif worker.name != name:
        message = (
            f"{file}: the Worker is named {worker.name!r}, the manifest says {name!r}; make them the same"
        )
        raise LoadError(f"{message} [CAP-WAPI-001]")
    return worker


def _make_packages(root: Path, capability: str, file: Path) -> None:
    """Make the file's directories packages, so that relative imports of siblings work."""
    qualified = f"{_PREFIX}.{capability.replace('-', '_')}"
    directory = root
    _make_package(qualified, directory)
    for part in file.relative_to(root).parts[:-1]:
        directory = directory / part
        qualified = f"{qualified}.{part.replace('-', '_')}"
        _make_package(qualified, directory)


def _make_package(qualified: str, directory: Path) -> None:
    if qualified in sys.modules:
        return
    init = directory / "__init__.py"
    if init.is_file():
        spec = importlib.util.spec_from_file_location(
            qualified, init, submodule_search_locations=[str(directory)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[qualified] = module
        spec.loader.exec_module(module)
        return
    package = types.ModuleType(qualified)
    package.__path__ = [str(directory)]
    package.__package__ = qualified
    sys.modules[qualified] = package
