"""A path that is no capability is answered with what was probably meant by it."""

from __future__ import annotations

import pytest

from dnworker.capability import near_paths
from dnworker.capability.manifest import load_manifest
from dnworker.capability.near_paths import way_out
from dnworker.core.errors import ManifestError

MANIFEST = "capability.yaml"


@pytest.fixture
def there(tmp_path):
    for name in ("shop", "deep/er/a", "deep/er/b", "many/1", "many/2", "many/3", "many/4"):
        (tmp_path / name / "workers").mkdir(parents=True)
        (tmp_path / name / MANIFEST).write_text("")
    for name in ("nb.ipynb", "x.tar.gz", "w.py", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "empty" / ".git" / "x").mkdir(parents=True)
    (tmp_path / "empty" / ".git" / "x" / MANIFEST).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shop", ""),
        ("nb.ipynb", "it is a notebook; `dnworker export {}/nb.ipynb -o DIR` makes a capability of it"),
        (
            "x.tar.gz",
            "it is an archive; unpack it first, and name what is in it (`dnworker verify {}/x.tar.gz` checks it)",
        ),
        (
            "w.py",
            "it is a Python file; name a directory whose capability.yaml declares it (`dnworker init NAME`)",
        ),
        ("notes.txt", "it is a file; a capability is a directory with a capability.yaml"),
        ("shop/capability.yaml", "name its directory: {}/shop"),
        ("shop/workers", "the capability is the directory above: {}/shop"),
        ("deep", "capabilities are below it: {0}/deep/er/a, {0}/deep/er/b"),
        ("many", "capabilities are below it: {0}/many/1, {0}/many/2, {0}/many/3 and more"),
        ("empty", "no capability.yaml is in it or below; `dnworker init NAME` makes a capability"),
        ("shpo", "did you mean {}/shop?"),
        ("qqqqq", ""),
        ("no/such", "there is no directory {}/no"),
    ],
)
def test_what_was_meant_is_said(there, name, told):
    assert way_out(there / name, MANIFEST) == (told and f"; {told.format(there)}")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_what_can_be_no_path_has_no_hint_and_fails_as_before(there, name):
    way_out(there / name, MANIFEST)
    with pytest.raises(ManifestError, match="cannot be read"):
        load_manifest(there / name)


def test_the_search_below_is_bounded_also_in_a_circle_of_links(there, monkeypatch):
    (there / "empty" / "again").symlink_to(there / "empty")
    assert way_out(there / "empty", MANIFEST).startswith("; no capability.yaml is in it")
    monkeypatch.setattr(near_paths, "MOST_DIRECTORIES", 1)
    assert way_out(there / "deep", MANIFEST).startswith("; no capability.yaml is in it")


def test_the_error_of_a_manifest_ends_in_it(there):
    with pytest.raises(ManifestError) as raised:
        load_manifest(there / "nb.ipynb")
    assert str(raised.value).startswith(
        f"{there}/nb.ipynb/capability.yaml: cannot be read: Not a directory; it is a notebook"
    )
