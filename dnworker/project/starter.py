"""The files of a new capability: a notebook with one worker, its export, and what a repository has around it.

`dnworker init` writes them, without the notebook's extension: a test holds that the export is the one that
the extension makes of the notebook.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dnworker.capability.manifest import MANIFEST_NAME, parse_manifest
from dnworker.events.cases import Case, as_module, as_test_cell
from dnworker.project.readme import README, make_block, new_readme
from dnworker.project.record import RECORD, make_record

WORKER = "greeter"
SCRIPT = f"workers/{WORKER}.py"
CI_FILE = ".github/workflows/test.yml"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

_CASE = Case("greeting.asked", {"name": "Ada"}, None, ["greeting.made"])

_HANDLER = """
@worker.on_event("greeting.asked")
async def greet(event, client):
    name = event.payload.get("name") or "world"
    await client.publish("greeting.made", {"text": f"Hello, {name}!"})
"""

_SCRIPT = f'''# /// script
# requires-python = ">={_PYTHON}"
# dependencies = [
#     "dreadnode>=2.0,<3.0",
# ]
# ///
"""Worker {WORKER}, exported from a notebook by dnworker."""

from dreadnode.capabilities.worker import Worker

worker = Worker(name="{WORKER}")

{_HANDLER}

if __name__ == "__main__":
    worker.run()
'''

_WORKERS = f"workers:\n  {WORKER}: {{path: {SCRIPT}}}\n"

_IGNORED = """\
__pycache__/
.ipynb_checkpoints/
.pytest_cache/
.venv/
.env
.dreadnode/
"""

_CI = f"""\
# Checks and tests the capability on every change. Actions are pinned by hash; Dependabot can renew them.
name: test
on:
  push:
  pull_request:
permissions: {{}}
jobs:
  test:
    runs-on: ubuntu-24.04
    timeout-minutes: 15
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          persist-credentials: false
      - uses: actions/setup-python@a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0
        with:
          python-version: "{_PYTHON}"
      - run: python -m pip install 'dnworker[runtime]' pytest pytest-asyncio
      - run: dnworker validate .
      - run: python -m pytest
"""


def starter_files(name: str) -> dict[str, bytes]:
    """Return the files of a new capability, by path."""
    notebook = f"{name}.ipynb"
    head = f"schema: 1\n{_head(name)}\n"
    manifest_text = f"{head}{_WORKERS}"
    tests = as_module([_CASE], WORKER, SCRIPT)
    exported = {
        MANIFEST_NAME: manifest_text.encode(),
        f"tests/test_{WORKER}.py": tests.encode(),
        SCRIPT: _SCRIPT.encode(),
    }
    manifest = parse_manifest(manifest_text, Path("/"), source=MANIFEST_NAME)
    block = make_block(manifest, exported, {WORKER: SCRIPT})
    exported[README] = with_notebook(new_readme(manifest, block), notebook).encode()
    exported = dict(sorted(exported.items()))
    record = make_record(exported, _WORKERS.encode(), block.encode())
    return {
        **exported,
        RECORD: record,
        notebook: _notebook_file(_cells(name)).encode(),
        **surrounding_files(),
    }


def surrounding_files(*, has_tests: bool = True) -> dict[str, bytes]:
    """Return what a repository has around a capability; `has_tests` is whether it has any yet."""
    steps = _CI if has_tests else f"{_CI.rstrip()} || test $? -eq 5 # 5: there are no tests yet\n"
    return {".gitignore": _IGNORED.encode(), CI_FILE: steps.encode()}


def with_notebook(readme: str, notebook: str, options: str = "") -> str:
    """Return a new README that says, before what an export writes, where the capability is written.

    Args:
        readme: as an export writes it where there is none.
        notebook: the path of the notebook, from the README.
        options: of the exports, such as ` --target dnworker`.
    """
    words = (
        f"This directory is exported from `{notebook}`. Change the notebook, and export it again: run "
        f"`%capability export .{options}` in it, or in a shell `dnworker export {notebook} -o .{options}`."
        "\n\n"
    )
    before, heading, after = readme.partition("## What flows where\n")
    return f"{before}{words}{heading}{after}"


def _head(name: str) -> str:
    return f"name: {name}\nversion: 0.1.0\ndescription: Greets whoever asks"


def _cells(name: str) -> list[str]:
    """Return the sources of the notebook's cells; one that begins with `#` is text."""
    return [
        f"# {name}\n\nOne worker, which hears `greeting.asked` and publishes `greeting.made`. "
        "Run the cells from top to bottom; run a cell again after a change.",
        "%load_ext dnworker",
        f"%%capability\n{_head(name)}",
        f"%%worker {WORKER} --topology in-process\n{_HANDLER}".rstrip("\n"),
        "%fire greeting.asked name=Ada",
        "## Test it\n\nA test fires an event at a fresh start of the worker; the export has it, too.",
        as_test_cell(_CASE, WORKER),
        "## Export it\n\nThe export writes the files beside this notebook ; `dnworker serve .` runs them.",
        "%capability export .",
    ]


def _notebook_file(sources: list[str]) -> str:
    """Return a notebook, as JupyterLab writes it."""
    cells = []
    for number, source in enumerate(sources):
        cell: dict[str, object] = {"cell_type": "code", "execution_count": None, "outputs": []}
        if source.startswith("#"):
            cell = {"cell_type": "markdown"}
        cells.append(cell | {"id": f"cell-{number}", "metadata": {}, "source": source.splitlines(True)})
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
