"""Agents, skills and other components beside a `%%capability` cell, and which directory that is."""

from __future__ import annotations

import pytest

from tests.unit.export.builders import handler, plan

HEAD = "name: bridge\nversion: 0.1.0\ndescription: d"


@pytest.fixture
def beside(tmp_path):
    for root in (tmp_path, tmp_path / "parts"):
        (root / "agents" / "deep").mkdir(parents=True)
        (root / "agents" / "deep" / "triage.md").write_text(f"---\nname: triage\n---\nOf {root.name}.\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "root"),
    [
        ("%%capability", "."),
        ("%%capability --dir parts", "parts"),
        ("%%capability --dir=parts", "parts"),
        ("%%capability --dir 'parts'", "parts"),
    ],
)
def test_agents_beside_the_head_are_exported_from_the_directory_that_its_line_names(beside, line, root):
    files = plan(f"{line}\n{HEAD}", handler("pass"), beside=beside).files
    assert files["agents/deep/triage.md"] == (beside / root / "agents/deep/triage.md").read_bytes()


def test_a_head_with_nothing_beside_it_is_exported_alone(tmp_path):
    files = plan(f"%%capability\n{HEAD}", handler("pass"), beside=tmp_path).files
    assert sorted(files) == ["capability.yaml", "workers/bridge.py"]


def test_what_lies_in_the_directory_of_the_export_is_not_copied(beside):
    made = plan(f"%%capability --dir parts\n{HEAD}", handler("pass"), beside=beside, into=beside / "parts")
    assert "agents/deep/triage.md" not in made.files
