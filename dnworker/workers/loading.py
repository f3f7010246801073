"""Executes the module of a `path:` worker and finds the one Worker in it (contract 4.7).

A worker file may import what lies beside it both ways, `from .helper import x` and `import helper` (contract
11.10), and both give the same module. `sys.path` stays as it is: the modules of a capability get an
`__import__` of their own, which looks beside the worker first, as a script's `sys.path[0]` would.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from dnworker.capability.reading import LONGEST_MODULE, read_bytes
from dnworker.core.handler_error import describe
from dnworker.core.members import family_of
from dnworker.core.owners import forget_module, note_module
from dnworker.workers.worker import Worker

PREFIX = "dreadnode.capabilities.worker"


class LoadError(ValueError):
    """The module holds no Worker that could be run under this name."""


def load_worker(root: Path, capability: str, name: str, file: Path) -> Worker:
    """Execute `file` afresh and return its Worker, named by the manifest's key.

    Raises:
        OSError: the file cannot be read: it is missing, no regular file, or larger than 16 MB.
        LoadError: there is none or more than one Worker, or it has another name.
        BaseException: whatever the module raises; even SystemExit must not end the runtime, so the caller
            catches all (contract 13.2).
    """
    source = read_bytes(file, LONGEST_MODULE)
    package = _make_packages(root, capability, file)
    qualified = f"{package}.{file.stem.replace('-', '_')}"
    module = types.ModuleType(qualified)
    module.__file__ = str(file)
    module.__package__ = package
    module.__spec__ = importlib.machinery.ModuleSpec(qualified, None, origin=str(file))
    sys.modules[qualified] = module
    _install_finder()
    _finder.beside[qualified] = package
    note_module(qualified)
    execute(compile(source, str(file), "exec", dont_inherit=True), module, package)
    return _the_worker(module, family_of(name), file)


def forget_helpers(capability: str) -> None:
    """Drop a capability's cached modules, so that the next load reads them from disk again."""
    prefix = f"{PREFIX}.{capability.replace('-', '_')}"
    for name in [n for n in sys.modules if n == prefix or n.startswith(prefix + ".")]:
        del sys.modules[name]
        _finder.beside.pop(name, None)
        forget_module(name)
    importlib.invalidate_caches()


def execute(code: types.CodeType, module: types.ModuleType, package: str) -> None:
    """Run a module's code with an `__import__` that looks into `package` first."""
    own = types.ModuleType("builtins")
    own.__dict__.update(vars(builtins))
    own.__dict__["__import__"] = _Importer(package)
    module.__dict__["__builtins__"] = own
    exec(code, module.__dict__)  # noqa: S102  that is the job


class _Importer:
    """Stands in for `__import__` in the modules of one directory of a capability."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  the names of the original
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        top = name.partition(".")[0]
        if level:
            return _import("." * level + name, (globals or {}).get("__package__"), fromlist or ())
        if not self._lies_beside(top):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = _import(f"{self._package}.{name}", None, fromlist or ())
        return module if fromlist else sys.modules[f"{self._package}.{top}"]

    def _lies_beside(self, top: str) -> bool:
        package = sys.modules.get(self._package)
        if package is None:
            return False  # the capability was reloaded, and this module is of the old one
        for entry in package.__path__:
            beside = Path(entry, top)
            if beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file():
                return True
        return False


def _import(name: str, package: str | None, names: Sequence[str]) -> types.ModuleType:
    """Import a module, and those of `names` that are modules in it.

    The original would import the first part of the name too, and that may be the whole SDK.
    """
    module = importlib.import_module(name, package)
    for one in names:
        if one != "*" and not hasattr(module, one) and hasattr(module, "__path__"):
            try:
                importlib.import_module(f"{module.__name__}.{one}")
            except ModuleNotFoundError as exc:
                if exc.name != f"{module.__name__}.{one}":
                    raise
    return module


class _Finder(MetaPathFinder):
    """Finds the modules of capabilities, so that they are executed with the `__import__` above."""

    def __init__(self) -> None:
        self.beside: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None or not fullname.startswith(PREFIX + "."):
            return None
        parent = fullname.rpartition(".")[0]
        if parent == PREFIX:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            return spec
        # As a script the worker's directory is what is searched, whichever module imports.
        beside = next((home for home in _homes(parent) if home in self.beside.values()), parent)
        spec.loader = _Loader(fullname, str(spec.origin), beside)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Executes a helper module with the `__import__` of its worker."""

    def __init__(self, fullname: str, path: str, package: str) -> None:
        super().__init__(fullname, path)
        self._package = package

    def exec_module(self, module: types.ModuleType) -> None:
        # From source always: a .pyc of the same second and size would hide an edit, and is no file of theirs.
        execute(self.source_to_code(self.get_data(self.path), self.path), module, self._package)


_finder = _Finder()


def _install_finder() -> None:
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _homes(package: str) -> list[str]:
    """Return a package and those it lies in, innermost first."""
    parts = package.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), PREFIX.count(".") + 1, -1)]


def _the_worker(module: types.ModuleType, name: str, file: Path) -> Worker:
    # By identity: two names for one Worker are one Worker (contract 13.13).
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


def _make_packages(root: Path, capability: str, file: Path) -> str:
    """Make the file's directories packages, so that relative imports work; returns the innermost's name."""
    qualified = f"{PREFIX}.{capability.replace('-', '_')}"
    before = sys.modules.get(qualified)
    if before is not None and [*before.__path__] != [str(root)]:
        forget_helpers(capability)  # of another directory, which another runtime of this process had
    directory = root
    _make_package(qualified, directory)
    for part in file.relative_to(root).parts[:-1]:
        directory = directory / part
        qualified = f"{qualified}.{part.replace('-', '_')}"
        _make_package(qualified, directory)
    return qualified


def _make_package(qualified: str, directory: Path) -> None:
    if qualified in sys.modules:
        return
    package = types.ModuleType(qualified)
    package.__path__ = [str(directory)]
    package.__package__ = qualified
    package.__spec__ = importlib.machinery.ModuleSpec(qualified, None, is_package=True)
    package.__spec__.submodule_search_locations = [str(directory)]
    sys.modules[qualified] = package
    init = directory / "__init__.py"
    if init.is_file():
        package.__file__ = str(init)
        try:
            execute(
                compile(read_bytes(init, LONGEST_MODULE), str(init), "exec", dont_inherit=True),
                package,
                qualified,
            )
        except BaseException:
            del sys.modules[qualified]
            raise


EXIT_CODE: Any = SystemExit.__dict__["code"]
"""What the interpreter itself knows of a SystemExit, whose class may put a property in its place."""


def why_not_loaded(exc: BaseException) -> str:
    """Return why a worker could not be loaded, as the text of its error."""
    kind, error = type(exc), describe(exc)
    if issubclass(kind, SystemExit):
        code = EXIT_CODE.__get__(exc)
        shown = repr(code) if type(code) in (int, str, type(None)) else f"an object of {type(code)}"
        return (
            f"the module ended itself on import with SystemExit({shown:.200}) ({error.place}); "
            "put what runs it under: if __name__ == '__main__':"
        )
    if issubclass(kind, OSError | ValueError) and not error.frames:
        return error.message or error.type  # our own errors name file and rule already
    return str(error)
