"""`dnworker lab`: opens a notebook in JupyterLab, and writes a short one first where there is none."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from dnworker.cli.export import extension
from dnworker.cli.text import print_json, printable
from dnworker.core.errors import UsageError

FIRST = Path("dnworker.ipynb")
"""The notebook that is opened when none is named."""

NEEDS = ("jupyterlab", "ipykernel", "anywidget")
"""What JupyterLab and the notebook's magics are made of; no install of dnworker alone has the first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lab`."""
    parser.add_argument(
        "notebook",
        nargs="?",
        type=Path,
        default=FIRST,
        help=f"the .ipynb file to open ({FIRST}); one that is not there is written, with a first worker",
    )
    parser.add_argument("--port", type=int, help="the port of JupyterLab (8888, or the next that is free)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Become JupyterLab, which ends by Ctrl-C.

    Raises:
        UsageError: JupyterLab is missing, or the notebook has another suffix.
        OSError: the notebook cannot be written.
    """
    notebook: Path = options.notebook
    if notebook.suffix != ".ipynb":
        raise UsageError(
            f"{printable(str(notebook))} is no notebook; give a file that ends in .ipynb", code="DN510"
        )
    if lacking := [name for name in NEEDS if find_spec(name) is None]:
        raise UsageError(
            f"`dnworker lab` needs {' and '.join(lacking)}; "
            "run: uvx --from 'dnworker[lab]' --with jupyterlab dnworker lab",
            code="DN902",
        )
    is_new = not notebook.exists()
    if is_new:
        extension("notebook-file").write_notebook(extension("import").first_notebook(), notebook)
    if options.json:
        print_json({"ok": True, "notebook": str(notebook), "written": is_new})
    elif is_new:
        print(printable(f"{notebook} is written"), flush=True)
    return _become(_command(notebook, options.port, no_browser=options.no_browser))


def _command(notebook: Path, port: int | None, *, no_browser: bool) -> list[str]:
    at = quote(notebook.name)  # in the address, or what is printed would open the launcher
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url=/lab/tree/{at}"]
    command.append(f"--ServerApp.root_dir={notebook.absolute().parent}")
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container people are root, and JupyterLab wants to be told
    return command


def _become(command: list[str]) -> int:
    """Replace this process, so that signals and the exit code are JupyterLab's own."""
    os.execv(command[0], command)  # noqa: S606  the command is a list, without a shell
