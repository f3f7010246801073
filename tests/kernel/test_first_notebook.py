"""`dnworker lab` as users type it: its notebook runs, and JupyterLab opens it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from dnworker_jupyter.importer.importer import first_notebook

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(120)]


def test_the_first_notebook_runs_from_top_to_bottom(tmp_path):
    notebook = nbformat.reads(first_notebook().as_ipynb().decode(), as_version=4)
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [str(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert any("turn t1 is the number 1" in output for output in outputs)
    assert (tmp_path / "out" / "first" / "capability.yaml").is_file()


def test_lab_opens_the_notebook_in_jupyterlab_and_ends_when_asked(tmp_path):
    command = [sys.executable, "-m", "dnworker", "lab", "--no-browser", "--port", "0"]
    environment = {**os.environ, "HOME": str(tmp_path), "JUPYTER_NO_CONFIG": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            seen = ""
            for line in process.stdout:
                seen += line
                if re.search(r"http://\S+/lab/tree/dnworker\.ipynb", line):
                    break
            assert "/lab/tree/dnworker.ipynb" in seen, seen
        finally:
            process.terminate()
            rest = process.stdout.read()
    assert process.returncode in (0, -15), rest
