"""Modules beside the notebook are exported with the files that they read, or refused with the file named."""

from __future__ import annotations

import os

import pytest

from dnworker_jupyter.export.planning import local_files
from dnworker_jupyter.export.slicing.problems import NotExportable
from tests.unit.export.builders import handler, plan


def write(root, **files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text) if isinstance(text, str) else file.write_bytes(text)


def exported(root, module="own"):
    files = plan(f"import {module}", handler(module), beside=root).files
    return {name.removeprefix("workers/") for name in files} - {"bridge.py", "capability.yaml"}


def refused(root, module="own"):
    with pytest.raises(NotExportable) as caught:
        plan(f"import {module}", handler(module), beside=root)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_package_is_exported_with_its_data_and_without_caches(tmp_path):
    write(
        tmp_path,
        **{
            "own/__init__.py": "",
            "own/py.typed": "",
            "own/templates/a.yaml": "a: 1\n",
            "own/logo.png": b"\x89PNG\xff",
            "own/__pycache__/x.cpython-311.pyc": b"\0",
            "own/old.pyc": b"\0",
            "own/.ipynb_checkpoints/a.json": "{}",
            "own/.git/config": "",
            "own/.env": "TOKEN=1",
            "own/node_modules/x/index.js": "",
            "own/venv/pyvenv.cfg": "",
            "own/venv/lib/a.py": "",
            "own/own.egg-info/PKG-INFO": "",
        },
    )
    assert exported(tmp_path) == {"own/__init__.py", "own/py.typed", "own/templates/a.yaml", "own/logo.png"}


def test_links_in_a_package_are_followed_once_and_what_is_no_file_stays(tmp_path):
    write(tmp_path, **{"own/__init__.py": "", "shared/a.json": "{}"})
    (tmp_path / "own" / "data").symlink_to(tmp_path / "shared")
    (tmp_path / "own" / "loop").symlink_to(tmp_path / "own")
    (tmp_path / "own" / "gone").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "own" / "pipe")
    assert exported(tmp_path) == {"own/__init__.py", "own/data/a.json"}


def test_a_module_is_exported_with_what_it_names_by_its_file(tmp_path):
    code = (
        "import json\nfrom pathlib import Path\nHERE = Path(__file__).parent\nA = json.loads((HERE / 'a.json').read_text())\n"
        "def page(name):\n    return (HERE / 'pages' / name).read_text()\nCACHE = HERE / 'made-later.db'\n"
    )
    write(
        tmp_path,
        **{"own.py": code, "a.json": "{}", "pages/x.html": "", "pages/.hidden": "", "other.json": "{}"},
    )
    assert exported(tmp_path) == {"own.py", "a.json", "pages/x.html"}


def test_a_package_takes_along_what_it_names_beside_itself(tmp_path):
    code = "from pathlib import Path\nA = (Path(__file__).parent.parent / 'settings.toml').read_text()\n"
    write(tmp_path, **{"own/__init__.py": code, "settings.toml": "", "other.toml": ""})
    assert exported(tmp_path) == {"own/__init__.py", "settings.toml"}


def test_files_that_only_a_run_can_tell_are_refused_with_the_line(tmp_path):
    code = (
        "from pathlib import Path\ndef read(name):\n    return (Path(__file__).parent / name).read_text()\n"
    )
    write(tmp_path, **{"own.py": code})
    assert refused(tmp_path) == (
        "cell [1], line 1: module 'own': goes from its __file__ to files that only a run can tell "
        f"({tmp_path}/own.py, line 3); make a package of the module and of what it reads, a directory with "
        "__init__.py: such a one is exported whole"
    )


def test_a_file_that_does_not_lie_beside_the_module_is_refused_by_its_name(tmp_path):
    code = "from pathlib import Path\nA = (Path(__file__).parents[1] / 'a.json').read_text()\n"
    write(tmp_path, **{"book/own.py": code, "a.json": "{}"})
    told = refused(tmp_path / "book")
    assert f"reads {tmp_path}/a.json by its __file__ ({tmp_path}/book/own.py, line 2)" in told
    assert "move the file beside the module" in told


def test_a_hidden_file_is_refused_as_it_may_be_secret(tmp_path):
    code = "from pathlib import Path\nA = (Path(__file__).parent / '.env').read_text()\n"
    write(tmp_path, **{"own.py": code, ".env": "TOKEN=1"})
    assert "an export takes nothing hidden: that may be secret" in refused(tmp_path)


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path, monkeypatch):
    write(tmp_path, **{"own/__init__.py": "", "own/a.json": "{}"})
    opened = local_files.Path.open

    def refuse(self, *args, **kwargs):
        if self.name == "a.json":
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(local_files.Path, "open", refuse)
    assert f"has {tmp_path}/own/a.json, which cannot be read: Permission denied" in refused(tmp_path)


def test_more_than_an_export_should_carry_is_refused_and_the_largest_file_named(tmp_path, monkeypatch):
    write(tmp_path, **{"own/__init__.py": "", "own/small.bin": b"1", "own/model.bin": b"0" * 2_000_000})
    monkeypatch.setattr(local_files, "MOST_BYTES", 1_000_000)
    told = refused(tmp_path)
    assert "comes with 2 MB of files, of which an export takes 1" in told
    assert f"the largest is {tmp_path}/own/model.bin" in told


def test_more_files_than_an_export_should_carry_are_refused(tmp_path, monkeypatch):
    write(tmp_path, **{"own/__init__.py": "", **{f"own/{n}.json": "" for n in range(5)}})
    monkeypatch.setattr(local_files, "MOST_FILES", 3)
    assert "'own': comes with more than 3 files" in refused(tmp_path)
