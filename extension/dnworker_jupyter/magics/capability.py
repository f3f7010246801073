"""`%capability` exports, checks and compares; its other verbs are in `loaded`, `%%capability` in `head`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from IPython.display import display
from msgspec.structs import asdict

from dnworker.core.errors import UsageError
from dnworker.core.topology import TOPOLOGIES, Topology
from dnworker_jupyter.display.progress import ProgressBar
from dnworker_jupyter.display.tables import Note
from dnworker_jupyter.magics.context import Interrupted, MagicContext
from dnworker_jupyter.magics.loaded import (
    Load,
    Reload,
    SetFlag,
    Unload,
    run_flag,
    run_load,
    run_reload,
    run_unload,
)
from dnworker_jupyter.syntax.options import Parser

if TYPE_CHECKING:  # the exporter is imported when the first export needs it
    from dnworker_jupyter.export.planning.types import TargetName
    from dnworker_jupyter.magics.live_export import LiveExport

VERBS = ("export", "check", "diff", "load", "reload", "unload", "flag")


class CapabilityOptions(msgspec.Struct, frozen=True):
    """The options of a `%capability` line."""

    verb: str
    path: str | None
    value: str | None
    replace: bool
    beside: bool
    target: TargetName
    topology: Topology
    force: bool
    lock: bool
    check: bool
    diff: bool
    events: str | None
    sdk: str | None


def capability_parser() -> Parser:
    """Return the parser of the `%capability` line."""
    parser = Parser(
        "%capability",
        "Export the notebook's workers, load a capability, or show and set flags (flag NAME on).",
    )
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("path", nargs="?", help="a directory; with reload, unload and flag: a name")
    parser.add_argument("value", nargs="?", help="with flag: on or off")
    parser.add_argument(
        "--replace", action="store_true", help="with load: set the notebook's own of the same names aside"
    )
    parser.add_argument("--beside", action="store_true", help="with load: run both")
    parser.add_argument(
        "--target", choices=["dreadnode", "dnworker"], default="dreadnode", help="what scripts import"
    )
    parser.add_argument("--topology", choices=TOPOLOGIES, default="uv", help="how workers run")
    parser.add_argument("--force", action="store_true", help="write over files that were edited by hand")
    parser.add_argument("--lock", action="store_true", help="have uv lock the scripts' requirements")
    parser.add_argument(
        "--check", action="store_true", help="run it first, and write nothing unless it passes"
    )
    parser.add_argument("--diff", action="store_true", help="with export: show what it would change")
    parser.add_argument("--events", metavar="FILE", help="with a check: fire these, not recorded ones")
    parser.add_argument(
        "--sdk", metavar="PYTHON", help="with a check: an interpreter that has the reference's SDK"
    )
    return parser


# -- requests: the fields of each are the options that it takes ----------------------------------------


class Diff(msgspec.Struct, frozen=True):
    """Compare what an export would write with the last one."""

    path: Path
    target: TargetName
    topology: Topology


class Check(Diff, frozen=True):
    """Run what an export would write, and compare it with the notebook."""

    events: Path | None
    sdk: str | None


class Write(Diff, frozen=True):
    """Write an export; with `check` only if it passes."""

    force: bool
    lock: bool
    check: bool
    events: Path | None
    sdk: str | None


Request = Load | Reload | Unload | SetFlag | Diff | Check | Write


def read_request(options: CapabilityOptions, default: str) -> Request:
    """Return what a `%capability` line asks for; a check without a path is of the capability `default`.

    `export PATH --diff` is `diff PATH`, as on the command line.

    Raises:
        UsageError: the path is missing, or an option has no meaning there.
    """
    verb = "diff" if options.verb == "export" and options.diff else options.verb
    kinds: dict[str, type[Request]] = {"load": Load, "diff": Diff, "check": Check, "export": Write}
    kinds |= {"reload": Reload, "unload": Unload, "flag": SetFlag}
    kind = kinds[verb]
    if verb in ("export", "diff", "load") and not options.path:
        raise UsageError(
            f"%capability {verb} needs a directory, as in: %capability {verb} out/demo", code="DN101"
        )
    if options.value is not None and kind is not SetFlag:
        raise UsageError(
            f"%capability {verb} takes one word, not {options.path!r} and {options.value!r}", code="DN101"
        )
    taken = set(kind.__struct_fields__)
    of_checks = {"events", "sdk"}
    meant = taken - of_checks if kind is Write and not options.check else taken
    if verb != options.verb:
        meant = meant | {"diff"}
    for name in ("force", "lock", "check", "diff", "events", "sdk", "replace", "beside"):
        if getattr(options, name) and name not in meant:
            raise UsageError(f"%capability {verb} does nothing with --{name}; leave it out", code="DN103")
    if options.replace and options.beside:
        raise UsageError(
            "%capability load: --replace and --beside exclude each other; leave one out", code="DN103"
        )
    given: dict[str, Any] = asdict(options) | {
        "name": options.path,
        "path": Path(options.path or default).expanduser(),
        "events": None if options.events is None else Path(options.events).expanduser(),
    }
    return kind(**{name: given[name] for name in taken})


# -- the magics ----------------------------------------------------------------------------------------


async def run_capability(context: MagicContext, options: CapabilityOptions) -> object:
    """Run a `%capability` line.

    Raises:
        UsageError: the line is wrong, something cannot be exported, or the check failed.
    """
    request = read_request(options, context.head.name or "notebook")
    match request:
        case Load():
            return await run_load(context.runtime, request)
        case Reload():
            return await run_reload(context.runtime, context.live, request)
        case Unload():
            return await run_unload(context.runtime, context.live, request)
        case SetFlag():
            return await run_flag(context.runtime, request)
    from dnworker_jupyter.magics.live_export import LiveExport

    export = LiveExport(context, request.path, target=request.target, topology=request.topology)
    with _progress(f"%capability {options.verb}", is_terminal=context.loop.has_thread) as progress:
        return Note(await _export(export, request, progress))


async def _export(export: LiveExport, request: Diff, progress: ProgressBar) -> str:
    match request:
        case Write(force=force, lock=lock, check=checked, events=events, sdk=sdk):
            return await export.write(
                progress, force=force, lock=lock, checked=checked, events=events, sdk=sdk
            )
        case Check(events=events, sdk=sdk):
            report = await export.check(await export.plan(progress), progress, events=events, sdk=sdk)
            if not report.ok:
                raise UsageError(str(report), code="DN508")
            return str(report)
        case _:
            return str(await export.diff())


@contextmanager
def _progress(magic: str, *, is_terminal: bool) -> Iterator[ProgressBar]:
    """Show how far a magic is; problems are displayed with their cells, and an interrupt is one sentence."""
    from dnworker_jupyter.export.slicing.problems import NotExportable, ProblemReport

    progress = ProgressBar(magic, terminal=is_terminal)
    ended = "stopped"
    try:
        yield progress
        ended = "done"
    except NotExportable as exc:
        if not is_terminal:  # a terminal has the text of the error
            display(ProblemReport(exc.title, exc.problems))
            exc.is_shown = True
        raise
    except asyncio.CancelledError:
        ended = "interrupted"
        raise Interrupted(f"{magic} was interrupted; what it ran is ended, and nothing was written") from None
    finally:
        progress.close(ended)
