"""Local modules are followed from file to file: only what runs is required."""

from __future__ import annotations

import pytest

from dnworker_jupyter.export.slicing.requirements import resolve


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


PACKAGE = {
    "own/__init__.py": "",
    "own/core.py": "from . import names\nfrom .deep.part import f\n",
    "own/names.py": "import yaml\n",
    "own/deep/__init__.py": "",
    "own/deep/part.py": "from ..other import g\n",
    "own/other.py": "import httpx\n",
    "own/plots.py": "import nobody_has_this\nimport pexpect\n",
    "own/templates/broken.py": "def f(:\n",
}


@pytest.mark.parametrize(
    ("module", "required"),
    [
        ("own.core", ["httpx", "pyyaml"]),
        ("own.core.f", ["httpx", "pyyaml"]),
        ("own.deep", []),
        ("own.deep.part", ["httpx"]),
        ("own.names", ["pyyaml"]),
        ("own", []),
    ],
)
def test_of_a_package_only_the_modules_that_run_are_followed(tmp_path, module, required):
    write(tmp_path, PACKAGE)
    needs = resolve([module], beside=tmp_path)
    assert sorted(needs.requirements) == required
    assert (needs.unknown, needs.broken) == (set(), {})
    assert needs.local == {"own": tmp_path / "own"}


@pytest.mark.parametrize(
    "code",
    [
        "import importlib\ndef load(name):\n    return importlib.import_module(f'.{name}', __package__)\n",
        "import importlib\nX = importlib.import_module('.plots', __package__)\n",
        "import pkgutil\nX = [m for m in pkgutil.iter_modules(__path__)]\n",
        "import lazy_loader as lazy\n__getattr__, __dir__, __all__ = lazy.attach(__name__, ['plots'])\n",
    ],
)
def test_a_package_that_imports_by_computed_names_needs_what_all_its_modules_need(tmp_path, code):
    write(tmp_path, {"own/__init__.py": code, "own/plots.py": "import pexpect\n"})
    assert "pexpect" in resolve(["own"], beside=tmp_path).requirements


def test_a_module_is_followed_only_by_the_worker_that_imports_it(tmp_path):
    write(tmp_path, {"one.py": "import yaml\n", "two.py": "import httpx\n"})
    assert sorted(resolve(["one"], beside=tmp_path).requirements) == ["pyyaml"]
    assert sorted(resolve(["two"], beside=tmp_path).requirements) == ["httpx"]


def test_what_is_for_type_checkers_alone_is_not_required(tmp_path):
    write(
        tmp_path,
        {"own.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nobody_has_this\n"},
    )
    needs = resolve(["own"], beside=tmp_path)
    assert (needs.requirements, needs.unknown) == ({}, set())


def test_an_import_of_a_module_that_runs_and_is_missing_is_unknown(tmp_path):
    write(tmp_path, PACKAGE)
    assert resolve(["own.plots"], beside=tmp_path).unknown == {"nobody_has_this"}


def test_modules_that_import_each_other_are_followed_once(tmp_path):
    write(tmp_path, {"one.py": "import two\n", "two.py": "import one\nimport yaml\n"})
    needs = resolve(["one"], beside=tmp_path)
    assert sorted(needs.requirements) == ["pyyaml"]
    assert needs.inner == {"one", "two"}
