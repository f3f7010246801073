"""`dnworker init`: makes a capability's directory, from a small example or from a notebook."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from dnworker.cli import export as exporting
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError
from dnworker.core.topology import TOPOLOGIES
from dnworker.project.new_directory import check_name, free_directory, new_directory, write_files
from dnworker.project.readme import README
from dnworker.project.starter import starter_files, surrounding_files, with_notebook


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `init`."""
    parser.add_argument("name", metavar="NAME", help="the capability's, such as demo")
    parser.add_argument(
        "directory", nargs="?", type=Path, metavar="DIR", help="an empty one, or one to make; default: NAME"
    )
    parser.add_argument(
        "--from",
        dest="notebook",
        type=Path,
        metavar="NOTEBOOK",
        help="export this notebook into it, as `dnworker export` does; default: a worker that greets",
    )
    parser.add_argument("--target", choices=["dreadnode", "dnworker"], help="with --from: as for export")
    parser.add_argument("--topology", choices=TOPOLOGIES, help="with --from: as for export")
    parser.set_defaults(command=init, refuse=parser.error, aside="; nothing was written")


def init(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UsageError: the name, the directory or the notebook cannot be used; nothing was written.
    """
    for option in ("target", "topology"):
        if getattr(options, option) is not None and options.notebook is None:
            options.refuse(f"--{option} is for the export of a notebook; add --from, or leave it out")
    name = check_name(options.name)
    directory = free_directory(options.directory or Path(name))
    fill = partial(_fill_from, options, directory) if options.notebook is not None else partial(_fill, name)
    notes: list[str] = new_directory(directory, fill)
    _report(options, directory, notes)
    return 0


def _fill(name: str, place: Path) -> list[str]:
    write_files(place, starter_files(name))
    return []


def _fill_from(options: argparse.Namespace, directory: Path, place: Path) -> list[str]:
    """Write the export of a notebook, and the notebook with modules beside it; returns notes."""
    notebook: Path = options.notebook
    exporter = exporting.extension("export")
    target, topology = options.target or "dreadnode", options.topology or "uv"
    export = exporter.FileExport(notebook, directory, target=target, topology=topology, name=options.name)
    plan = asyncio.run(exporting.until_terminated(export.write_aside(place)))
    if plan.name != options.name:
        raise UsageError(
            f"{notebook} names its capability {plan.name!r}, in %%capability; run: dnworker init {plan.name} "
            f"--from {shlex.quote(str(notebook))}, or change it there. Nothing was written",
            code="DN521",
        )
    copies = {path: notebook.resolve().parent / path for path in _modules_beside(plan, notebook)}
    for path, file in {notebook.name: notebook, **copies}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / path)
    around = surrounding_files(has_tests=any(path.startswith("tests/") for path in plan.files))
    write_files(place, {path: data for path, data in around.items() if not (place / path).exists()})
    readme = place / README
    if README in plan.files:
        given = "".join(
            f" --{o} {getattr(options, o)}" for o in ("target", "topology") if getattr(options, o)
        )
        text = with_notebook(readme.read_text(encoding="utf-8"), notebook.name, given)
        readme.write_text(text, encoding="utf-8")
    return [*plan.notes, *(f"warning: {warning}" for warning in plan.warnings), exporter.NOT_EXECUTED]


def _modules_beside(plan: Any, notebook: Path) -> list[str]:
    """Return modules beside the notebook that the export has copies of: the next one needs them."""
    found = []
    for path, data in plan.files.items():
        inner = PurePosixPath(*PurePosixPath(path).parts[1:]).as_posix()
        file = notebook.resolve().parent / inner
        if path.endswith(".py") and inner not in plan.files and file.is_file() and file.read_bytes() == data:
            found.append(inner)
    return found


def _report(options: argparse.Namespace, directory: Path, notes: list[str]) -> None:
    files = sorted(file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file())
    if options.json:
        print_json({"ok": True, "directory": str(directory), "files": files, "notes": notes})
        return
    print(printable(f"capability {options.name} is in {directory}"))
    print("\n".join(printable(f"  {file}") for file in files))
    for note in notes:
        print(printable(note))
    there = "" if directory == Path.cwd() else f"cd {shlex.quote(str(options.directory or options.name))}; "
    test = "pytest; " if any(path.startswith("tests/") for path in files) else ""
    print(printable(f"next: {there}{test}dnworker serve ."))
