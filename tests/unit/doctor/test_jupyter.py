"""The doctor on JupyterLab, the front ends of widgets and kernels."""

from __future__ import annotations

import json
import sys

import pytest

from dnworker.doctor import jupyter

VERSIONS = {"jupyterlab": "4.4.0", "ipywidgets": "8.1.5", "anywidget": "0.9.18"}


def place(directory, manager="5.0.15", widget="0.9.18"):
    for name, version in {"@jupyter-widgets/jupyterlab-manager": manager, "anywidget": widget}.items():
        if version:
            at = directory / "labextensions" / name
            at.mkdir(parents=True)
            (at / "package.json").write_text(json.dumps({"version": version}))
    return [directory / "empty", directory]


def marks(places, versions=VERSIONS):
    return [one.mark for one in jupyter.front_ends(places, versions.get)]


def test_front_ends_of_the_same_versions_are_well(tmp_path):
    assert marks(place(tmp_path)) == ["ok", "ok", "ok"]


def test_without_jupyterlab_nothing_is_missing(tmp_path):
    assert marks([], {}) == ["ok"]


@pytest.mark.parametrize(
    ("manager", "widget", "expected"),
    [
        ("3.1.0", "0.9.18", ["ok", "problem", "ok"]),
        ("5.0.15", "0.8.0", ["ok", "ok", "problem"]),
        ("", "", ["ok", "problem", "problem"]),
    ],
)
def test_a_front_end_that_is_missing_or_of_another_version_is_a_problem(tmp_path, manager, widget, expected):
    assert marks(place(tmp_path, manager, widget)) == expected


def test_a_broken_file_of_a_front_end_is_as_one_that_is_missing(tmp_path):
    places = place(tmp_path)
    (tmp_path / "labextensions" / "anywidget" / "package.json").write_text("{")
    assert marks(places) == ["ok", "ok", "problem"]


def kernel(directory, argv, name="python3"):
    at = directory / "kernels" / name
    at.mkdir(parents=True, exist_ok=True)
    (at / "kernel.json").write_text(json.dumps({"argv": argv}))
    return [directory]


def other_python(directory):
    """Make a program in the place of the Python of another environment, which has no dnworker."""
    file = directory / "bin" / "python"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\necho 'No package metadata was found for dnworker' >&2\nexit 1\n")
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize("program", ["python", sys.executable])
def test_a_kernel_that_runs_this_python_is_well(tmp_path, program):
    (one,) = jupyter.kernels(kernel(tmp_path, [program, "-m", "ipykernel_launcher"]))
    assert (one.mark, one.text) == ("ok", "python3 runs this Python")


def test_a_kernel_of_another_python_is_a_warning_and_of_none_a_problem(tmp_path):
    (one,) = jupyter.kernels(kernel(tmp_path, [other_python(tmp_path)]))
    assert (one.mark, "not this Python" in one.text) == ("warning", True)
    (one,) = jupyter.kernels(kernel(tmp_path, ["/no/python"]))
    assert (one.mark, "which is not there" in one.text) == ("problem", True)
    (one,) = jupyter.kernels(kernel(tmp_path, []))
    assert one.mark == "problem"


def test_no_kernel_is_a_warning_where_one_could_be(tmp_path):
    (one,) = jupyter.kernels([tmp_path])
    assert (one.mark, one.text) == ("warning", "no kernel is called python3")


def book(directory, text='{"metadata": {"kernelspec": {"name": "mine"}}}'):
    file = directory / "book.ipynb"
    file.write_text(text)
    return file


def test_a_notebook_whose_kernel_has_dnworker_is_well(tmp_path):
    (one,) = jupyter.notebook(book(tmp_path), kernel(tmp_path, [sys.executable], "mine"))
    assert (one.mark, one.text.partition(" has ")[0]) == ("ok", "its kernel 'mine'")


def test_a_notebook_whose_kernel_lacks_dnworker_is_a_problem(tmp_path):
    program = other_python(tmp_path)
    (one,) = jupyter.notebook(book(tmp_path), kernel(tmp_path, [program], "mine"))
    assert (one.mark, one.remedy) == ("problem", f"{program} -m pip install 'dnworker[jupyter]'")
    assert one.text.endswith("No package metadata was found for dnworker")


def test_a_notebook_whose_kernel_is_not_here_is_a_problem(tmp_path):
    (one,) = jupyter.notebook(book(tmp_path), [tmp_path])
    assert (one.mark, one.text.endswith("wants the kernel 'mine', which is not here")) == ("problem", True)


@pytest.mark.parametrize(("text", "mark"), [("{", "problem"), ("[]", "problem"), ("{}", "warning")])
def test_a_file_that_is_no_notebook_is_a_problem_and_one_without_kernel_a_warning(tmp_path, text, mark):
    assert [one.mark for one in jupyter.notebook(book(tmp_path, text), [tmp_path])] == [mark]


def test_a_notebook_that_is_not_there_is_a_problem(tmp_path):
    (one,) = jupyter.notebook(tmp_path / "no.ipynb", [tmp_path])
    assert one.text.endswith("cannot be read as a notebook: No such file or directory")
