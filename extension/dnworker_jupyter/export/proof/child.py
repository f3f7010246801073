"""Executes planned files apart from the kernel and describes their names; a program that `prove` starts.

It reads a request as JSON from its standard input, and leaves files in a directory: `N.json` is the answer
of script N, `N.out` its output, `N.trace` where it was when it was ended, and `N.code` how its process ended.
It needs only the standard library until it executes the scripts.

Each script has a process of its own. Where the system can fork, that is a copy of a process that has imported
what the script imports anyway; the time limit of the scripts does not count these imports.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import faulthandler
import functools
import gc
import importlib
import importlib.machinery
import importlib.util
import json
import os
import selectors
import sys
import types
import warnings
from collections.abc import Callable, Mapping
from io import FileIO
from json import dumps
from os import replace
from time import monotonic
from typing import Any

# Not pathlib: each process pays for what is imported here.
# ruff: noqa: PTH100, PTH105, PTH109, PTH113, PTH118, PTH120, PTH123, S102

# What is needed after a script has run is bound here: a script may replace attributes of modules.

PACKAGE = "dnworker_jupyter"
GRACE = 0.5
"""Seconds between the time limit, at which a script says where it is, and its end by force."""
IMPORT_SECONDS = 60.0
"""Seconds for the imports that scripts share, beyond the time limit of the scripts."""
LARGEST_FILE = 64 * 1024 * 1024
"""Bytes of an answer or of output; what a script prints beyond it raises OSError."""
AT_ONCE = 2
"""How many scripts, and how many groups of them, run at a time: one that hangs holds nobody up."""


def load_own() -> tuple[Any, Any]:
    """Load describe and refusals, which are beside this file, without what else their packages have."""
    names = [PACKAGE, f"{PACKAGE}.export", f"{PACKAGE}.export.proof"]
    directory = os.path.dirname(os.path.abspath(__file__))
    for name, place in zip(
        names, (os.path.join(directory, *[os.pardir] * n) for n in (2, 1, 0)), strict=True
    ):
        package = types.ModuleType(name)
        package.__path__ = [os.path.normpath(place)]
        sys.modules[name] = package
    loaded = [importlib.import_module(f"{names[-1]}.{name}") for name in ("describe", "refusals")]
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]  # what the scripts import of it is the real one
    return loaded[0], loaded[1]


class StandIn:
    """Makes `dreadnode.capabilities.worker` of dnworker's classes, before the real SDK is looked for."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for the names that are ours here."""
        if fullname not in self._names:
            return None
        from dnworker import compat

        return compat._finder.find_spec(fullname, path, target)


class Shared(importlib.machinery.SourceFileLoader):
    """Executes a module that has code of the notebook as a script is executed."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Execute the module's source."""
        execute(ast.parse(self.get_data(self.path), self.path), self.path, module.__dict__)


