"""`%capability load`, `reload`, `unload` and `flag`: what runs beside the notebook's own, and flags."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from dnworker.capability.components import real_root
from dnworker.capability.flags import Flag, flag_variable, parse_word
from dnworker.capability.manifest import CapabilityManifest, load_manifest
from dnworker.core.errors import NotFound, UsageError, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability
from dnworker.runtime import Runtime
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.display.tables import Note, Table, workers_table
from dnworker_jupyter.live.workers import LiveWorkers
from dnworker_jupyter.syntax.options import nearest


class Load(msgspec.Struct, frozen=True):
    """Load a capability from its directory: in place of the notebook's workers that it doubles, or beside."""

    path: Path
    replace: bool = False
    beside: bool = False


class Reload(msgspec.Struct, frozen=True):
    """Read a capability again."""

    name: str | None


class Unload(msgspec.Struct, frozen=True):
    """End a loaded capability."""

    name: str | None


class SetFlag(msgspec.Struct, frozen=True):
    """Show flags, or set one."""

    name: str | None
    value: str | None


# -- load, reload, unload ------------------------------------------------------------------------------


async def run_load(runtime: Runtime, request: Load) -> Table:
    """Load a capability.

    Raises:
        UsageError: it is loaded already, or the notebook runs the same workers; says what to do.
        ManifestError: the manifest breaks rules.
    """
    if request.path.is_file():
        parent = f"%capability load {request.path.parent}"
        raise UsageError(
            f"{request.path} is a file; name the directory of the capability, as in: {parent}", code="DN413"
        )
    manifest = await asyncio.to_thread(load_manifest, real_root(request.path))
    _check_not_loaded(runtime, manifest)
    doubled = runtime.capabilities.own.doubled_by(manifest)
    is_same = manifest.name == runtime.capabilities.own.name
    running = [w for w in doubled if w.state not in (WorkerState.STOPPED, WorkerState.ERROR)]
    if running and not request.replace:
        _check_wanted(manifest, request, running, is_same=is_same)
    beside = bool(running) and request.beside
    capability = await runtime.load(request.path, instead=not beside)
    table = workers_table([*capability.workers.values()])
    table.title = f"capability {manifest.name} {manifest.version} is loaded from {request.path}"
    table.empty = "it has no workers"
    if beside:
        table.note = f"beside {_names(doubled)} of this notebook: every event is handled by both"
    elif doubled or is_same:
        what = _names(doubled) if doubled else f"capability {manifest.name}"
        back = "brings them back" if len(doubled) > 1 else "brings it back"
        table.note = f"set aside: {what} of this notebook; %capability unload {manifest.name} {back}"
    return table


async def run_reload(runtime: Runtime, live: LiveWorkers, request: Reload) -> Table:
    """Read a capability again, and start its workers with empty state.

    Raises:
        UsageError: there is none of this name, or it cannot be read any more.
    """
    before = _find(runtime, "reload", request.name)
    await runtime.reload(before.name)
    root = before.root
    after = next((c for c in runtime.capabilities.all() if c is before or _is_from(c, root)), None)
    if after is None:
        raise UsageError(
            f"capability {before.name!r} is gone; load it again: %capability load {root}", code="DN404"
        )
    if after.failure is not None:
        raise UsageError(
            f"{after.failure}\nits workers are stopped; mend it, then: %capability reload {after.name}",
            code="DN414",
        )
    await live.until_connected(after.workers.values())
    table = workers_table([*after.workers.values()])
    renamed = f", which was {before.name}," if after.name != before.name else ""
    table.title = f"capability {after.name} {after.manifest.version}{renamed} is read again"
    table.empty = "it has no workers"
    return table


