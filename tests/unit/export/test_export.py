"""The exporter's door on a notebook file, as the command line uses it."""

from __future__ import annotations

import json

from dnworker.cli.main import main


def test_what_an_export_removes_and_does_otherwise_is_told(tmp_path, capsys):
    notebook = tmp_path / "n.ipynb"

    def export(*cells):
        notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": c} for c in cells]}))
        assert main(["export", str(notebook), "-o", str(tmp_path / "demo")]) == 0
        return capsys.readouterr().out

    worker = "%%worker a --topology in-process\n@worker.on_event('k')\nasync def t(event, client):\n    pass"
    assert "a runs as its cell says: in-process, not uv" in export(worker, "%%worker a --test\nevent: k")
    assert "removed: tests/test_a.py" in export(worker)