class SharedFinder:
    """Finds the modules beside the scripts that have code of the notebook."""

    def __init__(self, names: list[str], directory: str) -> None:
        self._files = {name: os.path.join(directory, f"{name}.py") for name in names}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for these modules."""
        file = self._files.get(fullname)
        if file is None or not os.path.isfile(file):
            return None
        return importlib.util.spec_from_file_location(fullname, file, loader=Shared(fullname, file))


def execute(tree: ast.Module, file: str, namespace: dict[str, Any]) -> None:
    """Execute a module one statement at a time.

    IPython does so with a cell, and it matters: where a function is compiled together with an import, Python
    compiles calls of what is imported in another way.
    """
    flags = 0
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            flags |= sum(getattr(__future__, name.name).compiler_flag for name in statement.names)
        code = compile(ast.Module([statement], []), file, "exec", flags, dont_inherit=True)
        exec(code, namespace)


class Scripts:
    """What the request asks for, and how one script is executed."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.deadline = monotonic() + request["seconds"]
        self._describe, refusals = load_own()
        self._refused = refusals.Refused
        self._unreachable = refusals.Unreachable
        home = os.path.join(os.path.realpath(request["root"]), "workers")
        sys.path[:] = [home, *request["path"]]
        sys.meta_path[:0] = [StandIn(request["aliases"]), SharedFinder(request["shared"], home)]
        self.refusals = refusals.Refusals(request["root"], os.getcwd())
        self.refusals.install()
        limit_growth(request["memory"])

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return max(0.05, float(self.deadline - monotonic()))

    def file(self, name: str) -> str:
        """Return the path of a file of the answer."""
        return os.path.join(self.request["answers"], name)

    def preload(self, modules: list[str]) -> None:
        """Import modules; the time limit moves. What fails, fails again in the scripts, with their line."""
        began = monotonic()
        faulthandler.dump_traceback_later(IMPORT_SECONDS, exit=True)
        self.refusals.arm()
        for name in modules:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
        self.refusals.disarm()
        self.refusals.notes.clear()  # of threads that libraries have started, which no script has
        faulthandler.cancel_dump_traceback_later()
        self.deadline += monotonic() - began

    def answer(self, number: int) -> None:
        """Execute a script and leave its answer; what it printed and where it hangs are files, too."""
        for name, descriptors in (("out", (1, 2)), ("trace", ())):
            file = os.open(self.file(f"{number}.{name}"), os.O_WRONLY | os.O_CREAT, 0o600)
            for descriptor in descriptors:
                os.dup2(file, descriptor)
        faulthandler.enable(file=file, all_threads=False)
        faulthandler.dump_traceback_later(self.left, file=file, exit=True)
        data = dumps(self.run(number)).encode()
        self.refusals.disarm()
        self.leave(f"{number}.json", data)

    def leave(self, name: str, data: bytes) -> None:
        """Write a file of the answer, whole or not at all."""
        with FileIO(self.file(f"{name}.part"), "w") as file:
            file.write(data)
        replace(self.file(f"{name}.part"), self.file(name))

    def run(self, number: int) -> dict[str, Any]:
        """Execute one script, and return what it did and what its names are."""
        script = self.request["scripts"][number]
        module = types.ModuleType("__main__")
        file = os.path.join(os.path.realpath(self.request["root"]), *script["path"].split("/"))
        module.__dict__.update(__file__=file, __builtins__=__builtins__, __spec__=None)
        sys.modules["__main__"] = module
        sys.argv[:] = [file]
        failures = []
        self.refusals.arm()
        try:
            with open(file, "rb") as source:
                tree = without_guard(ast.parse(source.read(), file))
            execute(tree, file, module.__dict__)
        except self._refused:
            pass  # it is noted
        except BaseException as exc:
            failures.append(self._failure(exc, script["path"]))
        failures = [*self.refusals.notes, *failures]
        description = None
        if not failures:
            description = self._described(module, script)
        return {"script": number, "failures": failures, "description": description}

    def _described(self, module: types.ModuleType, script: dict[str, Any]) -> Any:
        own = ["__main__", *self.request["shared"]]
        imported = {name: tuple(place) for name, place in script["imported"].items()}
        handlers = handlers_in(module)
        seconds = max(0.2, self.left / 2)
        namespace: dict[str, Any] = {}
        for name in self.request["shared"]:  # what only the shared module has
            namespace |= vars(sys.modules[name]) if name in sys.modules else {}
        namespace |= module.__dict__
        described = self._describe.describe(
            namespace, script["names"], own, imported=imported, also=handlers, seconds=seconds
        )
        return described.to_plain()

    def _failure(self, exc: BaseException, script: str) -> dict[str, Any]:
        """Return what a script raised, with the innermost place in a planned file."""
        path, line = script, None
        if isinstance(exc, SyntaxError) and exc.filename and (own := self.refusals.planned(exc.filename)):
            path, line = own, exc.lineno
        frame = exc.__traceback__
        while frame is not None and not isinstance(exc, SyntaxError):
            own = self.refusals.planned(frame.tb_frame.f_code.co_filename)
            if own is not None:
                path, line = own, frame.tb_lineno
            frame = frame.tb_next
        category = "error"
        if isinstance(exc, MemoryError):
            category = "memory"
        elif isinstance(exc, self._unreachable):
            category = "network"
        try:
            text = str(exc.msg if isinstance(exc, SyntaxError) else exc)
        except Exception:
            text = "(its text cannot be read)"
        detail = f"{type(exc).__name__}: {text}".removesuffix(": ")
        return {"path": path, "line": line, "category": category, "detail": detail[:300]}


def handlers_in(module: types.ModuleType) -> dict[str, Any]:
    """Return the handlers of the module's workers, as `keyed` does."""
    registry = sys.modules.get("dnworker.workers.registry")
    if registry is None:
        return {}
    workers = {
        id(value): value
        for value in module.__dict__.values()
        if registry.HandlerRegistry in type.__dict__["__mro__"].__get__(type(value))
    }
    return keyed(
        (one.key, one.function) for worker in workers.values() for one in registry.handlers_of(worker)
    )


def keyed(handlers: Any) -> dict[str, Any]:
    """Return handlers by their keys as JSON; those of one key are counted."""
    found: dict[str, Any] = {}
    for key, function in handlers:
        count = 1
        while dumps([*key, count]) in found:
            count += 1
        found[dumps([*key, count])] = function
    return found


