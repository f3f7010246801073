"""Locks of scripts that did not change stay."""

from __future__ import annotations

import asyncio
import json

from dnworker.cli.main import main
from dnworker.project.record import digest
from dnworker_jupyter.export.export import FileExport
from tests.unit.export.builders import handler


def test_a_lock_stays_while_its_script_is_as_it_was(tmp_path):
    notebook, lock = tmp_path / "n.ipynb", tmp_path / "demo" / "workers" / "bridge.py.lock"

    def export(body):
        cell = handler(body).strip()
        notebook.write_text(json.dumps({"cells": [{"cell_type": "code", "source": cell}]}))
        assert main(["export", str(notebook), "-o", str(tmp_path / "demo")]) == 0

    export("pass")
    record = tmp_path / "demo" / ".dnworker-export.json"
    lock.write_text("a lock")
    record.write_text(
        json.dumps({**json.loads(record.read_text()), "workers/bridge.py.lock": digest(b"a lock")})
    )
    export("pass")
    assert lock.read_text() == "a lock"
    export = FileExport(notebook, tmp_path / "demo", target="dreadnode", topology="uv")
    assert str(asyncio.run(export.diff())) == "nothing changed since the last export"
