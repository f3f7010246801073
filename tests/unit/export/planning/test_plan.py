"""Plans of whole notebooks: the golden pairs, and which files an export has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from dnworker.capability.manifest import load_manifest
from dnworker.core.errors import UsageError
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.cells import read_notebook
from tests import golden
from tests.unit.export.builders import handler, plan, problems


@pytest.mark.parametrize("name", golden.names())
def test_a_notebook_becomes_the_tree_beside_it_or_is_refused_for_these_reasons(name):
    assert golden.made(name) == golden.expected(name)


@pytest.mark.parametrize("name", golden.names())
def test_what_is_kept_of_a_plan_changes_nothing_of_the_next(name):
    golden.made(name)
    assert golden.made(name) == golden.expected(name)


def test_a_cell_whose_lines_are_indented_wrongly_is_refused_where_it_is_of_a_worker():
    wrong = "if 1:\n    a\n  b"
    assert plan(wrong, handler("pass")).scripts == plan(handler("pass")).scripts
    [problem] = problems(f"%%worker bridge\n{wrong}")
    assert problem.startswith("cell [1], line 4")
    assert "is no Python: unindent does not match any outer indentation level" in problem


def test_the_same_cells_give_the_same_bytes():
    cells = ("X = {'b', 'a'}", handler("print(X)"))
    assert plan(*cells, target="dnworker").files == plan(*cells, target="dnworker").files


def test_several_workers_become_several_scripts():
    other = handler("pass").replace("bridge", "other")
    assert [n for n in plan(handler("pass"), other).files if n.endswith(".py")] == [
        "workers/bridge.py",
        "workers/other.py",
    ]


def test_a_cell_may_say_how_and_where_its_worker_goes():
    cells = [
        "def twice(x):\n    return 2 * x",
        "%%worker a --topology in-process --file workers/first.py\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker b --topology python\n@worker.task\nasync def t(c):\n    twice(1)",
        "%%worker c\n@worker.task\nasync def t(c):\n    twice(1)",
    ]
    made = plan(*cells)
    manifest = yaml.safe_load(made.files["capability.yaml"])
    assert manifest["workers"] == {
        "a": {"path": "workers/first.py"},
        "b": {"command": "python", "args": ["${CAPABILITY_ROOT}/workers/b.py"]},
        "c": {"command": "uv", "args": ["run", "${CAPABILITY_ROOT}/workers/c.py"]},
    }
    assert "workers/demo_shared.py" in made.files


def test_the_tutorial_exports_without_a_kernel(tmp_path):
    tutorial = Path(__file__).parents[4] / "notebooks" / "01-quickstart.ipynb"
    copy = shutil.copy(tutorial, tmp_path)
    made = plan_export(read_notebook(Path(copy)), default_name="demo")
    write(made, tmp_path / "out")
    assert made.name == "quickstart"
    assert load_manifest(tmp_path / "out").workers["bridge"].command == "uv"


def test_a_notebook_of_programs_alone_is_exported():
    assert "workers/c" in plan("%%worker c --command sh\necho hi").files


def test_a_program_whose_file_leads_out_of_the_capability_is_refused():
    with pytest.raises(UsageError, match="inside of the capability"):
        plan("%%worker c --command sh --file ../c.sh\necho hi")


def test_a_worker_with_retries_is_exported_without_them_and_told_so():
    cell = handler("pass").replace("%%worker bridge", "%%worker bridge --retry 5 --retry demo.b=2,on=OSError")
    planned = plan(cell)
    assert planned.files["capability.yaml"] == plan(handler("pass")).files["capability.yaml"]
    (note,) = planned.notes
    assert note.startswith("bridge is exported without its --retry")
    assert note.endswith("dnworker serve --retry demo:bridge=5 --retry demo:bridge/demo.b=2,on=OSError")


def test_a_kind_that_a_shell_would_expand_is_quoted_in_the_command_to_copy():
    cell = handler("pass").replace("%%worker bridge", "%%worker bridge --retry 'demo.*=2'")
    (note,) = plan(cell).notes
    assert note.endswith("dnworker serve --retry 'demo:bridge/demo.*=2'")
