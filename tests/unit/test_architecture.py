"""The arrows of the design point one way, and the public names are the documented ones."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import dnworker

PROJECT = Path(__file__).parents[2]
PURE = sorted(f.stem for f in (PROJECT / "dnworker" / "core").glob("*.py"))
NOTEBOOK_ONLY = {
    "IPython",
    "ipykernel",
    "ipywidgets",
    "anywidget",
    "traitlets",
    "jupyter_client",
    "dnworker_jupyter",
}
BASE = {"httpx", "msgspec", "websockets", "croniter"}


def imports_of(file: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the modules a file imports, outside `if TYPE_CHECKING`."""
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in nodes:
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


FRAMEWORK = sorted((PROJECT / "dnworker").rglob("*.py"))


@pytest.mark.parametrize("file", FRAMEWORK, ids=lambda f: str(f.relative_to(PROJECT)))
def test_the_framework_never_imports_the_notebook(file):
    if file.name == "__init__.py" and file.parent.name == "dnworker":
        return  # its load_ipython_extension is the door, and imports by name when called
    assert not {name.partition(".")[0] for name in imports_of(file)} & NOTEBOOK_ONLY


@pytest.mark.parametrize("name", PURE)
def test_core_imports_only_core(name):
    ours = {i for i in imports_of(PROJECT / "dnworker" / "core" / f"{name}.py") if i.startswith("dnworker")}
    assert {i.rpartition(".")[0] for i in ours} <= {"dnworker.core"}


def test_what_a_worker_script_needs_is_the_base_install():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert {d.partition(">")[0] for d in project["dependencies"]} == BASE


def test_the_public_names_stand_in_the_reference():
    text = (PROJECT / "docs" / "reference.md").read_text()
    assert [name for name in dnworker.__all__ if name not in text] == []
    assert set(dnworker.__all__) == set(dnworker._HOMES)
