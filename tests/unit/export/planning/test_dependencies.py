"""What a script needs from elsewhere: local modules go along where they can be imported."""

from __future__ import annotations

from textwrap import dedent

import pytest

from dnworker_jupyter.export.planning.dependencies import find_dependencies
from dnworker_jupyter.export.slicing.asked import read_asked
from dnworker_jupyter.export.slicing.cells import read_cells
from dnworker_jupyter.export.slicing.notebook import Notebook
from dnworker_jupyter.export.slicing.plain_python import unfold
from dnworker_jupyter.export.slicing.problems import NotExportable
from dnworker_jupyter.export.slicing.slice import slice_worker, worker_names
from dnworker_jupyter.export.slicing.statements import Statements
from dnworker_jupyter.syntax.cell import Cell
from tests.unit.export.builders import handler, plan
from tests.unit.export.sites import install


def test_a_local_module_is_exported_as_a_sibling_with_what_it_imports(tmp_path, monkeypatch):
    (tmp_path / "my_helpers.py").write_text("import yaml\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    files = plan("import my_helpers", handler("print(my_helpers.VALUE)")).files
    assert files["workers/my_helpers.py"] == b"import yaml\nVALUE = 1\n"
    assert b"pyyaml>=" in files["workers/bridge.py"]


@pytest.mark.parametrize(
    ("files", "cell", "body"),
    [
        ({"my_own.py": "import my_second\n", "my_second.py": "X = 1\n"}, "import my_own", "my_own"),
        ({"my_own.py": "X = 1\n"}, "", "import my_own"),
        ({"my_own/__init__.py": "", "my_own/part.py": "X = 1\n"}, "import my_own.part", "my_own"),
    ],
    ids=["imports another", "in a handler", "a part of a package"],
)
def test_a_local_module_that_an_in_process_worker_could_not_import_is_refused(files, cell, body, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(NotExportable, match="--topology uv"):
        plan(cell, handler(body), topology="in-process", beside=tmp_path)
    assert plan(cell, handler(body), beside=tmp_path).files


def test_a_module_beside_the_notebook_that_is_no_python_is_named_with_its_line(tmp_path):
    (tmp_path / "own.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(
        NotExportable, match=r"module 'own': is a file of yours, and no Python: .*own.py, line 2"
    ):
        plan("import own", handler("own"), beside=tmp_path)


def dependencies(*cells, beside=None):
    sources = unfold(
        read_cells([Cell(number, dedent(text).strip("\n")) for number, text in enumerate(cells, 1)])
    )
    slices = [slice_worker(Notebook(Statements(sources)), name) for name in worker_names(sources)]
    topologies = {piece.worker: "uv" for piece in slices}
    asked = read_asked([cell.cell for cell in sources], beside=beside)
    return find_dependencies(slices, topologies, "dreadnode", sources, asked, beside)


def test_headers_of_all_scripts_have_what_was_asked_for_and_nothing_imports(tmp_path, monkeypatch):
    install(tmp_path / "site", "frames", "frames/__init__.py")
    install(tmp_path / "site", "drawing", "drawing/__init__.py")
    install(tmp_path / "site", "sheet-driver", "sheet_driver/__init__.py")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    found = dependencies(
        "%pip install frames drawing sheet-driver gone",
        "import frames\nimport drawing",
        handler("print(frames)"),
        handler("pass").replace("bridge", "other"),
    )
    assert [sorted(one.requirements) for one in found.needs] == [["frames", "sheet-driver"], []]
    assert found.notes == ["cell [1] installs gone, which is not installed now; no script requires it"]
    assert found.problems == []


def test_only_the_names_that_a_script_uses_of_an_import_are_required(tmp_path, monkeypatch):
    install(tmp_path / "site", "acme-storage", "acme/storage.py")
    install(tmp_path / "site", "acme-queue", "acme/queue.py")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    cell = "from acme import storage, queue as q, tables as t"
    found = dependencies(cell, handler("storage"), handler("q").replace("bridge", "other"))
    assert [sorted(one.requirements) for one in found.needs] == [["acme-storage"], ["acme-queue"]]
    (problem,) = dependencies(cell, handler("t")).problems
    assert str(problem) == (
        "cell [1], line 1: module 'acme.tables': is not installed here, so its distribution is unknown; install it"
    )
