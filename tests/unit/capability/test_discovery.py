"""Where capabilities are looked for, and in which order."""

from __future__ import annotations

import pytest

from dnworker.capability.discovery import capability_roots, project_root, search_path

from ..capabilities import make_named


@pytest.mark.clause("4.6 order")
def test_directories_are_searched_in_the_contracts_order(tmp_path, home):
    project, given, named = tmp_path / "project", tmp_path / "given", tmp_path / "named"
    (project / ".git").mkdir(parents=True)
    (project / "deep" / "er").mkdir(parents=True)
    own = [project / ".dreadnode/capabilities", home / ".dreadnode/capabilities"]
    for directory in [*own, given, named]:
        directory.mkdir(parents=True)
    environ = {"HOME": str(home), "DREADNODE_CAPABILITY_DIRS": f"{named}:{tmp_path / 'missing'}:"}
    assert search_path([given], cwd=project / "deep" / "er", environ=environ) == [*own, given, named]


def test_the_project_is_named_or_has_git_or_is_here(tmp_path):
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "b").mkdir()
    assert project_root(tmp_path / "a" / "b", {}) == tmp_path / "a"
    assert project_root(tmp_path / "a", {"DREADNODE_PROJECT_ROOT": "b"}) == tmp_path / "a" / "b"
    assert project_root(tmp_path, {}) == tmp_path


@pytest.mark.clause("4.6 directory")
def test_a_directorys_capabilities_come_sorted_and_others_are_skipped(tmp_path):
    for name in ("b", "a"):
        make_named(tmp_path / "caps" / name, name)
    (tmp_path / "caps" / "notes").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "caps")
    assert [root.name for root in capability_roots([tmp_path / "linked"])] == ["a", "b"]
