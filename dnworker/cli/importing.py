"""`dnworker import`: makes a notebook of a capability."""

from __future__ import annotations

import argparse
from pathlib import Path

from dnworker.cli.export import extension
from dnworker.cli.progress import progress
from dnworker.cli.text import print_json, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `import`."""
    parser.add_argument("capability", type=Path, help="the capability's directory")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .ipynb file to write")
    parser.add_argument("--force", action="store_true", help="write over the notebook, and modules beside it")
    parser.set_defaults(command=run, aside="; nothing was written")


def run(options: argparse.Namespace) -> int:
    """Write the notebook, and the modules beside it."""
    importer = extension("import")
    with progress() as on_progress:
        made = importer.import_capability(options.capability, options.output.parent, on_progress=on_progress)
    written = extension("notebook-file").write_notebook(made, options.output, force=options.force)
    if options.json:
        print_json({"ok": True, "files": [str(path) for path in written], "notes": made.notes})
    else:
        print("\n".join(f"{path} is written" for path in written))
        for note in made.notes:
            print(printable(f"an export of it will not have: {note}"))
    return 0