async def run_unload(runtime: Runtime, live: LiveWorkers, request: Unload) -> Note:
    """End a loaded capability; what it replaced of the notebook runs again.

    Raises:
        UsageError: there is none of this name, or it is the notebook's own.
        WorkerFailed: a worker of the notebook did not start again.
    """
    capability = _find(runtime, "unload", request.name)
    if capability.live:
        raise UsageError(_why_not_unloaded(runtime, capability), code="DN409")
    ended = [*capability.workers.values()]
    back = await runtime.unload(capability.name)
    await live.until_connected(back)
    lines = [f"capability {capability.name} is unloaded{_ended(ended)}"]
    sessions = [s.session_id for s in runtime.sessions.list() if s.capability == capability.name]
    if sessions and capability.name != runtime.capabilities.own.name:
        few = ", ".join(sessions[:3]) + (", ..." if len(sessions) > 3 else "")
        lines.append(f"its sessions stay, without its agents: {few}")
    if back:
        lines.append(f"of this notebook again: {', '.join(f'{w.name} is {w.state}' for w in back)}")
    raise_if_failed(back, "\n".join(lines))
    return Note("\n".join(lines))


def _check_not_loaded(runtime: Runtime, manifest: CapabilityManifest) -> None:
    root = manifest.root
    for capability in runtime.capabilities.all():
        name = capability.name
        if _is_from(capability, root):
            raise UsageError(
                f"capability {name!r} is loaded already, from {root}; read it again: "
                f"%capability reload {name}; or end it: %capability unload {name}",
                code="DN403",
            )
        if name == manifest.name and not capability.live:
            raise UsageError(
                f"capability {name!r} is loaded already, from {capability.root}; end that one first: "
                f"%capability unload {name}",
                code="DN403",
            )


def _check_wanted(
    manifest: CapabilityManifest, request: Load, running: list[ManagedWorker], *, is_same: bool
) -> None:
    """Check that the line says what to do with workers of the notebook that are the same."""
    line = f"%capability load {request.path}"
    if is_same:
        raise UsageError(
            f"{request.path} is capability {manifest.name!r}, and so is this notebook; cells run "
            f"{_names(running)} of it. Run the loaded one in its place: {line} --replace; or write another "
            "name into the %%capability cell",
            code="DN408",
        )
    if not request.beside:
        raise UsageError(
            f"{request.path} has {_names(running)}, as cells of this notebook do: every event would be "
            f"handled twice. Run the loaded one in place of the cells: {line} --replace; or both: {line} "
            "--beside",
            code="DN408",
        )


def _find(runtime: Runtime, verb: str, name: str | None) -> Capability:
    names = [capability.name for capability in runtime.capabilities.all()]
    if verb == "unload":
        names = [c.name for c in runtime.capabilities.all() if not c.live]
    known = ", ".join(names) or "none"
    if name is None:
        raise UsageError(f"%capability {verb} needs the capability's name; there are: {known}", code="DN101")
    try:
        return runtime.capabilities.get(name)
    except NotFound:
        hint = nearest(name, names)
        raise UsageError(
            f"%capability {verb}: no capability {name!r}; there are: {known}{hint}", code="DN404"
        ) from None


def _why_not_unloaded(runtime: Runtime, capability: Capability) -> str:
    if capability.name != runtime.capabilities.own.name:
        return (
            f"capability {capability.name!r} holds workers that were added to the runtime; remove those: "
            "%worker remove NAME"
        )
    names = [*capability.workers] or ["NAME"]
    return (
        f"capability {capability.name!r} is this notebook: its workers are made of cells. End one: "
        f"%worker remove {names[0]}; end all: %runtime stop"
    )


def _is_from(capability: Capability, root: Path) -> bool:
    return not capability.live and capability.root == root


def _ended(workers: list[ManagedWorker]) -> str:
    return f"; ended: {', '.join(w.name for w in workers)}" if workers else ""


def _names(workers: Iterable[ManagedWorker]) -> str:
    names = [worker.name for worker in workers]
    return f"worker{'' if len(names) == 1 else 's'} {', '.join(names)}"


