"""The command `dnworker export`: from a notebook's file, or with `--execute` from a kernel that runs it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from dnworker.cli.text import printable
from dnworker.core.errors import UsageError
from dnworker.core.extensions import load_part
from dnworker.core.topology import TOPOLOGIES

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dnworker export`."""
    parser.add_argument("notebook", type=Path, help="an .ipynb file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the capability's directory")
    parser.add_argument("--target", choices=["dreadnode", "dnworker"], default="dreadnode")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="uv")
    parser.add_argument("--force", action="store_true", help="write over files that were edited by hand")
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; show what changed since, and the version step"
    )
    parser.add_argument("--lock", action="store_true", help="have uv lock the scripts' requirements")
    parser.add_argument("--check", action="store_true", help="run it first; write nothing unless it passes")
    parser.add_argument(
        "--events",
        type=Path,
        metavar="FILE",
        help="with --check: fire these; default: the notebook's journal",
    )
    parser.add_argument("--sdk", metavar="PYTHON", help="with --check: an interpreter that has the SDK")
    parser.add_argument(
        "--execute",
        action="store_true",
        help="run the notebook in a fresh kernel first, and export from there",
    )
    parser.add_argument(
        "--cell-timeout",
        type=_seconds,
        metavar="S",
        help="with --execute: seconds for each cell; default: 600",
    )
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="with --execute: seconds for all of it; default: 3600"
    )
    parser.set_defaults(command=run, refuse=parser.error, aside="; nothing was written")


def extension(part: str) -> Any:
    """Import a part of the notebook's extension.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return load_part(part)
    except ImportError as exc:
        raise UsageError(str(exc), code="DN902") from exc


async def until_terminated(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; SIGTERM cancels it, so that its processes end with it."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _seconds(text: str) -> float:
    """Read a limit.

    Raises:
        ArgumentTypeError: it is none.
    """
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < float("inf"):
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def run(options: argparse.Namespace) -> int:
    """Export a notebook, and return the exit code.

    Raises:
        UsageError: the notebook cannot be exported, or it failed.
    """
    for option in ("events", "sdk"):
        if getattr(options, option) is not None and not options.check:
            options.refuse(f"--{option} is for a check; add --check, or leave it out")
    for option in ("cell_timeout", "timeout"):
        if getattr(options, option) is not None and not options.execute:
            name = option.replace("_", "-")
            options.refuse(f"--{name} is for a notebook that runs; add --execute, or leave it out")
    if options.diff and (options.check or options.lock or options.force):
        options.refuse("--diff writes nothing; leave --check, --lock and --force out")
    if options.notebook.is_dir():
        raise UsageError(
            f"{options.notebook} is a directory, and a notebook is wanted; "
            f"`dnworker import {options.notebook} -o FILE.ipynb` makes one of a capability",
            code="DN510",
        )
    exporter = extension("export")
    return _export_executed(exporter, options) if options.execute else _export_file(exporter, options)


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """Return how to write, as the exporter takes it."""
    names = {"force": "force", "lock": "lock", "checked": "check", "events": "events", "sdk": "sdk"}
    return {name: getattr(options, option) for name, option in names.items()}


def _export_executed(exporter: Any, options: argparse.Namespace) -> int:
    limits = {"cell_limit": options.cell_timeout, "total_limit": options.timeout}
    export = exporter.ExecutedExport(
        options.notebook,
        options.output,
        target=options.target,
        topology=options.topology,
        **{name: seconds for name, seconds in limits.items() if seconds is not None},
    )
    also = ", and then the workers and shell checks of its export" if options.check else ""
    print(printable(f"running every cell of {options.notebook} in a fresh kernel{also}"), file=sys.stderr)
    progress = extension("progress").ProgressBar("export", terminal=True)
    try:
        running = export.run(progress, diff=options.diff, **_how(options))
        done = asyncio.run(until_terminated(running))
    finally:
        progress.close("done")
    written = {} if options.diff else {"output": str(options.output)}
    print(json.dumps(done.data | written) if options.json else printable(done.text))
    return 0


def _export_file(exporter: Any, options: argparse.Namespace) -> int:
    export = exporter.FileExport(
        options.notebook, options.output, target=options.target, topology=options.topology
    )
    if options.diff:
        found = asyncio.run(until_terminated(export.diff()))
        changes = [str(change) for change in found.changes]
        report = {"ok": True, "step": found.step, "suggested": found.suggested, "changes": changes}
        report["notes"] = [exporter.NOT_EXECUTED]
        print(json.dumps(report) if options.json else f"{found}\n{exporter.NOT_EXECUTED}")
        return 0
    progress = extension("progress").ProgressBar("export", terminal=True)
    try:
        summary = asyncio.run(until_terminated(export.write(progress, **_how(options))))
    finally:
        progress.close("done")
    note = exporter.NOT_EXECUTED
    answer = {"ok": True, "output": str(options.output), "notes": [note]}
    print(json.dumps(answer) if options.json else f"{summary}\n{note}")
    return 0
