"""`%%capability`: the head of the notebook's capability, which makes its live workers part of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from dnworker.capability.manifest import CapabilityManifest, parse_manifest
from dnworker.core.errors import Conflict, ManifestError, UsageError, WorkerFailed
from dnworker.core.lifecycle import WorkerState
from dnworker.engine.capability import Capability
from dnworker.engine.own import Declared
from dnworker.workers.inprocess_worker import InProcessWorker
from dnworker.workers.managed import ManagedWorker
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.kernel.late_errors import LateErrors
from dnworker_jupyter.live.notice import notice
from dnworker_jupyter.live.worker import LiveWorker
from dnworker_jupyter.magics.context import MagicContext
from dnworker_jupyter.magics.loaded import raise_if_failed
from dnworker_jupyter.syntax.cell import Cell
from dnworker_jupyter.syntax.options import Parser, split


class HeadOptions(msgspec.Struct, frozen=True):
    """The options of a `%%capability` line."""

    dir: str | None


def head_parser() -> Parser:
    """Return the parser of the `%%capability` line."""
    parser = Parser("%%capability", "The head of capability.yaml: name, version, description, flags, ...")
    parser.add_argument(
        "--dir", metavar="PATH", help="where its agents/ and skills/ are; by default the notebook's directory"
    )
    return parser


async def run_head(context: MagicContext, options: HeadOptions, body: str, cell: Cell | None) -> Note:
    """Take the head of the capability from a `%%capability` cell, which is `cell`.

    Raises:
        ManifestError: it breaks a rule, or has workers. Nothing has changed then.
        UsageError: the name is taken, or the directory is not there. Nothing has changed then.
        WorkerFailed: a worker did not start under the new name, or waits for a flag that is gone.
    """
    return Note(await _declare(context, cell, options, body))


async def _declare(context: MagicContext, cell: Cell | None, options: HeadOptions, body: str) -> str:
    label = cell.label if cell is not None else "%%capability"
    root = _directory(options)
    manifest = parse_manifest(body, root, is_head=True, source=label, first_line=2)
    if manifest.workers:
        raise ManifestError(
            [f"{label}: workers come from %%worker cells; take the workers: block out"], code="DN410"
        )
    try:
        with ExitStack() as notices:
            for live in context.live:
                notices.enter_context(notice(live.name, partial(_starting, live), lambda: ""))
            declared = await context.head.declare(manifest, cell)
    except Conflict as exc:
        raise UsageError(f"{exc}; {_way_out(context, manifest)}", code="DN411") from None
    except OSError as exc:
        raise UsageError(
            f"{root} cannot be read: {exc.strerror or exc}; nothing has changed", code="DN411"
        ) from None
    await context.live.until_connected(declared.restarted)
    own = context.runtime.capability()
    text = "\n".join(_lines(context, declared, own))
    raise_if_failed([w for w in own.workers.values() if _is_affected(w, declared)], text)
    return text


def _starting(live: LiveWorker) -> ManagedWorker | None:
    return live.managed if isinstance(live.managed, InProcessWorker) else None


def heed_gone_head(context: MagicContext, late_errors: LateErrors) -> None:
    """Take the head back after a cell that declared it and no longer does; called after every cell.

    The head of an earlier `%%capability` cell, where there is one, counts again, as in an export.
    """

    async def follow() -> None:
        if not context.head.is_gone():
            return  # the end of another cell came first
        context.head.forget_cell()
        try:
            print(await _follow_gone_head(context))  # noqa: T201  where the output of its cell goes on
        except (UsageError, ManifestError, Conflict, WorkerFailed) as exc:
            late_errors.add(exc)

    if context.head.is_gone():
        context.loop.post(context.transactions.later, follow)


async def _follow_gone_head(context: MagicContext) -> str:
    name, earlier = context.head.name, context.head.earlier()
    if earlier is not None:
        line, _, body = earlier.source[earlier.source.index("%%capability") :].partition("\n")
        options = head_parser().read_as(HeadOptions, split(line.removeprefix("%%capability")))
        return f"{earlier.label} counts again: {await _declare(context, earlier, options, body)}"
    declared = await context.head.withdraw()
    await context.live.until_connected(declared.restarted)
    names = ", ".join(worker.name for worker in declared.restarted)
    again = f"; restarted under the old name, with empty state: {names}" if names else ""
    text = f"no cell declares capability {name} any more: this is {declared.name} again{again}"
    raise_if_failed(
        [w for w in context.runtime.capability().workers.values() if _is_affected(w, declared)], text
    )
    return text


def _directory(options: HeadOptions) -> Path:
    root = Path.cwd() if options.dir is None else Path(options.dir).expanduser()
    if not root.is_dir():
        raise UsageError(f"%%capability --dir {options.dir}: there is no such directory", code="DN411")
    return root.resolve()


def _is_affected(worker: ManagedWorker, declared: Declared) -> bool:
    """Return whether the cell is what a worker's error, if it has one, comes from."""
    return worker.definition.problem is not None or worker in declared.restarted


def _way_out(context: MagicContext, manifest: CapabilityManifest) -> str:
    capabilities = context.runtime.capabilities
    instead = capabilities.own.running_instead()
    if instead is not None:
        return f"%capability unload {instead.name}, then run this cell again"
    return f"%capability unload {manifest.name}, or write another name"


def _lines(context: MagicContext, declared: Declared, own: Capability) -> Iterator[str]:
    manifest = own.manifest
    flags = f", flags: {', '.join(manifest.flags)}" if manifest.flags else ""
    yield f"capability {manifest.name} {manifest.version}{flags}"
    if declared.restarted:
        names = ", ".join(worker.name for worker in declared.restarted)
        yield f"  it was {declared.former}: restarted under the new name, with empty state: {names}"
    for worker in own.workers.values():
        if worker.state is WorkerState.GATED_OFF:
            needed = ", ".join(worker.definition.when)
            yield f"  {worker.name} is gated_off; it needs one of these flags on: {needed}"
    yield from _components(own)
    for agent in own.parts.agents:
        if context.runtime.agents.has_own(agent.name):
            yield f"  ! agent {agent.name}: its %%agent cell answers here, its file in a deploy"


def _components(own: Capability) -> Iterator[str]:
    where = _shown(own.root)
    for kind, names in (
        ("agents", [agent.name for agent in own.parts.agents]),
        ("skills", [skill.name for skill in own.parts.skills]),
        ("MCP servers", [*own.parts.mcp]),
    ):
        if names:
            yield f"  {kind} of {where}: {', '.join(names)}"
    for entry in [*own.parts.others, *(server.component(own.flags) for server in own.parts.mcp.values())]:
        if entry.error is not None:
            yield f"  ! {entry.kind} {entry.name}: {entry.error}"
    for check in own.checks:
        yield f"  check {check.name}: ok" if check.error is None else f"  ! check {check.name}: {check.error}"


def _shown(root: Path) -> str:
    try:
        return str(root.relative_to(Path.cwd())) if root != Path.cwd() else f".{os.sep}"
    except (ValueError, OSError):
        return str(root)
