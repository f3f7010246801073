"""What the hook gives to the Python processes of workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dnworker.workers.subprocess_worker import CHILD_HOOK


def run(root, script, *, python=(sys.executable,), **environ):
    """Run a script as a worker process of the capability `root` would be; return its output."""
    done = subprocess.run(
        [*python, str(root / script)],
        env={**os.environ, "PYTHONPATH": str(CHILD_HOOK), "CAPABILITY_ROOT": str(root), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "workers" / "lib").mkdir(parents=True)
    (tmp_path / "workers" / "helper.py").write_text("VALUE = 7\n")
    (tmp_path / "workers" / "lib" / "deep.py").write_text("VALUE = 8\n")
    (tmp_path / "shared.py").write_text("VALUE = 9\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("from .helper import VALUE", "7"),
        ("from helper import VALUE", "7"),
        ("from .lib.deep import VALUE", "8"),
        ("from lib.deep import VALUE", "8"),
        ("from ..shared import VALUE", "9"),
    ],
)
@pytest.mark.clause("11.10")
def test_a_script_imports_its_siblings_both_ways(root, line, value):
    (root / "workers" / "w.py").write_text(f"{line}\nprint(VALUE)\n")
    assert run(root, "workers/w.py") == value


def test_the_sdks_name_gives_dnworker_where_the_sdk_is_absent(root):
    (root / "w.py").write_text(
        "from dreadnode.capabilities.worker import Worker, EventEnvelope\n"
        "print(Worker.__module__, EventEnvelope.__module__)\n"
    )
    assert run(root, "w.py") == "dnworker.workers.worker dnworker.core.envelope"


def test_a_dnworker_of_another_version_is_used_by_its_compat_alone(root):
    other = root / "other" / "dnworker"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "compat.py").write_text(
        "import sys\n"
        "from importlib.machinery import ModuleSpec\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        return ModuleSpec(name, self, is_package=True) if name.startswith('dreadnode') else None\n"
        "    def create_module(self, spec): return None\n"
        "    def exec_module(self, module): module.Worker = 'of another version'\n"
        "def install(): sys.meta_path.append(Finder())\n"
    )
    (root / "w.py").write_text("from dreadnode.capabilities.worker import Worker\nprint(Worker)\n")
    path = os.pathsep.join([str(CHILD_HOOK), str(other.parent)])
    assert run(root, "w.py", PYTHONPATH=path) == "of another version"


def test_a_python_that_has_neither_says_what_to_do(root):
    (root / "w.py").write_text("from dreadnode.capabilities.worker import Worker\n")
    told = run(root, "w.py", python=(sys.executable, "-S", "-c", SITELESS))
    assert "neither dreadnode nor dnworker can be imported by" in told
    assert "uv run" in told


SITELESS = """
import sys, runpy
sys.argv = sys.argv[1:]
import sitecustomize
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_another_sitecustomize_has_its_turn(root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("import sys\nsys.mine = 'was here'\n")
    (root / "w.py").write_text("import sys\nprint(sys.mine)\n")
    path = os.pathsep.join([str(CHILD_HOOK), str(tmp_path / "other")])
    assert run(root, "w.py", PYTHONPATH=path) == "was here"


def test_a_script_from_elsewhere_is_left_alone(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "w.py").write_text("print(__package__)\n")
    assert run(elsewhere, "w.py", CAPABILITY_ROOT=str(root)) == "None"