def without_guard(tree: ast.Module) -> ast.Module:
    """Return a script without the `if __name__ == "__main__":` at its end that runs the worker."""
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        text = ast.unparse(last.body[-1])
        if text.endswith((".run()", ".arun())")):
            tree.body.pop()
    return tree


def limit_growth(memory: int) -> None:
    """Limit memory and written files of this process and its children, where the system can."""
    try:
        import resource

        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        # Not the address space, of which some packages reserve far more than they use
        for what, limit in ((resource.RLIMIT_DATA, used + memory), (resource.RLIMIT_FSIZE, LARGEST_FILE)):
            _, hard = resource.getrlimit(what)
            resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(hard, limit), hard))
    except (ImportError, OSError, ValueError):
        return


def fork(work: Callable[[], None]) -> tuple[int, int]:
    """Do something in a process of its own; returns its number, and a descriptor that ends when it does."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads of libraries, which their own hooks for forks look after
        process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    code = 0
    try:
        os.close(reading)
        work()
    except BaseException as exc:  # a mistake of ours: what is printed is reported
        os.write(2, f"{type(exc).__name__}: {exc}".encode(errors="replace"))
        code = 70
    finally:
        os._exit(code)


def run_all(
    works: Mapping[int, Callable[[], None]],
    deadline: Callable[[], float],
    ended: Callable[[int, int], None],
    alive: int | None = None,
) -> None:
    """Do everything in processes of their own, some at a time; what is left at the deadline is not begun.

    Args:
        works: what is done, by a key.
        deadline: returns when processes are killed; it may move.
        ended: called with the key of a process that has ended, and its exit code.
        alive: a descriptor that ends with the process that started this one; then this returns.
    """
    waiting = list(works.items())
    running: dict[int, tuple[int, int]] = {}
    selector = selectors.DefaultSelector()
    if alive is not None:
        selector.register(alive, selectors.EVENT_READ)
    while True:
        while waiting and len(running) < AT_ONCE and monotonic() < deadline():
            key, work = waiting.pop(0)
            process, end = fork(work)
            running[end] = key, process
            selector.register(end, selectors.EVENT_READ)
        if not running:
            return
        patience = deadline() - monotonic()
        if patience <= 0:
            for _, process in running.values():
                os.kill(process, 9)
        for found, _ in selector.select(max(patience, GRACE)):
            if found.fd == alive:
                return
            selector.unregister(found.fd)
            os.close(found.fd)
            key, process = running.pop(found.fd)
            ended(key, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def run_group(scripts: Scripts, number: int, group: dict[str, Any]) -> None:
    """Import what the scripts of a group share, and execute each of them in a copy of this process."""
    began = monotonic()
    scripts.preload(group["preload"])
    scripts.leave(f"group{number}.seconds", str(monotonic() - began).encode())
    gc.freeze()
    run_all(
        {script: functools.partial(scripts.answer, script) for script in group["scripts"]},
        lambda: scripts.deadline + GRACE,
        lambda script, code: scripts.leave(f"{script}.code", str(code).encode()),
    )


def run_groups(scripts: Scripts, alive: int) -> None:
    """Execute every group in a process of its own: an import of one is not seen by another."""

    def ended(number: int, code: int) -> None:
        with contextlib.suppress(OSError), open(scripts.file(f"group{number}.seconds")) as seconds:
            scripts.deadline += float(seconds.read())

    works = {
        number: functools.partial(run_group, scripts, number, group)
        for number, group in enumerate(scripts.request["groups"])
    }
    run_all(works, lambda: scripts.deadline + IMPORT_SECONDS, ended, alive)


def is_at_end(descriptor: int) -> bool:
    """Return whether the other end of a pipe is closed; nothing is ever written to it."""
    selector = selectors.DefaultSelector()
    selector.register(descriptor, selectors.EVENT_READ)
    return bool(selector.select(0))


def abandon(request: dict[str, Any]) -> None:
    """Remove what the kernel cannot remove any more, which is gone, and end every process of this group."""
    import shutil

    shutil.rmtree(os.path.dirname(request["answers"]), ignore_errors=True)
    os.killpg(0, 9)


def main() -> None:
    """Read the request, execute its scripts and end."""
    request = json.loads(sys.stdin.buffer.readline())
    alive = os.dup(0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    scripts = Scripts(request)
    if request["fork"]:
        run_groups(scripts, alive)
        if is_at_end(alive):
            abandon(request)
    else:
        for group in request["groups"]:
            scripts.preload(group["preload"])
            for number in group["scripts"]:
                scripts.answer(number)
    os._exit(0)


if __name__ == "__main__":
    main()
