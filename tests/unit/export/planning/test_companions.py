"""Agents, skills and other components beside a `%%capability` cell are in the export."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.planning import companions
from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan

HEAD = "name: demo\nversion: 0.1.0\ndescription: d\n"


def fill(directory):
    for path in ("agents/deep/triage.md", "skills/look/SKILL.md", "tools/own.py", ".mcp.json", "other/x.md"):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text("{}")


@pytest.mark.parametrize(
    "line", ["%%capability", "%%capability --dir desk", "# ours\n%%capability --dir=desk"]
)
def test_components_beside_the_cell_or_in_its_directory_are_exported(tmp_path, line):
    fill(tmp_path / "desk" if "desk" in line else tmp_path)
    files = plan(f"{line}\n{HEAD}", handler("pass"), beside=tmp_path).files
    assert {"agents/deep/triage.md", "skills/look/SKILL.md", "tools/own.py", ".mcp.json"} < files.keys()
    assert "other/x.md" not in files


def test_without_a_head_or_into_their_own_directory_nothing_is_copied(tmp_path):
    fill(tmp_path)
    assert "agents/deep/triage.md" not in plan(handler("pass"), beside=tmp_path).files
    head = f"%%capability\n{HEAD}"
    assert "agents/deep/triage.md" not in plan(head, handler("pass"), beside=tmp_path, into=tmp_path).files


def test_what_the_head_lists_is_exported_and_an_empty_list_turns_a_kind_off(tmp_path):
    fill(tmp_path)
    head = f"%%capability\n{HEAD}agents: [other/x.md]\nskills: []\n"
    files = plan(head, handler("pass"), beside=tmp_path).files
    assert "other/x.md" in files
    assert "skills/look/SKILL.md" not in files


def test_too_many_of_them_are_refused(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr(companions, "MOST_FILES", 2)
    with pytest.raises(NotExportable, match=r"has 4 files of 0 MB in agents/.*keep at most 2 files"):
        plan(f"%%capability\n{HEAD}", handler("pass"), beside=tmp_path)


@pytest.mark.parametrize("into", [None, "desk"])
def test_a_directory_that_only_a_cell_creates_is_refused_with_the_cell_and_the_way_out(tmp_path, into):
    target = None if into is None else tmp_path / into
    with pytest.raises(
        NotExportable, match=r"cell \[1\]: --dir desk: there is no such directory; .*--execute"
    ):
        plan(f"%%capability --dir desk\n{HEAD}", handler("pass"), beside=tmp_path, into=target)


@pytest.mark.parametrize("line", ["%%capability", "%%capability --dir desk"])
def test_a_part_that_the_head_lists_and_that_is_not_there_is_warned_of(tmp_path, line):
    (tmp_path / "desk").mkdir()
    cells = f"{line}\n{HEAD}skills: [other/look]\n", handler("pass")
    (warning,) = plan(*cells, beside=tmp_path, into=tmp_path / "out").warnings
    assert str(warning).startswith("cell [1]: other/look: the head lists it in skills, and ")
    assert "so the export lacks it; create it, or export with --execute" in str(warning)
    (tmp_path / "out" / "other" / "look").mkdir(parents=True)
    warnings = plan(*cells, beside=tmp_path, into=tmp_path / "out").warnings
    assert "other/look" not in [one.name for one in warnings]


def test_a_named_directory_without_parts_is_warned_of_as_a_cell_may_fill_it(tmp_path):
    (tmp_path / "desk").mkdir()
    cells = f"%%capability --dir desk\n{HEAD}", handler("pass")
    (warning,) = plan(*cells, beside=tmp_path).warnings
    assert str(warning).startswith("cell [1]: --dir desk: there are no agents, skills or the like in")
    assert "export with --execute" in str(warning)
    fill(tmp_path / "desk")
    assert not plan(*cells, beside=tmp_path).warnings
