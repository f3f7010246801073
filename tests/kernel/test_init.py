"""The notebook of a new capability runs in its directory, and its export changes nothing there."""

from __future__ import annotations

import nbformat
import pytest

from dnworker.cli.main import main
from tests.kernel.session import KernelSession

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def test_its_cells_run_from_top_to_bottom_and_export_what_is_there(tmp_path, monkeypatch):
    root = tmp_path / "demo"
    monkeypatch.chdir(tmp_path)
    assert main(["init", "demo"]) == 0
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    monkeypatch.chdir(root)
    said = []
    kernel = KernelSession()
    try:
        for cell in nbformat.read(root / "demo.ipynb", as_version=4).cells:
            if cell.cell_type == "code":
                reply = kernel.run(cell.source)
                assert reply.status == "ok", (cell.source, reply.text)
                said.append(reply.text)
    finally:
        kernel.close()
    assert "greeter is running" in said[2]
    assert "greeting.made" in said[3]
    assert "greeter passes" in said[4]
    assert "(nothing changed)" in said[5]
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
