"""What a script needs from elsewhere: local modules go along where they can be imported."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan


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
