"""An imported capability is a notebook that runs at once, and its export is the capability again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnworker.project.record import RECORD
from dnworker_jupyter.importer.importer import import_capability
from dnworker_jupyter.importer.notebook_file import write_notebook

from ..listings import write_listing

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(180)]

PROJECT = Path(__file__).parents[2]
DATA = PROJECT / "tests" / "data" / "capabilities"
TUTORIALS = sorted((PROJECT / "notebooks").glob("0[1-5]*.ipynb"))
"""The sixth writes the directory of its capability itself, and runs its export as a service."""

LISTINGS = {
    "agents-nested": "%fire nested.requested n=1",
    "agents-off": "%fire off.requested n=1",
    "skills-listed": "%fire skills.requested n=1",
    "everything": "%fire everything.requested n=1",
}
"""Those with workers, and an event that one of them answers."""


def notebook_of(root: Path, home: Path) -> Path:
    """Import a capability into a directory; returns the notebook."""
    notebook = home / f"{root.name}.ipynb"
    write_notebook(import_capability(root, home), notebook)
    return notebook


def run(kernel, notebook: Path) -> None:
    """Run the cells of a notebook that lies in the kernel's directory, as *Run All* does; nothing is installed."""
    kernel.run("get_ipython().register_magic_function(lambda line: None, magic_name='pip')")
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith("%load_ext"):
            answer = kernel.run(source, cell["id"])
            assert answer.status == "ok", f"{source}\n{answer.text}"


def files(root: Path) -> dict[str, bytes]:
    found = (p for p in root.rglob("*") if p.is_file() and p.name != RECORD)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found}


def export(notebook: Path, out: Path, *options: str) -> dict[str, bytes]:
    """Export a notebook from its file; returns the files."""
    words = [sys.executable, "-m", "dnworker", "export", str(notebook), "-o", str(out), *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return files(out)


def comes_back(kernel, root: Path, tmp_path: Path) -> dict[str, bytes]:
    """Import, run and export a capability; the way back from that is byte for byte. Returns the first export."""
    notebook = notebook_of(root, tmp_path)
    run(kernel, notebook)
    answer = kernel.run(f"%capability export {tmp_path / 'live' / root.name}")
    assert answer.status == "ok", answer.text
    first = files(tmp_path / "live" / root.name)
    assert export(notebook, tmp_path / "file" / root.name) == first
    again = notebook_of(tmp_path / "live" / root.name, tmp_path / "again")
    assert export(again, tmp_path / "second" / root.name) == first
    return first


@pytest.mark.parametrize("name", sorted(LISTINGS))
def test_a_listed_capability_runs_live_at_once_and_comes_back_byte_for_byte(kernel, tmp_path, name):
    root = write_listing(name, tmp_path / "there")
    if name == "skills-listed":
        (root / "know-how" / "gone").mkdir()  # which a check reports as missing
    comes_back(kernel, root, tmp_path)
    fired = kernel.run(LISTINGS[name])
    assert fired.status == "ok", fired.text
    assert "requested.done" in fired.text
    answer = kernel.run(f"%capability check {root} --target dnworker")
    assert answer.status == "ok", answer.text
    assert "1 event fired: notebook and export do the same" in answer.text


@pytest.mark.parametrize("name", ["coordinator", "scheduler", "watcher"])
def test_a_capability_with_helpers_comes_back_byte_for_byte(kernel, tmp_path, name):
    shutil.copytree(DATA / name, tmp_path / "there" / name)
    first = comes_back(kernel, tmp_path / "there" / name, tmp_path)
    assert first.keys() >= {"capability.yaml"}


def test_variables_of_the_manifest_are_there_when_cells_run(kernel, tmp_path):
    shutil.copytree(DATA / "ws-bridge", tmp_path / "ws-bridge")
    notebook = notebook_of(tmp_path / "ws-bridge", tmp_path / "nb")
    cells = json.loads(notebook.read_text())["cells"]
    shared = next("".join(c["source"]) for c in cells if c["id"] == "bridge-shared")
    assert kernel.run(shared).status == "ok"
    assert kernel.run("URL").result["text/plain"] == "'ws://127.0.0.1:9/never'"


def test_agents_and_flags_of_the_capabilitys_directory_are_there_at_once(kernel, tmp_path):
    run(kernel, notebook_of(write_listing("agents-nested", tmp_path / "there"), tmp_path))
    made = kernel.run(
        "session = await dn.runtime().client().create_session(\n"
        "    session_id='s', capability='agents-nested', agent='pipeline-report')\n"
        "session.agent"
    )
    assert made.status == "ok", made.text
    assert made.result["text/plain"] == "'pipeline-report'"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_export_of_a_tutorial_comes_back_byte_for_byte(kernel, tmp_path, path):
    first = export(path, tmp_path / "there" / path.stem)
    assert comes_back(kernel, tmp_path / "there" / path.stem, tmp_path) == first


def test_what_one_cell_of_a_worker_does_not_say_its_other_cells_say(kernel, tmp_path):
    head = "%%capability\nname: demo\nversion: 1.0.0\ndescription: d\nflags: {beta: {description: b}}"
    handler = "@worker.on_event('{0}')\nasync def on_{0}(event, client):\n    pass"
    cells = [
        head,
        f"%%worker w --when beta --env TEST_LEVEL=debug\n{handler.format('a')}",
        f"%%worker w\n{handler.format('b')}",
    ]
    for number, cell in enumerate(cells):
        assert kernel.run(cell, f"c{number}").status == "ok"
    assert kernel.run("str(dn.runtime().worker('w').state)").result["text/plain"] == "'gated_off'"
    assert kernel.run("import os; os.environ['TEST_LEVEL']").result["text/plain"] == "'debug'"
    assert kernel.run("%capability export out/demo").status == "ok"
    text = (tmp_path / "out" / "demo" / "capability.yaml").read_text()
    assert "when: [beta]" in text
    assert "TEST_LEVEL: debug" in text
    kernel.run(cells[1].replace(" --when beta --env TEST_LEVEL=debug", ""), "c1")
    assert kernel.run("str(dn.runtime().worker('w').state)").result["text/plain"] == "'running'"
