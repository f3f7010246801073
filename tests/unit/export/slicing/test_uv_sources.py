"""Where uv gets what came from no index."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.asked import Asked
from dnworker_jupyter.export.slicing.requirements import requirement_of
from tests.unit.export.sites import in_place, install, project


@pytest.mark.parametrize(
    ("record", "source"),
    [
        (
            {
                "url": "https://example.com/a.git",
                "vcs_info": {"vcs": "git", "commit_id": "c0ffee"},
                "subdirectory": "lib",
            },
            '{ git = "https://example.com/a.git", rev = "c0ffee", subdirectory = "lib" }',
        ),
        (
            {"url": "https://example.com/a-1.0.0.zip", "archive_info": {}},
            '{ url = "https://example.com/a-1.0.0.zip" }',
        ),
        (
            {"url": "file:///x/my%20lib/a-1.0.0-py3-none-any.whl", "archive_info": {}},
            '{ path = "/x/my lib/a-1.0.0-py3-none-any.whl" }',
        ),
        (
            {"url": "https://me:secret@example.com/a.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            '{ git = "https://example.com/a.git", rev = "c0ffee" }',
        ),
        (
            {"url": "ssh://git@example.com/a.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            '{ git = "ssh://git@example.com/a.git", rev = "c0ffee" }',
        ),
        ({"url": "file:///x/my%20lib", "dir_info": {}}, '{ path = "/x/my lib" }'),
        ({"url": "file:///x/lib", "dir_info": {"editable": True}}, '{ path = "/x/lib", editable = true }'),
    ],
)
def test_a_source_is_what_the_installer_noted(tmp_path, monkeypatch, record, source):
    install(tmp_path, "own-tool", "own_tool.py", url=record)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    made = requirement_of("own-tool", Asked(extras={"own-tool": {"x"}}))
    assert (str(made), made.source) == ("own-tool[x]", f"own-tool = {source}")


def test_what_uv_cannot_fetch_is_required_by_its_version_and_that_is_said(tmp_path, monkeypatch):
    install(
        tmp_path, "own-tool", "own_tool.py", url={"url": "https://example.com/a", "vcs_info": {"vcs": "hg"}}
    )
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    asked = Asked()
    assert str(requirement_of("own-tool", asked)) == "own-tool>=1.0.0,<2"
    assert list(asked.notes) == [
        "own-tool was installed by hg from https://example.com/a, which uv cannot do: scripts require its version "
        "from an index"
    ]


@pytest.mark.parametrize("text", ["", "no json", "[]"])
def test_a_record_that_cannot_be_read_is_none(tmp_path, monkeypatch, text):
    install(tmp_path, "own-tool", "own_tool.py")
    (tmp_path / "own_tool-1.0.0.dist-info" / "direct_url.json").write_text(text)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert requirement_of("own-tool", Asked()).source is None


def test_a_project_in_place_without_a_record_is_its_directory(tmp_path, monkeypatch):
    root = project(tmp_path / "tool", "src/own_tool/__init__.py")
    install(tmp_path / "site", "own-tool", "own_tool.pth")
    (tmp_path / "site" / "own_tool.pth").write_text(f"{root / 'src'}\n")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site"), str(root / "src")])
    assert requirement_of("own-tool", Asked()).source == f'own-tool = {{ path = "{root}", editable = true }}'


def test_the_place_of_a_source_is_known_so_that_it_can_be_told(tmp_path, monkeypatch):
    root = project(tmp_path / "tool", "own_tool.py")
    install(tmp_path / "site", "own-tool", "_own.pth", url=in_place(root))
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")])
    assert requirement_of("own-tool", Asked()).place == root