def raise_if_failed(workers: Iterable[ManagedWorker], done: str) -> None:
    """Raise where workers are in `error`; the text begins with what was done.

    Raises:
        WorkerFailed: one is.
    """
    failed = [w for w in workers if w.state is WorkerState.ERROR]
    if failed:
        why = "\n".join(f"worker {w.name!r} is in state error: {w.error}" for w in failed)
        raise WorkerFailed(f"{done}\n{why}")


# -- flags ---------------------------------------------------------------------------------------------


async def run_flag(runtime: Runtime, request: SetFlag) -> object:
    """Show flags, or set one and start and stop what it gates.

    Raises:
        UsageError: there is no such flag, the value is neither on nor off, or it cannot be kept.
        WorkerFailed: a worker that the flag lets run went to `error`.
    """
    if request.name is None:
        return _flags_table(runtime, [*flags_by_name(runtime)])
    home, flag = _find_flag(runtime, request.name)
    if request.value is None:
        return _flags_table(runtime, [request.name])
    value = parse_word(request.value)
    if value is None:
        raise UsageError(
            f"%capability flag {request.name} takes on or off, not {request.value!r}", code="DN101"
        )
    try:
        await runtime.set_flag(home.name, flag.name, value)
    except OSError as exc:
        raise UsageError(f"flag {request.name!r} could not be kept: {exc}", code="DN406") from None
    now = home.flags[flag.name]
    lines = [f"{request.name} is {_word(now.effective)} ({_source(home, now)})"]
    if now.effective != value:
        lines[0] += f"; to turn it {_word(value)}, change that: it counts more than what is set here"
    gated = [w for w in home.workers.values() if flag.name in w.definition.when]
    lines += [f"{worker.name} is {worker.state}" for worker in gated]
    raise_if_failed(gated, "\n".join(lines))
    return Note("\n".join(lines))


def flags_by_name(runtime: Runtime) -> dict[str, tuple[Capability, Flag]]:
    """Return the flags by what a line calls them: `FLAG` of the notebook, `CAPABILITY.FLAG` of others."""
    own = runtime.capabilities.own.name
    return {
        (flag.name if home.live and home.name == own else f"{home.name}.{flag.name}"): (home, flag)
        for home in runtime.capabilities.all()
        for flag in home.flags.values()
    }


def _find_flag(runtime: Runtime, name: str) -> tuple[Capability, Flag]:
    known = flags_by_name(runtime)
    own = runtime.capabilities.own.name
    found = known.get(name) or known.get(name.removeprefix(f"{own}."))
    if found is None:
        names = ", ".join(known) or "none; declare it under flags: in a %%capability cell"
        raise UsageError(
            f"no flag {name!r} is declared; there are: {names}{nearest(name, known)}", code="DN405"
        )
    return found


def _flags_table(runtime: Runtime, names: Iterable[str]) -> Table:
    known = flags_by_name(runtime)
    rows = [_row(name, *known[name]) for name in names if name in known]
    headings = ["flag", "value", "from", "gates", "description"]
    return Table(headings, rows, "no flags; declare them under flags: in a %%capability cell")


def _row(name: str, home: Capability, flag: Flag) -> list[str]:
    return [
        name,
        _word(flag.effective),
        _source(home, flag),
        ", ".join(_gated(home, flag)),
        flag.description,
    ]


def _gated(home: Capability, flag: Flag) -> Iterator[str]:
    for worker in home.workers.values():
        if flag.name in worker.definition.when:
            yield worker.name
    for server in home.parts.mcp.values():
        if flag.name in server.when:
            yield server.name


def _source(home: Capability, flag: Flag) -> str:
    match flag.source:
        case "binding" if home.is_agreed(flag.name):
            return "set for all nodes"
        case "binding":
            return "set here" if home.live else "kept for this user"
        case "env":
            return f"environment variable DREADNODE_{flag_variable(home.name, flag.name)}"
        case "cli":
            return "command line"
    return "default"


def _word(value: bool) -> str:
    return "on" if value else "off"
