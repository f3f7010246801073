"""Each tutorial, run in a kernel, passes the check of its export with the real SDK."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from .environment import LIMIT, PROJECT

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

NAMES = {
    "01-quickstart": "quickstart",
    "02-events-and-traces": "orders",
    "03-time-and-failure": "nightly",
    "04-agents": "frontdesk",
    "05-debugging": "till",
}
"""What each exports. The folder watcher is for dnworker alone: it keeps its state, and exports with its target."""
NOTEBOOKS = [PROJECT / "notebooks" / f"{stem}.ipynb" for stem in NAMES]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_tutorial_that_ran_passes_the_check_of_its_export_with_the_real_sdk(path, tmp_path):
    """The last cell of each exports; here it also checks, with the events that were fired above."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"%capability check out/{NAMES[path.stem]}"))
    NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    told = "\n".join(
        output.text if output.output_type == "stream" else str(output.get("data", {}).get("text/plain", ""))
        for output in notebook.cells[-1].outputs
    )
    assert "passed" in told, told
    assert "dreadnode 2.0.52 loads it" in told
    assert "fired: notebook and export do the same" in told
