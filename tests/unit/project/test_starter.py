"""The files of a new capability are the export of its notebook, and its workflow is safe to run."""

from __future__ import annotations

import json
import re

import nbformat
import pytest
import yaml

from dnworker.project.readme import README, block_in
from dnworker.project.record import RECORD
from dnworker.project.starter import CI_FILE, starter_files
from dnworker_jupyter.export.disk.write import write
from dnworker_jupyter.export.planning.plan import plan_export
from dnworker_jupyter.export.slicing.cells import read_notebook


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "my-cap"
    for name, data in starter_files("my-cap").items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def export_of(root, into):
    return plan_export(read_notebook(root / "my-cap.ipynb"), default_name="other", beside=root, into=into)


def test_they_are_the_export_of_the_notebook_byte_for_byte(root, tmp_path):
    exported = export_of(root, tmp_path / "elsewhere").files
    files = starter_files("my-cap")
    assert {name: files[name] for name in exported if name != README} == {
        name: data for name, data in exported.items() if name != README
    }
    assert block_in(files[README].decode()) == block_in(exported[README].decode())


def test_an_export_into_them_changes_nothing_not_even_its_record(root):
    before = (root / RECORD).read_bytes()
    assert write(export_of(root, root), root) == []
    assert (root / RECORD).read_bytes() == before


def test_the_notebook_is_a_valid_one(root):
    notebook = nbformat.read(root / "my-cap.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert json.loads((root / "my-cap.ipynb").read_text())["nbformat_minor"] == 5
    assert len({cell["id"] for cell in notebook.cells}) == len(notebook.cells)


def test_the_workflow_pins_actions_by_hash_and_has_no_rights_or_secrets(root):
    text = (root / CI_FILE).read_text()
    workflow = yaml.safe_load(text)
    used = [step["uses"] for step in workflow["jobs"]["test"]["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one) for one in used)
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["test"]["permissions"] == {"contents": "read"}
    assert "secrets." not in text
