"""Which distribution a module is of: read once, and again after an installation."""

from __future__ import annotations

import sys

import pytest

from dnworker_jupyter.export.slicing.installed import (
    below,
    distributions_by_module,
    editable_projects,
    owners_of,
)
from tests.unit.export.sites import in_place, install, project


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


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory of packages, two of which share the namespace `acme`, and a third `acme.cloud` with one of them."""
    site = tmp_path / "site"
    install(site, "acme-storage", "acme/cloud/storage/__init__.py", "acme/cloud/storage/blob.py")
    install(site, "acme-queue", "acme/cloud/queue.py")
    install(site, "acme-buffers", "acme/buffers/__init__.py", "acme/_native.cpython-311-x86_64-linux-gnu.so")
    install(site, "lonely-part", "lonely/part.py")
    monkeypatch.setattr(
        "sys.path", [str(site)]
    )  # reading the metadata of all that is installed takes a while
    return site


@pytest.mark.parametrize(
    ("module", "owners"),
    [
        ("acme.cloud.storage", ["acme-storage"]),
        ("acme.cloud.storage.blob", ["acme-storage"]),
        ("acme.cloud.storage.Client", ["acme-storage"]),
        ("acme.cloud.queue", ["acme-queue"]),
        ("acme.buffers.json_format", ["acme-buffers"]),
        ("acme._native", ["acme-buffers"]),
        ("acme.cloud.bigquery", []),
        ("acme.cloud", []),
        ("acme", []),
        ("lonely.part", ["lonely-part"]),
        ("lonely.other", []),
        ("nobody_has_this", []),
    ],
)
def test_a_module_in_a_namespace_is_of_the_one_distribution_that_has_it(site, module, owners):
    assert owners_of(module) == owners
    assert not any(name.partition(".")[0] == "acme" for name in sys.modules), "nothing is imported"


def test_below_a_namespace_are_all_distributions_that_have_a_part_of_it(site):
    assert below("acme.cloud") == ["acme-queue", "acme-storage"]
    assert below("acme.cloud.queue") == []


def by_path_file(site, root):
    install(site, "own-tool", "own_tool.pth")
    (site / "own_tool.pth").write_text(f"{root / 'src'}\n")


def by_finder(site, root):
    install(site, "own-tool", "__editable___own_tool_finder.py", "__editable__.own_tool.pth")
    code = root / "src" / "own_tool"
    (site / "__editable___own_tool_finder.py").write_text(
        f"MAPPING: dict[str, str] = {{'own_tool': {str(code)!r}}}\n"
    )


def by_link(site, root):
    install(site, "own-tool")
    (site / "own_tool").symlink_to(root / "src" / "own_tool")
    record = site / "own_tool-1.0.0.dist-info" / "RECORD"
    record.write_text(f"own_tool/__init__.py,,\n{record.read_text()}")


def by_setup_py(site, root):
    site.mkdir()
    (site / "easy-install.pth").write_text(f"{root / 'src'}\n")
    info = root / "src" / "own_tool.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: own-tool\nVersion: 1.0.0\n")
    (info / "top_level.txt").write_text("own_tool\n")


@pytest.mark.parametrize("way", [by_path_file, by_finder, by_link, by_setup_py])
def test_a_project_that_an_older_tool_installed_in_place_is_known_by_what_it_wrote(
    tmp_path, monkeypatch, way
):
    root, site = project(tmp_path / "tool", "src/own_tool/__init__.py"), tmp_path / "site"
    way(site, root)
    monkeypatch.setattr("sys.path", [str(site), str(root / "src")])  # the second by the .pth file
    assert editable_projects()["own-tool"] == root
    assert owners_of("own_tool.part") == ["own-tool"]


def test_a_file_in_the_directory_of_a_project_that_is_none_of_its_modules_is_not_the_projects(
    tmp_path, monkeypatch
):
    root = project(tmp_path / "tool", "src/own_tool/__init__.py", "scripts/helper.py", ".venv/lib/other.py")
    install(tmp_path / "site", "own-tool", "_own_tool.pth", url=in_place(root))
    (tmp_path / "site" / "_own_tool.pth").write_text(f"{root / 'src'}\n")
    directories = tmp_path / "site", root / "src", root / "scripts", root / ".venv" / "lib"
    monkeypatch.setattr("sys.path", [*map(str, directories)])
    assert owners_of("own_tool") == ["own-tool"]
    assert owners_of("helper") == owners_of("other") == []


def test_two_projects_in_place_share_a_namespace(tmp_path, monkeypatch):
    path = [str(tmp_path / "site")]
    for part in ("one", "two"):
        root = project(tmp_path / part, f"src/acme_own/{part}/__init__.py")
        install(tmp_path / "site", f"acme-own-{part}", f"_{part}.pth", url=in_place(root))
        (tmp_path / "site" / f"_{part}.pth").write_text(f"{root / 'src'}\n")
        path.append(str(root / "src"))
    monkeypatch.setattr("sys.path", path)
    assert owners_of("acme_own.one") == ["acme-own-one"]
    assert owners_of("acme_own.two.deep") == ["acme-own-two"]
    assert owners_of("acme_own.three") == []
