"""The command line, `dnworker`. Exit codes: 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dnworker._version import __version__
from dnworker.cli import remote
from dnworker.cli.text import NearParser, printable
from dnworker.core.errors import DnworkerError, UsageError
from dnworker.core.extensions import load_part
from dnworker.core.topology import TOPOLOGIES

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; an error is one sentence on stderr, or JSON on stdout."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        aside = "; nothing was written" if command in (_export, _import) else ""
        print(f"dnworker: interrupted{aside}", file=sys.stderr)
        return 130
    except (DnworkerError, OSError) as exc:
        if options.json:
            as_json = getattr(exc, "as_json", None)  # a refused export has a list of reasons
            print(json.dumps({"ok": False, **(as_json() if as_json else {"error": str(exc)})}))
        else:
            print(printable(f"dnworker: {exc}"), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = NearParser(prog="dnworker", description="Run, check, control and export workers.")
    parser.add_argument("--version", action="version", version=f"dnworker {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = NearParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer in JSON")
    _add(commands, common, "serve", "run capabilities until Ctrl-C or SIGTERM")
    _add(commands, common, "validate", "check capabilities")
    remote.add_commands(commands, common)
    export = commands.add_parser("export", parents=[common], help="make a capability of a notebook file")
    export.add_argument("notebook", type=Path, help="an .ipynb file")
    export.add_argument("-o", "--output", type=Path, required=True, help="the capability's directory")
    export.add_argument("--target", choices=["dreadnode", "dnworker"], default="dreadnode")
    export.add_argument("--topology", choices=TOPOLOGIES, default="uv")
    export.add_argument("--force", action="store_true", help="write over files that were edited by hand")
    export.add_argument(
        "--diff", action="store_true", help="write nothing; show what changed since, and the version step"
    )
    export.add_argument("--lock", action="store_true", help="have uv lock the scripts' requirements")
    export.add_argument("--check", action="store_true", help="run it first; write nothing unless it passes")
    export.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="with --check: fire these; default: the notebook's journal",
    )
    export.add_argument("--sdk", metavar="PYTHON", help="with --check: an interpreter that has the SDK")
    export.set_defaults(command=_export)
    taking = commands.add_parser("import", parents=[common], help="make a notebook of a capability")
    taking.add_argument("capability", type=Path, help="the capability's directory")
    taking.add_argument("-o", "--output", type=Path, required=True, help="the .ipynb file to write")
    taking.add_argument("--force", action="store_true", help="write over the notebook, and modules beside it")
    taking.set_defaults(command=_import)
    return parser


def _add(commands: Any, common: argparse.ArgumentParser, name: str, purpose: str) -> None:
    """Declare a command that needs the runtime's libraries; without them its use is refused."""
    parser = commands.add_parser(name, parents=[common], help=purpose)
    try:
        import_module(f"dnworker.cli.{name}").add_arguments(parser)
    except ModuleNotFoundError as exc:
        lacking = exc.name
        parser.add_argument("rest", nargs=argparse.REMAINDER)

        def refuse(_: argparse.Namespace) -> int:
            raise UsageError(
                f"`dnworker {name}` needs {lacking}; install it with: pip install 'dnworker[runtime]'"
            )

        parser.set_defaults(command=refuse)


def _import(options: argparse.Namespace) -> int:
    importer = _extension("import")
    made = importer.import_capability(options.capability, options.output.parent)
    written = _extension("notebook-file").write_notebook(made, options.output, force=options.force)
    if options.json:
        print(json.dumps({"ok": True, "files": [str(path) for path in written], "notes": made.notes}))
    else:
        print("\n".join(f"{path} is written" for path in written))
        for note in made.notes:
            print(printable(f"an export of it will not have: {note}"))
    return 0


def _extension(part: str) -> Any:
    """Import a part of the notebook's extension.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return load_part(part)
    except ImportError as exc:
        raise UsageError(str(exc)) from exc


async def _until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; SIGTERM cancels it, so that its processes end with it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _export(options: argparse.Namespace) -> int:
    for option in ("events", "sdk"):
        if getattr(options, option) is not None and not options.check:
            raise UsageError(f"--{option} is for a check; add --check, or leave it out")
    if options.diff and (options.check or options.lock or options.force):
        raise UsageError("--diff writes nothing; leave --check, --lock and --force out")
    exporter = _extension("export")
    export = exporter.FileExport(
        options.notebook, options.output, target=options.target, topology=options.topology
    )
    if options.diff:
        found = asyncio.run(_until_terminated(export.diff()))
        changes = [str(change) for change in found.changes]
        report = {"ok": True, "step": found.step, "suggested": found.suggested, "changes": changes}
        print(json.dumps(report) if options.json else found)
        return 0
    progress = _extension("progress").ProgressBar("export", terminal=True)
    try:
        writing = export.write(
            progress,
            force=options.force,
            lock=options.lock,
            checked=options.check,
            events=options.events,
            sdk=options.sdk,
        )
        summary = asyncio.run(_until_terminated(writing))
    finally:
        progress.close("done")
    print(json.dumps({"ok": True, "output": str(options.output)}) if options.json else summary)
    return 0
