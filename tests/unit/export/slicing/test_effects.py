"""Whom an effect on the process concerns."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.changes import Strength
from dnworker_jupyter.export.slicing.effects import Scope, concerns, effects_of, modules_of, scope_of

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
