"""The text of a script: its imports."""

from __future__ import annotations

import os
import subprocess
import sys

from dnworker import compat
from dnworker.workers.loading import load_worker
from dnworker.workers.subprocess_worker import CHILD_HOOK
from dnworker_jupyter.export.disk.write import write
from tests.unit.export.builders import handler, plan, script


def test_other_names_of_ours_are_imported_where_the_target_has_them():
    assert "from dnworker import WorkerState" in script(
        "from dnworker import WorkerState", handler("print(WorkerState)"), target="dnworker"
    )
    aliased = script("from dnworker import EventEnvelope as EE", handler("print(EE)"))
    assert "from dreadnode.capabilities.worker import EventEnvelope as EE" in aliased


LOCAL = "import my_own as own, json\nfrom my_own import VALUE"


def test_a_local_module_is_imported_in_both_topologies(tmp_path):
    (tmp_path / "my_own.py").write_text("VALUE = 41\n")
    made = plan(LOCAL, handler("print(json, own.VALUE + VALUE)"), topology="in-process", beside=tmp_path)
    write(made, tmp_path / "demo")
    file = tmp_path / "demo" / "workers" / "bridge.py"
    assert "my_own" not in sys.modules
    compat.install()
    worker = load_worker(tmp_path / "demo", "local", "bridge", file)
    assert worker._event_handlers["a"][0].__globals__["VALUE"] == 41
    code = f"import runpy; print(runpy.run_path({str(file)!r})['own'].VALUE)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[0] = {str(file.parent)!r}; {code}"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(CHILD_HOOK)},
    )  # fmt: skip
    assert run.stdout == "41\n"


def test_an_import_that_two_cells_share_is_written_once():
    cells = [
        "%%worker a --shared\nfrom json import dumps, loads",
        "%%worker b --shared\nfrom json import dumps",
    ]
    workers = [f"%%worker {n}\n@worker.task\nasync def t(client):\n    dumps(1)" for n in "ab"]
    assert plan(*cells, *workers).files["workers/a.py"].decode().count("import dumps") == 1
