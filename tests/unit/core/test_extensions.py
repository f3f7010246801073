"""The parts of the notebook's extension are found by entry points, and a missing one says what to install."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError, entry_points

import pytest

from dnworker.core import extensions
from dnworker.core.extensions import GROUP, load_part


@pytest.mark.parametrize("name", ["extension", "export", "import", "notebook-file", "progress"])
def test_every_part_is_declared_and_loads(name):
    (point,) = entry_points(group=GROUP, name=name)
    assert load_part(name).__name__ == point.value


def test_without_an_extension_the_error_says_how_to_install_one(monkeypatch):
    monkeypatch.setattr(extensions, "_found", lambda _: ())
    with pytest.raises(ImportError, match=r"pip install 'dnworker\[jupyter\]'"):
        load_part("extension")


def test_an_extension_that_lacks_something_names_it(monkeypatch):
    broken = EntryPoint("extension", "no_such_module_of_ours", GROUP)
    monkeypatch.setattr(extensions, "_found", lambda _: (broken,))
    with pytest.raises(ImportError, match="needs no_such_module_of_ours; install it with"):
        load_part("extension")


def test_a_part_of_another_package_is_found_where_ours_has_none(monkeypatch):
    theirs = EntryPoint("export", "json", GROUP)

    def no_such_package(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extensions, "distribution", no_such_package)
    monkeypatch.setattr(extensions, "entry_points", lambda **_: EntryPoints([theirs]))
    assert load_part("export").__name__ == "json"
