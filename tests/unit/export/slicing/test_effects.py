"""Whom an effect on the process concerns."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.changes import Strength
from dnworker_jupyter.export.slicing.effects import Scope, concerns, effects_of, modules_of, scope_of
from tests.unit.export.builders import handler, problems, script

from .histories import statements


@pytest.mark.parametrize(
    ("effect", "strength", "scope"),
    [
        ("os.environ", Strength.SURE, Scope.PROCESS),
        ("sys.setrecursionlimit", Strength.LIKELY, Scope.PROCESS),
        ("random.seed", Strength.LIKELY, Scope.MODULE),
        ("json.dumps", Strength.SURE, Scope.MODULE),
        ("logging.info", Strength.LIKELY, Scope.NOBODY),
        ("logging.info", Strength.SURE, Scope.MODULE),
        ("sys.excepthook", Strength.SURE, Scope.NOBODY),
        ("frob.register", Strength.LIKELY, Scope.MODULE),
    ],
)
def test_an_effect_concerns_every_script_those_that_import_the_module_or_none(effect, strength, scope):
    assert scope_of(effect, strength) is scope


def test_a_script_is_concerned_by_modules_that_it_imports_or_gives_something():
    def is_concerned(effect, modules=(), *, names_ours=False):
        return concerns(effect, Strength.SURE, modules, names_ours=names_ours)

    assert is_concerned("os.environ")
    assert not is_concerned("json.dumps")
    assert is_concerned("json.dumps", {"json"})
    assert is_concerned("copyreg.pickle", names_ours=True)
    assert not is_concerned("os.chdir", {"json"})
    assert is_concerned("os.chdir", {"pathlib"})


def test_a_script_that_calls_open_names_files():
    assert modules_of(statements("import a.b\ndef f(): open('x')")) == {"a", "io"}


def test_effects_are_the_changes_of_modules():
    assert effects_of({"a": Strength.SURE, "module os.environ": Strength.SURE}) == {
        "os.environ": Strength.SURE
    }


@pytest.mark.parametrize(
    "cell",
    [
        "import os, textwrap\nt = textwrap\nt.dedent = str",
        "import os, textwrap\nt = textwrap\nsetattr(t, 'dedent', str)",
        "import os, textwrap\nfor t in (os, textwrap):\n    t.extra = t.__name__",
        "import os, textwrap\nenv = os.environ\nenv['A'] = '1'",
        "import os, textwrap\nold = env = os.environ\nold.update(A='1')",
        "import os, textwrap\nenv = os.environ\ndef set_up():\n    env['A'] = '1'\nset_up()",
    ],
)
def test_a_change_of_a_module_under_another_name_is_exported(cell):
    assert cell.rpartition("\n")[2] in script(cell, handler("print(os, textwrap)"))


def test_what_only_looks_at_a_module_under_another_name_is_not_exported():
    cell = "import os\nenv = os.environ\nnames = sorted(env)\ndef show(e): return len(e)\nshow(env)"
    assert "env" not in script(cell, handler("print(os.sep)"))


def test_what_draws_under_another_name_varies_and_what_mock_starts_is_refused():
    (problem,) = problems("import random\nr = random\nx = r.random()", handler("print(x)"))
    assert "is different each time it runs: `r.random()`" in problem
    (problem,) = problems(
        "from unittest import mock\nimport json\np = mock.patch('json.dumps')\np.start()",
        handler("print(json)"),
    )
    assert problem.startswith("cell [1], line 4, column 1: `p.start()`: changes the process")
