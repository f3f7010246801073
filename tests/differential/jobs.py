"""What is done apart, in a process of its own: run a notebook and export it, export its file, run an export."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from dnworker.capability.manifest import load_manifest
from dnworker.core.lifecycle import WorkerState
from dnworker.runtime import Runtime
from dnworker.workers import standalone
from dnworker.workers.worker import Worker

from .record import handlers_of, record

EXPORT = "--target dnworker --topology python"
STARTS_WITHIN = 20.0


class NoWorkerStarted(Exception):
    """The export does not run; the text says why."""


# -- a notebook ----------------------------------------------------------------------------------------


def live(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run the cells as a kernel does; with `export` export to that directory, with `fires` record them."""
    return asyncio.run(_live(wanted))


async def _live(wanted: dict[str, Any]) -> dict[str, Any]:
    sys.path.insert(0, "")  # as in a kernel: modules beside the notebook
    shell = _shell()
    await run_cell(shell, "%load_ext dnworker", None)
    answer: dict[str, Any] = {"failed": []}
    for number, (source, cell_id, fails) in enumerate(wanted["steps"], 1):
        error = await run_cell(shell, source, cell_id)
        if (error is None) == fails:
            answer["failed"].append([number, source, "it does not fail" if error is None else repr(error)])
    if wanted.get("export"):
        error = await run_cell(shell, f"%capability export {wanted['export']} {EXPORT}", "export")
        answer["refused"] = None if error is None else f"{type(error).__name__}: {error}"
    if wanted.get("fires") is not None:
        from dnworker_jupyter.notebook import active

        notebook = active()
        await notebook.transactions.ready()
        answer["handlers"] = handlers_of(notebook.runtime)
        answer["effects"] = await record(notebook.runtime, wanted["fires"])
    return answer


def _shell() -> Any:
    """Return the shell of a kernel, whose loop is the one that runs here."""
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    HistoryManager.enabled = False  # a database and a thread
    shell = InteractiveShell.instance()
    shell.kernel = types.SimpleNamespace()  # by this the extension knows that it may use the running loop
    return shell


async def run_cell(shell: Any, source: str, cell_id: str | None) -> BaseException | None:
    """Run a cell as ipykernel does; returns its error."""
    problem = None
    try:
        transformed = shell.transform_cell(source)
    except Exception:
        transformed, problem = source, sys.exc_info()
    if shell.should_run_async(source, transformed_cell=transformed, preprocessing_exc_tuple=problem):
        result = await asyncio.ensure_future(
            shell.run_cell_async(
                source,
                store_history=True,
                transformed_cell=transformed,
                preprocessing_exc_tuple=problem,
                cell_id=cell_id,
            )
        )
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", result)
    else:
        result = shell.run_cell(source, store_history=True, cell_id=cell_id)
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error


def file(wanted: dict[str, Any]) -> dict[str, Any]:
    """Export a notebook file by the command line."""
    from dnworker.cli.main import main

    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        code = main(["export", wanted["notebook"], "-o", wanted["export"], *EXPORT.split()])
    return {"refused": None if code == 0 else shown.getvalue()}


# -- an export -----------------------------------------------------------------------------------------


def script(wanted: dict[str, Any]) -> dict[str, Any]:
    """Run the one worker of an export as `__main__`, fire events and record."""
    root = Path(wanted["root"])
    os.chdir(root)
    try:
        worker, name = _main_module(root)
    except BaseException as exc:
        import traceback

        return {"crash": f"the script ends: {traceback.format_exc()}"[-2000:], "error": repr(exc)}
    return asyncio.run(_fire_at(worker, name, wanted["fires"]))


def _main_module(root: Path) -> tuple[Worker, str]:
    """Execute the script as Python would; its `worker.run()` gives the worker."""
    manifest = load_manifest(root)
    ((_, definition),) = manifest.workers.items()
    path = str(definition.args[-1]).replace("${CAPABILITY_ROOT}", str(root))
    os.environ.update(definition.env)
    found: list[Worker] = []
    standalone.attach = lambda worker: found.append(worker) or True  # type: ignore[func-returns-value]
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).parent))
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    if not found:
        raise NoWorkerStarted("the script calls worker.run() nowhere")
    return found[0], manifest.name


async def _fire_at(worker: Worker, capability: str, fires: list[list[Any]]) -> dict[str, Any]:
    async with Runtime(port=None) as runtime:
        managed = await runtime.add(worker, capability=capability)
        if managed.state is not WorkerState.RUNNING:
            return {"crash": f"the worker is {managed.state}: {managed.error}"}
        handlers = handlers_of(runtime)
        return {"handlers": handlers, "effects": await record(runtime, fires)}


def real_script(wanted: dict[str, Any]) -> dict[str, Any]:
    """Load an export with all its workers, each as `python SCRIPT` in a process of its own."""
    return asyncio.run(_real_script(wanted))


async def _real_script(wanted: dict[str, Any]) -> dict[str, Any]:
    async with Runtime(port=0) as runtime:
        capability = await runtime.load(wanted["root"])
        for worker in capability.workers.values():
            if (problem := await _until_up(worker)) is not None:
                return {"crash": problem}
        handlers = handlers_of(runtime)
        return {"handlers": handlers, "effects": await record(runtime, wanted["fires"])}


async def _until_up(worker: Any) -> str | None:
    """Wait until a process receives events; returns why it does not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STARTS_WITHIN
    while loop.time() < deadline:
        if worker.state not in (WorkerState.LOADING, WorkerState.STARTING, WorkerState.RUNNING):
            return f"{worker.name} is {worker.state}: {worker.error}"
        listens = not any(key.decorator == "on_event" for key in worker.stats) or worker.connected.is_set()
        started = [s for key, s in worker.stats.items() if key.decorator == "on_startup"]
        if worker.remote.reports and listens and all(s.calls and not s.in_flight for s in started):
            return None
        await asyncio.sleep(0.01)
    return f"{worker.name} is not up within {STARTS_WITHIN:g} s: {worker.detail()}"


# -- before the first job ------------------------------------------------------------------------------

EXAMPLE = """%%worker demo
@worker.on_event("ask")
async def on_ask(event, client):
    await client.publish("told", {})
"""


def example(role: str, directory: Path) -> None:
    """Do what most jobs do: what that imports, every job need not."""
    if role == "script":

        async def once() -> None:
            async with Runtime(port=0) as runtime:
                await runtime.add(Worker(name="demo"))
                await record(runtime, [["ask", {}]])

        asyncio.run(once())
        return
    (directory / "n.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": EXAMPLE}]}))
    live({"steps": [[EXAMPLE, "1", False]], "fires": [["ask", {}]], "export": f"{directory}/out"})
    file({"notebook": str(directory / "n.ipynb"), "export": str(directory / "other")})


def warm_up(role: str) -> None:
    """Compute what is the same for every export: which distribution has which module, and the wheel."""
    if role == "script":
        return
    from dnworker_jupyter.export.planning import plan, wheel

    with contextlib.suppress(ImportError, AttributeError):
        from dnworker_jupyter.export.slicing import installed

        installed.distributions_by_module()
    built = functools.cache(wheel.build_wheel)  # an earlier version makes it anew for each export
    built()
    for module in (plan, wheel):
        if hasattr(module, "build_wheel"):
            module.build_wheel = built
