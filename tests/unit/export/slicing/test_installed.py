"""Which distribution a module is of: read once, and again after an installation."""

from __future__ import annotations

from dnworker_jupyter.export.slicing.installed import distributions_by_module


def test_a_distribution_that_is_installed_meanwhile_is_seen(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    assert "just_installed" not in distributions_by_module()
    info = tmp_path / "just_installed-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: just-installed\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("just_installed\n")
    assert distributions_by_module()["just_installed"] == ["just-installed"]


def test_metadata_is_not_read_again_while_nothing_was_installed():
    assert distributions_by_module() is distributions_by_module()
