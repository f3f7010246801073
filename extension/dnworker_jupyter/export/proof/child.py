"""Executes planned files apart from the kernel and describes their names; a program that `prove` starts.

It reads a request as JSON from its standard input and answers in JSON lines, one a script. It needs
only the standard library until it executes the scripts. Each script has a process of its own, which is forked
where the system can.
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import selectors
import sys
import time
import types
import warnings
from typing import Any

# Not pathlib: each process pays for what is imported here.
# ruff: noqa: PTH100, PTH109, PTH118, PTH120, PTH123, S102

PACKAGE = "dnworker_jupyter"
GRACE = 0.5
"""Seconds between the time limit, at which a script says where it is, and its end by force."""
LONGEST_RESULT = 64 * 1024 * 1024
LONGEST_OUTPUT = 4096


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


class Scripts:
    """What the request asks for, and how one script is executed."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.deadline = time.monotonic() + request["seconds"]
        self._describe, refusals = load_own()
        self._refused = refusals.Refused
        self._unreachable = refusals.Unreachable
        home = os.path.join(request["root"], "workers")
        sys.path[:] = [home, *request["path"]]
        sys.meta_path.insert(0, StandIn(request["aliases"]))
        self.refusals = refusals.Refusals(request["root"], os.getcwd())
        self.refusals.install()
        limit_memory(request["memory"])

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return max(0.05, float(self.deadline - time.monotonic()))

    def preload(self) -> None:
        """Import what several scripts import; what fails, fails again in the scripts, with their line."""
        faulthandler.dump_traceback_later(self.left, exit=True)
        self.refusals.arm()
        for name in self.request["preload"]:
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
        self.refusals.disarm()
        faulthandler.cancel_dump_traceback_later()

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
                code = compile(without_guard(ast.parse(source.read(), file)), file, "exec", dont_inherit=True)
            exec(code, module.__dict__)
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
        while json.dumps([*key, count]) in found:
            count += 1
        found[json.dumps([*key, count])] = function
    return found


def without_guard(tree: ast.Module) -> ast.Module:
    """Return a script without the `if __name__ == "__main__":` at its end that runs the worker."""
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        text = ast.unparse(last.body[-1])
        if text.endswith((".run()", ".arun())")):
            tree.body.pop()
    return tree


def limit_memory(extra: int) -> None:
    """Let this process and its children grow by so many bytes, where the system has such a limit."""
    try:
        import resource

        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + extra if hard == resource.RLIM_INFINITY else min(hard, used + extra)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):
        return


class Process:
    """One forked script: its result, its output, and where it was when it was ended."""

    def __init__(self, scripts: Scripts, number: int) -> None:
        self.number = number
        pairs = [os.pipe() for _ in range(3)]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # threads of libraries, which their own hooks for forks look after
            self.id = os.fork()
        if self.id == 0:
            for reading, _ in pairs:
                os.close(reading)
            _be_a_script(scripts, number, *(writing for _, writing in pairs))
        for _, writing in pairs:
            os.close(writing)
        self.result, self.output, self.trace = (reading for reading, _ in pairs)
        self.parts = {reading: bytearray() for reading, _ in pairs}

    def read(self, descriptor: int) -> bool:
        """Read some bytes; returns whether there may be more."""
        data = os.read(descriptor, 1 << 20)
        part = self.parts[descriptor]
        part += data
        if descriptor == self.output:
            del part[:-LONGEST_OUTPUT]
        return bool(data) and len(part) <= LONGEST_RESULT

    def kill(self) -> None:
        """End it by force."""
        with contextlib.suppress(OSError):
            os.kill(self.id, 9)

    def answer(self) -> bytes:
        """Return the line for it, when all its pipes are at their end."""
        _, status = os.waitpid(self.id, 0)
        for descriptor in self.parts:
            os.close(descriptor)
        if self.parts[self.result].endswith(b"\n"):
            return bytes(self.parts[self.result])
        ended = {
            "code": os.waitstatus_to_exitcode(status),
            "output": self.parts[self.output].decode(errors="replace"),
            "trace": self.parts[self.trace].decode(errors="replace"),
        }
        return json.dumps({"script": self.number, "ended": ended}).encode() + b"\n"


def _be_a_script(scripts: Scripts, number: int, result: int, output: int, trace: int) -> None:
    """Execute a script in a process that was forked for it; does not return."""
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        faulthandler.enable(file=trace, all_threads=False)
        faulthandler.dump_traceback_later(scripts.left, file=trace, exit=True)
        data = memoryview(json.dumps(scripts.run(number)).encode() + b"\n")
        while data:
            data = data[os.write(result, data) :]
    except BaseException as exc:  # a mistake of ours: what is printed is reported
        os.write(2, f"{type(exc).__name__}: {exc}".encode(errors="replace"))
        os._exit(70)
    finally:
        os._exit(0)


def run_forked(scripts: Scripts, out: int) -> None:
    """Execute every script in a process of its own, some at a time, and write a line for each."""
    waiting = list(range(len(scripts.request["scripts"])))
    slots = min(8, max(2, os.cpu_count() or 2))
    selector = selectors.DefaultSelector()
    running: dict[int, Process] = {}
    while waiting or running:
        while waiting and len(running) < slots and time.monotonic() < scripts.deadline:
            process = Process(scripts, waiting.pop(0))
            running[process.id] = process
            for descriptor in process.parts:
                selector.register(descriptor, selectors.EVENT_READ, process)
        if not running:
            break  # the time is over; what has no line was not executed
        patience = scripts.deadline + GRACE - time.monotonic()
        for key, _ in selector.select(max(0.0, patience)):
            if not key.data.read(key.fd):
                selector.unregister(key.fd)
        if patience <= 0:
            for process in running.values():
                process.kill()
        # Not its output: a program that an import has started may hold that open.
        open_ = {key.data.id for key in selector.get_map().values() if key.fd != key.data.output}
        for process in [p for p in running.values() if p.id not in open_]:
            if process.output in selector.get_map():
                selector.unregister(process.output)
            write(out, process.answer())
            del running[process.id]


def run_here(scripts: Scripts, out: int) -> None:
    """Execute the only script of the request in this process, where there is no fork."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(scripts.left, exit=True)
    write(out, json.dumps(scripts.run(0)).encode() + b"\n")
    os._exit(0)


def write(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def main() -> None:
    """Read the request, execute its scripts and end."""
    request = json.loads(sys.stdin.buffer.read())
    out = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    scripts = Scripts(request)
    if not request["fork"]:
        run_here(scripts, out)
    scripts.preload()
    gc.freeze()
    run_forked(scripts, out)
    os._exit(0)


if __name__ == "__main__":
    main()
