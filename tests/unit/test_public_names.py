"""`dnworker` has the public names, loads each when it is asked for, and says what was meant by others."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import dnworker


@pytest.mark.parametrize("name", dnworker.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(dnworker, name).__doc__


def test_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(AttributeError, match=r"no attribute 'Runtme'; did you mean 'Runtime'\?"):
        _ = dnworker.Runtme


def test_an_import_of_a_name_that_is_nearly_right_is_corrected():
    with pytest.raises(ImportError, match=r"cannot import name 'Wroker' .*did you mean 'Worker'\?"):
        from dnworker import Wroker  # noqa: F401


def test_a_module_of_old_is_not_corrected_to_something_else():
    with pytest.raises(ImportError, match="it has: Worker, "):
        from dnworker import journal  # noqa: F401


def test_a_name_like_no_other_gets_the_list_of_all():
    with pytest.raises(AttributeError, match="it has: Worker, EventEnvelope, "):
        _ = dnworker.zzz


def test_a_missing_name_is_no_error_for_those_who_ask_whether_it_is_there():
    assert not hasattr(dnworker, "Runtme")
    assert getattr(dnworker, "__path_that_is_not_there__", None) is None


def test_a_module_that_is_not_public_gets_pythons_own_error():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'dnworker\.journal'$"):
        import dnworker.journal  # noqa: F401


def test_dir_lists_the_public_names():
    assert set(dnworker.__all__) <= set(dir(dnworker))


def test_importing_dnworker_loads_nothing_else_of_it():
    code = "import sys, dnworker; print([m for m in sys.modules if m.startswith('dnworker.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_installed_package():
    assert dnworker.__version__ == importlib.metadata.version("dnworker")
