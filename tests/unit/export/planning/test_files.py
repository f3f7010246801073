"""Two files never have one path."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.planning.files import Files
from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan


def test_a_worker_is_not_written_over_a_module_beside_the_notebook(tmp_path):
    (tmp_path / "helper.py").write_text("def f(): return 1\n")
    cell = handler("helper.f()").replace("%%worker bridge", "%%worker bridge --file workers/helper.py")
    with pytest.raises(
        NotExportable, match="workers/helper.py: a module beside the notebook would be written over"
    ):
        plan("import helper", cell, beside=tmp_path)


def test_two_owners_of_one_path_are_a_problem_unless_they_have_the_same_file():
    files = Files()
    files.put("a.py", b"1", "the first")
    files.put("a.py", b"1", "the first")
    assert files.collisions == []
    files.put("a.py", b"2", "the second")
    assert [str(p) for p in files.collisions] == [
        "a.py: the second would be written over the first; give the worker a --file of its own, or another name"
    ]


def test_a_file_where_a_directory_must_be_is_a_problem():
    files = Files()
    files.put("workers/a.py", b"", "the script")
    files.put("workers", b"", "a program")
    assert "cannot be there beside workers/a.py, which is the script" in files.collisions[0].why


def test_text_that_is_not_python_is_not_written_as_python():
    with pytest.raises(SyntaxError):
        Files().put_python("a.py", "def f(:", "the script")
